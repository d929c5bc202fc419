"""Frames of AI SDK's WebSocket: their declarations. Those to the client are built by `frame_text`."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from chat.aisdk.bodies import MAX_MESSAGE_ID, ChatBody, with_messages
from chat.protocol import dumps
from chat.protocol.errors import ProtocolError
from chat.protocol.fields import Count, Fields, Text, validate
from chat.streams.declarations import ClientDeclaration

SESSION_ENDED = "The session of this request has ended."

RequestId: TypeAlias = Annotated[Text, Field(max_length=MAX_MESSAGE_ID)]


class Envelope(ClientDeclaration):
    """The fields of every frame of a client, by which it is authenticated."""

    request_id: RequestId = Field(alias="requestId")
    headers: dict[str, Any] = Field(
        {},
        repr=False,
        description="Those of a request: `Authorization` authenticates, or renews the token; `Idempotency-Key`; "
        "`Netra-Disconnect: cancel` stops the run if the socket is lost, `continue` keeps it after an `abort`",
    )

    def header(self, name: str) -> str | None:
        """Return the value of a header, in any case."""
        values = [value for key, value in self.headers.items() if key.lower() == name.lower()]
        return values[0] if values and isinstance(values[0], str) else None


class SendFrame(Envelope, ChatBody):
    """Ask, as by HTTP. The fields of ChatBody may stand in `body`; those beside it count more."""

    type: Literal["send"]
    body: dict[str, Any] = {}


class ResumeFrame(Envelope):
    """Stream the newest run of a chat again, after the chunk `lastSequence` if given."""

    type: Literal["resume"]
    id: Text
    last_sequence: Annotated[int, Field(ge=-1)] = Field(-1, alias="lastSequence")


class AbortFrame(Envelope):
    """Stop the run of a request; with its header `Netra-Disconnect: continue`, only its chunks."""

    type: Literal["abort"]


AnyFrame: TypeAlias = SendFrame | ResumeFrame | AbortFrame


class Answer(ClientDeclaration):
    """The field of every frame to a client."""

    request_id: str = Field(alias="requestId", description="Empty for a frame that named no request")


class ChunkAnswer(Answer):
    """A chunk of a UI message stream."""

    type: Literal["chunk"]
    sequence: Count = Field(description="Of the request, from 0 without a gap")
    chunk: dict[str, Any]


class StartAnswer(Answer):
    """The chat has a run to resume; its chunks follow."""

    type: Literal["start"]


class EndAnswer(Answer):
    """The end of a request's chunks."""

    type: Literal["end"]


class NoActiveAnswer(Answer):
    """The chat has no run to resume."""

    type: Literal["no-active"]


class ErrorAnswer(Answer):
    """The request is refused, or has ended. The socket stays open, unless the credential is bad."""

    type: Literal["error"]
    error_text: str = Field(alias="errorText")


AnyAnswer: TypeAlias = ChunkAnswer | StartAnswer | EndAnswer | NoActiveAnswer | ErrorAnswer


def frame_text(request_id: str, kind: str, **fields: Any) -> str:
    """Return the JSON text of a frame to the client."""
    return dumps({"type": kind, "requestId": request_id, **fields})


def envelope(data: Fields) -> Envelope:
    """Return the checked envelope of a frame. Raises ProtocolError unknown_type and invalid_message."""
    if data.get("type") not in ("send", "resume", "abort"):
        raise ProtocolError("unknown_type", "A frame is of type send, resume or abort.")
    return validate(Envelope, _given(data))


def client_frame(data: Fields) -> AnyFrame:
    """Return a checked frame. Raises ProtocolError invalid_message."""
    given = _given(data)
    if data["type"] == "resume":
        return validate(ResumeFrame, given)
    if data["type"] == "abort":
        return validate(AbortFrame, given)
    within = given.get("body")
    return with_messages(validate(SendFrame, {**(_given(within) if isinstance(within, dict) else {}), **given}))


def _given(data: Fields) -> dict[str, Any]:
    """Return the fields that are not null."""
    return {name: value for name, value in data.items() if value is not None}
