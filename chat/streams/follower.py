"""The events of one thread for one reader over HTTP: read from the event log, then live, in order and without a gap."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple
from uuid import UUID

from django.db import Error

from chat import metrics
from chat.accounts.authentication import Identity
from chat.db.access import from_database
from chat.protocol import ProtocolError
from chat.realtime import channel_layer
from chat.realtime.connections import registry
from chat.runs import event_log

log = logging.getLogger("netra.streams")

IDLE_SECONDS = 15.0  # without an event, after which a reader gets a comment and the log is looked at again
RETRY_SECONDS = 1.0  # between two reads of a database that does not answer
PAGE_ROWS = 500  # read at once
MAX_BUFFERED_EVENTS = 500  # live events kept for a slow reader; more are read from the event log instead


class StreamedEvent(NamedTuple):
    """A numbered event; `run_id` is "" for an event that belongs to no run. `text` is the frame as it is stored."""

    seq: int
    run_id: str
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """The decoded frame."""
        found: dict[str, Any] = json.loads(self.text)
        return found


class Follower:
    """The events of a thread after the number `after`, for as long as it is open as an async context.

    `mode` names the dialect in the metrics. The caller has checked that the thread is the user's. `ended` says why no
    more comes: "deleted" (the thread), "revoked" (session or API key), "expired" (token or key); "" while it goes on.
    `pruned` is (first, head) of the log if the cursor was past it or before its pruned start, else None. It is about
    the batch that was yielded last.
    """

    def __init__(self, identity: Identity, thread_id: UUID, after: int, mode: str) -> None:
        self.owner, self.user_id = identity, identity.user_id
        self.ended = ""
        self.pruned: tuple[int, int] | None = None
        self._thread_id, self._thread, self._cursor = thread_id, str(thread_id), after
        self._mode = mode
        self._live: list[StreamedEvent] = []
        self._is_behind, self._is_reading = True, False  # the log may have more than was read
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "Follower":
        """Join the user's published messages and the registry's reconciliation."""
        await channel_layer.get_layer().subscribe(channel_layer.user_group(self.user_id), self._receive)
        registry().add(self)
        metrics.SOCKETS.labels(self._mode).inc()
        if self.owner.expires_at is not None:
            left = max(0.0, self.owner.expires_at - time.time())
            self._timer = asyncio.get_running_loop().call_later(left, self._end, "expired")
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Leave both."""
        if self._timer is not None:
            self._timer.cancel()
        metrics.SOCKETS.labels(self._mode).dec()
        registry().discard(self)
        channel_layer.get_layer().unsubscribe(channel_layer.user_group(self.user_id), self._receive)

    async def batches(self, idle_seconds: float = IDLE_SECONDS) -> AsyncGenerator[list[StreamedEvent]]:
        """Yield the events in order, and an empty list after each `idle_seconds` without one. End with `ended`.

        Look at `pruned` before the events of a batch.
        """
        while not self.ended:
            if self._live:
                events, self._live = self._live, []
                yield events
            elif self._is_behind:
                if (events := await self._read()) or self.pruned:
                    yield events
            else:
                self._changed.clear()
                try:
                    async with asyncio.timeout(idle_seconds):
                        await self._changed.wait()
                except TimeoutError:
                    self._is_behind = True
                    yield []

    async def _read(self) -> list[StreamedEvent]:
        self._is_behind, self._is_reading = False, True
        try:
            page = await from_database(event_log.replay, self.user_id, self._thread_id, self._cursor, PAGE_ROWS)
        except ProtocolError:  # not_found: the message about it was lost
            self._end("deleted")
            return []
        except Error as error:
            log.warning("database: %s; a stream is continued later", type(error).__name__)
            self._is_behind = True
            await asyncio.sleep(RETRY_SECONDS)
            return []
        finally:
            self._is_reading = False
        first = page.rows[0][0] if page.rows else page.head + 1
        is_pruned = self._cursor > page.head or first > self._cursor + 1
        self.pruned = (page.first, page.head) if is_pruned else None
        events = [StreamedEvent(seq, run, text) for seq, run, _, text in page.rows]
        self._cursor = events[-1].seq if events else page.head
        self._is_behind = self._is_behind or len(events) == PAGE_ROWS
        return events

    # ---- from the process: published messages and reconciliation ----

    async def _receive(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "events":
                for thread, seq, run, _, text in message["events"]:
                    if thread == self._thread:
                        self._take(StreamedEvent(seq, run, text))
            case "control":
                if message["thread"] == self._thread:
                    self._end("deleted")
            case "session_ended" | "key_ended":
                if self.owner.ends_with(message):
                    self._end("revoked")

    def _take(self, event: StreamedEvent) -> None:
        if event.seq <= self._cursor:
            return
        if (
            self._is_behind
            or self._is_reading
            or event.seq > self._cursor + 1
            or len(self._live) >= MAX_BUFFERED_EVENTS
        ):
            self._is_behind = True
        else:
            self._cursor = event.seq
            self._live.append(event)
        self._changed.set()

    def _end(self, why: str) -> None:
        self.ended = self.ended or why
        self._changed.set()

    def active_threads(self) -> set[str]:
        """Return the thread, which is compared with the event log again and again."""
        return {self._thread}

    def reconcile(self, heads: dict[str, int]) -> None:
        """Read the event log if it has more of the thread than was read."""
        if heads.get(self._thread, 0) > self._cursor:
            self._is_behind = True
            self._changed.set()

    async def revoke(self) -> None:
        """End: the session or API key of the reader has ended."""
        self._end("revoked")
