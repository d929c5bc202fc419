"""The open sockets of this process, and how they heal: by comparing what was sent with the log.

Signals may be lost, so every thread with a run under way is compared every two seconds, in one query for the process,
and every thread that changed, every 10 to 20 seconds. With the latter go the groups, joined again, and the sessions: a
socket whose session has ended is closed even if nobody could tell it.
"""

import asyncio
import logging
import random
import time
import uuid
from datetime import timedelta
from typing import Protocol

from django.conf import settings
from django.db import Error

from chat import auth, events, layer
from chat.database import from_database

log = logging.getLogger("netra.sockets")


class Socket(Protocol):
    user_id: int
    session_id: uuid.UUID

    def active_threads(self) -> set[str]: ...
    def compare(self, heads: dict[str, int]) -> None: ...
    async def revoke(self) -> None: ...


_sockets: dict[int, set[Socket]] = {}
_watch: asyncio.Task[None] | None = None


def add(socket: Socket) -> None:
    global _watch
    _sockets.setdefault(socket.user_id, set()).add(socket)
    if _watch is None:
        _watch = asyncio.get_running_loop().create_task(_compare())


def discard(socket: Socket) -> None:
    sockets = _sockets.get(socket.user_id, set())
    sockets.discard(socket)
    if not sockets:
        _sockets.pop(socket.user_id, None)


def _all() -> list[Socket]:
    return [socket for sockets in _sockets.values() for socket in sockets]


async def _compare() -> None:
    checked, due = time.monotonic(), 0.0
    while True:
        await asyncio.sleep(settings.NETRA_HEAL_ACTIVE_SECONDS)
        try:
            await _compare_active()
            if time.monotonic() >= due:
                began = time.monotonic()
                await _compare_changed(began - checked + 60)
                await _check_sessions()
                checked, due = began, began + settings.NETRA_HEAL_SECONDS * random.uniform(2 / 3, 4 / 3)  # noqa: S311 spreads the load
        except Error as error:
            log.warning("database: %s; sockets are compared later", type(error).__name__)
        except Exception:
            log.exception("comparing sockets with the log failed")


async def _compare_active() -> None:
    threads = {thread for socket in _all() for thread in socket.active_threads()}
    if threads:
        heads = await from_database(events.heads_of, [uuid.UUID(thread) for thread in threads])
        found = {str(thread): head for thread, head in heads.items()}
        for socket in _all():
            socket.compare({thread: found[thread] for thread in socket.active_threads() if thread in found})


async def _compare_changed(seconds: float) -> None:
    if not _sockets:
        return
    await layer.rejoin()
    changed: dict[int, dict[str, int]] = {}
    for user_id, thread, head in await from_database(events.changed, list(_sockets), timedelta(seconds=seconds)):
        changed.setdefault(user_id, {})[str(thread)] = head
    for user_id, heads in changed.items():
        for socket in tuple(_sockets.get(user_id, ())):
            socket.compare(heads)


async def _check_sessions() -> None:
    sockets = _all()
    alive = await from_database(auth.alive, {socket.session_id for socket in sockets}) if sockets else set()
    for socket in sockets:
        if socket.session_id not in alive:
            await socket.revoke()
