"""Ratings of answers: over REST, in messages and exports, in the admin, at the command line, in the metrics."""

import io
import json
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import F
from prometheus_client import REGISTRY

from chat import runs
from chat.models import AuditRecord, Feedback, Message, Run, User
from chat.runs import retention
from tests.factories import claim_one, client, completed, message, new_worker

WORDS = 'Zażółć «gęślą» jaźń 👍🏽\nand 30 % "off"'


@pytest.fixture
def answered(alice):
    """Return the function that has a question of a user answered; the answer's message."""

    def answered(user=alice, content="What do I pay?", answer="Too much.", **fields):
        accepted = runs.start(user.id, message(content, **fields))
        run = claim_one(new_worker())
        batch = completed(run, answer)
        runs.record([replace(batch, end=replace(batch.end, usage={"model": "gpt-4o", "tokens": 3}))])
        return Message.objects.get(run=accepted.run_id)

    return answered


def place(answer):
    return f"/api/messages/{answer.id}/feedback"


def rate(caller, answer, rating=1, **fields):
    done = caller.put(place(answer), {"rating": rating, **fields}, format="json")
    assert done.status_code == 200, done.content
    return done.json()


def in_messages(caller, answer):
    messages = caller.get(f"/api/threads/{answer.thread_id}/messages").json()["messages"]
    return {one["role"]: one["feedback"] for one in messages}


def exported(*arguments):
    out = io.StringIO()
    call_command("export_feedback", *arguments, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_rating_is_in_messages_and_both_exports_until_it_is_taken_back(ann, answered):
    answer = answered()
    assert in_messages(ann, answer) == {"user": None, "assistant": None}
    given = rate(ann, answer, -1, comment=WORDS)
    assert (given["message_id"], given["rating"], given["comment"]) == (str(answer.id), -1, WORDS)
    assert in_messages(ann, answer) == {"user": None, "assistant": given}
    export = f"/api/threads/{answer.thread_id}/export"
    messages = json.loads(ann.get(f"{export}?format=json").content)["messages"]
    assert [one["feedback"] for one in messages] == [None, given]
    assert f"Rated bad: {WORDS}" in ann.get(export).content.decode()
    listed = ann.get(f"/api/threads/{answer.thread_id}/feedback").json()
    assert (listed["feedback"], listed["total_count"]) == ([given], 1)

    again = rate(ann, answer, 1)
    assert (again["rating"], again["comment"], again["created_at"]) == (1, "", given["created_at"])
    row = Feedback.objects.get()
    assert (row.agent, row.model, row.run_id) == (answer.run.agent, "gpt-4o", answer.run_id)
    for _ in range(2):
        assert ann.delete(place(answer)).status_code == 204
    assert in_messages(ann, answer)["assistant"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rating"),
        ({"rating": None}, "rating"),
        ({"rating": 0}, "rating"),
        ({"rating": 2}, "rating"),
        ({"rating": 5}, "rating"),
        ({"rating": 1.0}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": "1"}, "rating"),
        ({"rating": "up"}, "rating"),
        ({"rating": [1]}, "rating"),
        ({"rating": {}}, "rating"),
        ({"rating": 10**15}, "rating"),
        ({"rating": 1, "comment": "x" * 2001}, "comment"),
        ({"rating": 1, "comment": 5}, "comment"),
        ({"rating": 1, "comment": ["good"]}, "comment"),
        ({"rating": 1, "comment": "a\0b"}, "comment"),
    ],
)
def test_bad_rating_is_refused_with_its_field_and_changes_nothing(ann, answered, body, field):
    answer = answered()
    kept = rate(ann, answer, 1, comment="before")
    refused = ann.put(place(answer), body, format="json")
    assert (refused.status_code, refused.json()["error"], refused.json()["field"]) == (422, "invalid_message", field)
    assert in_messages(ann, answer)["assistant"] == kept


@pytest.mark.parametrize("raw", ["", "[]", "null", '{"rating":1', '{"rating":NaN}'])
def test_body_that_is_no_object_is_refused(ann, answered, raw):
    refused = ann.put(place(answered()), raw, content_type="application/json")
    assert refused.status_code in (400, 422)
    assert not Feedback.objects.exists()


def test_comment_of_the_longest_kind_is_kept(ann, answered):
    assert rate(ann, answered(), 1, comment="👍" * 2000)["comment"] == "👍" * 2000


def test_only_answers_of_the_user_can_be_rated(ann, ben, bob, answered):
    answer = answered()
    question = answer.run.message
    assert rate(ann, answer)
    for caller, target in ((ben, answer), (ann, question), (ben, question), (ann, Message(id=uuid.uuid4()))):
        for refused in (caller.put(place(target), {"rating": -1}, format="json"), caller.delete(place(target))):
            assert (refused.status_code, refused.json()["error"]) == (404, "not_found")
    assert ben.get(f"/api/threads/{answer.thread_id}/feedback").status_code == 404
    assert Feedback.objects.get().rating == 1


def test_feedback_goes_with_its_thread_and_its_user(ann, alice, bob, answered):
    gone, own, other = answered(), answered(), answered(bob)
    for answer in (gone, own):
        rate(ann, answer)
    rate(client(bob), other)
    assert ann.delete(f"/api/threads/{gone.thread_id}").status_code == 204
    assert ann.put(place(gone), {"rating": 1}, format="json").status_code == 404
    assert {line["message_id"] for line in exported()} == {str(own.id), str(other.id)}
    retention.erase(User.objects.get(pk=alice.pk))
    assert [row.user for row in Feedback.objects.all()] == [bob]


def test_export_has_no_text_and_no_address_unless_told(ann, alice, answered):
    rate(ann, answered(), -1, comment="secret comment")
    (line,) = exported()
    assert (line["agent"], line["model"], line["rating"]) == ("advisor", "gpt-4o", -1)
    assert not {"comment", "question", "answer", "email"} & line.keys()
    assert not [word for word in ("secret", "pay", "much", alice.email, alice.name) if word in json.dumps(line)]
    assert not AuditRecord.objects.exists()
    (full,) = exported("--with-text")
    assert full == {
        **line, "comment": "secret comment", "question": "What do I pay?", "answer": "Too much.", "email": alice.email,
    }  # fmt: skip
    assert AuditRecord.objects.get().kind == "admin_acted"


def test_export_is_narrowed_by_day_and_agent(ann, answered):
    old, new = answered(), answered(agent="echo")
    for answer in (old, new):
        rate(ann, answer)
    Feedback.objects.filter(message=old).update(updated_at=F("updated_at") - timedelta(days=400))
    today = Feedback.objects.get(message=new).updated_at.date().isoformat()
    for since in (today, f"{today}T00:00:00", f"{today}T00:00:00Z", f"{today}T01:00:00+01:00"):
        assert [line["message_id"] for line in exported("--since", since)] == [str(new.id)]
    assert [line["message_id"] for line in exported("--agent", "advisor")] == [str(old.id)]
    assert exported("--since", "2999-01-01") == exported("--agent", "nobody") == []
    for wrong in ("yesterday", "2026-13-01", "1.2.2026"):
        with pytest.raises(CommandError, match="is no date"):
            exported("--since", wrong)


def test_a_rating_is_counted_once_for_each_change(ann, answered):
    answer = answered(agent="echo")

    def counted(rating):
        return REGISTRY.get_sample_value("netra_feedback_total", {"agent": "echo", "rating": rating}) or 0

    before = counted("1"), counted("-1")
    rate(ann, answer)
    rate(ann, answer, comment="more")
    rate(ann, answer, -1)
    assert (counted("1") - before[0], counted("-1") - before[1]) == (1, 1)


def test_staff_read_ratings_and_change_none(client, ann, answered, alice):
    rate(ann, answered(), -1, comment="Wrong sum")
    client.force_login(User.objects.create_superuser("admin@example.com", "correct horse battery"))
    row = Feedback.objects.get()
    page = client.get("/admin/chat/feedback/", {"agent": "advisor", "rating": "-1"}).content.decode()
    assert "Wrong sum" in page and alice.email in page
    assert "Wrong sum" not in client.get("/admin/chat/feedback/", {"rating": "1"}).content.decode()
    assert client.get(f"/admin/chat/feedback/{row.pk}/change/").status_code == 200
    for path in (f"{row.pk}/change/", f"{row.pk}/delete/", "add/"):
        assert client.post(f"/admin/chat/feedback/{path}", {"rating": "1", "post": "yes"}).status_code == 403
    assert AuditRecord.objects.filter(kind="admin_read", user=alice.pk).exists()


def test_answer_of_a_cancelled_run_can_be_rated(ann, alice):
    accepted = runs.start(alice.id, message())
    run = claim_one()
    id = uuid.uuid4()
    batch = completed(run, "partly")
    runs.record([replace(batch, end=replace(batch.end, status=Run.CANCELLED, message_id=id))])
    assert accepted.run_id
    assert rate(ann, Message.objects.get(role="assistant"))["rating"] == 1
