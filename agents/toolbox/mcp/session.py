"""One session with an MCP server over HTTP, whose messages are made readable for the client library.

A message that the library would refuse is rewritten before the library reads it: one odd tool or block of a result
would otherwise fail all others.
"""

import asyncio
import json
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
from django.conf import settings
from mcp import MCPError, types
from mcp.client.auth.utils import extract_field_from_www_auth, extract_scope_from_www_auth
from pydantic_ai.mcp import MCPToolset

from agents.llm.streams.wire import json_object, tls_context
from agents.sdk import Turn
from agents.toolbox.mcp.values import asks_of, safe_result

_MAX_MESSAGE_BYTES = 8 * 1024 * 1024  # of one message: a larger one is answered with an error


_TOO_LARGE = "The result is too large. Ask for less."
_MAX_SCOPE = 1000  # characters of a scope that is asked for
_UNKNOWN_SESSION_STATUS = (400, 404, 410)  # answers of servers that have forgotten the session


class CallNotMadeError(Exception):
    """A call that the server did not carry out, because it has forgotten the session."""


class ScopeNeededError(Exception):
    """A call that the server did not carry out, because the token lacks this scope."""

    def __init__(self, scope: str) -> None:
        super().__init__("the token lacks a scope")
        self.scope = scope


class ServerAsksError(Exception):
    """A call that the server answers with questions. `asked` is its InputRequiredResult, or has `elicitations`."""

    def __init__(self, asked: dict[str, Any]) -> None:
        super().__init__("the server asks")
        self.asked = asked


class NoAnswerError(Exception):
    """A call that the server broke off, or answered with something that is no MCP."""


Question = Callable[[Any], Awaitable[dict[str, Any]]]  # parameters of elicitation/create -> its result


class Session:
    """One session with a server. `status` is the last HTTP error status, 0 without one.

    `on_question` answers what the server asks in the middle of a call; without it the server is told that it cannot.
    """

    def __init__(
        self,
        url: str,
        token: str,
        on_list_changed: Callable[[], None] | None = None,
        on_question: Question | None = None,
    ) -> None:
        self._listed: list[Any] = []
        self._on_question = on_question
        self._questions: dict[Any, Any] = {}  # id of elicitation/create -> its parameters as the server wrote them
        self._asked: dict[str, dict[str, Any]] = {}  # text in place of a result -> the questions in it
        self._on_list_changed = on_list_changed
        # Calls that the server did not make, by name and arguments, and why.
        self._not_made: list[tuple[tuple[Any, Any], CallNotMadeError | ScopeNeededError]] = []
        self._errors = {_TOO_LARGE}  # what the server said of calls that failed
        self.status = 0
        seconds = max(settings.NETRA_MCP_CONNECT_SECONDS, settings.NETRA_MCP_CALL_SECONDS)
        seconds += settings.NETRA_HELD_INPUT_SECONDS if on_question is not None else 0  # a server waits in silence
        self._http = httpx2.AsyncClient(
            verify=tls_context(),
            timeout=httpx2.Timeout(settings.NETRA_MCP_CONNECT_SECONDS, read=2 * seconds),
            headers={"accept-encoding": "identity"},  # a compressed answer cannot be rewritten
            event_hooks={"response": [self._receive]},
        )
        self._toolset = MCPToolset[Turn](
            url,
            auth=token or None,
            http_client=self._http,
            init_timeout=settings.NETRA_MCP_CONNECT_SECONDS,
            read_timeout=2 * seconds,
            message_handler=self._notified,
            elicitation_handler=None if on_question is None else self._elicited,
        )
        self._entered = self._ended = False

    @property
    def usable(self) -> bool:
        """True while the session is open on both sides."""
        return self._entered and not self._ended and self._toolset.client.is_connected()

    async def open(self) -> None:
        """Open the session. Raises the exceptions of the client library."""
        with warnings.catch_warnings():
            # In 2026-07-28 questions come as results, which `call` raises, and not by the handler.
            warnings.filterwarnings("ignore", ".* will never be called: ")
            await self._toolset.__aenter__()
        self._entered = True

    async def list_tools(self) -> list[Any]:
        """Return the tools as the server lists them, unchecked."""
        self._listed.clear()
        await self._toolset.client.list_tools()
        return list(self._listed)

    async def call(
        self, name: str, arguments: dict[str, Any], answers: dict[str, Any] | None = None, state: str | None = None
    ) -> types.CallToolResult:
        """Call a tool by the server's name. `answers` and `state` are for the questions of an earlier call.

        Raises CallNotMadeError if the server has forgotten the session, ScopeNeededError, ServerAsksError, MCPError
        with what the server said of a call that failed, and NoAnswerError where the client library says something in
        place of the server.
        """
        responses: dict[str, Any] = {
            key: types.ElicitResult.model_validate(value) for key, value in (answers or {}).items()
        }
        parameters = types.CallToolRequestParams(
            name=name, arguments=arguments, input_responses=responses or None, request_state=state
        )
        request = types.CallToolRequest(params=parameters)
        try:
            result = await self._toolset.client.session.send_request(request, types.CallToolResult)
        except MCPError as error:
            if error.code == types.URL_ELICITATION_REQUIRED and isinstance(error.error.data, dict):
                raise ServerAsksError(error.error.data) from None
            # The error's code is no evidence: servers use the codes of the library's time-outs and lost connections.
            refused = next((entry for entry in self._not_made if entry[0] == (name, arguments)), None)
            if refused is not None:
                self._not_made.remove(refused)
                raise refused[1] from error
            if error.message not in self._errors:
                raise NoAnswerError from error
            raise
        match result.content:
            case [types.TextContent(text=text)] if (asked := self._asked.pop(text, None)) is not None:
                raise ServerAsksError(asked)
        return result

    def close(self) -> asyncio.Task[None]:
        """Start to end the session. The caller keeps a reference to the returned task until it is done."""

        async def end() -> None:
            with suppress(Exception):
                if self._entered:
                    await self._toolset.__aexit__(None, None, None)
            with suppress(Exception):
                await self._http.aclose()

        return asyncio.create_task(end())

    async def _elicited(self, message: str, kind: Any, parameters: Any, context: Any) -> types.ElicitResult:
        assert self._on_question is not None
        asked = self._questions.pop(context.request_id, None)
        return types.ElicitResult.model_validate(await self._on_question(asked))

    async def _notified(self, message: Any) -> None:
        method = getattr(getattr(message, "root", message), "method", "")
        if method == "notifications/tools/list_changed" and self._on_list_changed is not None:
            self._on_list_changed()

    async def _receive(self, response: httpx2.Response) -> None:
        if response.status_code >= 400:
            self.status = response.status_code
            refusal: CallNotMadeError | ScopeNeededError | None = None
            if response.status_code in _UNKNOWN_SESSION_STATUS and "mcp-session-id" in response.request.headers:
                self._ended = True
                refusal = CallNotMadeError()
            elif scope := lacking_scope(response):
                refusal = ScopeNeededError(scope)
            if refusal is not None:
                match await _request_message(response.request):
                    case {"method": "tools/call", "params": {"name": name, "arguments": arguments}}:
                        self._not_made.append(((name, arguments), refusal))
            return
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("application/json", "text/event-stream") and isinstance(response.stream, httpx2.AsyncByteStream):
            request = await _request_message(response.request)
            rewrite = partial(self._rewrite, request.get("method"))
            response.stream = _RewrittenBody(response.stream, kind == "text/event-stream", rewrite, request.get("id"))

    def _rewrite(self, method: Any, message: dict[str, Any]) -> None:
        """Put a result that the library would refuse in a form that it accepts."""
        match message:
            case {"error": {"message": str(text)}}:
                self._errors.add(text)
            case {"method": "elicitation/create", "id": str() | int() as id, "params": dict(parameters)}:
                # The library would refuse the form of many a server; it is checked elsewhere.
                self._questions[id] = dict(parameters)
                message["params"] = {"message": "", "requestedSchema": {"type": "object", "properties": {}}}
        if "result" not in message:
            return
        result = message["result"] if isinstance(message["result"], dict) else {}
        if method is None:  # a stream of answers to several requests: the form tells the method
            method = "tools/list" if "tools" in result else "tools/call" if "content" in result else None
        if method == "tools/list":
            self._listed += result["tools"] if isinstance(result.get("tools"), list) else []
            cursor = result.get("nextCursor")
            message["result"] = {**result, "tools": [], "nextCursor": cursor if isinstance(cursor, str) else None}
        elif method == "tools/call":
            if self._on_question is not None and (asked := asks_of(result)) is not None:
                mark = uuid4().hex
                self._asked[mark] = asked
                result = {"content": mark, "resultType": "complete"}
            message["result"] = safe_result(result)


class _RewrittenBody(httpx2.AsyncByteStream):
    """The body of an answer with each JSON message rewritten, and an error in place of a message that is too large."""

    def __init__(
        self,
        body: httpx2.AsyncByteStream,
        events: bool,
        rewrite: Callable[[dict[str, Any]], None],
        request_id: Any,
    ) -> None:
        self._body = body
        self._events = events
        self._rewrite = rewrite
        self._request_id = request_id

    async def __aiter__(self) -> AsyncIterator[bytes]:
        buffer = bytearray()
        async for part in self._body:
            buffer += part
            if self._events and b"\n" in part:
                complete, _, rest = buffer.rpartition(b"\n")
                buffer = bytearray(rest)
                yield b"".join(self._line(line) + b"\n" for line in complete.split(b"\n"))
            if len(buffer) > _MAX_MESSAGE_BYTES:
                error = {"code": types.INTERNAL_ERROR, "message": _TOO_LARGE}
                message = json.dumps({"jsonrpc": "2.0", "id": self._request_id, "error": error}).encode()
                yield b"data: " + message + b"\n\n" if self._events else message
                return
        if buffer:
            yield self._line(bytes(buffer)) if self._events else self._message(bytes(buffer))

    def _line(self, line: bytes | bytearray) -> bytes:
        if not line.startswith(b"data:"):
            return bytes(line)
        return b"data: " + self._message(bytes(line[5:]).strip())

    def _message(self, text: bytes) -> bytes:
        if not (message := json_object(text)):
            return text
        self._rewrite(message)
        return json.dumps(message).encode()

    async def aclose(self) -> None:
        await self._body.aclose()


def lacking_scope(response: httpx2.Response) -> str:
    """Return the scope that the request's token lacks, as RFC 6750 has it; "" for any other answer."""
    if response.status_code != 403 or extract_field_from_www_auth(response, "error") != "insufficient_scope":
        return ""
    scope = extract_scope_from_www_auth(response) or ""
    return scope if len(scope) <= _MAX_SCOPE and re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e ]+", scope) else ""


async def _request_message(request: httpx2.Request) -> dict[str, Any]:
    """Return the JSON message of a request, {} without one. After a redirect, the body has not been read yet."""
    try:
        return json_object(await request.aread())
    except httpx2.StreamError:
        return {}
