"""Claim queued runs and runs whose lease ran out, and keep their leases."""

import json
import logging
import random
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from chat import metrics
from chat.db.sql import VENDOR, any_of, array_parameter, execute, format_id, id_parameter, sql
from chat.models import Run, Worker
from chat.runs import event_log
from chat.runs.event_log import Body
from chat.runs.inputs.suspension import resumed_fields
from chat.runs.record import after_commit, lock_runs, log_fields
from chat.runs.slots import Slots
from chat.runs.types import ClaimedRun

log = logging.getLogger("netra.runs")
TASK_LENGTH = 80


def _shorten_task(content: str) -> str:
    line = re.sub(r"\s+", " ", content[: 4 * TASK_LENGTH]).strip()
    return line if len(line) <= TASK_LENGTH else line[: TASK_LENGTH - 1].rstrip() + "…"


_WAITED = {
    "sqlite": "(julianday('now') - julianday(r.created_at)) * 86400",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp() - r.created_at)::float",
}
_SUSPENDED = {
    "sqlite": "(julianday('now') - julianday(r.waiting_since)) * 86400",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp() - r.waiting_since)::float",
}
# A run can be claimed if its lease ran out, or if it is queued, due and the first active one of its thread. Runs with
# expired leases come first, because their time limit counts.
_ROW = """
    SELECT r.id, r.fencing_token, r.status, r.started_at IS NOT NULL, r.error_code,
        r.thread_id, r.message_id, r.user_id, r.agent, m.content, m.parent_id IS NULL AND NOT EXISTS (
            SELECT 1 FROM chat_message_attachments a WHERE a.message_id = m.id), r.usage, {waited},
        r.continues, r.interactive, EXISTS (
            SELECT 1 FROM chat_message b WHERE b.id = m.parent_id AND (b.role = 'user' OR EXISTS (
                SELECT 1 FROM chat_runstate s WHERE s.run_id = b.run_id))), r.assistant_version_id, m.path, m.context,
        r.language, r.claimed_at, {suspended}
    FROM chat_run r JOIN chat_message m ON m.id = r.message_id WHERE r.id IN (
        {ids}) ORDER BY r.status = 'queued', r.scheduled_for, r.created_at"""
_IS_DUE = """t.deleted_at IS NULL AND (r.available_at IS NULL OR r.available_at <= {now}) AND NOT EXISTS (
                SELECT 1 FROM chat_run o WHERE o.thread_id = r.thread_id AND o.status IN ('queued', 'running')
                AND (o.status = 'running'
                    OR (o.thread_seq, o.created_at, o.id) < (r.thread_seq, r.created_at, r.id)))"""
# Every worker executes every assistant.
_IS_SERVED = "(r.agent IN ({agents}) OR r.assistant_version_id IS NOT NULL)"
# A claim reads so many queued runs at most, in their order and from an index: its cost does not grow with the queue.
MAX_SCANNED_RUNS = 100
_WAITING = """SELECT r.id, r.user_id, r.thread_id, r.available_at, r.thread_seq, r.created_at, r.scheduled_for
            FROM chat_run r WHERE r.status = 'queued' AND {is_served}
            ORDER BY r.scheduled_for, r.created_at LIMIT 100""".replace("{is_served}", _IS_SERVED)
_NEAREST = (
    _ROW.replace(
        "{ids}",
        """SELECT id FROM (
            SELECT r.id FROM chat_run r JOIN chat_thread t ON t.id = r.thread_id
            WHERE t.deleted_at IS NULL AND r.status = 'running' AND {is_served}
                AND r.lease_until < {statement_now} AND r.attempt < %s
            ORDER BY r.lease_until LIMIT %s) expired
        UNION ALL SELECT id FROM (
            SELECT r.id FROM ({waiting}) r JOIN chat_thread t ON t.id = r.thread_id
            WHERE NOT r.user_id {any_of} AND {is_due}
            ORDER BY r.scheduled_for, r.created_at LIMIT %s) waiting""",
    )
    .replace("{waiting}", _WAITING)
    .replace("{is_served}", _IS_SERVED)
    .replace("{is_due}", _IS_DUE)
)
_IS_MORE = "SELECT count(*) FROM ({waiting}) r".replace("{waiting}", _WAITING)
# If users without a further slot have the first MAX_SCANNED_RUNS, read some users after a given one and the first run
# of each that has a slot. Both come from run_user_queue: SQLite gets its name, and PostgreSQL has no other
# index with this condition and this order.
_BY_USER, _ORDER = {
    "sqlite": ("INDEXED BY run_user_queue", "r.user_id"),
    "postgresql": ("", "r.user_id, r.status, r.scheduled_for, r.created_at"),
}[VENDOR]
_USER = "SELECT r.user_id FROM chat_run r {by_user} WHERE {is_queued} AND r.user_id > {after} ORDER BY {order} LIMIT 1"
_HEADS = (
    """
    WITH RECURSIVE users(id, n) AS (
        SELECT ({first}), 1 UNION ALL SELECT ({next}), n + 1 FROM users WHERE users.id IS NOT NULL AND n < %s)
    SELECT users.id, CASE WHEN NOT users.id {any_of} THEN (
        SELECT r.id FROM chat_run r {by_user} JOIN chat_thread t ON t.id = r.thread_id
        WHERE r.user_id = users.id AND {is_queued} AND {is_served} AND NOT r.id {these} AND {is_due}
        ORDER BY r.status, r.scheduled_for, r.created_at LIMIT 1) END
    FROM users WHERE users.id IS NOT NULL ORDER BY users.id""".replace("{first}", _USER.replace("{after}", "%s"))
    .replace("{next}", _USER.replace("{after}", "users.id"))
    .replace("{is_queued}", "r.status IN ('queued', 'running') AND r.status <> 'running'")
    .replace("{is_served}", _IS_SERVED)
    .replace("{is_due}", _IS_DUE)
    .replace("{by_user}", _BY_USER)
    .replace("{order}", _ORDER)
)
_THESE = _ROW.replace("{ids}", "SELECT r.id FROM chat_run r WHERE r.id {these}")
_CLAIMED = sql("""
    SET status = 'running', attempt = attempt + CASE WHEN status = 'queued' AND continues THEN 0 ELSE 1 END,
        continues = FALSE, waiting_since = NULL, fencing_token = fencing_token + 1, lease_until = {later},
        worker_id = %s, available_at = NULL, error_code = '', started_at = COALESCE(started_at, {now}),
        claimed_at = {now}""")
_CLAIM = sql(
    {
        "sqlite": """
        UPDATE chat_run {claimed} WHERE (status = 'queued' OR status = 'running' AND lease_until < {now})
            AND (id, fencing_token) IN
            (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s))
        RETURNING id, attempt, fencing_token""",
        "postgresql": """
        WITH free AS (
            SELECT r.id AS free_id FROM chat_run r
            JOIN unnest(%s::uuid[], %s::bigint[]) AS v(id, token) ON r.id = v.id AND r.fencing_token = v.token
            WHERE r.status = 'queued' OR r.status = 'running' AND r.lease_until < {now} ORDER BY r.id FOR UPDATE OF r)
        UPDATE chat_run {claimed} FROM free WHERE id = free_id RETURNING id, attempt, fencing_token""",
    },
    claimed=_CLAIMED,
)
_LEASE = sql(
    {
        "sqlite": "UPDATE chat_run SET lease_until = {later} WHERE id IN (SELECT value FROM json_each(%s))",
        "postgresql": "UPDATE chat_run SET lease_until = {later} WHERE id = ANY(%s::uuid[])",
    }
)


def claim(worker_id: uuid.UUID, agents: Sequence[str], limit: int, held: Iterable[int] = ()) -> list[ClaimedRun]:
    """Claim up to `limit` runs for this worker and write their `agent_started`, after `run_restarted` for a restart.

    A run that waited continues its attempt, and gets `run_resumed` instead. Every worker executes every assistant.

    `held` names the user of each slot that is in use, once a slot. No user gets more slots than `Slots` allows. A run
    whose lease ran out is claimed whatever slots its user has, because its time limit counts.
    """
    if not agents or limit < 1:
        return []
    users = list(held)
    rows = _Selection(agents, limit, Slots(limit + len(users), settings.NETRA_USER_SHARE, users)).select()
    if not rows:
        return []
    with transaction.atomic():
        began = time.monotonic()  # before the leases begin in the database
        taken = _claim_rows(worker_id, [(id, row[1]) for id, row in rows.items()])
        claimed = [_make_claimed_run(id, row, *taken[id], began) for id, row in rows.items() if id in taken]
        bodies = [body for run, why in claimed for body in _start_events(run, why, rows[run.run_id])]
        numbered = event_log.append({run.thread_id: run.user_id for run, _ in claimed}, bodies)
        started = dict(zip((body.run_id for body in bodies), (seq for seq, _ in numbered), strict=True))
        for run, why in claimed:
            after_commit(_count_claim, run, why)
    return [replace(run, seq=started[run.run_id]) for run, _ in claimed]


class _Selection:
    """Selection of the runs that a worker claims: their rows by run id, in order."""

    def __init__(self, agents: Sequence[str], limit: int, slots: Slots[int]) -> None:
        self._agents, self._limit, self._slots = agents, limit, slots
        self._full = slots.full()  # users without a further slot
        self._rows: dict[str, Sequence[Any]] = {}

    def select(self) -> dict[str, Sequence[Any]]:
        while self._take_rows(self._read_nearest()):
            pass  # the next query skips the users who were refused
        if (not self._rows or self._full) and len(self._rows) < self._limit:
            self._search_other_users()
        return self._rows

    def _take_rows(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Select from these rows, in order. Return True if a user was refused and a slot is still free."""
        refused = False
        for row in rows:
            run_id, status, user_id = format_id(row[0]), row[2], row[7]
            if len(self._rows) == self._limit:
                return False
            if run_id in self._rows:
                continue
            if status == Run.RUNNING or self._slots.may_begin(user_id):
                self._rows[run_id] = row
                self._slots.take(user_id)
            else:
                self._full.add(user_id)
                refused = True
        return refused

    def _read_nearest(self) -> list[Any]:
        of = self._agents
        values = [*of, settings.NETRA_MAX_ATTEMPTS, self._limit, *of, array_parameter(self._full), self._limit]
        return execute(self._sql(_NEAREST), values)

    def _search_other_users(self) -> None:
        """Select runs of users behind those who have many queued runs and no further slot.

        Each round takes one run of each other user. The first user is random, so that none is always the first.
        """
        if execute(self._sql(_IS_MORE), self._agents)[0][0] < MAX_SCANNED_RUNS:
            return
        before, start = -1, random.choice(sorted(self._full)) if self._full else 0  # noqa: S311 no secret
        while before < len(self._rows) < self._limit:
            before, after, wrapped = len(self._rows), start, False
            while len(self._rows) < self._limit and not (wrapped and after >= start):
                heads = self._read_heads(after)
                ids = [id_parameter(run_id) for _, run_id in heads if run_id is not None]
                self._take_rows(execute(self._sql(_THESE), [array_parameter(ids)]) if ids else [])
                wrapped, after = (wrapped, heads[-1][0]) if heads else (True, 0 if not wrapped else start)

    def _read_heads(self, after: int) -> list[Any]:
        users = len(self._full) + self._limit - len(self._rows)
        chosen = array_parameter([id_parameter(id) for id in self._rows])
        return execute(self._sql(_HEADS), [after, users, array_parameter(self._full), *self._agents, chosen])

    def _sql(self, statement: str) -> str:
        agents = ", ".join(["%s"] * len(self._agents))
        times = {"waited": _WAITED[VENDOR], "suspended": _SUSPENDED[VENDOR]}
        return sql(statement, agents=agents, any_of=any_of("bigint"), these=any_of("uuid"), **times)


def _make_claimed_run(
    run_id: str, row: Sequence[Any], attempt: int, fencing_token: int, began: float
) -> tuple[ClaimedRun, str]:
    """Return the claimed run of a row of `_ROW`, and the reason of the attempt; "first" for the first one."""
    _, _, status, begun, error_code, thread_id, message_id, user_id, agent, content, alone, usage, waited = row[:13]
    continues = bool(row[13]) and status == Run.QUEUED
    run = ClaimedRun(
        run_id,
        format_id(thread_id),
        format_id(message_id),
        user_id,
        agent,
        content,
        attempt,
        fencing_token,
        bool(begun) and not continues,
        bool(alone),
        # Also after a draining worker returned the run: earlier attempts still ended with their workers.
        last=bool(begun) and not error_code and 1 < attempt == settings.NETRA_MAX_ATTEMPTS,
        usage=json.loads(usage) if isinstance(usage, str) else usage,
        waited=max(0.0, waited),
        since=began,
        continues=continues,
        interactive=bool(row[14]),
        has_previous=bool(row[15]),
        assistant_version=row[16],
        path=row[17],
        context=_context(row[18]),
        language=row[19],
    )
    if continues:
        return run, "continued"
    if not begun:
        return run, "first"
    return run, "worker_lost" if status == Run.RUNNING else "retry" if error_code else "worker_stopped"


def _context(stored: Any) -> tuple[tuple[str, str], ...]:
    turns = json.loads(stored) if isinstance(stored, str) else stored  # SQLite's JSON is text
    return tuple((role, text) for role, text in turns or ())


def _start_events(run: ClaimedRun, why: str, row: Sequence[Any]) -> Iterator[Body]:
    if run.continues:
        fields = resumed_fields(run.run_id, *row[-2:])
        yield event_log.make_event(run.thread_id, run.run_id, run.attempt, "run_resumed", run.agent, **fields)
        return
    if run.restarted:  # `attempt` is a field of the envelope, too: one and the same
        yield event_log.make_event(run.thread_id, run.run_id, run.attempt, "run_restarted", run.agent, reason=why)
    yield event_log.make_event(
        run.thread_id,
        run.run_id,
        run.attempt,
        "agent_started",
        run.agent,
        task=_shorten_task(run.text),
        status="started",
        parent_agent=None,
        message_id=run.message_id,
    )


def _count_claim(run: ClaimedRun, why: str) -> None:
    metrics.count_claim(run.agent, why, run.waited)
    ids = log_fields(run.user_id, run.thread_id, run.run_id, run.agent, attempt=run.attempt)
    log.info("run claimed", extra={**ids, "reason": why, "waited": round(run.waited, 3)})


def _claim_rows(worker_id: uuid.UUID, pairs: Sequence[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """Claim the runs of these (run id, fencing token) that are still free.

    Return run id -> (attempt, fencing token).
    """
    lease, worker = settings.NETRA_LEASE_SECONDS, id_parameter(worker_id)
    if VENDOR == "postgresql":
        taken = execute(_CLAIM, [[id for id, _ in pairs], [token for _, token in pairs], lease, worker])
    else:
        taken = execute(_CLAIM, [lease, worker, json.dumps([(id_parameter(id), token) for id, token in pairs])])
    return {format_id(id): (attempt, token) for id, attempt, token in taken}


def set_run_timer(run: ClaimedRun, running: bool) -> bool:
    """Restart the time that NETRA_RUN_TIMEOUT limits, or stop it while the run waits for an isolated process.

    Return False if the run has ended or another worker has it.
    """
    held = Run.objects.filter(id=run.run_id, fencing_token=run.fencing_token, status=Run.RUNNING)
    return held.update(claimed_at=Now() if running else None) > 0


def register(worker_id: uuid.UUID, host: str, pid: int, agents: dict[str, Any]) -> None:
    """Register a worker process and its agents."""
    Worker.objects.create(id=worker_id, host=host, pid=pid, agents=agents)


def unregister(worker_id: uuid.UUID) -> None:
    """Delete the worker."""
    Worker.objects.filter(id=worker_id).delete()


@transaction.atomic
def heartbeat(worker_id: uuid.UUID, draining: bool, runs: Iterable[ClaimedRun]) -> set[str]:
    """Extend the leases of these runs. Return the ids of the runs that this worker still has.

    Delete the workers without a heartbeat for an hour. Raises Worker.DoesNotExist if this worker was deleted.
    """
    held = lock_runs(runs)
    if held:
        execute(_LEASE, [settings.NETRA_LEASE_SECONDS, array_parameter([id_parameter(id) for id in held])])
    if not Worker.objects.filter(id=worker_id).update(heartbeat_at=Now(), draining=draining):
        raise Worker.DoesNotExist
    Worker.objects.filter(heartbeat_at__lt=Now() - timedelta(hours=1)).delete()
    return held
