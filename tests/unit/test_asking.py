"""Requests, approvals, steps and saved states of agents, without a worker."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Literal

import pytest

from agents.sdk import (
    AgentError,
    Call,
    Declined,
    Expired,
    RecordingSink,
    Turn,
    Waiting,
    accept,
    decline,
    expire,
    needs_approval,
    once,
)
from agents.sdk.approval import parameters_schema
from agents.sdk.asking import failure_of
from tests.site import WAIT_TIMEOUT

SENT: list[dict[str, object]] = []


@needs_approval(message="Send “{subject}” to {to}?", when=lambda to, **_: not to.endswith("@example.com"))
def send_mail(to: str, subject: str, copies: list[str] | None = None) -> str:
    """Send a mail."""
    SENT.append({"to": to, "subject": subject})
    return "sent"


@needs_approval
def wipe(path: str) -> None:
    SENT.append({"path": path})


@dataclass
class Period:
    month: str = field(metadata={"format": "date", "title": "Month"})
    currency: Literal["USD", "EUR"] = "USD"
    note: str | None = None


@pytest.fixture(autouse=True)
def nothing_sent():
    SENT.clear()


def turn(*answers, sink=None, **given):
    return Turn(
        text="hello",
        sink=RecordingSink() if sink is None else sink,
        answers=answers,
        run_id=str(uuid.UUID(int=7)),
        **given,
    )


def run(agent, *answers, **given):
    """Return the agent's result, and its events."""
    sink = RecordingSink()
    return asyncio.run(agent(turn(*answers, sink=sink, **given))), list(sink)


def requests(events):
    return [event for event in events if event["type"] == "input_requested"]


def types(events):
    return [event["type"] for event in events]


# ---- Forms ----


def test_a_form_returns_its_values_with_defaults():
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 2}}}
    found, (asked, resolved) = run(lambda turn: turn.ask("Which?", schema), accept({"a": "x"}))
    assert found == {"a": "x", "b": 2}
    assert (asked["kind"], asked["message"], asked["schema"]) == ("form", "Which?", schema)
    assert (asked["decided_by"], asked["four_eyes"]) == ("owner", False)
    assert (resolved["request_id"], resolved["status"]) == (asked["request_id"], "accepted")


def test_one_value_and_a_text_are_returned_bare():
    assert run(lambda turn: turn.ask("How many?", {"type": "integer"}), accept(3))[0] == 3
    assert run(lambda turn: turn.ask("Name?"), accept({"value": "x"}))[0] == "x"


def test_a_dataclass_is_its_form():
    found, (asked, _) = run(lambda turn: turn.ask("Which period?", Period), accept({"month": "2026-11-01"}))
    assert found == Period("2026-11-01", "USD", None)
    properties = asked["schema"]["properties"]
    assert properties["month"] == {"type": "string", "format": "date", "title": "Month"}
    assert properties["currency"] == {"type": "string", "enum": ["USD", "EUR"], "default": "USD"}
    assert asked["schema"]["required"] == ["month"]


def test_a_field_that_a_dataclass_computes_is_not_asked_for():
    @dataclass
    class Range:
        low: int
        high: int
        width: int = field(init=False)

        def __post_init__(self):
            self.width = self.high - self.low

    found, events = run(lambda turn: turn.ask("Which?", Range), accept({"low": 1, "high": 5}))
    assert (found, found.width) == (Range(1, 5), 4)
    assert list(events[0]["schema"]["properties"]) == ["low", "high"]
    assert run(lambda turn: turn.ask("Which?", Range, default=Range(2, 3)), expire())[0] == Range(2, 3)


def test_an_optional_field_of_a_dataclass_is_none_without_an_answer():
    @dataclass
    class Review:
        verdict: str
        note: str | None
        labels: list[Literal["bug", "feature"]] = field(default_factory=list)

    found, events = run(lambda turn: turn.ask("Which?", Review), accept({"verdict": "good"}))
    assert found == Review("good", None, [])
    assert events[0]["schema"]["required"] == ["verdict"]
    found, events = run(lambda turn: turn.ask("Which?", Review, default=Review("none", None)), expire())
    assert (found, events[0]["default"]) == (Review("none", None, []), {"verdict": "none", "labels": []})


def test_a_test_s_answer_is_checked_like_a_person_s():
    with pytest.raises(Exception, match="must be a whole number"):
        run(lambda turn: turn.ask("How many?", {"type": "integer"}), accept("3"))


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"schema": {"type": "string", "pattern": "x"}}, "schema.pattern"),
        ({"schema": {"type": "integer"}, "default": "x"}, "default"),
        ({"decided_by": "everybody"}, "decided_by"),
        ({"decided_by": "group:"}, "decided_by"),
        ({"decided_by": "group:" + "x" * 151}, "decided_by"),
        ({"decided_by": "group:\0"}, "decided_by"),
        ({"decided_by": None}, "decided_by"),
        ({"expires": 0}, "expires"),
        ({"expires": float("inf")}, "expires"),
        ({"url": "javascript:1"}, "url"),
    ],
)
def test_what_cannot_be_asked_is_a_type_error_of_the_agent(given, place):
    with pytest.raises(TypeError, match=place):
        run(lambda turn: turn.ask("Which?", **given), accept("x"))
    with pytest.raises(TypeError, match="4000 characters"):
        run(lambda turn: turn.ask("x" * 4001), accept("x"))


def test_a_declined_form_raises_with_the_reason():
    with pytest.raises(Declined) as error:
        run(lambda turn: turn.ask("Which?"), decline("not now"))
    assert (error.value.reason, error.value.code) == ("not now", "input_declined")
    assert AgentError.of(error.value) is error.value


def test_an_expired_form_takes_its_default_or_raises():
    assert run(lambda turn: turn.ask("Which?", default="x"), expire())[0] == "x"
    with pytest.raises(Expired) as error:
        run(lambda turn: turn.ask("Which?"), expire())
    assert error.value.code == "input_expired"


def test_a_link_returns_nothing():
    found, (asked, _) = run(lambda turn: turn.ask("Sign in", url="https://example.org/a"), accept())
    assert found is None
    assert (asked["kind"], asked["schema"]) == ("link", {"url": "https://example.org/a"})


def test_a_turn_without_a_further_answer_waits():
    with pytest.raises(Waiting) as waiting:
        run(lambda turn: turn.ask("Which?"))
    assert [request.message for request in waiting.value.requests] == ["Which?"]


# ---- Identities ----


def ids(*questions):
    """The ids of the requests of an agent that asks these (message, arguments) in order."""

    async def agent(turn):
        for message, given in questions:
            await turn.ask(message, **given)

    return [event["request_id"] for event in requests(run(agent, *[accept("x") for _ in questions])[1])]


def test_an_identity_is_what_is_shown_and_its_occurrence():
    first, second = ids(("Which?", {}), ("Which?", {}))
    assert first != second
    assert ids(("Which?", {}))[0] == first
    assert ids(("Other?", {}), ("Which?", {}))[1] == first
    assert ids(("Which?", {"schema": {"type": "string", "maxLength": 2}}))[0] != first


def test_a_key_survives_rewording():
    assert ids(("Which?", {"key": "k"})) == ids(("Which one?", {"key": "k"}))


def test_sub_agents_have_identities_and_parts_of_their_own():
    async def agent(turn):
        for task in ("a", "b"):
            async with turn.subagent("data", task=task) as sub:
                await sub.ask("Which?")
                await sub.say("x")

    _, events = run(agent, accept("x"), accept("x"))
    first, second = requests(events)
    assert first["request_id"] != second["request_id"]
    parts = {event.get("part_id") for event in events if event["agent_name"] == "data"} - {None}
    assert len(parts) == 2
    assert all(len(part) == 8 for part in parts)
    assert {event["part_id"] for event in events if event["type"] == "agent_delta"} == parts


# ---- Approvals ----


def test_a_marked_tool_runs_with_the_approved_parameters():
    call = {"to": "bob@example.org", "subject": "Hi"}
    found, events = run(lambda turn: turn.call(send_mail, **call), accept())
    assert (found, SENT) == ("sent", [call])
    assert types(events) == ["input_requested", "input_resolved", "tool_executing", "tool_completed"]
    asked, executing = events[0], events[2]
    assert (asked["message"], asked["tool_name"]) == ("Send “Hi” to bob@example.org?", "send_mail")
    assert (asked["parameters"], asked["editable"]) == (call, True)
    assert asked["tool_call_id"] == executing["tool_call_id"]
    assert asked["schema"]["properties"]["to"] == {"type": "string"}


def test_edited_parameters_are_those_that_run():
    edited = {"to": "eve@example.org", "subject": "No"}
    _, events = run(lambda turn: turn.call(send_mail, to="bob@example.org", subject="Hi"), accept(parameters=edited))
    assert [edited] == SENT
    assert events[2]["parameters"] == edited


def test_edited_parameters_that_do_not_fit_the_tool_do_not_run():
    with pytest.raises(TypeError, match="send_mail"):
        run(lambda turn: turn.call(send_mail, to="bob@example.org", subject="Hi"), accept(parameters={"x": 1}))
    assert SENT == []


def test_a_declined_tool_has_not_run_and_is_not_asked_for_again():
    async def agent(turn):
        for _ in range(2):
            with pytest.raises(Declined, match="never"):
                await turn.call(wipe, path="/")
        await turn.call(wipe, path="/tmp")

    _, events = run(agent, decline("never"), accept())
    assert SENT == [{"path": "/tmp"}]
    assert [event["parameters"]["path"] for event in requests(events)] == ["/", "/tmp"]
    assert types(events).count("tool_executing") == 1


def test_silence_is_no_consent():
    with pytest.raises(Expired):
        run(lambda turn: turn.call(wipe, path="/"), expire())
    assert SENT == []


def test_when_decides_per_call():
    _, events = run(lambda turn: turn.call(send_mail, to="bob@example.com", subject="Hi"))
    assert types(events) == ["tool_executing", "tool_completed"]


def test_the_condition_and_the_message_get_the_defaults_of_what_is_left_out():
    @needs_approval(message="Refund {amount} of {order}?", when=lambda order, amount: amount > 100)
    def refund(order: str, amount: int = 5000) -> None:
        SENT.append({"order": order})

    async def agent(turn):
        await turn.call(refund, order="A1")
        await turn.call(refund, order="A2", amount=1)

    _, events = run(agent, accept())
    assert [(event["message"], event["parameters"]) for event in requests(events)] == [
        ("Refund 5000 of A1?", {"order": "A1"})
    ]
    assert SENT == [{"order": "A1"}, {"order": "A2"}]


@pytest.mark.parametrize(
    ("query", "message"), [("x" * 5000, "x" * 3999 + "…"), ("x" * 4000, "x" * 4000), ("", "Allow “execute”?")]
)
def test_a_message_that_its_parameters_make_too_long_or_empty_is_asked(query, message):
    @needs_approval(message="{query}")
    def execute(query: str) -> None:
        SENT.append({"query": query})

    _, events = run(lambda turn: turn.call(execute, query=query), accept())
    assert [event["message"] for event in requests(events)] == [message]
    assert [{"query": query}] == SENT


def test_an_interrupted_start_is_asked_for_again():
    """Also of a tool that is marked once: the person has seen that it was interrupted."""
    made = once(wipe)
    _, events = run(lambda turn: turn.call(made, path="/"), accept())
    call_id = events[2]["tool_call_id"]
    calls = {call_id: Call(completed=False, starts=1)}
    _, again = run(lambda turn: turn.call(made, path="/"), accept(), accept(), calls=calls, attempt=2)
    first, second = requests(again)
    assert first["request_id"] == events[0]["request_id"] != second["request_id"]
    assert second["reason"] == "interrupted"
    done = {call_id: Call(completed=True, result=None, starts=2)}
    SENT.clear()
    _, replayed = run(lambda turn: turn.call(made, path="/"), accept(), accept(), calls=done, attempt=2)
    assert [event["request_id"] for event in requests(replayed)] == [first["request_id"], second["request_id"]]
    assert SENT == []


def test_a_call_that_failed_before_the_wait_fails_again_without_running():
    async def agent(turn):
        with pytest.raises(ValueError, match="no"):
            await turn.call(broken)
        with pytest.raises(AgentError, match="Words") as refusal:
            await turn.call(refused)
        assert refusal.value.code == "odd"
        with pytest.raises(AgentError, match="KeyError: no key"):
            await turn.call(named)
        with pytest.raises(Declined) as declined:
            await turn.call(unwanted)
        assert declined.value.reason == "why"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await turn.call(asyncio.sleep, delay=WAIT_TIMEOUT)

    def broken() -> None:
        raise ValueError("no")

    def refused() -> None:
        raise AgentError("Words.", "odd")

    def named() -> None:
        raise AgentError("KeyError: no key")

    def unwanted() -> None:
        raise Declined("why")

    _, events = run(agent)
    ended = [event for event in events if event["type"] == "tool_completed"]
    assert [e.get("error_code") for e in ended] == [None, "odd", "agent_error", "input_declined", "call_cancelled"]
    failed = {e["tool_call_id"]: Call(False, error=e["error"], code=e.get("error_code")) for e in ended}
    broken.__code__ = refused.__code__ = named.__code__ = unwanted.__code__ = (lambda: 1 / 0).__code__
    again = run(agent, calls=failed)[1]
    assert [event.get("reused") for event in again] == [True] * 10
    assert [e.get("error_code") for e in again if e["type"] == "tool_completed"] == [e.get("error_code") for e in ended]


def test_an_adapter_runs_a_named_tool_once_it_is_approved():
    async def agent(turn):
        ok = await turn.approve("Refund?", tool="refund", parameters={"amount": 5}, schema={"type": "object"})
        assert (ok.parameters, ok.edited, ok.reason) == ({"amount": 4}, True, "less")
        doubled = await ok.call(lambda amount: amount * 2)
        with pytest.raises(TypeError, match="one call"):
            await ok.call(lambda amount: amount * 2)
        return doubled

    found, events = run(agent, accept(parameters={"amount": 4}, reason="less"))
    assert found == 8
    assert events[0]["tool_call_id"] == events[2]["tool_call_id"]
    assert (events[2]["tool_name"], events[2]["parameters"]) == ("refund", {"amount": 4})


def test_an_action_without_a_tool_is_approved():
    ok, (asked, _) = run(lambda turn: turn.approve("Delete 3 files?", parameters={"paths": ["a"]}), accept())
    assert (ok.parameters, ok.edited) == ({"paths": ["a"]}, False)
    assert "tool_name" not in asked


def test_the_schema_of_parameters_follows_the_hints():
    def tool(
        a: int,
        b: Literal["x", "y"],
        c: bool | None = None,
        d: object = None,
        e: int = 3,
        f: object = object(),
        **more: str,
    ) -> None: ...

    assert parameters_schema(tool) == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "string", "enum": ["x", "y"]},
            "c": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "d": {},
            "e": {"type": "integer", "default": 3},
            "f": {},
        },
        "required": ["a", "b"],
    }


# ---- Steps and states ----


def test_a_step_runs_once():
    made = turn()
    numbers = iter(range(9))

    async def agent(turn):
        return [await turn.step("n", lambda: next(numbers)) for _ in range(2)]

    assert asyncio.run(agent(made)) == [0, 1]
    again = turn(journal=made.journal)
    assert asyncio.run(agent(again)) == [0, 1]
    assert next(numbers) == 2


def test_a_step_awaits_and_its_result_is_json():
    async def work():
        return (1, 2)

    assert run(lambda turn: turn.step("w", work))[0] == [1, 2]
    with pytest.raises(TypeError, match="w: result"):
        run(lambda turn: turn.step("w", object))


def test_a_saved_state_is_where_the_next_execution_starts():
    async def agent(turn):
        if turn.saved is None:
            await turn.call(tick, text="a")
            await turn.save({"at": 1})
        await turn.call(tick, text="a")

    def tick(text: str) -> str:
        return text

    made = turn(sink=(sink := RecordingSink()))
    asyncio.run(agent(made))
    _, second = [e["tool_call_id"] for e in sink if e["type"] == "tool_executing"]
    again = turn(sink=(sink := RecordingSink()), journal=made.journal)
    asyncio.run(agent(again))
    assert [e["tool_call_id"] for e in sink if e["type"] == "tool_executing"] == [second]
    assert again.saved == {"at": 1}


def test_a_state_does_not_count_what_an_unfinished_sub_agent_did():
    async def agent(turn):
        async with turn.subagent("data", task="t") as sub:
            await sub.call(once(lambda: 1))
            await turn.save(1)

    made = turn()
    asyncio.run(agent(made))
    assert all(count.again == [1] for count in made.journal.kept.counts if "sub-agent" in count.key)
    assert not [count for count in made.journal.kept.counts if len(count.path) > 1]


def test_a_state_repeats_the_sub_agent_that_was_under_way_and_no_later_one():
    """The second of two with one name and one task ended first."""

    async def agent(turn):
        if turn.saved is None:
            async with turn.subagent("data", task="t") as first:
                async with turn.subagent("data", task="t"):
                    pass
                await turn.save(1)
        else:
            async with turn.subagent("data", task="t") as first:
                await turn.save(2)
            async with turn.subagent("data", task="t") as third:
                assert third._part not in {event["part_id"] for event in made._run.sink}
        return first._part

    made = turn()
    part = asyncio.run(agent(made))
    again = turn(journal=made.journal)
    assert asyncio.run(agent(again)) == part
    assert again.journal.kept.saved == 2


def test_a_state_that_another_branch_saves_repeats_what_is_under_way():
    """A call, a step and a question of a branch keep their ids: none is made or asked a second time."""

    async def agent(turn):
        begun, saved = asyncio.Event(), asyncio.Event()
        ids = {}

        async def wait(what):
            begun.set()
            await saved.wait()
            return what

        async def branch():
            await turn.call(wait, what="call")
            await turn.step("step", lambda: wait("step"))

        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
            await begun.wait()
            if turn.saved is None:
                await turn.save(1)
            saved.set()
        ids = [event["tool_call_id"] for event in turn._run.sink if event["type"] == "tool_executing"]
        return ids, list(turn.journal.kept.steps)

    made = turn()
    found = asyncio.run(agent(made))
    again = turn(journal=made.journal)
    assert asyncio.run(agent(again)) == found


def test_failure_of_a_group_of_exceptions_is_an_agent_error():
    """A text alone does not make a group."""
    failure = failure_of("ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)", None)
    assert type(failure) is AgentError
    assert type(failure_of("LookupError: no such row", None)) is LookupError
