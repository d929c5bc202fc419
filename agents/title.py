"""A title for a thread, from its first exchange, by the model of the settings: for every agent, beside its answer."""

import asyncio
import logging
from importlib import import_module
from types import TracebackType
from typing import Any

from django.conf import settings

from agents import tools
from agents.agent import Sink
from agents.assistant import unavailable

log = logging.getLogger("netra.title")

GRACE = 2.0  # seconds that a finished answer waits for its title
ENOUGH = 300  # characters of the answer that tell what it is about


async def load() -> None:
    """Load the model's libraries, where there is a model: that takes seconds, which the first title does not have."""
    if unavailable() is None:
        kind = settings.NETRA_MODEL.partition(":")[0]
        for module in ("agents.assistant.title", f"pydantic_ai.models.{kind}", f"pydantic_ai.providers.{kind}"):
            await asyncio.to_thread(import_module, module)


class Titling:
    """The sink of a turn whose thread has no title yet: as soon as the answer has begun, the model is asked for one.

    It passes everything on to `sink`, and leaves the run without a title rather than fail or hold it up. `usage` is the
    run's. Leaving it stops a question that is still under way.
    """

    def __init__(self, sink: Sink, message: str, usage: dict[str, Any]) -> None:
        self._sink, self._message, self._usage = sink, message, usage
        self._said = ""
        self._asking: asyncio.Task[str] | None = None

    async def emit(self, event: dict[str, Any]) -> None:
        await self._sink.emit(event)
        if self._asking is None and event["type"] == "agent_delta":
            self._said += event["delta"]
            if len(self._said) >= ENOUGH:
                self._ask(self._said)

    async def commit(self) -> None:
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
        """The title, once the whole answer is known; empty where there is none in time."""
        asking = self._asking or self._ask(answer)
        await asyncio.wait([asking], timeout=GRACE)
        return asking.result() if asking.done() else ""

    def _ask(self, answer: str) -> asyncio.Task[str]:
        self._asking = asyncio.create_task(self._asked(answer))
        return self._asking

    async def _asked(self, answer: str) -> str:
        try:
            model = await asyncio.to_thread(import_module, "agents.assistant.title")
            title: str = await model.title_of(self._message, answer, self._usage)
        except Exception as error:  # whatever it is: the answer matters, its title does not
            log.warning("no title: %s", type(error).__name__)
            return ""
        return tools.clean(title)
