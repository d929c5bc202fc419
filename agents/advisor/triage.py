"""Triage: what is asked, which figures and files there are, and whether they are enough."""

from agents.advisor.answers import Recognition
from agents.advisor.case import Case, Enough
from agents.advisor.figures import Figures, fill, is_empty
from agents.advisor.files import UsageFiles
from agents.advisor.markdown import escaped
from agents.advisor.question import continues, last_asked, read_question
from agents.advisor.reader import MAX_TEXT, read_figures
from agents.advisor.talk import Talk
from agents.agent import AgentError, Turn

EARLIER_MESSAGES = 10
EARLIER_TEXT = 2_000
MAX_FILES = 20


async def triage(turn: Turn, files: UsageFiles, talk: Talk) -> Case:
    await turn.think("Reading the amounts, models, tokens and goals in the message")
    earlier = [message.content[:EARLIER_TEXT] for message in turn.history[:-1] if message.role == "user"]
    earlier = earlier[-EARLIER_MESSAGES:]
    text = turn.text[:MAX_TEXT]
    alone = await turn.call(read_figures, text=text, earlier=[])
    question = await turn.call(read_question, text=text, figures=alone, earlier=earlier, files=bool(files.names))
    question = await talk.question(turn, question, alone, text, earlier, bool(files.names))
    idle = question["kind"] in ("greeting", "other")
    figures = alone
    if question["kind"] == "assumptions" and earlier:
        # It asks about the answer before it, so that question is worked on again.
        text, earlier = last_asked(earlier)
    if not idle and (earlier or text != turn.text[:MAX_TEXT]):
        figures = await turn.call(read_figures, text=text, earlier=earlier, follow=continues(question))
    if len(turn.text) > MAX_TEXT:
        figures["notes"].append(f"Only the first {MAX_TEXT:,} characters were read.")
    case = Case(figures, question, talk, files, text=text, earlier=earlier)
    if not idle:
        for name in files.names[-MAX_FILES:]:
            await _recognise(turn, case, name)
    # A bill in another currency still has parts: they are worked out of 100.
    # So has one that nobody names, where a part of it is to be saved.
    part = "move" in question["levers"] or (figures["goal"] is not None and figures["goal"]["kind"] == "percent")
    asked = figures["foreign"] or (part and not _counted(figures))
    case.percent = bool(asked and not figures["spends"] and figures["current"])
    if any(one["usage"] for one in case.recognitions):
        case.percent = False
    case.enough = "insufficient" if idle else enough(figures, case.percent, case.recognitions)
    topics = ", ".join(question["topics"]) or "nothing that I work out" if idle else "the usage in general"
    turn.summary = f"{_found(case)} Asked about: {', '.join(question['topics']) or topics}. The data is {case.enough}."
    return case


async def _recognise(turn: Turn, case: Case, name: str) -> None:
    try:
        found = await turn.call(case.files.recognise_file, attachment=name)
        case.recognitions.append(found)
        if found["prose"]:
            said = await turn.call(case.files.figures_in_text, attachment=name)
            # Amounts in a text may be of anything, unless it speaks of models.
            if said["current"] or (case.figures["current"] and not is_empty(said)):
                fill(case.figures, said, True, source=escaped(name))
                case.texts.append(name)
    except AgentError as error:
        case.problems.append(f"{escaped(name)}: {escaped(error.message, 300)}")


def enough(figures: Figures, percent: bool, recognitions: list[Recognition]) -> Enough:
    """Whether savings can be worked out of this, or only something, or nothing."""
    for one in recognitions:
        roles = set(one["roles"])
        if one["usage"] and "model" in roles and roles & {"input_tokens", "uncached_tokens", "output_tokens", "cost"}:
            return "sufficient"
    tokens = figures["input_per_month"] or figures["output_per_month"] or figures["tokens_per_month"]
    per_request = figures["input_per_request"] or figures["output_per_request"] or figures["tokens_per_request"]
    counted = figures["requests_per_month"] and (per_request or figures["usd_per_request"])
    if figures["current"] and (figures["spends"] or percent or tokens or counted):
        return "sufficient"
    if not is_empty(figures) or any(one["usage"] for one in recognitions):
        return "partial"
    return "insufficient"


def _counted(figures: Figures) -> bool:
    """Whether tokens or requests are named, from which a bill may follow."""
    return any(value for key, value in figures.items() if key.endswith(("_per_month", "_per_request")))


def _found(case: Case) -> str:
    figures = case.figures
    counts = [
        (sum(one["usage"] for one in case.recognitions), "usage file", "usage files"),
        (len(figures["spends"]), "amount of money", "amounts of money"),
        (len(figures["current"]) + len(figures["asked"]), "model", "models"),
        (len(figures["shares"]), "share", "shares"),
    ]
    words = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    if figures["goal"]:
        words.append("a goal")
    if is_empty(figures) and not words:
        return "There are no figures in it."
    return f"Found {', '.join(words) or 'some figures'}."
