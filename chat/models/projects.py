"""Projects: folders of a user's threads, with instructions and files of their own."""

import uuid
from typing import Any

from django.db import models
from django.db.models.functions import Now

from chat.models.accounts import OwnedQuerySet, User


class Project(models.Model):
    """A folder for threads. Its `instructions` are given to the assistant in each of them, beside the user's own.

    Its files are offered for the first message of each new thread in it.
    """

    OWNER, IN_THREAD = "user", False
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="projects")
    name = models.CharField(max_length=100)
    instructions = models.TextField(blank=True, db_default="")
    attachments: "models.ManyToManyField[Any, Any]" = models.ManyToManyField(
        "chat.Attachment", blank=True, related_name="projects"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = OwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
