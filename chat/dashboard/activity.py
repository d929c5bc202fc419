"""Figures for the admin's live page: what runs now."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.limits import connections
from chat.models import Event, InputRequest, Run, User, Worker

MAX_ROWS = 200  # rows of a table
# What a run does, by its latest event.
STEPS = {
    "agent_started": _("begins"),
    "agent_thinking": _("thinks"),
    "agent_delta": _("writes"),
    "tool_executing": _("calls a tool"),
    "tool_completed": _("has called a tool"),
    "subagent_completed": _("has asked a sub-agent"),
    "input_requested": _("asks a person"),
    "input_resolved": _("was answered by a person"),
    "run_waiting": _("waits for a person"),
    "run_resumed": _("goes on after an answer"),
    "run_restarted": _("begins again"),
}


def shown() -> dict[str, Any]:
    """Show runs with their latest event, waiting runs, the workers with their last heartbeat, and sockets by user."""
    active = Run.objects.filter(status__in=Run.PENDING, thread__deleted_at=None)
    counts = dict(active.values_list("status").annotate(n=Count("pk")).order_by())
    events = Event.objects.filter(thread=OuterRef("thread"), run=OuterRef("pk")).order_by("-seq")
    rows = active.select_related("user", "worker").order_by("created_at")
    found: list[Any] = list(
        rows.annotate(latest=Subquery(events.values("type")[:1]), since=Now() - F("created_at"))[:MAX_ROWS]
    )
    for run in found:
        run.age, run.step = _words(run.since), STEPS.get(run.latest, "")
    queued = [run.since for run in found if run.status == Run.QUEUED]
    return {
        "now": timezone.now(),
        "running": counts.get(Run.RUNNING, 0),
        "queued": counts.get(Run.QUEUED, 0),
        "oldest": _words(max(queued)) if queued else "",
        "runs": found,
        "more": sum(counts.values()) > len(found),
        "waiting": _waiting(),
        "workers": _workers(),
        "sockets": _sockets(),
    }


def _waiting() -> dict[str, Any]:
    """Return the number of runs that wait for a person, and those that have waited longest."""
    waiting = Run.objects.filter(status=Run.WAITING, thread__deleted_at=None)
    asked = Count("inputs", filter=Q(inputs__status=InputRequest.OPEN))
    rows = waiting.annotate(waited=Now() - F("waiting_since"), asked=asked).select_related("user")
    runs: list[Any] = list(rows.order_by("waiting_since", "pk")[:MAX_ROWS])
    for run in runs:
        run.age = _words(run.waited)
    return {"count": len(runs) if len(runs) < MAX_ROWS else waiting.count(), "runs": runs}


def _workers() -> list[Any]:
    executing = Count("runs", filter=Q(runs__status=Run.RUNNING))
    since = {"was_heard": Now() - F("heartbeat_at"), "has_run": Now() - F("started_at")}
    workers: list[Any] = list(Worker.objects.annotate(executing=executing, **since).order_by("host", "pid")[:MAX_ROWS])
    for worker in workers:
        worker.silent, worker.up = _words(worker.was_heard), _words(worker.has_run)
        worker.is_lost = worker.was_heard > timedelta(seconds=settings.NETRA_LEASE_SECONDS)
    return workers


def _sockets() -> list[tuple[str, int]]:
    """(user, sockets), the most first."""
    counts = sorted(connections.open_sockets().items(), key=lambda one: -one[1])[:MAX_ROWS]
    emails = dict(User.objects.filter(pk__in=[user for user, _ in counts]).values_list("pk", "email"))
    return [(emails.get(user, f"{gettext('user')} {user}"), count) for user, count in counts]


def _words(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
