"""Direct callbacks of the channel layer, while Redis is well, away, frozen or silent."""

import asyncio
import signal
from contextlib import asynccontextmanager

import pytest

from chat.db.access import from_database, in_database
from chat.realtime import redis_connections
from tests.redis_layers import PREFIX, redis_version, run, until
from tests.site import WAIT_TIMEOUT

__all__ = ["redis_version"]

QUICK = {"loopback_seconds": 0.1}


@asynccontextmanager
async def broken_connection(redis, layer):
    """Break the subscriber's connection while it is busy with a message and cannot notice it."""
    busy, done = asyncio.Event(), asyncio.Event()

    async def keep_busy(message):
        busy.set()
        await done.wait()

    await layer.subscribe("busy", keep_busy)
    layer.publish("busy", {"type": "x"})
    await busy.wait()
    with redis.client() as client:
        assert client.client_kill_filter(_type="pubsub") == 1
    yield
    done.set()
    await until(layer.check_loopback)


async def arrives(layer, group, received):
    """Publish until a message arrives, since the group may be subscribed to a little later."""
    while received.empty():
        layer.publish(group, {"type": "x"})
        await layer.check_loopback()
    return (await received.get())["type"] == "x"


@pytest.mark.parametrize("thread", ["loop", "database", "other"])
def test_publish_from_any_thread_arrives(redis, redis_version, thread):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        if thread == "loop":
            layer.publish("user.1", {"type": thread})
        elif thread == "database":
            await from_database(layer.publish, "user.1", {"type": thread})
        else:
            await asyncio.to_thread(layer.publish, "user.1", {"type": thread})
        return (await received.get())["type"]

    assert run(redis.layer(redis_version), work) == thread


def test_publish_without_attached_loop_arrives(redis):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        await asyncio.to_thread(redis.layer().publish, "user.1", {"type": "x"})
        return (await received.get())["type"]

    assert run(redis.layer(), work) == "x"


def test_publish_unserializable_message_is_logged_and_others_arrive(redis, caplog):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        await in_database(layer.publish, "user.1", {"type": "\ud800"})
        layer.publish("user.1", {"type": "y"})
        return (await received.get())["type"]

    assert run(redis.layer(), work) == "y"
    assert "user.1 cannot be serialized" in caplog.text


def test_dispatch_failing_callback_and_unreadable_message_leave_others_alone(redis, redis_version, caplog):
    async def fail(message):
        raise ValueError

    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", fail)
        await layer.subscribe("user.1", received.put)
        with redis.client() as client:
            assert client.publish(f"{PREFIX}__group__user.1", b"\xc1") == 1
        layer.publish("user.1", {"type": "y"})
        return (await received.get())["type"]

    assert run(redis.layer(redis_version), work) == "y"
    assert "user.1 cannot be read" in caplog.text
    assert "a callback of" in caplog.text


def test_publish_while_redis_is_frozen_arrives_afterwards(redis, redis_version):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        redis.process.send_signal(signal.SIGSTOP)
        for _ in range(1000):  # far more than the kernel keeps
            layer.publish("user.1", {"type": "y", "text": 1000 * "y"})
        redis.process.send_signal(signal.SIGCONT)
        for _ in range(1000):
            await received.get()

    run(redis.layer(redis_version), work)


def test_publish_redis_accepts_nothing_reconnects(redis, redis_version, monkeypatch, caplog):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        redis.process.send_signal(signal.SIGSTOP)
        while "publishing failed" not in caplog.text:
            layer.publish("user.1", {"type": "x", "text": 100_000 * "y"})
            await asyncio.sleep(0)
        redis.process.send_signal(signal.SIGCONT)
        await until(layer.check_loopback)
        assert await arrives(layer, "user.1", received)

    monkeypatch.setattr(redis_connections, "MAX_UNSENT_BYTES", 1_000_000)
    run(redis.layer(redis_version), work)


def test_subscribe_returns_after_confirmation(redis, redis_version):
    async def work(layer):
        for number in range(20):
            received = asyncio.Queue()
            await layer.subscribe(f"user.{number}", received.put)
            with redis.client() as client:
                assert client.pubsub_channels(f"*user.{number}")
            await asyncio.gather(*(layer.subscribe(f"user.{number}", received.put) for _ in range(3)))

    run(redis.layer(redis_version), work)


def test_subscribe_while_redis_is_frozen_takes_effect_afterwards(redis, redis_version):
    async def work(layer):
        received = asyncio.Queue()
        assert await layer.check_loopback() or await layer.check_loopback()
        redis.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(1):
            await layer.subscribe("user.1", received.put)
        redis.process.send_signal(signal.SIGCONT)
        await until(layer.check_loopback)
        await layer.repair()
        assert await arrives(layer, "user.1", received)

    async def attach_first(layer):
        layer.attach()
        await work(layer)

    run(redis.layer(redis_version), attach_first)


def test_subscribe_while_redis_is_away_returns_and_takes_effect_afterwards(redis, redis_version):
    async def work(layer):
        received = asyncio.Queue()
        layer.attach()
        await until(layer.check_loopback)
        redis.process.kill()
        redis.process.wait()
        async with asyncio.timeout(1):
            await layer.subscribe("user.1", received.put)
        await asyncio.to_thread(redis.site.start_redis)
        assert await arrives(layer, "user.1", received)

    run(redis.layer(redis_version), work)


def test_unsubscribe_ends_callbacks_and_subscribe_begins_them_again(redis, redis_version):
    async def work(layer):
        first, second, other = (asyncio.Queue() for _ in range(3))
        await layer.subscribe("user.1", first.put)
        await layer.subscribe("user.2", other.put)
        layer.unsubscribe("user.1", first.put)
        await layer.subscribe("user.1", second.put)
        for group, received in (("user.1", second), ("user.2", other)):
            layer.publish(group, {"type": group})
            assert (await received.get())["type"] == group
        assert first.empty()

    run(redis.layer(redis_version), work)


def test_loopback_check_detects_silent_redis_and_reconnects(redis, redis_version, caplog):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        before = redis.subscriber_ids()
        with redis.client() as client:
            client.client_pause(2000)  # ms, for all connections
        while "do not come back" not in caplog.text:  # noqa: ASYNC110 there is no event to wait for
            await asyncio.sleep(0.01)
        await until(layer.check_loopback)
        assert await arrives(layer, "user.1", received)
        assert not before & redis.subscriber_ids()

    run(redis.layer(redis_version, **QUICK), work)


def test_ping_answers_from_another_thread_and_not_without_a_loop(redis, redis_version):
    async def work(layer):
        assert not await asyncio.to_thread(layer.ping)
        layer.attach()
        await until(layer.check_loopback)
        assert await asyncio.to_thread(layer.ping)
        redis.process.send_signal(signal.SIGSTOP)
        assert not await asyncio.to_thread(layer.ping)
        redis.process.send_signal(signal.SIGCONT)

    run(redis.layer(redis_version), work)


def test_subscribe_while_connection_is_broken_takes_effect_on_the_next(redis, redis_version):
    async def work(layer):
        received = asyncio.Queue()
        async with broken_connection(redis, layer):
            await layer.subscribe("workers", received.put)
        assert await arrives(layer, "workers", received)

    run(redis.layer(redis_version, **QUICK), work)


def test_unsubscribe_while_connection_is_broken_ends_it_all_the_same(redis, redis_version):
    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        async with broken_connection(redis, layer):
            layer.unsubscribe("user.1", received.put)
        await until(lambda: asyncio.sleep(0, not redis.channels("*user.1")))

    run(redis.layer(redis_version, **QUICK), work)


def test_subscribe_connection_ends_meanwhile_is_made_on_the_next(redis, monkeypatch):
    subscribe = redis_connections.FastSubscriber.subscribe

    async def subscribe_and_end(self, names):
        """Succeed, but return only when the connection has ended."""
        await subscribe(self, names)
        if any(name.endswith(b"user.1") for name in names) and not ended:
            ended.append(self)
            self.abort()
            await asyncio.sleep(0.1)

    async def work(layer):
        received = asyncio.Queue()
        await layer.subscribe("user.1", received.put)
        assert ended
        assert await arrives(layer, "user.1", received)

    ended = []
    monkeypatch.setattr(redis_connections.FastSubscriber, "subscribe", subscribe_and_end)
    run(redis.layer(), work)


def test_close_at_any_moment_of_publishing_ends(redis, redis_version):
    async def work(layer, steps):
        layer.attach()
        await until(layer.check_loopback)
        layer.publish("user.1", {"type": "x"})
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_TIMEOUT):
            await layer.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for steps in range(12):
        asyncio.run(work(redis.layer(redis_version), steps))
