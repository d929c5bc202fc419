"""Starts of a graph's tools, as LangChain calls a handler of them: which of them may start, and when."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langgraph.errors import GraphInterrupt

from agents.llm.graphs.interrupts import Decisions


@dataclass(slots=True)
class _Pass:
    """One execution of a node: its tools that have ended, by the ids that the model gave the calls.

    `asking` are those that have interrupted the node, with what they ask; `is_over`: the node has ended.
    """

    ended: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    asking: list[tuple[str, Any]] = field(default_factory=list)
    is_over: bool = False


class Starts:
    """The starts of tools in one execution of a graph. `handlers` are for its configuration; `close` follows.

    LangGraph gives the answers of a node to its interrupts by their number. Where tools of one node interrupt it side
    by side, the numbers depend on which of them is faster, so an answer might reach another tool than the one that
    asked. So the tools of a node that was interrupted start in the order in which they have asked, before all others.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._passes: dict[str, _Pass] = {}  # by the namespace of the node
        self._running: dict[UUID, tuple[_Pass, str]] = {}  # run of a tool -> execution of its node, id of the call
        self._waiting: set[asyncio.Task[None]] = set()  # for tools that run in threads
        self.loop = asyncio.get_running_loop()
        self.handlers: list[BaseCallbackHandler] = [_InLoop(self), _InThread(self)]

    def is_here(self) -> bool:
        """Return whether the caller is in the loop of the execution."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    async def start(self, tool: str, parameters: dict[str, Any], node: str, call: str, run_id: UUID) -> None:
        """Wait for the tools that have asked before this one, and note its start. What is raised keeps it from that."""
        here = self._passes.setdefault(node, _Pass())
        for earlier in self._decisions.asked_before(node, call):
            await here.ended[earlier].wait()
        if here.is_over:
            raise asyncio.CancelledError
        await self._decisions.start(tool, parameters, call)
        self._running[run_id] = here, call

    def start_in_thread(self, *given: Any) -> None:
        """Do the same for a tool in a thread, which waits."""

        async def started() -> None:
            task = asyncio.create_task(self.start(*given))
            self._waiting.add(task)
            try:
                await task
            finally:
                self._waiting.discard(task)

        asyncio.run_coroutine_threadsafe(started(), self.loop).result()

    def stop(self, run_id: UUID, error: BaseException | None = None) -> None:
        """Let the next tool start, unless this one asks: then note what."""
        at = self._running.pop(run_id, None)
        if at is None:
            return
        here, call = at
        if not isinstance(error, GraphInterrupt):
            here.ended[call].set()
        else:
            here.asking += [(call, interrupt.value) for interrupt in error.args[0]]

    def end(self, node: str, asked: Sequence[Any]) -> None:
        """Note that a node has ended, or was interrupted by a tool that `asked` these values.

        That tool is the next one of the node to ask. Tools that still wait for others do not start any more.
        """
        if found := self._passes.pop(node, None):
            if call := next((call for call, value in found.asking if value in asked), None):
                self._decisions.note_asking(node, call)
            found.is_over = True
            for event in found.ended.values():
                event.set()

    def close(self) -> None:
        """End the waiting of tools in threads."""
        for task in self._waiting:
            task.cancel()


def _place(metadata: dict[str, Any] | None, given: dict[str, Any]) -> tuple[str, str]:
    """Return the namespace of the node, and the id that the model gave the call."""
    return str((metadata or {}).get("langgraph_checkpoint_ns") or ""), str(given.get("tool_call_id") or "")


class _InLoop(AsyncCallbackHandler):
    """The handler of tools that run in the loop of the execution."""

    raise_error = run_inline = True

    def __init__(self, starts: Starts) -> None:
        self._starts = starts

    async def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Note the start."""
        if self._starts.is_here():
            place = _place(metadata, given)
            await self._starts.start(serialized.get("name") or "", inputs or {}, *place, run_id)

    async def on_tool_end(self, output: Any, *, run_id: UUID, **given: Any) -> None:
        """Note the end."""
        if self._starts.is_here():
            self._starts.stop(run_id)

    async def on_tool_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:
        """Note the end, or that the tool asks."""
        if self._starts.is_here():
            self._starts.stop(run_id, error)


class _InThread(BaseCallbackHandler):
    """The handler of tools that run in threads."""

    raise_error = run_inline = True

    def __init__(self, starts: Starts) -> None:
        self._starts = starts

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Note the start."""
        if not self._starts.is_here():
            place = _place(metadata, given)
            self._starts.start_in_thread(serialized.get("name") or "", inputs or {}, *place, run_id)

    def on_tool_end(self, output: Any, *, run_id: UUID, **given: Any) -> None:
        """Note the end."""
        if not self._starts.is_here():
            self._starts.loop.call_soon_threadsafe(self._starts.stop, run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:
        """Note the end, or that the tool asks."""
        if not self._starts.is_here():
            self._starts.loop.call_soon_threadsafe(self._starts.stop, run_id, error)
