"""Versions and definitions as an administrator reads them, and the differences between two of them. Pure."""

import json
from collections.abc import Iterable, Mapping
from difflib import unified_diff
from typing import Any


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """Return the lines that differ, with three lines around them; those that went begin with -, new ones with +."""
    compared = unified_diff(list(_lines(before or {})), list(_lines(after or {})), lineterm="")
    return [line for line in compared if not line.startswith(("---", "+++"))]


def visible(text: str) -> str:
    """Return the text with the codes of characters that no screen shows, e.g. of Unicode tags."""
    return "".join(one if one.isprintable() or one in "\n\t" else f"\\u{{{ord(one):x}}}" for one in text)


def _lines(value: Mapping[str, Any]) -> Iterable[str]:
    for name, inner in value.items():
        text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False, indent=2)
        yield f"{name}:"
        yield from (f"    {line}" for line in text.splitlines())
