"""Lists and filters that stay fast on large tables."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat import protocol
from chat.models import Event

MAX_COUNTED_ROWS = 10_000  # rows that a list counts, and shows pages of; what is beyond them is found by search
MAX_OFFERED_ROWS = 500  # whose values a filter offers
MAX_SEARCHED_EVENTS = 100_000  # events among which those of one type are looked for


class Counting(Paginator):  # type: ignore[type-arg]
    """A paginator that counts up to MAX_COUNTED_ROWS rows, for large tables.

    It finds the ids of the rows that can be shown once, and reads the rows of one page by them.
    """

    @cached_property
    def ids(self) -> list[Any]:
        """The ids of the rows that can be shown."""
        rows: Any = self.object_list
        return list(rows.values_list("pk", flat=True)[:MAX_COUNTED_ROWS])

    @cached_property
    def count(self) -> int:
        """The number of rows that can be shown."""
        return len(self.ids)

    def page(self, number: int | str) -> Page:  # type: ignore[type-arg]
        """Return the page of this number."""
        number, rows = self.validate_number(number), cast(Any, self.object_list)
        shown = self.ids[(number - 1) * self.per_page :][: self.per_page]
        return Page(rows.filter(pk__in=shown), number, self)


class Found(ChangeList):
    """The changelist asks anew for a result of one page."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of the page."""
        super().get_results(request)
        if not self.show_all:
            self.result_list = self.paginator.get_page(self.page_num).object_list


def chosen(name: str, values: Sequence[str] | Callable[[], Sequence[str]]) -> type[admin.SimpleListFilter]:
    """Return a filter by a field with known values: Django would look for the values in every row."""

    class Chosen(admin.SimpleListFilter):
        title, parameter_name = _(name), name

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            if callable(values):
                return [(value, value) for value in values()]
            return [(value, gettext(value)) for value in values]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{name: self.value()}) if self.value() else queryset

    return Chosen


class EventType(chosen("type", sorted(protocol.EVENTS))):  # type: ignore[misc]
    """A rare type would be looked for in the whole log. In a thread or a run that is searched for, it is."""

    title = format_lazy(_("type, of the last {count}"), count=f"{MAX_SEARCHED_EVENTS:,}")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        """Return the newest events of the chosen type."""
        found: QuerySet[Event] = super().queryset(request, queryset)
        if not self.value() or request.GET.get(SEARCH_VAR):
            return found
        newest = Event.objects.order_by("-id").values("id")[:1]
        return found.filter(id__gt=Subquery(newest) - MAX_SEARCHED_EVENTS)


def recent(model: type[Model], name: str, field: str) -> type[admin.SimpleListFilter]:
    """Return a filter by a field, `name` in the address; it offers the values of the MAX_OFFERED_ROWS newest rows."""

    class Recent(admin.SimpleListFilter):
        title, parameter_name = _(name), name

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            newest = model._default_manager.order_by("-created_at").values_list(field, flat=True)[:MAX_OFFERED_ROWS]
            return [(value, value) for value in sorted(set(newest)) if value]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return Recent
