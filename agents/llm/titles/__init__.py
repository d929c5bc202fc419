"""Titles of threads, made by the model from the first exchange while the agent answers."""

import asyncio
import logging
from importlib import import_module
from types import TracebackType
from typing import Any

from django.conf import settings

from agents.llm.catalogue import entry
from agents.sdk import tools
from agents.sdk.records import Sink
from chat.catalogue import unavailable

log = logging.getLogger("netra.title")

TITLE_TIMEOUT = 2.0  # seconds that a finished answer waits for its title
MIN_ANSWER = 300  # characters of the answer before the model is asked


def is_possible() -> bool:
    """Return whether a model is configured that can make titles."""
    return unavailable(settings.NETRA_TITLE_MODEL) is None


async def load() -> None:
    """Load the model's libraries if a model is configured: the import takes longer than the first title may."""
    if is_possible():
        kind = entry(settings.NETRA_TITLE_MODEL).provider
        for module in ("agents.llm.titles.prompt", f"pydantic_ai.models.{kind}", f"pydantic_ai.providers.{kind}"):
            await asyncio.to_thread(import_module, module)


class Titling:
    """The sink of a turn whose thread has no title yet. It asks the model for one when the answer has begun.

    It passes every event on to `sink`. A failure or a delay of the title never affects the run. `usage` is the run's.
    The end of the context cancels a request under way.
    """

    def __init__(self, sink: Sink, message: str, usage: dict[str, Any]) -> None:
        self._sink, self._message, self._usage = sink, message, usage
        self._said = ""
        self._asking: asyncio.Task[str] | None = None

    async def emit(self, event: dict[str, Any]) -> None:
        """Pass the event on, and ask for a title when enough of the answer is there."""
        await self._sink.emit(event)
        if self._asking is None and event["type"] == "agent_delta":
            self._said += event["delta"]
            if len(self._said) >= MIN_ANSWER:
                self._ask(self._said)

    def show(self, piece: dict[str, Any]) -> None:
        """Pass the piece of a thought on."""
        self._sink.show(piece)

    async def commit(self) -> None:
        """Return when the events so far are committed."""
        await self._sink.commit()

    async def __aenter__(self) -> "Titling":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asking is not None and not self._asking.done():
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def title(self, answer: str) -> str:
        """Return the title for the full answer, "" if none comes within TITLE_TIMEOUT."""
        asking = self._asking or self._ask(answer)
        await asyncio.wait([asking], timeout=TITLE_TIMEOUT)
        return asking.result() if asking.done() else ""

    def _ask(self, answer: str) -> asyncio.Task[str]:
        self._asking = asyncio.create_task(self._asked(answer))
        return self._asking

    async def _asked(self, answer: str) -> str:
        try:
            model = await asyncio.to_thread(import_module, "agents.llm.titles.prompt")
            title: str = await model.title_of(self._message, answer, self._usage)
        except Exception as error:  # a title must not fail the run
            log.warning("no title: %s", type(error).__name__)
            return ""
        return tools.clean(title)
