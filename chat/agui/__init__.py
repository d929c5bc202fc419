"""Clients of AG-UI 1.0: requests, runs and what they are shown of a thread."""
