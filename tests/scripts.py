"""Tokens of the page's scripts."""

import re

from tests.site import ROOT

SCRIPTS = ROOT / "chat/pages/static/chat"
TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<template>`)
      | (?P<regex>(?<=[(,=:?!&|{};\[\n])\s*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*)
      | (?P<word>[\w$#.]+)
      | (?P<sign>=>|\?\?=?|[-+*/%&|<>=!?]=?|[(){}\[\],;:])""",
    re.X | re.S,
)


def tokens(source: str) -> list[tuple[str, str]]:
    """The tokens of a script as (kind, text). A template literal is one, its expressions follow in brackets."""
    found, at = [], 0
    while at < len(source):
        match = TOKEN.match(source, at)
        if match is None:
            at += 1
            continue
        kind, at = str(match.lastgroup), match.end()
        if kind == "template":
            text, inner, at = template(source, at)
            found += [("string", text), ("sign", "("), *tokens(inner), ("sign", ")")]
        elif kind != "comment":
            found.append((kind, match.group().strip()))
    return found


def template(source: str, at: int) -> tuple[str, str, int]:
    """The text of the template literal that begins here, its expressions, and where it ends."""
    text, inner = "", ""
    while source[at] != "`":
        if source.startswith("${", at):
            start, depth, at = at + 2, 1, at + 2
            while depth:
                if source[at] == "`":
                    *_, end = template(source, at + 1)
                    at = end - 1
                depth += {"{": 1, "}": -1}.get(source[at], 0)
                at += 1
            inner += source[start : at - 1] + ","
            text += " "
        else:
            at += 2 if source[at] == "\\" else 1
            text += source[at - 1]
    return f'"{text}"', inner, at + 1
