"""Checklists: the steps of answers that users have done."""

from django.db import models
from django.db.models.functions import Now

from chat.models.accounts import OwnedQuerySet
from chat.models.threads import Message


class CheckedStep(models.Model):
    """A step that an answer recommends and its user has done. `name` is the answer's name for it."""

    OWNER, IN_THREAD = "message__thread__user", True
    message = models.ForeignKey(Message, models.CASCADE, related_name="checked_steps")
    name = models.CharField(max_length=32)
    checked_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "name"], name="checked_step_message_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.message_id}"
