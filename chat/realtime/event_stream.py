"""The events of one user's threads on their way to one socket: live, resumed, or read from the event log."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from django.db import Error

from chat import metrics, protocol
from chat.db.access import error_name, from_database
from chat.protocol import Resume
from chat.realtime.sender import FrameSender
from chat.realtime.subscriptions import Subscriptions
from chat.runs import event_log

log = logging.getLogger("netra.socket")

MAX_RESUME_BYTES = protocol.MAX_AHEAD // 2  # sent for one `resume`; the rest is left to the next
FIRST_PAGE_ROWS, PAGE_ROWS = 50, 500  # read at once: the first rows are sent before the rest is read
MAX_BUFFERED_EVENTS = 500  # live events kept while a frame is answered; more are read from the event log instead


class EventStream:
    """Sends the events of a socket's threads in order and without a gap.

    The caller holds `lock` while it answers a frame and then calls `send_outstanding`, so there is one order of
    sending. `spawn` runs a coroutine in the background for as long as the socket is open.
    """

    def __init__(self, sender: FrameSender, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.lock = asyncio.Lock()
        self._sender, self._window, self._spawn = sender, sender.window, spawn
        self._user_id, self._is_legacy = 0, False
        self._subscriptions: Subscriptions | None = None
        self._buffered: list[list[Any]] = []  # live events that came while the lock was held
        self._postponed: dict[uuid.UUID, Resume] = {}  # pages that wait for an ack

    def open(self, user_id: int, mode: str, heads: dict[str, int]) -> None:
        """Begin with the events after these last seqs of the user's threads."""
        self._user_id, self._is_legacy = user_id, mode == "legacy"
        self._subscriptions = Subscriptions(mode, heads)

    @property
    def is_open(self) -> bool:
        """Tell if `open` was called."""
        return self._subscriptions is not None

    @property
    def subscriptions(self) -> Subscriptions:
        """The threads of this socket. The stream must be open."""
        assert self._subscriptions is not None
        return self._subscriptions

    # ---- live events ----

    async def push(self, events: list[list[Any]]) -> None:
        """Send live events, each as `deliver` takes it; while the lock is held, keep them until it is released."""
        if self.lock.locked():  # also during `open`: events after the heads were read must not be missed
            self._buffer(events)
        elif self._subscriptions is not None:
            for event in events:
                await self.deliver(*event)
            if self._subscriptions.lagging:
                self._spawn(self.catch_up())

    async def push_live(self, deltas: list[list[Any]]) -> None:
        """Send text that is not logged yet, each as [thread, number of the event before it, run, frame].

        It is dropped unless the client has all events of the thread and room for the frame: the log has the same text.
        Text of an attempt that has ended may come late, out of a Redis that stood still: it is dropped, too.
        """
        if self._subscriptions is None or self._is_legacy or self.lock.locked():
            return
        for thread, seq, run, text in deltas:
            if self._subscriptions.is_in_step(thread, seq, run) and self._window.fits(text):
                await self._sender.send(text)

    def _buffer(self, events: list[list[Any]]) -> None:
        self._buffered.extend(events)
        if len(self._buffered) > MAX_BUFFERED_EVENTS and self._subscriptions is not None:
            subscriptions = self._subscriptions
            threads = {event[0] for event in self._buffered if subscriptions.includes(event[0], event[2])}
            subscriptions.lagging |= threads
            self._buffered.clear()

    async def deliver(self, thread: str, seq: int, run: str, kind: str, text: str) -> None:
        """Send one event now if it is the next of its thread and fits; otherwise leave it to the event log."""
        if self.subscriptions.accept(thread, seq, run):
            if self._window.fits(text):
                await self._send_event(thread, seq, run, kind, text)
            else:
                self.subscriptions.lagging.add(thread)

    async def _send_event(self, thread: str, seq: int, run: str, kind: str, text: str) -> None:
        self.subscriptions.record_sent(thread, seq, run, kind)
        await self._sender.send(protocol.with_older_names(text) if self._is_legacy else text)

    # ---- from the event log ----

    async def send_outstanding(self) -> None:
        """Send the buffered events, then read lagging threads from the event log. The caller holds the lock."""
        subscriptions = self._subscriptions
        while subscriptions is not None and not self._sender.closed:
            buffered, self._buffered = self._buffered, []
            for event in buffered:
                await self.deliver(*event)
            subscriptions.lagging -= subscriptions.awaiting_resume  # the client asks for those itself
            if not subscriptions.lagging:
                return
            thread = subscriptions.lagging.pop()
            own, cursor = subscriptions.own_runs(thread), subscriptions.cursor(thread)
            try:
                rows = await from_database(event_log.read, uuid.UUID(thread), cursor, PAGE_ROWS, own)
            except Error as error:
                log.warning("database: %s; a socket is reconciled later", error_name(error))
                subscriptions.lagging.add(thread)
                return
            if rows:
                metrics.GAPS_RECONCILED.inc()
            for seq, run, kind, text in rows:
                if not self._window.fits(text):  # until the next ack
                    subscriptions.lagging.add(thread)
                    return
                await self._send_event(thread, seq, run, kind, text)
            if len(rows) == PAGE_ROWS:
                subscriptions.lagging.add(thread)

    async def catch_up(self) -> None:
        """Take the lock and send what is outstanding."""
        async with self.lock:
            await self.send_outstanding()

    async def resume(self, frame: Resume) -> None:
        """Answer `resume` with a page of events and `resumed`, or with `resync`. The caller holds the lock.

        If not even the first event fits, the answer waits for the next ack. Raises `not_found`.
        """
        subscriptions, thread = self.subscriptions, str(frame.thread_id)
        own = subscriptions.own_runs(thread)
        first_rows = min(frame.limit, FIRST_PAGE_ROWS)
        page = await from_database(event_log.replay, self._user_id, frame.thread_id, frame.after, first_rows, own)
        subscriptions.add_thread(thread)
        if page.rows and not self._window.fits(page.rows[0][3]):
            subscriptions.awaiting_resume.add(thread)
            self._postponed[frame.thread_id] = frame
            return
        subscriptions.awaiting_resume.discard(thread)
        subscriptions.lagging.discard(thread)
        pruned = own is None and frame.after < page.head and page.first > frame.after + 1
        if pruned or frame.after > page.head:
            subscriptions.move_cursor(thread, page.head)
            metrics.RESYNC.inc()
            await self._sender.send(protocol.control("resync", thread_id=thread, head=page.head, first=page.first))
            return
        subscriptions.move_cursor(thread, frame.after)
        rows, left, requested, bytes_sent = page.rows, frame.limit, first_rows, 0
        while True:
            for seq, run, kind, text in rows:
                if bytes_sent > MAX_RESUME_BYTES or not self._window.fits(text):
                    left = 0
                    break
                await self._send_event(thread, seq, run, kind, text)
                bytes_sent += len(text)
                left -= 1
            if left <= 0 or len(rows) < requested:
                break
            requested = min(left, PAGE_ROWS)
            rows = await from_database(event_log.read, frame.thread_id, subscriptions.cursor(thread), requested, own)
        after = subscriptions.cursor(thread)
        more = left <= 0 and bool(await from_database(event_log.read, frame.thread_id, after, 1, own))
        if more:
            subscriptions.awaiting_resume.add(thread)
        head = max(page.head, after)
        metrics.RESUMED.inc()
        await self._sender.send(protocol.control("resumed", thread_id=thread, after=after, head=head, more=more))

    async def acknowledge(self, received: int) -> None:
        """Take the client's ack and answer the postponed `resume` frames. The caller holds the lock."""
        self._window.acknowledge(received)
        postponed, self._postponed = self._postponed, {}
        for frame in postponed.values():
            await self.resume(frame)

    # ---- reconciliation ----

    def active_threads(self) -> set[str]:
        """Return the threads with a run whose end was not sent."""
        return set(self._subscriptions.active_runs) if self._subscriptions is not None else set()

    def reconcile(self, heads: dict[str, int]) -> None:
        """Send what the event log has beyond what was sent; `heads` are the last seqs by thread."""
        if self._subscriptions is not None and not self._sender.closed:
            lagging = [thread for thread, head in heads.items() if self._subscriptions.reconcile(thread, head)]
            if lagging and not self.lock.locked():
                self._spawn(self._catch_up_to({thread: heads[thread] for thread in lagging}))

    async def _catch_up_to(self, heads: dict[str, int]) -> None:
        await self.catch_up()
        for thread, head in heads.items():
            if thread not in self.subscriptions.lagging:
                self.subscriptions.mark_advanced(thread, head)
