"""Server-sent events as text. Pure."""

import json
from collections.abc import Mapping
from typing import Any

COMMENT = ": netra\n\n"  # keeps a connection from being taken for a dead one


def sse(data: Mapping[str, Any] | str, event: str | None = None, id: int | str | None = None) -> str:
    """Return one event: `data` in one line, as JSON if it is no text. Lines end in LF."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = "" if event is None else f"event: {event}\n"
    head += "" if id is None else f"id: {id}\n"
    return f"{head}data: {text}\n\n"
