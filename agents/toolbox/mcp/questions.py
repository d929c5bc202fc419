"""Questions of an MCP server to the user of a run: elicitation as a form or a link, under the server's name.

A person accepts, declines, or lets the question expire, which is `cancel`. Servers word their forms freely: what a form
of Netra cannot have is left out where it only hints, and otherwise the question is cancelled.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from agents.sdk import AgentError, Declined, Expired, Turn
from agents.sdk.approval import shortened
from chat.protocol import forms

log = logging.getLogger(__name__)

CANCEL: dict[str, Any] = {"action": "cancel"}
DECLINE: dict[str, Any] = {"action": "decline"}
_HINTS = {"title", "description", "default", "minLength", "maxLength", "format", "enum", "oneOf", "minimum", "maximum"}
_HINTS |= {"type", "items", "minItems", "maxItems"}


async def answer(turn: Turn, server: str, asked: Any) -> dict[str, Any]:
    """Put the parameters of `elicitation/create` to the user. Return the result for the server."""
    match asked:
        case {"message": str(message), "mode": "url", "url": str(url)}:
            return await _put(turn, _named(server, message), url=url)
        case {"message": str(message), "requestedSchema": dict(schema)} if asked.get("mode", "form") == "form":
            if not schema.get("properties"):
                return await _confirmed(turn, _named(server, message))
            try:
                form = forms.form_schema(_form(schema))
            except (TypeError, ValueError) as error:
                log.warning("mcp %s: a question cannot be asked: %.200s", server, error)
                return CANCEL
            return await _put(turn, _named(server, message), schema=form)
    log.warning("mcp %s: a question of an unknown form is cancelled", server)
    return CANCEL


def _named(server: str, message: str) -> str:
    return shortened(f"The server “{server}” asks: {message}")


async def _put(turn: Turn, message: str, **how: Any) -> dict[str, Any]:
    try:
        content = await turn.ask(message, **how)
    except Declined:
        return DECLINE
    except (Expired, TypeError):  # TypeError: an address that is none of http
        return CANCEL
    except AgentError as error:
        log.warning("a question of a server is cancelled: %s", error.code)
        return CANCEL
    return {"action": "accept"} if content is None else {"action": "accept", "content": content}


async def _confirmed(turn: Turn, message: str) -> dict[str, Any]:
    """Ask for a yes: the server wants no values."""
    try:
        await turn.approve(message)
    except Declined:
        return DECLINE
    except AgentError:
        return CANCEL
    return {"action": "accept", "content": {}}


async def answers(turn: Turn, server: str, requests: Mapping[str, Any]) -> dict[str, Any] | None:
    """Put all questions of `inputRequests` at once. None if the server asks for something else than a person."""
    asked = list(requests.items())
    if not all(isinstance(one, dict) and one.get("method") == "elicitation/create" for _, one in asked):
        return None
    found = await asyncio.gather(*(answer(turn, server, one.get("params")) for _, one in asked), return_exceptions=True)
    if failures := [one for one in found if isinstance(one, BaseException)]:
        raise failures[-1]  # in a test, the one that knows all open requests
    return {key: result for (key, _), result in zip(asked, found, strict=True)}


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with what a form can have. Raises TypeError."""
    properties = schema["properties"]
    if not isinstance(properties, Mapping):
        raise TypeError("schema.properties: must be an object")
    required = schema.get("required")
    return {
        "type": "object",
        "properties": {name: _property(value) for name, value in properties.items()},
        "required": required if isinstance(required, list) else [],
    }


def _property(schema: Any) -> Any:
    """Return a property with the keywords that a form has: the others only hint, and the server checks them."""
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if key in _HINTS and value is not None}
    kind = kept.get("type")
    if isinstance(kind, list) and len(kind) == 2 and "null" in kind:  # an optional value
        kept["type"] = kind[0] if kind[1] == "null" else kind[1]
    titles, values = schema.get("enumNames"), kept.get("enum")  # of the revisions up to 2025-06-18
    if isinstance(titles, list) and isinstance(values, list) and len(titles) == len(values):
        del kept["enum"]
        kept["oneOf"] = [{"const": value, "title": str(title)} for value, title in zip(values, titles, strict=True)]
    elif isinstance(values, list) and "type" not in kept:
        kept["type"] = "string"
    if kept.get("format") not in (None, *forms.FORMATS):
        del kept["format"]
    if kept.get("type") in ("number", "integer", "boolean"):
        kept.pop("format", None)
    if "default" in kept and _is_wrong(kept):
        del kept["default"]
    return kept


def _is_wrong(schema: Mapping[str, Any]) -> bool:
    """Return whether the default does not fit its own property."""
    bare = {key: value for key, value in schema.items() if key != "default"}
    try:
        forms.form_schema({"type": "object", "properties": {"value": bare}})
    except TypeError:
        return False  # the property itself cannot be asked for, which is said elsewhere
    try:
        forms.form_schema({"type": "object", "properties": {"value": dict(schema)}})
    except TypeError:
        return True
    return False
