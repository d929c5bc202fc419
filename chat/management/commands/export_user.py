import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import audit
from chat.export import everything
from chat.models import User


class Command(BaseCommand):
    help = "Write all that is a user's into a zip: profile, threads as JSON and Markdown, attachments."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("file", help="is made, readable by this user only; must not be there yet")

    def handle(self, *args: Any, email: str, file: str, **options: Any) -> None:
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"Nobody has the address {email}.")
        try:
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                audit.record("admin_acted", user.pk, detail="export, at the command line")
                everything(user, target)
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from None
        self.stdout.write(f"Written: {file}.")
