"""The open sockets of this process, and their reconciliation with the event log.

Published messages may be lost. So every thread with an active run is compared with the log every
NETRA_RECONCILE_ACTIVE_SECONDS, in one query for the process, and every changed thread about every
NETRA_RECONCILE_SECONDS. The slower round also repairs the Redis subscriptions and closes sockets whose session or
API key has ended, in case the message about it was lost.
"""

import asyncio
import logging
import random
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, cast

from django.apps import apps
from django.conf import settings
from django.db import Error

from chat.accounts import api_keys, sessions
from chat.accounts.authentication import Identity
from chat.db.access import error_name, from_database
from chat.realtime import channel_layer
from chat.runs import event_log

if TYPE_CHECKING:
    from chat.apps import ChatConfig

log = logging.getLogger("netra.sockets")

CHANGED_OVERLAP_SECONDS = 60  # by which two rounds overlap: a commit may become visible late


class Connection(Protocol):
    """The interface of a socket for the registry."""

    user_id: int
    owner: Identity

    def active_threads(self) -> set[str]:
        """Return the threads with a run whose end was not sent."""

    def reconcile(self, heads: dict[str, int]) -> None:
        """Send what the event log has beyond what was sent; `heads` are the last seqs by thread."""

    async def revoke(self) -> None:
        """Close the socket: its session or API key has ended."""


class ConnectionRegistry:
    """The sockets of one process. It reconciles them from the first socket on, in the loop that added it."""

    def __init__(self) -> None:
        self._connections: dict[int, set[Connection]] = {}
        self._reconciling: asyncio.Task[None] | None = None

    def add(self, connection: Connection) -> None:
        """Reconcile this socket from now on."""
        self._connections.setdefault(connection.user_id, set()).add(connection)
        if self._reconciling is None or self._reconciling.done():
            self._reconciling = asyncio.get_running_loop().create_task(self._reconcile())

    def discard(self, connection: Connection) -> None:
        """Remove a socket that was closed."""
        connections = self._connections.get(connection.user_id, set())
        connections.discard(connection)
        if not connections:
            self._connections.pop(connection.user_id, None)

    def _all(self) -> list[Connection]:
        return [connection for connections in self._connections.values() for connection in connections]

    async def _reconcile(self) -> None:
        checked, due = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(settings.NETRA_RECONCILE_ACTIVE_SECONDS)
            try:
                await self._reconcile_active()
                if time.monotonic() >= due:
                    started = time.monotonic()
                    await self._reconcile_changed(started - checked + CHANGED_OVERLAP_SECONDS)
                    await self._check_sessions()
                    spread = random.uniform(2 / 3, 4 / 3)  # noqa: S311 spreads the load of many processes
                    checked, due = started, started + settings.NETRA_RECONCILE_SECONDS * spread
            except Error as error:
                log.warning("database: %s; sockets are reconciled later", error_name(error))
            except Exception:
                log.exception("reconciling sockets with the event log failed")

    async def _reconcile_active(self) -> None:
        threads = {thread for connection in self._all() for thread in connection.active_threads()}
        if threads:
            heads = await from_database(event_log.heads_of, [uuid.UUID(thread) for thread in threads])
            found = {str(thread): head for thread, head in heads.items()}
            for connection in self._all():
                active = connection.active_threads()
                connection.reconcile({thread: found[thread] for thread in active if thread in found})

    async def _reconcile_changed(self, seconds: float) -> None:
        if not self._connections:
            return
        await channel_layer.get_layer().repair()
        changed: dict[int, dict[str, int]] = {}
        users = list(self._connections)
        for user_id, thread, head in await from_database(event_log.changed_threads, users, timedelta(seconds=seconds)):
            changed.setdefault(user_id, {})[str(thread)] = head
        for user_id, heads in changed.items():
            for connection in tuple(self._connections.get(user_id, ())):
                connection.reconcile(heads)

    async def _check_sessions(self) -> None:
        connections = self._all()
        if connections:
            owners = [connection.owner for connection in connections]
            alive = await from_database(sessions.alive, {owner.session_id for owner in owners if owner.session_id})
            alive |= await from_database(api_keys.alive, {owner.key.id for owner in owners if owner.key})
            for connection in connections:
                if connection.owner.credential_id not in alive:
                    await connection.revoke()


def registry() -> ConnectionRegistry:
    """Return the registry of this process, which the app's `ready` made."""
    return cast("ChatConfig", apps.get_app_config("chat")).connections
