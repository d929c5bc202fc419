"""Runs that AI SDK clients ask for. All functions are synchronous and may write."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from chat import runs
from chat.accounts.authentication import Identity
from chat.aisdk.bodies import ChatBody, FilePart, ToolPart, UIMessage
from chat.dialects import RunFacts, project
from chat.dialects.aisdk import DONE, Projection
from chat.models import InputRequest, Run
from chat.protocol import ProtocolError
from chat.streams.addresses import facts_of, thread_id_of
from chat.streams.files import SentFile, attachment_in, data_url
from chat.streams.sending import FIELD, SentMessage, SentTurn, decoded_events, newest_run, run_of_client, send

REPLAY_SECONDS = 300  # after its end, in which a run is replayed to a client that comes back


@dataclass(frozen=True, slots=True)
class Opened:
    """A run to be streamed from the frame after the number `after`. `known`: see Projection."""

    run: Run
    after: int = -1
    known: int = 0

    @property
    def facts(self) -> RunFacts:
        """Return the facts of the run that a projection has beside its events."""
        return facts_of(self.run)

    def projection(self) -> Projection:
        """Return a new projection of the run."""
        return Projection(self.facts, self.known)


def open_chat(identity: Identity, body: ChatBody, agent: str | None, key: str | None, decider: runs.Decider) -> Opened:
    """Start the run that the body asks for, or answer what a run has asked. Raises ProtocolError.

    `agent` is the one to take if the body names none, `key` the client's Idempotency-Key.
    """
    thread_id = thread_id_of(identity.user_id, body.id)
    before, last = body.before_and_last
    answering = _answering(body)
    if answering is not None:
        return _answer(identity, thread_id, answering, decider)
    if last.role != "user":
        raise ProtocolError("invalid_message", "The last message must be the user's.", field=FIELD)
    turns = tuple(SentTurn(one.id, one.role, one.text) for one in before)
    message = SentMessage(last.id, last.text, tuple(map(_sent_file, last.files)), turns)
    digest = hashlib.sha256(f"{thread_id} {last.id} {message.digest} {body.trigger}".encode()).hexdigest()
    # An edit keeps the id of its message.
    own_key = f"ai:{thread_id}:{last.id}:{message.digest[:16]}"
    client_msg_id = key or (None if body.trigger == "regenerate-message" else own_key)
    started = send(identity, thread_id, message, body.agent or agent, client_msg_id, digest)
    run = Run.objects.get(pk=started.run_id)
    return Opened(run, known=_head(decoded_events(run)) if started.repeated else 0)


def _answering(body: ChatBody) -> UIMessage | None:
    """Return the assistant's message with answers that the request is about: the one it names, or the last one."""
    before, last = body.before_and_last
    named = [one for one in (*before, last) if one.id == body.message_id] or [last]
    found = named[-1]
    return found if found.role == "assistant" and found.answers else None


def _sent_file(part: FilePart) -> SentFile:
    if (own := attachment_in(part.url)) is not None:
        return SentFile(None, attachment=own)
    found = data_url(part.url, FIELD)
    if found is None:
        why = "The URL of a file must be a data URL or that of an attachment's content."
        raise ProtocolError("invalid_message", why, field=FIELD)
    content, media_type = found
    return SentFile(content, part.filename, part.media_type or media_type)


def _answer(identity: Identity, thread_id: UUID, last: UIMessage, decider: runs.Decider) -> Opened:
    """Answer the requests of the run that the assistant's message is of, and go on where the client's stream ended.

    Only the decision and its reason are taken from the client: the parameters are the stored ones.
    """
    run = run_of_client(identity, thread_id, last.id)
    if run is None:
        raise ProtocolError("not_found", "There is no such run.", field=FIELD)
    given = {_request_id(part): part for part in last.answers}
    unanswered = set(runs.open_inputs([run.pk]).get(run.pk, [])) & {str(id) for id in given}
    # Earlier answers stand in the message, too. Without a new one, the request is repeated.
    answers = [
        _answer_of(run, request_id, part)
        for request_id, part in given.items()
        if str(request_id) in unanswered or not unanswered
    ]
    seq = min(answered.seq for answered in runs.answer_all(answers, decider))
    events = decoded_events(run)
    pauses = [at for at, event in enumerate(events) if event["type"] == "run_waiting" and event["seq"] < seq]
    shown = project(Projection(facts_of(run), known=seq), events[: pauses[-1] + 1]) if pauses else []
    return Opened(run, len([frame for frame in shown if frame != DONE]) - 1, known=seq)


def _request_id(part: ToolPart) -> UUID:
    try:
        return UUID(part.approval.id if part.approval is not None else part.tool_call_id)
    except ValueError:
        raise ProtocolError("not_found", "There is no such request.", field=FIELD) from None


def _answer_of(run: Run, request_id: UUID, part: ToolPart) -> runs.Answer:
    asked = InputRequest.objects.filter(pk=request_id, run=run).first()
    if asked is None:
        raise ProtocolError("not_found", "There is no such request.", field=FIELD)
    if part.approval is not None:
        action = "accept" if part.approval.approved else "decline"
        return runs.Answer(request_id, action, reason=part.approval.reason or "")
    if part.state == "output-error":
        return runs.Answer(request_id, "decline", reason=part.error_text or "")
    return runs.Answer(request_id, "accept", part.output if asked.kind == InputRequest.FORM else None)


def resumable(identity: Identity, chat_id: str) -> Opened | None:
    """Return the newest run of the chat for a client that comes back: unfinished, or ended a moment ago.

    A client that lost its line would otherwise keep half of an answer. None also for a chat of another user.
    """
    run = newest_run(identity, thread_id_of(identity.user_id, chat_id))
    if run is None:
        return None
    is_active = run.status in Run.ACTIVE
    recent = Run.objects.filter(pk=run.pk, finished_at__gt=Now() - timedelta(seconds=REPLAY_SECONDS))
    if not is_active and not recent.exists():
        return None
    return Opened(run, known=_head(decoded_events(run)))


def _head(events: Iterable[dict[str, Any]]) -> int:
    """Return the number of the last event, up to which a run is shown over its waits."""
    return max((event["seq"] for event in events), default=0)
