"""The site of the admin."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from chat.dashboard import figures
from chat.languages import translated

SECTIONS = (
    (_("Conversations"), ("Thread", "Message", "Run", "Event", "Attachment", "Feedback", "Share", "InputRequest")),
    (_("Agents"), ("Assistant", "Worker")),
    (_("People"), ("User", "Group", "GroupPolicy", "Session", "ApiKey", "SocialAccount", "McpConnection")),
    (_("Audit"), ("AuditRecord",)),
)


class NetraAdmin(AdminSite):
    """The admin in its reader's language, with figures on its first page and models by what they are about."""

    site_header = site_title = "Netra"
    index_title = _("Overview")
    index_template = "admin/overview.html"

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Return the view for staff, in the language of the reader."""
        return translated(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the form in the language of its reader."""
        return translated(super().login)(request, extra_context)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the figures of the last days to staff who may see runs, and the models."""
        shown = figures.days() if request.user.has_perm("chat.view_run") else []
        given = {"charts": figures.charts(shown) if shown else [], "days": figures.rows(shown)}
        return super().index(request, {**given, **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """Return the models by section; those of one app as Django does, for the page of that app."""
        apps = super().get_app_list(request, app_label)
        if app_label is not None:
            return apps
        models = {model["object_name"]: (app, model) for app in apps for model in app["models"]}
        sections = []
        for title, names in SECTIONS:
            found = [models.pop(name) for name in names if name in models]
            if found:
                sections.append({**found[0][0], "name": title, "models": [model for _, model in found]})
        others = {id(app): app for app, _ in models.values()}
        rest = [{**app, "models": [model for of, model in models.values() if of is app]} for app in others.values()]
        return [*sections, *rest]
