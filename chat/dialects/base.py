"""Parts that all dialects share: paths and headers, facts of a run, the interface of a projection, usage. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

Event: TypeAlias = Mapping[str, Any]  # a numbered event of wire.md, decoded
Frame: TypeAlias = Mapping[str, Any] | str  # JSON of the dialect, or a literal such as [DONE]

# Of the dialects below the base path. A proxy must neither keep nor buffer what they answer.
PATHS = re.compile(r"/v1/.*|/api/chat(?!/messages$)(/.*)?|/agui/.*|/mcp|/api/threads/[^/]+/events")
ANSWER_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MAX_LINE = 200  # characters of one line about a tool or a sub-agent


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run that no event of its own tells.

    Ids are UUIDs with hyphens. `created_at` is in seconds since the epoch. `address` is the URL of the thread's page,
    where a person answers what the run asks.
    """

    run_id: str
    thread_id: str
    message_id: str
    agent: str
    created_at: int
    address: str = ""

    @property
    def run_hex(self) -> str:
        """The run's id without hyphens."""
        return self.run_id.replace("-", "")

    @property
    def thread_hex(self) -> str:
        """The thread's id without hyphens."""
        return self.thread_id.replace("-", "")


class Projection(Protocol):
    """A fold of a run's events into the frames of a dialect.

    `begin` is called once, before `feed`, and returns the frames of the accepted request. `feed` is called with each
    event of the run, in order, and returns the frames that it adds. After `ended` it is called no more.
    """

    ended: bool

    def begin(self) -> list[Frame]:
        """Return the frames that come before the first event."""

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames of an event of the run."""


def project(projection: Projection, events: Iterable[Event]) -> list[Frame]:
    """Return all frames of these events, up to the end of the projection."""
    frames = projection.begin()
    for event in events:
        if projection.ended:
            break
        frames += projection.feed(event)
    return frames


class Usage(NamedTuple):
    """Tokens of a run; 0 where the agent reported none."""

    input: int = 0
    output: int = 0
    cached: int = 0


def usage_of(event: Event) -> Usage:
    """Return the usage in a terminal event."""
    usage = event.get("usage")
    given = usage if isinstance(usage, Mapping) else {}
    return Usage(*(_count(given.get(f"{name}_tokens")) for name in Usage._fields))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def rest_of(shown: str, final: str) -> tuple[str, bool]:
    """Return what is missing of the final answer after `shown`, and whether it does not continue `shown`.

    ("", False) if nothing is missing; the rest and False if the answer begins with `shown`; else all of it and True.
    """
    if final.startswith(shown):
        return final[len(shown) :], False
    return final, True


def clip(text: str, length: int = MAX_LINE) -> str:
    """Return the text as one line of at most this many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
