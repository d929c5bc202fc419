"""Group commit of the events that agents emit.

The event writer takes pending events of the runs that have waited longest, commits them in one transaction, and pauses.
Text alone waits for up to NETRA_DELTA_SECONDS, so that a commit has more of it: the clients have it already, see
agents.worker.live. Any other event of a run is committed at once, after the text before it.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError

from agents.sdk import AgentError
from agents.worker.live import LivePublisher, LiveText, Speaker, count_first_event
from chat import metrics, protocol, runs
from chat.db.access import error_name, in_database
from chat.protocol import utf16_length
from chat.runs import ClaimedRun, NewInput, RunBatch, RunOutcome, event_log
from chat.runs.event_log import Body

log = logging.getLogger("netra.event_writer")

MAX_DELTA = 16_384  # characters: a longer delta is split, and deltas are joined up to this size
MAX_HELD = 2048  # characters of a run's text that wait for more of it
MAX_PENDING = 65_536  # characters of a run: above this, its agent waits
MAX_FRAMES_PER_SECOND = 7000  # the rate at which one Daphne process can send: events above it are joined instead
COMMIT_PAUSE = 0.005  # seconds after a commit: a commit costs nearly the same for one event as for many
FULL_PAUSE_EVENTS = 4  # batches smaller than this shorten the pause proportionally
MAX_BATCH_EVENTS = 64  # approximate size of a commit: larger ones would reach the clients in bursts
MAX_RUN_EVENTS = 10  # events of one run in a commit: a run with many events leaves room for the others
MAX_RETRY_PAUSE = 2  # seconds between two attempts while the database is unavailable


class RunEvents:
    """The events of one run on their way to the event writer: the sink of the run's turn."""

    def __init__(self, run: ClaimedRun, writer: "EventWriter", on_revoked: Callable[[], object]) -> None:
        self.run = run
        self.live = LiveText(run, run.since + settings.NETRA_LEASE_SECONDS)
        self.end: RunOutcome | None = None
        self.is_revoked = self.is_queued = self._is_closed = False
        self._writer, self._on_revoked = writer, on_revoked
        self._pending: list[Body | dict[str, Any]] = []
        self._size = self._said = self._emitted = self._written = self._merged = 0
        self._offset = 0  # of the next text, in UTF-16 code units since the last `run_restarted`
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def has_pending(self) -> bool:
        """True while an event or the end of the run is not committed."""
        return bool(self._pending) or self.end is not None

    async def emit(self, event: dict[str, Any], request: NewInput | None = None) -> None:
        """Take an event, after a wait while more than MAX_PENDING characters of this run are pending.

        `request` is inserted with its `input_requested`.

        Raises AgentError too_large, TypeError or ValueError for an event that cannot be stored, and CancelledError once
        the run has ended or no longer belongs to this worker.
        """
        while self._size > MAX_PENDING and not self.is_revoked:
            await self._committed()
        if self.is_revoked or self._is_closed:
            await self._refuse()
        if event["type"] == "agent_delta":
            self._add_delta(event)
            self._writer.live.add(self.live)
            if self._size < MAX_HELD:
                self._writer.hold(self)
                return
        else:
            if event["type"] == "run_restarted":
                self._said = self._offset = 0
                self.live.clear()
            self._add(self._body(event)._replace(request=request))
        self._writer.enqueue(self)

    def show(self, piece: dict[str, Any]) -> None:
        """Publish a piece of a thought under way, which its event then has whole."""
        if not (self.is_revoked or self._is_closed):
            self.live.add(_speaker(piece), piece["offset"], piece["delta"], piece["thought_id"])
            self._writer.live.add(self.live)

    def continue_text(self, text: str) -> None:
        """Count this text, which the run has said since its last restart, before the agent goes on."""
        self._said, self._offset = len(text.encode()), utf16_length(text)

    @property
    def seq(self) -> int:
        """Number of the run's last event that is known to be committed."""
        return self.live.seq

    async def commit(self) -> None:
        """Return when all events emitted so far are committed. Raises CancelledError as `emit` does."""
        target = self._emitted
        if self.has_pending:
            self._writer.enqueue(self)
        while self._written < target and not self.is_revoked:
            await self._committed()
        if self.is_revoked or self._is_closed:
            await self._refuse()

    async def close(self, end: RunOutcome, event: dict[str, Any] | None) -> None:
        """Add the run's last event and its end; return when they are committed, or when the run is revoked.

        A run ends once: a second call waits for the end of the first call.
        """
        if not self._is_closed and not self.is_revoked:
            if event is not None:
                self._add(self._body(event))
            self.end, self._is_closed = end, True
            self.live.clear()  # the rest of the text is committed at once
            self._writer.enqueue(self)
        while self.end is not None and not self.is_revoked:
            await self._committed()

    def take(self) -> RunBatch:
        """Remove and return up to MAX_RUN_EVENTS pending events. The run's end goes with the last of them."""
        if self._merged:
            metrics.DELTAS_MERGED.inc(self._merged)
            self._merged = 0
        taken, self._pending = self._pending[:MAX_RUN_EVENTS], self._pending[MAX_RUN_EVENTS:]
        self._size = sum(len(item["delta"]) if isinstance(item, dict) else len(item.tail) for item in self._pending)
        bodies = [self._body(item) if isinstance(item, dict) else item for item in taken]
        return RunBatch(self.run, bodies, None if self._pending else self.end)

    def mark_committed(self, entry: RunBatch, seq: int) -> None:
        """Resume the callers that wait for this entry. `seq` is the number of its last event, 0 without events."""
        if self._written == 0 < len(entry.events) and not self.live.due_at:
            count_first_event(self.run)
        self._written += len(entry.events)
        self.live.seq = seq or self.live.seq
        if entry.end is not None:
            self.end = None
        self._resume()

    def revoke(self) -> None:
        """Drop pending events: the run has ended, or belongs to another worker."""
        if not self.is_revoked:
            self.is_revoked = True
            self._pending.clear()
            self.live.clear()
            self.end = None
            self._resume()
            self._on_revoked()

    def _add(self, body: Body) -> None:
        self._pending.append(body)
        self._size += len(body.tail)
        self._emitted += 1

    def _add_delta(self, event: dict[str, Any]) -> None:
        delta = event["delta"]
        self._said += len(delta) if delta.isascii() else len(delta.encode())
        if self._said > protocol.MAX_ANSWER:
            raise AgentError("The answer is too long.", code="too_large")
        self.live.add(_speaker(event), self._offset, delta)
        last = self._pending[-1] if self._pending else None
        if isinstance(last, dict) and _speaker(last) == _speaker(event) and len(last["delta"] + delta) <= MAX_DELTA:
            last["delta"] += delta
            self._offset += utf16_length(delta)
            self._merged += 1
        else:
            for start in range(0, len(delta), MAX_DELTA):
                part = delta[start : start + MAX_DELTA]
                self._pending.append({**event, "delta": part, "offset": self._offset})
                self._offset += utf16_length(part)
                self._emitted += 1
        self._size += len(delta)

    def _body(self, event: dict[str, Any]) -> Body:
        full_result = None
        if event["type"] == "tool_completed":
            truncated, is_truncated = protocol.cut_result(event)
            if is_truncated:
                event, full_result = truncated, json.dumps(event["result"])
        try:
            return event_log.encode_event(self.run.thread_id, self.run.run_id, self.run.attempt, event, full_result)
        except protocol.ProtocolError as error:
            raise AgentError(f"The output of {event['agent_name']} is too large to be shown.", error.code) from error

    async def _refuse(self) -> None:
        """Stop the caller: a task that outlived the agent, or an agent that catches its cancellation."""
        await asyncio.sleep(0)  # a caller that catches the exception in a loop must not block other tasks
        raise asyncio.CancelledError("the run has ended, or no longer belongs to this worker")

    async def _committed(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _speaker(event: dict[str, Any]) -> Speaker:
    return event["agent_name"], event.get("part_id")


class EventWriter:
    """Commits the events of all runs of a worker in batches, and calls `after_commit` after each."""

    def __init__(self, after_commit: Callable[[], object] = lambda: None) -> None:
        self._after_commit = after_commit
        self.runs: dict[str, RunEvents] = {}
        self.live = LivePublisher(lambda: len(self.runs))
        self._held: set[RunEvents] = set()  # runs whose text waits for more of it
        self._queue: deque[RunEvents] = deque()  # runs with pending events, the longest waiting first
        self._wake_up = asyncio.Event()

    def open(self, run: ClaimedRun, on_revoked: Callable[[], object]) -> RunEvents:
        """Return the sink of a claimed run. `on_revoked` is called when the run no longer belongs to this worker."""
        events = self.runs[run.run_id] = RunEvents(run, self, on_revoked)
        return events

    def close(self, events: RunEvents) -> None:
        """Forget the run, unless a later claim of it has been opened."""
        if self.runs.get(events.run.run_id) is events:
            del self.runs[events.run.run_id]

    def revoke(self, run_id: str, fencing_token: int | None = None) -> None:
        """Revoke the run; with a fencing token, only if the token is that of the open claim."""
        events = self.runs.get(run_id)
        if events and fencing_token in (None, events.run.fencing_token):
            events.revoke()

    def confirm(self, run_id: str, fencing_token: int, lease_until: float) -> None:
        """Publish the run's live text until this time of the monotonic clock: this worker has its lease."""
        events = self.runs.get(run_id)
        if events and events.run.fencing_token == fencing_token:
            events.live.lease_until = lease_until

    async def run(self) -> None:
        """Commit pending events until cancelled."""
        while True:
            await self._wake_up.wait()
            self._wake_up.clear()
            batch = self._next_batch()
            if batch:
                began = time.monotonic()
                await self._commit(batch)
                spent, frames = time.monotonic() - began, sum(len(entry.events) for _, entry in batch)
                metrics.COMMIT_SECONDS.observe(spent)
                metrics.COMMIT_EVENTS.observe(frames)
                self._after_commit()
                pause = COMMIT_PAUSE * min(1, frames / FULL_PAUSE_EVENTS)
                await asyncio.sleep(max(pause, frames / MAX_FRAMES_PER_SECOND - spent))
            if self._queue:
                self._wake_up.set()

    def enqueue(self, events: RunEvents) -> None:
        """Commit what is pending of this run as soon as it is its turn."""
        if not events.is_queued:
            events.is_queued = True
            self._queue.append(events)
            self._wake_up.set()

    def hold(self, events: RunEvents) -> None:
        """Commit what is pending of this run with that of others, within NETRA_DELTA_SECONDS."""
        if not self._held:
            period = settings.NETRA_DELTA_SECONDS
            loop = asyncio.get_running_loop()
            loop.call_later(period - loop.time() % period, self._release)
        self._held.add(events)

    def _release(self) -> None:
        held, self._held = self._held, set()
        for events in held:
            if events.has_pending:
                self.enqueue(events)

    def _next_batch(self) -> list[tuple[RunEvents, RunBatch]]:
        batch: list[tuple[RunEvents, RunBatch]] = []
        frames = 0
        while self._queue and frames < MAX_BATCH_EVENTS:
            events = self._queue.popleft()
            events.is_queued = False
            if events.has_pending:
                entry = events.take()
                batch.append((events, entry))
                frames += len(entry.events)
        for events, _ in batch:  # a run has one entry in a batch: its other events wait for those of the other runs
            if events.has_pending:
                self.enqueue(events)
        return batch

    async def _commit(self, batch: list[tuple[RunEvents, RunBatch]]) -> None:
        """Write the batch and revoke the runs whose fencing token is outdated.

        If the batch cannot be written, each entry is tried alone: one bad entry must not fail the other runs.
        """
        try:
            written = await self._record(batch)
        except Exception:
            if len(batch) > 1:
                for one in batch:
                    await self._commit([one])
                return
            log.exception("run %s: its events cannot be written", batch[0][1].run.run_id)
            written = {}
        for events, entry in batch:
            if entry.run.run_id in written:
                events.mark_committed(entry, written[entry.run.run_id])
            else:
                events.revoke()

    async def _record(self, batch: list[tuple[RunEvents, RunBatch]]) -> dict[str, int]:
        """Write the batch in one transaction; return the last seq of each run that this worker still owns.

        While the database is unavailable, the write is retried without a limit. Leases may expire: the fencing
        tokens decide whether this worker still owns its runs.
        """
        entries, after, pause = [entry for _, entry in batch], None, 0.1
        while True:
            try:
                return await in_database(runs.record, entries, after)
            except (OperationalError, InterfaceError) as error:
                log.warning("database: %s; retrying", error_name(error))
                after = {events.run.run_id: events.live.seq for events, _ in batch}
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY_PAUSE)
