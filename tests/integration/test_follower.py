"""The follower of a thread's events: whatever is published, lost or repeated, each event comes once and in order."""

import asyncio
import random
import time
import uuid
from contextlib import aclosing
from datetime import timedelta

import pytest

from chat import runs
from chat.accounts.authentication import Identity
from chat.db.access import in_database
from chat.dialects import COMMENT
from chat.runs import RunBatch, event_log, retention
from chat.streams.follower import Follower
from tests.factories import claim_one, client, completed, delta, frames, message
from tests.site import WAIT_TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 0.02  # seconds after which the log is looked at again


def identity_of(user, expires_at=None):
    return Identity(user.id, user.email, uuid.uuid4(), expires_at)


class Layer:
    """A channel layer whose messages a test delivers."""

    def __init__(self):
        self.callback = None

    async def subscribe(self, group, callback):
        self.callback = callback

    def unsubscribe(self, group, callback):
        self.callback = None

    def publish(self, group, published):
        """Lose it."""


@pytest.fixture
def layer(monkeypatch):
    found = Layer()
    monkeypatch.setattr("chat.realtime.channel_layer.get_layer", lambda: found)
    return found


def play(follow):
    async def bounded():
        async with asyncio.timeout(WAIT_TIMEOUT):
            return await follow()

    return asyncio.run(bounded())


async def collect(follower, count):
    """The numbers of the next events, until there are so many."""
    found = []
    async with aclosing(follower.batches(SOON)) as batches:
        async for events in batches:
            found += [event.seq for event in events]
            if len(found) >= count:
                return found
    return found


def said(thread, count):
    """Let the thread's run say so many words, and return them as they are published."""
    run = claim_one()
    runs.record([RunBatch(run, [delta(run) for _ in range(count)])])
    log = event_log.read(thread, 0, 1000)
    return [[str(thread), seq, run_id, kind, text] for seq, run_id, kind, text in log]


def test_events_that_nothing_published_are_read_from_the_log(alice, layer):
    thread = runs.start(alice.id, message()).thread_id

    async def follow():
        async with Follower(identity_of(alice), thread, 0, "sse") as follower:
            first = await collect(follower, 1)
            published = await in_database(said, thread, 5)
            return first + await collect(follower, len(published) - 1)

    assert play(follow) == [frame["seq"] for frame in frames(thread)]


def test_event_that_is_published_while_the_log_is_read_comes_once(alice, layer):
    thread = runs.start(alice.id, message()).thread_id
    published = said(thread, 3)

    async def follow():
        async with Follower(identity_of(alice), thread, 0, "sse") as follower:
            collecting = asyncio.create_task(collect(follower, len(published)))
            await asyncio.sleep(0)  # the first read is under way
            await layer.callback({"type": "events", "events": published[:2]})
            found = await collecting
            await layer.callback({"type": "events", "events": published})
            async with aclosing(follower.batches(SOON)) as batches:
                return found, await anext(batches)

    assert play(follow) == ([event[1] for event in published], [])


@pytest.mark.parametrize("seed", range(6))
def test_events_come_once_and_in_order_however_they_are_published(alice, layer, seed):
    thread, chance = runs.start(alice.id, message()).thread_id, random.Random(seed)
    run = claim_one()

    def say():
        runs.record([RunBatch(run, [delta(run) for _ in range(chance.randint(1, 3))])])
        return [[str(thread), seq, id, kind, text] for seq, id, kind, text in event_log.read(thread, 0, 1000)]

    async def follow():
        async with Follower(identity_of(alice), thread, 0, "sse") as follower:

            async def publish():
                late = []
                for _ in range(12):
                    new = (await in_database(say))[-3:]  # some of them again
                    late = [event for event in late + new if chance.random() < 0.3]
                    for event in (*late, *(event for event in new if chance.random() < 0.7)):
                        await layer.callback({"type": "events", "events": [event]})

            publishing, found = asyncio.create_task(publish()), []
            async with aclosing(follower.batches(SOON)) as batches:
                async for events in batches:
                    found += [event.seq for event in events]
                    if not events and publishing.done():
                        break
            return found

    assert play(follow) == [frame["seq"] for frame in frames(thread)]


def test_events_of_other_threads_are_not_followed(alice, layer):
    thread, other = (runs.start(alice.id, message()).thread_id for _ in range(2))

    async def follow():
        async with Follower(identity_of(alice), thread, 0, "sse") as follower:
            await collect(follower, 1)
            await layer.callback({"type": "events", "events": [[str(other), 2, "", "thread_updated", "{}"]]})
            await layer.callback({"type": "control", "thread": str(other), "frame": "{}"})
            await layer.callback({"type": "key_ended", "key": None})
            async with aclosing(follower.batches(SOON)) as batches:
                return await anext(batches), follower.ended

    assert play(follow) == ([], "")


@pytest.mark.parametrize(
    ("why", "published"),
    [
        ("deleted", lambda thread: {"type": "control", "thread": str(thread), "frame": "{}"}),
        ("deleted", None),
        ("revoked", lambda thread: {"type": "session_ended", "session": None}),
    ],
)
def test_follower_ends_with_its_thread_and_its_credential(alice, layer, why, published):
    thread = runs.start(alice.id, message()).thread_id

    async def follow():
        async with Follower(identity_of(alice), thread, 0, "sse") as follower:
            await collect(follower, 1)
            if published is None:  # the message about it was lost
                await in_database(runs.delete, alice.id, thread)
            else:
                await layer.callback(published(thread))
            await collect(follower, 100)
            return follower.ended

    assert play(follow) == why


def test_follower_ends_when_the_token_expires(alice, layer):
    thread = runs.start(alice.id, message()).thread_id

    async def follow():
        async with Follower(identity_of(alice, int(time.time())), thread, 0, "sse") as follower:
            await collect(follower, 100)
            return follower.ended

    assert play(follow) == "expired"


@pytest.mark.parametrize("after", [0, 50])
def test_follower_says_if_the_log_does_not_reach_back_to_its_cursor(alice, layer, after):
    thread = runs.start(alice.id, message()).thread_id
    run = claim_one()
    runs.record([completed(run)])
    head = len(frames(thread))
    sum(retention.prune(timedelta()))
    runs.start(alice.id, message("more", thread_id=thread))

    async def follow():
        async with Follower(identity_of(alice), thread, after, "sse") as follower:
            async with aclosing(follower.batches(SOON)) as batches:
                events = await anext(batches)
                return follower.pruned, [event.seq for event in events]

    assert play(follow) == ((head + 1, head + 1), [] if after else [head + 1])


def stream_of(user, thread):
    """A chat completion that waits behind a run of the thread, as it comes."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    answer = client(user).post("/v1/chat/completions", body, format="json", HTTP_NETRA_THREAD=str(thread))
    return aiter(answer.streaming_content)


def test_stream_without_frames_of_its_own_is_kept_open_by_comments(alice, layer):
    first = runs.start(alice.id, message("something else"))
    parts = stream_of(alice, first.thread_id)

    async def follow():
        while b"assistant" not in await anext(parts):
            pass
        await anext(parts)  # its own message, which has no frame
        found = []
        for seq in (3, 4, 5):  # of the run that it waits behind
            event = [str(first.thread_id), seq, str(first.run_id), "agent_delta", "{}"]
            await layer.callback({"type": "events", "events": [event]})
            found.append(await anext(parts))
        await parts.aclose()
        return found

    assert play(follow) == [COMMENT.encode()] * 3


def test_stream_of_a_deleted_thread_has_an_end(alice, layer):
    thread = runs.start(alice.id, message()).thread_id
    parts = stream_of(alice, thread)

    async def follow():
        while b"assistant" not in await anext(parts):
            pass
        await anext(parts)
        await in_database(runs.delete, alice.id, thread)
        await layer.callback({"type": "control", "thread": str(thread), "frame": "{}"})
        return b"".join([part async for part in parts])

    text = play(follow)
    assert b'"finish_reason":"length"' in text
    assert text.endswith(b"data: [DONE]\n\n")


def test_events_until_the_end_of_a_run_end_also_for_a_cursor_before_the_log(alice, layer):
    thread = runs.start(alice.id, message()).thread_id
    runs.record([completed(claim_one())])
    sum(retention.prune(timedelta()))
    second = runs.start(alice.id, message("more", thread_id=thread))
    runs.record([completed(claim_one())])
    path = f"/api/threads/{thread}/events?until={second.run_id}"
    answer = client(alice).get(path, HTTP_ACCEPT="text/event-stream")

    async def follow():
        return b"".join([part async for part in answer.streaming_content])

    text = play(follow)
    assert b"event: resync" in text
    assert b"id: " not in text
