"""Declarations of all frames: validation, and JSON Schema for documents and for the page's types."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from chat.protocol.commands import ClientFrame
from chat.protocol.controls import AnyControl
from chat.protocol.events import AnyEvent, NumberedEvent

ServerFrame: TypeAlias = Annotated[AnyEvent | AnyControl, Field(discriminator="type")]
CLIENT_FRAME: TypeAdapter[Any] = TypeAdapter(ClientFrame)
SERVER_FRAME: TypeAdapter[Any] = TypeAdapter(ServerFrame)


class _WithoutTitles(GenerateJsonSchema):
    """A title of a field would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schemas(ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
    """Return the JSON Schemas of all declarations by name, those of the unions included."""
    unions = {"ClientFrame": CLIENT_FRAME, "ServerFrame": SERVER_FRAME, "NumberedEvent": TypeAdapter(NumberedEvent)}
    return schemas_of(unions, ref_template)


def schemas_of(adapters: Mapping[str, TypeAdapter[Any]], ref_template: str) -> dict[str, Any]:
    """Return the JSON Schemas of these unions and of all declarations in them, by name."""
    unions, definitions = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()],
        ref_template=ref_template,
        schema_generator=_WithoutTitles,
    )
    return {**definitions["$defs"], **{name: schema for (name, _), schema in unions.items()}}
