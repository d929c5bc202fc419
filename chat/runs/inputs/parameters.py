"""The check of edited parameters against the JSON schema of their tool."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag, urljoin

from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from jsonschema.validators import extend  # type: ignore[import-untyped]
from referencing import Registry

from chat import protocol
from chat.protocol import MAX_SHOWN_PARAMETERS, ProtocolError, forms

# A regular expression may take exponential time; `format` is only an annotation.
_LEFT_OUT = {"pattern", "patternProperties", "propertyNames", "$dynamicRef"}
_IGNORED = {"$schema"}
# Beside something that is left out, they would refuse what the whole schema accepts.
_NEGATIVE = {"not", "if", "then", "else", "maxContains", "unevaluatedProperties", "unevaluatedItems"}
_BY_NAME = {"properties", "$defs", "definitions", "dependentSchemas"}  # their keys are names and no keywords
_VALUES = {"const", "enum", "default", "examples", "dependentRequired"}
_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
# What persons read, as forms say it.
_SAID_TYPES = {**forms.TYPES, "object": "must be an object"}
_SAID = {
    "enum": "must be one of the choices",
    "const": "must be one of the choices",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
}
MAX_LEVELS = 16  # of a schema; below that anything is accepted
MAX_REFERENCES = 2000  # that one check follows: a few that double each other would take exponential time


def _unique(validator: Any, demanded: Any, values: Any, schema: Any) -> Iterator[ValidationError]:
    """Compare the entries as JSON text: jsonschema compares each with each."""
    if (
        demanded
        and isinstance(values, list)
        and len({json.dumps(value, sort_keys=True) for value in values}) < len(values)
    ):
        yield ValidationError("must not repeat an entry")


def _is_integer(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# A tool that takes whole numbers fails with 2.0, which JSON Schema has as one.
_STRICT = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)


def _validator(schema: Any) -> Any:
    """Return a validator that takes bounded time."""
    left = iter(range(MAX_REFERENCES))
    follow = Draft202012Validator.VALIDATORS["$ref"]

    def reference(*given: Any) -> Iterator[ValidationError]:
        if next(left, None) is None:
            raise OverflowError("too many references")
        yield from follow(*given) or ()

    checks = {"$ref": reference, "uniqueItems": _unique}
    bounded = extend(Draft202012Validator, checks, type_checker=_STRICT)
    return bounded(schema, registry=Registry())  # which retrieves nothing


def check_parameters(schema: Mapping[str, Any] | None, parameters: Any) -> None:
    """Check parameters that a person edited; any object without a schema. Raises invalid_message with the field."""
    if not isinstance(parameters, dict):
        raise _invalid("parameters", "must be an object")
    if protocol.encoded_size(parameters) > MAX_SHOWN_PARAMETERS:
        raise _invalid("parameters", f"must have at most {MAX_SHOWN_PARAMETERS} bytes")
    if schema is None:
        return
    try:
        left_out: list[str] = []
        bounded = _bounded(schema, left_out, {"", *_addresses(schema)})
        validator = _validator(_relaxed(bounded) if left_out else bounded)
        error = next(validator.iter_errors(parameters), None)
    except Exception as broken:  # a foreign tool's schema may be anything
        raise _invalid("parameters", "cannot be checked, so they cannot be edited") from broken
    if error is not None:
        error = _innermost(error)
        wrong = _absent_or_unknown(error)
        path = [*error.absolute_path, *wrong[:1]]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        raise _invalid(f"parameters{place}"[:200], wrong[1] if wrong else _said(error))


def _innermost(error: ValidationError) -> ValidationError:
    """Return the error of the one alternative that is not null: what may be absent is an alternative of two."""
    while error.context:
        found = [one for one in error.context if (one.validator, one.validator_value) != ("type", "null")]
        if len({one.relative_schema_path[0] for one in found}) != 1:
            break
        error = found[0]
    return error


def _said(error: ValidationError) -> str:
    """Return what the value must be, in the words of a form where it has them."""
    kind, demanded = error.validator, error.validator_value
    if kind == "type" and isinstance(demanded, str) and demanded in _SAID_TYPES:
        return _SAID_TYPES[demanded]
    return _SAID[kind].format(demanded) if kind in _SAID else error.message[:300]


def _absent_or_unknown(error: ValidationError) -> tuple[str, ...]:
    """Return the name of a property that is required and not there, or not known, and what is wrong with it."""
    if error.validator == "required":
        return next((name, "is required") for name in error.validator_value if name not in error.instance)
    if error.validator == "additionalProperties" and error.validator_value is False:
        known = error.schema.get("properties", {})
        return next((name, "is not a parameter") for name in error.instance if name not in known)
    return ()


def is_same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _base(schema: Mapping[str, Any], base: str) -> str:
    """Return the address that references in the schema are relative to. Drafts before 2019 name anchors by `$id`."""
    id = schema.get("$id")
    return urljoin(base, id.rstrip("#")) if isinstance(id, str) and not id.startswith("#") else base


def _addresses(schema: Any, base: str = "", level: int = 0) -> Iterator[str]:
    """Yield the addresses of the subschemas with an `$id`, which other parts of the schema may refer to."""
    if isinstance(schema, list):
        for item in schema:
            yield from _addresses(item, base, level + 1)
    elif isinstance(schema, Mapping) and level <= MAX_LEVELS:
        yield (base := _base(schema, base))
        for key, value in schema.items():
            if key in _BY_NAME and isinstance(value, Mapping):
                for named in value.values():
                    yield from _addresses(named, base, level + 2)
            elif key not in _VALUES:
                yield from _addresses(value, base, level + 1)


def _bounded(schema: Any, left_out: list[str], addresses: set[str], base: str = "", level: int = 0) -> Any:
    """Return the schema without what takes unbounded time, and add the keywords that this leaves out.

    References stay that lead to one of the `addresses`; the schema itself has `base`.
    """
    if isinstance(schema, list):
        return [_bounded(item, left_out, addresses, base, level + 1) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if level > MAX_LEVELS:
        left_out.append("")
        return {}
    base = _base(schema, base)
    kept: dict[str, Any] = {}
    for key, value in _in_this_draft(schema).items():
        is_elsewhere = key == "$ref" and urldefrag(urljoin(base, str(value))).url not in addresses
        is_unknown = key == "type" and not _TYPES.issuperset([value] if isinstance(value, str) else value)
        if key in _LEFT_OUT or is_elsewhere or is_unknown:
            left_out.append(key)
        elif key == "$id":
            if isinstance(value, str):
                kept |= {"$anchor": value[1:]} if value.startswith("#") else {"$id": value}
        elif key in _VALUES:
            kept[key] = value
        elif key in _BY_NAME and isinstance(value, Mapping):
            kept[key] = {name: _bounded(one, left_out, addresses, base, level + 2) for name, one in value.items()}
        elif key not in _IGNORED and not (key == "additionalProperties" and "patternProperties" in schema):
            kept[key] = _bounded(value, left_out, addresses, base, level + 1)
    return kept


def _in_this_draft(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with what older drafts and OpenAPI say otherwise as draft 2020-12 says it."""
    found = dict(schema)
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(found.get(name), bool) and found.pop(name) and bound in found:
            found[name] = found[bound]
    if isinstance(found.get("items"), list):
        found["prefixItems"] = found.pop("items")
        found["items"] = found.pop("additionalItems", True)
    if found.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
        if isinstance(found.get("enum"), list):
            found["enum"] = [*found["enum"], None]
    return found


def _relaxed(schema: Any) -> Any:
    """Return the schema without what refuses more, the less the rest of it refuses."""
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _VALUES:
            kept[key] = value
        elif key in _BY_NAME and isinstance(value, Mapping):
            kept[key] = {name: _relaxed(named) for name, named in value.items()}
        elif key not in _NEGATIVE and key != "oneOf":
            kept[key] = _relaxed(value)
    if "oneOf" in schema:
        kept["allOf"] = [*kept.get("allOf", []), {"anyOf": _relaxed(schema["oneOf"])}]
    return kept


def _invalid(field: str, message: str) -> ProtocolError:
    return ProtocolError("invalid_message", f"{field}: {message}", field=field)
