"""Loaded files: their rows in one database, with values in place of cells and list prices beside them.

DuckDB is embedded and in memory: its queries reach no file and no network and are limited in memory and time. A row
that cannot be read is counted and named. Text from a file is only ever data: it stands in no query and is cut to 200
characters.
"""

# ruff: noqa: S608, what a query is made of is written here; what a file or a user says goes in as values.

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict, cast

import duckdb

from agents.sdk import AgentError, Attachment
from agents.usage.figures import numeral, rows_text
from agents.usage.rates import LONGEST, ListPrices
from agents.usage.reading.containers import Joined, members
from agents.usage.reading.overlaps import count_once
from agents.usage.reading.rows import NAMED_LINES, Faults, Problem, read_rows, spool
from agents.usage.reading.values import FAULT, OPTIONAL, Values, macros, problems
from chat.translation import t
from chat.usage import Choice, Proposal, Recognised, recognise
from chat.usage.cells import read_date
from chat.usage.columns import is_weak
from chat.usage.names import Role
from chat.usage.skus import READERS
from chat.usage.text import HEAD

MEMORY_LIMIT = "512MB"
LOAD_TIMEOUT = 60.0  # seconds for a file of the largest size
QUERY_TIMEOUT = 20.0  # seconds
MAX_CURRENCIES = 20
MAX_KINDS = 50_000  # different kinds of charge or written dates in a file
MAX_PRICE_RATIO = 30.0  # a column whose values are further from the list price is no cost, in any currency
# What rows can be grouped by, with the SQL of each.
DIMENSIONS: dict[str, str] = {
    "model": "model", "provider": "provider", "team": "team", "user": "user_label", "project": "project",
    "api_key": "api_key", "feature": "feature", "environment": "environment", "status": "status", "tier": "tier",
    "charge": "charge", "sku": "sku", "file": "file", "day": "day", "month": "strftime(day, '%Y-%m')",
}  # fmt: skip
_COLUMNS = (
    "line, print, moment, day, model, charge, user_label, feature, input, output, cached, written, requests, size, "
    "tier, cost, currency, included, latency, status, failed, retried, has_tokens"
)


class FileReport(TypedDict):
    """A file as it was read. `notes` belong into the first lines of an answer, `assumptions` into its folded part.

    `other`: money in the bill that is no AI, by currency. `proposal`: how it could be read, if a person agrees.
    """

    file: str
    format: str
    title: str
    source: str | None
    usage: bool
    rows: int
    rows_read: int
    first: str | None
    last: str | None
    problems: list[Problem]
    notes: list[str]
    assumptions: list[str]
    other: list[tuple[str, float]]
    proposal: Proposal | None


@dataclass(slots=True)
class Part:
    """One file that was recognised, while it is read."""

    name: str
    recognised: Recognised
    faults: Faults = field(default_factory=Faults)
    path: str = ""
    written: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.written + self.faults.left_out


def load(attachments: Sequence[Attachment], choices: Mapping[str, Choice] | None = None) -> "Loaded":
    """Read all files into one database. `choices`: how to read tables with unknown headers, by the header's id."""
    return Loaded(attachments, choices)


class Loaded:
    """Files in memory, as the table `usage`. It may be asked from several threads; close it when done."""

    def __init__(self, attachments: Sequence[Attachment], choices: Mapping[str, Choice] | None = None) -> None:
        self.name = ", ".join(attachment.name for attachment in attachments)
        self._lock = threading.Lock()
        self._until = time.monotonic() + LOAD_TIMEOUT
        self.notes: list[str] = []
        self._assumptions: list[str] = []
        self._parts: list[Part] = []
        self._unread: list[FileReport] = []
        config: dict[str, Any] = {"threads": 1, "memory_limit": MEMORY_LIMIT, "temp_directory": ""}
        off = ("autoinstall_known_extensions", "autoload_known_extensions", "python_enable_replacements")
        config |= dict.fromkeys(off, False)
        self._db = duckdb.connect(":memory:", config=config)
        self.prices = ListPrices(self._db)
        folder = tempfile.mkdtemp(prefix="usage-")
        try:
            for attachment in attachments:
                self._spool(attachment, folder, choices or {})
            self._load(folder)
        except BaseException:
            self._db.close()
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self._db.interrupt()
        with self._lock:
            self._db.close()

    @property
    def recognised(self) -> Recognised:
        """Return what the first file is."""
        return self._parts[0].recognised

    def has(self, role: Role) -> bool:
        return any(part.recognised.of(role) for part in self._parts)

    @property
    def timed(self) -> bool:
        """Tell if a file says how long a request takes."""
        found = [part.recognised for part in self._parts]
        return any(one.of("latency_ms") or (one.of("ended") and one.per_request) for one in found)

    @property
    def assumptions(self) -> list[str]:
        """Return what was assumed in reading the files, as sentences."""
        found = [one for part in self._parts for one in part.recognised.assumptions]
        return list(dict.fromkeys([*found, *self._assumptions]))

    @property
    def files(self) -> list[FileReport]:
        return [*map(self._report, self._parts), *self._unread]

    @cached_property
    def dimensions(self) -> list[str]:
        """The keys of `DIMENSIONS` that tell rows apart or that some row has. Read once, when all rows are there."""
        [counts] = self.ask(f"SELECT {', '.join(f'count({sql})' for sql in DIMENSIONS.values())} FROM usage")
        return [name for name, count in zip(DIMENSIONS, counts, strict=True) if count]

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows for a query. Text from a user or a file belongs into `values`, never into the query."""
        with self._lock, self._limited(QUERY_TIMEOUT):
            return self._db.execute(query, list(values)).fetchall()

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._db.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        except duckdb.InterruptException:
            raise AgentError(t("{0} takes too long to work through.", self.name), code="too_large") from None
        except duckdb.OutOfMemoryException:
            raise AgentError(t("{0} is too large to work through.", self.name), code="too_large") from None
        finally:
            timer.cancel()

    def _spool(self, attachment: Attachment, folder: str, choices: Mapping[str, Choice]) -> None:
        """Write the cells of each file in the attachment to the folder, as far as they are recognised."""
        with closing(attachment.open()) as binary:
            for member in members(binary, attachment.name, folder):
                head = member.binary.read(HEAD)
                recognised = recognise(head, member.name, choices)
                if not recognised.usage:
                    self._unread.append(_unread(member.name, recognised))
                    continue
                part = Part(member.name, recognised)
                handle, part.path = tempfile.mkstemp(prefix="cells-", dir=folder)
                rows = read_rows(cast(Any, Joined(head, member.binary)), recognised, part.faults, self._until)
                with open(handle, "w", encoding="utf-8", errors="replace", newline="") as table:
                    part.written = spool(rows, table, part.faults)
                self._parts.append(part)

    def _load(self, folder: str) -> None:
        if not self._parts:
            why = self._unread[0]["notes"][0] if self._unread else t("There is no file.")
            raise AgentError(why, code="no_usage_data")
        # The one folder that a query may open; it is gone before the first question is asked.
        allowed = folder.replace("'", "''")
        for setting in (
            "TimeZone = 'UTC'", f"allowed_directories = ['{allowed}']", "enable_external_access = false",
            "lock_configuration = true",
        ):  # fmt: skip
            self._db.execute(f"SET {setting}")
        optional = sorted(set().union(*(Values(part.recognised).optional for part in self._parts)))
        with self._limited(max(1.0, self._until - time.monotonic())):
            for number, part in enumerate(self._parts):
                self._type(part)
                os.unlink(part.path)
                part.problems = [*part.faults.problems(), *self._typing_problems()]
                self._price(part, optional, bool(number))
                self._doubt(part)
            self.notes = list(count_once(self._db, self._parts))
            missing = [f"NULL::{kind} AS {name}" for name, kind in OPTIONAL.items() if name not in optional]
            for view, table in (("usage", "usage_rows"), ("other", "other_rows")):
                self._db.execute(f"CREATE VIEW {view} AS SELECT {', '.join(['*', *missing])} FROM {table}")
        [(rows, currencies)] = self.ask("SELECT count(*), count(DISTINCT currency) FROM usage")
        if not rows:
            problems = [problem for part in self._parts for problem in part.problems]
            why = " ".join(f"{problem['what']}: {rows_text(problem['rows'])}." for problem in problems[:5])
            text = t("No row of {0} can be read.", self.name)
            raise AgentError(f"{text} {why}".strip(), code="no_usage_data")
        if currencies > MAX_CURRENCIES:
            text = t("{0} names {1} currencies, so its costs cannot be right.", self.name, currencies)
            raise AgentError(text, code="no_usage_data")
        self._assume()

    def _type(self, part: Part) -> None:
        """Cells to values. `fault` is why a row cannot be used; other columns say what is odd about one that can."""
        recognised = part.recognised
        columns = recognised.columns
        names = {"line": "BIGINT", "print": "BIGINT"} | {f"c{index}": "VARCHAR" for index in range(len(columns))}
        for macro in macros(recognised.decimal):
            self._db.execute(f"CREATE OR REPLACE MACRO {macro}")
        values = Values(recognised)
        cells = (
            f"read_csv(?, columns = {names!r}, auto_detect = false, header = false, delim = '\x1f', quote = '', "
            "escape = '', nullstr = '', new_line = '\\n')"
        )
        self._look_up(values, cells, part)
        joined = f"LEFT JOIN skus s ON s.text = {values.sku()}" if values.reads_skus else ""
        self._db.execute(
            f"CREATE OR REPLACE TABLE typed AS WITH cells AS (SELECT * FROM {cells}), "
            f"parsed AS (SELECT line, print, {', '.join(values.parsed())} FROM cells), "
            f"emptied AS (SELECT line, print, {', '.join(values.emptied())} FROM parsed), "
            f"valued AS (SELECT line, print, {', '.join(values.valued())} FROM emptied {joined}) "
            f"SELECT *, {FAULT} AS fault FROM valued",
            [part.path],
        )
        self._mark_parents(values)
        self._mark_totals()
        self._compress()

    def _look_up(self, values: Values, cells: str, part: Part) -> None:
        """Read texts in Python: kinds of charge and dates with named months, each different text once."""
        self._db.execute("CREATE OR REPLACE TABLE dates (text VARCHAR, day TIMESTAMP)")
        self._db.execute("CREATE OR REPLACE MACRO date_of(c) AS (SELECT any_value(day) FROM dates WHERE text = c)")
        for index in values.named_times:
            texts = self._texts(f"trim(c{index})", f"{cells} WHERE strlen(c{index}) < 60", part)
            self._fill("dates", [(text, day.isoformat()) for text in texts if text and (day := read_date(text))])
        shape = part.recognised.shape
        if values.reads_skus and shape and shape.sku_reader:
            columns = "text VARCHAR, model VARCHAR, kind VARCHAR, scale DOUBLE, charge VARCHAR, ai BOOLEAN"
            self._db.execute(f"CREATE OR REPLACE TABLE skus ({columns})")
            read = READERS[shape.sku_reader]
            self._fill("skus", [(text, *read(text.split("\x1e"))) for text in self._texts(values.sku(), cells, part)])

    def _texts(self, sql: str, cells: str, part: Part) -> list[str]:
        query = f"SELECT DISTINCT {sql} FROM {cells} LIMIT {MAX_KINDS}"
        return [text for (text,) in self._db.execute(query, [part.path]).fetchall()]

    def _fill(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        for start in range(0, len(rows), 200):
            batch = rows[start : start + 200]
            marks = ", ".join([f"({', '.join('?' * len(batch[0]))})"] * len(batch))
            self._db.execute(f"INSERT INTO {table} VALUES {marks}", [cell for row in batch for cell in row])

    def _mark_parents(self, values: Values) -> None:
        """Leave out records that a later one with the same id says again, or that sum up the records inside them."""
        if "span" in values.optional:
            self._db.execute(
                "UPDATE typed SET fault = 'again' FROM (SELECT span, model, max(rowid) AS last FROM typed "
                "WHERE span IS NOT NULL AND fault IS NULL GROUP BY ALL HAVING count(*) > 1) twice "
                "WHERE typed.span = twice.span AND typed.model IS NOT DISTINCT FROM twice.model "
                "AND fault IS NULL AND typed.rowid < twice.last"
            )
        if {"span", "parent"} <= values.optional:
            self._db.execute(
                "UPDATE typed SET fault = 'parent' FROM (SELECT parent AS id, sum(input + output) AS tokens, "
                "sum(cost) AS cost FROM typed WHERE parent IS NOT NULL AND fault IS NULL GROUP BY parent) inside "
                "WHERE typed.span = inside.id AND fault IS NULL AND (inside.tokens > 0 OR inside.cost > 0) "
                "AND (typed.input + typed.output >= inside.tokens * 0.99 OR typed.cost >= inside.cost * 0.99)"
            )

    def _mark_totals(self) -> None:
        """Leave out rows that sum up those before them or all others, by whatever name, where all rows are such sums
        that lack a time, or a model in a table without times."""
        nameless = "timed AND moment IS NULL AND (model IS NULL OR model NOT IN (SELECT model FROM typed WHERE moment "
        nameless += "IS NOT NULL AND model IS NOT NULL))"
        bare = f"(({nameless}) OR (modelled AND model IS NULL AND NOT timed))"
        counts = f"SELECT count_if({bare}), count_if(NOT {bare}) FROM typed WHERE fault IS NULL"
        [(sums, others)] = self._db.execute(counts).fetchall()
        if not 0 < (sums or 0) < (others or 0):
            return
        parts = self._db.execute(
            "WITH listed AS (SELECT rowid AS place, coalesce(cost, 0) AS cost, input + output AS tokens, "
            f"{bare} AS bare FROM typed WHERE fault IS NULL), grouped AS (SELECT *, coalesce(sum(bare::INT) OVER "
            "(ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS part FROM listed) "
            "SELECT bool_or(bare), [sum(cost) FILTER (bare), sum(tokens) FILTER (bare)], "
            "[sum(cost) FILTER (NOT bare), sum(tokens) FILTER (NOT bare)] FROM grouped GROUP BY part"
        ).fetchall()
        every = [sum(found[at] or 0 for *_, found in parts) for at in (0, 1)]
        for closed, own, found in parts:
            pairs = [(one, (here or 0, whole)) for one, here, whole in zip(own, found, every, strict=True) if one]
            equal = [all(abs(sums[at] - one) <= 1e-3 * abs(one) for one, sums in pairs) for at in (0, 1)]
            if closed and not (pairs and any(equal)):
                return
        self._db.execute(f"UPDATE typed SET fault = 'total' WHERE fault IS NULL AND {bare}")

    def _compress(self) -> None:
        """In memory too, and only here: a million rows then take an eighth of the room, and leave it to the queries."""
        self._db.execute("CHECKPOINT")

    def _typing_problems(self) -> Iterator[Problem]:
        for what, left_out, condition in problems():
            query = f"SELECT count(*), min(line, {NAMED_LINES}) FROM typed WHERE {condition}"
            [(rows, lines)] = self._db.execute(query).fetchall()
            if rows:
                yield {"what": what, "rows": rows, "lines": lines, "left_out": left_out}

    def _price(self, part: Part, optional: list[str], there: bool) -> None:
        """Add the rows that can be used to `usage_rows`, each with its cost at the list prices of its day and today."""
        models = (
            "SELECT model, count(*), max(size), list(DISTINCT tier), bool_or(has_tokens) FROM typed "
            "WHERE fault IS NULL AND ai AND model IS NOT NULL GROUP BY model ORDER BY count(*) DESC, model"
        )
        self.prices.add(self._db.execute(models).fetchall())
        have = Values(part.recognised).optional
        joins, listed = self.prices.joined("t.written_1h" if "written_1h" in have else "0")
        columns = ["? AS file", *(f"t.{one}" for one in _COLUMNS.split(", "))]
        columns += [f"t.{name}" if name in have else f"NULL::{OPTIONAL[name]} AS {name}" for name in optional]
        usd = "CASE WHEN cost IS NULL THEN list_usd WHEN currency = 'USD' THEN cost END AS usd"
        select = f"SELECT {', '.join([*columns, listed, usd])} FROM typed t {joins} WHERE fault IS NULL AND"
        for table, condition in (("usage_rows", "coalesce(ai, true)"), ("other_rows", "NOT coalesce(ai, true)")):
            start = f"INSERT INTO {table} BY NAME" if there else f"CREATE TABLE {table} AS"
            self._db.execute(f"{start} {select} {condition}", [part.name])
        self._db.execute("DROP TABLE typed")
        self._compress()

    def _doubt(self, part: Part) -> None:
        """Take back what is no cost: in a table that no format declares, a column that counts tokens, or one whose name
        may mean something else and that is far from the list price of the tokens."""
        shape, costs = part.recognised.shape, part.recognised.of("cost")
        if not costs or (shape and shape.currency != "CNY"):
            return
        [(rows, paid, listed, tokens, fixed)] = self._db.execute(
            "SELECT count(*), sum(cost), sum(list_usd), count_if(cost IN (input, output, input + output)), "
            "count(DISTINCT (model, cost)) = count(DISTINCT model) AND count(DISTINCT (model, list_usd)) > "
            "count(DISTINCT model) FROM usage_rows WHERE file = ? AND cost > 0 AND list_usd > 0",
            [part.name],
        ).fetchall()
        ratio = paid / listed if rows and listed else None
        # The price of a model is the same in each row, however many tokens the row has.
        far = ratio is not None and (fixed or not 1 / MAX_PRICE_RATIO < ratio < MAX_PRICE_RATIO)
        change = ""
        if ratio and shape and not part.recognised.of("currency") and 0.2 < ratio < 2:
            change = "currency = 'USD', usd = cost"
            part.notes.append(t("The prices in the file are those in US dollars."))
        elif ratio and not shape and (tokens * 2 > rows > 1 or (far and is_weak(costs[0]))):
            change = "cost = NULL, currency = NULL, usd = list_usd"
            times = t("{0} times the tokens' list price", numeral(f"{ratio:,.3g}"))
            why = t("the same in each row of a model") if fixed else times
            part.notes.append(t("Column “{0}” is not taken as the cost: it is {1}.", costs[0].name, why))
        if change:
            self._db.execute(f"UPDATE usage_rows SET {change} WHERE file = ?", [part.name])

    def _assume(self) -> None:
        for part in self._parts:
            if part.recognised.more or part.faults.more:
                part.notes.append(t("The file is one page of several (has_more): what follows it is missing here."))
            if part.recognised.money:
                part.notes.append(t("Look like money and are not used: {0}.", ", ".join(part.recognised.money)))
        found, used, say = self.recognised, self.prices.used, self._assumptions.append
        if self.ask("SELECT 1 FROM usage WHERE list_usd IS NOT NULL LIMIT 1"):
            say(self.prices.assumption)
        if not found.per_request and any(price["hours"] for price in used):
            say(t("Prices that change within a day go by the time of a row, which sums up many hours."))
        unsaid = not found.lengths and not found.of("window")
        sums = f"SELECT 1 FROM usage WHERE input / greatest(requests, 1) > {LONGEST} LIMIT 1"
        if (unsaid or (found.lengths and self.ask(sums))) and self.prices.dearer_when_long:
            say(t("No prompt is taken as long enough for a long-prompt price: the file does not tell their length."))
        elif found.of("requests") and any(price["above"] for price in used):
            say(t("Long-prompt prices go by the average request of a row."))

    def _report(self, part: Part) -> FileReport:
        days = "SELECT count(*), min(day), max(day) FROM usage WHERE file = ?"
        [(count, first, last)] = self.ask(days, [part.name])
        sums = "SELECT currency, sum(cost) FROM other WHERE file = ? AND cost IS NOT NULL GROUP BY 1 ORDER BY 1"
        shape = part.recognised.shape
        return {
            "file": part.name, "format": part.recognised.format, "title": t(shape.title if shape else "Usage data"),
            "source": shape.source if shape else None, "usage": True, "rows": part.rows, "rows_read": count,
            "first": first.isoformat() if first else None, "last": last.isoformat() if last else None,
            "problems": part.problems, "notes": part.notes, "assumptions": list(part.recognised.assumptions),
            "other": self.ask(sums, [part.name]), "proposal": None,
        }  # fmt: skip


def _unread(name: str, recognised: Recognised) -> FileReport:
    return {
        "file": name, "format": recognised.format, "title": "", "source": None, "usage": False, "rows": 0,
        "rows_read": 0, "first": None, "last": None, "problems": [], "notes": [recognised.text], "assumptions": [],
        "other": [], "proposal": recognised.proposal,
    }  # fmt: skip
