"""From what agents emit to the record: group commit.

The loop takes what is pending of the runs that have waited longest, commits it in one transaction, rests a little and
goes round again. Idle, an event is out after one commit; under load a run's adjacent deltas are joined.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError

from agents.agent import AgentError
from chat import events, metrics, protocol, runs
from chat.database import in_database
from chat.events import Body
from chat.runs import Claimed, End, Entry

log = logging.getLogger("netra.recorder")

PIECE = 16_384  # characters: a longer delta is not joined to, and is cut into several
BUFFER = 65_536  # characters pending of a run before its agent waits
FRAMES_A_SECOND = 7000  # what a daphne can send: what comes faster is joined instead
REST = 0.005  # seconds after a commit: what comes meanwhile shares the next one, whose cost is mostly its own
FEW = 4  # events: after fewer than so many the rest is as much shorter, as little is to be shared
TOGETHER = 64  # events in one commit, about: what is sent comes evenly
SHARE = 10  # events of one run in one commit: a flooding run leaves room for the others


class Stream:
    """A run's way into the record: the sink of its turn."""

    def __init__(self, run: Claimed, queue: Callable[["Stream"], None], lost: Callable[[], object]) -> None:
        self.run = run
        self.end: End | None = None
        self.is_lost = self.is_queued = self._is_closed = False
        self._queue, self._lost = queue, lost
        self._pending: list[Body | dict[str, Any]] = []
        self._size = self._said = self._emitted = self._written = self._merged = 0
        self.seq = run.seq  # of its last event that is known to be committed
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def pending(self) -> bool:
        return bool(self._pending) or self.end is not None

    async def emit(self, event: dict[str, Any]) -> None:
        """Take an event; waits before that while too much of this run is pending. Raises AgentError too_large,
        TypeError, ValueError; CancelledError once the run has ended or is no longer this worker's."""
        while self._size > BUFFER and not self.is_lost:
            await self._committed()
        if self.is_lost or self._is_closed:
            await self._refuse()
        if event["type"] == "agent_delta":
            self._add_delta(event)
        else:
            self._add(self._body(event))
        if not self.is_queued:
            self._queue(self)

    async def commit(self) -> None:
        target = self._emitted
        while self._written < target and not self.is_lost:
            await self._committed()
        if self.is_lost or self._is_closed:
            await self._refuse()

    async def close(self, end: End, event: dict[str, Any] | None) -> None:
        """Add the run's last event and its end; returns when they are committed, or when the run is lost.

        A run ends once: where an end is on its way already, it is what is waited for."""
        if not self._is_closed and not self.is_lost:
            if event is not None:
                self._add(self._body(event))
            self.end, self._is_closed = end, True
            if not self.is_queued:
                self._queue(self)
        while self.end is not None and not self.is_lost:
            await self._committed()

    def take(self) -> Entry:
        """The next share of what is pending. The end goes with the last of it."""
        if self._merged:
            metrics.DELTAS_MERGED.inc(self._merged)
            self._merged = 0
        taken, self._pending = self._pending[:SHARE], self._pending[SHARE:]
        self._size = sum(len(item["delta"]) if isinstance(item, dict) else len(item.tail) for item in self._pending)
        bodies = [self._body(item) if isinstance(item, dict) else item for item in taken]
        return Entry(self.run, bodies, None if self._pending else self.end)

    def wrote(self, entry: Entry, seq: int) -> None:
        if self._written == 0 < len(entry.events) and not self.run.restarted:
            metrics.first_event(self.run.agent, self.run.waited + time.monotonic() - self.run.since)
        self._written += len(entry.events)
        self.seq = seq or self.seq
        if entry.end is not None:
            self.end = None
        self._resume()

    def lose(self) -> None:
        """Another has the run, or it has ended: nothing of it is written from here any more."""
        if not self.is_lost:
            self.is_lost = True
            self._pending.clear()
            self.end = None
            self._resume()
            self._lost()

    def _add(self, body: Body) -> None:
        self._pending.append(body)
        self._size += len(body.tail)
        self._emitted += 1

    def _add_delta(self, event: dict[str, Any]) -> None:
        delta, agent = event["delta"], event["agent_name"]
        self._said += len(delta) if delta.isascii() else len(delta.encode())
        if self._said > protocol.MAX_ANSWER:
            raise AgentError("The answer grew too long.", code="too_large")
        last = self._pending[-1] if self._pending else None
        if isinstance(last, dict) and last["agent_name"] == agent and len(last["delta"]) + len(delta) <= PIECE:
            last["delta"] += delta
            self._merged += 1
        else:
            for start in range(0, len(delta), PIECE):
                self._pending.append(
                    {"type": "agent_delta", "agent_name": agent, "delta": delta[start : start + PIECE]}
                )
                self._emitted += 1
        self._size += len(delta)

    def _body(self, event: dict[str, Any]) -> Body:
        whole = None
        if event["type"] == "tool_completed":
            cut, was_cut = protocol.cut_result(event)
            if was_cut:
                event, whole = cut, json.dumps(event["result"])
        try:
            return events.body(self.run.thread_id, self.run.run_id, self.run.attempt, event, whole)
        except protocol.ProtocolError as error:
            raise AgentError(f"What {event['agent_name']} has to say is too large to be shown.", error.code) from error

    async def _refuse(self) -> None:
        """Who still speaks is stopped: a task that the agent left behind, an agent that will not be cancelled."""
        await asyncio.sleep(0)  # even one that catches this lets the others have their turn
        raise asyncio.CancelledError("the run has ended, or is no longer this worker's")

    async def _committed(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Recorder:
    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._queued: deque[Stream] = deque()  # those with something pending, the longest waiting first
        self._wake = asyncio.Event()

    def open(self, run: Claimed, lost: Callable[[], object]) -> Stream:
        """The stream of a run that was just claimed; `lost` is called when it is no longer this worker's."""
        stream = self._streams[run.run_id] = Stream(run, self._queue, lost)
        return stream

    def close(self, stream: Stream) -> None:
        if self._streams.get(stream.run.run_id) is stream:
            del self._streams[stream.run.run_id]

    def lose(self, run_id: str, fence: int | None = None) -> None:
        """Lose the run's stream; with a fence, only if it is that claim's."""
        stream = self._streams.get(run_id)
        if stream and fence in (None, stream.run.fence):
            stream.lose()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            taken = self._take()
            if taken:
                began = time.monotonic()
                await self._commit(taken)
                spent, frames = time.monotonic() - began, sum(len(entry.events) for _, entry in taken)
                metrics.COMMIT_SECONDS.observe(spent)
                metrics.COMMIT_EVENTS.observe(frames)
                metrics.keep()
                await asyncio.sleep(max(REST * min(1, frames / FEW), frames / FRAMES_A_SECOND - spent))
            if self._queued:
                self._wake.set()

    def _queue(self, stream: Stream) -> None:
        stream.is_queued = True
        self._queued.append(stream)
        self._wake.set()

    def _take(self) -> list[tuple[Stream, Entry]]:
        taken: list[tuple[Stream, Entry]] = []
        frames = 0
        while self._queued and frames < TOGETHER:
            stream = self._queued.popleft()
            stream.is_queued = False
            if stream.pending:
                entry = stream.take()
                taken.append((stream, entry))
                frames += len(entry.events)
        for stream, _ in taken:  # a run has one entry in a commit; what is left of it has its turn after the others
            if stream.pending:
                self._queue(stream)
        return taken

    async def _commit(self, taken: list[tuple[Stream, Entry]]) -> None:
        try:
            held = await self._record(taken)
        except Exception:
            if len(taken) > 1:  # one of them cannot be written; the others must not suffer
                for one in taken:
                    await self._commit([one])
                return
            log.exception("run %s cannot be recorded", taken[0][1].run.run_id)
            held = {}
        for stream, entry in taken:
            if entry.run.run_id in held:
                stream.wrote(entry, held[entry.run.run_id])
            else:
                stream.lose()

    async def _record(self, taken: list[tuple[Stream, Entry]]) -> dict[str, int]:
        """A database that is away is waited for: meanwhile leases run out and fences decide, not this process."""
        entries, after, pause = [entry for _, entry in taken], None, 0.1
        while True:
            try:
                return await in_database(runs.record, entries, after)
            except (OperationalError, InterfaceError) as error:
                log.warning("database: %s; trying again", type(error).__name__)
                after = {stream.run.run_id: stream.seq for stream, _ in taken}
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2)
