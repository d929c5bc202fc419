"""Answers that are made of several: of models with amounts of their own, and of periods in which a cost grows."""

from dataclasses import replace

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import TEXTS, Period, Workload, a_period, only_searches, parts_of
from agents.advisor.workload import answer, calls_in, converted
from agents.usage.figures import Answer, chart, format_value, numeral
from chat.translation import t, tc


def answer_all(request: Workload) -> Answer:
    """Work the request out, with the total of its models if it has amounts for each, and of periods if it grows."""
    if request.growth_per and request.growth and request.growth_for:
        return _growing(request, request.growth, max(1, int(request.growth_for)))
    parts = parts_of(request)
    if request.searches is None:
        return _together(request, parts) if parts else answer(request)
    if only_searches(request):
        made = answer(_searches(request))
        made.notes.append(t("The searches only: the model's tokens come on top."))
        return made
    return _together(request, [*(parts or [replace(request, searches=None, search_price=None)]), _searches(request)])


def _searches(request: Workload) -> Workload:
    """Return the searches of a request as a workload of their own."""
    calls, period = calls_in(request) if request.searches_per == "request" else (1.0, request.searches_per)
    per: Period = period  # type: ignore[assignment]
    return Workload(
        "cost", unit="request", unit_price=request.search_price, currency=request.currency or "USD", requests_per=per,
        requests=(request.searches or 0) * calls, requests_by="all", answer_per=request.answer_per, noun="search",
    )  # fmt: skip


def _together(request: Workload, parts: list[Workload]) -> Answer:
    """Work out each part, and their total."""
    found = [answer(replace(part, convert_to="", searches=None, search_price=None)) for part in parts]
    made, models = Answer(), [part.models or t("web searches") for part in parts]
    shared = [id for id in found[0].figures if all(id in one.figures for one in found)]
    ids = [id for id in shared if id in ("once", "spend", *PER_YEAR)] or ["each"]
    for id in ids:
        values = [one.figures[id] for one in found]
        label, whole = values[0].label.partition(tc("model", " on {0}", ""))[0], sum(one.value for one in values)
        made.figures.add(id, t("{0}, all together", label), whole, values[0].unit, t("sum"))
        for index, (one, model) in enumerate(zip(values, models, strict=True), 1):
            name = one.label if one.label.endswith(model) else f"{one.label}, {model}"
            made.figures.add(f"{id}_{index}", name, one.value, one.unit, one.formula, prices=one.prices)
    wanted = [one for one in request.periods if one in ids]
    usual = next(one for one in ("spend", "once", "month", "each") if one in ids)
    first, *more = dict.fromkeys((*wanted, usual))
    per = {"once": "", "each": t(" for one of each"), "spend": a_period(request.spend_per)}
    spans = {id: per[id] if id in per else a_period(id) for id in ids}
    rows = [made.figures[f"{first}_{index}"] for index in range(1, len(models) + 1)]
    each = ", ".join(f"{model} {one.text}" for model, one in zip(models, rows, strict=True))
    beside = wanted and more and spans[more[0]] != spans[first]
    also = f" ({made.figures[more[0]].text}{spans[more[0]]})" if beside else ""
    whole, shown = made.figures[first].value, (made.figures[first].text, spans[first], also, each)
    text = t("You pay **{0}**{1}{2}: {3}.") if request.goal == "bill" else t("Together this costs **{0}**{1}{2}: {3}.")
    made.headline = text.format(*shown)
    heads = (spans[id].strip() or a_period("once").strip() for id in ids)
    made.table = [["", *(head[:1].upper() + head[1:] for head in heads), t("Share")]]
    for model, end in [*((model, f"_{index}") for index, model in enumerate(models, 1)), (t("All together"), "")]:
        share = format_value(made.figures[f"{first}{end}"].value / whole * 100 if whole else 0.0, "%")
        made.table.append([model, *(made.figures[f"{id}{end}"].text for id in ids), share])
    costs = {t("Cost"): [one.value for one in rows]}
    made.chart = chart("bar", t("Cost {0}", spans[first].strip()).strip(), models, costs, made.figures[first].unit)
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
    made, name, per = Answer(), t(period), a_period(period)
    grown, several = (
        t("cost of the first {0} × {1} for each after it", name, numeral(f"{factor:.6g}")),
        TEXTS["several"],
    )
    title, after, add = name[:1].upper() + name[1:], t(several[period], count), made.figures.add
    now = add("first", f"{title} 1", first, start.unit, start.formula, prices=start.prices)
    then = add("after", t("After {0},{1}", after, per), first * factor**count, now.unit, grown)
    whole = add("whole", t("In {0}", after), sum(costs), now.unit, grown)
    text = t("From {0}{1} it becomes **{2}**{1} after {3}. They cost **{4}** together, the first of them {0}.")
    made.headline = text.format(now.text, per, then.text, after, whole.text)
    labels = [str(number) for number in range(1, count + 1)]
    rows = ([label, format_value(one, now.unit)] for label, one in zip(labels, costs, strict=True))
    made.table = [[title, t("Cost")], *rows]
    made.chart = chart("line", t("{0} by {1}", t("Cost"), name), labels[:400], {t("Cost"): costs[:400]}, now.unit)
    made.notes, made.details = base.notes, [base.headline.replace("**", ""), *base.details]
    return converted(made, request)
