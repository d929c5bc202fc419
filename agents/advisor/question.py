"""The question: what kind of answer a message wants, about what, and what it takes from the ones before it."""

import re
from collections.abc import Sequence
from typing import Literal, TypedDict

from agents.advisor.figures import Figures, is_empty
from agents.advisor.levers import Lever

Kind = Literal["advice", "show", "assumptions", "greeting", "other"]
Topic = Literal["latency", "capacity", "quality", "cost"]
Part = Literal["errors", "trend", "latency", "model", "feature", "user"]


class Question(TypedDict):
    """`kind`: advice with savings, only the figures (show), what the last answer assumed, or nothing of that.

    `topics` and `levers` are those it names. `follows`: it goes on with the question before it, whose kind, levers and
    rows it keeps where it names none. `scenario`: what if only these rows were moved to a cheaper model. `parts`: which
    of the figures it wants to see, all where it names none. `narrow`: what the last answer said already is left out.
    """

    kind: Kind
    topics: list[Topic]
    levers: list[Lever]
    follows: bool
    scenario: bool
    parts: list[Part]
    narrow: bool


_TOPICS: dict[Topic, re.Pattern[str]] = {
    "latency": re.compile(r"\blatenc|\bslow|\bfast(?:er)?\b|\bspeed|\bresponse times?\b|\bp9\d\b|\bquick", re.I),
    "capacity": re.compile(
        r"\bcapacity|\bscal(?:e|ing)\b|\bthroughput|\brate limit|\bprepare\b|\btraffic grow|\bpeak|\b429\b", re.I
    ),
    "quality": re.compile(r"\bquality|\baccura|\bbetter answers|\bhallucinat", re.I),
    "cost": re.compile(
        # Whoever has tables in German may ask in it.
        r"\bkosten|\bsparen|\beinspar|\bausgaben|\brechnung|\bg[üu]nstig|\bbillig|"
        r"\bcosts?\b|\bspend|\bspent\b|\bpay|\bpaid\b|\bbills?\b|\bcheap|\bsav(?:e|ings?)\b|\bbudget|\bprice|\bexpens",
        re.I,
    ),
}
# Of cost only where nothing else is named.
_LESS = re.compile(r"\boptimi[sz]|\breduc|\bcut\b|\blower\b", re.I)
_LEVERS: dict[Lever, re.Pattern[str]] = {
    "reuse": re.compile(r"\b(?:semantic|response|answer)[ -]cach|\bcache (?:the )?(?:answers|responses)", re.I),
    "cache": re.compile(r"(?<!semantic )(?<!response )(?<!answer )\bcach(?:e|ing)\b(?! (?:the )?(?:ans|resp))", re.I),
    "batch": re.compile(r"\bbatch(?:es|ing)?\b", re.I),
    "tier": re.compile(r"\bflex\b|\bservice tier|\brate tier|\bpriority (?:tier|processing)", re.I),
    "move": re.compile(
        r"\bcheaper (?:models?|alternatives?|ones?)|\balternatives?\b|\b(?:other|another|smaller) models?|\btiering\b|"
        r"\bsubstitut",
        re.I,
    ),
    "trim": re.compile(
        r"\b(?:shorten|trim|shorter)\b.{0,20}\b(?:prompts?|inputs?|contexts?)|\bprompt (?:size|length)", re.I
    ),
    "retries": re.compile(r"\bretr(?:y|ies)\b|\bfailed requests?\b", re.I),
}  # fmt: skip
_ASSUMED = re.compile(r"\bassum(?:e|ed|ing|ptions?)\b", re.I)
_PARTS: dict[Part, re.Pattern[str]] = {
    "errors": re.compile(
        r"\berrors?\b|\bfail(?:s|ed|ing|ures?)?\b|\bretr(?:y|ies)\b|\bwasted?\b|\bfor nothing\b", re.I
    ),
    "trend": re.compile(
        r"\btrends?\b|\boutliers?\b|\banomal|\bspikes?\b|\bstands? out\b|"
        r"\bhow (?:is|was|are|were|has|did) (?:our|my|the) (?:\w+ ){0,2}(?:spend|costs?|bill)",
        re.I,
    ),
    "latency": re.compile(r"\blatenc|\bslow(?:er|est)?\b|\bfast(?:er|est)?\b|\bresponse times?\b|\bp9\d\b", re.I),
    "model": re.compile(r"\bmodels\b|\b(?:by|per|each|which|what) model\b", re.I),
    "feature": re.compile(
        r"\b(?:features|agents|teams|apps)\b|\b(?:by|per|each|which|what) (?:feature|agent|team|app)\b", re.I
    ),
    "user": re.compile(r"\b(?:users|customers)\b|\b(?:by|per|each|which|what) (?:user|customer)\b|^\W*who\b", re.I),
}
_IN_FULL = re.compile(r"\b(?:in (?:full|detail)|full report|the steps|all steps|the plan)\b", re.I)
_GREETING = re.compile(
    r"\W*(?:hello|hi|hey|good (?:morning|afternoon|evening|day)|thanks?|thank you|cheers|great|ok(?:ay)?|bye|nice)\b"
    r"[\s\w,]{0,30}[.!?\s]*",
    re.I,
)
_SHOW = re.compile(
    r"^\W*(?:and |so |now |please |can you |could you )*(?:show|list|display|compare (?=.*\b(?:months?|days?|features|"
    r"users|january|february|march|april|may|june|july|august|september|october|november|december)\b)|tell me|"
    r"give me|how (?:much|many)|how (?:is|are|was|were|did|does)|what (?:is|are|was|were|did|does|do)|who|where|"
    r"which)\b",
    re.I,
)
_FOLLOWS = re.compile(
    r"^\W*(?:and|also|but|then|so|plus|now|same|again|only|just|what about|how about|what if|for|in|with|without)\b",
    re.I,
)
_OURS = re.compile(
    r"\b(?:usage|tokens?|requests?|models?|llms?|ai|report|files?|data|analy[sz]e|analysis|summar(?:y|ise|ize)|trend|"
    r"errors?|fail(?:ed|ures?)|users?|features?|months?|days?|weeks?|agents?|traffic|calls?|api|outliers?|anomal\w+|"
    r"recommend\w*|improve|advice|advise|vendors?|providers?|look|check|review|everything|csv|jsonl|logs?|export|stand)\b|"
    r"^\W*(?:show|list|display|compare)\b",
    re.I,
)
_BY_DAY = re.compile(r"\b(?:by|per|each|every) day\b|\bdaily\b|\bday by day\b", re.I)
_BY_MONTH = re.compile(r"\b(?:by|per|each|every) month\b|\bmonthly\b|\bmonth by month\b|\bcompare\b", re.I)
_SCENARIO = re.compile(
    r"\b(?:if|suppose|supposing|assuming|say)\b.{0,60}\b(?:moves?|moved|switch(?:es|ed)?|migrates?|goes|went)\b", re.I
)
_THESE = re.compile(r"\b(?:of|with|in|about|from|at|see|read|explain|is) (?:this|these|it|them)\b|\battach", re.I)
_EVERYTHING = re.compile(
    r"\b(?:everything|all (?:of it|rows|features|users|models|months|data|usage)|whole|entire|overall|altogether|"
    r"in total|again for all)\b",
    re.I,
)
_WHOLE_BILL = re.compile(
    r"\b(?:our|my|the|total|whole) (?:(?:ai|llm|model|monthly|overall|api) ){0,2}(?:bill|spend(?:ing)?|costs?|usage)\b",
    re.I,
)
_SHORT = 120
_BARE = 3  # words
_LONG = 20_000


def read_question(text: str, figures: Figures, earlier: Sequence[str], files: bool) -> Question:
    """What a message asks. `figures` are of it alone, `earlier` the user's messages before it, the oldest first."""
    text = text[:_LONG]
    question = _alone(text, not is_empty(figures), files)
    if figures["latency_goal"] or figures["speed_factor"]:
        _add(question["topics"], "latency")
    if figures["growth"] and figures["growth"] != 1:
        _add(question["topics"], "capacity")
    if figures["goal"] or figures["spends"]:
        _add(question["topics"], "cost")
    if not earlier and files and question["kind"] in ("greeting", "other") and not _is_question(text):
        # A file that comes with no more than a few words is to be looked at.
        question["kind"] = "advice"
    if files and question["kind"] == "other" and len(text) <= _SHORT and _THESE.search(text):
        question["kind"] = "advice"
    question["follows"] = question["follows"] or bool(earlier and _in_full(text))
    question["narrow"] = question["follows"] and bool(earlier) and not _in_full(text)
    if question["kind"] == "assumptions" and not earlier and not files:
        question["kind"] = "other"
    return continued(question, earlier, files)


def continues(question: Question) -> bool:
    """Whether it is about what was said before it."""
    return question["follows"] or question["kind"] == "assumptions"


def last_asked(earlier: Sequence[str]) -> tuple[str, list[str]]:
    """The newest message that asked for something else than what was assumed, and those before it."""
    asked = [index for index, said in enumerate(earlier) if not _ASSUMED.search(said) and not _GREETING.fullmatch(said)]
    last = asked[-1] if asked else 0
    return earlier[last], list(earlier[:last])


def _add(topics: list[Topic], topic: Topic) -> None:
    if topic not in topics:
        topics.append(topic)


def _alone(text: str, has_figures: bool, files: bool) -> Question:
    topics: list[Topic] = [topic for topic, words in _TOPICS.items() if words.search(text)]
    if not topics and _LESS.search(text):
        topics.append("cost")
    levers = [lever for lever, words in _LEVERS.items() if words.search(text)]
    parts = [part for part, words in _PARTS.items() if words.search(text)]
    short = len(text) <= _SHORT
    kind: Kind = "advice"
    if short and _ASSUMED.search(text):
        kind = "assumptions"
    elif _GREETING.fullmatch(text) and not has_figures:
        kind = "greeting"
    elif not (has_figures or topics or levers or _OURS.search(text) or (short and _FOLLOWS.search(text))):
        kind = "other"
    elif files and short and not _wants_change(text) and not set(levers) - {"retries"}:
        # A figure by its bare name, or after another question, is asked to be seen.
        named = bool(parts) and not has_figures and (_FOLLOWS.search(text) or len(text.split()) <= _BARE)
        if named or (_SHOW.search(text) and not _in_full(text)):
            kind, levers = "show", []
    return {
        "kind": kind,
        "topics": topics,
        "levers": levers,
        "follows": short and bool(_FOLLOWS.search(text)),
        "scenario": is_scenario(text),
        "parts": parts,
        "narrow": False,
    }


def _in_full(text: str) -> bool:
    return len(text) <= _SHORT and bool(_IN_FULL.search(text))


def asked_period(text: str) -> Literal["day", "month"] | None:
    """What the figures are to be shown by, where a message says so."""
    return "day" if _BY_DAY.search(text) else "month" if _BY_MONTH.search(text) else None


def is_scenario(text: str) -> bool:
    """Whether it asks what would be if only some of the traffic were moved."""
    return len(text) <= _SHORT and bool(_SCENARIO.search(text))


def means_everything(text: str) -> bool:
    """Whether rows that were chosen before no longer count."""
    return bool(_EVERYTHING.search(text)) or bool(_WHOLE_BILL.search(text) and not _FOLLOWS.search(text))


def _wants_change(text: str) -> bool:
    return bool(
        re.search(r"\b(?:sav(?:e|ings?)|reduc\w*|cut|lower|cheap\w*|optimi\w*|alternatives?|improve)\b", text, re.I)
    )


def _is_question(text: str) -> bool:
    return bool(re.search(r"\?|^\W*(?:what|who|where|when|why|how|which|is|are|do|does|can|could|tell)\b", text, re.I))


def continued(question: Question, earlier: Sequence[str], files: bool) -> Question:
    """The question with what it keeps of those before it."""
    if question["kind"] in ("greeting", "other") or not continues(question):
        return question
    for said in reversed(earlier):
        before = _alone(said[:_LONG], True, files)
        if before["kind"] not in ("advice", "show"):
            continue
        if question["kind"] == "advice" and before["kind"] == "show" and not (question["topics"] or question["levers"]):
            question["kind"] = "show"
        question["topics"] = question["topics"] or before["topics"]
        if not question["levers"]:
            question["levers"] = before["levers"]
        if not before["follows"] or before["topics"]:
            break
    if question["scenario"]:
        question["kind"] = "advice"
    return question
