"""The HTTP client for a model's provider: what is no stream becomes the status or the stream that it stands for.

The providers' clients read server-sent events only, and of chat completions only chunks with a delta. Some gateways
send a whole answer, or the last word of one without a delta.
"""

import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import cache
from typing import Any

import httpx2

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # the providers' clients would drop the event behind it
_DELTA = re.compile(rb'"delta"\s*:\s*\{')


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context of this process for outgoing connections.

    Loading the certificates takes 50 ms, in which the event loop of a worker does nothing else.
    """
    return httpx2.create_ssl_context()


def client() -> httpx2.AsyncClient:
    """Return a client, which the caller closes."""
    return httpx2.AsyncClient(
        verify=tls_context(), event_hooks={"response": [_normalize]}, headers={"accept-encoding": "identity"}
    )


async def _normalize(response: httpx2.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != 200 or not isinstance(response.stream, httpx2.AsyncByteStream):
        return
    if kind == "text/html":
        response.status_code = 404  # the page of a sign-in, or of another address than the API's
    elif "content-encoding" in response.headers:
        return
    elif kind == "application/json":
        async with aclosing(response.stream) as stream:
            body = b"".join([piece async for piece in stream])
        answer = json_object(body)
        response.status_code = _status(answer.get("error"))
        response.stream = httpx2.ByteStream(_as_stream(answer) or body)
    else:
        response.stream = _Readable(response.stream)


def _status(error: Any) -> int:
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if code.isdecimal() and 400 <= int(code) < 600:
        return int(code)
    return 500 if error else 200


class _Readable(httpx2.AsyncByteStream):
    """A stream of lines that the providers' clients can read, without the mark at its begin.

    The clients fail at an event without data, which gateways send to keep a connection open: `data:`, `event: ping`,
    `retry: 3000`, or after an `id` any comment.
    """

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream
        self._event = b""  # the field of this name in the event under way
        self._has_data = False  # the event under way

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held: list[bytes] = []
        is_first, ends_in_return = True, False
        async for piece in self._stream:
            if ends_in_return:  # the end of a line may come in two pieces
                piece = piece.removeprefix(b"\n")
            ends_in_return = piece.endswith(b"\r")
            held.append(piece)
            if b"\n" not in piece and b"\r" not in piece:
                continue
            lines = b"".join(held).splitlines(keepends=True)
            held = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
            if is_first:
                lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
                is_first = False
            yield b"".join(map(self._read, lines))
        if any(held):
            yield self._read(b"".join(held).removeprefix(_BYTE_ORDER_MARK if is_first else b""))

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _read(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        match name.strip():
            case b"event":
                self._event = line
            case b"id" | b"retry":
                pass
            case b"data":
                if value.strip():
                    self._has_data = True
                    return _line(line)
            case b"":
                if not colon:
                    event, has_data = self._event, self._has_data
                    self._event, self._has_data = b"", False
                    return event + line if has_data else line
            case _:
                return _line(line)
        return b""


def _line(line: bytes) -> bytes:
    """Rewrite one line of a stream, unless it has no answer or already has the form that the clients read."""
    if not line.isascii():
        line = line.decode(errors="replace").encode()  # one bad byte would end the answer
    if line.startswith(b"error:"):  # llama.cpp's own field
        return b'data: {"error": ' + line[6:].strip() + b"}\n\n"
    if line.startswith(b"{"):  # a line of JSON, or a whole answer under another content type
        return _event(answer) if (answer := json_object(line)) else line
    if b'"choices"' not in line or _DELTA.search(line):
        return line
    answer = json_object(line.removeprefix(b"data:"))
    return _event(answer).removesuffix(b"\n") if answer else line


def _as_stream(answer: dict[str, Any]) -> bytes:
    """Return a complete answer as a stream: a chat completion or an Anthropic message; nothing for another object."""
    if answer.get("choices"):
        return _event(answer)
    if answer.get("type") != "message" or not isinstance(answer.get("content"), list):
        return b""
    ending = {name: answer.get(name) for name in ("stop_reason", "stop_sequence")}
    usage = answer.get("usage") or {"input_tokens": 0, "output_tokens": 0}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**answer, "content": [], "stop_reason": None, "usage": usage}}
    ]
    for index, block in enumerate(answer["content"]):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": ending, "usage": usage}, {"type": "message_stop"}]
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


def _event(answer: dict[str, Any]) -> bytes:
    """Return a chat completion or a chunk of one as the event of a chunk; another object unchanged."""
    choices = answer.get("choices")
    if isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        answer = {**answer, "object": "chat.completion.chunk", "choices": [*map(_with_delta, choices)]}
    return b"data: " + json.dumps(answer).encode() + b"\n\n"


def _with_delta(choice: dict[str, Any]) -> dict[str, Any]:
    if choice.get("delta"):
        return choice
    message = choice.get("message")
    delta = dict(message) if isinstance(message, dict) else {}
    if isinstance(calls := delta.get("tool_calls"), list):
        delta["tool_calls"] = [*_numbered(calls)]
    return {**choice, "delta": delta}


def _numbered(calls: list[Any]) -> Iterator[Any]:
    for index, call in enumerate(calls):
        yield {"index": index, **call} if isinstance(call, dict) else call


def json_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in the text; {} without one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
