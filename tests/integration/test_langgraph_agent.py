"""Graphs of LangGraph with fake chat models, executed by a worker that waits, and is lost."""

import asyncio
import io
import json
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from anthropic import AsyncAnthropic
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from openai import AsyncOpenAI
from PIL import Image
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.function import FunctionModel

from agents.llm.langgraph_agent import served
from agents.sdk import Turn, current_turn
from agents.worker import registry
from chat import runs
from chat.db.access import from_database
from chat.models import Message, Run, RunState
from chat.protocol import MAX_INPUT_MESSAGE, ProtocolError
from tests.factories import accept, client, decline, frames, message, types, upload
from tests.model_provider import KEY, Provider, refuses
from tests.turns import DONE, execute, killing, lose, note, of, open_requests, text

pytestmark = pytest.mark.django_db(transaction=True)


def model(*answers: Any) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter(answers))


def speaking(name: str, words: str) -> Any:
    """Return a node that asks a model, which answers these words, and notes that it ran."""

    def node(state: dict[str, Any]) -> dict[str, Any]:
        DONE.append(name)
        return {"messages": [model(words).invoke(state["messages"])]}

    return node


def chain(**nodes: Any) -> Any:
    """Return the agent of a graph of these nodes, one after the other."""
    graph, last = StateGraph(MessagesState), START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(last, name)
        last = name
    return served(graph.add_edge(last, END).compile(), SimpleNamespace())


# ---- Text, nodes, tools, usage ----


def test_nodes_that_speak_are_sub_agents_and_their_tokens_the_answer(thread):
    silent = lambda state: {}  # noqa: E731 a node without a model
    run = execute(chain(plan=speaking("plan", "Let me see."), quiet=silent, act=speaking("act", "Here it is.")))
    assert run.status == Run.COMPLETED
    assert text(thread) == "Let me see.\n\nHere it is."
    started = [event["agent_name"] for event in of(thread, "agent_started") if event.get("part_id")]
    assert started == ["plan", "act"]
    assert len({event["part_id"] for event in of(thread, "agent_delta")}) == 2
    assert len(of(thread, "agent_delta")) >= 2
    assert types(thread).count("subagent_completed") == 2


def test_thoughts_calls_and_usage_of_a_model_are_shown(thread):
    @tool
    def weather(city: str) -> str:
        """Tell the weather."""
        DONE.append(city)
        return f"sunny in {city}"

    asked = AIMessage(
        [{"type": "reasoning", "reasoning": "Where? "}, {"type": "text", "text": "Looking."}],
        tool_calls=[{"name": "weather", "args": {"city": "Bern"}, "id": "1"}],
        usage_metadata={"input_tokens": 100, "output_tokens": 10, "total_tokens": 110},
    )
    execute(chain(ask=lambda state: {"messages": [asked]}, tools=ToolNode([weather]), end=speaking("end", "Sunny.")))
    assert text(thread) == "Looking.\n\nSunny."
    assert [event["reasoning"] for event in of(thread, "agent_thinking")] == ["Where? "]
    [called] = of(thread, "tool_completed")
    assert (called["tool_name"], called["result"], called["agent_name"]) == ("weather", "sunny in Bern", "tools")
    assert of(thread, "tool_executing")[0]["parameters"] == {"city": "Bern"}
    usage = frames(thread)[-1]["usage"]
    assert (usage["requests"], usage["input_tokens"], usage["models"][0]["output_tokens"]) == (1, 100, 10)


def test_parallel_nodes_and_nested_graphs_are_told_apart(thread):
    class State(TypedDict):
        messages: Annotated[list[AnyMessage], lambda old, new: [*old, *new]]

    inner = StateGraph(State).add_node("deep", speaking("deep", "Deep.")).add_edge(START, "deep").compile()
    graph = StateGraph(State)
    graph.add_node("each", lambda state: {"messages": [model(state["words"]).invoke("hi")]})
    graph.add_node("inner", inner)
    graph.add_conditional_edges(START, lambda state: [Send("each", {"words": words}) for words in ("One.", "Two.")])
    graph.add_edge("each", "inner")
    execute(served(graph.compile(), SimpleNamespace()))
    parts = {event["part_id"]: event["agent_name"] for event in of(thread, "agent_delta")}
    assert sorted(parts.values()) == ["deep", "each", "each"]
    assert sorted(text(thread).split()) == ["Deep.", "One.", "Two."]


def test_another_state_has_functions_for_its_input_and_answer(thread):
    class Sum(TypedDict):
        numbers: list[int]
        total: int

    graph = StateGraph(Sum).add_node("add", lambda state: {"total": sum(state["numbers"])}).add_edge(START, "add")

    async def to_state(turn: Turn) -> dict[str, Any]:
        return {"numbers": [len(turn.text), 1]}

    module = SimpleNamespace(to_state=to_state, to_answer=lambda state: {"total": state["total"]})
    execute(served(graph.compile(), module))
    assert frames(thread)[-1]["result"] == {"total": 6}
    with pytest.raises(TypeError, match="to_answer"):
        served(graph.compile(), SimpleNamespace(to_state=to_state))


GRAPH = StateGraph(MessagesState).add_node("say", speaking("say", "Hi.")).add_edge(START, "say")
GOOD, KEEPS = GRAPH.compile(), GRAPH.compile(checkpointer=InMemorySaver())


def test_a_graph_that_cannot_be_served_ends_the_start(settings):
    settings.AGENTS = {"good": f"{__name__}.GOOD"}
    assert list(registry.load()) == ["good"]
    settings.AGENTS = {"keeps": f"{__name__}.KEEPS"}
    with pytest.raises(ValueError, match=r"'keeps'.*its own checkpointer"):
        registry.load()
    settings.AGENTS = {"raw": f"{__name__}.GRAPH"}
    with pytest.raises(ValueError, match=r"'raw'.*compile\(\)"):
        registry.load()


# ---- A worker is lost ----


def test_a_lost_worker_runs_no_complete_node_and_no_complete_call_again(thread):
    killed = asyncio.Event()

    async def act(state):
        DONE.append("act")
        turn = current_turn()
        await turn.say("Acting. ")
        await turn.call(note, value="one")
        if not killed.is_set():
            killed.set()
            await asyncio.Event().wait()
        await turn.say("Acted.")
        return {}

    agent = chain(plan=speaking("plan", "Planned. "), act=act, end=speaking("end", "End."))
    lose(execute(agent, killing(killed)))
    run = execute(agent)
    assert (run.status, run.attempt) == (Run.COMPLETED, 2)
    assert text(thread) == "Planned. Acting. Acted.\n\nEnd."
    assert DONE == ["plan", "act", "one", "act", "end"]


def test_a_complete_node_beside_one_under_way_never_runs_again(thread):
    killed = asyncio.Event()

    async def slow(state):
        DONE.append("slow")
        if not killed.is_set():
            for _ in range(200):
                if await from_database(RunState.objects.filter(state__contains='"writes": [[').exists):
                    break
            killed.set()
            await asyncio.Event().wait()
        return {}

    async def fast(state):
        DONE.append("fast")
        return {"messages": [AIMessage("Fast.")]}

    graph = StateGraph(MessagesState).add_node("slow", slow).add_node("fast", fast)
    graph.add_edge(START, "slow").add_edge(START, "fast")
    agent = served(graph.compile(), SimpleNamespace())
    lose(execute(agent, killing(killed)))
    assert execute(agent).status == Run.COMPLETED
    assert sorted(DONE) == ["fast", "slow", "slow"]


def test_a_worker_lost_after_the_answer_was_complete_runs_nothing_again(thread):
    agent, complete = chain(say=speaking("say", "Said.")), asyncio.Event()

    async def lost(turn):
        await agent(turn)
        complete.set()
        await asyncio.Event().wait()

    lose(execute(lost, killing(complete)))
    assert execute(agent).status == Run.COMPLETED
    assert (text(thread), DONE) == ("Said.", ["say"])


# ---- Interrupts ----


def test_an_interrupt_is_a_form_and_nothing_before_it_is_said_or_done_twice(thread, alice):
    async def ask(state):
        DONE.append("ask")
        turn = current_turn()
        await turn.say("Before. ")
        await turn.call(note, value="one")
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        found = interrupt({"message": "Your name?", "schema": schema})
        again = interrupt("And the town?")
        await turn.say(f"{found['name']} of {again}.")
        return {}

    agent = chain(plan=speaking("plan", "Planned. "), ask=ask)
    assert execute(agent).status == Run.WAITING
    [asked] = open_requests()
    assert (asked.message, list(asked.schema["properties"])) == ("Your name?", ["name"])
    accept(alice, asked.id, {"name": "Ada"})
    assert execute(agent).status == Run.WAITING
    [asked] = open_requests()
    assert asked.message == "And the town?"
    accept(alice, asked.id, "Bern")
    run = execute(agent)
    assert (run.status, run.attempt) == (Run.COMPLETED, 1)
    assert text(thread) == "Planned. Before. Ada of Bern."
    assert DONE == ["plan", "ask", "one", "ask", "ask"]
    assert "run_restarted" not in types(thread)


def test_interrupts_of_parallel_nodes_are_asked_together_and_resumed_together(thread, alice):
    graph = StateGraph(MessagesState)
    for name in ("first", "second"):
        graph.add_node(name, lambda state, name=name: {"messages": [AIMessage(f"{name} {interrupt(name)}. ")]})
        graph.add_edge(START, name)
    agent = served(graph.compile(), SimpleNamespace())
    execute(agent)
    requests = open_requests()
    assert sorted(request.message for request in requests) == ["first", "second"]
    accept(alice, requests[0].id, "a")
    assert execute(agent).status == Run.WAITING
    assert len(open_requests()) == 1
    accept(alice, requests[1].id, "b")
    assert execute(agent).status == Run.COMPLETED
    assert sorted(text(thread).replace(".", "").split()) == ["a", "b", "first", "second"]


def test_action_requests_are_approvals(thread, alice):
    value = {
        "action_requests": [
            {"name": "mail", "args": {"to": "a"}, "description": "Mail a?"},
            {"name": "drop", "args": {"table": "t"}},
        ],
        "review_configs": [{"action_name": "drop", "allowed_decisions": ["approve", "reject"]}],
    }
    agent = chain(act=lambda state: {"messages": [AIMessage(json.dumps(interrupt(value)))]})
    execute(agent)
    mail, drop = sorted(open_requests(), key=lambda request: request.tool_name, reverse=True)
    assert (mail.message, mail.editable, drop.message, drop.editable) == ("Mail a?", True, "Allow “drop”?", False)
    accept(alice, mail.id, parameters={"to": "b"})
    decline(alice, drop.id, "never")
    execute(agent)
    assert json.loads(text(thread)) == {
        "decisions": [
            {"type": "edit", "edited_action": {"name": "mail", "args": {"to": "b"}}},
            {"type": "reject", "message": "never"},
        ]
    }


def acting(state_of_kill: asyncio.Event | None = None) -> list[Any]:
    """Return a tool that mails, and may be lost in mid-call, and one that looks."""

    @tool
    async def mail(to: str) -> str:
        """Send a mail."""
        DONE.append(f"mail {to}")
        if state_of_kill is not None and not state_of_kill.is_set():
            state_of_kill.set()
            await asyncio.Event().wait()
        return f"mailed {to}"

    @tool
    def look(what: str) -> str:
        """Look."""
        return "seen"

    return [mail, look]


ASKING = AIMessage(
    "Mailing. ",
    tool_calls=[
        {"name": "mail", "args": {"to": "a"}, "id": "call-1"},
        {"name": "look", "args": {"what": "b"}, "id": "call-2"},
    ],
)


def batched(tools: list[Any]) -> Any:
    """Return the graph that LangChain makes: a node has a response's calls reviewed before another one makes them."""

    def review(state):
        asked = {"action_requests": [{"name": "mail", "args": {"to": "a"}}], "review_configs": []}
        [decision] = interrupt(asked)["decisions"]
        if decision["type"] == "reject":
            return Command(goto="end")
        calls = [dict(call) for call in ASKING.tool_calls]
        if decision["type"] == "edit":
            calls[0]["args"] = decision["edited_action"]["args"]
        message = AIMessage("", tool_calls=calls, id=state["messages"][-1].id)
        return Command(goto="tools", update={"messages": [message]})

    return chain(model=lambda state: {"messages": [ASKING]}, review=review, tools=ToolNode(tools), end=lambda state: {})


DECISIONS = {
    "$defs": {
        "ApproveDecision": {"properties": {"type": {"const": "approve"}}},
        "EditedAction": {"properties": {"args": {"$ref": "#/$defs/mail"}}},
        "EditDecision": {"properties": {"type": {"const": "edit"}, "edited_action": {"$ref": "#/$defs/EditedAction"}}},
        "RejectDecision": {"properties": {"type": {"const": "reject"}}},
        "mail": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    },
    "oneOf": [{"$ref": f"#/$defs/{kind}Decision"} for kind in ("Approve", "Edit", "Reject")],
}


def per_call(tools: list[Any]) -> Any:
    """Return the graph that LangChain makes with `interrupt_mode="per_call"`: each call is reviewed as it starts."""

    async def reviewed(request, execute):
        call = request.tool_call
        if call["name"] == "mail":
            named = {"tool_call_id": call["id"], "name": "mail", "args": call["args"], "description": "Mail a?"}
            decision = interrupt({"type": "tool_approval", **named}, response_schema=DECISIONS)
            if decision["type"] == "reject":
                return ToolMessage("declined", tool_call_id=call["id"])
            if decision["type"] == "edit":
                request = request.override(tool_call={**call, "args": decision["edited_action"]["args"]})
        return await execute(request)

    return chain(model=lambda state: {"messages": [ASKING]}, tools=ToolNode(tools, awrap_tool_call=reviewed))


SCHEMA = {batched: None, per_call: {**DECISIONS["$defs"]["mail"], "$defs": DECISIONS["$defs"]}}


@pytest.mark.parametrize("reviewing", [batched, per_call])
def test_an_approval_is_bound_to_its_call(thread, alice, reviewing):
    """The call is shown under the id of its request, with the parameters that were accepted."""
    agent = reviewing(acting())
    assert execute(agent).status == Run.WAITING
    [asked] = open_requests()
    assert (asked.kind, asked.tool_name, asked.parameters, asked.editable) == ("approval", "mail", {"to": "a"}, True)
    accept(alice, asked.id, parameters={"to": "z"})
    assert execute(agent).status == Run.COMPLETED
    shown = {event["tool_name"]: event for event in of(thread, "tool_executing")}
    assert (shown["mail"]["tool_call_id"], shown["mail"]["parameters"]) == (asked.tool_call_id, {"to": "z"})
    assert shown["look"]["parameters"] == {"what": "b"}
    assert DONE == ["mail z"]


@pytest.mark.parametrize("reviewing", [batched, per_call])
def test_an_approved_tool_whose_worker_was_lost_is_approved_again(thread, alice, reviewing):
    """The node that asked may be complete: the approval covers one start of the tool all the same."""
    killed = asyncio.Event()
    agent = reviewing(acting(killed))
    execute(agent)
    accept(alice, open_requests()[0].id)
    lose(execute(agent, killing(killed)))
    assert execute(agent).status == Run.WAITING
    assert DONE == ["mail a"]
    [again] = open_requests()
    assert (again.tool_name, again.parameters, again.reason) == ("mail", {"to": "a"}, "interrupted")
    assert not again.remember
    accept(alice, again.id)
    assert (execute(agent).status, DONE) == (Run.COMPLETED, ["mail a", "mail a"])
    assert [event["tool_call_id"] for event in of(thread, "tool_executing") if event["tool_name"] == "mail"] == [
        again.tool_call_id
    ]


@pytest.mark.parametrize("reviewing", [batched, per_call])
def test_a_grant_for_a_tool_of_this_name_covers_no_tool_of_a_graph(thread, alice, reviewing):
    """A graph does not tell the definition of its tool."""

    async def other(turn):
        await turn.approve("Mail?", parameters={"to": "a"}, schema=SCHEMA[reviewing], tool="mail")
        await turn.say("Mailed.")

    assert execute(other).status == Run.WAITING
    accept(alice, open_requests()[0].id, remember=True)
    assert execute(other).status == Run.COMPLETED
    runs.start(alice.id, message("Mail again.", thread_id=thread))
    assert execute(reviewing(acting())).status == Run.WAITING
    [asked] = open_requests()
    with pytest.raises(ProtocolError, match="not possible"):
        accept(alice, asked.id, remember=True)
    assert DONE == []


def test_an_approved_tool_whose_worker_was_lost_does_not_start_once_it_is_declined(thread, alice):
    killed = asyncio.Event()
    agent = batched(acting(killed))
    execute(agent)
    accept(alice, open_requests()[0].id)
    lose(execute(agent, killing(killed)))
    execute(agent)
    decline(alice, open_requests()[0].id, "enough")
    run = execute(agent)
    assert (run.status, run.error_code, DONE) == (Run.FAILED, "input_declined", ["mail a"])


def test_answers_of_tools_that_ask_side_by_side_reach_the_tools_that_asked(thread, alice):
    """Tools in threads ask in no certain order: LangGraph counts the interrupts of a node."""

    @tool
    def ask(what: str) -> str:
        """Ask a person."""
        found = interrupt(what)
        DONE.append(f"{what} {found}")
        return f"{what} {found}"

    calls = [{"name": "ask", "args": {"what": word}, "id": word} for word in ("one", "two", "three")]
    agent = chain(model=lambda state: {"messages": [AIMessage("", tool_calls=calls)]}, tools=ToolNode([ask]))
    for _ in calls:
        assert execute(agent).status == Run.WAITING
        [asked] = open_requests()
        accept(alice, asked.id, asked.message.upper())
    assert execute(agent).status == Run.COMPLETED
    assert set(DONE) == {"one ONE", "two TWO", "three THREE"}
    assert {event["result"] for event in of(thread, "tool_completed")} == set(DONE)


def test_a_node_lost_after_its_answer_does_not_ask_again(thread, alice):
    """Another node of its step was complete and saved meanwhile."""
    killed = asyncio.Event()

    async def slow(state):
        found = interrupt("slow")
        if not killed.is_set():
            for _ in range(200):
                if await from_database(RunState.objects.filter(state__contains='"channel_values"').exists):
                    break
            killed.set()
            await asyncio.Event().wait()
        return {"messages": [AIMessage(f"slow {found}. ")]}

    graph = StateGraph(MessagesState).add_node("slow", slow).add_edge(START, "slow").add_edge(START, "fast")
    graph.add_node("fast", lambda state: {"messages": [AIMessage(f"fast {interrupt('fast')}. ")]})
    agent = served(graph.compile(), SimpleNamespace())
    execute(agent)
    for request in open_requests():
        accept(alice, request.id, request.message.upper())
    lose(execute(agent, killing(killed)))
    run = execute(agent)
    assert (run.status, open_requests()) == (Run.COMPLETED, [])
    assert sorted(text(thread).replace(".", "").split()) == ["FAST", "SLOW", "fast", "slow"]


def test_an_interrupt_in_a_nested_graph_goes_on_where_it_was(thread, alice):
    killed = asyncio.Event()

    async def asks(state):
        found = interrupt("Which?")
        DONE.append(f"asks {found}")
        if not killed.is_set():
            killed.set()
            await asyncio.Event().wait()
        return {"messages": [AIMessage(f"It is {found}.")]}

    inner = StateGraph(MessagesState).add_node("before", speaking("before", "Before.")).add_node("asks", asks)
    agent = chain(inner=inner.add_edge(START, "before").add_edge("before", "asks").compile())
    execute(agent)
    accept(alice, open_requests()[0].id, "tea")
    lose(execute(agent, killing(killed)))
    assert execute(agent).status == Run.COMPLETED
    assert (text(thread), DONE) == ("Before.\n\nIt is tea.", ["before", "asks tea", "asks tea"])


def test_a_tool_for_which_a_person_answers_is_a_form(thread, alice):
    schema = {"properties": {"type": {"const": "respond"}, "message": {"type": "string"}}}
    asked = {"type": "tool_approval", "tool_call_id": "1", "name": "ask_user", "args": {}, "description": "Which?"}
    agent = chain(act=lambda state: {"messages": [AIMessage(json.dumps(interrupt(asked, response_schema=schema)))]})
    execute(agent)
    accept(alice, open_requests()[0].id, "tea")
    execute(agent)
    assert json.loads(text(thread)) == {"type": "respond", "message": "tea"}


# ---- Errors and limits ----


def test_errors_of_tools_are_shown_and_told_to_the_model(thread):
    @tool
    def broken() -> str:
        """Fail."""
        raise ValueError("no such thing")

    calls = [{"name": name, "args": {}, "id": name} for name in ("broken", "unknown")]
    agent = chain(
        model=lambda state: {"messages": [AIMessage("", tool_calls=calls)]},
        tools=ToolNode([broken], handle_tool_errors=True),
    )
    assert execute(agent).status == Run.COMPLETED
    ended = of(thread, "tool_completed")
    assert [event["success"] for event in ended] == [False, False]
    assert "no such thing" in ended[0]["error"]


def test_a_graph_that_does_not_end_comes_to_its_limit(thread):
    graph = StateGraph(MessagesState).add_node("again", speaking("again", "And. ")).add_edge(START, "again")
    run = execute(served(graph.add_edge("again", "again").compile().with_config(recursion_limit=3), SimpleNamespace()))
    assert (run.status, run.error_code, len(DONE)) == (Run.FAILED, "limit", 3)


# ---- History ----


@pytest.mark.parametrize(
    "value", ["x" * 9_000, {"action_requests": [{"name": "mail", "args": {}, "description": "x" * 9_000}]}]
)
def test_a_long_question_of_a_graph_is_cut(thread, value):
    assert execute(chain(act=lambda state: {"messages": [AIMessage(interrupt(value))]})).status == Run.WAITING
    assert len(open_requests()[0].message) == MAX_INPUT_MESSAGE


def test_an_approval_covers_one_start_of_its_node(thread, alice):
    killed = asyncio.Event()

    async def act(state):
        interrupt({"action_requests": [{"name": "mail", "args": {"to": "a"}}]})
        DONE.append("mailed")
        if not killed.is_set():
            killed.set()
            await asyncio.Event().wait()
        return {"messages": [AIMessage("Done.")]}

    agent = chain(act=act)
    assert execute(agent).status == Run.WAITING
    accept(alice, open_requests()[0].id)
    lose(execute(agent, killing(killed)))
    assert execute(agent).status == Run.WAITING
    assert DONE == ["mailed"]
    [again] = open_requests()
    assert (again.tool_name, again.parameters, again.reason) == ("mail", {"to": "a"}, "interrupted")
    accept(alice, again.id)
    run = execute(agent)
    assert (run.status, DONE, text(thread)) == (Run.COMPLETED, ["mailed", "mailed"], "Done.")


def test_a_node_that_was_interrupted_has_used_up_what_its_model_did(thread, alice):
    spent = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}

    class Measured(GenericFakeChatModel):
        def _stream(self, messages, stop=None, run_manager=None, **given):
            yield ChatGenerationChunk(message=AIMessageChunk("Hm. ", usage_metadata=spent))

    def ask(state):
        Measured(messages=iter(())).invoke(state["messages"])
        return {"messages": [AIMessage(interrupt("Name?"))]}

    agent = chain(ask=ask)
    assert execute(agent).usage["input_tokens"] == 100
    accept(alice, open_requests()[0].id, "Ada")
    assert execute(agent).usage["input_tokens"] == 200


PRICE = {"input": 3, "output": 4}


@pytest.mark.parametrize(
    ("name", "models", "cost"),
    [
        ("gpt-4o", {}, 1000 * 2.5e-6 + 100 * 1e-5),
        ("gpt-4o", {"own": {"model": "openai:gpt-4o", "key": "", "url": "", "options": {"price": PRICE}}}, 0.0034),
        ("a-model-of-ours", {}, None),
    ],
)
def test_what_a_model_of_a_graph_costs_goes_by_its_list_or_catalogue_price(thread, settings, name, models, cost):
    """LangChain takes the provider's name from the class of the model."""
    settings.NETRA_MODELS = models

    class ChatOpenAI(GenericFakeChatModel):
        model: str

        def _stream(self, messages, stop=None, run_manager=None, **given):
            spent = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
            yield ChatGenerationChunk(message=AIMessageChunk("Hm.", usage_metadata=spent))

    asked = ChatOpenAI(messages=iter(()), model=name)
    usage = execute(chain(ask=lambda state: {"messages": [asked.invoke(state["messages"])]})).usage
    [own] = usage["models"]
    assert (own["model"], own["requests"], own["output_tokens"]) == (f"openai:{name}", 1, 100)
    assert (usage["cost_usd"], own["cost_usd"]) == (pytest.approx(cost), pytest.approx(cost))


def test_the_next_turn_starts_from_the_state_of_the_one_before(thread, alice):
    seen = []

    def answer(state):
        seen.append([message.text for message in state["messages"]])
        return {"messages": [AIMessage(f"Answer {len(seen)}.")]}

    agent = chain(answer=answer)
    execute(agent)
    runs.start(alice.id, message("And now?", thread_id=thread))
    execute(agent)
    assert seen == [["begin"], ["begin", "Answer 1.", "And now?"]]


def test_the_next_turn_gets_each_message_after_the_newest_answer_once(thread, alice):
    """One was sent while the first was being answered, and nobody answered the one before the last."""
    seen = []

    def answer(state):
        seen.append([message.text for message in state["messages"]])
        if "Fail." in seen[-1][-1]:
            raise ValueError("no answer")
        return {"messages": [AIMessage("Hm."), AIMessage(f"Answer {len(seen)}.")]}  # its texts would be one message

    agent = chain(answer=answer)
    parent = Message.objects.get()
    runs.start(alice.id, message("And now?", thread_id=thread, parent_id=parent.pk))
    execute(agent)
    execute(agent)
    runs.start(alice.id, message("Fail.", thread_id=thread))
    assert execute(agent).status == Run.FAILED
    failed = Message.objects.get(content="Fail.")
    runs.start(alice.id, message("Again.", thread_id=thread, parent_id=failed.pk))
    execute(agent)
    second = ["begin", "Hm.", "Answer 1.", "And now?"]
    third = [*second, "Hm.", "Answer 2.", "Fail."]
    assert seen == [["begin"], second, third, [*third, "Again."]]


def test_a_graph_is_given_what_the_client_claims_beside_the_message(alice):
    agent = chain(answer=lambda state: {"messages": [AIMessage(state["messages"][-1].text)]})
    origin = runs.Origin(context=(("system", "Be brief."),))
    thread_id = runs.start(alice.id, message("Hello"), origin=origin).thread_id
    execute(agent)
    quoted, text_ = text(thread_id).rsplit("\n\n", 1)
    assert (quoted.endswith("> system: Be brief."), text_) == (True, "Hello")


@pytest.mark.usefixtures("media_folder")
@pytest.mark.parametrize("answer", [speaking("answer", "I see."), lambda state: {"messages": [AIMessage("I see.")]}])
def test_a_graph_says_that_it_does_not_look_at_a_picture(alice, answer):
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    id = upload(client(alice), "cat.png", picture.getvalue()).json()["id"]
    thread_id = runs.start(alice.id, message("What is it?", attachment_ids=[id])).thread_id
    execute(chain(answer=answer))
    note = "*“cat.png” was not looked at: the agent takes no pictures and PDF files.*"
    assert text(thread_id) == f"{note}\n\nI see."


# ---- What a person reads of an interrupt: those of the library's documentation ----

MAIL = {"action": "send_email", "to": "ann@example.org", "subject": "Hi", "message": "Approve sending this email?"}
WORDS = {
    "a text": ("Your name?", "Your name?"),
    "a question with what it is about": (
        {"question": "Do you approve the following output?", "llm_output": "A draft.\nOf two lines."},
        "Do you approve the following output?\nllm_output: A draft.\nOf two lines.",
    ),
    "an action with its parameters": (
        MAIL,
        "Approve sending this email?\naction: send_email\nto: ann@example.org\nsubject: Hi",
    ),
    "values without a question": ({"query": "tea?", "count": 2, "to": ["é"]}, 'query: tea?\ncount: 2\nto: ["é"]'),
    "a list": ([1, "x"], '[1, "x"]'),
    "nothing": ({}, "{}"),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_person_reads_all_that_an_interrupt_says(thread, name):
    value, words = WORDS[name]

    def ask(state: MessagesState) -> dict[str, Any]:
        interrupt(value)
        return {}

    assert execute(chain(ask=ask)).status == Run.WAITING
    assert open_requests()[0].message == words


# ---- Faults of providers ----

FAULTS = {
    "a key that is refused": (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "model_key"),
    "no credit": (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}, "model_quota"),
    "too many requests": (429, {"error": {"message": "Rate limit reached"}}, "model_busy"),
    "a long conversation": (400, {"error": {"code": "context_length_exceeded", "message": "x"}}, "too_long"),
    "filtered content": (400, {"error": {"code": "content_filter", "message": "x"}}, "model_refused"),
    "an unknown model": (404, {"error": {"message": "The model `x` does not exist"}}, "model_unknown"),
    "an overloaded provider": (529, {"type": "error", "error": {"type": "overloaded_error"}}, "model_down"),
    "a broken provider": (500, {"error": {"message": "The server had an error"}}, "model_down"),
    "a wrong request": (422, {"error": {"message": "tools: wrong"}}, "model_rejected"),
}


@pytest.mark.parametrize("library", ["openai", "anthropic"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_provider_of_a_node_s_model_is_told_without_its_words(thread, name, library):
    status, body, code = FAULTS[name]

    async def ask(state: MessagesState) -> dict[str, Any]:
        async with Provider(refuses(status, body)).running() as url:
            given = {"api_key": KEY, "base_url": url, "max_retries": 0}
            asked: Any = {"model": "x", "messages": [{"role": "user", "content": "Hello"}]}
            if library == "openai":
                await AsyncOpenAI(**given).chat.completions.create(**asked)
            else:
                await AsyncAnthropic(**given).messages.create(**asked, max_tokens=5)
        return {}

    run = execute(chain(ask=ask))
    assert (run.status, run.error_code) == (Run.FAILED, code)
    assert KEY not in json.dumps(frames(thread)[-1])


def test_a_provider_that_cannot_be_reached_is_told(thread):
    async def ask(state: MessagesState) -> dict[str, Any]:
        async with Provider().running() as url:
            pass
        await AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0).models.list()
        return {}

    assert execute(chain(ask=ask)).error_code == "model_unreachable"


def test_a_fault_of_an_agent_of_pydantic_ai_in_a_node_is_told(thread):
    def refuse(messages: Any, info: Any) -> Any:
        raise ModelHTTPError(401, "x", {"message": KEY})

    async def ask(state: MessagesState) -> dict[str, Any]:
        await Agent(FunctionModel(refuse)).run("Hello")
        return {}

    assert execute(chain(ask=ask)).error_code == "model_key"


def test_another_error_of_a_node_stays_an_internal_one(thread):
    def ask(state: MessagesState) -> dict[str, Any]:
        raise ValueError("secret")

    run = execute(chain(ask=ask))
    assert run.error_code == "internal_error"
    assert "secret" not in json.dumps(frames(thread)[-1])
