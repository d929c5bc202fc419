"""Public copies of conversations."""

import uuid

from django.db import models
from django.db.models.functions import Now

from chat.models.accounts import OwnedQuerySet, User
from chat.models.threads import Thread


class Share(models.Model):
    """A copy of one branch of a thread, as it was when the user shared it, behind a link.

    `snapshot` is a list of {role, content}: no thoughts, tools, results, files, names or ids. It is emptied when the
    share is revoked.
    """

    OWNER, IN_THREAD = "thread__user", True
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="shares")
    user = models.ForeignKey(User, models.CASCADE, related_name="shares")
    token = models.CharField(max_length=32, unique=True, editable=False, help_text="The end of the link.")
    title = models.CharField(max_length=200, blank=True)
    snapshot = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["-created_at"], name="share_created")]

    def __str__(self) -> str:
        return str(self.id)
