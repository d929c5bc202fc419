import asyncio
import contextvars
import uuid
from typing import Any

import pytest

from agents.sdk import AgentError, Call, Message, RecordingSink, Turn, tools


class Log(RecordingSink):
    """Also notes when something was committed."""

    async def commit(self) -> None:
        self.append({"type": "commit"})


def types(sink: RecordingSink) -> list[str]:
    return [event["type"] for event in sink]


def add(a: int, b: int) -> int:
    return a + b


async def broken() -> None:
    raise ValueError("no such \x00 row")


def test_a_turn_needs_nothing_but_a_text() -> None:
    turn = Turn(text="hi")
    assert turn.history == (Message("user", "hi"),)
    assert (turn.attachments, turn.attempt, turn.said, turn.usage) == ((), 1, "", {})
    assert uuid.UUID(turn.run_id) == uuid.UUID(turn.thread_id)


def test_say_emits_deltas_and_collects_the_text() -> None:
    async def main() -> None:
        await turn.say("Hello ")
        await turn.say("")
        await turn.say("wor\x00l\ud83dd")

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink, agent_name="a")
    asyncio.run(main())
    assert sink == [
        {"type": "agent_delta", "agent_name": "a", "delta": "Hello "},
        {"type": "agent_delta", "agent_name": "a", "delta": "wor\ufffdl\ufffdd"},
    ]
    assert turn.said == "Hello wor\ufffdl\ufffdd"


HALVES = "\ud83d", "\ude80"  # of a rocket


@pytest.mark.parametrize(
    ("pieces", "deltas"),
    [
        (["a" + HALVES[0], HALVES[1] + "b"], ["a", "🚀b"]),
        ([HALVES[0], "", HALVES[1]], ["🚀"]),
        (["".join(HALVES)], ["🚀"]),
        (["a", HALVES[0], "b"], ["a", "\ufffdb"]),
        ([HALVES[0], HALVES[0], HALVES[1]], ["\ufffd", "🚀"]),
        ([HALVES[1], HALVES[0]], ["\ufffd", "\ufffd"]),
        (["end" + HALVES[0]], ["end", "\ufffd"]),
        (["🚀", "👩\u200d", "💻"], ["🚀", "👩\u200d", "💻"]),
    ],
)
def test_say_pieces_that_part_a_character_waits_for_its_other_half(pieces: list[str], deltas: list[str]) -> None:
    async def main() -> None:
        for piece in pieces:
            await turn.say(piece)
        await turn.end_text()
        await turn.end_text()

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink)
    asyncio.run(main())
    assert [event["delta"] for event in sink] == deltas
    assert turn.said == "".join(deltas)


@pytest.mark.parametrize("other", ["think", "call"])
def test_say_half_a_character_then_another_event_ends_it_once(other: str) -> None:
    async def main() -> None:
        await turn.say("a" + HALVES[0])
        if other == "think":
            await turn.think("".join(HALVES))
        else:
            await turn.call(add, a=1, b=1)
        await turn.say(HALVES[1])

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink)
    asyncio.run(main())
    assert [event.get("delta", event["type"]) for event in sink][:2] == ["a", "\ufffd"]
    assert turn.said == "a\ufffd\ufffd"
    assert all(event["reasoning"] == "🚀" for event in sink if event["type"] == "agent_thinking")


def test_say_halves_of_agents_side_by_side_are_not_joined() -> None:
    async def main() -> None:
        async with turn.subagent("left") as left, turn.subagent("right") as right:
            await left.say(HALVES[0])
            await right.say(HALVES[0])
            await left.say(HALVES[1])
            await turn.say("-" + HALVES[0])
        await turn.say(HALVES[1])

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink, agent_name="boss")
    asyncio.run(main())
    said = [(event["agent_name"], event["delta"]) for event in sink if event["type"] == "agent_delta"]
    assert said == [("left", "🚀"), ("boss", "-"), ("right", "\ufffd"), ("boss", "🚀")]


def test_what_is_said_or_thought_must_be_text() -> None:
    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink)
    with pytest.raises(TypeError, match="text of an answer is a str, not int"):
        asyncio.run(turn.say(5))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a thought is a str, not NoneType"):
        asyncio.run(turn.think(None))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="step_number is an int, not str"):
        asyncio.run(turn.think("x", step="1"))  # type: ignore[arg-type]
    assert sink == []


class Shown(RecordingSink):
    """Also keeps the pieces of thoughts, as (offset, delta)."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, str]] = []

    def show(self, piece: dict[str, Any]) -> None:
        self.pieces.append((piece["offset"], piece["delta"]))


@pytest.mark.parametrize(
    ("added", "shown"),
    [
        (["Hm ", "🚀", " so"], [(0, "Hm "), (3, "🚀"), (5, " so")]),
        (["\n ", "", "Hm", "\n"], [(0, "\n Hm"), (4, "\n")]),
        (["a" + HALVES[0], HALVES[1] + "b"], [(0, "a"), (1, "🚀b")]),
        (["a", HALVES[0]], [(0, "a"), (1, "\ufffd")]),
        ([" ", "\n"], []),
        ([], []),
    ],
)
def test_a_thought_is_shown_while_it_grows_and_emitted_whole(added: list[str], shown: list[tuple[int, str]]) -> None:
    async def main() -> None:
        async with turn.subagent("sub") as sub, sub.thought() as thought:
            for piece in added:
                await thought.add(piece)

    sink = Shown()
    turn = Turn(text="hi", sink=sink)
    asyncio.run(main())
    assert sink.pieces == shown
    thoughts = [event for event in sink if event["type"] == "agent_thinking"]
    assert [event["reasoning"] for event in thoughts] == (["".join(delta for _, delta in shown)] if shown else [])
    assert all(event["agent_name"] == "sub" and event["part_id"] and event["thought_id"] for event in thoughts)


def test_a_thought_that_breaks_off_is_emitted_as_far_as_it_came() -> None:
    async def main() -> None:
        async with turn.thought(step=2) as thought:
            await thought.add("so far")
            raise AgentError("broken")

    turn = Turn(text="hi", sink=(sink := RecordingSink()))
    with pytest.raises(AgentError, match="broken"):
        asyncio.run(main())
    assert [(event["reasoning"], event["step_number"]) for event in sink] == [("so far", 2)]


def test_a_thought_without_end_is_refused() -> None:
    async def main() -> None:
        async with turn.thought() as thought:
            while True:
                await thought.add("é" * 10_000)

    turn = Turn(text="hi", sink=(sink := RecordingSink()))
    with pytest.raises(AgentError) as caught:
        asyncio.run(main())
    assert caught.value.code == "too_large"
    assert sink == []


def test_think_has_steps_only_when_given() -> None:
    async def main() -> None:
        await turn.think("plain")
        await turn.think("stepped", step=1, of=3)

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink, agent_name="a")
    asyncio.run(main())
    assert sink == [
        {"type": "agent_thinking", "agent_name": "a", "reasoning": "plain"},
        {"type": "agent_thinking", "agent_name": "a", "reasoning": "stepped", "step_number": 1, "total_steps": 3},
    ]


def test_a_call_is_committed_before_the_tool_runs_and_after_it_completed() -> None:
    sink = Log()
    turn = Turn(text="hi", sink=sink)
    seen: list[list[str]] = []

    def look(what: tuple[int, ...]) -> dict[str, Any]:
        seen.append(types(sink))
        return {"rows": what}

    result = asyncio.run(turn.call(look, what=(1, 2)))
    assert result == {"rows": (1, 2)}
    assert seen == [["tool_executing", "commit"]]
    assert types(sink) == ["tool_executing", "commit", "tool_completed", "commit"]
    executing, completed = sink[0], sink[2]
    assert (executing["tool_name"], executing["parameters"]) == ("look", {"what": [1, 2]})
    assert executing["tool_call_id"] == completed["tool_call_id"]
    assert completed["result"] == {"rows": [1, 2]}
    assert completed["success"] is True
    assert isinstance(completed["duration_ms"], int)
    assert not {"error", "reused"} & completed.keys()


def test_a_tool_may_have_a_parameter_of_any_name() -> None:
    def odd(self: int, tool: int, name: int) -> int:
        return self + tool + name

    assert asyncio.run(Turn(text="hi").call(odd, self=1, tool=2, name=3)) == 6


def test_what_a_tool_raises_is_shown_and_raised() -> None:
    sink = Log()
    with pytest.raises(ValueError, match="no such"):
        asyncio.run(Turn(text="hi", sink=sink).call(broken))
    assert types(sink) == ["tool_executing", "commit", "tool_completed", "commit"]
    completed = sink[2]
    assert (completed["success"], completed["result"]) == (False, None)
    assert completed["error"] == "ValueError: no such \ufffd row"


@pytest.mark.parametrize("message", ["", " \n", "\u200b"])
def test_an_agent_error_without_words_says_that_there_was_an_error(message: str) -> None:
    assert AgentError(message).message == "The agent hit an error and stopped. Try again."


def test_an_agent_errors_message_is_shown_and_a_long_error_is_cut() -> None:
    def refuse() -> None:
        raise AgentError("The file is empty.", code="empty")

    def shout() -> None:
        raise KeyError("x" * 1000)

    sink = RecordingSink()
    with pytest.raises(AgentError) as raised:
        asyncio.run(Turn(text="hi", sink=sink).call(refuse))
    assert (raised.value.message, raised.value.code, raised.value.retryable) == ("The file is empty.", "empty", False)
    assert sink[1]["error"] == "The file is empty."
    with pytest.raises(KeyError):
        asyncio.run(Turn(text="hi", sink=sink).call(shout))
    assert len(sink[3]["error"]) == 500


def test_wrong_parameters_emit_nothing() -> None:
    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink)
    for parameters in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": {2}}):
        with pytest.raises(TypeError, match=r"^add: "):
            asyncio.run(turn.call(add, **parameters))
    assert sink == []


def test_a_result_that_is_no_json_is_a_failed_call() -> None:
    def odd() -> dict[str, Any]:
        return {"rows": [0, {"when": object()}]}

    sink = RecordingSink()
    with pytest.raises(TypeError, match=r"^odd: result\.rows\[1\]\.when: object$"):
        asyncio.run(Turn(text="hi", sink=sink).call(odd))
    assert types(sink) == ["tool_executing", "tool_completed"]
    assert sink[1]["success"] is False
    assert sink[1]["error"] == "TypeError: odd: result.rows[1].when: object"


@pytest.mark.parametrize("begun", [True, False], ids=["under way", "its start not yet committed"])
def test_a_cancelled_call_is_over_for_whoever_watches(begun: bool) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    class Waiting(RecordingSink):
        committed = asyncio.Event()

        async def commit(self) -> None:
            self.committed.set()
            if not begun:
                await forever()

    sink = Waiting()

    async def main() -> None:
        async def agent() -> None:
            async with turn.subagent("sub") as sub:
                await sub.call(forever)

        task = asyncio.create_task(agent())
        await sink.committed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    turn = Turn(text="hi", sink=sink)
    asyncio.run(main())
    assert types(sink) == ["agent_started", "tool_executing", "tool_completed", "subagent_completed"]
    assert (sink[2]["success"], sink[2]["error"]) == (False, "The call was cancelled.")
    assert sink[3]["summary"] == "sub was stopped"


async def repeatable(turn: Turn) -> list[Any]:
    results = [await turn.call(add, a=1, b=1), await turn.call(add, a=1, b=1), await turn.call(add, b=2, a=1)]
    for task in ("x", "x", "y"):
        async with turn.subagent("data", task=task) as sub:
            results.append(await sub.call(add, a=1, b=1))
    return results


def ids(sink: RecordingSink) -> list[str]:
    return [event["tool_call_id"] for event in sink if event["type"] == "tool_executing"]


def test_call_ids_differ_within_a_run_and_are_the_same_in_its_next_attempt() -> None:
    run = str(uuid.uuid4())
    first, second, other = RecordingSink(), RecordingSink(), RecordingSink()
    asyncio.run(repeatable(Turn(text="hi", sink=first, run_id=run)))
    asyncio.run(repeatable(Turn(text="hi", sink=second, run_id=run, attempt=2)))
    asyncio.run(repeatable(Turn(text="hi", sink=other, run_id=str(uuid.uuid4()))))
    assert ids(first) == ids(second)
    assert len(set(ids(first))) == 6
    assert not set(ids(first)) & set(ids(other))


def test_equal_subagents_side_by_side_keep_their_calls_apart() -> None:
    async def main(first: int) -> list[str]:
        sink = RecordingSink()
        turn = Turn(text="hi", sink=sink)
        async with turn.subagent("data", task="x") as left, turn.subagent("data", task="x") as right:
            for sub in (left, right) if first == 0 else (right, left):
                await sub.call(add, a=1, b=1)
        return ids(sink) if first == 0 else ids(sink)[::-1]

    assert asyncio.run(main(0)) == asyncio.run(main(1))


def test_a_completed_call_of_an_earlier_attempt_is_reused_not_made() -> None:
    ran: list[int] = []

    def roll(sides: int) -> int:
        ran.append(sides)
        return sides

    before = RecordingSink()
    asyncio.run(Turn(text="hi", sink=before).call(roll, sides=6))
    sink = Log()
    turn = Turn(text="hi", sink=sink, attempt=2, calls={ids(before)[0]: Call(True, 4)})
    assert asyncio.run(turn.call(roll, sides=6)) == 4
    assert ran == [6]
    assert types(sink) == ["tool_executing", "tool_completed", "commit"]
    completed = sink[1]
    assert (completed["result"], completed["success"], completed["reused"]) == (4, True, True)
    assert completed["duration_ms"] == 0
    assert asyncio.run(turn.call(roll, sides=6)) == 6, "the second equal call was not made before"


def test_an_interrupted_call_is_made_again_unless_the_tool_is_once() -> None:
    paid: list[int] = []

    def pay(amount: int) -> int:
        paid.append(amount)
        return amount

    before = RecordingSink()
    asyncio.run(Turn(text="hi", sink=before).call(pay, amount=5))
    calls = {ids(before)[0]: Call(completed=False)}
    assert asyncio.run(Turn(text="hi", calls=calls).call(pay, amount=5)) == 5
    assert paid == [5, 5]
    sink = RecordingSink()
    with pytest.raises(AgentError, match="pay") as raised:
        asyncio.run(Turn(text="hi", sink=sink, calls=calls).call(tools.once(pay), amount=5))
    assert raised.value.code == "tool_interrupted"
    assert paid == [5, 5]
    assert sink == []


def test_a_subagent_speaks_under_its_own_name_into_the_same_answer() -> None:
    async def main() -> None:
        await turn.say("1")
        async with turn.subagent("data", task="Look") as sub:
            await sub.say("2")
            await sub.call(add, a=1, b=2)
            sub.summary = "Looking"
            async with sub.subagent("deep") as deep:
                await deep.say("3")
                deep.usage["tokens"] = 7
            sub.summary = "Looked\x00"
        async with turn.subagent("data"):
            pass

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink, agent_name="boss", user_id="17")
    asyncio.run(main())
    assert [(event["type"], event["agent_name"]) for event in sink] == [
        ("agent_delta", "boss"),
        ("agent_started", "data"),
        ("agent_delta", "data"),
        ("tool_executing", "data"),
        ("tool_completed", "data"),
        ("agent_started", "deep"),
        ("agent_delta", "deep"),
        ("subagent_completed", "deep"),
        ("subagent_completed", "data"),
        ("agent_started", "data"),
        ("subagent_completed", "data"),
    ]
    started = sink[1]
    assert (started["task"], started["status"], started["parent_agent"]) == ("Look", "started", "boss")
    assert sink[5]["parent_agent"] == "data"
    assert sink[7]["summary"] == ""
    assert sink[8]["summary"] == "Looked\ufffd"
    assert isinstance(sink[8]["duration_ms"], int)
    assert sink[10]["summary"] == ""
    assert turn.said == "123"
    assert turn.agents_involved == ["boss", "data", "deep"]
    assert turn.usage == {"tokens": 7}
    assert turn.summary == ""


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (AgentError("The file has no rows."), "data failed: The file has no rows."),
        (ValueError("secret"), "data failed with an internal error"),
    ],
)
def test_a_failing_subagent_says_so_and_the_error_goes_on(error: Exception, summary: str) -> None:
    async def main() -> None:
        async with turn.subagent("data") as sub:
            sub.summary = "all well"
            raise error

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink)
    with pytest.raises(type(error)) as raised:
        asyncio.run(main())
    assert raised.value is error
    assert types(sink) == ["agent_started", "subagent_completed"]
    assert sink[1]["summary"] == summary


def test_subagents_run_side_by_side_with_their_own_names_and_contexts() -> None:
    where = contextvars.ContextVar("where", default="")

    async def main() -> list[str]:
        both = asyncio.Barrier(2)

        def look() -> str:
            return where.get()

        async def work(name: str) -> str:
            where.set(name)
            async with turn.subagent(name) as sub:
                await both.wait()
                await sub.think(name)
                return await sub.call(look)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(name)) for name in ("left", "right")]
        return [task.result() for task in tasks]

    sink = RecordingSink()
    turn = Turn(text="hi", sink=sink)
    assert asyncio.run(main()) == ["left", "right"]
    assert types(sink)[:2] == ["agent_started", "agent_started"]
    assert all(event["agent_name"] == event["reasoning"] for event in sink if event["type"] == "agent_thinking")
    assert turn.agents_involved == ["agent", "left", "right"]
