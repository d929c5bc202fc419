"""Messages of clients that send their whole history, with ids: only the last message of the user is new."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from chat import protocol, runs
from chat.accounts.authentication import Identity
from chat.models import Message, Run, Thread
from chat.protocol import KIB, ProtocolError
from chat.streams.addresses import message_of_client, runs_of
from chat.streams.ended import events_of
from chat.streams.files import SentFile, has_files, store_all

MAX_TEXT = 64 * KIB  # bytes of a message's text, as on the native socket
FIELD = "messages"


class SentTurn(NamedTuple):
    """A message of the client's history."""

    id: str
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class SentMessage:
    """The user's message, with the id that the client gave it, and what the client says stands before it.

    `context` are (role, text) that are no messages.
    """

    id: str
    text: str
    files: tuple[SentFile, ...] = ()
    before: tuple[SentTurn, ...] = ()
    context: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """A SHA-256 of the message's text and files."""
        files = [
            [str(file.attachment) if file.content is None else hashlib.sha256(file.content).hexdigest(), file.name]
            for file in self.files
        ]
        return hashlib.sha256(json.dumps([self.text, files]).encode()).hexdigest()


def send(
    identity: Identity, thread_id: UUID, message: SentMessage, agent: str | None, client_msg_id: str | None, digest: str
) -> runs.StartedRun:
    """Start a run for the message. Raises what `runs.start` raises.

    The thread may know the message's id. With the same content it gets another answer; with other content the message
    is an edit: a new one beside it. What `digest` is for: see `runs.Origin`.
    """
    user_id, agents, language = identity.user_id, identity.agents, identity.language
    if (done := runs.repeated(user_id, client_msg_id, digest, agents)) is not None:
        return done
    known = message_of_client(user_id, thread_id, message.id)
    if known is not None and known.content == message.text and has_files(known, message.files):
        return runs.ask_again(user_id, known.pk, agent, client_msg_id, agents, digest, language=language)
    if len(message.text.encode()) > MAX_TEXT:
        raise ProtocolError("too_large", f"A message's text has at most {MAX_TEXT} bytes.", field=FIELD)
    if Thread.objects.filter(pk=thread_id).exclude(user=user_id, deleted_at=None).exists():
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    fields: dict[str, Any] = {"thread_id": str(thread_id), "agent": agent, "client_msg_id": client_msg_id}
    if known is not None:
        fields["parent_id"] = known.parent_id and str(known.parent_id)
    checked = protocol.user_message_fields({**fields, "content": message.text})
    files = store_all(user_id, message.files, FIELD)  # not before the message is checked
    origin = runs.Origin(client_id=message.id, context=_context(thread_id, message), digest=digest)
    return runs.start(user_id, checked.model_copy(update={"attachment_ids": files}), agents, origin, language)


def _context(thread_id: UUID, message: SentMessage) -> tuple[tuple[str, str], ...]:
    """Return what the client claims: instructions, and turns that the thread does not know."""
    known = known_ids(thread_id) if message.before else set()
    claimed = [
        (turn.role, turn.text)
        for turn in message.before
        if turn.text and (turn.role not in ("user", "assistant") or turn.id not in known)
    ]
    return (*message.context, *claimed)


def known_ids(thread_id: UUID) -> set[str]:
    """Return all ids by which clients know messages of the thread."""
    known = {str(id) for id in Run.objects.filter(thread=thread_id).values_list("pk", flat=True)}
    for ids in Message.objects.filter(thread=thread_id).values_list("pk", "client_id"):
        known |= {str(id) for id in ids if id is not None}
    return known


def decoded_events(run: Run) -> list[dict[str, Any]]:
    """Return the events of the run as `events_of` has them, decoded."""
    return [json.loads(text) for text in events_of(run)]


def newest_run(identity: Identity, thread_id: UUID) -> Run | None:
    """Return the run that was started last in the user's thread."""
    found = runs_of(identity).filter(thread=thread_id)
    return found.order_by("-thread_seq", "-created_at", "-id").first()


def run_of_client(identity: Identity, thread_id: UUID, message_id: str) -> Run | None:
    """Return the user's run that a client knows as this assistant message."""
    try:
        run_id = UUID(message_id)
    except ValueError:
        return None
    return runs_of(identity).filter(pk=run_id, thread=thread_id).first()
