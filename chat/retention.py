"""What is not kept: old events, deleted threads, and users with all that is theirs."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import takewhile
from typing import Any

from django.db import transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from chat.models import Attachment, Event, Message, Run, Thread, User
from chat.runs import cancel

PRUNED = 1000  # events that one transaction deletes at most: a worker waits no longer for it


def prune(keep: timedelta) -> Iterator[int]:
    """Delete the events of ended runs that are older than `keep`, and all that is in threads that were deleted before;
    of every batch the number of its events. Messages and runs of other threads stay.

    Of a thread a whole prefix goes: up to the first event that is younger, or whose run has not ended."""
    before = Now() - keep
    first = Event.objects.filter(thread=OuterRef("pk")).order_by("seq").values("created_at")[:1]
    full = Q(Exists(Message.objects.filter(thread=OuterRef("pk")))) | ~Q(title="")
    gone = Q(deleted_at__isnull=False, deleted_at__lt=before) & full
    threads = Thread.objects.annotate(first=Subquery(first), gone=ExpressionWrapper(gone, BooleanField()))
    for thread_id, empty in _paged(threads.filter(Q(first__lt=before) | gone).values_list("id", "gone")):
        while deleted := _prune(thread_id, timedelta() if empty else keep):
            yield deleted
        if empty:
            _empty(thread_id)


def _paged(rows: QuerySet[Any, tuple[uuid.UUID, bool]]) -> Iterator[tuple[uuid.UUID, bool]]:
    """These rows, by their ids, which come first; no query stays open between them."""
    last = None
    while True:
        page = list((rows.filter(id__gt=last) if last else rows).order_by("id")[:PRUNED])
        yield from page
        if len(page) < PRUNED:
            return
        last = page[-1][0]


@transaction.atomic
def _prune(thread_id: uuid.UUID, keep: timedelta) -> int:
    events = Event.objects.filter(thread=thread_id).order_by("seq")
    may_go = Q(created_at__lte=Now() - keep) & (Q(run=None) | ~Q(run__status__in=Run.ACTIVE))
    flagged = events.annotate(may_go=ExpressionWrapper(may_go, BooleanField()))
    prefix = [seq for seq, _ in takewhile(lambda row: row[1], flagged.values_list("seq", "may_go")[:PRUNED])]
    return Event.objects.filter(thread=thread_id, seq__lte=prefix[-1]).delete()[0] if prefix else 0


@transaction.atomic
def _empty(thread_id: uuid.UUID) -> None:
    """Only the row of a thread that was deleted stays: its id is taken for good."""
    for attachment in Attachment.objects.filter(messages__thread=thread_id).distinct():
        if not attachment.messages.exclude(thread=thread_id).exists():
            attachment.delete()
    Run.objects.filter(thread=thread_id).delete()
    Message.objects.filter(thread=thread_id).delete()
    Thread.objects.filter(id=thread_id).update(title="")


def erase(user: User) -> None:
    """Delete a user with all that is theirs, rows and files. Their sockets close and their runs end first."""
    user.is_active = False
    user.save(update_fields=["is_active"])
    cancel(user.pk)
    for thread_id in Thread.objects.filter(user=user).values_list("id", flat=True):
        while _prune(thread_id, timedelta()):
            pass
    user.delete()
