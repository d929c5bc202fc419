"""Reporting: the answer as Markdown. The figure comes first, then what was understood, a table, and the rest folded."""

import re
from collections.abc import Iterator
from typing import Any

from agents.advisor.request import Case, described
from agents.advisor.triage import Model
from agents.sdk import Turn
from agents.usage.figures import Answer, escaped, rows_text
from chat.translation import t

MAX_WORDS = 150  # before the folded part
MAX_ROWS = 12
MIN_ROWS = 4  # of the table, with its header
MAX_UNDERSTOOD = 300  # characters, if the answer is long
MAX_LEVERS = 4
MAX_BESIDE = 2
MAX_VERDICT_FIGURES = 10  # of an answer; one with more is a table
# Figures of what was and of what becomes of it.
COMPARED = (("spend", "rest"), ("spend", "after"), ("spend", "there_1"), ("before", "after"))


def report(case: Case) -> tuple[str, str]:
    """Return the answer's text, and the paragraph of it that says what was understood."""
    made = case.answer or Answer()
    first, notes = _headline(case, made), [*case.prose, *made.notes]
    request = case.understood.request
    understood = " · ".join(escaped(one, 200) for one in described(request)) if request else ""
    levers = [f"- {one['text']}" for one in _chosen(case)][:MAX_LEVERS] if case.understood.wants_savings else []
    rows, folded_notes = min(len(made.table), MAX_ROWS + 1), list[str]()

    def chips() -> str:
        return t("Understood: {0}", understood) if understood else ""

    def visible() -> str:
        return _joined(" ".join([first, *notes]), "\n".join(levers), chips(), "\n".join(_table(made.table[:rows])))

    while words(visible()) > MAX_WORDS:
        if rows > MIN_ROWS:
            rows -= 1
        elif len(levers) > 1:
            levers.pop()
        elif len(notes) > len(case.prose):
            folded_notes.insert(0, f"- {notes.pop()}")
        elif len(understood) > MAX_UNDERSTOOD:
            understood = understood[: MAX_UNDERSTOOD - 1] + "…"
        else:
            break
    folded = [*(_table(made.table) if rows < len(made.table) else []), "", *folded_notes, *_details(case, made)]
    text = "\n".join(folded).strip()
    summary = "<details><summary>" + t("Details: how this was worked out") + "</summary>"
    return _joined(visible(), f"{summary}\n\n{text}\n\n</details>" if text else "") + "\n", chips()


def _joined(*blocks: str) -> str:
    return "\n\n".join(block.strip() for block in blocks if block.strip())


def _headline(case: Case, made: Answer) -> str:
    problems = " ".join(case.problems)
    if not made.headline:
        return problems or t("There is nothing that I can work out here.")
    if case.understood.general:
        made.details.insert(0, made.headline)  # the table has it
        return t(
            "What can be saved depends on your usage: attach a usage file, or say model, requests and tokens, for "
            "figures of your own. By today's list prices:"
        )
    proven = [one for one in case.levers if one["proven"]]
    text = made.headline
    if case.understood.wants_savings and case.levers and not _is_goal(case):
        text += " " + (t("The rows show waste:") if proven else t("What would save, and under which condition:"))
    return f"{text} {problems}".strip()


def _is_goal(case: Case) -> bool:
    return getattr(case.understood.request, "goal", "") in ("saving", "cost", "bill")


def _chosen(case: Case) -> list[dict[str, Any]]:
    return sorted(case.levers, key=lambda one: (not one["proven"], -one["high"]))


def _table(rows: list[list[str]]) -> Iterator[str]:
    for index, row in enumerate(rows):
        yield f"| {' | '.join(cell or ' ' for cell in row)} |"
        if index == 0:
            yield "|" + " --- |" * len(row)


def _details(case: Case, made: Answer) -> Iterator[str]:
    if case.steps:
        yield from ("", t("**Steps**"), "", *(f"{number}. {step}" for number, step in enumerate(case.steps, 1)))
    if case.levers:
        yield from ("", t("**Measures**"), "")
        for one in _chosen(case):
            rows = f" {rows_text(one['rows'])}." if one["rows"] else ""
            yield t("- {0} Formula: {1}.{2} Risk: {3}.", one["text"], one["formula"], rows, one["risk"])
        yield from ("", t("Measures change each other's base, so their savings are not added up."))
    yield from ("", *(f"- {one}" for one in made.details))
    formulas = {one.formula: one.label for one in made.figures.values()}
    yield from ("", *(f"- {escaped(label)}: {formula}." for formula, label in list(formulas.items())[:12]))


def words(text: str) -> int:
    """Return the number of words of a text, as a reader counts them."""
    return len(text.replace("\xa0", "").split())


def verdict(made: Answer) -> dict[str, Any] | None:
    """Return the ids of the figure that was asked for, and of those that stand beside it; None without a figure.

    `before` and `after` are compared, if the answer is about a change; `beside` are at most two others.
    """
    bold = re.search(r"\*\*(.+?)\*\*", made.headline)
    found = [one for one in made.figures.values() if bold and one.text.lstrip("-") in bold[1]]
    if not found:
        return None
    asked = max(found, key=lambda one: len(one.text))
    pairs = (*COMPARED, (f"plain_{asked.id}", asked.id))
    compared = next((pair for pair in pairs if all(one in made.figures for one in pair)), ())
    known = {asked.text, *(made.figures[one].text for one in compared)}
    others = [one.id for one in made.figures.values() if one.text not in known]
    if len(made.figures) > MAX_VERDICT_FIGURES or re.search(r"_\d+$", asked.id):  # the same of other models
        stem = re.sub(r"\d+$", "", asked.id)
        others = [one for one in others if one.startswith(stem) and one[len(stem) :].isdigit()]
    return {"figure": asked.id, **dict(zip(("before", "after"), compared, strict=False)), "beside": others[:MAX_BESIDE]}


async def reporting(turn: Turn, case: Case, model: Model) -> dict[str, Any]:
    """Say the answer. Returns the run's result: request, chips, figures, and which of them is the verdict.

    `understood` is the paragraph of the text that clients leave out if they show the chips.
    """
    await turn.think(t("Writing the answer"))
    made = case.answer or Answer()
    figures = [one.as_json() for one in made.figures.values()]
    if figures:
        facts = [*made.notes, *(one["text"] for one in case.levers)]
        told = {"question": turn.text[:2_000], "figures": figures, "facts": facts}
        case.prose = await model.tried(turn, model.write_prose, **told) or []
    text, understood = report(case)
    await turn.say(text)
    turn.summary = t("Words: {0}, figures: {1}.", words(text), len(made.figures))
    return {
        **case.understood.as_json(),
        "understood": understood,
        "figures": figures,
        "verdict": verdict(made),
        "measures": case.levers,
    }
