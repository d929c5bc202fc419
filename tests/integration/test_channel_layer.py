"""The contract of Channels' layers, kept by ours on both kinds of connection."""

import asyncio

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.exceptions import ImproperlyConfigured

from chat.realtime.channel_layer import PubSubChannelLayer, get_layer
from tests.redis_layers import FAST, PREFIX, redis_version, run, until

__all__ = ["redis_version"]

MESSAGE = {"type": "test.message", "text": "Ahoy-hoy!"}


async def nothing_comes(layer, channel):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await layer.receive(channel)


def test_settings_name_this_layer():
    assert isinstance(get_channel_layer(), PubSubChannelLayer)
    assert get_layer() is get_channel_layer()
    assert set(get_layer().extensions) == {"groups", "flush"}


def test_send_to_new_channel_is_received(redis, redis_version):
    async def work(layer):
        channel = await layer.new_channel()
        await layer.send(channel, MESSAGE)
        return await layer.receive(channel)

    assert run(redis.layer(redis_version), work) == MESSAGE


def test_send_to_several_channels_keeps_order_and_address(redis, redis_version):
    async def work(layer):
        first, second = await layer.new_channel(), await layer.new_channel("other.")
        assert first != second
        for number in range(20):
            await layer.send((first, second)[number % 2], {"type": "number", "number": number})
        received = [[(await layer.receive(channel))["number"] for _ in range(10)] for channel in (first, second)]
        assert received == [list(range(0, 20, 2)), list(range(1, 20, 2))]

    run(redis.layer(redis_version), work)


def test_receive_from_named_channel_subscribes(redis, redis_version):
    async def work(layer):
        receiving = asyncio.create_task(layer.receive("test-channel"))
        await until(lambda: asyncio.sleep(0, redis.channels("test-channel")))
        await layer.send("test-channel", MESSAGE)
        return await receiving

    assert run(redis.layer(redis_version), work) == MESSAGE


def test_group_send_reaches_members_only(redis, redis_version):
    async def work(layer):
        first, second, third = [await layer.new_channel() for _ in range(3)]
        for channel in (first, second, third):
            await layer.group_add("test-group", channel)
        await layer.group_discard("test-group", second)
        await layer.group_discard("test-group", second)
        await layer.group_send("test-group", MESSAGE)
        assert await layer.receive(first) == await layer.receive(third) == MESSAGE
        await nothing_comes(layer, second)

    run(redis.layer(redis_version), work)


def test_group_send_channel_in_several_groups_gets_each(redis, redis_version):
    async def work(layer):
        channel, other = await layer.new_channel(), await layer.new_channel()
        for group in ("one", "two", "two"):
            await layer.group_add(group, channel)
        await layer.group_add("three", other)
        for group in ("one", "two", "three"):
            await layer.group_send(group, {"type": group})
        assert [(await layer.receive(channel))["type"] for _ in range(2)] == ["one", "two"]
        await nothing_comes(layer, channel)

    run(redis.layer(redis_version), work)


def test_group_send_from_another_layer_is_received(redis, redis_version):
    async def work(layer):
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await asyncio.to_thread(async_to_sync(redis.layer(redis_version).group_send), "group", MESSAGE)
        return await layer.receive(channel)

    assert run(redis.layer(redis_version), work) == MESSAGE


def test_group_send_members_get_copies(redis):
    async def work(layer):
        channels = [await layer.new_channel() for _ in range(2)]
        for channel in channels:
            await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "x", "list": []})
        first, second = [await layer.receive(channel) for channel in channels]
        first["list"].append(1)
        assert second["list"] == []

    run(redis.layer(), work)


def test_group_send_full_channel_drops_and_others_receive(redis):
    async def work(layer):
        small, large = await layer.new_channel(), await layer.new_channel("large.")
        last = await layer.new_channel()
        for channel in (small, large):
            await layer.group_add("group", channel)
        for number in range(10):
            await layer.group_send("group", {"type": "x", "number": number})
        await layer.send(last, MESSAGE)
        await layer.receive(last)  # after all of the group's
        assert [(await layer.receive(small))["number"] for _ in range(3)] == [0, 1, 2]
        assert [(await layer.receive(large))["number"] for _ in range(10)] == list(range(10))
        await nothing_comes(layer, small)

    run(redis.layer(capacity=3, channel_capacity={f"{PREFIX}.large.*": 100}), work)


def test_send_full_channel_raises_channel_full(redis):
    async def work(layer):
        channel = await layer.new_channel()
        await layer.send(channel, MESSAGE)
        await layer.send(channel, MESSAGE)
        while not await layer.check_loopback():
            """Both messages have arrived once a later one has."""
        with pytest.raises(ChannelFull):
            await layer.send(channel, MESSAGE)

    run(redis.layer(capacity=2), work)


def test_receive_expired_message_is_dropped(redis):
    async def work(layer):
        channel = await layer.new_channel()
        await layer.send(channel, {"type": "old"})
        await asyncio.sleep(0.4)
        await layer.send(channel, {"type": "new"})
        return (await layer.receive(channel))["type"]

    assert run(redis.layer(expiry=0.2), work) == "new"


def test_receive_cancelled_ends_subscription(redis):
    async def work(layer):
        channel = await layer.new_channel()
        await nothing_comes(layer, channel)
        await until(lambda: asyncio.sleep(0, not redis.channels(channel)))
        receiving = asyncio.create_task(layer.receive(channel))
        await until(lambda: asyncio.sleep(0, redis.channels(channel)))
        await layer.send(channel, MESSAGE)
        assert await receiving == MESSAGE

    run(redis.layer(loopback_seconds=0.1), work)


def test_receive_one_of_two_cancelled_other_goes_on(redis):
    async def work(layer):
        channel = await layer.new_channel()
        kept, cancelled = [asyncio.create_task(layer.receive(channel)) for _ in range(2)]
        await asyncio.sleep(0)
        cancelled.cancel()
        await layer.send(channel, MESSAGE)
        assert await kept == MESSAGE

    run(redis.layer(), work)


@pytest.mark.parametrize("options", [{"serializer_format": "json"}, {"symmetric_encryption_keys": ["key"]}])
def test_serializer_options_are_used(redis, options):
    if "symmetric_encryption_keys" in options:
        pytest.importorskip("cryptography")

    async def work(layer):
        channel = await layer.new_channel()
        await layer.send(channel, MESSAGE)
        return await layer.receive(channel)

    layer = redis.layer(**options)
    assert run(layer, work) == MESSAGE
    assert layer.deserialize(layer.serialize(MESSAGE)) == MESSAGE
    assert layer.serialize(MESSAGE) != redis.layer().serialize(MESSAGE)


@pytest.mark.parametrize("name", ["¯\\_(ツ)_/¯", "chat", "a" * 200])
def test_invalid_names_raise_type_error(redis, name):
    async def work(layer):
        channel = await layer.new_channel()
        if name == "chat":
            with pytest.raises(RuntimeError):
                await layer.group_add("group", name)
            return
        for call in (layer.group_add(name, channel), layer.group_send(name, MESSAGE), layer.send(name, MESSAGE)):
            with pytest.raises(TypeError):
                await call

    run(redis.layer(), work)


@pytest.mark.parametrize("end", ["flush", "close"])
def test_layer_after_flush_or_close_is_like_new(redis, redis_version, end):
    async def work(layer):
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await getattr(layer, end)()
        await until(lambda: asyncio.sleep(0, not redis.subscriber_ids()))
        with pytest.raises(RuntimeError):
            await layer.group_add("group", channel)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", MESSAGE)
        assert await layer.receive(channel) == MESSAGE

    run(redis.layer(redis_version), work)


def test_layer_in_a_second_event_loop_after_the_first_was_closed(redis):
    async def work():
        channel = await layer.new_channel()
        await layer.send(channel, MESSAGE)
        return await layer.receive(channel)

    layer = redis.layer()
    assert asyncio.run(work()) == asyncio.run(work()) == MESSAGE


def test_layer_with_two_hosts_is_refused():
    with pytest.raises(ImproperlyConfigured):
        PubSubChannelLayer(["redis://one", "redis://two"])


def test_channels_redis_layer_and_ours_understand_each_other(redis, redis_version):
    async def work(layer):
        theirs = RedisPubSubChannelLayer(hosts=[redis.url], prefix=PREFIX)
        received = asyncio.Queue()
        await layer.subscribe("group", received.put)
        await theirs.group_send("group", MESSAGE)
        assert await received.get() == MESSAGE
        channel = await theirs.new_channel()
        await theirs.group_add("group", channel)
        while True:  # theirs does not wait for the confirmation
            await layer.group_send("group", MESSAGE)
            try:
                async with asyncio.timeout(0.5):
                    assert await theirs.receive(channel) == MESSAGE
                break
            except TimeoutError:
                channel = await theirs.new_channel()
                await theirs.group_add("group", channel)
        await theirs.flush()

    run(redis.layer(redis_version), work)


def test_unknown_redis_py_uses_its_public_interface(redis, caplog):
    redis.layer("9.0.0")
    assert "redis 9.0.0 is not known" in caplog.text
    caplog.clear()
    redis.layer(FAST)
    assert not caplog.text
