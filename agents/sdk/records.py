"""Values that a turn is made of, and the state that the turns of one run share. Pure: standard library only."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from agents.sdk.journal import Count, Journal


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the history; `role` is `user` or `assistant`."""

    role: str
    content: str


class Attachment(Protocol):
    """A file attached to the message; `size` is in bytes."""

    @property
    def name(self) -> str:
        """The file's name."""

    @property
    def media_type(self) -> str:
        """The media type that the client sent."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    def open(self) -> BinaryIO:
        """Open the file for reading. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an earlier execution. `completed` is False for a call that raised or was interrupted.

    `error` is the text of one that raised in this attempt, before the run waited, and `code` that of its AgentError.
    `starts` counts its starts.
    """

    completed: bool
    result: Any = None
    error: str | None = None
    code: str | None = None
    starts: int = 1


class Sink(Protocol):
    """The destination of a run's events: those of the wire without seq, thread_id, run_id, attempt and timestamp."""

    async def emit(self, event: dict[str, Any]) -> None:
        """Take one event, or none of it on an exception. Wait only while the run's buffer is full."""

    def show(self, piece: dict[str, Any]) -> None:
        """Show a piece of a thought under way (agent_name, part_id, thought_id, offset, delta). It may be lost."""

    async def commit(self) -> None:
        """Return when everything that this run has emitted so far is committed."""


@dataclass(slots=True)
class RunRecord:
    """The state that a turn shares with the turns of its sub-agents."""

    id: uuid.UUID
    sink: Sink
    calls: Mapping[str, Call]
    journal: Journal
    said: list[str] = field(default_factory=list)
    involved: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    counts: dict[tuple[tuple[str, ...], str], int] = field(default_factory=dict)
    again: dict[tuple[tuple[str, ...], str], list[int]] = field(default_factory=dict)  # occurrences to be repeated
    under_way: set[tuple[tuple[str, ...], str, int]] = field(default_factory=set)
    unfinished: set[tuple[str, ...]] = field(default_factory=set)  # paths of sub-agents

    def occurrence(self, path: tuple[str, ...], key: str) -> int:
        """Count an occurrence of `key` under this path, from 1; those that were under way at a save come again."""
        if again := self.again.get((path, key)):
            return again.pop(0)
        self.counts[path, key] = self.counts.get((path, key), 0) + 1
        return self.counts[path, key]

    @contextmanager
    def doing(self, path: tuple[str, ...], key: str, number: int) -> Iterator[None]:
        """Let a continuation from a state that is saved meanwhile repeat this occurrence."""
        self.under_way.add((path, key, number))
        try:
            yield
        finally:
            self.under_way.discard((path, key, number))

    @contextmanager
    def unfinished_path(self, path: tuple[str, ...]) -> Iterator[None]:
        """Let a continuation from a state that is saved meanwhile repeat all that this sub-agent does."""
        self.unfinished.add(path)
        try:
            yield
        finally:
            self.unfinished.discard(path)

    def finished_counts(self) -> list[Count]:
        """Return the counts, and the occurrences that are under way: a continuation repeats those.

        All that a sub-agent does that is under way is repeated from its beginning.
        """
        repeated = {of: list(numbers) for of, numbers in self.again.items()}
        for path, key, number in self.under_way:
            repeated.setdefault((path, key), []).append(number)
        return [
            Count(path, key, number, sorted(repeated.get((path, key), [])))
            for (path, key), number in self.counts.items()
            if not any(path[: len(open_path)] == open_path for open_path in self.unfinished)
        ]
