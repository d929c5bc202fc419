"""The words of a model, relayed to a turn: what it says and thinks, and what cut it."""

from collections.abc import AsyncIterable
from typing import Any

from django.conf import settings
from pydantic_ai import AgentStreamEvent
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.result import AgentStream

from agents.llm.endings import interrupted, note, truncated_by
from agents.llm.streams.normalizing import is_complete
from agents.sdk import AgentError, Thought, Turn


class Relay:
    """Says and thinks what a model does. `text`: its part of the answer; `now`: that of the response under way.

    `is_streaming`: a response is under way; `is_whole`: it has come to its end and calls no tools; `is_cut`: the user
    was told what cut it. `is_marked`: the model's streams have an end marker, without which an answer counts as cut.
    """

    def __init__(self, turn: Turn, is_marked: bool = True) -> None:
        self._turn, self._is_marked = turn, is_marked
        self._before = self.now = ""
        self._thought: Thought | None = None  # under way
        self._told = ""  # the beginning of the text, which no model said
        self._is_new = False  # the next text begins a paragraph
        self.is_streaming = self.is_whole = self.is_cut = False

    @property
    def text(self) -> str:
        """All texts of the model so far."""
        return self._before + self.now

    def is_kept(self, reason: AgentError) -> bool:
        """Return whether the text stays, with the reason for its end, so that the run neither fails nor restarts."""
        if reason.retryable and self._turn.attempt < settings.NETRA_MAX_ATTEMPTS:
            return False
        return bool(self.text.removeprefix(self._told).strip())

    async def relay(self, stream: AgentStream[Any, Any]) -> None:
        """Say and think what comes, to the end of the response. Raises AgentError model_cut where it breaks off."""
        try:
            await self.take(stream)
        except UsageLimitExceeded:
            if stream.response.tool_calls or truncated_by(stream.response, self._is_marked):
                raise
            # The answer is whole; no further one is asked for.
        await self.end(stream.response)

    async def take(self, events: AsyncIterable[AgentStreamEvent]) -> None:
        """Say and think what comes. `end` follows. Raises AgentError model_cut where it breaks off."""
        self._begin()
        begun = False
        try:
            async for event in events:
                begun = True
                await self._take(event)
        except (AgentError, UsageLimitExceeded):
            raise
        except Exception as error:
            if isinstance(error, ModelAPIError) and error.in_stream:
                raise
            if begun:
                # The provider's client repeats a request only until its answer has begun; a new attempt begins anew.
                raise interrupted() from None
            if isinstance(error, AgentRunError):
                raise
            # JSON of another shape than the API's comes out of the library as whatever that broke in it.
            raise UnexpectedModelBehavior(type(error).__name__) from None
        finally:
            await self._end_thought()

    async def repeat(self, response: ModelResponse, is_recorded: bool) -> None:
        """Say and think a whole response, to its end. One that `is_recorded` is kept, however it ended."""
        self._begin()
        for part in response.parts:
            if isinstance(part, TextPart):
                self._is_new = True
                await self._say(part.content)
            elif isinstance(part, ThinkingPart) and part.content.strip():
                await self._turn.think(part.content)
        await self.end(response, is_recorded)

    async def end(self, response: ModelResponse, is_recorded: bool = False) -> None:
        """Take the response as complete, and tell what cut it. Raises AgentError if it is of no use.

        A response that is recorded was of use.
        """
        texts = [part.content for part in response.parts if isinstance(part, TextPart) and part.content]
        self.now = "\n\n".join([""] * bool(texts and self._before) + texts)
        reason = truncated_by(response, self._is_marked)
        if response.tool_calls:
            if reason and not is_recorded and not all(is_complete(call.args) for call in response.tool_calls):
                raise interrupted() if reason.code == "model_unended" else reason
        else:
            self.is_whole = True
            if reason and texts:
                if not is_recorded and not self.is_kept(reason):
                    raise reason
                await self.cut(reason)
        self.is_streaming = False

    async def tell(self, text: str) -> None:
        """Say something that the model did not say, as a part of the answer."""
        if text:
            self.now += text
            self._told += text
            await self._turn.say(text)

    async def cut(self, reason: AgentError) -> None:
        """Tell the user what cut the answer, as the last paragraph of it."""
        self.is_cut = True
        last = note(self.text, reason)
        self.now += last
        await self._turn.say(last)

    def _begin(self) -> None:
        self._before, self.now = self.text, ""
        self.is_streaming, self.is_whole = True, False

    async def _take(self, event: AgentStreamEvent) -> None:
        match event:
            case PartStartEvent(part=TextPart(content=text)):
                self._is_new = True
                await self._say(text)
            case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                await self._say(text)
            case (
                PartStartEvent(part=ThinkingPart(content=thought))
                | PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought))
            ):
                self._thought = self._thought or self._turn.thought()
                await self._thought.add(thought or "")
            case PartEndEvent(part=ThinkingPart()):
                await self._end_thought()

    async def _say(self, text: str) -> None:
        if text:
            gap = "\n\n" if self._is_new and self.text else ""
            self._is_new = False
            self.now += gap + text
            await self._turn.say(gap + text)

    async def _end_thought(self) -> None:
        if self._thought is not None:
            thought, self._thought = self._thought, None
            await thought.end()
