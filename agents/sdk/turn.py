"""The turn that an agent answers: message, history and the methods that emit events. Pure: standard library only."""

import asyncio
import copy
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar, overload

from agents.sdk import approval, asking, tools
from agents.sdk.asking import Approval
from agents.sdk.errors import AgentError
from agents.sdk.journal import Answer, Journal, Request
from agents.sdk.records import Attachment, Call, Message, RunRecord, Sink
from agents.sdk.testing import MemoryJournal, RecordingSink
from agents.sdk.thought import Thought, step_fields
from chat.protocol import part_id

Result = TypeVar("Result")

_NO_ID = str(uuid.UUID(int=0))
_ERROR_LENGTH = 500
_CANCELLED = "call_cancelled"  # code of a call that its agent cancelled


class Turn:
    """One message to answer. All ids are strings. `history` ends with the message itself.

    `context` are (role, text) of what the client claims beside the message: instructions, and turns that Netra has not
    stored. Nothing of it is verified, and nothing of it is permitted by it. `language` is the user's, as "de": that of
    the account, else of the page or of Accept-Language, else "en".
    `calls` are the tool calls of the run's earlier executions by `tool_call_id`. `usage` is the usage of these
    executions; the agent adds its own. In a test, `answers` are given to its requests in their order.
    """

    __slots__ = (
        "_cleaner",
        "_part",
        "_path",
        "_run",
        "agent_name",
        "attachments",
        "attempt",
        "context",
        "history",
        "language",
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
        journal: Journal | None = None,
        answers: Sequence[Answer] = (),
        context: Sequence[tuple[str, str]] = (),
        language: str = "",
    ) -> None:
        self.text = text
        self.run_id = run_id
        self.thread_id = thread_id
        self.user_id = user_id
        self.attempt = attempt
        self.agent_name = _text(agent_name, "an agent's name")
        self.history: tuple[Message, ...] = (Message("user", text),) if history is None else tuple(history)
        self.attachments: tuple[Attachment, ...] = tuple(attachments)
        self.context: tuple[tuple[str, str], ...] = tuple(context)
        self.language = language or "en"
        self.summary = ""
        self._path: tuple[str, ...] = (self.agent_name,)
        self._part: str | None = None
        self._cleaner = tools.DeltaCleaner()
        sink = RecordingSink() if sink is None else sink
        journal = MemoryJournal(answers, sink.emit) if journal is None else journal
        self._run = RunRecord(uuid.UUID(run_id), sink, calls or {}, journal, usage={} if usage is None else usage)
        for count in journal.kept.counts:
            self._run.counts[count.path, count.key] = count.number
            self._run.again[count.path, count.key] = list(count.again)
        self._run.involved.append(self.agent_name)

    @property
    def said(self) -> str:
        """The full text of the run so far, with that of sub-agents."""
        logged = self._run.journal.said()
        return "".join(self._run.said) if logged is None else logged

    @property
    def agents_involved(self) -> list[str]:
        """Names in the order of their start, each once, the run's own agent first."""
        return list(self._run.involved)

    @property
    def usage(self) -> dict[str, Any]:
        """The usage of all attempts of the run: one JSON object, shared with sub-agents, stored at the run's end."""
        return self._run.usage

    async def say(self, text: str) -> None:
        """Add a delta to the answer. Half of a surrogate pair at its end waits for the next delta."""
        if not isinstance(text, str):
            raise TypeError(f"the text of an answer is a str, not {type(text).__name__}")
        await self._say(self._cleaner.add(text))

    async def end_text(self) -> None:
        """End this agent's text for now: half of a surrogate pair that still waits becomes U+FFFD."""
        await self._say(self._cleaner.end())

    async def _say(self, delta: str) -> None:
        if delta:
            await self._run.sink.emit({"type": "agent_delta", **self._speaker(), "delta": delta})
            self._run.said.append(delta)

    async def think(self, text: str, step: int | None = None, of: int | None = None) -> None:
        """Show one step of the reasoning to the user, with its number and the number of steps."""
        await self.emit_thought({"reasoning": _text(text, "a thought"), **step_fields(step, of)})

    def thought(self, step: int | None = None, of: int | None = None) -> Thought:
        """Begin a thought that is shown while it grows: `async with turn.thought() as t: await t.add("…")`."""
        return Thought(self, step_fields(step, of))

    async def emit_thought(self, fields: dict[str, Any]) -> None:
        """Emit a whole thought. For `Thought`."""
        await self._emit("agent_thinking", **fields)

    def show_thought(self, piece: dict[str, Any]) -> None:
        """Show a piece of a thought under way. For `Thought`."""
        self._run.sink.show({**self._speaker(), **piece})

    @overload
    async def call(self, tool: Callable[..., Awaitable[Result]], /, **parameters: Any) -> Result: ...
    @overload
    async def call(self, tool: Callable[..., Result], /, **parameters: Any) -> Result: ...
    async def call(self, tool: Callable[..., Any], /, **parameters: Any) -> Any:
        """Call the tool and return its result, after `tool_completed` is committed.

        A call that an earlier execution completed is not repeated: its stored JSON result is returned. A tool marked
        `needs_approval` runs once a person has approved the call, with the accepted parameters. Raises TypeError for
        parameters or a result that are no JSON values, AgentError `tool_interrupted` for a tool marked `once` that may
        have begun in an earlier attempt, Declined and Expired, and the exceptions of the tool.
        """
        json_parameters = tools.check(tool, parameters)
        name = tools.name_of(tool)
        call_id, earlier, doing = self._identify(name, json_parameters)
        with doing():
            return await self._call(tool, name, call_id, parameters, json_parameters, earlier)

    async def _call(
        self,
        tool: Callable[..., Any],
        name: str,
        call_id: str,
        parameters: dict[str, Any],
        json_parameters: dict[str, Any],
        earlier: Call | None,
    ) -> Any:
        needs = approval.needs_of(tool)
        if needs is not None and needs.applies(full := tools.with_defaults(tool, parameters)):
            schema, definition = approval.definition_of(tool)
            asked = Request(
                kind="approval",
                message=needs.text(name, full),
                schema=schema,
                expires=needs.expires,
                decided_by=needs.decided_by,
                four_eyes=needs.four_eyes,
                tool_name=name,
                tool_call_id=call_id,
                parameters=json_parameters,
                definition_hash=definition,
                editable=needs.editable,
            )
            approved = await asking.approve(self, asked, earlier, nullcontext)
            given = approved.parameters if approved.edited else parameters
            tools.check(tool, given)
            return await self.start_call(tool, name, call_id, given, earlier)
        if earlier is not None and not earlier.completed and earlier.error is None and tools.is_once(tool):
            raise AgentError(
                f"The step “{name}” may already have been carried out when this run was interrupted, so it was not "
                "repeated. Look at what it did before you ask again.",
                code="tool_interrupted",
            )
        return await self.start_call(tool, name, call_id, parameters, earlier)

    def _identify(self, name: str, json_parameters: dict[str, Any]) -> tuple[str, Call | None, asking.Doing]:
        """Return the id of the next call with these parameters, what earlier executions know of it, and its context."""
        key = str(tools.call_key(self._path, name, json_parameters))
        occurrence = self.occurrence("call", key)
        call_id = tools.call_id(self._run.id, self._path, name, json_parameters, occurrence)
        return call_id, self._run.calls.get(call_id), lambda: self.doing("call", key, occurrence)

    async def start_call(
        self, tool: Callable[..., Any], name: str, call_id: str, parameters: Mapping[str, Any], earlier: Call | None
    ) -> Any:
        """Run the tool under this id, or return its recorded result. For adapters: `call` and `Approval.call`."""
        known = earlier if earlier is not None and (earlier.completed or earlier.error is not None) else None
        shown = tools.jsonable(dict(parameters), "parameters", tool=name)
        reused = {"reused": True} if known else {}
        await self._emit("tool_executing", tool_call_id=call_id, tool_name=name, parameters=shown, **reused)

        async def completed(result: Any, began: float, **fields: Any) -> None:
            await self._complete(call_id, name, result, began, **fields)
            await self._run.sink.commit()

        if known is not None:
            await completed(known.result, time.monotonic(), **_failure(known.error, known.code), reused=True)
            if known.code == _CANCELLED:
                await asyncio.Event().wait()  # it never returned: what cancelled it does so again
            if known.error is not None:
                raise asking.failure_of(known.error, known.code)
            return known.result
        with self._run.journal.working():
            return await self._run_tool(tool, name, parameters, completed, call_id)

    async def _run_tool(
        self, tool: Callable[..., Any], name: str, parameters: Mapping[str, Any], completed: Any, call_id: str
    ) -> Any:
        began = time.monotonic()
        try:
            await self._run.sink.commit()
            began = time.monotonic()
            inside = asking.is_inside_work.set(True)
            try:
                result = await tools.run(tool, parameters)
            finally:
                asking.is_inside_work.reset(inside)
            json_result = tools.jsonable(result, "result", tool=name)
        except asyncio.CancelledError:
            # The agent itself may have cancelled it (a time-out, a task group): the user must not see it as running.
            await self._complete(call_id, name, None, began, **_failure("The call was cancelled.", _CANCELLED))
            raise
        except Exception as error:
            known = AgentError.of(error)
            message = known.message if known else f"{type(error).__name__}: {error}"
            await completed(
                None, began, **_failure(tools.clean(message[:_ERROR_LENGTH]), known.code if known else None)
            )
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
        """Yield a turn for the sub-agent `name` with the same message. The sub-agent sets its `summary`."""
        sub = copy.copy(self)
        sub.agent_name = _text(name, "an agent's name")
        sub.summary = ""
        sub._cleaner = tools.DeltaCleaner()
        task = _text(task, "a task")
        # Concurrent sub-agents of one name are distinguished by their task: their order differs between attempts.
        key = f"sub-agent {sub.agent_name}: {task}"
        occurrence = self._run.occurrence(self._path, key)
        sub._path = (*self._path, f"{sub.agent_name}#{occurrence}: {task}")
        sub._part = part_id(sub._path)
        if sub.agent_name not in self._run.involved:
            self._run.involved.append(sub.agent_name)
        with self._run.doing(self._path, key, occurrence), self._run.unfinished_path(sub._path):
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
        await self.end_text()
        await self._run.sink.emit({"type": event_type, **self._speaker(), **fields})

    def _speaker(self) -> dict[str, str]:
        """Return the fields that name this agent in an event."""
        if self._part is None:
            return {"agent_name": self.agent_name}
        return {"agent_name": self.agent_name, "part_id": self._part}

    # ---- Questions to a person ----

    async def ask(
        self,
        message: str,
        schema: Any = None,
        *,
        default: Any = None,
        url: str | None = None,
        key: str | None = None,
        expires: float | None = None,
        decided_by: str = "owner",
        four_eyes: bool = False,
    ) -> Any:
        """Ask a person and return the answer: the values of the form, one value, or an instance of the dataclass.

        `schema` is a form's, that of one value, a dataclass, or None for a text. With `url` the person visits an
        address. The run gives its worker up until the answer has come, for at most `expires` seconds. `key` is an
        identity that survives rewording. Raises Declined, and Expired without a `default`.
        """
        how = {"key": key, "expires": expires, "decided_by": decided_by, "four_eyes": four_eyes}
        return await asking.ask(self, message, schema, default, url, **how)

    async def approve(
        self,
        message: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        tool: str = "",
        description: str = "",
        editable: bool = True,
        key: str | None = None,
        expires: float | None = None,
        decided_by: str = "owner",
        four_eyes: bool = False,
        reason: str = "",
        remember: bool = True,
    ) -> Approval:
        """Ask a person to approve an action and return their consent. Raises Declined and Expired.

        For adapters: `tool` names a tool that `Approval.call` then runs, `description` and `schema` are its own.
        With `remember=False` a grant for the thread neither gives this approval nor comes of it.
        """
        shown = tools.jsonable(dict(parameters or {}), "parameters", tool=tool)
        plain = None if schema is None else tools.jsonable(dict(schema), "schema", tool=tool)
        call_id, earlier, doing = self._identify(tool, shown) if tool else ("", None, nullcontext)
        definition = approval.definition_hash(tool, description, plain) if tool else ""
        asked = Request(
            kind="approval",
            message=message,
            schema=plain,
            key=key,
            expires=expires,
            decided_by=decided_by,
            four_eyes=four_eyes,
            tool_name=tool,
            tool_call_id=call_id,
            parameters=shown,
            definition_hash=definition,
            editable=editable,
            reason=reason,
            remember=remember,
        )
        with doing():
            return await asking.approve(self, asked, earlier, doing)

    # ---- What the run keeps ----

    async def step(self, name: str, work: Callable[[], Any], /) -> Any:
        """Return the JSON result of `work()`, awaited if it is awaitable, and record it.

        A continuation or another attempt gets the recorded result. A step that was interrupted runs again.
        """
        occurrence = self.occurrence("step", _text(name, "the name of a step"))
        key = str(uuid.uuid5(self._run.id, f"{self._path} step {name} {occurrence}"))
        if key in self._run.journal.kept.steps:
            return copy.deepcopy(self._run.journal.kept.steps[key])
        with self.doing("step", name, occurrence), self._run.journal.working():
            inside = asking.is_inside_work.set(True)
            try:
                result = work()
                result = await result if inspect.isawaitable(result) else result
            finally:
                asking.is_inside_work.reset(inside)
            result = tools.jsonable(result, "result", tool=name)
            await self._run.journal.keep_step(key, result)
        return result

    async def save(self, state: Any) -> None:
        """Store a JSON state of the run in place of an earlier one. It must account for all that was emitted before."""
        await self.end_text()
        await self._run.journal.save(tools.jsonable(state, "state"), self._run.finished_counts())

    @property
    def saved(self) -> Any:
        """State that an earlier execution of this run saved; None if nothing."""
        return self._run.journal.kept.saved

    @property
    def previous(self) -> Any:
        """State that the run of the preceding answer on this branch saved, if its agent is the same; else None."""
        return self._run.journal.kept.previous

    # ---- For agents.sdk.asking ----

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the agents from the run's own to this one."""
        return self._path

    @property
    def journal(self) -> Journal:
        """The place where requests, steps and states are kept."""
        return self._run.journal

    def occurrence(self, kind: str, key: str) -> int:
        """Count an occurrence of `key` under this agent, from 1."""
        return self._run.occurrence(self._path, f"{kind} {key}")

    def doing(self, kind: str, key: str, number: int) -> AbstractContextManager[None]:
        """Let a continuation from a state that is saved meanwhile repeat this occurrence."""
        return self._run.doing(self._path, f"{kind} {key}", number)


def _failure(error: str | None, code: str | None) -> dict[str, str]:
    return {name: value for name, value in (("error", error), ("error_code", code)) if value is not None}


def _text(text: str, what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, not {type(text).__name__}")
    return tools.clean(text)


def _milliseconds_since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
