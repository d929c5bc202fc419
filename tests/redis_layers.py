"""Channel layers on a Redis of their own."""

import asyncio

import pytest
from redis import Redis

from chat.realtime.channel_layer import PubSubChannelLayer
from tests.site import WAIT_TIMEOUT, Site

FAST, PLAIN = "8.1.0", "7.0.0"  # versions of redis-py with and without known streams
PREFIX = "netra"


class Server:
    """A Redis of its own, and the layers on it."""

    def __init__(self, folder):
        self.site = Site(folder)
        self.site.start_redis()
        self.url = f"unix://{self.site.redis_socket}"

    @property
    def process(self):
        return self.site.redis

    def layer(self, redis_version=FAST, loopback_seconds=5.0, **options):
        pubsub = {"redis_version": redis_version, "loopback_seconds": loopback_seconds}
        return PubSubChannelLayer([self.url], prefix=PREFIX, pubsub=pubsub, **options)

    def client(self):
        return Redis(unix_socket_path=str(self.site.redis_socket))

    def subscriber_ids(self):
        with self.client() as client:
            return {entry["id"] for entry in client.client_list(_type="pubsub")}

    def channels(self, pattern):
        with self.client() as client:
            return client.pubsub_channels(pattern)


@pytest.fixture(params=[FAST, PLAIN], ids=["fast", "plain"])
def redis_version(request):
    return request.param


def run(layer, work):
    """Run `work(layer)` in an event loop, and close the layer."""

    async def main():
        try:
            async with asyncio.timeout(WAIT_TIMEOUT):
                return await work(layer)
        finally:
            await layer.close()

    return asyncio.run(main())


async def until(is_done):
    while not await is_done():  # noqa: ASYNC110 there is no event to wait for
        await asyncio.sleep(0.01)
