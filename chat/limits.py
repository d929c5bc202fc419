"""Limits: how often something may be done, and how many sockets may be open at once.

They stand in Redis, so all web processes share them. Without Redis nothing is refused that one process cannot count
alone: a check waits half a second at most, and after a failure none is made for some seconds. What is over a limit is
a ProtocolError `rate_limited`. NETRA_LIMITS=off switches all of them off.
"""

import asyncio
import contextlib
import ipaddress
import logging
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from django.http import HttpRequest
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.request import Request

from chat import protocol
from chat.protocol import ProtocolError

log = logging.getLogger("netra.limits")

PATIENCE = 0.5  # seconds that a check may take
PAUSE = 5.0  # seconds without checks after one that failed
BEAT = 20.0  # seconds between two signs of life of a process that has sockets
SILENCE = 60  # seconds after which the sockets of a silent process do not count
CONNECTIONS = 8  # to Redis, for checks
MAX_SOCKETS_PER_ADDRESS = 4000
FRAME_WEIGHT = 8 * protocol.KIB  # characters of a frame that count as one more frame
RESUME_WEIGHT = 4  # frames that one `resume` counts for: it reads up to a thousand events

# One number a bucket: when it will be full again. What would bring that beyond `burst` from now has to wait.
_SPEND = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local gap, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + gap
local wait = full - now - gap * burst
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], full, 'PX', math.ceil((full - now) * 1000) + 1)
return '0'
"""
# A hash a name: process -> its sockets. Processes that have been silent too long do not count.
_ADMIT = """
local me, alive = ARGV[1], ARGV[2]
redis.call('SET', alive .. me, 1, 'EX', ARGV[3])
for i, key in ipairs(KEYS) do
    local sum, counts = tonumber(ARGV[2 + 2 * i]), redis.call('HGETALL', key)
    for j = 1, #counts, 2 do
        if counts[j] ~= me then
            if redis.call('EXISTS', alive .. counts[j]) == 1 then
                sum = sum + counts[j + 1]
            else
                redis.call('HDEL', key, counts[j])
            end
        end
    end
    if sum > tonumber(ARGV[3 + 2 * i]) then return 0 end
end
for i, key in ipairs(KEYS) do
    redis.call('HSET', key, me, ARGV[2 + 2 * i])
    redis.call('EXPIRE', key, 86400)
end
return 1
"""
_TELL = """
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
_PREFIX = "netra.limit."
_ALIVE = _PREFIX + "process."
_process = uuid.uuid4().hex
_quiet_until = 0.0  # the monotonic clock's
_lost = False


# ---- How often -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then one every `gap` seconds."""

    name: str
    burst: int
    gap: float

    async def spend(self, who: object) -> None:
        """Count one more of `who`. Raises ProtocolError rate_limited."""
        self._judge(await _ask(_SPEND, [self._key(who)], [self.gap, self.burst]))

    def spend_now(self, who: object) -> None:
        """`spend`, for a thread."""
        self._judge(_ask_now(_SPEND, [self._key(who)], [self.gap, self.burst]))

    def _key(self, who: object) -> str:
        return f"{_PREFIX}{self.name}.{who}"

    def _judge(self, answer: Any) -> None:
        if answer is not None and (wait := float(answer)) > 0:
            raise too_often(wait)


MESSAGES = Rate("messages", protocol.MESSAGE_BURST, 60 / protocol.MESSAGES_PER_MINUTE)  # of a user
REQUESTS = Rate("requests", 1000, 1 / 50)  # of a user, over REST: a hundred tabs that all begin anew
UPLOADS = Rate("uploads", 100, 6)  # of a user
REGISTRATIONS = Rate("registrations", 100, 60)  # from an address
SIGN_INS = Rate("sign_ins", 100, 2)  # from an address, whatever the account


def weight(text: str, resumes: bool = False) -> int:
    """What a frame counts for."""
    return (RESUME_WEIGHT if resumes else 1) + len(text) // FRAME_WEIGHT


class Pace:
    """The frames of one socket, counted where they arrive: arithmetic, no Redis."""

    __slots__ = ("_full",)

    def __init__(self) -> None:
        self._full = 0.0

    def spend(self, frames: float) -> None:
        """Count so many frames. Raises ProtocolError rate_limited."""
        now = time.monotonic()
        full = max(self._full, now) + frames / protocol.FRAMES_PER_SECOND
        wait = full - now - protocol.FRAME_BURST / protocol.FRAMES_PER_SECOND
        if wait > 0 and settings.NETRA_LIMITS:
            raise too_often(wait)
        self._full = full


def too_often(wait: float) -> ProtocolError:
    return ProtocolError("rate_limited", "Too much at once. Wait a moment.", retry_after=round(wait + 0.0005, 3))


# ---- How many at once ------------------------------------------------------------------------------------

_open: Counter[str] = Counter()  # the sockets of this process, by name
_untold: set[str] = set()  # names whose number Redis does not know yet
_wake = asyncio.Event()
_teller: asyncio.Task[None] | None = None


def of_user(user_id: int) -> dict[str, int]:
    return {f"sockets.user.{user_id}": protocol.MAX_SOCKETS}


def of_address(address: str) -> dict[str, int]:
    return {f"sockets.address.{address}": MAX_SOCKETS_PER_ADDRESS}


async def admit(places: Mapping[str, int]) -> bool:
    """Take one place under each name, if each has one left (name -> how many there are, in all processes)."""
    global _teller
    if not settings.NETRA_LIMITS:
        return True
    if _teller is None:
        _teller = asyncio.get_running_loop().create_task(_tell())
    _open.update(places.keys())
    admitted = False
    try:
        counts = [number for name, most in places.items() for number in (_open[name], most)]
        keys = [_PREFIX + name for name in places]
        here = all(_open[name] <= most for name, most in places.items())
        admitted = here and await _ask(_ADMIT, keys, [_process, _ALIVE, SILENCE, *counts]) != 0
    finally:
        if not admitted:
            leave(places)
    return admitted


def leave(places: Mapping[str, int]) -> None:
    if not settings.NETRA_LIMITS:
        return
    for name in places:
        _open[name] -= 1
        if _open[name] <= 0:
            del _open[name]
    _untold.update(places)
    _wake.set()


async def _tell() -> None:
    """Say that this process is alive, and who has left it."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE if _untold else BEAT):
                await _wake.wait()
        _wake.clear()
        names = set(_untold)
        _untold.clear()
        counts = [part for name in names for part in (_PREFIX + name, _open[name])]
        if await _ask(_TELL, [_ALIVE + _process], [_process, SILENCE, *counts]) is None:
            _untold.update(names)


def sockets_of_users(most: int = 1000) -> dict[int, int]:
    """User id -> sockets that are open in all processes, of so many users at most; empty where that is not known."""
    prefix = f"{_PREFIX}sockets.user."
    if not settings.NETRA_LIMITS:
        return {}
    client = _client_of_threads(settings.REDIS_URL)
    try:
        alive = {key.decode().removeprefix(_ALIVE) for key in client.scan_iter(f"{_ALIVE}*", count=1000)}
        keys = list(islice(client.scan_iter(f"{prefix}*", count=1000), most))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        open_by_process = pipeline.execute()
    except (redis.RedisError, OSError):
        return {}
    found = {
        int(key.decode().removeprefix(prefix)): sum(
            int(n) for process, n in counts.items() if process.decode() in alive
        )
        for key, counts in zip(keys, open_by_process, strict=True)
    }
    return {user: count for user, count in found.items() if count > 0}


# ---- From where ------------------------------------------------------------------------------------------


def address_of(request: HttpRequest | Request) -> str:
    return address(request.META.get("REMOTE_ADDR") or "", request.META.get("HTTP_X_FORWARDED_FOR", ""))


def address(peer: str, forwarded: str) -> str:
    """Whose address counts: the peer's, or what the outermost of NETRA_PROXIES proxies wrote into X-Forwarded-For.

    Of an IPv6 address its /64 counts: that is what one customer has. 0.0.0.0 for what is none (a Unix socket).
    """
    hops = [peer, *(hop.strip() for hop in reversed(forwarded.split(",")))]
    for claimed in (hops[min(settings.NETRA_PROXIES, len(hops) - 1)], peer):
        with contextlib.suppress(ValueError):
            found = ipaddress.ip_address(_without_port(claimed))
            if isinstance(found, ipaddress.IPv6Address):
                if found.ipv4_mapped is not None:
                    return str(found.ipv4_mapped)
                return str(ipaddress.ip_network((found, 64), strict=False).network_address)
            return str(found)
    return "0.0.0.0"  # noqa: S104 nothing is bound to it


def _without_port(hop: str) -> str:
    """Some proxies write 192.0.2.1:4711 or [2001:db8::1]:4711."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


# ---- Redis, if there is one ------------------------------------------------------------------------------

_OPTIONS: dict[str, Any] = {
    "socket_timeout": PATIENCE / 2,
    "socket_connect_timeout": PATIENCE / 2,
    "max_connections": CONNECTIONS,
    "timeout": PATIENCE / 2,  # for a free connection
}
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def _client() -> redis.asyncio.Redis:
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        pool = redis.asyncio.BlockingConnectionPool.from_url(settings.REDIS_URL, retry=retry, **_OPTIONS)
        _clients[loop] = redis.asyncio.Redis(connection_pool=pool)
    return _clients[loop]


@cache
def _client_of_threads(url: str) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **_OPTIONS)
    return redis.Redis(connection_pool=pool)


async def _ask(script: str, keys: list[str], args: list[Any]) -> Any:
    """The script's answer; None where limits are off or Redis is away."""
    if not settings.NETRA_LIMITS or time.monotonic() < _quiet_until:
        return None
    answer, failure = None, None
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await _client().register_script(script)(keys, args)
    except (redis.RedisError, OSError) as error:
        failure = error
    if (task := asyncio.current_task()) and task.cancelling():  # redis-py swallows it now and then
        raise asyncio.CancelledError
    return _found(answer) if failure is None else _failed(failure)


def _ask_now(script: str, keys: list[str], args: list[Any]) -> Any:
    if not settings.NETRA_LIMITS or time.monotonic() < _quiet_until:
        return None
    try:
        return _found(_client_of_threads(settings.REDIS_URL).register_script(script)(keys, args))
    except (redis.RedisError, OSError) as error:
        return _failed(error)


def _found(answer: Any) -> Any:
    global _lost
    if _lost:
        _lost = False
        log.warning("redis is back: limits hold again")
    return answer


def _failed(error: Exception) -> None:
    global _lost, _quiet_until
    _quiet_until = time.monotonic() + PAUSE
    if not _lost:
        _lost = True
        log.warning(
            "redis: %s; until it is back a limit holds in each process alone, or not at all", type(error).__name__
        )
