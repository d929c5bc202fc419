"""JSON text and timestamps as the wire has them."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chat.protocol.limits import MAX_SHOWN_PARAMETERS

MAX_INT = 2**63
MAX_EXACT_INT = 2**53 - 1  # above it, JavaScript and all who read numbers as it does change digits


def control(type: str, **fields: Any) -> str:
    """Return the JSON text of a frame without a number."""
    return dumps({"type": type, **fields})


def timestamp(moment: datetime) -> str:
    """`2026-11-22T12:00:00.123Z`, for a datetime that knows its zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encoded_size(value: Any) -> int:
    """Return the number of bytes of a value's JSON."""
    return len(dumps(value).encode())


def utf16_length(text: str) -> int:
    """Return the length of the text as JavaScript counts it: in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def part_id(path: Sequence[str]) -> str | None:
    """Return the `part_id` of a sub-agent's events, the same in every attempt; None for the run's own agent.

    `path` has a name for each agent from the run's own to the sub-agent.
    """
    return hashlib.sha256(dumps(list(path)).encode()).hexdigest()[:8] if len(path) > 1 else None


def shown_parameters(parameters: Any) -> Any:
    """Return the parameters of an approval as persons see them.

    Integers above MAX_EXACT_INT are texts, so that every client shows all their digits. Above MAX_SHOWN_PARAMETERS only
    the first part is shown. Parameters that are not shown as they are cannot be edited.
    """
    if encoded_size(parameters) <= MAX_SHOWN_PARAMETERS:
        return _exact(parameters)
    return {"truncated": dumps(parameters)[: MAX_SHOWN_PARAMETERS // 4]}  # a character has up to four bytes


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) > MAX_EXACT_INT else value
