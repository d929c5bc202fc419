"""Request bodies under daphne in parts, as the application asks for them.

Twisted collects a body completely and parses a form in the event loop, daphne keeps it in memory, and only then the
application is called. Here the application is called at the end of the headers. A body stays on its connection until
the application wants more of it. One part of one body is decoded in each loop iteration, so that no body delays the
sockets of others.

This module uses private names of daphne and Twisted. With other versions than it was written for, bodies are collected
completely.
"""

import asyncio
import io
import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from daphne import http_protocol
from daphne.server import Server
from twisted.web import http

from chat.realtime import daphne_writer
from chat.realtime.versions import unknown_package

log = logging.getLogger("netra.reading")
WRITTEN_FOR = {"daphne": "4.2", "Twisted": "26"}
MAX_INBOX_BYTES = 64 * 1024  # of a body that wait for the application
MAX_INBOX_CHUNKS = 200  # of a body that wait for the application
DECODE_SIZE = 2048  # bytes decoded between two checks of both: a chunk may have one byte, and takes 3 µs
MIN_AVERAGE_CHUNK_BYTES = 16  # in a body of more than MAX_UNCHECKED_CHUNKS
MAX_UNCHECKED_CHUNKS = 1000
_decoding = asyncio.Lock()  # held while a part is decoded, and until the next loop iteration


class Inbox:
    """The ASGI messages of a request for the application: its body and the disconnect."""

    def __init__(self, request: "Request") -> None:
        self.ended = True  # the whole body has come
        self.expects_continue = False
        self._request = request
        self._chunks_held: list[bytes] = []
        self._size = 0
        self._is_delivered = self._is_disconnected = False
        self._changed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Tell if no more should be decoded until the application reads."""
        return self._size >= MAX_INBOX_BYTES or len(self._chunks_held) >= MAX_INBOX_CHUNKS

    async def get(self) -> dict[str, Any]:
        """Return the next ASGI message."""
        while True:
            if self._is_disconnected and not self.ended:
                return {"type": "http.disconnect"}
            if self._chunks_held or (self.ended and not self._is_delivered):
                body = b"".join(self._chunks_held)
                self._chunks_held.clear()
                self._size, self._is_delivered = 0, self.ended
                return {"type": "http.request", "body": body, "more_body": not self.ended}
            if self._is_disconnected:
                return {"type": "http.disconnect"}
            if not self.ended and await self._request.decode():
                continue
            await self._changed.wait()
            self._changed.clear()

    def put_nowait(self, message: dict[str, Any]) -> None:
        """Take a message of daphne's. Only a disconnect counts: the bodies that daphne knows are empty."""
        if message["type"] == "http.disconnect":
            self._is_disconnected = True
            self._changed.set()

    def add(self, data: bytes) -> None:
        """Add a decoded part of the body."""
        self._chunks_held.append(data)
        self._size += len(data)
        self._changed.set()

    def end(self) -> None:
        """Record that the body is complete."""
        self.ended = not self._is_disconnected
        self._changed.set()

    def notify(self) -> None:
        """Wake `get`: there may be something to read."""
        self._changed.set()


class ReadState:
    """A Twisted producer that records whether the client reads."""

    def __init__(self) -> None:
        self._is_open = asyncio.Event()
        self._is_open.set()

    def pauseProducing(self) -> None:  # noqa: N802 theirs
        """Note that the client does not read."""
        self._is_open.clear()

    def resumeProducing(self) -> None:  # noqa: N802 theirs
        """Note that the client reads again."""
        self._is_open.set()

    stopProducing = resumeProducing  # noqa: N815 theirs; a connection that was lost keeps no task waiting

    async def wait_until_read(self) -> None:
        """Wait until the client reads."""
        await self._is_open.wait()


class Request(http_protocol.WebRequest):  # type: ignore[misc]
    """daphne's request, whose application is called at the end of the headers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.inbox, self.read_state = Inbox(self), ReadState()
        self.is_refused = False  # by the channel, which has answered
        self._chunks = self._size = 0
        super().__init__(*args, **kwargs)

    def gotLength(self, length: int | None) -> None:  # noqa: N802 theirs
        """Call the application: the headers are complete. `length` is None for a body in chunks."""
        self.content = io.BytesIO()  # Twisted and daphne close it
        if length == 0:
            return  # requestReceived follows at once
        self.inbox.ended = False
        self.channel.paused = True
        self.inbox.expects_continue = (self.getHeader(b"Expect") or b"").lower() == b"100-continue"
        self.requestHeaders.removeHeader(b"Expect")  # Twisted would answer it too early
        self.requestHeaders.removeHeader(b"Upgrade")  # a request with a body is no handshake
        self._begin(*self.channel.request_line.split(b" "))

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 theirs
        """Take a decoded part of the body; refuse a body in very small chunks."""
        self.inbox.add(data)
        self._chunks += 1
        self._size += len(data)
        is_checked = self.channel.length is None and self._chunks > MAX_UNCHECKED_CHUNKS
        if is_checked and self._size < MIN_AVERAGE_CHUNK_BYTES * self._chunks:
            self.channel.refuse()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 theirs
        """End the body. The application parses it."""
        if self.inbox.ended:
            self._begin(command, path, version)
        else:
            self.inbox.end()

    def _begin(self, method: bytes, uri: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = method, uri, version
        self.path = uri.partition(b"?")[0]
        self.process()

    async def decode(self) -> bool:
        """Decode a part of the body; if there is none, ask the client for more and return False."""
        if self.channel.has_input:
            async with _decoding:
                if self.channel is not None:  # the connection may be lost meanwhile
                    self.channel.decode()
                await asyncio.sleep(0)
            return True
        if self.inbox.expects_continue:
            self.inbox.expects_continue = False
            self.channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.channel.transport.resumeProducing()
        return False

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send an ASGI message of the application."""
        if self.finished or self.channel is None or self.is_refused:
            return
        if message["type"] == "http.response.body":
            if not message.get("more_body", False):
                if self.producer is not None:
                    self.unregisterProducer()
            elif self.producer is None:
                self.registerProducer(self.read_state, True)
        super().handle_reply(message)
        if message["type"] == "http.response.start" and not self.inbox.ended:
            # The rest of the body must not be taken for the next request.
            self.channel.persistent = False
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    async def send(self, message: dict[str, Any]) -> None:
        """Send an ASGI message after the client has read most of the earlier ones, as other servers do.

        So a download needs little memory. An application that gives up waiting ends the connection.
        """
        try:
            await self.read_state.wait_until_read()
        except asyncio.CancelledError:
            if self.channel is not None:
                self.channel.transport.abortConnection()
            raise
        await self.server.handle_reply(self, message)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Answer daphne's own refusals in JSON, like all others."""
        code = {400: "invalid_message", 503: "unavailable"}.get(status, "internal_error")
        content = json.dumps({"error": code, "message": f"{body.removesuffix('.')}."}).encode()
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(content))]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": content})


_HTTPChannel: Any = http.HTTPChannel  # most of it has no types


class Channel(_HTTPChannel):  # type: ignore[misc]
    """Twisted's HTTP/1.1 connection, with bodies decoded on request and refusals in JSON."""

    request_line = b""
    has_input = False  # there may be bytes of the body that are not decoded

    @property
    def is_receiving(self) -> bool:
        """Tell if a body is not complete."""
        return bool(self.requests) and not self.requests[-1].inbox.ended

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 theirs
        """Keep the request line."""
        if not self.requests:
            self.request_line = line
        super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802 theirs
        """Take a header; refuse a length of more digits than Python converts."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:
            self.refuse()
            return False

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 theirs
        """Refuse a line that is too long."""
        self.refuse()

    def resetTimeout(self) -> None:  # noqa: N802 theirs
        """Extend the timeout for a body only, which has limits of its own (chat/api/bodies.py).

        The headers must be complete in Twisted's 60 seconds, however slowly their bytes arrive.
        """
        if self.is_receiving:
            super().resetTimeout()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 theirs
        """Take bytes of the client; stop reading while the application does not ask for the body."""
        super().dataReceived(data)
        if self.paused:
            self.has_input = True
            self.transport.pauseProducing()
            if self.requests:
                self.requests[-1].inbox.notify()

    def decode(self) -> None:
        """Decode the body until the inbox is full or the input is used up.

        After the body the connection is read on, so that a client that leaves is noticed.
        """
        self.has_input = self.paused = False
        super().dataReceived(b"")
        self.paused = self.is_receiving
        if not self.paused:
            self.transport.resumeProducing()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802 theirs
        """Decode bytes of a body, no more than the inbox takes."""
        while self.is_receiving and not self.requests[-1].inbox.is_full and not self.transport.disconnecting:
            part, data = data[:DECODE_SIZE], data[DECODE_SIZE:]
            super().rawDataReceived(part)
            if not data:
                return
        if self.is_receiving:
            self.has_input = self.paused = True
            super().dataReceived(data)  # keeps the rest
        else:
            super().rawDataReceived(data)

    def refuse(self) -> None:
        """Answer 400 to malformed input, and close."""
        request = self.requests[-1] if self.requests else None
        if request is None or not (request.startedWriting or request.is_refused):
            self.transport.write(BAD_REQUEST)
        if request is not None:
            request.is_refused = True
            request.inbox.put_nowait({"type": "http.disconnect"})
        self.loseConnection()

    # Twisted's own answer has no body. If Twisted renames the method, its own answer is sent.
    _respondToBadRequestAndDisconnect = refuse  # noqa: N815 theirs


_REASON = json.dumps({"error": "invalid_message", "message": "The request is malformed."}).encode()
BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
) % (len(_REASON), _REASON)
_create_application = Server.create_application


def create_application(server: Any, protocol: Any, scope: dict[str, Any]) -> Any:
    """Start the application as daphne does, with the inbox in place of an unbounded queue."""
    if not isinstance(protocol, Request):
        if isinstance(protocol, daphne_writer.Protocol):
            scope[daphne_writer.PING] = protocol.sendPing
        return _create_application(server, protocol, scope)
    if protocol not in server.connections:
        return None
    scope.setdefault("asgi", {"version": "3.0"})
    application = server.application(scope=scope, receive=protocol.inbox.get, send=protocol.send)
    server.connections[protocol]["application_instance"] = asyncio.ensure_future(application)
    return protocol.inbox


def install(versions: Mapping[str, str] | None = None) -> None:
    """Let daphne read requests in this way if the versions, by default the installed ones, are known.

    Otherwise forms are still not parsed in the event loop, but bodies are collected completely.
    """
    unknown = unknown_package(WRITTEN_FOR, versions)
    if unknown:
        log.warning("%s is not known: bodies are collected completely", unknown)
        http_protocol.WebRequest = partial(http_protocol.WebRequest, parsePOSTFormSubmission=False)
        return
    http_protocol.HTTPFactory.protocol = Channel
    http_protocol.HTTPFactory.acceptableProtocols = lambda factory: [b"http/1.1"]
    http_protocol.WebRequest = Request
    Server.create_application = create_application
