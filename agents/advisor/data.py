"""Data: the usage files of a message, and the figures of a request from prices, stated amounts or the files."""

from dataclasses import asdict
from typing import Any

from agents.advisor.language.lexer import pasted_table
from agents.advisor.request import Case, Workload, said
from agents.advisor.together import answer_all
from agents.sdk import AgentError, Turn
from agents.toolbox.tables import settle_tables
from agents.usage import file_slots
from agents.usage.asked import Query
from agents.usage.figures import Answer, escaped
from agents.usage.files import UsageFiles
from agents.usage.prices import common_models
from chat.translation import t, tn

SHOWN_VENDORS = ("openai", "anthropic", "google")


def workload_figures(request: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a workload or a bill: its cost at list prices, or what follows from the amounts stated."""
    return answer_all(Workload(**request)).as_json()


def list_prices(vendors: list[str]) -> dict[str, Any]:
    """Return today's list prices of the current models of some vendors, side by side."""
    models = ", ".join(name for vendor in vendors for name in common_models(vendor))
    return answer_all(Workload(goal="price", models=models)).as_json()


async def recognised(turn: Turn, files: UsageFiles) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the usage files, problems with the others, and the texts of those that a person wrote."""
    names: list[str] = []
    problems: list[str] = []
    prose: list[str] = []
    for name in files.names[-file_slots.MAX_OPEN_FILES :]:
        try:
            found = await turn.call(files.recognise_file, attachment=name)
        except AgentError as error:
            problems.append(f"{escaped(name)}: {escaped(error.message, 300)}")
            continue
        if found["tables"]:
            unread = await settle_tables(turn, files, name, found["tables"])
            problems += unread
            names += [name] if len(unread) < len(found["tables"]) else []
        elif found["usage"]:
            names.append(name)
        elif found["prose"] and not pasted_table(text := await turn.call(files.text_of_file, attachment=name)):
            prose.append(text)
        else:
            why = found["words"].partition(" " + t("For example:"))[0]
            why = t("It is a table, but of no format that I know.") if found["prose"] else why
            problems.append(f"{escaped(name)}: {escaped(why, 400)}")
    if names:
        await files.reserve(turn, len(names))
    return names, problems, prose


async def data(turn: Turn, case: Case, files: UsageFiles, names: list[str]) -> None:
    """Find the figures of the case's request."""
    request = case.understood.request
    if case.understood.general:
        await turn.think(t("Looking up the list prices of current models"))
        case.answer = Answer.from_json(await turn.call(list_prices, vendors=list(SHOWN_VENDORS)))
    elif isinstance(request, Workload):
        await turn.think(t("Looking up prices and working out the figures"))
        case.answer = Answer.from_json(await turn.call(workload_figures, request=said(request)))
    elif isinstance(request, Query):
        await _read_files(turn, case, files, names, request)
    count = len(case.answer.figures) if case.answer else 0
    turn.summary = tn("{0} figure.", "{0} figures.", count, count) if count else t("No figures.")


async def _read_files(turn: Turn, case: Case, files: UsageFiles, names: list[str], query: Query) -> None:
    await turn.think(t("Reading the usage data"))
    try:
        case.answer = Answer.from_json(await turn.call(files.query_files, attachments=names, query=asdict(query)))
    except AgentError as error:
        case.problems.append(escaped(error.message, 300))
