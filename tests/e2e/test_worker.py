"""A worker and agents that behave as no agent should: each run ends, and its neighbours do not notice."""

import uuid
from pathlib import Path

import httpx
import pytest
from django.db import connection

from tests.site import wait_until


@pytest.fixture
def alice(brisk):
    return brisk.register("alice").connect()


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("cancels itself", "internal_error"),
        ("interrupts", "internal_error"),
        ("interrupts in a tool", "internal_error"),
        ("odd", "internal_error"),
        ("odd code", "\ufffd" + "x" * 63),
        ("group", "child"),
        ("too large", "too_large"),
    ],
)
def test_every_ending_is_an_end_at_the_first_attempt(brisk, alice, how, end):
    before = [worker for worker in brisk.workers if worker.poll() is None]
    beside = alice.ask("one two", agent="echo")
    accepted = alice.ask(how, agent="odd")
    failed = alice.answer(accepted["run_id"])
    assert (failed["type"], failed["error_code"], failed["attempt"]) == ("agent_failed", end, 1)
    assert alice.answer(beside["run_id"])["final_response"] == "one two "
    assert [worker for worker in brisk.workers if worker.poll() is None] == before != []


def test_agent_that_emits_after_its_end_writes_nothing(alice):
    """Not even from a task that the agent left behind."""
    accepted = alice.ask("left behind", agent="odd")
    end = alice.answer(accepted["run_id"])
    again = alice.ask("and now", thread_id=accepted["thread_id"])
    alice.answer(again["run_id"])
    after = [frame for frame in alice.events(accepted["thread_id"]) if frame["seq"] > end["seq"]]
    assert {frame["run_id"] for frame in after} == {again["run_id"]}


def test_agent_that_ignores_cancellation_does_not_keep_its_slot(alice):
    accepted = alice.ask("on", agent="stubborn")
    alice.receive("agent_thinking", run_id=accepted["run_id"])
    alice.send({"type": "stop_agent", "run_id": accepted["run_id"]})
    assert alice.answer(accepted["run_id"])["type"] == "agent_cancelled"
    for text in ("one", "two"):
        assert alice.answer(alice.ask(text)["run_id"])["final_response"] == f"{text} "


def test_tools_that_hang_hold_up_no_other_tool(alice):
    hung = [alice.ask("x", agent="hanging")["run_id"] for _ in range(8)]
    while sum(frame["type"] == "tool_executing" for frame in alice.got) < len(hung):
        alice.next()
    assert alice.answer(alice.ask("counts words")["run_id"])["final_response"] == "counts words "
    alice.send({"type": "stop_agent"})
    for run_id in hung:
        assert alice.answer(run_id)["type"] == "agent_cancelled"


@pytest.mark.alone
def test_a_flood_of_one_run_leaves_the_others_their_turn(own_site):
    alice = own_site(workers=1).register("alice").connect()
    flood = alice.ask("3000", agent="brooding")
    alice.receive("agent_thinking", run_id=flood["run_id"])
    beside = alice.ask("one two")
    alice.answer(beside["run_id"])
    assert not any(frame["type"] == "agent_completed" and frame["run_id"] == flood["run_id"] for frame in alice.got)
    assert alice.answer(flood["run_id"])["type"] == "agent_completed"
    thoughts = [frame for frame in alice.events(flood["thread_id"]) if frame["type"] == "agent_thinking"]
    assert [thought["reasoning"] for thought in thoughts] == [f"Thought {number}" for number in range(3000)]


def test_a_tool_that_was_given_up_is_shown_as_over(alice):
    accepted = alice.ask("x", agent="impatient")
    assert alice.answer(accepted["run_id"])["final_response"] == "went on"
    tool = next(frame for frame in alice.events(accepted["thread_id"]) if frame["type"] == "tool_completed")
    assert (tool["success"], tool["result"]) == (False, None)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL does it by itself")
def test_a_worker_moves_what_was_committed_into_the_file(own_site):
    """Long before so much of it waits in the log that whoever commits has to."""
    site = own_site(workers=1)
    alice = site.register("alice").connect()
    word = uuid.uuid4().hex
    alice.answer(alice.ask(word)["run_id"])
    file = Path(site.environment["DATABASE_URL"].removeprefix("sqlite:///"))
    wait_until(lambda: word.encode() in file.read_bytes(), "the answer in the file")


def test_worker_whose_row_was_deleted_registers_again(brisk, alice):
    brisk.shell("from chat.models import Worker; Worker.objects.all().delete()")
    wait_until(lambda: httpx.get(brisk.url + "/api/health").status_code == 200, "a worker's row")
    assert alice.answer(alice.ask("still here")["run_id"])["final_response"] == "still here "


def usage(user, run_id):
    return user.http("GET", f"/api/runs/{run_id}").json()["usage"]


@pytest.mark.parametrize(
    ("how", "end", "used"),
    [
        ("completes", "agent_completed", {"tokens": 1}),
        ("fails", "agent_failed", {"tokens": 1}),
        ("retries", "agent_completed", {"tokens": 2}),
        ("cannot say how much", "agent_failed", {}),
    ],
)
def test_what_a_run_used_up_is_kept_however_it_ends(brisk, how, end, used):
    user = brisk.register("alice")
    socket = user.connect()
    accepted = socket.ask(how, agent="costly")
    ended = socket.answer(accepted["run_id"])
    assert ended["type"] == end
    assert ended.get("usage", used) == usage(user, accepted["run_id"]) == used


def test_what_a_stopped_run_used_up_is_kept(brisk):
    user = brisk.register("alice")
    socket = user.connect()
    accepted = socket.ask("goes on", agent="costly")
    socket.receive("agent_delta", run_id=accepted["run_id"])
    socket.send({"type": "stop_agent", "run_id": accepted["run_id"]})
    assert socket.answer(accepted["run_id"])["type"] == "agent_cancelled"
    wait_until(lambda: usage(user, accepted["run_id"]) == {"tokens": 1}, "its usage")
