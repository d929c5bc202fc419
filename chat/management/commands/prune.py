"""The command that deletes old events."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.runs import retention


class Command(BaseCommand):
    """Deletes old events."""

    help = "Delete old events of ended runs (messages stay) and the contents of threads that were deleted long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the argument."""
        parser.add_argument("--days", type=float, required=True, help="age in days from which events are deleted")

    def handle(self, *args: Any, days: float, **options: Any) -> None:
        """Delete the events and print their number. Raises CommandError."""
        if not 0 <= days <= 36_500:
            raise CommandError("--days must be from 0 to 36500.")
        self.stdout.write(f"Events deleted: {sum(retention.prune(timedelta(days=days)))}.")
