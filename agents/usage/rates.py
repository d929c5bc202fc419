"""Rates: what the tokens of a model cost by the price list, at each length of a prompt, day, time of day and tier."""

# ruff: noqa: S608, what a query is made of is written here; what the file or a user says goes in as values.

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

import duckdb

from agents.sdk import AgentError
from agents.usage.figures import day
from agents.usage.prices import SOURCE, Price, changes, find_model, long_prompts, nearest_models, price_at, tier_price
from agents.usage.reading.rows import shown
from chat.translation import t

FORMULA = (
    "(input − cached − written) × input price + cached × cached price + written × cache-write price + output × output "
    "price, per million tokens; written for an hour 1.6 times the cache-write price; at the prices of the row's day; "
    "for rows of the batch, flex or priority tier the part of them that the tier costs today; at the long-prompt price "
    "where a request reaches it"
)
LIST_USD = (
    "CASE WHEN has_tokens THEN ((input - cached - written) * {0}.input_price + cached * {0}.cached_price "
    "+ (written + coalesce({1}, 0) * 0.6) * {0}.written_price + output * {0}.output_price) / 1e6 END"
)
_TABLE = (
    "CREATE TABLE price (id INTEGER, named VARCHAR, priced_as VARCHAR, tier VARCHAR, since DATE, until DATE, "
    "opens TIME, closes TIME, above BIGINT, upto BIGINT, input_price DOUBLE, output_price DOUBLE, cached_price DOUBLE, "
    "written_price DOUBLE)"
)
ALWAYS = (date(1970, 1, 1), date(9999, 12, 31))
WHOLE_DAY = (time(0), time.max)
LONGEST = 2_000_000  # tokens: more than any prompt has for which there is a price
MAX_MODELS = 300
_NO_LIMIT = 1 << 62


class PriceUsed(TypedDict):
    """US dollars per million tokens, for requests at this `tier` with more than `above` input tokens.

    Of the days from `since` to `until`, None where it has no beginning or end; `hours` of the day, empty for all.
    """

    named: str
    model: str
    tier: str
    since: str | None
    until: str | None
    hours: str
    above: int
    input: float
    output: float
    cached: float
    written: float
    source: str
    as_of: str
    url: str | None


class UnknownModel(TypedDict):
    model: str
    rows: int
    nearest: list[str]


class Rate(NamedTuple):
    """Dollars per million tokens, for rows from `since` to before `until`, from `opens` to `closes` of a day (UTC).

    They have more than `above` and up to `upto` input tokens.
    """

    since: date
    until: date
    opens: time
    closes: time
    above: int
    upto: int
    input: float
    output: float
    cached: float
    written: float
    price: Price

    def used(self, named: str, tier: str) -> PriceUsed:
        """Return the rate for a person. `named`: the model as the file names it."""
        hours = f"{self.opens:%H:%M} to {self.closes:%H:%M} UTC"
        return {
            "named": named, "model": self.price["model"], "tier": tier,
            "since": None if self.since == ALWAYS[0] else self.since.isoformat(),
            "until": None if self.until == ALWAYS[1] else (self.until - timedelta(days=1)).isoformat(),
            "hours": "" if (self.opens, self.closes) == WHOLE_DAY else hours, "above": max(self.above, 0),
            "input": self.input, "output": self.output, "cached": self.cached, "written": self.written,
            "source": SOURCE, "as_of": self.price["as_of"], "url": self.price["url"],
        }  # fmt: skip


def rates(model: str, tier: str, longest: int) -> Iterator[Rate]:
    """All rates of a model at a tier (standard, batch, flex, priority, fast) for prompts up to `longest` tokens."""
    days, hours = changes(model)
    ends = [(datetime.combine(ALWAYS[0], hour) - timedelta(microseconds=1)).time() for hour in hours]
    for since, until in pairwise([ALWAYS[0], *days, ALWAYS[1]]):
        for opens, closes in zip([time(0), *hours], [*ends, time.max], strict=True):
            at = datetime.combine(max(since, date(2015, 1, 1)), opens, UTC)
            steps = [above for above in long_prompts(model, at) if above < longest]
            for above, upto in pairwise([-1, *steps, _NO_LIMIT]):
                price, now = price_at(model, above + 1, at), price_at(model, above + 1, datetime.now(UTC))
                costs = _tokens(price, now, _tier(now, tier, above + 1))
                yield Rate(since, until, opens, closes, above, upto, *costs, price)


def _tokens(price: Price, now: Price, tier: Price | None) -> tuple[float, float, float, float]:
    """Input, output, cached and written tokens. The list knows no past of tiers: they cost the part of the standard
    price that they cost now."""
    costs = _costs(price)
    if tier is None:
        return costs
    parts = (one / whole if whole else 1.0 for one, whole in zip(_costs(tier), _costs(now), strict=True))
    inputs, outputs, cached, written = (cost * part for cost, part in zip(costs, parts, strict=True))
    return inputs, outputs, cached, written


def _tier(now: Price, tier: str, prompt_tokens: int) -> Price | None:
    """Today's price at a tier that is not the standard one."""
    if tier in ("flex", "priority", "fast"):
        return tier_price(now["model"], prompt_tokens, datetime.now(UTC), tier)
    inputs, outputs = now["batch_input"], now["batch_output"]
    if tier != "batch" or inputs is None or outputs is None:
        return None
    _, _, cached, written = _costs(now)
    read, write = now["batch_cache_read"], now["batch_cache_write"]
    read = min(inputs, cached) if read is None else read
    write = written * inputs / now["input"] if write is None else write
    return {**now, "input": inputs, "output": outputs, "cache_read": read, "cache_write": write}


def _costs(price: Price) -> tuple[float, float, float, float]:
    cached = price["input"] if price["cache_read"] is None else price["cache_read"]
    written = price["input"] if price["cache_write"] is None else price["cache_write"]
    return price["input"], price["output"], cached, written


def priced(model: str) -> str | None:
    """The id in the price list; of a name with a host or a release in it, that of the model itself."""
    for name in (model, bare(model), _RELEASE.sub("", bare(model))):
        found = find_model(name) if name else None
        if found:
            return found
    return None


def price_of(model: str) -> Price:
    """Return today's list price of a model as a user writes its name. AgentError where the list has none."""
    found = priced(model)
    if found is None:
        near, text = ", ".join(nearest_models(bare(model))), t("No list price of {0} is known.", shown(model))
        raise AgentError(" ".join([text, t("Known: {0}.", near)]) if near else text, code="unknown_model")
    return price_at(found, None, datetime.now(UTC))


class Costs(NamedTuple):
    """Rows with tokens: their cost in the file, and `there`, the same tokens in dollars at another model's prices.

    `unpriced`: rows whose cost in the file is not known.
    """

    rows: int
    there: float
    usd: float
    cost: float
    unpriced: int


def costs_at(
    ask: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]], model: str, label: str, where: str, values: list[Any]
) -> dict[str, Costs]:
    """Return the costs of the chosen rows at today's list prices of a model of the price list, by label.

    `label` and `where` are SQL over the table `usage`, `values` those of `where`. Rows without tokens are left out.
    """
    chosen = f"{where} AND has_tokens AND input + output > 0"
    used = ask(f"SELECT tier, max(size) FROM usage WHERE {chosen} GROUP BY tier", values)
    today = datetime.now(UTC).date()
    found = [
        [tier, *rate[2:-1]]
        for tier, longest in used
        for rate in rates(model, tier, int(longest or 0))
        if rate.since <= today < rate.until
    ]
    if not found:
        return {}
    marks = ", ".join(["(?::VARCHAR, ?::TIME, ?::TIME, ?::BIGINT, ?::BIGINT, ?, ?, ?, ?)"] * len(found))
    rows = ask(
        "WITH p (rate_tier, opens, closes, above, upto, input_price, output_price, cached_price, written_price) AS "
        f"(VALUES {marks}) SELECT {label} AS label, count(*), sum({LIST_USD.format('p', 'written_1h')}), sum(usd), "
        "sum(coalesce(cost, list_usd)), count_if(cost IS NULL AND list_usd IS NULL AND included IS NOT TRUE) "
        "FROM usage JOIN p ON tier = rate_tier AND coalesce(size, 0) > above AND coalesce(size, 0) <= upto AND "
        f"coalesce(CAST(moment AS TIME), TIME '12:00') BETWEEN opens AND closes WHERE {chosen} GROUP BY ALL",
        [*(one for row in found for one in row), *values],
    )
    return {
        str(name): Costs(count, float(there or 0), float(usd or 0), float(cost or 0), unpriced)
        for name, count, there, usd, cost, unpriced in rows
    }


def bare(model: str) -> str:
    return _VENDOR.sub("", model.rpartition("/")[2].strip())


_VENDOR = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|openai|google|meta|mistral|cohere|deepseek)\.", re.I)
_RELEASE = re.compile(r"(?:-v\d+(?::\d+)?|@\d+|[\s-]\d{4}-?\d\d-?\d\d(?:-v\d+(?::\d+)?)?|:[a-z]+)$", re.I)


class ListPrices:
    """The list prices of the models in a database, as its table `price`."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        self.used: list[PriceUsed] = []
        self.unknown: list[UnknownModel] = []
        db.execute(_TABLE)

    def add(self, models: Sequence[Sequence[Any]]) -> None:
        """Add the rates of models: name, rows, longest prompt, tiers, whether there are tokens; most rows first."""
        known = {(price["named"], price["tier"]) for price in self.used}
        for model, count, longest, tiers, has_tokens in models[:MAX_MODELS]:
            found = priced(model)
            if not found and has_tokens:
                near = nearest_models(bare(model)) if len(self.unknown) < 20 else []
                self.unknown.append({"model": shown(model), "rows": count, "nearest": near})
            for tier in sorted(tiers) if found else []:
                # Of a model that another file has, too, all lengths are added at first.
                new = (model, tier) not in known
                for rate in rates(found, tier, LONGEST if known else int(longest or 0)) if found and new else []:
                    values = [len(self.used), model, rate.price["model"], tier, *rate[:-1]]
                    self._db.execute(f"INSERT INTO price VALUES ({', '.join('?' * len(values))})", values)
                    self.used.append(rate.used(model, tier))
        if len(models) > MAX_MODELS:
            left, name = sum(row[1] for row in models[MAX_MODELS:]), t("{0} further models", len(models) - MAX_MODELS)
            self.unknown.append({"model": name, "rows": left, "nearest": []})

    def joined(self, hour: str) -> tuple[str, str]:
        """The joins of rows `t` with their rates, and the columns that come from them. `hour`: tokens kept an hour."""
        ours = (
            "LEFT JOIN price {0} ON {0}.named = t.model AND {0}.tier = t.tier AND t.size > {0}.above AND "
            "t.size <= {0}.upto AND {1} >= {0}.since AND {1} < {0}.until AND "
            "coalesce(CAST(t.moment AS TIME), TIME '12:00') BETWEEN {0}.opens AND {0}.closes"
        )
        today = f"DATE '{datetime.now(UTC).date().isoformat()}'"
        joins, now = ours.format("p", f"coalesce(t.day, {today})"), "list_usd"
        # One join is half the work, and most prices never change.
        if not all(price["since"] is None and price["until"] is None for price in self.used):
            joins, now = f"{joins} {ours.format('n', today)}", LIST_USD.format("n", hour)
        listed = LIST_USD.format("p", hour)
        return joins, f"p.priced_as, p.id AS rate, {listed} AS list_usd, {now} AS today_usd"

    @property
    def assumption(self) -> str:
        return t(
            "List prices of each row's day, as far as {0} knows them (as of {1}); a contract or a reseller charges "
            "otherwise.",
            SOURCE,
            day(self.used[0]["as_of"]),
        )

    @property
    def dearer_when_long(self) -> bool:
        """Tell if a model costs more for long prompts."""
        models = {price["model"] for price in self.used}
        return any(rate.above >= 0 for model in models for rate in rates(model, "standard", LONGEST))
