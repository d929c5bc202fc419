"""The admin of assistants: their policies for tools, and their versions with differences."""

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat import catalogue
from chat.admin.audit_trail import record_of
from chat.api.client_ip import address_of
from chat.assistants import versions
from chat.assistants.changes import difference
from chat.assistants.policies import PolicyRow, policy_rows, save_policy
from chat.models import Assistant, AssistantVersion

MAX_STARTERS, MAX_STARTER = 6, 300  # messages; characters of one
_OPTIONS = {"temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, 1_000_000)}  # name -> least and greatest value


class AssistantForm(forms.ModelForm):  # type: ignore[type-arg]
    """The fields of an assistant. Starters are written one a line."""

    starters = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": MAX_STARTERS, "cols": 80}),
        help_text=format_lazy(_("Up to {count} messages that the page offers, one a line."), count=MAX_STARTERS),
    )

    class Meta:
        model = Assistant
        fields = ("name", "title", "description", "instructions", "model", "options", "starters", "groups", "enabled")
        widgets = {"instructions": forms.Textarea(attrs={"rows": 20, "cols": 100})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["starters"] = "\n".join(self.initial.get("starters") or [])

    def clean_name(self) -> str:
        """Return a name that no agent of the settings has."""
        name: str = self.cleaned_data["name"]
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
            raise ValidationError(_("A name has small letters, digits, - and _, and begins with a letter or a digit."))
        if name in settings.AGENTS:
            raise ValidationError(_("An agent of the settings has this name."))
        return name

    def clean_starters(self) -> list[str]:
        """Return the lines."""
        lines = [line.strip() for line in self.cleaned_data["starters"].splitlines() if line.strip()]
        if len(lines) > MAX_STARTERS or any(len(line) > MAX_STARTER for line in lines):
            raise ValidationError(
                gettext("At most {lines} lines of {count} characters.").format(lines=MAX_STARTERS, count=MAX_STARTER)
            )
        return lines

    def clean_options(self) -> dict[str, Any]:
        """Return options that every provider knows."""
        options = self.cleaned_data["options"] or {}
        if not isinstance(options, dict) or not options.keys() <= _OPTIONS.keys():
            raise ValidationError(gettext("An object with some of: {names}.").format(names=", ".join(_OPTIONS)))
        for name, value in options.items():
            least, greatest = _OPTIONS[name]
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not least <= value <= greatest or (name == "max_tokens" and value != int(value)):
                raise ValidationError(
                    gettext("{name} is a number from {least} to {greatest}.").format(
                        name=name, least=least, greatest=greatest
                    )
                )
        return options

    def clean_model(self) -> str:
        """Return a name of the catalogue, or nothing for its first model."""
        name: str = self.cleaned_data["model"]
        if name and name not in catalogue.names():
            raise ValidationError(
                gettext("The models are: {names}.").format(names=", ".join(catalogue.names()) or gettext("none"))
            )
        return name


POLICIES = [
    ("default", _("default")), ("off", _("off")), ("never", _("never")), ("ask", _("ask")), ("always", _("always")),
]  # fmt: skip


class PolicyForm(forms.Form):
    """The policy of one tool. Only a form with `save` changes one; `definition_hash` is of what was shown."""

    save = forms.BooleanField(required=False)
    policy = forms.ChoiceField(choices=POLICIES)
    decided_by = forms.CharField(max_length=156, initial="owner")
    four_eyes = forms.BooleanField(required=False)
    editable = forms.BooleanField(required=False)
    definition_hash = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, row: PolicyRow, data: Any = None) -> None:
        super().__init__(data, prefix=row.tool, initial=dict(row.initial))
        self.row = row

    def clean_decided_by(self) -> str:
        """Return `owner` or a group."""
        decided_by: str = self.cleaned_data["decided_by"]
        kind, _, name = decided_by.partition(":")
        if decided_by != "owner" and not (kind == "group" and Group.objects.filter(name=name).exists()):
            raise ValidationError(gettext("owner, or group: and the name of a group"))
        return decided_by

    def clean(self) -> dict[str, Any]:
        """Refuse a definition that is not the shown one, and four eyes under a policy that may not ask."""
        given: dict[str, Any] = super().clean() or {}
        if given.get("save") and given.get("definition_hash") != self.row.definition_hash:
            raise ValidationError(_("The tool has changed meanwhile. Look at it again."))
        if given.get("four_eyes") and given.get("policy") != "always":
            raise ValidationError(_("Four eyes need the policy always."))
        return given


@admin.register(Assistant)
class AssistantAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Assistants. Saving one writes a version; none is deleted, because runs keep their versions."""

    form = AssistantForm
    list_display = ("name", "title", "model", "enabled", "created_at")
    filter_horizontal = ("groups",)
    change_form_template = "admin/chat/assistant/change_form.html"

    def get_readonly_fields(self, request: HttpRequest, obj: Assistant | None = None) -> tuple[str, ...]:
        """Keep the name of an assistant: threads and API keys refer to it."""
        return () if obj is None else ("name",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse to delete: disabling an assistant hides it."""
        return False

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the groups, and then the version of all."""
        super().save_related(request, form, formsets, change)
        by = request.user.pk
        versions.save_version(form.instance, by, address_of(request))
        if change and "enabled" in form.changed_data:
            state = "enabled" if form.instance.enabled else "disabled"
            record_of(request, "assistant_changed", None, f"{form.instance.name} {state}")

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of the policies and of the versions."""
        return [
            path("<int:pk>/tools/", self.admin_site.admin_view(self.tools), name="chat_assistant_tools"),
            path("<int:pk>/versions/", self.admin_site.admin_view(self.versions), name="chat_assistant_versions"),
            *super().get_urls(),
        ]

    def tools(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the policy of each tool, with what has changed since it was saved, and save those that are marked."""
        assistant = self._find(request, pk)
        data = request.POST if request.method == "POST" else None
        made = [PolicyForm(row, data) for row in policy_rows(assistant)]
        if data is not None:
            marked = [form for form in made if data.get(form.add_prefix("save"))]
            if not [form for form in marked if not form.is_valid()]:  # each, so that each shows its errors
                with transaction.atomic():
                    for form in marked:
                        save_policy(assistant, form.row, form.cleaned_data)
                    versions.save_version(assistant, request.user.pk, address_of(request))
                self.message_user(
                    request, gettext("Policies saved: {count}.").format(count=len(marked)), messages.SUCCESS
                )
                return HttpResponseRedirect(request.path)
        return self._page(request, "tools", assistant, {"title": gettext("Tools"), "forms": made})

    def versions(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the versions, each with its difference to the one before it, and restore one."""
        assistant = self._find(request, pk)
        rows = list(AssistantVersion.objects.filter(assistant=assistant).select_related("by").order_by("-number"))
        if request.method == "POST":
            chosen = next((row for row in rows if str(row.number) == request.POST.get("number")), None)
            if chosen is None:
                raise Http404
            try:
                made = versions.restore(chosen, request.user.pk, address_of(request))
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                what = gettext("Version {old} is restored as version {new}.").format(old=chosen.number, new=made.number)
                self.message_user(request, what, messages.SUCCESS)
            return HttpResponseRedirect(request.path)
        before = [row.content for row in rows[1:]] + [None]
        shown = [(row, difference(old, row.content)) for row, old in zip(rows, before, strict=True)]
        return self._page(request, "versions", assistant, {"title": gettext("Versions"), "versions": shown})

    def _find(self, request: HttpRequest, pk: int) -> Assistant:
        assistant = Assistant.objects.filter(pk=pk).first()
        if assistant is None:
            raise Http404
        if not self.has_change_permission(request, assistant) and (
            request.method == "POST" or not self.has_view_permission(request, assistant)
        ):
            raise PermissionDenied
        return assistant

    def _page(self, request: HttpRequest, name: str, assistant: Assistant, more: dict[str, Any]) -> HttpResponse:
        may_change = self.has_change_permission(request, assistant)
        back = reverse("admin:chat_assistant_change", args=[assistant.pk])
        context = {**self.admin_site.each_context(request), "assistant": assistant, "back": back, **more}
        page = f"admin/chat/assistant/{name}.html"
        return TemplateResponse(request, page, {**context, "may_change": may_change})
