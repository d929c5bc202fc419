"""Usage data: answers questions about a whole file, as `chat.usage` recognised it, with figures.

Every figure says which rows it is of, which prices it used and how it was worked out.
"""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

import math
import statistics
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from typing import Any

from agents.advisor.answers import (
    Anomaly,
    Breakdown,
    Dimension,
    Duplicates,
    Group,
    Latency,
    LatencyGoal,
    Load,
    Meant,
    Only,
    Paid,
    Peak,
    Repeats,
    Summary,
    Times,
    Trend,
    Waste,
    Within,
)
from agents.advisor.charts import breakdown_charts, chart
from agents.advisor.loaded import shown
from agents.advisor.mentions import conversation
from agents.advisor.queries import DEAREST, Queries
from agents.advisor.rows import NAMED_LINES, Joined
from agents.agent import AgentError, Attachment
from chat.usage import recognise
from chat.usage.text import HEAD

MAX_GROUPS = 100
ANOMALY = 3.5
RETRY_SECONDS = 60
REPEAT_HOURS = 24


def open_usage(attachment: Attachment) -> "Usage":
    """The usage data in a file. AgentError `no_usage_data`, in words for the user, where there is none."""
    with closing(attachment.open()) as binary:
        head = binary.read(HEAD)
        recognised = recognise(head, attachment.name)
        if not recognised.usage:
            raise AgentError(recognised.words, code="no_usage_data")
        return Usage(Joined(head, binary), attachment.name, recognised)


class Usage(Queries):
    """The questions that one loaded file answers, in plain JSON values."""

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
            "duplicates": self._duplicates(),
            "unknown_models": self._unknown,
            "assumptions": [*self.recognised.assumptions, *self._assumptions],
            "dimensions": list(self.dimensions),
            "first": self._first.isoformat() if self._first else None,
            "last": self._last.isoformat() if self._last else None,
            "days": days,
            "single_requests": self.recognised.per_request,
            "per_month": [{**one, "amount": one["amount"] / days * 365 / 12} for one in _spent(total)] if days else [],
            "total": total,
            "source": self._source({}, total["rows"]),
        }

    def _duplicates(self) -> Duplicates:
        table = "(SELECT *, row_number() OVER (PARTITION BY print ORDER BY line) > 1 AS again FROM usage)"
        total = self._total("again", [], table)
        lines = self._ask(f"SELECT line FROM {table} WHERE again ORDER BY line LIMIT {NAMED_LINES}")
        return {"rows": total["rows"], "lines": [line for (line,) in lines], "amounts": total["amounts"]}

    def spend_by(self, dimension: Dimension, only: Only | None = None, top: int = 10) -> Breakdown:
        label = self._label(dimension)
        where, values = self._where(only)
        total = self._total(where, values)
        in_order = dimension in ("day", "month")
        order, limit = ("label DESC", 400) if in_order else (DEAREST, max(1, min(top, MAX_GROUPS)))
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
            "charts": breakdown_charts(dimension, groups),
            "source": self._source(only or {}, total["rows"], where, values),
        }

    def rows_meant(self, text: str, earlier: Sequence[str] = ()) -> Meant:
        names: dict[str, list[str]] = {}
        for key, column in (("feature", "feature"), ("user", "user_label"), ("model", "model"), ("", "priced_as")):
            rows = self._ask(
                f"SELECT {column} FROM usage WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5000"
            )
            names.setdefault(key or "model", []).extend(name for (name,) in rows)
        # A file may say gpt-4-0613, and who asks gpt-4.
        names["model"] = list(dict.fromkeys(names["model"]))
        found = conversation(text, earlier, names, self._first, self._last)
        return {"file": self.name, "features": [shown(name) for name in names["feature"][:8]], **found}

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
            "charts": [chart("line", "Spend a day", [str(day) for day in days], {"Spend": series}, currency)]
            if days
            else [],
            "source": self._source(only or {}, sum(count for *_, count in rows), where, values),
        }

    def paid_for_nothing(self, only: Only | None = None) -> Waste:
        where, values = self._where(only)
        counted = self._ask(f"SELECT count(*) FROM usage WHERE {where}", values)[0][0]
        methods: list[str] = []
        errors = None
        by: dict[str, list[Group]] = {}
        unclear: list[str] = []
        if self.has("status"):
            names = " + ".join(column.name for column in self.recognised.of("status"))
            methods.append(f"Errors: rows whose {names} is an error (a word for failure, or an HTTP code from 400 on).")
            errors = self._total(f"failed AND {where}", values)
            for dimension in ("status", "model", "feature"):
                if self.has(dimension):
                    by[dimension], _, _ = self._split(
                        self._label(dimension), f"failed AND {where}", values, DEAREST, 10
                    )
            found = self._ask(
                f"SELECT status, count(*) FROM usage WHERE failed IS NULL AND status IS NOT NULL AND {where} "
                "GROUP BY status ORDER BY count(*) DESC, status LIMIT 5",
                values,
            )
            unclear = [shown(status) for status, _ in found]
        retries = self._retries(where, values, methods)
        return {
            "error_rows": errors["rows"] if errors else None,
            "error_share": self._share(errors, where, values) if errors else None,
            "errors": errors["amounts"] if errors else None,
            "by": by,
            "retry_rows": retries["rows"] if retries else None,
            "retries": retries["amounts"] if retries else None,
            "unclear_statuses": unclear,
            "methods": methods,
            "source": self._source(only or {}, counted, where, values),
        }

    def _share(self, errors: Group, where: str, values: list[Any]) -> float | None:
        """The part of the requests that failed; rows that sum up nobody knows how many say nothing of it."""
        requests = self._total(where, values)["requests"]
        return errors["requests"] / requests if requests and errors["requests"] is not None else None

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
            "charts": [chart("bar", f"Latency by {dimension}", labels, series, "ms")],
            "source": self._source(only or {}, whole[0]["rows"], where, values),
        }

    def latency_goal(self, goal_ms: float, only: Only | None = None) -> LatencyGoal:
        where, values = self._where(only)
        select = (
            "count(*), avg((latency <= ?)::DOUBLE), median(latency), avg(output) FROM usage "
            f"WHERE latency IS NOT NULL AND {where}"
        )
        whole = self._ask(f"SELECT {select}", [goal_ms, *values])[0]
        if not whole[0]:
            raise AgentError("No row has a latency.", code="missing_column")
        parts: dict[str, list[Within]] = {"model": [], "feature": []}
        for dimension, found in parts.items():
            if self.has(dimension):  # type: ignore[arg-type]
                rows = self._ask(
                    f"SELECT {self._label(dimension)} AS label, {select} GROUP BY label "
                    "ORDER BY count(*) DESC, label LIMIT 20",
                    [goal_ms, *values],
                )
                found += [self._within(label, row) for label, *row in rows]
        slope, before, fit, fitted = self._ask(
            "SELECT regr_slope(latency, output), regr_intercept(latency, output), regr_r2(latency, output), count(*) "
            f"FROM usage WHERE latency IS NOT NULL AND output > 0 AND failed IS NOT TRUE AND {where}",
            values,
        )[0]
        sound = all(one is not None and math.isfinite(one) for one in (slope, before, fit)) and slope > 0
        return {
            "goal_ms": goal_ms,
            "all": self._within("all", whole),
            "models": parts["model"],
            "features": parts["feature"],
            "fitted_rows": fitted,
            "ms_per_output_token": slope if sound else None,
            "ms_before": before if sound else None,
            "fit": fit if sound else None,
            "output_tokens_at_goal": (goal_ms - before) / slope if sound and goal_ms > before else None,
            "method": "least squares of latency over output tokens, of rows that did not fail; R² is the part of the "
            "differences between requests that the length of the answer explains",
            "source": self._source(only or {}, whole[0], where, values),
        }

    def _within(self, label: str, row: Sequence[Any]) -> Within:
        count, share, median, output = row
        has_output = self.has("output_tokens")
        return {
            "label": shown(label),
            "rows": count,
            "share": share,
            "p50": median,
            "mean_output": output if has_output else None,
        }

    def load_peaks(self, only: Only | None = None) -> Load:
        where, values = self._where(only)
        if not self.recognised.per_request or not self._has_clock(where, values):
            raise AgentError(f"{self.name} has no times of day for single requests, so no peaks.", "missing_column")
        minutes = (
            f"(SELECT {'{}'} AS label, date_trunc('minute', moment) AS minute, sum(requests) AS requests, "
            "sum(input + output) AS tokens, sum(latency) / 60000 AS flying, count_if(throttled) AS throttled "
            f"FROM usage WHERE moment IS NOT NULL AND {where} GROUP BY ALL)"
        )
        sums = "max(requests), max(tokens), sum(throttled)"
        busiest, *row, flying, requests, tokens = self._ask(
            f"SELECT arg_max(minute, (requests, -epoch(minute))), {sums}, max(flying), sum(requests), sum(tokens) "
            f"FROM {minutes.format(repr('all'))}",
            values,
        )[0]
        models = []
        if self.has("model"):
            models = self._ask(
                f"SELECT label, {sums} FROM {minutes.format(self._label('model'))} GROUP BY label "
                "ORDER BY sum(requests) DESC, label LIMIT 20",
                values,
            )
        counted, first, last = self._ask(
            f"SELECT count(*), min(moment), max(moment) FROM usage WHERE moment IS NOT NULL AND {where}", values
        )[0]
        span = max(1.0, (last - first).total_seconds() / 60)
        timed = self.has("latency_ms") or self.has("ended")
        return {
            "minutes": int(span),
            "mean_requests_per_minute": requests / span,
            "mean_tokens_per_minute": tokens / span,
            "busiest": busiest.strftime("%Y-%m-%d %H:%M"),
            "all": self._peak("all", row),
            "models": [self._peak(label, one) for label, *one in models],
            "in_flight": flying if timed else None,
            "method": "rows are counted by the minute that they begin in; at work at a time: the latencies of a "
            "minute's rows over its 60 seconds",
            "source": self._source(only or {}, counted, where, values),
        }

    def _has_clock(self, where: str, values: list[Any]) -> bool:
        clock = "count(*) > 0 AND count(DISTINCT CAST(moment AS TIME)) > 1"
        return bool(self._ask(f"SELECT {clock} FROM usage WHERE moment IS NOT NULL AND {where}", values)[0][0])

    def _peak(self, label: str, row: Sequence[Any]) -> Peak:
        requests, tokens, throttled = row
        return {
            "label": shown(label),
            "requests_per_minute": float(requests),
            "tokens_per_minute": float(tokens),
            "throttled_rows": int(throttled or 0) if self.has("status") else None,
        }

    def repeated_requests(self, only: Only | None = None) -> Repeats:
        where, values = self._where(only)
        tokens = self.has("input_tokens") or self.has("uncached_tokens")
        if not self.recognised.per_request or not tokens or not self._first:
            raise AgentError(f"{self.name} has no single requests with times and tokens.", "missing_column")
        table = (
            f"(SELECT *, moment - lag(moment) OVER (PARTITION BY model, feature, input ORDER BY moment, line) "
            f"<= INTERVAL {REPEAT_HOURS} HOUR AS again FROM usage WHERE moment IS NOT NULL AND input > 0 AND {where})"
        )
        again = self._total("again", values, table)
        counted = self._ask(f"SELECT count(*) FROM {table}", values)[0][0]
        return {
            "rows": again["rows"],
            "of_rows": counted,
            "share": again["rows"] / counted if counted else 0.0,
            "amounts": again["amounts"],
            "method": "rows with the same model, feature and number of input tokens as one in the "
            f"{REPEAT_HOURS} hours before: equal requests have equal numbers, but so have many that differ, so the "
            "true part of exact repeats is smaller",
            "source": self._source(only or {}, counted, where, values),
        }


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
        # The first and the last day may be incomplete.
        if abs(value - usual) > ANOMALY * spread and (value > usual or day not in (days[0], days[-1]))
    ]
    return sorted(found, key=lambda one: -abs(one["score"]))[:20]
