"""Programs that measure or break a running Netra."""
