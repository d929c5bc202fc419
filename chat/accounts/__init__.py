"""Users: authentication, tokens, API keys, sessions, lockout and the audit record."""
