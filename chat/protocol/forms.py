"""Forms: the flat JSON schemas that a run may ask a person with, and the check of an answer.

`forms.js` of the page holds the same rules; both are tested against the table tests/forms.json.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from chat.protocol.encoding import encoded_size
from chat.protocol.errors import ProtocolError
from chat.protocol.limits import KIB

MAX_PROPERTIES = 20
MAX_SCHEMA = 16 * KIB  # bytes of JSON
MAX_CHOICES = 200  # values of an enum
MAX_ANSWER_CONTENT = 32 * KIB  # bytes of JSON
MAX_NAME = 64  # characters of a property's name
VALUE = "value"  # the property of a form that was asked for with the schema of one value

_TOP = {"type", "properties", "required", "title", "description", "$schema", "additionalProperties"}
_SHOWN = {"type", "title", "description", "default"}
_KEYWORDS = {
    "string": {"minLength", "maxLength", "format", "enum", "oneOf"},
    "number": {"minimum", "maximum"},
    "integer": {"minimum", "maximum"},
    "boolean": set[str](),
    "array": {"items", "minItems", "maxItems"},
}
_SPACES = r"\s\x1c-\x1f\x85\ufeff"  # of Python and of JavaScript
_EMAIL = re.compile(rf"[^{_SPACES}@]+@[^{_SPACES}@.]+(\.[^{_SPACES}@.]+)+")
_URI = re.compile(rf"https?://[^{_SPACES}/?#][^{_SPACES}]*", re.IGNORECASE)  # linear time: no part can give way
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    found = _DATE_TIME.fullmatch(text)
    return found is not None and _is_date(found[1])


# Format -> its check and what an answer must be.
FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "email": (lambda text: bool(_EMAIL.fullmatch(text)), "must be an e-mail address"),
    "uri": (lambda text: bool(_URI.fullmatch(text)), "must be an http or https address"),
    "date": (_is_date, "must be a date, as 2026-11-30"),
    "date-time": (_is_date_time, "must be a date and time with its zone, as 2026-11-30T09:00:00Z"),
}
# Type -> what an answer of another type is told.
TYPES = {
    "string": "must be a text",
    "number": "must be a number",
    "integer": "must be a whole number",
    "boolean": "must be true or false",
    "array": "must be a list",
}


# ---- Schemas: an agent's ---------------------------------------------------------------------------------


def form_schema(schema: Any) -> dict[str, Any]:
    """Return the schema of a form. A schema of one value becomes that of an object with the property `value`.

    Raises TypeError that names the place of what a form cannot have.
    """
    if schema is None:
        schema = {"type": "string"}
    if not isinstance(schema, Mapping):
        raise TypeError(f"schema: must be an object, not {type(schema).__name__}")
    if schema.get("type") != "object":
        _check_property(schema, "schema")
        schema = {"type": "object", "properties": {VALUE: dict(schema)}, "required": [VALUE]}
    _check_object(schema)
    try:
        size = encoded_size(schema)
    except (TypeError, ValueError, RecursionError):
        raise TypeError("schema: must be JSON") from None
    if size > MAX_SCHEMA:
        raise TypeError(f"schema: has {size} bytes; at most {MAX_SCHEMA}")
    return dict(schema)


def _check_object(schema: Mapping[str, Any]) -> None:
    _refuse_others(schema, _TOP, "schema")
    _check_texts(schema, ("title", "description", "$schema"), "schema")
    if schema.get("additionalProperties", False) is not False:
        raise TypeError("schema.additionalProperties: must be false")
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        raise TypeError("schema.properties: must be an object with at least one property")
    if len(properties) > MAX_PROPERTIES:
        raise TypeError(f"schema.properties: has {len(properties)} properties; at most {MAX_PROPERTIES}")
    for name, schema_of in properties.items():
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise TypeError(f"schema.properties: a name has 1 to {MAX_NAME} characters")
        _check_property(schema_of, f"schema.properties.{name}")
    required = schema.get("required", [])
    if not isinstance(required, list | tuple) or not all(isinstance(n, str) and n in properties for n in required):
        raise TypeError("schema.required: must be a list of names of properties")


def _refuse_others(schema: Mapping[str, Any], known: set[str], place: str) -> None:
    for key in schema:
        if key not in known:
            raise TypeError(f"{place}.{key}: is not supported in a form")


def _check_texts(schema: Mapping[str, Any], keys: Sequence[str], place: str) -> None:
    for key in keys:
        if not isinstance(schema.get(key, ""), str):
            raise TypeError(f"{place}.{key}: must be a text")


def _check_property(schema: Any, place: str) -> None:
    if not isinstance(schema, Mapping):
        raise TypeError(f"{place}: must be an object")
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _KEYWORDS:
        raise TypeError(f"{place}.type: must be one of {', '.join(_KEYWORDS)}")
    _refuse_others(schema, _SHOWN | _KEYWORDS[kind], place)
    _check_texts(schema, ("title", "description"), place)
    for least, most in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum")):
        _check_bounds(schema, least, most, place)
    if kind == "string":
        _check_string(schema, place)
    elif kind == "array":
        _check_items(schema.get("items"), f"{place}.items")
    if "default" in schema:
        wrong = _problem(schema, schema["default"])
        if wrong is not None:
            raise TypeError(f"{place}.default: {wrong[1]}")


def _check_bounds(schema: Mapping[str, Any], least: str, most: str, place: str) -> None:
    for key in (least, most):
        bound = schema.get(key)
        counts = key not in ("minimum", "maximum")
        if key in schema and (not _is_number(bound) or (counts and (not isinstance(bound, int) or bound < 0))):
            raise TypeError(f"{place}.{key}: must be a {'whole ' if counts else ''}number")
    if least in schema and most in schema and schema[least] > schema[most]:
        raise TypeError(f"{place}.{least}: is above {most}")


def _check_string(schema: Mapping[str, Any], place: str) -> None:
    if "format" in schema and schema["format"] not in FORMATS:
        raise TypeError(f"{place}.format: must be one of {', '.join(FORMATS)}")
    if "enum" in schema and "oneOf" in schema:
        raise TypeError(f"{place}.oneOf: is given beside enum")
    if "enum" in schema or "oneOf" in schema:
        _check_choices(schema, place)


def _check_items(items: Any, place: str) -> None:
    if not isinstance(items, Mapping):
        raise TypeError(f"{place}: must be an object")
    if items.get("type", "string") != "string":
        raise TypeError(f"{place}.type: must be string")
    _refuse_others(items, {"type", "enum", "oneOf", "anyOf"}, place)
    if len(items.keys() & {"enum", "oneOf", "anyOf"}) != 1:
        raise TypeError(f"{place}: must have one of enum and oneOf")
    _check_choices(items, place)


def _check_choices(schema: Mapping[str, Any], place: str) -> None:
    for key in ("enum", "oneOf", "anyOf"):
        if key not in schema:
            continue
        choices = schema[key]
        if not isinstance(choices, list | tuple) or not 0 < len(choices) <= MAX_CHOICES:
            raise TypeError(f"{place}.{key}: must be a list of 1 to {MAX_CHOICES} values")
        for at, choice in enumerate(choices):
            if key == "enum" and not isinstance(choice, str):
                raise TypeError(f"{place}.enum[{at}]: must be a text")
            if key != "enum" and not _is_titled(choice):
                raise TypeError(f"{place}.{key}[{at}]: must have const and title, both texts, and nothing else")
        values = _choices(schema) or []
        if len(set(values)) < len(values):
            raise TypeError(f"{place}.{key}: must not repeat a value")


def _is_titled(choice: Any) -> bool:
    return (
        isinstance(choice, Mapping)
        and choice.keys() == {"const", "title"}
        and all(isinstance(value, str) for value in choice.values())
    )


def _choices(schema: Mapping[str, Any]) -> list[str] | None:
    """Return the values that a string may have; None if any."""
    if "enum" in schema:
        return list(schema["enum"])
    titled = schema.get("oneOf", schema.get("anyOf"))
    return None if titled is None else [choice["const"] for choice in titled]


# ---- Answers: a person's ---------------------------------------------------------------------------------


def form_answer(schema: Mapping[str, Any], content: Any) -> dict[str, Any]:
    """Return the values of an answer to a form, in the order of its properties, with the schema's defaults.

    `schema` is what `form_schema` returned. A form with one property may be answered with the bare value. Raises
    ProtocolError invalid_message, whose `field` names the property.
    """
    properties = schema["properties"]
    if not isinstance(content, Mapping):
        if content is None or len(properties) != 1:
            raise _invalid("content", "must be an object")
        content = {next(iter(properties)): content}
    try:
        size = encoded_size(content)
    except (TypeError, ValueError, RecursionError):  # of a test or of an agent; a client's is JSON
        raise _invalid("content", "must be JSON") from None
    if size > MAX_ANSWER_CONTENT:
        raise _invalid("content", f"must have at most {MAX_ANSWER_CONTENT} bytes")
    for name in content:
        if name not in properties:
            raise _invalid(f"content.{str(name)[:MAX_NAME]}", "is not asked for")
    answer: dict[str, Any] = {}
    for name, schema_of in properties.items():
        if name in content:
            wrong = _problem(schema_of, content[name])
            if wrong is not None:
                raise _invalid(f"content.{name}{wrong[0]}", wrong[1])
            answer[name] = content[name]
        elif "default" in schema_of:
            answer[name] = schema_of["default"]
        elif name in schema.get("required", ()):
            raise _invalid(f"content.{name}", "is required")
    return answer


def _invalid(field: str, message: str) -> ProtocolError:
    return ProtocolError("invalid_message", f"{field} {message}", field=field)


def _problem(schema: Mapping[str, Any], value: Any) -> tuple[str, str] | None:
    """Return (place below the property, what its value must be) of a wrong value; None for a right one."""
    kind = schema["type"]
    if not _has_type(kind, value):
        return "", TYPES[kind]
    if kind == "string":
        return _string_problem(schema, value)
    if kind == "array":
        return _array_problem(schema, value)
    if kind != "boolean":
        if "minimum" in schema and value < schema["minimum"]:
            return "", f"must be at least {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            return "", f"must be at most {schema['maximum']}"
    return None


def _has_type(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "number":
            return _is_number(value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
    return isinstance(value, list)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _string_problem(schema: Mapping[str, Any], value: str) -> tuple[str, str] | None:
    if len(value) < schema.get("minLength", 0):
        return "", f"must have at least {schema['minLength']} characters"
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        return "", f"must have at most {schema['maxLength']} characters"
    choices = _choices(schema)
    if choices is not None and value not in choices:
        return "", "must be one of the choices"
    if "format" in schema:
        fits, message = FORMATS[schema["format"]]
        return None if fits(value) else ("", message)
    return None


def _array_problem(schema: Mapping[str, Any], value: list[Any]) -> tuple[str, str] | None:
    if len(value) < schema.get("minItems", 0):
        return "", f"must have at least {schema['minItems']} entries"
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        return "", f"must have at most {schema['maxItems']} entries"
    choices = _choices(schema["items"]) or []
    for at, item in enumerate(value):
        if not isinstance(item, str) or item not in choices:
            return f"[{at}]", "must be one of the choices"
    return None
