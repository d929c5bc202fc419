"""The admin of links to shared conversations: staff see and revoke them, and never see a link itself."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat import sharing
from chat.admin.readonly import ReadOnly
from chat.models import Share


@admin.register(Share)
class ShareAdmin(ReadOnly):
    """Links, the newest first."""

    whose = "user_id"
    list_display = ("created_at", "title", "user", "expires_at", "revoked_at")
    list_select_related = ("user",)
    exclude = ("snapshot",)
    raw_id_fields = ("thread",)
    ids = ("id", "thread_id")
    search_fields = ("user__email__contains_folded", "title__contains_folded")
    ordering = ("-created_at",)
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return whether the action is offered."""
        return bool(request.user.has_perm("chat.change_share"))

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Share]) -> None:
        """Revoke the chosen links."""
        revoked = sharing.revoke(queryset, request, request.user.pk)
        self.message_user(request, gettext("Revoked: {count}.").format(count=revoked), messages.SUCCESS)
