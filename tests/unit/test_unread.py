"""HTTP answers that a client does not read, under uvicorn. Under daphne: test_daphne_reader.py."""

import asyncio
import socket

import uvicorn

from chat.streams import requests
from chat.streams.requests import CONNECTION, observed
from tests.site import WAIT_TIMEOUT, free_port

PART = b"x" * 65_536


def test_client_that_does_not_read_is_cut_under_uvicorn_and_one_that_reads_is_not(monkeypatch):
    monkeypatch.setattr(requests, "MAX_UNREAD_SECONDS", 0.3)
    ended: list[requests.Connection] = []

    async def stream(scope, receive, send):
        """Send until a client has been cut."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not ended:
                await send({"type": "http.response.body", "body": PART, "more_body": True})
            await send({"type": "http.response.body", "body": b"the end"})
        finally:
            ended.append(scope[CONNECTION])

    async def play():
        config = uvicorn.Config(observed(stream), port=free_port(), lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 the server has no event
            await asyncio.sleep(0)
        clients = [await open_connection(config.port) for _ in range(2)]
        (reader, _), (_, silent) = clients
        whole = await reader.read()
        silent.close()
        clients[0][1].close()
        server.should_exit = True
        await serving
        return whole

    async def open_connection(port):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return reader, writer

    async def bounded():
        async with asyncio.timeout(WAIT_TIMEOUT):
            return await play()

    assert asyncio.run(bounded()).endswith(b"the end\r\n0\r\n\r\n"), "the one that reads has it all"
    assert ended[0].is_cut
    assert not ended[0].has_left, "to cut a client is no wish of its own"
