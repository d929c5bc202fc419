"""The usage files of a message, as tools that answer questions about them."""

import asyncio
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any, TypedDict

from agents.sdk import AgentError, Attachment, Turn
from agents.usage import file_slots
from agents.usage.about import lever_sums, names_of, summary_of, warnings
from agents.usage.asked import Query
from agents.usage.figures import escaped, format_value
from agents.usage.loaded import Loaded, load
from agents.usage.query import answer
from agents.usage.reading.containers import members
from chat.translation import t
from chat.usage import Choice, Proposal, recognise
from chat.usage.cells import number
from chat.usage.text import HEAD, text_of

MAX_TABLES = 3  # of one attachment that are asked about
MAX_TOTALS = 4  # columns whose total is worked out for a form: each takes a reading of the file
MAX_TRIED = 4 * 1024 * 1024  # bytes: of a larger file the total is worked out for the proposal only
_NO_CURRENCY = "XXX"  # ISO 4217's code


class Recognition(TypedDict):
    """The beginning of a file. `roles`: what its columns are (`model`, `input_tokens`, …).

    `prose`: it is text that a person wrote. `tables`: those in it that can be read once a person has explained them.
    """

    file: str
    usage: bool
    prose: bool
    words: str
    roles: list[str]
    tables: list[Proposal]


class UsageFiles:
    """The usage files of a message. Each method with a parameter `attachment` is a tool.

    Call `reserve` before the first tool and `leave` in the end. A file is loaded by the first question about it.
    `names` are the names for `attachment`: the second of two equal names gets a number.
    """

    def __init__(self, attachments: Sequence[Attachment]) -> None:
        self._attachments: dict[str, Attachment] = {}
        for attachment in attachments:
            name, number = attachment.name, 2
            while name in self._attachments:
                name, number = f"{attachment.name} ({number})", number + 1
            self._attachments[name] = attachment
        self._loaded: dict[tuple[str, ...], Loaded] = {}
        self._choices: dict[str, Choice] = {}
        self._slots = 0
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._attachments)

    async def reserve(self, turn: Turn, files: int) -> None:
        """Acquire a slot for each of this many files. If other runs have them, show a thought and wait."""
        if not file_slots.FILE_SLOTS.try_acquire(files):
            await turn.think(t("Waiting until other runs have read their usage files"))
            await file_slots.FILE_SLOTS.acquire(files)
        self._slots += files

    async def leave(self) -> None:
        """Close the open files and release their slots."""
        try:
            await asyncio.to_thread(self.close)
        finally:
            file_slots.FILE_SLOTS.release(self._slots)
            self._slots = 0

    def close(self) -> None:
        """Close the open files. Blocks while a query runs, so call it in a thread."""
        with self._lock:
            for loaded in self._loaded.values():
                loaded.close()
            self._loaded.clear()

    def choose(self, header: str, choice: Choice) -> None:
        """Read tables with this header, by its id, as a person said. It counts for files that are not open yet."""
        self._choices[header] = choice

    def recognise_file(self, attachment: str) -> Recognition:
        """Recognise the format of a file by its first 256 KiB, and the tables in it that a person has to explain."""
        with closing(self._attachment(attachment).open()) as binary:
            found = recognise(binary.read(HEAD), attachment)
        roles = sorted({column.role for column in found.columns})
        return {
            "file": attachment,
            "usage": found.usage,
            "prose": found.prose,
            "words": found.words,
            "roles": list(roles),
            "tables": self._packed(attachment) if found.container else [found.proposal] if found.proposal else [],
        }

    def _packed(self, attachment: str) -> list[Proposal]:
        """The unknown tables in an archive or a workbook; none if it has others that are known."""
        found: dict[str, Proposal] = {}
        with (
            suppress(AgentError),  # said when the file is loaded
            tempfile.TemporaryDirectory(prefix="usage-") as folder,
            closing(self._attachment(attachment).open()) as binary,
        ):
            for member in members(binary, attachment, folder):
                inner = recognise(member.binary.read(HEAD), member.name)
                if inner.usage:
                    return []
                if inner.proposal:
                    found.setdefault(inner.proposal["header"], inner.proposal)
        return list(found.values())[:MAX_TABLES]

    def table_totals(self, attachment: str, table: Proposal) -> dict[str, str]:
        """Return what each column of an unknown table adds up to if it is the cost and the others are as proposed."""
        file = self._attachment(attachment)
        columns = {one["name"]: one["role"] for one in table["columns"]}
        numbers = [one["name"] for one in table["columns"] if are_numbers(one["samples"])]
        tried = [name for name in numbers if columns[name] in ("", "cost", "gross")]
        tried.sort(key=lambda name: columns[name] != "cost")
        totals = {}
        for name in tried[: MAX_TOTALS if file.size <= MAX_TRIED else 1]:
            others = {other: role for other, role in columns.items() if role not in ("", "cost") and other != name}
            choice: Choice = {
                "columns": {**others, name: "cost"}, "row": table["row"], "currency": table["currency"] or _NO_CURRENCY,
            }  # fmt: skip
            with suppress(AgentError), closing(load([file], {**self._choices, table["header"]: choice})) as loaded:
                found = loaded.ask("SELECT currency, sum(cost) FROM usage WHERE cost IS NOT NULL GROUP BY 1 ORDER BY 1")
                texts = [format_value(cost, "" if code == _NO_CURRENCY else code) for code, cost in found[:3]]
                if texts:
                    totals[name] = " + ".join(texts)
        return totals

    def is_table(self, attachment: str) -> bool:
        """Return whether the file of this name is usage data, or a table that may be."""
        found = self.recognise_file(attachment)
        return found["usage"] or bool(found["tables"])

    def text_of_file(self, attachment: str) -> str:
        """Return the beginning of a text file."""
        with closing(self._attachment(attachment).open()) as binary:
            return text_of(binary.read(HEAD))

    def names_in(self, attachments: list[str]) -> dict[str, Any]:
        """Return the names in the files by dimension, and the first and last day."""
        return names_of(self._together(attachments))

    def query_files(self, attachments: list[str], query: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a query over all of the files, in figures."""
        loaded = self._together(attachments)
        made = answer(loaded, Query(**query))
        made.notes += warnings(loaded)
        made.details += [escaped(one, 300) for one in loaded.assumptions]
        return made.as_json()

    def lever_sums(self, attachments: list[str], query: dict[str, Any]) -> dict[str, Any]:
        """Return what savings rest on: the sums of each model, and the currency of the cost."""
        return lever_sums(self._together(attachments), Query(**query))

    def usage_summary(self, attachment: str) -> dict[str, Any]:
        """Return what the file covers: format, rows, days, names, what could not be read and what was assumed."""
        return summary_of(self._together([attachment]))

    def _together(self, names: list[str]) -> Loaded:
        key = tuple(names)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load([self._attachment(name) for name in names], self._choices)
            return self._loaded[key]

    def _attachment(self, name: str) -> Attachment:
        if name not in self._attachments:
            known = ", ".join(self._attachments) or t("none")
            raise AgentError(t("There is no file “{0}”. Attached: {1}.", name, known), code="not_found")
        return self._attachments[name]


def are_numbers(cells: list[str]) -> bool:
    """Tell if each of the cells is a number, in some style of writing them; False for none."""
    return bool(cells) and all(any(number(cell, mark) is not None for mark in ".,") for cell in cells)
