"""Read-only admin of input requests, and the answers that staff give."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Case, IntegerField, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from chat import protocol, runs
from chat.admin.audit_trail import record_of
from chat.admin.filters import chosen, recent
from chat.admin.readonly import ReadOnly
from chat.api.client_ip import address_of
from chat.models import InputRequest
from chat.protocol import MAX_INPUT_REASON, ProtocolError

STATUSES = [
    gettext_noop("open"), gettext_noop("accepted"), gettext_noop("declined"), gettext_noop("expired"),
    gettext_noop("cancelled"),
]  # fmt: skip
KINDS = [gettext_noop("form"), gettext_noop("approval"), gettext_noop("link")]


class ReasonForm(ActionForm):
    """The choice of an action, with its reason."""

    reason = forms.CharField(label=_("Reason"), required=False, max_length=MAX_INPUT_REASON)


class AnswerForm(forms.Form):
    """The values of a form or the parameters of an approval, as JSON, and a reason."""

    values = forms.CharField(widget=forms.Textarea(attrs={"rows": 12, "cols": 80, "spellcheck": "false"}))
    reason = forms.CharField(label=_("Reason"), max_length=MAX_INPUT_REASON)

    def __init__(self, asked: InputRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if asked.kind == InputRequest.LINK or (asked.kind == InputRequest.APPROVAL and not asked.editable):
            del self.fields["values"]
            return
        proposed = asked.default if asked.kind == InputRequest.FORM else asked.parameters
        shown = self.fields["values"]
        shown.initial = json.dumps(proposed or {}, ensure_ascii=False, indent=2)
        shown.label = _("Values") if asked.kind == InputRequest.FORM else _("Parameters")
        if asked.kind == InputRequest.APPROVAL:
            shown.required, shown.help_text = False, _("Empty: the parameters as proposed.")
            if len(quote_plus(shown.initial)) > protocol.MAX_FRAME // 2:  # a larger body is refused
                shown.initial = ""

    def clean_values(self) -> Any:
        """Return the decoded JSON; None for the parameters as proposed."""
        if not self.cleaned_data["values"]:
            return None
        try:
            return protocol.loads(self.cleaned_data["values"].encode())
        except ProtocolError as error:
            raise ValidationError(error.message) from None


@admin.register(InputRequest)
class InputRequestAdmin(ReadOnly):
    """Requests of runs to persons. Staff with `chat.answer_inputrequest` may accept, decline or cancel one."""

    whose = "user_id"
    list_display = ("created_at", "status", "kind", "tool_name", "user", "decided_by", "expires_at", "resolved_by")
    list_select_related = ("user", "resolved_by")
    list_filter = (
        chosen("status", STATUSES),
        chosen("kind", KINDS),
        recent(InputRequest, "tool", "tool_name"),
        recent(InputRequest, "user", "user__email"),
        "created_at",
    )
    ids = ("id", "run_id", "thread_id")
    search_fields = ("user__email__contains_folded", "tool_name__contains_folded")
    actions = ("decline", "cancel")
    action_form = ReasonForm
    change_form_template = "admin/chat/inputrequest/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[InputRequest]:
        """Return the requests, open ones first, then the newest."""
        is_open = Case(When(status=InputRequest.OPEN, then=0), default=1, output_field=IntegerField())
        return super().get_queryset(request).order_by(is_open, "-created_at", "-id")

    def get_urls(self) -> list[URLPattern]:
        """Add the page on which staff accept a request."""
        page = self.admin_site.admin_view(self.accept)
        return [path("<uuid:request_id>/accept/", page, name="chat_inputrequest_accept"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show one request, with a link to the page that accepts it."""
        may_answer = request.user.has_perm("chat.answer_inputrequest")
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_answer": may_answer})

    def accept(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        """Accept an open request in place of the user."""
        if not (request.user.has_perm("chat.answer_inputrequest") and self.has_view_permission(request)):
            raise PermissionDenied
        asked = InputRequest.objects.select_related("user").filter(pk=request_id).first()
        if asked is None:
            raise Http404
        if request.method == "GET":
            record_of(request, "admin_read", asked.user_id, f"{self.opts.verbose_name} {asked.pk}")
        form = AnswerForm(asked, request.POST if request.method == "POST" else None)
        if form.is_valid():
            values, reason = form.cleaned_data.get("values"), form.cleaned_data["reason"]
            content, parameters = (values, None) if asked.kind == InputRequest.FORM else (None, values)
            answer = runs.Answer(request_id, "accept", content, parameters, reason)
            try:
                runs.answer(answer, _decider(request))
            except ProtocolError as error:
                form.add_error("values" if "values" in form.fields and error.field else None, error.message)
            else:
                self.message_user(request, gettext("Accepted."), messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:chat_inputrequest_change", args=[request_id]))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Accept a request"),
            "asked": asked,
            "form": form,
        }
        return TemplateResponse(request, "admin/chat/inputrequest/accept.html", context)

    @admin.action(description=_("Decline, with a reason"))
    def decline(self, request: HttpRequest, queryset: QuerySet[InputRequest]) -> None:
        """Decline the open ones."""
        self._resolve(request, queryset, _decline)

    @admin.action(description=_("Cancel, with a reason"))
    def cancel(self, request: HttpRequest, queryset: QuerySet[InputRequest]) -> None:
        """Cancel the open ones: the agent goes on as if each was declined."""
        self._resolve(request, queryset, runs.cancel_input)

    def _resolve(
        self,
        request: HttpRequest,
        queryset: QuerySet[InputRequest],
        resolve: Callable[[UUID, runs.Decider, str], bool],
    ) -> None:
        reason, staff = request.POST.get("reason", "").strip(), request.user
        if not staff.has_perm("chat.answer_inputrequest"):
            self.message_user(request, gettext("You may not answer requests."), messages.ERROR)
            return
        if not reason:
            self.message_user(request, gettext("Give a reason."), messages.ERROR)
            return
        done = 0
        for request_id in queryset.filter(status=InputRequest.OPEN).values_list("pk", flat=True):
            try:
                done += resolve(request_id, _decider(request), reason)
            except ProtocolError as error:
                self.message_user(request, f"{request_id}: {error.message}", messages.ERROR)
        self.message_user(request, gettext("Resolved: {count}.").format(count=done), messages.SUCCESS)


def _decider(request: HttpRequest) -> runs.Decider:
    staff: Any = request.user
    return runs.Decider(int(staff.pk), "admin", None, address_of(request), is_staff=True)


def _decline(request_id: UUID, decider: runs.Decider, reason: str) -> bool:
    runs.answer(runs.Answer(request_id, "decline", reason=reason), decider)
    return True
