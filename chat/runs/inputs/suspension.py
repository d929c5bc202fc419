"""Suspend a run that waits for a person, and keep what it has recorded."""

import json
import logging
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from chat import protocol
from chat.db.sql import execute, sql
from chat.models import Event, InputRequest, InputStep, Message, Run, RunState
from chat.protocol import MAX_OPEN_INPUTS, MAX_RUN_INPUTS, MAX_STEPS
from chat.realtime import channel_layer
from chat.runs import event_log
from chat.runs.inputs.requests import resolved_fields
from chat.runs.inputs.types import RecordedInput
from chat.runs.queries import branch
from chat.runs.record import after_commit, lock_runs, log_fields
from chat.runs.types import ClaimedRun

log = logging.getLogger("netra.runs")


@transaction.atomic
def suspend(run: ClaimedRun, awaited: Iterable[str], usage: dict[str, Any]) -> str | None:
    """Let the run wait for its open requests: `run_waiting`, no lease, no worker. Return its new status.

    If one of `awaited` is resolved by now, the run is queued again instead. Returns None if the run is no longer this
    worker's.
    """
    if run.run_id not in lock_runs([run]):
        return None
    rows = InputRequest.objects.filter(run_id=run.run_id, status=InputRequest.OPEN).order_by("created_at", "pk")
    open_ids = [str(request_id) for request_id in rows.values_list("pk", flat=True)]
    status = Run.WAITING if open_ids and set(awaited) <= set(open_ids) else Run.QUEUED
    Run.objects.filter(pk=run.run_id).update(
        status=status,
        fencing_token=F("fencing_token") + 1,
        lease_until=None,
        worker=None,
        usage=usage,
        continues=True,
        waiting_since=Now(),
    )
    if status == Run.WAITING:
        event = event_log.make_event(
            run.thread_id, run.run_id, run.attempt, "run_waiting", run.agent, request_ids=open_ids
        )
        event_log.append({run.thread_id: run.user_id}, [event])
    transaction.on_commit(partial(channel_layer.publish, channel_layer.WORKERS, {"type": "run"}))
    ids = log_fields(run.user_id, run.thread_id, run.run_id, run.agent, attempt=run.attempt)
    after_commit(partial(log.info, "run suspended", extra={**ids, "status": status}))
    return status


def too_many_inputs(run: ClaimedRun) -> bool:
    """Return whether the run or its user may not ask another question."""
    asked = InputRequest.objects.filter(run_id=run.run_id).count()
    waiting = InputRequest.objects.filter(user=run.user_id, status=InputRequest.OPEN).count()
    return asked >= MAX_RUN_INPUTS or waiting >= MAX_OPEN_INPUTS


def expiry_of(seconds: float) -> datetime:
    """Return the database's time in so many seconds."""
    ((moment,),) = execute(sql("SELECT {later}"), [seconds])
    return _in_utc(moment)


def _in_utc(moment: Any) -> datetime:
    """Return a time as either database's driver gives it, SQLite's in UTC without saying so."""
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def read_inputs(run: ClaimedRun) -> dict[str, RecordedInput]:
    """Return the run's requests by id."""
    rows = InputRequest.objects.filter(run_id=run.run_id).select_related("resolved_by")
    return {str(row.pk): recorded(row) for row in rows}


def read_input(request_id: str) -> RecordedInput | None:
    """Return one request."""
    row = InputRequest.objects.filter(pk=request_id).select_related("resolved_by").first()
    return None if row is None else recorded(row)


def recorded(row: InputRequest) -> RecordedInput:
    """Return the request as the agent gets it."""
    edited = row.edited_parameters is not None
    resolved = None if row.status == InputRequest.OPEN else resolved_fields(row)
    return RecordedInput(
        str(row.pk),
        row.status,
        row.kind,
        row.tool_name,
        row.default if row.status == InputRequest.EXPIRED else row.content,
        row.edited_parameters if edited else row.parameters,
        edited,
        row.comment,
        str(row.resolved_by_id or ""),
        protocol.timestamp(row.expires_at),
        resolved,
    )


def resumed_fields(run_id: str, previous_claim: Any, waited: float | None) -> dict[str, Any]:
    """Return the fields of `run_resumed`: the requests resolved since the previous claim."""
    resolved = InputRequest.objects.filter(run_id=run_id, resolved_at__isnull=False).order_by("resolved_at", "pk")
    if previous_claim is not None:
        resolved = resolved.filter(resolved_at__gte=_in_utc(previous_claim) - timedelta(milliseconds=1))
    ids = [str(request_id) for request_id in resolved.values_list("pk", flat=True)]
    return {"request_ids": ids, "waited_ms": max(0, round((waited or 0) * 1000))}


# ---- Steps and states ----


class TooManySteps(Exception):
    """The run has recorded the maximum number of steps."""


@transaction.atomic
def keep_step(run: ClaimedRun, key: uuid.UUID, result: str, usage: dict[str, Any] | None = None) -> bool:
    """Record the result of a step, and the run's usage with it: a further attempt does not count the step.

    Return False if the run is no longer this worker's. Raises TooManySteps.
    """
    if run.run_id not in lock_runs([run]):
        return False
    if InputStep.objects.filter(run_id=run.run_id).count() >= MAX_STEPS:
        raise TooManySteps
    InputStep.objects.get_or_create(run_id=run.run_id, key=key, defaults={"result": result})
    _keep_usage(run, usage)
    return True


def read_steps(run: ClaimedRun) -> dict[str, Any]:
    """Return the recorded steps of the run: key -> result."""
    rows = InputStep.objects.filter(run_id=run.run_id).values_list("key", "result")
    return {str(key): json.loads(result) for key, result in rows}


@transaction.atomic
def save_state(run: ClaimedRun, state: str, seq: int, usage: dict[str, Any] | None = None) -> int:
    """Store the newest state of the run, and its usage. It covers the worker's events up to `seq`, and answers to them.

    Return the number of the last event that it covers; 0 for a run of another worker.
    """
    if run.run_id not in lock_runs([run]):
        return 0
    answers = Event.objects.filter(thread_id=run.thread_id, run_id=run.run_id, type="input_resolved", seq__gt=seq)
    seq = answers.order_by("-seq").values_list("seq", flat=True).first() or seq
    values = {"state": state, "seq": seq, "saved_at": Now()}
    RunState.objects.update_or_create(run_id=run.run_id, defaults=values)
    _keep_usage(run, usage)
    return seq


def _keep_usage(run: ClaimedRun, usage: dict[str, Any] | None) -> None:
    if usage:
        Run.objects.filter(pk=run.run_id).update(usage=usage)


def read_state(run: ClaimedRun) -> tuple[Any, int] | None:
    """Return what the run has saved, and the number of the last event that it covers."""
    row = RunState.objects.filter(run_id=run.run_id).values_list("state", "seq").first()
    return None if row is None else (json.loads(row[0]), row[1])


def read_previous_state(run: ClaimedRun) -> Any:
    """Return what the run of the preceding answer on this branch has saved, if its agent is the same; else None.

    A message that was sent while another was being answered hangs on that one, and follows its answer all the same.
    """
    parent_id, role = Message.objects.values_list("parent_id", "parent__role").get(pk=run.message_id)
    answer_id: uuid.UUID | None = parent_id
    if role == "user":
        said = branch(run.thread_id, uuid.UUID(run.message_id))
        answer_id = next((id for id, role, _ in reversed(said) if role == "assistant"), None)
    if answer_id is None:
        return None
    answers = Message.objects.filter(pk=answer_id)
    states = RunState.objects.filter(run__in=answers.values("run"), run__agent=run.agent)
    row = states.values_list("state", flat=True).first()
    return None if row is None else json.loads(row)


def input_seconds(asked: float | None) -> float:
    """Return the lifetime of a request in seconds, within what the settings allow."""
    return min(settings.NETRA_INPUT_SECONDS if asked is None else asked, settings.NETRA_INPUT_SECONDS_LIMIT)
