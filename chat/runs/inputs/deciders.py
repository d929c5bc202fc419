"""Deciders of input requests, and the number of requests that wait for each of them."""

from collections.abc import Collection
from functools import partial

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet

from chat import protocol
from chat.models import InputRequest, User
from chat.realtime import channel_layer


def deciders(row: InputRequest) -> QuerySet[User]:
    """Return the active users who may decide the request now."""
    users = User.objects.filter(is_active=True)
    kind, _, name = row.decided_by.partition(":")
    users = users.filter(groups__name=name) if kind == "group" else users.filter(pk=row.user_id)
    return users.exclude(pk=row.user_id) if row.four_eyes else users


def decidable_by(user: User | int) -> Q:
    """Return the condition on requests of others that the user may decide as a member of a group."""
    user_id = user if isinstance(user, int) else user.pk
    names = Group.objects.filter(user=user_id).values_list("name", flat=True)
    groups = [f"group:{name}" for name in names]
    return Q(decided_by__in=groups, thread__deleted_at=None) & ~Q(user=user_id)


def visible_to(user: User | int) -> Q:
    """Return the condition on requests that exist for the user: their own, and those that they may decide."""
    user_id = user if isinstance(user, int) else user.pk
    return Q(user=user_id, thread__deleted_at=None) | decidable_by(user_id)


def announce(row: InputRequest) -> None:
    """Tell the sockets of other deciders, on commit, how many requests wait for them."""
    if row.decided_by != "owner":
        tell(list(deciders(row).exclude(pk=row.user_id).values_list("pk", flat=True)))


def tell(user_ids: Collection[int]) -> None:
    """Tell the sockets of these users, on commit, how many requests of others wait for them."""
    if user_ids:
        transaction.on_commit(partial(_publish, user_ids), robust=True)


def _publish(user_ids: Collection[int]) -> None:
    """Count after the commit: of two changes at once, the later count knows both."""
    groups: dict[int, set[str]] = {user_id: set() for user_id in user_ids}
    members = User.groups.through.objects.filter(user__in=groups).values_list("user_id", "group__name")
    for user_id, name in members:
        groups[user_id].add(f"group:{name}")
    named = set().union(*groups.values())
    asked = InputRequest.objects.filter(status=InputRequest.OPEN, decided_by__in=named, thread__deleted_at=None)
    rows = list(asked.values_list("decided_by", "user_id"))
    for user_id, mine in groups.items():
        count = sum(decided_by in mine and owner != user_id for decided_by, owner in rows)
        notice = {"type": "notice", "frame": protocol.control("approvals_changed", open=count)}
        channel_layer.publish(channel_layer.user_group(user_id), notice)
