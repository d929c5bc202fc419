"""Usage files: the files of a message as tools that answer questions about them."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import closing

from agents.advisor import room
from agents.advisor.answers import (
    Breakdown,
    Dimension,
    Latency,
    LatencyGoal,
    Load,
    Meant,
    Only,
    Recognition,
    Repeats,
    Summary,
    Trend,
    Waste,
)
from agents.advisor.figures import Figures
from agents.advisor.reader import read_figures
from agents.advisor.usage import Usage, open_usage
from agents.agent import AgentError, Attachment, Turn
from chat.usage import recognise
from chat.usage.text import HEAD, text_of


class UsageFiles:
    """The usage files of a message: what takes a file's name is a tool. Make room before the first; leave in the end.

    A file is loaded when it is first asked about. `names` are those to use; equal names get a number.
    """

    def __init__(self, attachments: Sequence[Attachment]) -> None:
        self._attachments: dict[str, Attachment] = {}
        for attachment in attachments:
            name, number = attachment.name, 2
            while name in self._attachments:
                name, number = f"{attachment.name} ({number})", number + 1
            self._attachments[name] = attachment
        self._open: dict[str, Usage] = {}
        self._places = 0
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._attachments)

    async def make_room(self, turn: Turn, files: int) -> None:
        """Places for so many open files; where other runs have them, say so and wait."""
        if not room.ROOM.take_now(files):
            await turn.think("Waiting until other runs have read their usage files")
            await room.ROOM.take(files)
        self._places += files

    async def leave(self) -> None:
        """Close what is open and give the room back."""
        try:
            await asyncio.to_thread(self.close)
        finally:
            room.ROOM.give_back(self._places)
            self._places = 0

    def close(self) -> None:
        """Waits for a query that is still at work, so it belongs in a thread."""
        with self._lock:
            for usage in self._open.values():
                usage.close()
            self._open.clear()

    def recognise_file(self, attachment: str) -> Recognition:
        """What a file is, by its first 256 KiB."""
        with closing(self._attachment(attachment).open()) as binary:
            found = recognise(binary.read(HEAD), attachment)
        roles = sorted({column.role for column in found.columns})
        return {
            "file": attachment,
            "usage": found.usage,
            "prose": found.prose,
            "words": found.words,
            "roles": list(roles),
        }

    def figures_in_text(self, attachment: str) -> Figures:
        """The figures in a text that a person wrote, as those of a message."""
        with closing(self._attachment(attachment).open()) as binary:
            return read_figures(text_of(binary.read(HEAD)), [])

    def rows_meant(self, attachment: str, text: str, earlier: list[str]) -> Meant:
        """Which feature, user and model of the file a text names, and which months; else what earlier ones named."""
        return {**self._usage(attachment).rows_meant(text, earlier), "file": attachment}

    def usage_summary(self, attachment: str) -> Summary:
        """What the file is, what could not be read, and its totals."""
        return self._usage(attachment).usage_summary()

    def spend_by(self, attachment: str, dimension: Dimension, only: Only | None = None, top: int = 10) -> Breakdown:
        """Spend, tokens and cached share of each model, feature, user, day, month or status."""
        return self._usage(attachment).spend_by(dimension, only, top)

    def spend_trend(self, attachment: str, only: Only | None = None) -> Trend:
        """Spend day by day: where it is heading and which days stand out."""
        return self._usage(attachment).spend_trend(only)

    def paid_for_nothing(self, attachment: str, only: Only | None = None) -> Waste:
        """What errors and retries cost."""
        return self._usage(attachment).paid_for_nothing(only)

    def latency_percentiles(self, attachment: str, dimension: Dimension = "model", only: Only | None = None) -> Latency:
        """How long requests take: p50, p90 and p99 of all and of each group."""
        return self._usage(attachment).latency_percentiles(dimension, only)

    def latency_goal(self, attachment: str, goal_ms: float, only: Only | None = None) -> LatencyGoal:
        """How many requests are within a time, of all, each model and feature, and how it grows with the answer."""
        return self._usage(attachment).latency_goal(goal_ms, only)

    def load_peaks(self, attachment: str, only: Only | None = None) -> Load:
        """The busiest minutes: requests, tokens and requests at work at a time, of all and of each model."""
        return self._usage(attachment).load_peaks(only)

    def repeated_requests(self, attachment: str, only: Only | None = None) -> Repeats:
        """How many requests can at most be repeats of an earlier one, and what those cost."""
        return self._usage(attachment).repeated_requests(only)

    def _usage(self, name: str) -> "Usage":
        with self._lock:
            if name not in self._open:
                self._open[name] = open_usage(self._attachment(name))
            return self._open[name]

    def _attachment(self, name: str) -> Attachment:
        if name not in self._attachments:
            known = ", ".join(self._attachments) or "none"
            raise AgentError(f"There is no file “{name}”. Attached: {known}.", code="not_found")
        return self._attachments[name]
