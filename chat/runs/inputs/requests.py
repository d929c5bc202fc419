"""Insert and resolve input requests, within transactions of the write service that hold the run's lock."""

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from chat import metrics, protocol
from chat.db.sql import any_of, array_parameter, execute, format_id, id_parameter
from chat.models import AuditRecord, Grant, InputRequest, Run, User
from chat.realtime import channel_layer
from chat.runs import event_log
from chat.runs.event_log import Body
from chat.runs.inputs.deciders import announce, deciders
from chat.runs.inputs.types import NewInput, Resolution

NOBODY_THERE = "Nobody is there to approve this."
NOBODY_MAY = "Nobody may decide this."


def insert_inputs(run_ids: Collection[str], asked: Sequence[tuple[str, NewInput]]) -> None:
    """Insert these (run id, request) and resolve those that no person is to decide. The runs are locked.

    The caller has appended their `input_requested`; this appends `input_resolved`.
    """
    runs = {str(run.pk): run for run in Run.objects.filter(id__in=run_ids)}
    open_rows = []
    for run_id, new in asked:
        run = runs[run_id]
        row = InputRequest.objects.create(
            id=new.id,
            run=run,
            thread_id=run.thread_id,
            user_id=run.user_id,
            kind=new.kind,
            path=json.dumps(new.path),
            agent_name=new.agent_name,
            message=new.message,
            schema=new.schema,
            default=new.default,
            tool_name=new.tool_name,
            tool_call_id=new.tool_call_id,
            parameters=new.parameters,
            definition_hash=new.definition_hash,
            editable=new.editable,
            decided_by=new.decided_by,
            four_eyes=new.four_eyes,
            reason=new.reason,
            remember=new.remember,
            expires_at=new.expires_at,
        )
        resolution = _resolution_by_policy(run, row)
        if resolution is not None:
            resolve(run, row, resolution)
        else:
            open_rows.append(row)
    announce(open_rows)


def _resolution_by_policy(run: Run, row: InputRequest) -> Resolution | None:
    """Return how the request is resolved without a person; None if a person decides."""
    if not run.interactive:
        if row.kind == InputRequest.APPROVAL:
            return Resolution(InputRequest.DECLINED, "policy", "decline", comment=NOBODY_THERE)
        return Resolution(InputRequest.EXPIRED, "policy")
    if may_remember(row) and is_granted(row):
        return Resolution(InputRequest.ACCEPTED, "policy", "accept")
    if not deciders(row).exists():
        return Resolution(InputRequest.DECLINED, "policy", "decline", comment=NOBODY_MAY)
    return None


def may_remember(row: InputRequest) -> bool:
    """Return whether an acceptance can be remembered for the thread: the owner's own, of a tool that permits it."""
    is_owners = row.decided_by == "owner" and not row.four_eyes
    return row.kind == InputRequest.APPROVAL and bool(row.tool_name) and is_owners and row.remember


def is_granted(row: InputRequest) -> bool:
    """Return whether a person has allowed this definition of the tool for the thread."""
    grants = Grant.objects.filter(thread=row.thread_id, user=row.user_id, tool_name=row.tool_name)
    return grants.filter(definition_hash=row.definition_hash, expires_at__gt=Now()).exists()


def resolve(run: Run, row: InputRequest, resolution: Resolution) -> int:
    """Resolve an open request and requeue its run if it waits. Return the number of `input_resolved`.

    The caller holds the locks of the run and of the request in its transaction.
    """
    by = resolution.by
    changes: dict[str, Any] = {
        "status": resolution.status,
        "action": resolution.action,
        "content": resolution.content,
        "edited_parameters": resolution.edited_parameters,
        "comment": resolution.comment,
        "via": resolution.via,
        "resolved_by_id": by and by.user_id,
        "session_id": by and by.session_id,
        "address": by and by.address,
    }
    changed = InputRequest.objects.filter(pk=row.pk, status=InputRequest.OPEN).update(resolved_at=Now(), **changes)
    assert changed == 1, "a request is resolved once"
    for name, value in changes.items():
        setattr(row, name, value)
    ((seq, _),) = event_log.append({str(row.thread_id): row.user_id}, [resolved_event(run, row)])
    _after_resolution([row])
    continue_runs([run])
    return seq


def close(rows: Sequence[InputRequest], status: str, via: str) -> list[Body]:
    """Resolve these open requests, with their runs, without a person. Return the `input_resolved` of each.

    The caller holds the locks of the runs and of the requests, and appends the events.
    """
    InputRequest.objects.filter(pk__in=[row.pk for row in rows]).update(status=status, via=via, resolved_at=Now())
    for row in rows:
        row.status, row.via = status, via
    _after_resolution(rows)
    return [resolved_event(row.run, row) for row in rows]


def continue_runs(runs: Collection[Run]) -> None:
    """Queue those of the locked runs that wait, and tell the workers of those that are running, on commit.

    The caller has resolved a request of each.
    """
    requeue([run for run in runs if run.status == Run.WAITING])
    for run in runs:
        if run.status == Run.RUNNING:
            message = {"type": "input", "run": str(run.pk)}
            transaction.on_commit(partial(channel_layer.publish, channel_layer.WORKERS, message))


def requeue(runs: Collection[Run]) -> None:
    """Queue locked waiting runs again: the next claim continues the attempt."""
    if not runs:
        return
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(status=Run.QUEUED)
    for run in runs:
        run.status = Run.QUEUED
    transaction.on_commit(partial(channel_layer.publish, channel_layer.WORKERS, {"type": "run"}))


def resolved_event(run: Run, row: InputRequest) -> Body:
    """Return `input_resolved` of a resolved request, with the run's current attempt."""
    part = protocol.part_id(json.loads(row.path or "[]"))
    fields = {**({"part_id": part} if part else {}), **resolved_fields(row)}
    return event_log.make_event(
        str(row.thread_id), str(row.run_id), run.attempt, "input_resolved", row.agent_name, **fields
    )


def resolved_fields(row: InputRequest) -> dict[str, Any]:
    """Return the fields of `input_resolved`."""
    fields: dict[str, Any] = {"request_id": str(row.pk), "status": row.status}
    if row.content is not None:
        fields["content"] = row.content
    if row.kind == InputRequest.APPROVAL and row.status == InputRequest.ACCEPTED:
        edited = row.edited_parameters is not None
        accepted = row.edited_parameters if edited else row.parameters
        fields |= {"parameters": protocol.shown_parameters(accepted), "edited": edited}
    if row.comment:
        fields["reason"] = row.comment
    by = User.objects.filter(pk=row.resolved_by_id).first() if row.resolved_by_id is not None else None
    return {**fields, "resolved_by": by and person(by), "via": row.via}


def person(user: User) -> dict[str, str]:
    """Return how a user is named to others."""
    return {"user_id": str(user.pk), "name": user.name or user.email}


def cancel_open(run_ids: Iterable[uuid.UUID | str]) -> dict[str, list[Body]]:
    """Resolve the open requests of these locked runs as cancelled. Return run id -> events that the caller appends.

    The runs end in this transaction; their steps are deleted.
    """
    ids = array_parameter([id_parameter(id) for id in run_ids])
    execute(f"DELETE FROM chat_inputstep WHERE run_id {any_of('uuid')}", [ids])  # noqa: S608 no text of a user's
    statement = f"SELECT id FROM chat_inputrequest WHERE run_id {any_of('uuid')} AND status = 'open' ORDER BY id"  # noqa: S608
    found = execute(statement, [ids])
    if not found:
        return {}
    open_ids = [uuid.UUID(format_id(id)) for (id,) in found]
    rows = list(InputRequest.objects.select_for_update().filter(id__in=open_ids).select_related("run").order_by("id"))
    rows.sort(key=lambda row: row.created_at)
    events: dict[str, list[Body]] = {}
    for row, event in zip(rows, close(rows, InputRequest.CANCELLED, "stop"), strict=True):
        events.setdefault(str(row.run_id), []).append(event)
    return events


def _after_resolution(rows: Sequence[InputRequest]) -> None:
    """Record the decisions in the audit log; on commit, count them and tell the other deciders."""
    AuditRecord.objects.bulk_create(map(_audit_record, rows))
    transaction.on_commit(partial(_count, [row.pk for row in rows]), robust=True)
    announce(rows)


def _audit_record(row: InputRequest) -> AuditRecord:
    """Return the decision as the audit log has it, without content: a hash stands for the parameters."""
    proposed = _hash(row.parameters)
    approved = _hash(row.edited_parameters) if row.edited_parameters is not None else proposed
    edited = " edited" if row.edited_parameters is not None else ""
    what = row.tool_name[:80] or row.kind
    detail = f"{what} {row.status}{edited} {row.pk} {proposed}→{approved}"
    return AuditRecord(
        kind="input_resolved",
        user_id=row.user_id,
        by_id=row.resolved_by_id,
        address=row.address,
        detail=detail[:200],
    )


def _count(ids: Sequence[uuid.UUID]) -> None:
    """Count resolved requests; how long each was open is read after the commit, from the database's times."""
    rows = InputRequest.objects.filter(pk__in=ids)
    for kind, status, via, created, resolved in rows.values_list("kind", "status", "via", "created_at", "resolved_at"):
        if resolved is not None:
            metrics.count_input(kind, status, via, (resolved - created).total_seconds())


def _hash(parameters: Any) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
