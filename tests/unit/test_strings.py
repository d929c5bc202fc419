"""Text that a person reads stands in the tables of chat/pages/static/chat/text, in each language."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import password_validation
from django.core import validators
from rest_framework import fields

from chat.pages import views as pages
from tests.scripts import SCRIPTS, tokens
from tests.site import ROOT
from tools import messages

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


@pytest.mark.parametrize("path", messages.CATALOGUES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_catalogue_has_every_text_and_is_compiled(path):
    catalogue = messages.read(path)
    assert path.read_bytes() == messages.written(messages.updated(catalogue)), "run make messages"
    assert path.with_suffix(".mo").read_bytes() == messages.compiled(catalogue), "run make messages"
    empty = [message.id for message in catalogue if message.id and not all(forms_of(message.string))]
    assert not empty, f"translate {empty} in {path}"
    for message in catalogue:
        english, own = forms_of(message.id)[-1], forms_of(message.string)[-1]
        if english:
            assert places_in(english) == places_in(own), message.id


def forms_of(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The forms of a text that has a plural, which comes last, or the text."""
    return text if isinstance(text, tuple) else (text,)


def places_in(text: str) -> list[str]:
    """Names and elements in a text."""
    return sorted({*re.findall(r"%\(\w+\)s|\{\w+\}|<\w+>", text)})


def test_every_language_has_a_catalogue_and_a_table():
    languages = {code for code, _ in settings.LANGUAGES} - {"en"}
    assert {path.parents[1].name for path in messages.CATALOGUES} == languages
    assert pages.TABLES.keys() == languages | {"en"}


def test_sentences_of_the_server_are_those_that_it_says():
    paths = [*(ROOT / "chat").rglob("*.py"), *(ROOT / "agents").rglob("*.py")]
    paths += [Path(password_validation.__file__), Path(fields.__file__), Path(validators.__file__)]
    # Parts of a long text, and `f"This request is {row.status} already."`.
    said = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(path.read_text() for path in paths))
    known = re.findall(r'^  "((?:\\.|[^"])+)":', (SCRIPTS / "text/de-server.js").read_text(), re.M)
    assert len(known) > 80
    for sentence in known:
        text = re.sub(r" (accepted|declined|expired|cancelled) already", " {status} already", sentence)
        text = re.sub(r"to the (email|name)\.", "to the {name}.", text).removeprefix("{field}: ")
        parts = [part.strip() for part in re.split(r"\{\w+\}", text) if part.strip(" .")]
        assert all(part in said for part in parts), f"the server does not say {sentence!r}: remove it from de-server.js"
