"""How asynchronous code reaches the database: two threads a process, each with a connection that stays open.

One is for what writes, the other for what only reads: who waits for a lock does not keep those waiting who need none.

`database_sync_to_async` opens and closes the connection around every call; on the way of an event that costs more than
the query. A connection that failed is closed here, so that the next call makes a new one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

P = ParamSpec("P")
R = TypeVar("R")
_writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database-writer")
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database-reader")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function`, which may write. Raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_writer, partial(_guarded, function, *args, **kwargs))


async def from_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function`, which only reads. Raises what it raises."""
    return await asyncio.get_running_loop().run_in_executor(_reader, partial(_guarded, function, *args, **kwargs))


def _guarded(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return function(*args, **kwargs)
    except (OperationalError, InterfaceError):
        connection.close()
        raise
