"""The admin of users."""

from collections.abc import Iterable, Sequence
from tempfile import TemporaryFile
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.accounts import sessions
from chat.admin.audit_trail import changed, record_of
from chat.admin.filters import Counting
from chat.admin.records import refusing
from chat.api.exports import everything
from chat.models import User
from chat.oidc import connections
from chat.runs import retention

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


def may_reach(request: HttpRequest, users: Iterable[User]) -> bool:
    """Return whether the signed-in staff may act on these users: only a superuser on superusers."""
    staff: Any = request.user
    return staff.is_superuser or not any(user.is_superuser for user in users)


def check_reach(request: HttpRequest, users: Iterable[User]) -> None:
    """Raise ValidationError for users on whom the signed-in staff may not act."""
    if not may_reach(request, users):
        raise ValidationError(_("Only a superuser can do this to a superuser."), code="superuser")


class UserCreationForm(BaseUserCreationForm):  # type: ignore[type-arg]
    """The form that adds a user."""

    class Meta:
        model = User
        fields = ("email", "name")


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    """Users."""

    add_form = UserCreationForm
    list_display = ("email", "name", "is_active", "is_staff", "created_at", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email__contains_folded", "name__contains_folded")
    ordering = ("-id",)
    readonly_fields = ("created_at", "last_login", "ways_in")
    fieldsets = (
        (None, {"fields": ("email", "name", "input_mail", "password", "ways_in")}),
        (_("Permissions"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("Dates"), {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "name", "password1", "password2")}),)
    actions = ("sign_out", "deactivate", "export")
    paginator = Counting
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Return the fields that are only shown: staff who are no superusers give no rights, to themselves least."""
        staff: Any = request.user
        shown = super().get_readonly_fields(request, obj)
        return shown if staff.is_superuser else (*shown, *RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the signed-in staff may change users, or this one, including the password."""
        return super().has_change_permission(request, obj) and may_reach(request, [obj] if obj else [])

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the signed-in staff may delete users, or this one."""
        return super().has_delete_permission(request, obj) and may_reach(request, [obj] if obj else [])

    @admin.display(description=_("Ways in"))
    def ways_in(self, user: User) -> str:
        """Return how the user signs in: the password, and the providers with when they were last used."""
        last = gettext("{provider} (last {day})")
        ways = [gettext("password")] if user.has_usable_password() else []
        ways += [
            last.format(provider=one.provider, day=date_format(one.last_login, "SHORT_DATE_FORMAT"))
            for one in connections.every(user)
        ]
        return ", ".join(ways) or gettext("none")

    @admin.action(description=_("Sign out everywhere"), permissions=["change"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """End all sessions of the chosen users."""
        check_reach(request, queryset)
        for user in queryset:
            record_of(request, "admin_acted", user.pk, "sign out everywhere")
            sessions.end_sessions(user)
        self.message_user(request, gettext("Signed out: {count}.").format(count=queryset.count()), messages.SUCCESS)

    @admin.action(description=_("Deactivate"), permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Deactivate the chosen users, but not the last administrator."""
        users = list(queryset)
        check_reach(request, users)
        with transaction.atomic():
            User.objects.keep_administrator({user.pk: 0 for user in users})
            for user in users:
                record_of(request, "admin_acted", user.pk, "deactivate")
                user.is_active = False
                user.save(update_fields=["is_active"])  # ends their sessions, and their sockets close
        self.message_user(request, gettext("Deactivated: {count}.").format(count=len(users)), messages.SUCCESS)

    @admin.action(description=_("Export all data"), permissions=["change"])
    def export(self, request: HttpRequest, queryset: QuerySet[User]) -> FileResponse | None:
        """Answer with a zip of the chosen user's data."""
        if queryset.count() != 1:
            self.message_user(request, gettext("Choose one user."), messages.ERROR)
            return None
        user = queryset.get()
        check_reach(request, [user])
        record_of(request, "admin_read", user.pk, "export")
        file = TemporaryFile()  # noqa: SIM115 the answer closes it
        everything(user, file)
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename=f"user-{user.pk}.zip")

    changelist_view = refusing(DjangoUserAdmin.changelist_view)
    delete_view = refusing(DjangoUserAdmin.delete_view)
    user_change_password = refusing(DjangoUserAdmin.user_change_password)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Erase the user with all data."""
        retention.erase(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Erase the users with all data."""
        for user in queryset:
            retention.erase(user)

    def get_deleted_objects(
        self, objs: QuerySet[User] | Sequence[User], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return what a deletion shows: the users alone, since all their data goes with them.

        Raises ValidationError if the last administrator is among them, or one on whom the staff may not act.
        """
        check_reach(request, objs)
        User.objects.keep_administrator({user.pk: 0 for user in objs})
        return [str(user) for user in objs], {str(self.opts.verbose_name_plural): len(objs)}, set(), []

    def log_addition(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Record the new user in the audit record, too."""
        record_of(request, "admin_added", obj.pk)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Record the change in the audit record, too."""
        record_of(request, "admin_changed", obj.pk, changed(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        """Record the deletions in the audit record, too."""
        for user in queryset:
            record_of(request, "admin_deleted", user.pk)
        return super().log_deletions(request, queryset)
