"""Netra as a durable engine for agents of pydantic-ai.

Responses of models are steps of the run and calls of tools are its calls, so that neither a wait nor a lost worker
repeats one that is complete. What an agent puts off is put to a person.
"""

import asyncio
import json
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from pydantic import TypeAdapter
from pydantic_ai import AgentStreamEvent, DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.capabilities import OutputContext
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    BoundDurableOperation,
    DurabilityEngineSpec,
    DurableOperation,
    DurableOperationBackend,
    ModelCompactMessagesId,
    ModelRequestId,
    durable_unit_scope,
    record_durable_unit,
)
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    ToolFailed,
    ToolFailedError,
    ToolRetryError,
)
from pydantic_ai.messages import ModelResponse, ToolCallPart, ToolReturn, ToolReturnContent
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolApproved, ToolDefinition, ToolDenied
from pydantic_ai.usage import RunUsage
from pydantic_core import to_jsonable_python

from agents.llm.catalogue import Entry
from agents.llm.delegation import delegating
from agents.llm.models import UNKNOWN, add, spent_by
from agents.llm.relay import Relay
from agents.sdk import AgentError, Approval, Declined, Expired, Turn, tools
from agents.sdk.approval import shortened
from chat.protocol import ProtocolError

_RETRY, _FAILED = "tool_retry", "tool_failed"  # codes of what a tool tells the model
_CONDITIONS = {"decided_by", "four_eyes", "editable", "expires"}  # of an approval, from the metadata of its tool
_CONTENT: TypeAdapter[Any] = TypeAdapter(ToolReturnContent)
_RETURN: TypeAdapter[Any] = TypeAdapter(ToolReturn)
_DEFERRED = "deferred"  # the key of a result that is no result, but waits for a person


class _Bound(WrapperAgent[Any, Any]):
    """The agent as the engine binds to it: with the run's model, and without toolsets.

    The engine takes calls of tools where the agent executes them: there a toolset needs no id.
    """

    def __init__(self, wrapped: AbstractAgent[Any, Any], model: Model | str | None) -> None:
        super().__init__(wrapped)
        self._run_model = model

    @property
    def model(self) -> Any:
        """The model of the run."""
        return self._run_model

    @property
    def toolsets(self) -> Sequence[Any]:
        """No toolsets."""
        return ()


class Durability(BaseDurabilityCapability[Any]):
    """The engine for one run of the agent with `model`: that of `entry`, or its own. It may be able to stream."""

    engine_spec = DurabilityEngineSpec(
        engine_name="Netra",
        durable_unit_noun="step",
        durable_container_noun="run",
        codec=JSON_CODEC,
        wrapped_toolset_kinds=frozenset(),
        journal_discovery=False,
    )

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        turn: Turn,
        relay: Relay,
        model: Model | str | None,
        entry: Entry | None,
        is_streaming: bool,
    ) -> None:
        async def stream(_: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
            if backend.is_streaming:  # and not one of the events that the agent has beside those of its model
                await relay.take(events)

        backend = _Backend(turn, relay, entry, model.model_id if isinstance(model, Model) else model or "")
        super().__init__(
            event_stream_handler=stream if is_streaming else None, name=turn.agent_name, models=_others(agent)
        )
        self._turn, self._backend, self._model = turn, backend, model
        self._approvals: dict[str, Approval] = {}

    @property
    def in_durable_context(self) -> bool:
        """True: an engine is made for a run."""
        return True

    def get_durable_operation_backend(self) -> DurableOperationBackend[None]:
        """Return the backend that records."""
        return self._backend

    def for_agent(self, agent: AbstractAgent[Any, Any]) -> Any:
        """Bind to the agent."""
        return super().for_agent(_Bound(agent, self._model))

    # ---- Tools ----

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any], handler: Any
    ) -> Any:
        """Call the tool through the turn, or get its recorded result."""
        signal: Exception | None = None
        is_executed = False

        async def made(**_: Any) -> Any:
            nonlocal signal, is_executed
            is_executed = True
            try:
                with durable_unit_scope(), delegating(self._turn.usage, ctx.usage):
                    result = await handler(args)
            except (ApprovalRequired, CallDeferred) as error:
                kind = "approval" if isinstance(error, ApprovalRequired) else error.kind
                return {
                    _DEFERRED: kind,
                    "metadata": to_jsonable_python(error.metadata, bytes_mode="base64", serialize_unknown=True),
                }
            except (ToolRetryError, ModelRetry) as error:
                signal = error
                raise AgentError(_retry_text(error), code=_RETRY) from error
            except (ToolFailedError, ToolFailed) as error:
                signal = error
                raise AgentError(str(error), code=_FAILED) from error
            usage = self._turn.usage
            usage["tool_calls"] = usage.get("tool_calls", 0) + 1
            return _recorded(result)

        made.__name__ = call.tool_name
        approved = self._approvals.pop(call.tool_call_id, None) if ctx.tool_call_approved else None
        try:
            if approved is not None:
                payload = await approved.call(made)
            else:
                tool = tools.once(made) if _is_once(tool_def) else made
                payload = await self._turn.call(tool, **tools.jsonable(call.args_as_dict(), "parameters"))
        except AgentError as error:
            if error.code not in (_RETRY, _FAILED):
                raise
            if signal is not None:
                raise signal from None
            raise (ModelRetry if error.code == _RETRY else ToolFailed)(error.message) from None
        except TypeError as error:
            if is_executed:
                raise
            raise ToolFailed(str(error)) from None  # parameters that are no JSON values
        finally:
            record_durable_unit(executed=is_executed)
        return _result(payload)

    async def wrap_output_process(
        self, ctx: RunContext[Any], *, output_context: OutputContext, output: Any, handler: Any
    ) -> Any:
        """Make the output, for which a function of the agent may run another agent."""
        with delegating(self._turn.usage, ctx.usage):
            return await handler(output)

    # ---- Requests ----

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults:
        """Put all approvals and questions to a person at once. Other calls outside the agent are declined."""
        metadata = requests.metadata
        approvals: dict[str, bool | ToolApproved | ToolDenied] = {}
        calls: dict[str, Any] = {}

        async def approve(call: ToolCallPart) -> None:
            approvals[call.tool_call_id] = await self._approve(call, ctx, metadata.get(call.tool_call_id) or {})

        async def ask(call: ToolCallPart) -> None:
            if requests.kind(call.tool_call_id) == "question":
                calls[call.tool_call_id] = await self._ask(call, metadata.get(call.tool_call_id) or {})
            else:
                calls[call.tool_call_id] = ToolFailed(f"“{call.tool_name}” is executed outside; nobody does so here.")

        putting = [*map(approve, requests.approvals), *map(ask, requests.calls)]
        if failures := [each for each in await asyncio.gather(*putting, return_exceptions=True) if each is not None]:
            raise failures[-1]  # in a test, the one that knows all open requests
        return requests.build_results(approvals=approvals, calls=calls)

    async def _approve(
        self, call: ToolCallPart, ctx: RunContext[Any], metadata: Mapping[str, Any]
    ) -> ToolApproved | ToolDenied:
        tool = ctx.tools.get(call.tool_name)
        given = {**((tool.metadata if tool else None) or {}), **metadata}
        message = given.get("message")
        try:
            approval = await self._turn.approve(
                shortened(message) if isinstance(message, str) and message else f"Allow “{call.tool_name}”?",
                parameters=call.args_as_dict(),
                schema=tool.parameters_json_schema if tool else None,
                tool=call.tool_name,
                description=(tool.description if tool else None) or "",
                **{name: value for name, value in given.items() if name in _CONDITIONS},
            )
        except Declined as error:
            return ToolDenied(f"A person declined this call: {error.reason}" if error.reason else "A person declined.")
        except Expired:
            return ToolDenied("Nobody answered in time, so the call was not made.")
        self._approvals[call.tool_call_id] = approval
        return ToolApproved(override_args=approval.parameters if approval.edited else None)

    async def _ask(self, call: ToolCallPart, metadata: Mapping[str, Any]) -> Any:
        """Return the answer of a person. The question is in the metadata, else in the arguments of the call."""
        given = {**call.args_as_dict(), **metadata}
        texts = (given.get(name) for name in ("message", "question", "prompt"))
        message = next((text for text in texts if isinstance(text, str) and text), call.tool_name)
        schema, options = given.get("schema"), given.get("options")
        if schema is None and isinstance(options, list) and all(isinstance(each, str) for each in options) and options:
            schema = {"type": "string", "enum": options}
        try:
            return await self._turn.ask(shortened(message), schema)
        except (ProtocolError, TypeError, ValueError) as error:  # the model may have written the form
            return ToolFailed(f"This cannot be asked: {str(error)[:500]}")
        except Declined as error:
            return ToolFailed(f"The person did not answer: {error.reason}" if error.reason else "The person declined.")
        except Expired:
            return ToolFailed("Nobody answered in time.")


def _others(agent: AbstractAgent[Any, Any]) -> dict[str, Model]:
    """Return the models that a capability of the agent may move a request to: the engine has to know them."""
    found: list[Model] = []
    agent.root_capability.apply(
        lambda capability: found.extend(each for each in getattr(capability, "models", ()) if isinstance(each, Model))
    )
    return {f"other-{number}": model for number, model in enumerate(found)}


def _is_once(tool: ToolDefinition) -> bool:
    """Return whether a start of the tool must not be repeated: it says so, or an MCP server says that it acts."""
    metadata = tool.metadata or {}
    hints = metadata.get("annotations") or {}
    acts = "annotations" in metadata and not (hints.get("readOnlyHint") or hints.get("idempotentHint"))
    return bool(metadata.get("once", acts))


def _retry_text(error: ToolRetryError | ModelRetry) -> str:
    if isinstance(error, ModelRetry):
        return error.message
    content = error.tool_retry.content
    return (
        content
        if isinstance(content, str)
        else json.dumps(to_jsonable_python(content, bytes_mode="base64", serialize_unknown=True))
    )


def _recorded(result: Any) -> Any:
    """Return the tool's result as JSON. One that looks like a signal of the engine is marked as a result."""
    if not isinstance(result, ToolReturn):
        plain = _CONTENT.dump_python(result, mode="json")
        if not isinstance(plain, dict) or not (_DEFERRED in plain or plain.get("kind") == "tool-return"):
            return plain
        result = ToolReturn(plain)
    return _RETURN.dump_python(result, mode="json")


def _result(payload: Any) -> Any:
    """Return the tool's result for the agent, the same for a call and its record. Raises what the tool waits for."""
    match payload:
        case {"kind": "tool-return", "return_value": _}:
            return _RETURN.validate_python(payload)
        case {"deferred": "approval", "metadata": metadata, **rest} if not rest:
            raise ApprovalRequired(metadata=metadata)
        case {"deferred": "question" | "external" as kind, "metadata": metadata, **rest} if not rest:
            raise CallDeferred(metadata=metadata, kind=cast(Literal["question", "external"], kind))
    return _CONTENT.validate_python(payload)


def _with_own_ids(response: ModelResponse) -> ModelResponse:
    """Return the response with an id of its own for each call: some servers give several calls of it the same one."""
    taken: set[str] = set()
    parts: list[Any] = []
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            if part.tool_call_id in taken:
                part = replace(part, tool_call_id=f"{part.tool_call_id[:40]}-{len(taken)}")
            taken.add(part.tool_call_id)
        parts.append(part)
    return replace(response, parts=parts)


class _Backend(DurableOperationBackend[None]):
    """Binds requests to models to steps of the turn; all else runs as it is."""

    def __init__(self, turn: Turn, relay: Relay, entry: Entry | None, name: str) -> None:
        self.turn, self.relay, self.entry, self._name = turn, relay, entry, name
        self.is_streaming = False  # a request whose stream the engine relays

    def bind(self, operation: DurableOperation[Any, Any, Any]) -> BoundDurableOperation[Any, Any, Any]:
        """Return the operation as a step of the turn, or as it is."""
        match operation.operation_id:
            case ModelRequestId(streaming=streaming):
                return _Request(operation, self, streaming)
            case ModelCompactMessagesId():
                return _Request(operation, self, None)
        return _Direct(operation)

    def config_for_tool(self, operation: Any, *, tool: object | None, tool_name: str) -> None:
        """Return None: there is nothing to configure."""

    def registrations(self) -> Sequence[Callable[..., object]]:
        """Return nothing: nothing is registered beforehand."""
        return ()

    def count(self, response: ModelResponse) -> None:
        """Add the usage of a response that was received now."""
        self._add(*spent_by(response))

    def count_interrupted(self) -> None:
        """Add a request whose usage nobody reported."""
        self._add(RunUsage(requests=1), self._name)

    def _add(self, spent: RunUsage, name: str) -> None:
        if self.entry is not None:
            add(self.turn.usage, spent, self.entry.model, self.entry.options.get("price"))
        else:
            add(self.turn.usage, spent, name or UNKNOWN)


class _Direct(BoundDurableOperation[Any, Any, Any]):
    """An operation that is not recorded."""

    def __init__(self, operation: DurableOperation[Any, Any, Any]) -> None:
        self._operation = operation

    @property
    def operation(self) -> DurableOperation[Any, Any, Any]:
        """The operation."""
        return self._operation

    async def __call__(self, params: Any, *, config: object | None = None) -> Any:
        """Run the operation."""
        return await self._operation.handler(params)


class _Request(_Direct):
    """A request to a model, as a step of the turn.

    `is_streaming`: its stream is relayed as it comes; None: its response is not for the user.
    """

    def __init__(
        self, operation: DurableOperation[Any, Any, Any], backend: _Backend, is_streaming: bool | None
    ) -> None:
        super().__init__(operation)
        self._backend, self._is_streaming = backend, is_streaming

    async def __call__(self, params: Any, *, config: object | None = None) -> Any:
        """Return the response, received now or recorded. Each is relayed before the step is complete."""
        backend, is_received = self._backend, False

        async def work() -> Any:
            nonlocal is_received
            is_received = True
            backend.is_streaming = bool(self._is_streaming)
            try:
                response = await self._operation.handler(params)
            except BaseException:
                if backend.relay.is_streaming:
                    backend.count_interrupted()
                raise
            finally:
                backend.is_streaming = False
            backend.count(response)
            response = _with_own_ids(response)
            if self._is_streaming:
                await backend.relay.end(response)
            elif self._is_streaming is not None:
                await backend.relay.repeat(response, is_recorded=False)
            return self._operation.result_codec.dump(response)

        payload = await backend.turn.step("model", work)
        record_durable_unit(executed=is_received)
        response = self._operation.result_codec.load(payload)
        if not is_received and self._is_streaming is not None:
            await backend.relay.repeat(response, is_recorded=True)
        return response
