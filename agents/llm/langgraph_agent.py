"""Graphs of LangGraph as agents of Netra: any compiled graph that NETRA_AGENTS names.

What a graph has done is the state of the run: nodes that are complete never run again, neither after a wait nor after
the loss of a worker. A node that speaks, thinks or calls is shown as a sub-agent.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.config import get_config
from langgraph.errors import GraphRecursionError
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command
from pydantic_core import to_jsonable_python

from agents.llm.errors import client_error, user_error
from agents.llm.files import seen_of
from agents.llm.graphs.interrupts import Decisions
from agents.llm.graphs.nodes import Nodes, NodeTurn
from agents.llm.graphs.saver import RunSaver
from agents.llm.graphs.starts import Starts
from agents.llm.history import with_context
from agents.sdk import AgentError, Message, Turn
from agents.sdk.current import using

_MODES = ["messages", "tasks", "checkpoints"]


class LangGraphAgent:
    """A compiled graph that answers turns.

    `to_state` makes the input of the graph from a turn, and `to_answer` the answer from its last state; both also as
    coroutines. A graph whose state has `messages` needs neither. Raises TypeError for a graph that cannot be served.
    """

    def __init__(
        self, graph: Any, to_state: Callable[[Turn], Any] | None, to_answer: Callable[[Any], Any] | None
    ) -> None:
        if isinstance(graph, StateGraph):
            raise TypeError("it is not compiled: name what `compile()` returns")
        if graph.checkpointer is not None:
            raise TypeError("it brings its own checkpointer: compile it without one, its state is kept with the run")
        if any(type(channel).__name__ == "DeltaChannel" for channel in graph.channels.values()):
            raise TypeError("it has a DeltaChannel, whose older checkpoints are not kept")
        has_messages = "messages" in graph.channels
        for name, given in (("to_state", to_state), ("to_answer", to_answer)):
            if given is None and not has_messages:
                raise TypeError(f"its state has no `messages`: add `def {name}(…)` beside it")
        self._graph, self._to_state, self._to_answer = graph, to_state, to_answer
        self.__doc__ = _description(graph)

    async def __call__(self, turn: Turn) -> Any:
        """Answer the turn, and save the graph's state for the next one."""
        match turn.saved:
            case {"answer": returned}:  # the worker was lost after the answer was complete
                return returned
        saved, previous = turn.saved or {}, turn.previous if isinstance(turn.previous, dict) else {}
        saver = RunSaver(saved.get("graph") or previous.get("graph"))
        graph = self._graph.copy({"checkpointer": saver})
        given = None if saved else await self._input(turn, bool(previous.get("graph")))
        values = await _Execution(turn, graph, saver, saved).run(given)
        returned = await self._answer(turn, values)
        saver.release_all()
        saver.apply()
        with suppress(AgentError):  # too large to be kept: the next turn has the texts
            await turn.save({"answer": returned, "graph": saver.state()})
        return returned

    async def _input(self, turn: Turn, is_known: bool) -> Any:
        """Return the graph's input. One that knows the thread gets what was said after its newest answer only."""
        if self._to_state is not None:
            made = self._to_state(turn)
            return await made if inspect.isawaitable(made) else made
        if note := _note(turn):
            await turn.say(note)
        earlier: Sequence[Message] = turn.history[:-1]
        if is_known:
            earlier = earlier[max((at for at, each in enumerate(earlier, 1) if each.role == "assistant"), default=0) :]
        messages = [(message.role, message.content) for message in earlier if message.content]
        return {"messages": [*messages, ("user", with_context(turn))]}

    async def _answer(self, turn: Turn, values: Any) -> Any:
        if self._to_answer is None:
            if not turn.said.removeprefix(_note(turn)).strip():  # e.g. a model that was told not to stream
                for message in reversed(values.get("messages", [])):
                    if isinstance(message, AIMessage) and message.text:
                        await turn.say(message.text)
                        break
            return None
        made = self._to_answer(values)
        made = await made if inspect.isawaitable(made) else made
        return (
            made
            if isinstance(made, str)
            else to_jsonable_python(made, bytes_mode="base64", inf_nan_mode="null", serialize_unknown=True)
        )


def _note(turn: Turn) -> str:
    """Return what the user reads about pictures and PDF files, as the first paragraphs of the answer."""
    notes = (f"*“{file.name}” was not looked at: the agent takes no pictures and PDF files.*" for file in seen_of(turn))
    return "".join(f"{note}\n\n" for note in notes)


def served(graph: Any, module: object) -> LangGraphAgent:
    """Return the graph as an agent; `to_state` and `to_answer` are functions of its module. Raises TypeError."""
    return LangGraphAgent(graph, getattr(module, "to_state", None), getattr(module, "to_answer", None))


def _description(graph: Pregel[Any]) -> str | None:
    schema = getattr(graph, "builder", None)
    text = inspect.getdoc(getattr(schema, "state_schema", None)) or ""
    return text if text and not text.startswith(("dict(", "!!!")) else graph.get_name()


class _Execution:
    """One execution of a graph, up to its end over all its interrupts. `saved` is the state that it continues."""

    def __init__(self, turn: Turn, graph: Any, saver: RunSaver, saved: Mapping[str, Any]) -> None:
        self._turn, self._graph, self._saver = turn, graph, saver
        self._decisions = Decisions(turn, saver, saved.get("decisions"), self._save_now)
        self._nodes = Nodes(turn, saver, self._decisions, bool(saved.get("said")))
        self._starts = Starts(self._decisions)
        self._config: Any = {"configurable": {"thread_id": turn.run_id}, "callbacks": self._starts.handlers}
        self._saving = asyncio.Lock()

    async def run(self, given: Any) -> Any:
        """Run the graph from this input, or from its saved state for None. Return the values of its last state."""
        self._saver.on_late = self._save
        async with self._nodes.stack:
            with using(self._turn_here), closing(self._starts):
                state = await self._graph.aget_state(self._config)
                self._nodes.learn(state.values)
                if not state.interrupts:  # a saved state may have all writes of a step, and so no next node
                    await self._stream(given)
                while True:
                    state = await self._graph.aget_state(self._config)
                    if state.interrupts:
                        await self._stream(Command(resume=await self._decisions.resumed(state.interrupts)))
                    elif state.next:  # a breakpoint of the graph
                        await self._turn.approve(f"Go on with {', '.join(state.next)}?")
                        await self._stream(None)
                    else:
                        return state.values

    def _turn_here(self) -> Any:
        try:
            metadata = get_config()["metadata"]
        except (RuntimeError, KeyError):
            return self._turn
        return NodeTurn(self._turn, self._nodes, str(metadata["langgraph_checkpoint_ns"]), metadata["langgraph_node"])

    async def _stream(self, given: Any) -> None:
        stream = self._graph.astream(given, self._config, stream_mode=_MODES, subgraphs=True, durability="async")
        try:
            async for namespace, mode, chunk in stream:
                await self._take(namespace, mode, chunk)
        except GraphRecursionError:
            raise AgentError("This took more steps than one answer may. Ask for a part of it.", code="limit") from None
        except Exception as error:
            if words := user_error(error) or client_error(error):
                raise words from None  # the error may quote the key
            raise
        self._saver.release_all()
        await self._save()

    async def _take(self, namespace: tuple[str, ...], mode: str, chunk: Any) -> None:
        if mode == "messages":
            message, metadata = chunk
            await self._nodes.take(message, metadata)
        elif mode == "checkpoints":
            self._saver.release(chunk["config"]["configurable"]["checkpoint_id"])
            await self._save()
        else:
            key = "|".join((*namespace, f"{chunk['name']}:{chunk['id']}"))
            if "triggers" in chunk:
                self._saver.hold(chunk["id"])
                await self._nodes.start(key)
                return
            self._starts.end(key, [interrupt["value"] for interrupt in chunk["interrupts"]])
            self._nodes.count()  # also of a node that was interrupted: its requests are paid
            if not chunk["interrupts"] and not chunk["error"]:
                await self._nodes.end(key)
            self._saver.release(chunk["id"])
            await self._save()

    async def _save(self) -> None:
        async with self._saving:
            if self._saver.apply():
                with suppress(AgentError):  # too large to be kept: another attempt starts from the newest that was
                    await self._turn.save(self._state())

    async def _save_now(self) -> None:
        """Save the decisions before what they permit starts. Raises AgentError where they cannot be kept."""
        async with self._saving:
            self._saver.apply()
            await self._turn.save(self._state())

    def _state(self) -> Any:
        decisions = self._decisions.state()
        return {"graph": self._saver.state(), "said": self._nodes.has_said, "decisions": decisions}
