"""Connections to Redis for publishing and subscribing.

`connection_types` chooses between two implementations of the same two interfaces. The plain one uses redis-py's public
`PubSub` and pipelines. The fast one writes and reads through the streams of a redis-py connection, which are private:
redis-py's handling of each command and reply costs more than the command itself. The fast one is used only with the
versions of redis-py that it was written for.

A connection is opened once. After an error its user closes it and opens a new one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from hiredis import Reader, pack_command
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chat.realtime.versions import unknown_package

log = logging.getLogger("netra.layer")

WRITTEN_FOR = {"redis": "8"}  # versions of redis-py whose private streams are known
CONNECT_TIMEOUT = 0.5  # seconds
PUBLISH_TIMEOUT = 0.5  # seconds for the plain publisher's round trip
MAX_UNSENT_BYTES = 4_194_304  # not taken by Redis yet: with more, the connection is given up
READ_SIZE = 16_384  # bytes read at once: after so many the sockets are written to

Reply = Sequence[Any]  # kind (b"message", b"subscribe", ...), channel name, payload


class Publisher(Protocol):
    """Sends messages to Redis channels."""

    async def open(self) -> None:
        """Connect. Raises what redis-py raises."""

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send (channel, payload) pairs in order without waiting. Raises ConnectionError."""

    async def run(self) -> None:
        """Serve the connection until it ends; then raise the reason."""

    def abort(self) -> None:
        """End the connection: `run` raises."""

    async def close(self) -> None:
        """Release the connection."""


class Subscriber(Protocol):
    """Receives the messages of Redis channels."""

    async def open(self) -> None:
        """Connect. Raises what redis-py raises."""

    async def subscribe(self, names: Collection[bytes]) -> None:
        """Ask for the messages of these channels; each is confirmed by a `subscribe` reply."""

    async def unsubscribe(self, names: Collection[bytes]) -> None:
        """Ask for no more messages of these channels."""

    async def read(self) -> Sequence[Reply]:
        """Return the next replies. Raises what ended the connection."""

    def abort(self) -> None:
        """End the connection: `read` raises."""

    async def close(self) -> None:
        """Release the connection."""


def new_client(url: str, **options: Any) -> Redis:
    """Return a client that never retries.

    The caller sets a timeout: redis-py's own for a write swallows a cancellation on Python 3.11.
    """
    options = {"socket_connect_timeout": CONNECT_TIMEOUT, **options, "socket_timeout": None}
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0, ()), **options)


def connection_types(redis_version: str = "") -> tuple[type["Publisher"], type["Subscriber"]]:
    """Return the fast connections if they know this version of redis-py (default: the installed one), or the plain."""
    unknown = unknown_package(WRITTEN_FOR, {"redis": redis_version} if redis_version else None)
    if not unknown:
        return FastPublisher, FastSubscriber
    log.warning("%s is not known: redis-py's public interface is used", unknown)
    return PlainPublisher, PlainSubscriber


# ---- redis-py's public interface -------------------------------------------------------------------------


class PlainPublisher:
    """Publishes by pipelines, one at a time."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._pending: deque[tuple[bytes, bytes]] = deque()
        self._unsent = 0  # bytes
        self._wake_up = asyncio.Event()
        self._aborted = False

    async def open(self) -> None:
        """Connect. Raises what redis-py raises."""
        await self._client.ping()

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send (channel, payload) pairs in order without waiting. Raises ConnectionError."""
        if self._aborted or self._unsent > MAX_UNSENT_BYTES:
            raise ConnectionError
        self._pending.extend(messages)
        self._unsent += sum(len(payload) for _, payload in messages)
        self._wake_up.set()

    async def run(self) -> None:
        """Serve the connection until it ends; then raise the reason."""
        while not self._aborted:
            await self._wake_up.wait()
            self._wake_up.clear()
            messages = list(self._pending)
            self._pending.clear()
            if messages:
                pipeline = self._client.pipeline(transaction=False)
                for name, payload in messages:
                    pipeline.publish(name, payload)
                async with asyncio.timeout(PUBLISH_TIMEOUT):
                    await pipeline.execute()
                self._unsent -= sum(len(payload) for _, payload in messages)
        raise ConnectionError

    def abort(self) -> None:
        """End the connection: `run` raises."""
        self._aborted = True
        self._wake_up.set()

    async def close(self) -> None:
        """Release the connection."""
        await self._client.aclose()


class PlainSubscriber:
    """Subscribes by redis-py's `PubSub`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._pubsub: Any = client.pubsub()
        self._aborted = asyncio.Event()

    async def open(self) -> None:
        """Connect. Raises what redis-py raises."""
        await self._pubsub.connect()

    async def subscribe(self, names: Collection[bytes]) -> None:
        """Ask for the messages of these channels; each is confirmed by a `subscribe` reply."""
        if names:
            await self._pubsub.subscribe(*names)

    async def unsubscribe(self, names: Collection[bytes]) -> None:
        """Ask for no more messages of these channels."""
        if names:
            await self._pubsub.unsubscribe(*names)

    async def read(self) -> Sequence[Reply]:
        """Return the next replies. Raises what ended the connection."""
        reading = asyncio.ensure_future(self._pubsub.get_message(timeout=None))
        aborted = asyncio.ensure_future(self._aborted.wait())
        try:
            await asyncio.wait((reading, aborted), return_when=asyncio.FIRST_COMPLETED)
            if self._aborted.is_set():
                raise ConnectionError
            reply = reading.result()
        finally:
            reading.cancel()
            aborted.cancel()
        return [(reply["type"].encode(), reply["channel"], reply["data"])] if reply else []

    def abort(self) -> None:
        """End the connection: `read` raises."""
        self._aborted.set()

    async def close(self) -> None:
        """Release the connection."""
        await self._pubsub.aclose()
        await self._client.aclose()


# ---- redis-py's private streams --------------------------------------------------------------------------


class _FastConnection:
    def __init__(self, client: Redis) -> None:
        pool: Any = client.connection_pool
        self._connection = pool.make_connection()
        self._replies = Reader()

    async def open(self) -> None:
        """Connect. Raises what redis-py raises."""
        await self._connection.connect()

    def _write(self, *commands: Any) -> None:
        if not self._connection.is_connected:
            raise ConnectionError
        writer = self._connection._writer
        if writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            raise ConnectionError
        writer.write(b"".join([pack_command(command) for command in commands]))

    async def read(self) -> Sequence[Reply]:
        """Return the next replies. Raises what ended the connection."""
        replies: list[Any] = []
        while not replies:
            if not self._connection.is_connected or not (data := await self._connection._reader.read(READ_SIZE)):
                raise ConnectionError
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not False:
                if isinstance(reply, Exception):
                    raise reply
                replies.append(reply)
        return replies

    def abort(self) -> None:
        """End the connection at once, although not everything was written."""
        if self._connection.is_connected:
            self._connection._writer.transport.abort()

    async def close(self) -> None:
        """Release the connection."""
        self.abort()
        await self._connection.disconnect(nowait=True)


class FastPublisher(_FastConnection):
    """Publishes without replies: Redis says nothing on this connection but that it refuses or closes it."""

    async def open(self) -> None:
        """Connect. Raises what redis-py raises."""
        await super().open()
        self._write((b"CLIENT", b"REPLY", b"OFF"))

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send (channel, payload) pairs in order without waiting. Raises ConnectionError."""
        self._write(*[(b"PUBLISH", name, payload) for name, payload in messages])

    async def run(self) -> None:
        """Serve the connection until it ends; then raise the reason."""
        await self.read()
        raise ConnectionError


class FastSubscriber(_FastConnection):
    """Subscribes without a wait: the confirmation comes as a reply."""

    async def subscribe(self, names: Collection[bytes]) -> None:
        """Ask for the messages of these channels; each is confirmed by a `subscribe` reply."""
        if names:
            self._write((b"SUBSCRIBE", *names))

    async def unsubscribe(self, names: Collection[bytes]) -> None:
        """Ask for no more messages of these channels."""
        if names:
            self._write((b"UNSUBSCRIBE", *names))
