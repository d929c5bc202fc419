"""Records in JSON, one at a time, and their values as cells of text. PURE: standard library."""

import json
import re
from collections.abc import Iterator
from typing import Any

from chat.usage.formats import FORMATS, Format
from chat.usage.names import NUMBERS, Role, meaning_of
from chat.usage.skus import MODEL
from chat.usage.text import HEAD

MAX_LINE = 1024 * 1024


def records_of(document: Any, shape: Format | None) -> Iterator[dict[str, Any]]:
    """The records in a JSON document: by the format's declaration, or in the usual lists of pages and buckets."""
    if shape and shape.expand:
        yield from EXPAND[shape.expand](document)
    elif shape and shape.path:
        yield from follow(document, shape.path)
    else:
        yield from records(document)


def follow(value: Any, path: str) -> Iterator[dict[str, Any]]:
    """The records at a path: `a[]` goes through a list, `a{name}` through an object whose keys go to `name`, and `?`
    takes the record itself where the list is missing or empty. Of paths with `|` between them the first that leads to a
    record.

    What stands around a record is in its `outer`. Steps that the document is already past are left out.
    """
    if isinstance(value, list):
        for item in value:
            yield from follow(item, path)
        return
    if not isinstance(value, dict):
        return
    known = False
    for alternative in path.split("|"):
        steps = _STEP.findall(alternative)
        start = next((at for at, step in enumerate(steps) if step[0] in value), None)
        if start is not None:
            known = True
            found = _walk(value, steps[start:], {})
            first = next(found, None)
            if first is not None:
                yield first
                yield from found
                return
    if not known:
        yield from records(value)


_STEP = re.compile(r"(\w+)(?:\{(\w+)\})?(\[\])?(\?)?\.?")


def _walk(
    value: dict[str, Any], steps: list[tuple[str, str, str, str]], outer: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if not steps:
        yield from ({**record, "outer": outer} if outer else record for record in records(value))
        return
    (key, name, many, optional), *rest = steps
    inner = value.get(key)
    around = {**outer, **{one: item for one, item in value.items() if one != key and not isinstance(item, list)}}
    items: dict[str, Any] = inner if name and isinstance(inner, dict) else {"": inner}
    pairs = [({name: one} if name else {}, item) for one, item in items.items()]
    found = False
    for named, item in pairs:
        for one in item if many and isinstance(item, list) else [item]:
            if isinstance(one, dict):
                found = True
                keys, more = ({}, {**around, **named}) if many else (named, around)
                plain = {**outer, **{key: item for key, item in around.items() if not isinstance(item, dict)}}
                yield from _walk({**one, **keys}, rest, more if many or name else plain)
    if optional and not found:
        yield {**value, "outer": outer} if outer else value


def records(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The records in a JSON value: an object, a list of them, or pages and buckets with such lists inside."""
    if depth > 4:
        return
    if isinstance(value, list):
        for item in value:
            yield from records(item, depth + 1)
    elif isinstance(value, dict):
        columns, rows = value.get("columns"), value.get("rows")
        if isinstance(columns, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            names = [str(one.get("name")) if isinstance(one, dict) else str(one) for one in columns]
            yield from (dict(zip(names, row, strict=False)) for row in rows)
            return
        inner = next((one for key in _LISTS if _are_objects(one := value.get(key))), None)
        if inner is None:
            inside = [one for one in value.values() if isinstance(one, list | dict) and _are_records(one)]
            inner = inside[0] if len(inside) == 1 and "model" not in _roles(value) else None
        if inner is not None:
            # What stands around records is what they are of, and never an amount of one of them.
            around = {key: one for key, one in value.items() if not _holds_objects(one) and not _is_amount(key)}
            named = inner if isinstance(inner, list) else [{"model": name, **one} for name, one in inner.items()]
            for item in named:
                yield from ({**around, **record} for record in records(item, depth + 1))
            return
        yield value


def _roles(record: dict[str, Any]) -> set[Role]:
    found = (meaning_of((key,)) for key, value in record.items() if not isinstance(value, list))
    return {one.role for one in found if one}


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def _is_amount(name: str) -> bool:
    meaning = meaning_of((name,))
    return meaning is not None and meaning.role in NUMBERS


def _are_records(value: Any, depth: int = 0) -> bool:
    """Tell if a list, or an object by models, has records of models or times in it, maybe further inside."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and depth < 3:
        roles, inside = _roles(value[0]), value[0].values()
        timed = "timestamp" in roles and any(isinstance(one, float | list) and one for one in inside)
        return timed or ("model" in roles and len(roles) > 1) or any(_are_records(one, depth + 1) for one in inside)
    items = value.items() if isinstance(value, dict) else ()
    return bool(items) and all(MODEL.search(name) and isinstance(one, dict) and _roles(one) for name, one in items)


def goes_on(document: Any) -> bool:
    """Tell if a page says that more pages follow it."""
    if not isinstance(document, dict) or _PAGES.isdisjoint(document):
        return False
    inner = [item for key in _WRAPPERS if isinstance(item := document.get(key), dict)]
    return any(page.get(key) for page in (document, *inner) for key in _MORE)


def _weave(call: Any) -> Iterator[dict[str, Any]]:
    """One record a model: its usage and its costs, which are keyed by its name."""
    summary = _dict(call).get("summary")
    costs = _dict(_dict(_dict(summary).get("weave")).get("costs"))
    for model, usage in _dict(_dict(summary).get("usage")).items():
        if isinstance(usage, dict):
            yield {**usage, **_dict(costs.get(model)), "model": model, "outer": call}


def _mistral(page: Any) -> Iterator[dict[str, Any]]:
    """One record an entry of a model, with the price of its metric and group."""
    listed = _dict(page).get("prices")
    if not isinstance(listed, list):
        return
    prices = {_metric(price): price.get("price") for price in listed if isinstance(price, dict)}
    for part in page.values():
        for model, kinds in _dict(_dict(part).get("models")).items():
            for kind, entries in _dict(kinds).items():
                for entry in entries if isinstance(entries, list) else []:
                    if isinstance(entry, dict):
                        name = entry.get("billing_display_name") or model.partition("::")[0]
                        more = {"unit_price": prices.get(_metric(entry)), "currency": page.get("currency")}
                        yield {**entry, **more, "kind": kind, "model": name}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _metric(entry: dict[str, Any]) -> str:
    return f"{entry.get('billing_metric')}::{entry.get('billing_group')}"


EXPAND = {"weave": _weave, "mistral": _mistral}

_MORE = (
    "has_more", "hasMore", "next_page", "nextPage", "nextPageToken", "NextPageToken", "next_page_token", "next_cursor",
    "nextCursor", "nextLink", "hasNextPage",
)  # fmt: skip


_WRAPPERS = ("pagination", "meta", "properties")
_PAGES = frozenset((*_MORE, *_WRAPPERS))


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
    """Return what stands under the keys, as a cell of text; empty where there is nothing."""
    for key in path:
        if isinstance(record, list):
            record = _in_list(record).get(key)
        elif isinstance(record, dict):
            record = record.get(key)
        else:
            return ""
    return cell_of(record)


def cell_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(cell_of(item) for item in value if not isinstance(item, dict | list))
    return "" if value is None or isinstance(value, dict) else str(value)


def _in_list(items: list[Any]) -> dict[str, Any]:
    """A list of objects as one: labels with a key and a value by their key, amounts as their sum."""
    found: dict[str, Any] = {}
    for item in items:
        if isinstance(item, dict):
            if isinstance(item.get("key"), str) and "value" in item:
                labelled = item["value"]
                typed = isinstance(labelled, dict) and len(labelled) == 1  # of OpenTelemetry: {"intValue": "5"}
                found[item["key"]] = next(iter(labelled.values())) if typed else labelled
            elif "amount" in item:
                try:
                    found["amount"] = found.get("amount", 0.0) + float(item["amount"])
                except (TypeError, ValueError):
                    continue
    return found


_LISTS = ("data", "results", "result", "logs", "spend_logs", "observations", "items", "records")
_GAP = re.compile(r"[\s,]*")
_STARTS = {step[0] for one in FORMATS for step in _STEP.findall(one.path.replace("|", "."))} | set(_LISTS)
_LIST_START = re.compile(rf'"(?:{"|".join(sorted(_STARTS))})"\s*:\s*\[')


Flat = dict[tuple[str, ...], str]


def flatten(record: dict[str, Any], path: tuple[str, ...] = (), into: Flat | None = None) -> Flat:
    """Return the values of a record as cells by their place; at most 300."""
    into = {} if into is None else into
    for key, value in record.items():
        if len(into) >= 300:
            break
        if len(key) > 200:
            continue
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            value = _in_list(value)
        if isinstance(value, dict) and len(path) < 6:
            flatten(value, (*path, key), into)
        elif not (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
            into[(*path, key)] = cell_of(value)[:500]
    return into


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
