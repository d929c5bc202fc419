"""Requests under daphne whose application waits after their body."""

import asyncio
from types import SimpleNamespace

import pytest
from twisted.internet.testing import StringTransport

from chat.realtime.daphne_reader import Channel, Request
from tests.site import WAIT_TIMEOUT

BODY = b'{"content":"' + b"x" * 5000 + b'"}'
HEAD = b"POST /api/agents/execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def connected():
    """Return a connection, and a future of its request, whose headers come first."""
    begun = asyncio.get_running_loop().create_future()

    def create_application(request, scope):
        begun.set_result(request)
        return request.inbox

    server = SimpleNamespace(
        root_path="",
        proxy_forwarded_address_header=None,
        request_buffer_size=2048,
        protocol_connected=lambda request: None,
        protocol_disconnected=lambda request: None,
        create_application=create_application,
    )
    channel = Channel()
    channel.timeOut, channel.requestFactory, channel.factory = None, Request, SimpleNamespace(server=server)
    channel.makeConnection(StringTransport())
    return channel, begun


@pytest.mark.parametrize("size", [1, len(HEAD), len(HEAD) + 3000, len(HEAD + BODY)])
def test_connection_is_read_on_after_the_body_so_that_a_client_that_leaves_is_noticed(size):
    async def play():
        channel, begun = connected()
        sent = HEAD + BODY
        reading = asyncio.create_task(read(begun))
        async with asyncio.timeout(WAIT_TIMEOUT):
            for start in range(0, len(sent), size):
                channel.dataReceived(sent[start : start + size])
                while channel.transport.producerState == "paused" and start + size < len(sent):  # noqa: ASYNC110
                    await asyncio.sleep(0)  # the transport has no event
            assert await reading == BODY
        assert channel.transport.producerState == "producing"
        begun.result().inbox.put_nowait({"type": "http.disconnect"})
        assert await begun.result().inbox.get() == {"type": "http.disconnect"}

    async def read(begun):
        inbox = (await begun).inbox
        body, more = b"", True
        while more:
            message = await inbox.get()
            body, more = body + message["body"], message["more_body"]
        return body

    asyncio.run(play())


def test_connection_whose_client_does_not_read_ends_when_the_application_gives_up():
    async def play():
        channel, begun = connected()
        channel.dataReceived(b"GET /api/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        request = await begun
        request.read_state.pauseProducing()  # as Twisted does when too much is unread
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await request.send({"type": "http.response.body", "body": b"a", "more_body": True})
        assert channel.transport.disconnected

    asyncio.run(play())
