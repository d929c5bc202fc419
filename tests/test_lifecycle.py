"""What is not kept: events that grew old, threads that were deleted, users who were erased."""

import io
import json
import stat
import uuid
import zipfile
from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings as netra
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as DjangoSession
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from chat import auth, events, retention, runs
from chat.models import Attachment, AuditRecord, Event, Message, Run, Thread, User
from tests.site import Site
from tests.test_attachments import client, upload
from tests.test_attachments import folder as folder  # a fixture that every test here uses
from tests.test_runs import claim_one, completed, delta, message, types

OLD = timedelta(days=100)


@pytest.fixture
def on_commit(django_capture_on_commit_callbacks):
    """Files go once it is certain that their rows have gone."""
    return django_capture_on_commit_callbacks


def answered(user, content="hello", **fields):
    accepted = runs.start(user.id, message(content, **fields))
    run = claim_one()
    runs.record([runs.Entry(run, [delta(run)])])
    runs.record([completed(run, "Said to " + content)])
    return accepted.thread_id


def aged(thread_id, upto=10**9):
    Event.objects.filter(thread=thread_id, seq__lte=upto).update(created_at=Now() - OLD)


def prune(days=90):
    out = io.StringIO()
    call_command("prune", "--days", str(days), stdout=out)
    return int(out.getvalue().split()[-1].rstrip("."))


# ---- Old events --------------------------------------------------------------------------------------------


def test_old_events_go_and_messages_stay(alice):
    old, young = answered(alice), answered(alice)
    aged(old)
    events = Event.objects.filter(thread=old).count()
    assert prune() == events == 4
    assert types(old) == []
    assert types(young) == ["message_created", "agent_started", "agent_delta", "agent_completed"]
    assert list(Message.objects.filter(thread=old).order_by("seq").values_list("content", flat=True)) == [
        "hello",
        "Said to hello",
    ]
    assert Thread.objects.get(id=old).last_seq == events
    assert prune() == 0


def test_only_a_whole_prefix_goes(alice):
    """What is old behind something that stays, stays too: the numbers that are left have no gap."""
    thread = answered(alice)
    answered(alice, "again", thread_id=thread)
    aged(thread)
    Event.objects.filter(thread=thread, seq=3).update(created_at=Now())
    assert prune() == 2
    assert list(Event.objects.filter(thread=thread).order_by("seq").values_list("seq", flat=True)) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_run_that_has_not_ended_keeps_its_events(alice, is_claimed):
    thread = answered(alice)
    runs.start(alice.id, message("still", thread_id=thread))
    if is_claimed:
        claim_one()
    runs.rename(alice.id, thread, "A name")
    aged(thread)
    assert prune() == 4
    assert types(thread)[0] == "message_created"
    runs.cancel(alice.id)
    aged(thread)
    assert prune() > 0
    assert types(thread) == []


def test_more_than_one_batch_goes(alice, monkeypatch):
    monkeypatch.setattr(retention, "PRUNED", 3)
    threads = [answered(alice, str(number)) for number in range(4)]
    for thread in threads:
        aged(thread)
    assert prune() == 16
    assert Event.objects.count() == 0


def test_who_resumes_before_the_pruned_start_is_told(alice):
    thread = answered(alice)
    aged(thread, upto=2)
    prune()
    page = events.replay(alice.id, thread, 0, 100)
    assert (page.first, page.head) == (3, 4)
    aged(thread)
    prune()
    page = events.replay(alice.id, thread, 0, 100)
    assert (page.rows, page.first, page.head) == ([], 5, 4)


def test_a_pruned_run_is_not_waited_for(alice):
    caller = client(alice)
    body = {"agent": "echo", "content": "hello", "client_msg_id": "one"}
    asked = caller.post("/api/agents/execute", body, format="json", headers={"Prefer": "respond-async"})
    assert asked.status_code == 202, asked.content
    runs.record([completed(claim_one())])
    thread = Thread.objects.get()
    assert caller.post("/api/agents/execute", body, format="json").json()["final_response"] == "done"
    aged(thread.id)
    prune()
    again = caller.post("/api/agents/execute", body, format="json")
    assert (again.status_code, again.json()["status"]) == (202, "completed")


@pytest.mark.parametrize("days", ["-1", "100000"])
def test_a_nonsensical_age_is_refused(db, days):
    with pytest.raises(CommandError, match="--days"):
        call_command("prune", "--days", days)


def test_of_a_thread_deleted_long_ago_nothing_but_its_id_is_kept(alice, folder, on_commit, django_assert_num_queries):
    file = upload(client(alice)).json()["id"]
    thread = answered(alice, "my secret", attachment_ids=(uuid.UUID(file),))
    kept = answered(alice)
    runs.delete(alice.id, thread)
    prune()
    assert Message.objects.filter(thread=thread).count() == 2
    Thread.objects.filter(id=thread).update(deleted_at=Now() - OLD)
    with on_commit(execute=True):
        prune()
    assert (types(thread), Message.objects.filter(thread=thread).count()) == ([], 0)
    assert not Run.objects.filter(thread=thread).exists()
    assert Thread.objects.get(id=thread).title == ""
    assert not Attachment.objects.exists()
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert Message.objects.filter(thread=kept).count() == 2
    with django_assert_num_queries(1):  # it is not emptied again every night
        prune()
    with pytest.raises(runs.ProtocolError):
        runs.start(alice.id, message(thread_id=thread))


def test_a_run_goes_on_while_old_events_are_deleted(watched: Site):
    socket = watched.register("alice").connect()
    first = socket.ask("one two")
    thread = first["thread_id"]
    socket.answer(first["run_id"])
    second = socket.ask("x", agent="slow", thread_id=thread)
    socket.receive("agent_delta", run_id=second["run_id"])
    assert watched.start("manage.py", "prune", "--days", "0", log="prune").wait() == 0, watched.log("prune")
    socket.receive("agent_delta", run_id=second["run_id"])
    socket.send({"type": "stop_agent", "run_id": second["run_id"]})
    assert socket.answer(second["run_id"])["type"] == "agent_cancelled"
    events = socket.events(thread)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    socket.send({"type": "resume", "thread_id": thread, "after": 0})
    resync = socket.receive("resync")
    mine = next(event["seq"] for event in events if event["run_id"] == second["run_id"])
    assert (resync["first"], resync["head"]) == (mine, len(events))


# ---- All that is a user's ------------------------------------------------------------------------------------


def test_an_export_has_all_that_is_the_user_s_and_nothing_else(alice, bob, tmp_path):
    file = upload(client(alice), name="usage.csv", content=b"model,tokens\na,1\n").json()["id"]
    upload(client(bob), name="of-bob.csv")
    thread = answered(alice, "What do I pay?", attachment_ids=(uuid.UUID(file),))
    runs.delete(alice.id, answered(alice, "deleted words"))
    answered(bob, "bob's words")
    path = tmp_path / "alice.zip"
    call_command("export_user", "Alice@example.com", str(path), stdout=io.StringIO())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as found:
        texts = {name: found.read(name) for name in found.namelist()}
    (named,) = [name.removesuffix(".md") for name in texts if name.endswith(".md")]
    assert set(texts) == {
        "profile.json",
        f"{named}.json",
        f"{named}.md",
        f"attachments/{file.replace('-', '')[:8]} usage.csv",
    }
    assert "What do I pay" in named
    profile = json.loads(texts["profile.json"])
    assert (profile["email"], profile["name"], len(profile["sessions"])) == ("alice@example.com", "Alice", 1)
    assert json.loads(texts[f"{named}.json"])["thread"]["id"] == str(thread)
    assert b"Said to What do I pay?" in texts[f"{named}.md"]
    everything = b"".join(texts.values())
    assert b"model,tokens\na,1\n" in everything
    for foreign in (b"bob", b"deleted words", alice.password.encode()):
        assert foreign not in everything
    assert AuditRecord.objects.filter(user=alice.id, kind="admin_acted").count() == 1


def test_an_export_overwrites_nothing_and_needs_a_user(alice, tmp_path):
    path = tmp_path / "taken"
    path.write_text("before")
    with pytest.raises(CommandError, match="cannot be written: File exists"):
        call_command("export_user", alice.email, str(path))
    assert path.read_text() == "before"
    with pytest.raises(CommandError, match="Nobody has the address"):
        call_command("export_user", "nobody@example.com", str(tmp_path / "new"))


# ---- Erased --------------------------------------------------------------------------------------------------


@pytest.fixture
def much(alice, bob):
    """A row of alice in every table that can have one."""
    caller = client(alice)
    file = upload(caller).json()["id"]
    thread = answered(alice, attachment_ids=(uuid.UUID(file),))
    runs.start(alice.id, message("goes on", thread_id=thread))
    claim_one()
    runs.delete(alice.id, answered(alice, "deleted"))
    auth.refresh(auth.sign_in(alice, "").refresh)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    desk = SessionStore()
    desk["_auth_user_id"] = str(alice.pk)
    desk.save()
    about = {"content_type": ContentType.objects.get_for_model(User), "action_flag": CHANGE}
    LogEntry.objects.create(user=alice, object_id=str(bob.pk), object_repr="bob", **about)
    LogEntry.objects.create(user=bob, object_id=str(alice.pk), object_repr=alice.email, **about)
    netra.AXES_ENABLED = True
    try:
        for email in (alice.email, bob.email):
            caller.post("/auth/login", {"email": email, "password": "wrong"}, format="json")
    finally:
        netra.AXES_ENABLED = False
    return alice


def rows_of(user):
    """Every row, of any model, that points to the user; by model."""
    found = {}
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if field.is_relation and field.concrete and field.related_model is User:
                count = model._default_manager.filter(**{field.name: user.pk}).count()
                found[model._meta.label] = found.get(model._meta.label, 0) + count
    return found


def erase(user):
    call_command("erase_user", user.email, "--no-input", stdout=io.StringIO())


def test_nothing_is_left_of_who_was_erased_but_the_audit_record(much, bob, folder, on_commit):
    alice = much
    before = rows_of(alice)
    assert {"chat.Session", "chat.Thread", "chat.Run", "chat.Attachment", "admin.LogEntry"} <= before.keys()
    of_bob = answered(bob, "bob stays")
    upload(client(bob))
    with on_commit(execute=True):
        erase(alice)
    left = rows_of(alice)
    assert {name: count for name, count in left.items() if count} == {"chat.AuditRecord": left["chat.AuditRecord"]}
    assert not DjangoSession.objects.exists()
    assert Message.objects.exclude(thread=of_bob).count() == 0
    assert Event.objects.exclude(thread=of_bob).count() == 0
    assert [str(path) for path in folder.rglob("*") if path.is_file()] == [Attachment.objects.get().file.path]
    for model in apps.get_models():
        for row in model._default_manager.values():
            assert alice.email not in str(row), f"{model._meta.label} names who was erased"
    assert len(types(of_bob)) == 4


def test_erasing_asks_first(alice, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda words: "alice@example.org")
    with pytest.raises(CommandError, match="Nothing was erased"):
        call_command("erase_user", alice.email)
    assert User.objects.filter(pk=alice.pk).exists()
    monkeypatch.setattr("builtins.input", lambda words: alice.email)
    call_command("erase_user", alice.email, stdout=io.StringIO())
    assert not User.objects.filter(pk=alice.pk).exists()


def test_the_sockets_of_who_is_erased_close(watched: Site):
    alice, bob = watched.register("alice"), watched.register("bob")
    socket, other = alice.connect(), bob.connect()
    socket.ask("x", agent="slow")
    socket.receive("agent_delta")
    process = watched.start("manage.py", "erase_user", alice.email, "--no-input", log="erase")
    assert socket.closed() == 4401
    assert process.wait() == 0, watched.log("erase")
    assert other.silent()
    body = {"email": alice.email, "password": alice.password}
    assert bob.http("POST", "/auth/login", body).status_code == 401
