"""A limit of the DuckDB databases that are open in a process, as each may need much memory."""

import asyncio
from collections import deque

MAX_OPEN_FILES = 4


class FileSlots:
    """Slots for open databases, granted in order of request.

    A caller gets all its slots at once: two callers that each had a part of theirs would wait for each other.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def try_acquire(self, slots: int) -> bool:
        """Take the slots and return True, if no caller has to wait for them."""
        if self._waiting or self._free < slots:
            return False
        self._free -= slots
        return True

    async def acquire(self, slots: int) -> None:
        """Wait for the slots and take them."""
        if self.try_acquire(slots):
            return
        waits = (slots, asyncio.get_running_loop().create_future())
        self._waiting.append(waits)
        try:
            await waits[1]
        except asyncio.CancelledError:
            if waits in self._waiting:
                self._waiting.remove(waits)
                self.release(0)
            else:
                self.release(slots)
            raise

    def release(self, slots: int) -> None:
        """Return slots, and grant them to waiting callers."""
        self._free += slots
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, future = self._waiting.popleft()
            if not future.done():
                self._free -= wanted
                future.set_result(None)


FILE_SLOTS = FileSlots(MAX_OPEN_FILES)
