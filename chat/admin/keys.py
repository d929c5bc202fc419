"""The admin of API keys and of connections: staff see and end them, and never see a key or a token."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.accounts import api_keys
from chat.admin.audit_trail import record_of
from chat.admin.readonly import ReadOnly
from chat.mcp_client import revocation
from chat.models import ApiKey, McpConnection


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

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke the chosen keys, and close their sockets."""
        revoked = api_keys.revoke(queryset, request, request.user.pk)
        self.message_user(request, gettext("Revoked: {count}.").format(count=revoked), messages.SUCCESS)


@admin.register(McpConnection)
class McpConnectionAdmin(ReadOnly):
    """Connections of users with MCP servers."""

    whose = "user_id"
    list_display = ("server", "user", "issuer", "scope", "created_at", "used_at", "expires_at")
    list_select_related = ("user",)
    exclude = ("secrets", "refreshing_until")
    search_fields = ("=server", "user__email__contains_folded")
    ordering = ("-created_at",)
    actions = ("disconnect",)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        """Return whether the action is offered."""
        return bool(request.user.has_perm("chat.delete_mcpconnection"))

    @admin.action(description=_("Disconnect"), permissions=["disconnect"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[McpConnection]) -> None:
        """Delete the chosen users' tokens, and revoke them at the servers."""
        rows = list(queryset)
        for row in rows:
            record_of(request, "mcp_disconnected", row.user_id, row.server)
            revocation.delete(row)
        self.message_user(request, gettext("Disconnected: {count}.").format(count=len(rows)), messages.SUCCESS)
