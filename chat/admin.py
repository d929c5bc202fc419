"""What staff see: users, and their threads, messages, runs and events, to read and to stop."""

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from chat import auth, runs
from chat.models import Event, Message, Run, Session, Thread, User, Worker


class UserCreationForm(BaseUserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("email", "name")


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    add_form = UserCreationForm
    list_display = ("email", "name", "is_active", "is_staff", "created_at", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("-id",)
    readonly_fields = ("created_at", "last_login")
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "name", "password1", "password2")}),)
    actions = ("sign_out",)

    @admin.action(description="Sign out everywhere")
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            auth.end_sessions(user)
        self.message_user(request, f"Signed out: {queryset.count()}.", messages.SUCCESS)


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """The record is written by runs.py alone."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Thread)
class ThreadAdmin(ReadOnly):
    list_display = ("title", "user", "agent", "last_seq", "created_at", "updated_at", "deleted_at")
    list_select_related = ("user",)
    search_fields = ("=id", "title", "user__email")
    ordering = ("-updated_at",)


@admin.register(Message)
class MessageAdmin(ReadOnly):
    list_display = ("beginning", "role", "thread", "created_at")
    list_select_related = ("thread",)
    list_filter = ("role",)
    search_fields = ("=id", "=thread__id", "content")
    ordering = ("-created_at",)

    @admin.display(description="content")
    def beginning(self, message: Message) -> str:
        return message.content[:80]


@admin.register(Run)
class RunAdmin(ReadOnly):
    list_display = ("id", "agent", "status", "attempt", "error_code", "user", "worker", "created_at", "finished_at")
    list_select_related = ("user", "worker")
    list_filter = ("status", "agent")
    search_fields = ("=id", "=thread__id", "user__email")
    ordering = ("-created_at",)
    actions = ("cancel",)

    @admin.action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        if not request.user.has_perm("chat.change_run"):
            self.message_user(request, "You may not cancel runs.", messages.ERROR)
            return
        ended = sum(len(runs.cancel(run.user_id, run_id=run.id)) for run in queryset.filter(thread__deleted_at=None))
        self.message_user(request, f"Cancelled: {ended}.", messages.SUCCESS)


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ("id", "type", "seq", "attempt", "thread_id", "run_id", "created_at")
    list_filter = ("type",)
    search_fields = ("=thread__id", "=run__id")
    ordering = ("-id",)


@admin.register(Session)
class SessionAdmin(ReadOnly):
    list_display = ("user", "user_agent", "created_at", "used_at", "ended_at")
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("-used_at",)


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    list_display = ("id", "host", "pid", "draining", "started_at", "heartbeat_at")
    ordering = ("-heartbeat_at",)
