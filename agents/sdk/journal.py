"""Requests, steps and the saved state of a run, as a turn reaches them. Pure."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.sdk.errors import AgentError

ACCEPTED, DECLINED, EXPIRED = "accepted", "declined", "expired"


class Declined(AgentError):
    """Error of a request that a person declined; `reason` is theirs."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"Declined: {reason}" if reason else "Declined.", "input_declined")
        self.reason = reason


class Expired(AgentError):
    """Error of a request without an answer in time."""

    def __init__(self) -> None:
        super().__init__("Nobody answered in time.", "input_expired")


class Waiting(Exception):
    """A turn in a test has no further answer; `requests` are those that are open."""

    def __init__(self, requests: list["Request"]) -> None:
        super().__init__("; ".join(request.message for request in requests))
        self.requests = requests


@dataclass(frozen=True, slots=True)
class Request:
    """A question to a person. The fields are those of the wire's `input_requested`, and `expires` in seconds.

    `id`, `path` and `agent_name` are empty until it is put. `key` replaces all that is shown in its identity.
    `remember`: an acceptance may be remembered for the thread.
    """

    kind: str
    message: str
    schema: dict[str, Any] | None = None
    default: dict[str, Any] | None = None
    key: str | None = None
    expires: float | None = None
    decided_by: str = "owner"
    four_eyes: bool = False
    tool_name: str = ""
    tool_call_id: str = ""
    parameters: dict[str, Any] | None = None
    definition_hash: str = ""
    editable: bool = False
    reason: str = ""
    remember: bool = True
    id: str = ""
    path: tuple[str, ...] = ()
    agent_name: str = ""

    def event(self) -> dict[str, Any]:
        """Return the fields of `input_requested` that the agent knows."""
        optional: dict[str, Any] = {"default": self.default, "reason": self.reason or None}
        if self.tool_name:
            optional |= {"tool_call_id": self.tool_call_id, "tool_name": self.tool_name}
        if self.kind == "approval":
            optional |= {"parameters": self.parameters, "editable": self.editable}
            optional["may_remember"] = None if self.remember else False
        return {
            "request_id": self.id,
            "kind": self.kind,
            "message": self.message,
            "schema": self.schema,
            **{name: value for name, value in optional.items() if value is not None},
            "decided_by": self.decided_by,
            "four_eyes": self.four_eyes,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """Resolution of a request. `content` is the answer to a form, `parameters` are those to run with."""

    status: str
    content: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    edited: bool = False
    reason: str = ""
    by: str = ""


@dataclass(slots=True)
class Count:
    """Number of occurrences below a path: it distinguishes calls and steps with equal content.

    `again` are those that were under way, in the order in which they are repeated.
    """

    path: tuple[str, ...]
    key: str
    number: int
    again: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Kept:
    """Values that the run has kept: steps by key, the state, and the counts at it.

    `asked` are the ids of the requests of earlier executions. `declined` are the reasons by the key of a declined call:
    equal calls are not asked for again.
    """

    steps: dict[str, Any] = field(default_factory=dict)
    saved: Any = None
    previous: Any = None
    counts: list[Count] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    declined: dict[str, str] = field(default_factory=dict)


class Journal(Protocol):
    """The place where the requests, steps and states of a run are kept."""

    kept: Kept

    async def ask(self, request: Request, held: bool) -> Answer:
        """Return how the request is resolved. The run is suspended until then, unless `held`: then it keeps its slot.

        Shows the request first, and an earlier resolution again.
        """

    def working(self) -> AbstractContextManager[None]:
        """Keep the run from being suspended: a call or a step is under way."""

    async def keep_step(self, key: str, result: Any) -> None:
        """Record the result of a step. Raises AgentError too_many_steps or too_large."""

    async def save(self, state: Any, counts: list[Count]) -> None:
        """Store the newest state. It covers all that was emitted before. Raises AgentError too_large."""

    def said(self) -> str | None:
        """Return the run's text since its last restart as it is logged; None if the turn keeps it itself."""
