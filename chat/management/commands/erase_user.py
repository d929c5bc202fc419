from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import retention
from chat.models import User


class Command(BaseCommand):
    help = "Delete a user with all that is theirs, rows and files. What stays is the audit record, without content."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--no-input", action="store_true", help="do not ask")

    def handle(self, *args: Any, email: str, no_input: bool, **options: Any) -> None:
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"Nobody has the address {email}.")
        if not no_input and input(f"Type {user.email} again to erase this user for good: ").strip() != user.email:
            raise CommandError("Nothing was erased.")
        retention.erase(user)
        self.stdout.write("Erased.")
