"""Actions: the measures in the order to take them, each with how to see that it worked."""

from agents.advisor.optimization import Measure
from agents.advisor.request import Case
from agents.sdk import Turn

_FIRST = {
    "failures": "Retry failed requests later and fewer times, and check them before they are sent.",
    "cache": "Put what never changes at the front of the prompt, and mark it for caching if the vendor asks for that.",
    "batch": "Send what nobody waits for through the batch API.",
    "output": "Ask for shorter answers and cap the output tokens.",
    "model": "Test the cheaper model on recorded requests, then move a little of the traffic at a time.",
}


def ordered_steps(measures: list[Measure]) -> list[str]:
    """Return a step for each lever: what rows show first, then what cannot change an answer, then the rest."""
    order = list(_FIRST)
    chosen = sorted(measures, key=lambda one: (not one["proven"], order.index(one["lever"])))
    levers = list(dict.fromkeys(one["lever"] for one in chosen))
    by_lever = {one["lever"]: one for one in reversed(chosen)}
    return [
        f"{_FIRST[lever]} To see it: {by_lever[lever]['measure']} Risk: {by_lever[lever]['risk']}." for lever in levers
    ]


async def actions(turn: Turn, case: Case) -> None:
    """Put the case's measures in order."""
    await turn.think("Putting the measures in the order to take them")
    case.steps = await turn.call(ordered_steps, measures=case.levers)
    turn.summary = f"{len(case.steps)} steps."
