"""Reporting: the answer, in Markdown, from what the others found. Every amount in it is theirs."""

import math
from collections.abc import Iterator
from typing import TypedDict

from agents.advisor.case import Candidate, Case, Lever, Plan, Step
from agents.advisor.data_helper import EXAMPLE
from agents.advisor.figures import is_empty
from agents.advisor.findings import chosen, findings, outside, traces, unread
from agents.advisor.markdown import dollars, escaped, money, section, table
from agents.advisor.optimization import AVOIDABLE
from agents.advisor.prices import Price
from agents.agent import AgentError, Turn

LEVERS: dict[Lever, str] = {
    "retries": "Retry hygiene",
    "cache": "Prompt caching",
    "batch": "Batch processing",
    "move": "Cheaper model",
    "trim": "Shorter prompts",
}


class Totals(TypedDict):
    """US dollars a month, and the saved part of the bill from 0 to 1."""

    monthly_spend: float
    monthly_saving: float
    monthly_after: float
    yearly_saving: float
    saved_share: float


def add_up(plans: list[Plan], steps: list[Step]) -> Totals:
    """The totals of the answer. AgentError where the parts do not add up to them, or save more than is paid."""
    spend = math.fsum(plan["monthly_spend"] for plan in plans)
    saving = math.fsum(plan["monthly_saving"] for plan in plans)
    listed = math.fsum(step["saving"] for step in steps)
    if not 0 <= saving <= spend * (1 + 1e-9) or (
        steps and not math.isclose(listed, saving, rel_tol=1e-6, abs_tol=1e-9)
    ):
        raise AgentError("The savings do not add up, so they are not shown.")
    return {
        "monthly_spend": spend,
        "monthly_saving": saving,
        "monthly_after": spend - saving,
        "yearly_saving": saving * 12,
        "saved_share": saving / spend if spend else 0.0,
    }


async def reporting(turn: Turn, case: Case) -> Totals | None:
    totals = None
    if case.plans:
        await turn.think("Checking that the parts add up, then writing the answer")
        try:
            totals = await turn.call(add_up, plans=case.plans, steps=case.steps)
        except AgentError as error:
            case.problems.append(f"reporting: {error.message}")
    else:
        await turn.think("Writing the answer")
    for line in report(case, totals):
        await turn.say(line + "\n")
    turn.summary = f"Saves {_amounts(case).monthly(totals['monthly_saving'])}." if totals else "Answered."
    return totals


def report(case: Case, totals: Totals | None) -> Iterator[str]:
    """The lines of the answer."""
    if is_empty(case.figures) and not case.uses:
        yield from _nothing_to_go_on(case)
    elif "assumptions" in case.topics:
        yield from _assumptions_alone(case, totals)
    else:
        yield from _answer(case, totals)
    yield from _missing(case)
    yield from section("What could not be read or priced", list(unread(case)))
    if case.uses or not is_empty(case.figures):
        yield from section("How I read your message", [*case.figures["notes"], *_read(case)])
    yield from section("What failed on the way", case.problems)
    yield from section("Where the numbers come from", list(_sources(case)))


def _answer(case: Case, totals: Totals | None) -> Iterator[str]:
    speed = list(_speed_and_load(case, totals))
    if case.uses and case.topics == ["general"] and not any(chosen(use.only) for use in case.uses):
        yield "What I work out is the cost, speed and load of AI models. Of the usage data I can say this:"
        yield ""
    first = not {"latency", "capacity"}.isdisjoint(case.topics) and "cost" not in case.topics
    if totals:
        yield from _headline(case, totals)
        if first:
            yield from speed
        yield from findings(case)
        yield from _bill(case)
        yield from _savings(case, totals)
        yield from _goal(case, totals)
        yield from _models(case)
        yield from _steps(case)
    elif case.uses:
        yield "I read the usage data; savings could not be worked out from it."
        yield from findings(case)
    elif case.lines:
        yield "I could read the bill, but not work out savings this time."
        yield from _bill(case)
    else:
        yield from _prices_only(case)
    if not (totals and first):
        yield from speed
    if "quality" in case.topics:
        yield from section(
            "Quality", ["I have prices and usage, no measure of how good answers are: compare on your own requests."]
        )
    if totals:
        yield from section("Assumptions", _all_assumptions(case))
        yield from section("Risks", list(_risks(case)))
    else:
        yield from section("Assumptions", case.assumptions)


def _assumptions_alone(case: Case, totals: Totals | None) -> Iterator[str]:
    if totals:
        yield from _headline(case, totals)
    else:
        yield "What the last answer rests on:"
    yield from section("Assumptions", _all_assumptions(case) if totals else case.assumptions)
    if totals:
        yield from section("Risks", list(_risks(case)))


def _all_assumptions(case: Case) -> list[str]:
    files = [escaped(one, 400) for use in case.uses for one in use.whole["assumptions"]]
    return [*case.assumptions, *_pricing_assumptions(case), *files, *outside(case)]


def _read(case: Case) -> Iterator[str]:
    for words in dict.fromkeys(chosen(use.only) for use in case.uses):
        if words:
            yield f"The figures are only of: {words}."
    spends = case.figures["spends"]
    if spends and case.uses:
        quotes = ", ".join(spend["quote"] for spend in spends)
        yield f"{quotes} in your words: what the file says was spent counts instead."


def _nothing_to_go_on(case: Case) -> Iterator[str]:
    yield "I work out how to spend less on AI models, or what a change would cost. I found no figures in your message."
    yield ""
    yield "Tell me what you pay and for which model; what you know of these makes the answer sharper:"
    yield ""
    yield "- **the bill**: dollars a month, or requests and tokens"
    yield "- **the model**: such as GPT-4o, Claude Sonnet 4.5, Gemini 2.5 Pro"
    yield "- **the traffic**: tokens in and out per request; which part is simple, repeats, or can wait"
    yield "- **the goal**: a percentage, a limit, or a time"
    yield ""
    yield f"For example: *{EXAMPLE}*"
    yield ""
    yield "Or attach usage data: a CSV or JSONL table, or an export of OpenAI, Anthropic, LiteLLM or Langfuse."
    yield from section("How I read your message", case.figures["notes"])


def _headline(case: Case, totals: Totals) -> Iterator[str]:
    amounts = _amounts(case)
    saving, spend = totals["monthly_saving"], totals["monthly_spend"]
    if saving <= 0:
        yield f"**I found no saving on {amounts.monthly(spend)}** by list prices."
    elif case.percent:
        yield f"**You can save about {totals['saved_share']:.0%} of the bill.**"
    else:
        yield (
            f"**You can save about {amounts.monthly(saving)}**: {totals['saved_share']:.0%} of {amounts(spend)}, "
            f"{amounts(totals['yearly_saving'])} a year. {amounts.monthly(totals['monthly_after'])} remains."
        )


def _bill(case: Case) -> Iterator[str]:
    amounts = _amounts(case)
    yield from ("", "## What you pay for")
    header = ["Model", "A month", "Input tokens", "Output tokens", "$ per million in / out"]
    rows = []
    for line in case.lines:
        inputs, outputs = amounts(line["input_usd"]), amounts(line["output_usd"])
        if not case.percent:
            inputs, outputs = f"{_count(line['input_mtok'])}: {inputs}", f"{_count(line['output_mtok'])}: {outputs}"
        rows.append([_name(line["price"]), amounts(line["monthly_spend"]), inputs, outputs, _rates(line["price"])])
    yield from table(header, *rows)
    for spend in case.figures["spends"]:
        if spend["period"] != "month":
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


def _savings(case: Case, totals: Totals) -> Iterator[str]:
    if totals["monthly_saving"] <= 0:
        return
    amounts = _amounts(case)
    yield from ("", "## What saves how much")
    rows = []
    for plan in case.plans:
        for saving in plan["savings"]:
            how = _how(saving["lever"], plan)
            name = LEVERS[saving["lever"]] + (f", {plan['model']}" if len(case.plans) > 1 else "")
            rows.append([name, how, amounts(saving["alone"]), f"**{amounts(saving['saving'])}**"])
    rows.append(["**Together**", "all of these", "–", f"**{amounts(totals['monthly_saving'])}**"])
    yield from table(["Lever", "How", "Alone, a month", "On top of those above"], *rows)


def _how(lever: Lever, plan: Plan) -> str:
    shares = plan["shares"]
    if lever == "retries":
        return f"{AVOIDABLE:.0%} of what failed requests and retries cost is avoided"
    if lever == "cache":
        return f"{shares['repeat']:.0%} of the input repeats, {shares['hit']:.0%} of it is found in the cache"
    if lever == "batch":
        return f"{shares['batch']:.0%} of the traffic waits for a batch"
    if lever == "move":
        return f"{shares['move']:.0%} of the traffic moves from {plan['model']} to {plan['target']}"
    return f"{shares['trim']:.0%} fewer input tokens"


def _goal(case: Case, totals: Totals) -> Iterator[str]:
    goal, wanted = case.figures["goal"], case.goal_saving
    if goal is None or wanted is None:
        return
    amounts = _amounts(case)
    after, saving = totals["monthly_after"], totals["monthly_saving"]
    yield from ("", "## Your goal", "")
    limit = f", so at most {amounts.monthly(max(0.0, totals['monthly_spend'] - wanted))}"
    if wanted <= 0:
        yield f"{amounts.monthly(totals['monthly_spend'])} is within {amounts(goal['value'])} already."
    elif wanted >= totals["monthly_spend"]:
        yield f"**Not possible**: {amounts.monthly(wanted)} is all of the {amounts(totals['monthly_spend'])}, or more."
    elif saving >= wanted * (1 - 1e-9):
        yield f"**Reached**: {amounts.monthly(wanted)} was to be saved{limit}; {amounts(after)} remains."
    else:
        yield (
            f"**Not reached yet**: {amounts.monthly(wanted)} was to be saved{limit}. "
            f"{amounts.monthly(wanted - saving)} is missing."
        )
        for plan in case.plans:
            yield f"- {plan['model']}: {_needed(plan, amounts)}"


def _needed(plan: Plan, amounts: "_Amounts") -> str:
    if plan["goal_saving"] is not None and plan["monthly_saving"] >= plan["goal_saving"] * (1 - 1e-9):
        return "its part of the goal is reached."
    if plan["need"]:
        need = plan["need"]
        return f"its part would be reached by moving {_up(need['move'])} of its traffic to {need['model']}."
    return "its part is out of reach with list prices alone: fewer requests or shorter answers would be needed."


def _models(case: Case) -> Iterator[str]:
    amounts = _amounts(case)
    for line, candidates in zip(case.lines, case.candidates, strict=False):
        if not candidates:
            continue
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


def _change(one: Candidate, amounts: "_Amounts") -> str:
    saving = one["monthly_saving"]
    return f"{amounts(saving)} less" if saving >= 0 else f"{amounts(-saving)} **more**"


def _steps(case: Case) -> Iterator[str]:
    if not case.steps:
        return
    amounts = _amounts(case)
    yield from ("", "## Steps, in this order", "")
    for number, step in enumerate(case.steps, 1):
        reached = " **This reaches your goal.**" if step["reaches_goal"] else ""
        saves = f"Saves {amounts.monthly(step['saving'])}, {amounts(step['total'])} in all."
        yield f"{number}. {_do(step)} {saves}{reached}"
    yield f"{len(case.steps) + 1}. Compare the next bill with these figures before you go on."


def _do(step: Step) -> str:
    model = step["model"]
    if step["lever"] == "cache":
        return f"**Cache prompts on {model}** (low effort): put what never changes at the front of the prompt."
    if step["lever"] == "retries":
        return (
            f"**Stop paying for failures on {model}** (low effort): wait longer before each retry, cap retries, and "
            "check requests before they are sent."
        )
    if step["lever"] == "batch":
        return f"**Send what can wait on {model} through the batch API** (low effort)."
    if step["lever"] == "trim":
        return f"**Shorten the prompts on {model}** (medium effort): drop unused context, examples and old turns."
    return (
        f"**Move simple requests from {model} to {step['target']}** (medium effort): run both on 100 of your own "
        "requests, compare the answers, then switch a little at a time."
    )


def _prices_only(case: Case) -> Iterator[str]:
    figures = case.figures
    if not case.prices:
        yield "I can read this, but it is not enough for a calculation."
        return
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


def _speed_and_load(case: Case, totals: Totals | None) -> Iterator[str]:
    figures, capacity, amounts = case.figures, case.capacity, _amounts(case)
    items: list[str] = []
    growth = figures["growth"]
    if totals and growth and growth != 1 and not case.percent:
        now, after = totals["monthly_spend"] * growth, totals["monthly_after"] * growth
        items.append(
            f"{growth:g} times the traffic costs {amounts.monthly(now)} as it is, {amounts.monthly(after)} after the "
            "steps."
        )
    if capacity:
        if capacity["requests_per_second"]:
            items.append(f"{capacity['requests_per_second']:,.3g} requests a second on average over the month.")
        if capacity["in_flight"] is not None and figures["latency"]:
            items.append(f"At {figures['latency']:g} s each, {capacity['in_flight']:,.3g} are in flight on average.")
        if capacity["in_flight_after_growth"] is not None:
            items.append(
                f"With {growth:g} times the traffic it is {capacity['in_flight_after_growth']:,.3g} in flight."
            )
        if capacity["latency_cut"] is not None:
            items.append(
                f"From {figures['latency']:g} s to {figures['latency_goal']:g} s is {capacity['latency_cut']:.0%} less."
            )
        if capacity["tokens_per_second"] is not None:
            items.append(f"{capacity['tokens_per_second']:,.3g} output tokens a second, if all the time is generation.")
        if capacity["answer_tokens_at_goal"] is not None:
            items.append(
                f"At that speed {capacity['answer_tokens_at_goal']:,.0f} tokens fit into {figures['latency_goal']:g} s."
            )
    if figures["latency_goal"] and not figures["latency"]:
        items.append(f"For {figures['latency_goal']:g} s I also need the time that a request takes now.")
    if figures["speed_factor"] and figures["latency"]:
        items.append(
            f"{figures['speed_factor']:g} times as fast is {figures['latency'] / figures['speed_factor']:.3g} s each."
        )
    if figures["latency"] or figures["latency_goal"] or figures["speed_factor"]:
        measured = any(use.latency for use in case.uses)
        items.append(
            ("" if measured else "I have prices, no measurements of speed. ")
            + "What shortens a request: shorter answers, streaming (the first words come sooner), cached prompts, "
            "calls side by side, a smaller model. Measure each on your requests."
        )
    yield from section("Speed and load", items)


def _missing(case: Case) -> Iterator[str]:
    figures = case.figures
    items = []
    for unknown in figures["unknown"]:
        near = f" Near to it are: {', '.join(unknown['nearest'])}." if unknown["nearest"] else ""
        items.append(f"I know no price of a model “{unknown['words']}”.{near}")
    if figures["foreign"]:
        quotes = ", ".join(quote for quote in figures["foreign"][:5])
        items.append(
            f"{quotes}: I have no exchange rate, so I do not convert. "
            + (
                "Parts of the bill are the same in every currency."
                if case.percent
                else "Tell me the amount in US dollars."
            )
        )
    items += case.needs
    yield from section("What I need to know", items)
    if case.example:
        yield from ("", "A file of usage data looks like this; what is not known may be left out:", "")
        yield from ("```csv", *case.example.splitlines(), "```")


def _pricing_assumptions(case: Case) -> Iterator[str]:
    yield "List prices of the vendors; a contract, a free quota or a cloud reseller charges otherwise."
    yield "The same number of tokens on every model; other vendors count somewhat differently."
    for line in case.lines:
        price = line["price"]
        if price["batch_input"] is not None and not price["batch_listed"]:
            yield (
                f"50% off for batches of {price['model']}: the discount that {price['vendor_name']} publishes for its "
                "batch API; the price list has no batch price of this model."
            )
    if any(plan["target"] for plan in case.plans):
        yield "Caching and batches are counted only on what stays, not on what moves to the cheaper model."


def _risks(case: Case) -> Iterator[str]:
    levers = {saving["lever"] for plan in case.plans for saving in plan["savings"]}
    if "move" in levers:
        yield "A price says nothing about quality: a cheaper model can answer worse. Test before you switch."
        yield "A reasoning model bills its thinking as output tokens, so the same request may cost more than shown."
    if "cache" in levers:
        yield "If the vendor caches automatically, part of the saving from caching may be in your bill already."
    if "retries" in levers:
        yield "Fewer retries can mean that a user sees an error where a second try would have worked."
    if "batch" in levers:
        yield "A batch may take up to a day."
    if "trim" in levers:
        yield "A shorter prompt can lose something that an answer needs."


def _sources(case: Case) -> Iterator[str]:
    yield from traces(case)
    if case.figures["spends"] and not case.uses:
        yield f"Your message: {', '.join(spend['quote'] for spend in case.figures['spends'])}."
    prices = {price["model"]: price for price in case.prices}
    prices |= {one["price"]["model"]: one["price"] for candidates in case.candidates for one in candidates}
    if prices:
        price = next(iter(prices.values()))
        yield f"Prices: the list in {price['source']}, as valid on {price['as_of']}; nothing was fetched."
        pages = {price["vendor_name"]: price["url"] for price in prices.values() if price["url"]}
        yield "The vendors' own pages: " + ", ".join(f"[{vendor}]({url})" for vendor, url in pages.items()) + "."
    if case.plans:
        tokens = "counted in the file" if case.uses else "the bill divided by these prices"
        yield f"Tokens: {tokens}. Savings: the bill again with the changes, subtracted from it."


class _Amounts:
    """Writes an amount: in the bill's currency, or a part of the bill where that is all that is known."""

    def __init__(self, percent: bool, currency: str) -> None:
        self.percent = percent
        self.currency = currency

    def __call__(self, amount: float) -> str:
        return f"{amount:.1f}%" if self.percent else money(amount, self.currency)

    def monthly(self, amount: float) -> str:
        return f"{amount:.1f}% of the bill" if self.percent else f"{self(amount)} a month"


def _amounts(case: Case) -> _Amounts:
    return _Amounts(case.percent, case.currency)


def _rate(rate: float) -> str:
    return f"${rate:,.4f}".rstrip("0").rstrip(".")


def _rates(price: Price) -> str:
    return f"{_rate(price['input'])} / {_rate(price['output'])}"


def _count(mtok: float) -> str:
    return (
        f"{mtok * 1e3:,.3g} thousand" if mtok < 1 else f"{mtok:,.0f} million" if mtok >= 100 else f"{mtok:,.3g} million"
    )


def _up(share: float) -> str:
    # Rounded down it would just miss the goal.
    return f"{math.ceil(share * 100 - 1e-9)}%"


def _name(price: Price) -> str:
    return f"`{price['model']}`"
