"""The event log of a thread: number and append events, publish them on commit, and read them.

Only modules of chat.runs append. Text that is not logged yet is published by `publish_live`, without a number.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models.functions import Now

from chat import metrics, protocol
from chat.db.sql import VENDOR, execute, format_id, id_parameter, insert, sql
from chat.models import Run, Thread
from chat.protocol import ProtocolError
from chat.realtime import channel_layer
from chat.runs.inputs.types import NewInput


class Body(NamedTuple):
    """An event without its number: its frame is head + seq + tail. `result`: see Event.

    `request` is the input request that is inserted with its `input_requested`.
    """

    thread_id: str
    run_id: str | None
    attempt: int
    type: str
    head: str
    tail: str
    result: str | None = None
    request: NewInput | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a thread's log.

    `rows` are (seq, run id or "", type, frame), `head` is the last number, `first` the oldest one that is kept.
    """

    rows: list[tuple[int, str, str, str]]
    head: int
    first: int

    @property
    def frames(self) -> list[str]:
        """Frames of the rows."""
        return [row[3] for row in self.rows]


# ---- Writing ---------------------------------------------------------------------------------------------

_EVENT_COLUMNS = "thread_id uuid, seq bigint, run_id uuid, attempt int, type text, frame text, result text"
_TOUCH = sql(", updated_at = {now}")
_ADVANCE = """
    UPDATE chat_thread SET last_seq = last_seq + v.n{touched}
    FROM (SELECT json_extract(value, '$[0]') AS t, json_extract(value, '$[1]') AS r, json_extract(value, '$[2]') AS n,
        json_extract(value, '$[3]') AS f FROM json_each(%s)) AS v{held}
    WHERE chat_thread.id = v.t RETURNING {run}, chat_thread.id, chat_thread.last_seq"""
# At most one run of a thread is running: the locked one.
_LOCKED_BY = {
    "held": " CROSS JOIN chat_run ON chat_run.id = v.r AND chat_run.fencing_token = v.f"
    " AND chat_run.status = 'running'",
    "run": "(SELECT id FROM chat_run WHERE thread_id = chat_thread.id AND status = 'running')",
}
# PostgreSQL numbers and inserts in one statement. One JSON text costs far less than an array a column. It locks runs
# before threads, each by id, and a thread before it changes.
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
_LOCKED = """,
    held AS MATERIALIZED (
        SELECT id FROM chat_run JOIN (SELECT DISTINCT r, f FROM said) AS v ON id = v.r AND fencing_token = v.f
        WHERE status = 'running' ORDER BY id FOR UPDATE OF chat_run)"""


def encode_event(
    thread_id: str, run_id: str | None, attempt: int, event: dict[str, Any], result: str | None = None
) -> Body:
    """Encode an event of an agent (type, agent_name and its own fields), except for its number.

    Raises ValueError or TypeError for a value that is no JSON, and ProtocolError too_large.
    """
    fields = dict(event)
    kind, agent = fields.pop("type"), fields.pop("agent_name")
    head, tail = protocol.event(
        kind,
        thread_id=thread_id,
        run_id=run_id,
        attempt=attempt,
        agent_name=agent,
        timestamp=_format_timestamp(time.time_ns() // 1_000_000),
        fields=fields,
    )
    return Body(thread_id, run_id, attempt, kind, head, tail, result)


@lru_cache(maxsize=1)
def _format_timestamp(milliseconds: int) -> str:
    """Return the wire's timestamp. The cache holds one: events that are encoded together share a millisecond."""
    seconds, rest = divmod(milliseconds, 1000)
    return protocol.timestamp(datetime.fromtimestamp(seconds, UTC).replace(microsecond=1000 * rest))


def make_event(thread_id: str, run_id: str | None, attempt: int, kind: str, agent: str | None, **fields: Any) -> Body:
    """Encode an event of the server's own."""
    return encode_event(thread_id, run_id, attempt, {"type": kind, "agent_name": agent, **fields})


def append(users: Mapping[str, int], bodies: Sequence[Body]) -> list[tuple[int, str]]:
    """Insert these events in order with their numbers, and publish them to the `users` of their threads on commit.

    Return (seq, frame) of each. All events of one thread belong to one run. Runs in the transaction of the caller,
    which has locked the runs; it locks the threads until that transaction ends.
    """
    return _append(users, bodies)[1] if bodies else []


def append_locked(
    users: Mapping[str, int], bodies: Sequence[Body], fencing_tokens: Mapping[str, int]
) -> dict[str, int]:
    """Append the events of the runs that are running with these `fencing_tokens`, in one transaction.

    Return run id -> number of its last event here.
    """
    # In a transaction even on PostgreSQL: a single statement that is delayed on its way could be executed after a retry
    # of it. The COMMIT is only sent after the runs are locked.
    with transaction.atomic():
        kept, numbered = _append(users, bodies, fencing_tokens)
    return {str(event.run_id): seq for event, (seq, _) in zip(kept, numbered, strict=True)}


def _append(
    users: Mapping[str, int], bodies: Sequence[Body], fencing_tokens: Mapping[str, int] | None = None
) -> tuple[Sequence[Body], list[tuple[int, str]]]:
    """Append the events whose run is locked, or all without `fencing_tokens`. Return them, and (seq, frame) of each."""
    found = (
        _append_postgresql(bodies, fencing_tokens)
        if VENDOR == "postgresql"
        else _advance_sqlite(bodies, fencing_tokens)
    )
    if fencing_tokens is not None:
        held = {run for run, _, _ in found}
        bodies = [event for event in bodies if event.run_id in held]
    numbered = _number(users, bodies, {thread: before for _, thread, before in found})
    if VENDOR == "sqlite":
        rows = [
            (id_parameter(b.thread_id), seq, b.run_id and id_parameter(b.run_id), b.attempt, b.type, frame, b.result)
            for b, (seq, frame) in zip(bodies, numbered, strict=True)
        ]
        insert("chat_event", _EVENT_COLUMNS, rows)
    return bodies, numbered


_Advanced = list[tuple[str | None, str, int]]


def _advance_sqlite(bodies: Sequence[Body], fencing_tokens: Mapping[str, int] | None) -> _Advanced:
    """Raise `last_seq` of the threads on SQLite. Return (run id, thread id, previous `last_seq`) of each."""
    counts = Counter([(event.thread_id, event.run_id) for event in bodies])
    rows = [
        (id_parameter(thread), run and id_parameter(run), n, fencing_tokens[str(run)] if fencing_tokens else None)
        for (thread, run), n in counts.items()
    ]
    how = {"held": "", "run": "NULL"} if fencing_tokens is None else _LOCKED_BY
    found = execute(_ADVANCE.format(touched=_touch_clause(bodies), **how), [json.dumps(rows)])
    if fencing_tokens is None:
        runs = dict(counts.keys())
        advanced = [(runs[format_id(thread)], format_id(thread), last) for _, thread, last in found]
    else:
        advanced = [(format_id(run), format_id(thread), last) for run, thread, last in found]
    return [(run, thread, last - counts[thread, run]) for run, thread, last in advanced]


def _append_postgresql(bodies: Sequence[Body], fencing_tokens: Mapping[str, int] | None) -> _Advanced:
    """`_advance_sqlite`, and write the events, too. PostgreSQL's."""
    rows = [
        {"o": o, "t": b.thread_id, "r": b.run_id, "a": b.attempt, "y": b.type, "h": b.head, "b": b.tail, "x": b.result}
        for o, b in enumerate(bodies)
    ]
    how = {"held": "", "of_held": ""}
    if fencing_tokens is not None:
        how = {"held": _LOCKED, "of_held": " JOIN held ON held.id = r"}
        for row in rows:
            row["f"] = fencing_tokens[str(row["r"])]
    statement = _APPEND.format(touched=_touch_clause(bodies), **how)
    found = execute(statement, [json.dumps(rows, ensure_ascii=False)])
    return [(run and format_id(run), format_id(thread), before) for run, thread, before in found]


def _touch_clause(bodies: Sequence[Body]) -> str:
    """Return the assignment of `updated_at`; "" for deltas, since each change of it would also change an index."""
    return _TOUCH if any(event.type != "agent_delta" for event in bodies) else ""


def _number(users: Mapping[str, int], bodies: Sequence[Body], last: Mapping[str, int]) -> list[tuple[int, str]]:
    """Give these events the numbers after the `last` of their threads, and publish them on commit.

    Return (seq, frame) of each.
    """
    heads = dict(last)
    numbered = []
    published: dict[int, list[list[Any]]] = {}
    for b in bodies:
        thread = b.thread_id
        seq = heads[thread] = heads[thread] + 1
        frame = f"{b.head}{seq}{b.tail}"
        numbered.append((seq, frame))
        # A receiver does not decode the frame.
        published.setdefault(users[thread], []).append([thread, seq, b.run_id or "", b.type, frame])
    transaction.on_commit(partial(_publish_committed, [b.type for b in bodies], published))
    return numbered


def _publish_committed(types: Sequence[str], published: Mapping[int, list[list[Any]]]) -> None:
    metrics.count_events(types)
    for user_id, events in published.items():
        channel_layer.publish(channel_layer.user_group(user_id), {"type": "events", "events": events})


# ---- Publishing ---------------------------------------------------------------------------------------------


def publish(user_id: int, message: dict[str, Any]) -> None:
    """Publish a message to the user's connections on commit."""
    transaction.on_commit(partial(channel_layer.publish, channel_layer.user_group(user_id), message))


def publish_live(user_id: int, deltas: list[list[Any]]) -> None:
    """Publish text of running runs that is not logged yet, at once.

    Each of `deltas` is [thread id, number of the run's last event before it, run id, frame].
    """
    channel_layer.publish(channel_layer.user_group(user_id), {"type": "live", "deltas": deltas})


def publish_session_ended(user_id: int, session_id: uuid.UUID | None) -> None:
    """Publish on commit that a session of the user has ended, or all of them for None."""
    publish(user_id, {"type": "session_ended", "session": str(session_id) if session_id else None})


def publish_key_ended(user_id: int, key_id: uuid.UUID | None) -> None:
    """Publish on commit that an API key of the user has ended, or all of them for None."""
    publish(user_id, {"type": "key_ended", "key": str(key_id) if key_id else None})


# ---- Reading ---------------------------------------------------------------------------------------------


def replay(user_id: int, thread_id: uuid.UUID, after: int, limit: int, run_ids: Collection[str] | None = None) -> Page:
    """Return up to `limit` events after the number `after`, of these runs only if given. Raises not_found.

    If `first` is above `after` + 1, or `after` above `head`, the log cannot answer: the client must fetch the thread.
    """
    head = Thread.objects.for_user(user_id).filter(id=thread_id).values_list("last_seq", flat=True).first()
    if head is None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    rows = read(thread_id, after, limit, run_ids) if after < head else []
    if run_ids is None and rows and rows[0][0] == after + 1:
        return Page(rows, head, after + 1)
    first = next((seq for seq, *_ in read(thread_id, 0, 1)), head + 1)
    return Page(rows, head, first)


def read(
    thread_id: uuid.UUID, after: int, limit: int, run_ids: Collection[str] | None = None
) -> list[tuple[int, str, str, str]]:
    """Return (seq, run id or "", type, frame) of the events after `after`. The caller has checked the owner."""
    condition = "" if run_ids is None else f" AND run_id IN ({', '.join(['%s'] * len(run_ids)) or 'NULL'})"
    with connection.cursor() as cursor:  # ten thousand rows: the ORM would make as many UUIDs
        cursor.execute(
            f"SELECT seq, run_id, type, frame, pieces FROM chat_event WHERE thread_id = %s AND seq > %s{condition}"  # noqa: S608
            " ORDER BY seq LIMIT %s",
            [id_parameter(thread_id), after, *map(id_parameter, run_ids or ()), limit],
        )
        rows: list[tuple[int, str, str, str]] = []
        for seq, run_id, kind, frame, pieces in cursor.fetchall():
            run = format_id(run_id) if run_id else ""
            if pieces is None:
                rows.append((seq, run, kind, frame))
            else:
                rows += [(number, run, kind, text) for number, text in _separated(frame, pieces) if number > after]
        return rows[:limit]


def _separated(frame: str, pieces: str) -> Iterator[tuple[int, str]]:
    """Yield (seq, frame) of the deltas that were joined, each with the time of the first."""
    event, lengths = json.loads(frame), json.loads(pieces)
    text, begin, offset = event["delta"], 0, event.get("offset")
    for seq, length in enumerate(lengths, event["seq"] - len(lengths) + 1):
        delta = text[begin : begin + length]
        begin += length
        event |= {"seq": seq, "delta": delta}
        if offset is not None:
            event["offset"] = offset
            offset += protocol.utf16_length(delta)
        yield seq, protocol.dumps(event)


def heads_of(thread_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return thread id -> number of its last event, without deleted threads."""
    return dict(Thread.objects.filter(id__in=list(thread_ids), deleted_at=None).values_list("id", "last_seq"))


def changed_threads(user_ids: Iterable[int], since: timedelta) -> list[tuple[int, uuid.UUID, int]]:
    """Return (user, thread, last number) of the users' threads that changed within `since` or have a running run.

    A running run does not touch its thread.
    """
    users = list(user_ids)
    threads = Thread.objects.filter(user__in=users, deleted_at=None, updated_at__gte=Now() - since)
    speaking = Run.objects.filter(user__in=users, status=Run.RUNNING, thread__deleted_at=None)
    found = {row[1]: row for row in threads.values_list("user_id", "id", "last_seq")}
    found |= {row[1]: row for row in speaking.values_list("user_id", "thread_id", "thread__last_seq")}
    return list(found.values())
