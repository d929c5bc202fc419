"""The beginning of a file as columns, however it is laid out. PURE: standard library."""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chat.usage.cells import CURRENCY_SIGNS, is_value
from chat.usage.names import Role, meaning_of, shown
from chat.usage.records import elements, flatten, json_of, records

Layout = Literal["csv", "jsonl", "json"]


@dataclass(slots=True)
class Source:
    """A column of the head, or a place in its JSON records, with its first cells."""

    path: tuple[str, ...]
    position: int
    cells: list[str]

    @property
    def name(self) -> str:
        return shown(".".join(self.path))

    @property
    def full(self) -> list[str]:
        return [cell for cell in self.cells if cell.strip() and cell.strip().lower() not in ("null", "none")]


@dataclass(slots=True)
class Table:
    """The head as columns. `score` compares ways of reading it: named roles first, then regular rows."""

    layout: Layout
    delimiter: str
    header_line: int
    width: int
    sources: list[Source]
    score: tuple[int, int]

    @staticmethod
    def of_json(text: str, cut: bool) -> "Table | None":
        rows: list[dict[tuple[str, ...], str]] = []
        lines = [line for line in _lines(text, 1000) if line.strip()]
        values = [json_of(line) for line in lines[:-1] if len(lines) > 1] if cut else [json_of(line) for line in lines]
        whole = [value for value in values if isinstance(value, dict)]
        layout: Layout = "jsonl" if len(lines) > 1 and whole and len(whole) * 2 >= len(values) else "json"
        if layout == "json":
            whole = []
            try:
                for _, value in elements(text):
                    whole.append(value)
                    if len(whole) >= 1000:
                        break
            except ValueError:
                pass
        for value in whole:
            for record in records(value):
                row: dict[tuple[str, ...], str] = {}
                flatten(record, (), row)
                rows.append(row)
                if len(rows) >= 1000:
                    break
        if not rows:
            return None
        paths = list(dict.fromkeys(path for row in rows for path in row))[:300]
        sources = [Source(path, -1, [row.get(path, "") for row in rows]) for path in paths]
        return Table(layout, "", 0, 0, sources, (0, 0))

    @staticmethod
    def of_csv(text: str, delimiter: str, cut: bool) -> "Table":
        lines = _lines(text, 2000)
        if cut and 1 < len(lines) < 2000:
            lines.pop()
        rows: list[tuple[int, list[str]]] = []
        reader = csv.reader(lines, delimiter=delimiter)
        while len(rows) < 300:
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error:
                continue
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row[:1000]))
        header_at, named = -1, 0
        for index, (_, row) in enumerate(rows[:10]):
            known = len({meaning.role for cell in row if (meaning := meaning_of((cell,)))})
            if known >= 2 and known > named and sum(is_value(cell) for cell in row) * 2 <= len(row):
                header_at, named = index, known
        if header_at < 0 and len(rows) > 1 and _are_titles(rows[0][1]) and any(map(is_value, rows[1][1])):
            header_at = 0
        body = rows[header_at + 1 :]
        width = len(rows[header_at][1]) if header_at >= 0 else _usual(len(row) for _, row in rows)
        regular = sum(len(row) == width for _, row in body)
        if width < 2 or not rows:
            return Table("csv", delimiter, 0, width, [], (0, 0))
        header = rows[header_at][1] if header_at >= 0 else [""] * width
        good = [row for _, row in body if len(row) == width][:200]
        sources: list[Source] = []
        for position, title in enumerate(header):
            cells = [row[position].strip() for row in good]
            sources.append(Source((title.strip()[:200],), position, cells))
            sources += _inside(sources[-1])
        line = rows[header_at][0] if header_at >= 0 else 0
        return Table("csv", delimiter, line, width, sources, (named, regular * min(width, 30)))


def decimal_of(table: Table) -> Literal[".", ","]:
    """The decimal mark, by cells that can be read in one way only. Tokens are whole, so 1.234 of them is a thousand."""
    point = comma = 0
    seen_comma = False
    for source in table.sources:
        meaning = meaning_of(source.path)
        if not meaning or meaning.role not in _NUMBERS:
            continue
        whole = meaning.role not in ("cost", "latency_ms")
        for cell in source.full:
            bare = CURRENCY_SIGNS.sub("", cell).strip()
            marks = re.sub(r"[^.,]", "", bare)
            seen_comma |= "," in marks
            if not marks or not re.fullmatch(r"-?[\d.,\s'’]+", bare, re.A):
                continue
            if len(set(marks)) == 2:
                point, comma = (point + 1, comma) if marks[-1] == "." else (point, comma + 1)
            elif len(marks) > 1 or (whole and re.fullmatch(r"-?\d{1,3}[.,]\d{3}", bare)):
                point, comma = (point + 1, comma) if marks[0] == "," else (point, comma + 1)
            elif not re.fullmatch(r"-?[1-9]\d{0,2}[.,]\d{3}", bare):
                point, comma = (point + 1, comma) if marks == "." else (point, comma + 1)
    if point == comma:
        return "," if table.delimiter == ";" and seen_comma else "."
    return "." if point > comma else ","


_NUMBERS: tuple[Role, ...] = (
    "input_tokens", "uncached_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "latency_ms", "cost",
    "requests",
)  # fmt: skip


def _inside(source: Source) -> list[Source]:
    """The places inside a column whose cells are JSON objects."""
    full = source.full
    if not full or not all(cell.startswith("{") for cell in full):
        return []
    rows: list[dict[tuple[str, ...], str]] = []
    for cell in source.cells:
        row: dict[tuple[str, ...], str] = {}
        value = json_of(cell)
        if isinstance(value, dict):
            flatten(value, source.path, row)
        rows.append(row)
    paths = list(dict.fromkeys(path for row in rows for path in row))[:100]
    return [Source(path, source.position, [row.get(path, "") for row in rows]) for path in paths]


def _are_titles(row: list[str]) -> bool:
    return all(cell.strip() and len(cell) <= 60 and not is_value(cell) for cell in row)


def _lines(text: str, limit: int) -> list[str]:
    return list(itertools.islice(io.StringIO(text, newline=""), limit))


def _usual(lengths: Iterator[int]) -> int:
    found = Counter(lengths).most_common(1)
    return found[0][0] if found else 0
