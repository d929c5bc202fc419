"""MCP servers as they are met, and conversations of the assistant with them, for tests with and without a database."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn

from agents.assistant import answer
from agents.sdk import RecordingSink, Turn
from chat.assistants import Definition
from tests.model_provider import FREE, Exchange, Provider, Reply, of
from tests.site import WAIT_TIMEOUT

Answer = Callable[[dict[str, Any]], Awaitable[Any]]
OPEN = {"type": "object", "properties": {}}


@asynccontextmanager
async def serving(app: Any, lifespan: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan=lifespan, interface="asgi3")
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 it has no event
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


class Odd:
    """An MCP server over HTTP whose every answer is the test's. `asked`: the methods of its requests, counted."""

    def __init__(self, *tools: Any, **results: Any) -> None:
        self.tools: list[Any] = list(tools)
        self.results = results  # by tool: a result of tools/call, or what makes one of the request's parameters
        self.pages = 1
        self.events = False  # answer in server-sent events
        self.refusal: tuple[int, str, bytes] | None = None  # status, media type and body for everything
        self.silent = False
        self.sessions: set[str] | None = set()  # None: it has none
        self.headers: list[dict[str, str]] = []
        self.asked: Counter[str] = Counter()
        self.called: list[dict[str, Any]] = []
        self.before: Answer | None = None
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with serving(self._app, "off") as address:
            self.url = f"{address}/mcp"
            yield self.url

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            piece = await receive()
            body += piece.get("body", b"")
            if not piece.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.headers.append(headers)
        request = json.loads(body) if body else {}
        self.asked[request.get("method", scope["method"])] += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.before:
            await self.before(request)
        if self.refusal:
            await self.answer(send, *self.refusal)
            return
        session = headers.get("mcp-session-id")
        if session is not None and session not in (self.sessions or ()):
            await self.answer(send, 404, "text/plain", b"no such session")
            return
        if scope["method"] != "POST":
            await self.answer(send, 405, "text/plain", b"")
            return
        if "id" not in request:
            await self.answer(send, 202, "text/plain", b"")
            return
        result, new = await self.result_of(request), {}
        if request["method"] == "initialize" and self.sessions is not None:
            self.sessions.add(session := uuid.uuid4().hex)
            new = {"mcp-session-id": session}
        answer = json.dumps({"jsonrpc": "2.0", "id": request["id"], **result}).encode()
        if self.events:
            await self.answer(send, 200, "text/event-stream", b"event: message\r\ndata: " + answer + b"\r\n\r\n", new)
        else:
            await self.answer(send, 200, "application/json", answer, new)

    async def result_of(self, request: dict[str, Any]) -> dict[str, Any]:
        parameters = request.get("params") or {}
        match request["method"]:
            case "initialize":
                about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}
                return {"result": {"protocolVersion": "2025-06-18", **about}}
            case "tools/list":
                page, size = int(parameters.get("cursor") or 0), -(-len(self.tools) // self.pages)
                listed: dict[str, Any] = {"tools": self.tools[page * size :][:size]}
                if page + 1 < self.pages:
                    listed["nextCursor"] = str(page + 1)
                return {"result": listed}
            case "tools/call":
                self.called.append(parameters)
                result = self.results.get(parameters["name"], {"content": [{"type": "text", "text": "done"}]})
                result = await result(parameters) if callable(result) else result
                return result if isinstance(result, dict) and "error" in result else {"result": result}
        return {"error": {"code": -32601, "message": "Method not found"}}

    async def answer(
        self, send: Any, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        lines = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
        named = [(name.encode(), value.encode()) for name, value in lines.items()]
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})


def tool(name: Any, **fields: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": OPEN, "annotations": {"readOnlyHint": True}, **fields}


def converse(model_settings: Any, servers: dict[str, Odd], scene: Callable[[Any], Awaitable[None]]) -> None:
    """Serve several messages in one process: `scene` is called with a coroutine function of `message`."""

    async def message(*replies: Reply, **given: Any) -> tuple[RecordingSink, Provider]:
        provider, sink = Provider(*replies), RecordingSink()
        async with provider.running() as url:
            model_settings.NETRA_MODELS["default"]["url"] = url
            turn = Turn(**{"text": "Hello", "sink": sink, "agent_name": "assistant", **given})
            await answer(turn, Definition(policies=FREE))
        return sink, provider

    async def run() -> None:
        async with AsyncExitStack() as stack, asyncio.timeout(WAIT_TIMEOUT):
            model_settings.NETRA_MCP_SERVERS = {
                name: {"url": await stack.enter_async_context(odd.running())} for name, odd in servers.items()
            }
            await scene(message)

    asyncio.run(run())


def offered_by(exchange: Exchange, server: str) -> dict[str, Any]:
    functions = (entry["function"] for entry in exchange.request["tools"])
    return {function["name"]: function for function in functions if function["name"].startswith(f"{server}_")}


def thoughts(sink: RecordingSink) -> list[str]:
    return [event["reasoning"] for event in of(sink, "agent_thinking") if "cannot be reached" in event["reasoning"]]


def success(sink: RecordingSink) -> list[bool]:
    return [event["success"] for event in of(sink, "tool_completed")]
