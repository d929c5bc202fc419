"""Requests of AI SDK clients: their declarations, and what they ask for."""

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import Discriminator, Field, Tag

from chat.dialects.aisdk import ASK_USER
from chat.protocol.fields import AgentName, Fields, Text, invalid, validate
from chat.streams.declarations import ClientDeclaration

MAX_MESSAGE_ID = 128  # characters of the id that the client gives its message


class TextPart(ClientDeclaration):
    """A text."""

    type: Literal["text"]
    text: str


class FilePart(ClientDeclaration):
    """A file: in a data URL, or an attachment of Netra by the URL of its content."""

    type: Literal["file"]
    url: str
    media_type: str = Field("", alias="mediaType")
    filename: str | None = None


class Approval(ClientDeclaration):
    """A person's answer to a request for approval."""

    id: str
    approved: bool | None = None
    reason: str | None = None


class ToolPart(ClientDeclaration):
    """A call, with the answer to its request or the output that the person gave."""

    type: str
    tool_call_id: str = Field(alias="toolCallId")
    tool_name: str | None = Field(None, alias="toolName")
    state: str
    approval: Approval | None = None
    output: Any = None
    error_text: str | None = Field(None, alias="errorText")

    @property
    def name(self) -> str:
        """The name of the tool, which a part of a declared tool has in its type."""
        return self.tool_name or self.type.removeprefix("tool-")


class OtherPart(ClientDeclaration):
    """A part that no request is read from."""

    type: str


def _kind(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "file"):
        return str(kind)
    is_tool = isinstance(kind, str) and (kind == "dynamic-tool" or kind.startswith("tool-"))
    # A part that could be no answer must not keep the whole chat from being sent.
    return "tool" if is_tool and {"toolCallId", "state"} <= part.keys() else "other"


def _any_of(schema: dict[str, Any]) -> None:
    """Correct the JSON Schema: a text is a part of another kind, too."""
    schema["anyOf"] = schema.pop("oneOf")


Part: TypeAlias = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[FilePart, Tag("file")]
    | Annotated[ToolPart, Tag("tool")]
    | Annotated[OtherPart, Tag("other")],
    Discriminator(_kind),
    Field(json_schema_extra=_any_of),
]


class UIMessage(ClientDeclaration):
    """A message of the client."""

    id: Annotated[Text, Field(max_length=MAX_MESSAGE_ID)]
    role: Literal["system", "user", "assistant"]
    parts: list[Part]

    @property
    def text(self) -> str:
        """The text of all its parts."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def files(self) -> list[FilePart]:
        """Its files."""
        return [part for part in self.parts if isinstance(part, FilePart)]

    @property
    def answers(self) -> list[ToolPart]:
        """The parts with an answer of the person to what the run asked."""
        return [part for part in self.parts if isinstance(part, ToolPart) and is_answer(part)]


def is_answer(part: ToolPart) -> bool:
    """Tell if the part answers a request for approval, or a form."""
    if part.approval is not None and part.approval.approved is not None:
        return part.state == "approval-responded"
    return part.name == ASK_USER and part.state in ("output-available", "output-error")


class ChatBody(ClientDeclaration):
    """The body of a request for an answer."""

    id: Text = Field(description="Any text, the name of a thread of the user; a UUID is the thread's id")
    messages: list[UIMessage] | None = Field(None, description="The whole conversation; its last message counts")
    message: UIMessage | None = Field(None, description="In place of `messages`")
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = Field(
        None, alias="messageId", description="Of the edited message, or of one to answer again"
    )
    agent: AgentName | None = None

    @property
    def before_and_last(self) -> tuple[list[UIMessage], UIMessage]:
        """The messages before the last one, and the last one.

        For another answer, the last one is the user's before the answer `message_id`, or before the last answer.
        """
        if self.message is not None:
            return [], self.message
        messages = self.messages or []
        if self.trigger == "regenerate-message":
            ids = [one.id for one in messages]
            asked = messages[: ids.index(self.message_id) + 1] if self.message_id in ids else messages
            users = [at for at, one in enumerate(asked) if one.role == "user"]
            messages = messages[: users[-1] + 1] if users else messages
        return messages[:-1], messages[-1]


_Body = TypeVar("_Body", bound=ChatBody)


def chat_body(data: Fields) -> ChatBody:
    """Return a checked body. Raises ProtocolError invalid_message."""
    return with_messages(validate(ChatBody, {name: value for name, value in data.items() if value is not None}))


def with_messages(body: _Body) -> _Body:
    """Return the body. Raises ProtocolError invalid_message if it has no message."""
    if not body.messages and body.message is None:
        raise invalid("messages", "is required")
    return body
