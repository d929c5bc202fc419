"""Text that agents say, on its way to the clients before it is logged.

Nothing depends on it: the same text follows in numbered events, and a client that misses a part waits for those.
A thought that grows is shown here only: its event comes at its end.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from chat import metrics, protocol, runs
from chat.runs import ClaimedRun

LIVE_SECONDS = 0.016  # between two frames of one run: a screen shows no more
MAX_LIVE_FRAMES_PER_SECOND = 5000  # of all runs of a worker: a web process can send about 7000
MAX_LIVE_TEXT = 2048  # characters of a run at a time: more is left to the event log, which has it one commit later


Speaker = tuple[str, str | None]  # agent's name, and the part_id of a sub-agent


def count_first_event(run: ClaimedRun) -> None:
    """Count the time to the first event or text of the run's agent."""
    if not run.restarted and not run.continues:
        metrics.observe_first_event(run.agent, run.waited + time.monotonic() - run.since)


class LiveText:
    """The text of one run that was said or thought since it was last published.

    It is published only while the run's lease is confirmed: afterwards the run may be another worker's.
    """

    def __init__(self, run: ClaimedRun, lease_until: float) -> None:
        self.run = run
        self.lease_until = lease_until  # seconds of the monotonic clock
        self.seq = run.seq  # of the run's last event that is known to be committed
        self.due_at = 0.0  # seconds of the monotonic clock: its next frame may be published then
        self._parts: list[list[Any]] = []  # speaker, id of the thought or "", offset, text
        self._size = 0
        self._is_skipping = False  # there was too much; the rest is left to the event log, too

    def add(self, speaker: Speaker, offset: int, text: str, thought_id: str = "") -> None:
        """Add text that an agent says at this offset of the run's text, or of a thought, in UTF-16 code units."""
        self._size += len(text)
        if self._size > MAX_LIVE_TEXT:
            self._is_skipping = True
            self._parts.clear()
        if self._is_skipping:
            return
        last = self._parts[-1] if self._parts else None
        if last and last[:2] == [speaker, thought_id]:
            last[3] += text
        else:
            self._parts.append([speaker, thought_id, offset, text])

    def take(self, now: float, interval: float = LIVE_SECONDS) -> list[str]:
        """Remove and return the frames of the text; none if the run's lease is not confirmed at `now`.

        The next is due an interval after this one was due, not after `now`: otherwise one frame that is late by chance
        makes all later ones as late, where an agent speaks as often as frames are published. At `now` if that is past.
        """
        parts, self._parts, self._size, self._is_skipping = self._parts, [], 0, False
        if not parts or now >= self.lease_until:
            return []
        run = self.run
        if not self.due_at:
            count_first_event(run)
        self.due_at = max(self.due_at + interval, now)
        return [
            protocol.live(
                thread_id=run.thread_id,
                run_id=run.run_id,
                attempt=run.attempt,
                agent_name=agent,
                part_id=part_id,
                thought_id=thought_id,
                offset=offset,
                delta=text,
            )
            for (agent, part_id), thought_id, offset, text in parts
        ]

    def clear(self) -> None:
        """Drop the text."""
        self._parts.clear()


class LivePublisher:
    """Publishes the live text of all runs of a worker: each run every LIVE_SECONDS on average, a user's runs together.

    `count_runs` returns the number of runs under way. With many, each is published less often.
    """

    def __init__(self, count_runs: Callable[[], int]) -> None:
        self._count_runs = count_runs
        self._waiting: dict[LiveText, None] = {}  # in the order in which they spoke
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # of the timer, in seconds of the monotonic clock

    def add(self, text: LiveText) -> None:
        """Publish this run's text as soon as it may be."""
        if text not in self._waiting:
            self._waiting[text] = None
            self._schedule(text.due_at)

    @property
    def _interval(self) -> float:
        return max(LIVE_SECONDS, self._count_runs() / MAX_LIVE_FRAMES_PER_SECOND)

    def _schedule(self, due: float) -> None:
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._publish)

    def _publish(self) -> None:
        self._timer = None
        now = time.monotonic()
        interval = self._interval
        by_user: dict[int, list[list[Any]]] = {}
        for text in [text for text in self._waiting if text.due_at <= now]:
            del self._waiting[text]
            run = text.run
            for frame in text.take(now, interval):
                by_user.setdefault(run.user_id, []).append([run.thread_id, text.seq, run.run_id, frame])
        for user_id, deltas in by_user.items():
            runs.publish_live(user_id, deltas)
        if self._waiting:
            self._schedule(min(text.due_at for text in self._waiting))
