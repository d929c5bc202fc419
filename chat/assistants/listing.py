"""The assistants as a process lists them: read from the database at most every two seconds."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group
from django.db.models import OuterRef, Subquery

from chat.models import Assistant, AssistantVersion

CACHE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Listed:
    """An enabled assistant with its newest version. `groups`: the names of the only groups that have it; empty: all."""

    name: str
    version_id: int
    title: str
    description: str
    model: str
    starters: tuple[str, ...]
    groups: frozenset[str]


class AssistantList:
    """The assistants that exist, as they were at most CACHE_SECONDS ago. One object serves all threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float(-CACHE_SECONDS)  # seconds of the monotonic clock
        self._listed: tuple[Listed, ...] = ()

    def all(self) -> tuple[Listed, ...]:
        """Return the enabled assistants in the order in which they were made."""
        with self._lock:
            is_old = time.monotonic() - self._read_at >= CACHE_SECONDS
        if is_old:
            listed = tuple(_read())
            with self._lock:
                self._listed, self._read_at = listed, time.monotonic()
        return self._listed

    def visible_to(self, user_id: int) -> tuple[Listed, ...]:
        """Return those that exist for the user."""
        listed = self.all()
        if not any(one.groups for one in listed):
            return listed
        mine = set(Group.objects.filter(user=user_id).values_list("name", flat=True))
        return tuple(one for one in listed if not one.groups or one.groups & mine)


def _read() -> Iterator[Listed]:
    newest = AssistantVersion.objects.filter(assistant=OuterRef("assistant")).order_by("-number").values("pk")[:1]
    # An agent of the settings hides an assistant of its name.
    of = Assistant.objects.filter(enabled=True).exclude(name__in=settings.AGENTS)
    rows = AssistantVersion.objects.filter(assistant__in=of, pk=Subquery(newest)).order_by("assistant")
    for pk, name, content in rows.values_list("pk", "assistant__name", "content"):
        yield Listed(
            name,
            pk,
            content["title"],
            content["description"],
            content["model"],
            tuple(content["starters"]),
            frozenset(content["groups"]),
        )


def assistants() -> AssistantList:
    """Return the list of this process."""
    return cast("AssistantList", apps.get_app_config("chat").assistants)  # type: ignore[attr-defined]
