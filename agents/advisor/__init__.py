"""The adviser on AI spend: a supervisor and six sub-agents. All arithmetic is on real prices and usage files."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agents.advisor.actions import actions
from agents.advisor.case import Case
from agents.advisor.data import data
from agents.advisor.data_helper import data_helper
from agents.advisor.files import UsageFiles
from agents.advisor.optimization import optimization
from agents.advisor.reporting import reporting
from agents.advisor.savings import Totals
from agents.advisor.talk import Talk
from agents.advisor.triage import triage
from agents.agent import AgentError, Turn

log = logging.getLogger(__name__)

_STEPS = 5


async def advisor(turn: Turn) -> Totals | None:
    """Say what could be saved on AI models, by usage files and the figures in the message. The result: totals a month.

    Enough to go on: triage, data, optimization, actions, reporting. Something is missing: data_helper asks for it
    beside data. There is nothing: data_helper asks, and reporting says so. What one fails to do is said in words.
    """
    files = UsageFiles(turn.attachments)
    try:
        return await _advise(turn, files)
    finally:
        await files.leave()


async def _advise(turn: Turn, files: UsageFiles) -> Totals | None:
    await turn.think("Finding out what is asked", step=1, of=_STEPS)
    async with turn.subagent("triage", task="Find out what is asked and which figures there are") as sub:
        case = await triage(sub, files, Talk(turn.usage))
    idle = case.question["kind"] in ("greeting", "other")
    async with asyncio.TaskGroup() as side_by_side:
        if case.enough != "sufficient" and not (idle and files.names):
            side_by_side.create_task(_try(turn, case, "data_helper", "Ask for what is missing", data_helper))
        if case.enough != "insufficient":
            await turn.think("Looking at the prices and the bill", step=2, of=_STEPS)
            side_by_side.create_task(
                _try(turn, case, "data", "Look up prices and work out the tokens behind the bill", data)
            )
    if case.lines:
        await turn.think("Looking for savings", step=3, of=_STEPS)
        await _try(turn, case, "optimization", "Compare models and work out the savings", optimization)
    if case.plans:
        await turn.think("Planning the steps", step=4, of=_STEPS)
        await _try(turn, case, "actions", "Put the savings in the order to take them", actions)
    await turn.think("Writing the report", step=5, of=_STEPS)
    async with turn.subagent("reporting", task="Check the totals and write the answer") as sub:
        totals = await reporting(sub, case)
    return None if case.percent or case.currency != "USD" else totals


async def _try(turn: Turn, case: Case, name: str, task: str, work: Callable[[Turn, Case], Awaitable[None]]) -> None:
    """Let a sub-agent work on the case; if it fails, the answer says so and has what the others found."""
    try:
        async with turn.subagent(name, task=task) as sub:
            await work(sub, case)
    except AgentError as error:
        case.problems.append(f"{name}: {error.message}")
    except Exception:
        log.exception("sub-agent %s failed", name)
        case.problems.append(f"{name}: an internal error. What depends on it is missing here.")
