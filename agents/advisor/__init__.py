"""The advisor on AI spend: typed requests, figures with provenance, and a form for what a message leaves open."""

import io
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from agents.advisor.actions import actions
from agents.advisor.data import data
from agents.advisor.lacking import complete
from agents.advisor.language.lexer import pasted_table
from agents.advisor.optimization import optimization
from agents.advisor.reporting import reporting
from agents.advisor.request import Case, Form, Query, Understood, Workload, filled
from agents.advisor.triage import Model, triage
from agents.sdk import AgentError, Declined, Expired, Turn
from agents.usage.files import UsageFiles
from chat.translation import speaking, t

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pasted:
    """A table in the text of a message, as a file."""

    name: str
    content: bytes
    media_type: str = "text/csv"

    @property
    def size(self) -> int:
        """The length in bytes."""
        return len(self.content)

    def open(self) -> BinaryIO:
        """Return the bytes as a stream."""
        return io.BytesIO(self.content)


async def advisor(turn: Turn) -> dict[str, Any] | None:
    """Find savings in your AI bill, from figures or a usage file.

    Ask by a form for what is left open.

    The result has the request, its chips and the figures with their provenance.
    """
    pasted = pasted_table(turn.text)
    with speaking(turn.language):
        name = t("pasted table")
        files = UsageFiles([*turn.attachments, *([Pasted(name, pasted[0].encode())] if pasted else [])])
        try:
            return await _advise(turn, files, pasted[1] if pasted and files.is_table(name) else turn.text)
        finally:
            await files.leave()


async def _advise(turn: Turn, files: UsageFiles, text: str) -> dict[str, Any] | None:
    model = Model(turn.usage)
    async with turn.subagent("triage", task=t("Find out what is asked")) as sub:
        understood, names, problems = await triage(sub, files, model, text)
    if understood.form:
        understood = await _asked(turn, understood, understood.form)
        if understood.form:
            return understood.as_json()
    case = Case(understood, problems=problems)
    if understood.refusal:
        await turn.say(" ".join([*problems, understood.refusal]).strip() + "\n")
        return None
    await _try(turn, case, "data", t("Find the figures"), lambda sub: data(sub, case, files, names))
    if understood.wants_savings and (case.answer or understood.general):
        await _try(
            turn, case, "optimization", t("Find what would save"), lambda sub: optimization(sub, case, files, names)
        )
        if case.levers and not understood.general:
            await _try(turn, case, "actions", t("Put the measures in order"), lambda sub: actions(sub, case))
    async with turn.subagent("reporting", task=t("Write the answer")) as sub:
        return await reporting(sub, case, model)


async def _asked(turn: Turn, understood: Understood, form: Form) -> Understood:
    """Put the form to the user. Without an answer the form stands in the text, and the run ends with it."""
    kind = Query if isinstance(understood.request, Query) else Workload
    asked: Form | None = form
    while asked:
        answer = await ask(turn, asked)
        if answer is None:
            return replace(understood, form=asked)
        understood = complete(filled(asked, answer, kind))
        asked = understood.form
    return understood


async def ask(turn: Turn, form: Form) -> dict[str, Any] | None:
    """Ask the user to fill in the form. Return the values, or None after a refusal or without a person to answer."""
    try:
        return dict(await turn.ask(form.message, form.schema))
    except Declined:
        await turn.say(t("Without that there is nothing that I can work out.") + "\n")
    except Expired:
        await turn.say(f"{form.message}\n")
    return None


async def _try(turn: Turn, case: Case, name: str, task: str, work: Callable[[Turn], Awaitable[None]]) -> None:
    """Let a sub-agent work on the case; if it fails, the answer says so and has what the others found."""
    try:
        async with turn.subagent(name, task=task) as sub:
            await work(sub)
    except AgentError as error:
        case.problems.append(error.message)
    except Exception:
        log.exception("sub-agent %s failed", name)
        case.problems.append(t("{0}: an internal error. What depends on it is missing here.", name))
