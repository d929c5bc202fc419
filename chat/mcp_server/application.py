"""The ASGI application at `/mcp`: it authenticates each request, and `mcp` answers it.

Streamable HTTP without sessions: each request stands by itself, so any web process can answer it.
"""

import asyncio
import logging
from collections.abc import MutableMapping
from contextvars import Context
from typing import Any

from django.conf import settings
from django.db import Error
from django.http import HttpResponse
from django.http.request import split_domain_port, validate_host
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from structlog.contextvars import bind_contextvars

from chat import limits, protocol
from chat.accounts import authentication
from chat.accounts.authentication import Identity
from chat.api import client_ip, exceptions
from chat.api.bodies import MAX_HISTORY, Application, Receive, Scope, Send, path_of
from chat.api.messages import client_msg_id_of
from chat.dialects import ANSWER_HEADERS
from chat.limits import address_slots, rate_limited, user_slots
from chat.limits.rates import REQUESTS
from chat.mcp_server.calls import Caller
from chat.mcp_server.tools import make_server
from chat.protocol import ProtocolError
from chat.streams.requests import CONNECTION

log = logging.getLogger("netra.auth")
PATH = "/mcp"
ON_LEAVING = ("cancel", "continue")  # values of the header Netra-Disconnect
OF_ANSWERS = {name.lower().encode(): value.encode() for name, value in ANSWER_HEADERS.items()}
HEADERS = {**OF_ANSWERS, b"x-content-type-options": b"nosniff"}  # of every answer


def with_mcp(application: Application) -> Application:
    """Return the HTTP application with the MCP server at PATH."""
    mcp = McpApplication()

    async def application_with_mcp(scope: Scope, receive: Receive, send: Send) -> None:
        await (mcp if path_of(scope) == PATH else application)(scope, receive, send)

    return application_with_mcp


class McpApplication:
    """The application, for one event loop. Its first request starts the manager: daphne has no lifespan."""

    def __init__(self) -> None:
        self._running: asyncio.Task[None] | None = None
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        slots: dict[str, int] = {}
        try:
            caller = await _admit(scope, slots)
            if scope["method"] != "POST":
                raise ProtocolError("method_not_allowed", "This path supports POST only.")
            manager = await self._started()
        except ProtocolError as error:
            await _refuse(error, send)
        else:
            await _serve(manager, caller, scope, receive, send)
        finally:
            limits.connection_limiter().release(slots)

    async def _started(self) -> StreamableHTTPSessionManager:
        """Return the running manager."""
        if self._manager is None or self._running is None or self._running.done():
            loop = asyncio.get_running_loop()
            self._manager = loop.create_future()
            # Without the context of the request that happens to be the first.
            self._running = loop.create_task(_run(self._manager), context=Context())
        return await asyncio.shield(self._manager)


async def _run(started: asyncio.Future[StreamableHTTPSessionManager]) -> None:
    # The checks of Host and Origin are those of the sockets: `mcp` has no patterns such as ".example.com".
    manager = StreamableHTTPSessionManager(make_server(), stateless=True, max_request_body_size=MAX_HISTORY)
    async with manager.run():
        started.set_result(manager)
        await asyncio.get_running_loop().create_future()  # for as long as the process lives


async def _admit(scope: Scope, slots: dict[str, int]) -> Caller:
    """Return the client of a request, and occupy the slots that it is given. Raises ProtocolError."""
    headers = scope["headers"]
    host, _ = split_domain_port(protocol.host_of(headers))
    if not host or not validate_host(host, settings.ALLOWED_HOSTS):
        raise ProtocolError("forbidden", "This server does not answer to that Host.")
    if not protocol.origin_allowed(headers, settings.ALLOWED_ORIGINS):
        raise ProtocolError("forbidden", "This server does not answer to that Origin.")
    address = client_ip.of_scope(scope)
    identity = await _identify(scope, address)
    bind_contextvars(user_id=identity.user_id)
    await limits.rate_limiter().acquire_async(REQUESTS, identity.user_id)
    wanted = address_slots(address) | user_slots(identity.user_id)
    if not await limits.connection_limiter().acquire(wanted):
        raise rate_limited(1)
    slots.update(wanted)
    given = {name.lower(): value.decode("latin-1") for name, value in headers}
    key = client_msg_id_of(given.get(b"idempotency-key"))
    on_leaving = given.get(b"netra-disconnect")
    if on_leaving not in (None, *ON_LEAVING):
        raise ProtocolError("invalid_message", f"Netra-Disconnect must be one of {', '.join(ON_LEAVING)}.")
    origin = protocol.origin_for("https" if settings.NETRA_HTTPS else "http", host, settings.ALLOWED_ORIGINS)
    page = f"{origin}{settings.NETRA_BASE_PATH}/c/"
    return Caller(identity, address, scope[CONNECTION], lambda thread_id: f"{page}{thread_id}", key, on_leaving)


async def _identify(scope: Scope, address: str) -> Identity:
    try:
        token = authentication.read_token(scope["headers"])
        if token is None:
            raise authentication.Unauthorized("no token")
        return await authentication.identify_from(token, address)
    except authentication.Unauthorized as refused:
        log.warning("refused: %s", refused.reason)
        raise ProtocolError("unauthorized", exceptions.SIGN_IN) from None
    except Error as error:
        raise exceptions.unavailable(error) from None


async def _serve(
    manager: StreamableHTTPSessionManager, caller: Caller, scope: Scope, receive: Receive, send: Send
) -> None:
    async def read() -> MutableMapping[str, Any]:
        return dict(await receive())

    answer = Answer(caller, send)
    caller.announce = answer.send_head
    await manager.handle_request({**scope, "state": {"caller": caller}}, read, answer.send)


class Answer:
    """The answer to a request. Its head waits for the ids of the run, or for the first piece of the body."""

    def __init__(self, caller: Caller, send: Send) -> None:
        self._caller, self._send = caller, send
        self._head: MutableMapping[str, Any] | None = None
        self._in_order = asyncio.Lock()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a message of ASGI, or keep it if it is the head."""
        if message["type"] == "http.response.start" and self._caller.ids is None:
            self._head = message
            return
        await self.send_head()
        async with self._in_order:
            await self._send(self._named(message))

    async def send_head(self) -> None:
        """Send the head, if it was kept."""
        async with self._in_order:
            if self._head is not None:
                head, self._head = self._head, None
                await self._send(self._named(head))

    def _named(self, message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if message["type"] != "http.response.start":
            return message
        ids = self._caller.ids
        named = {b"netra-run": ids.run_id, b"netra-thread": ids.thread_id} if ids is not None else {}
        of_run = {name: str(id).encode() for name, id in named.items()}
        return {**message, "headers": list({**HEADERS, **dict(message["headers"]), **of_run}.items())}


async def _refuse(error: ProtocolError, send: Send) -> None:
    answer: HttpResponse = exceptions.refusal(error, PATH)
    if error.code == "method_not_allowed":
        answer["Allow"] = "POST"
    headers = {name.lower().encode(): value.encode("latin-1") for name, value in answer.items()}
    headers[b"content-length"] = str(len(answer.content)).encode()
    head = {"type": "http.response.start", "status": answer.status_code, "headers": [*(HEADERS | headers).items()]}
    await send(head)
    await send({"type": "http.response.body", "body": answer.content})
