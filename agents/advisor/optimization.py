"""Optimization: what would save, with the evidence of the rows, or as "if" where there is none. Nothing is assumed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Literal, TypedDict

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import TEXTS, Case, Workload, a_period, parts_of
from agents.sdk import AgentError, Turn
from agents.usage.asked import NAMED, Query
from agents.usage.figures import escaped, format_value, rows_text
from agents.usage.files import UsageFiles
from agents.usage.prices import Price, cheaper_candidates, common_models, price_lookup
from chat.translation import t, tn

STEP = 10  # percent: what an "if" is said for
MAX_TARGETS = 2
Lever = Literal["failures", "cache", "batch", "model", "output"]
# Of each lever: the step to take, how to find out how much of it is true, and its risk.
LEVERS: dict[Lever, dict[str, str]] = TEXTS["levers"]


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


def _measure(
    lever: Lever, text: str, saved: tuple[float, float], unit: str, formula: str, rows: int = 0, proven: bool = False
) -> Measure:
    (low, high), texts = saved, LEVERS[lever]
    return {
        "lever": lever, "proven": proven, "text": text, "low": low, "high": high, "unit": unit, "rows": rows,
        "formula": formula, "measure": t(texts["measure"]), "risk": t(texts["risk"]),
    }  # fmt: skip


def bill_measures(spend: float, currency: str, models: list[str], period: str) -> list[Measure]:
    """Return what each 10 % of a bill would save if it were batch, or on another model. The mix of tokens is not known,
    so a range is given that holds for every mix."""
    return [one for price in map(price_lookup, models[:1]) for one in _of_bill(spend, currency, price, period)]


def _of_bill(spend: float, currency: str, price: Price, period: str) -> Iterator[Measure]:
    part = spend * STEP / 100

    def saved(low: float, high: float) -> tuple[tuple[float, float], str]:
        return (part * low, part * high), _span(part * low, part * high, currency) + period

    if (batch := _batch_parts(price))[1] > 0:
        span, text = saved(*batch)
        text = t("If {0} % of it could be sent as batch: {1}.", STEP, text)
        yield _measure("batch", text, span, currency, t("part × batch discount"))
    for target in _targets(price):
        span, text = saved(*_parts(price, target["input"], target["output"]))
        text = t("If {0} % of it could run on {1}: {2}.", STEP, target["model"], text)
        yield _measure("model", text, span, currency, t("part × (1 − ratio of prices)"))
    if price["cache_read"] is not None:
        less = format_value((1 - price["cache_read"] / price["input"]) * 100, "%")
        text = t("If input is repeated: what is read from the cache costs {0} less.", less)
        yield _measure("cache", text, (0, 0), currency, t("1 − cached price / input price"))


def general_measures() -> list[Measure]:
    """Return what each lever saves of $1,000 that it applies to, by today's price list, and what it depends on."""
    prices = [price_lookup(name) for vendor in ("openai", "anthropic", "google") for name in common_models(vendor)]
    cached = [1 - price["cache_read"] / price["input"] for price in prices if price["cache_read"] is not None]
    batch = [_batch_parts(price)[1] for price in prices if price["batch_input"] is not None]
    levers: list[tuple[Lever, list[float], str, str]] = [
        ("cache", cached, t("input that is read from the cache"), t("1 − lower price / price")),
        ("batch", batch, t("requests that are sent as batch"), t("1 − lower price / price")),
        ("output", [STEP / 100], t("output, with answers {0} % shorter", STEP), t("output is charged by the token")),
    ]
    made = []
    for lever, parts, what, formula in levers:
        if parts:
            span = (min(parts) * 1000, max(parts) * 1000)
            saved = format_value(span[0], "USD") if lever == "output" else _span(*span, "USD")
            text = t("{0} of each {1} for {2}.", saved, format_value(1000, "USD"), what)
            made.append(_measure(lever, text, span, "USD", formula))
    return made


def file_measures(rows: list[dict[str, Any]], currency: str, cached: bool) -> list[Measure]:
    """Return the measures that the sums of a file's models bear out. `rows`: as `UsageFiles.lever_sums` gives them."""
    found: list[Measure] = []
    failed, count = sum(row["failed_cost"] for row in rows), sum(row["failed"] for row in rows)
    if failed > 0:
        formula, cost = t("sum of the cost of failed rows"), format_value(failed, currency)
        text = t("Failed: {0}, for {1}; at most that can be saved by failing less.", rows_text(count), cost)
        found.append(_measure("failures", text, (0, failed), currency, formula, count, proven=True))
    for row in sorted(rows, key=lambda one: -one["cost"])[:3]:
        if row["priced_as"] and row["cost"] > 0:
            found += _of_model(row, price_lookup(row["priced_as"]), currency, cached)
    return found


def _of_model(row: dict[str, Any], price: Price, currency: str, cached: bool) -> Iterator[Measure]:
    """Yield what 10 % more cache, batch or another model would change for one model's rows, at today's list prices."""
    name, count, fresh = escaped(row["model"]), row["rows"], max(0.0, row["input"] - row["cached"])
    if price["cache_read"] is not None and fresh > 0:
        paid = row["cost"] / row["list_usd"] if row["list_usd"] else 1.0  # for a dollar of the price list
        saved = fresh * STEP / 100 * (price["input"] - price["cache_read"]) / 1e6 * paid
        share = format_value(row["cached"] / row["input"] * 100, "%")
        more = t("{0}: {1} of the input is cached; if {2} % of the rest were too: {3}.")
        text = more if cached else t("{0}: if {2} % of the input were cached: {3}.")
        text = text.format(name, share, STEP, rough(saved, currency))
        formula = t("{0} % × uncached input × (input − cached price)", STEP)
        yield _measure("cache", text, (0, saved), currency, formula, count)
    rest, (low, high) = max(0.0, row["cost"] - row["batch_cost"]), _batch_parts(price)
    if high > 0 and rest > 0:
        span = (rest * STEP / 100 * low, rest * STEP / 100 * high)
        parts = name, STEP, _span(*span, currency)
        text = t("{0}: if {1} % of the requests outside of batch were sent as batch: {2}.", *parts)
        yield _measure("batch", text, span, currency, t("{0} % × cost × batch discount", STEP), count)
    for target in _targets(price)[:1] if rest > 0 else []:
        here, there = (fresh * one["input"] + row["output"] * one["output"] for one in (price, target))
        if here > there and here > 0:
            saved = rest * STEP / 100 * (1 - there / here)
            text = t("{0}: if {1} % could run on {2}: {3}.", name, STEP, target["model"], rough(saved, currency))
            formula = t("{0} % × cost × (1 − tokens at its prices / tokens at today's)", STEP)
            yield _measure("model", text, (0, saved), currency, formula, count)


def _batch_parts(price: Price) -> tuple[float, float]:
    if price["batch_input"] is None or price["batch_output"] is None:
        return 0.0, 0.0
    return _parts(price, price["batch_input"], price["batch_output"])


def _parts(price: Price, inputs: float, outputs: float) -> tuple[float, float]:
    """Return the least and the largest part of a cost that other prices save, whatever the mix of tokens is."""
    low, high = sorted((1 - inputs / price["input"], 1 - outputs / price["output"]))
    return low, high


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
    return t("about {0}", format_value(float(f"{value:.2g}"), unit))


def _span(low: float, high: float, unit: str) -> str:
    return t(" to ").join(dict.fromkeys((rough(low, unit), rough(high, unit))))


async def optimization(turn: Turn, case: Case, files: UsageFiles, names: list[str]) -> None:
    """Find the measures of the case."""
    request = case.understood.request
    if case.understood.general:
        await turn.think(t("Working out what each lever saves by the price list"))
        case.levers = await turn.call(general_measures)
    elif isinstance(request, Query):
        await turn.think(t("Looking for evidence of savings in the rows"))
        rows = {name: getattr(request, name) for name in ("since", "until", *(f"{one}s" for one in NAMED))}
        try:
            sums = await turn.call(files.lever_sums, attachments=names, query=rows)
            case.levers = await turn.call(file_measures, **sums)
        except AgentError as error:
            case.problems.append(escaped(error.message, 300))
    elif isinstance(request, Workload) and request.models and not parts_of(request):
        await turn.think(t("Working out what the levers would save"))
        figures = case.answer.figures if case.answer else {}
        month = figures.get("month") or figures.get("month_1")
        spend, currency, period = (month.value, month.unit, a_period("month")) if month else (0.0, "USD", "")
        if request.spend is not None:
            spend, currency = request.spend, request.currency
            period = a_period(request.spend_per) if request.spend_per in PER_YEAR else ""
        if spend > 0:
            given = {"spend": spend, "currency": currency, "models": request.names, "period": period}
            case.levers = await turn.call(bill_measures, **given)
    count, proven = len(case.levers), sum(one["proven"] for one in case.levers)
    turn.summary = tn("{0} measure, {1} shown by rows.", "{0} measures, {1} shown by rows.", count, count, proven)
