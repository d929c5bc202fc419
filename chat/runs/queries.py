"""Read runs, their history and their tool calls."""

import json
import logging
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from chat import protocol
from chat.models import Attachment, Event, InputRequest, Message, Run, Worker
from chat.runs.types import AnyId, ClaimedRun, History, ToolCall

log = logging.getLogger("netra.runs")


def attachment_fields(attachment: Attachment) -> dict[str, Any]:
    """Return the wire's fields of an attachment."""
    return {
        "id": str(attachment.id),
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size": attachment.size,
        "recognised": attachment.recognised,
    }


def history(run: ClaimedRun) -> History:
    """Return the messages from the thread's root to the run's own as (role, content), and their attachments.

    The oldest comes first. If a message was sent while another was being answered, the answer stands between the two.
    Messages whose runs were cancelled in the queue are left out.
    """
    rows = branch(run.thread_id, uuid.UUID(run.message_id))
    files = Attachment.objects.filter(messages__in=[id for id, _, _ in rows]).distinct().order_by("created_at", "id")
    return [(role, content) for _, role, content in rows], list(files)


def branch(thread_id: AnyId, message_id: uuid.UUID | None = None) -> list[tuple[uuid.UUID, str, str]]:
    """Return (id, role, content) of the messages from the thread's root to this one, or to the newest.

    If a message was sent while another was being answered, the answer stands between the two. Messages whose runs were
    cancelled in the queue are left out. Empty if the thread has no such message.
    """
    said = Message.objects.filter(thread_id=thread_id).order_by("seq")
    messages = {row[0]: row for row in said.values_list("id", "parent_id", "role", "content")}
    answers = {row[1]: (row[0], row[2], row[3]) for row in messages.values() if row[2] == "assistant"}
    removed = _removed(thread_id)
    path: list[tuple[uuid.UUID, str, str]] = []
    current = message_id or next((id for id in reversed(messages) if id not in removed), None)
    follower = None
    while current in messages:
        id, parent, role, content = messages[current]
        if id not in removed:
            if role == follower == "user" and id in answers:
                path.append(answers[id])
            path.append((id, role, content))
            follower = role
        current = parent
    return path[::-1]


def _removed(thread_id: AnyId) -> set[uuid.UUID]:
    """Return the messages whose runs were all cancelled before they started, while another run was active."""
    never = Q(status=Run.CANCELLED, started_at=None)
    ahead = Run.objects.filter(thread=OuterRef("thread"), thread_seq__lt=OuterRef("thread_seq")).filter(
        Q(finished_at=None) | Q(finished_at__gte=OuterRef("finished_at"))
    )
    begun = Run.objects.filter(~never, message=OuterRef("message"))
    removed = Run.objects.filter(never, Exists(ahead), ~Exists(begun), thread_id=thread_id)
    return set(removed.values_list("message_id", flat=True))


def read_tool_calls(run: ClaimedRun) -> dict[str, ToolCall]:
    """Return tool_call_id -> what earlier executions of the run know of the call."""
    found: dict[str, ToolCall] = {}
    kinds = ("tool_executing", "tool_completed", "run_restarted")
    rows = Event.objects.filter(thread_id=run.thread_id, run_id=run.run_id, type__in=kinds).order_by("seq")
    for kind, frame, full in rows.values_list("type", "frame", "result"):
        event = json.loads(frame)
        if kind == "run_restarted":  # another attempt makes the calls that failed again
            found = {
                call_id: call if call.code in protocol.TOOL_VERDICTS else replace(call, error=None, code=None)
                for call_id, call in found.items()
            }
            continue
        call_id = event["tool_call_id"]
        call = found.get(call_id, ToolCall())
        if kind == "tool_executing":
            found[call_id] = call if event.get("reused") else replace(call, starts=call.starts + 1)
        elif event["success"]:
            result = event["result"] if full is None else json.loads(full)
            found[call_id] = replace(call, completed=True, result=result, error=None, code=None)
        else:
            found[call_id] = replace(call, error=event["error"], code=event.get("error_code"))
    return found


def read_shown(run: ClaimedRun, seq: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Return (seq, event) of what the run has shown since its last restart, with full results of tools.

    With `seq`, return the events up to that number, since the last restart before it.
    """
    log = Event.objects.filter(thread_id=run.thread_id, run_id=run.run_id).order_by("seq")
    if seq is not None:
        log = log.filter(seq__lte=seq)
    start = log.filter(type="run_restarted").values_list("seq", flat=True).last() or 0
    shown = []
    for number, frame, full in log.filter(seq__gt=start).values_list("seq", "frame", "result"):
        event = json.loads(frame)
        if full is not None:
            event["result"] = json.loads(full)
            event.pop("truncated", None)
        shown.append((number, event))
    return shown


def live_workers() -> QuerySet[Worker]:
    """Return the workers that claim runs and sent a heartbeat within NETRA_LEASE_SECONDS."""
    since = Now() - timedelta(seconds=settings.NETRA_LEASE_SECONDS)
    return Worker.objects.filter(draining=False, heartbeat_at__gt=since)


def unserved_agents() -> set[str]:
    """Return the agents that runs wait for and no live worker offers. Every worker executes the assistants."""
    waiting = (
        Run.objects.filter(status=Run.QUEUED, assistant_version=None)
        .order_by()
        .values_list("agent", flat=True)
        .distinct()
    )
    return set(waiting).difference(*live_workers().values_list("agents", flat=True))


def active(user_id: int) -> list[dict[str, Any]]:
    """Return the user's active runs, as `agent_status` shows them."""
    runs = list(Run.objects.for_user(user_id).filter(status__in=Run.ACTIVE).order_by("created_at"))
    waiting = [run.pk for run in runs if run.status == Run.WAITING]
    asked = open_inputs(waiting) if waiting else {}
    return [
        {
            "run_id": str(run.id),
            "thread_id": str(run.thread_id),
            "agent": run.agent,
            "status": run.status,
            "attempt": run.attempt,
            "started_at": protocol.timestamp(run.started_at) if run.started_at else None,
            **({"input_requests": asked.get(run.pk, [])} if run.status == Run.WAITING else {}),
        }
        for run in runs
    ]


def open_inputs(run_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """Return run id -> ids of its open requests, the oldest first."""
    rows = InputRequest.objects.filter(run__in=list(run_ids), status=InputRequest.OPEN).order_by("created_at", "pk")
    found: dict[uuid.UUID, list[str]] = {}
    for run_id, request_id in rows.values_list("run_id", "pk"):
        found.setdefault(run_id, []).append(str(request_id))
    return found
