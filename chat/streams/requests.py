"""The connection of a request, which a view does not see: its end, and whether the client has left or does not read."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.db import Error
from django.http import HttpRequest

from chat import limits, runs
from chat.accounts.authentication import Identity
from chat.api import client_ip
from chat.db.access import error_name, in_database
from chat.limits import address_slots, user_slots
from chat.protocol import ProtocolError

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

log = logging.getLogger("netra.streams")

CONNECTION = "netra.connection"  # its key in the scope
# A process that stops closes its connections, too. By then its loop has ended, and no run was cancelled.
LEAVE_SECONDS = 0.25
MAX_UNREAD_SECONDS = 60.0  # for a client to read what is sent to it, before its connection is closed
ATTEMPTS = 5  # to cancel a run while the database does not answer, a second apart
_readers: Counter[UUID] = Counter()  # of each run, in this process
_leaving: set[asyncio.Task[None]] = set()


class TooSlow(OSError):
    """The client has not read in MAX_UNREAD_SECONDS what was sent to it."""


class Connection:
    """The connection of one request.

    `has_left`: the client closed it, or the network did. `is_cut`: the server closes it, because the client does not
    read; a client that comes back can resume.
    """

    def __init__(self) -> None:
        self.has_left = self.is_cut = False
        self._slots: dict[str, int] = {}

    def acquire(self, request: HttpRequest, user_id: int) -> None:
        """Count the request as an open stream of the user, until its end; called in a view's thread.

        Raises ProtocolError rate_limited if the user or the address has too many open sockets and streams.
        """
        slots = user_slots(user_id) | address_slots(client_ip.address_of(request))
        if not async_to_sync(limits.connection_limiter().acquire)(slots):
            raise ProtocolError("rate_limited", "Too many open connections. Close one first.", retry_after=5)
        self._slots = slots

    def release(self) -> None:
        """Give back what the request holds."""
        slots, self._slots = self._slots, {}
        if slots:
            limits.connection_limiter().release(slots)


def observed(application: Application) -> Application:
    """Return the HTTP application with a Connection in the scope of each request, and an end to one that is not read.

    A server's `send` waits while more than some 64 KiB are unread; daphne's does so by chat.realtime.daphne_reader.
    """

    async def observed_application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        connection = Connection()

        async def receive_and_note() -> Mapping[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect" and not connection.is_cut:
                connection.has_left = True
            return message

        async def send_in_time(message: Mapping[str, Any]) -> None:
            try:
                async with asyncio.timeout(MAX_UNREAD_SECONDS):
                    await send(message)
            except TimeoutError:
                connection.is_cut = True
                raise TooSlow("the client does not read") from None

        with ExitStack() as stack:
            stack.callback(connection.release)
            try:
                await application({**scope, CONNECTION: connection}, receive_and_note, send_in_time)
            except* TooSlow:
                log.info("closed: the client does not read")

    return observed_application


def connection_of(request: HttpRequest) -> Connection:
    """Return the connection of a request under ASGI; one that never leaves under a test's client."""
    scope = getattr(request, "scope", {})
    found: Connection = scope.setdefault(CONNECTION, Connection())
    return found


class Reader:
    """A reader of a run, as a context: if its client leaves and no other one of this process reads, the run may stop.

    `cancels`: leaving means stop. Call `finish` when the client has all that it asked for.
    """

    def __init__(self, identity: Identity, run_id: UUID, connection: Connection, cancels: bool) -> None:
        self._user_id, self._run_id = identity.user_id, run_id
        self._connection, self._cancels, self._is_finished = connection, cancels, False

    def __enter__(self) -> "Reader":
        """Count the reader."""
        _readers[self._run_id] += 1
        return self

    def finish(self) -> None:
        """Note that the client has everything: its leaving means nothing."""
        self._is_finished = True

    def __exit__(self, *raised: object) -> None:
        """Cancel the run in a task of its own if the client has left and that means stop."""
        _readers[self._run_id] -= 1
        if not _readers[self._run_id]:
            del _readers[self._run_id]
        if self._cancels and not self._is_finished and self._connection.has_left:
            task = asyncio.get_running_loop().create_task(self._cancel())
            _leaving.add(task)
            task.add_done_callback(_leaving.discard)

    async def _cancel(self) -> None:
        await asyncio.sleep(LEAVE_SECONDS)
        for _ in range(ATTEMPTS):
            if self._run_id in _readers:
                return
            try:
                await in_database(runs.cancel, self._user_id, self._run_id)
            except ProtocolError:  # the run was deleted
                return
            except Error as error:
                log.warning("database: %s; a run is cancelled later", error_name(error))
                await asyncio.sleep(1)
            else:
                return
