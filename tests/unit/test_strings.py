"""Text that a person reads stands in the tables of chat/pages/static/chat/text, in each language."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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
# Calls and properties whose texts are shown.
SHOWN = re.compile(r"(\bsetText|\.append|\.prepend|\.before|\.after|\.replaceChildren|\.replaceWith|\btell|\bnotice)$")
ATTRIBUTES = {'"aria-label"', "title", "placeholder", "alt", "label", "about", "note"}
# Names of elements, and what the server says too: `told` translates it.
NOT_SHOWN = {"theme.js", "blocks.js", "forms.js"}
PROPERTIES = re.compile(r"\.(textContent|title|ariaLabel|placeholder|innerText)$")
# No words: keys, events, names of products, marks for programs.
NO_WORDS = {
    "ArrowDown", "ArrowUp", "End", "Enter", "Escape", "Home", "PageDown", "PageUp", "Tab", "KeyK", "Files", "Netra",
    "Notification", "Edge", "Opera", "Mac OS", "Edg", "Bearer  ", "Idempotency-Key", "Content-Type",
    "field check", "noopener noreferrer", "input, select, textarea", "input, textarea, select",
    "section.request, summary", "   · Netra", "file", "Authorization",
}  # fmt: skip


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


def reads(text: str) -> bool:
    """Tell if a literal is made of words: a capital letter begins it, or a space parts two words."""
    text = text[1:-1]
    if text in NO_WORDS or re.search(r"[<>=;{}]|^[.#\[(]|^[\w-]+/[\w-]|^\w+:|\bh1,? h2\b", text):
        return False
    return bool(re.search(r"(^|\s)[A-Z][a-z]+", text) or re.search(r"[a-z’']{2,},? [a-z]{2,}", text))


def literals(source: str) -> Iterator[str]:
    """The literals of a script that a person would read."""
    stack: list[tuple[str, int]] = []  # what opened a bracket, and how many commas came since
    found = tokens(source)
    for at, (kind, text) in enumerate(found):
        before = found[at - 1][1] if at else ""
        if text in ("(", "[", "{"):
            stack.append((before if text == "(" else text, 0))
        elif text in (")", "]", "}"):
            stack.pop()
        elif text == "," and stack:
            stack[-1] = stack[-1][0], stack[-1][1] + 1
        if kind != "string" or not re.search(r"[A-Za-z]{2}", text):
            continue
        call, commas = stack[-1] if stack else ("", 0)
        if (
            call.split(".")[-1] in ("t", "parts")
            or before in ("from", "import", "case")
            or (call, before) == ("Error", "(")
        ):
            continue
        name = found[at - 2][1] if before == ":" else ""
        if before == ":" and name in ("class", "type", "role", "d"):
            continue
        key = at + 1 < len(found) and found[at + 1][1] == ":" and call == "{" and before in ("{", ",")
        direct = before in ("(", ",", "?", ":", "??", "||", "+")
        is_child = call == "element" and commas >= 2 and direct
        is_shown = bool(SHOWN.search(call)) and direct
        is_attribute = name in ATTRIBUTES and call == "{"
        is_property = before == "=" and bool(PROPERTIES.search(found[at - 2][1]))
        if (
            not key
            and (is_child or is_shown or is_attribute or is_property or reads(text))
            and text[1:-1] not in NO_WORDS
        ):
            yield text


@pytest.mark.parametrize("folder", ["ui", "markdown", "net", "state"])
def test_scripts_have_no_text_outside_the_tables(folder):
    for script in sorted((SCRIPTS / folder).glob("*.js")):
        wrong = [] if script.name in NOT_SHOWN else list(literals(script.read_text()))
        assert not wrong, f"{script.name} says {wrong}: put it into text/en.js and text/de.js, and name its key"


@pytest.mark.parametrize(
    "source",
    [
        'element("p", {}, "empty")', 'element("p", {}, isLate ? "late" : t("soon"))', "setText(node, `${name} failed`)",
        'node.title = "copy"', 'element("p", { "aria-label": "you" })', 'const words = "No answer yet";',
        'list.append("none")',
    ],
)  # fmt: skip
def test_literals_finds_text_of_each_kind(source):
    assert list(literals(source))


def test_every_text_of_the_table_is_used():
    table = (SCRIPTS / "text/en.js").read_text()
    keys = [quoted or plain for quoted, plain in re.findall(r'^  (?:"([^"]+)"|(\w+)):', table, re.M)]
    scripts = "\n".join(path.read_text() for path in SCRIPTS.glob("[!t]*/*.js"))
    named = set(re.findall(r'"([\w.]+)"', scripts))
    made = [re.sub(r"\\\$\\{[^}]*\\}", ".+", re.escape(text)) for text in re.findall(r"`([\w.]*\$\{[^`]*)`", scripts)]
    unused = [key for key in keys if key not in named and not any(re.fullmatch(text, key) for text in made)]
    assert len(keys) > 200
    assert not unused, f"text/en.js has {unused}, which no script shows: remove them from each table"
