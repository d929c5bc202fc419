"""JSON text and timestamps as the wire has them."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chat.protocol.limits import MAX_SHOWN_PARAMETERS

MAX_INT = 2**63


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
    """Return the parameters of an approval as persons see them: above MAX_SHOWN_PARAMETERS only their first part."""
    if encoded_size(parameters) <= MAX_SHOWN_PARAMETERS:
        return parameters
    return {"truncated": dumps(parameters)[: MAX_SHOWN_PARAMETERS // 4]}  # a character has up to four bytes
