"""Sections 2 to 4 of the wire, end to end: real daphne, worker, Redis protocol and database, every frame both ways."""

import json
import re
import signal
import struct
import uuid
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from chat import protocol
from chat.protocol import TERMINAL
from tests.site import NATIVE_MODES, wait_until

PATHS = tuple(NATIVE_MODES)


@pytest.fixture(autouse=True)
def _closed_afterwards(site):
    """The site closes its sockets after each test."""


@pytest.fixture(scope="module")
def alice(_site):
    return _site.register("alice")


@pytest.fixture(scope="module")
def bob(_site):
    return _site.register("bob")


@pytest.fixture
def gate(tmp_path):
    """File that the agent `gated` waits for: its message is the path."""
    return tmp_path / "gate"


def random_id():
    return str(uuid.uuid4())


def types(events):
    """Return the types of the events, adjacent deltas as one: their number is up to the event writer."""
    kinds = [event["type"] for event in events]
    return [kind for before, kind in pairwise([None, *kinds]) if not before == kind == "agent_delta"]


def seqs(events):
    return [event["seq"] for event in events]


def log_of(user, thread_id):
    """The whole log of a thread, by REST."""
    answer = user.http("GET", f"/api/threads/{thread_id}/events?after=0&limit=1000").json()
    assert not answer["more"]
    return answer["events"]


def messages_of(user, thread_id):
    return user.http("GET", f"/api/threads/{thread_id}/messages?page_size=100").json()["messages"]


def check_whole(user, thread_id, runs):
    """The log has no gap and no duplicate, and one terminal event for each of `runs`, its last."""
    log = log_of(user, thread_id)
    assert seqs(log) == list(range(1, len(log) + 1))
    for run_id in runs:
        assert [event["type"] in TERMINAL for event in log if event["run_id"] == run_id][-2:] == [False, True]
    assert sum(event["type"] in TERMINAL for event in log) == len(runs)
    return log


def own(event):
    """The fields of an event beyond the envelope."""
    return {name: value for name, value in event.items() if name not in protocol.ENVELOPE}


def error(socket, frame, code, field=None, ref="the-ref"):
    """Send a bad frame; the error, which must be all that it brings."""
    socket.send(frame | {"id": ref} if isinstance(frame, dict) else frame)
    found = socket.next()
    expected = {"error_code": code, "ref": ref if isinstance(frame, dict) else None, "recoverable": True}
    expected |= {} if field is None else {"field": field}
    message = found.pop("message")
    assert message
    assert found == {"type": "error", **expected}
    return found | {"message": message}


def done(socket, content="hello", agent="echo", **fields):
    """Send a message and wait for its run's end; what was accepted."""
    accepted = socket.ask(content, agent, **fields)
    socket.answer(accepted["run_id"])
    return accepted


def wait_for_delta(socket, run_id):
    """Until the run has said something: it may have while the answer to another message was waited for."""
    if not any(frame["type"] == "agent_delta" and frame["run_id"] == run_id for frame in socket.got):
        socket.receive("agent_delta", run_id=run_id)


# ---- user_message: its names and places --------------------------------------------------------------------

MESSAGE_TYPES = ("user_message", *(old for old, new in protocol.OLDER_TYPES.items() if new == "user_message"))
CONTENT_NAMES = ("content", "user_request", "message", "text", "input")


def test_a_message_under_every_name_in_every_place_is_the_same_message(alice):
    """Each is a resend of the first: whatever was read otherwise would be a conflict or another run."""
    socket = alice.connect()
    assert len(MESSAGE_TYPES) == 8
    first = done(socket, "one and the same", client_msg_id=(mark := random_id()))
    for kind in MESSAGE_TYPES:
        for content in CONTENT_NAMES:
            for agent in ("agent", "agent_type"):
                fields = {content: "one and the same", agent: "echo", "client_msg_id": mark}
                for frame in (fields, {"payload": fields}, {"data": fields}):
                    socket.send({"type": kind, **frame})
                    assert socket.next() == first, (kind, frame)
    assert socket.silent()
    assert len(check_whole(alice, first["thread_id"], [first["run_id"]])) == len(socket.events(first["thread_id"]))


@pytest.mark.essential
def test_what_is_accepted(alice):
    socket = alice.connect()
    thread_id, mark = random_id(), random_id()
    first = done(socket, thread_id=thread_id, client_msg_id=mark)
    assert first.keys() == {"type", "client_msg_id", "thread_id", "message_id", "run_id", "seq"}
    assert (first["thread_id"], first["client_msg_id"], first["seq"]) == (thread_id, mark, 1)
    second = done(socket, thread_id=thread_id)
    assert second["client_msg_id"] is None
    log = log_of(alice, thread_id)
    assert log[second["seq"] - 1]["type"] == "message_created"
    assert log[second["seq"] - 1]["message_id"] == second["message_id"]
    assert log[second["seq"] - 1]["run_id"] == second["run_id"]
    # Without a thread it is a new one.
    assert done(socket)["thread_id"] not in (thread_id, done(socket)["thread_id"])


def test_a_message_goes_to_the_threads_agent_else_to_the_first(alice):
    socket = alice.connect()
    thread_id = done(socket, agent="structured")["thread_id"]
    socket.send({"type": "user_message", "content": "and now?", "thread_id": thread_id})
    started = socket.receive("agent_started")
    assert started["agent_name"] == "structured"
    socket.answer(started["run_id"])
    socket.send({"type": "user_message", "content": "hello"})
    started = socket.receive("agent_started")
    assert started["agent_name"] == socket.hello["data"]["agents"][0] == "advisor"
    socket.answer(started["run_id"])


def test_a_hundred_messages_in_a_burst_are_answered(alice):
    socket = alice.connect()
    for number in range(100):
        socket.send({"type": "user_message", "content": f"number {number}", "agent": "echo"})
    accepted = [socket.receive("message_accepted") for _ in range(100)]
    for one in accepted:
        socket.answer(one["run_id"])
    assert [frame for frame in socket.got if frame["type"] == "error"] == []
    for number, one in enumerate(accepted):
        events = socket.events(one["thread_id"])
        assert seqs(events) == list(range(1, len(events) + 1))
        assert (events[0]["content"], events[-1]["final_response"]) == (f"number {number}", f"number {number} ")


def test_messages_of_many_sockets_to_one_thread_follow_each_other(alice):
    thread_id, sockets = random_id(), [alice.connect() for _ in range(5)]
    for number in range(5):
        for socket in sockets:
            socket.send({"type": "user_message", "content": str(number), "thread_id": thread_id, "agent": "echo"})
    answers = [socket.receive("message_accepted") for socket in sockets for _ in range(5)]
    for answer in answers:
        sockets[0].answer(answer["run_id"])
    accepted = {answer["message_id"] for answer in answers}
    created = [event for event in log_of(alice, thread_id) if event["type"] == "message_created"]
    assert {event["message_id"] for event in created} == accepted
    parents = {event["parent_id"] for event in created}
    assert len(accepted) == len(parents) == 25  # no two follow the same one


# ---- user_message: client_msg_id ---------------------------------------------------------------------------


def test_one_client_msg_id_fifty_times_at_once_is_one_run(alice):
    tabs, thread_id = [alice.connect(), alice.connect()], random_id()
    frame = {"type": "user_message", "content": "once", "agent": "echo", "thread_id": thread_id, "client_msg_id": "x"}
    frame["client_msg_id"] = random_id()
    for _ in range(25):
        for tab in tabs:
            tab.send(frame)
    answers = [tab.receive("message_accepted") for tab in tabs for _ in range(25)]
    assert all(answer == answers[0] for answer in answers)
    for tab in tabs:
        tab.answer(answers[0]["run_id"])
        assert tab.silent()
        assert tab.events(thread_id) == check_whole(alice, thread_id, [answers[0]["run_id"]])


@pytest.mark.parametrize(
    "other",
    [
        {"content": "another"},
        {"agent": "structured"},
        {"agent": None},
        {"thread_id": "another"},
        {"parent_id": None},
        {"attachment_ids": ["00000000-0000-4000-8000-000000000000"]},
    ],
    ids=str,
)
def test_a_client_msg_id_with_something_else_is_a_conflict(alice, other):
    socket = alice.connect()
    first = done(socket, "hello", client_msg_id=(mark := random_id()))
    if "thread_id" in other:
        other = {"thread_id": done(socket)["thread_id"]}
    frame = {"type": "user_message", "content": "hello", "agent": "echo", "client_msg_id": mark}
    error(socket, frame | other, "conflict", "client_msg_id", ref=mark)
    assert socket.silent()
    socket.send(frame | {"thread_id": first["thread_id"]})  # the same thread, by its name now
    assert socket.next() == first


def test_a_client_msg_id_is_its_users_own(alice, bob):
    mark = random_id()
    ours, theirs = (done(user.connect(), "hello", client_msg_id=mark) for user in (alice, bob))
    assert ours["client_msg_id"] == theirs["client_msg_id"] == mark
    assert ours["run_id"] != theirs["run_id"]


def test_a_resend_of_a_message_shows_what_was_missed_of_it(alice, gate):
    """The client that saw no message_accepted before its connection went."""
    before = alice.connect()
    thread_id, mark = random_id(), random_id()
    accepted = before.ask(str(gate), "gated", thread_id=thread_id, client_msg_id=mark)
    wait_for_delta(before, accepted["run_id"])
    before.close()
    tabs = [alice.connect(path) for path in PATHS]
    for tab in tabs:
        assert tab.ask(str(gate), "gated", thread_id=thread_id, client_msg_id=mark) == accepted
    gate.touch()
    log = None
    for tab in tabs:
        assert tab.answer(accepted["run_id"])["final_response"] == "before after 1"
        log = log or check_whole(alice, thread_id, [accepted["run_id"]])
        got = seqs(tab.events(thread_id))
        assert got == seqs(log)[-len(got) :]


# ---- user_message: parent_id, and regenerate ---------------------------------------------------------------


def test_a_message_follows_the_newest_the_given_or_none(alice):
    socket = alice.connect()
    first = done(socket, "one")
    thread_id = first["thread_id"]
    second = done(socket, "two", thread_id=thread_id)
    edited = done(socket, "two, edited", thread_id=thread_id, parent_id=first["message_id"])
    root = done(socket, "another root", thread_id=thread_id, parent_id=None)
    created = {event["message_id"]: event for event in socket.events(thread_id) if event["type"] == "message_created"}
    answer_to_one = next(m["id"] for m in messages_of(alice, thread_id) if m["parent_id"] == first["message_id"])
    assert created[first["message_id"]]["parent_id"] is None
    assert created[second["message_id"]]["parent_id"] == answer_to_one
    assert created[edited["message_id"]]["parent_id"] == first["message_id"]
    assert created[root["message_id"]]["parent_id"] is None
    for frame in socket.events(thread_id):
        if frame["type"] == "message_created":
            stored = next(m for m in messages_of(alice, thread_id) if m["id"] == frame["message_id"])
            assert stored["parent_id"] == frame["parent_id"]


def test_an_agent_is_given_the_branch_of_its_message(alice):
    socket = alice.connect()
    first = done(socket, "one", "echo")
    thread_id = first["thread_id"]
    done(socket, "two", "echo", thread_id=thread_id)
    run = socket.ask("three", "family", thread_id=thread_id)["run_id"]
    said = socket.answer(run)["final_response"]
    assert said == "user: one | assistant: one  | user: two | assistant: two  | user: three"
    run = socket.ask("edited", "family", thread_id=thread_id, parent_id=None)["run_id"]
    assert socket.answer(run)["final_response"] == "user: edited"


def told(texts, gate):
    """The history of the last of these messages, where each one before it has its answer."""
    lines = [(["user", text], ["assistant", f"answer to {Path(text).name}"]) for text in texts]
    return [line for pair in lines for line in pair][:-1]


@pytest.mark.parametrize("place", ["socket", "REST"])
def test_twenty_messages_in_a_row_are_each_told_of_all_before_them(alice, gate, place):
    socket = alice.connect()
    texts = [str(gate), *(f"u{number}" for number in range(1, 20))]
    accepted = [socket.ask(texts[0], "recalling")]
    thread_id = accepted[0]["thread_id"]

    def send(text):
        if place == "socket":
            return socket.ask(text, "recalling", thread_id=thread_id)
        return alice.http("POST", f"/api/threads/{thread_id}/messages", {"content": text}).json()

    accepted += [send(text) for text in texts[1:10]]
    gate.touch()
    socket.answer(accepted[0]["run_id"])  # the rest are sent while answers come
    accepted += [send(text) for text in texts[10:]]
    for number, one in enumerate(accepted, 1):
        assert socket.answer(one["run_id"])["result"] == {"history": told(texts[:number], gate)}
    messages = {message["id"]: message for message in messages_of(alice, thread_id)}
    for before, after in pairwise(one["message_id"] for one in accepted):
        follows = messages[messages[after]["parent_id"]]
        assert before in (follows["id"], follows["parent_id"])
    export = alice.http("GET", f"/api/threads/{thread_id}/export?format=json").json()["messages"]
    assert [[message["role"], message["content"]] for message in export[:-1]] == told(texts, gate)
    export = alice.http("GET", f"/api/threads/{thread_id}/export?format=md").text
    assert "another version" not in export
    places = [export.index(text) for line in told(texts, gate) for text in (f"\n\n{line[1]}\n",)]
    assert places == sorted(places)


@pytest.mark.parametrize("place", [None, "payload", "data"])
def test_regenerate_gives_the_same_message_another_answer(alice, place):
    socket = alice.connect()
    first = done(socket, "say it again")
    thread_id, answer = first["thread_id"], socket.got[-1]["message_id"]
    fields = {"message_id": answer, "agent": "structured", "client_msg_id": random_id()}
    frame = {"type": "regenerate", **(fields if place is None else {place: fields})}
    socket.send(frame)
    again = socket.receive("message_accepted")
    assert again["message_id"] == first["message_id"]
    assert (again["thread_id"], again["client_msg_id"]) == (thread_id, fields["client_msg_id"])
    assert again["run_id"] != first["run_id"]
    assert again["seq"] == max(event["seq"] for event in log_of(alice, thread_id) if event["run_id"] == first["run_id"])
    end = socket.answer(again["run_id"])
    assert (end["agent_name"], end["final_response"]) == ("structured", "said")
    socket.send(frame)
    assert socket.next() == again
    answers = [m for m in messages_of(alice, thread_id) if m["role"] == "assistant"]
    assert {m["parent_id"] for m in answers} == {first["message_id"]}
    assert {m["id"] for m in answers} == {answer, end["message_id"]}
    log = check_whole(alice, thread_id, [first["run_id"], again["run_id"]])
    assert [event["type"] for event in log].count("message_created") == 1


def test_regenerate_takes_an_answer_only(alice):
    socket = alice.connect()
    accepted = done(socket)
    answer = socket.got[-1]["message_id"]
    for message_id in (accepted["message_id"], random_id()):
        error(socket, {"type": "regenerate", "message_id": message_id}, "not_found", "message_id")
    error(socket, {"type": "regenerate", "message_id": answer, "agent": "nobody"}, "unknown_agent", "agent")
    error(socket, {"type": "regenerate", "message_id": 5}, "invalid_message", "message_id")
    error(socket, {"type": "regenerate"}, "invalid_message", "message_id")
    socket.send({"type": "regenerate", "message_id": answer, "client_msg_id": (mark := random_id())})
    socket.answer(socket.receive("message_accepted")["run_id"])
    conflict = {"type": "regenerate", "message_id": answer, "agent": "structured", "client_msg_id": mark}
    error(socket, conflict, "conflict", "client_msg_id", ref=mark)


# ---- stop_agent, and the queue -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stop_agent", "cancel_run"])
@pytest.mark.parametrize("place", [None, "payload", "data"])
def test_a_running_run_is_stopped_once(alice, kind, place):
    socket = alice.connect()
    accepted = socket.ask("go on", "slow")
    thread_id, run_id = accepted["thread_id"], accepted["run_id"]
    wait_for_delta(socket, run_id)
    fields = {"run_id": run_id}
    frame = {"type": kind, **(fields if place is None else {place: fields})}
    socket.send(frame)
    socket.send(frame)
    assert [socket.receive("stop_accepted")["run_ids"] for _ in range(2)] == [[run_id], []]
    end = socket.answer(run_id)
    assert own(end).keys() == {"status", "message_id"}
    assert (end["type"], end["status"], end["agent_name"]) == ("agent_cancelled", "cancelled", "slow")
    assert socket.silent()
    log = check_whole(alice, thread_id, [run_id])
    assert socket.events(thread_id) == log
    said = "".join(event["delta"] for event in log if event["type"] == "agent_delta")
    stored = messages_of(alice, thread_id)[-1]
    assert (stored["id"], stored["role"], stored["content"]) == (end["message_id"], "assistant", said)
    assert alice.http("GET", f"/api/runs/{run_id}").json()["status"] == "cancelled"


def test_a_stopped_thread_can_go_on(alice):
    socket = alice.connect()
    accepted = socket.ask("go on", "slow")
    wait_for_delta(socket, accepted["run_id"])
    socket.send({"type": "stop_agent", "run_id": accepted["run_id"]})
    socket.answer(accepted["run_id"])
    after = done(socket, "and now", thread_id=accepted["thread_id"])
    check_whole(alice, accepted["thread_id"], [accepted["run_id"], after["run_id"]])


def test_a_queued_run_is_stopped_before_it_begins(alice, gate):
    socket = alice.connect()
    running = socket.ask(str(gate), "gated")
    thread_id = running["thread_id"]
    wait_for_delta(socket, running["run_id"])
    queued = socket.ask("never", thread_id=thread_id)
    socket.send({"type": "stop_agent", "run_id": queued["run_id"]})
    end = socket.answer(queued["run_id"])
    assert (end["type"], end["attempt"], own(end)) == ("agent_cancelled", 0, {"status": "cancelled"})
    gate.touch()
    assert socket.answer(running["run_id"])["final_response"] == "before after 1"
    log = check_whole(alice, thread_id, [running["run_id"], queued["run_id"]])
    assert types(event for event in log if event["run_id"] == queued["run_id"]) == [
        "message_created",
        "agent_cancelled",
    ]


def test_stopping_what_has_ended_changes_nothing(alice):
    socket = alice.connect()
    accepted = done(socket)
    for which in ("run_id", "thread_id"):
        socket.send({"type": "stop_agent", which: accepted[which]})
        assert socket.next() == {"type": "stop_accepted", "run_ids": []}
    assert socket.silent()
    check_whole(alice, accepted["thread_id"], [accepted["run_id"]])
    assert alice.http("GET", f"/api/runs/{accepted['run_id']}").json()["status"] == "completed"


def test_a_threads_runs_are_stopped_and_no_others(alice, gate):
    socket = alice.connect()
    elsewhere = socket.ask(str(gate), "gated")
    running = socket.ask("go on", "slow")
    queued = socket.ask("never", thread_id=running["thread_id"])
    wait_for_delta(socket, running["run_id"])
    socket.send({"type": "stop_agent", "thread_id": running["thread_id"]})
    runs = {running["run_id"], queued["run_id"]}
    assert set(socket.receive("stop_accepted")["run_ids"]) == runs
    assert {socket.answer(run_id)["type"] for run_id in runs} == {"agent_cancelled"}
    gate.touch()
    assert socket.answer(elsewhere["run_id"])["type"] == "agent_completed"
    check_whole(alice, running["thread_id"], runs)


def test_without_an_id_all_of_the_users_runs_are_stopped(site, alice, gate):
    user, other = site.register("stopper").connect(), alice.connect()
    theirs = other.ask(str(gate), "gated")
    accepted = [user.ask("go on", "slow"), user.ask("go on", "slow")]
    accepted.append(user.ask("never", thread_id=accepted[0]["thread_id"]))
    user.send({"type": "stop_agent"})
    runs = {one["run_id"] for one in accepted}
    assert set(user.receive("stop_accepted")["run_ids"]) == runs
    assert {user.answer(run_id)["type"] for run_id in runs} == {"agent_cancelled"}
    user.send({"type": "agent_status"})
    assert user.receive("agent_status")["runs"] == []
    gate.touch()
    assert other.answer(theirs["run_id"])["type"] == "agent_completed"


def test_runs_of_a_thread_wait_for_each_other(alice, gate):
    socket = alice.connect()
    runs = [socket.ask(str(gate), "gated")]
    thread_id = runs[0]["thread_id"]
    runs += [socket.ask(f"number {number}", thread_id=thread_id) for number in (1, 2)]
    socket.send({"type": "agent_status"})
    socket.receive("agent_status")
    gate.touch()
    assert socket.answer(runs[-1]["run_id"])["final_response"] == "number 2 "
    log = check_whole(alice, thread_id, [run["run_id"] for run in runs])
    assert socket.events(thread_id) == log
    work = [event["run_id"] for event in log if event["type"] != "message_created"]
    assert work == sorted(work, key=[run["run_id"] for run in runs].index)


def test_agent_status(site, gate):
    socket = site.register("watcher").connect()
    running = socket.ask(str(gate), "gated")
    wait_for_delta(socket, running["run_id"])
    queued = socket.ask("later", thread_id=running["thread_id"])
    for kind in ("agent_status", "get_agent_status"):
        socket.send({"type": kind})
        status = socket.receive("agent_status")
        assert status.keys() == {"type", "runs"}
        first, second = status["runs"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("started_at"))
        thread_id = running["thread_id"]
        about = {"run_id": running["run_id"], "thread_id": thread_id, "agent": "gated"}
        assert first == {**about, "status": "running", "attempt": 1}
        about = {"run_id": queued["run_id"], "thread_id": thread_id, "agent": "echo"}
        assert second == {**about, "status": "queued", "attempt": 0, "started_at": None}
    gate.touch()
    socket.answer(queued["run_id"])
    socket.send({"type": "agent_status"})
    assert socket.receive("agent_status")["runs"] == []


# ---- Bad frames --------------------------------------------------------------------------------------------


def test_every_error_of_a_frame_leaves_the_socket_open(alice):
    socket = alice.connect()
    message = {"type": "user_message", "content": "hello"}
    for frame, code, field in (
        ("not JSON", "invalid_json", None),
        ("{", "invalid_json", None),
        ('{"type": "ping", "type": "ping"}', "invalid_json", None),
        ('{"type": "user_message", "content": NaN}', "invalid_json", None),
        ('{"type": "ping", "n": 9' + "9" * 30_000 + "}", "invalid_message", "n"),
        ('{"type": "ping", "n": ' + "[" * 30_000 + "]" * 30_000 + "}", "invalid_json", None),
        ("[]", "invalid_message", None),
        ("5", "invalid_message", None),
        ("{}", "invalid_message", "type"),
        ({"type": 5}, "invalid_message", "type"),
        ({"type": None}, "invalid_message", "type"),
        ({"type": "unheard_of"}, "unknown_type", None),
        ({"type": "__proto__"}, "unknown_type", None),
        ({"type": "user_message"}, "invalid_message", "content"),
        ({"type": "chat", "payload": {"text": 5}}, "invalid_message", "content"),
        (message | {"content": ""}, "invalid_message", "content"),
        (message | {"content": "  \n"}, "invalid_message", "content"),
        (message | {"content": ["hello"]}, "invalid_message", "content"),
        (message | {"content": "a\x00b"}, "invalid_message", "content"),
        (message | {"content": "a\ud800b"}, "invalid_message", "content"),
        (message | {"content": "x" * 65_536}, "too_large", None),
        (message | {"payload": 5}, "invalid_message", "payload"),
        (message | {"data": []}, "invalid_message", "data"),
        (message | {"thread_id": 5}, "invalid_message", "thread_id"),
        (message | {"thread_id": "5"}, "invalid_message", "thread_id"),
        (message | {"parent_id": "root"}, "invalid_message", "parent_id"),
        (message | {"parent_id": random_id()}, "not_found", "parent_id"),
        (message | {"agent": 5}, "invalid_message", "agent"),
        (message | {"agent": "nobody"}, "unknown_agent", "agent"),
        (message | {"agent_type": "nobody"}, "unknown_agent", "agent"),
        (message | {"attachment_ids": "all"}, "invalid_message", "attachment_ids"),
        (message | {"attachment_ids": [random_id()]}, "not_found", "attachment_ids"),
        ({"type": "stop_agent", "run_id": 5}, "invalid_message", "run_id"),
        ({"type": "stop_agent", "thread_id": "x"}, "invalid_message", "thread_id"),
        ({"type": "stop_agent", "run_id": random_id()}, "not_found", "run_id"),
        ({"type": "stop_agent", "thread_id": random_id()}, "not_found", "thread_id"),
        ({"type": "resume", "after": 0}, "invalid_message", "thread_id"),
        ({"type": "resume", "thread_id": random_id()}, "invalid_message", "after"),
        ({"type": "resume", "thread_id": random_id(), "after": "0"}, "invalid_message", "after"),
        ({"type": "resume", "thread_id": random_id(), "after": -1}, "invalid_message", "after"),
        ({"type": "resume", "thread_id": random_id(), "after": True}, "invalid_message", "after"),
        ({"type": "resume", "thread_id": random_id(), "after": 0, "limit": 0}, "invalid_message", "limit"),
        ({"type": "resume", "thread_id": random_id(), "after": 0}, "not_found", "thread_id"),
        ({"type": "subscribe", "thread_id": random_id(), "after": 2**62}, "not_found", "thread_id"),
        ({"type": "ack"}, "invalid_message", "received"),
        ({"type": "ack", "received": "5"}, "invalid_message", "received"),
        ({"type": "ack", "received": -1}, "invalid_message", "received"),
        ({"type": "authenticate", "token": 5}, "invalid_message", "token"),
        (b"binary", "unsupported_data", None),
        (b"", "unsupported_data", None),
        ("", "unsupported_data", None),
    ):
        if code == "too_large":
            socket.send(frame)
            assert socket.next()["error_code"] == "too_large"
        else:
            error(socket, frame, code, field)
    assert socket.silent()
    threads = alice.http("GET", "/api/threads").json()["total_count"]
    error(socket, message | {"client_msg_id": 5}, "invalid_message", "client_msg_id", ref=5)
    error(socket, message | {"client_msg_id": "m-1", "agent": "nobody"}, "unknown_agent", "agent", ref="m-1")
    assert alice.http("GET", "/api/threads").json()["total_count"] == threads
    assert socket.answer(socket.ask("still here")["run_id"])["final_response"] == "still here "


def test_the_largest_frame_is_taken(alice):
    socket = alice.connect()
    frame = {"type": "user_message", "agent": "structured", "content": ""}
    room = protocol.MAX_FRAME - len(json.dumps(frame))
    socket.send(frame | {"content": "x" * room})
    accepted = socket.receive("message_accepted")
    assert socket.answer(accepted["run_id"])["result"]["text"] == "x" * room
    socket.send(frame | {"content": "x" * (room + 1)})
    assert socket.next()["error_code"] == "too_large"


def masked(opcode, payload, length=None):
    """A client's frame in bytes, under a mask of zeros."""
    return struct.pack("!BBQ4x", 0x80 | opcode, 0x80 | 127, len(payload) if length is None else length) + payload


@pytest.mark.parametrize(
    "data",
    [
        masked(1, b"\xff\xfe"),
        masked(1, b"x" * (1024 * 1024 + 1)),
        masked(1, b"", 2**62),
        masked(7, b"no such opcode"),
        bytes(range(256)) * 8,
    ],
    ids=["invalid UTF-8", "over 1 MiB", "2**62 bytes", "unknown opcode", "garbage"],
)
def test_what_is_no_websocket_ends_that_socket_only(site, alice, data):
    beside, before = alice.connect(), len(site.log("web"))
    raw = site.raw("/ws", f"Authorization: Bearer {alice.access}".encode())
    assert raw.status == 101
    with suppress(ConnectionError):
        raw.socket.sendall(data)
    assert raw.ended()
    assert beside.silent()
    assert "Traceback" not in site.log("web")[before:]


def fragmented(pieces):
    """The client's frames of one text message in these pieces."""
    last = len(pieces) - 1
    return b"".join(
        bytes([(0x80 if index == last else 0) | (1 if index == 0 else 0), 0x80 | len(piece)]) + bytes(4) + piece
        for index, piece in enumerate(pieces)
    )


def test_message_of_a_thousand_fragments_is_read(site, alice):
    raw = site.raw("/ws", f"Authorization: Bearer {alice.access}".encode())
    text = b'{"type": "ping", "id": "' + b"x" * 900 + b'"}'
    raw.socket.sendall(fragmented([text[at : at + 1] for at in range(len(text))]))
    got = b""
    while b'"pong"' not in got:
        piece = raw.socket.recv(65536)
        assert piece
        got += piece


def test_message_of_too_many_fragments_ends_that_socket_only(site, alice):
    beside, before = alice.connect(), len(site.log("web"))
    raw = site.raw("/ws", f"Authorization: Bearer {alice.access}".encode())
    with suppress(ConnectionError):
        raw.socket.sendall(fragmented([b""] * 100_000))
    assert raw.ended()
    assert beside.silent()
    assert "fragments: the connection is dropped" in site.log("web")[before:]
    assert "Traceback" not in site.log("web")[before:]


# ---- ping, heartbeat ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "reply"), [("ping", "pong"), ("heartbeat", "heartbeat_ack")])
@pytest.mark.parametrize(
    "fields",
    [{}, {"id": "a"}, {"id": 5, "timestamp": 1.5}, {"timestamp": "2026-11-22"}, {"id": {"deep": [1]}}],
    ids=str,
)
def test_pings_are_echoed(alice, kind, reply, fields):
    socket = alice.connect()
    for frame in (fields, {"payload": fields}, {"data": fields}):
        socket.send({"type": kind, "anything": "else", **frame})
        assert socket.next() == {"type": reply, **fields}


# ---- resume ------------------------------------------------------------------------------------------------


def resume(socket, thread_id, after, kind="resume", **fields):
    """Resume the thread; return the events and the frame that ends them."""
    start = len(socket.got)
    socket.send({"type": kind, "thread_id": thread_id, "after": after, **fields})
    end = socket.receive("resumed", "resync")
    return socket.got[start:-1], end


@pytest.mark.parametrize("kind", ["resume", "subscribe"])
def test_resume_sends_what_comes_after(alice, kind):
    thread_id = done(alice.connect())["thread_id"]
    log = log_of(alice, thread_id)
    head = len(log)
    socket = alice.connect()
    for after in range(head + 1):
        events, end = resume(socket, thread_id, after, kind)
        assert events == log[after:]
        assert end == {"type": "resumed", "thread_id": thread_id, "after": head, "head": head, "more": False}
    for place in ("payload", "data"):
        socket.send({"type": kind, place: {"thread_id": thread_id, "after": head}})
        assert socket.next()["type"] == "resumed"
    assert socket.silent()


def test_a_long_log_is_resumed_in_order_whatever_the_page(alice):
    talker = alice.connect()
    thread_id = done(talker)["thread_id"]
    while log_of(alice, thread_id)[-1]["seq"] < 120:
        done(talker, thread_id=thread_id)
    log = log_of(alice, thread_id)
    for limit in (1, 49, 50, 51, len(log) - 1, len(log), 1000, 10**9):
        socket, after, events = alice.connect(), 0 if limit > 1 else len(log) - 3, []
        start, more = after, True
        while more:
            page, end = resume(socket, thread_id, after, limit=limit)
            assert len(page) == min(limit, len(log) - after)
            events += page
            after, more = end["after"], end["more"]
            assert (after, end["head"], more) == (page[-1]["seq"], len(log), page[-1]["seq"] < len(log))
        assert events == log[start:]


def test_live_events_wait_while_there_is_more(alice):
    talker, socket = alice.connect(), alice.connect()
    thread_id = done(talker)["thread_id"]
    socket.receive("agent_completed", thread_id=thread_id)
    page, end = resume(socket, thread_id, 0, limit=2)
    assert (seqs(page), end["after"], end["more"]) == ([1, 2], 2, True)
    done(talker, thread_id=thread_id)
    assert socket.silent()
    elsewhere = done(talker)
    socket.answer(elsewhere["run_id"])
    assert {event["thread_id"] for event in socket.got[-3:]} == {elsewhere["thread_id"]}
    page, end = resume(socket, thread_id, 2)
    log = log_of(alice, thread_id)
    assert page == log[2:]
    assert (end["after"], end["head"], end["more"]) == (len(log), len(log), False)
    run = done(talker, thread_id=thread_id)["run_id"]
    socket.answer(run)
    assert socket.events(thread_id)[-len(log_of(alice, thread_id)) :] == log_of(alice, thread_id)


@pytest.mark.essential
def test_resume_goes_on_with_the_live_events_of_a_run(alice, gate):
    talker = alice.connect()
    accepted = talker.ask(str(gate), "gated")
    wait_for_delta(talker, accepted["run_id"])
    socket = alice.connect()
    page, end = resume(socket, accepted["thread_id"], 1)
    assert (seqs(page), end["more"]) == ([2, 3], False)
    gate.touch()
    socket.answer(accepted["run_id"])
    assert socket.events(accepted["thread_id"]) == log_of(alice, accepted["thread_id"])[1:]


def test_a_cursor_past_the_log_is_told_to_fetch_it_anew(alice):
    thread_id = done(alice.connect())["thread_id"]
    head = len(log_of(alice, thread_id))
    socket = alice.connect()
    events, end = resume(socket, thread_id, head + 1)
    assert (events, end) == ([], {"type": "resync", "thread_id": thread_id, "head": head, "first": 1})
    accepted = done(socket, thread_id=thread_id)  # it goes on from there
    assert socket.events(thread_id) == log_of(alice, thread_id)[head:]
    assert socket.events(thread_id)[0]["message_id"] == accepted["message_id"]


def test_a_cursor_before_the_pruned_start_is_told_so(site, alice):
    thread_id = done(alice.connect())["thread_id"]
    log = log_of(alice, thread_id)
    site.shell(f"Event.objects.filter(thread='{thread_id}', seq__lte=3).delete()")
    socket = alice.connect()
    for after in (0, 2):
        events, end = resume(socket, thread_id, after)
        assert (events, end) == ([], {"type": "resync", "thread_id": thread_id, "head": len(log), "first": 4})
    events, end = resume(socket, thread_id, 3)
    assert events == log[3:]
    assert end["more"] is False
    site.shell(f"Event.objects.filter(thread='{thread_id}').delete()")
    events, end = resume(socket, thread_id, 3)
    assert (events, end["type"], end["first"]) == ([], "resync", len(log) + 1)
    assert resume(socket, thread_id, len(log))[1]["type"] == "resumed"


# ---- How far ahead a socket is sent ------------------------------------------------------------------------

ANSWER = "60000"  # of `loud`: about 0.35 MB of text, sent as deltas and once more in agent_completed


def test_at_most_a_mebibyte_is_sent_ahead_of_the_acks(alice):
    talker, socket = alice.connect(), alice.connect()
    accepted = done(talker, ANSWER, "loud")
    socket.answer(accepted["run_id"])
    thread_id = accepted["thread_id"]
    socket.send({"type": "ack", "received": len(socket.got) + 1})
    start = len(socket.got)
    done(talker, ANSWER, "loud", thread_id=thread_id)
    done(talker, ANSWER, "loud", thread_id=thread_id)
    socket.silent()
    log = log_of(alice, thread_id)
    ahead = sum(len(json.dumps(frame, ensure_ascii=False, separators=(",", ":"))) for frame in socket.got[start:])
    assert protocol.MAX_AHEAD // 4 < ahead <= protocol.MAX_AHEAD
    assert len(socket.events(thread_id)) < len(log)
    # A resume waits too.
    socket.send({"type": "resume", "thread_id": thread_id, "after": socket.events(thread_id)[-1]["seq"]})
    assert socket.silent()
    while len(socket.events(thread_id)) < len(log):
        socket.send({"type": "ack", "received": len(socket.got) + 1})
        socket.next()
    assert socket.events(thread_id) == log


def test_socket_without_acks_is_sent_everything(alice):
    talker, socket = alice.connect(), alice.connect()
    for _ in range(2):
        run = done(talker, ANSWER, "loud")["run_id"]
        socket.answer(run)
        assert socket.silent()


def test_socket_with_four_mebibytes_unread_is_closed(alice):
    talker, silent, alive = alice.connect(), alice.connect(), alice.connect()
    size, runs = 0, []
    while size <= protocol.MAX_UNREAD:
        runs.append(done(talker, ANSWER, "loud"))
        alive.answer(runs[-1]["run_id"])
        assert alive.silent()  # its ping is the sign of life that the silent one does not give
        size += sum(len(json.dumps(e, separators=(",", ":"))) for e in talker.events(runs[-1]["thread_id"]))
    assert silent.closed() == 4408
    for tab in (alive, talker):
        assert tab.silent()
    # It may come back and go on where it was.
    last = runs[-1]["thread_id"]
    after = len(silent.events(last))
    again, log = alice.connect(), log_of(alice, last)
    assert resume(again, last, after)[0] == log[after:]


# ---- What happens to a thread elsewhere --------------------------------------------------------------------


def test_a_rename_is_an_event_without_a_run(alice):
    tabs = [alice.connect(), alice.connect("/ws/legacy")]
    thread_id = done(tabs[0])["thread_id"]
    tabs[1].receive("agent_completed", thread_id=thread_id)
    assert alice.http("PATCH", f"/api/threads/{thread_id}", {"title": "Another"}).status_code == 200
    head = len(log_of(alice, thread_id))
    for tab in tabs:
        event = tab.next()
        assert (event["type"], event["seq"], event["title"]) == ("thread_updated", head, "Another")
        assert (event["run_id"], event["agent_name"], event["attempt"]) == (None, None, 0)
        assert tab.silent()


def test_a_deleted_thread_is_gone(alice):
    tabs = {path: alice.connect(path) for path in PATHS}
    first = tabs["/ws/isolated"].ask("go on", "slow")
    thread_id, run_id = first["thread_id"], first["run_id"]
    wait_for_delta(tabs["/ws/isolated"], run_id)
    outside = tabs.pop("/ws/factory")
    assert alice.http("DELETE", f"/api/threads/{thread_id}").status_code == 204
    for tab in tabs.values():
        assert tab.answer(run_id)["type"] == "agent_cancelled"
        assert tab.receive("thread_deleted") == {"type": "thread_deleted", "thread_id": thread_id}
        assert tab.silent()
        events = tab.events(thread_id)
        assert seqs(events) == list(range(1, len(events) + 1))
    assert outside.silent()
    socket = tabs["/ws"]
    error(socket, {"type": "user_message", "content": "x", "thread_id": thread_id}, "not_found", "thread_id")
    error(socket, {"type": "resume", "thread_id": thread_id, "after": 0}, "not_found", "thread_id")
    error(socket, {"type": "stop_agent", "thread_id": thread_id}, "not_found", "thread_id")
    error(socket, {"type": "stop_agent", "run_id": run_id}, "not_found", "run_id")


# ---- What an agent does, as its user sees it ---------------------------------------------------------------

ALWAYS = {"type", "seq", "thread_id", "run_id", "attempt", "agent_name", "timestamp"}


def test_the_five_in_their_order(alice):
    socket = alice.connect()
    accepted = done(socket, "one two three", client_msg_id=(mark := random_id()))
    events = socket.events(accepted["thread_id"])
    assert events == log_of(alice, accepted["thread_id"])
    assert seqs(events) == list(range(1, len(events) + 1))
    five = list(protocol.THE_FIVE)
    assert types(events) == ["message_created", *five[:4], "agent_delta", five[4]]
    for event in events:
        assert event.keys() >= ALWAYS
        assert event["thread_id"] == accepted["thread_id"]
        assert event["run_id"] == accepted["run_id"]
        assert event["agent_name"] == "echo"
        assert event["attempt"] == (0 if event["type"] == "message_created" else 1)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
    created, started, thinking, executing, completed = events[:5]
    assert own(created) == {
        "message_id": accepted["message_id"],
        "role": "user",
        "content": "one two three",
        "parent_id": None,
        "client_msg_id": mark,
        "attachments": [],
    }
    answers = {"message_id": accepted["message_id"]}
    assert own(started) == {"task": "one two three", "status": "started", "parent_agent": None, **answers}
    assert own(thinking) == {"reasoning": "Counting the words"}
    call = {"tool_call_id": executing["tool_call_id"], "tool_name": "word_count"}
    assert own(executing) == {**call, "parameters": {"text": "one two three"}}
    milliseconds = completed["duration_ms"]
    assert own(completed) == {**call, "result": 3, "success": True, "duration_ms": milliseconds}
    assert isinstance(milliseconds, int)
    assert "".join(event["delta"] for event in events[5:-1]) == "one two three "
    assert all(own(event).keys() == {"delta", "offset"} for event in events[5:-1])
    end = own(events[-1])
    answer = messages_of(alice, accepted["thread_id"])[-1]
    assert (answer["role"], answer["content"]) == ("assistant", "one two three ")
    assert isinstance(end.pop("duration_ms"), int)
    assert end == {
        "status": "completed",
        "final_response": "one two three ",
        "message_id": answer["id"],
        "agents_involved": ["echo"],
        "usage": {},
    }


def test_a_result_object_stands_beside_what_was_said(alice):
    socket = alice.connect()
    end = socket.answer(socket.ask("x", "structured")["run_id"])
    assert (end["final_response"], end["result"]) == ("said", {"answer": 42, "text": "x"})


def test_sub_agents_start_and_end_within_the_run(alice):
    socket = alice.connect()
    accepted = done(socket, "hello", "family")
    events = socket.events(accepted["thread_id"])
    assert all(event["run_id"] == accepted["run_id"] for event in events)
    for name in ("left", "right"):
        mine = [event for event in events if event["agent_name"] == name]
        assert types(mine) == ["agent_started", "agent_thinking", "agent_delta", "subagent_completed"]
        part = {"part_id": mine[0]["part_id"]}
        assert own(mine[0]) == {"task": f"be {name}", "status": "started", "parent_agent": "family", **part}
        assert own(mine[1]) == {"reasoning": f"I am {name}", **part}
        assert own(mine[3]).keys() == {"summary", "duration_ms", "part_id"}
        assert mine[3]["summary"] == f"{name} was here"
    ends = [event for event in events if event["type"] in TERMINAL]
    assert ends == events[-1:]
    assert ends[0]["agent_name"] == "family"
    assert ends[0]["agents_involved"][0] == "family"
    assert set(ends[0]["agents_involved"][1:]) == {"left", "right"}
    assert ends[0]["final_response"] == "user: hello"
    check_whole(alice, accepted["thread_id"], [accepted["run_id"]])


@pytest.mark.parametrize("code", ["agent_error", "no_more_money"])
def test_a_failing_agent_says_why(alice, code):
    socket = alice.connect()
    accepted = done(socket, code, "failing")
    end = socket.got[-1]
    assert (end["type"], end["agent_name"]) == ("agent_failed", "failing")
    expected = {"status": "failed", "error_code": code, "message": "The words of the agent.", "recoverable": True}
    assert own(end) == expected
    check_whole(alice, accepted["thread_id"], [accepted["run_id"]])
    assert alice.http("GET", f"/api/runs/{accepted['run_id']}").json()["error_code"] == code


def test_a_bug_in_an_agent_stays_in_the_log_of_the_worker(site, alice):
    socket = alice.connect()
    accepted = done(socket, "x", "raising")
    end = socket.got[-1]
    assert (end["type"], end["error_code"]) == ("agent_failed", "internal_error")
    assert own(end).keys() == {"status", "error_code", "message", "recoverable"}
    assert "secret" not in json.dumps(log_of(alice, accepted["thread_id"]))
    assert "builtins.ValueError" in site.log("worker")
    assert "ValueError: secret inside" not in site.log("worker")  # the line of code is there, not what it said
    assert "secret inside" not in site.log("web")


def test_a_retried_run_begins_again(alice):
    socket = alice.connect()
    accepted = done(socket, "x", "retrying")
    events = socket.events(accepted["thread_id"])
    assert [(event["type"], event["attempt"]) for event in events] == [
        ("message_created", 0),
        ("agent_started", 1),
        ("run_restarted", 2),
        ("agent_started", 2),
        ("agent_delta", 2),
        ("agent_completed", 2),
    ]
    assert own(events[2]) == {"reason": "retry"}
    assert events[-1]["final_response"] == "attempt 2"
    check_whole(alice, accepted["thread_id"], [accepted["run_id"]])


def test_an_answer_that_grows_too_long_ends_its_run(alice):
    socket = alice.connect()
    accepted = done(socket, "100000", "loud")
    end = socket.got[-1]
    assert (end["type"], end["error_code"]) == ("agent_failed", "too_large")
    check_whole(alice, accepted["thread_id"], [accepted["run_id"]])


def test_a_result_that_no_frame_can_hold_ends_its_run(alice):
    socket = alice.connect()
    accepted = done(socket, "answer", "bulky")
    end = socket.got[-1]
    assert (end["type"], end["error_code"], end["attempt"]) == ("agent_failed", "too_large", 1)
    check_whole(alice, accepted["thread_id"], [accepted["run_id"]])


def test_a_tool_that_raises_has_completed_without_success(alice, tmp_path):
    socket = alice.connect()
    accepted = done(socket, f"{tmp_path}/no/such/folder x", "tooled")
    events = socket.events(accepted["thread_id"])
    executing, completed, end = events[-3:]
    assert own(completed).keys() == {"tool_call_id", "tool_name", "result", "success", "error", "duration_ms"}
    assert completed["tool_call_id"] == executing["tool_call_id"]
    assert (completed["result"], completed["success"]) == (None, False)
    assert "FileNotFoundError" in completed["error"]
    assert (end["type"], end["error_code"]) == ("agent_failed", "internal_error")


def test_text_that_cannot_be_sent_is_replaced(alice):
    socket = alice.connect()
    accepted = done(socket, "x", "sneaky")
    events = socket.events(accepted["thread_id"])
    assert [event["reasoning"] for event in events if event["type"] == "agent_thinking"] == ["a\ufffdb"]
    assert [event["delta"] for event in events if event["type"] == "agent_delta"] == ["c\ufffdd"]
    assert events[-1]["final_response"] == messages_of(alice, accepted["thread_id"])[-1]["content"] == "c\ufffdd"


# ---- The four paths ----------------------------------------------------------------------------------------


def test_main_gets_the_events_of_every_tab_and_of_rest(alice):
    tabs = [alice.connect() for _ in range(3)]
    first = done(tabs[0])
    rest = alice.http("POST", "/api/messages", {"content": "by REST", "agent": "echo"}).json()
    for tab in tabs:
        tab.answer(rest["run_id"])
        for thread_id in (first["thread_id"], rest["thread_id"]):
            assert tab.events(thread_id) == log_of(alice, thread_id)
        assert ("message_accepted" in [frame["type"] for frame in tab.got]) is (tab is tabs[0])


@pytest.mark.parametrize("path", ["/ws", "/ws/factory", "/ws/isolated"])
def test_live_text_comes_before_its_event(alice, bob, gate, path):
    socket, legacy, theirs = alice.connect(path), alice.connect("/ws/legacy"), bob.connect()
    accepted = socket.ask(str(gate), "gated")
    event = socket.receive("agent_delta")
    live = next(frame for frame in socket.got if frame["type"] == "live_delta")
    assert (event["offset"], event["delta"]) == (live["offset"], live["delta"]) == (0, "before ")
    for name in ("thread_id", "run_id", "attempt", "agent_name"):
        assert live[name] == event[name]
    assert live.keys() == {"type", "thread_id", "run_id", "attempt", "agent_name", "offset", "delta"}
    gate.touch()
    for tab in (socket, legacy):
        assert tab.answer(accepted["run_id"])["final_response"] == "before after 1"
    assert legacy.events(accepted["thread_id"]) != []
    assert "live_delta" not in [frame["type"] for frame in legacy.got]
    assert theirs.silent()


@pytest.mark.parametrize("path", ["/ws", "/ws/factory", "/ws/isolated"])
def test_a_thought_is_shown_before_its_event(alice, bob, gate, path):
    socket, legacy, theirs = alice.connect(path), alice.connect("/ws/legacy"), bob.connect()
    accepted = socket.ask(str(gate), "musing")
    live = socket.receive("live_thinking")
    assert live["run_id"] == accepted["run_id"]
    gate.touch()
    for tab in (socket, legacy):
        assert tab.answer(accepted["run_id"])["final_response"] == "done"
    (event,) = [event for event in socket.events(accepted["thread_id"]) if event["type"] == "agent_thinking"]
    assert event["thought_id"] == live["thought_id"]
    assert event["reasoning"][live["offset"] :].startswith(live["delta"])
    assert set(event["reasoning"].split()) == {"hm", "so"}
    assert "live_thinking" not in [frame["type"] for frame in legacy.got]
    assert theirs.silent()


def test_live_text_is_not_for_a_socket_that_misses_events(alice, gate):
    """The thread of a socket that has not read all pages of its log."""
    talker, tab = alice.connect(), alice.connect()
    thread_id = done(talker)["thread_id"]
    tab.send({"type": "resume", "thread_id": thread_id, "after": 0, "limit": 1})
    assert tab.receive("resumed")["more"]
    tab.got.clear()
    talker.ask(str(gate), "gated", thread_id=thread_id)
    talker.receive("agent_delta")
    gate.touch()
    talker.receive("agent_completed")
    assert tab.silent()
    resume(tab, thread_id, 1)
    assert tab.events(thread_id) == log_of(alice, thread_id)[1:]
    assert "live_delta" in [frame["type"] for frame in talker.got]
    assert "live_delta" not in [frame["type"] for frame in tab.got]


def test_factory_has_one_fresh_thread_a_connection(alice):
    main, factory, another = alice.connect(), alice.connect("/ws/factory"), alice.connect("/ws/factory")
    first, second = done(factory), done(factory)
    assert first["thread_id"] == second["thread_id"] != done(another)["thread_id"]
    chosen = done(factory, thread_id=random_id())
    assert done(factory)["thread_id"] == first["thread_id"]

    foreign = done(main)
    assert factory.silent()
    assert {frame["thread_id"] for frame in factory.got if "seq" in frame} == {first["thread_id"], chosen["thread_id"]}
    assert factory.events(first["thread_id"]) == log_of(alice, first["thread_id"])

    # A thread that was named is its thread too, from then on.
    resume(factory, foreign["thread_id"], 0)
    factory.answer(done(main, thread_id=foreign["thread_id"])["run_id"])
    assert factory.events(foreign["thread_id"]) == log_of(alice, foreign["thread_id"])
    foreign = done(main)
    start = done(factory, thread_id=foreign["thread_id"])["seq"]
    factory.answer(done(main, thread_id=foreign["thread_id"])["run_id"])
    assert factory.events(foreign["thread_id"]) == log_of(alice, foreign["thread_id"])[start - 1 :]
    done(main)
    assert factory.silent()


def test_isolated_gets_the_runs_it_started(alice):
    main, isolated, another = alice.connect(), alice.connect("/ws/isolated"), alice.connect("/ws/isolated")
    first = done(isolated)
    thread_id = first["thread_id"]
    done(main, thread_id=thread_id)
    done(another, thread_id=thread_id)
    alice.http("PATCH", f"/api/threads/{thread_id}", {"title": "Renamed"})
    second = done(isolated, thread_id=thread_id)
    assert done(isolated)["thread_id"] != thread_id
    done(main)
    assert isolated.silent()
    mine = {first["run_id"], second["run_id"]}
    log = log_of(alice, thread_id)
    expected = [event for event in log if event["run_id"] in mine]
    assert isolated.events(thread_id) == expected

    for after in (0, first["seq"], second["seq"] - 1, second["seq"], len(log)):
        events, end = resume(isolated, thread_id, after)
        assert events == [event for event in expected if event["seq"] > after]
        assert (end["type"], end["head"], end["more"]) == ("resumed", len(log), False)
        assert end["after"] == (events[-1]["seq"] if events else after)
    events, end = resume(isolated, thread_id, 0, limit=3)
    assert (events, end["more"]) == (expected[:3], True)
    third = isolated.ask("x", thread_id=thread_id)
    wait_until(lambda: log_of(alice, thread_id)[-1]["type"] in TERMINAL, "the third run")
    assert isolated.silent()
    events, _ = resume(isolated, thread_id, events[-1]["seq"])
    assert events == [e for e in log_of(alice, thread_id) if e["run_id"] in {*mine, third["run_id"]}][3:]

    stranger = alice.connect("/ws/isolated")
    events, end = resume(stranger, thread_id, 0)
    assert events == []
    assert (end["type"], end["after"], end["more"]) == ("resumed", 0, False)


def test_isolated_gets_a_regenerated_answer_and_an_end_from_elsewhere(alice):
    main, isolated = alice.connect(), alice.connect("/ws/isolated")
    thread_id = done(main)["thread_id"]
    isolated.send({"type": "regenerate", "message_id": main.got[-1]["message_id"]})
    accepted = isolated.receive("message_accepted")
    isolated.answer(accepted["run_id"])
    events = [event for event in log_of(alice, thread_id) if event["run_id"] == accepted["run_id"]]
    assert isolated.events(thread_id) == events
    running = isolated.ask("go on", "slow")
    wait_for_delta(isolated, running["run_id"])
    main.send({"type": "stop_agent", "run_id": running["run_id"]})
    assert isolated.answer(running["run_id"])["type"] == "agent_cancelled"


def test_legacy_has_the_older_names_too(alice):
    main, legacy = alice.connect(), alice.connect("/ws/legacy")
    for content, agent in (("one two", "echo"), ("x", "structured"), ("agent_error", "failing"), ("x", "family")):
        accepted = done(legacy, content, agent)
        main.answer(accepted["run_id"])
        older, plain = legacy.events(accepted["thread_id"]), main.events(accepted["thread_id"])
        assert len(older) == len(plain)
        for old, new in zip(older, plain, strict=True):
            expected = {**new, "data": own(new)}
            for name, older_name in (
                ("reasoning", "thought"),
                ("tool_name", "tool"),
                ("result", "results"),
                ("duration_ms", "execution_time_ms"),
                ("final_response", "content"),
                ("final_response", "response"),
                ("message", "error_message"),
            ):
                if name in new:
                    expected[older_name] = new[name]
            if "duration_ms" in new:
                expected["duration"] = new["duration_ms"] / 1000
            assert old == expected
        events, end = resume(legacy, accepted["thread_id"], 0)
        assert events == older
        assert "data" not in end
    assert not any("thought" in frame for frame in main.got)


# ---- Another user ------------------------------------------------------------------------------------------


@pytest.mark.essential
def test_frames_about_another_users_objects_answer_not_found(alice, bob, gate):
    hers, his = alice.connect(), bob.connect()
    finished = done(hers)
    answer = hers.got[-1]["message_id"]
    running = hers.ask(str(gate), "gated")
    wait_for_delta(hers, running["run_id"])
    own_thread = done(his)["thread_id"]
    message = {"type": "user_message", "content": "x", "agent": "echo"}
    for frame, field in (
        (message | {"thread_id": running["thread_id"]}, "thread_id"),
        (message | {"thread_id": finished["thread_id"]}, "thread_id"),
        (message | {"thread_id": own_thread, "parent_id": finished["message_id"]}, "parent_id"),
        (message | {"parent_id": answer}, "parent_id"),
        (message | {"attachment_ids": [finished["message_id"]]}, "attachment_ids"),
        ({"type": "regenerate", "message_id": answer}, "message_id"),
        ({"type": "regenerate", "message_id": finished["message_id"]}, "message_id"),
        ({"type": "stop_agent", "run_id": running["run_id"]}, "run_id"),
        ({"type": "stop_agent", "run_id": finished["run_id"]}, "run_id"),
        ({"type": "stop_agent", "thread_id": running["thread_id"]}, "thread_id"),
        ({"type": "resume", "thread_id": running["thread_id"], "after": 0}, "thread_id"),
        ({"type": "resume", "thread_id": finished["thread_id"], "after": 10**6}, "thread_id"),
    ):
        refused = error(his, frame, "not_found", field)
        if frame["type"] != "user_message" or field != "thread_id":
            value = [random_id()] if field == "attachment_ids" else random_id()
            assert error(his, frame | {field: value}, "not_found", field) == refused
    his.send({"type": "stop_agent"})
    assert his.next() == {"type": "stop_accepted", "run_ids": []}
    his.send({"type": "agent_status"})
    assert his.next() == {"type": "agent_status", "runs": []}
    assert his.silent()
    assert hers.silent()
    gate.touch()
    assert hers.answer(running["run_id"])["type"] == "agent_completed"
    check_whole(alice, running["thread_id"], [running["run_id"]])


@pytest.mark.essential
@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_the_events_of_another(alice, bob, path):
    hers, his = alice.connect(path), bob.connect(path)
    accepted = done(hers)
    assert alice.http("PATCH", f"/api/threads/{accepted['thread_id']}", {"title": "x"}).status_code == 200
    assert alice.http("DELETE", f"/api/threads/{accepted['thread_id']}").status_code == 204
    assert his.silent()
    assert his.got[0]["type"] == "connection_established"
    assert [frame["type"] for frame in his.got] == ["connection_established", "pong"]


# ---- Faults: processes that are killed ---------------------------------------------------------------------


def kill(process, how=signal.SIGKILL):
    process.send_signal(how)
    return process.wait()


def healed(socket, thread_id, runs, user):
    """The socket has got the thread's whole log, once, in order."""
    log = check_whole(user, thread_id, runs)
    assert socket.events(thread_id) == log
    return log


@pytest.fixture
def ann(brisk):
    return brisk.register("ann")


def only_worker(brisk):
    (alive,) = [worker for worker in brisk.workers if worker.poll() is None]
    return alive


def test_another_worker_finishes_what_a_killed_one_began(brisk, ann, gate):
    socket = ann.connect()
    accepted = socket.ask(str(gate), "gated")
    thread_id, run_id = accepted["thread_id"], accepted["run_id"]
    wait_for_delta(socket, run_id)
    kill(only_worker(brisk))
    brisk.worker()
    restarted = socket.receive("run_restarted")
    assert (restarted["attempt"], own(restarted)) == (2, {"reason": "worker_lost"})
    gate.touch()
    end = socket.answer(run_id)
    assert (end["type"], end["final_response"], end["attempt"]) == ("agent_completed", "before after 2", 2)
    log = healed(socket, thread_id, [run_id], ann)
    assert types(log) == [
        "message_created",
        *("agent_started", "agent_delta"),
        *("run_restarted", "agent_started", "agent_delta", "agent_completed"),
    ]
    assert [m["content"] for m in messages_of(ann, thread_id)] == [str(gate), "before after 2"]


def test_a_tool_call_that_had_completed_is_not_made_again(brisk, ann, tmp_path):
    socket, notes = ann.connect(), tmp_path / "notes"
    dying = only_worker(brisk)
    accepted = socket.ask(f"{notes} kill", "tooled")
    assert dying.wait() == 9
    brisk.worker()
    end = socket.answer(accepted["run_id"])
    assert (end["type"], end["final_response"]) == ("agent_completed", "lines: 1")
    log = healed(socket, accepted["thread_id"], [accepted["run_id"]], ann)
    made, again = [event for event in log if event["type"] == "tool_completed"]
    assert notes.read_text() == "made\n"
    assert "reused" not in made
    assert (again["reused"], again["attempt"]) == (True, 2)
    assert (again["tool_call_id"], again["result"]) == (made["tool_call_id"], made["result"])


def test_a_result_too_large_for_its_event_is_reused_whole(brisk, ann):
    socket = ann.connect()
    dying = only_worker(brisk)
    accepted = socket.ask("tool", "bulky")
    assert dying.wait() == 9
    brisk.worker()
    assert socket.answer(accepted["run_id"])["final_response"] == "300000"
    log = healed(socket, accepted["thread_id"], [accepted["run_id"]], ann)
    (made, again) = [event for event in log if event["type"] == "tool_completed"]
    for event in (made, again):
        assert event["truncated"] is True
        assert event["result"] == "x" * (protocol.MAX_TOOL_RESULT - 2)  # and its quotation marks
    assert "reused" not in made
    assert again["reused"] is True
    thinking = [own(event) for event in log if event["type"] == "agent_thinking"]
    assert thinking == [{"reasoning": "First step", "step_number": 1, "total_steps": 2}] * 2


def test_a_run_that_kills_its_workers_fails_and_its_neighbours_do_not(brisk, ann, gate):
    """The last attempts of it and of its neighbours are executed in isolated processes."""
    socket = ann.connect()
    neighbours = [socket.ask(str(gate), "gated") for _ in range(2)]
    for neighbour in neighbours:
        wait_for_delta(socket, neighbour["run_id"])
    deadly = socket.ask("now", "deadly")
    only_worker(brisk).wait()
    worker = brisk.worker()
    end = socket.answer(deadly["run_id"])
    assert (end["type"], end["error_code"], end["attempt"]) == ("agent_failed", "max_attempts", 2)
    assert own(end).keys() == {"status", "error_code", "message", "recoverable"}
    gate.touch()
    for neighbour in neighbours:
        end = socket.answer(neighbour["run_id"])
        assert (end["type"], end["attempt"]) == ("agent_completed", 2)
    assert worker.poll() is None
    healed(socket, deadly["thread_id"], [deadly["run_id"]], ann)


def test_a_tool_that_may_be_made_once_is_not_made_again(brisk, ann, tmp_path):
    socket, notes = ann.connect(), tmp_path / "notes"
    dying = only_worker(brisk)
    accepted = socket.ask(f"{notes} once", "tooled")
    assert dying.wait() == 9
    brisk.worker()
    end = socket.answer(accepted["run_id"])
    assert (end["type"], end["error_code"], end["attempt"]) == ("agent_failed", "tool_interrupted", 2)
    assert notes.read_text() == "made\nbegun\n"
    healed(socket, accepted["thread_id"], [accepted["run_id"]], ann)


def test_worker_terminated_requeues_its_runs(brisk, ann, gate):
    socket = ann.connect()
    accepted = socket.ask(str(gate), "gated")
    wait_for_delta(socket, accepted["run_id"])
    assert kill(only_worker(brisk), signal.SIGTERM) == 0
    socket.send({"type": "agent_status"})
    (status,) = socket.receive("agent_status")["runs"]
    assert (status["status"], status["attempt"]) == ("queued", 0)
    brisk.worker()
    restarted = socket.receive("run_restarted")
    assert (restarted["attempt"], own(restarted)) == (1, {"reason": "worker_stopped"})
    gate.touch()
    assert socket.answer(accepted["run_id"])["final_response"] == "before after 1"
    healed(socket, accepted["thread_id"], [accepted["run_id"]], ann)


def test_worker_frozen_past_its_lease_writes_nothing(brisk, ann, gate):
    socket, frozen = ann.connect(), only_worker(brisk)
    accepted = socket.ask(str(gate), "gated")
    wait_for_delta(socket, accepted["run_id"])
    frozen.send_signal(signal.SIGSTOP)
    brisk.worker()
    socket.receive("agent_delta", attempt=2)
    frozen.send_signal(signal.SIGCONT)
    assert kill(frozen, signal.SIGTERM) == 0  # it would hand back what is its own
    gate.touch()
    assert socket.answer(accepted["run_id"])["final_response"] == "before after 2"
    log = healed(socket, accepted["thread_id"], [accepted["run_id"]], ann)
    assert [event["attempt"] for event in log] == [0, 1, 1, 2, 2, 2, 2, 2]


def test_redis_may_die_in_mid_run_and_come_back_empty(brisk, ann, gate):
    socket = ann.connect()
    accepted = socket.ask(str(gate), "gated")
    wait_for_delta(socket, accepted["run_id"])
    kill(brisk.redis)
    brisk.start_redis()
    gate.touch()
    assert socket.answer(accepted["run_id"])["final_response"] == "before after 1"
    healed(socket, accepted["thread_id"], [accepted["run_id"]], ann)
    after = done(socket, thread_id=accepted["thread_id"])
    healed(socket, accepted["thread_id"], [accepted["run_id"], after["run_id"]], ann)


def test_without_redis_everything_still_comes(brisk, ann, gate):
    """Nothing is signalled: the sockets find it in the log, each what is for it."""
    seen = ann.connect()
    older = done(seen)  # before the tabs connect: they are owed only what comes after
    head = len(log_of(ann, older["thread_id"]))
    tabs = {path: ann.connect(path) for path in PATHS}
    main, isolated, factory = tabs["/ws"], tabs["/ws/isolated"], tabs["/ws/factory"]
    brisk.repair()
    kill(brisk.redis)

    first = main.ask("one two", thread_id=older["thread_id"])
    main.answer(first["run_id"])
    assert main.events(older["thread_id"]) == log_of(ann, older["thread_id"])[head:]
    check_whole(ann, older["thread_id"], [older["run_id"], first["run_id"]])
    seen.receive("agent_completed", run_id=first["run_id"])
    assert seen.events(older["thread_id"]) == log_of(ann, older["thread_id"])

    # A thread that another tab began while this one was deaf, and the runs of two tabs in one thread.
    second = isolated.ask("three", thread_id=random_id())
    isolated.answer(second["run_id"])
    main.answer(second["run_id"])
    third = main.ask("four", thread_id=second["thread_id"])
    main.answer(third["run_id"])
    fourth = isolated.ask("five", thread_id=second["thread_id"])
    isolated.answer(fourth["run_id"])
    main.answer(fourth["run_id"])
    log = healed(main, second["thread_id"], [one["run_id"] for one in (second, third, fourth)], ann)
    assert isolated.events(second["thread_id"]) == [event for event in log if event["run_id"] != third["run_id"]]
    assert factory.silent()
    assert [frame["type"] for frame in factory.got] == ["connection_established", "pong"]

    # A stop is obeyed, and its worker finds out.
    slow = main.ask("go on", "slow")
    wait_for_delta(main, slow["run_id"])
    main.send({"type": "stop_agent", "run_id": slow["run_id"]})
    assert main.answer(slow["run_id"])["type"] == "agent_cancelled"
    healed(main, slow["thread_id"], [slow["run_id"]], ann)

    # And when it is back, so are the signals.
    brisk.start_redis()
    wait_until(lambda: httpx.get(brisk.url + "/api/health").status_code == 200, "the site to be ready")
    last = done(main)
    healed(main, last["thread_id"], [last["run_id"]], ann)


def rename_quietly(user, thread_id, times):
    """Events that are committed and not signalled."""
    titles = f"from chat import runs\nfor n in range({times}): runs.rename({user.id}, '{thread_id}', f'Title {{n}}')"
    user.site.shell(f"from django.db import transaction\nwith transaction.atomic(): exec({titles!r})")


def test_events_whose_message_was_lost_are_sent_by_reconciling(brisk, ann):
    """More of them than are read at once."""
    socket = ann.connect()
    thread_id = done(socket)["thread_id"]
    rename_quietly(ann, thread_id, 1001)
    socket.receive("thread_updated", title="Title 1000")
    events = socket.events(thread_id)
    assert seqs(events) == list(range(1, len(events) + 1))
    page, end = resume(ann.connect(), thread_id, 0)
    assert page == events[: protocol.RESUME_LIMIT]
    assert (end["after"], end["head"], end["more"]) == (1000, len(events), True)


@pytest.mark.slow
def test_a_thread_with_a_run_is_compared_more_often(own_site, gate):
    site = own_site(NETRA_RECONCILE_SECONDS="600", NETRA_RECONCILE_ACTIVE_SECONDS="0.2")
    user = site.register("user")
    socket = user.connect()
    accepted = socket.ask(str(gate), "gated")
    wait_for_delta(socket, accepted["run_id"])
    rename_quietly(user, accepted["thread_id"], 1)
    assert socket.receive("thread_updated")["title"] == "Title 0"
    gate.touch()
    socket.answer(accepted["run_id"])
    assert socket.events(accepted["thread_id"]) == check_whole(user, accepted["thread_id"], [accepted["run_id"]])


def test_clients_of_a_killed_web_process_go_on_at_the_next_number(brisk, ann, gate):
    before = ann.connect()
    accepted = before.ask(str(gate), "gated")
    thread_id, run_id = accepted["thread_id"], accepted["run_id"]
    wait_for_delta(before, run_id)
    kill(brisk.web)
    assert before.closed() == 1006
    gate.touch()
    brisk.start_web()
    after = ann.connect()
    resume(after, thread_id, before.events(thread_id)[-1]["seq"])
    after.answer(run_id)
    log = check_whole(ann, thread_id, [run_id])
    assert before.events(thread_id) + after.events(thread_id) == log
    assert log[-1]["final_response"] == "before after 1"
