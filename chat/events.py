"""A thread's log: how its events get their numbers, how users are told of them and how they are read.

Only chat.runs writes it. Signals leave on commit, never before.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Min
from django.db.models.functions import Now

from chat import layer, metrics, protocol
from chat.models import Event, Run, Thread
from chat.protocol import TERMINAL, ProtocolError
from chat.sql import VENDOR, execute, id_of, insert, key, sql, written


class Body(NamedTuple):
    """An event before it has its number: its frame is head + seq + tail. `result`: see Event."""

    thread_id: str
    run_id: str | None
    attempt: int
    type: str
    head: str
    tail: str
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a thread's log: `rows` are (seq, run id or "", type, frame), `first` the oldest event still kept."""

    rows: list[tuple[int, str, str, str]]
    head: int
    first: int

    @property
    def frames(self) -> list[str]:
        return [row[3] for row in self.rows]


# ---- Writing ---------------------------------------------------------------------------------------------

_EVENT = "thread_id uuid, seq bigint, run_id uuid, attempt int, type text, frame text, result text"
_TOUCHED = sql(", updated_at = {now}")
_ADVANCE = """
    UPDATE chat_thread SET last_seq = last_seq + v.n{touched}
    FROM (SELECT json_extract(value, '$[0]') AS t, json_extract(value, '$[1]') AS r, json_extract(value, '$[2]') AS n,
        json_extract(value, '$[3]') AS f FROM json_each(%s)) AS v{held}
    WHERE chat_thread.id = v.t RETURNING {run}, chat_thread.id, chat_thread.last_seq"""
# The run that is running in a thread is the one that is held: there is one at most.
_HELD_BY = {
    "held": " CROSS JOIN chat_run ON chat_run.id = v.r AND chat_run.fence = v.f AND chat_run.status = 'running'",
    "run": "(SELECT id FROM chat_run WHERE thread_id = chat_thread.id AND status = 'running')",
}
# PostgreSQL does it all in one statement, to which a text of JSON is far less work to give than an array a column. Runs
# are locked before threads, each by id, and a thread before it changes.
_APPEND = """
    WITH said AS MATERIALIZED (
        SELECT * FROM json_to_recordset(%s::json)
        AS e(o int, t uuid, r uuid, f bigint, a int, y text, h text, b text, x text)){held},
    kept AS MATERIALIZED (
        SELECT said.*, row_number() OVER (PARTITION BY t ORDER BY o) AS k FROM said{of_held}),
    locked AS MATERIALIZED (
        SELECT id FROM chat_thread WHERE id IN (SELECT t FROM kept) ORDER BY id FOR UPDATE),
    moved AS (
        UPDATE chat_thread SET last_seq = last_seq + v.n{touched}
        FROM (SELECT t, count(*) AS n FROM kept GROUP BY t) AS v JOIN locked ON locked.id = v.t
        WHERE chat_thread.id = v.t RETURNING chat_thread.id, last_seq - v.n AS before),
    written AS (
        INSERT INTO chat_event (thread_id, seq, run_id, attempt, type, frame, result)
        SELECT t, before + k, r, a, y, h || (before + k) || b, x
        FROM kept JOIN moved ON moved.id = t ORDER BY o)
    SELECT DISTINCT r, t, before FROM kept JOIN moved ON moved.id = t"""
_HELD = """,
    held AS MATERIALIZED (
        SELECT id FROM chat_run JOIN (SELECT DISTINCT r, f FROM said) AS v ON id = v.r AND fence = v.f
        WHERE status = 'running' ORDER BY id FOR UPDATE OF chat_run)"""


def body(thread_id: str, run_id: str | None, attempt: int, event: dict[str, Any], result: str | None = None) -> Body:
    """An event as an agent emits it (type, agent_name and its own fields), made ready to be numbered.

    Raises ValueError or TypeError for what is no JSON, ProtocolError too_large."""
    fields = dict(event)
    kind, agent = fields.pop("type"), fields.pop("agent_name")
    head, tail = protocol.event(
        kind,
        thread_id=thread_id,
        run_id=run_id,
        attempt=attempt,
        agent_name=agent,
        timestamp=_at(time.time_ns() // 1_000_000),
        fields=fields,
    )
    return Body(thread_id, run_id, attempt, kind, head, tail, result)


@lru_cache(maxsize=1)
def _at(milliseconds: int) -> str:
    """As the wire shows it. What is encoded together is mostly of one millisecond."""
    seconds, rest = divmod(milliseconds, 1000)
    return protocol.timestamp(datetime.fromtimestamp(seconds, UTC).replace(microsecond=1000 * rest))


def body_of(thread_id: str, run_id: str | None, attempt: int, kind: str, agent: str | None, **fields: Any) -> Body:
    return body(thread_id, run_id, attempt, {"type": kind, "agent_name": agent, **fields})


def append(users: Mapping[str, int], bodies: Sequence[Body]) -> list[tuple[int, str]]:
    """Number and insert these events, in order, and tell the `users` of their threads on commit; returns (seq, frame)
    of each. Those of one thread are of one run.

    Inside the caller's transaction, which holds the runs' rows: the threads' rows are locked from here to its end."""
    return _append(users, bodies)[1] if bodies else []


def append_held(users: Mapping[str, int], bodies: Sequence[Body], fences: Mapping[str, int]) -> dict[str, int]:
    """`append` those of the runs that are running with these `fences`, in a transaction of its own. Returns run id ->
    the number of its last event here."""
    # Also where it is one statement: alone, it could be on its way for long, and be made after it was tried again. So
    # it is not made without a COMMIT, which is sent when the runs are held.
    with written():
        kept, told = _append(users, bodies, fences)
    return {str(body.run_id): seq for body, (seq, _) in zip(kept, told, strict=True)}


def _append(
    users: Mapping[str, int], bodies: Sequence[Body], fences: Mapping[str, int] | None = None
) -> tuple[Sequence[Body], list[tuple[int, str]]]:
    """Those of the events whose run is held, all of them without `fences`; and (seq, frame) of each."""
    found = _write(bodies, fences) if VENDOR == "postgresql" else _advance(bodies, fences)
    if fences is not None:
        held = {run for run, _, _ in found}
        bodies = [body for body in bodies if body.run_id in held]
    told = _told(users, bodies, {thread: before for _, thread, before in found})
    if VENDOR == "sqlite":
        rows = [
            (key(b.thread_id), seq, b.run_id and key(b.run_id), b.attempt, b.type, frame, b.result)
            for b, (seq, frame) in zip(bodies, told, strict=True)
        ]
        insert("chat_event", _EVENT, rows)
    return bodies, told


_Found = list[tuple[str | None, str, int]]


def _advance(bodies: Sequence[Body], fences: Mapping[str, int] | None) -> _Found:
    """Raise `last_seq` of the threads; of each: its run, its id, and what that was before. SQLite's."""
    counts = Counter([(body.thread_id, body.run_id) for body in bodies])
    rows = [
        (key(thread), run and key(run), n, fences[str(run)] if fences else None) for (thread, run), n in counts.items()
    ]
    how = {"held": "", "run": "NULL"} if fences is None else _HELD_BY
    found = execute(_ADVANCE.format(touched=_touched(bodies), **how), [json.dumps(rows)])
    if fences is None:
        runs = dict(counts.keys())
        advanced = [(runs[id_of(thread)], id_of(thread), last) for _, thread, last in found]
    else:
        advanced = [(id_of(run), id_of(thread), last) for run, thread, last in found]
    return [(run, thread, last - counts[thread, run]) for run, thread, last in advanced]


def _write(bodies: Sequence[Body], fences: Mapping[str, int] | None) -> _Found:
    """`_advance`, and write the events, too. PostgreSQL's."""
    rows = [
        {"o": o, "t": b.thread_id, "r": b.run_id, "a": b.attempt, "y": b.type, "h": b.head, "b": b.tail, "x": b.result}
        for o, b in enumerate(bodies)
    ]
    how = {"held": "", "of_held": ""}
    if fences is not None:
        how = {"held": _HELD, "of_held": " JOIN held ON held.id = r"}
        for row in rows:
            row["f"] = fences[str(row["r"])]
    statement = _APPEND.format(touched=_touched(bodies), **how)
    found = execute(statement, [json.dumps(rows, ensure_ascii=False)])
    return [(run and id_of(run), id_of(thread), before) for run, thread, before in found]


def _touched(bodies: Sequence[Body]) -> str:
    """What a run only says does not touch its thread: `updated_at` is indexed, every change would be written there."""
    return _TOUCHED if any(body.type != "agent_delta" for body in bodies) else ""


def _told(users: Mapping[str, int], bodies: Sequence[Body], last: Mapping[str, int]) -> list[tuple[int, str]]:
    """(seq, frame) of each of these events, which follow the `last` of their threads; tells the users on commit."""
    heads = dict(last)
    numbered = []
    signals: dict[int, list[list[Any]]] = {}
    for b in bodies:
        thread = b.thread_id
        seq = heads[thread] = heads[thread] + 1
        frame = f"{b.head}{seq}{b.tail}"
        numbered.append((seq, frame))
        # Nobody who gets it needs to decode the frame.
        signals.setdefault(users[thread], []).append([thread, seq, b.run_id or "", b.type in TERMINAL, frame])
    transaction.on_commit(partial(_committed, [b.type for b in bodies], signals))
    return numbered


def _committed(types: Sequence[str], signals: Mapping[int, list[list[Any]]]) -> None:
    metrics.committed(types)
    for user_id, told in signals.items():
        layer.post(layer.user_group(user_id), {"type": "events", "events": told})


# ---- Telling ---------------------------------------------------------------------------------------------


def tell(user_id: int, message: dict[str, Any]) -> None:
    """Signal the user's sockets, on commit."""
    transaction.on_commit(partial(layer.post, layer.user_group(user_id), message))


def session_ended(user_id: int, session_id: uuid.UUID | None) -> None:
    """Tell the user's sockets, on commit, that a session of theirs has ended; None: all of them have."""
    tell(user_id, {"type": "session_ended", "session": str(session_id) if session_id else None})


# ---- Reading ---------------------------------------------------------------------------------------------


def replay(user_id: int, thread_id: uuid.UUID, after: int, limit: int, run_ids: Collection[str] | None = None) -> Page:
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
    thread_id: uuid.UUID, after: int, limit: int, run_ids: Collection[str] | None = None
) -> list[tuple[int, str, str, str]]:
    """(seq, run id or "", type, frame) of a thread's events after `after`. For a thread known to be the user's."""
    among = "" if run_ids is None else f" AND run_id IN ({', '.join(['%s'] * len(run_ids)) or 'NULL'})"
    with connection.cursor() as cursor:  # ten thousand rows: the ORM would make as many UUIDs
        cursor.execute(
            f"SELECT seq, run_id, type, frame FROM chat_event WHERE thread_id = %s AND seq > %s{among}"  # noqa: S608
            " ORDER BY seq LIMIT %s",
            [key(thread_id), after, *map(key, run_ids or ()), limit],
        )
        return [(seq, id_of(run) if run else "", kind, frame) for seq, run, kind, frame in cursor.fetchall()]


def heads(user_id: int) -> dict[str, int]:
    """The last seq of each of the user's threads."""
    with connection.cursor() as cursor:  # for each socket that opens: the ORM would make an object of every id
        cursor.execute("SELECT id, last_seq FROM chat_thread WHERE user_id = %s AND deleted_at IS NULL", [user_id])
        return {id_of(id): head for id, head in cursor.fetchall()}


def heads_of(thread_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    return dict(Thread.objects.filter(id__in=list(thread_ids), deleted_at=None).values_list("id", "last_seq"))


def changed(user_ids: Iterable[int], since: timedelta) -> list[tuple[int, uuid.UUID, int]]:
    """(user, thread, last seq) of the threads of these users that changed within the last `since`, or in which a run
    is speaking, which touches no thread."""
    users = list(user_ids)
    threads = Thread.objects.filter(user__in=users, deleted_at=None, updated_at__gte=Now() - since)
    speaking = Run.objects.filter(user__in=users, status=Run.RUNNING, thread__deleted_at=None)
    found = {row[1]: row for row in threads.values_list("user_id", "id", "last_seq")}
    found |= {row[1]: row for row in speaking.values_list("user_id", "thread_id", "thread__last_seq")}
    return list(found.values())
