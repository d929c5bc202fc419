"""The tools of the MCP servers that a run may call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from django.conf import settings
from pydantic_ai import ToolDefinition

from agents.sdk import Turn
from agents.toolbox.mcp.accounts import Account
from agents.toolbox.mcp.servers import Server, known_servers
from agents.toolbox.mcp.tools import ServerTools
from agents.toolbox.mcp.values import MAX_TOOLS
from chat.mcp_client.config import configured, find


async def listed_tools(taken: frozenset[str]) -> dict[str, list[ToolDefinition]]:
    """Return the definitions of the tools of each reachable server by the server's name, as `connected` offers them.

    A server for which each user has a token lists its tools only in runs of its users.
    """
    servers = await _refreshed(taken)
    return {server.name: [tool.definition for tool in server.tools] for server in servers if not server.unavailable}


async def _refreshed(taken: frozenset[str]) -> list[Server]:
    known = known_servers()
    shared = {name: entry for name, entry in settings.NETRA_MCP_SERVERS.items() if find(name) is None}
    servers = [known.get(name, configured) for name, configured in shared.items()]
    await asyncio.gather(*(server.refresh(taken) for server in servers))
    return servers


@asynccontextmanager
async def connected(turn: Turn, taken: frozenset[str]) -> AsyncIterator[dict[str, ServerTools]]:
    """Yield the tools of each reachable server by the server's name. No tool has a name in `taken`.

    A tool is named `<server>_<tool>` if every provider accepts that, else by `safe_name`. `metadata["own_name"]` is
    its name at the server. A thought tells the user once which servers cannot be reached. A server at which the user
    has no account offers the tools that others have seen there; one whose tools nobody has seen asks for an account
    first, unless the user has declined that in this thread.
    """
    shared, own = await asyncio.gather(_refreshed(taken), _of_user(turn, taken))
    asked = [tools.server for tools in own if tools.server is not None and not tools.server.is_refused]
    await _inform(turn, [server for server in [*shared, *asked] if server.unavailable])
    found = [ServerTools(turn, server, taken) for server in shared if not server.unavailable]
    found += [tools for tools in own if tools.count]
    for tools, limit in zip(found, _tool_limits([tools.count for tools in found], MAX_TOOLS), strict=True):
        tools.limit = limit
    async with AsyncExitStack() as stack:
        for tools in [*found, *own]:
            stack.push_async_callback(tools.close)
        yield {tools.name: tools for tools in found}


async def _of_user(turn: Turn, taken: frozenset[str]) -> list[ServerTools]:
    """Return the tools of the servers at which the user has an account, or may connect one."""
    found = [ServerTools(turn, None, taken, Account(turn, server)) for server in configured()]
    await asyncio.gather(*(tools.begin() for tools in found))  # all accounts are asked for at once
    return found


async def _inform(turn: Turn, unavailable: list[Server]) -> None:
    if uninformed := [server for server in unavailable if turn.user_id not in server.informed]:
        *others, last = [f"“{server.name}”" for server in uninformed]
        names = f"{', '.join(others)} and {last}" if others else last
        await turn.think(f"The tools of {names} cannot be reached.")
        for server in uninformed:
            server.informed.add(turn.user_id)


def _tool_limits(wanted: list[int], limit: int) -> list[int]:
    """Return how many tools each server may offer: equal shares, and equal parts of the shares not needed."""
    shares = [0] * len(wanted)
    for left, at in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[at] = min(wanted[at], limit // (len(wanted) - left))
        limit -= shares[at]
    return [share + limit // len(wanted) for share in shares]
