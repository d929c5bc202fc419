"""The command that encrypts stored tokens anew."""

from typing import Any

from django.core.management.base import BaseCommand

from chat.mcp_client import tokens


class Command(BaseCommand):
    """Encrypts stored tokens under the first key."""

    help = "Encrypt the tokens of connections under the first of NETRA_ENCRYPTION_KEYS. Afterwards the others can go."

    def handle(self, *args: Any, **options: Any) -> None:
        """Encrypt them."""
        done, lost = tokens.rotate()
        self.stdout.write(f"Encrypted: {done}." + (f" Lost, because no key decrypts them: {lost}." if lost else ""))
