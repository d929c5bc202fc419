"""Savings: the bill, what lowers it, the goal, other models and the steps, as lines of the answer."""

import math
from collections.abc import Iterator
from typing import TypedDict

from agents.advisor.case import Candidate, Case, Plan, Step
from agents.advisor.findings import chosen
from agents.advisor.levers import LEVERS, Lever
from agents.advisor.markdown import Amounts, dollars, money, section, table, tokens
from agents.advisor.optimization import AVOIDABLE, left_out
from agents.advisor.prices import Price

MAX_STEPS = 8
MAX_COMPARED = 3
SMALL = 0.01


class LeverTotal(TypedDict):
    """A lever over all models: by itself, and beside those before it, US dollars a month."""

    lever: Lever
    alone: float
    saving: float


class Totals(TypedDict):
    """US dollars a month, and the saved part of the bill from 0 to 1; `levers` in the order of their first step."""

    monthly_spend: float
    monthly_saving: float
    monthly_after: float
    yearly_saving: float
    saved_share: float
    levers: list[LeverTotal]


def headline(case: Case, totals: Totals) -> Iterator[str]:
    amounts = Amounts(case.unit)
    saving, spend = totals["monthly_saving"], totals["monthly_spend"]
    of = f" on {chosen(case.uses[0].only)}" if case.uses and chosen(case.uses[0].only) else ""
    if saving <= 0:
        yield f"**I found no saving on {amounts.monthly(spend)}{of}** by list prices."
    elif case.percent:
        yield f"**You can save about {totals['saved_share']:.0%} of the bill.**"
    else:
        yield (
            f"**You can save about {amounts.monthly(saving)}{of}**: {totals['saved_share']:.0%} of {amounts(spend)}, "
            f"{amounts(totals['yearly_saving'])} a year. {amounts.monthly(totals['monthly_after'])} remains."
        )
    if case.others:
        rest = " + ".join(money(one["amount"], one["currency"]) for one in case.others)
        yield ""
        yield f"{rest} a month comes on top and is in none of these figures: I have no exchange rate."
    if case.question["scenario"] and case.base > spend:
        yield ""
        yield (
            f"Of the whole bill of {amounts.monthly(case.base)} that is {saving / case.base:.1%}: the rest stays as it "
            "is."
        )


def focus(case: Case, totals: Totals) -> Iterator[str]:
    """The levers that the question names, each by itself, before what all of them do."""
    amounts, wanted = Amounts(case.unit), case.goal_saving
    if case.question["scenario"]:
        return
    for lever in case.question["levers"]:
        alone = next((one["alone"] for one in totals["levers"] if one["lever"] == lever), 0.0)
        name = LEVERS[lever].name
        reuse = case.reuse if lever == "reuse" else None
        if reuse:
            words = (
                f"**{name}** saves {amounts.monthly(reuse['tenth'])} for each 10% of the requests that a store answers"
            )
        elif alone > 0:
            part = f" ({alone / case.spend:.0%})" if case.spend and not case.percent else ""
            words = f"**{name}** by itself saves about {amounts.monthly(alone)}{part}"
        else:
            words = f"**{name}** by itself saves nothing that I can count (the assumptions say why)"
        if wanted is not None and wanted > 0 and not reuse:
            enough = "" if alone >= wanted * (1 - 1e-9) else "not "
            words += f", which is {enough}enough for the {amounts(wanted)} that you want to save"
        yield f"{words}."
        if lever in ("cache", "reuse") and case.reuse and case.reuse["needed_share"]:
            yield (
                f"With prompt caching and nothing else beside them, stored answers would have to serve "
                f"{_up(case.reuse['needed_share'])} of all requests to "
                f"reach "
                "the goal."
            )
        yield ""
    if case.question["levers"]:
        yield "With all levers together:"
        yield ""


def bill(case: Case) -> Iterator[str]:
    amounts = Amounts(case.unit)
    yield from ("", "## What you pay for")
    rows = []
    for line in case.lines:
        inputs, outputs = amounts(line["input_usd"]), amounts(line["output_usd"])
        if not case.percent:
            inputs, outputs = f"{tokens(line['input_mtok'])}: {inputs}", f"{tokens(line['output_mtok'])}: {outputs}"
        rows.append([_name(line["price"]), amounts(line["monthly_spend"]), inputs, outputs, _rates(line["price"])])
    yield from table(["Model", "A month", "Input tokens", "Output tokens", "$ per million in / out"], *rows)
    for spend in case.figures["spends"]:
        if spend["period"] != "month" and not case.uses:
            yield ""
            yield f"{spend['quote']} a {spend['period']} is {amounts(spend['usd_per_month'])} a month."
    for line in case.lines:
        stated = line["tokens_usd"]
        if stated is not None and not case.percent and not math.isclose(stated, line["monthly_spend"], rel_tol=0.1):
            yield ""
            yield (
                f"The tokens that you name cost {amounts(stated)} a month at list prices, not "
                f"{amounts(line['monthly_spend'])}. I went by the bill and took only the mix from the tokens."
            )


def savings(case: Case, totals: Totals) -> Iterator[str]:
    amounts = Amounts(case.unit)
    if totals["monthly_saving"] > 0:
        yield from ("", "## What saves how much")
        rows = []
        for one in totals["levers"]:
            about = LEVERS[one["lever"]]
            how = _hows(one["lever"], [plan for plan in case.plans if _pulls(plan, one["lever"])])
            risk = f"{about.effort} / {about.risk}"
            rows.append([about.name, how, risk, amounts(one["alone"]), f"**{amounts(one['saving'])}**"])
        if len(rows) > 1:
            rows.append(["**Together**", "all of these", "–", "–", f"**{amounts(totals['monthly_saving'])}**"])
        yield from table(["Lever", "How", "Effort / risk", "Alone, a month", "Beside the others"], *rows)
        if len(rows) > 1:
            yield ""
            yield (
                "“Beside the others” counts each lever only on what the ones to be pulled before it leave, so nothing "
                "is saved twice."
            )
    yield from section("Not in these sums", [*left_out(case), *_reuse(case)])


def _hows(lever: Lever, plans: list[Plan]) -> str:
    """How the lever is pulled, said once where it is the same for all models."""
    hows = [_how(lever, plan) for plan in plans]
    if lever == "move":
        moves = [how.partition(" moves ") for how in hows]
        if len({share for share, *_ in moves}) == 1:
            return f"{moves[0][0]} moves {'; '.join(dict.fromkeys(rest for *_, rest in moves))}"
    elif len(set(hows)) > 1:
        return "; ".join(f"on {plan['model']} {how}" for plan, how in zip(plans, hows, strict=True))
    return "; ".join(dict.fromkeys(hows))


def _pulls(plan: Plan, lever: Lever) -> bool:
    return any(one["lever"] == lever for one in plan["savings"])


def _how(lever: Lever, plan: Plan) -> str:
    shares = plan["shares"]
    hows: dict[Lever, str] = {
        "retries": f"{AVOIDABLE:.0%} of what failed requests and retries cost is avoided",
        "cache": f"{shares['repeat']:.0%} of the input repeats, {shares['hit']:.0%} of it is found in the cache",
        "batch": f"{shares['batch']:.0%} of the traffic waits for a batch",
        "tier": f"{shares['tier']:.0%} of what is no batch goes at the flex tier",
        "move": f"{shares['move']:.0%} of the traffic moves from {plan['model']} to {plan['target']}",
        "reuse": f"{shares['reuse']:.0%} of the requests are answered from a store",
        "trim": f"{shares['trim']:.0%} fewer input tokens",
    }
    return hows[lever]


def _reuse(case: Case) -> Iterator[str]:
    """What semantic caching could do, as far as anybody can know."""
    reuse, amounts = case.reuse, Amounts(case.unit)
    if not reuse:
        return
    words = f"Semantic caching: each 10% of the requests that a store answers saves {amounts.monthly(reuse['tenth'])}. "
    if reuse["most_share"] == 0:
        words += (
            "By the file no request repeats an earlier one of the same day word by word; how many only mean the "
            "same, no "
            "usage file says. "
        )
    elif reuse["most"] is not None and reuse["most_share"] is not None:
        words += (
            f"By the file at most {reuse['most_share']:.1%} of the requests, worth {amounts.monthly(reuse['most'])}, "
            "can repeat an earlier one word by word; questions that only mean the same are not in that, and how many "
            "do either, no usage file says. "
        )
    else:
        words += "How many requests repeat, neither message nor price list says. "
    if reuse["needed_share"]:
        words += (
            f"Your goal, reached with prompt caching and this alone, takes {_up(reuse['needed_share'])} of all "
            f"requests. "
        )
    yield words + "To know: store a hash of each prompt for a week, count the repeats, and have a person read a sample."


def goal(case: Case, totals: Totals) -> Iterator[str]:
    figure, wanted = case.figures["goal"], case.goal_saving
    if figure is None or wanted is None:
        return
    amounts = Amounts(case.unit)
    saving = totals["monthly_saving"]
    after = max(case.base, totals["monthly_spend"]) - saving
    yield from ("", "## Your goal", "")
    limit = f", so at most {amounts.monthly(max(0.0, case.base - wanted))}"
    if wanted <= 0:
        yield f"{amounts.monthly(case.base)} is within {amounts(figure['value'])} already."
    elif wanted >= case.base:
        yield f"**Not possible**: {amounts.monthly(wanted)} is all of the {amounts(case.base)}, or more."
    elif saving >= wanted * (1 - 1e-9):
        first = next((number for number, step in enumerate(case.steps, 1) if step["reaches_goal"]), None)
        by = f" The first {first} steps are enough." if first and 1 < first < len(case.steps) else ""
        by = " The first step is enough." if first == 1 and len(case.steps) > 1 else by
        yield f"**Reached**: {amounts.monthly(wanted)} was to be saved{limit}; {amounts(after)} remains.{by}"
    else:
        yield (
            f"**Not reached yet**: {amounts.monthly(wanted)} was to be saved{limit}. "
            f"{amounts.monthly(wanted - saving)} is missing."
        )
        for plan in [] if case.question["scenario"] else case.plans[:MAX_COMPARED]:
            yield f"- {plan['model']}: {_needed(plan)}"


def _needed(plan: Plan) -> str:
    if plan["goal_saving"] is not None and plan["monthly_saving"] >= plan["goal_saving"] * (1 - 1e-9):
        return "its part of the goal is reached."
    if plan["need"]:
        need = plan["need"]
        return f"its part would be reached by moving {_up(need['move'])} of its traffic to {need['model']}."
    return "its part is out of reach with list prices alone: fewer requests or shorter answers would be needed."


def models(case: Case) -> Iterator[str]:
    amounts = Amounts(case.unit)
    compared = [one for one in zip(case.lines, case.candidates, strict=False) if one[1]]
    for line, candidates in compared[:MAX_COMPARED]:
        yield from ("", f"## All of {line['price']['model']} elsewhere, same tokens")
        rows = [
            [
                _name(one["price"]),
                one["price"]["vendor_name"],
                _rates(one["price"]),
                amounts(one["monthly_cost"]),
                _change(one, amounts),
            ]
            for one in candidates
        ]
        yield from table(["Model", "Vendor", "$ per million in / out", "A month", "Instead of now"], *rows)
    if len(compared) > MAX_COMPARED:
        left = ", ".join(line["price"]["model"] for line, _ in compared[MAX_COMPARED:])
        yield from ("", f"Ask for cheaper alternatives to one of these to see them compared: {left}.")


def _change(one: Candidate, amounts: Amounts) -> str:
    saving = one["monthly_saving"]
    return f"{amounts(saving)} less" if saving >= 0 else f"{amounts(-saving)} **more**"


def steps(case: Case, totals: Totals) -> Iterator[str]:
    """The steps that matter, each with who, how hard, how to see that it worked and the way back."""
    if not case.steps:
        return
    amounts = Amounts(case.unit)
    yield from ("", "## Steps, in this order", "")
    worth = [step for step in case.steps if step["saving"] >= totals["monthly_saving"] * SMALL or step["reaches_goal"]]
    reaching = next((number for number, step in enumerate(worth, 1) if step["reaches_goal"]), 0)
    shown = worth[: max(MAX_STEPS, reaching)]
    for number, step in enumerate(shown, 1):
        reached = " **This reaches your goal.**" if step["reaches_goal"] else ""
        yield (
            f"{number}. **{_title(step, case.question['scenario'])}**: saves {amounts.monthly(step['saving'])}, "
            f"with those before it "
            f"{amounts(step['total'])}.{reached}"
        )
        if case.question["narrow"]:
            continue
        yield f"   - {step['do']}"
        yield f"   - Owner: {step['owner']}. Effort: {step['effort']}. Risk: {step['risk']}."
        yield f"   - It worked when: {step['validation']}"
        yield f"   - The way back: {step['rollback']}"
    left = [step for step in case.steps if step not in shown]
    if left:
        smaller = f"{len(left)} smaller steps" if len(left) > 1 else "One smaller step"
        yield from ("", f"{smaller} of the same kinds {'are' if len(left) > 1 else 'is'} in the sums above as well.")
    yield from ("", "After each step compare the next bill with these figures before you go on.")


def _title(step: Step, scenario: bool) -> str:
    model, which = step["model"], "these requests" if scenario else "simple requests"
    titles: dict[Lever, str] = {
        "retries": f"Stop paying for failures on {model}",
        "cache": f"Cache prompts on {model}",
        "batch": f"Send what can wait on {model} as batches",
        "tier": f"Use the flex tier on {model}",
        "trim": f"Shorten the prompts on {model}",
        "reuse": f"Answer repeated requests to {model} from a store",
        "move": f"Move {which} from {model} to {step['target']}",
    }
    return titles[step["lever"]]


def risks(case: Case) -> Iterator[str]:
    """What each lever of the plans would break."""
    levers = dict.fromkeys(saving["lever"] for plan in case.plans for saving in plan["savings"])
    for lever in levers:
        yield f"{LEVERS[lever].name} ({LEVERS[lever].risk} risk): {LEVERS[lever].breaks}"


def prices_only(case: Case) -> Iterator[str]:
    figures = case.figures
    inputs, outputs = figures["input_per_request"], figures["output_per_request"]
    yield "**List prices**, in dollars per million tokens:"
    header = ["Model", "Vendor", "Input", "Cached input", "Output"]
    if inputs and outputs:
        header.append("1,000 requests")
    rows = []
    for price in case.prices:
        cached = "–" if price["cache_read"] is None else _rate(price["cache_read"])
        row = [_name(price), price["vendor_name"], _rate(price["input"]), cached, _rate(price["output"])]
        if inputs and outputs:
            row.append(dollars((inputs * price["input"] + outputs * price["output"]) / 1000))
        rows.append(row)
    yield from table(header, *rows)
    if len(case.prices) > 1:
        yield ""
        first, second = case.prices[:2]
        yield f"{_compared('Input', first, second, 'input')} {_compared('Output', first, second, 'output')}"


def _compared(what: str, first: Price, second: Price, key: str) -> str:
    one, other = (first["input"], second["input"]) if key == "input" else (first["output"], second["output"])
    if one == other:
        return f"{what} costs the same on both."
    cheap, dear = (first, second) if one < other else (second, first)
    return f"{what} is {1 - min(one, other) / max(one, other):.0%} cheaper on {cheap['model']} than on {dear['model']}."


def _rate(rate: float) -> str:
    return f"${rate:,.4f}".rstrip("0").rstrip(".")


def _rates(price: Price) -> str:
    return f"{_rate(price['input'])} / {_rate(price['output'])}"


def _up(share: float) -> str:
    # Rounded down it would just miss the goal.
    return f"{math.ceil(share * 100 - 1e-9)}%"


def _name(price: Price) -> str:
    return f"`{price['model']}`"
