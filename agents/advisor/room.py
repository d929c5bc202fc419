"""Room: how many databases of usage data may be open in a process at one time, as each may take much memory."""

import asyncio
from collections import deque

MAX_OPEN = 4


class Room:
    """Places, each for one open database. Who asks first is served first, and gets all places at once: two that each
    held a part of what they need would wait for each other."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, places: int) -> bool:
        """Take the places if nobody has to wait for them."""
        if self._waiting or self._free < places:
            return False
        self._free -= places
        return True

    async def take(self, places: int) -> None:
        if self.take_now(places):
            return
        waits = (places, asyncio.get_running_loop().create_future())
        self._waiting.append(waits)
        try:
            await waits[1]
        except asyncio.CancelledError:
            if waits in self._waiting:
                self._waiting.remove(waits)
                self.give_back(0)
            else:
                self.give_back(places)
            raise

    def give_back(self, places: int) -> None:
        self._free += places
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, future = self._waiting.popleft()
            if not future.done():
                self._free -= wanted
                future.set_result(None)


ROOM = Room(MAX_OPEN)
