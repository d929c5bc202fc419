"""Actions: the savings as steps in the order to take them, each with who does it and how to see that it worked."""

from agents.advisor.case import Case, Line, Plan, Saving, Step
from agents.advisor.levers import LEVERS, Lever, worth
from agents.advisor.markdown import Amounts, tokens
from agents.advisor.optimization import AVOIDABLE
from agents.agent import Turn


def order_actions(plans: list[Plan], lines: list[Line], goal_saving: float | None, unit: str) -> list[Step]:
    """What saves most for its effort and risk comes first. `lines` are the plans'; `unit`: a currency, or `%`."""
    found: list[tuple[Plan, Line, Saving]] = [
        (plan, line, saving) for plan, line in zip(plans, lines, strict=True) for saving in plan["savings"]
    ]
    # In each plan the savings are in this order already, so each is still what it is after those before it.
    found.sort(key=lambda one: -worth(one[2]["lever"], one[2]["alone"]))
    steps: list[Step] = []
    total = 0.0
    for plan, line, saving in found:
        before, total = total, total + saving["saving"]
        enough = goal_saving is not None and goal_saving > 0 and total >= goal_saving * (1 - 1e-9)
        reaches = goal_saving is not None and enough and before < goal_saving * (1 - 1e-9)
        lever = saving["lever"]
        do, validation, rollback = _words(lever, plan, line, saving, Amounts(unit))
        steps.append(
            {
                "model": plan["model"],
                "target": plan["target"] if lever == "move" else None,
                "lever": lever,
                "owner": LEVERS[lever].owner,
                "effort": LEVERS[lever].effort,
                "risk": LEVERS[lever].risk,
                "saving": saving["saving"],
                "total": total,
                "reaches_goal": reaches,
                "do": do,
                "validation": validation,
                "rollback": rollback,
            }
        )
    return steps


def _words(lever: Lever, plan: Plan, line: Line, saving: Saving, amounts: Amounts) -> tuple[str, str, str]:
    """What to do, how to see that it worked, and the way back. The figures are of the lever pulled by itself."""
    model, shares = plan["model"], plan["shares"]
    if lever == "retries":
        wasted = line["monthly_spend"] * line["wasted_share"]
        return (
            "Wait longer before each retry, cap the retries, and check requests before they are sent.",
            f"what failed requests on {model} cost falls from {amounts.monthly(wasted)} to "
            f"{amounts(wasted * (1 - AVOIDABLE))} or less, and no more users see errors than before.",
            "put the former retry settings back.",
        )
    if lever == "cache":
        now, after = (
            line["cached_share"],
            line["cached_share"] + shares["repeat"] * (1 - line["cached_share"]) * (shares["hit"]),
        )
        return (
            "Put what never changes (instructions, examples, tools) at the front of the prompt and what changes at its "
            "end; mark it for caching where the vendor asks for that.",
            f"the cached part of the input on {model} rises "
            + (f"from {now:.0%} " if line["cached_known"] else "")
            + f"to about {after:.0%}, and its input costs {amounts.monthly(line['input_usd'] - saving['alone'])} "
            f"instead of {amounts(line['input_usd'])}.",
            "restore the former order of the prompt: nothing that is stored changes.",
        )
    if lever == "batch":
        return (
            "Send what nobody waits for through the batch API.",
            f"{shares['batch']:.0%} of the tokens on {model} are billed as batch, and every batch is back before it is "
            "needed.",
            "send the same requests to the normal API again.",
        )
    if lever == "tier":
        return (
            "Ask for the flex tier where an answer may take minutes, and repeat at the normal tier what is refused.",
            f"{shares['tier']:.0%} of the requests on {model} that are no batch are billed as flex, and none of "
            f"them is "
            "lost.",
            "set the service tier back to default.",
        )
    if lever == "trim":
        prompt = line["prompt_tokens"]
        size = (
            f"a request has {prompt * (1 - shares['trim']):,.0f} input tokens on average instead of {prompt:,}"
            if prompt
            else f"input on {model} costs {amounts.monthly(line['input_usd'] - saving['alone'])} instead of "
            f"{amounts(line['input_usd'])}"
            if amounts.unit == "%"
            else f"input on {model} falls from {tokens(line['input_mtok'])} to "
            f"{tokens(line['input_mtok'] * (1 - shares['trim']))} tokens a month"
        )
        return (
            "Drop context, examples and old turns that the answers do not use.",
            f"{size}, and a fixed set of your questions is answered as well as before.",
            "keep the former prompt in version control and restore it.",
        )
    if lever == "reuse":
        return (
            "Store answers and give them again to questions that mean the same, only where the answer depends on the "
            "question alone.",
            f"{shares['reuse']:.0%} of the requests on {model} are answered without a call, and a sample of those "
            "answers, read by a person, is right.",
            "switch the cache off: every request goes to the model again.",
        )
    moved = line["monthly_spend"] * shares["move"]
    return (
        f"Run {model} and {plan['target']} on 100 of the requests that are to move, compare the answers, then move "
        f"a little "
        "of the traffic at a time.",
        f"whoever compares the answers blindly cannot tell them apart, and what cost {amounts.monthly(moved)} on "
        f"{model} costs {amounts(moved - saving['alone'])} on {plan['target']}.",
        f"send the traffic back to {model}: keep it callable until the next bill is in.",
    )


async def actions(turn: Turn, case: Case) -> None:
    await turn.think("Putting the savings in order by what they are worth against effort and risk")
    case.steps = await turn.call(
        order_actions, plans=case.plans, lines=case.lines, goal_saving=case.goal_saving, unit=case.unit
    )
    turn.summary = f"{len(case.steps)} step{'' if len(case.steps) == 1 else 's'}."
