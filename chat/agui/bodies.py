"""Requests of AG-UI clients: their declarations."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from chat.protocol.fields import Fields, Text, invalid, validate
from chat.streams.declarations import ClientDeclaration

MAX_MESSAGE_ID = 128  # characters of the id that the client gives its message


class TextPart(ClientDeclaration):
    """A text."""

    type: Literal["text"]
    text: str


class Source(ClientDeclaration):
    """Place of a part's bytes: `value` as Base64, or the provider that `value` is an id of."""

    type: str
    value: str
    provider: str | None = None
    mime_type: str | None = Field(None, alias="mimeType")


class MediaPart(ClientDeclaration):
    """A document, image, audio or video."""

    type: str
    source: Source | None = None
    filename: str | None = None
    metadata: Any = None

    @property
    def name(self) -> str | None:
        """The name of the file."""
        given = self.metadata.get("filename") if isinstance(self.metadata, dict) else None
        return self.filename or (given if isinstance(given, str) else None)


def _kind(part: Any) -> str:
    return "text" if isinstance(part, dict) and part.get("type") == "text" else "media"


Part: TypeAlias = Annotated[Annotated[TextPart, Tag("text")] | Annotated[MediaPart, Tag("media")], Discriminator(_kind)]


class SentMessage(ClientDeclaration):
    """A message of the client."""

    id: Annotated[Text, Field(max_length=MAX_MESSAGE_ID)]
    role: str
    content: Any = None


class UserContent(ClientDeclaration):
    """The content of the user's message that counts."""

    content: list[Part]

    @property
    def text(self) -> str:
        """The text of all its parts."""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def media(self) -> list[MediaPart]:
        """Its parts that are no text."""
        return [one for one in self.content if isinstance(one, MediaPart)]


class ContextEntry(ClientDeclaration):
    """A named piece of information for the agent."""

    description: str
    value: str


class ResumeEntry(ClientDeclaration):
    """The answer to an interrupt."""

    interrupt_id: str = Field(alias="interruptId")
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunAgentInput(ClientDeclaration):
    """The body of a request for a run. `tools` and `state` have no effect."""

    thread_id: Text = Field(alias="threadId", description="Any text, the name of a thread of the user, or its UUID")
    run_id: Text = Field(alias="runId", description="A known one is streamed again")
    messages: list[SentMessage] = Field([], description="The whole conversation; its last message counts")
    context: list[ContextEntry] = []
    forwarded_props: Any = Field(None, alias="forwardedProps", description="`netra.attach`: true for the newest run")
    resume: list[ResumeEntry] = Field([], description="Answers to all interrupts of the run that waits")

    @property
    def attaches(self) -> bool:
        """Tell if the newest run of the thread is wanted."""
        props = self.forwarded_props.get("netra") if isinstance(self.forwarded_props, dict) else None
        return isinstance(props, dict) and props.get("attach") is True


class StopBody(ClientDeclaration):
    """The body of a request to stop: one run, or all of the thread."""

    thread_id: Text = Field(alias="threadId")
    run_id: Text | None = Field(None, alias="runId")


def run_input(data: Fields) -> RunAgentInput:
    """Return a checked body. Raises ProtocolError invalid_message."""
    return validate(RunAgentInput, _without_nulls(data))


def stop_body(data: Fields) -> StopBody:
    """Return a checked body. Raises ProtocolError invalid_message."""
    return validate(StopBody, _without_nulls(data))


def user_content(message: SentMessage) -> UserContent:
    """Return the checked content of the user's message. Raises ProtocolError invalid_message."""
    if message.role != "user":
        raise invalid("messages", "must end with a message of the user")
    text = message.content
    return validate(UserContent, {"content": [{"type": "text", "text": text}] if isinstance(text, str) else text})


def text_of(message: SentMessage) -> str:
    """Return the text of a message of the history."""
    if isinstance(message.content, str):
        return message.content
    parts = message.content if isinstance(message.content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))


def _without_nulls(data: Fields) -> Fields:
    return {name: value for name, value in data.items() if value is not None}
