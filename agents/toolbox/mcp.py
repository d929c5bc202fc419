"""The tools of the MCP servers in the settings, over HTTP.

A process keeps the list of a server's tools, or the failure to get it, for NETRA_MCP_RETRY_SECONDS and shares it among
runs. Servers keep state in sessions, so each run has its own session, which the run's first call opens.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.conf import settings
from mcp import MCPError, types
from pydantic_ai import RunContext, ToolDefinition, ToolFailed
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from agents.sdk import Turn
from agents.toolbox.mcp_session import CallNotMadeError, NoAnswerError, Session
from agents.toolbox.mcp_values import MAX_TOOLS, ServerTool, result_data, safe_tools
from agents.toolbox.schemas import restored

if TYPE_CHECKING:
    from agents.apps import AgentsConfig

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 1  # seconds that a run waits for a server to end its session

_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))


@dataclass
class _Server:
    """The state of one server, valid until `expires`. `informed` holds users who have read that it is unavailable."""

    name: str
    url: str
    token: str
    tools: list[ServerTool] = field(default_factory=list)
    unavailable: bool = False
    expires: float = 0
    informed: set[str] = field(default_factory=set)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)  # sessions that are being closed
    _listing: asyncio.Task[None] | None = None

    async def refresh(self, taken: frozenset[str]) -> None:
        """List the tools if the state has expired. Concurrent runs wait for one request."""
        if monotonic() < self.expires:
            return
        if self._listing is None or self._listing.done() or self._listing.get_loop() is not asyncio.get_running_loop():
            self._listing = asyncio.create_task(self._list_tools(taken))
        await asyncio.shield(self._listing)

    async def _list_tools(self, taken: frozenset[str]) -> None:
        session = Session(self.url, self.token)
        try:
            async with asyncio.timeout(settings.NETRA_MCP_CONNECT_SECONDS):
                await session.open()
                listed = await session.list_tools()
        except Exception as error:
            self.mark_unavailable(session.status, error)
        else:
            self.tools = safe_tools(self.name, listed, taken)
            self.unavailable, self.expires = False, monotonic() + settings.NETRA_MCP_RETRY_SECONDS
        finally:
            self.end(session)

    def end(self, session: Session) -> asyncio.Task[None]:
        """Start to end a session. The caller need not await the returned task."""
        task = session.close()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def mark_unavailable(self, status: int, error: Exception) -> None:
        """Offer no tools of this server until it is asked again."""
        self.tools, self.unavailable, self.informed = [], True, set()
        self.expires = monotonic() + settings.NETRA_MCP_RETRY_SECONDS
        # The error's text may quote the request.
        log.warning("mcp %s: cannot be reached: %s", self.name, f"HTTP {status}" if status else type(error).__name__)


class Servers:
    """The MCP servers that a process knows, with the state of each."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str, str], _Server] = {}

    def get(self, name: str, configured: Mapping[str, Any]) -> _Server:
        """Return the server with this entry of NETRA_MCP_SERVERS; a changed entry is another server."""
        key = name, configured["url"], configured.get("token") or ""
        return self._servers.setdefault(key, _Server(*key))


async def listed_tools(taken: frozenset[str]) -> dict[str, list[ToolDefinition]]:
    """Return the definitions of the tools of each reachable server by the server's name, as `connected` offers them."""
    servers = await _refreshed(taken)
    return {server.name: [tool.definition for tool in server.tools] for server in servers if not server.unavailable}


async def _refreshed(taken: frozenset[str]) -> list[_Server]:
    known: Servers = cast("AgentsConfig", apps.get_app_config("agents")).mcp_servers
    servers = [known.get(name, configured) for name, configured in settings.NETRA_MCP_SERVERS.items()]
    await asyncio.gather(*(server.refresh(taken) for server in servers))
    return servers


@asynccontextmanager
async def connected(turn: Turn, taken: frozenset[str]) -> AsyncIterator[dict[str, AbstractToolset[Turn]]]:
    """Yield the tools of each reachable server by the server's name. No tool has a name in `taken`.

    A tool is named `<server>_<tool>` if every provider accepts that, else by `safe_name`. `metadata["own_name"]` is
    its name at the server. A thought tells the user once which servers cannot be reached.
    """
    servers = await _refreshed(taken)
    if uninformed := [server for server in servers if server.unavailable and turn.user_id not in server.informed]:
        *others, last = [f"“{server.name}”" for server in uninformed]
        names = f"{', '.join(others)} and {last}" if others else last
        await turn.think(f"The tools of {names} cannot be reached.")
        for server in uninformed:
            server.informed.add(turn.user_id)
    async with AsyncExitStack() as stack:
        found: dict[str, AbstractToolset[Turn]] = {}
        reachable = [server for server in servers if not server.unavailable]
        limits = _tool_limits([len(server.tools) for server in reachable], MAX_TOOLS)
        for server, limit in zip(reachable, limits, strict=True):
            toolset = _ServerTools(server, taken, limit)
            stack.push_async_callback(toolset.close)
            found[server.name] = toolset
        yield found


def _tool_limits(wanted: list[int], limit: int) -> list[int]:
    """Return how many tools each server may offer: equal shares, and equal parts of the shares not needed."""
    shares = [0] * len(wanted)
    for left, at in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[at] = min(wanted[at], limit // (len(wanted) - left))
        limit -= shares[at]
    return [share + limit // len(wanted) for share in shares]


class _ServerTools(AbstractToolset[Turn]):
    """The tools of one server for one run."""

    def __init__(self, server: _Server, taken: frozenset[str], limit: int) -> None:
        self._server = server
        self._taken = taken
        self._limit = limit
        self._tools = server.tools
        self._changed = False
        self._opening = asyncio.Lock()
        self._sessions: list[Session] = []

    @property
    def id(self) -> str:
        return f"mcp_{self._server.name}"

    async def get_tools(self, ctx: RunContext[Turn]) -> dict[str, ToolsetTool[Turn]]:
        if self._changed:
            await self._refresh()
        return {
            tool.definition.name: ToolsetTool(
                toolset=self, tool_def=tool.definition, max_retries=ctx.max_retries or 1, args_validator=_ANY_OBJECT
            )
            for tool in self._tools[: self._limit]
        }

    async def _refresh(self) -> None:
        """List the tools of this run's session: a server may change them for one session only."""
        self._changed = False
        try:
            async with asyncio.timeout(settings.NETRA_MCP_CONNECT_SECONDS):
                listed = await (await self._open()).list_tools()
        except Exception as error:
            log.warning("mcp %s: the changed tools cannot be listed: %s", self._server.name, type(error).__name__)
        else:
            self._tools = safe_tools(self._server.name, listed, self._taken)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Turn], tool: ToolsetTool[Turn]
    ) -> Any:
        called = next(known for known in self._tools if known.definition.name == name)
        arguments = restored(tool_args, called.renamed)
        acts = not called.definition.metadata or not called.definition.metadata["annotations"]["readOnlyHint"]
        doubt = " It may have acted all the same." if acts else ""
        try:
            async with asyncio.timeout(settings.NETRA_MCP_CALL_SECONDS):
                result = await self._call(called.own_name, arguments)
        except TimeoutError:
            seconds = f"{settings.NETRA_MCP_CALL_SECONDS:g} seconds"
            raise ToolFailed(f"The server did not answer within {seconds}.{doubt}") from None
        except CallNotMadeError as error:
            raise ToolFailed("The server ended the session before the call. Try again.") from error
        except NoAnswerError as error:
            # The library's words have its advice to developers, and may name addresses inside the network.
            raise ToolFailed(f"The server broke off, or its answer cannot be read.{doubt}") from error
        except MCPError as error:
            reason = error.message[:1000].rstrip(".")
            if error.code in (types.INVALID_PARAMS, types.METHOD_NOT_FOUND):
                raise ToolFailed(f"The server refused the call: {reason}.") from error
            raise ToolFailed(f"The server did not answer with a result: {reason}.{doubt}") from error
        except Exception as error:
            raise ToolFailed(f"The server did not answer: {type(error).__name__}.{doubt}") from error
        return result_data(result)

    async def _call(self, own_name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        try:
            return await (await self._open()).call(own_name, arguments)
        except CallNotMadeError:
            return await (await self._open()).call(own_name, arguments)

    async def _open(self) -> Session:
        async with self._opening:
            if self._sessions and self._sessions[-1].usable:
                return self._sessions[-1]
            session = Session(self._server.url, self._server.token, self._list_changed)
            self._sessions.append(session)
            try:
                async with asyncio.timeout(settings.NETRA_MCP_CONNECT_SECONDS):
                    await session.open()
            except Exception as error:
                self._server.mark_unavailable(session.status, error)
                raise
            return session

    def _list_changed(self) -> None:
        self._changed, self._server.expires = True, 0

    async def close(self) -> None:
        """Close the run's sessions and wait for up to _CLOSE_TIMEOUT."""
        if closing := {self._server.end(session) for session in self._sessions}:
            await asyncio.wait(closing, timeout=_CLOSE_TIMEOUT)
