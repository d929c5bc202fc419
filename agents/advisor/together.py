"""Answers that are made of several: of models with amounts of their own, and of periods in which a cost grows."""

from dataclasses import replace
from typing import Any

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import Workload, only_searches, parts_of
from agents.advisor.workload import answer, calls_in, converted, periods_of
from agents.usage.figures import Answer, chart, format_value


def answer_all(request: Workload) -> Answer:
    """Work the request out, with the total of its models if it has amounts for each, and of periods if it grows."""
    if request.growth_per and request.growth and request.growth_for:
        return _growing(request, request.growth, max(1, int(request.growth_for)))
    parts = parts_of(request)
    if request.searches is not None:
        searches = _searches(request)
        if only_searches(request):
            made = answer(searches)
            made.notes.append("The searches only: the model's tokens come on top.")
            return made
        return _together(request, [*(parts or [replace(request, searches=None, search_price=None)]), searches])
    return _together(request, parts) if parts else answer(request)


def _searches(request: Workload) -> Workload:
    """Return the searches of a request as a workload of their own."""
    count: float = request.searches or 0
    period: Any = request.searches_per
    if period == "request":
        calls, period = calls_in(request)
        count *= calls
    return Workload(
        "cost", unit="request", unit_price=request.search_price, currency=request.currency or "USD", requests=count,
        requests_per=period, requests_by="all", answer_per=request.answer_per, noun="search",
    )  # fmt: skip


def _together(request: Workload, parts: list[Workload]) -> Answer:
    """Work out each part, and their total."""
    found = [answer(replace(part, convert_to="", searches=None, search_price=None)) for part in parts]
    made, models = Answer(), [part.models or "web searches" for part in parts]
    shared = [id for id in found[0].figures if all(id in one.figures for one in found)]
    ids = [id for id in shared if id in ("once", "spend", *PER_YEAR)] or ["each"]
    for id in ids:
        values = [one.figures[id] for one in found]
        whole = sum(one.value for one in values)
        made.figures.add(id, f"{values[0].label.partition(' on ')[0]}, all together", whole, values[0].unit, "sum")
        for index, one in enumerate(values, 1):
            label = one.label if one.label.endswith(models[index - 1]) else f"{one.label}, {models[index - 1]}"
            made.figures.add(f"{id}_{index}", label, one.value, one.unit, one.formula, prices=one.prices)
    wanted = [one for one in periods_of(request) if one in ids]
    usual = next(one for one in ("spend", "once", "month", "each") if one in ids)
    first, *more = dict.fromkeys((*wanted, usual))
    per = {"once": "", "each": " for one of each", "spend": f" a {request.spend_per}" if request.spend_per else ""}
    spans = {id: per.get(id, f" a {id}") for id in ids}
    each = ", ".join(f"{model} {made.figures[f'{first}_{n}'].text}" for n, model in enumerate(models, 1))
    also = ""
    if wanted and more and spans[more[0]] != spans[first]:
        also = f" ({made.figures[more[0]].text}{spans[more[0]]})"
    verb = "You pay" if request.goal == "bill" else "Together this costs"
    made.headline = f"{verb} **{made.figures[first].text}**{spans[first]}{also}: {each}."
    made.table = [["", *((spans[id].strip() or "in all").capitalize() for id in ids), "Share"]]
    whole = made.figures[first].value
    for index, model in enumerate([*models, "All together"], 1):
        end = f"_{index}" if index <= len(models) else ""
        share = made.figures[f"{first}{end}"].value / whole * 100 if whole else 0.0
        made.table.append([model, *(made.figures[f"{id}{end}"].text for id in ids), format_value(share, "%")])
    costs = [made.figures[f"{first}_{index}"].value for index in range(1, len(models) + 1)]
    made.chart = chart("bar", f"Cost{spans[first]}", models, {"Cost": costs}, made.figures[first].unit)
    made.notes = [note for note in found[0].notes if all(note in one.notes for one in found)]
    made.details = list(dict.fromkeys(detail for one in found for detail in one.details))
    return converted(made, request)


def _growing(request: Workload, factor: float, count: int) -> Answer:
    """Work out what a cost becomes that grows by a factor each period, and what the periods cost in all."""
    period, goal = request.growth_per, request.goal if request.goal == "cost" else "bill"
    plain = replace(request, goal=goal, growth=None, growth_per="", growth_for=None, answer_per=period, convert_to="")
    base = answer_all(plain)
    start = base.figures[period] if period in base.figures else base.figures["spend"]
    first = start.value * (request.price_change or 1.0 if goal == "bill" else 1.0)
    costs = [first * factor**number for number in range(count)]
    made, grown = Answer(), f"cost of the first {period} × {factor:.6g} for each after it"
    now = made.figures.add("first", f"{period.capitalize()} 1", first, start.unit, start.formula, prices=start.prices)
    then = made.figures.add("after", f"A {period} after {count} {period}s", first * factor**count, now.unit, grown)
    whole = made.figures.add("whole", f"{period.capitalize()}s 1 to {count} in all", sum(costs), now.unit, grown)
    made.headline = (
        f"From {now.text} a {period} it becomes **{then.text}** a {period} after {count} {period}s; these {count} "
        f"{period}s cost **{whole.text}** in all, the first of them {now.text}."
    )
    made.table = [
        [period.capitalize(), "Cost"],
        *([str(n), format_value(one, now.unit)] for n, one in enumerate(costs, 1)),
    ]
    labels = [str(number) for number in range(1, count + 1)]
    made.chart = chart("line", f"Cost by {period}", labels[:400], {"Cost": costs[:400]}, now.unit)
    made.notes, made.details = base.notes, [base.headline.replace("**", ""), *base.details]
    return converted(made, request)
