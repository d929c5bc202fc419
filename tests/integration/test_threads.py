"""Pinned, archived and temporary threads in the lists of the API."""

import json
import uuid

import pytest
from django.db.models import F

from chat import runs
from chat.models import Event, Message, Run, Thread
from chat.runs import retention
from tests.factories import claim_one, client, completed, failed, message
from tests.frames import check


def started(user, content="hello", **fields):
    accepted = runs.start(user.id, message(content, **fields))
    runs.record([completed(claim_one())])
    return str(accepted.thread_id)


def change(caller, thread_id, **fields):
    return caller.patch(f"/api/threads/{thread_id}", fields, format="json")


@pytest.fixture
def published(monkeypatch):
    found = []
    monkeypatch.setattr("chat.realtime.channel_layer.publish", lambda group, told: found.append((group, told)))
    return found


def listed(caller, **query):
    answer = caller.get("/api/threads", query).json()
    assert answer["total_count"] == len(answer["threads"])
    return [thread["id"] for thread in answer["threads"]]


def test_pinned_and_archived_threads_are_listed_apart(ann, alice):
    old, archived, new = (started(alice, words) for words in ("old", "archived", "new"))
    assert change(ann, old, pinned=True).json()["pinned"] is True
    done = change(ann, archived, archived=True, title="Kept")
    assert (done.status_code, done.json()["archived"], done.json()["title"]) == (200, True, "Kept")
    assert listed(ann) == [new, old]
    assert (listed(ann, pinned="true"), listed(ann, pinned="false")) == ([old], [new])
    assert listed(ann, archived="true") == listed(ann, q="archived") == [archived]
    assert change(ann, archived, archived=False).status_code == 200
    assert len(listed(ann)) == 3
    assert ann.get("/api/threads", {"pinned": "1"}).json()["field"] == "pinned"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": None}, "title"),
        ({"title": " "}, "title"),
        ({"pinned": 1}, "pinned"),
        ({"archived": "true"}, "archived"),
    ],
)
def test_bad_change_is_refused_with_its_field(ann, alice, body, field):
    refused = change(ann, started(alice), **body)
    assert (refused.status_code, refused.json()["field"]) == (422, field)


def test_threads_of_another_user_are_neither_pinned_nor_archived(ann, bob):
    his = started(bob)
    assert change(ann, his, pinned=True, archived=True).status_code == 404
    assert not Thread.objects.filter(pinned=True).exists() and not Thread.objects.filter(archived=True).exists()


def test_thread_is_unread_from_the_end_of_a_run_until_it_is_seen(ann, alice):
    def read(thread_id):
        (listed,) = (one for one in ann.get("/api/threads").json()["threads"] if one["id"] == thread_id)
        assert ann.get(f"/api/threads/{thread_id}").json()["unread"] == listed["unread"]
        return listed["unread"], listed["seen_seq"]

    done = started(alice)
    accepted = runs.start(alice.id, message("broken"))
    other = str(accepted.thread_id)
    assert read(other) == (None, 0)
    runs.record([failed(claim_one())])
    assert (read(done), read(other)) == (("completed", 0), ("failed", 0))
    last = ann.get(f"/api/threads/{done}").json()["last_seq"]
    assert change(ann, done, seen_seq=last - 1).json()["unread"] == "completed"
    assert change(ann, done, seen_seq=last + 5, pinned=True).json()["unread"] is None
    assert (read(done), read(other)) == ((None, last), ("failed", 0))
    assert change(ann, done, seen_seq=1).json()["seen_seq"] == last, "seen once is seen"
    started(alice, thread_id=uuid.UUID(done))
    assert read(done) == ("completed", last)


def test_other_devices_are_told_once_what_was_seen(ann, alice, bob, published, django_capture_on_commit_callbacks):
    thread_id = started(alice)
    last = ann.get(f"/api/threads/{thread_id}").json()["last_seq"]
    published.clear()
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            change(ann, thread_id, seen_seq=last)
    ((group, told),) = published
    assert group.endswith(f".{alice.id}")
    assert check(json.loads(told["frame"])) == {"type": "thread_seen", "thread_id": thread_id, "seen_seq": last}


@pytest.mark.parametrize("seq", [-1, "1", True, 1.5])
def test_bad_number_of_a_seen_event_is_refused(ann, alice, seq):
    refused = change(ann, started(alice), seen_seq=seq)
    assert (refused.status_code, refused.json()["field"]) == (422, "seen_seq")


def test_thread_of_another_user_is_not_seen(ann, bob):
    his = started(bob)
    assert change(ann, his, seen_seq=1).status_code == 404
    assert not Thread.objects.filter(seen_seq__gt=0).exists()


def spent(model, cost):
    counts = {"requests": 1, "input_tokens": 100, "cached_tokens": 10, "output_tokens": 5, "cost_usd": cost}
    return {**counts, "models": [{"model": model, **counts}]}


def test_thread_has_the_usage_of_all_its_runs(ann, alice, bob):
    thread_id = started(alice)
    for _ in range(2):
        started(alice, thread_id=uuid.UUID(thread_id))
    usages = [spent("openai:a", 0.5), spent("openai:a", 0.25), spent("ollama:b", None)]
    for run, usage in zip(Run.objects.filter(thread=thread_id), usages, strict=True):
        Run.objects.filter(pk=run.pk).update(usage=usage)
    usage = ann.get(f"/api/threads/{thread_id}").json()["usage"]
    assert {name: value for name, value in usage.items() if name != "models"} == {
        "requests": 3, "input_tokens": 300, "cached_tokens": 30, "output_tokens": 15, "cost_usd": None
    }  # fmt: skip
    assert [(each["model"], each["requests"], each["cost_usd"]) for each in usage["models"]] == [
        ("openai:a", 2, 0.75),
        ("ollama:b", 1, None),
    ]
    assert client(bob).get(f"/api/threads/{thread_id}").status_code == 404
    fresh = ann.get(f"/api/threads/{started(alice)}").json()["usage"]
    assert (fresh["requests"], fresh["cost_usd"], fresh["models"]) == (0, 0.0, [])


def test_temporary_thread_is_in_no_list_and_leaves_nothing(ann, alice):
    made = ann.post("/api/threads", {"id": str(uuid.uuid4()), "temporary": True}, format="json").json()
    assert made["temporary"] is True
    thread_id = started(alice, "a secret", thread_id=uuid.UUID(made["id"]))
    kept = started(alice, "kept")
    assert listed(ann) == [kept]
    assert listed(ann, q="secret") == listed(ann, pinned="true") == listed(ann, archived="true") == []
    assert ann.get(f"/api/threads/{thread_id}/messages").json()["total_count"] == 2
    for path in ("/api/messages", "/api/chat/messages"):
        assert {said["thread_id"] for said in ann.get(path).json()["messages"]} == {kept}
    assert ann.delete(f"/api/threads/{thread_id}").status_code == 204
    assert ann.get(f"/api/threads/{thread_id}").status_code == 404
    for model in (Message, Run, Event):
        assert not model.objects.filter(thread=thread_id).exists()
    assert Thread.objects.get(pk=thread_id).title == ""


def test_temporary_thread_that_was_left_behind_is_pruned_after_a_day(ann, alice):
    left, fresh = (ann.post("/api/threads", {"temporary": True}, format="json").json()["id"] for _ in range(2))
    started(alice, "a secret", thread_id=uuid.UUID(left))
    Thread.objects.filter(pk=left).update(updated_at=F("updated_at") - retention.MAX_TEMPORARY * 2)
    list(retention.prune(retention.MAX_TEMPORARY * 90))
    assert not Message.objects.filter(thread=left).exists()
    assert ann.get(f"/api/threads/{fresh}").status_code == 200
    assert ann.get(f"/api/threads/{left}").status_code == 404
