"""Numbered events: their declarations, and their JSON text."""

from bisect import bisect_right
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field

from chat.protocol.encoding import MAX_INT, dumps, encoded_size
from chat.protocol.errors import ProtocolError
from chat.protocol.fields import Count, Declaration, Fields, Id, PositiveCount, Timestamp
from chat.protocol.limits import MAX_EVENT, MAX_TOOL_RESULT


class Event(Declaration):
    """The envelope: what every numbered event has."""

    type: str
    seq: PositiveCount = Field(description="Counts 1, 2, 3 … in a thread, without a gap")
    thread_id: Id
    run_id: Id | None = Field(description="Null for what a person does beside the runs")
    attempt: Count = Field(description="Of the run; 0 before its first claim")
    agent_name: str | None
    timestamp: Timestamp


class RunEvent(Event):
    """An event of a run."""

    run_id: Id
    agent_name: str = Field(description="The run's agent, or the sub-agent that this event is of")


class Terminal(RunEvent):
    """The end of a run: one such event a run, its last, from the run's own agent."""


class AgentEvent(RunEvent):
    """Something that an agent or a sub-agent does."""

    part_id: str | None = Field(
        None, pattern="^[0-9a-f]{8}$", description="Of a sub-agent: the same in every attempt; absent: the run's agent"
    )


class AttachedFile(Declaration):
    """A file that a message has."""

    id: Id
    name: str
    media_type: str
    size: Count = Field(description="Bytes")
    recognised: dict[str, Any] | None = Field(description="What kind of usage or billing file it is")


class MessageCreated(RunEvent):
    """A message of the user, from whichever client."""

    type: Literal["message_created"]
    message_id: Id
    role: Literal["user"]
    content: str
    parent_id: Id | None
    client_msg_id: str | None
    attachments: list[AttachedFile]
    hidden: bool | None = Field(None, description="True: of a thread that is in no list")


class AgentStarted(AgentEvent):
    """The run's agent, or a sub-agent, begins."""

    type: Literal["agent_started"]
    task: str
    status: Literal["started"]
    parent_agent: str | None = Field(description="Null for the run's own agent")
    message_id: Id | None = Field(None, description="The user's message; absent for a sub-agent")


class AgentThinking(AgentEvent):
    """A step of an agent's reasoning."""

    type: Literal["agent_thinking"]
    reasoning: str
    step_number: int | None = None
    total_steps: int | None = None
    thought_id: str | None = Field(None, description="Of a thought that `live_thinking` has shown")
    duration_ms: Count | None = Field(None, description="From its begin to its end, if it was shown while it grew")


class AgentDelta(AgentEvent):
    """The next part of the answer's text."""

    type: Literal["agent_delta"]
    delta: str
    offset: Count | None = Field(
        None, description="Of `delta` in the run's text since its last `run_restarted`, in UTF-16 code units"
    )


class ToolExecuting(AgentEvent):
    """A tool is called."""

    type: Literal["tool_executing"]
    tool_call_id: str
    tool_name: str
    parameters: dict[str, Any]
    reused: bool | None = Field(None, description="True: the tool does not run; the result is an earlier one")


class ToolCompleted(AgentEvent):
    """A tool has returned or raised."""

    type: Literal["tool_completed"]
    tool_call_id: str
    tool_name: str
    result: Any
    success: bool
    error: str | None = None
    error_code: str | None = Field(None, description="Of a failure that the user is to read, or `call_cancelled`")
    duration_ms: Count
    reused: bool | None = Field(None, description="True: the result is that of an earlier attempt")
    truncated: bool | None = Field(None, description="True: `result` is the beginning of the result's JSON text")


class SubagentCompleted(AgentEvent):
    """A sub-agent has ended."""

    type: Literal["subagent_completed"]
    summary: str
    duration_ms: Count


class InputRequested(AgentEvent):
    """The run asks a person."""

    type: Literal["input_requested"]
    request_id: Id
    kind: Literal["form", "approval", "link"]
    message: str
    form: dict[str, Any] | None = Field(alias="schema", description="JSON Schema of the form or of the parameters")
    default: Any = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    parameters: Any = None
    editable: bool | None = None
    decided_by: str = Field(description="`owner` or `group:<name>`")
    four_eyes: bool
    expires_at: Timestamp
    reason: str | None = None
    may_remember: bool | None = Field(None, description="False: an acceptance cannot be remembered for the thread")
    reused: bool | None = None


class Person(Declaration):
    """A user who has decided."""

    user_id: str
    name: str


class InputResolved(AgentEvent):
    """An input request is resolved. It does not change any more."""

    type: Literal["input_resolved"]
    request_id: Id
    status: Literal["accepted", "declined", "expired", "cancelled"]
    content: Any = Field(None, description="Of a form")
    parameters: Any = Field(None, description="Of an approval: as they will run")
    edited: bool | None = None
    reason: str | None = None
    resolved_by: Person | None
    via: str
    reused: bool | None = None


class RunWaiting(RunEvent):
    """The run waits for persons. Only `input_resolved` and an end follow before `run_resumed`."""

    type: Literal["run_waiting"]
    request_ids: list[Id] = Field(description="All that are open")


class RunResumed(RunEvent):
    """The run continues."""

    type: Literal["run_resumed"]
    request_ids: list[Id] = Field(description="Resolved since")
    waited_ms: Count


class RunRestarted(RunEvent):
    """Another attempt: drop what this run said and showed so far."""

    type: Literal["run_restarted"]
    reason: str


class ThreadUpdated(Event):
    """The thread has another title."""

    type: Literal["thread_updated"]
    title: str


class AgentCompleted(Terminal):
    """The run has succeeded."""

    type: Literal["agent_completed"]
    status: Literal["completed"]
    final_response: str = Field(description="The whole text, authoritative")
    result: Any = Field(None, description="Data, where the agent returns any")
    message_id: Id = Field(description="The assistant's message")
    agents_involved: list[str]
    usage: dict[str, Any]
    duration_ms: Count


class AgentFailed(Terminal):
    """The run has failed."""

    type: Literal["agent_failed"]
    status: Literal["failed"]
    error_code: str
    message: str
    recoverable: bool


class AgentCancelled(Terminal):
    """The run was stopped."""

    type: Literal["agent_cancelled"]
    status: Literal["cancelled"]
    message_id: Id | None = Field(None, description="The assistant's message with the text so far, where there is any")
    stopped_by: Literal["administrator"] | None = Field(None, description="Absent if its user stopped it")


AnyEvent: TypeAlias = (
    MessageCreated
    | AgentStarted
    | AgentThinking
    | AgentDelta
    | ToolExecuting
    | ToolCompleted
    | SubagentCompleted
    | InputRequested
    | InputResolved
    | RunWaiting
    | RunResumed
    | RunRestarted
    | ThreadUpdated
    | AgentCompleted
    | AgentFailed
    | AgentCancelled
)
NumberedEvent: TypeAlias = Annotated[AnyEvent, Field(discriminator="type")]

THE_FIVE = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")
_MODELS: dict[str, type[Event]] = {
    name: model for model in get_args(AnyEvent) for name in get_args(model.model_fields["type"].annotation)
}
EVENTS = frozenset(_MODELS)
TERMINAL = frozenset(name for name, model in _MODELS.items() if issubclass(model, Terminal))
ENVELOPE = frozenset(Event.model_fields)
_TIME = ',"timestamp":'


def event(
    type: str,
    *,
    thread_id: str,
    run_id: str | None,
    attempt: int,
    agent_name: str | None,
    timestamp: str,
    fields: Fields,
) -> tuple[str, str]:
    """Return the JSON text of a numbered event in two halves: `head + str(seq) + tail` is the frame.

    Raises ProtocolError too_large over MAX_EVENT bytes; ValueError or TypeError for an unknown type, for fields that
    are no JSON, and for fields named like the envelope's.
    """
    if type not in EVENTS:
        raise ValueError(f"{type} is no event")
    if taken := ENVELOPE & fields.keys():
        raise ValueError(f"{type} fields named like the envelope's: {', '.join(sorted(taken))}")
    head = f'{{"type":"{type}","seq":'
    envelope = _envelope(thread_id, run_id, attempt, agent_name)
    # Field by field: what is only text is encoded in a fifth of the time that a dict of it takes.
    said = "".join([f",{dumps(name)}:{dumps(value)}" for name, value in fields.items()])
    tail = f'{envelope}"{timestamp}"{said}}}'
    if len(head) + len(str(MAX_INT)) + len(tail.encode()) > MAX_EVENT:
        raise ProtocolError("too_large", f"{type} is over {MAX_EVENT} bytes")
    return head, tail


@lru_cache(maxsize=1024)
def _envelope(thread_id: str, run_id: str | None, attempt: int, agent_name: str | None) -> str:
    """Return the part that all frames of a run share, up to the time."""
    return (
        f',"thread_id":{dumps(thread_id)},"run_id":{dumps(run_id)},"attempt":{attempt}'
        f',"agent_name":{dumps(agent_name)}{_TIME}'
    )


def live(
    *,
    thread_id: str,
    run_id: str,
    attempt: int,
    agent_name: str,
    part_id: str | None,
    thought_id: str,
    offset: int,
    delta: str,
) -> str:
    """Return the JSON text of a `live_delta`, or of a `live_thinking` if it has a thought's id.

    `part_id` is that of a sub-agent. `offset` counts UTF-16 code units of the run's text, or of the thought.
    """
    kind, thought = ("live_thinking", f',"thought_id":"{thought_id}"') if thought_id else ("live_delta", "")
    part = "" if part_id is None else f',"part_id":{dumps(part_id)}'
    return (
        f'{{"type":"{kind}"{_envelope(thread_id, run_id, attempt, agent_name)[: -len(_TIME)]}{part}'
        f'{thought},"offset":{offset},"delta":{dumps(delta)}}}'
    )


def cut_result(fields: Fields) -> tuple[dict[str, Any], bool]:
    """Return the fields of a tool_completed, and whether they were cut.

    A `result` over MAX_TOOL_RESULT bytes of JSON becomes the beginning of its text, beside `truncated: true`.
    """
    result = fields.get("result")
    if encoded_size(result) <= MAX_TOOL_RESULT:
        return dict(fields), False
    text = result if isinstance(result, str) else dumps(result)
    text = text[:MAX_TOOL_RESULT]
    fits = bisect_right(range(len(text) + 1), MAX_TOOL_RESULT, key=lambda length: encoded_size(text[:length])) - 1
    return {**fields, "result": text[:fits], "truncated": True}, True
