"""The doorbell and the loudspeaker: the only module that speaks to the channel layer.

Nothing depends on what passes here: a signal that is lost costs latency, because whoever waits for it also reads the
log. So nothing here waits longer than half a second, and nothing raises. One subscription serves the whole process:
a group's messages are handed straight to the callbacks that joined it.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

log = logging.getLogger("netra.layer")

Callback = Callable[[dict[str, Any]], Awaitable[None]]
WORKERS = "workers"
PATIENCE = 0.5  # seconds that a signal may take
BACKLOG = 10_000  # signals that wait at most; older ones are dropped
TOGETHER = 500  # signals that are sent in one go at most

_loop: asyncio.AbstractEventLoop | None = None
_tasks: list[asyncio.Task[None]] = []
_callbacks: dict[str, set[Callback]] = {}
_outbox: deque[tuple[str, dict[str, Any]]] = deque(maxlen=BACKLOG)
_wake = asyncio.Event()
_ear = f"ear.{uuid.uuid4().hex}"  # a group of this process alone: what it says there it must hear
_heard: set[asyncio.Event] = set()
_leaving: set[asyncio.Task[None]] = set()
_channel = ""


def user_group(user_id: int) -> str:
    return f"user.{user_id}"


def attach() -> None:
    """Make the running loop the one that sends and listens for this process. Every later call does nothing."""
    global _loop
    if _loop is None:
        _loop = asyncio.get_running_loop()
        _tasks.extend((_loop.create_task(_send()), _loop.create_task(_listen()), _loop.create_task(_watch_ear())))


def post(group: str, message: dict[str, Any]) -> None:
    """Send `message` (msgpack types) to a group, soon, from any thread; never waits and never raises.

    A process without a loop of its own (a shell) is not heard: sockets find out when they next compare with the log.
    """
    if _loop is not None and not _loop.is_closed():
        _outbox.append((group, {**message, "group": group}))
        with contextlib.suppress(RuntimeError):  # the loop was closed in between
            _loop.call_soon_threadsafe(_wake.set)


async def join(group: str, callback: Callback) -> None:
    """Hand the group's messages to `callback` from now on. Returns within half a second, subscribed or not:
    without Redis the subscription is made as soon as there is one."""
    callbacks = _callbacks.setdefault(group, set())
    callbacks.add(callback)
    if len(callbacks) == 1:
        await _subscribe(group)


def leave(group: str, callback: Callback) -> None:
    """Hand it nothing more, at once; the subscription ends soon."""
    callbacks = _callbacks.get(group, set())
    callbacks.discard(callback)
    if not callbacks and _callbacks.pop(group, None) is not None and _loop is not None:
        task = _loop.create_task(_unsubscribe(group))
        _leaving.add(task)
        task.add_done_callback(_leaving.discard)


async def rejoin() -> None:
    """Ask again for every group that is wanted; those that are subscribed cost nothing."""
    for group in list(_callbacks):
        if not await _subscribe(group):
            return


async def hears() -> bool:
    """Whether a signal of this process comes back to it over Redis, in time."""
    heard = asyncio.Event()
    _heard.add(heard)
    try:
        _outbox.append((_ear, {"type": "ear", "group": _ear}))
        _wake.set()
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


async def _subscribe(group: str) -> bool:
    if group not in _callbacks or not _channel:
        return False
    return await _patiently(channel_layers["default"].group_add(group, _channel), f"joining {group}")


async def _unsubscribe(group: str) -> None:
    if group not in _callbacks:  # nobody has joined again meanwhile
        await _patiently(channel_layers["default"].group_discard(group, _channel), f"leaving {group}")


async def _send() -> None:
    """What `group_send` does, for all that waits at once, on a connection of its own: a Redis which does not
    answer never delays what is received."""
    layer = channel_layers["default"]
    redis = Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
    while True:
        await _wake.wait()
        _wake.clear()
        while _outbox:
            pipeline = redis.pipeline(transaction=False)
            while _outbox and len(pipeline) < TOGETHER:
                group, message = _outbox.popleft()
                pipeline.publish(layer._get_group_channel_name(group), layer.serialize(message))
            if not await _patiently(pipeline.execute(), "signalling"):
                _outbox.clear()


async def _listen() -> None:
    global _channel
    layer = channel_layers["default"]

    async def hear_ear(message: dict[str, Any]) -> None:
        for heard in _heard:
            heard.set()

    _callbacks[_ear] = {hear_ear}
    while True:
        try:
            _channel = await layer.new_channel()
            await rejoin()
            while True:
                message = await layer.receive(_channel)
                for callback in tuple(_callbacks.get(message["group"], ())):
                    try:
                        await callback(message)
                    except Exception:
                        log.exception("a callback of %s failed", message["group"])
        except Exception as error:
            log.warning("redis: the subscription failed: %s", type(error).__name__)
            await asyncio.sleep(1)


async def _watch_ear() -> None:
    """A subscription can be deaf without an error (Redis restarted, a connection half open): then make it anew."""
    while True:
        await asyncio.sleep(5)
        if not await hears() and not await hears():
            log.warning("redis: this process is deaf; subscribing again")
            listener = _tasks[1]
            listener.cancel()
            await asyncio.wait([listener], timeout=1)
            await _patiently(channel_layers["default"].flush(), "closing the old subscription")
            _tasks[1] = asyncio.get_running_loop().create_task(_listen())
