"""The text that a user wrote for agents to know, in the settings and in projects."""

from uuid import UUID

from chat.db.access import from_database
from chat.models import Project, User


async def instructions_of(user_id: str, thread_id: str) -> str:
    """Return what the user has written in the settings, and in the project that the thread is in.

    Empty without any, or without a user as in a test.
    """
    return await from_database(_read, int(user_id), thread_id) if user_id != "0" else ""


def _read(user_id: int, thread_id: str) -> str:
    own = User.objects.filter(pk=user_id).values_list("instructions", flat=True).first()
    projects = Project.objects.for_user(user_id).filter(threads=UUID(thread_id))
    return "\n\n".join(filter(None, (own, projects.values_list("instructions", flat=True).first())))
