"""Fair shares of slots: of a worker's runs, of its isolated processes, of a web process's requests.

A run cannot be interrupted, so slots that one user has filled are free for others only when the runs end. Therefore a
user may have at most a share of the slots that the other users leave. A user without a slot may take the last one. So a
further user always finds a slot, until about as many users have one as there are slots. A fixed number for each user
would leave slots idle while one user is alone, and none free once a few users have filled theirs.

Pure: standard library only.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager
from fractions import Fraction
from math import ceil
from typing import Generic, TypeVar

U = TypeVar("U", bound=Hashable)


class Slots(Generic[U]):
    """`number` slots, of which `users` have some: each is named once a slot. `share` is above 0 and at most 1."""

    def __init__(self, number: int, share: Fraction, users: Iterable[U] = ()) -> None:
        self._number, self._share = number, share
        self._held = Counter(users)

    @property
    def free(self) -> int:
        """Number of free slots."""
        return self._number - self._held.total()

    def may_begin(self, user_id: U) -> bool:
        """Return whether the user may get a further slot."""
        mine = self._held[user_id]
        return self.free > 0 and mine < ceil(self._share * (self.free + mine))

    def take(self, user_id: U) -> None:
        """Acquire a slot for the user."""
        self._held[user_id] += 1

    def leave(self, user_id: U) -> None:
        """Release a slot of the user."""
        self._held[user_id] -= 1
        self._held += Counter()  # drops users without a slot

    def full(self) -> set[U]:
        """Return the users who have slots and may not get a further one."""
        return {user_id for user_id in self._held if not self.may_begin(user_id)}


class SlotQueue(Generic[U]):
    """A queue of tasks for slots: users by turns, the tasks of one user in order."""

    def __init__(self, slots: Slots[U]) -> None:
        self._slots = slots
        self._waiting: dict[U, deque[asyncio.Future[None]]] = {}

    def must_wait(self, user_id: U) -> bool:
        """Return whether a task of the user would have to wait."""
        return not self._slots.may_begin(user_id)

    @asynccontextmanager
    async def acquire(self, user_id: U) -> AsyncIterator[None]:
        """Wait for a slot for this user, and release it at the end of the block."""
        entered = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, deque()).append(entered)
        self._admit()
        try:
            await entered
            yield
        finally:
            if entered.done() and not entered.cancelled():
                self._slots.leave(user_id)
                self._admit()

    def _admit(self) -> None:
        while able := [user_id for user_id in self._waiting if self._slots.may_begin(user_id)]:
            for user_id in able:
                if self._slots.may_begin(user_id):
                    self._admit_one(user_id)

    def _admit_one(self, user_id: U) -> None:
        """Admit the first waiting task of this user, and move the user behind the other users."""
        waiting = self._waiting.pop(user_id)
        while waiting:
            entered = waiting.popleft()
            if not entered.done():
                self._slots.take(user_id)
                entered.set_result(None)
                break
        if waiting:
            self._waiting[user_id] = waiting
