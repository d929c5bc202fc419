"""The OpenAPI schema, its page, and the decorator that describes an operation in it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from pydantic import BaseModel
from rest_framework import serializers

from chat.accounts.stream_cookies import COOKIE
from chat.api.base import METHODS
from chat.api.parsers import JSONOnly
from chat.api.serializers import ErrorSerializer

_View = TypeVar("_View", bound=Callable[..., Any])


def described(
    operation: str,
    answers: Mapping[int | tuple[int, str], Any],
    takes: type[serializers.Serializer[Any] | BaseModel] | None = None,
    query: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
    errors: type[serializers.Serializer[Any] | BaseModel] = ErrorSerializer,
) -> Callable[[_View], _View]:
    """Describe an operation in the OpenAPI schema. Query parameters with a "#" at the end are numbers."""
    parameters = [
        OpenApiParameter(name.rstrip("#"), int if name.endswith("#") else str, OpenApiParameter.QUERY) for name in query
    ] + [OpenApiParameter(name, str, OpenApiParameter.HEADER) for name in headers]
    return extend_schema(
        operation_id=operation,
        request=takes,
        responses={**answers, "4XX": errors, "5XX": errors},
        parameters=parameters,
    )


_JSON = {"application/json": {"schema": {"type": "object"}}}
MCP: dict[str, Any] = {
    "operationId": "mcp",
    "description": "Model Context Protocol: streamable HTTP without sessions, up to version 2026-07-28. The tools are "
    "the agents, and netra_wait.",
    "tags": ["mcp"],
    "security": [{"bearer": []}],
    "requestBody": {"required": True, "description": "A JSON-RPC request or notification", "content": _JSON},
    "responses": {
        "200": {
            "description": "A JSON-RPC response, or events with progress before it",
            "content": {**_JSON, "text/event-stream": {"schema": {"type": "string"}}},
        },
        "202": {"description": "The notification is taken."},
        "4XX": {"description": "Refused, by Netra or as a JSON-RPC error", "content": _JSON},
    },
}


def add_mcp(result: dict[str, Any], **generated: Any) -> dict[str, Any]:
    """Add the path of the MCP server, which no view of Django answers, to the OpenAPI schema."""
    result["paths"]["/mcp"] = {"post": MCP}
    return result


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.accounts.authentication.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An access token (JWT), or an API key (netra_…)."}


class StreamScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.accounts.stream_cookies.CookieAuthentication"
    name = "stream"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "For `text/event-stream` only."}


class Schema(SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer2]
    authentication_classes = ()
    content_negotiation_class = JSONOnly
    http_method_names = METHODS


class Docs(SpectacularSwaggerSplitView):
    url_name = "chat:schema"
    authentication_classes = ()
    http_method_names = METHODS
