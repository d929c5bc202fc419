"""Data helper: asks for exactly what is missing, with an example."""

from collections.abc import Iterator

from agents.advisor.answers import Recognition
from agents.advisor.case import Case
from agents.advisor.figures import Figures, is_empty
from agents.advisor.markdown import dollars, escaped
from agents.advisor.question import Topic
from agents.agent import Turn
from chat.usage import EXAMPLE as EXAMPLE_FILE

EXAMPLE = (
    "I pay $5,000 a month for GPT-4o, about 2,000 input and 400 output tokens per request. "
    "40% of the requests are simple classification and 20% can wait overnight. Get it down by 30%."
)


def missing(figures: Figures, recognitions: list[Recognition], topics: list[Topic]) -> list[str]:
    """What is needed for an answer on these topics and not there, in words."""
    items: list[str] = []
    for one in recognitions:
        if one["usage"]:
            items += _missing_in(one)
        elif not one["prose"]:
            words = one["words"].partition(" For example:")[0]
            items.append(f"{escaped(one['file'])} is no usage data: {escaped(words, 300)}")
    if is_empty(figures) or any(one["usage"] for one in recognitions):
        return items
    if topics and "cost" not in topics:
        return [*items, *_missing_times(figures, topics)]
    if figures["spends"] and not figures["current"]:
        spend = sum(spend["usd_per_month"] for spend in figures["spends"])
        items.append(f"For {dollars(spend)} a month I need the model that it is paid for.")
        goal = figures["goal"]
        if goal:
            wanted = {"percent": spend * goal["value"], "ceiling": spend - goal["value"], "saving": goal["value"]}
            items.append(f"Your goal is to save {dollars(max(0.0, wanted[goal['kind']]))} a month.")
    elif not figures["spends"] and not figures["foreign"]:
        items.append("For savings I need what you pay a month, or how many requests and tokens there are.")
        if not figures["current"] and not figures["unknown"]:
            items.append("I also need the model.")
    items.append(f"For example: *{EXAMPLE}*")
    return items


def _missing_times(figures: Figures, topics: list[Topic]) -> Iterator[str]:
    if "latency" in topics:
        if not figures["latency"]:
            yield "How long a request takes now."
        if not figures["output_per_request"]:
            yield "How many output tokens an answer has: generating them is usually most of the time."
    if "capacity" in topics and not figures["requests_per_month"]:
        yield "How many requests there are, best at the busiest hour, and how many tokens each has."
    if not figures["current"]:
        yield "Which model answers."
    yield "All of that is in a usage file with one row a request: attach one for percentiles, peaks and what they cost."


def _missing_in(one: Recognition) -> list[str]:
    roles, name = set(one["roles"]), escaped(one["file"])
    items = []
    if "model" not in roles:
        items.append(f"{name} has no column for the model, so I cannot compare its spend with other models.")
    if not roles & {"input_tokens", "uncached_tokens", "output_tokens", "cost"}:
        items.append(f"{name} has neither tokens nor a cost, so I cannot tell what was spent.")
    return items


async def data_helper(turn: Turn, case: Case) -> None:
    await turn.think("Working out what is missing")
    case.needs = await turn.call(
        missing, figures=case.figures, recognitions=case.recognitions, topics=case.question["topics"]
    )
    case.example = EXAMPLE_FILE
    turn.summary = f"Asked for {len(case.needs) or 'the'} missing thing{'s' if len(case.needs) != 1 else ''}."
