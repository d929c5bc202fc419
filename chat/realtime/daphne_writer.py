"""A faster way for frames out of daphne: those of one loop iteration are written together, straight into the socket.

daphne hands each frame to autobahn and Twisted, which ask the kernel twice with `epoll` for each frame and format a
log line that is dropped. For many sockets with a small frame each, that costs several times the write itself
(docs/benchmarks/2026-11-steps.md). So frames are collected until the next loop iteration and written at once. Bytes
that the kernel does not take go through Twisted, in order.

This module uses private names of autobahn and Twisted. With other versions than it was written for, frames go
daphne's way.
"""

import asyncio
import logging
import struct
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from daphne import ws_protocol
from twisted.internet.tcp import Connection

from chat.realtime.versions import unknown_package

log = logging.getLogger("netra.writing")
WRITTEN_FOR = {"daphne": "4.2", "autobahn": "26", "Twisted": "26"}
MAX_FRAGMENTS = 1024  # of one message: autobahn needs 17 µs for each, and other sockets wait meanwhile
_TEXT = 0x81  # FIN and the opcode of a text frame, RFC 6455 section 5.2
PING = "netra.ping"  # key of a function in the scope of a socket that has this protocol: it sends a WebSocket ping
PONG = "netra.pong"  # type of the message to the application that the client has answered a ping
_collecting: list["Protocol"] = []


class Protocol(ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """daphne's protocol with another way for the text frames of an open socket."""

    CONFIG_ATTRS = ()  # see _connectionMade

    def __init__(self) -> None:
        super().__init__()
        self._frames: list[bytes] = []
        self._fragments = 0  # of the message that is being received

    def _connectionMade(self) -> None:  # noqa: N802 theirs
        """Copy the factory's options without autobahn, which formats a table of them for a dropped log line.

        The table is a sixth of the cost of a handshake.
        """
        for name in ws_protocol.WebSocketProtocol.CONFIG_ATTRS:
            setattr(self, name, getattr(self.factory, name))
        super()._connectionMade()

    def failHandshake(  # noqa: N802 theirs
        self,
        reason: str,
        code: int = HTTPStatus.BAD_REQUEST,
        responseHeaders: Any = None,  # noqa: N803 theirs
    ) -> None:
        """Refuse a malformed handshake without autobahn's reason: it quotes a token that is offered twice."""
        phrase = HTTPStatus.BAD_REQUEST.phrase if code == HTTPStatus.BAD_REQUEST else reason
        super().failHandshake(phrase, code, responseHeaders)

    def onMessageBegin(self, isBinary: bool) -> None:  # noqa: N802, N803 theirs
        """Count the fragments of each message from zero."""
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802 theirs
        """Drop a client that sends one message in more than MAX_FRAGMENTS fragments."""
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            log.warning("a message of more than %d fragments: the connection is dropped", MAX_FRAGMENTS)
            self.dropConnection(abort=True)

    def onPong(self, payload: bytes) -> None:  # noqa: N802 theirs
        """Tell the application that the client has read all that was sent before the ping."""
        super().onPong(payload)
        self.application_queue.put_nowait({"type": PONG})

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802 theirs
        """Collect a text frame for the end of the loop iteration; send any other in daphne's way."""
        if binary or self.state != self.STATE_OPEN or self._perMessageCompress is not None:
            super().serverSend(content, binary)
            return
        assert isinstance(content, str)
        payload = content.encode()
        if not self._frames:
            if not _collecting:
                asyncio.get_running_loop().call_soon(_write_all)
            _collecting.append(self)
        self._frames += (_header(len(payload)), payload)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802 theirs
        """Send other bytes after the collected frames."""
        self._hand_over()
        super().sendData(data, sync, chopsize)

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802 theirs
        """Close the connection after the collected frames."""
        self._hand_over()
        super().dropConnection(abort)

    def _hand_over(self) -> None:
        if self._frames:
            self.transport.write(self._take())

    def _take(self) -> bytes:
        frames, self._frames = self._frames, []
        return b"".join(frames)

    def write_collected(self) -> None:
        """Write the collected frames into the socket as far as the kernel takes them."""
        if not self._frames:
            return
        transport, data = self.transport, self._take()
        if _is_idle(transport):
            written: Any = transport.writeSomeData(data)
            # Twisted finds an error again with the next write, and handles it.
            data = data[written:] if isinstance(written, int) else data
        if data:
            transport.write(data)


def _write_all() -> None:
    protocols = _collecting.copy()
    _collecting.clear()
    for protocol in protocols:
        try:
            protocol.write_collected()
        except Exception:  # one socket's error must not keep the frames of the others
            log.exception("a socket could not be written to")


def _is_idle(transport: Any) -> bool:
    """Tell if it is an open connection without TLS and with nothing left to write."""
    is_open = isinstance(transport, Connection) and not transport.TLS and transport.connected
    return bool(is_open and not (transport.disconnecting or transport.dataBuffer or transport._tempDataBuffer))


def _header(length: int) -> bytes:
    if length < 126:
        return bytes((_TEXT, length))
    if length < 65_536:
        return struct.pack("!BBH", _TEXT, 126, length)
    return struct.pack("!BBQ", _TEXT, 127, length)


def install(versions: Mapping[str, str] | None = None) -> None:
    """Let daphne use this protocol if the versions, by default the installed ones, are known."""
    unknown = unknown_package(WRITTEN_FOR, versions)
    if unknown:
        log.warning("%s is not known: frames are written by daphne", unknown)
    else:
        ws_protocol.WebSocketFactory.protocol = Protocol
