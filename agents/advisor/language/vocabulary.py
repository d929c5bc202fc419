"""Words that carry a quantity's meaning, from `words.toml`: class and value of each, in the languages understood.

A word that stands in no table has no meaning to the grammar: a number beside it finds no place and is asked about.
"""

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Meaning(NamedTuple):
    """A word's class and its value in it."""

    kind: str
    value: str


def folded(text: str) -> str:
    """Return the text in lower case without the accents of Latin letters."""
    marks = unicodedata.normalize("NFD", text.casefold())
    bare = "".join(mark for mark in marks if not "\u0300" <= mark <= "\u036f")
    return unicodedata.normalize("NFC", bare)


def _meanings(table: Mapping[str, Mapping[str, str]]) -> dict[str, list[Meaning]]:
    found: dict[str, list[Meaning]] = {}
    for kind, values in table.items():
        for value, words in values.items():
            for word in words.split():
                found.setdefault(folded(word), []).append(Meaning(kind, value))
    return found


def _words(table: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((word, value) for value, words in table.items() for word in words.split())


_DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))

PERIODS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_DAYS_IN_YEAR = 365.0
PER_YEAR: dict[str, float] = {
    "second": _DAYS_IN_YEAR * 86_400, "minute": _DAYS_IN_YEAR * 1_440, "hour": _DAYS_IN_YEAR * 24,
    "day": _DAYS_IN_YEAR, "week": _DAYS_IN_YEAR / 7, "month": 12.0, "quarter": 4.0, "year": 1.0,
}  # fmt: skip

MEANINGS, QUERY = _meanings(_DATA["words"]), _meanings(_DATA["query"])
PRODUCTS = sorted((tuple(name.split()) for name in _DATA["products"].split(", ")), key=len, reverse=True)
SCALES, NUMBER_WORDS, FACTORS = (
    {word: float(value) for word, value in _words(_DATA[name])} for name in ("scales", "numbers", "factors")
)
CURRENCIES, VENDOR_NAMES = dict(_words(_DATA["currencies"])), dict(_words(_DATA["vendors"]))
RELATIVE, MONTHS, QUARTERS = (
    {word: int(value) for word, value in _words(_DATA[name])} for name in ("relative", "months", "quarters")
)
ONES, CENTS, PERCENTS, CALLS, WEAK, SUPPOSED, SEVERAL, NUMERALS, JOINTS, ALTERNATIVES = (
    frozenset(_DATA[name].split())
    for name in ("ones", "cents", "percents", "calls", "weak", "supposed", "several", "numerals", "joints",
                 "alternatives")
)  # fmt: skip
PRODUCT_SIGNS = ("x", "×", "*")

# Sizes of texts in tokens: the vendors' rule of thumb for English, four characters or three quarters of a word.
TOKENS_OF = {"character": 0.25, "word": 4 / 3, "page": 500 * 4 / 3}
CONVERSIONS = {
    "character": "4 characters a token",
    "word": "0.75 words a token",
    "page": "500 words a page, 0.75 words a token",
}
IDEOGRAPHIC = sorted(
    (word for word in {*MEANINGS, *SCALES, *CURRENCIES, *FACTORS, *QUERY} if ord(word[0]) > 0x2E7F),
    key=len,
    reverse=True,
)


def meaning(word: str, kind: str) -> str | None:
    """Return the word's value in a class; None if it is not of that class."""
    return next((one.value for one in MEANINGS.get(word, ()) if one.kind == kind), None)
