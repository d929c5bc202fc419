"""The text that a user wrote in the settings for agents to know."""

from chat.db.access import from_database
from chat.models import User


async def instructions_of(user_id: str) -> str:
    """Return what the user has written in the settings; empty without any, or without a user as in a test."""
    return await from_database(_read, int(user_id)) if user_id != "0" else ""


def _read(user_id: int) -> str:
    return User.objects.filter(pk=user_id).values_list("instructions", flat=True).first() or ""
