"""Retention: old events, deleted threads, erased users."""

import asyncio
import io
import json
import stat
import uuid
import zipfile
from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.apps import apps
from django.conf import settings as netra
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as DjangoSession
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from agents.worker.worker import Worker
from chat import protocol, runs
from chat.accounts import sessions, tokens
from chat.models import Attachment, AuditRecord, Event, Grant, InputRequest, Message, MessageText, Run, Thread, User
from chat.protocol import ProtocolError
from chat.runs import event_log, retention
from tests.factories import (
    accept,
    ask,
    claim_one,
    client,
    completed,
    delta,
    frames,
    message,
    types,
    upload,
    waiting,
)

pytestmark = pytest.mark.usefixtures("media_folder")

OLD = timedelta(days=100)


def answered(user, content="hello", **fields):
    accepted = runs.start(user.id, message(content, **fields))
    run = claim_one()
    runs.record([runs.RunBatch(run, [delta(run)])])
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


def test_prune_deletes_only_a_prefix_of_the_log(alice):
    """Old events after one that stays are kept, so that the numbers have no gap."""
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


def test_resume_before_the_pruned_start_is_answered_resync(alice):
    thread = answered(alice)
    aged(thread, upto=2)
    prune()
    page = event_log.replay(alice.id, thread, 0, 100)
    assert (page.first, page.head) == (3, 4)
    aged(thread)
    prune()
    page = event_log.replay(alice.id, thread, 0, 100)
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


# ---- Deltas that are joined ----------------------------------------------------------------------------------


def say(run, text, offset, **speaker):
    fields = {"type": "agent_delta", "agent_name": run.agent, **speaker, "delta": text, "offset": offset}
    return event_log.encode_event(run.thread_id, run.run_id, run.attempt, fields)


def think(run):
    fields = {"type": "agent_thinking", "agent_name": run.agent, "reasoning": "Hm"}
    return event_log.encode_event(run.thread_id, run.run_id, run.attempt, fields)


def spoken(user, end=True, **fields):
    """A thread with a run that was restarted, spoke beside a sub-agent and thought in between."""
    accepted = runs.start(user.id, message(**fields))
    run = claim_one()
    runs.record([runs.RunBatch(run, [say(run, "lost ", 0), say(run, "text", 5)])])
    Run.objects.filter(id=run.run_id).update(lease_until=Now() - OLD)
    run = claim_one()
    sub = {"agent_name": "data", "part_id": "0123abcd"}
    texts = ["Hi 👍", " there", "\n", "sub ", "agent", "é", "x", ""]
    ends = [sum(len(text.encode("utf-16-le")) // 2 for text in texts[:n]) for n in range(len(texts) + 1)]
    said = [say(run, text, ends[n], **(sub if n in (3, 4) else {})) for n, text in enumerate(texts)]
    runs.record([runs.RunBatch(run, [*said[:6], think(run)])])
    runs.rename(user.id, accepted.thread_id, "A name between")
    runs.record([runs.RunBatch(run, said[6:])])
    if end:
        runs.record([completed(run, "".join(texts))])
    return accepted.thread_id


def compact():
    return sum(iter(lambda: retention.compact(timedelta()), False))


def log_of(user, thread, after=0, limit=1000):
    """The log after `after`, read in pages of this size, without the times."""
    found = []
    while True:
        page = event_log.replay(user.id, thread, after, limit)
        if not page.rows:
            return found
        assert page.first <= after + 1
        events = [{k: v for k, v in json.loads(row[3]).items() if k != "timestamp"} for row in page.rows]
        assert [event["seq"] for event in events] == [row[0] for row in page.rows]
        found += events
        after = found[-1]["seq"]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_compact_from_every_number_the_log_reads_as_before(alice, limit):
    thread = spoken(alice)
    before = log_of(alice, thread)
    assert [event["seq"] for event in before] == list(range(1, len(before) + 1))
    rows = Event.objects.filter(thread=thread).count()
    assert compact() == 1
    assert Event.objects.filter(thread=thread).count() == rows - 5  # of 2, 3, 2, 1 and 2 deltas
    for after in range(len(before) + 1):
        assert log_of(alice, thread, after, limit) == before[after:]
    assert compact() == 0


def test_compact_leaves_runs_that_have_not_ended_or_ended_later(alice, bob):
    ended, running = spoken(alice), spoken(bob, end=False)
    rows = Event.objects.count()
    assert not retention.compact(timedelta(days=1))
    assert Event.objects.count() == rows
    assert retention.compact(timedelta())
    assert not retention.compact(timedelta())
    assert Event.objects.filter(thread=running, pieces=None).count() == Event.objects.filter(thread=running).count()
    assert Event.objects.filter(thread=ended).exclude(pieces=None).exists()


def test_compact_leaves_a_run_that_waits(alice):
    accepted = runs.start(alice.id, message())
    run = claim_one()
    runs.record([runs.RunBatch(run, [say(run, "a", 0), say(run, "b", 1)])])
    waiting(run)
    assert compact() == 0
    runs.cancel(alice.id)
    before = log_of(alice, accepted.thread_id)
    assert compact() == 1
    assert log_of(alice, accepted.thread_id) == before


def test_compact_that_breaks_off_changes_nothing(alice, monkeypatch):
    thread = spoken(alice)
    before = list(Event.objects.filter(thread=thread).order_by("seq").values())
    real, calls = protocol.dumps, []

    def full(value):
        calls.append(value)
        if len(calls) == 2:
            raise OSError("disk full")
        return real(value)

    monkeypatch.setattr(protocol, "dumps", full)
    with pytest.raises(OSError, match="disk full"):
        retention.compact(timedelta())
    assert list(Event.objects.filter(thread=thread).order_by("seq").values()) == before
    monkeypatch.undo()
    assert compact() == 1


def test_compact_then_prune_goes_by_the_newest_piece(alice):
    thread = spoken(alice)
    before = log_of(alice, thread)
    compact()
    first = Event.objects.filter(thread=thread).exclude(pieces=None).order_by("seq")[0]
    aged(thread, upto=first.seq - 1)
    assert prune() > 0
    page = event_log.replay(alice.id, thread, 0, 100)
    assert page.first == page.rows[0][0]
    assert log_of(alice, thread, page.first - 1) == before[page.first - 1 :]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("days", "left"), [(0, 2), (7, 2), (2, 0)])
def test_compact_in_a_worker_takes_runs_that_ended_compact_days_ago(alice, settings, days, left):
    settings.NETRA_COMPACT_DAYS = days
    for text in ("one", "two"):
        spoken(alice, content=text)
    Run.objects.update(finished_at=Now() - timedelta(days=5))
    asyncio.run(Worker({}, 1).compact())
    assert Run.objects.filter(compacted=False).count() == left


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL tells of its list in an extension only")
@pytest.mark.django_db(transaction=True)
def test_compact_in_a_worker_merges_what_writes_added_to_the_index(alice):
    def parts():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(DISTINCT segid) FROM chat_messageindex_idx")
            return cursor.fetchone()[0]

    thread = answered(alice)
    before = parts()
    for number in range(20):
        runs.insert_messages([(uuid.uuid4(), thread, None, None, "user", f"number {number}", 100 + number)])
    assert parts() == before + 20
    asyncio.run(Worker({}, 1).compact())
    assert parts() < 5
    assert MessageText.objects.filter(folded__holds="number").count() == 20


def test_compact_is_not_seen_by_rest_and_export(alice):
    thread = spoken(alice)
    caller = client(alice)

    def seen():
        events = caller.get(f"/api/threads/{thread}/events").json()["events"]
        for event in events:
            del event["timestamp"]
        return events, caller.get(f"/api/threads/{thread}/export?format=json").json()

    before = seen()
    compact()
    assert seen() == before


@pytest.mark.parametrize("days", ["-1", "100000"])
def test_a_nonsensical_age_is_refused(db, days):
    with pytest.raises(CommandError, match="--days"):
        call_command("prune", "--days", days)


def test_of_a_thread_deleted_long_ago_nothing_but_its_id_is_kept(
    alice, media_folder, on_commit, django_assert_num_queries
):
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
    assert [path for path in media_folder.rglob("*") if path.is_file()] == []
    assert Message.objects.filter(thread=kept).count() == 2
    with django_assert_num_queries(5):  # looks for kinds of threads, grants and shares; it is not emptied again
        prune()
    with pytest.raises(ProtocolError):
        runs.start(alice.id, message(thread_id=thread))


# ---- All that is a user's ------------------------------------------------------------------------------------


def test_an_export_has_all_that_is_the_user_s_and_nothing_else(alice, bob, tmp_path):
    file = upload(client(alice), name="usage.csv", content=b"model,tokens\na,1\n").json()["id"]
    upload(client(bob), name="of-bob.csv")
    thread = answered(alice, "What do I pay?", attachment_ids=(uuid.UUID(file),))
    runs.delete(alice.id, answered(alice, "deleted words"))
    answered(bob, "bob's words")
    Group.objects.create(name="finance").user_set.add(alice, bob)
    runs.start(alice.id, message("asks"))
    run = claim_one()
    accept(alice, ask(run), "my answer")
    accept(alice, ask(run, "approval"), remember=True)
    runs.start(bob.id, message("bob's question"))
    other = ask(claim_one(), "approval", decided_by="group:finance", parameters={"of": "bob"}, editable=False)
    accept(alice, other, reason="I agree")
    path = tmp_path / "alice.zip"
    call_command("export_user", "Alice@example.com", str(path), stdout=io.StringIO())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as found:
        texts = {name: found.read(name) for name in found.namelist()}
    documents = [name.removesuffix(".md") for name in texts if name.endswith(".md")]
    named, asks = sorted(documents, key=lambda name: "asks" in name)
    assert set(texts) == {
        "profile.json",
        "inputs.json",
        f"{asks}.json",
        f"{asks}.md",
        f"{named}.json",
        f"{named}.md",
        f"attachments/{file.replace('-', '')[:8]} usage.csv",
    }
    assert "What do I pay" in named
    profile = json.loads(texts["profile.json"])
    assert (profile["email"], profile["name"], len(profile["sessions"])) == ("alice@example.com", "Alice", 1)
    assert json.loads(texts[f"{named}.json"])["thread"]["id"] == str(thread)
    assert b"Said to What do I pay?" in texts[f"{named}.md"]
    about = json.loads(texts["inputs.json"])
    assert [one["content"] for one in about["inputs"]] == [{"value": "my answer"}, None]
    assert [(one["id"], one["comment"]) for one in about["decided"]] == [(str(other), "I agree")]
    assert [one["tool_name"] for one in about["grants"]] == ["refund"]
    everything = b"".join(texts.values())
    assert b"model,tokens\na,1\n" in everything
    for foreign in (b"bob", b"deleted words", alice.password.encode()):
        assert foreign not in everything
    assert AuditRecord.objects.filter(user=alice.id, kind="admin_acted").count() == 1


def test_file_name_of_an_export_keeps_the_joiners_of_words(alice):
    thread = runs.create_thread(alice.id, None, "می\u200cشود: a\u200bb", None)
    header = client(alice).get(f"/api/threads/{thread.id}/export")["Content-Disposition"]
    assert unquote(header) == "attachment; filename*=utf-8''می\u200cشود a b.md"


def test_an_export_overwrites_nothing_and_needs_a_user(alice, tmp_path):
    path = tmp_path / "taken"
    path.write_text("before")
    with pytest.raises(CommandError, match="cannot be written: File exists"):
        call_command("export_user", alice.email, str(path))
    assert path.read_text() == "before"
    with pytest.raises(CommandError, match="There is no user with the address"):
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
    tokens.refresh(sessions.sign_in(alice, "").refresh)
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


def test_erase_user_leaves_only_the_audit_record(much, bob, media_folder, on_commit):
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
    assert [str(path) for path in media_folder.rglob("*") if path.is_file()] == [Attachment.objects.get().file.path]
    for model in apps.get_models():
        for row in model._default_manager.values():
            assert alice.email not in str(row), f"{model._meta.label} names who was erased"
    assert len(types(of_bob)) == 4


def index_of_texts():
    """The bytes of SQLite's index; none on PostgreSQL, whose index has no entry without a row."""
    if connection.vendor != "sqlite":
        return b""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO chat_messageindex(chat_messageindex, rank) VALUES ('integrity-check', 1)")
        cursor.execute("SELECT block FROM chat_messageindex_data")
        return b"".join(block for (block,) in cursor.fetchall())


@pytest.mark.parametrize("way", ["thread", "user"])
def test_of_a_deleted_text_nothing_stays_in_the_index_of_the_search(alice, bob, way):
    answered(bob, "stays")
    thread = answered(alice, "的價格表")
    secret = "表".encode()  # one sign, whole in the index: no other trigram begins like those that have it
    assert MessageText.objects.filter(folded__holds="價格表").count() == 2
    assert connection.vendor != "sqlite" or secret in index_of_texts()
    if way == "user":
        erase(alice)
    else:
        runs.delete(alice.id, thread)
        Thread.objects.filter(id=thread).update(deleted_at=Now() - OLD)
        prune()
    assert secret not in index_of_texts()
    assert set(MessageText.objects.values_list("thread__user", flat=True)) == {bob.pk}


def test_who_was_erased_is_not_named_as_the_decider_for_others(alice, bob):
    Group.objects.create(name="finance").user_set.add(alice)
    User.objects.filter(pk=alice.pk).update(name="")
    runs.start(bob.id, message())
    run = claim_one()
    request_id = waiting(run, "approval", decided_by="group:finance")
    accept(alice, request_id, reason="fine")
    accept(bob, own := waiting(claim_one()))
    told = types(run.thread_id)
    erase(alice)
    assert not Event.objects.filter(frame__contains=alice.email).exists()
    by = {frame["request_id"]: frame["resolved_by"] for frame in frames(run.thread_id) if "resolved_by" in frame}
    assert by == {str(request_id): None, str(own): {"user_id": str(bob.pk), "name": "Bob"}}
    assert types(run.thread_id) == told
    row = InputRequest.objects.get(pk=request_id)
    assert (row.status, row.comment, row.resolved_by) == ("accepted", "fine", None)


def test_pruning_forgets_expired_grants(alice):
    runs.start(alice.id, message())
    run = claim_one()
    accept(alice, ask(run, "approval"), remember=True)
    list(retention.prune(timedelta(days=90)))
    assert Grant.objects.count() == 1
    Grant.objects.update(expires_at=Now() - timedelta(seconds=1))
    list(retention.prune(timedelta(days=90)))
    assert Grant.objects.count() == 0


def test_erasing_asks_first(alice, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda words: "alice@example.org")
    with pytest.raises(CommandError, match="Nothing was erased"):
        call_command("erase_user", alice.email)
    assert User.objects.filter(pk=alice.pk).exists()
    monkeypatch.setattr("builtins.input", lambda words: alice.email)
    call_command("erase_user", alice.email, stdout=io.StringIO())
    assert not User.objects.filter(pk=alice.pk).exists()
