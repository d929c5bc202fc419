"""Reporting: the answer, in Markdown, from what the others found. Every amount in it is theirs."""

import math
import re
from collections.abc import Iterator

from agents.advisor.case import Case, Plan, Step
from agents.advisor.data_helper import EXAMPLE
from agents.advisor.figures import is_empty
from agents.advisor.findings import chosen, findings, outside, shown, shown_in_short, traces, unread
from agents.advisor.levers import Lever
from agents.advisor.markdown import Amounts, escaped, section
from agents.advisor.savings import (
    LeverTotal,
    Totals,
    bill,
    focus,
    goal,
    headline,
    models,
    prices_only,
    risks,
    savings,
    steps,
)
from agents.advisor.speed import answer_in_short, speed_and_load
from agents.agent import AgentError, Turn

_WORK = "I work out what AI models cost, how fast they are and what load they carry"


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
        "levers": [_lever(lever, plans) for lever in dict.fromkeys(step["lever"] for step in steps)],
    }


def _lever(lever: Lever, plans: list[Plan]) -> LeverTotal:
    of = [one for plan in plans for one in plan["savings"] if one["lever"] == lever]
    return {
        "lever": lever,
        "alone": math.fsum(one["alone"] for one in of),
        "saving": math.fsum(one["saving"] for one in of),
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
    lines = list(report(case, totals))
    if case.lines or case.uses or case.prices:
        told = await case.talk.narrative(turn, case.text, lines)
        first = next((at for at, line in enumerate(lines) if line.startswith("## ")), len(lines))
        lines[first:first] = [escaped(" ".join(told), 2_000), ""] if told else []
    for line in lines:
        await turn.say(line + "\n")
    turn.summary = "Answered."
    if totals:
        turn.summary = f"Saves {Amounts(case.unit).monthly(totals['monthly_saving'])}."
    return totals


def report(case: Case, totals: Totals | None) -> Iterator[str]:
    """The lines of the answer."""
    kind = case.question["kind"]
    if kind in ("greeting", "other"):
        yield from _idle(case)
        return
    if case.not_there:
        yield from case.not_there
        yield from section("What failed on the way", case.problems)
        return
    if is_empty(case.figures) and not case.uses:
        yield from _nothing_to_go_on(case)
    elif kind == "assumptions":
        yield from _assumptions_alone(case, totals)
    elif kind == "show" and case.uses and (case.question["parts"] or not _is_of_speed(case)):
        yield from _shown(case, totals)
    else:
        yield from _answer(case, totals)
    yield from _missing(case)
    yield from section("What could not be read or priced", list(unread(case)))
    if case.uses or not is_empty(case.figures):
        # Who asks to see figures is told of no goal that an earlier message had.
        notes = [] if kind == "show" else case.figures["notes"]
        yield from section("How I read your message", [*notes, *_read(case)])
    yield from section("What failed on the way", case.problems)
    yield from section("Where the numbers come from", list(_sources(case)))


def _is_of_speed(case: Case) -> bool:
    """Whether it asks for speed, load or quality, and nothing about cost."""
    return bool(case.question["topics"]) and "cost" not in case.question["topics"] and not case.question["levers"]


def _answer(case: Case, totals: Totals | None) -> Iterator[str]:
    if _is_of_speed(case):
        yield from _about_speed(case, totals)
        return
    if totals:
        yield from focus(case, totals)
        yield from headline(case, totals)
        compared = case.question["levers"] == ["move"] and not case.question["scenario"]
        if compared:
            yield from models(case)
        yield from goal(case, totals)
        yield from savings(case, totals)
        yield from steps(case, totals)
        yield from speed_and_load(case, totals)
        if case.question["narrow"] and case.uses:
            yield from ("", "Say “in full” to see the steps in detail, the bill, where it goes and other models.")
            yield from findings(case, ())
            yield from section("Assumptions", _all_assumptions(case))
            return
        yield from bill(case)
        yield from findings(case)
        if not compared:
            yield from models(case)
        yield from section("Assumptions", _all_assumptions(case))
        yield from section("What could go wrong", list(risks(case)))
        return
    if case.uses:
        yield "Savings could not be worked out from the usage data; this is what it says."
    elif case.lines:
        yield "I could read the bill, but not work out savings this time."
        yield from bill(case)
    elif case.prices:
        yield from prices_only(case)
    else:
        short = list(answer_in_short(case, totals))
        useless = case.recognitions and not any(one["usage"] or one["prose"] for one in case.recognitions)
        what = "No attached file is usage data, and the message alone" if useless else "I can read this, but it"
        yield from short or [f"{what} is not enough for a calculation."]
    yield from speed_and_load(case, totals)
    yield from findings(case)
    yield from section("Assumptions", case.assumptions)


def _about_speed(case: Case, totals: Totals | None) -> Iterator[str]:
    """To who asks for speed, load or quality: what the bill has to do with it comes last, and in short."""
    yield from answer_in_short(case, totals)
    yield from speed_and_load(case, totals)
    if "quality" in case.question["topics"]:
        yield from section(
            "Quality", ["I have prices and usage, no measure of how good answers are: compare on your own requests."]
        )
    if totals:
        yield from ("", "## What it costs", "")
        yield from headline(case, totals)
        yield from ("", "Ask how to save it, to see the levers and the steps.")
        yield from bill(case)
    elif case.prices:
        yield ""
        yield from prices_only(case)
    yield from findings(case, ("latency",))
    yield from section("Assumptions", _all_assumptions(case) if totals else case.assumptions)


def _shown(case: Case, totals: Totals | None) -> Iterator[str]:
    """The figures alone, for who asked to see them."""
    yield from shown_in_short(case)
    if totals and not case.question["parts"] and totals["monthly_saving"] > 0:
        amounts = Amounts(case.unit)
        yield ""
        yield (
            f"Of the {amounts.monthly(totals['monthly_spend'])} that this comes to, about "
            f"{amounts(totals['monthly_saving'])} could be saved: ask how, to see the steps."
        )
    yield from shown(case)
    yield from section("Assumptions", [*_file_assumptions(case), *outside(case)])


def _idle(case: Case) -> Iterator[str]:
    """To a greeting, or to what is no question of this agent's."""
    if case.question["kind"] == "greeting":
        thanked = re.match(r"\W*(?:thank|cheers|great|nice)", case.text, re.I)
        yield f"{'You are welcome' if thanked else 'Hello'}. {_WORK}."
    else:
        yield f"That is not what I can help with. {_WORK}."
    names = case.files.names
    yield ""
    if names:
        yield (
            f"In this thread there {'is' if len(names) == 1 else 'are'} {', '.join(map(escaped, names))}. Ask, "
            f"for example:"
        )
        yield ""
        yield "- Cut our bill by a third."
        yield "- Where do errors cost us money?"
        yield "- Which models are slow?"
        yield "- And if only one feature moved to a cheaper model?"
        return
    yield from _what_helps()


def _what_helps() -> Iterator[str]:
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


def _assumptions_alone(case: Case, totals: Totals | None) -> Iterator[str]:
    if totals:
        yield from headline(case, totals)
    else:
        yield "What the last answer rests on:"
    yield from section("Assumptions", _all_assumptions(case) if totals else case.assumptions)
    if totals:
        yield from section("What could go wrong", list(risks(case)))


def _all_assumptions(case: Case) -> list[str]:
    return [*case.assumptions, *_pricing_assumptions(case), *_file_assumptions(case), *outside(case)]


def _file_assumptions(case: Case) -> list[str]:
    return [escaped(one, 400) for use in case.uses for one in use.whole["assumptions"]]


def _read(case: Case) -> Iterator[str]:
    for words in dict.fromkeys(chosen(use.only) for use in case.uses):
        if words:
            kept = any(meant["carried"] for meant in case.meant)
            yield f"The figures are only of: {words}." + (
                " A part of that you chose earlier; say “all rows” to see everything again." if kept else ""
            )
    spends = case.figures["spends"]
    if spends and case.uses:
        quotes = ", ".join(spend["quote"] for spend in spends)
        yield f"{quotes} in your words: what the file says was spent counts instead."


def _nothing_to_go_on(case: Case) -> Iterator[str]:
    unread = [one for one in case.recognitions if not one["usage"]]
    for one in unread:
        name, words = escaped(one["file"]), escaped(one["words"].partition(" For example:")[0], 400)
        if one["prose"]:
            yield (
                f"**{name} is text and no table of usage.** I read it, and found no AI model in it with an amount, "
                "tokens or a goal, which is what I could work with."
            )
        else:
            yield f"**{name} is no usage data**: {words}"
        yield ""
    if not unread:
        yield (
            "I work out how to spend less on AI models, or what a change would cost. I found no figures in your "
            "message."
        )
        yield ""
    yield from _what_helps()
    yield from section("How I read your message", case.figures["notes"])


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
    if case.percent and not figures["foreign"]:
        items.append("Your bill in dollars a month, if you want amounts instead of parts of it.")
    if not is_empty(figures) or case.uses:
        items += case.needs
    yield from section("What I need to know", items)
    if case.example:
        yield from ("", "A file of usage data looks like this; what is not known may be left out:", "")
        yield from ("```csv", *case.example.splitlines(), "```")


def _pricing_assumptions(case: Case) -> Iterator[str]:
    yield "List prices of the vendors; a contract, a free quota or a cloud reseller charges otherwise."
    yield "The same number of tokens on every model; other vendors count somewhat differently."
    halved: dict[str, list[str]] = {}
    for line in case.lines:
        price = line["price"]
        if price["batch_input"] is not None and not price["batch_listed"]:
            halved.setdefault(price["vendor_name"], []).append(price["model"])
    for vendor, names in halved.items():
        yield (
            f"50% off for batches of {', '.join(names)}: the discount that {vendor} publishes for its batch API; the "
            "price list has no batch price of it."
        )
    if any(plan["target"] for plan in case.plans) and not case.question["scenario"]:
        yield (
            "Caching, batches and the flex tier are counted only on what stays, not on what moves to the cheaper model."
        )


def _sources(case: Case) -> Iterator[str]:
    yield from traces(case)
    if case.figures["spends"] and not case.uses:
        said = " and ".join(["Your message", *map(escaped, case.texts)])
        yield f"{said}: {', '.join(spend['quote'] for spend in case.figures['spends'])}."
    prices = {price["model"]: price for price in case.prices}
    prices |= {one["price"]["model"]: one["price"] for candidates in case.candidates for one in candidates}
    if prices and case.question["kind"] != "show":
        price = next(iter(prices.values()))
        yield f"Prices: the list in {price['source']}, as valid on {price['as_of']}; nothing was fetched."
        pages = {price["vendor_name"]: price["url"] for price in prices.values() if price["url"]}
        yield "The vendors' own pages: " + ", ".join(f"[{vendor}]({url})" for vendor, url in pages.items()) + "."
    if case.plans and case.question["kind"] != "show":
        counted = "counted in the file" if case.uses else "the bill divided by these prices"
        yield f"Tokens: {counted}. Savings: the bill again with the changes, subtracted from it."
