"""Joining of old deltas, and deletion of old events, deleted threads, and users with all their data."""

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import groupby, takewhile
from typing import Any

from django.db import transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from chat import protocol
from chat.db import search
from chat.models import Attachment, Event, Grant, InputRequest, Message, Project, Run, Share, Thread, User
from chat.protocol import ProtocolError
from chat.runs import cancel
from chat.runs.threads import delete

HIDDEN_DAYS = 7
MAX_TEMPORARY = timedelta(days=1)  # a temporary thread that its page did not delete, such as after a crash
PRUNED = 1000  # events that one transaction deletes at most: a worker waits no longer for it


def prune(keep: timedelta) -> Iterator[int]:
    """Delete events of ended runs older than `keep`, and the contents of threads that were deleted before that.

    Yield the number of events of each batch. Messages and runs of other threads stay. Of a thread it deletes a prefix:
    up to the first event that is younger, or whose run has not ended. Expired grants, old hidden threads, temporary
    ones that nothing has changed for a day, and shares that ended before that are deleted, too.
    """
    before = Now() - keep
    while drop_hidden():
        pass
    Grant.objects.filter(expires_at__lt=Now()).delete()
    Share.objects.filter(Q(expires_at__lt=before) | Q(revoked_at__lt=before)).delete()
    left = Thread.objects.filter(temporary=True, deleted_at=None, updated_at__lt=Now() - MAX_TEMPORARY)
    for thread_id, user_id in list(left.values_list("id", "user")):
        delete(user_id, thread_id)
        empty_deleted(thread_id)
    first = Event.objects.filter(thread=OuterRef("pk")).order_by("seq").values("created_at")[:1]
    full = Q(Exists(Message.objects.filter(thread=OuterRef("pk")))) | ~Q(title="")
    gone = Q(deleted_at__isnull=False, deleted_at__lt=before) & full
    threads = Thread.objects.annotate(first=Subquery(first), gone=ExpressionWrapper(gone, BooleanField()))
    any_empty = False
    for thread_id, empty in _paged(threads.filter(Q(first__lt=before) | gone).values_list("id", "gone")):
        while deleted := _prune(thread_id, timedelta() if empty else keep):
            yield deleted
        if empty:
            _empty(thread_id)
            any_empty = True
    if any_empty:
        search.purge()


def _paged(rows: QuerySet[Any, tuple[uuid.UUID, bool]]) -> Iterator[tuple[uuid.UUID, bool]]:
    """Yield the rows in the order of their ids (first column); no query stays open between pages."""
    last = None
    while True:
        page = list((rows.filter(id__gt=last) if last else rows).order_by("id")[:PRUNED])
        yield from page
        if len(page) < PRUNED:
            return
        last = page[-1][0]


@transaction.atomic
def _prune(thread_id: uuid.UUID, keep: timedelta) -> int:
    _lock(thread_id)
    events = Event.objects.filter(thread=thread_id).order_by("seq")
    may_go = Q(created_at__lte=Now() - keep) & (Q(run=None) | ~Q(run__status__in=Run.ACTIVE))
    flagged = events.annotate(may_go=ExpressionWrapper(may_go, BooleanField()))
    prefix = [seq for seq, _ in takewhile(lambda row: row[1], flagged.values_list("seq", "may_go")[:PRUNED])]
    return Event.objects.filter(thread=thread_id, seq__lte=prefix[-1]).delete()[0] if prefix else 0


def drop_hidden() -> int:
    """Delete the hidden threads without a message for HIDDEN_DAYS and without an active run. Return their number."""
    old = Thread.objects.filter(hidden=True, deleted_at=None, updated_at__lt=Now() - timedelta(days=HIDDEN_DAYS))
    found = list(old.exclude(runs__status__in=Run.ACTIVE).values_list("user_id", "id")[:PRUNED])
    for user_id, thread_id in found:
        with suppress(ProtocolError):  # the user has deleted it meanwhile
            delete(user_id, thread_id)
    return len(found)


@transaction.atomic
def compact(keep: timedelta) -> bool:
    """Join the deltas of a run that ended before `keep`. Return False if there is none.

    Consecutive deltas of one agent become one row, with the number of the last; `event_log.read` separates them again.
    """
    ended = Run.objects.filter(compacted=False, finished_at__lt=Now() - keep).order_by("finished_at")
    run = ended.select_for_update(skip_locked=True).first()
    if run is None:
        return False
    _lock(run.thread_id)
    events = Event.objects.filter(thread=run.thread_id, seq__gt=run.thread_seq)
    deltas = events.filter(run=run.id, type="agent_delta", pieces=None).order_by("seq").values_list("frame", flat=True)
    for _, stretch in groupby(enumerate(map(json.loads, deltas)), _stretch_of):
        joined = [event for _, event in stretch]
        first, last = joined[0], joined[-1]["seq"]
        if len(joined) > 1:
            texts = [event["delta"] for event in joined]
            frame = protocol.dumps({**first, "seq": last, "delta": "".join(texts)})
            events.filter(seq__gte=first["seq"], seq__lt=last).delete()
            events.filter(seq=last).update(frame=frame, pieces=json.dumps([len(text) for text in texts]))
    Run.objects.filter(id=run.id).update(compacted=True)
    return True


def _stretch_of(delta: tuple[int, dict[str, Any]]) -> tuple[Any, ...]:
    """Return what is equal for deltas (position, event) that can be joined."""
    position, event = delta
    return event["seq"] - position, event["attempt"], event["agent_name"], event.get("part_id"), "offset" in event


def _lock(thread_id: uuid.UUID) -> None:
    """Lock the thread, so that its events are deleted and joined one after the other."""
    Thread.objects.select_for_update().filter(id=thread_id).values_list("id").first()


def _lock_runs(runs: QuerySet[Run]) -> None:
    """Lock the runs, which are deleted after what belongs to them: an answer locks its run before its request."""
    list(runs.select_for_update().order_by("id").values_list("id"))


def empty_deleted(thread_id: uuid.UUID) -> None:
    """Delete the contents of a deleted thread at once."""
    while _prune(thread_id, timedelta()):
        pass
    _empty(thread_id)
    search.purge()


@transaction.atomic
def _empty(thread_id: uuid.UUID) -> None:
    """Delete the contents of a deleted thread. Its row stays, so that its id stays taken."""
    _lock_runs(Run.objects.filter(thread=thread_id))
    for attachment in Attachment.objects.filter(messages__thread=thread_id).distinct():
        if not (
            attachment.messages.exclude(thread=thread_id).exists()
            or Project.objects.filter(attachments=attachment).exists()
        ):
            attachment.delete()
    Run.objects.filter(thread=thread_id).delete()
    Message.objects.filter(thread=thread_id).delete()
    Share.objects.filter(thread=thread_id).delete()
    Thread.objects.filter(id=thread_id).update(title="")


@transaction.atomic
def _unname(user: User) -> None:
    """Remove the user from the logs of others: their `input_resolved` names who decided."""
    decided = InputRequest.objects.filter(resolved_by=user).exclude(user=user).values_list("thread_id", "pk")
    for thread_id, request_id in decided.iterator():
        events = Event.objects.filter(thread=thread_id, type="input_resolved", frame__contains=str(request_id))
        for event in events:  # one, and one more for each restart of the run
            frame = json.loads(event.frame)
            Event.objects.filter(pk=event.pk).update(frame=protocol.dumps({**frame, "resolved_by": None}))


def erase(user: User) -> None:
    """Delete a user with all rows and files, after closing the connections and cancelling the runs.

    Raises ValidationError for the last administrator.
    """
    user.is_active = False
    user.save(update_fields=["is_active"])
    cancel(user.pk)
    _unname(user)
    for thread_id in Thread.objects.filter(user=user).values_list("id", flat=True):
        while _prune(thread_id, timedelta()):
            pass
    with transaction.atomic():
        _lock_runs(Run.objects.filter(user=user))
        asked = InputRequest.objects.filter(Q(user=user) | Q(resolved_by=user))
        list(asked.select_for_update().order_by("id").values_list("id"))  # two users who decided each other's
        user.delete()
    search.purge()
