"""Bounds on the length, the duration and the number of request bodies, under any ASGI server.

A body that is longer than its path allows, or an upload without a token, is refused at its headers; chunks are counted
as they come. Nothing is read, parsed or stored of a request that is refused here.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.db import Error

from chat.accounts import authentication, tokens
from chat.api import client_ip, exceptions
from chat.api.uploads import MAX_SIZE
from chat.limits import rate_limited
from chat.protocol import KIB, MAX_FRAME, ProtocolError, is_key

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("netra.auth")
UPLOAD = ("POST", "/api/attachments")
# Clients of other protocols send their whole history.
HISTORY_PATHS, MAX_HISTORY = ("/v1/", "/api/chat", "/agui/", "/mcp"), 4096 * KIB  # bytes
MAX_UPLOAD = MAX_SIZE + 1024 * KIB  # bytes, with the multipart headers around a file; as in deploy/nginx.conf
MIN_BYTES_PER_SECOND = 16 * KIB  # NETRA_BODY_SECONDS are extended by a second for each of them
# A connection that is closed with unread bytes is reset, which may take the answer from a client that still sends.
# A refused client has NETRA_BODY_SECONDS, like any other, to send the rest of its body.
LINGER_SIZE = 256 * KIB  # bytes of the body that are read and dropped meanwhile
LINGER_UNREAD_SECONDS = 1.0  # for the client to read the answer where more bytes than that follow
MAX_USER_BODIES, MAX_ADDRESS_BODIES = 100, 500  # uploads of a user, bodies from an address: at a time in a process


def bounded(application: Application) -> Application:
    """Return the HTTP application behind these limits."""
    counts: Counter[str] = Counter()  # bodies that have not arrived completely, by user or address

    async def bounded_application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = Body(scope, receive, counts)
            await body.identify()
            with body.admitted():
                await application(body.scope, body.receive, send)
            error = body.error
        except ProtocolError as refused:
            error = refused
        if error is not None:
            await _refuse(error, path_of(scope), receive, send)

    return bounded_application


class Body:
    """A request's body while it arrives. The constructor raises ProtocolError for a body that the path refuses."""

    def __init__(self, scope: Scope, receive: Receive, counts: Counter[str]) -> None:
        # Django reads the headers after the body: a chunked one has a length by then.
        self.scope = {**scope, "headers": list(scope["headers"])}
        self.error: ProtocolError | None = None
        self._receive, self._counts, self._size, self._ended = receive, counts, 0, False
        self._began = asyncio.get_running_loop().time()
        headers = {name.lower(): value for name, value in scope["headers"]}
        self._has_length = headers.get(b"content-length", b"").isdigit()
        length = int(headers[b"content-length"][:20]) if self._has_length else 0
        self._is_upload = (scope["method"], path_of(scope)) == UPLOAD
        has_history = path_of(scope).startswith(HISTORY_PATHS) and not path_of(scope).startswith("/api/chat/messages")
        self._max_size = MAX_UPLOAD if self._is_upload else MAX_HISTORY if has_history else MAX_FRAME
        self._check(length)
        _check_form(headers)
        self._sender = ""
        if not self._is_upload and (length or b"transfer-encoding" in headers):
            self._sender = f"address {client_ip.of_scope(scope)}"

    async def identify(self) -> None:
        """Find the user of an upload. Raises ProtocolError unauthorized, unavailable."""
        if self._is_upload:
            self._sender = f"user {await _owner(self.scope)}"

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count the body until it is complete. Raises ProtocolError rate_limited."""
        if self._sender:
            limit = MAX_USER_BODIES if self._sender.startswith("user") else MAX_ADDRESS_BODIES
            if settings.NETRA_RATE_LIMITS and self._counts[self._sender] >= limit:
                raise rate_limited(1)
            self._counts[self._sender] += 1
        try:
            yield
        finally:
            self._leave()

    async def receive(self) -> Message:
        """Return the next ASGI message. For a body over its limits, set `error` and return a disconnect."""
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout_at(
                self._began + settings.NETRA_BODY_SECONDS + self._size / MIN_BYTES_PER_SECOND
            ):
                message = await self._receive()
            if message["type"] == "http.request":
                self._size += len(message.get("body", b""))
                self._check(self._size)
                if not message.get("more_body", False):
                    self._end()
            return message
        except TimeoutError:
            self.error = ProtocolError("timeout", "The request did not arrive in time.")
        except ProtocolError as error:
            self.error = error
        return {"type": "http.disconnect"}

    def _check(self, size: int) -> None:
        if size > self._max_size:
            raise ProtocolError("too_large", f"At most {self._max_size} bytes.")

    def _end(self) -> None:
        self._ended = True
        self._leave()
        if not self._has_length and self._size:
            self.scope["headers"].append((b"content-length", str(self._size).encode()))

    def _leave(self) -> None:
        if self._sender:
            self._counts[self._sender] -= 1
            if not self._counts[self._sender]:
                del self._counts[self._sender]
            self._sender = ""


def _check_form(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a compressed or partial body, which would be taken for a complete one."""
    if headers.get(b"content-encoding", b"").strip().lower() not in (b"", b"identity"):
        raise ProtocolError("unsupported_data", "Send the body without a Content-Encoding.")
    if b"content-range" in headers:
        raise ProtocolError("unsupported_data", "Send the complete body, without a Content-Range.")


def path_of(scope: Scope) -> str:
    """Return the request's path below the base path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _owner(scope: Scope) -> int:
    """Return the user id of an upload's token or API key. The view checks that the user still exists."""
    try:
        token = authentication.read_token(scope["headers"])
        if token is not None and is_key(token):
            return (await authentication.read_key(token, client_ip.of_scope(scope))).user_id
        return tokens.bearer(scope["headers"])
    except authentication.Unauthorized as refused:
        log.warning("refused: %s", refused.reason)
        raise ProtocolError("unauthorized", exceptions.SIGN_IN) from None
    except Error as error:
        raise exceptions.unavailable(error) from None


async def _refuse(error: ProtocolError, path: str, receive: Receive, send: Send) -> None:
    """Send the refusal and have the connection closed, without the rest of the body."""
    answer = exceptions.refusal(error, path)
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.items()]
    headers += [(b"content-length", str(len(answer.content)).encode()), (b"connection", b"close")]
    headers.append((b"x-content-type-options", b"nosniff"))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content, "more_body": True})
    dropped, more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.NETRA_BODY_SECONDS):
            while more and dropped < LINGER_SIZE:
                message = await receive()
                dropped += len(message.get("body", b""))
                more = message.get("more_body", False)
            await asyncio.sleep(LINGER_UNREAD_SECONDS if more else 0)
    await send({"type": "http.response.body", "body": b""})
