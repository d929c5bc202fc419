"""How frames leave the process: those of one turn of the loop together, straight into the socket.

daphne hands each frame to autobahn and Twisted, which ask the kernel by two calls of `epoll` when it may be written,
and prepare a line for a log that nobody keeps. Where many sockets get a small frame each, that costs several times what
writing does. So frames are collected until the loop's next turn and written at once; only what the kernel does not take
then goes Twisted's way, in its order.
"""

import asyncio
import logging
import struct
from typing import Any

from daphne import ws_protocol
from twisted.internet.tcp import Connection

log = logging.getLogger("netra.writing")
_TEXT = 0x81  # FIN and the opcode of a text frame, RFC 6455 section 5.2
_collecting: list["Protocol"] = []


class Protocol(ws_protocol.WebSocketProtocol):  # type: ignore[misc]
    """daphne's, with its own way for text frames of an open socket."""

    CONFIG_ATTRS = ()  # see _connectionMade

    def __init__(self) -> None:
        super().__init__()
        self._frames: list[bytes] = []

    def _connectionMade(self) -> None:  # noqa: N802 theirs
        """Take over the factory's options without autobahn, which prints a table of them for a log that nobody keeps:
        a sixth of what a handshake costs."""
        for name in ws_protocol.WebSocketProtocol.CONFIG_ATTRS:
            setattr(self, name, getattr(self.factory, name))
        super()._connectionMade()

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802 theirs
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
        """Whatever else is sent comes after what was collected."""
        self._hand_over()
        super().sendData(data, sync, chopsize)

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802 theirs
        self._hand_over()
        super().dropConnection(abort)

    def _hand_over(self) -> None:
        if self._frames:
            self.transport.write(self._take())

    def _take(self) -> bytes:
        frames, self._frames = self._frames, []
        return b"".join(frames)

    def write_collected(self) -> None:
        if not self._frames:
            return
        transport, data = self.transport, self._take()
        if _is_idle(transport):
            written: Any = transport.writeSomeData(data)
            # An error is found again, and dealt with, by whoever writes next.
            data = data[written:] if isinstance(written, int) else data
        if data:
            transport.write(data)


def _write_all() -> None:
    protocols = _collecting.copy()
    _collecting.clear()
    for protocol in protocols:
        try:
            protocol.write_collected()
        except Exception:  # whatever is wrong with one socket, the others get theirs
            log.exception("a socket could not be written to")


def _is_idle(transport: Any) -> bool:
    """Whether it is a plain connection that is open, and nothing waits to be written on it."""
    is_open = isinstance(transport, Connection) and not transport.TLS and transport.connected
    return bool(is_open and not (transport.disconnecting or transport.dataBuffer or transport._tempDataBuffer))


def _header(length: int) -> bytes:
    if length < 126:
        return bytes((_TEXT, length))
    if length < 65_536:
        return struct.pack("!BBH", _TEXT, 126, length)
    return struct.pack("!BBQ", _TEXT, 127, length)


def install() -> None:
    """Have daphne make its sockets of this class."""
    ws_protocol.WebSocketFactory.protocol = Protocol
