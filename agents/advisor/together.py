"""Answers to a request of several models with amounts of their own: each by itself, and all together."""

from dataclasses import replace

from agents.advisor.language.vocabulary import PER_YEAR
from agents.advisor.request import Workload, parts_of
from agents.advisor.workload import answer, converted, periods_of
from agents.usage.figures import Answer, chart, format_value


def answer_all(request: Workload) -> Answer:
    """Work the request out, with the total of its models if it has amounts for each."""
    parts = parts_of(request)
    if not parts:
        return answer(request)
    found = [answer(replace(part, convert_to="")) for part in parts]
    made, models = Answer(), [part.models for part in parts]
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
