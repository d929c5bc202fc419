"""Usage data: loads a whole file as `chat.usage` recognised it and answers questions about it with figures.

DuckDB does the arithmetic, embedded and in memory: its queries reach no file and no network and are limited in memory
and time. Every figure says which rows it is of, which prices it used and how it was worked out. A row that cannot be
read is counted and named. Text from the file is only ever data: it stands in no query and is cut to 200 characters.
"""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from typing import Any, Literal

import duckdb

from agents.advisor.answers import (
    Anomaly,
    Breakdown,
    ChartData,
    Dimension,
    Group,
    Latency,
    Meant,
    Only,
    Paid,
    PriceUsed,
    Recognition,
    Series,
    Source,
    Summary,
    Times,
    Trend,
    UnknownModel,
    Waste,
)
from agents.advisor.mentions import Mentions, mentions
from agents.advisor.prices import SOURCE, Price, find_model, nearest_models, price_lookup
from agents.advisor.rows import MAX_CELL, NAMED_LINES, Faults, Joined, Problem, cells, spool
from agents.advisor.values import FAULT, Values, macros, problems
from agents.agent import AgentError, Attachment
from chat.usage import HEAD, Recognised, Role, recognise

MEMORY = "512MB"
LOAD_SECONDS = 60.0
QUERY_SECONDS = 20.0
MAX_MODELS = 300
MAX_GROUPS = 100
MAX_CURRENCIES = 20
ANOMALY = 3.5
RETRY_SECONDS = 60

FORMULA = (
    "(input − cached − written) × input price + cached × cached price + written × cache-write price + output × output "
    "price, per million tokens; at the batch price for rows marked as batch; at the long-prompt price where a request "
    "reaches it"
)


def open_usage(attachment: Attachment) -> "Usage":
    """The usage data in a file. AgentError `no_usage_data`, in words for the user, where there is none."""
    with closing(attachment.open()) as binary:
        head = binary.read(HEAD)
        recognised = recognise(head, attachment.name)
        if not recognised.usage:
            raise AgentError(recognised.words, code="no_usage_data")
        return Usage(Joined(head, binary), attachment.name, recognised)


class UsageFiles:
    """The usage files of a message: every public method is a tool that takes a file's name. Close it when done.

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
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._attachments)

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
        return {"file": attachment, "usage": found.usage, "words": found.words, "roles": list(roles)}

    def rows_meant(self, attachment: str, text: str) -> Meant:
        """Which feature, user and model of the file a text names, and which months."""
        usage = self._usage(attachment)
        return {"file": attachment, **usage.rows_meant(text)}

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


class Usage:
    """One loaded file. Its methods are safe to call from several threads; they give plain JSON values."""

    def __init__(self, binary: "Joined", name: str, recognised: Recognised) -> None:
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

    @property
    def dimensions(self) -> list[Dimension]:
        """What `spend_by` can tell apart in this file."""
        have: list[Dimension] = []
        names: tuple[Dimension, ...] = ("model", "feature", "user", "status")
        have += [name for name in names if self.recognised.of(name)]  # type: ignore[arg-type]
        return [*have, "day", "month"] if self._first else have

    # Figures

    def usage_summary(self) -> Summary:
        total = self._total("TRUE", [])
        days = (self._last - self._first).days + 1 if self._first and self._last else None
        return {
            "recognised": self.recognised.words,
            "format": self.recognised.format,
            "rows": self._rows,
            "rows_read": total["rows"],
            "rows_left_out": self._rows - total["rows"],
            "problems": self._problems,
            "unknown_models": self._unknown,
            "assumptions": [*self.recognised.assumptions, *self._assumptions],
            "dimensions": list(self.dimensions),
            "first": self._first.isoformat() if self._first else None,
            "last": self._last.isoformat() if self._last else None,
            "days": days,
            "per_month": [{**one, "amount": one["amount"] / days * 365 / 12} for one in _spent(total)] if days else [],
            "total": total,
            "source": self._source({}, total["rows"]),
        }

    def spend_by(self, dimension: Dimension, only: Only | None = None, top: int = 10) -> Breakdown:
        label = self._label(dimension)
        where, values = self._where(only)
        total = self._total(where, values)
        in_order = dimension in ("day", "month")
        order, limit = ("label DESC", 400) if in_order else (_DEAREST, max(1, min(top, MAX_GROUPS)))
        groups, rest, rest_groups = self._split(label, where, values, order, limit)
        usd = total["amounts"]["usd"]
        for group in [*groups, *([rest] if rest else [])]:
            group["share"] = group["amounts"]["usd"] / usd if usd > 0 else None
        if in_order:
            groups.reverse()
        return {
            "dimension": dimension,
            "groups": groups,
            "rest": rest,
            "rest_groups": rest_groups,
            "total": total,
            "charts": _breakdown_charts(dimension, groups),
            "source": self._source(only or {}, total["rows"], where, values),
        }

    def rows_meant(self, text: str) -> Mentions:
        names: dict[str, list[str]] = {}
        for key, column in (("feature", "feature"), ("user", "user_label"), ("model", "model")):
            rows = self._ask(
                f"SELECT {column} FROM usage WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5000"
            )
            names[key] = [name for (name,) in rows]
        return mentions(text, names, self._first, self._last)

    def spend_trend(self, only: Only | None = None) -> Trend:
        where, values = self._where(only)
        currency = (only or {}).get("currency", "USD")
        spend = "usd" if currency == "USD" else "cost"
        rows = self._ask(
            f"SELECT day, sum({spend}), count(*) FROM usage WHERE day IS NOT NULL AND {where} GROUP BY day", values
        )
        spent = {day: float(usd or 0) for day, usd, _ in rows}
        days = _calendar(spent)
        series = [spent.get(day, 0.0) for day in days]
        # The first and the last day may be incomplete, so they do not say where spend is heading.
        whole = series[1:-1] if len(series) >= 9 else series
        slope = _slope(whole)
        level = statistics.fmean(whole) if whole else 0.0
        last, before = series[-8:-1], series[-15:-8]
        two_weeks = len(series) >= 16
        return {
            "days": len(days),
            "slope_usd_per_day": slope,
            "change_per_30_days": slope * 30 / level if slope is not None and level > 0 else None,
            "last_7_days_usd": sum(last) if two_weeks else None,
            "days_before_usd": sum(before) if two_weeks else None,
            "trend_method": "Theil–Sen: the median of the slopes between all pairs of days (the latest 366), days "
            "without rows as zero, the first and last day left out of nine or more",
            "anomalies": _anomalies(days, series),
            "anomaly_method": f"a day more than {ANOMALY:g} robust standard deviations (1.4826 × the median absolute "
            "deviation) from the median of the days; needs 7 days",
            "charts": [_chart("line", "Spend a day", [str(day) for day in days], {"Spend": series}, currency)]
            if days
            else [],
            "source": self._source(only or {}, sum(count for *_, count in rows), where, values),
        }

    def paid_for_nothing(self, only: Only | None = None) -> Waste:
        where, values = self._where(only)
        counted = self._ask(f"SELECT count(*) FROM usage WHERE {where}", values)[0][0]
        methods: list[str] = []
        errors = None
        by_status: list[Group] = []
        unclear: list[str] = []
        if self.has("status"):
            names = " + ".join(column.name for column in self.recognised.of("status"))
            methods.append(f"Errors: rows whose {names} is an error (a word for failure, or an HTTP code from 400 on).")
            errors = self._total(f"failed AND {where}", values)
            by_status, _, _ = self._split(self._label("status"), where, values, _DEAREST, 10)
            found = self._ask(
                f"SELECT status, count(*) FROM usage WHERE failed IS NULL AND status IS NOT NULL AND {where} "
                "GROUP BY status ORDER BY count(*) DESC, status LIMIT 5",
                values,
            )
            unclear = [shown(status) for status, _ in found]
        retries = self._retries(where, values, methods)
        return {
            "error_rows": errors["rows"] if errors else None,
            "error_share": errors["rows"] / counted if errors and counted else None,
            "errors": errors["amounts"] if errors else None,
            "by_status": by_status,
            "retry_rows": retries["rows"] if retries else None,
            "retries": retries["amounts"] if retries else None,
            "unclear_statuses": unclear,
            "methods": methods,
            "source": self._source(only or {}, counted, where, values),
        }

    def _retries(self, where: str, values: list[Any], methods: list[str]) -> Group | None:
        if self.has("retry"):
            name = self.recognised.of("retry")[0].name
            methods.append(f"Retries: rows whose {name} says that the request was tried again.")
            return self._total(f"retried AND {where}", values)
        if not (self.recognised.per_request and self.has("status") and self._first):
            methods.append("Retries: the file does not tell them apart.")
            return None
        methods.append(
            f"Retries: rows that directly follow a failed one of the same model, user, feature and input tokens within "
            f"{RETRY_SECONDS} s."
        )
        before = "OVER (PARTITION BY model, user_label, feature, input ORDER BY moment, line)"
        table = (
            f"(SELECT *, lag(failed) {before} AND moment - lag(moment) {before} <= INTERVAL {RETRY_SECONDS} SECOND "
            "AS follows FROM usage WHERE moment IS NOT NULL)"
        )
        return self._total(f"follows AND {where}", values, table)

    def latency_percentiles(self, dimension: Dimension = "model", only: Only | None = None) -> Latency:
        if not (self.has("latency_ms") or self.has("ended")):
            raise AgentError(f"{self.name} has no column for latency.", code="missing_column")
        label = self._label(dimension)
        where, values = self._where(only)
        select = (
            "count(*), quantile_cont(latency, [0.5, 0.9, 0.99]), avg(latency), sum(output) / nullif(sum(latency), 0) * "
            f"1000 FROM usage WHERE latency IS NOT NULL AND {where}"
        )
        whole = [_times("all", row) for row in self._ask(f"SELECT {select}", values) if row[0]]
        if not whole:
            raise AgentError("No row has a latency.", code="missing_column")
        rows = self._ask(
            f"SELECT {label} AS label, {select} GROUP BY label ORDER BY count(*) DESC, label LIMIT 20", values
        )
        groups = [_times(row[0], row[1:]) for row in rows]
        labels = [times["label"] for times in groups]
        series = {
            "p50": [times["p50"] for times in groups],
            "p90": [times["p90"] for times in groups],
            "p99": [times["p99"] for times in groups],
        }
        how = "the file's" if self.has("latency_ms") else "end less start of each request"
        return {
            "all": whole[0],
            "groups": groups,
            "method": f"Latency: {how}; percentiles are interpolated between the two nearest rows.",
            "charts": [_chart("bar", f"Latency by {dimension}", labels, series, "ms")],
            "source": self._source(only or {}, whole[0]["rows"], where, values),
        }

    # Queries

    def _label(self, dimension: str) -> str:
        labels = {
            "model": "coalesce(model, '(none)')",
            "feature": "coalesce(feature, '(none)')",
            "user": "coalesce(user_label, '(none)')",
            "status": "coalesce(status, '(none)')",
            "day": "coalesce(strftime(moment, '%Y-%m-%d'), '(no time)')",
            "month": "coalesce(strftime(moment, '%Y-%m'), '(no time)')",
        }
        if dimension not in labels:
            raise AgentError(f"“{dimension}” is none of: {', '.join(labels)}.", code="unknown_dimension")
        if dimension not in self.dimensions:
            raise AgentError(f"{self.name} has no column for {dimension}.", code="missing_column")
        return labels[dimension]

    def _where(self, only: Only | None) -> tuple[str, list[Any]]:
        """A condition with its values. A model may be named as in the file or as in the price list."""
        conditions: list[str] = ["TRUE"]
        values: list[Any] = []
        texts = {
            "model": "(lower(model) = lower(?) OR priced_as = ?)",
            "feature": "lower(feature) = lower(?)",
            "user": "lower(user_label) = lower(?)",
            "currency": "coalesce(currency, 'USD') = ?",
        }
        for key, value in (only or {}).items():
            if key in texts and isinstance(value, str):
                conditions.append(texts[key])
                values += [value] * texts[key].count("?")
            elif key in ("since", "until") and isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.A):
                try:
                    values.append(date.fromisoformat(value))
                except ValueError:
                    raise AgentError(f"{value} is no day.", code="bad_filter") from None
                conditions.append("day >= ?" if key == "since" else "day <= ?")
            else:
                raise AgentError(f"I cannot choose rows by {key} {value!r}.", code="bad_filter")
        return " AND ".join(conditions), values

    def _total(self, where: str, values: list[Any], table: str = "usage") -> Group:
        [row] = self._ask(f"SELECT {_SUMS} FROM {table} WHERE {where}", values)
        paid = self._ask(f"SELECT NULL, {_PAID} FROM {table} WHERE cost IS NOT NULL AND {where} {_BY_CURRENCY}", values)
        return self._group("all", row, _by_label(paid).get(None, []))

    def _split(
        self, label: str, where: str, values: list[Any], order: str, limit: int
    ) -> tuple[list[Group], Group | None, int]:
        """The groups that come first in this order, all others as one, and how many those are."""
        first = self._ask(
            f"SELECT {label} AS label, count(*) OVER () FROM usage WHERE {where} GROUP BY label "
            f"ORDER BY {order} LIMIT {limit}",
            values,
        )
        names = [name for name, _ in first]
        others = first[0][1] - len(first) if first else 0
        chosen = f"CASE WHEN list_contains(?::VARCHAR[], {label}) THEN {label} END AS label"
        rows = self._ask(f"SELECT {chosen}, {_SUMS} FROM usage WHERE {where} GROUP BY label", [names, *values])
        paid = _by_label(
            self._ask(
                f"SELECT {chosen}, {_PAID} FROM usage WHERE cost IS NOT NULL AND {where} "
                "GROUP BY label, currency ORDER BY currency",
                [names, *values],
            )
        )
        groups = {
            name: self._group(f"{others} more" if name is None else name, row, paid.get(name, []))
            for name, *row in rows
        }
        return [groups[name] for name in names], groups.get(None), others

    def _group(self, label: str, row: Sequence[Any], paid: list[Paid]) -> Group:
        count, requests, inputs, outputs, cached, written, usd, list_usd, *more = row
        both, both_paid, both_list, unpriced, of_file, of_list, errors = (value or 0 for value in more)
        has_tokens = self.has("input_tokens") or self.has("uncached_tokens")
        countable = self.recognised.per_request or self.has("requests")
        return {
            "label": shown(label),
            "rows": count,
            "requests": int(requests or 0) if countable else None,
            "tokens": {
                "input": int(inputs or 0),
                "output": int(outputs or 0),
                "cached": int(cached or 0),
                "written": int(written or 0),
                "cached_share": cached / inputs if inputs and has_tokens and self.has("cached_tokens") else None,
            },
            "amounts": {
                "usd": float(usd or 0),
                "basis": "mixed" if of_file and of_list else "paid" if of_file else "list" if of_list else "none",
                "paid": paid,
                "list_usd": float(list_usd or 0),
                "compared_rows": both,
                "compared_paid_usd": float(both_paid),
                "compared_list_usd": float(both_list),
                "difference_usd": float(both_paid - both_list),
                "unpriced_rows": unpriced,
            },
            "share": None,
            "error_rows": errors if self.has("status") else None,
        }

    def _source(self, only: Only, rows: int, where: str = "TRUE", values: Sequence[Any] = ()) -> Source:
        found = self._ask(f"SELECT DISTINCT model FROM usage WHERE list_usd IS NOT NULL AND {where}", values)
        models = {model for (model,) in found}
        return {
            "file": self.name,
            "rows": rows,
            "of_rows": self._readable,
            "only": only,
            "prices": [price for price in self._prices if price["named"] in models][:50],
            "formula": FORMULA,
        }

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

    # Loading

    def _load(self, binary: "Joined") -> None:
        self._assumptions: list[str] = []
        self._prices: list[PriceUsed] = []
        self._unknown: list[UnknownModel] = []
        faults = Faults()
        handle, path = tempfile.mkstemp(prefix="usage-")
        try:
            with open(handle, "w", encoding="utf-8", errors="replace", newline="") as table:
                written = spool(cells(binary, self.recognised, faults, self._until), table, faults)
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
        names = {"line": "BIGINT"} | {f"c{index}": "VARCHAR" for index in range(len(columns))}
        for macro in macros(self.recognised.decimal):
            self._db.execute(macro)
        values = Values(self.recognised)
        self._db.execute(
            f"CREATE TABLE typed AS WITH cells AS (SELECT * FROM read_csv(?, columns = {names!r}, "
            "auto_detect = false, header = false, delim = '\x1f', quote = '', escape = '', nullstr = '', "
            "new_line = '\\n')), "
            f"parsed AS (SELECT line, {', '.join(values.parsed())} FROM cells), "
            f"emptied AS (SELECT line, {', '.join(values.emptied())} FROM parsed), "
            f"valued AS (SELECT line, {', '.join(values.valued())} FROM emptied) "
            f"SELECT *, {FAULT} AS fault FROM valued",
            [path],
        )

    def _typing_problems(self) -> Iterator[Problem]:
        for what, left_out, condition in problems():
            [(rows, lines)] = self._db.execute(
                f"SELECT count(*), min(line, {NAMED_LINES}) FROM typed WHERE {condition}"
            ).fetchall()
            if rows:
                yield {"what": what, "rows": rows, "lines": lines, "left_out": left_out}

    def _price(self) -> None:
        """The rows that can be used, each with its cost at list prices."""
        self._db.execute(
            "CREATE TABLE price (named VARCHAR, priced_as VARCHAR, above BIGINT, upto BIGINT, input_price DOUBLE, "
            "output_price DOUBLE, cached_price DOUBLE, written_price DOUBLE, batch_input DOUBLE, batch_output DOUBLE)"
        )
        rows = self._db.execute(
            "SELECT model, count(*), max(size) FROM typed WHERE fault IS NULL AND model IS NOT NULL GROUP BY model "
            "ORDER BY count(*) DESC, model"
        ).fetchall()
        for model, count, longest in rows[:MAX_MODELS]:
            found = _priced(model)
            if not found:
                near = nearest_models(_bare(model)) if len(self._unknown) < 20 else []
                self._unknown.append({"model": shown(model), "rows": count, "nearest": near})
                continue
            for above, upto, price in _steps(found, int(longest or 0)):
                self._add_price(model, above, upto, price)
        if len(rows) > MAX_MODELS:
            left = sum(count for _, count, _ in rows[MAX_MODELS:])
            words = f"{len(rows) - MAX_MODELS} further models"
            self._unknown.append({"model": words, "rows": left, "nearest": []})
        self._db.execute(
            f"CREATE TABLE usage AS SELECT t.* EXCLUDE (fault), p.priced_as, {_LIST_USD} AS list_usd, "
            "CASE WHEN cost IS NULL THEN list_usd WHEN currency = 'USD' THEN cost END AS usd "
            "FROM typed t LEFT JOIN price p ON p.named = t.model AND t.size > p.above AND t.size <= p.upto "
            "WHERE fault IS NULL"
        )
        self._db.execute("DROP TABLE typed")
        [(currencies,)] = self._db.execute("SELECT count(DISTINCT currency) FROM usage").fetchall()
        if currencies > MAX_CURRENCIES:
            raise AgentError(
                f"{self.name} names {currencies} currencies, so its costs cannot be right.", "no_usage_data"
            )
        self._assume()

    def _add_price(self, model: str, above: int, upto: int, price: Price) -> None:
        cached = price["input"] if price["cache_read"] is None else price["cache_read"]
        written = price["input"] if price["cache_write"] is None else price["cache_write"]
        self._db.execute(
            "INSERT INTO price VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                model,
                price["model"],
                above,
                upto,
                price["input"],
                price["output"],
                cached,
                written,
                price["input"] if price["batch_input"] is None else price["batch_input"],
                price["output"] if price["batch_output"] is None else price["batch_output"],
            ],
        )
        self._prices.append(
            {
                "named": model,
                "model": price["model"],
                "above": max(above, 0),
                "input": price["input"],
                "output": price["output"],
                "cached": cached,
                "written": written,
                "source": SOURCE,
                "as_of": price["as_of"],
                "url": price["url"],
            }
        )

    def _assume(self) -> None:
        if self._db.execute("SELECT 1 FROM usage WHERE list_usd IS NOT NULL LIMIT 1").fetchall():
            self._assumptions.append(
                f"List prices of {self._prices[0]['as_of']} from {SOURCE}, for all days; a contract or a reseller "
                "charges otherwise."
            )
        if any("1h" in column.path[-1] for column in self.recognised.of("cache_write_tokens")):
            self._assumptions.append("Cache writes of one hour are priced like those of five minutes.")
        if not self.recognised.per_request and any(price["above"] for price in self._prices):
            self._assumptions.append("Long-prompt prices go by the average request of a row.")


# What a row costs and adds up to

_SUMS = (
    "count(*), sum(requests), sum(input), sum(output), sum(cached), sum(written), sum(usd), sum(list_usd), "
    "count_if(currency = 'USD' AND list_usd IS NOT NULL), "
    "sum(cost) FILTER (currency = 'USD' AND list_usd IS NOT NULL), "
    "sum(list_usd) FILTER (currency = 'USD' AND cost IS NOT NULL), "
    "count_if(cost IS NULL AND list_usd IS NULL), count_if(cost IS NOT NULL), "
    "count_if(cost IS NULL AND list_usd IS NOT NULL), count_if(failed)"
)
_PAID = "currency, sum(cost), count(*)"
_BY_CURRENCY = "GROUP BY currency ORDER BY currency"
_DEAREST = "sum(usd) DESC NULLS LAST, sum(cost) DESC NULLS LAST, count(*) DESC, label"
_LIST_USD = (
    "CASE WHEN has_tokens THEN "
    "((input - cached - written) * CASE WHEN batch THEN batch_input ELSE input_price END "
    "+ cached * CASE WHEN batch THEN least(batch_input, cached_price) ELSE cached_price END "
    "+ written * CASE WHEN batch THEN written_price * batch_input / input_price ELSE written_price END "
    "+ output * CASE WHEN batch THEN batch_output ELSE output_price END) / 1e6 END"
)


def _priced(model: str) -> str | None:
    """The id in the price list; of a name with a host or a release in it, that of the model itself."""
    for name in (model, _bare(model), _RELEASE.sub("", _bare(model))):
        found = find_model(name) if name else None
        if found:
            return found
    return None


def _bare(model: str) -> str:
    return _VENDOR.sub("", model.rpartition("/")[2].strip())


_VENDOR = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|openai|google|meta|mistral|cohere|deepseek)\.", re.I)
_RELEASE = re.compile(r"(?:-v\d+(?::\d+)?|@\d+|[\s-]\d{4}-?\d\d-?\d\d(?:-v\d+(?::\d+)?)?|:[a-z]+)$", re.I)
_NO_LIMIT = 1 << 62


def _steps(model: str, longest: int) -> Iterator[tuple[int, int, Price]]:
    """The model's prices by the length of a prompt up to `longest`: for more than the first up to the second number."""
    above, start = -1, 0
    while True:
        price = price_lookup(model, start)
        if longest <= start or _rates(price_lookup(model, longest)) == _rates(price):
            yield above, _NO_LIMIT, price
            return
        same, other = start, longest
        while other - same > 1:
            middle = (same + other) // 2
            if _rates(price_lookup(model, middle)) == _rates(price):
                same = middle
            else:
                other = middle
        yield above, same, price
        above, start = same, other


def _rates(price: Price) -> tuple[float | None, ...]:
    return price["input"], price["output"], price["cache_read"], price["cache_write"]


# From figures to results


def shown(text: str) -> str:
    """A name from the file on one line, without control characters; of an API key only the end."""
    text = _SECRET.sub(lambda match: f"{match[1]}…{match[0][-4:]}", text)
    return re.sub(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", text).strip()[:MAX_CELL]


_SECRET = re.compile(r"\b(sk|pk|rk)-[\w-]{16,}")


def _by_label(rows: list[tuple[Any, ...]]) -> dict[str | None, list[Paid]]:
    found: dict[str | None, list[Paid]] = {}
    for label, currency, amount, count in rows:
        found.setdefault(label, []).append({"currency": currency, "amount": float(amount), "rows": count})
    return found


def _spent(group: Group) -> list[Paid]:
    """What was spent, by currency."""
    amounts = group["amounts"]
    others = [one for one in amounts["paid"] if one["currency"] != "USD"]
    rows = group["rows"] - amounts["unpriced_rows"] - sum(one["rows"] for one in others)
    return [{"currency": "USD", "amount": amounts["usd"], "rows": rows}, *others] if rows else others


def _times(label: str, row: Sequence[Any]) -> Times:
    count, (p50, p90, p99), mean, speed = row
    return {
        "label": shown(label),
        "rows": count,
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "mean": mean,
        "output_tokens_per_second": float(speed) if speed else None,
    }


def _chart(
    kind: Literal["bar", "line"], title: str, labels: list[str], series: dict[str, list[float]], unit: str
) -> dict[str, ChartData]:
    named: list[Series] = [{"name": name, "values": values} for name, values in series.items()]
    return {"chart": {"type": kind, "title": title, "labels": labels, "series": named, "unit": unit}}


def _breakdown_charts(dimension: Dimension, groups: list[Group]) -> list[dict[str, ChartData]]:
    """Spend in dollars, then each other currency by itself, and the mix of tokens by model."""
    kind: Literal["bar", "line"] = "line" if dimension in ("day", "month") else "bar"
    labels = [group["label"] for group in groups]
    charts = []
    if any(group["amounts"]["usd"] for group in groups):
        series = {"Spend": [group["amounts"]["usd"] for group in groups]}
        if any(group["amounts"]["compared_rows"] for group in groups):
            series["At list prices"] = [group["amounts"]["list_usd"] for group in groups]
        charts.append(_chart(kind, f"Spend by {dimension}", labels, series, "USD"))
    currencies = sorted({paid["currency"] for group in groups for paid in group["amounts"]["paid"]} - {"USD"})
    for currency in currencies[:3]:
        values = [
            sum(paid["amount"] for paid in group["amounts"]["paid"] if paid["currency"] == currency) for group in groups
        ]
        charts.append(_chart(kind, f"Spend by {dimension}", labels, {"Spend": values}, currency))
    tokens = [group["tokens"] for group in groups]
    if dimension == "model" and any(one["input"] or one["output"] for one in tokens):
        mix = {
            "Input": [float(one["input"] - one["cached"]) for one in tokens],
            "Cached input": [float(one["cached"]) for one in tokens],
            "Output": [float(one["output"]) for one in tokens],
        }
        charts.append(_chart("bar", "Tokens by model", labels, mix, "tokens"))
    return charts


def _calendar(spent: dict[date, float]) -> list[date]:
    """All days from the first to the last, at most the latest 366."""
    if not spent:
        return []
    first, last = max(min(spent), max(spent) - timedelta(days=365)), max(spent)
    return [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]


def _slope(values: list[float]) -> float | None:
    if len(values) < 3:
        return None
    pairs = ((start, end) for start in range(len(values)) for end in range(start + 1, len(values)))
    return statistics.median((values[end] - values[start]) / (end - start) for start, end in pairs)


def _anomalies(days: list[date], values: list[float]) -> list[Anomaly]:
    if len(values) < 7:
        return []
    usual = statistics.median(values)
    spread = 1.4826 * statistics.median(abs(value - usual) for value in values)
    if spread <= 0:
        return []
    found: list[Anomaly] = [
        {"day": day.isoformat(), "usd": value, "usual_usd": usual, "score": (value - usual) / spread}
        for day, value in zip(days, values, strict=True)
        if abs(value - usual) > ANOMALY * spread
    ]
    return sorted(found, key=lambda one: -abs(one["score"]))[:20]
