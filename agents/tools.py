"""Tools: what an agent may call through its turn. PURE: standard library only.

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
# What a client's JSON parser surely takes. An integer past the interpreter's digit limit could not even be printed.
_MAX_DEPTH = 100
_MAX_INTEGER_BITS = 4096


def once(tool: Tool) -> Tool:
    """Mark a tool that must never be made again after it may have begun, e.g. one that pays or sends."""
    setattr(tool, _ONCE, True)
    return tool


def is_once(tool: Callable[..., Any]) -> bool:
    return bool(getattr(tool, _ONCE, False))


def name_of(tool: Callable[..., Any]) -> str:
    return clean(getattr(tool, "__name__", None) or type(tool).__name__)


def check(tool: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as JSON. TypeError, naming the tool, for one that is wrong, missing or no JSON value."""
    if not callable(tool):
        raise TypeError(f"a tool is a function, not {type(tool).__name__}")
    name = name_of(tool)
    try:
        inspect.signature(tool).bind(**parameters)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {error}") from None
    json_parameters: dict[str, Any] = jsonable(dict(parameters), "parameters", tool=name)
    return json_parameters


async def run(tool: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """The tool's own result. An async tool is awaited, a plain one runs in a thread, in the caller's context."""
    try:
        if inspect.iscoroutinefunction(tool):
            return await tool(**parameters)
        result = await _in_a_thread(lambda: tool(**parameters))
        return await result if inspect.isawaitable(result) else result
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        # It would end the whole worker, and the runs of others with it.
        raise RuntimeError(f"{name_of(tool)} raised {type(error).__name__}") from error


async def _in_a_thread(work: Callable[[], Any]) -> Any:
    """A thread of its own: of a shared pool, a few tools that hang would be the end."""
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
        except StopIteration as error:  # no future takes it
            failure = RuntimeError("StopIteration")
            failure.__cause__ = error
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, name="tool", daemon=True).start()
    return await future


def call_id(run_id: uuid.UUID, path: tuple[str, ...], name: str, parameters: Mapping[str, Any], occurrence: int) -> str:
    """The same id for the same call in every attempt of a run, so that a later one finds what is done."""
    return str(uuid.uuid5(run_id, _compact([path, name, parameters, occurrence])))


def call_key(path: tuple[str, ...], name: str, parameters: Mapping[str, Any]) -> uuid.UUID:
    """Equal calls have equal keys: what occurrences are counted by."""
    return uuid.uuid5(uuid.NAMESPACE_OID, _compact([path, name, parameters]))


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def clean(text: str) -> str:
    """The text with U+FFFD for every lone surrogate and NUL."""
    if text.isascii() and "\0" not in text:  # nearly always, and a fifth of the time of the expression
        return text
    return _UNSENDABLE.sub("\ufffd", text)


def jsonable(value: Any, where: str, *, tool: str = "") -> Any:
    """A copy of the value in dict, list, str, int, float, bool and None, every text of it clean.

    Takes dicts with str keys, lists, tuples, dataclass instances, str, int, finite float, bool and None. Anything
    else is a TypeError that names the place, e.g. `export: result.rows[3].when: datetime`.
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
