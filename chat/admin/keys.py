"""The admin of API keys: staff see and revoke them, and never see a key itself."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from chat.accounts import api_keys
from chat.admin.readonly import ReadOnly
from chat.models import ApiKey


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    """API keys."""

    whose = "user_id"
    list_display = ("prefix", "user", "name", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_select_related = ("user",)
    exclude = ("digest",)
    search_fields = ("=prefix", "user__email__contains_folded")
    ordering = ("-created_at",)
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return whether the action is offered."""
        return bool(request.user.has_perm("chat.change_apikey"))

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke the chosen keys, and close their sockets."""
        revoked = api_keys.revoke(queryset, request, request.user.pk)
        self.message_user(request, f"Revoked: {revoked}.", messages.SUCCESS)
