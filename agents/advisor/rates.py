"""Rates: what the tokens of a model cost by the price list, at each length of a prompt, day, time of day and tier."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from agents.advisor.prices import Price, changes, find_model, price_at, tier_price

FORMULA = (
    "(input − cached − written) × input price + cached × cached price + written × cache-write price + output × output "
    "price, per million tokens, at the prices of the row's day; for rows of the batch, flex or priority tier the "
    "part of "
    "them that the tier costs today; at the long-prompt price where a request reaches it"
)
LIST_USD = (
    "CASE WHEN has_tokens THEN ((input - cached - written) * {0}.input_price + cached * {0}.cached_price "
    "+ written * {0}.written_price + output * {0}.output_price) / 1e6 END"
)
TABLE = (
    "CREATE TABLE price (id INTEGER, named VARCHAR, priced_as VARCHAR, tier VARCHAR, since DATE, until DATE, "
    "opens TIME, closes TIME, above BIGINT, upto BIGINT, input_price DOUBLE, output_price DOUBLE, cached_price DOUBLE, "
    "written_price DOUBLE)"
)
ALWAYS = (date(1970, 1, 1), date(9999, 12, 31))
WHOLE_DAY = (time(0), time.max)
LONGEST = 2_000_000  # tokens: more than any prompt has for which there is a price
_NO_LIMIT = 1 << 62


class Rate(NamedTuple):
    """Dollars per million tokens, for rows from `since` to before `until`, from `opens` to `closes` of a day (UTC)."""

    since: date
    until: date
    opens: time
    closes: time
    above: int
    upto: int
    price: Price
    input: float
    output: float
    cached: float
    written: float

    @property
    def hours(self) -> str:
        """When in the day, empty for all of it."""
        if (self.opens, self.closes) == WHOLE_DAY:
            return ""
        return f"{self.opens:%H:%M} to {self.closes:%H:%M} UTC"


def rates(model: str, tier: str, longest: int) -> Iterator[Rate]:
    """All rates of a model at a tier (standard, batch, flex, priority, fast) for prompts up to `longest` tokens."""
    days, hours = changes(model)
    spans = list(zip([ALWAYS[0], *days], [*days, ALWAYS[1]], strict=True))
    ends = [(datetime.combine(ALWAYS[0], hour) - timedelta(microseconds=1)).time() for hour in hours]
    times = list(zip([time(0), *hours], [*ends, time.max], strict=True))
    for since, until in spans:
        for opens, closes in times:
            at = datetime.combine(max(since, date(2015, 1, 1)), opens, UTC)
            for above, upto, price in _steps(model, longest, at):
                now = price_at(model, above + 1, datetime.now(UTC))
                costs = _tokens(price, now, _tier(now, tier, above + 1))
                yield Rate(since, until, opens, closes, above, upto, price, *costs)


def _tokens(price: Price, now: Price, tier: Price | None) -> tuple[float, float, float, float]:
    """Input, output, cached and written tokens. The list knows no past of tiers: they cost the part of the standard
    price that they cost now."""
    costs = _costs(price)
    if tier is None:
        return costs
    parts = [one / whole if whole else 1.0 for one, whole in zip(_costs(tier), _costs(now), strict=True)]
    inputs, outputs, cached, written = (cost * part for cost, part in zip(costs, parts, strict=True))
    return inputs, outputs, cached, written


def _tier(now: Price, tier: str, prompt_tokens: int) -> Price | None:
    """Today's price at a tier that is not the standard one."""
    if tier in ("flex", "priority", "fast"):
        return tier_price(now["model"], prompt_tokens, datetime.now(UTC), tier)
    if tier == "batch" and now["batch_input"] is not None and now["batch_output"] is not None:
        _, _, cached, written = _costs(now)
        return {
            **now,
            "input": now["batch_input"],
            "output": now["batch_output"],
            "cache_read": min(now["batch_input"], cached),
            "cache_write": written * now["batch_input"] / now["input"],
        }
    return None


def _costs(price: Price) -> tuple[float, float, float, float]:
    cached = price["input"] if price["cache_read"] is None else price["cache_read"]
    written = price["input"] if price["cache_write"] is None else price["cache_write"]
    return price["input"], price["output"], cached, written


def _steps(model: str, longest: int, at: datetime) -> Iterator[tuple[int, int, Price]]:
    """The prices by the length of a prompt up to `longest`: for more than the first up to the second number."""
    above, start = -1, 0
    while True:
        price = price_at(model, start, at)
        if longest <= start or _key(price_at(model, longest, at)) == _key(price):
            yield above, _NO_LIMIT, price
            return
        same, other = start, longest
        while other - same > 1:
            middle = (same + other) // 2
            if _key(price_at(model, middle, at)) == _key(price):
                same = middle
            else:
                other = middle
        yield above, same, price
        above, start = same, other


def _key(price: Price) -> tuple[float | None, ...]:
    return price["input"], price["output"], price["cache_read"], price["cache_write"]


def priced(model: str) -> str | None:
    """The id in the price list; of a name with a host or a release in it, that of the model itself."""
    for name in (model, bare(model), _RELEASE.sub("", bare(model))):
        found = find_model(name) if name else None
        if found:
            return found
    return None


def bare(model: str) -> str:
    return _VENDOR.sub("", model.rpartition("/")[2].strip())


_VENDOR = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|openai|google|meta|mistral|cohere|deepseek)\.", re.I)
_RELEASE = re.compile(r"(?:-v\d+(?::\d+)?|@\d+|[\s-]\d{4}-?\d\d-?\d\d(?:-v\d+(?::\d+)?)?|:[a-z]+)$", re.I)


def last_day(until: date) -> str | None:
    """The last day of a rate that ends before `until`; None for one without an end."""
    return None if until == ALWAYS[1] else (until - timedelta(days=1)).isoformat()
