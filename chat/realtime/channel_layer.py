"""A channel layer on Redis pub/sub, for worker wake-ups and live fan-out.

It keeps the contract of Channels' layers. Its one extension is `subscribe`: a group's messages go straight to a
callback. A queue and a task for each socket, which a consumer's channel needs, cost twice as much.
"""

import asyncio
import copy
import time
import uuid
from collections import Counter
from functools import partial
from typing import Any, cast

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer, get_channel_layer
from channels_redis.serializers import registry
from django.core.exceptions import ImproperlyConfigured

from chat.realtime.pubsub import Callback, PubSub

WORKERS = "workers"  # the group of the worker processes

Message = dict[str, Any]


def user_group(user_id: int) -> str:
    """Return the group of a user's sockets."""
    return f"user.{user_id}"


def get_layer() -> "PubSubChannelLayer":
    """Return the default channel layer of this process."""
    return cast("PubSubChannelLayer", get_channel_layer())


def publish(group: str, message: Message) -> None:
    """Send a message to a group through the default layer, see PubSubChannelLayer.publish."""
    get_layer().publish(group, message)


class PubSubChannelLayer(BaseChannelLayer):  # type: ignore[misc]
    """A layer of Channels' contract with at-most-once delivery.

    Each channel of the process keeps up to `capacity` messages for at most `expiry` seconds. A channel without "!" or
    "specific." in its name reaches every process that receives from it. `hosts` holds one URL, or a dict with an
    `address` and options of redis-py's `from_url`; `pubsub` holds options of PubSub.
    """

    extensions = ("groups", "flush")

    def __init__(
        self,
        hosts: list[str | dict[str, Any]],
        prefix: str = "asgi",
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
        serializer_format: str = "msgpack",
        symmetric_encryption_keys: list[str | bytes] | None = None,
        pubsub: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        if len(hosts) != 1:
            raise ImproperlyConfigured("The channel layer uses one Redis: give one host.")
        host = {"address": hosts[0]} if isinstance(hosts[0], str) else dict(hosts[0])
        self.prefix = prefix
        self._serializer = registry.get_serializer(
            serializer_format, symmetric_encryption_keys=symmetric_encryption_keys
        )
        self._pubsub = PubSub(host.pop("address"), self.serialize, self.deserialize, **host, **(pubsub or {}))
        self._queues: dict[str, asyncio.Queue[tuple[float, Message]]] = {}  # (monotonic time, message) by channel
        self._receivers: Counter[str] = Counter()  # coroutines that wait, by channel
        self._callbacks: dict[str, Callback] = {}  # that fill the queues, by name in Redis
        self._groups: dict[str, set[str]] = {}  # channels by group

    def serialize(self, message: Message) -> bytes:
        """Return the message as bytes."""
        return cast("bytes", self._serializer.serialize(message))

    def deserialize(self, message: bytes) -> Message:
        """Return the message in these bytes."""
        return cast("Message", self._serializer.deserialize(message))

    # ---- extension: direct callbacks ----

    def attach(self) -> None:
        """Keep the connections of this process in the running loop. Every later call does nothing."""
        self._pubsub.attach()

    def publish(self, group: str, message: Message) -> None:
        """Send a message to a group soon, from any thread. Never raises, see PubSub.publish."""
        self._pubsub.publish(self._group_name(group), message)

    async def subscribe(self, group: str, callback: Callback) -> None:
        """Call `callback` with each message of the group. Waits at most half a second, see PubSub.subscribe."""
        await self._pubsub.subscribe(self._group_name(group), callback)

    def unsubscribe(self, group: str, callback: Callback) -> None:
        """Call `callback` no more."""
        self._pubsub.unsubscribe(self._group_name(group), callback)

    async def repair(self) -> None:
        """Request the subscriptions that are missing at Redis."""
        await self._pubsub.repair()

    async def check_loopback(self) -> bool:
        """Tell if a message of this process comes back over Redis in time."""
        return await self._pubsub.check_loopback()

    def ping(self) -> bool:
        """Check the loopback from a thread without an event loop."""
        return self._pubsub.ping()

    # ---- Channels' contract ----

    async def send(self, channel: str, message: Message) -> None:
        """Send a message to a channel. Raises ChannelFull if the channel is this process's and is full."""
        self.require_valid_channel_name(channel)
        queue = self._queues.get(channel)
        if queue is not None and queue.full():
            raise ChannelFull
        await self._pubsub.send(channel, message)

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a new channel of this process."""
        channel = f"{self.prefix}.{prefix}{uuid.uuid4().hex}"
        await self._open_queue(channel)
        return channel

    async def receive(self, channel: str) -> Message:
        """Return the channel's next message. One of several waiting coroutines gets it.

        A cancelled wait ends the channel's subscription, since Channels has no other sign that a consumer has ended.
        """
        self.require_valid_channel_name(channel)
        queue = await self._open_queue(channel)
        self._receivers[channel] += 1
        try:
            while True:
                received_at, message = await queue.get()
                if time.monotonic() - received_at <= self.expiry:
                    return message
        except asyncio.CancelledError:
            if self._receivers[channel] == 1 and self._queues.get(channel) is queue:
                del self._queues[channel]
                self._close(channel)
            raise
        finally:
            self._receivers[channel] -= 1
            if self._receivers[channel] <= 0:
                del self._receivers[channel]

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group. Raises RuntimeError for another process's channel."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if channel not in self._queues:
            raise RuntimeError(f"{channel} is not a channel of this process.")
        self._groups.setdefault(group, set()).add(channel)
        await self._open(self._group_name(group), partial(self._receive_group, group))

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group; do nothing if it is not in the group."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        channels = self._groups.get(group, set())
        channels.discard(channel)
        if not channels and self._groups.pop(group, None) is not None:
            self._close(self._group_name(group))

    async def group_send(self, group: str, message: Message) -> None:
        """Send a message to every channel of a group. A full channel drops it."""
        self.require_valid_group_name(group)
        await self._pubsub.send(self._group_name(group), message)

    async def flush(self) -> None:
        """Forget all channels, groups and callbacks, and close the connections. The layer can be used again."""
        self._queues.clear()
        self._groups.clear()
        self._callbacks.clear()
        await self._pubsub.close()

    async def close(self) -> None:
        """Close the connections of this process."""
        await self.flush()

    def _group_name(self, group: str) -> str:
        return f"{self.prefix}__group__{group}"

    async def _open_queue(self, channel: str) -> asyncio.Queue[tuple[float, Message]]:
        queue = self._queues.get(channel)
        if queue is None:
            queue = self._queues[channel] = asyncio.Queue(self.get_capacity(channel))
            await self._open(channel, partial(self._receive_channel, channel))
        return queue

    async def _open(self, name: str, callback: Callback) -> None:
        callback = self._callbacks.setdefault(name, callback)
        await self._pubsub.subscribe(name, callback)

    def _close(self, name: str) -> None:
        self._pubsub.unsubscribe(name, self._callbacks.pop(name))

    async def _receive_channel(self, channel: str, message: Message) -> None:
        self._put(channel, message)

    async def _receive_group(self, group: str, message: Message) -> None:
        for channel in self._groups.get(group, ()):
            self._put(channel, copy.deepcopy(message))

    def _put(self, channel: str, message: Message) -> None:
        queue = self._queues.get(channel)
        if queue is not None and not queue.full():
            queue.put_nowait((time.monotonic(), message))
