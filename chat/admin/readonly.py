"""The base of all read-only admins."""

from operator import attrgetter
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from chat.admin.audit_trail import record_of
from chat.admin.filters import Counting, Found


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """The record is written by runs.py alone."""

    show_full_result_count = False
    paginator = Counting
    sortable_by = ()  # one order, over an index: any other reads and sorts every row
    ids: tuple[str, ...] = ("id",)  # by which a search for an id finds, over an index
    whose: str | None = None  # the path to the user whose data this is; reading it leaves a record

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that counts up to MAX_COUNTED_ROWS rows."""
        return Found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list, and record that staff read it."""
        if self.whose and request.method == "GET":
            record_of(request, "admin_read", None, f"list of {self.opts.verbose_name_plural}")
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show one object, and record that staff read it."""
        shown = self.get_object(request, unquote(object_id)) if self.whose else None
        if shown is not None and self.whose:
            record_of(request, "admin_read", attrgetter(self.whose)(shown), f"{self.opts.verbose_name} {shown.pk}")
        return super().change_view(request, object_id, form_url, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by id where the term is one."""
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
        """Return the condition for the rows with this id."""
        return Q(*((name, id) for name in self.ids), _connector=Q.OR)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse to add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse to delete."""
        return False
