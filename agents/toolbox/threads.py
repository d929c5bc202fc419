"""Search in the earlier threads of one user."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agents.sdk import AgentError, Turn
from chat.db.access import from_database
from chat.db.search import fold
from chat.models import Message

_MAX_WORDS = 8  # of a query: further words are ignored
_EXCERPT_MARGIN = 200  # characters shown on either side of the first match


@dataclass(frozen=True, slots=True)
class Found:
    """A message: its thread's id and title, `user` or `assistant`, an ISO 8601 time, the text around the word."""

    thread_id: str
    title: str
    role: str
    created_at: str
    excerpt: str


def thread_search_for(turn: Turn) -> Callable[[str, int], Awaitable[list[Found]]]:
    """Return the tool `thread_search`, which finds only threads of the turn's user."""
    user_id, thread_id = int(turn.user_id), uuid.UUID(turn.thread_id)

    async def thread_search(query: str, limit: int = 5) -> list[Found]:
        """Search the user's other threads for messages that have all of the words, the newest first.

        Args:
            query: Up to eight words.
            limit: How many messages at most, from 1 to 20.
        """
        words = query.split()[:_MAX_WORDS]
        if not words:
            raise AgentError("There is no word to search for.")
        return await from_database(_search, user_id, thread_id, words, min(max(limit, 1), 20))

    return thread_search


def _search(user_id: int, thread_id: uuid.UUID, words: list[str], limit: int) -> list[Found]:
    shown = Message.objects.for_user(user_id).filter(thread__hidden=False, thread__temporary=False)
    found = shown.exclude(thread=thread_id).select_related("thread")
    for word in words:
        found = found.filter(text__folded__holds=word)
    return [
        Found(
            thread_id=str(message.thread_id),
            title=message.thread.title,
            role=message.role,
            created_at=message.created_at.isoformat(),
            excerpt=_excerpt(message.content, words[0]),
        )
        for message in found.order_by("-created_at", "-seq")[:limit]
    ]


def _excerpt(content: str, word: str) -> str:
    at = max(fold(content).find(fold(word)), 0)  # approximate: few characters fold to several
    start, end = max(at - _EXCERPT_MARGIN, 0), at + len(word) + _EXCERPT_MARGIN
    return f"{'…' if start else ''}{content[start:end]}{'…' if end < len(content) else ''}"
