"""Arguments of the tools: their declarations, and their JSON Schemas for hosts."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field

from chat.protocol import MAX_ATTACHMENTS, MAX_FRAME, ProtocolError, decoding
from chat.protocol.fields import Declaration, Id, Otherwise, VisibleText, validate

MAX_WAIT_SECONDS = 600
WAIT_SECONDS = 50  # by default: many hosts give up a call after 60

Arguments = TypeVar("Arguments", bound="WaitSeconds")


class WaitSeconds(Declaration):
    """The argument of all tools."""

    wait_seconds: Annotated[
        float, Field(ge=0, le=MAX_WAIT_SECONDS), Otherwise(f"must be a number from 0 to {MAX_WAIT_SECONDS}")
    ] = Field(
        WAIT_SECONDS,
        description="Seconds to wait for the end of the run. After them the result has the status running.",
    )


class AgentArguments(WaitSeconds):
    """The arguments of an agent's tool."""

    message: VisibleText = Field(description="What to ask the agent")
    thread_id: Id | None = Field(None, description="A conversation to continue; absent: a new one")
    attachment_ids: Annotated[tuple[Id, ...], Field(strict=False, max_length=MAX_ATTACHMENTS)] = Field(
        (), description="Files that were uploaded to Netra before"
    )


class WaitArguments(WaitSeconds):
    """The arguments of `netra_wait`."""

    run_id: Id = Field(description="Of a result with the status running or waiting")


def read(model: type[Arguments], given: Mapping[str, Any] | None) -> Arguments:
    """Return the checked arguments of a call. Null is the same as absent, others are ignored. Raises ProtocolError."""
    fields = {name: value for name, value in (given or {}).items() if value is not None}
    decoding.check(fields)
    arguments = validate(model, fields)
    if isinstance(arguments, AgentArguments) and len(arguments.message.encode()) > MAX_FRAME:
        raise ProtocolError("too_large", f"message must have at most {MAX_FRAME} bytes", field="message")
    return arguments


def schema_of(model: type[Declaration]) -> dict[str, Any]:
    """Return the JSON Schema of a tool's arguments, as simple as hosts and models like it: no references, no titles."""
    found = model.model_json_schema(mode="validation")
    properties = {
        name: {key: value for key, value in _without_null(schema).items() if key not in ("title", "default")}
        for name, schema in found["properties"].items()
    }
    properties["wait_seconds"]["default"] = WAIT_SECONDS
    return {"type": "object", "properties": properties, "required": found["required"]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
