"""The table of streams: what a provider sends, and what the user reads.

`source` says where such a stream was seen: a vendor's documents ("docs"), or reports of people who run gateways,
servers and clients of models ("issues").
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.model_provider import KEY, Reply
from tests.model_wire import (
    DONE,
    USAGE,
    anthropic,
    called,
    chat,
    chunk,
    cut,
    errs,
    failing,
    lines,
    responses,
    sends,
    texts,
)

CUT = "\n\n*The answer was cut: "
UNENDED = "\n\n*The answer may be incomplete: the stream ended without the model's end marker.*"
LENGTH = f"{CUT}the model reached its length limit.*"
FILTERED = f"{CUT}the provider's content filter stopped it.*"
BROKE = f"{CUT}the model's answer broke off. Try again.*"
SUM = '{"expression": "17 * 23"}'


@dataclass(frozen=True)
class Row:
    """`reads`: the answer, as stored; `fails`: the code instead. `again`: the first attempt asks for another."""

    name: str
    sends: bytes | Reply | Sequence[bytes | Reply]
    reads: str = ""
    thinks: tuple[str, ...] = ()
    fails: str = ""
    again: bool = False
    requests: int = 1
    wire: str = "chat"
    calls: tuple[Any, ...] = ()  # results of tools
    source: str = "issues"

    @property
    def replies(self) -> list[Reply]:
        parts = [self.sends] if isinstance(self.sends, bytes) or callable(self.sends) else self.sends
        return [sends(part) if isinstance(part, bytes) else part for part in parts]


ENDINGS = [
    Row("stop", chat("Hel", "lo"), "Hello", source="docs"),
    Row("length", chat("Half of an ans", finish="length"), "Half of an ans" + LENGTH, source="docs"),
    Row("filter after text", chat("Half", finish="content_filter"), "Half" + FILTERED, source="docs: Azure"),
    Row("a filter's word without a delta", lines(*texts("Half"), {**chunk(), "choices": [{"index": 0,
        "finish_reason": "content_filter", "content_filter_results": {}}]}) + DONE, "Half" + FILTERED,
        source="docs: Azure's asynchronous filter"),
    Row("a stop with a null delta", lines(*texts("All"), chunk(None, "stop")) + DONE, "All"),
    Row("length before text", chat(finish="length"), fails="model_length"),
    Row("filter before text", chat(finish="content_filter"), fails="model_refused", source="docs: Azure"),
    Row("length in thought", chat({"reasoning_content": "Hm"}, finish="length"), thinks=("Hm",), fails="model_length"),
    Row("length in a tag", chat("<think>Hm", finish="length"), thinks=("Hm",), fails="model_length"),
    Row("length in a code block", chat("```py\nx = 1", finish="length"), "```py\nx = 1\n```" + LENGTH),
    Row("length after a code block", chat("```\nx\n```\nSo", finish="length"), "```\nx\n```\nSo" + LENGTH),
    Row("length in a call", chat(called("calculator", SUM[:9]), finish="length"), fails="model_length"),
    Row("length in a call after text", chat("So:", called("calculator", SUM[:9]), finish="length"), "So:" + LENGTH),
    Row("no finish reason", chat("Half", finish=None), "Half" + UNENDED),
    Row("empty finish reason", chat("Half", finish=""), "Half" + UNENDED),
    Row("no finish reason, no DONE", lines(*texts("Half")), "Half" + UNENDED),
    Row("no DONE", lines(*texts("All"), chunk({}, "stop")), "All"),
    Row("no DONE and a broken connection", cut(lines(*texts("All"), chunk({}, "stop"))), "All"),
    Row("a connection that breaks", cut(lines(*texts("Half"))), "Half" + BROKE, again=True),
    Row("a connection that breaks in a thought", cut(lines(chunk({"reasoning": "Hm"}))), fails="model_cut", again=True,
        thinks=("Hm",)),
    Row("a connection that breaks in a call", cut(lines(chunk(called("calculator", SUM[:9])))), fails="model_cut",
        again=True),
    Row("a call without its end", lines(chunk(called("calculator", SUM[:9]))), fails="model_cut", again=True),
    Row("a whole call without its end", [lines(chunk(called("calculator", SUM))), chat("391")], "391", calls=(391,),
        requests=2),
    Row("mistral's length", chat("Half", finish="model_length"), "Half" + LENGTH, source="docs: Mistral"),
    Row("gemini's length", chat("Half", finish="MAX_TOKENS"), "Half" + LENGTH),
    Row("gemini's filter", chat("Half", finish="SAFETY"), "Half" + FILTERED, source="docs: Gemini"),
    Row("zhipu's filter", chat("Half", finish="sensitive"), "Half" + FILTERED, source="docs: Zhipu"),
    Row("gemini's stop", chat("All", finish="STOP"), "All"),
    Row("a stop by its token", chat("All", finish="eos"), "All", source="docs: Together"),
    Row("openrouter's error", chat("Half", finish="error"), f"Half{CUT}the provider ended it with “error”.*",
        again=True, source="docs: OpenRouter"),
    Row("deepseek's want of resources", chat("Half", finish="insufficient_system_resource"),
        f"Half{CUT}the provider ended it with “insufficient_system_resource”.*", again=True, source="docs: DeepSeek"),
    Row("an abort", chat("Half", finish="abort"), f"Half{CUT}the provider ended it with “abort”.*", again=True,
        source="issues: vLLM, SGLang"),
    Row("a reason that nobody knows", chat("Half", finish="x*y\n**"), f"Half{CUT}the provider ended it with “xy”.*"),
    Row("tool_calls without calls", chat("Let me see.", finish="tool_calls"),
        f"Let me see.{CUT}the model announced a tool call, but the call is missing.*", source="issues: llama.cpp"),
    Row("tool_calls without anything", [chat(finish="tool_calls"), chat("Hi")], "Hi", requests=2),
    Row("stop with calls", [chat(called("calculator", SUM)), chat("391")], "391", calls=(391,), requests=2),
    Row("the old function_call", [chat({"function_call": {"name": "calculator", "arguments": SUM}},
        finish="function_call"), chat("Hi")], "Hi", requests=2),
    Row("a refusal", chat({"refusal": "I will not."}), fails="model_refused", source="docs: OpenAI"),
    Row("a refusal after text", chat("Half", {"refusal": "I will not."}), "Half" + FILTERED, source="docs: OpenAI"),
    Row("empty, then not", [chat(""), chat("Hi")], "Hi", requests=2),
    Row("white space only", [chat(" ", "\n\n"), chat("Hi")], "Hi", requests=2),
    Row("always empty", [chat("")] * 3, fails="model_garbled", requests=3),
    Row("nothing but the end", [DONE], fails="model_garbled"),
    Row("no stream at all", b"", fails="model_garbled"),
]  # fmt: skip

TWO = called("calculator", '{"expression": "1+1"}'), called("calculator", '{"expression": "2+2"}', id="c1")
WHOLE = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "usage": USAGE, "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}  # fmt: skip
WHOLE_CALLS = {**WHOLE, "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",
    "content": None, "tool_calls": [{key: call[key] for key in ("id", "type", "function")}
    for one in TWO for call in one["tool_calls"]]}}]}  # fmt: skip

SHAPES = [
    Row("a null delta", lines(*texts("A"), chunk(None), *texts("ll"), chunk({}, "stop")) + DONE, "All",
        source="issues: Azure"),
    Row("null content", chat("A", {"content": None}, "ll"), "All"),
    Row("no role", lines(chunk({"content": "All"}), chunk({}, "stop")) + DONE, "All"),
    Row("content as a list", chat({"content": [{"type": "text", "text": "A"}]}, {"content": []}, "ll"), "All",
        source="issues: Mistral"),
    Row("null choices", lines({**chunk(), "choices": None}, *texts("All"), chunk({}, "stop")) + DONE, "All"),
    Row("empty choices first", lines({**chunk(), "choices": [], "prompt_filter_results": []}, *texts("All"),
        chunk({}, "stop")) + DONE, "All", source="docs: Azure"),
    Row("no choices field", lines({"id": "x", "object": "ping"}, *texts("All"), chunk({}, "stop")) + DONE, "All"),
    Row("several choices in a chunk", lines(chunk(choices=[{"index": n, "delta": {"content": "ab"[n]},
        "finish_reason": None} for n in (0, 1)]), chunk({}, "stop")) + DONE, "a"),
    Row("the end with the last text", lines(*texts("A"), chunk({"content": "ll"}, "stop")) + DONE, "All"),
    Row("usage in every chunk", lines(*[{**one, "usage": USAGE} for one in texts("A", "ll")], chunk({}, "stop")) + DONE,
        "All", source="docs: vLLM"),
    Row("null usage", lines(*[{**one, "usage": None} for one in texts("All")], chunk({}, "stop")) + DONE, "All"),
    Row("usage of fractions", lines(*texts("All"), {**chunk({}, "stop"), "usage": dict.fromkeys(USAGE, 1.5)}) + DONE,
        "All"),
    Row("usage in words", lines(*texts("All"), {**chunk({}, "stop"), "usage": {"prompt_tokens": "9"}}) + DONE, "All"),
    Row("usage of nulls", lines(*texts("All"), {**chunk({}, "stop"), "usage": dict.fromkeys(USAGE)}) + DONE,
        "All"),
    Row("usage of nothing", lines(*texts("All"), {**chunk({}, "stop"), "usage": {}}) + DONE, "All"),
    Row("comments", b": OPENROUTER PROCESSING\n\n" + chat("A", "ll").replace(b"\n\n", b"\n\n: keep-alive\n\n"), "All",
        source="docs: OpenRouter"),
    Row("carriage returns", chat("A", "ll").replace(b"\n", b"\r\n"), "All"),
    Row("carriage returns only", chat("A", "ll").replace(b"\n", b"\r"), "All", source="docs: WHATWG"),
    Row("no space after the colon", chat("A", "ll").replace(b"data: ", b"data:"), "All"),
    Row("a byte order mark", b"\xef\xbb\xbf" + chat("A", "ll"), "All", source="docs: WHATWG"),
    Row("data in lines", "".join(f"data: {line}\n" for line in json.dumps(texts("All")[0], indent=1).split("\n"))
        .encode() + b"\n" + chat(""), "All", source="docs: WHATWG"),
    Row("other fields", b"retry: 100\nid: 1\nevent: message\n" + chat("All"), "All"),
    Row("comments after an id", chat("A", "ll").replace(b"data: ", b": ping\n\nid: 1\ndata: "), "All",
        source="issues: openai-python 2722"),
    Row("events of an id or a retry only", b"retry: 3000\n\nid: 1\n\n"
        + chat("A", "ll").replace(b"\n\n", b"\n\nid: 2\n\n"), "All", source="issues: openai-python 3833"),
    Row("events without data", b"event: ping\n\n"
        + chat("A", "ll").replace(b"\n\n", b"\n\ndata:\n\ndata: \n\ndata\n\n"), "All",
        source="issues: hermes-agent 111887"),
    Row("an event named after its data", chat("A", "ll").replace(b"\n\n", b"\nevent: message\n\n"), "All",
        source="docs: WHATWG"),
    Row("half a character in a chunk", lines('{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
        '{"choices":[{"index":0,"delta":{"content":"\\ude80!"}}]}', chunk({}, "stop")) + DONE, "🚀!"),
    Row("half a character and no other", lines('{"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}',
        chunk({}, "stop")) + DONE, "a\ufffd"),
    Row("half a character in a thought", lines('{"choices":[{"index":0,"delta":{"reasoning_content":"\\ud83d"}}]}',
        '{"choices":[{"index":0,"delta":{"reasoning_content":"\\ude80"}}]}', *texts("Hi"), chunk({}, "stop")) + DONE,
        "Hi", thinks=("🚀",)),
    Row("NUL", chat("a\x00b"), "a\ufffdb"),
    Row("bytes that are no UTF-8", chat("Hxi").replace(b"Hxi", b"H\xffi"), "H\ufffdi", source="issues: llama.cpp"),
    Row("a message in place of a delta", lines(WHOLE) + DONE, "Hello", source="issues: gateways"),
    Row("a whole answer", sends(json.dumps(WHOLE, indent=1).encode(), kind="application/json"), "Hello",
        source="issues: gateways that ignore stream"),
    Row("a whole answer as text", sends(json.dumps(WHOLE).encode(), kind="text/plain"), "Hello"),
    Row("a whole answer that is cut", sends(json.dumps(WHOLE).replace('"stop"', '"length"').encode(),
        kind="application/json"), "Hello" + LENGTH),
    Row("whole answers with calls", [sends(json.dumps(WHOLE_CALLS).encode(), kind="application/json"),
        sends(json.dumps(WHOLE).encode(), kind="application/json")], "Hello", calls=(2, 4), requests=2),
    Row("lines of JSON", sends(b"".join(json.dumps(one).encode() + b"\n" for one in [*texts("A", "ll"),
        chunk({}, "stop")]), kind="application/x-ndjson"), "All"),
]  # fmt: skip

THOUGHTS = [
    Row("a field", chat({"reasoning_content": "Hm"}, {"reasoning_content": "."}, "Hi"), "Hi", ("Hm.",),
        source="docs: DeepSeek"),
    Row("ollama's field", chat({"reasoning": "Hm.", "content": ""}, "Hi"), "Hi", ("Hm.",), source="issues: Ollama"),
    Row("both fields", chat({"reasoning": "Hm.", "reasoning_content": "Hm."}, "Hi"), "Hi", ("Hm.",),
        source="issues: vLLM"),
    Row("tags of their own", chat("<think>", "Hm.", "</think>", "Hi"), "Hi", ("Hm.",)),
    Row("tags in one chunk", chat("<think>Hm.</think>\n\nHi"), "Hi", ("Hm.",), source="issues: vLLM, Ollama"),
    Row("tags across chunks", chat("<th", "ink>H", "m.</", "thi", "nk>", "\n\nH", "i"), "Hi", ("Hm.",)),
    Row("the opening tag in a chunk of its own", chat("<think>", "Hm.</think>\n\nHi"), "Hi", ("Hm.",)),
    Row("the closing tag in a chunk with more", chat("<think>", "Hm.", "</think>\n\nHi"), "Hi", ("Hm.",)),
    Row("the closing tag in parts", chat("<think>", "Hm.</th", "ink>Hi"), "Hi", ("Hm.",)),
    Row("tags of their own in prose", chat("So ", "<think>", " and ", "</think>", "."), "So <think> and </think>."),
    Row("a thought in mid-answer", chat("Hel", {"reasoning_content": "Hm."}, "lo"), "Hello", ("Hm.",),
        source="issues: pydantic-ai"),
    Row("a tag at the end of its chunk", chat("\n<think>\n", "Hm.\n</think>", "\n", "Hi"), "Hi", ("\nHm.\n",)),
    Row("another name", chat("<thinking>Hm.</thinking>Hi"), "Hi", ("Hm.",), source="issues: Open WebUI"),
    Row("no thought in them", chat("<think>\n\n</think>\n\nHi"), "Hi", source="issues: Qwen3"),
    Row("no opening tag", chat("Hm, the us", "er greets.\n</th", "ink>\n\nHi"), "Hi", ("Hm, the user greets.\n",),
        source="docs: DeepSeek-R1's template"),
    Row("no opening tag, no lines", chat("Hm.", "</think>", "Hi"), "Hi", ("Hm.",)),
    Row("no closing tag", [chat("<think>Hm."), chat("Hi")], "Hi", ("Hm.",), requests=2),
    Row("tags that are written about", chat("Write `<think>` and", " `</think>`."), "Write `<think>` and `</think>`."),
    Row("tags in code", chat("So:\n```\n<think>\nx\n</think>\n```\n"), "So:\n```\n<think>\nx\n</think>\n```\n"),
    Row("tags in prose", chat("The <think> tag, the </think> tag."), "The <think> tag, the </think> tag."),
    Row("a field, then a tag in the answer", chat({"reasoning": "Hm."}, "See <think>."), "See <think>.", ("Hm.",)),
    Row("a tag before a call", [chat("<think>Add", " it.</think>", called("calculator", SUM), finish="tool_calls"),
        chat("<think>Now</think>391")], "391", ("Add it.", "Now"), calls=(391,), requests=2),
    Row("another thought without its opening tag", chat("<think>Hm.</think>\nSo, dr", "aft.\n</think>\n\nHi"), "Hi",
        ("Hm.", "So, draft.\n")),
    Row("a field, then the rest of a thought", chat({"reasoning": "Hm."}, "Well.\n</think>\nHi"), "Hi",
        ("Hm.", "Well.\n"), source="issues: DashScope"),
    Row("a thought about the tag", chat("<think>It ends with </think>, I know.\n</think>\nHi"), "Hi",
        ("It ends with ", ", I know.\n"), source="issues: llama.cpp"),
    Row("a reason in mid-stream", lines(chunk({"reasoning_content": "Hm."}, "stop"), *texts("Hi"), chunk({}, "stop"))
        + DONE, "Hi", ("Hm.",), source="issues: Open WebUI"),
    Row("channels", chat("<|chan", "nel|>analysis<|message|>H", "m.<|e", "nd|><|start|>assistant<|channel|>fi",
        "nal<|message|>H", "i"), "Hi", ("Hm.",), source="issues: open-webui 17428, mlx-lm 875"),
    Row("a channel, then text", chat("<|channel|>analysis<|message|>Hm.<|end|>", "Hi"), "Hi", ("Hm.",),
        source="issues: llama.cpp 15181"),
    Row("a channel of text only", chat("<|start|>assistant<|channel|>final<|message|>Hi"), "Hi", source="issues: vLLM"),
    Row("a channel that is cut", chat("<|channel|>analysis<|message|>Hm.", finish="length"), thinks=("Hm.",),
        fails="model_length"),
    Row("channels that are written about", chat("See <|channel|>analysis<|message|>."),
        "See <|channel|>analysis<|message|>."),
    Row("less than", chat("<", "3 you"), "<3 you"),
    Row("a model of ollama", chat("<think>\n", "Hm.", "\n</think>\n\n", "Hi"), "Hi", ("\nHm.\n",), wire="ollama"),
]  # fmt: skip


def two(first: dict[str, Any], second: dict[str, Any]) -> list[bytes]:
    one = called("calculator", '{"expression": "1+1"}', **first)
    other = called("calculator", '{"expression": "2+2"}', **second)
    return [chat(one, other, finish="tool_calls"), chat("2 and 4")]


def both(name: str, first: dict[str, Any], second: dict[str, Any], source: str = "issues") -> Row:
    return Row(name, two(first, second), "2 and 4", calls=(2, 4), requests=2, source=source)


def one(name: str, *pieces: Any, source: str = "issues") -> Row:
    return Row(name, [chat(*pieces, finish="tool_calls"), chat("391")], "391", calls=(391,), requests=2, source=source)


CALLS = [
    both("one id", {"index": 0}, {"index": 1}),
    both("one index", {"id": "a"}, {"id": "b"}, "issues: Gemini's compatible API"),
    both("one id and one index", {}, {}),
    both("no index", {"index": None, "id": "a"}, {"index": None, "id": "b"}, "issues: Gemini's compatible API"),
    both("no id", {"index": 0, "id": None}, {"index": 1, "id": None}),
    both("empty ids", {"index": 0, "id": ""}, {"index": 1, "id": ""}),
    both("indexes from one", {"index": 1, "id": "a"}, {"index": 2, "id": "b"}),
    both("no type", {"index": 0, "id": "a", "type": None}, {"index": 1, "id": "b", "type": None}),
    one("in pieces", called("calculator", ""), called(None, SUM[:9], id=None), called(None, SUM[9:], id=None)),
    one("the id in every piece", called("calculator", ""), called(None, SUM[:9]), called(None, SUM[9:])),
    one("an empty id in later pieces", called("calculator", SUM[:9]), called(None, SUM[9:], id=""),
        source="issues: Qwen"),
    one("an empty name in later pieces", called("calculator", SUM[:9]), called("", SUM[9:], id="")),
    one("the name in every piece", called("calculator", SUM[:9]), called("calculator", SUM[9:])),
    one("null arguments first", called("calculator", None), called(None, SUM)),
    one("all of it once more", called("calculator", SUM[:9]), called(None, SUM[9:]), called(None, SUM)),
    one("an object as arguments", called("calculator", {"expression": "17 * 23"}), source="issues: Ollama"),
    one("an empty object first", called("calculator", "{}"), called(None, SUM, id=None), source="issues: LiteLLM"),
    one("white space around the name", called(" calculator\n", SUM)),
    one("text beside it", {"content": "", **called("calculator", SUM)}),
    Row("text before it", [chat("Let me see.", called("calculator", SUM), finish="tool_calls"), chat("391")],
        "Let me see.\n\n391", calls=(391,), requests=2),
    Row("no arguments", [chat(called("calculator", ""), finish="tool_calls"), chat("Hi")], "Hi", requests=2),
    Row("arguments that are no JSON", [chat(called("calculator", "{x"), finish="tool_calls"), chat("Hi")], "Hi",
        requests=2),
    Row("a tool that there is not", [chat(called("shell", "{}"), finish="tool_calls"), chat("Hi")], "Hi", requests=2),
    Row("the second stream breaks", [chat("Let me see.", called("calculator", SUM), finish="tool_calls"),
        cut(lines(*texts("39")))], "Let me see.\n\n39" + BROKE, calls=(391,), requests=2, again=True),
    Row("the second is refused", [chat("So:", called("calculator", SUM), finish="tool_calls"),
        errs(400, {"error": {"message": "x"}})], "So:" + CUT + "the model's provider rejected the request. An "
        "administrator has to look at it.*", calls=(391,), requests=2),
    Row("the second says nothing", [chat("So:", called("calculator", SUM), finish="tool_calls"), chat(""), chat("391")],
        "So:\n\n391", calls=(391,), requests=3),
    Row("the second is cut by length", [chat("So:", called("calculator", SUM), finish="tool_calls"),
        chat("39", finish="length")], "So:\n\n39" + LENGTH, calls=(391,), requests=2),
]  # fmt: skip

AZURE = {
    "error": {
        "message": "The response was filtered due to the prompt triggering the content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
        },
    }
}

OVERLOADED = {"error": {"message": "The server is overloaded", "type": "server_error", "code": "server_is_overloaded"}}
IN_STREAM = [
    Row("an error first", lines(OVERLOADED), fails="model_down", again=True, source="docs: OpenAI"),
    Row("an error after text", lines(*texts("Half"), OVERLOADED),
        f"Half{CUT}the model's provider is out of order. Try again in a while.*", again=True),
    Row("openrouter's error", lines(*texts("Half"), {**chunk({"content": ""}, "error"), "error": {"code": 502,
        "message": "Provider disconnected"}}), f"Half{CUT}the model's provider is out of order. Try again in a while.*",
        again=True, source="docs: OpenRouter"),
    Row("vllm's error", lines(*texts("Half"), {"error": {"object": "error", "message": "EngineCore died", "code": 500,
        "type": "InternalServerError"}}) + DONE,
        f"Half{CUT}the model's provider is out of order. Try again in a while.*", again=True, source="issues: vLLM"),
    Row("llama.cpp's error", lines(*texts("Half")) + b'error: {"code": 500, "message": "x"}\n\n',
        f"Half{CUT}the model's provider is out of order. Try again in a while.*", again=True,
        source="issues: llama.cpp"),
    Row("an error in a word", lines(*texts("Half"), {"error": "upstream went away"}),
        f"Half{CUT}the model's provider is out of order. Try again in a while.*", again=True, source="issues: Ollama"),
    Row("a limit of requests", lines(*texts("Half"), {"error": {"message": "slow", "code": "rate_limit_exceeded"}}),
        f"Half{CUT}the model's provider takes no more requests at the moment. Try again in a while.*", again=True),
    Row("a filter", lines(*texts("Half"), {"error": {"message": "filtered", "code": "content_filter"}}),
        f"Half{CUT}the model's provider refused to answer this.*", source="docs: Azure"),
    Row("no more room", lines({"error": {"message": "This model's maximum context length is 8192 tokens",
        "code": 400}}), fails="too_long", source="issues: vLLM"),
    Row("too much, in words", lines({"error": "Input validation error: `inputs` must have less than 4096 tokens. "
        "Given: 9000", "error_type": "validation"}), fails="too_long", source="issues: text-generation-inference"),
    Row("too much, and the end", lines({"error": {"object": "error", "message": "Requested token count exceeds the "
        "model's maximum context length of 196608 tokens.", "type": "BadRequestError", "code": 400}}) + DONE,
        fails="too_long", source="issues: SGLang"),
    Row("text that is no JSON", lines(*texts("Half"), "upstream error"), "Half" + BROKE, again=True),
    Row("JSON of another shape", lines(*texts("Half"), "[]", '{"choices": 7}'), "Half" + BROKE, again=True),
    Row("a web page", sends(b"<html><body>Sign in</body></html>", kind="text/html; charset=utf-8"),
        fails="model_unknown"),
    Row("an error of JSON", sends(b'{"error": {"message": "No credit", "code": 402}}', kind="application/json"),
        fails="model_quota", source="docs: OpenRouter"),
    Row("a filter of JSON", [sends(json.dumps(AZURE).encode(), kind="application/json", retry_after_ms="1")] * 4,
        fails="model_refused", requests=4),
    Row("an error of JSON that passes", [sends(b'{"error": "EOF"}', kind="application/json", retry_after_ms="1"),
        chat("Hi")], "Hi", requests=2, source="issues: Ollama"),
    Row("JSON that is no stream", sends(b'{"id": "x", "choices": []}', kind="application/json"),
        fails="model_garbled"),
]  # fmt: skip

HTML = "<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"


def refused(
    name: str, status: int, error: Any, fails: str, requests: int = 1, source: str = "docs", **more: str
) -> Row:
    body = error if isinstance(error, str | list) else error if "error" in error else {"error": error}
    return Row(name, [errs(status, body, **more)] * requests, fails=fails, requests=requests, source=source)


def because(message: str, code: Any = None, type: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": type, "code": code}


REFUSALS = [
    refused("azure's filter", 400, AZURE, "model_refused", source="docs: Azure"),
    refused("azure's filter with another code", 400, {"message": "x", "code": "x", "innererror": {
        "code": "ResponsibleAIPolicyViolation"}}, "model_refused", source="docs: Azure"),
    refused("a policy", 400, because("x", "content_policy_violation"), "model_refused", source="docs: OpenAI"),
    refused("a prompt", 400, because("Invalid prompt: your prompt was flagged as potentially violating our usage "
        "policy.", "invalid_prompt"), "model_refused", source="issues: OpenAI"),
    refused("openrouter's moderation", 403, {"code": 403, "message": "moderation", "metadata": {"reasons": ["x"],
        "flagged_input": "x", "provider_name": "x", "model_slug": "x"}}, "model_refused", source="docs: OpenRouter"),
    refused("deepseek's risk", 400, because("Content Exists Risk", "invalid_request_error"), "model_refused",
        source="issues: DeepSeek"),
    refused("qwen's inspection", 400, because("Input data may contain inappropriate content.",
        "data_inspection_failed"), "model_refused", source="docs: DashScope"),
    refused("litellm's policy", 400, because("litellm.ContentPolicyViolationError: x", "400"), "model_refused",
        source="issues: LiteLLM"),
    refused("openai's length", 400, because("x", "context_length_exceeded"), "too_long"),
    refused("llama.cpp's length", 400, because("the request exceeds the available context size", 400,
        "exceed_context_size_error"), "too_long", source="issues: llama.cpp"),
    refused("vllm's length", 400, because("This model's maximum context length is 4096 tokens. However, you requested "
        "5000 tokens", 400, "BadRequestError"), "too_long", source="issues: vLLM"),
    refused("bedrock's length", 400, because("Input is too long for requested model."), "too_long",
        source="issues: LiteLLM"),
    refused("anthropic's length through a gateway", 400, because("prompt is too long: 210000 tokens > 200000 maximum"),
        "too_long", source="issues: LiteLLM"),
    refused("lm studio's length", 400, because("Trying to keep the first 6000 tokens when context the overflows. "
        "However, the model is loaded with context length of only 4096 tokens"), "too_long",
        source="issues: LM Studio"),
    refused("groq's size", 413, because("Request too large for model `x` on tokens per minute (TPM): Limit 6000, "
        "Requested 7000", "rate_limit_exceeded", "tokens"), "too_long", source="issues: Groq"),
    refused("nginx's size", 413, "<html>413 Request Entity Too Large</html>", "too_long"),
    refused("no credit", 402, because("Insufficient Balance", "invalid_request_error"), "model_quota",
        source="docs: DeepSeek"),
    refused("no quota", 429, because("x", "insufficient_quota", "insufficient_quota"), "model_quota", 4),
    refused("moonshot's quota", 429, because("Your account is suspended, please check your plan and billing details",
        None, "exceeded_current_quota_error"), "model_quota", 4, source="docs: Moonshot"),
    refused("no more than so much", 403, because("Key limit exceeded (total limit)", 403), "model_quota",
        source="docs: OpenRouter"),
    refused("the budget of a gateway", 400, because("Budget has been exceeded! Current cost: 10.1, Max budget: 10.0",
        "400", "budget_exceeded"), "model_quota", source="issues: LiteLLM"),
    refused("openai's inactive account", 429, because("Your account is not active, please check your billing "
        "details", "billing_not_active"), "model_quota", 4, source="issues: OpenAI"),
    refused("xai's credits", 403, {"code": "permission-denied", "error": "Your newly created team doesn't have any "
        "credits yet."}, "model_quota", source="issues: xAI"),
    refused("xai's guidelines", 403, {"code": "permission-denied", "error": "Content violates usage guidelines. Failed "
        "check: SAFETY_CHECK_TYPE_BIO"}, "model_refused", source="issues: xAI"),
    refused("a limit that names the page on bills", 429, because("Rate limit reached for gpt-4o on requests per min: "
        "Limit 3. You can add a payment method at https://platform.openai.com/account/billing.", "rate_limit_exceeded",
        "requests"), "model_busy", 4, source="issues: OpenAI"),
    refused("anthropic's limit of tokens", 429, because("This request would exceed your organization's rate limit of "
        "30,000 input tokens per minute. Reduce the prompt length or the maximum tokens requested.", None,
        "rate_limit_error"), "model_busy", 4, source="issues: Anthropic"),
    refused("together's length", 422, because("Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
        "4097. Given: 5000 `inputs` tokens", "invalid_request_error"), "too_long", source="issues: Together"),
    refused("openai's size", 429, because("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, "
        "Requested 40000. The input or output tokens must be reduced.", "rate_limit_exceeded", "tokens"), "too_long", 4,
        source="issues: OpenAI"),
    refused("groq's old model", 400, because("The model `x` has been decommissioned and is no longer supported.",
        "model_decommissioned"), "model_unknown", source="docs: Groq"),
    refused("vllm without a parser of tools", 400, because('"auto" tool choice requires --enable-auto-tool-choice and '
        '--tool-call-parser to be set', 400, "BadRequestError"), "model_tools", source="issues: vLLM"),
    refused("a parameter", 400, because("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.", "unsupported_parameter"), "model_rejected", source="issues: OpenAI"),
    refused("roles", 400, because("Conversation roles must alternate user/assistant/user/assistant/...", 400,
        "BadRequestError"), "model_rejected", source="issues: vLLM"),
    refused("no key", 401, because("Incorrect API key provided: " + KEY, "invalid_api_key"), "model_key"),
    refused("gemini's key", 400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT"}}], "model_key", source="issues: Gemini's compatible API"),
    refused("no model", 404, because("The model `x` does not exist", "model_not_found"), "model_unknown"),
    refused("ollama's model", 404, because('model "x" not found, try pulling it first', None, "api_error"),
        "model_unknown", source="issues: Ollama"),
    refused("openrouter's model", 400, because("x is not a valid model ID", 400), "model_unknown",
        source="issues: OpenRouter"),
    refused("deepseek's model", 400, because("Model Not Exist", "invalid_request_error"), "model_unknown",
        source="docs: DeepSeek"),
    refused("azure's deployment", 404, because("The API deployment for this resource does not exist.",
        "DeploymentNotFound"), "model_unknown", source="docs: Azure"),
    refused("a model without tools", 400, because("registry.ollama.ai/library/gemma:2b does not support tools", None,
        "api_error"), "model_tools", source="issues: Ollama"),
    refused("no endpoint with tools", 404, because("No endpoints found that support tool use.", 404), "model_tools",
        source="issues: OpenRouter"),
    refused("a time-out of theirs", 408, because("x"), "model_timeout", 4),
    refused("a conflict", 409, because("x"), "model_busy", 4),
    refused("no capacity", 498, because("Flex tier capacity exceeded"), "model_busy", source="docs: Groq"),
    refused("unprocessable", 422, because("x"), "model_rejected"),
    refused("an error in HTML", 502, HTML, "model_down", 4),
    refused("overloaded", 529, because("Overloaded", None, "overloaded_error"), "model_down", 4),
    Row("wait a second", [errs(429, because("x"), retry_after="1"), chat("Hi")], "Hi", requests=2),
    Row("wait for years", errs(429, because("x"), retry_after="Wed, 21 Oct 2099 07:28:00 GMT"), fails="model_busy"),
    Row("another address", errs(307, "", location="/v1/elsewhere"), fails="model_moved"),
    refused("an empty body", 400, "", "model_rejected"),
    refused("a call that is none", 400, {"error": {"message": "Failed to call a function. Please adjust your prompt.",
        "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "<function=x>"}},
        "model_garbled", source="issues: Groq"),
    refused("an error in a word", 400, {"error": "no"}, "model_rejected", source="issues: Ollama"),
]  # fmt: skip


def whole_message(*blocks: dict[str, Any], end: str = "end_turn") -> Reply:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-opus-4-8", "content": blocks}
    message |= {"stop_reason": end, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 3}}
    return sends(json.dumps(message).encode(), kind="application/json")


OVER = {"type": "overloaded_error", "message": "Overloaded"}
OTHER = [
    Row("whole", responses("Hel", "lo"), "Hello", wire="responses", source="docs"),
    Row("incomplete by length", responses("Half", end="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "Half" + LENGTH, wire="responses", source="docs"),
    Row("incomplete by filter", responses("Half", end="incomplete", incomplete_details={"reason": "content_filter"}),
        "Half" + FILTERED, wire="responses", source="docs"),
    Row("incomplete for no reason", responses("Half", end="incomplete"), "Half" + UNENDED, wire="responses"),
    Row("failed", responses("Half", end="failed", error={"code": "server_error", "message": "x"}),
        f"Half{CUT}the model's provider is out of order. Try again in a while.*", wire="responses", again=True,
        source="docs"),
    Row("failed for no reason", responses("Half", end="failed"), f"Half{CUT}the provider ended it with “failed”.*",
        wire="responses", again=True),
    Row("no end", responses("Half", end=None), "Half" + UNENDED, wire="responses"),
    Row("breaks", cut(responses("Half", end=None)), "Half" + BROKE, wire="responses", again=True),
    Row("an error event", responses("Half", end=None) + lines({"type": "error", "code": "rate_limit_exceeded",
        "message": "slow", "param": None, "sequence_number": 9}),
        f"Half{CUT}the model's provider takes no more requests at the moment. Try again in a while.*",
        wire="responses", again=True, source="docs"),
    Row("whole", anthropic("Hello"), "Hello", wire="anthropic", source="docs"),
    Row("a whole message", [whole_message({"type": "tool_use", "id": "t", "name": "calculator", "input": {
        "expression": "17 * 23"}}, end="tool_use"), whole_message({"type": "thinking", "thinking": "Hm.",
        "signature": "s"}, {"type": "text", "text": "391"})], "391", ("Hm.",), calls=(391,), requests=2,
        wire="anthropic", source="issues: gateways that ignore stream"),
    Row("a whole message that is cut", whole_message({"type": "text", "text": "Half"}, end="max_tokens"),
        "Half" + LENGTH, wire="anthropic"),
    Row("max_tokens", anthropic("Half", end="max_tokens"), "Half" + LENGTH, wire="anthropic", source="docs"),
    Row("refusal", anthropic("Half", end="refusal"), "Half" + FILTERED, wire="anthropic", source="docs"),
    Row("refusal of all", anthropic(end="refusal"), fails="model_refused", wire="anthropic", source="docs"),
    Row("no more room", anthropic("Half", end="model_context_window_exceeded"),
        f"Half{CUT}the conversation has filled the model's context window.*", wire="anthropic", source="docs"),
    Row("pause_turn", [anthropic("Half ", end="pause_turn"), anthropic("whole", id="n")], "Half \n\nwhole",
        wire="anthropic", requests=2, source="docs"),
    Row("no end", anthropic("Half", end=None), "Half" + UNENDED, wire="anthropic"),
    Row("breaks", cut(anthropic("Half", end=None)), "Half" + BROKE, wire="anthropic", again=True),
    Row("overloaded after text", anthropic("Half", end=None) + failing(OVER),
        f"Half{CUT}the model's provider is out of order. Try again in a while.*", wire="anthropic", again=True,
        source="docs"),
    Row("overloaded at once", failing(OVER), fails="model_down", wire="anthropic", again=True, source="docs"),
    Row("carriage returns byte by byte", sends(anthropic("Hello").replace(b"\n", b"\r\n"), size=1), "Hello",
        wire="anthropic"),
    Row("events without data", b": hi\n\nid: 1\n\nevent: ping\n\n" + anthropic("Hello"), "Hello", wire="anthropic"),
    Row("events named after their data", re.sub(rb"(event: .*\n)(data: .*\n)", rb"\2\1", anthropic("Hello")), "Hello",
        wire="anthropic", source="docs: WHATWG"),
    Row("a ping", b'event: ping\ndata: {"type": "ping"}\n\n' + anthropic("Hello"), "Hello", wire="anthropic",
        source="docs"),
    Row("thinking", anthropic(({"type": "thinking", "thinking": "", "signature": ""}, [
        {"type": "thinking_delta", "thinking": "Hm."}, {"type": "signature_delta", "signature": "s"}]), "Hi"), "Hi",
        ("Hm.",), wire="anthropic", source="docs"),
    Row("redacted thinking", anthropic(({"type": "redacted_thinking", "data": "x"}, []), "Hi"), "Hi", wire="anthropic",
        source="docs"),
    Row("max_tokens in a call", anthropic("So:", ({"type": "tool_use", "id": "t", "name": "calculator", "input": {}},
        [{"type": "input_json_delta", "partial_json": SUM[:9]}]), end="max_tokens"), "So:" + LENGTH, wire="anthropic",
        source="docs"),
    Row("no credit", errs(400, {"type": "error", "error": {"type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API."}}), fails="model_quota",
        wire="anthropic", source="docs"),
    Row("a filter of what it says", errs(400, {"type": "error", "error": {"type": "invalid_request_error",
        "message": "Output blocked by content filtering policy"}}), fails="model_refused", wire="anthropic"),
    Row("too much", errs(413, {"type": "error", "error": {"type": "request_too_large", "message": "x"}}),
        fails="too_long", wire="anthropic", source="docs"),
]  # fmt: skip

ROWS = {
    f"{group} {row.wire}: {row.name}": row
    for group, rows in {
        "end": ENDINGS,
        "shape": SHAPES,
        "thought": THOUGHTS,
        "call": CALLS,
        "error": IN_STREAM,
        "refusal": REFUSALS,
        "end of": OTHER,
    }.items()
    for row in rows
}
