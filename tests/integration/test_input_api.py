"""Requests for input at the socket and in REST."""

import asyncio
import json
import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.functions import Now

from chat import protocol, runs
from chat.accounts import authentication, sessions
from chat.accounts.authentication import Identity
from chat.db.access import from_database, in_database
from chat.models import AuditRecord, Grant, InputRequest, Run, Thread, User
from chat.realtime.connections import ConnectionRegistry
from chat.realtime.consumers import ChatConsumer
from chat.runs.batching import StartBatcher
from tests.factories import AGENTS, accept, ask, claim_one, client, completed, frames, message, new_worker, waiting
from tests.frames import check
from tests.site import WAIT_TIMEOUT


@pytest.fixture
def run(alice):
    runs.start(alice.id, message())
    return claim_one()


def post(user, request_id, **body):
    return client(user).post(f"/api/inputs/{request_id}/answer", body, format="json")


def sent_by_socket(user, *incoming, meanwhile=None):
    """Return the frames that a socket of the user sends for these frames, without its greeting.

    `meanwhile` is called in a thread at the same time.
    """
    sent = []

    async def send(frame):
        sent.append(frame)

    async def talk():
        consumer = ChatConsumer(ConnectionRegistry(), StartBatcher())
        consumer.mode, consumer.base_send, consumer.scope = "main", send, {"client": ["127.0.0.1", 1], "headers": []}
        signed_in = await in_database(sessions.sign_in, user, "")
        async with asyncio.timeout(WAIT_TIMEOUT), consumer.stream.lock:
            await consumer.open(*await consumer.identify(signed_in.access))
        beside = asyncio.create_task(asyncio.to_thread(meanwhile)) if meanwhile is not None else None
        for frame in incoming:
            if frame["type"] == "notice":
                await consumer.receive(frame)
            else:
                await consumer.websocket_receive({"text": json.dumps(frame)})
        if beside is not None:
            await beside
        consumer.cleanup()

    asyncio.run(talk())
    read = [check(json.loads(frame["text"])) for frame in sent if "text" in frame]
    return [frame for frame in read[1:] if frame["type"] not in protocol.EVENTS]


def told_to(user, published):
    """The control frames in what was published to the user."""
    notices = [message for group, message in published if group.endswith(f".{user.id}") and message["type"] == "notice"]
    return [check(json.loads(message["frame"])) for message in notices]


@pytest.fixture
def published(monkeypatch):
    found = []
    monkeypatch.setattr("chat.realtime.channel_layer.publish", lambda group, told: found.append((group, told)))
    return found


# ---- The socket ----


@pytest.mark.django_db(transaction=True)
def test_a_socket_answers(alice, run):
    request_id = waiting(run)
    frame = {"type": "answer_input", "request_id": str(request_id), "action": "accept", "content": "words", "id": "a"}
    first, again, other = sent_by_socket(alice, frame, frame, {**frame, "action": "decline"})
    assert (first["type"], first["status"], first["run_id"]) == ("answer_accepted", "accepted", run.run_id)
    assert first["seq"] == frames(run.thread_id)[-1]["seq"]
    assert again == {**first, "repeated": True}
    assert (other["error_code"], other["status"], other["ref"]) == ("conflict", "accepted", "a")
    row = InputRequest.objects.get()
    assert (row.via, row.session.user, row.address) == ("socket", alice, "127.0.0.1")
    assert AuditRecord.objects.get(kind="input_resolved").address == "127.0.0.1"


@pytest.mark.django_db(transaction=True)
def test_a_socket_is_told_what_is_wrong(alice, bob, run):
    request_id = str(ask(run))
    frame = {"type": "answer_input", "request_id": request_id, "action": "accept", "content": 5}
    wrong = [frame, {**frame, "action": "maybe"}, {**frame, "request_id": "x"}, {**frame, "reason": "x" * 2001}]
    assert [sent["field"] for sent in sent_by_socket(alice, *wrong)] == [
        "content.value", "action", "request_id", "reason",
    ]  # fmt: skip
    (mine,), (none,) = (
        sent_by_socket(bob, {**frame, "request_id": asked}) for asked in (request_id, str(uuid.uuid4()))
    )
    assert mine == none
    assert mine["error_code"] == "not_found"


@pytest.mark.django_db(transaction=True)
def test_hostile_values_are_named_errors(alice, run):
    request_id = str(ask(run))
    deep = "[" * 10_000 + "]" * 10_000
    head = f'{{"type":"answer_input","request_id":"{request_id}","action":"accept","content":'
    texts = [
        f"{head}{deep}}}",
        f'{head}"\\u0000"}}',
        f'{head}"{"x" * 70_000}"}}',
        f'{head}{{"value":"a","value":"b"}}}}',
    ]
    codes = []

    async def talk():
        consumer = ChatConsumer(ConnectionRegistry(), StartBatcher())
        sent = []

        async def send(frame):
            if (read := json.loads(frame["text"]))["type"] not in protocol.EVENTS:
                sent.append(read)

        consumer.mode, consumer.base_send, consumer.scope = "main", send, {"client": ["127.0.0.1", 1], "headers": []}
        async with consumer.stream.lock:
            await consumer.open(Identity(alice.id, alice.email, uuid.uuid4(), int(time.time()) + 60), {}, None, [])
        for text in texts:
            await consumer.websocket_receive({"text": text})
        codes.extend(frame["error_code"] for frame in sent[1:])
        consumer.cleanup()

    asyncio.run(talk())
    assert codes == ["invalid_json", "invalid_message", "too_large", "invalid_json"]
    assert InputRequest.objects.get().status == "open"


@pytest.mark.django_db(transaction=True)
def test_agent_status_lists_what_a_waiting_run_asks(alice, run):
    request_id = waiting(run)
    (status,) = sent_by_socket(alice, {"type": "agent_status"})
    assert [(one["status"], one["input_requests"]) for one in status["runs"]] == [("waiting", [str(request_id)])]


@pytest.mark.django_db(transaction=True)
def test_deciders_are_told_a_number_and_never_the_thread_s_events(alice, bob, run, published):
    carol = User.objects.create_user("carol@example.com")
    Group.objects.create(name="finance").user_set.add(bob, alice)
    published.clear()
    request_id = ask(run, "approval", decided_by="group:finance")
    accept(bob, request_id)
    ask(run, "approval", decided_by="group:finance")
    runs.cancel(alice.id)
    counts = [1, 0, 1, 0]
    assert told_to(bob, published) == [{"type": "approvals_changed", "open": count} for count in counts]
    assert told_to(alice, published) == told_to(carol, published) == []
    assert not [group for group, told in published if group.endswith(f".{bob.id}") and told["type"] == "events"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["expiry", "delete"])
def test_deciders_are_told_of_requests_that_nobody_decides(alice, bob, run, published, end):
    Group.objects.create(name="finance").user_set.add(bob)
    waiting(run, "approval", decided_by="group:finance")
    published.clear()
    if end == "expiry":
        InputRequest.objects.update(expires_at=Now() - timedelta(seconds=1))
        runs.expire_inputs()
    else:
        runs.delete(alice.id, uuid.UUID(run.thread_id))
    assert told_to(bob, published)[-1]["open"] == 0


@pytest.mark.django_db(transaction=True)
def test_who_joins_or_leaves_a_group_is_told_what_waits_now(alice, bob, run, published):
    finance, other = Group.objects.create(name="finance"), Group.objects.create(name="other")
    finance.user_set.add(User.objects.create_user("carol@example.com"))
    ask(run, "approval", decided_by="group:finance")
    changes = [
        (lambda: bob.groups.add(finance, other), 1),
        (lambda: bob.groups.remove(finance), 0),
        (lambda: finance.user_set.add(bob), 1),
        (lambda: finance.user_set.clear(), 0),
        (lambda: bob.groups.set([finance]), 1),
        (lambda: bob.groups.clear(), 0),
        (lambda: finance.user_set.add(bob), 1),
        (lambda: Group.objects.filter(pk=finance.pk).get().delete(), 0),
    ]
    for change, count in changes:
        published.clear()
        change()
        assert told_to(bob, published)[-1]["open"] == count


def test_admit_returns_how_many_requests_a_member_may_decide(alice, bob, run):
    claims = authentication.read_claims(sessions.sign_in(bob, "").access)
    for name in ("finance", "other", "third"):
        bob.groups.add(Group.objects.create(name=name))
    Group.objects.create(name="strangers").user_set.add(alice)
    requests = [
        ask(run, "approval", decided_by=f"group:{name}") for name in ("finance", "finance", "other", "strangers")
    ]
    ask(run)
    runs.start(bob.id, message())
    ask(claim_one(), "approval", decided_by="group:strangers")
    for _ in range(3):  # threads of Bob's: each is a row
        runs.start(bob.id, message())
    _, heads, approvals = authentication.admit(claims)
    assert (len(heads), approvals) == (4, 3)
    InputRequest.objects.filter(run_id=run.run_id).update(user=bob)
    assert authentication.admit(claims)[2] == 0, "his own, whatever his groups"
    InputRequest.objects.filter(run_id=run.run_id).update(user=alice)
    runs.cancel_input(requests[0], runs.Decider(alice.id, "admin"), "")
    assert authentication.admit(claims)[2] == 2
    Thread.objects.filter(id=run.thread_id).update(deleted_at=Now())
    assert authentication.admit(claims)[2] == 0
    bob.groups.clear()
    assert authentication.admit(claims)[2] is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["rest", "socket"])
@pytest.mark.parametrize("decided_by", ["owner", "group:finance"])
def test_an_answer_against_the_deletion_of_its_thread_has_one_outcome(alice, bob, how, decided_by):
    Group.objects.create(name="finance").user_set.add(bob)
    user = alice if decided_by == "owner" else bob
    caller, owner = client(user), client(alice)
    for _ in range(5):
        thread_id = runs.start(alice.id, message()).thread_id
        request_id = waiting(claim_one(), "approval", decided_by=decided_by)
        deleted = []

        def delete(thread_id=thread_id, deleted=deleted):
            try:
                deleted.append(owner.delete(f"/api/threads/{thread_id}").status_code)
            finally:
                connection.close()

        if how == "rest":
            deleting = threading.Thread(target=delete)
            deleting.start()
            given = caller.post(f"/api/inputs/{request_id}/answer", {"action": "accept"}, format="json")
            deleting.join()
            found = "accepted" if given.status_code == 200 else given.json()["error"]
        else:
            frame = {"type": "answer_input", "request_id": str(request_id), "action": "accept"}
            sent = sent_by_socket(user, frame, meanwhile=delete)
            (found,) = [f.get("error_code", "accepted") for f in sent if f["type"] in ("answer_accepted", "error")]
        row = InputRequest.objects.get(pk=request_id)
        assert found in {"accepted": ["accepted"], "cancelled": ["not_found", "conflict"]}[row.status]
        assert (deleted, row.run.status) == ([204], Run.CANCELLED)
        kinds = [frame for frame in frames(thread_id) if frame["type"] in ("input_resolved", *protocol.TERMINAL)]
        assert [frame["status"] for frame in kinds] == [row.status, "cancelled"]
        assert AuditRecord.objects.filter(kind="input_resolved", detail__contains=str(request_id)).count() == 1
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_handshake_is_one_query(alice, bob, run):
    Group.objects.create(name="finance").user_set.add(bob)
    ask(run, "approval", decided_by="group:finance")
    access = sessions.sign_in(bob, "").access

    def count_from_now():
        connection.force_debug_cursor = True
        connection.queries_log.clear()

    def counted():
        connection.force_debug_cursor = False
        return len(connection.queries_log)

    async def talk():
        consumer = ChatConsumer(ConnectionRegistry(), StartBatcher())
        await from_database(count_from_now)
        async with asyncio.timeout(WAIT_TIMEOUT), consumer.stream.lock:
            found = await consumer.identify(access)
        consumer.cleanup()
        return found[2], await from_database(counted)

    assert asyncio.run(talk()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_socket_that_opens_is_told_what_waits_for_a_member_of_a_group(alice, bob, run):
    assert sent_by_socket(bob) == []
    Group.objects.create(name="finance").user_set.add(alice, bob)
    assert sent_by_socket(bob) == [{"type": "approvals_changed", "open": 0}]
    ask(run, "approval", decided_by="group:finance")
    assert sent_by_socket(bob) == [{"type": "approvals_changed", "open": 1}]
    assert sent_by_socket(alice) == [{"type": "approvals_changed", "open": 0}]


def test_a_legacy_socket_reads_the_question_as_a_thought(run):
    ask(run)
    frame = json.loads(protocol.with_older_names(json.dumps(frames(run.thread_id)[-1])))
    assert frame["thought"] == frame["data"]["message"] == "Which?"
    assert "error_message" not in frame


# ---- REST ----


def test_requests_are_listed_for_their_owner_and_deciders(alice, bob, run):
    Group.objects.create(name="finance").user_set.add(bob)
    own, group = ask(run), ask(run, "approval", decided_by="group:finance")
    accept(alice, own)

    def ids(user, query=""):
        answer = client(user).get(f"/api/inputs{query}").json()
        assert answer["total_count"] == len(answer["inputs"])
        return [one["id"] for one in answer["inputs"]]

    assert ids(alice) == ids(bob) == [str(group)]
    assert ids(alice, "?status=all") == [str(group), str(own)]
    assert ids(bob, "?role=approver") == [str(group)]
    assert client(bob).get(f"/api/inputs/{group}").json()["user"] == {"user_id": str(alice.id), "name": "Alice"}
    assert ids(bob, "?role=owner") == ids(alice, "?role=approver") == []
    assert ids(alice, f"?status=all&run_id={run.run_id}") == [str(group), str(own)]
    assert ids(alice, f"?thread_id={uuid.uuid4()}") == []
    for query in ("status=some", "role=x", "run_id=1"):
        answer = client(alice).get(f"/api/inputs?{query}")
        assert (answer.status_code, answer.json()["field"]) == (422, query.partition("=")[0])


def test_requests_come_in_pages(alice, run):
    ids = [str(ask(run)) for _ in range(5)]
    pages = [client(alice).get(f"/api/inputs?page={page}&page_size=2").json() for page in (1, 2, 3)]
    assert [one["id"] for page in pages for one in page["inputs"]] == ids[::-1]
    assert [(page["total_count"], page["page"], page["page_size"], page["has_more"]) for page in pages] == [
        (5, 1, 2, True),
        (5, 2, 2, True),
        (5, 3, 2, False),
    ]
    assert client(alice).get("/api/inputs?page_size=101").status_code == 422


def test_a_request_has_all_its_fields(alice, bob, run):
    request_id = waiting(run, "approval", four_eyes=False, reason="interrupted")
    shown = client(alice).get(f"/api/inputs/{request_id}").json()
    assert (shown["object"], shown["kind"], shown["status"]) == ("input_request", "approval", "open")
    assert (shown["tool_name"], shown["parameters"], shown["reason"]) == ("refund", {"amount": 5}, "interrupted")
    assert (shown["agent"], shown["run_id"], shown["resolved_by"]) == (run.agent, run.run_id, None)
    other = client(bob).get(f"/api/inputs/{request_id}")
    assert (other.status_code, other.json()) == (404, client(bob).get(f"/api/inputs/{uuid.uuid4()}").json())


def test_rest_answers(alice, bob, run):
    request_id = waiting(run, "approval")
    assert post(bob, request_id, action="accept").status_code == 404
    assert post(alice, request_id, action="maybe").status_code == 422
    done = post(alice, request_id, action="accept", parameters={"amount": 4}, reason="less")
    assert done.status_code == 200
    shown = done.json()
    assert (shown["status"], shown["edited"], shown["edited_parameters"]) == ("accepted", True, {"amount": 4})
    assert (shown["comment"], shown["via"], shown["resolved_by"]["name"]) == ("less", "rest", "Alice")
    assert post(alice, request_id, action="accept", parameters={"amount": 4}).status_code == 200
    conflict = post(alice, request_id, action="decline")
    assert (conflict.status_code, conflict.json()["error"], conflict.json()["status"]) == (409, "conflict", "accepted")


def test_four_eyes_forbid_the_owner(alice, bob, run):
    Group.objects.create(name="finance").user_set.add(alice, bob)
    request_id = ask(run, "approval", decided_by="group:finance", four_eyes=True)
    assert post(alice, request_id, action="accept").status_code == 403
    assert post(bob, request_id, action="accept").status_code == 200


def test_runs_and_threads_say_what_they_wait_for(alice, run):
    request_id = waiting(run)
    caller = client(alice)
    shown = caller.get(f"/api/runs/{run.run_id}").json()
    assert (shown["status"], shown["inputs"], shown["waiting_since"] is None) == ("waiting", [str(request_id)], False)
    assert [thread["open_inputs"] for thread in caller.get("/api/threads").json()["threads"]] == [1]
    accept(alice, request_id)
    runs.record([completed(claim_one())])
    shown = caller.get(f"/api/runs/{run.run_id}").json()
    assert (shown["inputs"], shown["waiting_since"]) == ([], None)
    assert caller.get(f"/api/threads/{run.thread_id}").json()["open_inputs"] == 0


def test_execute_returns_as_soon_as_the_run_waits(alice, monkeypatch):
    asked = []

    def suspended(pause):
        if not asked:
            asked.append(waiting(claim_one()))

    monkeypatch.setattr("chat.api.agents.time.sleep", suspended)
    answer = client(alice).post("/api/agents/execute", {"agent": "echo", "content": "x"}, format="json")
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    assert answer.json()["inputs"] == [str(asked[0])]


def test_nobody_is_there_where_the_message_says_so(alice):
    body = {"agent": "echo", "content": "x", "interactive": False, "client_msg_id": "one"}
    assert client(alice).post("/api/messages", body, format="json").status_code == 202
    assert not Run.objects.get().interactive
    assert client(alice).post("/api/messages", {**body, "interactive": True}, format="json").status_code == 409
    ask(claim_one())
    assert InputRequest.objects.get().status == "expired"


def test_grants_are_listed_and_revoked(alice, bob, run):
    post(alice, ask(run, "approval"), action="accept", remember="thread")
    (grant,) = client(alice).get("/api/grants").json()["grants"]
    assert (grant["tool_name"], grant["thread_id"]) == ("refund", run.thread_id)
    assert client(bob).get("/api/grants").json()["total_count"] == 0
    assert client(bob).delete(f"/api/grants/{grant['id']}").status_code == 404
    assert client(alice).delete(f"/api/grants/{grant['id']}").status_code == 204
    assert not Grant.objects.exists()


def test_an_older_client_sees_the_run_end_by_expiry(alice, run):
    waiting(run)
    InputRequest.objects.update(expires_at=Now() - timedelta(seconds=1))
    runs.expire_inputs()
    assert Run.objects.get().status == Run.QUEUED
    assert len(runs.claim(new_worker(), AGENTS, 1)) == 1
