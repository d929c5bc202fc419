"""The tools of the MCP servers in the settings, over HTTP."""

from agents.toolbox.mcp.offering import connected, listed_tools
from agents.toolbox.mcp.servers import Servers
from agents.toolbox.mcp.tools import to_store

__all__ = ["Servers", "connected", "listed_tools", "to_store"]
