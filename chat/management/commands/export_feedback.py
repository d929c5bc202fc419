"""The command that exports the ratings of answers."""

import json
from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chat import protocol
from chat.accounts import audit
from chat.models import Feedback


def time(text: str) -> datetime:
    """Return the time of a date or a timestamp of ISO 8601, in UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date such as 2026-11-30") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Exports the ratings of answers."""

    help = "Write the ratings of answers as JSON, one a line, without texts and addresses unless --with-text is given."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("--since", type=time, metavar="DATE", help="those given or changed since then, in UTC")
        parser.add_argument("--agent", help="those of this agent's answers")
        parser.add_argument(
            "--with-text", action="store_true", help="with comment, question, answer and the user's address"
        )

    def handle(self, *args: Any, since: datetime | None, agent: str | None, with_text: bool, **options: Any) -> None:
        """Write the lines to the standard output."""
        if with_text:
            audit.record("admin_acted", None, detail="export of feedback with its texts, at the command line")
        for line in lines(since, agent, with_text):
            self.stdout.write(json.dumps(line, ensure_ascii=False))


def lines(since: datetime | None, agent: str | None, with_text: bool) -> Iterator[dict[str, Any]]:
    """Yield the ratings, without those of deleted threads, the oldest first."""
    rows = Feedback.objects.filter(message__thread__deleted_at=None).order_by("created_at", "pk")
    if since is not None:
        rows = rows.filter(updated_at__gte=since)
    if agent is not None:
        rows = rows.filter(agent=agent)
    if with_text:
        rows = rows.select_related("message", "run__message", "user")
    else:
        rows = rows.select_related("message").defer("message__content")
    for row in rows.iterator(chunk_size=500):
        line = {
            "message_id": str(row.message_id),
            "thread_id": str(row.message.thread_id),
            "run_id": str(row.run_id),
            "agent": row.agent,
            "model": row.model or None,
            "rating": row.rating,
            "created_at": protocol.timestamp(row.created_at),
            "updated_at": protocol.timestamp(row.updated_at),
        }
        if with_text:
            texts = {"comment": row.comment, "question": row.run.message.content, "answer": row.message.content}
            line |= {**texts, "email": row.user.email}
        yield line
