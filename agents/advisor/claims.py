"""Claims: whether prose says only what the figures say. A sentence with any other number is not kept."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

_DATE = re.compile(r"\b(\d{4})-(\d\d)(?:-(\d\d))?\b")
# A name with digits in it, such as gpt-4o or claude-3-5-haiku, is no number but has to be one that the figures name.
_NAME = re.compile(r"(?<![\w.-])[^\W\d_][\w.+-]*\d[\w.+-]*|(?<![\w.,-])\d+[^\W\d_][\w.-]*", re.I)
_NUMBER = re.compile(
    r"(?P<currency>[$€£¥]|\b(?:USD|EUR|GBP|CHF)\s)?\s?(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)"
    r"(?:\s?(?P<unit>%|percent\b|per cent\b|ms\b|milliseconds?\b|s\b|seconds?\b|dollars?\b|USD\b|thousand\b|k\b|"
    r"million\b|m\b|billion\b|bn\b|x\b|×|times\b))?",
    re.I,
)
_UNITS = {"%": "%", "percent": "%", "per cent": "%", "ms": "s", "millisecond": "s", "milliseconds": "s", "s": "s"}
_UNITS |= {"second": "s", "seconds": "s", "dollar": "$", "dollars": "$", "usd": "$", "x": "x", "×": "x", "times": "x"}
_MULTIPLES = {"thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9, "bn": 1e9, "ms": 1e-3}
_MULTIPLES |= {"millisecond": 1e-3, "milliseconds": 1e-3}
_IN_WORDS = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?|hundreds?|thousands?|millions?|billions?|dozens?|half|halves|"
    r"halv(?:e[sd]?|ing)|thirds?|quarters?|fifths?|tenths?|doubl(?:e[sd]?|ing)|twice|thrice|tripl(?:e[sd]?|ing)|"
    r"tenfold|\w+fold|zero|none|all of)\b",
    re.I,
)
_RATE = re.compile(r"\bper (?:million|thousand)\b", re.I)
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences(prose: str) -> list[str]:
    return [" ".join(one.split()) for one in _SENTENCES.split(prose) if one.strip()]


def supported(prose: str, figures: Iterable[str]) -> Iterator[str]:
    """The sentences of the prose in which every number, date and name with digits stands in the figures too.

    Values must be equal and of the same kind (a percentage, money, seconds, a factor, a count): nothing is rounded.
    That a number is said of the right thing is not checked.
    """
    text = "\n".join(re.sub(r"^\s*\d+\.\s", "", line) for line in figures)
    names, numbers = _said(text)
    for sentence in sentences(prose):
        if _is_supported(unicodedata.normalize("NFKC", sentence), names, numbers):
            yield sentence


def _is_supported(sentence: str, names: set[str], numbers: set[tuple[str, float]]) -> bool:
    if any(not letter.isascii() and unicodedata.numeric(letter, None) is not None for letter in sentence):
        return False
    said_names, said_numbers = _said(sentence)
    rest = _RATE.sub("", _NUMBER.sub("", _NAME.sub("", sentence)))
    return said_names <= names and said_numbers <= numbers and not _IN_WORDS.search(rest)


def _said(text: str) -> tuple[set[str], set[tuple[str, float]]]:
    numbers: set[tuple[str, float]] = set()
    for date in _DATE.finditer(text):
        numbers.add(("", float(date[1])))
    names = {match[0] for match in _DATE.finditer(text)}
    text = _DATE.sub(" ", text)
    names |= {match[0].casefold().strip(".-") for match in _NAME.finditer(text) if not _NUMBER.fullmatch(match[0])}
    text = _NAME.sub(lambda match: match[0] if _NUMBER.fullmatch(match[0]) else " ", text)
    for match in _NUMBER.finditer(text):
        unit = (match["unit"] or "").lower()
        currency = (match["currency"] or "").strip().upper()
        kind = {"USD": "$"}.get(currency, currency) or _UNITS.get(unit, "")
        value = float(match["digits"].replace(",", "")) * _MULTIPLES.get(unit, 1)
        numbers.add((kind, float(f"{value:.12g}")))
    return names, numbers
