"""Triage: what is asked, and which figures are there."""

from agents.advisor.case import Case
from agents.advisor.figures import MAX_TEXT, is_empty, read_figures
from agents.agent import Turn

EARLIER_MESSAGES = 10
EARLIER_TEXT = 2_000


async def triage(turn: Turn) -> Case:
    await turn.think("Reading the amounts, models, tokens and goals in the message")
    said = [message.content[:EARLIER_TEXT] for message in turn.history[:-1] if message.role == "user"]
    figures = await turn.call(read_figures, text=turn.text[:MAX_TEXT], earlier=said[-EARLIER_MESSAGES:])
    if len(turn.text) > MAX_TEXT:
        figures["notes"].append(f"Only the first {MAX_TEXT:,} characters were read.")
    case = Case(figures)
    # A bill in another currency still has parts: they are worked out of 100.
    case.percent = bool(figures["foreign"] and not figures["spends"] and figures["current"])
    found = [
        (len(figures["spends"]), "amount of money", "amounts of money"),
        (len(figures["current"]) + len(figures["asked"]), "model", "models"),
        (len(figures["shares"]), "share", "shares"),
    ]
    words = [f"{count} {one if count == 1 else many}" for count, one, many in found if count]
    if figures["goal"]:
        words.append("a goal")
    turn.summary = (
        "There are no figures in it." if is_empty(figures) else f"Found {', '.join(words) or 'some figures'}."
    )
    return case
