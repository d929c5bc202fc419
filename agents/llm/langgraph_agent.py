"""Graphs of LangGraph as agents of Netra: any compiled graph that NETRA_AGENTS names.

What a graph has done is the state of the run: nodes that are complete never run again, neither after a wait nor after
the loss of a worker. A node that speaks, thinks or calls is shown as a sub-agent.
"""

import asyncio
import inspect
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.config import get_config
from langgraph.errors import GraphRecursionError
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt
from pydantic_ai.usage import RunUsage
from pydantic_core import to_jsonable_python

from agents.llm.graph_saver import RunSaver
from agents.llm.models import add
from agents.sdk import AgentError, Declined, Message, Turn, tools
from agents.sdk.approval import shortened
from agents.sdk.current import using
from chat.protocol import ProtocolError

_TEXTS = {"say": "text", "think": "thought"}  # method of a turn -> kind of its text
_RECORDED = {"call", "step", "ask"}  # methods of a turn whose results a node gets again
_MODES = ["messages", "tasks", "checkpoints"]
_TEXT_BLOCKS = {"reasoning": "reasoning", "thinking": "thinking"}  # kind of a block -> key of its text


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
        nodes = _Nodes(turn, saver, bool(saved.get("said")))
        config = {"configurable": {"thread_id": turn.run_id}}
        given = None if saved else await self._input(turn, bool(previous.get("graph")))
        values = await _Execution(turn, graph, config, saver, nodes).run(given)
        returned = await self._answer(turn, values)
        saver.release_all()
        saver.apply()
        with suppress(AgentError):  # too large to be kept: the next turn has the texts
            await turn.save({"answer": returned, "graph": saver.state()})
        return returned

    async def _input(self, turn: Turn, is_known: bool) -> Any:
        """Return the graph's input. One that knows the thread gets the new message only."""
        if self._to_state is not None:
            made = self._to_state(turn)
            return await made if inspect.isawaitable(made) else made
        earlier: Sequence[Message] = () if is_known else turn.history[:-1]
        messages = [(message.role, message.content) for message in earlier if message.content]
        return {"messages": [*messages, ("user", turn.text)]}

    async def _answer(self, turn: Turn, values: Any) -> Any:
        if self._to_answer is None:
            if not turn.said.strip():  # e.g. a model that was told not to stream
                for message in reversed(values.get("messages", [])):
                    if isinstance(message, AIMessage) and message.text:
                        await turn.say(message.text)
                        break
            return None
        made = self._to_answer(values)
        made = await made if inspect.isawaitable(made) else made
        return made if isinstance(made, str) else to_jsonable_python(made, inf_nan_mode="null", serialize_unknown=True)


def served(graph: Any, module: object) -> LangGraphAgent:
    """Return the graph as an agent; `to_state` and `to_answer` are functions of its module. Raises TypeError."""
    return LangGraphAgent(graph, getattr(module, "to_state", None), getattr(module, "to_answer", None))


def _description(graph: Pregel[Any]) -> str | None:
    schema = getattr(graph, "builder", None)
    text = inspect.getdoc(getattr(schema, "state_schema", None)) or ""
    return text if text and not text.startswith(("dict(", "!!!")) else graph.get_name()


@dataclass
class _Node:
    """One execution of a node as it is shown.

    A node that was interrupted runs again from its start. `shown` are its texts, and `repeated` is how much of them it
    has said again; `results` are those of its calls by key and number, and `taken` is how many it has asked for.
    """

    turn: Turn
    leave: AsyncExitStack
    shown: dict[str, str] = field(default_factory=lambda: {"text": "", "thought": ""})
    repeated: dict[str, int] = field(default_factory=dict)
    results: dict[tuple[str, int], Any] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    thought: Any = None
    message_id: str | None = None

    def repeat(self) -> None:
        """Begin again."""
        self.repeated = dict.fromkeys(self.shown, 0)
        self.taken.clear()

    async def once(self, key: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return the result of `work`, or that which the node had of it before it was interrupted."""
        self.taken[key] += 1
        at = key, self.taken[key]
        if at not in self.results:
            self.results[at] = await work()
        return self.results[at]

    def new_part(self, kind: str, text: str) -> str:
        """Return what goes beyond the texts that a node repeats which runs again."""
        at = self.repeated.get(kind)
        if at is None:
            self.shown[kind] += text
            return text
        rest = self.shown[kind][at:]
        same = next((n for n, (one, other) in enumerate(zip(text, rest, strict=False)) if one != other), None)
        same = min(len(text), len(rest)) if same is None else same
        self.repeated[kind] = at + same
        if self.repeated[kind] == len(self.shown[kind]) or same < len(text):
            del self.repeated[kind]
            self.shown[kind] += text[same:]
        return text[same:]


class _Nodes:
    """The nodes under way, by the namespace of each execution."""

    def __init__(self, turn: Turn, saver: RunSaver, has_said: bool) -> None:
        self._turn, self._saver = turn, saver
        self._open: dict[str, _Node] = {}
        self._opening = asyncio.Lock()
        self._usage: dict[str, tuple[str, RunUsage]] = {}
        self._calls: dict[str, tuple[str, dict[str, Any]]] = {}
        self._chunks: dict[str, Any] = {}
        self.has_said = has_said
        self.stack = AsyncExitStack()

    async def node(self, key: str, name: str) -> _Node:
        """Return the node of this execution; it is shown from now on."""
        async with self._opening:
            if key not in self._open:
                leave = AsyncExitStack()
                sub = await leave.enter_async_context(self._turn.subagent(name))
                self._open[key] = _Node(sub, leave)
                self.stack.push_async_exit(leave)
            return self._open[key]

    async def start(self, key: str) -> None:
        """Note that a node starts, perhaps again: it may repeat what it said."""
        if node := self._open.get(key):
            node.repeat()

    async def end(self, key: str) -> None:
        """End the node of this execution, if it is shown."""
        if node := self._open.pop(key, None):
            await self._end_thought(node)
            await node.leave.aclose()

    async def take(self, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
        """Show a message, or a piece of one, of a node."""
        key, name = str(metadata["langgraph_checkpoint_ns"]), str(metadata["langgraph_node"])
        if isinstance(message, ToolMessage):
            await self._show_call(message, key, name)
        if not isinstance(message, AIMessage):
            return
        self._note(message, metadata)
        for kind, text in _texts(message):
            node = await self.node(key, name)
            is_new = message.id != node.message_id
            text = node.new_part(kind, text)
            if not text:
                continue
            if kind == "thought":
                node.thought = node.thought or node.turn.thought()
                await node.thought.add(text)
                continue
            await self._end_thought(node)
            gap = "\n\n" if is_new and self.has_said else ""
            node.message_id, self.has_said = message.id, True
            await node.turn.say(gap + text)

    @staticmethod
    async def _end_thought(node: _Node) -> None:
        if node.thought is not None:
            thought, node.thought = node.thought, None
            await thought.end()

    def _note(self, message: AIMessage, metadata: Mapping[str, Any]) -> None:
        """Remember the calls that the model makes, and what it used up."""
        id = message.id or ""
        self._chunks[id] = message if id not in self._chunks else self._chunks[id] + message
        for call in self._chunks[id].tool_calls:
            if call["id"]:
                self._calls[call["id"]] = (call["name"], call["args"])
        if message.usage_metadata is None:
            return
        used = message.usage_metadata
        names = (metadata.get("ls_provider"), metadata.get("ls_model_name"))
        _, spent = self._usage.setdefault(id, (":".join(filter(None, names)) or "unknown", RunUsage(requests=1)))
        spent.input_tokens += used["input_tokens"]
        spent.output_tokens += used["output_tokens"]
        spent.cache_read_tokens += (used.get("input_token_details") or {}).get("cache_read") or 0

    def count(self) -> None:
        """Add what the models have used up by now to the usage of the run."""
        for name, spent in self._usage.values():
            add(self._turn.usage, spent, name)
        self._usage.clear()

    async def _show_call(self, message: ToolMessage, key: str, name: str) -> None:
        """Show the call of a tool that a node has made."""
        tool, parameters = self._calls.get(message.tool_call_id, (message.name or "tool", {}))

        async def made(**_: Any) -> Any:
            if message.status == "error":
                raise AgentError(message.text, code="tool_failed")
            return message.text

        made.__name__ = tool
        node = await self.node(key, name)
        with suppress(AgentError, TypeError):
            await node.turn.call(made, **tools.jsonable(parameters, "parameters"))


def _texts(message: AIMessage) -> list[tuple[str, str]]:
    """Return the texts and thoughts of a message, or of a piece of one, in their order."""
    found = []
    for block in message.content_blocks:
        kind = str(block.get("type"))
        if kind == "text":
            found.append(("text", str(block.get("text") or "")))
        elif kind in _TEXT_BLOCKS:
            found.append(("thought", str(block.get(_TEXT_BLOCKS[kind]) or "")))
    return [(kind, text) for kind, text in found if text]


def _is_review(value: Any) -> bool:
    """Return whether an interrupt asks for approvals of LangChain's actions."""
    return isinstance(value, Mapping) and isinstance(value.get("action_requests"), list)


def _key_of(interrupt: Interrupt) -> str:
    value = to_jsonable_python(interrupt.value, serialize_unknown=True)
    return f"{interrupt.id} {json.dumps(value, sort_keys=True)}"


class _NodeTurn:
    """The turn of a node for its own code, as `current_turn()` returns it: the sub-agent that it is shown as."""

    def __init__(self, turn: Turn, nodes: _Nodes, key: str, name: str) -> None:
        self._turn, self._nodes, self._key, self._name = turn, nodes, key, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._turn, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def of_the_node(*given: Any, **named: Any) -> Any:
            node = await self._nodes.node(self._key, self._name)
            method = getattr(node.turn, name)
            if name in _TEXTS and given:
                self._nodes.has_said = self._nodes.has_said or name == "say"
                text = node.new_part(_TEXTS[name], given[0])
                return await method(text, *given[1:], **named) if text else None
            if name in _RECORDED:
                what = tools.name_of(given[0]) if callable(given[0]) else given[0]
                key = json.dumps([name, what, named], default=str)
                return await node.once(key, lambda: method(*given, **named))
            return await method(*given, **named)

        return of_the_node


@dataclass
class _Execution:
    """One execution of a graph, up to its end over all its interrupts."""

    turn: Turn
    graph: Any
    config: Any
    saver: RunSaver
    nodes: _Nodes
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, given: Any) -> Any:
        """Run the graph from this input, or from its saved state for None. Return the values of its last state."""
        self.saver.on_late = self._save
        async with self.nodes.stack:
            with using(self._turn_here):
                state = await self.graph.aget_state(self.config)
                if not state.interrupts:  # a saved state may have all writes of a step, and so no next node
                    await self._stream(given)
                while True:
                    state = await self.graph.aget_state(self.config)
                    if state.interrupts:
                        await self._stream(Command(resume=await self._resumed(state.interrupts)))
                    elif state.next:  # a breakpoint of the graph
                        await self.turn.approve(f"Go on with {', '.join(state.next)}?")
                        await self._stream(None)
                    else:
                        return state.values

    def _turn_here(self) -> Any:
        try:
            metadata = get_config()["metadata"]
        except (RuntimeError, KeyError):
            return self.turn
        return _NodeTurn(self.turn, self.nodes, str(metadata["langgraph_checkpoint_ns"]), metadata["langgraph_node"])

    async def _stream(self, given: Any) -> None:
        stream = self.graph.astream(given, self.config, stream_mode=_MODES, subgraphs=True, durability="async")
        try:
            async for namespace, mode, chunk in stream:
                await self._take(namespace, mode, chunk)
        except GraphRecursionError:
            raise AgentError("This took more steps than one answer may. Ask for a part of it.", code="limit") from None
        self.saver.release_all()
        await self._save()

    async def _take(self, namespace: tuple[str, ...], mode: str, chunk: Any) -> None:
        if mode == "messages":
            message, metadata = chunk
            await self.nodes.take(message, metadata)
        elif mode == "checkpoints":
            self.saver.release(chunk["config"]["configurable"]["checkpoint_id"])
            await self._save()
        else:
            key = "|".join((*namespace, f"{chunk['name']}:{chunk['id']}"))
            if "triggers" in chunk:
                self.saver.hold(chunk["id"])
                await self.nodes.start(key)
                return
            self.nodes.count()  # also of a node that was interrupted: its requests are paid
            if not chunk["interrupts"] and not chunk["error"]:
                await self.nodes.end(key)
            self.saver.release(chunk["id"])
            await self._save()

    async def _save(self) -> None:
        async with self.saving:
            if self.saver.apply():
                with suppress(AgentError):  # too large to be kept: another attempt starts from the newest that was
                    await self.turn.save({"graph": self.saver.state(), "said": self.nodes.has_said})

    # ---- Interrupts ----

    async def _resumed(self, interrupts: Sequence[Interrupt]) -> dict[str, Any]:
        """Put all open interrupts to a person at once; return the values by their ids.

        An approval covers one start of its node: a node that was lost since then is approved again.
        """
        starts = {interrupt.id: 0 for interrupt in interrupts}
        while True:
            putting = (self._put(interrupt, starts[interrupt.id]) for interrupt in interrupts)
            found = await asyncio.gather(*putting, return_exceptions=True)
            if failures := [each for each in found if isinstance(each, BaseException)]:
                raise failures[-1]  # in a test, the one that knows all open requests
            reviewed = [interrupt for interrupt in interrupts if _is_review(interrupt.value)]
            lost = [each.id for each in reviewed if await self._is_lost(f"start {starts[each.id]} of {_key_of(each)}")]
            if not lost:
                return dict(zip(starts, found, strict=True))
            starts |= {id: starts[id] + 1 for id in lost}

    async def _is_lost(self, start: str) -> bool:
        """Return whether an earlier execution of the run has made this start; note that this one makes it now."""
        return bool(await self.turn.step(start, lambda: self.id) != self.id)

    async def _put(self, interrupt: Interrupt, starts: int) -> Any:
        value, key = interrupt.value, _key_of(interrupt)
        if _is_review(value):
            configs = {each.get("action_name"): each for each in value.get("review_configs") or ()}
            decisions = await asyncio.gather(
                *(
                    self._review(action, configs.get(action["name"]) or {}, key, starts)
                    for action in value["action_requests"]
                )
            )
            return {"decisions": list(decisions)}
        schema = getattr(interrupt, "response_schema", None)
        message = value
        if isinstance(value, Mapping):
            message, schema = value.get("message") or value.get("question") or "", value.get("schema", schema)
        text = (
            message
            if isinstance(message, str) and message
            else json.dumps(to_jsonable_python(value, serialize_unknown=True))
        )
        try:
            return await self.turn.ask(shortened(text), schema, key=key)
        except ProtocolError as error:
            raise TypeError(f"the schema of an interrupt: {error.message}") from None

    async def _review(
        self, action: Mapping[str, Any], config: Mapping[str, Any], key: str, starts: int
    ) -> dict[str, Any]:
        """Return a person's decision on an action of LangChain's human-in-the-loop middleware."""
        allowed = config.get("allowed_decisions") or ("approve", "edit", "reject")
        proposed = action.get("args", action.get("arguments")) or {}
        try:
            approval = await self.turn.approve(
                shortened(action.get("description") or f"Allow “{action['name']}”?"),
                parameters=proposed,
                schema=config.get("args_schema"),
                tool=action["name"],
                editable="edit" in allowed,
                key=f"{key} {starts}" if starts else key,
                reason="interrupted" if starts else "",
            )
        except Declined as error:
            return {"type": "reject", **({"message": error.reason} if error.reason else {})}
        if approval.edited:
            return {"type": "edit", "edited_action": {"name": action["name"], "args": approval.parameters}}
        return {"type": "approve"}
