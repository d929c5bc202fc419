"""Digests of conversations, by which a client's history is found again. Pure.

A path is a SHA-256 chain over the (role, text) of all turns from a conversation's beginning. It begins with the user:
equal conversations of two users have different paths. White space in a text does not count.
"""

import hashlib
from collections.abc import Iterable

Turns = Iterable[tuple[str, str]]  # (role, text), the oldest first
NO_TURNS = ("system", "developer")  # roles of what is no part of a conversation


def root(user_id: int) -> str:
    """Return the path of a conversation of this user before its first turn."""
    return _digest(f"user {user_id}")


def extend(path: str, turns: Turns) -> str:
    """Return the path after these further turns; instructions among them do not count."""
    for role, text in turns:
        if role not in NO_TURNS:
            path = _digest(f"{path}\n{role}\n{' '.join(text.split())}")
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
