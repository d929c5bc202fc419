"""Words that carry a quantity's meaning, from `words.toml`: class and value of each, in the languages understood.

A word that stands in no table has no meaning to the grammar: a number beside it finds no place and is asked about.
"""

import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Meaning(NamedTuple):
    """A word's class and its value in it."""

    kind: str
    value: str


def folded(text: str) -> str:
    """Return the text in lower case without the accents of Latin letters."""
    marks = unicodedata.normalize("NFD", text.casefold())
    return unicodedata.normalize("NFC", "".join(mark for mark in marks if not "\u0300" <= mark <= "\u036f"))


def _meanings(table: Mapping[str, Mapping[str, str]]) -> dict[str, list[Meaning]]:
    found: dict[str, list[Meaning]] = {}
    for kind, values in table.items():
        for word, value in _words(values).items():
            found.setdefault(folded(word), []).append(Meaning(kind, value))
    return found


def _words(table: Mapping[str, str], kind: Any = str) -> dict[str, Any]:
    return {word: kind(value) for value, words in table.items() for word in words.split()}


_DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
PERIODS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_MANY = (365 * 86_400.0, 525_600.0, 8_760.0, 365.0, 365 / 7, 12.0, 4.0, 1.0)
PER_YEAR: dict[str, float] = dict(zip(PERIODS, _MANY, strict=True))
MEANINGS, QUERY = _meanings(_DATA["words"]), _meanings(_DATA["query"])
PRODUCTS = sorted((tuple(name.split()) for name in _DATA["products"].split(", ")), key=len, reverse=True)
SCALES, NUMBER_WORDS, FACTORS = (_words(_DATA[name], float) for name in ("scales", "numbers", "factors"))
RELATIVE, MONTHS, QUARTERS = (_words(_DATA[name], int) for name in ("relative", "months", "quarters"))
CURRENCIES, VENDOR_NAMES = _words(_DATA["currencies"]), _words(_DATA["vendors"])
_LISTS = "ones cents percents calls weak supposed several numerals joints alternatives uses"
ONES, CENTS, PERCENTS, CALLS, WEAK, SUPPOSED, SEVERAL, NUMERALS, JOINTS, ALTERNATIVES, USES = (
    frozenset(_DATA[name].split()) for name in _LISTS.split()
)
PRODUCT_SIGNS = ("x", "×", "*")
# Sizes of texts in tokens: the vendors' rule of thumb for English, four characters or three quarters of a word.
TOKENS_OF = {"character": 0.25, "word": 4 / 3, "page": 500 * 4 / 3}
CONVERSIONS: dict[str, str] = _DATA["conversions"]
_IDEOGRAPHIC = (word for word in {*MEANINGS, *SCALES, *CURRENCIES, *FACTORS, *QUERY} if ord(word[0]) > 0x2E7F)
IDEOGRAPHIC = sorted(_IDEOGRAPHIC, key=len, reverse=True)


def meaning(word: str, kind: str) -> str | None:
    """Return the word's value in a class; None if it is not of that class."""
    return next((one.value for one in MEANINGS.get(word, ()) if one.kind == kind), None)


def means(word: str, *kinds: str) -> bool:
    """Tell if the word is of one of the classes."""
    return any(one.kind in kinds for one in MEANINGS.get(word, ()))


def is_more(word: str) -> bool:
    """Tell if the word says that something grows or rises."""
    return any(meaning(word, kind) == kind for kind in ("more", "grow", "rise"))
