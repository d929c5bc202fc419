"""Parsers of request bodies and query parameters, with the same strict JSON as on the socket."""

import re
from collections.abc import Mapping
from typing import IO, Any, cast

from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from chat import protocol
from chat.protocol import ProtocolError


class StrictJSONParser(BaseParser):
    """A parser with the same rules as a socket's frames."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return protocol.loads(stream.read())


def body(request: Request, needed: bool = True) -> dict[str, Any]:
    """Return the JSON object of a request; {} for an empty body that is allowed. Raises ProtocolError."""
    raw = request.body
    if not raw:
        if needed:
            raise ProtocolError("invalid_json", "The body must be a JSON object.")
        return {}
    data = request.data
    if not isinstance(data, dict):
        raise ProtocolError("invalid_message", "The body must be a JSON object.")
    return data


def fields(shape: type[serializers.Serializer[Any]], request: Request, needed: bool = True) -> dict[str, Any]:
    """Return the body's fields, checked by the serializer `shape`; null is the same as absent. Raises ProtocolError."""
    read = shape(data={name: value for name, value in body(request, needed).items() if value is not None})
    if not read.is_valid():
        name, problems = next(iter(read.errors.items()))
        raise ProtocolError("invalid_message", f"{name}: {problems[0]}", field=name)
    return cast(dict[str, Any], read.validated_data)


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of the query string. Raises ProtocolError."""
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise ProtocolError("invalid_message", f"{name} must be a whole number from {least} to {most}.", field=name)
    return int(text)


class JSONOnly(BaseContentNegotiation):
    """Content negotiation that always answers JSON: an error must not depend on the Accept header."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        content_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type
