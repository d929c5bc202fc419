"""Token buckets: a burst at once, then one acquisition in each interval."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from chat import protocol
from chat.limits.redis_scripts import PREFIX, RedisScripts
from chat.protocol import ProtocolError

MAX_BUCKETS = 10_000  # of a process; beyond, it drops the full ones: they are as if never used

# A bucket is one number, the time at which it will be full again. An acquisition that would move this time more than
# `burst` intervals ahead must wait. A sum of floats may be slightly more than the exact value, so a hundredth of an
# interval is no reason to refuse.
ACQUIRE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + interval
local wait = full_at - now - interval * burst
if wait > interval / 100 then return tostring(wait) end
redis.call('SET', KEYS[1], full_at, 'PX', math.ceil((full_at - now) * 1000) + 1)
return '0'
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` acquisitions at once, then one every `interval` seconds."""

    name: str
    burst: int
    interval: float


MESSAGES = Rate("messages", protocol.MESSAGE_BURST, 60 / protocol.MESSAGES_PER_MINUTE)  # of a user
REQUESTS = Rate("requests", 1000, 1 / 50)  # of a user, over REST: a hundred tabs that all reload
UPLOADS = Rate("uploads", 100, 6)  # of a user
REGISTRATIONS = Rate("registrations", 100, 60)  # from an address
SIGN_INS = Rate("sign_ins", 100, 2)  # from an address, whatever the account
BAD_KEYS = Rate("bad_keys", 300, 1 / 5)  # API keys that are none, from an address: good ones are not counted
PASSWORD_RESETS = Rate("resets", 10, 60)  # from an address


class RateLimiter:
    """The rates of users and addresses, counted in this process and, for all processes, in Redis."""

    def __init__(self, scripts: RedisScripts) -> None:
        self._scripts = scripts
        self._buckets = _Buckets()

    def acquire(self, rate: Rate, identity: object) -> None:
        """Count one acquisition of `identity`, a user's id or an address. Raises ProtocolError rate_limited.

        A refused acquisition is not counted. Waits for Redis, so coroutines call `acquire_async`.
        """
        key = self._acquire_here(rate, identity)
        self._check(rate, key, self._scripts.run(ACQUIRE, [key], [rate.interval, rate.burst]))

    async def acquire_async(self, rate: Rate, identity: object) -> None:
        """Count one acquisition of `identity`, like `acquire`."""
        key = self._acquire_here(rate, identity)
        self._check(rate, key, await self._scripts.run_async(ACQUIRE, [key], [rate.interval, rate.burst]))

    def _acquire_here(self, rate: Rate, identity: object) -> str:
        """Count it in this process and return its key. A refusal here costs no round trip to Redis."""
        key = f"{PREFIX}{rate.name}.{identity}"
        if settings.NETRA_RATE_LIMITS and (wait := self._buckets.acquire(key, rate)) > 0:
            raise rate_limited(wait)
        return key

    def _check(self, rate: Rate, key: str, result: Any) -> None:
        if result is not None and (wait := float(result)) > 0:
            self._buckets.release(key, rate)
            raise rate_limited(wait)


class _Buckets:
    """The buckets of this process: the same arithmetic as ACQUIRE, for any thread."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}  # monotonic time, by key
        self._lock = threading.Lock()
        self._max = MAX_BUCKETS

    def acquire(self, key: str, rate: Rate) -> float:
        """Count one acquisition. Returns 0, or the seconds to wait if it was not counted."""
        now = time.monotonic()
        with self._lock:
            full_at = max(self._full_at.get(key, now), now) + rate.interval
            wait = full_at - now - rate.interval * rate.burst
            if wait > rate.interval / 100:
                return wait
            self._full_at[key] = full_at
            if len(self._full_at) > self._max:
                self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
                self._max = max(MAX_BUCKETS, 2 * len(self._full_at))
        return 0.0

    def release(self, key: str, rate: Rate) -> None:
        """Take back one acquisition, which Redis refused."""
        with self._lock:
            if key in self._full_at:
                self._full_at[key] -= rate.interval


def rate_limited(wait: float) -> ProtocolError:
    """Return the error for a client that must wait `wait` seconds."""
    return ProtocolError("rate_limited", "Too many requests. Wait a moment.", retry_after=round(wait + 0.0005, 3))
