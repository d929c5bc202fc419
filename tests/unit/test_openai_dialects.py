"""OpenAI's dialects as folds of a run's events, read by the types and the stream helper of OpenAI's own client."""

import json
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai import APIError, OpenAI
from openai.types.chat import ChatCompletion as OpenAICompletion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from chat.dialects import project, sse
from chat.dialects.appending import DEPARTURE, AppendedText
from chat.dialects.openai_chat import DONE, ChatCompletion
from chat.dialects.openai_errors import openai_error
from chat.dialects.openai_input import read_input, read_messages
from chat.dialects.openai_responses import Response
from chat.protocol import STATUS, ProtocolError
from tests.run_logs import FACTS, Log, everything, logs, request_id

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
STREAM_EVENT = TypeAdapter(ResponseStreamEvent)
RESPONSE_ID = f"resp_{FACTS.run_hex}"


def chat(events, **options):
    projection = ChatCompletion(FACTS, **options)
    return project(projection, events), projection


def responses(events, part=0):
    projection = Response(FACTS, part)
    return project(projection, events), projection


def text_of(frames):
    return "".join(f["choices"][0]["delta"].get("content") or "" for f in frames if f != DONE and f.get("choices"))


def run(*steps):
    """A log of a run that has begun."""
    log = Log()
    log.create()
    log.begin()
    for name, *values in steps:
        getattr(log, name)(*values)
    return log.events


def client_of(text):
    """OpenAI's client, whose server answers this stream."""

    def answer(request):
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    transport = httpx.MockTransport(answer)
    return OpenAI(api_key="x", base_url="http://netra/v1", http_client=httpx.Client(transport=transport), max_retries=0)


def streamed(frames):
    return "".join(sse(frame, event=None if frame == DONE else frame.get("type")) for frame in frames)


# ---- Purity ----


@given(logs(), st.integers(0, 40), st.booleans())
def test_chat_frames_of_a_log_begin_with_those_of_its_beginning(events, cut, usage):
    first, all_frames = chat(events[:cut], include_usage=usage)[0], chat(events, include_usage=usage)[0]
    assert all_frames[: len(first)] == first
    for frame in all_frames:
        if frame != DONE and "error" not in frame:
            ChatCompletionChunk.model_validate(frame)


@given(logs(), st.integers(0, 40), st.integers(0, 2))
def test_response_frames_of_a_log_begin_with_those_of_its_beginning(events, cut, part):
    first, all_frames = responses(events[:cut], part)[0], responses(events, part)[0]
    assert json.dumps(all_frames[: len(first)]) == json.dumps(first)
    assert [frame["sequence_number"] for frame in all_frames] == list(range(len(all_frames)))
    for frame in all_frames:
        STREAM_EVENT.validate_python(frame)


SWALLOWED = run(("say", "Hello you."), ("restart",), ("say", "Hello"), ("fail",))
ASKED_AND_SWALLOWED = run(
    ("say", "Hello."), ("ask", request_id(1)), ("wait", request_id(1)), ("restart",), ("say", "Hello"), ("cancel",)
)


@given(logs(), st.integers(0, 2))
@example(SWALLOWED, 0)
@example(ASKED_AND_SWALLOWED, 1)
def test_response_items_are_opened_once_and_closed_before_the_end(events, part):
    frames, projection = responses(events, part)
    opened, closed = {}, {}
    for frame in frames:
        if frame["type"] == "response.output_item.added":
            assert frame["output_index"] == len(opened), "each index once, without a gap"
            opened[frame["output_index"]] = frame["item"]["id"]
        elif frame["type"] == "response.output_item.done":
            closed[frame["output_index"]] = frame["item"]["id"]
        elif "output_index" in frame:
            assert frame["output_index"] in opened.keys() - closed.keys()
    assert not projection.ended or opened == closed
    assert len(set(opened.values())) == len(opened)
    shown = [item["id"] for item in projection.response()["output"]]
    assert set(shown) <= set(opened.values()), "what the stream did not open has no place in the response"
    assert len(set(shown)) == len(shown)


@given(logs())
def test_response_that_completed_has_the_final_answer_as_its_text(events):
    if events[-1]["type"] == "agent_completed" and all(event["type"] != "run_waiting" for event in events):
        found = OpenAIResponse.model_validate(responses(events)[1].response())
        assert (found.status, found.output_text) == ("completed", events[-1]["final_response"])


@given(logs())
def test_chat_completion_is_what_the_client_declares(events):
    _, projection = chat(events)
    if projection.ended and projection.error is None:
        found = OpenAICompletion.model_validate(projection.completion())
        if events[-1]["type"] == "agent_completed" and all(event["type"] != "run_waiting" for event in events):
            assert found.choices[0].message.content == events[-1]["final_response"]


@given(st.lists(st.lists(st.text("ab", min_size=1, max_size=3), max_size=5), min_size=1, max_size=4), st.data())
def test_appended_text_ends_with_the_final_answer(attempts, data):
    text, shown = AppendedText(), ""
    for number, attempt in enumerate(attempts):
        if number:
            text.restart()
        for delta in attempt:
            shown += text.add(delta)
    final = data.draw(st.sampled_from([text.said, text.said + "b", "other"]))
    shown += text.finish(final)[0]
    assert shown.endswith(final)


# ---- Chat completions ----


def test_restart_swallows_the_text_that_the_client_has():
    frames, projection = chat(run(("say", "Hello "), ("restart",), ("say", "Hello "), ("say", "you."), ("complete",)))
    assert text_of(frames) == "Hello you."
    assert projection.completion()["choices"][0]["message"]["content"] == "Hello you."


def test_restart_with_another_text_is_told_from_the_first_one():
    frames, projection = chat(run(("say", "Hello "), ("restart",), ("say", "Good day."), ("complete",)))
    assert text_of(frames) == f"Hello {DEPARTURE}Good day."
    assert projection.completion()["choices"][0]["message"]["content"] == "Good day."


def test_restart_with_a_shorter_answer_ends_with_that_answer():
    frames, _ = chat(run(("say", "Hello you."), ("restart",), ("say", "Hello"), ("complete",)))
    assert text_of(frames) == f"Hello you.{DEPARTURE}Hello"


@pytest.mark.parametrize(("final", "shown"), [("said", "said"), ("said more", "said more"), ("other", "said\n\nother")])
def test_final_answer_is_added_where_it_was_not_said(final, shown):
    assert text_of(chat(run(("say", "said"), ("complete", final)))[0]) == shown


def test_chat_never_has_tool_calls_but_lines_of_reasoning():
    frames, _ = chat(run(("call", "c", "fetch", {"url": "x" * 300}), ("result", "c", None, "no route")))
    lines = "".join(f["choices"][0]["delta"].get("reasoning_content", "") for f in frames).splitlines()
    assert [line[:20] for line in lines] == ['fetch {"url":"xxxxxx', "word_count failed: n"]
    assert len(lines[0]) == 200
    assert "tool_calls" not in json.dumps(frames)


@pytest.mark.parametrize(("end", "reason"), [("complete", "stop"), ("cancel", "length")])
def test_finish_reason_says_how_the_run_ended(end, reason):
    frames, projection = chat(run(("say", "said"), (end,)), include_usage=True)
    assert [f["choices"][0]["finish_reason"] for f in frames[:-2]][-1] == reason
    assert frames[-2]["choices"] == []
    assert frames[-2]["usage"]["total_tokens"] == (165 if end == "complete" else 0)
    assert all(f["usage"] is None for f in frames[:-2])
    assert frames[-1] == DONE
    assert projection.completion()["choices"][0]["message"]["content"] == "said"


def test_failed_run_raises_in_the_client():
    frames, _ = chat(run(("say", "said"), ("fail",)))
    assert frames[-1] == DONE
    stream = client_of(streamed(frames)).chat.completions.create(model="m", messages=[], stream=True)
    with pytest.raises(APIError, match="No prices for this model"):
        list(stream)


def test_run_that_waits_ends_the_completion_with_the_place_of_the_answer():
    facts = FACTS.__class__(**{name: getattr(FACTS, name) for name in FACTS.__slots__} | {"address": "https://n/c/1"})
    projection = ChatCompletion(facts)
    frames = project(projection, run(("say", "First."), ("ask", request_id(1)), ("wait", request_id(1))))
    assert text_of(frames).startswith("First.\n\n") and "https://n/c/1" in text_of(frames)
    assert projection.completion()["choices"][0]["finish_reason"] == "stop"


# ---- Responses ----


def test_stream_helper_of_the_client_takes_every_log_to_its_end():
    for events in (everything(), run(("say", "a"), ("restart",), ("say", "b"), ("complete", "other"))):
        frames, _ = responses(events)
        with client_of(streamed(frames)).responses.stream(model="m", input="x") as stream:
            seen = [event.type for event in stream]
            assert seen[-1] == "response.completed"
            assert stream.get_final_response().id == RESPONSE_ID


@pytest.mark.parametrize(
    ("end", "kind", "status"),
    [("cancel", "response.incomplete", "cancelled"), ("fail", "response.failed", "failed")],
)
def test_response_that_did_not_complete_says_so(end, kind, status):
    frames, projection = responses(run(("say", "so far"), ("call", "c"), (end,)))
    assert frames[-1]["type"] == kind
    found = OpenAIResponse.model_validate(projection.response())
    assert (found.status, found.output_text) == (status, "so far")
    assert [item.status for item in found.output] == ["completed", "incomplete"]
    if end == "fail":
        error = {"type": "server_error", "code": "server_error", "message": "No prices for this model."}
        assert projection.response()["error"] == error, "AI SDK needs a type, too"
        assert (found.error.code, found.metadata) == ("server_error", {"error_code": "agent_error"})


@pytest.mark.parametrize("end", ["cancel", "fail"])
@pytest.mark.parametrize(("first", "said"), [("Hello wor", "Hello world"), ("Hello world", "Hello"), ("Hi", "Hello")])
def test_response_that_ended_early_has_all_that_its_last_attempt_said(first, said, end):
    events = run(("say", first), ("restart",), ("say", said), (end,))
    found = OpenAIResponse.model_validate(responses(events)[1].response())
    assert (found.output_text, found.output[-1].status) == (said, "incomplete")


@pytest.mark.parametrize("final", ["Hello you.", "Hello you. Bye."])
def test_response_has_its_answer_once_where_the_client_had_it_before_the_restart(final):
    events = run(("say", "Hello you."), ("restart",), ("say", "Hello you."), ("complete", final))
    (message,) = OpenAIResponse.model_validate(responses(events)[1].response()).output
    assert (message.content[0].text, message.status) == (final, "completed")


def test_tools_are_calls_of_a_server_that_no_client_makes():
    steps = [("call", "a", "one", {"x": 1}), ("call", "b", "two"), ("result", "b", None, "no"), ("result", "a", [1])]
    frames, projection = responses(run(*steps, ("complete", "done")))
    (added, *_) = [f["item"] for f in frames if f["type"] == "response.output_item.added"]
    (delta, *_) = [f["delta"] for f in frames if f["type"] == "response.mcp_call_arguments.delta"]
    (whole, *_) = [f["arguments"] for f in frames if f["type"] == "response.mcp_call_arguments.done"]
    assert (added["arguments"], delta, whole) == ("", '{"x": 1}', '{"x": 1}'), "clients add the deltas to the item's"
    one, two, message = OpenAIResponse.model_validate(projection.response()).output
    assert (one.type, one.server_label, one.name, one.arguments) == ("mcp_call", "netra", "one", '{"x": 1}')
    assert (one.status, one.output, two.status, two.error.type) == (
        "completed", "[1]", "failed", "mcp_tool_execution_error",
    )  # fmt: skip
    assert message.content[0].text == "done"


def test_usage_of_a_response_is_complete():
    usage = OpenAIResponse.model_validate(responses(run(("complete", "x")))[1].response()).usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (120, 45, 165)
    assert usage.input_tokens_details.cached_tokens == 20


def test_run_that_waits_is_two_responses():
    tool = {"message": "Refund?", "tool_name": "refund", "tool_call_id": "c", "parameters": {"amount": 5}}
    log = Log()
    log.create()
    log.begin()
    log.say("Before. ")
    log.ask(request_id(1), "approval", **tool)
    log.ask(request_id(2))
    log.wait(request_id(1), request_id(2))
    waited = len(log.events)
    log.resume(request_id(1))
    log.say("After.")
    log.complete()
    _, first = responses(log.events)
    found = OpenAIResponse.model_validate(first.response())
    said, asked, form = found.output
    assert (found.status, said.content[0].text) == ("completed", "Before. ")
    assert (asked.type, asked.name, asked.arguments) == ("mcp_approval_request", "refund", '{"amount": 5}')
    assert asked.id == f"mcpr_{request_id(1).replace('-', '')}"
    assert form.content[0].text.startswith("Which month?")
    assert responses(log.events[:waited])[1].response() == first.response()
    frames, second = responses(log.events, part=1)
    found = OpenAIResponse.model_validate(second.response())
    assert (found.id, found.output_text) == (f"{RESPONSE_ID}_1", "After.")
    assert [frame["type"] for frame in frames][:2] == ["response.created", "response.in_progress"]


# ---- What clients send ----


def test_read_messages_takes_the_last_user_message_and_tells_turns_from_instructions():
    sent = read_messages(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "assistant", "content": "three"},
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}, {"type": "text", "text": "four"}]},
        ]
    )
    assert (sent.text, sent.before) == ("four", (("user", "one\n\ntwo"), ("assistant", "three")))
    assert sent.instructions == (("developer", "Be brief."),)
    assert [file.id for file in sent.files] == ["f"]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
        [{"type": "file", "file": {"file_url": "https://example.org/a.csv"}}],
        [{"type": "file", "file": {}}],
        [{"type": "text", "text": 5}],
        [5],
        5,
    ],
)
def test_read_messages_refuses_what_would_be_lost(content):
    with pytest.raises(ProtocolError) as refused:
        read_messages([{"role": "user", "content": content}])
    assert (refused.value.code, refused.value.field) == ("invalid_message", "messages")


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "x"}], [{"role": "bot"}], ["x"]])
def test_read_messages_needs_a_user_message(messages):
    with pytest.raises(ProtocolError):
        read_messages(messages)


def test_read_input_skips_the_items_that_netra_has():
    output = responses(everything())[1].response()["output"]
    sent = read_input([{"role": "user", "content": "one"}, *output, {"role": "user", "content": "two"}], "Be brief.")
    assert (sent.text, sent.before[0], sent.instructions) == ("two", ("user", "one"), (("system", "Be brief."),))


def test_messages_of_one_answer_are_one_turn():
    events = run(("say", "Let me look. "), ("call", "c"), ("result", "c", 3), ("say", "Three."), ("complete",))
    output = responses(events)[1].response()["output"]
    assert [item["type"] for item in output] == ["message", "mcp_call", "message"]
    history = [{"role": "user", "content": "one"}, *output, {"role": "user", "content": "two"}]
    assert read_input(history, None).before == (("user", "one"), ("assistant", "Let me look. Three."))
    apart = [{"role": "assistant", "content": "Let me look."}, {"type": "function_call_output", "output": "3"}]
    history = [history[0], *apart, output[-1], history[-1]]
    assert [role for role, _ in read_input(history, None).before] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
def test_tools_of_another_model_are_known_by_what_they_returned(kind):
    call = {"type": kind, "call_id": "c", "name": "f", "arguments": "{}", "input": ""}
    returned = {"type": f"{kind}_output", "call_id": "c", "output": "3"}
    history = [{"role": "user", "content": "one"}, call, returned, {"role": "user", "content": "two"}]
    assert read_input(history, None).before == (("user", "one"), ("tool", "3"))


def test_read_input_takes_answers_to_approvals():
    item = {"type": "mcp_approval_response", "approval_request_id": "mcpr_ab", "approve": False, "reason": "no"}
    sent = read_input([item], None)
    assert (sent.text, sent.approvals[0].request_id, sent.approvals[0].approve) == (None, "ab", False)


def test_read_input_takes_what_stands_before_the_last_approvals_as_history():
    def approval(id):
        return {"type": "mcp_approval_response", "approval_request_id": f"mcpr_{id}", "approve": True}

    history = [{"role": "user", "content": "one"}, approval("a"), {"role": "user", "content": "two"}]
    sent = read_input([*history, approval("b"), approval("c")], "Be brief.")
    assert (sent.text, sent.before, sent.instructions) == (None, (), (("system", "Be brief."),))
    assert [given.request_id for given in sent.approvals] == ["b", "c"], "those of an earlier run are history, too"


@pytest.mark.parametrize("code", sorted(STATUS))
def test_errors_have_the_shape_of_openai(code):
    status, body, headers = openai_error(ProtocolError(code, "Words.", field="agent", retry_after=1))
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert body["error"]["param"] == "model"
    assert headers == ({"x-should-retry": "false"} if status == 409 else {})


@pytest.mark.parametrize("apart", [True, False])
def test_thoughts_that_a_client_sends_back_are_no_part_of_the_answer(apart):
    thought, answer = "<think>\nCounting the words\n</think>", "hello <think>you</think>"
    said = [thought, answer] if apart else [f"{thought}\n\n{answer}"]
    messages = [{"role": "assistant", "content": text} for text in said]
    messages = [{"role": "user", "content": "one"}, *messages, {"role": "user", "content": "<think>two</think>"}]
    for sent in (read_messages(messages), read_input(messages, None)):
        assert (sent.before, sent.text) == ((("user", "one"), ("assistant", answer)), "<think>two</think>")


# ---- Golden files ----


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("openai_chat.sse", lambda: chat(everything(), include_usage=True)[0]),
        ("openai_responses.sse", lambda: responses(everything())[0]),
        ("openai_responses_after_wait.sse", lambda: responses(everything(), part=1)[0]),
    ],
)
def test_golden_file_is_what_the_log_of_every_event_becomes(name, frames):
    text = streamed(frames())
    assert text == (GOLDEN / name).read_text(), f"if the change is meant, write {name} again"
