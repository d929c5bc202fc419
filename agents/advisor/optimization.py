"""Optimization: what would save, with the evidence of the rows, or as "if" where there is none. Nothing is assumed."""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Literal, TypedDict

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import Case, Workload, parts_of
from agents.sdk import AgentError, Turn
from agents.usage.asked import NAMED, Query
from agents.usage.figures import escaped, format_value
from agents.usage.files import UsageFiles
from agents.usage.prices import Price, cheaper_candidates, common_models, price_lookup

STEP = 10  # percent: what an "if" is said for
MAX_TARGETS = 2
Lever = Literal["failures", "cache", "batch", "model", "output"]


class Measure(TypedDict):
    """One way to save. `proven`: the rows show it; else `text` says "if". `low` and `high`: its saving, in `unit`.

    `measure`: how to find out how much of it is true. `risk` in words.
    """

    lever: Lever
    proven: bool
    text: str
    low: float
    high: float
    unit: str
    rows: int
    formula: str
    measure: str
    risk: str


def bill_measures(spend: float, currency: str, models: list[str], period: str) -> list[Measure]:
    """Return what each 10 % of a bill would save if it were batch, or on another model. The mix of tokens is not known,
    so a range is given that holds for every mix."""
    found: list[Measure] = []
    part = spend * STEP / 100
    for price in map(price_lookup, models[:1]):
        low, high = _batch_parts(price)
        if high > 0:
            say = f"If {STEP} % of it could be sent as batch: {_span(part * low, part * high, currency)}{period}."
            found.append(_measure("batch", say, part * low, part * high, currency, "part × batch discount"))
        for target in _targets(price):
            low, high = _move_parts(price, target)
            say = (
                f"If {STEP} % of it could run on {target['model']}: {_span(part * low, part * high, currency)}{period}."
            )
            found.append(_measure("model", say, part * low, part * high, currency, "part × (1 − ratio of prices)"))
        if price["cache_read"] is not None:
            say = (
                f"If input is repeated: what is read from the cache costs "
                f"{format_value((1 - price['cache_read'] / price['input']) * 100, '%')} less."
            )
            found.append(_measure("cache", say, 0, 0, currency, "1 − cached price / input price"))
    return found


def general_measures() -> list[Measure]:
    """Return what each lever saves of $1,000 that it applies to, by today's price list, and what it depends on."""
    prices = [price_lookup(name) for vendor in ("openai", "anthropic", "google") for name in common_models(vendor)]
    cached = [1 - price["cache_read"] / price["input"] for price in prices if price["cache_read"] is not None]
    batch = [_batch_parts(price)[1] for price in prices if price["batch_input"] is not None]
    made = []
    for lever, parts, what in (
        ("cache", cached, "input that is read from the cache"),
        ("batch", batch, "requests that are sent as batch"),
    ):
        if parts:
            low, high = min(parts) * 1000, max(parts) * 1000
            text = f"{_span(low, high, 'USD')} of each {format_value(1000, 'USD')} for {what}."
            made.append(_measure(lever, text, low, high, "USD", "1 − lower price / price"))  # type: ignore[arg-type]
    text = f"{format_value(100, 'USD')} of each {format_value(1000, 'USD')} for output, with answers {STEP} % shorter."
    made.append(_measure("output", text, 100, 100, "USD", "output is charged by the token"))
    return made


def file_measures(rows: list[dict[str, Any]], currency: str, cached: bool) -> list[Measure]:
    """Return the measures that the sums of a file's models bear out. `rows`: as `UsageFiles.lever_sums` gives them."""
    found: list[Measure] = []
    failed = sum(row["failed_cost"] for row in rows)
    if failed > 0:
        count = sum(row["failed"] for row in rows)
        text = (
            f"{count:,} failed rows cost {format_value(failed, currency)}: at most that can be saved by failing less."
        )
        measure = _measure("failures", text, 0, failed, currency, "sum of the cost of failed rows", count, proven=True)
        found.append(measure)
    for row in sorted(rows, key=lambda one: -one["cost"])[:3]:
        if row["priced_as"] and row["cost"] > 0:
            found += _model_measures(row, price_lookup(row["priced_as"]), currency, cached)
    return found


def _model_measures(row: dict[str, Any], price: Price, currency: str, cached: bool) -> list[Measure]:
    """Return what 10 % more cache, batch or another model would change for one model's rows, at today's list prices."""
    found: list[Measure] = []
    name, scale = escaped(row["model"]), _scale(row)
    fresh = max(0.0, row["input"] - row["cached"])
    if price["cache_read"] is not None and fresh > 0:
        saved = fresh * STEP / 100 * (price["input"] - price["cache_read"]) / 1e6 * scale
        now = format_value(row["cached"] / row["input"] * 100, "%")
        known = (
            f"{now} of the input is cached; if {STEP} % of the rest were too"
            if cached
            else f"if {STEP} % of the input were cached"
        )
        text = f"{name}: {known}: {rough(saved, currency)}."
        formula = f"{STEP} % × uncached input × (input − cached price)"
        found.append(_measure("cache", text, 0, saved, currency, formula, row["rows"]))
    rest = max(0.0, row["cost"] - row["batch_cost"])
    low, high = _batch_parts(price)
    if high > 0 and rest > 0:
        low, high = rest * STEP / 100 * low, rest * STEP / 100 * high
        text = f"{name}: if {STEP} % of the requests outside of batch were sent as batch: {_span(low, high, currency)}."
        found.append(_measure("batch", text, low, high, currency, f"{STEP} % × cost × batch discount", row["rows"]))
    for target in _targets(price)[:1] if rest > 0 else []:
        here = fresh * price["input"] + row["output"] * price["output"]
        there = fresh * target["input"] + row["output"] * target["output"]
        if here > there and here > 0:
            saved = rest * STEP / 100 * (1 - there / here)
            text = f"{name}: if {STEP} % could run on {target['model']}: {rough(saved, currency)}."
            formula = f"{STEP} % × cost × (1 − tokens at its prices / tokens at today's)"
            found.append(_measure("model", text, 0, saved, currency, formula, row["rows"]))
    return found


def _scale(row: dict[str, Any]) -> float:
    """Return what is paid for a dollar of the price list."""
    return row["cost"] / row["list_usd"] if row["list_usd"] else 1.0


def _batch_parts(price: Price) -> tuple[float, float]:
    if price["batch_input"] is None or price["batch_output"] is None:
        return 0.0, 0.0
    parts = (1 - price["batch_input"] / price["input"], 1 - price["batch_output"] / price["output"])
    return min(parts), max(parts)


def _move_parts(price: Price, target: Price) -> tuple[float, float]:
    parts = (1 - target["input"] / price["input"], 1 - target["output"] / price["output"])
    return min(parts), max(parts)


def _targets(price: Price) -> list[Price]:
    """Current models of the same vendor that are cheaper on both sides, the dearest first: the smallest step down."""
    return list(_targets_on(price["model"], datetime.now(UTC).date()))


@lru_cache(maxsize=500)
def _targets_on(model: str, day: date) -> tuple[Price, ...]:
    """The targets at the prices of a day: to compare all models takes a tenth of a second."""
    price = price_lookup(model)
    known = common_models(price["vendor"])
    found = [one for one in cheaper_candidates(price, 1, None) if one["model"] in known]
    lower = [one for one in found if one["input"] < price["input"] and one["output"] < price["output"]]
    return tuple(sorted(lower, key=lambda one: -one["output"])[:MAX_TARGETS])


def rough(value: float, unit: str) -> str:
    """Write what an "if" would save, with the two digits that it bears."""
    return "about " + format_value(float(f"{value:.2g}"), unit)


def _span(low: float, high: float, unit: str) -> str:
    texts = rough(low, unit), rough(high, unit)
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


_MEASURES = {
    "failures": ("Count the failed requests by status each week.", "none for users"),
    "cache": ("Compare the beginnings of prompts, and watch the cached part of the input.", "none for answers"),
    "batch": ("Count the requests that nobody waits for.", "answers come within a day"),
    "model": ("Compare the answers of both models on 100 of your requests.", "answers may be worse"),
    "output": ("Watch the output tokens of a request.", "answers are shorter"),
}


def _measure(
    lever: Lever, text: str, low: float, high: float, unit: str, formula: str, rows: int = 0, proven: bool = False
) -> Measure:
    measure, risk = _MEASURES[lever]
    return {
        "lever": lever, "proven": proven, "text": text, "low": low, "high": high, "unit": unit, "rows": rows,
        "formula": formula, "measure": measure, "risk": risk,
    }  # fmt: skip


async def optimization(turn: Turn, case: Case, files: UsageFiles, names: list[str]) -> None:
    """Find the measures of the case."""
    request = case.understood.request
    if case.understood.general:
        await turn.think("Working out what each lever saves by the price list")
        case.levers = await turn.call(general_measures)
    elif isinstance(request, Query):
        await turn.think("Looking for evidence of savings in the rows")
        rows = {name: getattr(request, name) for name in ("since", "until", *(f"{one}s" for one in NAMED))}
        try:
            sums = await turn.call(files.lever_sums, attachments=names, query=rows)
            case.levers = await turn.call(file_measures, **sums)
        except AgentError as error:
            case.problems.append(escaped(error.message, 300))
    elif isinstance(request, Workload) and request.models and not parts_of(request):
        await turn.think("Working out what the levers would save")
        spend, currency, period = _bill_of(case, request)
        if spend > 0:
            models = [one.strip() for one in request.models.split(",")]
            case.levers = await turn.call(bill_measures, spend=spend, currency=currency, models=models, period=period)
    turn.summary = f"{len(case.levers)} measures, {sum(one['proven'] for one in case.levers)} of them shown by rows."


def _bill_of(case: Case, request: Workload) -> tuple[float, str, str]:
    if request.spend is not None:
        return request.spend, request.currency, f" a {request.spend_per}" if request.spend_per in PER_YEAR else ""
    figures = case.answer.figures if case.answer else {}
    month = figures.get("month") or figures.get("month_1")
    return (month.value, month.unit, " a month") if month else (0.0, "USD", "")
