"""Flow control of a socket: the bytes that may be sent ahead of the client's reading. Pure.

daphne accepts every frame and applies no backpressure, so unread bytes are counted here.
"""

from collections import deque

from chat.protocol import MAX_AHEAD, MAX_UNREAD


class SendWindow:
    """The frames that were sent to a client and are not known to be read."""

    def __init__(self) -> None:
        self._unread = 0  # bytes since the client last sent a frame
        self._acking = False  # the client has sent an ack
        self._sizes: deque[int] = deque()  # bytes of each frame that is not acknowledged
        self._acknowledged = 0  # number of frames before those
        self._ahead = 0  # bytes: the sum of the sizes

    def add(self, text: str) -> None:
        """Count a frame that is sent."""
        size = _size(text)
        self._unread += size
        self._sizes.append(size)
        self._ahead += size
        while not self._acking and self._ahead > 2 * MAX_AHEAD:  # bounds the memory for a client that never acks
            self._drop()

    def reset_unread(self) -> None:
        """Count from zero again: the client sent a frame, so it is alive."""
        self._unread = 0

    def acknowledge(self, received: int) -> None:
        """Release the first `received` frames. More than were sent, or fewer than before, changes nothing."""
        self._acking = True
        while self._sizes and self._acknowledged < received:
            self._drop()

    def _drop(self) -> None:
        self._ahead -= self._sizes.popleft()
        self._acknowledged += 1

    def fits(self, text: str) -> bool:
        """Tell if this frame may be sent now. A frame larger than the window fits into an empty one."""
        return not self._acking or not self._sizes or self._ahead + _size(text) <= MAX_AHEAD

    @property
    def too_slow(self) -> bool:
        """Tell if the client has left more unread than a socket may have."""
        return self._unread > MAX_UNREAD


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
