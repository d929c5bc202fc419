"""Tools that need a person's approval, and the schemas of their parameters. Pure."""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from agents.sdk import tools
from chat.protocol import MAX_INPUT_MESSAGE

Tool = TypeVar("Tool", bound=Callable[..., Any])

_MARK = "__netra_approval__"
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """Conditions of an approval; the fields are the arguments of `needs_approval`."""

    message: str | Callable[..., str] | None = None
    when: Callable[..., bool] | None = None
    editable: bool = True
    decided_by: str = "owner"
    four_eyes: bool = False
    expires: float | None = None

    def applies(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether a call with these parameters needs approval."""
        return self.when is None or bool(self.when(**parameters))

    def text(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Return the question to the person."""
        text = ""
        if isinstance(self.message, str):
            text = self.message.format(**parameters)
        elif self.message is not None:
            text = str(self.message(**parameters))
        return shortened(text) or f"Allow “{name}”?"


def shortened(message: str) -> str:
    """Return the message of a request, cut where it is too long: the parameters are shown beside it."""
    return message if len(message) <= MAX_INPUT_MESSAGE else f"{message[: MAX_INPUT_MESSAGE - 1]}…"


@overload
def needs_approval(tool: Tool, /) -> Tool: ...
@overload
def needs_approval(
    tool: None = None,
    /,
    *,
    message: str | Callable[..., str] | None = None,
    when: Callable[..., bool] | None = None,
    editable: bool = True,
    decided_by: str = "owner",
    four_eyes: bool = False,
    expires: float | None = None,
) -> Callable[[Tool], Tool]: ...
def needs_approval(tool: Any = None, /, **given: Any) -> Any:
    """Mark a tool that runs only after a person has approved the call.

    `message` is a format string over the parameters or a function of them; `when(**parameters)` decides per call; both
    get the defaults of parameters that are left out. `editable` lets the person change parameters; `decided_by` is
    `owner` or `group:<name>`; `four_eyes` demands somebody else than the run's user; `expires` is in seconds. Usable
    bare, as `@needs_approval`.
    """
    needs = Needs(**given)
    return _marked(tool, needs) if tool is not None else lambda marked: _marked(marked, needs)


def _marked(tool: Tool, needs: Needs) -> Tool:
    setattr(tool, _MARK, needs)
    return tool


def needs_of(tool: Callable[..., Any]) -> Needs | None:
    """Return how the tool is approved; None if it needs no approval."""
    found = getattr(tool, _MARK, None)
    return found if isinstance(found, Needs) else None


def definition_hash(name: str, description: str, schema: Mapping[str, Any] | None) -> str:
    """Return a hash of a tool's definition: an approval applies to this definition only."""
    return hashlib.sha256(json.dumps([name, description, schema], sort_keys=True).encode()).hexdigest()


def definition_of(tool: Callable[..., Any]) -> tuple[dict[str, Any], str]:
    """Return the schema of the tool's parameters and the hash of its definition."""
    schema = parameters_schema(tool)
    return schema, definition_hash(tools.name_of(tool), inspect.getdoc(tool) or "", schema)


def parameters_schema(tool: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of the tool's parameters, from its type hints; a parameter of another type fits all.

    Defaults belong to it: a call that leaves a parameter out is approved with the default of that time.
    """
    hints = _hints(tool)
    properties: dict[str, Any] = {}
    required, is_open = [], False
    for name, parameter in inspect.signature(tool).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            is_open = is_open or parameter.kind is parameter.VAR_KEYWORD
            continue
        properties[name] = _schema_of(hints.get(name, Any)) or {}
        if parameter.default is parameter.empty:
            required.append(name)
        elif parameter.default is not None:
            with contextlib.suppress(TypeError):  # one that is no JSON value
                properties[name]["default"] = tools.jsonable(parameter.default, name)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return schema if is_open else {**schema, "additionalProperties": False}


def _hints(tool: Any) -> dict[str, Any]:
    try:
        return get_type_hints(tool)
    except Exception:  # a name that only type checkers know
        return {}


def _schema_of(hint: Any) -> dict[str, Any] | None:
    """Return the schema of a type; None for one that has none."""
    if isinstance(hint, type) and hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin is Literal and all(isinstance(value, str) for value in arguments):
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, types.UnionType):
        inner = [_schema_of(argument) for argument in arguments if argument is not type(None)]
        if len(inner) == 1 and inner[0] is not None and len(arguments) == 2:
            return {"anyOf": [inner[0], {"type": "null"}]}
    if origin is list and len(arguments) == 1 and (item := _schema_of(arguments[0])) is not None:
        return {"type": "array", "items": item}
    return None


def form_of(kind: type) -> dict[str, Any]:
    """Return the schema of a form for the fields that make a dataclass.

    A field's metadata is added to its property, e.g. `field(metadata={"title": "Month", "format": "date"})`. A field
    with a default or of an optional type need not be answered. Raises TypeError for a field that a form cannot have.
    """
    hints, properties, required = _hints(kind), dict[str, Any](), []
    for each in dataclasses.fields(kind):
        if not each.init:
            continue
        hint = hints.get(each.name, each.type)
        optional = [argument for argument in get_args(hint) if argument is not type(None)]
        is_optional = type(None) in get_args(hint) and len(optional) == 1
        schema = _schema_of(optional[0] if is_optional else hint)
        if schema is None or "anyOf" in schema:
            raise TypeError(f"{kind.__name__}.{each.name}: a form has no {hint}")
        properties[each.name] = {**schema, **each.metadata}
        if each.default not in (dataclasses.MISSING, None):
            properties[each.name]["default"] = each.default
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING and not is_optional:
            required.append(each.name)
    return {"type": "object", "properties": properties, "required": required}


def made_of(kind: type, content: Mapping[str, Any]) -> Any:
    """Return an instance of a dataclass from the answer to its form: None for an optional field without an answer."""
    bare = {
        each.name: None
        for each in dataclasses.fields(kind)
        if each.init and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }
    return kind(**{**bare, **content})
