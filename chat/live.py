"""What runs now: what the admin's live page shows."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from chat import limits
from chat.models import Event, Run, User, Worker

SHOWN = 200  # rows of a table


def shown() -> dict[str, Any]:
    """Runs that wait or run with their latest event, workers with their last heartbeat, sockets by user."""
    active = Run.objects.filter(status__in=Run.ACTIVE, thread__deleted_at=None)
    counts = dict(active.values_list("status").annotate(n=Count("pk")).order_by())
    events = Event.objects.filter(thread=OuterRef("thread"), run=OuterRef("pk")).order_by("-seq")
    rows = active.select_related("user", "worker").order_by("created_at")
    found: list[Any] = list(
        rows.annotate(latest=Subquery(events.values("type")[:1]), since=Now() - F("created_at"))[:SHOWN]
    )
    for run in found:
        run.age = _words(run.since)
    waiting = [run.since for run in found if run.status == Run.QUEUED]
    return {
        "now": timezone.now(),
        "running": counts.get(Run.RUNNING, 0),
        "queued": counts.get(Run.QUEUED, 0),
        "oldest": _words(max(waiting)) if waiting else "",
        "runs": found,
        "more": sum(counts.values()) > len(found),
        "workers": _workers(),
        "sockets": _sockets(),
    }


def _workers() -> list[Any]:
    playing = Count("runs", filter=Q(runs__status=Run.RUNNING))
    since = {"was_heard": Now() - F("heartbeat_at"), "has_run": Now() - F("started_at")}
    workers: list[Any] = list(Worker.objects.annotate(playing=playing, **since).order_by("host", "pid")[:SHOWN])
    for worker in workers:
        worker.silent, worker.up = _words(worker.was_heard), _words(worker.has_run)
        worker.is_lost = worker.was_heard > timedelta(seconds=settings.NETRA_LEASE_SECONDS)
    return workers


def _sockets() -> list[tuple[str, int]]:
    """(user, sockets), the most first."""
    counts = sorted(limits.sockets_of_users().items(), key=lambda one: -one[1])[:SHOWN]
    emails = dict(User.objects.filter(pk__in=[user for user, _ in counts]).values_list("pk", "email"))
    return [(emails.get(user, f"user {user}"), count) for user, count in counts]


def _words(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
