"""Streams of model providers, as bytes: chat completions, Responses, Anthropic; and the ways in which they end."""

import json
from collections.abc import Iterable
from typing import Any

from tests.model_provider import Exchange, Reply

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def sends(
    body: bytes,
    *,
    status: int = 200,
    kind: str = "text/event-stream",
    cut: bool = False,
    size: int = 2**20,
    **headers: str,
) -> Reply:
    """A reply of these bytes, in chunks of a size, which ends as a whole body does, or with `cut` breaks."""

    async def reply(exchange: Exchange) -> None:
        extra = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [f"HTTP/1.1 {status} x", f"content-type: {kind}", "transfer-encoding: chunked", "connection: close"]
        exchange.writer.write("\r\n".join([*head, *extra, "", ""]).encode())
        for chunk in (body[at : at + size] for at in range(0, len(body), size)):
            exchange.writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        if not cut:
            exchange.writer.write(b"0\r\n\r\n")
        await exchange.writer.drain()
        if cut:
            exchange.writer.close()

    return reply


def cut(body: bytes) -> Reply:
    return sends(body, cut=True)


def errs(status: int, error: Any, **headers: str) -> Reply:
    """A refusal with a body of JSON, or of any text."""
    is_text = isinstance(error, str)
    body = error if is_text else json.dumps(error)
    kind = "text/html" if is_text else "application/json"
    return sends(body.encode(), status=status, kind=kind, **(headers or {"retry_after_ms": "1"}))


def lines(*data: Any, end: str = "\n") -> bytes:
    """Server-sent events of these data."""
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}{end}{end}" for one in data).encode()


# Chat completions


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": [choice],
        **fields,
    }


def texts(*pieces: Any) -> list[dict[str, Any]]:
    return [chunk({"role": "assistant", "content": piece}) for piece in pieces]


def chat(*pieces: Any, finish: str | None = "stop", more: Iterable[Any] = ()) -> bytes:
    """A whole stream: text, or deltas as dicts, then `more`; without its end where `finish` is None."""
    deltas = [chunk(piece) if isinstance(piece, dict) else texts(piece)[0] for piece in pieces]
    end = [chunk({}, finish), chunk(choices=[], usage=USAGE)] if finish else []
    return lines(*deltas, *more, *end) + DONE


def called(name: str | None, arguments: Any, **fields: Any) -> dict[str, Any]:
    """A delta with a piece of a tool call; a field that is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    call = {"index": 0, "id": "c0", "type": "function", "function": function, **fields}
    return {"tool_calls": [{key: value for key, value in call.items() if value is not None}]}


# Responses


def responses(*pieces: str, end: str | None = "completed", **fields: Any) -> bytes:
    """A whole stream of the Responses API, which ends with the event of that name."""
    whole = {"id": "r", "object": "response", "created_at": 1, "model": "gpt-4o", "output": [], "status": "in_progress"}
    whole |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": whole},
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in pieces),
    ]
    if end:
        usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        events.append({"type": f"response.{end}", "response": {**whole, "status": end, "usage": usage, **fields}})
    return _named(events)


# Anthropic


def anthropic(*pieces: Any, end: str | None = "end_turn", id: str = "m") -> bytes:
    """A whole stream of the Messages API: texts, or blocks as (block, deltas)."""
    message = {"id": id, "type": "message", "role": "assistant", "content": [], "model": "claude-opus-4-8"}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    blocks = [
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece}]) if isinstance(piece, str) else piece
        for piece in pieces
    ]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    if end:
        delta = {"stop_reason": end, "stop_sequence": None}
        events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}}, {"type": "message_stop"}]
    return _named(events)


def failing(error: dict[str, Any]) -> bytes:
    """The event with which Anthropic ends a stream that it cannot go on with."""
    return _named([{"type": "error", "error": error}])


def _named(events: list[dict[str, Any]]) -> bytes:
    numbered = [{"sequence_number": number, **event} for number, event in enumerate(events)]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in numbered).encode()
