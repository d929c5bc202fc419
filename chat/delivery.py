"""What one socket has been sent of each thread, and what it may be sent next. PURE.

A socket keeps no queue: what cannot be sent now is marked as behind and read from the log later, so that the memory of
a socket does not grow with what its reader leaves unread.
"""

from collections import deque

from chat.protocol import MAX_AHEAD, MAX_UNREAD


class Delivery:
    """`heads` are the last seqs of the user's threads when the socket connected: what is older is not owed."""

    def __init__(self, mode: str, heads: dict[str, int]) -> None:
        self._mode, self._heads = mode, heads
        self._cursors: dict[str, int] = {}
        self._named: set[str] = set()  # threads that this connection started or named
        self._own: dict[str, set[str]] = {}  # the runs that it started, by thread
        self.paused: set[str] = set()  # threads that are being resumed page by page
        self.behind: set[str] = set()  # threads to be read from the log
        self.live: dict[str, set[str]] = {}  # the runs whose end it has not been sent, by thread

    # ---- which events are for this socket ----

    def started(self, thread: str, run: str, after: int, repeated: bool) -> None:
        """This connection started `run`, whose events come after this seq; or had started it before."""
        first = thread not in self._named
        self._named.add(thread)
        self._own.setdefault(thread, set()).add(run)
        if first and self._mode in ("factory", "isolated"):
            self._cursors[thread] = after
        if repeated:
            self.behind |= {thread} - self.paused
        else:
            self.live.setdefault(thread, set()).add(run)

    def named(self, thread: str) -> None:
        self._named.add(thread)

    def wants(self, thread: str, run: str | None = None) -> bool:
        """Whether a thread, or an event of it that belongs to `run`, is for this socket."""
        if self._mode == "factory":
            return thread in self._named
        if self._mode == "isolated":
            own = self._own.get(thread, set())
            return run in own if run is not None else bool(own)
        return True

    def own_runs(self, thread: str) -> set[str] | None:
        """The runs to which reading the log is confined; None: it is not."""
        return self._own.get(thread, set()) if self._mode == "isolated" else None

    # ---- where it stands ----

    def cursor(self, thread: str) -> int:
        return self._cursors.get(thread, self._heads.get(thread, 0))

    def move(self, thread: str, seq: int) -> None:
        self._cursors[thread] = seq

    def offer(self, thread: str, seq: int, run: str) -> bool:
        """Whether a live event is to be sent as it is. After a gap it is not: the thread is marked as behind."""
        cursor = self.cursor(thread)
        if seq <= cursor or thread in self.paused or not self.wants(thread, run):
            return False
        if thread in self.behind or seq > cursor + 1:
            self.behind.add(thread)
            return False
        return True

    def sent(self, thread: str, seq: int, run: str, ends: bool) -> None:
        """An event was; `run` is empty for one that belongs to none."""
        self._cursors[thread] = seq
        if run:
            runs = self.live.setdefault(thread, set())
            if ends:
                runs.discard(run)
            else:
                runs.add(run)
            if not runs:
                del self.live[thread]

    def compare(self, thread: str, head: int) -> bool:
        """Whether the log has more of this thread than was sent; then it is marked as behind."""
        if head <= self.cursor(thread) or thread in self.paused or not self.wants(thread):
            return False
        self.behind.add(thread)
        return True

    def seen(self, thread: str, head: int) -> None:
        """Everything up to `head` was read, and what of it is for this socket was sent."""
        if self._mode == "isolated":
            self._cursors[thread] = max(head, self.cursor(thread))

    def forget(self, thread: str) -> None:
        """The thread was deleted."""
        self.live.pop(thread, None)
        self.behind.discard(thread)
        self.paused.discard(thread)


class Window:
    """How far a socket is sent ahead of its reader: daphne takes everything and tells nobody."""

    def __init__(self) -> None:
        self._unread = 0  # bytes since the client last sent a frame
        self._acking = False  # the client has begun to say what it got
        self._sizes: deque[int] = deque()  # of the frames that it has not said it got
        self._got = 0  # the frames before those
        self._ahead = 0  # bytes: the sum of the sizes

    def sent(self, text: str) -> None:
        size = _size(text)
        self._unread += size
        self._sizes.append(size)
        self._ahead += size
        while not self._acking and self._ahead > 2 * MAX_AHEAD:  # of one that never acks, no more is kept than matters
            self._drop()

    def heard(self) -> None:
        self._unread = 0

    def acked(self, received: int) -> None:
        """The client has got `received` frames in all. More than were sent, or fewer than before, changes nothing."""
        self._acking = True
        while self._sizes and self._got < received:
            self._drop()

    def _drop(self) -> None:
        self._ahead -= self._sizes.popleft()
        self._got += 1

    def fits(self, text: str) -> bool:
        """Whether this frame may be sent now. One that alone is as large as the window fits into an empty one."""
        return not self._acking or not self._sizes or self._ahead + _size(text) <= MAX_AHEAD

    @property
    def too_slow(self) -> bool:
        return self._unread > MAX_UNREAD


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
