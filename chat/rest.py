"""What every REST view is built on: how a request is read, how an operation is described, how a list is paged."""

import re
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar, cast

from django.db.models import QuerySet
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog.contextvars import bind_contextvars

from chat import limits, protocol
from chat.models import User
from chat.protocol import ProtocolError
from chat.shapes import ErrorSerializer

PAGE_SIZE, MAX_PAGE_SIZE = 50, 100
PAGED = ("page#", "page_size#")
METHODS = ["get", "post", "put", "patch", "delete", "head"]  # OPTIONS would tell what /api/schema tells, in another way


class StrictJSONParser(BaseParser):
    """JSON by the same rules as a socket's frames."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return protocol.loads(stream.read())


def body(request: Request, needed: bool = True) -> dict[str, Any]:
    """The JSON object of a request; {} for an empty one that needs none. Raises ProtocolError."""
    raw = request.body
    if not raw:
        if needed:
            raise ProtocolError("invalid_json", "A JSON object is needed.")
        return {}
    # A chunked body has no length of its own, and the framework would take it for empty.
    request.META["CONTENT_LENGTH"] = str(len(raw))
    data = request.data
    if not isinstance(data, dict):
        raise ProtocolError("invalid_message", "The body must be a JSON object.")
    return data


def fields(shape: type[serializers.Serializer[Any]], request: Request, needed: bool = True) -> dict[str, Any]:
    """The body's fields, checked against `shape`; null is the same as absent. Raises ProtocolError."""
    read = shape(data={name: value for name, value in body(request, needed).items() if value is not None})
    if not read.is_valid():
        name, problems = next(iter(read.errors.items()))
        raise ProtocolError("invalid_message", f"{name}: {problems[0]}", field=name)
    return cast(dict[str, Any], read.validated_data)


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query string. Raises ProtocolError."""
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise ProtocolError("invalid_message", f"{name} must be a whole number from {least} to {most}.", field=name)
    return int(text)


def owner(request: Request) -> User:
    return cast(User, request.user)


def page(request: Request, name: str, rows: QuerySet[Any], of: type[serializers.Serializer[Any]]) -> Response:
    index, size = number(request, "page", 1, 1, 10**9), number(request, "page_size", PAGE_SIZE, 1, MAX_PAGE_SIZE)
    total, start = rows.count(), (index - 1) * size
    shown = of(rows[start : start + size], many=True).data
    more = bool(shown) and start + len(shown) < total
    return Response({name: shown, "total_count": total, "page": index, "page_size": size, "has_more": more})


_View = TypeVar("_View", bound=Callable[..., Any])


def described(
    operation: str,
    answers: Mapping[int | tuple[int, str], Any],
    takes: type[serializers.Serializer[Any]] | None = None,
    query: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
) -> Callable[[_View], _View]:
    """The operation in the OpenAPI schema. Query parameters with a "#" at the end are numbers."""
    parameters = [
        OpenApiParameter(name.rstrip("#"), int if name.endswith("#") else str, OpenApiParameter.QUERY) for name in query
    ] + [OpenApiParameter(name, str, OpenApiParameter.HEADER) for name in headers]
    return extend_schema(
        operation_id=operation,
        request=takes,
        responses={**answers, "4XX": ErrorSerializer, "5XX": ErrorSerializer},
        parameters=parameters,
    )


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.auth.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class JSONOnly(BaseContentNegotiation):
    """Whatever a client says it accepts, it gets JSON: an error must not depend on a header."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        content_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class View(APIView):
    content_negotiation_class = JSONOnly
    parser_classes: tuple[type[BaseParser], ...] = (StrictJSONParser,)
    http_method_names = METHODS

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.user is not None:
            bind_contextvars(user_id=request.user.pk)
            limits.REQUESTS.spend_now(request.user.pk)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "no-store"
        return final


class Open(View):
    # A token that is sent all the same is not looked at: a stale one must not keep anybody from logging in.
    authentication_classes = ()
    permission_classes = (AllowAny,)


class Schema(SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer2]
    authentication_classes = ()
    content_negotiation_class = JSONOnly
    http_method_names = METHODS


class Docs(SpectacularSwaggerSplitView):
    authentication_classes = ()
    http_method_names = METHODS
