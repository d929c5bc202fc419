"""The doorbell and the loudspeaker: the only module that speaks to the channel layer.

Nothing depends on what passes here: a signal that is lost costs latency, because whoever waits for it also reads the
log. So nothing here waits longer than half a second, and nothing raises.

On Redis a signal is what the layer's `group_send` makes of it, and a group what `group_add` subscribes to. The two
connections are ours: one sends all that waits in one go, one listens for the whole process and hands a group's messages
straight to the callbacks that joined it. With the layer's own, a queue and a task between, either costs twice as much.
redis-py opens them; what it does around each reply costs more than the reply, so they are read here.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.conf import settings
from hiredis import Reader, pack_command
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chat import database

log = logging.getLogger("netra.layer")

Callback = Callable[[dict[str, Any]], Awaitable[None]]
WORKERS = "workers"
PATIENCE = 0.5  # seconds that a signal may take
BACKLOG = 10_000  # signals that wait for a connection at most; older ones are dropped
UNSENT = 4_194_304  # bytes that Redis has not taken yet: with more of them it is given up
BYTES = 16_384  # read at once: after so much of it the sockets are written to
LOOK = 5.0  # seconds between two tries whether this process hears anything

_loop: asyncio.AbstractEventLoop | None = None
_tasks: list[asyncio.Task[None]] = []
_callbacks: dict[str, set[Callback]] = {}
_outbox: deque[tuple[str, dict[str, Any]]] = deque(maxlen=BACKLOG)
_ear = f"ear.{uuid.uuid4().hex}"  # a group of this process alone: what it says there it must hear
_heard: set[asyncio.Event] = set()
_line: "_Line | None" = None  # on which it listens; None: there is no connection
_outlet: "_Line | None" = None  # on which it signals
_subscribing = asyncio.Lock()  # one order of joining and leaving


def user_group(user_id: int) -> str:
    return f"user.{user_id}"


def attach() -> None:
    """Make the running loop the one that sends and listens for this process. Every later call does nothing."""
    global _loop
    if _loop is None:
        _loop = asyncio.get_running_loop()
        _tasks.extend((_loop.create_task(_speak()), _loop.create_task(_listen()), _loop.create_task(_watch_ear())))


def post(group: str, message: dict[str, Any]) -> None:
    """Send `message` (msgpack types) to a group, soon, from any thread; never waits and never raises.

    A process without a loop of its own (a shell, `changepassword`) does wait, half a second at most.
    """
    if _loop is None:
        async_to_sync(_publish)(group, {**message, "group": group})
    elif not _loop.is_closed():
        _outbox.append((group, {**message, "group": group}))
        if not database.then(_flush):
            with contextlib.suppress(RuntimeError):  # the loop was closed in between
                _loop.call_soon_threadsafe(_flush)


async def _publish(group: str, message: dict[str, Any]) -> None:
    async with _redis() as redis:
        await _patiently(redis.publish(_name(group), _layer().serialize(message)), "signalling")


def _layer() -> Any:
    return channel_layers["default"]


@lru_cache(maxsize=BACKLOG)
def _name(group: str) -> str:
    return str(_layer()._get_group_channel_name(group))


def _redis() -> Redis:
    """Who uses it brings the patience: redis-py's own time-out for a write swallows a cancellation on Python 3.11."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=None,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0, ()),  # after no error: it would connect again even without a try left
    )


async def join(group: str, callback: Callback) -> None:
    """Hand the group's messages to `callback` from now on. Returns within half a second, subscribed or not:
    without Redis the subscription is made as soon as there is one."""
    _callbacks.setdefault(group, set()).add(callback)
    await _patiently(_tell(group), f"joining {group}")  # also where another has asked: it may still be under way


def leave(group: str, callback: Callback) -> None:
    """Hand it nothing more, at once; the subscription ends at the next look."""
    callbacks = _callbacks.get(group, set())
    callbacks.discard(callback)
    if not callbacks:
        _callbacks.pop(group, None)


async def rejoin() -> None:
    """Tell Redis of every group that is wanted, or wanted no more, and of which it has not been told."""
    await _patiently(_tell_all(), "joining and leaving")


async def hears() -> bool:
    """Whether a signal of this process comes back to it over Redis, in time."""
    heard = asyncio.Event()
    _heard.add(heard)
    try:
        _outbox.append((_ear, {"type": "ear", "group": _ear}))
        _flush()
        return await _patiently(heard.wait(), "hearing ourselves")
    finally:
        _heard.discard(heard)


def ping() -> bool:
    """`hears`, for a thread of a process whose loop is attached; False where there is none."""
    return _loop is not None and async_to_sync(hears)()


async def _patiently(waiting: Awaitable[Any], what: str) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            await waiting
        return True
    except Exception as error:  # any trouble of Redis: the record is what counts
        log.warning("redis: %s failed: %s", what, type(error).__name__)
        return False


async def _tell(group: str) -> None:
    async with _subscribing:
        if _line is not None:
            await _line.subscribe({_name(group)})


async def _tell_all() -> None:
    async with _subscribing:
        if _line is not None:
            wanted = {_name(group) for group in _callbacks}
            await _line.unsubscribe(_line.told - wanted)
            await _line.subscribe(wanted - _line.told)


class _Line:
    """A connection to Redis, and what it was told to subscribe to. It is opened once: who writes to one that has broken
    gets an error, and never another connection."""

    def __init__(self) -> None:
        pool: Any = _redis().connection_pool
        self._connection = pool.make_connection()
        self._replies = Reader()
        self.told: set[str] = set()

    async def open(self) -> None:
        if not self._connection.is_connected:
            await self._connection.connect()

    def write(self, *commands: Any) -> None:
        if not self._connection.is_connected:
            raise ConnectionError
        writer = self._connection._writer
        if writer.transport.get_write_buffer_size() > UNSENT:
            raise ConnectionError
        writer.write(b"".join([pack_command(command) for command in commands]))

    async def read(self) -> list[Any]:
        """What Redis says next: one or more replies, some of which may be errors."""
        replies: list[Any] = []
        while not replies:
            if not self._connection.is_connected or not (data := await self._connection._reader.read(BYTES)):
                raise ConnectionError
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not False:
                replies.append(reply)
        return replies

    async def subscribe(self, names: set[str]) -> None:
        if names:
            self.write(("SUBSCRIBE", *names))
            self.told |= names

    async def unsubscribe(self, names: set[str]) -> None:
        if names:
            self.told -= names  # first: what comes all the same is handed to nobody
            self.write(("UNSUBSCRIBE", *names))

    def abort(self) -> None:
        """End it; whoever reads from it is told, though not all could be written."""
        if self._connection.is_connected:
            self._connection._writer.transport.abort()

    async def close(self) -> None:
        self.abort()
        await self._connection.disconnect(nowait=True)


def _flush() -> None:
    """Send all that waits, in one go; without a connection it goes on waiting for one."""
    if _outlet is not None and _outbox:
        serialize = _layer().serialize
        signals = []
        while _outbox:  # not `for`: other threads append
            group, message = _outbox.popleft()
            try:
                signals.append(("PUBLISH", _name(group), serialize(message)))
            except Exception:  # a bug in one of them is not the others'
                log.exception("a signal to %s cannot be sent", group)
        try:
            _outlet.write(*signals)
        except ConnectionError:
            _outlet.abort()


async def _speak() -> None:
    """Keep a connection for signals, on which Redis answers nothing: there is nothing to wait for. All that it may say
    there is that it refuses this, or closes it. One of its own: a Redis which does not answer never delays what is
    received."""
    global _outlet
    while True:
        line = _Line()
        try:
            async with asyncio.timeout(PATIENCE):
                await line.open()
            line.write(("CLIENT", "REPLY", "OFF"))
            _outlet = line
            _flush()
            (said, *_) = await line.read()
            raise said if isinstance(said, Exception) else ConnectionError
        except Exception as error:
            log.warning("redis: signalling failed: %s: %s", type(error).__name__, error)
        finally:
            _outlet = None
            await line.close()
        _outbox.clear()  # nobody waits for them by now: the log has been read
        await asyncio.sleep(1)


async def _listen() -> None:
    global _line
    deserialize = _layer().deserialize

    async def hear_ear(message: dict[str, Any]) -> None:
        for heard in _heard:
            heard.set()

    _callbacks[_ear] = {hear_ear}
    while True:
        line = _Line()
        try:
            async with asyncio.timeout(PATIENCE):
                await line.open()
            _line = line
            await rejoin()
            while True:
                for reply in await line.read():
                    if isinstance(reply, Exception):
                        raise reply
                    if reply[0] != b"message":
                        continue
                    message = deserialize(reply[2])
                    for callback in tuple(_callbacks.get(message["group"], ())):
                        try:
                            await callback(message)
                        except Exception:
                            log.exception("a callback of %s failed", message["group"])
                await asyncio.sleep(0)  # reading does not wait while there is more: the sockets want to be written to
        except Exception as error:
            log.warning("redis: the subscription failed: %s", type(error).__name__)
        finally:
            _line = None
            await line.close()
        await asyncio.sleep(1)


async def _watch_ear() -> None:
    """A subscription can be deaf without an error (Redis restarted, a connection half open): then make it anew.
    If it hears, join what could not be joined, and leave what nobody wants any more."""
    while True:
        await asyncio.sleep(LOOK)
        if await hears() or await hears():
            await rejoin()
        else:
            log.warning("redis: this process does not hear itself; connecting again")
            for line in (_line, _outlet):
                if line is not None:
                    line.abort()
