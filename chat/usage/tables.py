"""The beginning of a file as columns, however it is laid out. PURE: standard library."""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from chat.usage.cells import bare, is_time, is_value, number
from chat.usage.formats import FORMATS, Format
from chat.usage.names import CODES, FREE_SIGN, NUMBERS, SIGNS, WHOLE, meaning_of, plain_name, shown
from chat.usage.records import elements, flatten, goes_on, json_of, records_of

Layout = Literal["csv", "jsonl", "json"]
MAX_PREAMBLE = 40  # rows before the header


@dataclass(slots=True)
class Source:
    """A column of the head, or a place in its JSON records, with its first cells."""

    path: tuple[str, ...]
    position: int
    cells: list[str]

    @property
    def place(self) -> tuple[int, tuple[str, ...]]:
        return self.position, self.path

    @property
    def name(self) -> str:
        return shown(".".join(self.path))

    @property
    def plain(self) -> str:
        return plain_name(".".join(self.path))

    @property
    def full(self) -> list[str]:
        return [cell for cell in self.cells if cell.strip() and cell.strip().lower() not in ("null", "none")]


@dataclass(slots=True)
class Table:
    """The head as columns, and the format that they fit. `score` compares ways of reading it: a format first, then
    named roles, then regular rows. `currency`: the one that a line before the header names."""

    layout: Layout
    delimiter: str
    header_line: int
    width: int
    sources: list[Source]
    score: tuple[int, int, int]
    shape: Format | None = None
    currency: str = ""
    more: bool = False

    @staticmethod
    def of_json(text: str, cut: bool) -> "Table | None":
        lines = [line for line in _lines(text, 1000) if line.strip()]
        values = [json_of(line) for line in (lines[: -1 if cut else None] if len(lines) > 1 or not cut else [])]
        whole = [value for value in values if isinstance(value, dict)]
        layout: Layout = "jsonl" if len(lines) > 1 and whole and len(whole) * 2 >= len(values) else "json"
        if layout == "json":
            whole = []
            with suppress(ValueError):
                whole.extend(value for _, value in itertools.islice(elements(text), 1000))
        shape = _shape_of(whole)
        rows = _flat(whole, shape, 1000)
        paths = list(dict.fromkeys(path for row in rows for path in row))[:300]
        sources = [Source(path, -1, [row.get(path, "") for row in rows]) for path in paths]
        more = bool(whole) and goes_on(whole[-1])
        return Table(layout, "", 0, 0, sources, (0, 0, 0), shape, more=more) if rows else None

    @staticmethod
    def of_csv(text: str, delimiter: str, cut: bool) -> "Table":
        lines = _lines(text, 2000)
        if cut and 1 < len(lines) < 2000:
            lines.pop()
        rows = list(itertools.islice(_csv_rows(csv.reader(lines, delimiter=delimiter)), 300))
        header_at, named, fit, shape = -1, 0, 0, None
        for index, (_, row) in enumerate(rows[:MAX_PREAMBLE]):
            months = sum(map(is_time, row[1:])) > 1 and not any(number(cell, ".") is not None for cell in row)
            if len(row) < 2 or (sum(map(is_value, row)) * 2 > len(row) and not months):
                continue
            # In the rows under the header JSON may stand in a cell, and a format may need what is in it.
            names = {plain_name(cell) for cell in row} | _names_inside(row, rows[index + 1 : index + 6])
            fits, found = max(((one.fits(names), one) for one in FORMATS), key=lambda one: one[0])
            known = len({meaning.role for cell in row if (meaning := meaning_of((cell,)))})
            if fits > fit or (not fit and index < 10 and (known >= 2 or months) and known > named):
                header_at, named, fit, shape = index, known, fits, found if fits else None
        if header_at < 0 and len(rows) > 1 and _are_titles(rows[0][1]) and any(map(is_value, rows[1][1])):
            header_at = 0
        usual = Counter(len(row) for _, row in rows).most_common(1)
        line, header = rows[header_at] if header_at >= 0 else (0, [""] * (usual[0][0] if usual else 0))
        width, body = len(header), rows[header_at + 1 :]
        if width < 2 or not rows:
            return Table("csv", delimiter, 0, width, [], (0, 0, 0))
        good = [row for _, row in body if len(row) == width]
        sources: list[Source] = []
        for position, title in enumerate(header):
            source = Source((title.strip()[:200],), position, [row[position].strip() for row in good[:200]])
            sources += [source, *_inside(source)]
        currency = _currency_in([row for _, row in rows[: max(header_at, 0)]])
        return Table("csv", delimiter, line, width, sources, (fit, named, len(good) * min(width, 30)), shape, currency)


def _csv_rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue
        if any(cell.strip() for cell in row):
            yield reader.line_num, row[:1000]


def _shape_of(documents: list[Any]) -> Format | None:
    """The format whose needs the records fit best."""
    plain = _names_in(documents, None)
    names = ((one, _names_in(documents, one) if one.path or one.expand else plain) for one in FORMATS)
    fit, shape = max(((one.fits(found), one) for one, found in names), key=lambda one: one[0])
    return shape if fit else None


def _names_in(documents: list[Any], shape: Format | None) -> set[str]:
    return {plain_name(".".join(path)) for row in _flat(documents[:100], shape, 30) for path in row}


def _flat(documents: list[Any], shape: Format | None, limit: int) -> list[dict[tuple[str, ...], str]]:
    found = (record for value in documents for record in records_of(value, shape))
    return [flatten(record) for record in itertools.islice(found, limit)]


def _names_inside(header: list[str], rows: Sequence[tuple[int, list[str]]]) -> set[str]:
    names: set[str] = set()
    for _, row in rows:
        for title, cell in zip(header, row, strict=False):
            if cell.startswith("{") and isinstance(value := json_of(cell), dict):
                names |= {plain_name(f"{title}.{key}") for key in value if isinstance(key, str)}
    return names


def _currency_in(rows: Sequence[list[str]]) -> str:
    """The currency that the lines before the header name: as a value with its label, or as the only code in them."""
    for row in rows:
        for label, value in itertools.pairwise(cell.strip() for cell in row):
            if (
                re.fullmatch(r"currency|währung|devise|moneda|valuta|moeda|通貨|货币", label, re.I)
                and value.lower() in CODES
            ):
                return value.upper()
    text = " ".join(cell for row in rows for cell in row)
    found = {one for one in re.findall(r"\b[A-Z]{3}\b", text) if one.lower() in CODES}
    found |= {SIGNS[sign] for sign in FREE_SIGN.findall(text)}
    return found.pop() if len(found) == 1 else ""


def decimal_of(table: Table, numbers: set[int] | None = None) -> Literal[".", ","]:
    """The decimal mark, by cells that can be read in one way only. Tokens are whole, so 1.234 of them is a thousand.

    `numbers`: the positions of columns with numbers, where the header does not say so in itself.
    """
    point = comma = 0
    seen_comma = False
    for source in table.sources:
        meaning = meaning_of(source.path)
        if not (meaning and meaning.role in NUMBERS) and source.position not in (numbers or set()):
            continue
        whole = meaning is not None and meaning.role not in _FRACTIONS
        whole = whole or source.plain.rpartition("_")[2] in WHOLE
        for cell in source.full:
            plain = bare(cell)
            marks = re.sub(r"[^.,]", "", plain)
            seen_comma |= "," in marks
            if not marks or not re.fullmatch(r"-?[\d.,\s'’]+", plain, re.A):
                continue
            if len(set(marks)) == 2:
                decimal = marks[-1]
            elif len(marks) > 1 or (whole and AMBIGUOUS.fullmatch(plain)):
                decimal = "." if marks[0] == "," else ","
            else:
                decimal = "" if AMBIGUOUS.fullmatch(plain) else marks
            point, comma = point + (decimal == "."), comma + (decimal == ",")
    if point == comma:
        return "," if table.delimiter == ";" and seen_comma else "."
    return "." if point > comma else ","


AMBIGUOUS = re.compile(r"(?<![\d.,])-?[1-9]\d{0,2}[.,]\d{3}(?![\d.,])")  # 1.234 is a thousand or not
_FRACTIONS = ("cost", "credit", "gross", "unit_price", "quantity", "latency_ms", "minutes")


def _inside(source: Source) -> list[Source]:
    """The places inside a column whose cells are JSON objects."""
    full = source.full
    if not full or not all(cell.startswith("{") for cell in full):
        return []
    values = map(json_of, source.cells)
    rows = [flatten(value, source.path) if isinstance(value, dict) else {} for value in values]
    paths = list(dict.fromkeys(path for row in rows for path in row))[:100]
    return [Source(path, source.position, [row.get(path, "") for row in rows]) for path in paths]


def _are_titles(row: list[str]) -> bool:
    return all(cell.strip() and len(cell) <= 60 and not is_value(cell) for cell in row)


def _lines(text: str, limit: int) -> list[str]:
    return list(itertools.islice(io.StringIO(text, newline=""), limit))


def is_money_like(source: Source) -> bool:
    """Tell if a column looks like money by its name, or by signs of currencies in its cells."""
    numbers = [cell for cell in source.full if any(number(cell, mark) is not None for mark in ".,")]
    if len(numbers) * 2 < len(source.full) or not numbers:
        return False
    signed = sum(bool(FREE_SIGN.search(cell)) for cell in numbers) * 2 > len(numbers)
    return signed or (bool(_MONEY.search(source.plain)) and not _NO_MONEY.search(source.plain))


_MONEY = re.compile(
    r"cost|spend|price|amount|charge|fee\b|billed|invoice|budget|credit|usd|eur\b|gbp|jpy|cny|\bmoney|betrag|kosten|preis|"
    r"cout|montant|importe|prezzo|precio|cents|saving|discount|subtotal"
)
_NO_MONEY = re.compile(
    r"token|quantity|usage_amount|charge_(?:type|category|period)|(?:^|_)(?:id|date|time|currency|count)(?:$|_)"
)
