"""Triage: what is asked, which figures and files there are, and whether they are enough."""

import re

from agents.advisor.answers import Recognition
from agents.advisor.case import Case, Enough
from agents.advisor.figures import MAX_TEXT, Figures, is_empty, read_figures
from agents.advisor.markdown import escaped
from agents.advisor.usage import UsageFiles
from agents.agent import AgentError, Turn

EARLIER_MESSAGES = 10
EARLIER_TEXT = 2_000
MAX_FILES = 20
_TOPICS = {
    "latency": re.compile(r"\blatenc|\bslow|\bfast(?:er)?\b|\bspeed|\bresponse times?\b|\bp9\d\b", re.I),
    "capacity": re.compile(r"\bcapacity|\bscal(?:e|ing)\b|\bthroughput|\brate limit|\bprepare\b|\btraffic grow", re.I),
    "quality": re.compile(r"\bquality|\baccura|\bbetter answers|\bhallucinat", re.I),
    "cost": re.compile(r"\bcosts?\b|\bspend|\bpay|\bbills?\b|\bcheap|\bsav(?:e|ing)|\bbudget|\bprice|\bexpens", re.I),
}
_ASSUMED = re.compile(r"\bassum(?:e|ed|ing|ptions?)\b", re.I)
_SHORT = 120


async def triage(turn: Turn, files: UsageFiles) -> Case:
    await turn.think("Reading the amounts, models, tokens and goals in the message")
    text, earlier = turn.text, [message.content for message in turn.history[:-1] if message.role == "user"]
    topics: list[str] = []
    if len(text) <= _SHORT and _ASSUMED.search(text) and earlier:
        # It asks about the answer before it, so that question is worked on again.
        topics.append("assumptions")
        text = next((said for said in reversed(earlier) if not _ASSUMED.search(said)), earlier[0])
    said = [one[:EARLIER_TEXT] for one in earlier]
    figures = await turn.call(
        read_figures, text=text[:MAX_TEXT], earlier=said[-EARLIER_MESSAGES:], follow=bool(files.names)
    )
    if len(text) > MAX_TEXT:
        figures["notes"].append(f"Only the first {MAX_TEXT:,} characters were read.")
    case = Case(figures, files, question=text[:MAX_TEXT])
    # A bill in another currency still has parts: they are worked out of 100.
    case.percent = bool(figures["foreign"] and not figures["spends"] and figures["current"])
    case.topics = topics + topics_of(text, figures)
    for name in files.names[-MAX_FILES:]:
        await _recognise(turn, case, name)
    if any(one["usage"] for one in case.recognitions):
        case.percent = False
    case.enough = enough(figures, case.percent, case.recognitions)
    turn.summary = f"{_found(case)} Asked about: {', '.join(case.topics)}. The data is {case.enough}."
    return case


async def _recognise(turn: Turn, case: Case, name: str) -> None:
    try:
        case.recognitions.append(await turn.call(case.files.recognise_file, attachment=name))
    except AgentError as error:
        case.problems.append(f"{escaped(name)}: {escaped(error.message, 300)}")


def topics_of(text: str, figures: Figures) -> list[str]:
    """What is asked about: latency, capacity, quality, cost; general where it is none of them."""
    found = {topic for topic, words in _TOPICS.items() if words.search(text)}
    if figures["latency_goal"] or figures["speed_factor"]:
        found.add("latency")
    if figures["growth"] and figures["growth"] != 1:
        found.add("capacity")
    if figures["goal"] or figures["spends"]:
        found.add("cost")
    return [topic for topic in _TOPICS if topic in found] or ["general"]


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
