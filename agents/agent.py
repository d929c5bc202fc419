"""What an agent is given and how it speaks. PURE: standard library and agents/tools.py only.

An agent is `async def name(turn: Turn)`. It may return text or a result object; otherwise its answer is what it said.
"""

import asyncio
import copy
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TypeVar, overload

from agents import tools

Result = TypeVar("Result")

_NO_ID = str(uuid.UUID(int=0))
_ERROR_LENGTH = 500
_LONGEST_MESSAGE, _LONGEST_CODE = 2000, 64  # characters


class AgentError(Exception):
    """An end that the user may read about; any other exception is a bug and shown as "internal error".

    `message` is for the user, `code` is the wire's `error_code`; `retryable` asks for another attempt of the run.
    """

    def __init__(self, message: str, code: str = "agent_error", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = tools.clean(str(message)[:_LONGEST_MESSAGE])
        self.code = tools.clean(str(code)[:_LONGEST_CODE])
        self.retryable = bool(retryable)

    @classmethod
    def of(cls, error: BaseException) -> "AgentError | None":
        """The one that `error` is, or the first of a task group in which nothing else went wrong."""
        if isinstance(error, BaseExceptionGroup):
            found = [cls.of(inner) for inner in error.exceptions]
            return found[0] if all(found) else None
        return error if isinstance(error, cls) else None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the history; `role` is `user` or `assistant`."""

    role: str
    content: str


class Attachment(Protocol):
    """A file that came with the message; `size` in bytes."""

    @property
    def name(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def size(self) -> int: ...
    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an earlier attempt. `completed`: it returned `result`; one that raised or was cut off did not."""

    completed: bool
    result: Any = None


class Sink(Protocol):
    """Where a run's events go. Events are wire.md's, without seq, thread_id, run_id, attempt and timestamp."""

    async def emit(self, event: dict[str, Any]) -> None:
        """Take one event, or nothing of it if it raises or is cancelled; wait only while the run's buffer is full."""

    async def commit(self) -> None:
        """Return when everything that this run has emitted so far is committed."""


class Record(list[dict[str, Any]]):
    """A sink that is a list: it tests an agent without a worker."""

    async def emit(self, event: dict[str, Any]) -> None:
        self.append(event)

    async def commit(self) -> None:
        pass


@dataclass(slots=True)
class _Run:
    """What a turn shares with the turns of its sub-agents."""

    id: uuid.UUID
    sink: Sink
    calls: Mapping[str, Call]
    said: list[str] = field(default_factory=list)
    involved: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    counts: Counter[object] = field(default_factory=Counter)

    def occurrence(self, key: object) -> int:
        self.counts[key] += 1
        return self.counts[key]


class Turn:
    """One message to answer. All ids are strings; `history` ends with the message itself.

    `calls` are the tool calls of the run's earlier attempts by `tool_call_id`; `usage` is what these used up, and is
    added to.
    """

    __slots__ = (
        "_path",
        "_run",
        "agent_name",
        "attachments",
        "attempt",
        "history",
        "run_id",
        "summary",
        "text",
        "thread_id",
        "user_id",
    )

    def __init__(
        self,
        *,
        text: str,
        sink: Sink | None = None,
        run_id: str = _NO_ID,
        thread_id: str = _NO_ID,
        user_id: str = "0",
        attempt: int = 1,
        agent_name: str = "agent",
        history: Sequence[Message] | None = None,
        attachments: Sequence[Attachment] = (),
        calls: Mapping[str, Call] | None = None,
        usage: dict[str, Any] | None = None,
    ) -> None:
        self.text = text
        self.run_id = run_id
        self.thread_id = thread_id
        self.user_id = user_id
        self.attempt = attempt
        self.agent_name = _text(agent_name, "an agent's name")
        self.history: tuple[Message, ...] = (Message("user", text),) if history is None else tuple(history)
        self.attachments: tuple[Attachment, ...] = tuple(attachments)
        self.summary = ""
        self._path: tuple[str, ...] = (self.agent_name,)
        self._run = _Run(
            uuid.UUID(run_id), Record() if sink is None else sink, calls or {}, usage={} if usage is None else usage
        )
        self._run.involved.append(self.agent_name)

    @property
    def said(self) -> str:
        """The whole text of the run so far, sub-agents' too."""
        return "".join(self._run.said)

    @property
    def agents_involved(self) -> list[str]:
        """Names in the order of their start, each once, the run's own agent first."""
        return list(self._run.involved)

    @property
    def usage(self) -> dict[str, Any]:
        """What the run used up in all its attempts, kept however it ends; one dict of JSON, shared with sub-agents."""
        return self._run.usage

    async def say(self, text: str) -> None:
        """The next piece of the answer."""
        delta = _text(text, "what an agent says")
        if delta:
            await self._emit("agent_delta", delta=delta)
            self._run.said.append(delta)

    async def think(self, text: str, step: int | None = None, of: int | None = None) -> None:
        """One step of the reasoning, as the user may see it."""
        fields: dict[str, Any] = {"reasoning": _text(text, "what an agent thinks")}
        for name, number in (("step_number", step), ("total_steps", of)):
            if number is None:
                continue
            if not isinstance(number, int):
                raise TypeError(f"{name} is an int, not {type(number).__name__}")
            fields[name] = number
        await self._emit("agent_thinking", **fields)

    @overload
    async def call(self, tool: Callable[..., Awaitable[Result]], /, **parameters: Any) -> Result: ...
    @overload
    async def call(self, tool: Callable[..., Result], /, **parameters: Any) -> Result: ...
    async def call(self, tool: Callable[..., Any], /, **parameters: Any) -> Any:
        """The tool's result, after `tool_completed` is committed; what the tool raises is raised here.

        A call that an earlier attempt completed is not made again: its recorded JSON is the result. Raises TypeError
        for parameters or a result that are no JSON values, and AgentError `tool_interrupted` for a tool marked `once`
        that may have begun in an earlier attempt.
        """
        json_parameters = tools.check(tool, parameters)
        name = tools.name_of(tool)
        occurrence = self._run.occurrence(tools.call_key(self._path, name, json_parameters))
        call_id = tools.call_id(self._run.id, self._path, name, json_parameters, occurrence)
        earlier = self._run.calls.get(call_id)
        if earlier is not None and not earlier.completed and tools.is_once(tool):
            raise AgentError(
                f"The step “{name}” may already have been carried out when this run was interrupted, so it was not "
                "repeated. Look at what it did before you ask again.",
                code="tool_interrupted",
            )
        await self._emit("tool_executing", tool_call_id=call_id, tool_name=name, parameters=json_parameters)

        async def completed(result: Any, began: float, **fields: Any) -> None:
            await self._complete(call_id, name, result, began, **fields)
            await self._run.sink.commit()

        if earlier is not None and earlier.completed:
            await completed(earlier.result, time.monotonic(), reused=True)
            return earlier.result
        began = time.monotonic()
        try:
            await self._run.sink.commit()
            began = time.monotonic()
            result = await tools.run(tool, parameters)
            json_result = tools.jsonable(result, "result", tool=name)
        except asyncio.CancelledError:
            # Stopped by the agent itself (a time-out, a task group): the call is over for whoever watches.
            await self._complete(call_id, name, None, began, error="The call was cancelled.")
            raise
        except Exception as error:
            known = AgentError.of(error)
            words = known.message if known else f"{type(error).__name__}: {error}"
            await completed(None, began, error=tools.clean(words[:_ERROR_LENGTH]))
            raise
        await completed(json_result, began)
        return result

    async def _complete(self, call_id: str, name: str, result: Any, began: float, **fields: Any) -> None:
        await self._emit(
            "tool_completed",
            tool_call_id=call_id,
            tool_name=name,
            result=result,
            success="error" not in fields,
            duration_ms=_milliseconds_since(began),
            **fields,
        )

    @asynccontextmanager
    async def subagent(self, name: str, /, task: str = "") -> AsyncIterator["Turn"]:
        """A turn that speaks as `name`, with the same message. Set its `summary` before leaving."""
        sub = copy.copy(self)
        sub.agent_name = _text(name, "an agent's name")
        sub.summary = ""
        task = _text(task, "a task")
        # Those that run side by side are told apart by their task, not by which of them comes first.
        occurrence = self._run.occurrence((self._path, sub.agent_name, task))
        sub._path = (*self._path, f"{sub.agent_name}#{occurrence}: {task}")
        if sub.agent_name not in self._run.involved:
            self._run.involved.append(sub.agent_name)
        await sub._emit("agent_started", task=task, status="started", parent_agent=self.agent_name)
        began = time.monotonic()
        try:
            yield sub
        except asyncio.CancelledError:
            await sub._leave(f"{sub.agent_name} was stopped", began)
            raise
        except Exception as error:
            known = AgentError.of(error)
            reason = f": {known.message}" if known else " with an internal error"
            await sub._leave(f"{sub.agent_name} failed{reason}", began)
            raise
        await sub._leave(sub.summary, began)

    async def _leave(self, summary: str, began: float) -> None:
        summary = _text(summary, "a summary")
        await self._emit("subagent_completed", summary=summary, duration_ms=_milliseconds_since(began))

    async def _emit(self, event_type: str, /, **fields: Any) -> None:
        await self._run.sink.emit({"type": event_type, "agent_name": self.agent_name, **fields})


def _text(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, not {type(text).__name__}")
    return tools.clean(text)


def _milliseconds_since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
