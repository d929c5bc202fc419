"""End runs from outside their worker: cancelled, timed out, out of attempts, or without a worker."""

import json
import logging
import uuid
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from chat import metrics
from chat.dialects.paths import extend
from chat.models import Event, Run, Thread
from chat.protocol import ProtocolError
from chat.realtime import channel_layer
from chat.runs import event_log
from chat.runs.inputs.answering import requeue_idle_runs, unattended_runs
from chat.runs.inputs.requests import cancel_open
from chat.runs.record import insert_messages, log_fields

log = logging.getLogger("netra.runs")


def cancel(
    user_id: int,
    run_id: uuid.UUID | None = None,
    thread_id: uuid.UUID | None = None,
    by_administrator: bool = False,
    agents: frozenset[str] = frozenset(),
) -> list[uuid.UUID]:
    """Cancel the user's active runs: one run, those of a thread, or all. Return the ids of the cancelled runs.

    Runs of other agents than `agents` do not exist, unless that is empty. `by_administrator`: the event says so.
    Raises not_found for a run or thread of another user. A run that has ended is no error.
    """
    runs = Run.objects.for_user(user_id)
    if agents:
        runs = runs.filter(agent__in=agents)
    if run_id is not None:
        runs = runs.filter(id=run_id)
        if not runs.exists():
            raise ProtocolError("not_found", "There is no such run.", field="run_id")
    if thread_id is not None:
        runs = runs.filter(thread=thread_id)
        if not Thread.objects.for_user(user_id).filter(id=thread_id).exists():
            raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    active = runs.filter(status__in=Run.ACTIVE).order_by("-thread_seq", "-created_at", "-id")
    # The last of a thread's queue first: cancelling an earlier run would let the next one start.
    return [id for id in list(active.values_list("id", flat=True)) if cancel_one(id, by_administrator)]


def cancel_one(run_id: uuid.UUID, by_administrator: bool = False) -> bool:
    """Cancel the run. Return False if it has ended."""
    fields = {"status": "cancelled", **({"stopped_by": "administrator"} if by_administrator else {})}
    return _terminate(run_id, Run.CANCELLED, "agent_cancelled", lambda run: dict(fields))


def expire_runs() -> int:
    """Fail the runs that are out of time or out of attempts. Return their number.

    Queue the waiting runs that wait for nothing, and cancel those of users who are no longer active.
    """
    requeue_idle_runs()
    for run_id in unattended_runs():
        cancel_one(run_id)
    late = Now() - timedelta(seconds=settings.NETRA_RUN_TIMEOUT)
    running = Run.objects.filter(status=Run.RUNNING)
    timed_out = list(running.filter(claimed_at__lt=late).values_list("id", flat=True))
    exhausted = list(
        running.filter(lease_until__lt=Now(), attempt__gte=settings.NETRA_MAX_ATTEMPTS).values_list("id", flat=True)
    )
    ended = 0
    for run_id in sorted(timed_out):
        condition = {"status": Run.RUNNING, "claimed_at__lt": late}
        ended += _fail(run_id, "timeout", "This took too long and was stopped.", **condition)
    for run_id in sorted(exhausted):
        condition = {"status": Run.RUNNING, "lease_until__lt": Now()}
        ended += _fail(run_id, "max_attempts", "This failed repeatedly and was stopped.", **condition)
    return ended


def fail_unserved(agents: Collection[str]) -> int:
    """Fail the runs that have waited for one of these agents for NETRA_RUN_TIMEOUT. Return their number.

    A run that waited for a person waits for its agent since the answer.
    """
    late = Now() - timedelta(seconds=settings.NETRA_RUN_TIMEOUT)
    waiting = Run.objects.filter(status=Run.QUEUED, agent__in=agents, created_at__lt=late).order_by("id")
    waiting = waiting.exclude(inputs__resolved_at__gte=late)
    return sum(
        _fail(run_id, "unknown_agent", f"No agent called {agent!r} is running any more.", status=Run.QUEUED)
        for run_id, agent in list(waiting.values_list("id", "agent"))
    )


def _fail(run_id: uuid.UUID, code: str, message: str, **condition: Any) -> bool:
    return _terminate(
        run_id,
        Run.FAILED,
        "agent_failed",
        lambda run: {"status": "failed", "error_code": code, "message": message, "recoverable": True},
        error_code=code,
        condition=condition,
    )


@transaction.atomic
def _terminate(
    run_id: uuid.UUID,
    status: str,
    kind: str,
    fields: Callable[[Run], dict[str, Any]],
    error_code: str = "",
    condition: dict[str, Any] | None = None,
) -> bool:
    """End an active run, whichever worker has it, if `condition` is true under its lock. Return False if not."""
    active = Run.objects.select_for_update().filter(id=run_id, status__in=Run.ACTIVE, **(condition or {}))
    run = active.annotate(lasted=Now() - F("claimed_at")).first()
    if run is None:
        return False
    extra, said = fields(run), ""
    message_id = uuid.uuid4()
    if status == Run.CANCELLED and (said := _read_partial_answer(run)):
        extra["message_id"] = str(message_id)
    thread_id = str(run.thread_id)
    resolved = cancel_open([run.id]).get(str(run.id), [])
    body = event_log.make_event(thread_id, str(run.id), run.attempt, kind, run.agent, **extra)
    *_, (seq, _) = event_log.append({thread_id: run.user_id}, [*resolved, body])
    if said:
        path = extend(run.message.path, [("assistant", said)])
        insert_messages([(message_id, thread_id, run.message_id, run.id, "assistant", said, seq)], [path])
    Run.objects.filter(id=run.id).update(
        status=status,
        fencing_token=F("fencing_token") + 1,
        error_code=error_code,
        lease_until=None,
        worker=None,
        finished_at=Now(),
    )
    seconds = run.lasted.total_seconds() if run.lasted is not None else None
    transaction.on_commit(partial(metrics.count_end, run.agent, status, seconds, {}))
    ids = log_fields(run.user_id, run.thread_id, run.id, run.agent, attempt=run.attempt)
    transaction.on_commit(partial(log.info, "run ended", extra={**ids, "status": status, "error_code": error_code}))
    # Its worker stops it, and idle workers claim the next run of the thread.
    transaction.on_commit(partial(channel_layer.publish, channel_layer.WORKERS, {"type": "stop", "run": str(run.id)}))
    return True


def _read_partial_answer(run: Run) -> str:
    """Return the text of the current attempt, as far as it is committed."""
    events = Event.objects.filter(thread=run.thread_id, run=run.id, seq__gt=run.thread_seq).order_by("seq")
    start = events.filter(type="run_restarted").values_list("seq", flat=True).last() or 0
    frames = events.filter(type="agent_delta", seq__gt=start).values_list("frame", flat=True)
    return "".join(json.loads(frame)["delta"] for frame in frames)
