"""Tools that an agent calls through its turn. Pure: standard library only.

A tool is a plain or async function with typed parameters; its name is the function's name.
"""

import asyncio
import contextlib
import contextvars
import dataclasses
import inspect
import json
import math
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Tool = TypeVar("Tool", bound=Callable[..., Any])

_ONCE = "__netra_once__"
# A lone surrogate cannot be encoded as UTF-8, and PostgreSQL stores no NUL.
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
# JSON escapes may come as two separate code units of one character.
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Limits that JSON parsers of clients accept. An integer past the interpreter's digit limit could not even be printed.
_MAX_DEPTH = 100
_MAX_INTEGER_BITS = 4096


def once(tool: Tool) -> Tool:
    """Mark a tool that must not be called again after it may have begun, e.g. a payment."""
    setattr(tool, _ONCE, True)
    return tool


def is_once(tool: Callable[..., Any]) -> bool:
    """Return whether the tool is marked with `once`."""
    return bool(getattr(tool, _ONCE, False))


def name_of(tool: Callable[..., Any]) -> str:
    """Return the tool's name as events have it."""
    return clean(getattr(tool, "__name__", None) or type(tool).__name__)


def check(tool: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as JSON values. Raises TypeError, with the tool's name, for wrong or missing ones."""
    if not callable(tool):
        raise TypeError(f"a tool is a function, not {type(tool).__name__}")
    name = name_of(tool)
    try:
        inspect.signature(tool).bind(**parameters)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {error}") from None
    json_parameters: dict[str, Any] = jsonable(dict(parameters), "parameters", tool=name)
    return json_parameters


def with_defaults(tool: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with the tool's defaults for those that are left out."""
    known = inspect.signature(tool).parameters.values()
    return {each.name: each.default for each in known if each.default is not each.empty} | dict(parameters)


async def run(tool: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Return the tool's result. An async tool is awaited; a plain one runs in a thread with the caller's context."""
    try:
        if inspect.iscoroutinefunction(tool):
            return await tool(**parameters)
        result = await _in_a_thread(lambda: tool(**parameters))
        return await result if inspect.isawaitable(result) else result
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        # It would end the worker and its other runs.
        raise RuntimeError(f"{name_of(tool)} raised {type(error).__name__}") from error


async def _in_a_thread(work: Callable[[], Any]) -> Any:
    """Run `work` in a thread of its own: a few tools that hang would fill a shared pool."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = context.run(work)
        except StopIteration as error:  # a future does not accept it
            failure = RuntimeError("StopIteration")
            failure.__cause__ = error
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the caller has ended
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, name="tool", daemon=True).start()
    return await future


def call_id(run_id: uuid.UUID, path: tuple[str, ...], name: str, parameters: Mapping[str, Any], occurrence: int) -> str:
    """Return an id that is the same in every attempt of the run, so that a later attempt finds completed calls."""
    return str(uuid.uuid5(run_id, compact([path, name, parameters, occurrence])))


def call_key(path: tuple[str, ...], name: str, parameters: Mapping[str, Any]) -> uuid.UUID:
    """Return a key that is equal for equal calls, by which occurrences are counted."""
    return uuid.uuid5(uuid.NAMESPACE_OID, compact([path, name, parameters]))


def compact(value: Any) -> str:
    """Return the JSON text of a value, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def clean(text: str) -> str:
    """Return the text with surrogate pairs joined and U+FFFD for each lone surrogate and NUL."""
    if text.isascii() and "\0" not in text:  # nearly every text; five times faster than the expression
        return text
    return _UNSENDABLE.sub("\ufffd", _PAIR.sub(_joined, text))


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


class DeltaCleaner:
    """Cleans the deltas of a text: the first half of a surrogate pair waits for the delta with the second half."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def add(self, delta: str) -> str:
        """Return the clean text up to and including `delta`, without a trailing half."""
        text, self._half = self._half + delta, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return clean(text)

    def end(self) -> str:
        """Return U+FFFD for a half that still waits, else nothing. Afterwards nothing waits."""
        half, self._half = self._half, ""
        return clean(half)


def jsonable(value: Any, where: str, *, tool: str = "") -> Any:
    """Return a copy of the value in dict, list, str, int, float, bool and None, with clean texts.

    Accepts dicts with str keys, lists, tuples, dataclass instances, str, int, finite float, bool and None. Raises
    TypeError for any other value, with its place, e.g. `export: result.rows[3].when: datetime`.
    """
    path = [where]
    try:
        return _copy(value, path)
    except _NotJSON as error:
        prefix = f"{tool}: " if tool else ""
        raise TypeError(f"{prefix}{clean(''.join(path))}: {error}") from None


class _NotJSON(Exception):
    pass


def _copy(value: Any, path: list[str]) -> Any:
    # `path` is shared and shows, when this raises, the way to the offending value.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(str.__str__(value))
    if isinstance(value, int):
        if value.bit_length() > _MAX_INTEGER_BITS:
            raise _NotJSON(f"an integer of {value.bit_length()} bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJSON(float.__repr__(value))
        return float(value)
    if len(path) > _MAX_DEPTH:
        raise _NotJSON(f"nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        return _copy_items(value.items(), path)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _copy_items([(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)], path)
    if isinstance(value, list | tuple):
        copy = []
        for index, item in enumerate(value):
            path.append(f"[{index}]")
            copy.append(_copy(item, path))
            path.pop()
        return copy
    raise _NotJSON(type(value).__name__)


def _copy_items(items: Any, path: list[str]) -> dict[str, Any]:
    copy: dict[str, Any] = {}
    for key, item in items:
        if not isinstance(key, str):
            raise _NotJSON(f"a key of type {type(key).__name__}")
        path.append(f".{key}")
        copy[clean(str.__str__(key))] = _copy(item, path)
        path.pop()
    return copy
