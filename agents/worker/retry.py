"""Calls to the database that outlive an outage of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from django.db import Error

from chat.db.access import error_name

log = logging.getLogger("netra.worker")
R = TypeVar("R")
RETRY_DELAY = 1  # seconds between two attempts while the database is unavailable


async def attempt(work: Callable[[], Awaitable[object]], within: float | None = None) -> bool:
    """Await `work()` for at most `within` seconds. Log a database error or a timeout and return False for it."""
    try:
        async with asyncio.timeout(within):
            await work()
        return True
    except (Error, TimeoutError) as error:
        log.warning("database: %s", error_name(error))
        return False


async def until_available(work: Callable[[], Awaitable[R]]) -> R:
    """Return the result of `work()`. Retry it without a limit while the database raises an error."""
    while True:
        try:
            return await work()
        except Error as error:
            log.warning("database: %s; retrying", error_name(error))
            await asyncio.sleep(RETRY_DELAY)
