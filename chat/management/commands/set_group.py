"""The command that makes a group, and says who is in it."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from chat.accounts import audit
from chat.models import GroupPolicy, User


class Command(BaseCommand):
    """Makes or changes a group."""

    help = "Make a group, add and remove members, and name the values of a provider's claim whose holders are members."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("name")
        parser.add_argument("--add", action="append", default=[], metavar="EMAIL", help="repeatable")
        parser.add_argument("--remove", action="append", default=[], metavar="EMAIL", help="repeatable")
        parser.add_argument(
            "--claim", action="append", metavar="VALUE", help="repeatable; replaces all values; an empty one: none"
        )

    @transaction.atomic
    def handle(
        self, *args: Any, name: str, add: list[str], remove: list[str], claim: list[str] | None, **options: Any
    ) -> None:
        """Change the group as a whole. Raises CommandError for an address that no user has, with nothing changed."""
        group, _ = Group.objects.get_or_create(name=name)
        for emails, sign, change in ((add, "+", group.user_set.add), (remove, "-", group.user_set.remove)):
            for email in emails:
                user = User.objects.filter(email=email.strip().lower()).first()
                if user is None:
                    raise CommandError(f"There is no user with the address {email}.")
                change(user)
                audit.record("group_changed", user.pk, detail=f"command: {sign}{name}")
        if claim is not None:
            claims = [value for value in claim if value]
            GroupPolicy.objects.update_or_create(group=group, defaults={"claims": claims})
        self.stdout.write(f"{name}: {group.user_set.count()} members.")
