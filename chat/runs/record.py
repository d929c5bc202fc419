"""Record the events and outcomes of runs, checked against their fencing tokens."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from chat import metrics
from chat.db.search import fold
from chat.db.sql import VENDOR, execute, format_id, id_parameter, insert, sql
from chat.dialects.paths import extend
from chat.models import Event, Run, Thread
from chat.realtime import channel_layer
from chat.runs import event_log
from chat.runs.event_log import Body
from chat.runs.inputs.requests import cancel_open, insert_inputs
from chat.runs.titles import title_of
from chat.runs.types import AnyId, ClaimedRun, RunBatch, RunOutcome

log = logging.getLogger("netra.runs")
_MESSAGE_COLUMNS = (
    "id uuid, thread_id uuid, parent_id uuid, run_id uuid, role text, content text, seq bigint, path text"
)


def insert_messages(
    messages: Iterable[tuple[AnyId, AnyId, AnyId | None, AnyId | None, str, str, int]], paths: Iterable[str] = ()
) -> None:
    """Insert messages whose events are written: (id, thread, parent, run, role, content, seq), with their paths."""
    rows, texts = [], []
    written = zip(messages, chain(paths, repeat("")), strict=False)
    for (message, thread, parent, run, role, content, seq), path in written:
        ids = [id and id_parameter(id) for id in (message, thread, parent, run)]
        rows.append((*ids, role, content, seq, path))
        texts.append((*ids[:2], fold(content)))
    insert("chat_message", _MESSAGE_COLUMNS, rows)
    insert("chat_messagetext", "message_id uuid, thread_id uuid, folded text", texts)


_RUN_COLUMNS = """id uuid, user_id bigint, thread_id uuid, message_id uuid, client_msg_id text, request_hash text,
    agent text, assistant_version_id bigint, thread_seq bigint, scheduled_for float, interactive boolean,
    language text"""
_RUN_VALUES = {
    "scheduled_for": "{later}",
    "status": "'queued'",
    "attempt": "0",
    "fencing_token": "0",
    "error_code": "''",
    "usage": "'{{}}'",
}


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to insert. `ahead` is the number of active runs of its user."""

    id: uuid.UUID
    user_id: int
    thread_id: uuid.UUID
    message_id: uuid.UUID
    client_msg_id: str | None
    request_hash: str
    agent: str
    assistant_version: int | None
    thread_seq: int
    ahead: int
    interactive: bool = True
    language: str = ""


def insert_runs(runs: Iterable[NewRun]) -> None:
    """Insert these runs and wake the workers.

    Fair queueing: each active run of a user delays that user's next run by NETRA_RUN_TIMEOUT.
    """
    queued = sorted(runs, key=lambda run: (run.user_id, run.client_msg_id or ""))
    rows = [
        (
            id_parameter(run.id),
            run.user_id,
            id_parameter(run.thread_id),
            id_parameter(run.message_id),
            run.client_msg_id,
            run.request_hash,
            run.agent,
            run.assistant_version,
            run.thread_seq,
            run.ahead * settings.NETRA_RUN_TIMEOUT,
            run.interactive,
            run.language,
        )
        for run in queued
    ]
    insert("chat_run", _RUN_COLUMNS, rows, **_RUN_VALUES)
    transaction.on_commit(partial(channel_layer.publish, channel_layer.WORKERS, {"type": "run"}))
    after_commit(_count_queued, queued)


def _count_queued(runs: Sequence[NewRun]) -> None:
    for run in runs:
        metrics.count_start(run.agent)
        log.info("run queued", extra=log_fields(run.user_id, run.thread_id, run.id, run.agent))


def after_commit(count: Callable[..., None], *of: Any) -> None:
    """Call `count` after the commit, for metrics and logs; its exception is logged."""
    transaction.on_commit(partial(count, *of), robust=True)


def log_fields(
    user_id: int, thread_id: uuid.UUID | str, run_id: uuid.UUID | str, agent: str, **more: Any
) -> dict[str, Any]:
    """Return the fields of a log line about a run."""
    return {"user_id": user_id, "thread_id": str(thread_id), "run_id": str(run_id), "agent": agent, **more}


# The running runs of these (id, fencing token), locked until the transaction ends. SQLite has one writer and
# needs no row locks. The statement writes nothing: otherwise each delta of a run would rewrite its row.
_LOCK_RUNS = sql(
    {
        "sqlite": """
        SELECT r.id FROM (
            SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS token FROM json_each(%s)) AS v
        CROSS JOIN chat_run r WHERE r.id = v.id AND r.fencing_token = v.token AND r.status = 'running'""",
        "postgresql": """
        SELECT r.id FROM chat_run r
        JOIN unnest(%s::uuid[], %s::bigint[]) AS v(id, token) ON r.id = v.id AND r.fencing_token = v.token
        WHERE r.status = 'running' ORDER BY r.id FOR UPDATE OF r""",
    }
)


def record(entries: Sequence[RunBatch], after: Mapping[str, int] | None = None) -> dict[str, int]:
    """Commit these events and outcomes. Each run has at most one batch.

    Return run id -> number of its last event here (0 without events), for the runs whose fencing token is current. It
    writes nothing of the others.

    A COMMIT that fails with its connection may have succeeded. A caller that tries again passes in `after` the number
    of the last event that it knows of for each run. A batch that is already written after it is not written again.
    """
    users = {entry.run.thread_id: entry.run.user_id for entry in entries}
    if not after and all(entry.events and entry.end is None and not _requests(entry) for entry in entries):
        bodies = [body for entry in entries for body in entry.events]
        return event_log.append_locked(users, bodies, {entry.run.run_id: entry.run.fencing_token for entry in entries})
    with transaction.atomic():
        held = lock_runs([entry.run for entry in entries])  # waits for such a commit, if it is still under way
        done = _find_written(entries, after) if after else {}
        entries = [entry for entry in entries if entry.run.run_id in held and entry.run.run_id not in done]
        before_end = cancel_open([e.run.run_id for e in entries if e.end is not None and e.end.status != Run.QUEUED])
        for run_id, title in _apply_titles(entries).items():
            before_end.setdefault(run_id, []).append(title)
        bodies = [body for entry in entries for body in _order_events(entry, before_end)]
        numbered = event_log.append(users, bodies)
        last = dict.fromkeys((entry.run.run_id for entry in entries), 0)
        last |= zip((str(body.run_id) for body in bodies), (seq for seq, _ in numbered), strict=True)
        asked = [(str(body.run_id), body.request) for body in bodies if body.request is not None]
        if asked:
            insert_inputs({run_id for run_id, _ in asked}, asked)
        _apply_outcomes([(entry.run, entry.end, last[entry.run.run_id]) for entry in entries if entry.end is not None])
    return last | done


def _find_written(entries: Sequence[RunBatch], after: Mapping[str, int]) -> dict[str, int]:
    """Return the runs whose batch an earlier try has written -> the number of its last event."""
    done = {}
    for run, said in ((entry.run, entry.events) for entry in entries if entry.events):
        log = Event.objects.filter(thread_id=run.thread_id, run_id=run.run_id, seq__gt=after[run.run_id])
        log = log.exclude(type="input_resolved")  # an answer is not written by the run's worker
        newest = log.order_by("-seq").values_list("seq", "frame").first()
        if newest is not None and newest[1].endswith(said[-1].tail):
            done[run.run_id] = newest[0]
    return done


def _apply_titles(entries: Sequence[RunBatch]) -> dict[str, Body]:
    """Set the titles of these outcomes. Return run id -> `thread_updated` for each thread that took its title."""
    titles = {entry.run.run_id: entry.end.title for entry in entries if entry.end is not None and entry.end.title}
    if not titles:
        return {}
    # Lock all threads of this commit in one order: a user may rename one of them at the same time.
    locked = Thread.objects.select_for_update().filter(id__in=[entry.run.thread_id for entry in entries])
    list(locked.order_by("id").values_list("id"))
    found = {}
    for run in (entry.run for entry in entries if entry.run.run_id in titles):
        title = titles[run.run_id]
        if title != title_of(run.text) and needs_title(run):
            Thread.objects.filter(id=run.thread_id).update(title=title)
            found[run.run_id] = event_log.make_event(
                run.thread_id, run.run_id, run.attempt, "thread_updated", run.agent, title=title
            )
    return found


def _requests(entry: RunBatch) -> bool:
    return any(body.request is not None for body in entry.events)


def _order_events(entry: RunBatch, before_end: dict[str, list[Body]]) -> list[Body]:
    """Return the events of the batch, with cancelled requests and the title right before the run's last event."""
    if found := before_end.get(entry.run.run_id):
        return [*entry.events[:-1], *found, *entry.events[-1:]]
    return entry.events


_REQUEUE = sql("""
    UPDATE chat_run SET status = 'queued', fencing_token = fencing_token + 1, attempt = attempt - %s, error_code = %s,
        usage = %s, lease_until = NULL, worker_id = NULL, available_at = {later} WHERE id = %s""")
_FINISH = sql("""
    UPDATE chat_run SET status = %s, error_code = %s, usage = %s, lease_until = NULL, worker_id = NULL,
        finished_at = {now} WHERE id = %s""")


def _apply_outcomes(ends: Sequence[tuple[ClaimedRun, RunOutcome, int]]) -> None:
    """Apply these outcomes (run, outcome, number of the last event). The caller has locked the runs."""
    if not ends:
        return
    requeued = [
        (int(end.refund), end.error_code, json.dumps(end.usage), end.delay, id_parameter(run.run_id))
        for run, end, _ in ends
        if end.status == Run.QUEUED
    ]
    finished = [
        (end.status, end.error_code, json.dumps(end.usage), id_parameter(run.run_id))
        for run, end, _ in ends
        if end.status != Run.QUEUED
    ]
    with connection.cursor() as cursor:
        if finished:
            cursor.executemany(_FINISH, finished)
        if requeued:
            cursor.executemany(_REQUEUE, requeued)
            transaction.on_commit(partial(channel_layer.publish, channel_layer.WORKERS, {"type": "run"}))
    answers = [(run, end, seq) for run, end, seq in ends if end.answer is not None and end.message_id is not None]
    insert_messages(
        [
            (end.message_id, run.thread_id, run.message_id, run.run_id, "assistant", end.answer, seq)
            for run, end, seq in answers
            if end.answer is not None and end.message_id is not None
        ],
        [extend(run.path, [("assistant", end.answer or "")]) for run, end, _ in answers],
    )
    for run, end, _ in ends:
        if end.status != Run.QUEUED:
            after_commit(_count_end, run, end.status, end.error_code, end.usage)


def _count_end(run: ClaimedRun, status: str, error_code: str, usage: dict[str, Any]) -> None:
    seconds = time.monotonic() - run.since
    metrics.count_end(run.agent, status, seconds, usage)
    ids = log_fields(run.user_id, run.thread_id, run.run_id, run.agent, attempt=run.attempt)
    log.info("run ended", extra={**ids, "status": status, "error_code": error_code, "seconds": round(seconds, 3)})


def needs_title(run: ClaimedRun) -> bool:
    """Return whether the thread still has the title made of this run's message."""
    still = Thread.objects.filter(id=run.thread_id, title=title_of(run.text))
    return still.exists() and not Event.objects.filter(thread_id=run.thread_id, type="thread_updated").exists()


def record_usage(run: ClaimedRun, usage: dict[str, Any]) -> None:
    """Record the usage of a run that was ended while this worker executed it, unless another worker claimed it."""
    ended = Run.objects.filter(
        id=run.run_id, fencing_token=run.fencing_token + 1, status__in=(Run.CANCELLED, Run.FAILED)
    )
    if ended.update(usage=usage):
        metrics.count_usage(usage)


def lock_runs(runs: Iterable[ClaimedRun]) -> set[str]:
    """Lock the running runs whose fencing token is that of the claim, in id order; return their ids.

    A run may occur twice, once with an older claim.
    """
    wanted = [(id_parameter(run.run_id), run.fencing_token) for run in runs]
    if not wanted:
        return set()
    if VENDOR == "postgresql":
        held = execute(_LOCK_RUNS, [[id for id, _ in wanted], [token for _, token in wanted]])
    else:
        held = execute(_LOCK_RUNS, [json.dumps(wanted)])
    return {format_id(id) for (id,) in held}
