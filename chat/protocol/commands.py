"""Frames from clients: their declarations, and JSON text to checked values."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import AfterValidator, AliasChoices, FailFast, Field
from pydantic_core import PydanticCustomError

from chat.protocol import decoding
from chat.protocol.errors import ProtocolError, Ref
from chat.protocol.fields import (
    MAX_ID,
    AgentName,
    ClientId,
    Count,
    Declaration,
    Fields,
    Id,
    PositiveCount,
    Text,
    VisibleText,
    invalid,
    validate,
)
from chat.protocol.limits import MAX_ATTACHMENTS, MAX_HANDSHAKE, MAX_INPUT_REASON, RESUME_LIMIT


def _distinct(ids: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(ids)) < len(ids):
        raise PydanticCustomError("repeated", "must not repeat an entry")
    return ids


class Command(Declaration):
    """A frame from a client. Null is the same as absent, except for the fields in `nullable`."""

    nullable: ClassVar[frozenset[str]] = frozenset()

    type: str
    id: Any = Field(None, description="Repeated as `ref` in the error that answers this frame")
    client_msg_id: Any = Field(None, description="As `id`, and before it")

    @property
    def ref(self) -> Ref:
        """The `ref` of an error about this frame."""
        return ref_of(self.client_msg_id, self.id)


class RegenerateBody(Declaration):
    """The fields of `regenerate` that a REST body has."""

    agent: AgentName | None = Field(None, validation_alias=AliasChoices("agent", "agent_type"))
    client_msg_id: ClientId | None = None


class MessageBody(Declaration):
    """The fields of `user_message`, in a frame and in a REST body."""

    content: VisibleText = Field(validation_alias=AliasChoices("content", "user_request", "message", "text", "input"))
    thread_id: Id | None = Field(None, description="A new one, chosen by the client, creates the thread")
    agent: AgentName | None = Field(
        None, validation_alias=AliasChoices("agent", "agent_type"), description="Default: the thread's"
    )
    client_msg_id: ClientId | None = Field(None, description="A repeat with the same one starts nothing")
    parent_id: Id | None = Field(
        None, description="The message that this one follows; null: none; absent: the end of the thread's queue"
    )
    attachment_ids: Annotated[
        tuple[Id, ...], Field(strict=False, max_length=MAX_ATTACHMENTS), FailFast(), AfterValidator(_distinct)
    ] = ()
    interactive: bool = Field(True, description="False: no person is there; what the run asks is not waited for")

    @property
    def parent_given(self) -> bool:
        """Tell `parent_id: null` (the thread's root) from none (the end of the thread's queue)."""
        return "parent_id" in self.model_fields_set


class UserMessage(MessageBody, Command):
    """Ask an agent."""

    nullable: ClassVar[frozenset[str]] = frozenset({"parent_id"})

    type: Literal["user_message"]


class Regenerate(RegenerateBody, Command):
    """Ask for another answer to the same message."""

    type: Literal["regenerate"]
    message_id: Id = Field(description="An answer")


class StopAgent(Command):
    """Stop a run, the runs of a thread, or, with neither id, every active run of the user."""

    type: Literal["stop_agent"]
    run_id: Id | None = None
    thread_id: Id | None = None


class AnswerBody(Declaration):
    """The fields of `answer_input` that a REST body has."""

    action: Literal["accept", "decline"]
    content: Any = Field(None, description="Of a form: its values, or the bare value where one property was asked for")
    parameters: Any = Field(None, description="Of an approval: in place of all that were proposed")
    reason: Annotated[str, Field(max_length=MAX_INPUT_REASON)] | None = None
    remember: Literal["thread"] | None = Field(None, description="Accept further calls of the tool in this thread")


class AnswerInput(AnswerBody, Command):
    """Answer an input request."""

    type: Literal["answer_input"]
    request_id: Id


class Resume(Command):
    """Read the events of a thread after a number."""

    type: Literal["resume"]
    thread_id: Id
    after: Count = Field(description="The last seq that the client has; 0: from the start")
    limit: Annotated[PositiveCount, AfterValidator(lambda limit: min(limit, RESUME_LIMIT))] = RESUME_LIMIT


class Ping(Command):
    """Ask for a `pong` or a `heartbeat_ack` with the same `id` and `timestamp`."""

    type: Literal["ping", "heartbeat"]
    timestamp: Any = None

    @property
    def reply_type(self) -> Literal["pong", "heartbeat_ack"]:
        """The type of the answer."""
        return "pong" if self.type == "ping" else "heartbeat_ack"


class Ack(Command):
    """Tell how many frames this socket has received."""

    type: Literal["ack"]
    received: Count


class AgentStatus(Command):
    """Ask for the user's active runs."""

    type: Literal["agent_status"]


class Authenticate(Command):
    """Sign in, or bring a new token for the same user."""

    type: Literal["authenticate"]
    token: Annotated[Text, Field(max_length=MAX_HANDSHAKE)] = Field(repr=False)


AnyCommand: TypeAlias = (
    UserMessage | Regenerate | StopAgent | AnswerInput | Resume | Ping | Ack | AgentStatus | Authenticate
)
ClientFrame: TypeAlias = Annotated[AnyCommand, Field(discriminator="type")]
COMMANDS: dict[str, type[AnyCommand]] = {
    name: model for model in get_args(AnyCommand) for name in get_args(model.model_fields["type"].annotation)
}
OLDER_TYPES: dict[str, str] = {
    "start_agent": "user_message",
    "chat": "user_message",
    "chat_message": "user_message",
    "message": "user_message",
    "execute_agent": "user_message",
    "agent_execute": "user_message",
    "agent_request": "user_message",
    "cancel_run": "stop_agent",
    "subscribe": "resume",
    "get_agent_status": "agent_status",
}


def parse(text: str) -> AnyCommand:
    """Read a client's text frame. Every ProtocolError carries the frame's `ref` where one could be read."""
    frame = decoding.decode_frame(text)
    ref = None
    try:
        if not isinstance(frame, dict):
            decoding.check(frame)
            raise ProtocolError("invalid_message", "A frame must be a JSON object")
        fields = _merge(frame)
        ref = ref_of(fields.get("client_msg_id"), fields.get("id"))
        decoding.check(frame)
        return _command(frame, fields)
    except ProtocolError as error:
        error.ref = ref
        raise


def user_message_fields(data: Fields) -> UserMessage:
    """Return the fields of a `user_message` from a REST body. Raises ProtocolError."""
    return validate(UserMessage, _without_nulls(UserMessage, {**data, "type": "user_message"}))


def regenerate_fields(data: Fields) -> Regenerate:
    """Return the fields of a `regenerate` from a REST body and its path. Raises ProtocolError."""
    return validate(Regenerate, _without_nulls(Regenerate, {**data, "type": "regenerate"}))


def answer_fields(data: Fields) -> AnswerInput:
    """Return the fields of an `answer_input` from a REST body and its path. Raises ProtocolError."""
    return validate(AnswerInput, _without_nulls(AnswerInput, {**data, "type": "answer_input"}))


def ref_of(*ids: object) -> Ref:
    """Return the first of these ids of a frame that can be repeated in an error."""
    for id in ids:
        if isinstance(id, str) and 0 < len(id) <= MAX_ID and decoding.is_sound(id):
            return id
        if isinstance(id, int) and not isinstance(id, bool):
            return id
    return None


def _command(frame: dict[str, Any], fields: dict[str, Any]) -> AnyCommand:
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise invalid("type", "must be a text")
    kind = OLDER_TYPES.get(kind, kind)
    model = COMMANDS.get(kind)
    if model is None:
        raise ProtocolError("unknown_type", "Unknown frame type")
    if model is not Ping:
        for name in ("data", "payload"):
            if not isinstance(frame.get(name), dict | None):
                raise invalid(name, "must be an object")
    return validate(model, _without_nulls(model, {**fields, "type": kind}))


def _merge(frame: dict[str, Any]) -> dict[str, Any]:
    """Merge the fields of a frame wherever they stand: `data`, over it `payload`, over both the top level.

    A null hides no value below it: some clients write every field that they know.
    """
    layers = [layer for name in ("data", "payload") if isinstance(layer := frame.get(name), dict)]
    if not layers:
        return frame
    merged: dict[str, Any] = {}
    for layer in (*layers, frame):
        merged |= {name: value for name, value in layer.items() if value is not None or name not in merged}
    return merged


def _without_nulls(model: type[Command], fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None or name in model.nullable}
