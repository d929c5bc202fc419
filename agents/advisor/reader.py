"""Reads the figures in a message: money, goals, shares, models, tokens, requests, times. Arithmetic comes later.

Every number is looked at once, with the few words before and after it, so that a long message costs little. A figure
that cannot be used is named in `notes`, never guessed.
"""

import math
import re
import unicodedata
from typing import Literal, NamedTuple

from agents.advisor.figures import Figures, Kind, Spend, fill, is_empty, nothing
from agents.advisor.prices import find_model, nearest_models
from chat.usage import cells

MAX_TEXT = 20_000
MAX_NUMBERS = 200
MAX_MODELS = 50
MAX_DOLLARS = 1e12
MAX_COUNT = 1e18
_WINDOW = 70


def read_figures(text: str, earlier: list[str], follow: bool = False) -> Figures:
    """The figures of a message; what it lacks is taken from the user's earlier messages, the newest first.

    A message with no figure and no model in it stays empty, whatever came before it, unless it is to `follow`: then it
    also keeps their goals for times and growth.
    """
    figures = _Reader(text).read()
    if follow or not is_empty(figures):
        for before in reversed(earlier):
            fill(figures, _Reader(before).read(), follow)
    return figures


_MONTHS_IN = {"hour": 1 / 730, "day": 12 / 365, "week": 7 * 12 / 365, "month": 1.0, "quarter": 3.0, "year": 12.0}
_SECONDS_IN_MONTH = 365 * 86_400 / 12
_UNITS = r"month|mth|mo|year|yr|annum|week|wk|day|hour|hr|quarter|second|sec"
_PERIOD = re.compile(
    rf"\s*(?:usd|dollars?|bucks)?\s*(?:(?:per|an?|each|every|/)\s*(?P<unit>{_UNITS})\b|"
    r"(?P<word>monthly|yearly|annually|annual|weekly|daily|hourly|quarterly)\b|(?P<short>p\.?m\b|p\.?a\b))",
    re.I,
)
_PERIOD_BEFORE = re.compile(
    rf"(?:\b(?P<word>monthly|yearly|annual(?:ly)?|weekly|daily|hourly|quarterly)\b|"
    rf"\b(?:per|an?|each|every|this|last)\s(?P<unit>{_UNITS})\b)[^\d.]*$",
    re.I,
)
_PERIOD_NAMES = {"mth": "month", "mo": "month", "yr": "year", "annum": "year", "wk": "week", "hr": "hour"}
_PERIOD_NAMES |= {"sec": "second", "daily": "day", "annually": "year", "annual": "year", "pm": "month", "pa": "year"}
_PERIOD_NAMES |= {"monthly": "month", "yearly": "year", "weekly": "week", "hourly": "hour", "quarterly": "quarter"}

_NUMBER = re.compile(r"\d{1,3}(?:[ '’]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*(?:e[+-]?\d+)?", re.I)
_SUFFIX = re.compile(r"\s?(k|thousand|m|mm|mn|mio|million|millions|bn|b|billion|billions)\b", re.I)
_MULTIPLES = {"k": 1e3, "thousand": 1e3, "bn": 1e9, "b": 1e9, "billion": 1e9, "billions": 1e9}
_DOLLAR_BEFORE = re.compile(r"(?:(?<![a-z])us\s?|(?<![a-z]))\$\s?$|\busd\s?$", re.I)
_DOLLAR_AFTER = re.compile(r"\s?(?:us\s?)?(?:\$|(?:usd|dollars?|bucks)\b)", re.I)
_OTHER = r"€|£|¥|₹|₽|₩|(?<![a-z])[acn]z?\$|\b(?:eur|euros?|gbp|pounds?|chf|yen|jpy|inr|rupees?|cad|aud|sek|nok)"
_OTHER_BEFORE = re.compile(rf"(?:{_OTHER})\s?$", re.I)
_OTHER_AFTER = re.compile(rf"\s?(?:{_OTHER})(?![a-z])", re.I)

_MINUS = re.compile(r"(?:^|[\s(:])[-−](?:us)?[$€£]?$|[$€£][-−]$", re.I)
_HEDGE = r"(?:\s*(?:about|around|roughly|approximately|some|only|just|at least|almost|nearly|over|up to|~|≈))*\s*$"
_NOT_A_GOAL = re.compile(r"\b(?:close|up|comes?|came|amounts?|adds up|equals?|is set|it)\s+to" + _HEDGE, re.I)
_RISE = re.compile(
    r"\b(?:rose|risen|rises?|rising|grew|grown|grows?|growing|went up|jumped|climbed|increased?)\b", re.I
)
_CEILING = re.compile(
    r"(?:\bto|\bunder|\bbelow|\bless than|\bat most|\bno more than|\bnot more than|\bmax(?:imum)?(?: of)?|\bwithin|"
    r"\btarget(?: of| is|:)?|\bcap(?:ped)? (?:at|of)|\blimit(?: of| is)?|\bstay at|<|≤)" + _HEDGE,
    re.I,
)
_BUDGET = re.compile(r"\bbudget(?: of| is|:)?" + _HEDGE, re.I)
_SAVING = re.compile(r"\b(?:by|save|saving|savings of|shave(?: off)?|cut|trim|reduce)" + _HEDGE, re.I)
_FROM = re.compile(r"\bfrom" + _HEDGE, re.I)
_PAY = re.compile(
    r"\b(?:pay|paying|paid|spend|spending|spent|costs?|costing|bill|bills|invoice)\b"
    r"(?:\s*(?:is|of|us|was|are|at|now|currently|:|me|about|around|roughly|over|almost|nearly|~))*\s*$",
    re.I,
)
_CUT_TO = re.compile(r"\b(?:cut|reduce|bring|get|lower|drop|down)\b[^.\d]{0,30}\b(?:to|from|under|below|by)\s*$", re.I)
_REQUEST = (
    r"(?:requests?|calls?|quer(?:y|ies)|messages?|conversations?|chats?|tickets?|completions?|invocations?|reqs?)"
)
_PER_REQUEST = re.compile(
    rf"(?:\b(?:per|an?|each|every)\s+|/\s?)(?:api\s|llm\s)?(?:{_REQUEST}|prompts?)\b|\beach\b", re.I
)
_UNIT_PRICE = re.compile(
    r"\s?(?:per|/|an?|for|each|every)\s?(?:(?:1\s?[km]?|1,?000(?:,000)?|one|million|thousand|m|k)\s?)?"
    r"(?:m?tok(?:en)?s?|users?|seats?|person|employees?|customers?|images?|minutes?|documents?)\b",
    re.I,
)
_COUNT = re.compile(
    rf"[\s¤]*(?:(?P<word>daily|weekly|monthly|hourly)\s)?(?:(?:api|llm|chat|user|model|customer|support|ai)\s){{0,2}}"
    rf"(?:(?:{_REQUEST}|prompts)\b(?!\s?tok)|(?P<rate>rps|qps)\b)",
    re.I,
)
_PEOPLE = r"(?:users?|customers?|people|employees?|seats?|persons?)\b"
_USERS = re.compile(rf"\s(?:(?:active|paying|daily|monthly)\s){{0,2}}{_PEOPLE}", re.I)
_PER_USER = re.compile(rf"\s?(?:per|/|a|an|for each|by each)\s?{_PEOPLE}", re.I)
_IN, _OUT = r"input|prompt|context|in", r"output|completion|response|answer|reply|generated|out"
_TOKEN = re.compile(
    rf"\s?-?(?:(?P<d1>{_IN}|{_OUT})\b)?\s?-?(?P<tok>m?tok(?:en)?s?\b)?(?:\s(?:of\s)?(?P<d2>{_IN}|{_OUT})s?\b)?", re.I
)
_TOKEN_BEFORE = re.compile(
    rf"\b(?P<d>{_IN}|{_OUT})s?\s+(?:tokens?\s)?(?:of|is|are|has|have|averages?|:|=)" + _HEDGE, re.I
)
_RATIO = re.compile(r"(?<![\d.:])(\d{1,4}(?:\.\d{1,3})?)\s?(?::|/|to)\s?(\d{1,4}(?:\.\d{1,3})?)(?![\d.:])", re.I)
_RATIO_WORDS = re.compile(r"input|output|ratio", re.I)

_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b|pct\b)", re.I)
_SECONDS = re.compile(r"\s?-?(?P<unit>ms|msecs?|milliseconds?|s|secs?|seconds?)\b", re.I)
_TIMES = re.compile(r"\s?(?:x\b|×|times\b|-?\s?fold\b)", re.I)
_FASTER = re.compile(r"\b(?:faster|quicker|speed|latency)\b", re.I)
_LESS = re.compile(r"\s*(?:cheaper|less|lower|savings?|reduction|off\b|cost (?:cut|reduction|savings?)|decrease)", re.I)
_BY = re.compile(
    r"\b(?:by|save|saving|cut|reduce|lower|drop|trim|decrease|shave|reduction of|savings of)\b"
    r"(?:\s(?:it|them|this|that|my|our|the|ai|llm|api|openai|costs?|spend(?:ing)?|bills?|off|down|by))*" + _HEDGE,
    re.I,
)
_GROWTH = re.compile(r"\b(?:traffic|load|volume|usage|users|requests|throughput|capacity|scale|grow\w*|calls)\b", re.I)
_SHARES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "reuse",
        re.compile(
            r"\b(?:questions?|requests?|quer(?:y|ies)|tickets?|calls?)\b.{0,25}\b(?:repeat|the same|identical|"
            r"duplicate|alike|similar)|\bsemantic",
            re.I,
        ),
    ),
    ("tier", re.compile(r"\bflex\b|\b(?:take|wait(?: for)?)\b.{0,15}\bminutes\b", re.I)),
    (
        "repeated",
        re.compile(r"\bcach(?:e?able|ing)|\brepeat|\bidentical|\bthe same\b|\bduplicate|\bsystem prompt", re.I),
    ),
    ("cached", re.compile(r"\bcached?\b|\bcache[- ]hit", re.I)),
    ("batch", re.compile(r"\bbatch|\bovernight|\bnightly|\boffline|\basync|\bwait\b|\burgent|\bbackground", re.I)),
    (
        "simple",
        re.compile(r"\bsimple|\beasy|\broutine|\btrivial|\bbasic|\bclassif|\bextract|\bsummar|\bfaq|\btagging", re.I),
    ),
    ("output", re.compile(r"\boutput\b|\bcompletion tokens", re.I)),
    ("input", re.compile(r"\binput\b|\bprompt tokens", re.I)),
)
_MOVE = re.compile(r"\b(?:move|moved|moving|switch|route|migrate|shift|go from|(?:can|could|may) go)\b", re.I)
_WORKLOAD = re.compile(
    r"\s*(?:of\s[\w ]{0,25}?)?\b(?:is|are|goes|go|comes|for)\b\s(?:(?:to|for|from|on|just|only)\s)?"
    r"(?P<label>[a-z][a-z -]{2,30})",
    re.I,
)
_FRACTION = re.compile(r"(?<![\d/.])([1-9])/([2-9]) of\b")
_BEFORE_LABEL = re.compile(r"\s*(?:of\s[\w ]{0,25}?\b(?:is|are)\b|is\b|are\b)?\s*", re.I)
_WORDS_FOR_NUMBERS = (
    (re.compile(r"\s*(?:[→⇒⟶➜]|[-=]>)\s*"), " to "),
    (re.compile(r"\b(?:in|by) half\b", re.I), "by 50%"),
    (re.compile(r"\bhalve\b", re.I), "cut by 50%"),
    (re.compile(r"\bhalf of\b", re.I), "50% of"),
    (re.compile(r"\btwo thirds\b", re.I), "66.67%"),
    (re.compile(r"\bthree quarters\b", re.I), "75%"),
    (re.compile(r"\b(?:a|one) third\b", re.I), "33.33%"),
    (re.compile(r"\bby (?:a|one) quarter\b", re.I), "by 25%"),
    (re.compile(r"\b(?:a|one) quarter of (?!a year)", re.I), "25% of "),
    (re.compile(r"\bdouble\b|\btwice\b", re.I), "2x"),
    (re.compile(r"\btriple\b", re.I), "3x"),
)

_FAMILY = (
    r"(?:chat)?gpt|claude|gemini|opus|sonnet|haiku|llama|mi[sx]tral|ministral|codestral|magistral|command|deepseek|"
    r"grok|qwen|kimi|nova|titan|palm|phi"
)
_MODEL = re.compile(
    rf"(?<![\w.-])(?:(?:{_FAMILY})(?=[\s\d.-]|\b)[-.]?\d*[a-z]*\+?|o[1-9])(?:[-. ][a-z0-9]+\+?){{0,7}}", re.I
)
_MODEL_PART = re.compile(r"[-. ]?[a-z0-9]+\+?", re.I)
_TIER = re.compile(r" (?:opus|sonnet|haiku|mini|nano|turbo|pro|flash|lite|large|medium|small)", re.I)
_PLAIN_ENDING = re.compile(r"-(?:based|powered|class|style|calls|api|level|like|only)", re.I)
ASKED = re.compile(
    r"\b(?:to|into|instead|vs\.?|versus|or|than|about|alternatives?|try|consider)\s+(?:use |using |the |a |an )?$", re.I
)
_CLAUSE_END = re.compile(r"[,;!?()\n]|\.(?:\s|$)|\s(?:and|but|while|plus)\s", re.I)
_SENTENCE_END = re.compile(r"[!?;\n]|\.(?:\s|$)")


class _Number(NamedTuple):
    start: int
    end: int
    value: float
    has_suffix: bool


class _Money(NamedTuple):
    start: int
    end: int
    value: float
    period: str | None


class _Reader:
    """One pass over one message. `work` is the text with the models' names blanked out by ¤."""

    def __init__(self, text: str) -> None:
        text = unicodedata.normalize("NFKC", text[:MAX_TEXT])[:MAX_TEXT]
        text = re.sub(r"(?<=[a-z])[‐‑–](?=\d)", "-", text, flags=re.I)
        for words, number in _WORDS_FOR_NUMBERS:
            text = words.sub(number, text)
        text = _FRACTION.sub(lambda match: f"{100 * int(match[1]) / int(match[2]):.4g}% of", text)
        self.text = self.work = text
        self.figures = nothing()
        self.models: list[tuple[int, int, str]] = []
        self.unknown: list[tuple[int, str]] = []
        self.moneys: list[_Money] = []
        self.foreign: list[tuple[int, str]] = []
        self.users: float | None = None
        self.per_user: float | None = None

    def read(self) -> Figures:
        self._models()
        self._ratio()
        numbers = self._numbers()
        for number in numbers:
            self._one(number)
        self._users()
        self._money()
        self._token_shares()
        return self.figures

    def _note(self, note: str) -> None:
        if note not in self.figures["notes"] and len(self.figures["notes"]) < 10:
            self.figures["notes"].append(note)

    def _before(self, start: int) -> str:
        window = self.work[max(0, start - _WINDOW) : start]
        return window[max((end.end() for end in _SENTENCE_END.finditer(window)), default=0) :]

    def _after(self, end: int) -> str:
        window = self.work[end : end + _WINDOW]
        stop = _SENTENCE_END.search(window)
        return window[: stop.start()] if stop else window

    def _quote(self, start: int, end: int) -> str:
        return re.sub(r"[\s`|*_<>\[\]]+", " ", self.text[start:end]).strip()[:40]

    # Models

    def _models(self) -> None:
        pieces, done = [], 0
        for _ in range(MAX_MODELS):
            match = _MODEL.search(self.text, done)
            if not match:
                break
            end = self._model(match.start(), match.group())
            pieces += [self.text[done : match.start()], "¤" * (end - match.start())]
            done = end
        self.work = "".join([*pieces, self.text[done:]])
        if not self.figures["current"]:
            self.figures["current"], self.figures["asked"] = self.figures["asked"][:1], self.figures["asked"][1:]

    def _model(self, start: int, words: str) -> int:
        """Note the model named here; the end of its name."""
        parts = list(_MODEL_PART.finditer(words))
        for count in range(len(parts), 0, -1):
            name = words[: parts[count - 1].end()]
            model = find_model(_spelled(name))
            glued = parts[count].group() if count < len(parts) and parts[count].group()[0] in "-." else ""
            if model and (not glued or _PLAIN_ENDING.fullmatch(glued)):
                self._known(start, start + len(name), model)
                return start + len(name)
        count = 1
        while count < len(parts) and (
            parts[count].group()[0] in "-." or _has_digit(parts[count].group()) or _TIER.fullmatch(parts[count].group())
        ):
            count += 1
        name = words[: parts[count - 1].end()]
        self._unknown(start, name)
        return start + len(name)

    def _unknown(self, start: int, name: str) -> None:
        unknown = self.figures["unknown"]
        ordinary = re.fullmatch(r"command|nova|titan|palm|phi|opus", name, re.I)
        if not ordinary and len(unknown) < 5 and all(other["words"] != name[:60] for other in unknown):
            unknown.append({"words": name[:60], "nearest": nearest_models(_spelled(name))})
            self.unknown.append((start, name[:60]))

    def _known(self, start: int, end: int, model: str) -> None:
        self.models.append((start, end, model))
        current, asked = self.figures["current"], self.figures["asked"]
        if model in current or model in asked:
            return
        if ASKED.search(self.text[max(0, start - 30) : start]):
            asked.append(model)
        else:
            current.append(model)

    # Numbers

    def _numbers(self) -> list[_Number]:
        numbers: list[_Number] = []
        for match in _NUMBER.finditer(self.work):
            if len(numbers) == MAX_NUMBERS:
                self._note(f"Only the first {MAX_NUMBERS} numbers were read.")
                break
            before = self.work[match.start() - 1 : match.start()]
            if before.isalpha() or before == "_":
                continue
            suffix = _SUFFIX.match(self.work, match.end())
            value = _value(match.group(), bool(suffix))
            if value is None:
                continue
            if suffix:
                value *= _MULTIPLES.get(suffix.group(1).lower(), 1e6)
            numbers.append(_Number(match.start(), suffix.end() if suffix else match.end(), value, bool(suffix)))
        return numbers

    def _one(self, number: _Number) -> None:
        start, end, value = number.start, number.end, number.value
        lead = self.work[max(0, start - 12) : start]
        foreign = _OTHER_BEFORE.search(lead)
        foreign_after = None if foreign else _OTHER_AFTER.match(self.work, end)
        if foreign or foreign_after:
            quote = self._quote(
                start - len(foreign.group()) if foreign else start, foreign_after.end() if foreign_after else end
            )
            self.figures["foreign"].append(quote)
            self.foreign.append((start, quote))
            return
        sign = _DOLLAR_BEFORE.search(lead)
        if _MINUS.search(lead):
            self._note(f"“{self._quote(start - 2 if start > 1 else 0, end)}” is negative, so I left it out.")
        elif sign or (after := _DOLLAR_AFTER.match(self.work, end)):
            self._dollars(
                start - len(sign.group()) if sign else start, end if sign or not after else after.end(), value
            )
        elif percent := _PERCENT.match(self.work, end):
            self._percent(start, percent.end(), value)
        elif not number.has_suffix and (seconds := _SECONDS.match(self.work, end)):
            thousandths = seconds.group("unit").lower().startswith("m")
            self._time(start, seconds.end(), value / 1000 if thousandths else value)
        elif times := _TIMES.match(self.work, end):
            self._factor(start, times.end(), value)
        elif _USERS.match(self.work, end):
            self.users = self.users or value
        elif not (self._tokens(start, end, value) or self._count(start, end, value)):
            before = self._before(start)
            paid = (_PAY.search(before) and (value >= 10 or number.has_suffix)) or (
                _PERIOD.match(self.work, end) and value >= 1
            )
            if paid or (_CUT_TO.search(before) and value >= 100):
                self._note(f"I read “{self._quote(start, end)}” as US dollars.")
                self._dollars(start, end, value)

    def _dollars(self, start: int, end: int, value: float) -> None:
        if not math.isfinite(value) or value > MAX_DOLLARS:
            self._note(f"“{self._quote(start, end)}” is more than anybody pays, so I left it out.")
        elif _PER_REQUEST.match(self.work[end : end + _WINDOW].lstrip()):
            self.figures["usd_per_request"] = self.figures["usd_per_request"] or value
        elif _UNIT_PRICE.match(self.work, end):
            self._note(f"“{self._quote(start, end + 20)}” is a unit price; I use the price list instead.")
        else:
            self.moneys.append(_Money(start, end, value, self._period(start, end)))

    def _period(self, start: int, end: int) -> str | None:
        after = self._after(end)
        found = _PERIOD.match(after)
        if not found:
            digit = re.search(r"\d", after)
            near = after[: digit.start()] if digit else after
            found = _PERIOD.search(near) or _PERIOD_BEFORE.search(self._before(start))
        return _period_name(found)

    def _percent(self, start: int, end: int, value: float) -> None:
        before, after = self._before(start), self._after(end)
        clause = _CLAUSE_END.split(re.split(r"\d", after)[0])[0]
        prior = re.split(r"\d[\d.,]*\s?%?", _CLAUSE_END.split(before)[-1])[-1]
        quote = self._quote(start, end)
        if _MINUS.search(before):
            self._note(f"“{quote}” is negative, so I left it out.")
        elif _RISE.search(before) or re.match(r"\s*(?:more|growth|increase)", clause):
            self.figures["growth"] = self.figures["growth"] or 1 + min(value, 1e6) / 100
        elif _LESS.match(after) or (_BY.search(before) and not self._share_kind(clause)):
            self._goal("percent", value / 100, quote)
        elif not 0 < value <= 100:
            self._note(f"“{quote}” is no share between 0 and 100 %, so I left it out.")
        else:
            self._share(start, end, value / 100, clause, prior)

    def _share_kind(self, words: str) -> Kind | None:
        return next((kind for kind, pattern in _SHARES if pattern.search(words)), None)

    def _share(self, start: int, end: int, share: float, clause: str, prior: str) -> None:
        near = next(
            (
                model
                for a, b, model in self.models
                if 0 <= a - end <= 14 or (0 <= start - b <= 3 and clause.strip() == "")
            ),
            None,
        )
        kind: Kind | None = "simple" if _MOVE.search(clause + prior) or _MOVE.search(self._before(start)) else None
        kind = kind or self._share_kind(clause) or self._share_kind(prior)
        workload = _WORKLOAD.match(clause)
        if near and not kind and not workload:
            self._add_share("model", share, near)
        elif kind:
            words = _BEFORE_LABEL.match(clause)
            skipped = words.end() if words else 0
            label = self._quote(end + skipped, end + len(clause)) or self._quote(start - len(prior), start)
            self._add_share(kind, share, label)
        elif workload and "¤" not in workload.group():
            self._add_share("workload", share, self._quote(end + workload.start("label"), end + workload.end("label")))
        else:
            self._note(f"I did not use “{self._quote(start, end + len(clause))}”: I cannot tell what it is a share of.")

    def _add_share(self, kind: Kind, share: float, label: str) -> None:
        if len(self.figures["shares"]) < 20:
            self.figures["shares"].append({"kind": kind, "share": share, "label": label})

    def _time(self, start: int, end: int, seconds: float) -> None:
        if not 0 < seconds < 86_400:
            return
        before = self._before(start)
        key: Literal["latency", "latency_goal"] = (
            "latency_goal" if _CEILING.search(before) and not _NOT_A_GOAL.search(before) else "latency"
        )
        self.figures[key] = self.figures[key] or seconds

    def _factor(self, start: int, end: int, value: float) -> None:
        after = _CLAUSE_END.split(self._after(end))[0]
        around = _CLAUSE_END.split(self._before(start))[-1] + after
        if not 0 < value <= 1e6:
            return
        if _LESS.match(after) and value > 1:
            self._goal("percent", 1 - 1 / value, self._quote(start, end + 8))
        elif _FASTER.search(around):
            self.figures["speed_factor"] = self.figures["speed_factor"] or value
        elif _GROWTH.search(around):
            self.figures["growth"] = self.figures["growth"] or value
        else:
            self._note(f"I did not use “{self._quote(start, end)}”: I cannot tell what should change by it.")

    def _tokens(self, start: int, end: int, value: float) -> bool:
        found = _TOKEN.match(self.work, end)
        direction = found and (found["d1"] or found["d2"])
        after = self._after(end)
        if not found or not (found["tok"] or (direction and re.search(r"\btok", after, re.I))):
            return False
        if found["tok"] and found["tok"].lower().startswith("mtok"):
            value *= 1e6
        before = _TOKEN_BEFORE.search(self._before(start))
        direction = direction or (before["d"] if before else "")
        kind = "tokens" if not direction else "input" if re.fullmatch(_IN, direction, re.I) else "output"
        if not 0 < value <= MAX_COUNT:
            self._note(f"“{self._quote(start, end)}” tokens cannot be, so I left it out.")
            return True
        figures = self.figures
        period = _period_name(_PERIOD.search(re.split(r"[,\d]", self._after(found.end()))[0]))
        per_request = bool(_PER_REQUEST.search(after)) or (value < 100_000 and not period)
        key = f"{kind}_per_request" if per_request else f"{kind}_per_month"
        if not per_request:
            value /= _months(period or "month")
        figures[key] = figures[key] or value  # type: ignore[literal-required]
        return True

    def _count(self, start: int, end: int, value: float) -> bool:
        found = _COUNT.match(self.work, end)
        if not found:
            return False
        if not 0 < value <= MAX_COUNT:
            self._note(f"“{self._quote(start, end)}” requests cannot be, so I left it out.")
            return True
        period = "second" if found["rate"] else _PERIOD_NAMES.get((found["word"] or "").lower())
        per_user = _PER_USER.match(self.work, found.end())
        stop = per_user.end() if per_user else found.end()
        period = period or _period_name(_PERIOD.match(self.work, stop)) or "month"
        if per_user:
            self.per_user = self.per_user or value / _months(period)
        else:
            self.figures["requests_per_month"] = self.figures["requests_per_month"] or value / _months(period)
        return True

    def _users(self) -> None:
        if self.per_user and self.users:
            requests = self.per_user * self.users
            self.figures["requests_per_month"] = self.figures["requests_per_month"] or min(requests, MAX_COUNT)
        elif self.per_user:
            self._note("You name requests per user; I also need the number of users.")

    def _ratio(self) -> None:
        for match in _RATIO.finditer(self.work):
            around = self.work[max(0, match.start() - 30) : match.end() + 30]
            inputs, outputs = float(match[1]), float(match[2])
            if _RATIO_WORDS.search(around) and not re.search(r"\btok|\$", around, re.I) and inputs > 0 and outputs > 0:
                self.figures["input_per_output"] = inputs / outputs
                self.work = self.work[: match.start()] + "¤" * len(match.group()) + self.work[match.end() :]
                return

    def _token_shares(self) -> None:
        for share in self.figures["shares"]:
            if share["kind"] in ("input", "output") and 0 < share["share"] < 1:
                inputs = share["share"] if share["kind"] == "input" else 1 - share["share"]
                self.figures["input_per_output"] = self.figures["input_per_output"] or inputs / (1 - inputs)

    # What each sum of money is

    def _goal(self, kind: Literal["percent", "ceiling", "saving"], value: float, quote: str) -> None:
        if kind == "percent" and not 0 < value < 1:
            self._note(f"A cut of “{quote}” cannot be: it must be more than 0 and less than 100 %.")
        else:
            self.figures["goal"] = self.figures["goal"] or {"kind": kind, "value": value, "quote": quote}

    def _money(self) -> None:
        moneys = self._joined()
        spends: list[tuple[_Money, str | None]] = []
        budgets: list[tuple[_Money, str | None]] = []
        for index, money in enumerate(moneys):
            before = self._before(money.start)
            following = moneys[index + 1] if index + 1 < len(moneys) else None
            period = money.period
            if period is None and following and "." not in self.work[money.end : following.start].strip(" ."):
                period = following.period
            monthly = money.value * _months_inverse(period)
            quote = self._quote(money.start, money.end)
            if _NOT_A_GOAL.search(before) or (_RISE.search(before) and not _FROM.search(before)):
                if _RISE.search(before) and spends and _FROM.search(self._before(spends[-1][0].start)):
                    spends.pop()
                spends.append((money, period))
            elif _BUDGET.search(before):
                budgets.append((money, period))
            elif _CEILING.search(before):
                paid = spends[-1] if spends and _FROM.search(self._before(spends[-1][0].start)) else None
                if paid and paid[0].value < money.value:
                    spends[-1] = (money, period)
                else:
                    self._goal("ceiling", monthly, quote)
            elif _SAVING.search(before):
                self._goal("saving", monthly, quote)
            elif not (_FROM.search(before) and any(money.value == other.value for other, _ in spends)):
                spends.append((money, period))
        if budgets and spends:
            self._goal("ceiling", budgets[0][0].value * _months_inverse(budgets[0][1]), "the budget")
        elif budgets:
            spends = budgets
            self._note("I took the budget as what you pay.")
        for money, period in self._of_known(spends):
            if money.value > 0:
                self._spend(money, period)
        amounts = [spend["usd_per_month"] for spend in self.figures["spends"]]
        for index, amount in enumerate(amounts):
            if len(amounts) > max(2, len(self.figures["current"])) and math.isclose(
                amount, math.fsum(amounts) - amount, rel_tol=1e-6
            ):
                del self.figures["spends"][index]
                break

    def _of_known(self, spends: list[tuple[_Money, str | None]]) -> list[tuple[_Money, str | None]]:
        """The sums of models with a price; a model that is paid in another currency gets none of the dollars."""
        current = self.figures["current"]
        first = {model: start for start, _, model in reversed(self.models) if model in current}
        models = sorted(
            [*((start, model, True) for model, start in first.items()), *((*one, False) for one in self.unknown)]
        )
        sums = sorted([*((money.start, True) for money, _ in spends), *((start, False) for start, _ in self.foreign)])
        if not spends or len(sums) < 2 or len(sums) != len(models):
            return spends
        kept = list(spends)
        for (_, model, known), (start, dollars) in zip(models, sums, strict=True):
            if dollars and not known:
                [one] = [one for one in spends if one[0].start == start]
                kept.remove(one)
                self._note(
                    f"“{self._quote(one[0].start, one[0].end)}” is for “{model}”, so it is in none of these figures."
                )
            elif known and not dollars:
                current.remove(model)
                quote = dict(self.foreign)[start]
                self._note(f"“{quote}” is for {model}, so {model} is in none of these figures.")
        return kept

    def _spend(self, money: _Money, period: str | None) -> None:
        spend: Spend = {
            "usd_per_month": money.value * _months_inverse(period),
            "quote": self._quote(money.start, money.end),
            "period": period or "month",
            "period_given": period is not None,
        }
        if spend["usd_per_month"] > MAX_DOLLARS:
            self._note(f"“{spend['quote']}” is more than anybody pays, so I left it out.")
        elif len(self.figures["spends"]) < 20:
            self.figures["spends"].append(spend)

    def _joined(self) -> list[_Money]:
        """`$3,000-$5,000` is one sum, its middle."""
        joined: list[_Money] = []
        for money in self.moneys:
            last = joined[-1] if joined else None
            if last and re.fullmatch(r"\s?[-–—]\s?", self.work[last.end : money.start]):
                middle = (last.value + money.value) / 2
                joined[-1] = _Money(last.start, money.end, middle, money.period)
                self._note(f"Of “{self._quote(last.start, money.end)}” I took the middle.")
            else:
                joined.append(money)
        return joined


def _spelled(name: str) -> str:
    """A model's name as price lists spell it: `gpt4o` is gpt-4o, `Sonnet 4.5` is Claude's."""
    name = re.sub(r"^(chat)?gpt[- .]?(?=\d)", "gpt-", name.lower())
    name = re.sub(r"\+", "-plus", name)
    return re.sub(r"^(?=opus|sonnet|haiku)", "claude ", name)


def _has_digit(words: str) -> bool:
    return any(letter.isdigit() for letter in words)


def _value(digits: str, has_suffix: bool) -> float | None:
    """`5,000` `5.000` `5 000` `2.5` `2,5` `1.234,50` `1e3`; None for what is no number."""
    mantissa, _, power = digits.lower().partition("e")
    value = cells.number(mantissa, _decimal(mantissa, has_suffix))
    return value * float(f"1e{power or 0}") if value else value


def _decimal(digits: str, has_suffix: bool) -> str:
    """The decimal mark of a number that stands alone: what groups thousands is none."""
    marks = re.findall(r"[.,]", digits)
    if not marks:
        return "."
    other = "," if marks[-1] == "." else "."
    whole, last = digits.rsplit(marks[-1], 1)
    groups = len(set(marks)) == 1 and (
        len(marks) > 1 or (len(last) == 3 and len(whole) <= 3 and whole != "0" and not has_suffix)
    )
    return other if groups else marks[-1]


def _period_name(found: re.Match[str] | None) -> str | None:
    if not found:
        return None
    words = next(group for group in found.groupdict().values() if group).lower().replace(".", "")
    return _PERIOD_NAMES.get(words, words)


def _months(period: str) -> float:
    return 1 / _SECONDS_IN_MONTH if period == "second" else _MONTHS_IN[period]


def _months_inverse(period: str | None) -> float:
    return 1 / _months(period or "month")
