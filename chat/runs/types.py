"""Values that pass between the write service, the consumers and the worker."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from chat.models import Attachment
from chat.protocol import UserMessage
from chat.runs.event_log import Body

History = tuple[list[tuple[str, str]], list[Attachment]]


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A started run; for a repeated client_msg_id, the existing one.

    `created` is (seq, frame) of `message_created` if this call wrote it.
    """

    thread_id: uuid.UUID
    message_id: uuid.UUID
    run_id: uuid.UUID
    seq: int
    client_msg_id: str | None
    repeated: bool = False
    created: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Claims of a client of another protocol beside its message. They grant nothing and are shown as nobody's turn.

    `client_id` is the client's id of the message. `context` are (role, text) of what the client claims stands before
    it. A new thread is `hidden` if so asked; a hidden one becomes visible with a further message that is not.
    `digest` replaces the comparison of a repeated client_msg_id with the first request: it is of all that the client
    sent.
    """

    client_id: str | None = None
    context: tuple[tuple[str, str], ...] = ()
    hidden: bool = False
    digest: str = ""


NO_ORIGIN = Origin()


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run as a worker claimed it."""

    run_id: str
    thread_id: str
    message_id: str
    user_id: int
    agent: str
    text: str
    attempt: int
    fencing_token: int
    restarted: bool
    alone: bool  # the message is the whole history and has no attachments
    seq: int = 0  # of `agent_started`
    last: bool = False  # last attempt after lost workers: the run may crash this worker, too
    usage: dict[str, Any] = field(default_factory=dict)  # of earlier attempts
    waited: float = 0.0  # seconds from the message to this claim
    since: float = field(default_factory=time.monotonic)  # time.monotonic() at which the claim began
    continues: bool = False  # the attempt goes on after it waited for a person
    interactive: bool = True  # a person is there to answer
    has_previous: bool = False  # the run of the answer before it has saved a state, or may have done so
    assistant_version: int | None = None  # of an assistant
    path: str = ""  # of its message
    context: tuple[tuple[str, str], ...] = ()  # what the client claims beside the message
    language: str = ""  # of the user; empty: not known


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of earlier executions of a run.

    `error` and `code` are of one that failed in this attempt, before the run waited. `starts` counts its real starts.
    """

    completed: bool = False
    result: Any = None
    error: str | None = None
    code: str | None = None
    starts: int = 0


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of an attempt: the run ends, or is queued again after `delay` seconds.

    `answer` (with `message_id`) becomes the assistant's message, `title` the title of a thread that has none of its
    own. `usage` is the sum of all attempts. `refund` does not count the attempt of a worker that shuts down.
    """

    status: str
    answer: str | None = None
    message_id: uuid.UUID | None = None
    title: str = ""
    error_code: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    refund: bool = False


@dataclass(slots=True)
class RunBatch:
    """The events of one run in one commit, in order, and its outcome if it ends here."""

    run: ClaimedRun
    events: list[Body] = field(default_factory=list)
    end: RunOutcome | None = None


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A message from a user. Without a thread_id it goes to `fresh_thread`, or to a new thread."""

    user_id: int
    message: UserMessage
    fresh_thread: uuid.UUID | None = None
    agents: frozenset[str] = frozenset()  # the only ones that exist for the request; empty: all
    origin: Origin = NO_ORIGIN
    language: str = ""  # of the page that asks


AnyId = uuid.UUID | str
