"""What staff see: users, and their threads, messages, runs and events, to read and to stop."""

from collections.abc import Sequence
from operator import attrgetter
from tempfile import TemporaryFile
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Model, Q, QuerySet, Subquery
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.functional import cached_property

from chat import audit, auth, live, protocol, retention, runs
from chat.export import everything
from chat.models import Attachment, AuditRecord, Event, Message, Run, Session, Thread, User, Worker
from chat.protocol import ProtocolError

COUNTED = 10_000  # rows that a list counts, and shows pages of; what is beyond them is found by search
RECENT = 100_000  # events among which those of one type are looked for


def record_of(request: HttpRequest, kind: str, user_id: int | None, detail: str = "") -> None:
    """What the staff who is signed in here does with a user's data; None: with that of several."""
    audit.record(kind, user_id, request, request.user.pk, detail)


def changed(message: Any) -> str:
    """The names of the fields that a form has changed, never their values."""
    if isinstance(message, str):
        return message
    return ", ".join(name for part in message for name in part.get("changed", {}).get("fields", ()))


class Counting(Paginator):  # type: ignore[type-arg]
    """Counting all rows of a large table takes longer than showing some of them, and a search that counts first looks
    twice. So it finds the ids of what can be shown, once, and reads the rows of one page by them."""

    @cached_property
    def ids(self) -> list[Any]:
        rows: Any = self.object_list
        return list(rows.values_list("pk", flat=True)[:COUNTED])

    @cached_property
    def count(self) -> int:
        return len(self.ids)

    def page(self, number: int | str) -> Page:  # type: ignore[type-arg]
        number, rows = self.validate_number(number), cast(Any, self.object_list)
        shown = self.ids[(number - 1) * self.per_page :][: self.per_page]
        return Page(rows.filter(pk__in=shown), number, self)


class Found(ChangeList):
    """The changelist asks anew for a result of one page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.show_all:
            self.result_list = self.paginator.get_page(self.page_num).object_list


def chosen(name: str, values: Sequence[str]) -> type[admin.SimpleListFilter]:
    """A filter by a field whose values are known: Django would look for them in every row."""

    class Chosen(admin.SimpleListFilter):
        title = parameter_name = name

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in values]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{name: self.value()}) if self.value() else queryset

    return Chosen


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
    actions = ("sign_out", "deactivate", "export")
    paginator = Counting
    show_full_result_count = False

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            record_of(request, "admin_acted", user.pk, "sign out everywhere")
            auth.end_sessions(user)
        self.message_user(request, f"Signed out: {queryset.count()}.", messages.SUCCESS)

    @admin.action(description="Deactivate", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            record_of(request, "admin_acted", user.pk, "deactivate")
            user.is_active = False
            user.save(update_fields=["is_active"])  # ends their sessions, and their sockets close
        self.message_user(request, f"Deactivated: {queryset.count()}.", messages.SUCCESS)

    @admin.action(description="Export all that is theirs", permissions=["change"])
    def export(self, request: HttpRequest, queryset: QuerySet[User]) -> FileResponse | None:
        if queryset.count() != 1:
            self.message_user(request, "Choose one user.", messages.ERROR)
            return None
        user = queryset.get()
        record_of(request, "admin_read", user.pk, "export")
        file = TemporaryFile()  # noqa: SIM115 the answer closes it
        everything(user, file)
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename=f"user-{user.pk}.zip")

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        retention.erase(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            retention.erase(user)

    def get_deleted_objects(
        self, objs: QuerySet[User] | Sequence[User], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """A user goes with all that is theirs, none of which can be deleted, or needs to be shown, by itself."""
        return [str(user) for user in objs], {str(self.opts.verbose_name_plural): len(objs)}, set(), []

    def log_addition(self, request: HttpRequest, obj: User, message: Any) -> Any:
        record_of(request, "admin_added", obj.pk)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        record_of(request, "admin_changed", obj.pk, changed(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        for user in queryset:
            record_of(request, "admin_deleted", user.pk)
        return super().log_deletions(request, queryset)


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """The record is written by runs.py alone."""

    show_full_result_count = False
    paginator = Counting
    sortable_by = ()  # one order, over an index: any other reads and sorts every row
    ids: tuple[str, ...] = ("id",)  # by which a search for an id finds, over an index
    whose: str | None = None  # the path to the user whose data this is; reading it leaves a record

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if self.whose and request.method == "GET":
            record_of(request, "admin_read", None, f"list of {self.opts.verbose_name_plural}")
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        shown = self.get_object(request, unquote(object_id)) if self.whose else None
        if shown is not None and self.whose:
            record_of(request, "admin_read", attrgetter(self.whose)(shown), f"{self.opts.verbose_name} {shown.pk}")
        return super().change_view(request, object_id, form_url, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            id = UUID(search_term.strip())
        except ValueError:
            id = None
        if id is not None and self.ids:
            return queryset.filter(self.named(id)), False
        if search_term and self.search_fields == self.ids:
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def named(self, id: UUID) -> Q:
        return Q(*((name, id) for name in self.ids), _connector=Q.OR)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Thread)
class ThreadAdmin(ReadOnly):
    whose = "user_id"
    list_display = ("title", "user", "agent", "last_seq", "created_at", "updated_at", "deleted_at")
    list_select_related = ("user",)
    search_fields = ("title", "user__email")
    ordering = ("-updated_at",)


@admin.register(Message)
class MessageAdmin(ReadOnly):
    whose = "thread.user_id"
    list_display = ("beginning", "role", "thread", "created_at")
    list_select_related = ("thread",)
    list_filter = ("role",)
    ids = ("id", "thread_id", "run_id")
    search_fields = ("content",)
    ordering = ("-created_at",)

    @admin.display(description="content")
    def beginning(self, message: Message) -> str:
        return message.content[:80]


@admin.register(Run)
class RunAdmin(ReadOnly):
    whose = "user_id"
    list_display = ("id", "agent", "status", "attempt", "error_code", "user", "worker", "created_at", "finished_at")
    list_select_related = ("user", "worker")
    list_filter = ("status", chosen("agent", list(settings.AGENTS)))
    ids = ("id", "thread_id", "message_id")
    search_fields = ("user__email",)
    ordering = ("-created_at",)
    actions = ("cancel", "again")
    change_list_template = "admin/chat/run/change_list.html"

    @admin.action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        if not request.user.has_perm("chat.change_run"):
            self.message_user(request, "You may not cancel runs.", messages.ERROR)
            return
        ended = 0
        for run in queryset.filter(thread__deleted_at=None):
            record_of(request, "admin_acted", run.user_id, f"cancel run {run.id}")
            ended += len(runs.cancel(run.user_id, run_id=run.id))
        self.message_user(request, f"Cancelled: {ended}.", messages.SUCCESS)

    @admin.action(description="Run again")
    def again(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        if not request.user.has_perm("chat.change_run"):
            self.message_user(request, "You may not start runs.", messages.ERROR)
            return
        for run in queryset:
            try:
                started = runs.again(run.id)
            except ProtocolError as error:
                self.message_user(request, f"{run}: {error.message}", messages.ERROR)
                continue
            record_of(request, "admin_acted", run.user_id, f"run {run.id} again")
            self.message_user(request, f"{run} runs again as {started.run_id}.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        return [path("live/", self.admin_site.admin_view(self.live), name="chat_run_live"), *super().get_urls()]

    def live(self, request: HttpRequest) -> HttpResponse:
        """What runs now. It shows nothing that anybody said."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            try:
                named = UUID(request.POST.get("run", ""))
            except ValueError:
                raise PermissionDenied from None
            self.cancel(request, Run.objects.filter(id=named))
            return HttpResponseRedirect(request.path)
        may_stop = request.user.has_perm("chat.change_run")
        context = {**self.admin_site.each_context(request), "title": "What runs now", "may_stop": may_stop}
        return TemplateResponse(request, "admin/chat/run/live.html", {**context, **live.shown()})


class EventType(chosen("type", sorted(protocol.EVENTS))):  # type: ignore[misc]
    """A rare type would be looked for in the whole log. In a thread or a run that is searched for, it is."""

    title = f"type, of the last {RECENT:,}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        found: QuerySet[Event] = super().queryset(request, queryset)
        if not self.value() or request.GET.get(SEARCH_VAR):
            return found
        newest = Event.objects.order_by("-id").values("id")[:1]
        return found.filter(id__gt=Subquery(newest) - RECENT)


@admin.register(Event)
class EventAdmin(ReadOnly):
    whose = "thread.user_id"
    list_display = ("id", "type", "seq", "attempt", "thread_id", "run_id", "created_at")
    list_filter = (EventType,)
    ids = ("thread_id", "run_id")
    search_fields = ids  # by nothing else: to look into a million rows takes too long
    search_help_text = "The id of a thread or a run"
    ordering = ("-id",)

    def named(self, id: UUID) -> Q:
        """A run's events have no index of their own: they are looked for in its thread."""
        return Q(thread=id) | Q(thread__in=Run.objects.filter(id=id).values("thread"), run=id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return super().get_queryset(request).defer("frame", "result")  # each may have a mebibyte


@admin.register(Attachment)
class AttachmentAdmin(ReadOnly):
    whose = "user_id"
    list_display = ("name", "user", "media_type", "size", "created_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__email")
    ordering = ("-created_at",)


@admin.register(Session)
class SessionAdmin(ReadOnly):
    whose = "user_id"
    list_display = ("user", "user_agent", "created_at", "used_at", "ended_at")
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("-used_at",)


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    list_display = ("id", "host", "pid", "draining", "started_at", "heartbeat_at")
    ordering = ("-heartbeat_at",)


@admin.register(AuditRecord)
class AuditRecordAdmin(ReadOnly):
    ids = ()
    list_display = ("at", "kind", "user", "by", "address", "detail")
    list_select_related = ("user", "by")
    list_filter = ("kind",)
    search_fields = ("user__email", "by__email", "=address")
    ordering = ("-at", "-id")
