"""Rows of cells from a file of usage data, whatever is in it. What is no row is counted and named."""

import csv
import io
import itertools
import operator
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TextIO, TypedDict, cast

from agents.sdk import AgentError
from chat.translation import t
from chat.usage import Recognised
from chat.usage.columns import LABEL, VALUE, Column
from chat.usage.names import TOTALS, masked
from chat.usage.records import MAX_LINE, at_path, cell_of, elements, goes_on, json_of, records_of

MAX_CELL = 200
NAMED_LINES = 5


class Problem(TypedDict):
    """`lines`: the first few, counted from 1. `left_out`: these rows are in no figure; else they are, but for this."""

    what: str
    rows: int
    lines: list[int]
    left_out: bool


_MARK = "\x1f"
_CLEAN = {10: " ", 13: " ", 31: " ", 0: "\ufffd"}


class Faults:
    """Rows that were not even cells, by what is wrong with them."""

    def __init__(self) -> None:
        self._found: dict[str, Problem] = {}
        self.more = False  # the last page says that others follow

    def add(self, what: str, line: int, left_out: bool = True) -> None:
        problem = self._found.setdefault(what, {"what": what, "rows": 0, "lines": [], "left_out": left_out})
        problem["rows"] += 1
        if len(problem["lines"]) < NAMED_LINES:
            problem["lines"].append(line)

    @property
    def left_out(self) -> int:
        return sum(problem["rows"] for problem in self._found.values() if problem["left_out"])

    def problems(self) -> list[Problem]:
        return list(self._found.values())


class _Lines:
    """The lines of a text, counted from 1. `taken`: those of the record being read, so that they can be given again."""

    def __init__(self, text: TextIO, faults: Faults, until: float) -> None:
        self._text = text
        self._faults = faults
        self._until = until
        self._again: list[str] = []
        self.number = 0
        self.taken: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        while True:
            line = self._again.pop() if self._again else self._text.readline(MAX_LINE)
            if not line:
                raise StopIteration
            self.number += 1
            if not self.number & 0xFFFF:
                _in_time(self._until)
            if len(line) < MAX_LINE or line.endswith(("\n", "\r")):
                self.taken.append(line)
                return line
            self._faults.add(t("A line longer than a million characters"), self.number)
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(MAX_LINE)

    def give_back(self) -> None:
        """All lines of the record but the first once more."""
        self._again.extend(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


class Row(NamedTuple):
    """`cells`: as many as there are columns. `print`: equal for rows that are equal in all that stands in the file."""

    line: int
    print: int
    cells: Sequence[str]


def read_rows(binary: BinaryIO, recognised: Recognised, faults: Faults, until: float) -> Iterator[Row]:
    with io.TextIOWrapper(
        io.BufferedReader(cast(io.RawIOBase, binary), 1 << 20),
        encoding=recognised.encoding,
        errors="replace",
        newline="",
    ) as text:
        if recognised.layout == "csv":
            yield from _csv_rows(_Lines(text, faults, until), recognised, faults)
        elif recognised.layout == "jsonl":
            yield from _jsonl_rows(_Lines(text, faults, until), recognised, faults)
        else:
            yield from _json_rows(text.read(MAX_JSON + 1), recognised, faults, until)


# A page of JSON is held whole while it is read; what is larger belongs into JSONL.
MAX_JSON = 64 * 1024 * 1024


def _csv_rows(lines: _Lines, recognised: Recognised, faults: Faults) -> Iterator[Row]:
    # Prompts may stand in a cell. The limit is the interpreter's, so it is set to the same number by all who set it.
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(lines, delimiter=recognised.delimiter)
    width, pick = recognised.width, _picker(recognised.columns)
    header: list[str] = []
    preamble, wide = recognised.header_line, recognised.wide
    while True:
        lines.taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = []
        line = lines.number - len(lines.taken) + 1
        over = len(lines.taken) > 1 and lines.number > preamble
        if over and (len(row) != width or sum(text.count('"') for text in lines.taken) % 2):
            # A quote that is never closed would swallow the rows after it: they are read again, one by one.
            faults.add(t("A quote that is not closed, or a row of the wrong length"), line)
            lines.give_back()
        elif lines.number <= preamble:
            header = row
        elif len(row) == width:
            if row == header:
                faults.add(t("The header once more"), line)
            elif row.count("") * 3 > width and any(map(_is_total, row)):
                faults.add(t("A row of totals"), line)
            elif wide:
                if _is_total(row[0]):
                    faults.add(t("A row of totals"), line)
                    continue
                for position, label in wide:
                    if row[position].strip():
                        yield Row(line, hash((position, *row)), pick([*row, row[position], label]))
            elif any(row):
                yield Row(line, hash(tuple(row)), pick(row))
        elif any(map(_is_total, row)):
            faults.add(t("A row of totals"), line)
        elif any(cell.strip() for cell in row):
            fewer, more = t("Fewer cells than the header has"), t("More cells than the header has")
            faults.add(fewer if len(row) < width else more, line)
        elif not row and lines.taken[0].strip():
            faults.add(t("A quote that is not closed, or a row of the wrong length"), line)


def _is_total(cell: str) -> bool:
    plain = re.sub(r"(?<=[a-z])(?=Total$)", " ", cell.strip()).lower().removesuffix(":")
    return len(cell) < 40 and (plain in TOTALS or _TOTAL.fullmatch(plain) is not None)


_TOTAL = re.compile(
    r"(?:grand |sub[ -]?|filtered |service |usage type |linked account |region |account |invoice |statement )?"
    r"totals?(?: general| cost| due| amount| payable)?|(?:amount|balance) due"
)


def _picker(columns: tuple[Column, ...]) -> Callable[[list[str]], Sequence[str]]:
    # A wide row has its value and its label behind it, at the positions -2 and -1 from the end.
    positions = [{LABEL: -1, VALUE: -2}.get(column.position, column.position) for column in columns]
    if len(positions) > 1 and all(len(column.path) == 1 for column in columns):
        return operator.itemgetter(*positions)

    def pick(row: list[str]) -> Sequence[str]:
        parsed: dict[int, Any] = {}
        cells = []
        for column, position in zip(columns, positions, strict=True):
            cell = row[position]
            if len(column.path) > 1:
                if position not in parsed:
                    parsed[position] = json_of(cell)
                cell = at_path(parsed[position], column.path[1:])
            cells.append(cell)
        return cells

    return pick


def _jsonl_rows(lines: _Lines, recognised: Recognised, faults: Faults) -> Iterator[Row]:
    paths = [column.path for column in recognised.columns]
    for line in lines:
        lines.taken.clear()
        if line.strip():
            value = json_of(line)
            if not isinstance(value, dict):
                faults.add(t("No JSON record"), lines.number)
                continue
            faults.more = goes_on(value)
            for record in records_of(value, recognised.shape):
                yield Row(lines.number, hash(repr(record)), _at(record, paths))


def _json_rows(text: str, recognised: Recognised, faults: Faults, until: float) -> Iterator[Row]:
    if len(text) > MAX_JSON:
        raise AgentError(t("This JSON is too long to be read at once: send it as JSONL."), code="too_large")
    paths = [column.path for column in recognised.columns]
    line, counted = 1, 0
    try:
        for number, (at, value) in enumerate(elements(text), 1):
            if not number & 0xFFFF:
                _in_time(until)
            line, counted = line + text.count("\n", counted, at), at
            found = False
            faults.more = faults.more or goes_on(value)
            for record in records_of(value, recognised.shape):
                found = True
                yield Row(line, hash(repr(record)), _at(record, paths))
            if not found and not isinstance(value, dict):
                faults.add(t("No JSON record"), line)
    except ValueError as error:
        at = error.args[1] if len(error.args) > 1 else counted
        faults.add(t("From here on it is no JSON that can be read"), line + text.count("\n", counted, at))


def _at(record: dict[str, Any], paths: list[tuple[str, ...]]) -> list[str]:
    return [cell_of(record.get(path[0])) if len(path) == 1 else at_path(record, path) for path in paths]


def spool(rows: Iterator[Row], spool: TextIO, faults: Faults) -> int:
    """Write the cells for DuckDB, which then needs no quotes: no cell has a mark or an end of line in it."""
    count = 0
    while batch := list(itertools.islice(rows, 1000)):
        text = "".join([f"{line}{_MARK}{same}{_MARK}{_MARK.join(cells)}\n" for line, same, cells in batch])
        marks = len(batch) * (len(batch[0].cells) + 1)
        # Nearly always nothing is odd, so that is found out for many rows at once.
        odd = text.count(_MARK) != marks or text.count("\n") != len(batch) or "\r" in text or "\0" in text
        if odd or len(text) > marks * MAX_CELL // 4:
            text = "".join(_cleaned(row) for row in batch)
        if "\ufffd" in text:
            for line in (row.line for row in batch if any("\ufffd" in cell or "\0" in cell for cell in row.cells)):
                faults.add(t("A character that cannot be read"), line, left_out=False)
        spool.write(text)
        count += len(batch)
    return count


def _in_time(until: float) -> None:
    if time.monotonic() > until:
        raise AgentError(t("The file takes too long to read."), code="too_large")


def _cleaned(row: Row) -> str:
    cells = [cell[:MAX_CELL].translate(_CLEAN) for cell in row.cells]
    return f"{row.line}{_MARK}{row.print}{_MARK}{_MARK.join(cells)}\n"


def shown(text: str) -> str:
    """A name from the file on one line, without control characters; of an API key only the end."""
    text = masked(text)
    return re.sub(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", text).strip()[:MAX_CELL]
