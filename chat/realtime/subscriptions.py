"""The threads whose events a socket receives, and the last event that it was sent of each. Pure.

A socket keeps no queue. A thread with an event that cannot be sent is marked as lagging and is read from the event log
later, so that the memory of a socket does not grow with the unread part.
"""

from chat.protocol import TERMINAL


class Subscriptions:
    """The threads that one socket follows.

    `heads` are the last seqs of the user's threads when the socket connected. Older events are not sent.
    """

    def __init__(self, mode: str, heads: dict[str, int]) -> None:
        self._mode, self._heads = mode, heads
        self._cursors: dict[str, int] = {}
        self._named: set[str] = set()  # threads that this connection started or named
        self._own: dict[str, set[str]] = {}  # the runs that it started, by thread
        self.awaiting_resume: set[str] = set()  # threads that the client resumes page by page
        self.lagging: set[str] = set()  # threads to be read from the event log
        # The runs whose end was not sent yet, by thread, each with the seq at which its attempt began.
        self.active_runs: dict[str, dict[str, int]] = {}

    # ---- which events are for this socket ----

    def add_run(self, thread: str, run: str, after: int, repeated: bool) -> None:
        """Follow `run`, which this connection started and whose events come after the seq `after`.

        If `repeated`, the run was started by an earlier copy of the message and may have ended.
        """
        first = thread not in self._named
        self._named.add(thread)
        self._own.setdefault(thread, set()).add(run)
        if first and self._mode in ("factory", "isolated"):
            self._cursors[thread] = after
        if repeated:
            self.lagging |= {thread} - self.awaiting_resume
        else:
            self.active_runs.setdefault(thread, {}).setdefault(run, 0)

    def add_thread(self, thread: str) -> None:
        """Follow a thread that the client named."""
        self._named.add(thread)

    def includes(self, thread: str, run: str | None = None) -> bool:
        """Tell if a thread, or an event of `run` in it, is for this socket."""
        if self._mode == "factory":
            return thread in self._named
        if self._mode == "isolated":
            own = self._own.get(thread, set())
            return run in own if run is not None else bool(own)
        return True

    def own_runs(self, thread: str) -> set[str] | None:
        """Return the runs to which reading the event log is limited; None if it is not limited."""
        return self._own.get(thread, set()) if self._mode == "isolated" else None

    # ---- cursors ----

    def cursor(self, thread: str) -> int:
        """Return the seq of the thread's last event that was sent."""
        return self._cursors.get(thread, self._heads.get(thread, 0))

    def move_cursor(self, thread: str, seq: int) -> None:
        """Continue the thread after `seq`, up to which the client has its events."""
        self._cursors[thread] = self._heads[thread] = seq

    def accept(self, thread: str, seq: int, run: str) -> bool:
        """Tell if a live event can be sent now. After a gap it cannot: the thread is marked as lagging."""
        cursor = self.cursor(thread)
        if seq <= cursor or thread in self.awaiting_resume or not self.includes(thread, run):
            return False
        if thread in self.lagging or seq > cursor + 1:
            self.lagging.add(thread)
            return False
        return True

    def is_in_step(self, thread: str, seq: int, run: str) -> bool:
        """Tell if text of this run that follows the event `seq` can be sent.

        Nothing of the thread is missing, and the text is not that of an attempt before the one that was sent. The
        client may know of that from an earlier connection, so text from before this one is left to the event log.
        """
        is_behind = thread in self.lagging or thread in self.awaiting_resume or self.cursor(thread) < seq
        is_late = seq < max(self.active_runs.get(thread, {}).get(run, 0), self._heads.get(thread, 0))
        return not is_behind and not is_late and self.includes(thread, run)

    def record_sent(self, thread: str, seq: int, run: str, kind: str) -> None:
        """Record that an event of this type was sent; `run` is empty for an event that belongs to no run."""
        self._cursors[thread] = seq
        if run:
            runs = self.active_runs.setdefault(thread, {})
            if kind in TERMINAL:
                runs.pop(run, None)
            else:
                runs[run] = seq if kind == "run_restarted" else runs.get(run, 0)
            if not runs:
                del self.active_runs[thread]

    def reconcile(self, thread: str, head: int) -> bool:
        """Mark the thread as lagging if the event log, which ends at `head`, has more of it than was sent."""
        if head <= self.cursor(thread) or thread in self.awaiting_resume or not self.includes(thread):
            return False
        self.lagging.add(thread)
        return True

    def mark_advanced(self, thread: str, head: int) -> None:
        """Record that the event log was read up to `head` and every event for this socket was sent."""
        if self._mode == "isolated":
            self._cursors[thread] = max(head, self.cursor(thread))

    def remove_thread(self, thread: str) -> None:
        """Stop following a deleted thread."""
        self.active_runs.pop(thread, None)
        self.lagging.discard(thread)
        self.awaiting_resume.discard(thread)
