"""Tools that any agent may call through its turn."""
