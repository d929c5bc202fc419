"""Cases of a socket that a running site cannot be brought to."""

import asyncio
import json
import uuid

import pytest
from django.db import OperationalError

from chat import runs
from chat.accounts import sessions
from chat.accounts.authentication import Identity, KeyGrant
from chat.db.access import in_database
from chat.models import Run
from chat.realtime import consumers
from chat.realtime.connections import ConnectionRegistry
from chat.realtime.consumers import ChatConsumer
from chat.realtime.event_stream import MAX_BUFFERED_EVENTS, EventStream
from chat.realtime.sender import FrameSender
from chat.runs.batching import StartBatcher
from tests.factories import message
from tests.frames import check
from tests.site import WAIT_TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)


def new_consumer(send):
    """Return a consumer of the main path that sends to `send`."""
    consumer = ChatConsumer(ConnectionRegistry(), StartBatcher())
    consumer.mode, consumer.base_send, consumer.scope = "main", send, {"headers": []}
    return consumer


def opened(user, monkeypatch, publish):
    """Return the types of the frames of a socket that receives `publish()` right after the heads were read."""
    sent, token = [], sessions.sign_in(user, "").access
    from_database = consumers.from_database

    async def send(frame):
        sent.append(frame)

    async def open_socket():
        consumer = new_consumer(send)

        async def then_publish(*args):
            found = await from_database(*args)
            await consumer.receive(await in_database(publish))
            return found

        monkeypatch.setattr(consumers, "from_database", then_publish)
        async with consumer.stream.lock:
            found = await consumer.identify(token)
            monkeypatch.setattr(consumers, "from_database", from_database)
            await consumer.open(*found)
            await consumer.stream.send_outstanding()
        consumer.cleanup()

    asyncio.run(open_socket())
    return [check(json.loads(frame["text"]))["type"] if "text" in frame else frame["code"] for frame in sent]


def test_a_key_stops_no_run_of_an_agent_that_it_does_not_name(alice):
    """Not by its thread and not among all; by its id it does not exist."""
    sent = []
    accepted = runs.start(alice.id, message())
    other = Run.objects.get().agent

    async def send(frame):
        sent.append(json.loads(frame["text"]))

    async def play(agents, *stops):
        consumer = new_consumer(send)
        key = KeyGrant(uuid.uuid4(), True, frozenset(agents))
        consumer.identity = Identity(alice.id, alice.email, None, None, key)
        for fields in stops:
            await consumer.websocket_receive(
                {"type": "websocket.receive", "text": json.dumps({"type": "stop_agent", **fields})}
            )
        consumer.cleanup()

    ids = {"thread_id": str(accepted.thread_id)}, {}, {"run_id": str(accepted.run_id)}
    asyncio.run(play({f"not-{other}"}, *ids))
    assert [frame.get("run_ids", frame.get("error_code")) for frame in sent] == [[], [], "not_found"]
    assert Run.objects.get().status == Run.QUEUED
    asyncio.run(play({other}, *ids[:1]))
    assert sent[-1]["run_ids"] == [str(accepted.run_id)]


def test_open_event_right_after_heads_is_sent(alice, monkeypatch):
    def publish():
        accepted = runs.start(alice.id, message())
        seq, frame = accepted.created
        event = [str(accepted.thread_id), seq, str(accepted.run_id), "message_created", frame]
        return {"type": "events", "events": [event]}

    assert opened(alice, monkeypatch, publish) == ["connection_established", "message_created"]


def test_open_session_ends_meanwhile_closes_socket(alice, monkeypatch):
    ended = opened(alice, monkeypatch, lambda: {"type": "session_ended", "session": None})
    assert ended == ["session_revoked", 4401]


def test_connect_database_away_closes_with_not_ready(alice, monkeypatch):
    token = sessions.sign_in(alice, "").access

    async def away(*args):
        raise OperationalError

    async def connect():
        sent = asyncio.Queue()
        consumer = new_consumer(sent.put)
        headers = [(b"host", b"testserver"), (b"authorization", b"Bearer " + token.encode())]
        route = {"kwargs": {"mode": "main"}}
        consumer.scope = {"path": "/ws", "headers": headers, "client": ["127.0.0.1", 1], "url_route": route}
        await consumer.websocket_connect()
        consumer.cleanup()
        return [(frame["type"], frame.get("code")) for frame in (await sent.get(), await sent.get())]

    monkeypatch.setattr(consumers, "from_database", away)
    assert asyncio.run(connect()) == [("websocket.accept", None), ("websocket.close", 4503)]


def test_authenticate_database_away_closes_after_timeout(alice, monkeypatch, settings):
    settings.NETRA_AUTHENTICATE_SECONDS = 0.05
    token = sessions.sign_in(alice, "").access

    async def away(*args):
        raise OperationalError

    monkeypatch.setattr(consumers, "from_database", away)

    async def authenticate():
        sent = asyncio.Queue()
        await new_consumer(sent.put).websocket_receive({"text": json.dumps({"type": "authenticate", "token": token})})
        async with asyncio.timeout(WAIT_TIMEOUT):
            unavailable, unauthorized, close = [await sent.get() for _ in range(3)]
        return (
            check(json.loads(unavailable["text"]))["error_code"],
            check(json.loads(unauthorized["text"]))["error_code"],
            close["code"],
        )

    assert asyncio.run(authenticate()) == ("unavailable", "unauthorized", 4401)


def test_a_socket_keeps_the_language_of_its_page_when_its_token_is_renewed(alice):
    token = sessions.sign_in(alice, "").access
    sent = asyncio.Queue()

    async def play():
        consumer = new_consumer(sent.put)
        consumer.scope["headers"] = [(b"accept-language", b"de")]
        frames = {"type": "authenticate", "token": token}, {"type": "user_message", "content": "hello"}
        async with asyncio.timeout(WAIT_TIMEOUT):
            async with consumer.stream.lock:
                await consumer.open(*await consumer.identify(token))
            for frame in frames:
                await consumer.websocket_receive({"text": json.dumps(frame)})
            while json.loads((await sent.get())["text"])["type"] != "message_accepted":
                pass
        consumer.cleanup()

    asyncio.run(play())
    assert Run.objects.get().language == "de"


def test_push_thread_awaiting_resume_is_not_read_from_log(alice):
    accepted = runs.start(alice.id, message())
    thread, (seq, frame) = str(accepted.thread_id), accepted.created

    async def flood():
        sent, spawned = asyncio.Queue(), []
        stream = EventStream(FrameSender(sent.put), spawned.append)
        stream.open(alice.id, "main", {})
        stream.subscriptions.awaiting_resume.add(thread)
        async with stream.lock:
            await stream.push([[thread, seq, "", False, frame]] * (MAX_BUFFERED_EVENTS + 1))
            assert stream.subscriptions.lagging
            await stream.send_outstanding()
        assert not spawned
        return sent.qsize()

    assert asyncio.run(flood()) == 0
