"""The turn of the code that is running, for functions that are not given one. Pure: standard library only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.sdk.turn import Turn

_find: ContextVar["Callable[[], Turn] | None"] = ContextVar("find_turn", default=None)


def current_turn() -> "Turn":
    """Return the turn that a tool of pydantic-ai or a node of LangGraph is called for. Raises LookupError outside."""
    find = _find.get()
    if find is None:
        raise LookupError("no turn is being answered here")
    return find()


@contextmanager
def using(find: "Callable[[], Turn]") -> Iterator[None]:
    """Let `find` return the current turn. For adapters."""
    token = _find.set(find)
    try:
        yield
    finally:
        _find.reset(token)
