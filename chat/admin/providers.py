"""The admin of connections with providers, of what holds for groups, and of the sign-in to the admin itself."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from chat.accounts import sessions
from chat.admin.audit_trail import changed, record_of
from chat.admin.readonly import ReadOnly
from chat.admin.records import refusing
from chat.admin.users import check_reach
from chat.models import GroupPolicy, Session


class SignInForm(AdminAuthenticationForm):
    """The form that signs in to the admin. Where only providers sign in, it is left to superusers, as a way back."""

    @property
    def by_provider(self) -> bool:
        """Return whether the page shows the way to the providers."""
        return bool(settings.NETRA_SSO)

    def confirm_login_allowed(self, user: Any) -> None:
        """Raise ValidationError for a user who may not sign in by a password."""
        super().confirm_login_allowed(user)
        if settings.NETRA_SSO_ONLY and not user.is_superuser:
            raise ValidationError(_("Sign in on the page of Netra, with your company's account."), code="sso_only")


admin.site.login_form = SignInForm
# Providers are settings, their tokens are not kept, an address is verified by its proof alone, and what is known of
# refresh tokens is the session.
admin.site.unregister([EmailAddress, SocialAccount, SocialApp, SocialToken, BlacklistedToken, OutstandingToken])


@admin.register(SocialAccount)
class ConnectionAdmin(ReadOnly):
    """Connections of users with providers."""

    whose, ids = "user_id", ()
    list_display = ("provider", "uid", "user", "date_joined", "last_login")
    list_select_related = ("user",)
    search_fields = ("=uid", "user__email__contains_folded")
    ordering = ("-pk",)
    actions = ("disconnect",)
    changelist_view = refusing(ReadOnly.changelist_view)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        """Return whether the action is offered."""
        return bool(request.user.has_perm("socialaccount.delete_socialaccount"))

    @admin.action(description=_("Disconnect"), permissions=["disconnect"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[SocialAccount]) -> None:
        """Delete the chosen connections, and end the sessions that they began."""
        chosen = list(queryset.select_related("user"))
        check_reach(request, [account.user for account in chosen])
        for account in chosen:
            record_of(request, "provider_disconnected", account.user_id, account.provider)
            begun = Session.objects.filter(provider=account.provider, provider_sub=account.uid, ended_at=None)
            for session in begun:
                sessions.end_session(session)
            account.delete()
        self.message_user(request, gettext("Disconnected: {count}.").format(count=len(chosen)), messages.SUCCESS)


@admin.register(GroupPolicy)
class GroupPolicyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rules for the members of groups."""

    list_display = ("group", "claims")
    list_select_related = ("group",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the signed-in staff see these rules: superusers alone, since membership gives rights."""
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: GroupPolicy | None = None) -> bool:
        """Return the same."""
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return the same."""
        return self.has_module_permission(request)

    has_change_permission = has_delete_permission = has_view_permission

    def log_change(self, request: HttpRequest, obj: GroupPolicy, message: Any) -> Any:
        """Record the change in the audit record, too."""
        record_of(request, "admin_changed", None, f"policy of {obj}: {changed(message)}")
        return super().log_change(request, obj, message)

    def log_addition(self, request: HttpRequest, obj: GroupPolicy, message: Any) -> Any:
        """Record the new policy in the audit record, too."""
        record_of(request, "admin_added", None, f"policy of {obj}")
        return super().log_addition(request, obj, message)
