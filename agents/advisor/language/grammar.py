"""Quantities in a message: numbers with unit, direction and denominators, and the models that it names.

The grammar knows words by a table (`vocabulary`) and neighbourhood, in any order of sentences. It does not understand
language: a number whose neighbours are in no table stays without unit, and the caller asks what it is.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from agents.advisor.language import vocabulary as words
from agents.usage.prices import find_model

MAX_TEXT = 20_000  # characters of a message that are read
MAX_NUMBERS = 200

Unit = Literal[
    "",
    "money",
    "request",
    "search",
    "user",
    "token",
    "character",
    "word",
    "page",
    "percent",
    "factor",
    "period",
    "million",
    "date",
]

_LEX = re.compile(
    r"(?P<date>\d{4}-\d\d(?:-\d\d)?(?!\d)|\d{1,2}/\d{1,2}/\d{4})"
    r"|(?P<number>\d+(?:\.\d+)?e\+?\d{1,2}(?!\w)|10(?:\^|\*\*)\d{1,2}(?!\w)"
    r"|\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?![\d.,]*\d)|\d+(?:[.,'’_]\d+)*)"
    r"|(?P<word>(?:us\$|r\$|(?:mio|mrd|tsd|ca|avg|approx)\.(?=\s))|[^\W\d_\u2e80-\u2fff\u3040-\u9fff\uff66-\uff9f][^\W\u2e80-\u2fff\u3040-\u9fff\uff66-\uff9f]*"
    r"(?:['’.-](?=[^\W\d_])[^\W\u2e80-\u2fff\u3040-\u9fff\uff66-\uff9f]+)*)"
    r"|(?P<ideograph>[\u2e80-\u2fff\u3040-\u9fff\uff66-\uff9f]+)|(?P<gap>\s+)|(?P<sign>.)",
    re.I | re.S,
)
_FAMILY = re.compile(
    r"(?:gpt|chatgpt-|claude|sonnet|haiku|opus|gemini|mistral|mixtral|ministral|magistral|codestral|pixtral|deepseek|"
    r"grok|kimi|llama|gemma|qwen|phi-?\d|nova-|command-|o[134](?:-|$)|4o|4\.1-|4\.1$)",
    re.I,
)
_NAME = re.compile(r"[^\W_][\w.:@/-]*[^\W_]|\w", re.A)
_HOST = re.compile(r"^(?:[a-z-]+/)+", re.I)
_DIGIT = re.compile(r"\d")
LARGEST = 1e15  # more than this is no count of anything here
_STRAY = ("mini", "nano", "pro", "turbo", "flash", "lite", "latest", "preview", "large", "small", "medium", "max")


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the message. `glued`: no space before it. `value`: of a number, None if it has two readings."""

    kind: Literal["number", "word", "sign", "model", "name", "date", "product", "unknown"]
    text: str
    start: int
    end: int
    glued: bool = False
    value: float | None = None


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
        return any(one == kind and (value is None or value == what) for one, what, _ in self.words)


def number(text: str, whole: bool = False) -> float | None:
    """Return the value of a number as written; None if it can be read in two ways, or is no count of anything.

    `whole`: it counts things.
    """
    value = _value(text, whole)
    return value if value is not None and value <= LARGEST else None


def _value(text: str, whole: bool) -> float | None:
    if re.search(r"[eE^*]", text):
        return float(re.sub(r"^10(?:\^|\*\*)", "1e", text))
    marks = re.sub(r"[^.,]", "", text)
    digits = re.sub(r"[ \u00a0\u202f'’_]", "", text)
    if not marks:
        return float(digits)
    last = max(digits.rfind("."), digits.rfind(","))
    tail = len(digits) - last - 1
    if len(set(marks)) == 2:
        return float(re.sub(r"[.,]", "", digits[:last]) + "." + digits[last + 1 :])
    if len(marks) > 1:
        groups = re.split(r"[.,]", digits)
        indian = all(len(group) == 2 for group in groups[1:-1]) and len(groups[-1]) == 3
        plain = all(len(group) == 3 for group in groups[1:])
        return float("".join(groups)) if indian or plain else None
    head = digits[:last]
    if tail == 3 and head not in ("0", "") and len(head) <= 3:
        if marks == "," or whole:
            return float(head + digits[last + 1 :])
        return None
    return float(head + "." + digits[last + 1 :])


def tokens(text: str) -> list[Token]:
    """Return the pieces of the text; names of products and models first, as they hold digits that are no quantity."""
    names = list(_names(text))
    found: list[Token] = []
    at = 0
    for name in [*names, None]:
        end = name.start if name else len(text)
        found += _plain(text, at, end)
        if name:
            found.append(name)
            at = name.end
    return found


def _plain(text: str, start: int, end: int) -> Iterator[Token]:
    gap = True
    for match in _LEX.finditer(text, start, end):
        kind, piece = match.lastgroup, match[0]
        begin, stop = match.span()
        if kind == "gap":
            if "\n" in piece:
                yield Token("sign", "\n", begin, stop)
            gap = True
            continue
        if kind == "number":
            yield Token("number", piece, begin, stop, not gap, number(piece))
        elif kind == "date":
            yield Token("date", piece, begin, stop, not gap)
        elif kind == "ideograph":
            yield from _ideographs(piece, begin, gap)
        elif kind == "word":
            yield from _parts(words.folded(piece).rstrip("."), begin, not gap)
        else:
            yield Token("sign", piece, begin, stop, not gap)
        gap = False


def _parts(word: str, start: int, glued: bool) -> Iterator[Token]:
    """A compound of known words is those words: `output-tokens`."""
    parts = word.split("-")
    counted = all(part in words.NUMBER_WORDS or part in words.SCALES or part in words.ONES for part in parts)
    if word in words.MEANINGS or not (counted or any(part in words.MEANINGS for part in parts)):
        yield Token("word", word, start, start + len(word), glued)
        return
    for part in parts:
        yield Token("word", part, start, start + len(part), glued)
        start, glued = start + len(part) + 1, False


def _ideographs(run: str, start: int, gap: bool) -> Iterator[Token]:
    at = 0
    while at < len(run):
        known = next((word for word in words.IDEOGRAPHIC if run.startswith(word, at)), None)
        length = len(known) if known else 1
        yield Token("word", run[at : at + length], start + at, start + at + length, at > 0 or not gap)
        at += length


def _names(text: str) -> Iterator[Token]:
    """Products and models, the longest name at each place."""
    pieces = list(_NAME.finditer(text))
    at = 0
    while at < len(pieces):
        length, token = _name_at(text, pieces, at)
        if token:
            yield token
        at += max(1, length)


def _name_at(text: str, pieces: list[re.Match[str]], at: int) -> tuple[int, Token | None]:
    start = pieces[at].start()
    folded = [words.folded(piece[0]) for piece in pieces[at : at + 4]]
    for product in words.PRODUCTS:
        if tuple(folded[: len(product)]) == product:
            end = pieces[at + len(product) - 1].end()
            return len(product), Token("product", text[start:end], start, end)
    if not _FAMILY.match(_HOST.sub("", pieces[at][0])):
        return 1, None
    for length in range(min(5, len(pieces) - at), 0, -1):
        chosen = pieces[at : at + length]
        if _may_be_name(text, chosen):
            model = named_model(" ".join(piece[0] for piece in chosen))
            if model:
                return length, Token("model", model, start, chosen[-1].end())
    length = 1
    while at + length < len(pieces) and _may_be_name(text, pieces[at : at + length + 1], strict=True):
        length += 1
    return length, Token("unknown", text[start : pieces[at + length - 1].end()], start, pieces[at + length - 1].end())


def _may_be_name(text: str, chosen: list[re.Match[str]], strict: bool = False) -> bool:
    """A number may follow only a name without one: in "gpt-5 2 million tokens" the 2 belongs to the tokens."""
    for before, after in itertools.pairwise(chosen):
        if text[before.end() : after.start()].strip(" "):
            return False
        numeric = bool(_DIGIT.match(after[0]))
        if numeric and any(_DIGIT.search(piece[0]) for piece in chosen[: chosen.index(after)]):
            return False
        if strict and not numeric and after[0].lower() not in _STRAY:
            return False
    return True


@lru_cache(maxsize=4096)
def named_model(name: str) -> str | None:
    """Return the id of a model as people write it (`gpt4o`, `sonnet 4.5`), or None."""
    name = _HOST.sub("", name.strip().lower())
    name = re.sub(r"^(gpt|claude|gemini|grok)(?=\d)", r"\1-", name)
    if re.match(r"(?:sonnet|haiku|opus)\b", name):
        name = f"claude {name}"
    elif re.match(r"4(?:o|\.1)\b", name):
        name = f"gpt-{name}"
    return find_model(name) if _DIGIT.search(name) or "-" in name or " " in name else None


def values_first(text: str) -> str:
    """Write a value before its label: the rows of a Markdown table, and `Requests per day: 5,000`."""
    lines = text.split("\n")
    made: list[str] = []
    header: list[str] = []
    for index, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        rule = lines[index + 1].strip() if index + 1 < len(lines) else ""
        if line.strip().startswith("|") and re.fullmatch(r"[|\s:-]+", rule) and "-" in rule:
            header = cells
        elif header and line.strip().startswith("|"):
            if not re.fullmatch(r"[|\s:-]+", line.strip()):
                made.append(", ".join(f"{cell} {name}" for cell, name in zip(cells, header, strict=False)))
        else:
            header = []
            made.append(_LABELLED.sub(r"\1\3 \2\4", line))
    return "\n".join(made)


_LABELLED = re.compile(
    r"(^|[,;(]\s*)([^\d:=,;.?!()]{2,40}?)\s?[:=]\s?"
    r"([$€£₹]?\d[\d.,]*[kKmMbB%]?)(\s?(?:/|per|a|an)\s?\w+)?(?=\s*(?:[,;)]|$))"
)


def per_unit(one: Quantity, what: str) -> Quantity:
    """Return the quantity for one more unit."""
    return replace(one, per=tuple(dict.fromkeys((*one.per, what))))


def per_each(one: Quantity) -> Quantity:
    """Return the quantity for each of what it usually belongs to: tokens to a request, requests to a user."""
    thing = {"token": "request", "search": "request", "request": "user", "money": "user"}.get(one.unit)
    return per_unit(one, thing) if thing else one


def shared(found: list[Quantity], text: str) -> list[Quantity]:
    """Input and output beside each other are for the same: `1M input and 200k output tokens a day`, `$3/$15 per M`."""
    made = list(found)
    for first, second in zip(range(len(made)), range(1, len(made)), strict=False):
        one, other = made[first], made[second]
        slash = text[one.end : other.start].strip() == "/"
        if slash and one.unit == other.unit == "money" and not one.per and other.per == ("million",):
            made[first], made[second] = replace(one, per=other.per, direction="in"), replace(other, direction="out")
            continue
        pair = one.unit == other.unit == "token" and {one.direction, other.direction} == {"in", "out"}
        if not pair or one.sentence != other.sentence or bool(one.per) == bool(other.per):
            continue
        per, noun = one.per or other.per, one.noun or other.noun
        made[first], made[second] = replace(one, per=per, noun=noun), replace(other, per=per, noun=noun)
    return made


def counting(one: Quantity, token: Token, scale: float) -> Quantity:
    """Return a number of things as a whole one, so that 50.000 of them are thousands."""
    things = one.unit in ("request", "user", "token", "character", "word")
    if one.value is not None or token.kind != "number" or scale != 1.0 or not things:
        return one
    return replace(one, value=number(token.text, whole=True))


def signed(one: Quantity, text: str) -> Quantity:
    """Return a number below zero without a value, as it counts nothing here, and with its sign."""
    before = text[max(0, one.start - 2) : one.start]
    negative = before[-1:] in ("-", "−") and not before[:-1].strip()
    return replace(one, value=None, start=one.start - 1) if negative else one


def singular(noun: str) -> str:
    """Return a noun without its plural s."""
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") and len(noun) > 2 else noun


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its scale: tokens from `at` to before `end`. `value` is None if it has two readings."""

    at: int
    end: int
    value: float | None
    scale: float = 1.0


class Pieces:
    """The tokens of a text, and the numbers that they make."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)

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
        if token.text == "one" and words.meaning(self._at(at + 1 + (self._at(at + 1).text == "web")).text, "search"):
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
                break
        return Number(at, end, whole + part, scale) if whole else self._scaled(at, end, part)

    def _word_value(self, at: int, part: float) -> float | None:
        token = self._at(at)
        if (token.text == "one" and part) or (token.text in words.ONES and self._is_scale(at + 1, 2)):
            return 1.0
        return words.NUMBER_WORDS.get(token.text) if token.kind == "word" else None

    def _goes_on(self, part: float, value: float, at: int, scale: float) -> bool:
        """Tell if a word goes on with a number: `twenty` by `one`, `two hundred` by `thirty`."""
        following = words.SCALES.get(self._at(at + 1).text, 1.0)
        if scale > 1.0 and following >= scale:
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
        if token.kind != "word" or token.text not in words.SCALES or len(token.text) < shortest:
            return token.kind == "word" and token.text in words.SCALES and ord(token.text[0]) > 0x2E7F
        # A letter by itself may be an abbreviation of something else.
        return token.glued or len(token.text) > 1 or token.text == "k" or self._written(token).isupper()

    def _at(self, at: int) -> Token:
        return self._tokens[at] if 0 <= at < len(self._tokens) else Token("sign", "\n", 0, 0)

    def _written(self, token: Token) -> str:
        return self._text[token.start : token.end]


def pasted_table(text: str) -> tuple[str, str] | None:
    """Return the delimited lines of a message and the rest of it; None if it has no table of three columns and rows."""
    lines = text.split("\n")
    for mark in _LINE_MARKS:
        counts = [line.count(mark) for line in lines]
        for start, count in enumerate(counts):
            if count < 1 or lines[start].lstrip().startswith("|"):
                continue
            end = start
            while end < len(lines) and counts[end] == count:
                end += 1
            if end - start >= 2:
                rest = "\n".join([*lines[:start], *lines[end:]]).strip()
                return "\n".join(lines[start:end]) + "\n", rest
    return None


_LINE_MARKS = (",", ";", "\t", "|")
