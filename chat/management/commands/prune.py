from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import retention


class Command(BaseCommand):
    help = "Delete old events of ended runs (messages stay), and what is in threads that were deleted long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, required=True, help="how old an event may become")

    def handle(self, *args: Any, days: float, **options: Any) -> None:
        if not 0 <= days <= 36_500:
            raise CommandError("--days must be from 0 to 36500.")
        self.stdout.write(f"Events deleted: {sum(retention.prune(timedelta(days=days)))}.")
