"""Actions: the measures in the order to take them, each with how to see that it worked."""

from agents.advisor.optimization import LEVERS, Measure
from agents.advisor.request import Case
from agents.sdk import Turn
from chat.translation import t, tn


def ordered_steps(measures: list[Measure]) -> list[str]:
    """Return a step for each lever: what rows show first, then what cannot change an answer, then the rest."""
    order = list(LEVERS)
    chosen = sorted(measures, key=lambda one: (not one["proven"], order.index(one["lever"])))
    levers = list(dict.fromkeys(one["lever"] for one in chosen))
    by_lever = {one["lever"]: one for one in reversed(chosen)}
    first = ((t(LEVERS[lever]["step"]), by_lever[lever]) for lever in levers)
    return [t("{0} To see it: {1} Risk: {2}.", step, one["measure"], one["risk"]) for step, one in first]


async def actions(turn: Turn, case: Case) -> None:
    """Put the case's measures in order."""
    await turn.think(t("Putting the measures in the order to take them"))
    case.steps = await turn.call(ordered_steps, measures=case.levers)
    turn.summary = tn("{0} step.", "{0} steps.", len(case.steps), len(case.steps))
