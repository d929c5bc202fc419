"""Names and JSON schemas of foreign tools, rewritten to what every model provider accepts. Pure: standard library only.

One name or schema that a provider refuses fails the whole request, with all other tools in it.
"""

import hashlib
import json
import math
import re
from typing import Any

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")

_MAX_SCHEMA_CHARACTERS = 20_000  # of one schema: 100 tools of that size still fit a context window of a million tokens
_MAX_DEPTHS = (16, 8, 5, 3, 2)  # levels of a schema, tried in this order until it is short enough
_MAX_DESCRIPTION = 1_000  # characters of one description in a schema
_SAFE_NUMBER = 2**53  # larger bounds, e.g. those of uint64, are no integers for some JSON parsers

_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_CHOICES = ("anyOf", "oneOf", "allOf")


def safe_name(name: str, taken: frozenset[str] = frozenset()) -> str:
    """Return the name if every provider accepts it and it is not in `taken`, else a deterministic derivation.

    A derived name ends in a hash of the full name, so that two names with the same beginning stay distinct.
    """
    return name if NAME.fullmatch(name) and name not in taken else _derived(name)


def _derived(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^a-zA-Z0-9_-]+', '_', name)[:55].rstrip('_')}_{digest}"


def safe_schema(schema: Any) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Return a tool's input schema as providers accept it, and its renamed properties: new name -> the tool's name.

    References are resolved, alternatives of the whole input are merged into one object, and keywords without a valid
    value are dropped: a dropped keyword only widens the schema. Returns None if the input is no object, or the schema
    is too long at every depth.
    """
    for depth in _MAX_DEPTHS:
        cleaner = _Cleaner(schema, depth)
        found = cleaner.whole()
        if found is None or len(json.dumps(found)) <= _MAX_SCHEMA_CHARACTERS:
            return None if found is None else (found, cleaner.renamed)
    return None


def restored(value: Any, renamed: dict[str, str]) -> Any:
    """Return arguments with the tool's own property names, at every depth."""
    if isinstance(value, dict):
        return {renamed.get(key, key): restored(inner, renamed) for key, inner in value.items()}
    if isinstance(value, list):
        return [restored(inner, renamed) for inner in value]
    return value


class _Cleaner:
    """One pass over a schema, down to `depth` levels."""

    def __init__(self, root: Any, depth: int) -> None:
        self.root = root
        self.depth = depth
        self.budget = 20_000  # schemas that may be visited: resolved references multiply
        self.renamed: dict[str, str] = {}

    def whole(self) -> dict[str, Any] | None:
        if self.root is not None and not isinstance(self.root, dict | bool):
            return None
        merged = self._object(self.root if isinstance(self.root, dict) else {}, ())
        if merged is None:
            return None
        properties, required = merged
        found: dict[str, Any] = {"type": "object", "properties": properties}
        if names := [name for name in properties if name in required]:
            found["required"] = names
        if isinstance(self.root, dict) and self.root.get("additionalProperties") is False and properties:
            # With alternatives it would forbid what these define in drafts that know no unevaluatedProperties.
            found["additionalProperties"] = False
        return found

    def _object(self, schema: dict[str, Any], seen: tuple[str, ...]) -> tuple[dict[str, Any], set[str]] | None:
        """Return the properties and the required names of all alternatives; None for a schema of no object."""
        kinds = schema.get("type", "object")
        if "object" not in (kinds if isinstance(kinds, list) else [kinds]) and kinds is not None:
            return None
        own = self._schema({"properties": schema.get("properties"), "required": schema.get("required")}, 1, seen) or {}
        properties: dict[str, Any] = own.get("properties", {})
        required = set(own.get("required", ()))
        branches = [("allOf", self._target(schema["$ref"], seen))] if "$ref" in schema else []
        branches += [(key, (inner, seen)) for key in _CHOICES for inner in _list(schema.get(key))]
        alternatives: dict[str, list[set[str]]] = {}
        for key, target in branches:
            inner = target[0] if target else None
            if not isinstance(inner, dict) or len(seen) > self.depth:
                continue
            found = self._object(inner, (*target[1], "") if target else seen)
            if found is None:
                continue
            for name, value in found[0].items():
                properties[name] = _either(properties[name], value) if name in properties else value
            if key == "allOf":
                required |= found[1]
            else:
                alternatives.setdefault(key, []).append(found[1])
        for names in alternatives.values():
            required |= set.intersection(*names)
        return properties, required

    def _target(self, reference: Any, seen: tuple[str, ...]) -> tuple[Any, tuple[str, ...]] | None:
        """Return the target of a local reference; None for a remote, broken or recursive one."""
        if not isinstance(reference, str) or reference in seen or not reference.startswith("#"):
            return None
        found = self.root
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found, (*seen, reference)

    def _schema(self, schema: Any, level: int, seen: tuple[str, ...]) -> dict[str, Any] | None:
        """Return a schema below the top level; None if no value fits it."""
        self.budget -= 1
        if schema is False:
            return None
        if not isinstance(schema, dict) or level > self.depth or self.budget < 0:
            return {}
        if "$ref" in schema:
            target = self._target(schema["$ref"], seen)
            found = self._schema(target[0], level, target[1]) if target else {}
            beside = self._schema({key: value for key, value in schema.items() if key != "$ref"}, level, seen)
            return None if found is None or beside is None else found | beside
        found = self._plain(schema)
        for key in _CHOICES:
            branches = [self._schema(inner, level + 1, seen) for inner in _list(schema.get(key))]
            if kept := [branch for branch in branches if branch is not None]:
                found[key] = kept
        self._add_members(found, schema, level, seen)
        return found

    def _plain(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the keywords with valid values that hold no schema."""
        found: dict[str, Any] = {}
        kinds = [kind for kind in _list(schema.get("type")) if isinstance(kind, str) and kind in _TYPES]
        if kinds:
            found["type"] = kinds[0] if len(kinds) == 1 else list(dict.fromkeys(kinds))
        for key in ("title", "description", "format"):
            if isinstance(text := schema.get(key), str) and text:
                found[key] = text[:_MAX_DESCRIPTION]
        if isinstance(pattern := schema.get("pattern"), str) and _compiles(pattern):
            found["pattern"] = pattern
        for key in _BOUNDS:
            bound: Any = schema.get(key)
            if _number(bound) and (key != "multipleOf" or bound > 0):
                found[key] = bound
        for key in _COUNTS:
            if type(count := schema.get(key)) is int and 0 <= count < _SAFE_NUMBER:
                found[key] = count
        if isinstance(schema.get("enum"), list):
            values = [value for value in schema["enum"] if not kinds or any(_is(value, kind) for kind in kinds)]
            if values and _json(values):
                found["enum"] = [value for at, value in enumerate(values) if not _is_in(value, values[:at])]
        for key in ("const", "default"):
            if key in schema and _json(schema[key]):
                found[key] = schema[key]
        return found

    def _add_members(self, found: dict[str, Any], schema: dict[str, Any], level: int, seen: tuple[str, ...]) -> None:
        if isinstance(members := schema.get("properties"), dict):
            found["properties"] = {}
            for name, inner in members.items():
                if (member := self._schema(inner, level + 1, seen)) is not None:
                    found["properties"][self._key(name)] = member
            required = [self._key(name) for name in _list(schema.get("required")) if isinstance(name, str)]
            if required := [name for name in dict.fromkeys(required) if name in found["properties"]]:
                found["required"] = required
        if isinstance(others := schema.get("additionalProperties"), bool):
            found["additionalProperties"] = others
        elif isinstance(others, dict):
            found["additionalProperties"] = self._schema(others, level + 1, seen) or {}
        items = schema.get("items")
        if isinstance(items, list) or (items is None and isinstance(schema.get("prefixItems"), list)):
            # Providers do not support tuples.
            each = [self._schema(inner, level + 1, seen) for inner in items or schema.get("prefixItems") or []]
            choices = [inner for inner in each if inner is not None]
            found["items"] = {"anyOf": choices} if choices else {}
        elif isinstance(items, dict):
            found["items"] = self._schema(items, level + 1, seen) or {}
        elif "array" in _list(found.get("type")):
            found["items"] = {}

    def _key(self, name: str) -> str:
        if _KEY.fullmatch(name):
            return name
        self.renamed[derived := _derived(name)] = name
        return derived


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _SAFE_NUMBER


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "array": list, "object": dict}[kind])


def _is_in(value: Any, others: list[Any]) -> bool:
    return any(type(value) is type(other) and value == other for other in others)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _json(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict | list):
        return all(map(_json, value.values() if isinstance(value, dict) else value))
    return True


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge a property that two alternatives define, e.g. the tag of a union."""
    if one == other:
        return one
    known = one["anyOf"] if set(one) == {"anyOf"} else [one]
    return {"anyOf": known if other in known else [*known, other]}
