"""Questions to the rows of usage files: the typed question, the rows that it chooses, and what its figure uses."""

from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, Literal

from agents.sdk import AgentError
from agents.usage.loaded import DIMENSIONS
from chat.translation import t

Metric = Literal[
    "", "cost", "requests", "tokens", "input_tokens", "output_tokens", "cached", "batched", "errors", "latency",
    "unit_cost", "users", "saving", "change", "trend", "forecast", "budget",
]  # fmt: skip
Dimension = Literal[
    "", "model", "provider", "team", "project", "user", "api_key", "feature", "environment", "status", "tier", "sku",
    "hour", "weekday", "day", "week", "month",
]  # fmt: skip
Statistic = Literal["", "p50", "p90", "p95", "p99", "mean"]

# Dimensions whose names choose rows: a field of the query each, with an s.
NAMED = ("model", "user", "feature", "team", "project", "api_key", "environment")


TIMES: dict[str, str] = {
    "hour": "strftime(moment, '%H:00')",
    "weekday": "strftime(moment, '%u %A')",
    "day": "strftime(day, '%Y-%m-%d')",
    "week": "strftime(date_trunc('week', day), '%Y-%m-%d')",
    "month": "strftime(day, '%Y-%m')",
}
STATISTICS = {
    "p50": "median(latency)",
    "p90": "quantile_cont(latency, 0.9)",
    "p95": "quantile_cont(latency, 0.95)",
    "p99": "quantile_cont(latency, 0.99)",
    "mean": "avg(latency)",
}


@dataclass(frozen=True, slots=True)
class Query:
    """A question to the rows of the attached files. Empty: not said.

    `models` and the other names choose rows, as the file writes them; several are separated by `|`. `since` and
    `until`: days, inclusive. `statistic`: of the latency. `on_model`: the same tokens at this model's list prices.
    """

    metric: Metric = ""
    by: Dimension = ""
    also: Metric = ""
    models: str = ""
    users: str = ""
    features: str = ""
    teams: str = ""
    projects: str = ""
    api_keys: str = ""
    environments: str = ""
    since: str = ""
    until: str = ""
    top: int = 0
    order: Literal["", "most", "least"] = ""
    statistic: Statistic = ""
    on_model: str = ""
    saving: float | None = None
    budget: float | None = None


# The fields that each figure uses, besides those that choose rows. Any other would change nothing.
_GROUPED = {"by", "top", "order"}
_USED: dict[str, set[str]] = {
    "cost": {*_GROUPED, "on_model"},
    "latency": {*_GROUPED, "statistic"},
    "saving": {"saving", "on_model"},
    "change": {"by"},
    "trend": {"by", "top"},
    "forecast": set(),
    "budget": {"budget"},
}
_PERIODS = ("day", "week", "month")


def idle(query: Query) -> dict[str, Any]:
    """Return the fields that the query holds and that would change nothing in its figures."""
    used = {"metric", "also", "since", "until", *(f"{name}s" for name in NAMED)}
    used |= _USED.get(query.metric or "cost", _GROUPED) | (_USED.get(query.also, set()) - _GROUPED)
    held = {one.name: getattr(query, one.name) for one in fields(query)}
    found = {name: value for name, value in held.items() if value not in ("", 0, None) and name not in used}
    if query.metric == "trend" and query.by and query.by not in _PERIODS:
        found["by"] = query.by
    if query.also == (query.metric or "cost"):
        found["also"] = query.also
    if query.on_model and query.saving is not None:
        found["saving"] = query.saving
    return found


def lacking(query: Query) -> tuple[str, ...]:
    """Return the fields that the figures of the query need and that it does not hold."""
    missing = []
    if (query.top or query.order) and not query.by and "by" in _USED.get(query.metric or "cost", _GROUPED):
        missing.append("by")
    if "budget" in (query.metric, query.also) and query.budget is None:
        missing.append("budget")
    return tuple(missing)


def chosen(query: Query) -> tuple[str, list[Any]]:
    """Return the condition that chooses the rows, with its values."""
    conditions: list[str] = ["TRUE"]
    values: list[Any] = []
    for dimension in NAMED:
        names, column = getattr(query, f"{dimension}s"), DIMENSIONS[dimension]
        wanted = [name.strip().lower() for name in names.split("|") if name.strip()]
        if wanted:
            extra = " OR list_contains(?::VARCHAR[], priced_as)" if column == "model" else ""
            conditions.append(f"(list_contains(?::VARCHAR[], lower({column})){extra})")
            values += [wanted, wanted] if extra else [wanted]
    for day, sign in ((query.since, ">="), (query.until, "<=")):
        if day:
            try:
                values.append(date.fromisoformat(day))
            except ValueError:
                raise AgentError(t("{0} is no day.", day[:40]), code="bad_filter") from None
            conditions.append(f"day {sign} ?")
    return " AND ".join(conditions), values


def calendar_period(today: date, period: str, away: int) -> tuple[date, date]:
    """Return the first and the last day of the week, month, quarter or year that is so many from the day's."""
    if period == "week":
        first = today - timedelta(days=today.weekday() - 7 * away)
        return first, first + timedelta(days=6)
    months = {"month": 1, "quarter": 3, "year": 12}[period]
    start = (today.year * 12 + today.month - 1) // months * months + away * months
    first, after = (date(month // 12, month % 12 + 1, 1) for month in (start, start + months))
    return first, after - timedelta(days=1)
