"""The definitions of MCP servers' tools, which a worker stores for the admin: web processes reach no server."""

import asyncio
from importlib import import_module

from django.conf import settings

from chat.assistants import OWN_TOOLS
from chat.assistants.tools import store
from chat.db.access import in_database

PERIOD = 10.0  # seconds between two looks; each server is asked at most every NETRA_MCP_RETRY_SECONDS


async def store_tools() -> None:
    """Store the tools of the servers that can be reached. Raises Django's database errors."""
    if not settings.NETRA_MCP_SERVERS:
        return
    # In a thread: seconds of importing would hold up the worker's runs.
    mcp = await asyncio.to_thread(import_module, "agents.toolbox.mcp")
    for server, definitions in (await mcp.listed_tools(OWN_TOOLS)).items():
        await in_database(store, server, mcp.to_store(server, definitions))
