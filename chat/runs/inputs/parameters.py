"""The check of edited parameters against the JSON schema of their tool."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from jsonschema.validators import extend  # type: ignore[import-untyped]

from chat import protocol
from chat.protocol import MAX_SHOWN_PARAMETERS, ProtocolError

# A regular expression may take exponential time; `format` is only an annotation.
_LEFT_OUT = {"pattern", "patternProperties", "propertyNames", "$dynamicRef", "$schema", "$id"}
MAX_LEVELS = 16  # of a schema; below that anything is accepted
MAX_REFERENCES = 2000  # that one check follows: a few that double each other would take exponential time


def _unique(validator: Any, demanded: Any, values: Any, schema: Any) -> Iterator[ValidationError]:
    """Compare the entries as JSON text: jsonschema compares each with each."""
    if demanded and isinstance(values, list) and len({protocol.dumps(value) for value in values}) < len(values):
        yield ValidationError("must not repeat an entry")


def _validator(schema: Any) -> Any:
    """Return a validator that takes bounded time."""
    left = iter(range(MAX_REFERENCES))
    follow = Draft202012Validator.VALIDATORS["$ref"]

    def reference(*given: Any) -> Iterator[ValidationError]:
        if next(left, None) is None:
            raise OverflowError("too many references")
        yield from follow(*given) or ()

    return extend(Draft202012Validator, {"$ref": reference, "uniqueItems": _unique})(schema)


def check_parameters(schema: Mapping[str, Any] | None, parameters: Any) -> None:
    """Check parameters that a person edited; any object without a schema. Raises invalid_message with the field."""
    if not isinstance(parameters, dict):
        raise _invalid("parameters", "must be an object")
    if protocol.encoded_size(parameters) > MAX_SHOWN_PARAMETERS:
        raise _invalid("parameters", f"must have at most {MAX_SHOWN_PARAMETERS} bytes")
    if schema is None:
        return
    validator = _validator(_bounded(schema, 0))
    try:
        error = next(validator.iter_errors(parameters), None)
    except Exception as broken:  # a foreign tool's schema may be anything
        raise _invalid("parameters", "cannot be checked, so they cannot be edited") from broken
    if error is not None:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        raise _invalid(f"parameters{place}"[:200], error.message[:300])


def _bounded(schema: Any, level: int) -> Any:
    if isinstance(schema, list):
        return [_bounded(item, level + 1) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if level > MAX_LEVELS:
        return {}
    kept = {key: _bounded(value, level + 1) for key, value in schema.items() if key not in _LEFT_OUT}
    if not str(kept.get("$ref", "#")).startswith("#"):
        del kept["$ref"]
    return kept


def _invalid(field: str, message: str) -> ProtocolError:
    return ProtocolError("invalid_message", f"{field}: {message}", field=field)
