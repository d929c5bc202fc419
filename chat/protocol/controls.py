"""Control frames: what the server sends beside the numbered events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from chat.protocol.encoding import control, timestamp
from chat.protocol.events import THE_FIVE
from chat.protocol.fields import Count, Declaration, Id, PositiveCount, Timestamp
from chat.protocol.limits import HEARTBEAT_INTERVAL, LIMITS


class Greeting(Declaration):
    """The facts that a client learns when it is connected."""

    connection_id: Id
    user_id: str
    mode: Literal["main", "factory", "isolated", "legacy"]
    agents: list[str] = Field(description="The default first")
    events: list[str] = Field(description="The events that a person must always see")
    heartbeat_interval: int = Field(description="Seconds")
    limits: dict[str, int]
    server_time: Timestamp


class ConnectionEstablished(Declaration):
    """The first frame of an authenticated socket."""

    type: Literal["connection_established"]
    timestamp: Timestamp
    data: Greeting


class AuthRequired(Declaration):
    """The client has `timeout` seconds to send `authenticate`."""

    type: Literal["auth_required"]
    timeout: float


class Authenticated(Declaration):
    """The token of an `authenticate` is good."""

    type: Literal["authenticated"]
    user_id: str
    expires_at: Timestamp


class MessageAccepted(Declaration):
    """A `user_message` or `regenerate` is stored."""

    type: Literal["message_accepted"]
    client_msg_id: str | None
    thread_id: Id
    message_id: Id
    run_id: Id
    seq: PositiveCount = Field(description="Of its `message_created`; after `regenerate` the thread's head")


class StopAccepted(Declaration):
    """The answer to `stop_agent`: the runs that were told to stop, perhaps none."""

    type: Literal["stop_accepted"]
    run_ids: list[Id]


class AnswerAccepted(Declaration):
    """An `answer_input` has resolved its request, or had before."""

    type: Literal["answer_accepted"]
    request_id: Id
    run_id: Id
    thread_id: Id
    status: Literal["accepted", "declined"]
    seq: Count = Field(description="Of its `input_resolved`; 0: no longer in the log")
    repeated: bool | None = Field(None, description="True: the same answer was given before")


class Resumed(Declaration):
    """The events that a `resume` asked for were sent."""

    type: Literal["resumed"]
    thread_id: Id
    after: Count = Field(description="The last seq sent")
    head: Count = Field(description="The last seq there is")
    more: bool = Field(description="True: this thread's live events wait for another `resume`")


class Resync(Declaration):
    """The log cannot answer a `resume`: fetch the thread by REST."""

    type: Literal["resync"]
    thread_id: Id
    head: Count
    first: Count = Field(description="The oldest seq that is kept")


class ThreadDeleted(Declaration):
    """A thread was deleted."""

    type: Literal["thread_deleted"]
    thread_id: Id


class ThreadSeen(Declaration):
    """The user has seen a thread's events up to this one, on this device or another."""

    type: Literal["thread_seen"]
    thread_id: Id
    seen_seq: Count


class TokenExpiring(Declaration):
    """The token ends soon: send `authenticate` with a new one."""

    type: Literal["token_expiring"]
    expires_at: Timestamp


class SessionRevoked(Declaration):
    """The session has ended. The server closes the socket."""

    type: Literal["session_revoked"]


class ActiveRun(Declaration):
    """A queued, running or waiting run."""

    run_id: Id
    thread_id: Id
    agent: str
    status: Literal["queued", "running", "waiting"]
    attempt: Count
    started_at: Timestamp | None
    input_requests: list[Id] | None = Field(None, description="Open ones of a waiting run")


class ActiveRuns(Declaration):
    """The user's active runs."""

    type: Literal["agent_status"]
    runs: list[ActiveRun]


class Pong(Declaration):
    """The answer to `ping` or `heartbeat`."""

    type: Literal["pong", "heartbeat_ack"]
    id: Any = None
    timestamp: Any = None


class ErrorFrame(Declaration):
    """A frame of the client, or its connection, is refused."""

    type: Literal["error"]
    error_code: str
    message: str
    recoverable: bool
    ref: str | int | None = Field(description="The `client_msg_id` or `id` of the frame that this answers")
    field: str | None = Field(None, description="The field that is wrong")
    retry_after: float | None = Field(None, description="Seconds")
    status: str | None = Field(None, description="Of an input request that another answer has resolved")


class ApprovalsChanged(Declaration):
    """Another number of requests of others waits for this user's decision."""

    type: Literal["approvals_changed"]
    open: Count


class LiveText(Declaration):
    """Text that is shown before it is logged."""

    type: str
    thread_id: Id
    run_id: Id
    attempt: PositiveCount = Field(description="Ignore the frame if it is not the run's newest")
    agent_name: str
    part_id: str | None = Field(None, description="Of a sub-agent, as in its events")
    offset: Count
    delta: str


class LiveDelta(LiveText):
    """Text of a run before its `agent_delta`. It may be lost, and may be ignored."""

    type: Literal["live_delta"]
    offset: Count = Field(description="Of `delta` in the run's text, as in `agent_delta`")


class LiveThinking(LiveText):
    """A piece of a thought before its `agent_thinking`, which has all of it. It may be lost, and may be ignored."""

    type: Literal["live_thinking"]
    thought_id: str = Field(description="As in the `agent_thinking` that ends it")
    offset: Count = Field(description="Of `delta` in the thought, in UTF-16 code units")


AnyControl: TypeAlias = (
    ConnectionEstablished
    | AuthRequired
    | Authenticated
    | MessageAccepted
    | StopAccepted
    | AnswerAccepted
    | Resumed
    | Resync
    | ThreadDeleted
    | ThreadSeen
    | TokenExpiring
    | SessionRevoked
    | ActiveRuns
    | Pong
    | ErrorFrame
    | ApprovalsChanged
    | LiveDelta
    | LiveThinking
)
ControlFrame: TypeAlias = Annotated[AnyControl, Field(discriminator="type")]


def connection_established(
    *, connection_id: str, user_id: str, mode: str, agents: Sequence[Any], server_time: datetime
) -> str:
    """Return the first frame of an authenticated socket. `agents` are their names, the default first."""
    now = timestamp(server_time)
    return control(
        "connection_established",
        timestamp=now,
        data={
            "connection_id": connection_id,
            "user_id": user_id,
            "mode": mode,
            "agents": agents,
            "events": THE_FIVE,
            "heartbeat_interval": HEARTBEAT_INTERVAL,
            "limits": LIMITS,
            "server_time": now,
        },
    )
