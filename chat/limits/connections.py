"""The number of open sockets of a user and of an address, in all web processes."""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Mapping
from itertools import islice

import redis
from django.conf import settings

from chat import protocol
from chat.limits.redis_scripts import PREFIX, PROBE_INTERVAL_SECONDS, RedisScripts, new_client

MAX_SOCKETS_PER_ADDRESS = 4000  # a company behind one address: forty users with all their sockets
HEARTBEAT_SECONDS = 20.0  # between two reports of a process that has had sockets
PROCESS_EXPIRY_SECONDS = 60  # after the last report of a process its sockets no longer count: three heartbeats
COUNT_EXPIRY_SECONDS = 86_400  # of a user's or address's counts, renewed by each new socket

ALIVE = PREFIX + "process."
USER_SOCKETS = "sockets.user."
ADDRESS_SOCKETS = "sockets.address."

# For each name a hash: process -> its open sockets. The sockets of processes without a recent report do not count.
ACQUIRE = """
local me, alive = ARGV[1], ARGV[2]
redis.call('SET', alive .. me, 1, 'EX', ARGV[3])
for i, key in ipairs(KEYS) do
    local sum, counts = tonumber(ARGV[3 + 2 * i]), redis.call('HGETALL', key)
    for j = 1, #counts, 2 do
        if counts[j] ~= me then
            if redis.call('EXISTS', alive .. counts[j]) == 1 then
                sum = sum + counts[j + 1]
            else
                redis.call('HDEL', key, counts[j])
            end
        end
    end
    if sum > tonumber(ARGV[4 + 2 * i]) then return 0 end
end
for i, key in ipairs(KEYS) do
    redis.call('HSET', key, me, ARGV[3 + 2 * i])
    redis.call('EXPIRE', key, ARGV[4])
end
return 1
"""
REPORT = """
redis.call('SET', KEYS[1], 1, 'EX', ARGV[2])
for i = 3, #ARGV, 2 do
    if ARGV[i + 1] == '0' then
        redis.call('HDEL', ARGV[i], ARGV[1])
    else
        redis.call('HSET', ARGV[i], ARGV[1], ARGV[i + 1])
    end
end
return 1
"""


def user_slots(user_id: int) -> dict[str, int]:
    """Return the slots (name -> maximum in all processes) that a socket of this user occupies."""
    return {f"{USER_SOCKETS}{user_id}": protocol.MAX_SOCKETS}


def address_slots(address: str) -> dict[str, int]:
    """Return the slots that a socket from this address occupies."""
    return {f"{ADDRESS_SOCKETS}{address}": MAX_SOCKETS_PER_ADDRESS}


class ConnectionLimiter:
    """The open sockets of this process, counted together with those of all others.

    From the first socket on it reports to Redis, in the loop that acquired it, which sockets of the process have
    closed and that the process is alive.
    """

    def __init__(self, scripts: RedisScripts) -> None:
        self._scripts = scripts
        self._process = uuid.uuid4().hex
        self._open: Counter[str] = Counter()  # sockets of this process, by name
        self._unreported: set[str] = set()  # names whose number Redis does not know yet
        self._changed = asyncio.Event()
        self._reporting: asyncio.Task[None] | None = None

    async def acquire(self, slots: Mapping[str, int]) -> bool:
        """Take a slot under each name. Returns False, and takes none, if one of the names has none left."""
        if not settings.NETRA_RATE_LIMITS:
            return True
        if self._reporting is None or self._reporting.done():
            self._changed = asyncio.Event()
            self._reporting = asyncio.get_running_loop().create_task(self._report_changes())
        self._open.update(slots.keys())
        acquired = False
        try:
            acquired = all(self._open[name] <= most for name, most in slots.items()) and await self._acquire(slots)
        finally:
            if not acquired:
                self.release(slots)
        return acquired

    async def _acquire(self, slots: Mapping[str, int]) -> bool:
        keys = [PREFIX + name for name in slots]
        counts = [number for name, most in slots.items() for number in (self._open[name], most)]
        arguments = [self._process, ALIVE, PROCESS_EXPIRY_SECONDS, COUNT_EXPIRY_SECONDS, *counts]
        return bool(await self._scripts.run_async(ACQUIRE, keys, arguments) != 0)

    def release(self, slots: Mapping[str, int]) -> None:
        """Give back a slot under each name."""
        if not settings.NETRA_RATE_LIMITS:
            return
        for name in slots:
            self._open[name] -= 1
            if self._open[name] <= 0:
                del self._open[name]
        self._unreported.update(slots)
        self._changed.set()

    async def _report_changes(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL_SECONDS if self._unreported else HEARTBEAT_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            names = set(self._unreported)
            self._unreported.clear()
            counts = [part for name in names for part in (PREFIX + name, self._open[name])]
            arguments = [self._process, PROCESS_EXPIRY_SECONDS, *counts]
            if await self._scripts.run_async(REPORT, [ALIVE + self._process], arguments) is None:
                self._unreported.update(names)


def open_sockets(max_users: int = 1000) -> dict[int, int]:
    """Read from Redis the number of open sockets in all processes, by user id, for at most `max_users` users.

    Returns nothing if limits are off or Redis does not answer.
    """
    if not settings.NETRA_RATE_LIMITS:
        return {}
    prefix = PREFIX + USER_SOCKETS
    try:
        with new_client(settings.REDIS_URL) as client:
            alive = {key.decode().removeprefix(ALIVE) for key in client.scan_iter(f"{ALIVE}*", count=1000)}
            keys = list(islice(client.scan_iter(f"{prefix}*", count=1000), max_users))
            with client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hgetall(key)
                counts_by_key = pipeline.execute()
    except (redis.RedisError, OSError):
        return {}
    found = {
        int(key.decode().removeprefix(prefix)): sum(
            int(count) for process, count in counts.items() if process.decode() in alive
        )
        for key, counts in zip(keys, counts_by_key, strict=True)
    }
    return {user_id: count for user_id, count in found.items() if count > 0}
