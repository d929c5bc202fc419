import asyncio
import contextvars
import uuid
from typing import Any

import pytest

from agents import tools
from agents.agent import AgentError, Call, Message, Record, Turn


class Log(Record):
    """Also notes when something was committed."""

    async def commit(self) -> None:
        self.append({"type": "commit"})


def types(sink: Record) -> list[str]:
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
        await turn.say("wor\x00ld\ud83d")

    sink = Record()
    turn = Turn(text="hi", sink=sink, agent_name="a")
    asyncio.run(main())
    assert sink == [
        {"type": "agent_delta", "agent_name": "a", "delta": "Hello "},
        {"type": "agent_delta", "agent_name": "a", "delta": "wor\ufffdld\ufffd"},
    ]
    assert turn.said == "Hello wor\ufffdld\ufffd"


def test_what_is_said_or_thought_must_be_text() -> None:
    sink = Record()
    turn = Turn(text="hi", sink=sink)
    with pytest.raises(TypeError, match="says is a str, not int"):
        asyncio.run(turn.say(5))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="thinks is a str, not NoneType"):
        asyncio.run(turn.think(None))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="step_number is an int, not str"):
        asyncio.run(turn.think("x", step="1"))  # type: ignore[arg-type]
    assert sink == []


def test_think_has_steps_only_when_given() -> None:
    async def main() -> None:
        await turn.think("plain")
        await turn.think("stepped", step=1, of=3)

    sink = Record()
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


def test_an_agent_errors_message_is_shown_and_a_long_error_is_cut() -> None:
    def refuse() -> None:
        raise AgentError("The file is empty.", code="empty")

    def shout() -> None:
        raise KeyError("x" * 1000)

    sink = Record()
    with pytest.raises(AgentError) as raised:
        asyncio.run(Turn(text="hi", sink=sink).call(refuse))
    assert (raised.value.message, raised.value.code, raised.value.retryable) == ("The file is empty.", "empty", False)
    assert sink[1]["error"] == "The file is empty."
    with pytest.raises(KeyError):
        asyncio.run(Turn(text="hi", sink=sink).call(shout))
    assert len(sink[3]["error"]) == 500


def test_wrong_parameters_emit_nothing() -> None:
    sink = Record()
    turn = Turn(text="hi", sink=sink)
    for parameters in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": {2}}):
        with pytest.raises(TypeError, match=r"^add: "):
            asyncio.run(turn.call(add, **parameters))
    assert sink == []


def test_a_result_that_is_no_json_is_a_failed_call() -> None:
    def odd() -> dict[str, Any]:
        return {"rows": [0, {"when": object()}]}

    sink = Record()
    with pytest.raises(TypeError, match=r"^odd: result\.rows\[1\]\.when: object$"):
        asyncio.run(Turn(text="hi", sink=sink).call(odd))
    assert types(sink) == ["tool_executing", "tool_completed"]
    assert sink[1]["success"] is False
    assert sink[1]["error"] == "TypeError: odd: result.rows[1].when: object"


@pytest.mark.parametrize("begun", [True, False], ids=["under way", "its start not yet committed"])
def test_a_cancelled_call_is_over_for_whoever_watches(begun: bool) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    class Waiting(Record):
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


def ids(sink: Record) -> list[str]:
    return [event["tool_call_id"] for event in sink if event["type"] == "tool_executing"]


def test_call_ids_differ_within_a_run_and_are_the_same_in_its_next_attempt() -> None:
    run = str(uuid.uuid4())
    first, second, other = Record(), Record(), Record()
    asyncio.run(repeatable(Turn(text="hi", sink=first, run_id=run)))
    asyncio.run(repeatable(Turn(text="hi", sink=second, run_id=run, attempt=2)))
    asyncio.run(repeatable(Turn(text="hi", sink=other, run_id=str(uuid.uuid4()))))
    assert ids(first) == ids(second)
    assert len(set(ids(first))) == 6
    assert not set(ids(first)) & set(ids(other))


def test_equal_subagents_side_by_side_keep_their_calls_apart() -> None:
    async def main(first: int) -> list[str]:
        sink = Record()
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

    before = Record()
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

    before = Record()
    asyncio.run(Turn(text="hi", sink=before).call(pay, amount=5))
    calls = {ids(before)[0]: Call(completed=False)}
    assert asyncio.run(Turn(text="hi", calls=calls).call(pay, amount=5)) == 5
    assert paid == [5, 5]
    sink = Record()
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

    sink = Record()
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

    sink = Record()
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

    sink = Record()
    turn = Turn(text="hi", sink=sink)
    assert asyncio.run(main()) == ["left", "right"]
    assert types(sink)[:2] == ["agent_started", "agent_started"]
    assert all(event["agent_name"] == event["reasoning"] for event in sink if event["type"] == "agent_thinking")
    assert turn.agents_involved == ["agent", "left", "right"]
