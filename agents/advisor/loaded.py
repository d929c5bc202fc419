"""A loaded file: its rows in a database of its own, with values in place of cells and list prices beside them.

DuckDB is embedded and in memory: its queries reach no file and no network and are limited in memory and time. A row
that cannot be read is counted and named. Text from the file is only ever data: it stands in no query and is cut to 200
characters.
"""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from agents.advisor.answers import PriceUsed, UnknownModel
from agents.advisor.prices import SOURCE, nearest_models
from agents.advisor.rates import ALWAYS, LIST_USD, LONGEST, TABLE, Rate, bare, last_day, priced, rates
from agents.advisor.rows import MAX_CELL, NAMED_LINES, Faults, Joined, Problem, read_rows, spool
from agents.advisor.values import FAULT, Values, macros, problems
from agents.agent import AgentError
from chat.usage import Recognised
from chat.usage.names import Role

MEMORY = "512MB"
LOAD_SECONDS = 60.0
QUERY_SECONDS = 20.0
MAX_MODELS = 300
MAX_CURRENCIES = 20


class Loaded:
    """One file in memory, as the table `usage`. It may be asked from several threads; close it when done."""

    def __init__(self, binary: Joined, name: str, recognised: Recognised) -> None:
        self.name = name
        self.recognised = recognised
        self._lock = threading.Lock()
        self._until = time.monotonic() + LOAD_SECONDS
        self._db = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": MEMORY,
                "temp_directory": "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        try:
            self._load(binary)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.interrupt()
        with self._lock:
            self._db.close()

    def has(self, role: Role) -> bool:
        return bool(self.recognised.of(role))

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._limited(QUERY_SECONDS):
            return self._db.execute(query, list(values)).fetchall()

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._db.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        except duckdb.InterruptException:
            raise AgentError(f"{self.name} takes too long to work through.", code="too_large") from None
        except duckdb.OutOfMemoryException:
            raise AgentError(f"{self.name} is too large to work through.", code="too_large") from None
        finally:
            timer.cancel()

    def _load(self, binary: Joined) -> None:
        self._assumptions: list[str] = []
        self._prices: list[PriceUsed] = []
        self._unknown: list[UnknownModel] = []
        faults = Faults()
        handle, path = tempfile.mkstemp(prefix="usage-")
        try:
            with open(handle, "w", encoding="utf-8", errors="replace", newline="") as table:
                written = spool(read_rows(binary, self.recognised, faults, self._until), table, faults)
            # The one file that a query may open; it is gone before the first question is asked.
            self._db.execute("SET TimeZone = 'UTC'")
            self._db.execute(f"SET allowed_paths = ['{path.replace(chr(39), chr(39) * 2)}']")
            self._db.execute("SET enable_external_access = false")
            self._db.execute("SET lock_configuration = true")
            with self._limited(max(1.0, self._until - time.monotonic())):
                self._type(path)
        finally:
            os.unlink(path)
        with self._limited(max(1.0, self._until - time.monotonic())):
            self._rows = written + faults.left_out
            self._problems = [*faults.problems(), *self._typing_problems()]
            self._price()
        self._readable = self._ask("SELECT count(*) FROM usage")[0][0]
        if not self._readable:
            words = " ".join(f"{problem['what']}: {problem['rows']} rows." for problem in self._problems[:5])
            raise AgentError(f"No row of {self.name} can be read. {words}".strip(), code="no_usage_data")
        first, last = self._ask("SELECT min(moment), max(moment) FROM usage")[0]
        self._first: date | None = first.date() if first else None
        self._last: date | None = last.date() if last else None

    def _type(self, path: str) -> None:
        """Cells to values. `fault` is why a row cannot be used; other columns say what is odd about one that can."""
        columns = self.recognised.columns
        names = {"line": "BIGINT", "print": "BIGINT"} | {f"c{index}": "VARCHAR" for index in range(len(columns))}
        for macro in macros(self.recognised.decimal):
            self._db.execute(macro)
        values = Values(self.recognised)
        self._db.execute(
            f"CREATE TABLE typed AS WITH cells AS (SELECT * FROM read_csv(?, columns = {names!r}, "
            "auto_detect = false, header = false, delim = '\x1f', quote = '', escape = '', nullstr = '', "
            "new_line = '\\n')), "
            f"parsed AS (SELECT line, print, {', '.join(values.parsed())} FROM cells), "
            f"emptied AS (SELECT line, print, {', '.join(values.emptied())} FROM parsed), "
            f"valued AS (SELECT line, print, {', '.join(values.valued())} FROM emptied) "
            f"SELECT *, {FAULT} AS fault FROM valued",
            [path],
        )
        self._compress()

    def _compress(self) -> None:
        """In memory too, and only here: a million rows then take an eighth of the room, and leave it to the queries."""
        self._db.execute("CHECKPOINT")

    def _typing_problems(self) -> Iterator[Problem]:
        for what, left_out, condition in problems():
            [(rows, lines)] = self._db.execute(
                f"SELECT count(*), min(line, {NAMED_LINES}) FROM typed WHERE {condition}"
            ).fetchall()
            if rows:
                yield {"what": what, "rows": rows, "lines": lines, "left_out": left_out}

    def _price(self) -> None:
        """The rows that can be used, each with its cost at the list prices of its day, and at today's."""
        self._db.execute(TABLE)
        rows = self._db.execute(
            "SELECT model, count(*), max(size), list(DISTINCT tier) FROM typed WHERE fault IS NULL AND model IS NOT "
            "NULL "
            "GROUP BY model ORDER BY count(*) DESC, model"
        ).fetchall()
        for model, count, longest, tiers in rows[:MAX_MODELS]:
            found = priced(model)
            if not found:
                near = nearest_models(bare(model)) if len(self._unknown) < 20 else []
                self._unknown.append({"model": shown(model), "rows": count, "nearest": near})
                continue
            for tier in sorted(tiers):
                for rate in rates(found, tier, int(longest or 0)):
                    self._add_rate(model, tier, rate)
        if len(rows) > MAX_MODELS:
            left = sum(count for _, count, *_ in rows[MAX_MODELS:])
            words = f"{len(rows) - MAX_MODELS} further models"
            self._unknown.append({"model": words, "rows": left, "nearest": []})
        # One join is half the work, and most prices never change.
        ours = (
            "LEFT JOIN price {0} ON {0}.named = t.model AND {0}.tier = t.tier AND t.size > {0}.above AND "
            "t.size <= {0}.upto AND {1} >= {0}.since AND {1} < {0}.until AND "
            "coalesce(CAST(t.moment AS TIME), TIME '12:00') BETWEEN {0}.opens AND {0}.closes"
        )
        today = f"DATE '{datetime.now(UTC).date().isoformat()}'"
        joins, now = ours.format("p", f"coalesce(t.day, {today})"), "list_usd"
        if not all(price["since"] is None and price["until"] is None for price in self._prices):
            joins, now = f"{joins} {ours.format('n', today)}", LIST_USD.format("n")
        self._db.execute(
            f"CREATE TABLE usage AS SELECT t.* EXCLUDE (fault), p.priced_as, p.id AS rate, {LIST_USD.format('p')} AS "
            f"list_usd, {now} AS today_usd, "
            "CASE WHEN cost IS NULL THEN list_usd WHEN currency = 'USD' THEN cost END AS usd "
            f"FROM typed t {joins} WHERE fault IS NULL"
        )
        self._db.execute("DROP TABLE typed")
        self._compress()
        [(currencies,)] = self._db.execute("SELECT count(DISTINCT currency) FROM usage").fetchall()
        if currencies > MAX_CURRENCIES:
            raise AgentError(
                f"{self.name} names {currencies} currencies, so its costs cannot be right.", "no_usage_data"
            )
        self._assume()

    def _add_rate(self, model: str, tier: str, rate: Rate) -> None:
        costs = [rate.input, rate.output, rate.cached, rate.written]
        when = [rate.since, rate.until, rate.opens, rate.closes, rate.above, rate.upto]
        self._db.execute(
            f"INSERT INTO price VALUES ({', '.join('?' * 14)})",
            [len(self._prices), model, rate.price["model"], tier, *when, *costs],
        )
        self._prices.append(
            {
                "named": model,
                "model": rate.price["model"],
                "tier": tier,
                "since": None if rate.since == ALWAYS[0] else rate.since.isoformat(),
                "until": last_day(rate.until),
                "hours": rate.hours,
                "above": max(rate.above, 0),
                "input": rate.input,
                "output": rate.output,
                "cached": rate.cached,
                "written": rate.written,
                "source": SOURCE,
                "as_of": rate.price["as_of"],
                "url": rate.price["url"],
            }
        )

    def _assume(self) -> None:
        if self._db.execute("SELECT 1 FROM usage WHERE list_usd IS NOT NULL LIMIT 1").fetchall():
            self._assumptions.append(
                f"List prices of each row's day, as far as {SOURCE} knows them (as of {self._prices[0]['as_of']}); a "
                "contract or a reseller charges otherwise."
            )
        if not self.recognised.per_request and any(price["hours"] for price in self._prices):
            self._assumptions.append(
                "Prices that change within a day go by the time of a row, which sums up many hours."
            )
        if any("1h" in column.path[-1] for column in self.recognised.of("cache_write_tokens")):
            self._assumptions.append("Cache writes of one hour are priced like those of five minutes.")
        unsaid = not self.recognised.lengths and not self.recognised.of("window")
        sums = f"SELECT 1 FROM usage WHERE input / greatest(requests, 1) > {LONGEST} LIMIT 1"
        if (unsaid or (self.recognised.lengths and self._db.execute(sums).fetchall())) and self._dearer_when_long():
            self._assumptions.append(
                "No prompt is taken as long enough for a long-prompt price: the file does not say how long they are."
            )
        elif self.recognised.of("requests") and any(price["above"] for price in self._prices):
            self._assumptions.append("Long-prompt prices go by the average request of a row.")

    def _dearer_when_long(self) -> bool:
        return any(
            len(list(rates(model, "standard", LONGEST))) > len(list(rates(model, "standard", 0)))
            for model in {price["model"] for price in self._prices}
        )


def shown(text: str) -> str:
    """A name from the file on one line, without control characters; of an API key only the end."""
    text = _SECRET.sub(lambda match: f"{match[1]}…{match[0][-4:]}", text)
    return re.sub(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", text).strip()[:MAX_CELL]


_SECRET = re.compile(r"\b(sk|pk|rk)-[\w-]{16,}")
