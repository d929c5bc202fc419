"""Records in JSON, one at a time, and their values as cells of text. PURE: standard library."""

import json
import re
from collections.abc import Iterator
from typing import Any

from chat.usage.text import HEAD

MAX_LINE = 1024 * 1024


def records(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The records in a JSON value: an object, a list of them, or pages and buckets with such lists inside."""
    if depth > 4:
        return
    if isinstance(value, list):
        for item in value:
            yield from records(item, depth + 1)
    elif isinstance(value, dict):
        for key in _LISTS:
            inner = value.get(key)
            if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
                outer = {name: item for name, item in value.items() if not isinstance(item, list)}
                for item in inner:
                    yield from ({**outer, **record} for record in records(item, depth + 1))
                return
        yield value


def elements(text: str) -> Iterator[tuple[int, Any]]:
    """The documents in a JSON text, or the items of its list, one at a time, each with its offset.

    ValueError where the text cannot be read on, with the offset as its second argument.
    """
    at = _end_of_gap(text, 0)
    if text.startswith("[", at):
        yield from _items(text, at + 1)
        return
    while at < len(text):
        try:
            value, end = _decoded(text, at)
        except ValueError:
            # A page too long to be held at once: the items of its list.
            start = _LIST_START.search(text, at, at + HEAD)
            if not start:
                raise
            yield from _items(text, start.end())
            return
        yield at, value
        at = _end_of_gap(text, end)


def _items(text: str, at: int) -> Iterator[tuple[int, Any]]:
    at = _end_of_gap(text, at)
    while not text.startswith("]", at):
        value, end = _decoded(text, at)
        yield at, value
        at = _end_of_gap(text, end)


def _end_of_gap(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def at_path(record: Any, path: tuple[str, ...]) -> str:
    """What stands under the keys, as a cell of text; empty where there is nothing."""
    for key in path:
        if not isinstance(record, dict):
            return ""
        record = record.get(key)
    return cell_of(record)


def cell_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(cell_of(item) for item in value if not isinstance(item, dict | list))
    if isinstance(value, dict):
        return ""
    return str(value)


_LISTS = ("data", "results", "logs", "spend_logs", "observations")
_GAP = re.compile(r"[\s,]*")
_LIST_START = re.compile(rf'"(?:{"|".join(_LISTS)})"\s*:\s*\[')


def flatten(record: dict[str, Any], path: tuple[str, ...], into: dict[tuple[str, ...], str]) -> None:
    for key, value in record.items():
        if len(into) >= 300:
            return
        if len(key) > 200:
            continue
        if isinstance(value, dict) and len(path) < 5:
            flatten(value, (*path, key), into)
        elif not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
            into[(*path, key)] = cell_of(value)[:500]


def json_of(text: str) -> Any:
    try:
        return json.loads(text) if len(text) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value there and its end. In growing windows, so that a huge one costs no memory: it is refused."""
    for size in (1 << 10, 1 << 14, 1 << 18, 1 << 22):
        try:
            value, end = _DECODER.raw_decode(text[at : at + size])
        except (ValueError, RecursionError) as error:
            if at + size >= len(text) or isinstance(error, RecursionError):
                raise ValueError("this is no JSON that can be read on", at) from None
        else:
            return value, at + end
    raise ValueError("a record longer than 4 MiB", at)


_DECODER = json.JSONDecoder()
