"""The findings of the grammar, and the numbers that the tokens of a message make."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from agents.advisor.language import vocabulary as words
from agents.advisor.language.lexer import LARGEST, Token, tokens
from agents.advisor.language.vocabulary import means

_BEFORE_YEAR = ("of", "/", "-", "von", "de", "'", "’")

Unit = Literal[
    "", "money", "request", "search", "user", "token", "character", "word", "page", "percent", "factor", "period",
    "million", "date",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and what it counts. `per`: what one of it is for (`user`, `request`, a period). `text`: as written.

    `value` is None where the number can be read in two ways. `noun`: the word of a request or user. `role`: what a
    percentage is of, or what an amount is (`goal`, `rise`, `cached`, …), empty where nothing says it.
    """

    value: float | None
    text: str
    start: int
    end: int
    unit: Unit = ""
    direction: Literal["", "in", "out"] = ""
    noun: str = ""
    per: tuple[str, ...] = ()
    currency: str = ""
    role: str = ""
    system: bool = False
    sentence: int = 0

    def of_each(self, what: str) -> "Quantity":
        """Return the quantity for one more unit."""
        return replace(self, per=tuple(dict.fromkeys((*self.per, what))))

    @property
    def periods(self) -> list[str]:
        """Return the periods that it is for."""
        return [per for per in self.per if per in words.PERIODS]

    @property
    def things(self) -> list[str]:
        """Return the requests or users that it is for."""
        return [per for per in self.per if per in ("request", "user")]


@dataclass(slots=True)
class Read:
    """The findings of the grammar. `words`: meanings of words that belong to no quantity, with their sentence.

    `periods`: names of quarters that a quantity is of.
    """

    text: str
    quantities: list[Quantity] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    currencies: list[str] = field(default_factory=list)
    vendors: list[str] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    unknown_models: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    words: list[tuple[str, str, int]] = field(default_factory=list)
    unknown_words: list[str] = field(default_factory=list)
    asked_per: list[str] = field(default_factory=list)
    periods: list[str] = field(default_factory=list)

    def has(self, kind: str, value: str | None = None) -> bool:
        """Return whether a word of this class stands outside the quantities."""
        return any(one == kind and value in (None, what) for one, what, _ in self.words)


class Number(NamedTuple):
    """A number with its scale: tokens from `at` to before `end`. `value` is None if it has two readings."""

    at: int
    end: int
    value: float | None
    scale: float = 1.0


class Quarter(NamedTuple):
    """A quarter that tokens name: up to before the token at `end`. `year` is None where they do not say it."""

    number: int
    year: int | None
    end: int


def quarter_at(tokens: Sequence[Token], at: int) -> Quarter | None:
    """Return the quarter whose name begins with the token at `at`: `Q3`, `the third quarter of 2026`."""
    text = [one.text for one in tokens[at : at + 4]] + [""] * 4
    quarter, end = words.QUARTERS.get(text[0]), at + 1
    if quarter is not None and not text[0].startswith("q"):
        quarter, end = (quarter, at + 2) if words.meaning(text[1], "period") == "quarter" else (None, end)
    if quarter is None:
        return None
    year = end + (text[end - at] in _BEFORE_YEAR)
    if year < len(tokens) and tokens[year].kind == "number" and 2000 <= (tokens[year].value or 0) < 2100:
        return Quarter(quarter, int(tokens[year].text), year + 1)
    return Quarter(quarter, None, end)


def singular(noun: str) -> str:
    """Return a noun without its plural s."""
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") and len(noun) > 2 else noun


class Pieces:
    """The tokens of a text, and the numbers that they make."""

    def __init__(self, text: str) -> None:
        self.found = Read(text)
        self.tokens = tokens(text)

    def _at(self, at: int) -> Token:
        return self.tokens[at] if 0 <= at < len(self.tokens) else Token("sign", "\n", 0, 0)

    def _means(self, at: int, *kinds: str) -> bool:
        return means(self._at(at).text, *kinds)

    def _number(self, at: int) -> Number | None:
        token = self._at(at)
        if token.kind == "number":
            return self._scaled(at, at + 1, token.value)
        if token.kind != "word":
            return None
        if token.text in words.FACTORS:
            scaled = at + 1 + (self._at(at + 1).text in words.ONES)
            if self._is_scale(scaled, 2):  # half a million
                return self._scaled(at, scaled, words.FACTORS[token.text])
            return Number(at, at + 1, words.FACTORS[token.text])
        if token.text == "one" and self._means(at + 1 + (self._at(at + 1).text == "web"), "search"):
            return Number(at, at + 1, 1.0)
        if token.text in words.NUMBER_WORDS or (token.text in words.ONES and self._is_scale(at + 1, 2)):
            return self._worded(at)
        return None

    def _worded(self, at: int) -> Number:
        """`one thousand two hundred and thirty-four`, `two and a half million`: the words of one number."""
        whole = part = 0.0
        scale, end = 1.0, at
        while True:
            here = end + (end > at and self._at(end).text in ("-", "and", "und"))
            token, by = self._at(here), words.SCALES.get(self._at(here).text, 0.0)
            if here == end > at and by and self._is_scale(here, 2) and by < (scale if whole else float("inf")):
                whole, part, scale = (whole, part * by, scale) if by == 100 else (whole + part * by, 0.0, by)
                end += 1
                if part > 1e5:  # hundred hundred
                    return Number(at, end, None)
            elif here > end and token.text in words.ONES and words.FACTORS.get(self._at(here + 1).text) == 0.5:
                whole, part, end = (whole, part + 0.5, here + 2) if part else (whole + scale / 2, 0.0, here + 2)
            elif (value := self._word_value(here, part)) is not None and self._goes_on(part, value, here, scale):
                part, end = part + value, here + 1
            else:
                return Number(at, end, whole + part, scale) if whole else self._scaled(at, end, part)

    def _word_value(self, at: int, part: float) -> float | None:
        token = self._at(at)
        if (token.text == "one" and part) or (token.text in words.ONES and self._is_scale(at + 1, 2)):
            return 1.0
        return words.NUMBER_WORDS.get(token.text) if token.kind == "word" else None

    def _goes_on(self, part: float, value: float, at: int, scale: float) -> bool:
        """Tell if a word goes on with a number: `twenty` by `one`, `two hundred` by `thirty`."""
        if scale > 1.0 and words.SCALES.get(self._at(at + 1).text, 1.0) >= scale:
            return False
        return not part or (value < 100 and part % 100 == 0) or (0 < value < 10 and part % 100 in range(20, 100, 10))

    def _scaled(self, at: int, end: int, value: float | None) -> Number:
        scale = 1.0
        while self._is_scale(end, 1):
            scale *= words.SCALES[self._at(end).text]
            end += 1
        known = scale and value is not None and value * scale <= LARGEST
        return Number(at, end, value * scale if known and value is not None else None, scale)

    def _is_scale(self, at: int, shortest: int) -> bool:
        token = self._at(at)
        if token.kind != "word" or token.text not in words.SCALES:
            return False
        if len(token.text) < shortest:
            return ord(token.text[0]) > 0x2E7F
        # A letter by itself may be an abbreviation of something else.
        return token.glued or len(token.text) > 1 or token.text == "k" or self._written(token).isupper()

    def _written(self, token: Token) -> str:
        return self.found.text[token.start : token.end]
