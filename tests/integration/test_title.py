"""Titles: the first from the message alone, a better one from the model, for every agent and never over a person's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.runs.titles import LENGTH, title_of

# The first, from the message


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Cut our GPT-4 spend by 30 %. We pay $5,000 a month.", "Cut our GPT-4 spend by 30 %"),
        ("Hello, can you please help me reduce my OpenAI bill?", "Reduce my OpenAI bill"),
        ("Good morning team,\n\nI would like to know which feature costs most.", "Which feature costs most"),
        ("Hi. I have a question. Our bill doubled in June, why?", "Our bill doubled in June, why?"),
        ("So I was wondering if you could explain e.g. caching to me. We use it.", "Explain e.g. caching to me"),
        ("Could you be more specific?", "Could you be more specific?"),
        ("gpt-4o vs. claude: which is cheaper?", "gpt-4o vs. claude: which is cheaper?"),
        ("hello", "Hello"),
        ("Hi there!", "Hi there!"),
        ("Hilde is here", "Hilde is here"),
        ("iPhone sales", "iPhone sales"),
        ("-5 * 3", "-5 * 3"),
        ("👋", "👋"),
        ("...", "..."),
        ("# June\n\nplease look at it", "June"),
        ("**Look** at `this`:\n```python\nprint(1)\n```", "Look at this"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("你好，请帮我分析费用。谢谢", "你好，请帮我分析费用。"),
        (
            "What is the cheapest model for three million tokens a day with the quality of gpt-4o?",
            "What is the cheapest model for three million tokens a day…",
        ),
        ("字" * 57 + "👩🏽\u200d💻字字", "字" * 57 + "…"),
        ("ก" * 58 + "ำก\u0e48\u0e49กกก", "ก" * 58 + "ำ…"),
        ("字" * 58 + "か\u3099字" * 3, "字" * 58 + "…"),
        ("https://example.com/" + "x" * 100, "https://example.com/" + "x" * 39 + "…"),
    ],
)  # fmt: skip
def test_a_first_title_says_what_the_message_is_about(said: str, title: str) -> None:
    assert title_of(said) == title


@given(st.text(max_size=300) | st.text("Hi can you ,.?!\n`*#a", max_size=300))
def test_any_message_has_a_title_of_one_short_line(said: str) -> None:
    title = title_of(said)
    assert len(title) <= LENGTH
    assert bool(title) == bool(said.strip())
    assert title.split() == title.split(" ") or not title
