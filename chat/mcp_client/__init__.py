"""The users' connections with MCP servers: sign-in by OAuth, tokens, and their encryption."""
