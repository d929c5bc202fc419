"""Redis pub/sub for a process: messages to Redis channels, and callbacks for the messages of Redis channels.

Delivery is best effort; the event log is the source of truth. So nothing here waits longer than half a second, and
nothing raises an error of Redis. There are two connections: a Redis that does not accept messages never delays the
messages that are received.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from asgiref.sync import async_to_sync

from chat.realtime.redis_connections import Publisher, Subscriber, connection_types, new_client

log = logging.getLogger("netra.layer")

Callback = Callable[[Any], Awaitable[None]]

TIMEOUT = 0.5  # seconds that a caller waits for Redis
MAX_OUTBOX_MESSAGES = 10_000  # that wait for a connection; older ones are dropped
LOOPBACK_SECONDS = 5.0  # between two loopback checks
RECONNECT_SECONDS = 1.0  # between two attempts to connect


class PubSub:
    """The pub/sub connections of one process, which live in the event loop that attached them first.

    `serialize` and `deserialize` convert between a message and the bytes in Redis. `redis_version` chooses the kind of
    connection, see redis_connections.
    """

    def __init__(
        self,
        url: str,
        serialize: Callable[[Any], bytes],
        deserialize: Callable[[bytes], Any],
        *,
        loopback_seconds: float = LOOPBACK_SECONDS,
        redis_version: str = "",
        **options: Any,
    ) -> None:
        self._url, self._options = url, options
        self._serialize, self._deserialize = serialize, deserialize
        self._loopback_seconds = loopback_seconds
        self._publisher_type, self._subscriber_type = connection_types(redis_version)
        self._loopback = f"loopback.{uuid.uuid4().hex}".encode()  # a Redis channel of this process alone
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reset()

    def _reset(self) -> None:
        self._outbox: deque[tuple[bytes, bytes]] = deque(maxlen=MAX_OUTBOX_MESSAGES)
        self._callbacks: dict[bytes, set[Callback]] = {}
        self._waiters: dict[bytes, set[asyncio.Future[None]]] = {}  # for the confirmation of a subscription
        self._requested: set[bytes] = set()  # subscriptions that the current connection was asked for
        self._confirmed: set[bytes] = set()  # and that Redis has confirmed
        self._loopback_events: set[asyncio.Event] = set()
        self._is_flushing = False  # `_flush` will run in the loop
        self._publisher: Publisher | None = None
        self._subscriber: Subscriber | None = None
        self._is_down = False  # the last attempt to subscribe failed
        self._subscribing = asyncio.Lock()  # one order of subscribing and unsubscribing
        self._tasks: list[asyncio.Task[None]] = []

    # ---- life cycle ----

    @property
    def is_attached(self) -> bool:
        """Tell if the running loop is the one of the connections."""
        return self._loop is asyncio.get_running_loop()

    def attach(self) -> None:
        """Keep the connections in the running loop, unless another loop that is not closed has them."""
        if self._loop is None or self._loop.is_closed():
            self._reset()
            self._callbacks[self._loopback] = {self._receive_loopback}
            self._loop = asyncio.get_running_loop()
            jobs = (self._run_publisher(), self._run_subscriber(), self._run_loopback_checks())
            self._tasks = [self._loop.create_task(job) for job in jobs]

    async def close(self) -> None:
        """Close the connections and forget all callbacks. `attach` may be called again."""
        tasks, self._loop = self._tasks, None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reset()

    # ---- publishing ----

    def publish(self, name: str, message: Any) -> None:
        """Send a message soon, from any thread. Never raises; a message that cannot be serialized is logged.

        Only a process without an attached loop (a management command) waits, for at most TIMEOUT. A message from a loop
        that is not attached is dropped.
        """
        try:
            payload = self._serialize(message)
        except Exception:
            log.exception("a message to %s cannot be serialized", name)
            return
        loop = self._loop
        if loop is None:
            with contextlib.suppress(RuntimeError):  # a loop runs in this thread
                async_to_sync(self._publish_once)(name, payload)
        elif not loop.is_closed():
            self._outbox.append((name.encode(), payload))
            if not self._is_flushing:  # the messages of one commit wake the loop once
                self._is_flushing = True
                with contextlib.suppress(RuntimeError):  # the loop was closed in between
                    loop.call_soon_threadsafe(self._flush)

    async def send(self, name: str, message: Any) -> None:
        """Send a message from any event loop. Raises what the serializer raises."""
        payload = self._serialize(message)
        if self.is_attached:
            self._outbox.append((name.encode(), payload))
            self._flush()
        else:
            await self._publish_once(name, payload)

    async def _publish_once(self, name: str, payload: bytes) -> None:
        async with new_client(self._url, **self._options) as client:
            await self._bounded(client.publish(name, payload), "publishing")

    def _flush(self) -> None:
        """Send all waiting messages in one piece; without a connection they go on waiting."""
        self._is_flushing = False
        if self._publisher is not None and self._outbox:
            messages = []
            while self._outbox:  # not `for`: other threads append
                messages.append(self._outbox.popleft())
            try:
                self._publisher.publish(messages)
            except ConnectionError:
                self._publisher.abort()

    async def _run_publisher(self) -> None:
        while True:
            publisher = self._publisher_type(new_client(self._url, **self._options))  # type: ignore[call-arg]
            try:
                async with asyncio.timeout(TIMEOUT):
                    await publisher.open()
                self._publisher = publisher
                self._flush()
                await publisher.run()
            except Exception as error:
                log.warning("redis: publishing failed: %s: %s", type(error).__name__, error)
            finally:
                self._publisher = None
                await _close(publisher)
            self._outbox.clear()  # the event log has been read by now
            await asyncio.sleep(RECONNECT_SECONDS)

    # ---- subscribing ----

    async def subscribe(self, name: str, callback: Callback) -> bool:
        """Call `callback` with each message of this Redis channel from now on.

        Returns once Redis has confirmed the subscription, or False after TIMEOUT, or at once if Redis is down. The
        subscription is then made as soon as Redis is back.
        """
        self.attach()
        if not self.is_attached:
            raise RuntimeError("Another event loop holds the connections of this process.")
        self._callbacks.setdefault(name.encode(), set()).add(callback)
        if self._is_down:
            return False
        return await self._bounded(self._confirm(name.encode()), f"subscribing to {name}")

    def unsubscribe(self, name: str, callback: Callback) -> None:
        """Call `callback` no more. The next `repair` unsubscribes at Redis."""
        callbacks = self._callbacks.get(name.encode(), set())
        callbacks.discard(callback)
        if not callbacks:
            self._callbacks.pop(name.encode(), None)

    async def repair(self) -> None:
        """Request the subscriptions that are missing at Redis, and end those without a callback."""
        await self._bounded(self._repair(), "repairing subscriptions")

    async def _confirm(self, name: bytes) -> None:
        if name in self._confirmed:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(name, set())
        waiters.add(waiter)
        try:
            async with self._subscribing:
                if self._subscriber is not None and name not in self._requested:
                    await self._request(self._subscriber, {name})
            await waiter
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiters.pop(name, None)

    async def _repair(self) -> None:
        async with self._subscribing:
            if self._subscriber is not None:
                unwanted = self._requested - self._callbacks.keys()
                self._requested -= unwanted
                self._confirmed -= unwanted
                await self._subscriber.unsubscribe(unwanted)
                await self._request(self._subscriber, self._callbacks.keys() - self._requested)

    async def _request(self, subscriber: Subscriber, names: set[bytes]) -> None:
        await subscriber.subscribe(names)
        if subscriber is self._subscriber:  # the connection may have ended meanwhile
            self._requested |= names

    async def _run_subscriber(self) -> None:
        while True:
            subscriber = self._subscriber_type(new_client(self._url, **self._options))  # type: ignore[call-arg]
            try:
                async with asyncio.timeout(TIMEOUT):
                    await subscriber.open()
                self._requested, self._confirmed = set(), set()
                self._subscriber, self._is_down = subscriber, False
                await self.repair()
                while True:
                    for kind, name, payload in await subscriber.read():
                        if kind == b"message":
                            await self._dispatch(name, payload)
                        elif kind == b"subscribe":
                            self._record_confirmation(name)
                    await asyncio.sleep(0)  # reading does not wait while there is more, and the sockets must be written
            except Exception as error:
                log.warning("redis: the subscription failed: %s: %s", type(error).__name__, error)
            finally:
                self._subscriber, self._is_down = None, True
                self._requested, self._confirmed = set(), set()
                await _close(subscriber)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _dispatch(self, name: bytes, payload: bytes) -> None:
        callbacks = self._callbacks.get(name)
        if not callbacks:
            return
        try:
            message = self._deserialize(payload)
        except Exception:
            log.exception("a message of %s cannot be read", name.decode())
            return
        for callback in tuple(callbacks):
            try:
                await callback(message)
            except Exception:
                log.exception("a callback of %s failed", name.decode())

    def _record_confirmation(self, name: bytes) -> None:
        if name in self._requested:
            self._confirmed.add(name)
        for waiter in self._waiters.get(name, ()):
            if not waiter.done():
                waiter.set_result(None)

    # ---- loopback ----

    async def check_loopback(self) -> bool:
        """Tell if a message of this process comes back over Redis within TIMEOUT."""
        event = asyncio.Event()
        self._loopback_events.add(event)
        try:
            await self.send(self._loopback.decode(), {"type": "loopback"})
            return await self._bounded(event.wait(), "the loopback check")
        finally:
            self._loopback_events.discard(event)

    def ping(self) -> bool:
        """Check the loopback from another thread; False in a process without an attached loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return False
        check = asyncio.run_coroutine_threadsafe(self.check_loopback(), loop)
        try:
            return check.result(4 * TIMEOUT)  # the loop may be busy
        except FutureTimeoutError:
            check.cancel()
            return False

    async def _receive_loopback(self, _: Any) -> None:
        for event in self._loopback_events:
            event.set()

    async def _run_loopback_checks(self) -> None:
        """Detect silently dead connections with a loopback message and reconnect. Otherwise repair subscriptions."""
        while True:
            await asyncio.sleep(self._loopback_seconds)
            if await self.check_loopback() or await self.check_loopback():
                await self.repair()
            else:
                log.warning("redis: messages of this process do not come back; connecting again")
                for connection in (self._subscriber, self._publisher):
                    if connection is not None:
                        connection.abort()

    @staticmethod
    async def _bounded(work: Awaitable[Any], title: str) -> bool:
        """Wait at most TIMEOUT; log a failure and return False."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await work
            return True
        except Exception as error:
            log.warning("redis: %s failed: %s", title, type(error).__name__)
            return False


async def _close(connection: Publisher | Subscriber) -> None:
    try:
        async with asyncio.timeout(TIMEOUT):
            await connection.close()
    except Exception as error:
        log.warning("redis: closing a connection failed: %s", type(error).__name__)
