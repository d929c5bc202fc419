"""Text of agents on its way to clients and into the event log: agents.worker.live and the event writer."""

import asyncio
import json
from dataclasses import replace

import pytest

from agents.sdk import Turn
from agents.worker.event_writer import MAX_DELTA, MAX_HELD, EventWriter
from agents.worker.live import MAX_LIVE_TEXT, LiveText
from chat import runs
from chat.db.access import from_database
from chat.models import Run
from chat.realtime import channel_layer
from chat.runs import RunOutcome
from tests.factories import claim_one, frames, message
from tests.site import WAIT_TIMEOUT

NEVER_SECONDS = 3600.0  # seconds


@pytest.fixture
def run(alice):
    runs.start(alice.id, message())
    return claim_one()


@pytest.fixture
def published(monkeypatch):
    """All messages to groups, in order."""
    found = []
    monkeypatch.setattr(channel_layer, "publish", lambda group, message: found.append((group, message)))
    return found


def execute(run, agent):
    """Let `agent(events)` speak through an event writer at work."""

    async def executed():
        async with asyncio.timeout(WAIT_TIMEOUT):
            writer = EventWriter()
            writing = asyncio.create_task(writer.run())
            await agent(writer.open(run, lambda: None))
            writing.cancel()

    asyncio.run(executed())


def say(text, agent="echo"):
    return {"type": "agent_delta", "agent_name": agent, "delta": text}


def think(text):
    return {"type": "agent_thinking", "agent_name": "echo", "reasoning": text}


def logged(run):
    """(type, offset, text) of the run's events after its start."""
    return [
        (frame["type"], frame.get("offset"), frame.get("delta", frame.get("reasoning")))
        for frame in frames(run.thread_id)[2:]
    ]


def live(published):
    """(offset, delta) of the live text."""
    shown = [json.loads(delta[3]) for _, one in published if one["type"] == "live" for delta in one["deltas"]]
    return [(frame["offset"], frame["delta"]) for frame in shown]


# ---- The event log -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_text_waits_for_the_next_event_and_goes_before_it(run, settings):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        for word in ("one ", "👍 ", "two "):
            await events.emit(say(word))
        await events.emit(think("so far"))
        await events.emit(say("three"))
        await events.commit()

    execute(run, agent)
    expected = [("agent_delta", 0, "one 👍 two "), ("agent_thinking", None, "so far"), ("agent_delta", 11, "three")]
    assert logged(run) == expected


@pytest.mark.django_db(transaction=True)
def test_text_alone_is_logged_after_delta_seconds(run, settings):
    settings.NETRA_DELTA_SECONDS = 0.02

    async def agent(events):
        await events.emit(say("one "))
        while not events.live.seq > run.seq:  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        await events.emit(say("two"))
        await events.commit()

    execute(run, agent)
    assert logged(run) == [("agent_delta", 0, "one "), ("agent_delta", 4, "two")]


@pytest.mark.django_db(transaction=True)
def test_much_text_is_logged_at_once(run, settings):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        await events.emit(say("x" * MAX_HELD))
        while not events.live.seq > run.seq:  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        await events.emit(say("é" * (MAX_DELTA + 1)))
        await events.commit()

    execute(run, agent)
    sizes = [(offset, len(text)) for _, offset, text in logged(run)]
    assert sizes == [(0, MAX_HELD), (MAX_HELD, MAX_DELTA), (MAX_HELD + MAX_DELTA, 1)]


@pytest.mark.django_db(transaction=True)
def test_text_is_logged_before_a_run_is_handed_back(run, settings):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        await events.emit(say("so far"))
        await events.close(RunOutcome(Run.QUEUED, refund=True), None)

    execute(run, agent)
    assert logged(run) == [("agent_delta", 0, "so far")]
    assert Run.objects.get().status == Run.QUEUED


@pytest.mark.django_db(transaction=True)
def test_agents_that_speak_in_turn_have_events_of_their_own(run, settings):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        for text, name in (("a", "left"), ("b", "left"), ("c", "right"), ("d", "left")):
            await events.emit(say(text, name))
        await events.commit()

    execute(run, agent)
    found = [(frame["agent_name"], frame["offset"], frame["delta"]) for frame in frames(run.thread_id)[2:]]
    assert found == [("left", 0, "ab"), ("right", 2, "c"), ("left", 3, "d")]


# ---- Live --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_text_is_published_before_it_is_logged_and_nothing_else_is(run, settings, published):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        await events.emit(say("Hi 👍"))
        while not live(published):  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        assert await from_database(logged, run) == []
        await events.emit(say(" there"))
        while len(live(published)) < 2:  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        await events.emit(think("done"))
        await events.commit()

    del published[:]
    execute(run, agent)
    assert live(published) == [(0, "Hi 👍"), (5, " there")]
    assert [message["type"] for _, message in published] == ["live", "live", "events"]
    assert {group for group, _ in published} == {f"user.{run.user_id}"}
    (thread, seq, run_id, text), *_ = published[0][1]["deltas"]
    assert (thread, seq, run_id) == (run.thread_id, run.seq, run.run_id)
    assert json.loads(text) == {
        "type": "live_delta",
        "thread_id": run.thread_id,
        "run_id": run.run_id,
        "attempt": 1,
        "agent_name": "echo",
        "offset": 0,
        "delta": "Hi 👍",
    }


@pytest.mark.django_db(transaction=True)
def test_runs_of_one_user_share_a_publish(alice, bob, settings, published):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS
    for user in (alice, alice, bob):
        runs.start(user.id, message())
    claims = [claim_one() for _ in range(3)]
    del published[:]

    async def agents():
        writer = EventWriter()
        for run in claims:
            await writer.open(run, lambda: None).emit(say(f"to {run.user_id}"))
        while len(live(published)) < 3:  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)

    asyncio.run(agents())
    by_group = {group: [delta[2] for delta in message["deltas"]] for group, message in published}
    assert len(published) == 2
    assert by_group == {
        f"user.{user.id}": [run.run_id for run in claims if run.user_id == user.id] for user in (alice, bob)
    }


@pytest.fixture
def text(run):
    return LiveText(replace(run, attempt=2, restarted=True), lease_until=100.0)


def taken(text, now=50.0):
    frames = [json.loads(frame) for frame in text.take(now)]
    return [((frame["agent_name"], frame.get("part_id")), frame["offset"], frame["delta"]) for frame in frames]


A, B = ("a", None), ("b", None)


@pytest.mark.django_db(transaction=True)
def test_a_thought_is_published_while_it_grows_and_logged_whole(run, settings, published):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        async with Turn(text="x", sink=events, agent_name="echo").thought(1, 2) as thought:
            await thought.add("Hm 👍")
            while not live(published):  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0)
            assert await from_database(logged, run) == []
            await thought.add(" so")
        await events.commit()

    del published[:]
    execute(run, agent)
    (frame,) = frames(run.thread_id)[2:]
    assert (frame["type"], frame["reasoning"]) == ("agent_thinking", "Hm 👍 so")
    assert (frame["step_number"], frame["total_steps"]) == (1, 2)
    assert frame["duration_ms"] >= 0
    shown = json.loads(published[0][1]["deltas"][0][3])
    assert shown == {
        "type": "live_thinking",
        "thread_id": run.thread_id,
        "run_id": run.run_id,
        "attempt": 1,
        "agent_name": "echo",
        "thought_id": frame["thought_id"],
        "offset": 0,
        "delta": "Hm 👍",
    }


def test_take_joins_the_deltas_of_one_agent(text):
    for agent, offset, delta in ((A, 0, "one "), (A, 4, "two "), (B, 8, "three")):
        text.add(agent, offset, delta)
    assert taken(text) == [(A, 0, "one two "), (B, 8, "three")]
    assert taken(text) == []
    text.add(B, 13, ".")
    assert taken(text) == [(B, 13, ".")]


def test_take_tells_sub_agents_of_one_name_apart(text):
    for part, offset, delta in (("0000000a", 0, "one "), ("0000000b", 4, "two "), ("0000000b", 8, "three")):
        text.add(("data", part), offset, delta)
    assert taken(text) == [(("data", "0000000a"), 0, "one "), (("data", "0000000b"), 4, "two three")]


def test_take_keeps_text_and_thoughts_apart(text):
    for offset, delta, thought in ((0, "one ", ""), (0, "Hm", "t1"), (2, ", ", "t1"), (4, "two", ""), (0, "So", "t2")):
        text.add(A, offset, delta, thought)
    found = [(frame["type"], frame.get("thought_id"), frame["delta"]) for frame in map(json.loads, text.take(50.0))]
    assert found == [
        ("live_delta", None, "one "),
        ("live_thinking", "t1", "Hm, "),
        ("live_delta", None, "two"),
        ("live_thinking", "t2", "So"),
    ]


def test_take_that_was_late_delays_no_later_frame(text):
    due = []
    for now in (10.0, 11.5, 12.0, 13.0, 20.0):  # one a second; the second is half a second late
        text.add(("echo", None), 0, "x")
        assert text.due_at <= now
        text.take(now, interval=1.0)
        due.append(text.due_at)
    assert due == [10.0, 11.5, 12.5, 13.5, 20.0]


def test_take_after_the_lease_returns_nothing(text):
    text.add(A, 0, "one")
    assert taken(text, now=100.0) == []
    text.lease_until = 130.0
    assert taken(text, now=100.0) == []
    text.add(A, 3, "two")
    assert taken(text, now=100.0) == [(A, 3, "two")]


def test_take_too_much_is_left_to_the_log(text):
    text.add(A, 0, "x" * MAX_LIVE_TEXT)
    text.add(A, MAX_LIVE_TEXT, "y")
    text.add(A, MAX_LIVE_TEXT + 1, "z")
    assert taken(text) == []
    text.add(A, MAX_LIVE_TEXT + 2, "then")
    assert taken(text) == [(A, MAX_LIVE_TEXT + 2, "then")]


@pytest.mark.django_db(transaction=True)
def test_text_of_a_revoked_run_is_not_published(run, settings):
    settings.NETRA_DELTA_SECONDS = NEVER_SECONDS

    async def agent(events):
        await events.emit(say("one"))
        events.revoke()
        events.show({"agent_name": "echo", "thought_id": "t", "offset": 0, "delta": "two"})
        assert taken(events.live, now=0.0) == []

    execute(run, agent)
