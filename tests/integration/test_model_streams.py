"""Each way in which a model's stream may come and end: what the user reads, what is stored, what is asked again."""

import asyncio
import json
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from agents.assistant import answer
from agents.llm.streams.thoughts import Thoughts
from agents.llm.streams.wire import client
from agents.sdk import AgentError, Message, RecordingSink, Turn
from chat.assistants import Definition
from tests.model_provider import KEY, Exchange, Provider, Reply, of, refuses
from tests.model_streams import BROKE, LENGTH, ROWS, SUM, UNENDED, Row, two
from tests.model_wire import DONE, anthropic, called, chat, lines, sends
from tests.site import WAIT_TIMEOUT

pytestmark = pytest.mark.usefixtures("model_settings")


@dataclass
class Seen:
    """Outcome of a run: the stored `answer`, or an `error`."""

    answer: str
    error: AgentError | None
    sink: RecordingSink
    provider: Provider

    @property
    def thoughts(self) -> tuple[str, ...]:
        return tuple(event["reasoning"] for event in of(self.sink, "agent_thinking")[1:])


@pytest.fixture
def seen(model_settings: Any, monkeypatch: Any) -> Callable[..., Seen]:
    """Let the assistant answer at its last attempt; the provider gives the replies in their order."""

    def seen(*replies: Reply, wire: str = "chat", text: str = "Hello", attempt: int = 3, **given: Any) -> Seen:
        provider, sink = Provider(*replies), RecordingSink()
        turn = Turn(text=text, sink=sink, agent_name="assistant", attempt=attempt, **given)

        async def scene() -> str:
            async with provider.running() as url, asyncio.timeout(WAIT_TIMEOUT):
                model_settings.NETRA_MODELS["default"]["url"] = url
                if wire == "anthropic":
                    model_settings.NETRA_MODELS["default"]["model"] = "anthropic:claude-opus-4-8"
                if wire == "ollama":
                    model_settings.NETRA_MODELS["default"]["model"] = "ollama:qwen3"
                if wire == "responses":  # only where the provider is OpenAI itself
                    model_settings.NETRA_MODELS["default"]["url"] = ""
                    monkeypatch.setenv("OPENAI_BASE_URL", url)
                whole = await answer(turn, Definition())
                return turn.said if whole is None else whole

        try:
            return Seen(asyncio.run(scene()), None, sink, provider)
        except AgentError as error:
            return Seen("", error, sink, provider)

    return seen


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
@pytest.mark.filterwarnings("ignore:Some responses omitted usage", "ignore:Failed to extract usage")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stream_of_the_table_is_read_as_its_row_says(row: Row, seen: Any) -> None:
    last = seen(*row.replies, wire=row.wire)
    assert (last.error.code if last.error else "", last.answer) == (row.fails, row.reads)
    assert last.thoughts == row.thinks
    assert tuple(sorted(event["result"] for event in of(last.sink, "tool_completed"))) == row.calls  # side by side
    assert len(last.provider.asked) == row.requests
    assert KEY not in f"{last.error} {list(last.sink)}"
    if row.again or "*The answer " in row.reads:
        first = seen(*row.replies, wire=row.wire, attempt=1)
        assert bool(first.error and first.error.retryable) is row.again


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 29])
@pytest.mark.filterwarnings("ignore:Some responses omitted usage")
def test_a_stream_cut_at_any_byte_is_never_read_as_whole(model_settings: Any, step: int) -> None:
    """The connection breaks or ends in the middle of a line, of an escape, of a character."""
    whole = "Grüße 🚀, all"
    texts = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("Grüße ", "🚀", ", all")]
    plain = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in texts]
    escaped = [json.dumps(one) for one in texts]
    last = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    bodies = lines(*plain, last) + DONE, lines(*escaped, last, end="\r\n") + DONE
    cuts = [(body, at) for body in bodies for at in range(0, len(body) - len(DONE), step)]
    provider = Provider()

    async def answers() -> None:
        async with provider.running() as url:
            model_settings.NETRA_MODELS["default"]["url"] = url
            for body, at in cuts:
                provider.replies[:] = [sends(body[:at], cut=bool(at % 2))] * 3
                turn = Turn(text="Hello", attempt=3)
                with suppress(AgentError):
                    async with asyncio.timeout(WAIT_TIMEOUT):
                        await answer(turn, Definition())
                if not turn.said:
                    continue
                text, note, _ = turn.said.partition("\n\n*The answer ")
                assert whole.startswith(text), body[:at]
                assert note or (text == whole and b'"stop"' in body[:at]), body[:at]

    asyncio.run(answers())


@pytest.mark.parametrize(
    "text",
    [
        "\n<think>a\nb</think>\n\nHello",
        "<THINKING>x</thinking>Hi",
        "Hm.\n</think>\nHi",
        "İ.</think>Hi",
        "the </think> tag, `</think>`",
        "◁think▷x◁/think▷y",
        "[THINK]x[/THINK]y",
        "a <think>b</think> c",
    ],
)
def test_thoughts_in_any_two_pieces_are_those_of_the_whole(text: str) -> None:
    def separated(*pieces: str) -> dict[str, str]:
        thoughts, found = Thoughts(), {"text": "", "thought": ""}
        for kind, part in [*(one for piece in pieces for one in thoughts.add(piece)), *thoughts.end()]:
            if kind == "withdrawn":
                found = {"text": "", "thought": found["thought"] + found["text"]}
            else:
                found[kind] += part
        return found

    for at in range(len(text)):
        assert separated(text[:at], text[at:]) == separated(text) == separated(*text), at


def test_silence_longer_than_the_time_out_breaks_off(seen: Any, model_settings: Any) -> None:
    model_settings.NETRA_MODEL_TIMEOUT = 0.2

    async def silent(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(content="Half")
        await exchange.hung_up.wait()

    assert seen(silent).answer == "Half" + BROKE
    first = seen(silent, attempt=1)
    assert (first.error.code, first.error.retryable) == ("model_cut", True)


def test_a_whole_answer_that_uses_up_the_last_tokens_stays(seen: Any, model_settings: Any) -> None:
    model_settings.NETRA_MODEL_TOKENS = 50
    assert seen(sends(chat("All of it"))).answer == "All of it"


def test_two_calls_with_one_id_are_told_apart_in_what_is_sent_back(seen: Any) -> None:
    found = seen(*[sends(body) for body in two({"index": 0}, {"index": 1})])
    messages = found.provider.asked[1].request["messages"]
    [asked] = [message["tool_calls"] for message in messages if message["role"] == "assistant"]
    given = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
    assert [given[call["id"]] for call in asked] == ["2", "4"]


def test_call_with_the_id_of_an_earlier_step_gets_another(seen: Any) -> None:
    steps = [chat(called("calculator", SUM), finish="tool_calls")] * 2
    found = seen(*[sends(body) for body in [*steps, chat("391")]])
    messages = found.provider.asked[2].request["messages"]
    ids = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert len(set(ids)) == 2
    assert results == ids


@pytest.mark.parametrize("name", ["functions.calculator", "<|call|>calculator", "x" * 500, "…"])
def test_call_of_a_name_that_providers_refuse_is_sent_back_under_another(seen: Any, name: str) -> None:
    found = seen(sends(chat(called(name, SUM), finish="tool_calls")), sends(chat("Hi")))
    [call] = found.provider.asked[1].request["messages"][2]["tool_calls"]
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", call["function"]["name"])
    assert found.answer == "Hi"


@pytest.mark.parametrize("wire", ["chat", "ollama", "anthropic"])
def test_answer_of_nothing_is_asked_for_again_in_the_same_messages(seen: Any, wire: str) -> None:
    nothing, answer = (anthropic(), anthropic("Hi", id="n")) if wire == "anthropic" else (chat(""), chat("Hi"))
    found = seen(sends(nothing), sends(answer), wire=wire)
    first, again = (asked.request["messages"] for asked in found.provider.asked)
    assert (first, found.answer) == (again, "Hi")


def test_steps_that_come_to_their_limit_keep_what_was_said(seen: Any, model_settings: Any) -> None:
    model_settings.NETRA_MODEL_STEPS = 2
    found = seen(*[sends(chat(f"{step}.", called("calculator", SUM), finish="tool_calls")) for step in (1, 2)])
    assert found.answer.startswith("1.\n\n2.\n\n*The answer was cut: this took more steps")


# What the model is given of the thread


def given_history(seen: Any, *messages: tuple[str, str], text: str = "new") -> list[tuple[str, str]]:
    history = [*(Message(role, content) for role, content in messages), Message("user", text)]
    found = seen(sends(chat("Hi")), text=text, history=history)
    sent = [(one["role"], one["content"]) for one in found.provider.asked[0].request["messages"]]
    assert sent[0][0] == "system"
    return sent[1:]


A, B, LONG = ("user", "a"), ("assistant", "b"), 100_000


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([A, B], [A, B, ("user", "new")]),
        ([A], [("user", "a\n\nnew")]),
        ([A, A, B], [("user", "a\n\na"), B, ("user", "new")]),
        ([A, B, A, ("user", "c")], [A, B, ("user", "a\n\nc\n\nnew")]),
        ([A, ("assistant", " \n"), A, B], [("user", "a\n\na"), B, ("user", "new")]),
        ([A, B, B], [A, ("assistant", "b\n\nb"), ("user", "new")]),
        ([B, A, B], [A, B, ("user", "new")]),
        ([A, ("assistant", "b" + LENGTH)], [A, B, ("user", "new")]),
        ([A, ("assistant", "b" + UNENDED)], [A, B, ("user", "new")]),
        ([A, ("assistant", LENGTH.strip())], [("user", "a\n\nnew")]),
        ([("user", "a" * LONG), B, A, B], [A, B, ("user", "new")]),
        ([A, ("assistant", "b" * LONG), A, B], [A, B, ("user", "new")]),
    ],
    ids=["answered", "failed", "failed before", "failed twice", "empty answer", "two answers", "an answer first",
         "cut", "perhaps cut", "nothing but the note", "a long question", "a long answer"],
)  # fmt: skip
def test_history_whatever_happened_is_valid(
    seen: Any, messages: list[tuple[str, str]], sent: list[tuple[str, str]]
) -> None:
    assert given_history(seen, *messages) == sent


@pytest.mark.parametrize(
    "messages",
    [
        [A, ("assistant", "b" * 3 * LONG)],
        [("user", "a" * 3 * LONG), B],
        [("user", "a" * 3 * LONG), ("assistant", "b" * 3 * LONG)],
        [A, B, ("user", "a" * 3 * LONG)],
        [A, B, *[("user", "a" * LONG)] * 9],
    ],
    ids=["an answer", "a question", "both", "an unanswered one", "many unanswered ones"],
)
def test_history_of_one_message_longer_than_all_keeps_its_two_ends(seen: Any, messages: list[tuple[str, str]]) -> None:
    sent = given_history(seen, *messages)
    roles = [role for role, _ in sent]
    assert roles == ["user", "assistant"] * (len(sent) // 2) + ["user"]
    assert len(sent) > 1 or messages[-1][0] == "user"
    assert sum(len(content) for _, content in sent) <= LONG + len("new") + 100
    assert any("\n[…]\n" in content for _, content in sent)


def test_client_after_the_first_loads_no_certificates(monkeypatch: Any) -> None:
    asyncio.run(client().aclose())
    loaded: list[Any] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **given: loaded.append(given))
    asyncio.run(client().aclose())
    assert loaded == []


@pytest.mark.parametrize("wire", ["chat", "anthropic", "ollama"])
def test_a_url_of_its_own_without_a_key_is_sent_no_key_of_the_environment(
    seen: Any, model_settings: Any, monkeypatch: Any, wire: str
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OLLAMA_API_KEY"):
        monkeypatch.setenv(name, KEY)
    model_settings.NETRA_MODELS["default"]["key"] = ""
    (asked,) = seen(refuses(401), wire=wire).provider.asked
    assert KEY not in asked.headers
