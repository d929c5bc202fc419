"""The command that runs a complete Netra on one machine."""

from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand

from chat.devserver import server


class Command(BaseCommand):
    """Command that runs Netra on this machine (chat/devserver)."""

    help = "Run all of Netra on this machine: its own Valkey and SQLite, the web process, a worker."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Netra until SIGTERM or SIGINT."""
        server.run(self.say)

    def say(self, line: str) -> None:
        """Print the line. A closed terminal is ignored: the processes must still be stopped."""
        with suppress(OSError):
            self.stdout.write(line)
            self.stdout.flush()
