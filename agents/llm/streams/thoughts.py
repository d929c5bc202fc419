"""Thoughts in the text of an answer, which models without a field for them write between tags. Pure."""

import re
from collections.abc import Iterator
from typing import Literal

Kind = Literal["text", "thought", "withdrawn"]
Piece = tuple[Kind, str]

_NAMES = ("think", "thinking", "thought", "reason", "reasoning", "seed:think")
_TAGS = {
    **{f"<{name}>": f"</{name}>" for name in _NAMES},
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel|>analysis<|message|>": "<|end|>",
}
# In the form of gpt-oss these stand in front of a thought, or of the text after it.
_HEADERS = ("<|start|>assistant", "<|channel|>final<|message|>")
_ORPHAN = "</think>"  # templates that open the tag in the prompt leave only this in the answer
_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_FENCE = re.compile(r"^\s*(?:```|~~~)", re.M)


class Thoughts:
    """Separates the thoughts at the start of an answer from its text, delta by delta.

    A tag within the answer is no thought: an answer may be about the tags. A closing tag without an opening one yields
    ("withdrawn", ""): the text so far was a thought. White space around thoughts is dropped, and an answer of white
    space alone is no text.
    """

    def __init__(self) -> None:
        self._buffer = ""
        self._close = ""  # the tag that ends the thought under way
        self._begun = False  # the answer itself
        self._thought = False  # one was found
        self._text = ""  # of the answer so far

    def add(self, piece: str) -> Iterator[Piece]:
        """Yield the texts and thoughts that `piece` completes."""
        self._buffer += piece
        yield from self._all(last=False)

    def end(self) -> Iterator[Piece]:
        """Yield the rest at the end of the answer."""
        yield from self._all(last=True)

    def _all(self, last: bool) -> Iterator[Piece]:
        while True:
            before = self._buffer, self._close, self._begun
            if self._close:
                yield from self._in_thought(last)
            elif self._begun:
                yield from self._in_text(last)
            else:
                self._start(last)
            if before == (self._buffer, self._close, self._begun):
                return

    def _start(self, last: bool) -> None:
        text = self._buffer.lstrip()
        lower = _lower(text)
        for tag, close in _TAGS.items():
            if lower.startswith(tag):
                self._buffer, self._close, self._thought = text[len(tag) :], close, True
                return
        for header in _HEADERS:
            if lower.startswith(header):
                self._buffer, self._thought = text[len(header) :], True
                return
        if not text:
            self._buffer = "" if last else self._buffer
        elif last or not any(tag.startswith(lower) for tag in (*_TAGS, *_HEADERS)):
            self._buffer, self._begun = text if self._thought else self._buffer, True

    def _in_thought(self, last: bool) -> Iterator[Piece]:
        thought, found, rest = _parted(self._buffer, self._close, last)
        if thought:
            yield "thought", thought
        self._buffer = rest
        if found:
            self._close = ""

    def _in_text(self, last: bool) -> Iterator[Piece]:
        text, found, rest = _parted(self._buffer, _ORPHAN, last)
        if text:
            self._text += text
            yield "text", text
        if found and not rest and not last:
            self._buffer = _ORPHAN  # what follows the tag tells what it is
            return
        self._buffer = rest
        if found and self._is_end_of_thought(rest):
            self._begun, self._thought, self._text = False, True, ""
            yield "withdrawn", ""
        elif found:
            self._text += _ORPHAN
            yield "text", _ORPHAN

    def _is_end_of_thought(self, after: str) -> bool:
        """Return False for a tag that a sentence or a piece of code mentions."""
        if "<think>" in _lower(self._text):
            return False
        line = self._text.rpartition("\n")[2]
        if len(_FENCE.findall(self._text)) % 2 or line.count("`") % 2:
            return False
        return not line.strip() or after[:1] in ("", "\n", "\r") or not (line[-1].isspace() or line[-1] in "\"'“‘«(")


def _parted(text: str, tag: str, last: bool) -> tuple[str, bool, str]:
    """Return the text before the tag, True if found, and the rest: after the tag, or a possible start of it."""
    lower = _lower(text)
    at = lower.find(tag)
    if at >= 0:
        return text[:at], True, text[at + len(tag) :]
    if not last:
        for length in range(min(len(tag) - 1, len(text)), 0, -1):
            if lower.endswith(tag[:length]):
                return text[:-length], False, text[-length:]
    return text, False, ""


def _lower(text: str) -> str:
    """Lower ASCII letters only: other letters may change the length."""
    return text.translate(_LOWER)
