"""Field types that the declarations share, and what a client reads about a value that they refuse."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from chat.protocol.errors import ProtocolError

MAX_ID = 200  # characters of an id that a client chooses
MAX_AGENT = 64  # characters of an agent's name

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Unicode's Default_Ignorable_Code_Point, and three that are blank beside it: the empty Braille pattern (U+2800), the
# annotation marks (U+FFF9 to U+FFFB) and the null notehead (U+1D159).
_BLANK = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Controls, line and paragraph separators, spaces.
_EMPTY = frozenset({"Cc", "Zl", "Zp", "Zs"})

Fields: TypeAlias = Mapping[str, Any]


class Declaration(BaseModel):
    """The base of all declarations. Types are strict: 5 is not "5". Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True, frozen=True, loc_by_alias=False, hide_input_in_errors=True, protected_namespaces=()
    )


Model = TypeVar("Model", bound=Declaration)


def visible(text: str) -> bool:
    """Return whether `text` shows anything: more than spaces, controls, and letters without width or ink."""
    return any(unicodedata.category(letter) not in _EMPTY and not _BLANK.match(letter) for letter in text)


@dataclass(frozen=True, slots=True)
class Otherwise:
    """Annotation: the message for every value that the annotated type refuses, after the name of the field."""

    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Replace the errors of the annotated type."""
        return core_schema.custom_error_schema(handler(source), "otherwise", custom_error_message=self.message)


def _uuid(value: Any) -> Any:
    return UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else value


def _visible(text: str) -> str:
    if not visible(text):
        raise PydanticCustomError("blank", "must not be empty")
    return text


Id: TypeAlias = Annotated[UUID, BeforeValidator(_uuid), Otherwise("must be a UUID")]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
VisibleText: TypeAlias = Annotated[Text, AfterValidator(_visible)]
ClientId: TypeAlias = Annotated[Text, Field(max_length=MAX_ID)]
AgentName: TypeAlias = Annotated[Text, Field(max_length=MAX_AGENT)]
Count: TypeAlias = Annotated[int, Field(ge=0), Otherwise("must be a whole number, at least 0")]
PositiveCount: TypeAlias = Annotated[int, Field(ge=1), Otherwise("must be a whole number, at least 1")]
Timestamp: TypeAlias = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", json_schema_extra={"format": "date-time"})
]

# By pydantic's types of errors; the name of the field stands before.
_MESSAGES = {
    "missing": "is required",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_long": "must have at most {max_length} entries",
}


def validate(model: type[Model], fields: Fields) -> Model:
    """Return an instance made of a client's fields. Raises ProtocolError invalid_message with the first bad field."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None


def invalid(field: str, message: str) -> ProtocolError:
    """Return the error about a field; `message` follows its name."""
    return ProtocolError("invalid_message", f"{field} {message}", field=field)


def _refusal(error: ValidationError) -> ProtocolError:
    first = error.errors(include_url=False, include_input=False)[0]
    # An entry of a list has the name of the list.
    field = ".".join(takewhile(lambda part: isinstance(part, str), first["loc"]))  # type: ignore[arg-type]
    message = _MESSAGES.get(first["type"])
    return invalid(field, message.format(**first.get("ctx", {})) if message else first["msg"])
