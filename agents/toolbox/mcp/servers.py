"""The MCP servers that a process knows.

A process keeps the list of a server's tools, or the failure to get it, for NETRA_MCP_RETRY_SECONDS and shares it among
runs. Where each user has a token, that is for each token. Servers keep state in sessions, so each run has its own
session, which the run's first call opens.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.conf import settings

from agents.toolbox.mcp.session import Session
from agents.toolbox.mcp.values import ServerTool, safe_tools

if TYPE_CHECKING:
    from agents.apps import AgentsConfig

log = logging.getLogger(__name__)

MAX_KNOWN = 500  # states of servers, one a token, above which those that are too old are forgotten


@dataclass
class Server:
    """The state of one server, valid until `expires`. `informed` holds users who have read that it is unavailable.

    `is_refused`: it is unavailable because it does not accept the token.
    """

    name: str
    url: str
    token: str
    tools: list[ServerTool] = field(default_factory=list)
    unavailable: bool = False
    is_refused: bool = False
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
            self.unavailable = self.is_refused = False
            self.expires = monotonic() + settings.NETRA_MCP_RETRY_SECONDS
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
        self.is_refused = status == 401
        self.expires = monotonic() + settings.NETRA_MCP_RETRY_SECONDS
        # The error's text may quote the request.
        log.warning("mcp %s: cannot be reached: %s", self.name, f"HTTP {status}" if status else type(error).__name__)


class Servers:
    """The MCP servers that a process knows, with the state of each."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str, str], Server] = {}

    def get(self, name: str, configured: Mapping[str, Any]) -> Server:
        """Return the server with this entry of NETRA_MCP_SERVERS; a changed entry is another server."""
        key = name, configured["url"], configured.get("token") or ""
        if key not in self._servers and len(self._servers) >= MAX_KNOWN:
            now = monotonic()
            self._servers = {key: server for key, server in self._servers.items() if server.expires > now}
        return self._servers.setdefault(key, Server(*key))


def known_servers() -> Servers:
    """Return the servers of this process."""
    return cast("AgentsConfig", apps.get_app_config("agents")).mcp_servers
