"""A socket by itself, at moments that a running site cannot be brought to."""

import asyncio
import json
import time
import uuid

import pytest
from django.db import OperationalError

from chat import consumers, layer, runs, sockets
from chat.auth import Identity
from chat.consumers import INBOX, ChatConsumer
from chat.database import in_database
from chat.delivery import Delivery
from tests.site import PATIENCE
from tests.test_runs import message

pytestmark = pytest.mark.django_db(transaction=True)


def entered(user, monkeypatch, signal):
    """The frames of a socket whose group gets what `signal` gives right after the heads of its threads were read."""
    sent = []
    from_database = consumers.from_database

    async def enter():
        socket = ChatConsumer()
        socket.mode = "main"

        async def base_send(frame):
            sent.append(frame)

        async def then_a_signal(*args):
            found = await from_database(*args)
            signalled = await in_database(signal)
            for callback in layer._callbacks.get(layer.user_group(user.id), ()):
                await callback(signalled)
            return found

        socket.base_send = base_send
        monkeypatch.setattr(consumers, "from_database", then_a_signal)
        monkeypatch.setattr(sockets, "_watch", asyncio.current_task())
        async with socket.lock:
            await socket._enter(Identity(user.id, user.email, uuid.uuid4(), int(time.time()) + 60))
            monkeypatch.setattr(consumers, "from_database", from_database)
            await socket._settle()
        sockets.discard(socket)
        layer.leave(layer.user_group(user.id), socket.hear)
        for timer in socket.timers:
            timer.cancel()
        socket.counted.dec()

    asyncio.run(enter())
    return [json.loads(frame["text"])["type"] if "text" in frame else frame["code"] for frame in sent]


def test_an_event_right_after_the_heads_were_read_is_sent(alice, monkeypatch):
    def signal():
        accepted = runs.start(alice.id, message())
        seq, frame = accepted.created
        event = [str(accepted.thread_id), seq, str(accepted.run_id), False, frame]
        return {"type": "events", "events": [event]}

    assert entered(alice, monkeypatch, signal) == ["connection_established", "message_created"]


def test_a_session_that_ends_meanwhile_closes_it(alice, monkeypatch):
    ended = entered(alice, monkeypatch, lambda: {"type": "session_ended", "session": None})
    assert ended == ["session_revoked", 4401]


def test_who_could_not_be_looked_up_does_not_stay_for_ever(monkeypatch, settings):
    settings.NETRA_AUTHENTICATE_SECONDS = 0.05

    async def away(*args):
        raise OperationalError

    monkeypatch.setattr(consumers, "from_database", away)

    async def authenticate():
        socket, sent = ChatConsumer(), asyncio.Queue()
        socket.base_send = sent.put
        await socket.websocket_receive({"text": json.dumps({"type": "authenticate", "token": "a.b.c"})})
        async with asyncio.timeout(PATIENCE):
            unavailable, unauthorized, close = [await sent.get() for _ in range(3)]
        return (
            json.loads(unavailable["text"])["error_code"],
            json.loads(unauthorized["text"])["error_code"],
            close["code"],
        )

    assert asyncio.run(authenticate()) == ("unavailable", "unauthorized", 4401)


def test_a_thread_that_is_resumed_page_by_page_is_not_read_on_though_much_comes(alice):
    accepted = runs.start(alice.id, message())
    thread, (seq, frame) = str(accepted.thread_id), accepted.created

    async def flood():
        socket, sent = ChatConsumer(), asyncio.Queue()
        socket.mode, socket.base_send = "main", sent.put
        socket.delivery = Delivery("main", {})
        socket.delivery.paused.add(thread)
        async with socket.lock:
            await socket.hear({"type": "events", "events": [[thread, seq, "", False, frame]] * (INBOX + 1)})
            assert socket.delivery.behind
            await socket._settle()
        return sent.qsize()

    assert asyncio.run(flood()) == 0
