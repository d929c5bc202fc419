"""The command that exports a user's data."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.accounts import audit
from chat.api.exports import everything
from chat.models import User


class Command(BaseCommand):
    """Exports a user's data."""

    help = "Write all data of a user to a zip file: profile, threads as JSON and Markdown, attachments."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("email")
        parser.add_argument("file", help="path of the new file, which only the current system user can read")

    def handle(self, *args: Any, email: str, file: str, **options: Any) -> None:
        """Write the zip. Raises CommandError."""
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"There is no user with the address {email}.")
        try:
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                audit.record("admin_acted", user.pk, detail="export, at the command line")
                everything(user, target)
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from None
        self.stdout.write(f"Written: {file}.")
