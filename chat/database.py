"""How asynchronous code reaches the database: two threads a process, each with a connection that stays open.

One is for what writes, the other for what only reads: who waits for a lock does not keep those waiting who need none.

`database_sync_to_async` opens and closes the connection around every call; on the way of an event that costs more than
the query. A connection that failed is closed here, so that the next call makes a new one. An executor of the library's
has a future, two locks and a semaphore for each call, and the loop and the thread want all of them at once.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

log = logging.getLogger("netra.database")
P = ParamSpec("P")
R = TypeVar("R")
_call = threading.local()  # in its threads: what follows what runs there, `then` in the loop and `afterwards` here


class _Thread:
    """Makes calls one after the other. It begins with the first of them; a process that ends does not wait for it, and
    a transaction that it had not committed is none."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._beginning = threading.Lock()

    def call(self, function: Callable[[], object]) -> None:
        """Call it soon."""
        self._calls.put(function)
        if self._thread.ident is None:
            with self._beginning:
                if self._thread.ident is None:
                    self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._calls.get()()
            except BaseException:  # whatever it was: without this thread nothing would ever be read or written again
                log.exception("a call of the database's thread failed")


_writer, _reader = _Thread("database-writer"), _Thread("database-reader")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function`, which may write. Raises what it raises."""
    return await _run(_writer, partial(function, *args, **kwargs))


async def from_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function`, which only reads. Raises what it raises."""
    return await _run(_reader, partial(function, *args, **kwargs))


def then(callback: Callable[[], object]) -> bool:
    """Call this in the loop as it is told that what runs here has ended, so that it is woken once.

    False: this is not one of these threads."""
    callbacks: set[Callable[[], object]] | None = getattr(_call, "then", None)
    if callbacks is None:
        return False
    callbacks.add(callback)
    return True


def afterwards(callback: Callable[[], object]) -> None:
    """Call this here, but where the loop waits for what runs here, once it has been told: nobody waits for this."""
    callbacks: list[Callable[[], object]] | None = getattr(_call, "afterwards", None)
    if callbacks is None:
        callback()
    else:
        callbacks.append(callback)


def _run(thread: _Thread, function: Callable[[], R]) -> asyncio.Future[R]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()
    thread.call(partial(_work, loop, future, function))
    return future


def _work(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
    if future.cancelled():  # while it waited for its turn: nobody wants it any more
        return
    result, error = None, None
    then: set[Callable[[], object]] = set()
    afterwards: list[Callable[[], object]] = []
    _call.then, _call.afterwards = then, afterwards
    try:
        result = function()
    except BaseException as raised:
        error = raised
        if isinstance(error, OperationalError | InterfaceError):
            connection.close()
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_ended, future, result, error, then)
    _call.then = _call.afterwards = None
    _call_all(afterwards)


def _ended(
    future: asyncio.Future[Any], result: Any, error: BaseException | None, then: set[Callable[[], object]]
) -> None:
    _call_all(then)
    if future.done():  # cancelled: nobody waits for it
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _call_all(callbacks: Iterable[Callable[[], object]]) -> None:
    """One that fails must not keep anybody waiting."""
    for callback in callbacks:
        try:
            callback()
        except Exception:
            log.exception("%s failed", callback)
