"""Users: authentication, tokens, sessions, lockout and the audit record."""
