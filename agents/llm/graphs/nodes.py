"""The nodes of a graph as they are shown: sub-agents with texts, thoughts and calls."""

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from genai_prices import calc_price
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from pydantic_ai.usage import RunUsage

from agents.llm.graphs.interrupts import Decisions
from agents.llm.graphs.saver import RunSaver
from agents.llm.models import UNKNOWN, add, price_of
from agents.sdk import AgentError, Turn, tools

_TEXTS = {"say": "text", "think": "thought"}  # method of a turn -> kind of its text
_RECORDED = {"call", "step", "ask"}  # methods of a turn whose results a node gets again
_TEXT_BLOCKS = {"reasoning": "reasoning", "thinking": "thinking"}  # kind of a block -> key of its text
_PROVIDERS = {
    "google_genai": "google",
    "google_vertexai": "google",
    "amazon_bedrock": "aws",
}  # as price lists name them


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


class Nodes:
    """The nodes under way, by the namespace of each execution."""

    def __init__(self, turn: Turn, saver: RunSaver, decisions: Decisions, has_said: bool) -> None:
        self._turn, self._saver, self._decisions = turn, saver, decisions
        self._open: dict[str, _Node] = {}
        self._opening = asyncio.Lock()
        self._usage: dict[str, tuple[str, str, RunUsage]] = {}  # id of a response -> provider, model, what it used up
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

    def learn(self, values: Any) -> None:
        """Remember the calls in a state of the graph, which an earlier execution has made."""
        messages = values.get("messages") if isinstance(values, Mapping) else getattr(values, "messages", None)
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, AIMessage):
                self._remember(message)

    def _remember(self, message: AIMessage) -> None:
        for call in message.tool_calls:
            if call["id"]:
                self._calls[call["id"]] = (call["name"], call["args"])

    def _note(self, message: AIMessage, metadata: Mapping[str, Any]) -> None:
        """Remember the calls that the model makes, and what it used up."""
        id = message.id or ""
        self._chunks[id] = message if id not in self._chunks else self._chunks[id] + message
        self._remember(self._chunks[id])
        if message.usage_metadata is None:
            return
        used = message.usage_metadata
        names = str(metadata.get("ls_provider") or ""), str(metadata.get("ls_model_name") or "")
        _, _, spent = self._usage.setdefault(id, (*names, RunUsage(requests=1)))
        cached = used.get("input_token_details") or {}
        spent.input_tokens += used["input_tokens"]
        spent.output_tokens += used["output_tokens"]
        spent.cache_read_tokens += cached.get("cache_read") or 0
        spent.cache_write_tokens += cached.get("cache_creation") or 0

    def count(self) -> None:
        """Add what the models have used up by now to the usage of the run."""
        for provider, model, spent in self._usage.values():
            with suppress(LookupError, ValueError, AssertionError):  # a model without a list price
                price_list = _PROVIDERS.get(provider, provider)
                spent.cost = calc_price(spent, model, provider_id=price_list).total_price if provider else None
            name = ":".join(filter(None, (provider, model))) or UNKNOWN
            add(self._turn.usage, spent, name, price_of(name))
        self._usage.clear()

    async def _show_call(self, message: ToolMessage, key: str, name: str) -> None:
        """Show the call of a tool that a node has made."""
        tool, parameters = self._calls.get(message.tool_call_id, (message.name or "tool", {}))

        async def made(**_: Any) -> Any:
            if message.status == "error":
                raise AgentError(message.text, code="tool_failed")
            return message.text

        made.__name__ = tool
        if approved := self._decisions.take(message.tool_call_id):
            with suppress(AgentError):
                await self._turn.start_call(made, tool, approved.id, approved.parameters, None)
            return
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


class NodeTurn:
    """The turn of a node for its own code, as `current_turn()` returns it: the sub-agent that it is shown as."""

    def __init__(self, turn: Turn, nodes: Nodes, key: str, name: str) -> None:
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
