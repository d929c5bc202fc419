"""The command that erases a user."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.models import User
from chat.runs import retention


class Command(BaseCommand):
    """Erases a user."""

    help = "Delete a user with all data, rows and files. Only the audit record remains, without content."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("email")
        parser.add_argument("--no-input", action="store_true", help="do not ask")

    def handle(self, *args: Any, email: str, no_input: bool, **options: Any) -> None:
        """Erase the user once the operator has confirmed it. Raises CommandError."""
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"There is no user with the address {email}.")
        if not no_input and input(f"Type {user.email} again to erase this user for good: ").strip() != user.email:
            raise CommandError("Nothing was erased.")
        try:
            retention.erase(user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write("Erased.")
