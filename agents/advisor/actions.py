"""Actions: the savings as steps in the order to take them."""

from agents.advisor.case import Case, Plan, Step
from agents.advisor.optimization import EFFORT
from agents.agent import Turn


def order_actions(plans: list[Plan], goal_saving: float | None) -> list[Step]:
    """The model that saves most comes first; its steps keep the order in which its plan adds up, easy ones first."""
    steps: list[Step] = []
    total = 0.0
    for plan in sorted(plans, key=lambda plan: -plan["monthly_saving"]):
        for saving in plan["savings"]:
            before, total = total, total + saving["saving"]
            enough = goal_saving is not None and goal_saving > 0 and total >= goal_saving * (1 - 1e-9)
            reaches = goal_saving is not None and enough and before < goal_saving * (1 - 1e-9)
            steps.append(
                {
                    "model": plan["model"],
                    "target": plan["target"] if saving["lever"] == "move" else None,
                    "lever": saving["lever"],
                    "effort": EFFORT[saving["lever"]],
                    "saving": saving["saving"],
                    "total": total,
                    "reaches_goal": reaches,
                }
            )
    return steps


async def actions(turn: Turn, case: Case) -> None:
    await turn.think("Putting the savings in order, what is easy first")
    case.steps = await turn.call(order_actions, plans=case.plans, goal_saving=case.goal_saving)
    turn.summary = f"{len(case.steps)} steps."
