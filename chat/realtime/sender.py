"""Frames on their way to one client."""

from collections.abc import Awaitable, Callable
from typing import Any

from autobahn.exception import Disconnected

from chat import metrics, protocol
from chat.realtime.flow_control import SendWindow


class FrameSender:
    """Sends frames to one socket until it is closed; `send` takes ASGI messages.

    The sender closes a socket whose client leaves too much unread.
    """

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self.window = SendWindow()
        self.closed = False
        self.code: int | None = None  # with which the server closed the socket

    async def send(self, text: str) -> None:
        """Send a frame; do nothing on a closed socket."""
        if self.closed:
            return
        self.window.add(text)
        metrics.FRAMES_SENT.inc()
        try:
            await self._send({"type": "websocket.send", "text": text})
        except (Disconnected, OSError):  # daphne's and, as ASGI has it, other servers' answer to a lost connection
            self.closed = True
        if self.window.too_slow:
            await self.close(protocol.CLOSE_TOO_SLOW)

    async def close(self, code: int | None = None) -> None:
        """Close the socket, or refuse the handshake if it was not accepted."""
        if not self.closed:
            self.closed = True
            if code is not None:
                self.code = code
                metrics.CLOSES.labels(code).inc()
            await self._send({"type": "websocket.close", **({} if code is None else {"code": code})})
