"""A worker and agents that behave as no agent should: each run ends, and its neighbours do not notice."""

import httpx
import pytest

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


def test_nothing_comes_after_the_end(alice):
    """Not even from a task that the agent left behind."""
    accepted = alice.ask("left behind", agent="odd")
    end = alice.answer(accepted["run_id"])
    again = alice.ask("and now", thread_id=accepted["thread_id"])
    alice.answer(again["run_id"])
    after = [frame for frame in alice.events(accepted["thread_id"]) if frame["seq"] > end["seq"]]
    assert {frame["run_id"] for frame in after} == {again["run_id"]}


def test_an_agent_that_will_not_be_stopped_stops_nobody_else(alice):
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


def test_a_tool_that_was_given_up_is_shown_as_over(alice):
    accepted = alice.ask("x", agent="impatient")
    assert alice.answer(accepted["run_id"])["final_response"] == "went on"
    tool = next(frame for frame in alice.events(accepted["thread_id"]) if frame["type"] == "tool_completed")
    assert (tool["success"], tool["result"]) == (False, None)


def test_a_worker_that_was_forgotten_comes_back(brisk, alice):
    brisk.shell("from chat.models import Worker; Worker.objects.all().delete()")
    wait_until(lambda: httpx.get(brisk.url + "/api/health").status_code == 200, "a worker's row")
    assert alice.answer(alice.ask("still here")["run_id"])["final_response"] == "still here "
