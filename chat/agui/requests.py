"""Runs that AG-UI clients ask for. All functions are synchronous and may write."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.cache import cache

from chat import runs
from chat.accounts.authentication import Identity
from chat.agui.bodies import MediaPart, ResumeEntry, RunAgentInput, StopBody, text_of, user_content
from chat.agui.history import branch_messages
from chat.dialects.agui import Projection
from chat.models import InputRequest, Run
from chat.protocol import MAX_INPUT_REASON, ProtocolError
from chat.streams.addresses import facts_of, runs_of, thread_id_of
from chat.streams.files import SentFile, base64_bytes
from chat.streams.sending import (
    FIELD,
    SentMessage,
    SentTurn,
    decoded_events,
    newest_run,
    run_of_client,
    send,
)

PROVIDER = "netra"  # of attachments, in the source of a part
MAX_RUN_ID = 128  # characters that a key of a run has room for; longer ids are hashed
NAME_SECONDS = 7 * 24 * 3600  # for which the name of a run that was joined or answered under another one is kept
_TURNS = ("user", "assistant", "system", "developer")


@dataclass(frozen=True, slots=True)
class Opened:
    """A run to be streamed: what its projection is made of. `unanswered` requests keep it from going on."""

    run: Run
    branch: Sequence[dict[str, Any]] = ()
    before: Sequence[dict[str, Any]] = ()
    snapshot: bool = False
    known: int = 0
    unanswered: Sequence[str] = field(default=())

    def projection(self, body: RunAgentInput) -> Projection:
        """Return a new projection for a run of the client."""
        return Projection(
            facts_of(self.run), body.thread_id, body.run_id, self.branch, self.before, self.snapshot, self.known
        )


def check_agent(identity: Identity, agent: str) -> None:
    """Raise ProtocolError not_found for an agent that does not exist for the user."""
    if agent not in runs.agents_for(identity.user_id, identity.agents):
        raise ProtocolError("not_found", "There is no such agent.")


def open_run(identity: Identity, agent: str, body: RunAgentInput, key: str | None, decider: runs.Decider) -> Opened:
    """Start the run that the body asks for, or find the one that it goes on with. Raises ProtocolError.

    `key` is the client's Idempotency-Key. An API key that may only read comes back to a run, and no more.
    """
    check_agent(identity, agent)
    user_id, thread_id = identity.user_id, thread_id_of(identity.user_id, body.thread_id)
    if body.resume:
        identity.check_write()
        opened = _resume(identity, thread_id, body.resume, decider)
        if not opened.unanswered:
            _name(opened.run, body.run_id)
        return opened
    if body.attaches:
        newest = newest_run(identity, thread_id)
        if newest is None:
            raise ProtocolError("not_found", "There is no run in this thread.", field="threadId")
        _name(newest, body.run_id)
        return _attached(newest)
    client_msg_id = key or key_of(thread_id, body.run_id)
    known = _run_called(identity, thread_id, body.run_id, client_msg_id)
    if known is not None:
        if key is not None and body.messages and body.messages[-1].role == "user":
            runs.repeated(user_id, key, _digest(body), identity.agents)  # raises conflict for another message
        return _attached(known)
    identity.check_write()
    waiting = _waiting(identity, thread_id)
    if waiting is not None:
        return waiting
    started = send(identity, thread_id, _message(body), agent, client_msg_id, _digest(body))
    run = Run.objects.get(pk=started.run_id)
    branch = branch_messages(run.thread_id, run.message_id)
    return Opened(run, branch, snapshot=_ids(branch) != _ids([one.model_dump() for one in body.messages]))


def key_of(thread_id: UUID, run_id: str) -> str:
    """Return the client_msg_id of the client's run."""
    short = run_id if len(run_id) <= MAX_RUN_ID else hashlib.sha256(run_id.encode()).hexdigest()
    return f"agui:{thread_id}:{short}"


def _name(run: Run, run_id: str) -> None:
    """Keep for a while what the client calls a run that it has joined or answered under another `runId`."""
    cache.set(_cache_key(run.thread_id, run_id), str(run.pk), NAME_SECONDS)


def _cache_key(thread_id: UUID, run_id: str) -> str:
    return f"agui:{hashlib.sha256(key_of(thread_id, run_id).encode()).hexdigest()}"


def _run_called(identity: Identity, thread_id: UUID, run_id: str, client_msg_id: str) -> Run | None:
    """Return the user's run that was started with this client_msg_id, or that the client has named since."""
    own = runs_of(identity).filter(thread=thread_id)
    found = own.filter(client_msg_id=client_msg_id).first()
    if found is None and (named := cache.get(_cache_key(thread_id, run_id))) is not None:
        found = own.filter(pk=named).first()
    return found


def _ids(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in messages if one["role"] in ("user", "assistant")]


def _digest(body: RunAgentInput) -> str:
    """Return what tells a repeated request from another one with the same Idempotency-Key."""
    last = body.messages[-1]
    return hashlib.sha256(f"{body.thread_id} {last.id} {last.content}".encode()).hexdigest()


def _message(body: RunAgentInput) -> SentMessage:
    if not body.messages:
        raise ProtocolError("invalid_message", "messages must have the user's message.", field=FIELD)
    *before, last = body.messages
    content = user_content(last)
    turns = tuple(SentTurn(one.id, one.role, text_of(one)) for one in before if one.role in _TURNS)
    context = tuple(("system", f"{one.description}: {one.value}") for one in body.context)
    return SentMessage(last.id, content.text, tuple(map(_sent_file, content.media)), turns, context)


def _sent_file(part: MediaPart) -> SentFile:
    source = part.source
    if part.type == "document" and source is not None and source.type == "data":
        return SentFile(base64_bytes(source.value, FIELD), part.name, source.mime_type or "")
    if part.type == "document" and source is not None and source.type == "file" and source.provider == PROVIDER:
        try:
            return SentFile(None, attachment=UUID(source.value))
        except ValueError:
            raise ProtocolError("not_found", "There is no such attachment.", field=FIELD) from None
    why = f"A file is a document with its data, or with an attachment's id and the provider {PROVIDER}."
    raise ProtocolError("invalid_message", why, field=FIELD)


def _attached(run: Run) -> Opened:
    """Return a run with all that is shown of it so far."""
    events = decoded_events(run)
    branch = branch_messages(run.thread_id, run.message_id)
    return Opened(run, branch, events, snapshot=True, known=max((event["seq"] for event in events), default=0))


def _waiting(identity: Identity, thread_id: UUID) -> Opened | None:
    """Return the run of the thread that waits for the user, if there is one."""
    found = runs_of(identity).filter(thread=thread_id, status=Run.WAITING).order_by("thread_seq").first()
    asked = runs.open_inputs([found.pk]).get(found.pk, []) if found is not None else []
    return Opened(found, unanswered=asked) if found is not None and asked else None


def _resume(identity: Identity, thread_id: UUID, entries: Sequence[ResumeEntry], decider: runs.Decider) -> Opened:
    """Answer the requests of a run that waits, all at once, and go on where its client's run ended."""
    given = {_id(entry): entry for entry in entries}
    requests = list(InputRequest.objects.filter(run__in=runs_of(identity), pk__in=given, thread=thread_id))
    run_ids = {request.run_id for request in requests}
    if len(requests) < len(given) or len(run_ids) != 1:
        raise ProtocolError("not_found", "There is no such request.", field="resume")
    run = Run.objects.get(pk=run_ids.pop())
    unanswered = set(runs.open_inputs([run.pk]).get(run.pk, []))
    if unanswered - {str(id) for id in given}:
        return Opened(run, unanswered=sorted(unanswered))
    answers = [_answer_of(request, given[request.pk]) for request in requests]
    seq = min(answered.seq for answered in runs.answer_all(answers, decider))
    events = decoded_events(run)
    pauses = [at for at, event in enumerate(events) if event["type"] == "run_waiting" and event["seq"] < seq]
    branch = branch_messages(run.thread_id, run.message_id)
    return Opened(run, branch, events[: pauses[-1] + 1] if pauses else [], known=seq)


def _id(entry: ResumeEntry) -> UUID:
    try:
        return UUID(entry.interrupt_id)
    except ValueError:
        raise ProtocolError("not_found", "There is no such request.", field="resume") from None


def _answer_of(request: InputRequest, entry: ResumeEntry) -> runs.Answer:
    """Return the answer in a resume entry. Raises ProtocolError invalid_message."""
    payload = entry.payload
    if entry.status == "cancelled":
        return runs.Answer(request.pk, "decline")
    if request.kind == InputRequest.FORM:
        return runs.Answer(request.pk, "accept", payload)
    if request.kind == InputRequest.LINK:
        return runs.Answer(request.pk, "accept")
    fields = payload if isinstance(payload, dict) else {}
    approved, reason = fields.get("approved"), fields.get("reason") or ""
    if not isinstance(approved, bool) or not isinstance(reason, str) or len(reason) > MAX_INPUT_REASON:
        raise ProtocolError("invalid_message", "payload must have approved: true or false.", field="resume")
    edited = fields.get("editedArgs") if approved else None
    return runs.Answer(request.pk, "accept" if approved else "decline", parameters=edited, reason=reason)


def stop(identity: Identity, agent: str, body: StopBody) -> tuple[UUID, list[UUID]]:
    """Cancel the runs of the thread, or the one that the client calls `runId`. Return the thread and these runs.

    Raises ProtocolError not_found.
    """
    check_agent(identity, agent)
    user_id, thread_id = identity.user_id, thread_id_of(identity.user_id, body.thread_id)
    if body.run_id is None:
        return thread_id, runs.cancel(user_id, thread_id=thread_id, agents=identity.agents)
    called = _run_called(identity, thread_id, body.run_id, key_of(thread_id, body.run_id))
    run = called or run_of_client(identity, thread_id, body.run_id)
    if run is None:
        raise ProtocolError("not_found", "There is no such run.", field="runId")
    return thread_id, runs.cancel(user_id, run.pk)
