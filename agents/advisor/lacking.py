"""Fields that a request lacks for its figures, and reasons why it cannot be."""

import math
from collections.abc import Iterator
from dataclasses import replace

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Read
from agents.advisor.request import (
    EACH,
    TEXTS,
    TITLES,
    Request,
    Understood,
    Workload,
    checked,
    form,
    only_searches,
    parts_of,
    said,
    used,
)  # fmt: skip
from agents.advisor.workload import calls_in, ratios_of
from agents.usage.asked import Query
from agents.usage.figures import escaped
from chat.translation import t

MAX_GROWTH = 1e6  # times of today
MAX_SPEND = 1e11  # a month, in any currency: more than all of the world's AI spend
# What the figures of a goal need.
_WANTED = {
    "seats": ("users", "unit_price", "unit_per"), "saving": ("spend",), "change": ("spend",),
    "bill": ("spend", "spend_per"), "": ("goal",),
}  # fmt: skip


def complete(request: Request) -> Understood:
    """Return what an answered form, or a model, asks for: with the next form if a figure needs more."""
    if isinstance(request, Query):
        return checked(request)
    if not request.goal:
        tokens = request.input_tokens is not None or request.output_tokens is not None
        request = replace(request, goal="cost" if tokens else "bill" if request.spend is not None else "")
    if request.goal in ("cost", "price") and request.move_to:
        request = replace(request, models=", ".join(filter(None, [request.models, request.move_to])), move_to="")
    if why := refusal(request):
        return Understood(refusal=why)
    odd = {name: value for name, value in said(request).items() if request.goal and name not in used(request)}
    request = replace(request, **{name: getattr(Workload(), name) for name in odd})
    unused = tuple(escaped(f"{t(TITLES[name])}: {value}") for name, value in odd.items())
    missing = tuple(open_fields(request))
    asked = form(request, missing, (), unused) if missing or unused else None
    return Understood(request, asked, wants_savings=request.goal == "saving")


def open_fields(request: Workload, read: Read | None = None) -> list[str]:
    """Return the fields that figures of the request lack. `read`: the message, if its words say the goal."""
    held = [each for each in EACH.values() if getattr(request, each)]
    if held:
        parts = parts_of(request)
        lacking = open_fields(parts[0], read) if parts else held
        return [one for one in [*lacking, *(["answer_per"] if request.things else [])] if one != "goal"]
    return list(dict.fromkeys(_lacking(request, read)))


def _lacking(request: Workload, read: Read | None) -> Iterator[str]:
    if request.goal == "cost":
        yield from _of_cost(request)
        for name in ("requests", "tokens", "amount") if request.periods else ():
            if getattr(request, f"{name}_per") == "once" and (name != "tokens" or not request.requests):
                yield f"{name}_per"
    for name in _WANTED.get(request.goal, ()):
        if getattr(request, name) in (None, "") and (name, request.requests_per) != ("spend_per", "once"):
            yield name
    if request.goal == "bill":
        says = read is None or read.has("total") or read.has("save")
        asks = request.answer_per.replace("cached", "") or request.convert_to or request.move_to or says
        if not asks or ((request.users or request.requests) and not request.things):
            yield "goal"
        yield from (f"{thing}s" for thing in request.things if getattr(request, f"{thing}s") is None)
    if request.move_to and request.spend is not None and not ratios_of(request):
        yield from ("input_tokens", "output_tokens") if request.models else ("models",)
    if request.growth_per:
        yield from (name for name in ("growth", "growth_for") if getattr(request, name) is None)
        yield from ("requests_per",) if request.requests_per == "once" else ()
    if request.convert_to and request.rate is None:
        yield "rate"


def _of_cost(request: Workload) -> Iterator[str]:
    if request.searches is not None:
        yield from _of_searches(request)
        if only_searches(request):
            return
    if request.unit in ("minute", "hour") or request.amount is not None:
        yield from (name for name in ("amount", "unit_price") if getattr(request, name) is None)
        return
    lacks = {name for name in ("input_tokens", "output_tokens", "all_tokens") if getattr(request, name) is None}
    if request.unit == "request":
        yield from ("requests",) if request.requests is None else ()
        yield from ("goal",) if len(lacks) < 3 else ()
    elif request.unit == "million":
        yield from ("all_tokens",) if "all_tokens" in lacks and len(lacks) > 1 else ()
    else:
        prices = [name for name in ("input_price", "output_price") if getattr(request, name) is not None]
        if prices:  # one alone would count the other tokens as free
            yield from (name for name in ("input_price", "output_price") if name not in prices)
        elif not request.models:
            yield "models"
        yield from (name for name in ("input_tokens", "output_tokens") if name in lacks)
    if "all_tokens" not in lacks and request.unit != "million":
        yield "input_tokens"
    of_one, scope = "request" in request.things, request.tokens_per
    if request.requests is not None and not scope and request.unit != "request":
        yield "tokens_per"
    if scope == "request" and request.requests is None and not of_one:
        yield "requests"
    if scope not in ("", "request") and request.requests is not None and not of_one:
        yield "tokens_per"
    if request.requests_by == "user" and request.users is None:
        yield "users"
    if request.users is not None and request.requests_by != "user" and "user" not in request.things:
        yield "requests_by"


def _of_searches(request: Workload) -> Iterator[str]:
    yield from (name for name in ("search_price", "searches_per") if getattr(request, name) in (None, ""))
    yield from ("answer_per",) if request.things else ()
    yield from ("requests",) if request.searches_per == "request" and request.requests is None else ()
    if only_searches(request):
        return
    yield from ("currency",) if request.currency not in ("", "USD") else ()  # list prices are in dollars
    yield from ("models",) if len(request.names) > 1 else ()
    period = calls_in(request)[1]
    if period == "request":
        yield "requests"
    elif request.searches_per != "request" and (request.searches_per == "once") != (period == "once"):
        yield "searches_per"


def refusal(request: Workload) -> str:
    """Return why the request cannot be, for the user; empty if it can."""
    own = any(one is not None for one in (request.unit_price, request.input_price, request.output_price))
    grown = math.log(request.growth) * (request.growth_for or 1) if request.growth else 0.0
    per_year = words.PER_YEAR.get(request.spend_per or "month", 1.0)
    reasons = {
        "too_much_saved": request.saving is not None and request.saving > 100,
        "own_prices": request.goal == "cost" and own and (request.cached or request.batched),
        "growth": grown > math.log(MAX_GROWTH),
        "spend": request.spend is not None and request.spend * per_year / 12 > MAX_SPEND,
    }
    return next((t(TEXTS["refusals"][reason]) for reason, found in reasons.items() if found), "")
