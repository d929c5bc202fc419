"""Fields that a request lacks for its figures, and reasons why it cannot be."""

import math
from collections.abc import Iterator
from dataclasses import replace

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Read
from agents.advisor.request import (
    EACH,
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
)
from agents.advisor.workload import calls_in, ratios_of
from agents.usage.asked import Query
from agents.usage.figures import escaped

MAX_GROWTH = 1e6  # times of today
MAX_SPEND = 1e11  # a month, in any currency: more than all of the world's AI spend


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
    unused = tuple(escaped(f"{TITLES[name]}: {value}") for name, value in odd.items())
    missing = tuple(open_fields(request))
    asked = form(request, missing, (), unused) if missing or unused else None
    return Understood(request, asked, wants_savings=request.goal == "saving")


def open_fields(request: Workload, read: Read | None = None) -> list[str]:
    """Return the fields that figures of the request lack. `read`: the message, if its words say the goal."""
    if any(getattr(request, each) for each in EACH.values()):
        parts = parts_of(request)
        lacking = open_fields(parts[0], read) if parts else [each for each in EACH.values() if getattr(request, each)]
        lacking += ["answer_per"] if {"request", "user"} & {*request.answer_per.split(", ")} else []
        return [one for one in lacking if one != "goal"]
    missing: list[str] = []
    periods = [one for one in request.answer_per.split(", ") if one in words.PERIODS]
    if request.goal == "cost":
        missing += _missing_of_cost(request)
        for name in ("requests", "tokens", "amount"):
            if periods and getattr(request, f"{name}_per") == "once" and (name != "tokens" or not request.requests):
                missing.append(f"{name}_per")
    wanted: tuple[str, ...] = {
        "seats": ("users", "unit_price", "unit_per"),
        "saving": ("spend",),
        "change": ("spend",),
        "bill": ("spend", "spend_per"),
    }.get(request.goal, ("goal",) if not request.goal else ())
    if request.requests_per == "once":
        wanted = tuple(name for name in wanted if name != "spend_per")
    missing += [name for name in wanted if getattr(request, name) in (None, "")]
    things = [one for one in request.answer_per.split(", ") if one in ("request", "user")]
    if request.goal == "bill":
        says = read is None or read.has("total") or read.has("save")
        if not (periods or things or request.convert_to or request.move_to or says):
            missing.append("goal")
        missing += [f"{thing}s" for thing in things if getattr(request, f"{thing}s") is None]
        if (request.users or request.requests) and not things:
            missing.append("goal")
    if request.move_to and request.spend is not None and not ratios_of(request):
        missing += ["input_tokens", "output_tokens"] if request.models else ["models"]
    if request.growth_per:
        missing += [name for name in ("growth", "growth_for") if getattr(request, name) is None]
        missing += ["requests_per"] if request.requests_per == "once" else []
    if request.convert_to and request.rate is None:
        missing.append("rate")
    return list(dict.fromkeys(missing))


def _missing_of_cost(request: Workload) -> Iterator[str]:
    if request.searches is not None:
        yield from _missing_of_searches(request)
        if only_searches(request):
            return
    if request.unit in ("minute", "hour") or request.amount is not None:
        yield from (name for name in ("amount", "unit_price") if getattr(request, name) is None)
        return
    tokens = (request.input_tokens, request.output_tokens, request.all_tokens)
    if request.unit == "request":
        if request.requests is None:
            yield "requests"
        if any(one is not None for one in tokens):
            yield "goal"
    elif request.unit == "million":
        if request.all_tokens is None and (request.input_tokens is None or request.output_tokens is None):
            yield "all_tokens"
    else:
        prices = [name for name in ("input_price", "output_price") if getattr(request, name) is not None]
        if prices:  # one alone would count the other tokens as free
            yield from (name for name in ("input_price", "output_price") if name not in prices)
        elif not request.models:
            yield "models"
        yield from (name for name in ("input_tokens", "output_tokens") if getattr(request, name) is None)
    if request.all_tokens is not None and request.unit != "million":
        yield "input_tokens"
    if request.requests is not None and not request.tokens_per and request.unit != "request":
        yield "tokens_per"
    if request.tokens_per == "request" and request.requests is None and "request" not in request.answer_per:
        yield "requests"
    if (
        request.tokens_per not in ("", "request")
        and request.requests is not None
        and "request" not in request.answer_per
    ):
        yield "tokens_per"
    if request.requests_by == "user" and request.users is None:
        yield "users"
    if request.users is not None and request.requests_by != "user" and "user" not in request.answer_per:
        yield "requests_by"


def _missing_of_searches(request: Workload) -> Iterator[str]:
    yield from (name for name in ("search_price", "searches_per") if getattr(request, name) in (None, ""))
    if {"request", "user"} & {*request.answer_per.split(", ")}:
        yield "answer_per"
    if request.searches_per == "request" and request.requests is None:
        yield "requests"
    if only_searches(request):
        return
    if request.currency not in ("", "USD"):  # list prices are in dollars
        yield "currency"
    if "," in request.models:
        yield "models"
    period = calls_in(request)[1]
    if period == "request":
        yield "requests"
    elif request.searches_per != "request" and (request.searches_per == "once") != (period == "once"):
        yield "searches_per"


def refusal(request: Workload) -> str:
    """Return why the request cannot be, for the user; empty if it can."""
    if request.saving is not None and request.saving > 100:
        return "A saving of more than 100 % cannot be: at 100 % nothing is left to pay."
    own = (request.unit_price, request.input_price, request.output_price)
    if request.goal == "cost" and (request.cached or request.batched) and any(one is not None for one in own):
        return (
            "Your own prices do not say what cached or batched tokens cost, so a share of those cannot be worked out. "
            "Name a model of the price list, or leave the share out."
        )
    if request.growth and math.log(request.growth) * (request.growth_for or 1) > math.log(MAX_GROWTH):
        return "That growth cannot be: it is more than a million times of today. Please check it."
    per_year = words.PER_YEAR.get(request.spend_per or "month", 1.0)
    if request.spend is not None and request.spend * per_year / 12 > MAX_SPEND:
        return "That amount cannot be: it is more than everybody together pays for AI models. Please check it."
    return ""
