"""Database access from coroutines: two threads a process, each with a connection that stays open.

One thread writes and one only reads, so that a lock that a write waits for does not delay reads.

Channels' `database_sync_to_async` opens and closes the connection at each call, which costs more than the query of an
event. Here a connection is closed only after it failed, and the next call opens a new one. A `ThreadPoolExecutor` would
be waited for when the process exits.
"""

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

log = logging.getLogger("netra.database")
P = ParamSpec("P")
R = TypeVar("R")
SHOWN_FRAMES = 12  # functions of a failed call that the log names


class _Thread:
    """A daemon thread that makes calls one after the other. It starts with the first call.

    A process that exits does not wait for it; the database rolls back what it has not committed.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._start_lock = threading.Lock()

    def call(self, function: Callable[[], object]) -> None:
        """Add a call to the queue."""
        self._calls.put(function)
        if self._thread.ident is None:
            with self._start_lock:
                if self._thread.ident is None:
                    self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._calls.get()()
            except BaseException:  # of any kind: without this thread every later call would wait forever
                log.exception("database thread: call failed")


_writer, _reader = _Thread("database-writer"), _Thread("database-reader")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, which may write, in the writing thread. Raises what it raises."""
    return await _submit(_writer, partial(function, *args, **kwargs))


async def from_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, which only reads, in the reading thread. Raises what it raises."""
    return await _submit(_reader, partial(function, *args, **kwargs))


def afterwards(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Have `function`, which may write, called in the writing thread, from any thread; the caller does not wait.

    A failure is logged, and the call is not repeated.
    """
    _writer.call(partial(_call_unawaited, partial(function, *args, **kwargs)))


def error_name(error: BaseException) -> str:
    """Return the error's class, the database's own code, and the functions that it came through, the innermost first.

    As "OperationalError (SQLITE_BUSY) in execute < begin < answer". Its text may hold values or addresses.
    """
    code = getattr(error.__cause__, "sqlite_errorname", None) or getattr(error.__cause__, "sqlstate", None) or "no code"
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    return f"{type(error).__name__} ({code}) in {' < '.join(frames[: -SHOWN_FRAMES - 1 : -1])}"


def _call_unawaited(function: Callable[[], object]) -> None:
    try:
        function()
    except (OperationalError, InterfaceError) as error:
        log.warning("a write after a request failed: %s", error_name(error))
        connection.close()


def _submit(thread: _Thread, function: Callable[[], R]) -> asyncio.Future[R]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()
    thread.call(partial(_make_call, loop, future, function))
    return future


def _make_call(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
    if future.cancelled():  # while the call was queued
        return
    result, error = None, None
    try:
        result = function()
    except BaseException as raised:
        error = raised
        if isinstance(error, OperationalError | InterfaceError):
            connection.close()
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(_return_result, future, result, error)


def _return_result(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # cancelled by the caller
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
