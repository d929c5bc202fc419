"""Values of input requests that pass between the worker, the API and the write service."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class NewInput:
    """A request that a run puts to a person; the fields are those of `InputRequest`."""

    id: uuid.UUID
    kind: str
    path: tuple[str, ...]
    agent_name: str
    message: str
    expires_at: datetime
    schema: dict[str, Any] | None = None
    default: dict[str, Any] | None = None
    tool_name: str = ""
    tool_call_id: str = ""
    parameters: dict[str, Any] | None = None
    definition_hash: str = ""
    editable: bool = False
    decided_by: str = "owner"
    four_eyes: bool = False
    reason: str = ""
    remember: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a person: `action` is accept or decline; `parameters` replace the proposed ones as a whole."""

    request_id: uuid.UUID
    action: str
    content: Any = None
    parameters: Any = None
    reason: str = ""
    remember: bool = False


@dataclass(frozen=True, slots=True)
class Decider:
    """The authenticated person who answers, and how. `is_staff`: in the admin, with the permission for any request."""

    user_id: int
    via: str
    session_id: uuid.UUID | None = None
    address: str | None = None
    is_staff: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """The values that resolve a request."""

    status: str
    via: str
    action: str = ""
    content: dict[str, Any] | None = None
    edited_parameters: dict[str, Any] | None = None
    comment: str = ""
    by: Decider | None = None


@dataclass(frozen=True, slots=True)
class AnsweredInput:
    """The request that an answer resolved, or had resolved before. `seq` is the number of its `input_resolved`."""

    request_id: uuid.UUID
    run_id: uuid.UUID
    thread_id: uuid.UUID
    status: str
    seq: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """A request of a run as its agent gets it back. `parameters` are those that were accepted.

    `resolved` has the fields of its `input_resolved`; None while it is open.
    """

    id: str
    status: str
    kind: str
    tool_name: str = ""
    content: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    edited: bool = False
    comment: str = ""
    by: str = ""
    expires_at: str = ""
    resolved: dict[str, Any] | None = None
