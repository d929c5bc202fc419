"""Answer input requests, and expire those without an answer in time."""

import uuid
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q
from django.db.models.functions import Now

from chat import metrics, protocol
from chat.models import AuditRecord, Event, Grant, InputRequest, Run
from chat.protocol import MAX_INPUT_REASON, AnswerInput, ProtocolError, forms
from chat.runs import event_log
from chat.runs.inputs.deciders import deciders, visible_to
from chat.runs.inputs.parameters import check_parameters, is_same
from chat.runs.inputs.requests import close, continue_runs, is_granted, may_remember, person, requeue, resolve
from chat.runs.inputs.types import Answer, AnsweredInput, Decider, Resolution

MAX_EXPIRED_INPUTS = 50  # requests that one transaction expires: it took 0.25 s on a busy machine, and writes wait
MAX_SWEPT_RUNS = 100  # runs that one call queues or returns
GRANT_HOURS = 24


def answer_of(frame: AnswerInput) -> Answer:
    """Return the answer that a client has sent."""
    remember = frame.remember is not None
    return Answer(frame.request_id, frame.action, frame.content, frame.parameters, frame.reason or "", remember)


def answer(given: Answer, decider: Decider) -> AnsweredInput:
    """Resolve an open request with this answer, in one transaction with its event, the requeue and the audit record.

    The same answer of the same user again is `repeated`. Raises not_found for a request that the decider may not see,
    forbidden for their own that somebody else decides, invalid_message for wrong values, and conflict for a request
    that is resolved otherwise; an overdue one is resolved as expired.
    """
    (answered,) = answer_all([given], decider)
    return answered


def answer_all(given: Sequence[Answer], decider: Decider) -> list[AnsweredInput]:
    """Resolve requests with these answers in one transaction: all, or none if one is refused. See `answer`."""
    with transaction.atomic():
        found = _answer_all(given, decider)
    if isinstance(found, ProtocolError):
        raise found
    return found


def _answer_all(given: Sequence[Answer], decider: Decider) -> list[AnsweredInput] | ProtocolError:
    """Return the error of overdue requests, so that their transaction is committed."""
    rows = _lock({one.request_id for one in given}, decider)
    runs = Run.objects.in_bulk({row.run_id for row in rows.values()})
    overdue = [row for row in rows.values() if row.status == InputRequest.OPEN and row.overdue]  # type: ignore[attr-defined]
    for row in overdue:
        resolve(runs[row.run_id], row, Resolution(InputRequest.EXPIRED, "expiry"))
    if overdue:
        return _conflict(overdue[0])
    checked = [(one, rows[one.request_id], _checked(one, decider, rows[one.request_id])) for one in given]
    return [_resolve(runs[row.run_id], row, resolution, one, decider) for one, row, resolution in checked]


def _checked(given: Answer, decider: Decider, row: InputRequest) -> Resolution:
    """Return the checked answer. Raises invalid_message; conflict where the request is resolved, by another answer."""
    try:
        return _resolution(given, decider, row)
    except ProtocolError:
        if row.status == InputRequest.OPEN:
            raise
        raise _conflict(row) from None


def _resolve(run: Run, row: InputRequest, resolution: Resolution, given: Answer, decider: Decider) -> AnsweredInput:
    if row.status != InputRequest.OPEN:
        return _repeat(row, resolution, given, decider)
    seq = resolve(run, row, resolution)
    if given.remember and resolution.status == InputRequest.ACCEPTED:
        _grant(row, decider)
    return AnsweredInput(row.pk, row.run_id, row.thread_id, row.status, seq)


def _lock(ids: Collection[uuid.UUID], decider: Decider) -> dict[uuid.UUID, InputRequest]:
    """Lock the runs of these requests and then the requests; return those by id. Raises not_found and forbidden."""
    missing = ProtocolError("not_found", "There is no such request.", field="request_id")
    visible = Q() if decider.is_staff else visible_to(decider.user_id)
    run_of = dict(InputRequest.objects.filter(visible, pk__in=ids).values_list("pk", "run_id"))
    if len(run_of) < len(ids):
        raise missing
    list(Run.objects.select_for_update().filter(pk__in=run_of.values()).order_by("pk"))
    overdue = ExpressionWrapper(Q(expires_at__lte=Now()), BooleanField())
    requests = InputRequest.objects.select_for_update().annotate(overdue=overdue).filter(pk__in=ids)
    rows: dict[uuid.UUID, InputRequest] = {row.pk: row for row in requests.order_by("pk")}
    if len(rows) < len(ids):  # the user was erased meanwhile
        raise missing
    for row in rows.values():
        is_own = row.user_id == decider.user_id
        may_not = row.four_eyes and is_own
        if may_not or not (decider.is_staff or deciders(row).filter(pk=decider.user_id).exists()):
            if is_own:
                raise ProtocolError("forbidden", "Somebody else must decide this.", field="request_id")
            raise missing
    return rows


def _resolution(given: Answer, decider: Decider, row: InputRequest) -> Resolution:
    """Return the checked answer. Raises invalid_message."""
    if len(given.reason) > MAX_INPUT_REASON:
        raise _invalid("reason", f"must have at most {MAX_INPUT_REASON} characters")
    if given.action == "decline":
        return Resolution(InputRequest.DECLINED, decider.via, "decline", comment=given.reason, by=decider)
    if given.action != "accept":
        raise _invalid("action", "must be accept or decline")
    content, edited = None, None
    # Values that would have no effect are refused: their sender means another outcome.
    if given.content is not None and row.kind != InputRequest.FORM:
        raise _invalid("content", "is not asked for")
    if given.parameters is not None and row.kind != InputRequest.APPROVAL:
        raise _invalid("parameters", "is not asked for")
    if row.kind == InputRequest.FORM:
        content = forms.form_answer(row.schema or {}, given.content)
    proposed = (None, row.parameters, protocol.shown_parameters(row.parameters))
    if row.kind == InputRequest.APPROVAL and not any(is_same(given.parameters, one) for one in proposed):
        edited = _edited(given.parameters, row)
    if given.remember and not may_remember(row):
        raise _invalid("remember", "is not possible for this request")
    return Resolution(InputRequest.ACCEPTED, decider.via, "accept", content, edited, given.reason, decider)


def _edited(parameters: Any, row: InputRequest) -> dict[str, Any]:
    if not row.editable:
        raise _invalid("parameters", "cannot be edited")
    check_parameters(row.schema, parameters)
    edited: dict[str, Any] = parameters
    return edited


def _invalid(field: str, message: str) -> ProtocolError:
    return ProtocolError("invalid_message", f"{field} {message}", field=field)


def _repeat(row: InputRequest, resolution: Resolution, given: Answer, decider: Decider) -> AnsweredInput:
    """Return the answer that stands. Raises conflict if it is another one."""
    same = (
        row.resolved_by_id == decider.user_id
        and row.action == resolution.action
        and is_same(row.content, resolution.content)
        and is_same(row.edited_parameters, resolution.edited_parameters)
        # It was accepted once: to remember it now would have no effect.
        and not (given.remember and row.status == InputRequest.ACCEPTED and not is_granted(row))
    )
    if not same:
        raise _conflict(row)
    return AnsweredInput(row.pk, row.run_id, row.thread_id, row.status, _seq_of(row), repeated=True)


def _seq_of(row: InputRequest) -> int:
    """Return the number of the request's `input_resolved`; 0 if it was pruned."""
    log = Event.objects.filter(thread=row.thread_id, run=row.run_id, type="input_resolved")
    found = log.filter(frame__contains=f'"request_id":"{row.pk}"').order_by("seq").values_list("seq", flat=True)
    return found.first() or 0


def _conflict(row: InputRequest) -> ProtocolError:
    metrics.INPUT_CONFLICTS.inc()
    return ProtocolError("conflict", f"This request is {row.status} already.", field="request_id", stands=row.status)


def _grant(row: InputRequest, decider: Decider) -> None:
    tool, definition = row.tool_name, row.definition_hash
    until = Now() + timedelta(hours=GRANT_HOURS)
    Grant.objects.create(
        user_id=row.user_id,
        thread_id=row.thread_id,
        tool_name=tool,
        definition_hash=definition,
        by_id=decider.user_id,
        expires_at=until,
    )
    detail = f"{tool[:80]} in {row.thread_id}"
    AuditRecord.objects.create(
        kind="grant_added", user_id=row.user_id, by_id=decider.user_id, address=decider.address, detail=detail[:200]
    )


def revoke_grant(user_id: int, grant_id: uuid.UUID, address: str | None = None) -> None:
    """Delete a grant of the user. Raises not_found."""
    with transaction.atomic():
        grant = Grant.objects.for_user(user_id).filter(pk=grant_id).first()
        if grant is None:
            raise ProtocolError("not_found", "There is no such grant.")
        grant.delete()
        detail = f"{grant.tool_name[:80]} in {grant.thread_id}"
        AuditRecord.objects.create(
            kind="grant_removed", user_id=user_id, by_id=user_id, address=address, detail=detail[:200]
        )


def cancel_input(request_id: uuid.UUID, decider: Decider, reason: str) -> bool:
    """Resolve an open request as cancelled, as an administrator. Return False if it is resolved."""
    with transaction.atomic():
        run_id = InputRequest.objects.filter(pk=request_id).values_list("run_id", flat=True).first()
        if run_id is None:
            return False
        run = Run.objects.select_for_update().get(pk=run_id)
        row = InputRequest.objects.select_for_update().filter(pk=request_id, status=InputRequest.OPEN).first()
        if row is None:
            return False
        resolve(run, row, Resolution(InputRequest.CANCELLED, decider.via, comment=reason, by=decider))
        return True


def expire_inputs() -> int:
    """Expire the MAX_EXPIRED_INPUTS most overdue requests, in one transaction. Return their number.

    Of several runs of one thread only those of the first are expired. With 0, none is overdue, or another worker
    expires them.
    """
    overdue = InputRequest.objects.filter(status=InputRequest.OPEN, expires_at__lte=Now()).order_by("expires_at", "pk")
    found = list(overdue.values_list("pk", "run_id", "thread_id")[:MAX_EXPIRED_INPUTS])
    if not found:
        return 0
    run_of = {thread_id: run_id for _, run_id, thread_id in reversed(found)}  # one append has one run of a thread
    with transaction.atomic():
        locked = Run.objects.select_for_update().filter(pk__in=run_of.values()).order_by("pk")
        runs = {run.pk: run for run in locked}
        ids = [request_id for request_id, run_id, _ in found if run_id in runs]
        still = InputRequest.objects.select_for_update().filter(pk__in=ids, status=InputRequest.OPEN)
        rows = sorted(still.order_by("pk"), key=lambda row: ids.index(row.pk))
        for row in rows:
            row.run = runs[row.run_id]
        event_log.append({str(row.thread_id): row.user_id for row in rows}, close(rows, InputRequest.EXPIRED, "expiry"))
        continue_runs([run for run in runs.values() if any(row.run is run for row in rows)])
    return len(rows)


def requeue_idle_runs() -> int:
    """Queue waiting runs that wait for nothing. Return their number."""
    asks = InputRequest.objects.filter(run=OuterRef("pk"), status=InputRequest.OPEN)
    idle = Run.objects.filter(~Exists(asks), status=Run.WAITING).order_by("pk")
    return sum(_requeue_idle(run_id) for run_id in idle.values_list("pk", flat=True)[:MAX_SWEPT_RUNS])


@transaction.atomic
def _requeue_idle(run_id: uuid.UUID) -> bool:
    run = Run.objects.select_for_update().filter(pk=run_id, status=Run.WAITING).first()
    if run is None or InputRequest.objects.filter(run=run_id, status=InputRequest.OPEN).exists():
        return False
    requeue([run])
    return True


def unattended_runs() -> list[uuid.UUID]:
    """Return the waiting runs of users who are no longer active."""
    waiting = Run.objects.filter(status=Run.WAITING, user__is_active=False)
    return list(waiting.values_list("pk", flat=True)[:MAX_SWEPT_RUNS])


def input_fields(row: InputRequest) -> dict[str, Any]:
    """Return the wire's fields of a request in REST."""
    by = row.resolved_by
    return {
        "id": str(row.pk),
        "object": "input_request",
        "kind": row.kind,
        "status": row.status,
        "run_id": str(row.run_id),
        "thread_id": str(row.thread_id),
        "user": person(row.user),
        "agent": row.run.agent,
        "agent_name": row.agent_name,
        "message": row.message,
        "schema": row.schema,
        "default": row.default,
        "tool_name": row.tool_name or None,
        "tool_call_id": row.tool_call_id or None,
        "parameters": protocol.shown_parameters(row.parameters),
        "editable": row.editable,
        "decided_by": row.decided_by,
        "four_eyes": row.four_eyes,
        "reason": row.reason or None,
        "may_remember": may_remember(row),
        "created_at": protocol.timestamp(row.created_at),
        "expires_at": protocol.timestamp(row.expires_at),
        "resolved_at": protocol.timestamp(row.resolved_at) if row.resolved_at else None,
        "content": row.content,
        "edited_parameters": row.edited_parameters,
        "edited": row.edited_parameters is not None,
        "comment": row.comment or None,
        "resolved_by": by and person(by),
        "via": row.via or None,
    }
