"""Pieces of a message: numbers, words, signs, and the names of models and products."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from agents.advisor.language import vocabulary as words
from agents.usage.prices import find_model

LARGEST = 1e15  # more than this is no count of anything here
_CJK = r"\u2e80-\u2fff\u3040-\u9fff\uff66-\uff9f"
_LEX = re.compile(
    r"(?P<date>\d{4}-\d\d(?:-\d\d)?(?!\d)|\d{1,2}/\d{1,2}/\d{4})"
    r"|(?P<number>\d+(?:\.\d+)?e\+?\d{1,2}(?!\w)|10(?:\^|\*\*)\d{1,2}(?!\w)"
    r"|\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?![\d.,]*\d)|\d+(?:[.,'’_]\d+)*)"
    rf"|(?P<word>(?:us\$|r\$|(?:mio|mrd|tsd|ca|avg|approx)\.(?=\s))|[^\W\d_{_CJK}][^\W{_CJK}]*"
    rf"(?:['’.-](?=[^\W\d_])[^\W{_CJK}]+)*)"
    rf"|(?P<ideograph>[{_CJK}]+)|(?P<gap>\s+)|(?P<sign>.)",
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
_STRAY = ("mini", "nano", "pro", "turbo", "flash", "lite", "latest", "preview", "large", "small", "medium", "max")


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the message. `glued`: no space before it. `value`: of a number, None if it has two readings."""

    kind: Literal["number", "word", "sign", "model", "date", "product", "unknown"]
    text: str
    start: int
    end: int
    glued: bool = False
    value: float | None = None


def number(text: str, whole: bool = False) -> float | None:
    """Return the value of a number as written; None if it can be read in two ways, or is no count of anything.

    `whole`: it counts things.
    """
    value = _value(text, whole)
    return value if value is not None and value <= LARGEST else None


def _value(text: str, whole: bool) -> float | None:
    if re.search(r"[eE^*]", text):
        return float(re.sub(r"^10(?:\^|\*\*)", "1e", text))
    digits, marks = re.sub(r"[ \u00a0\u202f'’_]", "", text), re.sub(r"[^.,]", "", text)
    *groups, tail = re.split(r"[.,]", digits)
    head = "".join(groups)
    if len(set(marks)) == 2 or not marks:
        return float(f"{head}.{tail}" if marks else digits)
    if len(marks) > 1:
        indian = all(len(group) == 2 for group in groups[1:]) and len(tail) == 3
        return float(head + tail) if indian or all(len(group) == 3 for group in [*groups[1:], tail]) else None
    if len(tail) == 3 and head != "0" and len(head) <= 3:
        return float(head + tail) if marks == "," or whole else None
    return float(f"{head}.{tail}")


def tokens(text: str) -> list[Token]:
    """Return the pieces of the text; names of products and models first, as they hold digits that are no quantity."""
    found: list[Token] = []
    at = 0
    for name in _names(text):
        found += [*_plain(text, at, name.start), name]
        at = name.end
    return [*found, *_plain(text, at, len(text))]


def _plain(text: str, start: int, end: int) -> Iterator[Token]:
    gap = True
    for match in _LEX.finditer(text, start, end):
        kind, piece, (begin, stop) = match.lastgroup, match[0], match.span()
        if kind == "ideograph":
            yield from _ideographs(piece, begin, gap)
        elif kind == "word":
            yield from _parts(words.folded(piece).rstrip("."), begin, not gap)
        elif kind == "gap":
            yield from [Token("sign", "\n", begin, stop)] if "\n" in piece else []
        else:
            yield Token(kind, piece, begin, stop, not gap, number(piece) if kind == "number" else None)  # type: ignore[arg-type]
        gap = kind == "gap"


def _parts(word: str, start: int, glued: bool) -> Iterator[Token]:
    """A compound of known words is those words: `output-tokens`."""
    parts = word.split("-")
    counted = all(part in words.NUMBER_WORDS or part in words.SCALES or part in words.ONES for part in parts)
    if word in words.MEANINGS or not (counted or any(part in words.MEANINGS for part in parts)):
        parts = [word]
    for part in parts:
        yield Token("word", part, start, start + len(part), glued)
        start, glued = start + len(part) + 1, False


def _ideographs(run: str, start: int, gap: bool) -> Iterator[Token]:
    at = 0
    while at < len(run):
        length = len(next((word for word in words.IDEOGRAPHIC if run.startswith(word, at)), " "))
        yield Token("word", run[at : at + length], start + at, start + at + length, at > 0 or not gap)
        at += length


def _names(text: str) -> Iterator[Token]:
    """Products and models, the longest name at each place."""
    pieces = list(_NAME.finditer(text))
    at = 0
    while at < len(pieces):
        kind, name, length = _name_at(text, pieces, at)
        if kind:
            start, end = pieces[at].start(), pieces[at + length - 1].end()
            yield Token(kind, name or text[start:end], start, end)  # type: ignore[arg-type]
        at += length


def _name_at(text: str, pieces: list[re.Match[str]], at: int) -> tuple[str, str, int]:
    """Return the kind, the model's id and the number of pieces of the name there; no kind if there is none."""
    folded = [words.folded(piece[0]) for piece in pieces[at : at + 4]]
    for product in words.PRODUCTS:
        if tuple(folded[: len(product)]) == product:
            return "product", "", len(product)
    if not _FAMILY.match(_HOST.sub("", pieces[at][0])):
        return "", "", 1
    for length in range(min(5, len(pieces) - at), 0, -1):
        chosen = pieces[at : at + length]
        if _may_be_name(text, chosen) and (model := named_model(" ".join(piece[0] for piece in chosen))):
            return "model", model, length
    length = 1
    while at + length < len(pieces) and _may_be_name(text, pieces[at : at + length + 1], strict=True):
        length += 1
    return "unknown", "", length


def _may_be_name(text: str, chosen: list[re.Match[str]], strict: bool = False) -> bool:
    """A number may follow only a name without one: in "gpt-5 2 million tokens" the 2 belongs to the tokens."""
    numbered = False
    for before, after in itertools.pairwise(chosen):
        numbered = numbered or bool(_DIGIT.search(before[0]))
        numeric = bool(_DIGIT.match(after[0]))
        if text[before.end() : after.start()].strip(" ") or (numeric and numbered):
            return False
        if strict and not numeric and after[0].lower() not in _STRAY:
            return False
    return True


@lru_cache(maxsize=4096)
def named_model(name: str) -> str | None:
    """Return the id of a model as people write it (`gpt4o`, `sonnet 4.5`), or None."""
    name = re.sub(r"^(gpt|claude|gemini|grok)(?=\d)", r"\1-", _HOST.sub("", name.strip().lower()))
    name = re.sub(r"^(?=(?:sonnet|haiku|opus)\b)", "claude ", re.sub(r"^(?=4(?:o|\.1)\b)", "gpt-", name))
    return find_model(name) if re.search(r"[\d -]", name) else None


def values_first(text: str) -> str:
    """Write a value before its label: the rows of a Markdown table, and `Requests per day: 5,000`."""
    lines, made, header = text.split("\n"), list[str](), list[str]()
    for line, rule in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        cells, barred = [cell.strip() for cell in line.strip().strip("|").split("|")], line.strip().startswith("|")
        if barred and "-" in rule and _RULE.fullmatch(rule.strip()):
            header = cells
        elif header and barred:
            named = ", ".join(f"{cell} {name}" for cell, name in zip(cells, header, strict=False))
            made += [] if _RULE.fullmatch(line.strip()) else [named]
        else:
            header = []
            made.append(_LABELLED.sub(r"\1\3 \2\4", line))
    return "\n".join(made)


_RULE = re.compile(r"[|\s:-]+")
_LABELLED = re.compile(
    r"(^|[,;(]\s*)([^\d:=,;.?!()]{2,40}?)\s?[:=]\s?"
    r"([$€£₹]?\d[\d.,]*[kKmMbB%]?)(\s?(?:/|per|a|an)\s?\w+)?(?=\s*(?:[,;)]|$))"
)


def pasted_table(text: str) -> tuple[str, str] | None:
    """Return the delimited lines of a message and the rest of it; None if it has no table of three columns and rows."""
    lines = text.split("\n")
    for mark in (",", ";", "\t", "|"):
        counts = [line.count(mark) for line in lines]
        for start, count in enumerate(counts):
            if count < 1 or lines[start].lstrip().startswith("|"):
                continue
            end = next((at for at in range(start, len(lines)) if counts[at] != count), len(lines))
            if end - start >= 2:
                rest = "\n".join([*lines[:start], *lines[end:]]).strip()
                return "\n".join(lines[start:end]) + "\n", rest
    return None
