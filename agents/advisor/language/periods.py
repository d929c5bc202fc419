"""Periods with a name: `Q3`, `the third quarter of 2026`."""

from collections.abc import Sequence
from typing import NamedTuple

from agents.advisor.language import vocabulary as words
from agents.advisor.language.grammar import Token

_BEFORE_YEAR = ("of", "/", "-", "von", "de", "'", "’")


class Quarter(NamedTuple):
    """A quarter that tokens name: up to before the token at `end`. `year` is None where they do not say it."""

    number: int
    year: int | None
    end: int


def quarter_at(tokens: Sequence[Token], at: int) -> Quarter | None:
    """Return the quarter whose name begins with the token at `at`."""

    def text(index: int) -> str:
        return tokens[index].text if index < len(tokens) else ""

    number, end = words.QUARTERS.get(text(at)), at + 1
    if number is None or not text(at).startswith("q"):
        if number is None or words.meaning(text(end), "period") != "quarter":
            return None
        end += 1
    year = end + (text(end) in _BEFORE_YEAR)
    if year < len(tokens) and tokens[year].kind == "number" and 2000 <= (tokens[year].value or 0) < 2100:
        return Quarter(number, int(tokens[year].text), year + 1)
    return Quarter(number, None, end)
