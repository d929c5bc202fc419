"""The MCP server at `/mcp`: every agent is a tool of hosts that speak the Model Context Protocol."""
