"""The one door to the record: start, claim, record, cancel, sweep.

Every function is synchronous and one transaction of its own; what a user did wrong is a ProtocolError, and what the
database could not do is Django's OperationalError. Signals leave on commit, never before. One order of locks
everywhere: Run, then Thread, each by id. All times are the database's.

The hot path (claim, record) is raw SQL for the two databases; the rest is the ORM.
"""

import hashlib
import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from chat import database, events, layer, metrics, protocol
from chat.events import Body
from chat.models import Attachment, Event, Message, Run, Thread, Worker
from chat.protocol import ProtocolError, Regenerate, UserMessage
from chat.sql import VENDOR, among, execute, id_of, insert, key, many, sql, written
from chat.title import title_of

log = logging.getLogger("netra.runs")
TASK_LENGTH = 80
_encode = json.JSONEncoder(default=str).encode
R = TypeVar("R")
History = tuple[list[tuple[str, str]], list[Attachment]]


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
class Claimed:
    run_id: str
    thread_id: str
    message_id: str
    user_id: int
    agent: str
    text: str
    attempt: int
    fence: int
    restarted: bool
    alone: bool  # its message is all the history there is, and has no attachments
    seq: int = 0  # of its last event: that it was started
    last: bool = False  # the last attempt, after its workers were lost: whatever killed them may kill this one, too
    usage: dict[str, Any] = field(default_factory=dict)  # what its earlier attempts used up
    waited: float = 0.0  # seconds from the message to this claim
    since: float = field(default_factory=time.monotonic)  # when it was claimed


@dataclass(frozen=True, slots=True)
class End:
    """How a run leaves its worker: ended for good, or queued again after `delay` seconds.

    `answer` (with its `message_id`) becomes the assistant's message, `title` the thread's, unless somebody gave it one.
    `usage` is of all attempts so far. A drained run gets its attempt back (`refund`).
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
class Entry:
    """What one run adds in one commit of the recorder: its events, in order, and its end, if this is it."""

    run: Claimed
    events: list[Body] = field(default_factory=list)
    end: End | None = None


# ---- Starting --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that a user sends. Without a thread_id it goes to `fresh_thread`, or to a new thread."""

    user_id: int
    message: UserMessage
    fresh_thread: uuid.UUID | None = None


def start(user_id: int, message: UserMessage) -> Accepted:
    """Write Message, Run and `message_created`. Raises not_found, unknown_agent, conflict, rate_limited."""
    (done,) = start_all([Asked(user_id, message)])
    if isinstance(done, ProtocolError):
        raise done
    return done


def start_all(asked: Sequence[Asked]) -> list[Accepted | ProtocolError]:
    """`start` for several messages in one transaction; what one user did wrong does not touch the others.

    No two of them may name the same thread, or have the same client_msg_id of one user."""
    try:
        return _once(partial(_start_all, asked), retries=0 if len(asked) > 1 else 2)
    except IntegrityError:
        if len(asked) == 1:
            raise
        return [done for one in asked for done in start_all([one])]


def regenerate(user_id: int, frame: Regenerate) -> Accepted:
    """A new run for the message that the assistant's message `frame.message_id` answered. Raises as `start` does."""
    return _once(partial(_regenerate, user_id, frame), retries=2)


def _once(begin: Callable[[], R], retries: int) -> R:
    """Two that come at once with one id, or make one thread, meet at a constraint; the later one looks again."""
    while True:
        try:
            with written():
                return begin()
        except IntegrityError:
            if not retries:
                raise
            retries -= 1


def _request(*asked: object) -> str:
    return hashlib.sha256(_encode(asked).encode()).hexdigest()


def _requests(message: UserMessage) -> tuple[str, ...]:
    """What this message may have been asked as, the first time first: who named no thread then may name the one that
    the message got; not the other way round."""
    parent = message.parent_id if message.parent_given else "newest"
    body = (message.content, message.agent, parent, sorted(message.attachment_ids))
    named = (True, False) if message.thread_id is not None else (False,)
    return tuple(_request("message", is_named, *body) for is_named in named)


def _again(run: Run, same: tuple[str, ...], thread_id: uuid.UUID | None) -> Accepted:
    if run.thread.deleted_at is not None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    if run.request not in same or (thread_id is not None and thread_id != run.thread_id):
        raise ProtocolError("conflict", "This client_msg_id was used for another message.", field="client_msg_id")
    return Accepted(run.thread_id, run.message_id, run.id, run.position, run.client_msg_id, repeated=True)


def _start_all(asked: Sequence[Asked]) -> list[Accepted | ProtocolError]:
    known = _known([(one.user_id, one.message.client_msg_id) for one in asked])
    ids = [one.message.thread_id or one.fresh_thread for one in asked]
    wanted = [key(id) for id in ids if id is not None]
    there = _ids_of(f"chat_thread WHERE id {among('uuid')}", wanted) if wanted else []
    found = Thread.objects.select_for_update().filter(id__in=there).order_by("id") if there else []
    threads = {thread.id: thread for thread in found}
    follows = [id for one, id in zip(asked, ids, strict=True) if id in threads and not one.message.parent_given]
    newest = _newest(follows)
    active = _active({one.user_id for one in asked})
    done: list[Accepted | ProtocolError | _Start] = []
    for one, id in zip(asked, ids, strict=True):
        message = one.message
        try:
            run = known.get((one.user_id, message.client_msg_id or ""))
            if run is not None:
                done.append(_again(run, _requests(message), message.thread_id))
            else:
                start = _begun(one, id or uuid.uuid4(), threads.get(id) if id else None, newest.get(id))
                done.append(replace(start, ahead=_one_more(active, one.user_id)))
        except ProtocolError as error:
            done.append(error)
    starts = [one for one in done if isinstance(one, _Start)]
    created = iter(_write(starts))
    return [next(created) if isinstance(one, _Start) else one for one in done]


def _known(ids: Sequence[tuple[int, str | None]]) -> dict[tuple[int, str], Run]:
    """The runs that were started with these client_msg_ids of these users."""
    given = [(user_id, id) for user_id, id in ids if id is not None]
    if not given:
        return {}
    # Nearly always there is none, and the ORM takes longer to ask than the database to answer.
    users, names = {user_id for user_id, _ in given}, [name for _, name in given]
    found = _ids_of(f"chat_run WHERE user_id {among('bigint')} AND client_msg_id {among('text')}", users, names)
    runs = Run.objects.filter(id__in=found).select_related("thread") if found else []
    return {(run.user_id, run.client_msg_id or ""): run for run in runs}


def _ids_of(where: str, *values: Collection[Any]) -> list[Any]:
    return [id for (id,) in execute(f"SELECT id FROM {where}", [many(some) for some in values])]  # noqa: S608 no text of a user's


def _active(user_ids: Collection[int]) -> Counter[int]:
    """How many runs of each of these users wait or run; none where limits are off."""
    if not settings.NETRA_LIMITS:
        return Counter()
    runs = Run.objects.filter(user__in=user_ids, status__in=Run.ACTIVE)
    return Counter(dict(runs.values_list("user").annotate(Count("id")).order_by()))


def _one_more(active: Counter[int], user_id: int) -> int:
    """Count one more run of the user; returns how many there were before it."""
    if settings.NETRA_LIMITS and active[user_id] >= protocol.MAX_ACTIVE_RUNS:
        raise ProtocolError("rate_limited", "Too many of your messages wait for an answer.", retry_after=5)
    active[user_id] += 1
    return active[user_id] - 1


def _newest(thread_ids: Sequence[uuid.UUID | None]) -> dict[uuid.UUID | None, uuid.UUID]:
    """The last message of each of these threads, which are locked."""
    if not thread_ids:
        return {}
    last = Message.objects.filter(thread=OuterRef("thread")).order_by("-seq").values("id")[:1]
    return dict(Message.objects.filter(thread__in=thread_ids, id=Subquery(last)).values_list("thread_id", "id"))


@dataclass(frozen=True, slots=True)
class _Start:
    """What is written for one message: all that was to be found out about it has been."""

    asked: Asked
    thread: Thread
    is_new: bool
    parent_id: uuid.UUID | None
    attachments: list[Attachment]
    agent: str
    message_id: uuid.UUID
    run_id: uuid.UUID
    ahead: int = 0  # active runs of the user


def _begun(asked: Asked, thread_id: uuid.UUID, thread: Thread | None, newest: uuid.UUID | None) -> _Start:
    message, user_id = asked.message, asked.user_id
    if thread is not None and (thread.user_id != user_id or thread.deleted_at is not None):
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    agent = _agent(message.agent, thread.agent if thread else None)
    found = Attachment.objects.for_user(user_id).in_bulk(message.attachment_ids) if message.attachment_ids else {}
    if len(found) < len(message.attachment_ids):
        raise ProtocolError("not_found", "There is no such attachment.", field="attachment_ids")
    parent_id = message.parent_id if message.parent_given else newest
    named = message.parent_id
    if named is not None and not Message.objects.filter(thread=thread_id, id=named).exists():
        raise ProtocolError("not_found", "There is no such message in this thread.", field="parent_id")
    return _Start(
        asked,
        thread or Thread(id=thread_id, user_id=user_id, agent=agent, title=title_of(message.content)),
        thread is None,
        parent_id,
        [found[id] for id in message.attachment_ids],
        agent,
        uuid.uuid4(),
        uuid.uuid4(),
    )


def _write(starts: Sequence[_Start]) -> list[Accepted]:
    if not starts:
        return []
    # In one order everywhere: two processes that insert the same keys in opposite orders would wait for each other.
    new = sorted((one.thread for one in starts if one.is_new), key=lambda thread: thread.id)
    rows = [(key(thread.id), thread.user_id, thread.title, thread.agent) for thread in new]
    insert("chat_thread", _THREAD, rows, last_seq="0")
    for one in starts:
        if not one.thread.title:
            Thread.objects.filter(id=one.thread.id).update(title=title_of(one.asked.message.content))
    bodies = [
        events.body_of(
            str(one.thread.id),
            str(one.run_id),
            0,
            "message_created",
            one.agent,
            message_id=str(one.message_id),
            role="user",
            content=one.asked.message.content,
            parent_id=str(one.parent_id) if one.parent_id else None,
            client_msg_id=one.asked.message.client_msg_id,
            attachments=[attached(attachment) for attachment in one.attachments],
        )
        for one in starts
    ]
    numbered = events.append({str(one.thread.id): one.asked.user_id for one in starts}, bodies)
    _say(
        (one.message_id, one.thread.id, one.parent_id, None, "user", one.asked.message.content, seq)
        for one, (seq, _) in zip(starts, numbered, strict=True)
    )
    Attached = Message.attachments.through  # noqa: N806 a class
    Attached.objects.bulk_create(
        Attached(message_id=one.message_id, attachment_id=attachment.id)
        for one in starts
        for attachment in one.attachments
    )
    _queue(
        _Queued(
            one.run_id,
            one.asked.user_id,
            one.thread.id,
            one.message_id,
            one.asked.message.client_msg_id,
            _requests(one.asked.message)[0],
            one.agent,
            seq,
            one.ahead,
        )
        for one, (seq, _) in zip(starts, numbered, strict=True)
    )
    return [
        Accepted(one.thread.id, one.message_id, one.run_id, seq, one.asked.message.client_msg_id, created=(seq, frame))
        for one, (seq, frame) in zip(starts, numbered, strict=True)
    ]


_THREAD = "id uuid, user_id bigint, title text, agent text"
_MESSAGE = "id uuid, thread_id uuid, parent_id uuid, run_id uuid, role text, content text, seq bigint"
_Id = uuid.UUID | str


def _say(messages: Iterable[tuple[_Id, _Id, _Id | None, _Id | None, str, str, int]]) -> None:
    """Write messages, whose events have been: id, thread, parent, run, role, content, seq."""
    rows = [
        (*(id and key(id) for id in (message, thread, parent, run)), role, content, seq)
        for message, thread, parent, run, role, content, seq in messages
    ]
    insert("chat_message", _MESSAGE, rows)


def _regenerate(user_id: int, frame: Regenerate) -> Accepted:
    asked = _request("regenerate", frame.message_id, frame.agent)
    known = _known([(user_id, frame.client_msg_id)])
    if known:
        (run,) = known.values()
        return _again(run, (asked,), None)
    answer = Message.objects.for_user(user_id).filter(id=frame.message_id).select_related("thread", "parent").first()
    if answer is None or answer.parent is None or answer.role != "assistant":
        raise ProtocolError("not_found", "There is no such answer.", field="message_id")
    thread = _thread(user_id, answer.thread_id)
    ahead = _one_more(_active({user_id}), user_id)
    return _another(thread, answer.parent.id, _agent(frame.agent, thread.agent), asked, frame.client_msg_id, ahead)


@transaction.atomic
def again(run_id: uuid.UUID) -> Accepted:
    """A new run for the message of one that has ended, by the same agent. Raises not_found, conflict, unknown_agent."""
    run = Run.objects.get(id=run_id)
    thread = _thread(run.user_id, run.thread_id)
    if run.status in Run.ACTIVE:
        raise ProtocolError("conflict", "This run has not ended.", field="run_id")
    ahead = _active({run.user_id})[run.user_id]
    return _another(thread, run.message_id, _agent(run.agent, None), _request("again", run_id), None, ahead)


def _another(
    thread: Thread, message_id: uuid.UUID, agent: str, asked: str, client_msg_id: str | None, ahead: int
) -> Accepted:
    """One more run for a message of this thread, which is locked."""
    run = _Queued(
        uuid.uuid4(), thread.user_id, thread.id, message_id, client_msg_id, asked, agent, thread.last_seq, ahead
    )
    _queue([run])
    return Accepted(thread.id, message_id, run.id, thread.last_seq, client_msg_id)


_RUN = """id uuid, user_id bigint, thread_id uuid, message_id uuid, client_msg_id text, request text, agent text,
    position bigint, turn float"""
_NEW = {"turn": "{later}", "status": "'queued'", "attempt": "0", "fence": "0", "error_code": "''", "usage": "'{{}}'"}


@dataclass(frozen=True, slots=True)
class _Queued:
    """A run that is to be written; its user has so many active ones `ahead` of it."""

    id: uuid.UUID
    user_id: int
    thread_id: uuid.UUID
    message_id: uuid.UUID
    client_msg_id: str | None
    request: str
    agent: str
    position: int
    ahead: int


def _queue(runs: Iterable[_Queued]) -> None:
    """Queue these runs. It is a user's turn later by NETRA_RUN_TIMEOUT for each run ahead: who comes after that does
    not wait for it, unless what is ahead of it could have ended by then, one after the other."""
    queued = sorted(runs, key=lambda run: (run.user_id, run.client_msg_id or ""))
    rows = [
        (
            key(run.id),
            run.user_id,
            key(run.thread_id),
            key(run.message_id),
            run.client_msg_id,
            run.request,
            run.agent,
            run.position,
            run.ahead * settings.NETRA_RUN_TIMEOUT,
        )
        for run in queued
    ]
    insert("chat_run", _RUN, rows, **_NEW)
    transaction.on_commit(partial(layer.post, layer.WORKERS, {"type": "run"}))
    _on_commit_at_last(_count_queued, queued)


def _on_commit_at_last(count: Callable[..., None], *of: Any) -> None:
    """Count and log on commit, behind whatever somebody waits for."""
    transaction.on_commit(partial(database.afterwards, partial(count, *of)))


def _count_queued(runs: Sequence[_Queued]) -> None:
    for run in runs:
        metrics.started(run.agent)
        log.info("run queued", extra=_ids(run.user_id, run.thread_id, run.id, run.agent))


def _ids(user_id: int, thread_id: uuid.UUID | str, run_id: uuid.UUID | str, agent: str, **more: Any) -> dict[str, Any]:
    """What a line of the log says of a run."""
    return {"user_id": user_id, "thread_id": str(thread_id), "run_id": str(run_id), "agent": agent, **more}


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


def _task(content: str) -> str:
    line = re.sub(r"\s+", " ", content[: 4 * TASK_LENGTH]).strip()
    return line if len(line) <= TASK_LENGTH else line[: TASK_LENGTH - 1].rstrip() + "…"


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
    body = events.body_of(str(thread.id), None, 0, "thread_updated", None, title=title)
    events.append({str(thread.id): user_id}, [body])
    Thread.objects.filter(id=thread.id).update(title=title)
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
        events.tell(user_id, {"type": "control", "thread": str(thread.id), "frame": frame})
    for run in active:  # one that was started before the thread was locked; from now on none is
        _cancel(run.id)


def _thread(user_id: int, thread_id: uuid.UUID) -> Thread:
    thread = Thread.objects.for_user(user_id).select_for_update().filter(id=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    return thread


# ---- A worker's side -------------------------------------------------------------------------------------

_WAITED = {
    "sqlite": "(julianday('now') - julianday(r.created_at)) * 86400",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp() - r.created_at)::float",
}
# Running on a lease that ran out; or queued, due and first in its thread's queue with nothing running before it. The
# former come first: their time runs. Each kind is read in its order by an index, no further than it must be, so that
# looking costs the same however many runs there are.
_CLAIMABLE = """
    SELECT r.id, r.fence, r.status, r.started_at IS NOT NULL, r.error_code,
        r.thread_id, r.message_id, r.user_id, r.agent, m.content, m.parent_id IS NULL AND NOT EXISTS (
            SELECT 1 FROM chat_message_attachments a WHERE a.message_id = m.id), r.usage, {waited}
    FROM chat_run r JOIN chat_message m ON m.id = r.message_id WHERE r.id IN (
        SELECT id FROM (
            SELECT r.id FROM chat_run r JOIN chat_thread t ON t.id = r.thread_id
            WHERE t.deleted_at IS NULL AND r.status = 'running' AND r.agent IN ({agents})
                AND r.lease_until < {began} AND r.attempt < %s
            ORDER BY r.lease_until LIMIT %s) lost
        UNION ALL SELECT id FROM (
            SELECT r.id FROM chat_run r JOIN chat_thread t ON t.id = r.thread_id
            WHERE t.deleted_at IS NULL AND r.status = 'queued'
                AND r.agent IN ({agents}) AND (r.not_before IS NULL OR r.not_before <= {now}) AND NOT EXISTS (
                    SELECT 1 FROM chat_run o WHERE o.thread_id = r.thread_id AND o.status IN ('queued', 'running')
                    AND (o.status = 'running' OR (o.position, o.created_at, o.id) < (r.position, r.created_at, r.id)))
            ORDER BY r.turn, r.created_at LIMIT %s) waiting)
    ORDER BY r.status = 'queued', r.turn, r.created_at LIMIT %s"""
_CLAIMED = sql("""
    SET status = 'running', attempt = attempt + 1, fence = fence + 1, lease_until = {later}, worker_id = %s,
        not_before = NULL, error_code = '', started_at = COALESCE(started_at, {now}), claimed_at = {now}""")
_CLAIM = sql(
    {
        "sqlite": """
        UPDATE chat_run {claimed} WHERE (status = 'queued' OR status = 'running' AND lease_until < {now})
            AND (id, fence) IN
            (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s))
        RETURNING id, attempt, fence""",
        "postgresql": """
        WITH free AS (
            SELECT r.id AS free_id FROM chat_run r
            JOIN unnest(%s::uuid[], %s::bigint[]) AS v(id, fence) ON r.id = v.id AND r.fence = v.fence
            WHERE r.status = 'queued' OR r.status = 'running' AND r.lease_until < {now} ORDER BY r.id FOR UPDATE OF r)
        UPDATE chat_run {claimed} FROM free WHERE id = free_id RETURNING id, attempt, fence""",
    },
    claimed=_CLAIMED,
)
# Those of (id, fence) that are running with this fence, held to the end of the transaction: of SQLite's there is one at
# a time. Nothing is written: every piece that a run says would change its row, too.
_HOLD = sql(
    {
        "sqlite": """
        SELECT r.id FROM (
            SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS fence FROM json_each(%s)) AS v
        CROSS JOIN chat_run r WHERE r.id = v.id AND r.fence = v.fence AND r.status = 'running'""",
        "postgresql": """
        SELECT r.id FROM chat_run r
        JOIN unnest(%s::uuid[], %s::bigint[]) AS v(id, fence) ON r.id = v.id AND r.fence = v.fence
        WHERE r.status = 'running' ORDER BY r.id FOR UPDATE OF r""",
    }
)
_LEASE = sql(
    {
        "sqlite": "UPDATE chat_run SET lease_until = {later} WHERE id IN (SELECT value FROM json_each(%s))",
        "postgresql": "UPDATE chat_run SET lease_until = {later} WHERE id = ANY(%s::uuid[])",
    }
)


def claim(worker_id: uuid.UUID, agents: Sequence[str], limit: int) -> list[Claimed]:
    """Take up to `limit` runs for this worker; each gets its `agent_started`, after `run_restarted` if it had begun."""
    if not agents or limit < 1:
        return []
    found = execute(
        sql(_CLAIMABLE, agents=", ".join(["%s"] * len(agents)), waited=_WAITED[VENDOR]),
        [*agents, settings.NETRA_MAX_ATTEMPTS, limit, *agents, limit, limit],
    )
    rows = {id_of(row[0]): row for row in found}
    if not rows:
        return []
    with written():
        taken = _take(worker_id, [(id, row[1]) for id, row in rows.items()])
        claimed = [_claimed(run_id, row, *taken[run_id]) for run_id, row in rows.items() if run_id in taken]
        bodies = [body for run, why in claimed for body in _beginning(run, why)]
        numbered = events.append({run.thread_id: run.user_id for run, _ in claimed}, bodies)
        started = dict(zip((body.run_id for body in bodies), (seq for seq, _ in numbered), strict=True))
        for run, why in claimed:
            _on_commit_at_last(_count_claim, run, why)
    return [replace(run, seq=started[run.run_id]) for run, _ in claimed]


def _claimed(run_id: str, row: Sequence[Any], attempt: int, fence: int) -> tuple[Claimed, str]:
    """What was claimed, of a row of `_CLAIMABLE`, and why there is another attempt; "first" for the first."""
    _, _, status, begun, error_code, thread_id, message_id, user_id, agent, content, alone, usage, waited = row
    run = Claimed(
        run_id,
        id_of(thread_id),
        id_of(message_id),
        user_id,
        agent,
        content,
        attempt,
        fence,
        bool(begun),
        bool(alone),
        # Also where it was handed back by who drained: what had lost its workers before has not changed.
        last=bool(begun) and not error_code and 1 < attempt == settings.NETRA_MAX_ATTEMPTS,
        usage=json.loads(usage) if isinstance(usage, str) else usage,
        waited=max(0.0, waited),
    )
    if not begun:
        return run, "first"
    return run, "worker_lost" if status == Run.RUNNING else "retry" if error_code else "worker_stopped"


def _beginning(run: Claimed, why: str) -> Iterator[Body]:
    if run.restarted:  # `attempt` is a field of the envelope, too: one and the same
        yield events.body_of(run.thread_id, run.run_id, run.attempt, "run_restarted", run.agent, reason=why)
    yield events.body_of(
        run.thread_id,
        run.run_id,
        run.attempt,
        "agent_started",
        run.agent,
        task=_task(run.text),
        status="started",
        parent_agent=None,
        message_id=run.message_id,
    )


def _count_claim(run: Claimed, why: str) -> None:
    metrics.claimed(run.agent, why, run.waited)
    ids = _ids(run.user_id, run.thread_id, run.run_id, run.agent, attempt=run.attempt)
    log.info("run claimed", extra={**ids, "reason": why, "waited": round(run.waited, 3)})


def _take(worker_id: uuid.UUID, pairs: Sequence[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """Claim those of these (run, fence) that are still free; returns (attempt, fence) of each."""
    lease, worker = settings.NETRA_LEASE_SECONDS, key(worker_id)
    if VENDOR == "postgresql":
        taken = execute(_CLAIM, [[id for id, _ in pairs], [fence for _, fence in pairs], lease, worker])
    else:
        taken = execute(_CLAIM, [lease, worker, json.dumps([(key(id), fence) for id, fence in pairs])])
    return {id_of(id): (attempt, fence) for id, attempt, fence in taken}


def record(entries: Sequence[Entry], after: Mapping[str, int] | None = None) -> dict[str, int]:
    """Commit what these runs said, and their ends. Returns the runs whose fence still holds, and of each the number of
    its last event here (0: there was none); of the others nothing was written. Each run may stand in one entry only.

    A database that goes away in a COMMIT does not say whether it was made. Who tries again gives the numbers of the
    last events of these runs that it knows of: what stands `after` them is not written twice."""
    users = {entry.run.thread_id: entry.run.user_id for entry in entries}
    if not after and all(entry.events and entry.end is None for entry in entries):
        bodies = [body for entry in entries for body in entry.events]
        return events.append_held(users, bodies, {entry.run.run_id: entry.run.fence for entry in entries})
    with written():
        held = _hold([entry.run for entry in entries])  # waits for such a commit, if it is still under way
        done = _done(entries, after) if after else {}
        entries = [entry for entry in entries if entry.run.run_id in held and entry.run.run_id not in done]
        titled = _titled(entries)
        bodies = [body for entry in entries for body in _in_order(entry, titled)]
        numbered = events.append(users, bodies)
        last = dict.fromkeys((entry.run.run_id for entry in entries), 0)
        last |= zip((str(body.run_id) for body in bodies), (seq for seq, _ in numbered), strict=True)
        _end([(entry.run, entry.end, last[entry.run.run_id]) for entry in entries if entry.end is not None])
    return last | done


def _done(entries: Sequence[Entry], after: Mapping[str, int]) -> dict[str, int]:
    """Those of these entries that had been written, with the numbers of their last events."""
    done = {}
    for run, said in ((entry.run, entry.events) for entry in entries if entry.events):
        log = Event.objects.filter(thread_id=run.thread_id, run_id=run.run_id, seq__gt=after[run.run_id])
        newest = log.order_by("-seq").values_list("seq", "frame").first()
        if newest is not None and newest[1].endswith(said[-1].tail):
            done[run.run_id] = newest[0]
    return done


def _titled(entries: Sequence[Entry]) -> dict[str, Body]:
    """Give the threads the titles that these runs end with; run id -> `thread_updated`, where the thread took it."""
    titles = {entry.run.run_id: entry.end.title for entry in entries if entry.end is not None and entry.end.title}
    if not titles:
        return {}
    # All threads of this commit, so that there is one order of locks: a person may be renaming one of them now.
    locked = Thread.objects.select_for_update().filter(id__in=[entry.run.thread_id for entry in entries])
    list(locked.order_by("id").values_list("id"))
    found = {}
    for run in (entry.run for entry in entries if entry.run.run_id in titles):
        title = titles[run.run_id]
        if title != title_of(run.text) and untitled(run):
            Thread.objects.filter(id=run.thread_id).update(title=title)
            found[run.run_id] = events.body_of(
                run.thread_id, run.run_id, run.attempt, "thread_updated", run.agent, title=title
            )
    return found


def _in_order(entry: Entry, titled: dict[str, Body]) -> list[Body]:
    """The events of the entry; a title comes right before the run's last event."""
    if title := titled.get(entry.run.run_id):
        return [*entry.events[:-1], title, *entry.events[-1:]]
    return entry.events


_REQUEUE = sql("""
    UPDATE chat_run SET status = 'queued', fence = fence + 1, attempt = attempt - %s, error_code = %s,
        usage = %s, lease_until = NULL, worker_id = NULL, not_before = {later} WHERE id = %s""")
_FINISH = sql("""
    UPDATE chat_run SET status = %s, error_code = %s, usage = %s, lease_until = NULL, worker_id = NULL,
        finished_at = {now} WHERE id = %s""")


def _end(ends: Sequence[tuple[Claimed, End, int]]) -> None:
    """Set how these runs, which are held, left their worker; `seq` is the number of the last event of each."""
    if not ends:
        return
    requeued = [
        (int(end.refund), end.error_code, json.dumps(end.usage), end.delay, key(run.run_id))
        for run, end, _ in ends
        if end.status == Run.QUEUED
    ]
    finished = [
        (end.status, end.error_code, json.dumps(end.usage), key(run.run_id))
        for run, end, _ in ends
        if end.status != Run.QUEUED
    ]
    with connection.cursor() as cursor:
        if finished:
            cursor.executemany(_FINISH, finished)
        if requeued:
            cursor.executemany(_REQUEUE, requeued)
            transaction.on_commit(partial(layer.post, layer.WORKERS, {"type": "run"}))
    _say(
        (end.message_id, run.thread_id, run.message_id, run.run_id, "assistant", end.answer, seq)
        for run, end, seq in ends
        if end.answer is not None and end.message_id is not None
    )
    for run, end, _ in ends:
        if end.status != Run.QUEUED:
            _on_commit_at_last(_count_end, run, end.status, end.error_code, end.usage)


def _count_end(run: Claimed, status: str, error_code: str, usage: dict[str, Any]) -> None:
    seconds = time.monotonic() - run.since
    metrics.ended(run.agent, status, seconds, usage)
    ids = _ids(run.user_id, run.thread_id, run.run_id, run.agent, attempt=run.attempt)
    log.info("run ended", extra={**ids, "status": status, "error_code": error_code, "seconds": round(seconds, 3)})


def history(run: Claimed) -> History:
    """(role, content) of the messages from the thread's root to the one that the run answers, that one included, and
    what is attached to them, the oldest first.

    A message that was sent while another was being answered follows that other message; what had been answered by now
    stands between the two."""
    said = Message.objects.filter(thread_id=run.thread_id).order_by("seq")
    messages = {row[0]: row for row in said.values_list("id", "parent_id", "role", "content")}
    answers = {parent: content for _, parent, role, content in messages.values() if role == "assistant"}
    path: list[tuple[str, str]] = []
    ids: list[uuid.UUID] = []
    current, follower = uuid.UUID(run.message_id), None
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
    log = Event.objects.filter(
        thread_id=run.thread_id, run_id=run.run_id, type__in=("tool_executing", "tool_completed")
    )
    rows = log.order_by("seq")
    for kind, frame, whole in rows.values_list("type", "frame", "result"):
        event = json.loads(frame)
        if kind == "tool_executing":
            found.setdefault(event["tool_call_id"], (False, None))
        elif event["success"]:
            found[event["tool_call_id"]] = (True, event["result"] if whole is None else json.loads(whole))
    return found


def untitled(run: Claimed) -> bool:
    """Whether the run's thread has only the title that this run's message gave it: none of a person or a run."""
    still = Thread.objects.filter(id=run.thread_id, title=title_of(run.text))
    return still.exists() and not Event.objects.filter(thread_id=run.thread_id, type="thread_updated").exists()


def clock(run: Claimed, going: bool) -> bool:
    """Stop the time that NETRA_RUN_TIMEOUT limits, or begin it anew: what waits for room has not begun. False: the run
    has ended, or is another's."""
    held = Run.objects.filter(id=run.run_id, fence=run.fence, status=Run.RUNNING)
    return held.update(claimed_at=Now() if going else None) > 0


def used(run: Claimed, usage: dict[str, Any]) -> None:
    """Keep what a run had used up when somebody ended it under its worker; not where another has had it since."""
    ended = Run.objects.filter(id=run.run_id, fence=run.fence + 1, status__in=(Run.CANCELLED, Run.FAILED))
    if ended.update(usage=usage):
        metrics.used(usage)


def register(worker_id: uuid.UUID, host: str, pid: int, agents: dict[str, Any]) -> None:
    Worker.objects.create(id=worker_id, host=host, pid=pid, agents=agents)


def unregister(worker_id: uuid.UUID) -> None:
    Worker.objects.filter(id=worker_id).delete()


@transaction.atomic
def heartbeat(worker_id: uuid.UUID, draining: bool, runs: Iterable[Claimed]) -> set[str]:
    """Extend the leases of these runs; returns the ids of those that are still this worker's.

    Forgets the workers that have been silent for an hour. Raises Worker.DoesNotExist if this is one of them."""
    held = _hold(runs)
    if held:
        execute(_LEASE, [settings.NETRA_LEASE_SECONDS, many([key(id) for id in held])])
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
    active = runs.filter(status__in=Run.ACTIVE).order_by("-position", "-created_at", "-id")
    # The last in a thread's queue first: the end of one before it would let it begin.
    return [id for id in list(active.values_list("id", flat=True)) if _cancel(id)]


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
        still = {"status": Run.RUNNING, "claimed_at__lt": late}
        ended += _fail(run_id, "timeout", "This took too long and was stopped.", **still)
    for run_id in sorted(exhausted):
        still = {"status": Run.RUNNING, "lease_until__lt": Now()}
        ended += _fail(run_id, "max_attempts", "This failed again and again and was given up.", **still)
    return ended


def live_workers() -> QuerySet[Worker]:
    """Those that take work, and were heard of within a lease."""
    since = Now() - timedelta(seconds=settings.NETRA_LEASE_SECONDS)
    return Worker.objects.filter(draining=False, heartbeat_at__gt=since)


def unserved() -> set[str]:
    """The agents that runs wait for and no live worker plays."""
    waiting = Run.objects.filter(status=Run.QUEUED).order_by().values_list("agent", flat=True).distinct()
    return set(waiting).difference(*live_workers().values_list("agents", flat=True))


def abandon(agents: Collection[str]) -> int:
    """End the runs that have waited for one of these agents for NETRA_RUN_TIMEOUT or longer. Returns how many."""
    late = Now() - timedelta(seconds=settings.NETRA_RUN_TIMEOUT)
    waiting = Run.objects.filter(status=Run.QUEUED, agent__in=agents, created_at__lt=late).order_by("id")
    return sum(
        _fail(run_id, "unknown_agent", f"No agent called {agent!r} is at work any more.", status=Run.QUEUED)
        for run_id, agent in list(waiting.values_list("id", "agent"))
    )


def _fail(run_id: uuid.UUID, code: str, message: str, **still: Any) -> bool:
    return _terminate(
        run_id,
        Run.FAILED,
        "agent_failed",
        lambda run: {"status": "failed", "error_code": code, "message": message, "recoverable": True},
        error_code=code,
        still=still,
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
    active = Run.objects.select_for_update().filter(id=run_id, status__in=Run.ACTIVE, **(still or {}))
    run = active.annotate(lasted=Now() - F("claimed_at")).first()
    if run is None:
        return False
    extra, said = fields(run), ""
    message_id = uuid.uuid4()
    if status == Run.CANCELLED and (said := _said(run)):
        extra["message_id"] = str(message_id)
    thread_id = str(run.thread_id)
    body = events.body_of(thread_id, str(run.id), run.attempt, kind, run.agent, **extra)
    ((seq, _),) = events.append({thread_id: run.user_id}, [body])
    if said:
        _say([(message_id, thread_id, run.message_id, run.id, "assistant", said, seq)])
    Run.objects.filter(id=run.id).update(
        status=status, fence=F("fence") + 1, error_code=error_code, lease_until=None, worker=None, finished_at=Now()
    )
    seconds = run.lasted.total_seconds() if run.lasted is not None else None
    transaction.on_commit(partial(metrics.ended, run.agent, status, seconds, {}))
    ids = _ids(run.user_id, run.thread_id, run.id, run.agent, attempt=run.attempt)
    transaction.on_commit(partial(log.info, "run ended", extra={**ids, "status": status, "error_code": error_code}))
    # Its worker drops it, and whoever is idle looks for what waited behind it.
    transaction.on_commit(partial(layer.post, layer.WORKERS, {"type": "stop", "run": str(run.id)}))
    return True


def _said(run: Run) -> str:
    """What the run has said and committed since it was last started."""
    events = Event.objects.filter(thread=run.thread_id, run=run.id, seq__gt=run.position).order_by("seq")
    start = events.filter(type="run_restarted").values_list("seq", flat=True).last() or 0
    frames = events.filter(type="agent_delta", seq__gt=start).values_list("frame", flat=True)
    return "".join(json.loads(frame)["delta"] for frame in frames)


# ---- What is under way ---------------------------------------------------------------------------------------------


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


def _hold(runs: Iterable[Claimed]) -> set[str]:
    """Lock those of these claims that are their run's latest, while it runs, in id order; returns the runs' ids.

    One run may stand there twice: of two claims, the older one not yet ended."""
    wanted = [(key(run.run_id), run.fence) for run in runs]
    if not wanted:
        return set()
    if VENDOR == "postgresql":
        held = execute(_HOLD, [[id for id, _ in wanted], [fence for _, fence in wanted]])
    else:
        held = execute(_HOLD, [json.dumps(wanted)])
    return {id_of(id) for (id,) in held}
