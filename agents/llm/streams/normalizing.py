"""The streams of all providers in one form: thoughts apart from text, whole characters, distinct tool calls."""

import json
import logging
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Any

import httpx2
from pydantic_ai import RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.profiles import DEFAULT_THINKING_TAGS
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from agents.llm.streams.thoughts import Piece, Thoughts
from agents.sdk.tools import DeltaCleaner

log = logging.getLogger(__name__)

_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


class NormalizingModel(WrapperModel):
    """A model whose streams are normalized. With `one_text`, all texts of a response are parts of one text.

    The end of its context closes its client, `http`.
    """

    def __init__(self, wrapped: Model, http: httpx2.AsyncClient, one_text: bool) -> None:
        super().__init__(wrapped)
        self._http, self._one_text = http, one_text

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await super().__aexit__(kind, error, trace)
        finally:
            await self._http.aclose()

    def prepare_messages(
        self, messages: list[ModelMessage], model_request_parameters: ModelRequestParameters | None = None
    ) -> list[ModelMessage]:
        """Leave out messages without content, which some providers refuse."""
        return super().prepare_messages(_without_nothing(messages), model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Yield the normalized stream of the wrapped model."""
        async with self.wrapped.request_stream(
            messages, model_settings, model_request_parameters, run_context
        ) as stream:
            tags = self.profile.get("thinking_tags", DEFAULT_THINKING_TAGS)
            even = _NormalizedStream(model_request_parameters, stream, self._one_text, tags)
            even.take_ids(messages)
            yield even


@dataclass
class _Call:
    """A tool call under way. `theirs` is the provider's id; `arguments` is the text so far, None if it is no text."""

    key: object
    name: str
    theirs: str
    arguments: str | None
    pieces: DeltaCleaner = field(default_factory=DeltaCleaner)


@dataclass
class _Text:
    """A text under way. Its last delta came in the part `index`; its next one goes into the part `key`."""

    index: int
    part: TextPart
    thoughts: Thoughts | None
    pieces: DeltaCleaner = field(default_factory=DeltaCleaner)
    key: object = None
    kind: str = ""

    def add(self, piece: str) -> Iterator[Piece]:
        clean = self.pieces.add(piece)
        return self.thoughts.add(clean) if self.thoughts else iter([("text", clean)])

    def end(self) -> Iterator[Piece]:
        rest = self.pieces.end()
        if self.thoughts is None:
            yield "text", rest
            return
        yield from self.thoughts.add(rest)
        yield from self.thoughts.end()


@dataclass
class _NormalizedStream(StreamedResponse):
    """The stream of `inner` with its parts rebuilt. Parts that turn out to be thoughts are not in its response.

    The library takes every chunk that equals one of the `tags` for a tag. This class undoes that: `Thoughts` decides
    where a thought begins.
    """

    inner: StreamedResponse
    one_text: bool
    tags: tuple[str, str]

    _text: _Text | None = field(default=None, init=False)
    _has_text: bool = field(default=False, init=False)
    _calls: dict[int, _Call] = field(default_factory=dict, init=False)
    _ids: set[str] = field(default_factory=set, init=False)
    _thoughts: dict[object, DeltaCleaner] = field(default_factory=dict, init=False)
    _withdrawn: set[int] = field(default_factory=set, init=False)
    _tagged: set[int] = field(default_factory=set, init=False)

    def take_ids(self, messages: list[ModelMessage]) -> None:
        """Give no call the id of an earlier one: some providers count the calls of each response from 0."""
        parts = [part for message in messages if isinstance(message, ModelResponse) for part in message.parts]
        self._ids.update(part.tool_call_id for part in parts if isinstance(part, ToolCallPart))

    def _follow(self) -> None:
        """Copy the state of the response from `inner`."""
        inner = self.inner
        self.provider_response_id, self.provider_details = inner.provider_response_id, inner.provider_details
        self.canonical_system, self.metadata = inner.canonical_system, inner.metadata
        self.finish_reason, self.state = inner.finish_reason, inner.state

    async def _received(self) -> AsyncIterator[ModelResponseStreamEvent]:
        """Yield the events of `inner`. Ignore a failure after the answer's end, e.g. in the count of tokens."""
        self._follow()
        try:
            async for event in self.inner:
                self._follow()
                yield event
        except Exception as error:
            if self.cancelled or not (self.inner.provider_details or {}).get("finish_reason"):
                raise
            log.warning("after a model's answer: %s", type(error).__name__)
        self._follow()

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        async for event in self._received():
            match event:
                case PartStartEvent(index=index, part=TextPart() as part):
                    for made in self._start_text(index, part):
                        yield made
                case PartDeltaEvent(index=index, delta=TextPartDelta() as text):
                    for made in self._add_text(index, text):
                        yield made
                case PartStartEvent(index=index, part=ThinkingPart(id="content") as part):
                    self._tagged.add(index)
                    for made in self._start_text(index, TextPart(self.tags[0] + part.content)):
                        yield made
                case PartDeltaEvent(index=index, delta=ThinkingPartDelta() as thought) if index in self._tagged:
                    for made in self._add_text(index, TextPartDelta(thought.content_delta or "")):
                        yield made
                case PartStartEvent(index=index, part=part):
                    if not self.one_text:
                        for made in self._end_text():
                            yield made
                    yield self._start(index, part)
                case PartDeltaEvent(index=index, delta=ThinkingPartDelta() as thought):
                    for made in self._think(index, thought):
                        yield made
                case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta) if index in self._calls:
                    for made in self._call(index, delta):
                        yield made
                case _:
                    pass  # the end of a part or of the output is rebuilt
        for made in self._end_text():
            yield made

    def _start_text(self, index: int, part: TextPart) -> Iterator[ModelResponseStreamEvent]:
        content = part.content
        if self._text and self.one_text:
            if self._text.index in self._tagged:
                content = self.tags[1] + content
            self._text.index = index
        else:
            yield from self._end_text()
            self._text = _Text(index, part, None if self._has_text else Thoughts())
        yield from self._separated(self._text.add(content))

    def _add_text(self, index: int, delta: TextPartDelta) -> Iterator[ModelResponseStreamEvent]:
        if self._text is None or self._text.index != index:
            yield from self._start_text(index, TextPart(""))
        assert self._text is not None
        yield from self._separated(self._text.add(delta.content_delta))
        if self._text.kind == "text" and (delta.provider_details or delta.citations_delta):
            yield from self._parts_manager.handle_text_delta(
                vendor_part_id=self._text.key,
                content="",
                provider_name=delta.provider_name,
                provider_details=delta.provider_details,
                citations=delta.citations_delta,
            )

    def _end_text(self) -> Iterator[ModelResponseStreamEvent]:
        if self._text:
            yield from self._separated(self._text.end())
            self._text = None

    def _separated(self, pieces: Iterator[Piece]) -> Iterator[ModelResponseStreamEvent]:
        text = self._text
        assert text is not None
        for kind, piece in pieces:
            if kind == "withdrawn":
                yield from self._withdraw(text)
                continue
            if not piece:
                continue
            new = kind != text.kind
            if new:
                text.kind, text.key = kind, object()
            key = text.key
            if kind == "text":
                self._has_text = True
                if new:
                    yield self._parts_manager.handle_part(vendor_part_id=key, part=replace(text.part, content=piece))
                else:
                    yield from self._parts_manager.handle_text_delta(vendor_part_id=key, content=piece)
            else:
                yield from self._parts_manager.handle_thinking_delta(vendor_part_id=key, content=piece)

    def _withdraw(self, text: _Text) -> Iterator[ModelResponseStreamEvent]:
        part = self._parts_manager.get_part_by_vendor_id(text.key)
        if isinstance(part, TextPart):
            self._withdrawn.add(self._parts_manager.get_parts().index(part))
            text.kind, text.key = "thought", object()
            yield from self._parts_manager.handle_thinking_delta(vendor_part_id=text.key, content=part.content)

    def _start(self, index: int, part: Any) -> ModelResponseStreamEvent:
        if isinstance(part, ThinkingPart):
            pieces = self._thoughts[index] = DeltaCleaner()
            part = replace(part, content=pieces.add(part.content))
        elif isinstance(part, ToolCallPart):
            return self._start_call(index, part)
        return self._parts_manager.handle_part(vendor_part_id=index, part=part)

    def _think(self, index: int, delta: ThinkingPartDelta) -> Iterator[ModelResponseStreamEvent]:
        content = delta.content_delta
        yield from self._parts_manager.handle_thinking_delta(
            vendor_part_id=index,
            content=None if content is None else self._thoughts[index].add(content),
            signature=delta.signature_delta,
            provider_name=delta.provider_name,
            provider_details=delta.provider_details,
        )

    def _start_call(self, index: int, part: ToolCallPart, other: bool = False) -> ModelResponseStreamEvent:
        """Begin a call, or restart the call with this index; with `other`, begin another call with the same index."""
        known = None if other else self._calls.get(index)
        call = _Call(known.key if known else (index, object()), part.tool_name, part.tool_call_id, "")
        call.arguments = call.pieces.add(part.args or "") if isinstance(part.args, str | None) else None
        self._calls[index] = call
        earlier = self._parts_manager.get_part_by_vendor_id(call.key)
        id = earlier.tool_call_id if isinstance(earlier, ToolCallPart) else self._own(part.tool_call_id)
        args = part.args if call.arguments is None or part.args is None else call.arguments
        return self._parts_manager.handle_part(vendor_part_id=call.key, part=replace(part, tool_call_id=id, args=args))

    def _call(self, index: int, delta: ToolCallPartDelta) -> Iterator[ModelResponseStreamEvent]:
        call, name, args = self._calls[index], delta.tool_name_delta, delta.args_delta
        if name and (is_complete(call.arguments) or (delta.tool_call_id and delta.tool_call_id != call.theirs)):
            yield self._start_call(index, ToolCallPart(name, args, delta.tool_call_id or ""), other=True)
            return
        if name == call.name:
            name = None  # some providers repeat it in every delta
        if isinstance(args, str):
            if is_complete(call.arguments) and args == call.arguments:
                return  # some providers repeat all of it at the end
            if call.arguments == "{}" and args.strip():
                # Some begin with an empty object, where others begin with nothing.
                yield self._start_call(index, ToolCallPart(call.name, args, call.theirs))
                return
            args = call.pieces.add(args)
            call.arguments = (call.arguments or "") + args
        call.name += name or ""
        yield from self._parts_manager.handle_tool_call_delta_events(
            vendor_part_id=call.key,
            tool_name=name,
            args=args,
            provider_name=delta.provider_name,
            provider_details=delta.provider_details,
        )

    def _own(self, id: str) -> str:
        """Return the id, or another of the same length if an earlier call has it."""
        if not id.strip() or id in self._ids:
            id = uuid.uuid4().hex[: max(9, len(id))]
        self._ids.add(id)
        return id

    def get(self) -> ModelResponse:
        self._follow()
        parts = [
            _safe_call(part) if isinstance(part, ToolCallPart) else part
            for index, part in enumerate(self._parts_manager.get_parts())
            if index not in self._withdrawn
        ]
        return replace(super().get(), parts=parts)

    @property
    def usage(self) -> RequestUsage:
        """The counts of the provider as whole numbers: some gateways send fractions, which no record can hold."""
        usage = self.inner.usage
        parts: dict[str, Any] = {name: int(value) for name, value in vars(usage).items() if isinstance(value, float)}
        return replace(usage, **parts) if parts else usage

    @property
    def model_name(self) -> str:
        return self.inner.model_name

    @property
    def provider_name(self) -> str | None:
        return self.inner.provider_name

    @property
    def provider_url(self) -> str | None:
        return self.inner.provider_url

    @property
    def timestamp(self) -> datetime:
        return self.inner.timestamp

    async def close_stream(self) -> None:
        await self.inner.cancel()


def _without_nothing(messages: list[ModelMessage]) -> list[ModelMessage]:
    """Leave out each response that says nothing, with the library's demand for more.

    The demand is a message of the system, or a second one of the user: templates that want roles by turns refuse both.
    """
    kept: list[ModelMessage] = []
    for message in messages:
        nothing = bool(kept) and isinstance(kept[-1], ModelResponse) and all(map(_says_nothing, kept[-1].parts))
        if nothing and not any(isinstance(part, UserPromptPart) for part in message.parts):
            kept.pop()
        else:
            kept.append(message)
    return kept


def _says_nothing(part: object) -> bool:
    return isinstance(part, ThinkingPart) or (isinstance(part, TextPart) and not part.content.strip())


def _safe_call(call: ToolCallPart) -> ToolCallPart:
    """Return the call under a name that every provider takes back. A tool that does not exist may have any name."""
    return replace(call, tool_name=_NO_NAME.sub("_", call.tool_name.strip())[:64] or "unknown")


def is_complete(arguments: str | dict[str, Any] | None) -> bool:
    """Return True if a call's arguments are a complete JSON object."""
    if isinstance(arguments, dict):
        return True
    if not arguments or not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(arguments), dict)
    except ValueError:
        return False
