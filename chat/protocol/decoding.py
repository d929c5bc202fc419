"""JSON that a client sent: the rules that go beyond the syntax."""

import json
import re
from collections.abc import Callable
from typing import Any

from chat.protocol.encoding import MAX_INT
from chat.protocol.errors import ProtocolError
from chat.protocol.limits import MAX_DEPTH, MAX_FRAME

_MAX_DIGITS = 20  # characters of a 64-bit number with its sign
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class _OutOfRange:
    """The place of a number beyond 64 bits or beyond a double, until its field is known."""


def loads(data: str | bytes, limit: int = MAX_FRAME) -> Any:
    """Read a REST body of at most `limit` bytes.

    Raises ProtocolError: too_large; invalid_json, also for what JSON does not have (NaN, bytes that are no UTF-8), for
    repeated keys and numbers out of range; what `check` raises.
    """
    value = _read(_decode_body, data, limit)
    check(value)
    return value


def decode_frame(text: str) -> Any:
    """Read a client's frame as `loads` reads a body, without `check`, which also finds the numbers out of range."""
    return _read(_decode_frame, text, MAX_FRAME)


def check(value: Any, name: str | None = None, depth: int = 0) -> None:
    """Check decoded JSON; `name` is the nearest key above it.

    Raises ProtocolError: invalid_json for deep nesting; invalid_message for numbers out of range and for text with NUL
    or lone surrogates, which PostgreSQL or UTF-8 do not have.
    """
    kind = type(value)  # JSON has no subclasses, and this is the fastest way to tell them apart
    if kind is str:
        if not is_sound(value):
            raise ProtocolError("invalid_message", "Text must not contain NUL or lone surrogates", field=name)
    elif kind is dict or kind is list:
        if depth == MAX_DEPTH:
            raise ProtocolError("invalid_json", f"Nested more than {MAX_DEPTH} deep")
        if kind is list:
            for item in value:
                check(item, name, depth + 1)
        else:
            for key, item in value.items():
                check(key, name, depth)
                check(item, key, depth + 1)
    elif kind is _OutOfRange:
        raise ProtocolError("invalid_message", "A number must fit into 64 bits", field=name)


def is_sound(text: str) -> bool:
    """Return whether `text` has neither NUL nor lone surrogates."""
    return "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))


def _read(decode: Callable[[str], Any], data: str | bytes, limit: int) -> Any:
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    if len(raw) > limit:
        raise ProtocolError("too_large", f"At most {limit} bytes")
    try:
        # A lone surrogate in text is left for the check that names its field; in bytes it is no UTF-8.
        return decode(data.decode("utf-8") if isinstance(data, bytes) else data)
    except (ValueError, RecursionError):
        raise ProtocolError("invalid_json", "Not valid JSON") from None


def _decoder(out_of_range: Callable[[], Any]) -> Callable[[str], Any]:
    def integer(digits: str) -> Any:
        if len(digits) > _MAX_DIGITS:  # also more digits than `int` takes
            return out_of_range()
        value = int(digits)
        return value if -MAX_INT <= value < MAX_INT else out_of_range()

    def real(digits: str) -> Any:
        value = float(digits)
        return out_of_range() if value in (float("inf"), float("-inf")) else value

    return json.JSONDecoder(
        object_pairs_hook=_object, parse_int=integer, parse_float=real, parse_constant=_refuse
    ).decode


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("repeated key")
    return found


def _refuse(name: str = "") -> Any:
    raise ValueError("not in JSON, or out of range")


_decode_frame = _decoder(_OutOfRange)
_decode_body = _decoder(_refuse)
