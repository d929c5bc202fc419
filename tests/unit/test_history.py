"""The earlier messages that a model is given: with tools where the preceding answer saved them, within its context."""

from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from agents.llm import history
from agents.sdk import Message, Turn


def exchange(number: int, size: int) -> list[ModelMessage]:
    """One turn: a question, the call of a tool with a result of this size, and the answer."""
    return [
        ModelRequest([UserPromptPart(f"question {number}")]),
        ModelResponse([ToolCallPart("look", {"n": number}, tool_call_id=f"call-{number}")]),
        ModelRequest([ToolReturnPart("look", f"{number}" * size, tool_call_id=f"call-{number}")]),
        ModelResponse([TextPart(f"answer {number}")]),
    ]


@pytest.fixture
def turn() -> Any:
    """Make a turn whose preceding answer saved a state."""

    def turn(state: Any, *earlier: Message, text: str = "now") -> Turn:
        made = Turn(text=text, history=[*earlier, Message("user", text)])
        made.journal.kept.previous = state
        return made

    return turn


def test_messages_that_were_saved_come_with_their_tools(turn: Any) -> None:
    saved = exchange(1, 10)
    texts = [Message("user", "question 1"), Message("assistant", "answer 1")]
    earlier, question = history.before(turn({"messages": history.dumped(saved)}, *texts))
    assert (history.dumped(earlier), question) == (history.dumped(saved), "now")


@pytest.mark.parametrize("state", [None, {"messages": []}, {"messages": [{"kind": "future"}]}, {"messages": 3}, [1]])
def test_texts_count_where_no_messages_were_saved(turn: Any, state: Any) -> None:
    texts = [Message("user", "before"), Message("assistant", "said")]
    earlier, question = history.before(turn(state, *texts))
    assert [message.parts[0].content for message in earlier] == ["before", "said"]
    assert question == "now"


def test_a_message_that_was_not_answered_is_not_lost(turn: Any) -> None:
    texts = [Message("user", "question 1"), Message("assistant", "answer 1"), Message("user", "lost")]
    _, question = history.before(turn({"messages": history.dumped(exchange(1, 10))}, *texts))
    assert question == "lost\n\nnow"


def kept(messages: list[ModelMessage]) -> tuple[list[str], list[int]]:
    """Return the questions that are kept, and the sizes of the results."""
    parts = [part for message in messages for part in message.parts]
    questions = [str(part.content) for part in parts if isinstance(part, UserPromptPart)]
    return questions, [len(str(part.content)) for part in parts if isinstance(part, ToolReturnPart)]


@pytest.mark.parametrize(
    ("context", "questions", "whole"),
    [(None, 3, 3), (100_000, 3, 3), (9_000, 3, 2), (5_000, 3, 1), (3_600, 2, 1), (100, 1, 1)],
)
def test_a_short_context_loses_the_oldest_results_and_then_the_oldest_turns(
    context: int | None, questions: int, whole: int
) -> None:
    messages = [*exchange(1, 8_000), *exchange(2, 8_000), *exchange(3, 2_000)]
    messages[0] = ModelRequest([SystemPromptPart("Be kind."), *messages[0].parts])  # type: ignore[list-item]
    found = history.fitted(messages, context)
    names, sizes = kept(found)
    assert names == ["question 1", "question 2", "question 3"][-questions:]
    assert [size >= 2_000 for size in sizes].count(True) == whole
    assert sizes[-1] == 2_000  # the newest turn stays whole
    calls = [part.tool_call_id for each in found for part in each.parts if isinstance(part, ToolCallPart)]
    returns = [part.tool_call_id for each in found for part in each.parts if isinstance(part, ToolReturnPart)]
    assert calls == returns  # a provider refuses one without the other
    assert found[0].parts[0] == messages[0].parts[0]
    assert kept(messages)[1] == [8_000, 8_000, 2_000]
