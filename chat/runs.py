"""The one door to the record: start, claim, record, cancel, sweep, replay. The only place that signals.

Every function is synchronous and one transaction of its own; what a user did wrong is a ProtocolError, and what the
database could not do is Django's OperationalError. Signals leave on commit, never before. One order of locks
everywhere: Run, then Thread, each by id. All times are the database's.

The hot path (claim, record) is raw SQL for the two databases; the rest is the ORM.
"""

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Min
from django.db.models.functions import Now

from chat import layer, protocol
from chat.models import Attachment, Event, Message, Run, Thread, Worker
from chat.protocol import TERMINAL, ProtocolError, Regenerate, UserMessage

TITLE_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that was started, or, for a repeated client_msg_id, the one that had been.

    `created` is the (seq, frame) of the message's own event, where this call wrote it.
    """

    thread_id: uuid.UUID
    message_id: uuid.UUID
    run_id: uuid.UUID
    seq: int
    client_msg_id: str | None
    repeated: bool = False
    created: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """An event before it has its number: its frame is head + seq + tail. `result`: see Event."""

    thread_id: uuid.UUID
    run_id: uuid.UUID | None
    attempt: int
    type: str
    head: str
    tail: str
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    run_id: uuid.UUID
    thread_id: uuid.UUID
    message_id: uuid.UUID
    user_id: int
    agent: str
    text: str
    attempt: int
    fence: int
    restarted: bool


@dataclass(frozen=True, slots=True)
class End:
    """How a run leaves its worker: ended for good, or queued again after `delay` seconds.

    `answer` (with its `message_id`) becomes the assistant's message. A drained run gets its attempt back (`refund`).
    """

    status: str
    answer: str | None = None
    message_id: uuid.UUID | None = None
    error_code: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    refund: bool = False


@dataclass(slots=True)
class Entry:
    """What one run adds in one commit of the recorder: its events, in order, and its end, if this is it."""

    run: Claimed
    events: list[Body] = field(default_factory=list)
    end: End | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a thread's log: `rows` are (seq, run id, type, frame), `first` the oldest event still kept."""

    rows: list[tuple[int, uuid.UUID | None, str, str]]
    head: int
    first: int

    @property
    def frames(self) -> list[str]:
        return [row[3] for row in self.rows]


# ---- Starting --------------------------------------------------------------------------------------------


def start(user_id: int, message: UserMessage, fresh_thread: uuid.UUID | None = None) -> Accepted:
    """Write Message, Run and `message_created`. Without a thread_id the message goes to `fresh_thread`, or a new one.

    Raises not_found, unknown_agent, conflict.
    """
    parent = message.parent_id if message.parent_given else "newest"
    body = (message.content, message.agent, parent, sorted(message.attachment_ids))
    in_new, in_named = (_request("message", named, *body) for named in (False, True))
    # Who named no thread the first time may name the one that the message got; not the other way round.
    same = (in_new,) if message.thread_id is None else (in_named, in_new)
    begin = partial(_start, user_id, message, same[0], fresh_thread)
    return _once(user_id, message.client_msg_id, same, message.thread_id, begin)


def regenerate(user_id: int, frame: Regenerate) -> Accepted:
    """A new run for the message that the assistant's message `frame.message_id` answered. Raises as `start` does."""
    asked = _request("regenerate", frame.message_id, frame.agent)
    return _once(user_id, frame.client_msg_id, (asked,), None, partial(_regenerate, user_id, frame, asked))


def _request(*asked: object) -> str:
    return hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()


def _once(
    user_id: int,
    client_msg_id: str | None,
    same: tuple[str, ...],
    thread_id: uuid.UUID | None,
    begin: Callable[[], Accepted],
) -> Accepted:
    """Two that come at once with one id, or make one thread, meet at a constraint; the later one looks again."""
    for last in (False, False, True):
        try:
            with transaction.atomic():
                if client_msg_id is not None:
                    run = Run.objects.filter(user=user_id, client_msg_id=client_msg_id).select_related("thread").first()
                    if run is not None:
                        return _again(run, same, thread_id)
                return begin()
        except IntegrityError:
            if last:
                raise
    raise AssertionError("unreachable")


def _again(run: Run, same: tuple[str, ...], thread_id: uuid.UUID | None) -> Accepted:
    if run.thread.deleted_at is not None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    if run.request not in same or (thread_id is not None and thread_id != run.thread_id):
        raise ProtocolError("conflict", "This client_msg_id was used for another message.", field="client_msg_id")
    return Accepted(run.thread_id, run.message_id, run.id, run.position, run.client_msg_id, repeated=True)


def _start(user_id: int, message: UserMessage, asked: str, fresh_thread: uuid.UUID | None) -> Accepted:
    thread_id = message.thread_id or fresh_thread or uuid.uuid4()
    thread = Thread.objects.select_for_update().filter(id=thread_id).first()
    if thread is None:
        thread = Thread(id=thread_id, user_id=user_id, agent=_agent(message.agent, None), title=_title(message.content))
        thread.save(force_insert=True)
    elif thread.user_id != user_id or thread.deleted_at is not None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    elif not thread.title:
        Thread.objects.filter(id=thread.id).update(title=_title(message.content))
    found = Attachment.objects.for_user(user_id).in_bulk(message.attachment_ids) if message.attachment_ids else {}
    if len(found) < len(message.attachment_ids):
        raise ProtocolError("not_found", "There is no such attachment.", field="attachment_ids")
    attachments = [found[id] for id in message.attachment_ids]
    if not message.parent_given:
        newest = thread.messages.order_by("-seq").values_list("id", flat=True).first()
        parent_id = newest
    else:
        parent_id = message.parent_id
        if parent_id is not None and not thread.messages.filter(id=parent_id).exists():
            raise ProtocolError("not_found", "There is no such message in this thread.", field="parent_id")
    message_id, run_id = uuid.uuid4(), uuid.uuid4()
    agent = _agent(message.agent, thread.agent)
    created = _body(
        thread.id,
        run_id,
        0,
        "message_created",
        agent,
        message_id=str(message_id),
        role="user",
        content=message.content,
        parent_id=str(parent_id) if parent_id else None,
        client_msg_id=message.client_msg_id,
        attachments=[attached(attachment) for attachment in attachments],
    )
    ((seq, frame),) = _append([created])
    row = Message.objects.create(
        id=message_id, thread=thread, parent_id=parent_id, role="user", content=message.content, seq=seq
    )
    if attachments:
        row.attachments.set(attachments)
    _queue(run_id, user_id, thread.id, message_id, message.client_msg_id, asked, agent, seq)
    _tell(user_id, [_row(created, seq, frame)])
    return Accepted(thread.id, message_id, run_id, seq, message.client_msg_id, created=(seq, frame))


def _regenerate(user_id: int, frame: Regenerate, asked: str) -> Accepted:
    answer = Message.objects.for_user(user_id).filter(id=frame.message_id).select_related("thread", "parent").first()
    if answer is None or answer.parent is None or answer.role != "assistant":
        raise ProtocolError("not_found", "There is no such answer.", field="message_id")
    thread = _thread(user_id, answer.thread_id)
    run_id = uuid.uuid4()
    _queue(
        run_id,
        user_id,
        thread.id,
        answer.parent.id,
        frame.client_msg_id,
        asked,
        _agent(frame.agent, thread.agent),
        thread.last_seq,
    )
    return Accepted(thread.id, answer.parent.id, run_id, thread.last_seq, frame.client_msg_id)


def _queue(
    run_id: uuid.UUID,
    user_id: int,
    thread_id: uuid.UUID,
    message_id: uuid.UUID,
    client_msg_id: str | None,
    asked: str,
    agent: str,
    position: int,
) -> None:
    Run.objects.create(
        id=run_id,
        user_id=user_id,
        thread_id=thread_id,
        message_id=message_id,
        client_msg_id=client_msg_id,
        request=asked,
        agent=agent,
        position=position,
    )
    transaction.on_commit(partial(layer.post, layer.WORKERS, {"type": "run"}))


def _agent(asked: str | None, of_thread: str | None) -> str:
    if asked is not None and asked not in settings.AGENTS:
        raise ProtocolError("unknown_agent", f"There is no agent called {asked!r}.", field="agent")
    if asked is not None:
        return asked
    return of_thread if of_thread in settings.AGENTS else next(iter(settings.AGENTS))


def attached(attachment: Attachment) -> dict[str, Any]:
    """An attachment as the wire shows it."""
    return {
        "id": str(attachment.id),
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size": attachment.size,
        "recognised": attachment.recognised,
    }


def _title(content: str) -> str:
    line = re.sub(r"\s+", " ", content[: 4 * TITLE_LENGTH]).strip()
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


# ---- Threads ---------------------------------------------------------------------------------------------


def create_thread(user_id: int, thread_id: uuid.UUID | None, title: str, agent: str | None) -> Thread:
    """Raises unknown_agent, and conflict for an id that is taken, by whomever."""
    thread = Thread(id=thread_id or uuid.uuid4(), user_id=user_id, title=title, agent=_agent(agent, None))
    try:
        with transaction.atomic():
            thread.save(force_insert=True)
    except IntegrityError:
        raise ProtocolError("conflict", "This id is taken.", field="id") from None
    return Thread.objects.get(id=thread.id)


@transaction.atomic
def rename(user_id: int, thread_id: uuid.UUID, title: str) -> Thread:
    """Give the thread its title and write `thread_updated`. Raises not_found."""
    thread = _thread(user_id, thread_id)
    body = _body(thread.id, None, 0, "thread_updated", None, title=title)
    ((seq, frame),) = _append([body])
    Thread.objects.filter(id=thread.id).update(title=title)
    _tell(user_id, [_row(body, seq, frame)])
    return Thread.objects.get(id=thread.id)


def delete(user_id: int, thread_id: uuid.UUID) -> None:
    """End its runs and hide the thread for good; its id stays taken. Raises not_found."""
    active = Run.objects.filter(user=user_id, thread=thread_id, status__in=Run.ACTIVE).order_by("id")
    with transaction.atomic():
        for run in list(active.select_for_update()):
            _cancel(run.id)
        thread = _thread(user_id, thread_id)
        Thread.objects.filter(id=thread.id).update(deleted_at=Now(), updated_at=Now())
        frame = protocol.control("thread_deleted", thread_id=str(thread.id))
        _post(user_id, {"type": "control", "thread": str(thread.id), "frame": frame})
    for run in active:  # one that was started before the thread was locked; from now on none is
        _cancel(run.id)


def _thread(user_id: int, thread_id: uuid.UUID) -> Thread:
    thread = Thread.objects.for_user(user_id).select_for_update().filter(id=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    return thread


# ---- A worker's side -------------------------------------------------------------------------------------

_NOW = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "clock_timestamp()"}
_LATER = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
    "postgresql": "clock_timestamp() + %s * interval '1 second'",
}
# Queued, due and first in its thread's queue with nothing running before it; or running on a lease that ran out.
_CLAIMABLE = """
    SELECT r.id, r.fence, r.status, r.started_at IS NOT NULL, r.error_code,
        r.thread_id, r.message_id, r.user_id, r.agent, m.content
    FROM chat_run r JOIN chat_message m ON m.id = r.message_id JOIN chat_thread t ON t.id = r.thread_id
    WHERE t.deleted_at IS NULL AND r.status IN ('queued', 'running') AND r.agent IN ({agents}) AND (
        r.status = 'running' AND r.lease_until < {now} AND r.attempt < %s
        OR r.status = 'queued' AND (r.not_before IS NULL OR r.not_before <= {now}) AND NOT EXISTS (
            SELECT 1 FROM chat_run o WHERE o.thread_id = r.thread_id AND o.status IN ('queued', 'running')
            AND (o.status = 'running' OR (o.position, o.created_at, o.id) < (r.position, r.created_at, r.id))))
    ORDER BY r.created_at LIMIT %s"""
_CLAIM = """
    UPDATE chat_run SET status = 'running', attempt = attempt + 1, fence = fence + 1, lease_until = {later},
        worker_id = %s, not_before = NULL, error_code = '', started_at = COALESCE(started_at, {now}), claimed_at = {now}
    WHERE id = %s AND fence = %s AND (status = 'queued' OR status = 'running' AND lease_until < {now})
    RETURNING attempt, fence"""
# The lease is extended and the fence is checked by one statement that holds the rows to the commit.
_HOLD = {
    "sqlite": """
        UPDATE chat_run SET lease_until = {later} WHERE status = 'running' AND (id, fence) IN
            (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s)) RETURNING id""",
    "postgresql": """
        WITH held AS (
            SELECT r.id FROM chat_run r
            JOIN unnest(%s::uuid[], %s::bigint[]) AS v(id, fence) ON r.id = v.id AND r.fence = v.fence
            WHERE r.status = 'running' ORDER BY r.id FOR UPDATE OF r)
        UPDATE chat_run r SET lease_until = {later} FROM held WHERE r.id = held.id RETURNING r.id""",
}
_ADVANCE = {
    "sqlite": """
        UPDATE chat_thread SET last_seq = last_seq + v.n, updated_at = {now}
        FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS n FROM json_each(%s)) AS v
        WHERE chat_thread.id = v.id RETURNING chat_thread.id, chat_thread.last_seq""",
    "postgresql": """
        UPDATE chat_thread t SET last_seq = t.last_seq + v.n, updated_at = {now}
        FROM unnest(%s::uuid[], %s::bigint[]) AS v(id, n) WHERE t.id = v.id RETURNING t.id, t.last_seq""",
}
_INSERT = """
    INSERT INTO chat_event (thread_id, seq, run_id, attempt, type, frame, result, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, {now})"""


def claim(worker_id: uuid.UUID, agents: Sequence[str], limit: int) -> list[Claimed]:
    """Take up to `limit` runs for this worker; each gets its `agent_started`, after `run_restarted` if it had begun."""
    if not agents or limit < 1:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _sql(_CLAIMABLE, agents=", ".join(["%s"] * len(agents))), [*agents, settings.NETRA_MAX_ATTEMPTS, limit]
        )
        rows = sorted((_uuid(row[0]), row) for row in cursor.fetchall())
    if not rows:
        return []
    claimed, bodies, users = [], [], {}
    with transaction.atomic(), connection.cursor() as cursor:
        for run_id, (_, fence, status, begun, error_code, thread_id, message_id, user_id, agent, content) in rows:
            cursor.execute(_sql(_CLAIM), [settings.NETRA_LEASE_SECONDS, _key(worker_id), _key(run_id), fence])
            taken = cursor.fetchone()
            if taken is None:
                continue
            attempt, fence = taken
            run = Claimed(
                run_id, _uuid(thread_id), _uuid(message_id), user_id, agent, content, attempt, fence, bool(begun)
            )
            if begun:
                why = "worker_lost" if status == Run.RUNNING else "retry" if error_code else "worker_stopped"
                # `attempt` is a field of the envelope, too: one and the same.
                bodies.append(_body(run.thread_id, run_id, attempt, "run_restarted", agent, reason=why))
            bodies.append(
                _body(
                    run.thread_id,
                    run_id,
                    attempt,
                    "agent_started",
                    agent,
                    task=_title(content),
                    status="started",
                    parent_agent=None,
                )
            )
            users[run.thread_id] = user_id
            claimed.append(run)
        _tell_all(users, bodies, _append(bodies))
    return claimed


def record(entries: Sequence[Entry]) -> set[uuid.UUID]:
    """Commit what these runs said, and their ends. Returns the ids of the runs whose fence still holds; of the others
    nothing was written. Each run may stand in one entry only."""
    with transaction.atomic():
        held = _hold([(entry.run.run_id, entry.run.fence) for entry in entries])
        entries = [entry for entry in entries if entry.run.run_id in held]
        bodies = [body for entry in entries for body in entry.events]
        numbered = _append(bodies)
        last = dict(zip((body.run_id for body in bodies), (seq for seq, _ in numbered), strict=True))
        for entry in entries:
            if entry.end is not None:
                _end(entry.run, entry.end, last.get(entry.run.run_id, 0))
        _tell_all({entry.run.thread_id: entry.run.user_id for entry in entries}, bodies, numbered)
    return held


def _end(run: Claimed, end: End, seq: int) -> None:
    row = Run.objects.filter(id=run.run_id)
    if end.status == Run.QUEUED:
        row.update(
            status=Run.QUEUED,
            fence=F("fence") + 1,
            attempt=F("attempt") - (1 if end.refund else 0),
            error_code=end.error_code,
            lease_until=None,
            worker=None,
            not_before=Now() + timedelta(seconds=end.delay) if end.delay else None,
        )
        transaction.on_commit(partial(layer.post, layer.WORKERS, {"type": "run"}))
        return
    row.update(
        status=end.status, error_code=end.error_code, usage=end.usage, lease_until=None, worker=None, finished_at=Now()
    )
    if end.answer is not None:
        Message.objects.create(
            id=end.message_id,
            thread_id=run.thread_id,
            parent_id=run.message_id,
            run_id=run.run_id,
            role="assistant",
            content=end.answer,
            seq=seq,
        )


def history(run: Claimed) -> tuple[list[tuple[str, str]], list[Attachment]]:
    """(role, content) of the messages from the thread's root to the one that the run answers, that one included, and
    what is attached to them, the oldest first.

    A message that was sent while another was being answered follows that other message; what had been answered by now
    stands between the two."""
    rows = (
        Message.objects.filter(thread=run.thread_id).order_by("seq").values_list("id", "parent_id", "role", "content")
    )
    messages = {row[0]: row for row in rows}
    answers = {parent: content for _, parent, role, content in messages.values() if role == "assistant"}
    path: list[tuple[str, str]] = []
    ids: list[uuid.UUID] = []
    current, follower = run.message_id, None
    while current is not None:
        id, parent, role, content = messages[current]
        if role == follower == "user" and current in answers:
            path.append(("assistant", answers[current]))
        path.append((role, content))
        ids.append(id)
        current, follower = parent, role
    return path[::-1], list(Attachment.objects.filter(messages__in=ids).distinct().order_by("created_at", "id"))


def calls(run: Claimed) -> dict[str, tuple[bool, Any]]:
    """The tool calls of the run's earlier attempts, by tool_call_id: (completed, result)."""
    found: dict[str, tuple[bool, Any]] = {}
    rows = Event.objects.filter(run=run.run_id, type__in=("tool_executing", "tool_completed")).order_by("seq")
    for kind, frame, whole in rows.values_list("type", "frame", "result"):
        event = json.loads(frame)
        if kind == "tool_executing":
            found.setdefault(event["tool_call_id"], (False, None))
        elif event["success"]:
            found[event["tool_call_id"]] = (True, event["result"] if whole is None else json.loads(whole))
    return found


def register(worker_id: uuid.UUID, host: str, pid: int, agents: dict[str, Any]) -> None:
    Worker.objects.create(id=worker_id, host=host, pid=pid, agents=agents)


def unregister(worker_id: uuid.UUID) -> None:
    Worker.objects.filter(id=worker_id).delete()


@transaction.atomic
def heartbeat(worker_id: uuid.UUID, draining: bool, runs: Iterable[Claimed]) -> set[uuid.UUID]:
    """Extend the leases of these runs; returns the ids of those that are still this worker's.

    Forgets the workers that have been silent for an hour. Raises Worker.DoesNotExist if this is one of them."""
    held = _hold([(run.run_id, run.fence) for run in runs])
    if not Worker.objects.filter(id=worker_id).update(heartbeat_at=Now(), draining=draining):
        raise Worker.DoesNotExist
    Worker.objects.filter(heartbeat_at__lt=Now() - timedelta(hours=1)).delete()
    return held


# ---- Ends that no worker decides --------------------------------------------------------------------------


def cancel(user_id: int, run_id: uuid.UUID | None = None, thread_id: uuid.UUID | None = None) -> list[uuid.UUID]:
    """Cancel the user's active runs: that one, those of that thread, or all. Returns the ids of the runs it ended.

    Raises not_found for a run or thread that is not the user's; a run that has ended is no error."""
    runs = Run.objects.for_user(user_id)
    if run_id is not None:
        runs = runs.filter(id=run_id)
        if not runs.exists():
            raise ProtocolError("not_found", "There is no such run.", field="run_id")
    if thread_id is not None:
        runs = runs.filter(thread=thread_id)
        if not Thread.objects.for_user(user_id).filter(id=thread_id).exists():
            raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    active = sorted(runs.filter(status__in=Run.ACTIVE).values_list("id", flat=True))
    return [id for id in active if _cancel(id)]


def _cancel(run_id: uuid.UUID) -> bool:
    return _terminate(run_id, Run.CANCELLED, "agent_cancelled", lambda run: {"status": "cancelled"})


def sweep() -> int:
    """End what no worker will: the runs that are out of attempts or out of time. Returns how many."""
    late = Now() - timedelta(seconds=settings.NETRA_RUN_TIMEOUT)
    running = Run.objects.filter(status=Run.RUNNING)
    timed_out = list(running.filter(claimed_at__lt=late).values_list("id", flat=True))
    exhausted = list(
        running.filter(lease_until__lt=Now(), attempt__gte=settings.NETRA_MAX_ATTEMPTS).values_list("id", flat=True)
    )
    ended = 0
    for run_id in sorted(timed_out):
        ended += _fail(run_id, "timeout", "This took too long and was stopped.", claimed_at__lt=late)
    for run_id in sorted(exhausted):
        ended += _fail(run_id, "max_attempts", "This failed again and again and was given up.", lease_until__lt=Now())
    return ended


def _fail(run_id: uuid.UUID, code: str, message: str, **still: Any) -> bool:
    return _terminate(
        run_id,
        Run.FAILED,
        "agent_failed",
        lambda run: {"status": "failed", "error_code": code, "message": message, "recoverable": True},
        error_code=code,
        still={"status": Run.RUNNING, **still},
    )


@transaction.atomic
def _terminate(
    run_id: uuid.UUID,
    status: str,
    kind: str,
    fields: Callable[[Run], dict[str, Any]],
    error_code: str = "",
    still: dict[str, Any] | None = None,
) -> bool:
    """End a run whoever holds it, if it is still active (and `still` holds under its lock). False: it was not."""
    run = Run.objects.select_for_update().filter(id=run_id, status__in=Run.ACTIVE, **(still or {})).first()
    if run is None:
        return False
    extra, said = fields(run), ""
    message_id = uuid.uuid4()
    if status == Run.CANCELLED and (said := _said(run)):
        extra["message_id"] = str(message_id)
    body = _body(run.thread_id, run.id, run.attempt, kind, run.agent, **extra)
    ((seq, frame),) = _append([body])
    if said:
        Message.objects.create(
            id=message_id,
            thread_id=run.thread_id,
            parent_id=run.message_id,
            run=run,
            role="assistant",
            content=said,
            seq=seq,
        )
    Run.objects.filter(id=run.id).update(
        status=status, fence=F("fence") + 1, error_code=error_code, lease_until=None, worker=None, finished_at=Now()
    )
    _tell(run.user_id, [_row(body, seq, frame)])
    # Its worker drops it, and whoever is idle looks for what waited behind it.
    transaction.on_commit(partial(layer.post, layer.WORKERS, {"type": "stop", "run": str(run.id)}))
    return True


def _said(run: Run) -> str:
    """What the run has said and committed since it was last started."""
    events = Event.objects.filter(run=run.id).order_by("seq")
    start = events.filter(type="run_restarted").values_list("seq", flat=True).last() or 0
    frames = events.filter(type="agent_delta", seq__gt=start).values_list("frame", flat=True)
    return "".join(json.loads(frame)["delta"] for frame in frames)


def session_ended(user_id: int, session_id: uuid.UUID | None) -> None:
    """Tell the user's sockets, on commit, that a session of theirs has ended; None: all of them have."""
    _post(user_id, {"type": "session_ended", "session": str(session_id) if session_id else None})


# ---- Reading ---------------------------------------------------------------------------------------------


def replay(
    user_id: int, thread_id: uuid.UUID, after: int, limit: int, run_ids: Iterable[uuid.UUID] | None = None
) -> Page:
    """Up to `limit` events after `after` (of these runs only, if given). Raises not_found.

    Where `first` is above `after` + 1, or `after` above `head`, the log cannot answer: fetch the thread anew."""
    head = Thread.objects.for_user(user_id).filter(id=thread_id).values_list("last_seq", flat=True).first()
    if head is None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    rows = read(thread_id, after, limit, run_ids) if after < head else []
    if run_ids is None and rows and rows[0][0] == after + 1:
        return Page(rows, head, after + 1)
    first = Event.objects.filter(thread=thread_id).aggregate(first=Min("seq"))["first"]
    return Page(rows, head, first or head + 1)


def read(
    thread_id: uuid.UUID, after: int, limit: int, run_ids: Iterable[uuid.UUID] | None = None
) -> list[tuple[int, uuid.UUID | None, str, str]]:
    """(seq, run id, type, frame) of a thread's events after `after`. For a thread that is known to be the user's."""
    events = Event.objects.filter(thread=thread_id, seq__gt=after).order_by("seq")
    if run_ids is not None:
        events = events.filter(run__in=list(run_ids))
    return list(events.values_list("seq", "run_id", "type", "frame")[:limit])


def heads(user_id: int) -> dict[uuid.UUID, int]:
    """The last seq of each of the user's threads."""
    return dict(Thread.objects.for_user(user_id).values_list("id", "last_seq"))


def heads_of(thread_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    return dict(Thread.objects.filter(id__in=list(thread_ids), deleted_at=None).values_list("id", "last_seq"))


def changed(user_ids: Iterable[int], since: timedelta) -> list[tuple[int, uuid.UUID, int]]:
    """(user, thread, last seq) of the threads of these users that changed within the last `since`."""
    threads = Thread.objects.filter(user__in=list(user_ids), deleted_at=None, updated_at__gte=Now() - since)
    return list(threads.values_list("user_id", "id", "last_seq"))


def active(user_id: int) -> list[dict[str, Any]]:
    """The user's queued and running runs, as `agent_status` shows them."""
    runs = Run.objects.for_user(user_id).filter(status__in=Run.ACTIVE).order_by("created_at")
    return [
        {
            "run_id": str(run.id),
            "thread_id": str(run.thread_id),
            "agent": run.agent,
            "status": run.status,
            "attempt": run.attempt,
            "started_at": protocol.timestamp(run.started_at) if run.started_at else None,
        }
        for run in runs
    ]


# ---- Numbering and signalling -----------------------------------------------------------------------------


def _body(
    thread_id: uuid.UUID, run_id: uuid.UUID | None, attempt: int, kind: str, agent: str | None, **fields: Any
) -> Body:
    return body(thread_id, run_id, attempt, {"type": kind, "agent_name": agent, **fields})


def body(
    thread_id: uuid.UUID, run_id: uuid.UUID | None, attempt: int, event: dict[str, Any], result: str | None = None
) -> Body:
    """An event as an agent emits it (type, agent_name and its own fields), made ready to be numbered.

    Raises ValueError or TypeError for what is no JSON, ProtocolError too_large."""
    fields = dict(event)
    kind, agent = fields.pop("type"), fields.pop("agent_name")
    head, tail = protocol.event(
        kind,
        thread_id=str(thread_id),
        run_id=str(run_id) if run_id else None,
        attempt=attempt,
        agent_name=agent,
        timestamp=protocol.timestamp(datetime.now(UTC)),
        fields=fields,
    )
    return Body(thread_id, run_id, attempt, kind, head, tail, result)


def _append(bodies: Sequence[Body]) -> list[tuple[int, str]]:
    """Number and insert these events, in order; returns (seq, frame) of each. The one place where a seq is made.

    Inside the caller's transaction, which holds the runs' rows: the threads' rows are locked from here to its end."""
    if not bodies:
        return []
    counts = sorted(Counter(body.thread_id for body in bodies).items())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            ids, numbers = [id for id, _ in counts], [n for _, n in counts]
            if len(ids) > 1:
                cursor.execute("SELECT 1 FROM chat_thread WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [ids])
            cursor.execute(_sql(_ADVANCE), [ids, numbers])
        else:
            cursor.execute(_sql(_ADVANCE), [json.dumps([(id.hex, n) for id, n in counts])])
        heads = {_uuid(id): head for id, head in cursor.fetchall()}
        following = {id: heads[id] - n + 1 for id, n in counts}
        numbered, rows = [], []
        for b in bodies:
            seq = following[b.thread_id]
            following[b.thread_id] = seq + 1
            frame = f"{b.head}{seq}{b.tail}"
            numbered.append((seq, frame))
            run = _key(b.run_id) if b.run_id else None
            rows.append((_key(b.thread_id), seq, run, b.attempt, b.type, frame, b.result))
        cursor.executemany(_sql(_INSERT), rows)
    return numbered


def _hold(pairs: Sequence[tuple[uuid.UUID, int]]) -> set[uuid.UUID]:
    """Lock the runs whose fence still holds, in id order, and extend their leases; returns their ids."""
    if not pairs:
        return set()
    with connection.cursor() as cursor:
        lease = settings.NETRA_LEASE_SECONDS
        if connection.vendor == "postgresql":
            cursor.execute(_sql(_HOLD), [[id for id, _ in pairs], [fence for _, fence in pairs], lease])
        else:
            cursor.execute(_sql(_HOLD), [lease, json.dumps([(id.hex, fence) for id, fence in pairs])])
        return {_uuid(row[0]) for row in cursor.fetchall()}


def _sql(statement: str | dict[str, str], **parts: str) -> str:
    if isinstance(statement, dict):
        statement = statement[connection.vendor]
    return statement.format(now=_NOW[connection.vendor], later=_LATER[connection.vendor], **parts)


def _key(id: uuid.UUID) -> Any:
    return id if connection.vendor == "postgresql" else id.hex


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def _row(body: Body, seq: int, frame: str) -> list[Any]:
    """An event in a signal: thread, seq, run, whether it ends the run, frame. Nobody needs to decode the frame."""
    return [str(body.thread_id), seq, str(body.run_id) if body.run_id else "", body.type in TERMINAL, frame]


def _tell(user_id: int, rows: list[list[Any]]) -> None:
    _post(user_id, {"type": "events", "events": rows})


def _tell_all(users: dict[uuid.UUID, int], bodies: Sequence[Body], numbered: Sequence[tuple[int, str]]) -> None:
    by_user: dict[int, list[list[Any]]] = {}
    for b, (seq, frame) in zip(bodies, numbered, strict=True):
        by_user.setdefault(users[b.thread_id], []).append(_row(b, seq, frame))
    for user_id, rows in by_user.items():
        _tell(user_id, rows)


def _post(user_id: int, message: dict[str, Any]) -> None:
    transaction.on_commit(partial(layer.post, layer.user_group(user_id), message))
