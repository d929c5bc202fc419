"""Answers in German: the same figures as in English, written as German does, and not a word of English."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from babel import Locale

from tests.advice import ask
from tests.usage_files import File

FOLDER = Path(__file__).parent
# Without those that a form asks about.
FILES = sorted(json.loads((FOLDER / "truth.json").read_text(encoding="utf-8")))
QUESTIONS = [json.loads(line)["text"] for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
OF_FILES = [
    "What did this cost, by model?", "Which model costs most?", "Where can I save?", "forecast", "What changed?",
    "cost by day", "average latency", "errors", "How many tokens by model?", "What would it cost on gpt-4o-mini?",
]  # fmt: skip
SAMPLE = "chat/pages/static/chat/sample-usage.csv"

# Words of a German answer that are English: names of columns, files and products are no words of the advisor.
ENGLISH = re.compile(
    r"(?<![\w“„«-])(?:the|of|is|are|each|month|year|cost|costs|and|with|not|what|which|where|have|has|per|for|from|"
    r"rows?|requests?|users?|this|that|they|would|cannot|known|price|prices)(?![\w”“»-])"
)
NAMES = re.compile(
    r"Cost and Usage Report|nicht verwendet: [^.]*\.|auf Englisch: [^)]*|(?:Sonnet|Haiku|Opus|GPT|Gemini) [\d.]+|"
    r"(?:CN|R)(?=[¥$])|„[^“]*“|“[^”]*”|\bgenai-prices [\d.]+|[\w.%+-]+\.(?:csv|jsonl?|xlsx|parquet)\b"
)
# Names with digits, as of models, and days as ISO writes them.
WORDS = re.compile(r"(?i)(?<![\w.])[a-z\\][^\s|*,;:()]*\d[^\s|*,;()]*|\b\d{4}-\d\d(?:-\d\d)?\b")
SCALES = {"k": 1e3, "M": 1e6, "B": 1e9, " Mio.": 1e6, " Mrd.": 1e9}
MONTHS = "|".join(Locale("de").months["format"]["wide"].values())


@cache
def answered(locale: str, name: str, *texts: str) -> tuple[str, Any]:
    path = Path(SAMPLE) if name == SAMPLE else FOLDER / "files" / name
    files = [File(path.read_bytes(), path.name)] if name else []
    text, _, result = ask(texts[-1], *files, earlier=texts[:-1], language=locale)
    return text, result or {}


def numbers(text: str, locale: str) -> set[float]:
    """Return the numbers of an answer, without days and names."""
    text = NAMES.sub(" ", text)
    if locale == "de":
        text = re.sub(rf"\b\d\d\.\d\d\.\d{{4}}\b|\b(?:{MONTHS}) \d{{4}}\b", " ", text)
    found = set()
    for number, scale in re.findall(
        r"(?<![\w.,])(\d[\d.,]*)((?:[kMB]\b|\s(?:Mio|Mrd)\.)?)", WORDS.sub(" ", text).replace("\xa0", " ")
    ):
        number = number.rstrip(".,")
        plain = number.replace(".", "").replace(",", ".") if locale == "de" else number.replace(",", "")
        found.add(round(float(plain) * SCALES.get(scale, 1), 6))
    return found


def compared(name: str, *texts: str) -> tuple[Any, Any]:
    """Check a German answer against the English one, and return the results of both."""
    (english, ours), (german, theirs) = (answered(locale, name, *texts) for locale in ("en", "de"))
    assert not ENGLISH.search(NAMES.sub(" ", german)), ENGLISH.search(NAMES.sub(" ", german))
    assert numbers(german, "de") == numbers(english, "en"), (english, german)
    same = "id", "value", "unit", "rows", "prices"
    values = [[[one[key] for key in same] for one in found.get("figures", ())] for found in (ours, theirs)]
    assert values[0] == values[1]
    assert ours.get("request") == theirs.get("request") or "converted" in ours["request"]
    assert ours.get("verdict") == theirs.get("verdict")
    return ours, theirs


@pytest.mark.parametrize("text", QUESTIONS, ids=[str(one)[:60] for one in QUESTIONS])
def test_german_answer_to_a_question_has_the_same_figures(text: Any) -> None:
    compared("", *([text] if isinstance(text, str) else text))


@pytest.mark.parametrize("name", FILES)
def test_german_answer_about_a_file_has_the_same_figures(name: str) -> None:
    compared(name, "Where can I save?")


@pytest.mark.parametrize("text", OF_FILES)
def test_german_answer_about_the_sample_has_the_same_figures(text: str) -> None:
    ours, theirs = compared(SAMPLE, text)
    chips = [[chip["field"] for chip in found.get("chips", ())] for found in (ours, theirs)]
    assert chips[0] == chips[1]


@pytest.mark.parametrize(("german", "english"), [
    ("Was kostet das nach Modell?", "What did this cost, by model?"),  # the page's own
    ("Was hat das gekostet, nach Modell?", "What did this cost, by model?"),
    ("Welches Modell kostet am meisten?", "Which model costs most?"), ("Wo kann ich sparen?", "Where can I save?"),
    ("Wie hoch sind unsere Ausgaben?", "total cost"), ("Kosten pro Tag", "cost by day"),
    ("Wie viele Tokens nach Modell?", "How many tokens by model?"), ("Prognose", "forecast"),
    ("Was hat sich geändert?", "What changed?"),
])  # fmt: skip
def test_german_question_about_a_file_is_the_english_one(german: str, english: str) -> None:
    _, theirs = answered("de", SAMPLE, german)
    _, ours = answered("en", SAMPLE, english)
    assert (theirs["form"], theirs["request"]) == (None, ours["request"])
