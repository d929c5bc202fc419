"""Read-only admins of threads, messages, runs, events, files, sessions, workers and audit records."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat import runs
from chat.admin.audit_trail import record_of
from chat.admin.columns import line, linked, short
from chat.admin.filters import EventType, chosen, recent
from chat.admin.readonly import ReadOnly
from chat.dashboard import activity
from chat.models import Assistant, Attachment, AuditRecord, Event, Message, Run, Session, Thread, Worker
from chat.protocol import ProtocolError

MAX_SHOWN = 200  # messages, and runs, on the page of a thread


def refusing(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Show why nothing was done if the view raises ValidationError."""

    @wraps(view)
    def shown(desk: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(desk, request, *args, **kwargs)
        except ValidationError as error:
            desk.message_user(request, " ".join(error.messages), messages.ERROR)
        opts = desk.opts
        return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))

    return shown


def _agents() -> list[str]:
    return [*settings.AGENTS, *Assistant.objects.values_list("name", flat=True)]


@admin.register(Thread)
class ThreadAdmin(ReadOnly):
    """Threads."""

    whose = "user_id"
    list_display = ("title", "user", "agent", "last_seq", "created_at", "updated_at", "deleted_at")
    list_filter = (chosen("agent", _agents), "updated_at")
    change_form_template = "admin/chat/thread/change_form.html"
    list_select_related = ("user",)
    search_fields = ("title__contains_folded", "user__email__contains_folded")
    ordering = ("-updated_at",)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the thread with its newest messages and runs, as far as the staff may see them."""
        given: dict[str, Any] = {}
        if self.has_view_permission(request) and (thread := self.get_object(request, unquote(object_id))):
            if request.user.has_perm("chat.view_message"):
                newest = Message.objects.filter(thread=thread).select_related("run", "feedback")
                found = list(newest.prefetch_related("attachments").order_by("-seq")[: MAX_SHOWN + 1])
                given |= {"messages_shown": found[MAX_SHOWN - 1 :: -1], "more": len(found) > MAX_SHOWN}
            if request.user.has_perm("chat.view_run"):
                given["runs_shown"] = list(Run.objects.filter(thread=thread).order_by("-created_at")[:MAX_SHOWN])
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **given})


@admin.register(Message)
class MessageAdmin(ReadOnly):
    """Messages."""

    whose = "thread.user_id"
    list_display = ("beginning", "role", linked("thread", "thread_id"), "created_at")
    list_select_related = ("thread",)
    list_filter = ("role", "created_at")
    ids = ("id", "thread_id", "run_id")
    search_fields = ("text__folded__holds",)
    ordering = ("-created_at",)

    @admin.display(description=_("content"))
    def beginning(self, message: Message) -> str:
        """Return the start of the text."""
        return message.content[:80]


@admin.register(Run)
class RunAdmin(ReadOnly):
    """Runs, which staff may cancel and run again."""

    whose = "user_id"
    list_display = (
        short("id"), "agent", "status", "user", linked("thread", "thread_id"), "created_at", "finished_at", "attempt",
        "error_code", "worker",
    )  # fmt: skip
    list_select_related = ("user", "worker")
    list_filter = ("status", chosen("agent", _agents), recent(Run, "user", "user__email"), "created_at")
    ids = ("id", "thread_id", "message_id")
    search_fields = ("user__email__contains_folded",)
    ordering = ("-created_at",)
    actions = ("cancel", "again")
    change_list_template = "admin/chat/run/change_list.html"

    @admin.action(description=_("Cancel"))
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Cancel the chosen runs."""
        if not request.user.has_perm("chat.change_run"):
            self.message_user(request, gettext("You may not cancel runs."), messages.ERROR)
            return
        ended = 0
        for run in queryset.filter(thread__deleted_at=None):
            record_of(request, "admin_acted", run.user_id, f"cancel run {run.id}")
            ended += len(runs.cancel(run.user_id, run_id=run.id, by_administrator=True))
        self.message_user(request, gettext("Cancelled: {count}.").format(count=ended), messages.SUCCESS)

    @admin.action(description=_("Run again"))
    def again(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Start the chosen runs again."""
        if not request.user.has_perm("chat.change_run"):
            self.message_user(request, gettext("You may not start runs."), messages.ERROR)
            return
        for run in queryset:
            try:
                started = runs.rerun(run.id)
            except ProtocolError as error:
                self.message_user(request, f"{run}: {error.message}", messages.ERROR)
                continue
            record_of(request, "admin_acted", run.user_id, f"run {run.id} again")
            self.message_user(
                request,
                gettext("{run} was started again as {id}.").format(run=run, id=started.run_id),
                messages.SUCCESS,
            )

    def get_urls(self) -> list[URLPattern]:
        """Add the page of what is going on now."""
        return [path("live/", self.admin_site.admin_view(self.live), name="chat_run_live"), *super().get_urls()]

    def live(self, request: HttpRequest) -> HttpResponse:
        """Show the active runs, without any text of users or agents."""
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
        context = {**self.admin_site.each_context(request), "title": gettext("Live runs"), "may_stop": may_stop}
        return TemplateResponse(request, "admin/chat/run/live.html", {**context, **activity.shown()})


@admin.register(Event)
class EventAdmin(ReadOnly):
    """Events, found by their thread or run."""

    whose = "thread.user_id"
    list_display = (
        "id", "type", "seq", "attempt", linked("thread", "thread_id"), linked("run", "run_id"), "created_at"
    )  # fmt: skip
    list_filter = (EventType,)
    ids = ("thread_id", "run_id")
    search_fields = ids  # by nothing else: to look into a million rows takes too long
    search_help_text = _("The id of a thread or a run")
    ordering = ("-id",)

    def named(self, id: UUID) -> Q:
        """Return the condition for a thread or a run. Events have no index by run, so the run's thread is searched."""
        return Q(thread=id) | Q(thread__in=Run.objects.filter(id=id).values("thread"), run=id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """Leave out frames and results, which may have a mebibyte each."""
        return super().get_queryset(request).defer("frame", "result")


@admin.register(Attachment)
class AttachmentAdmin(ReadOnly):
    """Attachments, without their content."""

    whose = "user_id"
    list_display = ("name", "user", "media_type", "size", "created_at")
    list_select_related = ("user",)
    search_fields = ("name__contains_folded", "user__email__contains_folded")
    ordering = ("-created_at",)


@admin.register(Session)
class SessionAdmin(ReadOnly):
    """Sessions."""

    whose = "user_id"
    list_display = ("user", "user_agent", "created_at", "used_at", "ended_at")
    list_select_related = ("user",)
    search_fields = ("user__email__contains_folded",)
    ordering = ("-used_at",)


@admin.register(Worker)
class WorkerAdmin(ReadOnly):
    """Workers."""

    list_display = (short("id"), "host", "pid", "draining", "started_at", "heartbeat_at")
    ordering = ("-heartbeat_at",)


@admin.register(AuditRecord)
class AuditRecordAdmin(ReadOnly):
    """The audit record."""

    ids = ()
    list_display = ("at", "kind", "user", "by", "address", line("detail"))
    list_select_related = ("user", "by")
    list_filter = ("kind",)
    search_fields = ("user__email__contains_folded", "by__email__contains_folded", "=address")
    ordering = ("-at", "-id")
