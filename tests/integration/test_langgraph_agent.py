"""Graphs of LangGraph with fake chat models, executed by a worker that waits, and is lost."""

import asyncio
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from django.db.models.functions import Now
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send, interrupt

from agents.llm.langgraph_agent import served
from agents.sdk import Turn, current_turn
from agents.worker import registry
from chat import runs
from chat.db.access import from_database
from chat.models import InputRequest, Run, RunState
from chat.protocol import MAX_INPUT_MESSAGE
from tests.factories import accept, decline, frames, message, types
from tests.turns import DONE, execute, note, text

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


def of(thread: Any, kind: str) -> list[dict[str, Any]]:
    return [event for event in frames(thread) if event["type"] == kind]


def open_requests() -> list[InputRequest]:
    return list(InputRequest.objects.filter(status="open").order_by("created_at"))


def lose(run: Run) -> None:
    """Let the worker of a running run be lost."""
    assert Run.objects.filter(id=run.id, status=Run.RUNNING).update(lease_until=Now() - timedelta(seconds=1))


def killing(when: asyncio.Event) -> Any:
    """Return what takes the run from its worker then: nothing that it does afterwards is written."""

    async def kill(worker: Any) -> None:
        [run] = worker.running.values()
        await when.wait()
        worker.event_writer.revoke(run.run_id)

    return kill


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
