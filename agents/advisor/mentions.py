"""Mentions: which rows of a file a question speaks of, by the names and the days that the file itself has."""

import calendar
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TypedDict

from agents.advisor.answers import Only
from agents.advisor.question import is_scenario, means_everything
from agents.advisor.reader import ASKED

MAX_TEXT = 2_000
_MONTHS = [
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
]
_MONTH = re.compile(
    rf"(?P<before>\b(?:in|for|of|show|me|only|since|until|from|to|and)\s+)?"
    rf"\b(?P<name>{'|'.join(_MONTHS)}|jan|feb|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?(?:\s+(?P<year>20\d\d))?",
    re.I,
)
_ISO_MONTH = re.compile(r"\b(20\d\d)-(0[1-9]|1[0-2])(?:-([0-2]\d|3[01]))?\b")
# A name that is also an everyday word has to be spoken of as a name.
_BEFORE = (
    r"(?:only|just|feature|user|model|team|show|optimi[sz]e|about|for|of|in)\s+(?:me\s+|the\s+|our\s+|my\s+)?[\"'“]?"
)
_AFTER = (
    r"[\"'”]?\s+(?:feature|agent|bot|app|team|workload|traffic|requests?|calls?|part|user|spend|spending|costs?|bill|"
    r"moves?)\b"
)

# Of these words before a model, it is the one that is to be left, whatever else they say.
_LEAVING = re.compile(
    r"\b(?:(?:alternatives?|replacements?|substitutes?) (?:to|for)|(?:cheaper|better|faster) than|instead of)\s+"
    r"(?:the\s+)?$"
)


# “optimise the billing agent”: spoken of as a feature, whether the file has it or not.
_SPOKEN = re.compile(
    r"\b(?:only|just|optimi[sz]e|show|about|for|of|improve)\s+(?:me\s+)?(?:the|our|my)\s+[\"'“]?"
    r"(?P<name>[\w.-]+(?: [\w.-]+)?)"
    r"[\"'”]?\s+(?:feature|agent|bot|app|team|workload)\b",
    re.I,
)


class Mentions(TypedDict):
    """`carried`: what of `only` an earlier message chose. `targets`: models that the text asks to move to.

    `absent`: months that it names and the file has no day of; `unknown`: names it speaks of as features that are none.
    """

    only: Only
    carried: list[str]
    targets: list[str]
    absent: list[str]
    unknown: list[str]


def conversation(
    text: str, earlier: Sequence[str], names: Mapping[str, Sequence[str]], first: date | None, last: date | None
) -> Mentions:
    """The rows that a message speaks of, with those that earlier ones chose and nothing took back."""
    kept: Only = {}
    for said in earlier:
        if not is_scenario(said):
            kept = _merged({} if means_everything(said) else kept, mentions(said, names, first, last))
    found = mentions(text, names, first, last)
    if means_everything(text):
        kept = {}
    only = _merged(kept, found)
    carried = [key for key in only if key not in found["only"]]
    return {**found, "only": only, "carried": carried}


def _merged(kept: Only, found: Mentions) -> Only:
    only: Only = {**kept, **found["only"]}
    return only


def mentions(text: str, names: Mapping[str, Sequence[str]], first: date | None, last: date | None) -> Mentions:
    """The rows a text speaks of. `names`: those in the file by `feature`, `user`, `model`, what is used most first.

    A kind of which it names two or more chooses nothing: rows are of one.
    """
    text = text[:MAX_TEXT]
    only: Only = {}
    targets: list[str] = []
    taken = text.casefold()
    for kind in ("feature", "user", "model"):
        # The longest first: of gpt-4o-mini and gpt-4o only one was named.
        found: list[str] = []
        for name in sorted(names.get(kind, ()), key=lambda name: (-len(name), name)):
            at = _spoken(name, taken)
            if at:
                before = taken[: at.start(1)]
                asked = kind == "model" and ASKED.search(before) and not _LEAVING.search(before)
                (targets if asked else found).append(name)
                taken = taken[: at.start(1)] + "\0" * (at.end(1) - at.start(1)) + taken[at.end(1) :]
        if len({name.casefold() for name in found}) == 1:
            only[kind] = found[0]
    months, absent = _months(text, first, last)
    if months:
        only["since"], only["until"] = min(months)[0].isoformat(), max(months)[1].isoformat()
    known = {name.casefold() for kind in ("feature", "user", "model") for name in names.get(kind, ())}
    unknown = [
        match["name"][:60]
        for match in _SPOKEN.finditer(text)
        if not any(name in known for name in (match["name"].casefold(), match["name"].casefold().split()[-1]))
    ]
    if only:
        unknown = []
    return {"only": only, "carried": [], "targets": targets, "absent": absent, "unknown": unknown[:3]}


def _spoken(name: str, text: str) -> re.Match[str] | None:
    name = name.casefold().strip()
    # Numbers and single letters are in most sentences.
    if len(name) < 2 or name.isdigit() or name not in text:
        return None
    word = rf"(?<![\w@./-])({re.escape(name)})(?![\w@/-]|\.\w)"
    if name.isalpha():
        return re.search(rf"\b{_BEFORE}{word}", text) or re.search(rf"{word}{_AFTER}", text)
    return re.search(word, text)


def _months(text: str, first: date | None, last: date | None) -> tuple[list[tuple[date, date]], list[str]]:
    found: list[tuple[date, date]] = []
    absent: list[str] = []
    if first is None or last is None:
        return found, absent
    wanted: list[tuple[date, date, str]] = []
    for match in _MONTH.finditer(text):
        name = match["name"]
        everyday = name.lower() in ("may", "march") and not (name[0].isupper() and (match["before"] or match["year"]))
        if everyday and not (match["before"] and match["before"].strip().lower() in ("in", "for", "of", "show")):
            continue
        month = next(number for number, full in enumerate(_MONTHS, 1) if full.startswith(name.lower()[:3]))
        year = int(match["year"]) if match["year"] else last.year if month <= last.month else last.year - 1
        wanted.append((*_whole(year, month), f"{_MONTHS[month - 1].capitalize()} {year}"))
    for match in _ISO_MONTH.finditer(text):
        start, end = _whole(int(match[1]), int(match[2]))
        if match[3]:
            if not 1 <= int(match[3]) <= end.day:
                continue
            start = end = start.replace(day=int(match[3]))
        wanted.append((start, end, match[0]))
    for start, end, words in wanted:
        if start <= last and end >= first:
            found.append((start, end))
        else:
            absent.append(words)
    return found, absent


def _whole(year: int, month: int) -> tuple[date, date]:
    return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])
