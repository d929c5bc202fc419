"""A thread's log: how its events get their numbers, how users are told of them and how they are read.

Only chat.runs writes it. Signals leave on commit, never before.
"""

import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Min
from django.db.models.functions import Now

from chat import layer, metrics, protocol
from chat.models import Event, Run, Thread
from chat.protocol import TERMINAL, ProtocolError
from chat.sql import execute, id_of, insert, key, sql


@dataclass(frozen=True, slots=True)
class Body:
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

_ADVANCE = {
    "sqlite": """
        UPDATE chat_thread SET last_seq = last_seq + v.n{touched}
        FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS n FROM json_each(%s)) AS v
        WHERE chat_thread.id = v.id RETURNING chat_thread.id, chat_thread.last_seq""",
    "postgresql": """
        UPDATE chat_thread t SET last_seq = t.last_seq + v.n{touched}
        FROM unnest(%s::uuid[], %s::bigint[]) AS v(id, n) WHERE t.id = v.id RETURNING t.id, t.last_seq""",
}
_LOCK = "SELECT 1 FROM chat_thread WHERE id = ANY(%s::uuid[]) ORDER BY id FOR UPDATE"
_EVENT = "chat_event (thread_id, seq, run_id, attempt, type, frame, result)"


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
        timestamp=protocol.timestamp(datetime.now(UTC)),
        fields=fields,
    )
    return Body(thread_id, run_id, attempt, kind, head, tail, result)


def body_of(thread_id: str, run_id: str | None, attempt: int, kind: str, agent: str | None, **fields: Any) -> Body:
    return body(thread_id, run_id, attempt, {"type": kind, "agent_name": agent, **fields})


def append(users: Mapping[str, int], bodies: Sequence[Body]) -> list[tuple[int, str]]:
    """Number and insert these events, in order, and tell the `users` of their threads on commit; returns (seq, frame)
    of each. The one place where a seq is made.

    Inside the caller's transaction, which holds the runs' rows: the threads' rows are locked from here to its end."""
    if not bodies:
        return []
    counts = Counter([body.thread_id for body in bodies])
    following = _advance(counts, any(body.type != "agent_delta" for body in bodies))
    numbered, rows = [], []
    signals: dict[int, list[list[Any]]] = {}
    for b in bodies:
        thread = b.thread_id
        seq = following[thread]
        following[thread] = seq + 1
        frame = f"{b.head}{seq}{b.tail}"
        numbered.append((seq, frame))
        # Nobody who gets it needs to decode the frame.
        signals.setdefault(users[thread], []).append([thread, seq, b.run_id or "", b.type in TERMINAL, frame])
        rows.append((key(thread), seq, b.run_id and key(b.run_id), b.attempt, b.type, frame, b.result))
    insert(_EVENT, "(%s, %s, %s, %s, %s, %s, %s)", rows)
    transaction.on_commit(partial(_committed, [b.type for b in bodies], signals))
    return numbered


def _committed(types: Sequence[str], signals: Mapping[int, list[list[Any]]]) -> None:
    metrics.committed(types)
    for user_id, told in signals.items():
        layer.post(layer.user_group(user_id), {"type": "events", "events": told})


def _advance(counts: Mapping[str, int], touch: bool) -> dict[str, int]:
    """Raise `last_seq` of these threads; returns the first of the new numbers of each.

    What a run only says does not `touch` them: `updated_at` is indexed, and every change would be written there too."""
    statement = sql(_ADVANCE, touched=sql(", updated_at = {now}") if touch else "")
    threads = {key(thread): thread for thread in sorted(counts)}
    numbers = [counts[thread] for thread in threads.values()]
    if connection.vendor == "postgresql":
        if len(threads) > 1:
            execute(_LOCK, [list(threads)])
        rows = execute(statement, [list(threads), numbers])
    else:
        rows = execute(statement, [json.dumps(list(zip(threads, numbers, strict=True)))])
    heads = {threads[key(id)]: head for id, head in rows}
    return {thread: heads[thread] - n + 1 for thread, n in counts.items()}


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
