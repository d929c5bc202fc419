"""Lists in pages."""

from collections.abc import Sequence
from typing import Any

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.api.parsers import number

PAGED = ("page#", "page_size#")


class PageNumberPagination(BasePagination):
    """Pages by `page` and `page_size`. The view's `results_name` names the list; beyond its end a page is empty."""

    page_size, max_page_size = 50, 100

    def paginate_queryset(
        self,
        queryset: Any,
        request: Request,
        view: APIView | None = None,
        ids: Sequence[Any] | None = None,
    ) -> list[Any]:
        """Return the rows of the requested page. Raises ProtocolError.

        `ids`: the ids of the whole result, in order, so that a slow search is not executed once for the count and once
        for the page.
        """
        self.name: str = getattr(view, "results_name", "results")
        self.index, self.size = number(request, "page", 1, 1, 10**9), self.get_page_size(request)
        self.start = (self.index - 1) * self.size
        end = self.start + self.size
        if ids is None:
            self.total, rows = queryset.count(), queryset[self.start : end]
        else:
            self.total, rows = len(ids), queryset.filter(pk__in=ids[self.start : end])
        return list(rows)

    def get_page_size(self, request: Request) -> int:
        """Return the number of rows of a page. Raises ProtocolError."""
        return number(request, "page_size", self.page_size, 1, self.max_page_size)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with the counts of the whole list."""
        more = bool(data) and self.start + len(data) < self.total
        counts = {"total_count": self.total, "page": self.index, "page_size": self.size, "has_more": more}
        return Response({self.name: data, **counts})
