"""Ratings of answers."""

from django.db import models
from django.db.models.functions import Now

from chat.models.accounts import OwnedQuerySet, User
from chat.models.threads import Message, Run


class Feedback(models.Model):
    """The rating that a user gave an answer. `agent` and `model` are those of the answer's run."""

    OWNER, IN_THREAD = "message__thread__user", True
    UP, DOWN = RATINGS = (1, -1)
    MAX_COMMENT = 2000  # characters
    message = models.OneToOneField(Message, models.CASCADE, related_name="feedback")
    user = models.ForeignKey(User, models.CASCADE, related_name="feedback")
    run = models.ForeignKey(Run, models.CASCADE, related_name="feedback")
    agent = models.CharField(max_length=64)
    model = models.CharField(max_length=100, blank=True)
    rating = models.SmallIntegerField(choices=[(UP, "good"), (DOWN, "bad")])
    comment = models.CharField(max_length=MAX_COMMENT, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "feedback"
        indexes = [models.Index(fields=["-created_at"], name="feedback_created")]

    def __str__(self) -> str:
        return f"{self.get_rating_display()} {self.message_id}"
