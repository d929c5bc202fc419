"""Read-only admin of the ratings of answers."""

from django.contrib import admin

from chat.admin.filters import chosen, recent
from chat.admin.readonly import ReadOnly
from chat.models import Feedback


@admin.register(Feedback)
class FeedbackAdmin(ReadOnly):
    """Ratings, the newest first. The answers themselves are in the admin of messages."""

    whose = "user_id"
    list_display = ("created_at", "rating", "agent", "model", "comment", "user")
    list_select_related = ("user",)
    list_filter = (
        recent(Feedback, "agent", "agent"),
        chosen("rating", ["1", "-1"]),
        recent(Feedback, "model", "model"),
        "created_at",
    )
    raw_id_fields = ("message", "run")
    ids = ("message_id", "run_id")
    search_fields = ("user__email__contains_folded", "comment__contains_folded")
    ordering = ("-created_at",)
