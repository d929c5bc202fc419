"""Signals on their way out of a process, and into it."""

import asyncio
import signal
from contextlib import asynccontextmanager, suppress

import pytest
from channels.layers import channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis import Redis

from chat import layer
from chat.database import from_database, in_database
from tests.site import PATIENCE, Site


@pytest.fixture
def redis(tmp_path, monkeypatch, settings):
    """A Redis of its own for a loop of its own."""
    site = Site(tmp_path)
    site.start_redis()
    settings.REDIS_URL = f"unix://{site.redis_socket}"
    backend = RedisPubSubChannelLayer(hosts=[{"address": settings.REDIS_URL}], prefix="netra")
    monkeypatch.setattr(channel_layers, "backends", {"default": backend})
    fresh = {"_loop": None, "_tasks": [], "_callbacks": {}, "_line": None, "_outlet": None}
    for name, value in fresh.items():
        monkeypatch.setattr(layer, name, value)
    site.client = lambda: Redis(unix_socket_path=str(site.redis_socket))
    yield site
    site.stop()


def in_a_loop(work):
    """Run `work` in a process's loop that signals and listens."""

    async def attached():
        layer._subscribing = asyncio.Lock()
        layer.attach()
        try:
            async with asyncio.timeout(PATIENCE):
                await until(layer.hears)
                await work()
        finally:
            for task in layer._tasks:
                task.cancel()
            await asyncio.gather(*layer._tasks, return_exceptions=True)

    asyncio.run(attached())


async def until(done):
    while not await done():  # noqa: ASYNC110 nobody is told
        await asyncio.sleep(0.01)


@asynccontextmanager
async def broken(redis):
    """The connection has broken, and whoever reads from it is busy with a signal and has not seen it."""
    busy, done = asyncio.Event(), asyncio.Event()

    async def hear(message):
        busy.set()
        await done.wait()

    await layer.join("user.0", hear)
    while not busy.is_set():  # one that overtakes the subscription is lost
        layer.post("user.0", {"type": "x"})
        await asyncio.sleep(0.01)
    with redis.client() as client:
        assert client.client_kill_filter(_type="pubsub") == 1
    yield
    done.set()
    await until(layer.hears)


async def comes(group, heard):
    """Signal until it is heard: what is sent before the group is joined is lost."""
    while heard.empty():
        layer.post(group, {"type": "x"})
        await layer.hears()
    return (await heard.get())["type"]


def test_what_the_channel_layer_sends_to_a_group_is_heard(redis):
    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        while heard.empty():
            await channel_layers["default"].group_send("user.1", {"type": "x", "group": "user.1"})
            await layer.hears()
        assert (await heard.get())["type"] == "x"
        await channel_layers["default"].flush()

    in_a_loop(work)


@pytest.mark.parametrize("thread", ["the loop's", "the database's", "another"])
def test_a_signal_leaves_from_any_thread(redis, thread):
    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        assert await comes("user.1", heard) == "x"
        if thread == "the loop's":
            layer.post("user.1", {"type": thread})
        elif thread == "the database's":
            await from_database(layer.post, "user.1", {"type": thread})
        else:
            await asyncio.to_thread(layer.post, "user.1", {"type": thread})
        while (await heard.get())["type"] != thread:
            """One more of those that were sent until the first was heard."""

    in_a_loop(work)


def test_a_signal_that_cannot_be_sent_is_nobody_else_s_trouble(redis, caplog):
    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        assert await comes("user.1", heard) == "x"
        await in_database(layer.post, "user.1", {"type": "\ud800"})
        assert await comes("user.1", heard) == "x"

    in_a_loop(work)
    assert "a signal to user.1 cannot be sent" in caplog.text


def test_what_is_signalled_while_redis_is_frozen_comes_when_it_goes_on(redis):
    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        assert await comes("user.1", heard) == "x"
        redis.redis.send_signal(signal.SIGSTOP)
        for _ in range(1000):  # far more than the kernel keeps
            layer.post("user.1", {"type": "y", "text": 1000 * "y"})
        redis.redis.send_signal(signal.SIGCONT)
        for _ in range(1000):
            while (await heard.get())["type"] != "y":
                """One more of those before."""

    in_a_loop(work)


def test_a_redis_that_takes_nothing_is_given_up_and_found_again(redis, monkeypatch):
    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        outlet = layer._outlet
        redis.redis.send_signal(signal.SIGSTOP)
        while layer._outlet is outlet:
            layer.post("user.1", {"type": "y", "text": 100_000 * "y"})
            await asyncio.sleep(0)
        redis.redis.send_signal(signal.SIGCONT)
        await until(layer.hears)
        assert await comes("user.1", heard) in "xy"

    monkeypatch.setattr(layer, "UNSENT", 1_000_000)
    in_a_loop(work)


def test_a_group_joined_while_redis_was_frozen_is_joined_when_it_goes_on(redis):
    async def work():
        heard = asyncio.Queue()
        redis.redis.send_signal(signal.SIGSTOP)
        await layer.join("user.1", heard.put)
        redis.redis.send_signal(signal.SIGCONT)
        await until(layer.hears)
        await layer.rejoin()
        assert await comes("user.1", heard) == "x"

    in_a_loop(work)


def test_a_deaf_process_listens_again(redis, monkeypatch):
    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        while (line := layer._line) is not None:
            with suppress(ConnectionError):
                line.write(("UNSUBSCRIBE",))  # a connection that is open, and says nothing, also after a look
            await asyncio.sleep(0.01)
        await until(layer.hears)
        assert await comes("user.1", heard) == "x"

    monkeypatch.setattr(layer, "LOOK", 0.1)
    in_a_loop(work)


def test_who_left_hears_nothing_more_and_may_come_again(redis):
    async def work():
        heard, again, other = (asyncio.Queue() for _ in range(3))
        await layer.join("user.1", heard.put)
        await layer.join("user.2", other.put)
        layer.leave("user.1", heard.put)
        await layer.join("user.1", again.put)
        for group, queue in (("user.1", again), ("user.2", other)):
            assert await comes(group, queue) == "x"
        assert heard.empty()

    in_a_loop(work)


def test_a_process_ends_wherever_its_sending_is(redis):
    async def end(steps):
        layer._loop, layer._tasks, layer._subscribing = None, [], asyncio.Lock()
        layer.attach()
        await until(layer.hears)
        layer.post("user.1", {"type": "x"})
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in layer._tasks:
            task.cancel()
        _, running = await asyncio.wait(layer._tasks, timeout=PATIENCE)
        for task in running:
            task.cancel()
        return len(running)

    assert [asyncio.run(end(steps)) for steps in range(12)] == [0] * 12


def test_a_group_that_could_not_be_joined_is_joined_without_another_word(redis, monkeypatch):
    async def work():
        heard = asyncio.Queue()
        async with broken(redis):
            await layer.join(layer.WORKERS, heard.put)
        assert await comes(layer.WORKERS, heard) == "x"

    monkeypatch.setattr(layer, "LOOK", 0.1)
    in_a_loop(work)


def test_a_group_that_could_not_be_left_is_left_all_the_same(redis, monkeypatch):
    async def work():
        async def hear(message):
            """Not called."""

        async def unwanted():
            await layer.hears()
            with redis.client() as client:
                return not client.pubsub_channels("*user.1")

        await layer.join("user.1", hear)
        async with broken(redis):
            layer.leave("user.1", hear)
        await until(unwanted)

    monkeypatch.setattr(layer, "LOOK", 0.1)
    in_a_loop(work)


def test_a_group_joined_as_the_connection_ended_is_joined_on_the_next(redis, monkeypatch):
    subscribe = layer._Line.subscribe

    async def late(self, names):
        """It has succeeded, and whoever called it is told when the connection is already gone."""
        await subscribe(self, names)
        if any(name.endswith("user.1") for name in names) and not ended:
            ended.append(self)
            await self.close()
            await until(lambda: asyncio.sleep(0, layer._line is not self))

    async def work():
        heard = asyncio.Queue()
        await layer.join("user.1", heard.put)
        assert ended
        assert await comes("user.1", heard) == "x"

    ended = []
    monkeypatch.setattr(layer._Line, "subscribe", late)
    in_a_loop(work)


def test_who_comes_second_waits_for_the_subscription_too(redis, monkeypatch):
    subscribe = layer._Line.subscribe

    async def slow(self, names):
        begun.set()
        await go.wait()
        await subscribe(self, names)

    async def work():
        monkeypatch.setattr(layer._Line, "subscribe", slow)
        monkeypatch.setattr(layer, "PATIENCE", PATIENCE)
        first = asyncio.create_task(layer.join("user.1", asyncio.Queue().put))
        await begun.wait()
        second = asyncio.create_task(layer.join("user.1", asyncio.Queue().put))
        for _ in range(10):
            await asyncio.sleep(0)
        go.set()
        await second
        with redis.client() as client:
            assert client.pubsub_channels("*user.1")
        await first

    begun, go = asyncio.Event(), asyncio.Event()
    in_a_loop(work)
