"""The base classes of all REST views."""

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView
from structlog.contextvars import bind_contextvars

from chat import limits, protocol
from chat.accounts.authentication import Identity
from chat.api.pagination import PageNumberPagination
from chat.api.parsers import JSONOnly, StrictJSONParser
from chat.api.throttling import UserThrottle
from chat.models import User

METHODS = ["get", "post", "put", "patch", "delete", "head"]  # OPTIONS would be a second /api/schema


def origin_of(request: HttpRequest | Request) -> str:
    """Return the origin for absolute URLs: one of ALLOWED_ORIGINS, whatever Host the client sent."""
    return protocol.origin_for(request.scheme or "", request.get_host(), settings.ALLOWED_ORIGINS)


def owner(request: Request) -> User:
    return cast(User, request.user)


def identity_of(request: Request) -> Identity:
    return cast(Identity, request.auth)


class View(APIView):
    """A view for a signed-in user."""

    content_negotiation_class = JSONOnly
    parser_classes: tuple[type[BaseParser], ...] = (StrictJSONParser,)
    throttle_classes: tuple[type[BaseThrottle], ...] = (UserThrottle,)
    http_method_names = METHODS
    takes_keys = True  # False: of the account, for which an API key is forbidden
    reading_methods: tuple[str, ...] = ()  # beside the safe ones: an API key needs no scope write for them

    def perform_authentication(self, request: Request) -> None:
        """Authenticate, and name the user in the log of this request."""
        super().perform_authentication(request)
        if request.user is not None:
            bind_contextvars(user_id=request.user.pk)

    def throttled(self, request: Request, wait: float | None) -> NoReturn:
        """Refuse the request for `wait` seconds."""
        raise limits.rate_limited(wait or 0.0)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Forbid every cache to keep the answer, unless the answer has a Cache-Control."""
        final = super().finalize_response(request, response, *args, **kwargs)
        final.headers.setdefault("Cache-Control", "no-store")
        return final


class ListView(View):
    """A view with a list in pages."""

    pagination_class = PageNumberPagination
    serializer_class: type[serializers.Serializer[Any]]
    results_name: str

    def page(self, request: Request, rows: QuerySet[Any], ids: Sequence[Any] | None = None) -> Response:
        """Return the requested page of the rows; `ids`: see PageNumberPagination."""
        paginator = self.pagination_class()
        shown = paginator.paginate_queryset(rows, request, self, ids)
        return paginator.get_paginated_response(
            self.serializer_class(shown, many=True, context={"request": request}).data
        )


class Open(View):
    """A view for everybody.

    It ignores tokens: a stale one must not keep a client from signing in.
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
