"""Deciders of input requests, and the number of requests that wait for each of them."""

from collections.abc import Collection, Iterable
from functools import partial

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q, QuerySet

from chat import protocol
from chat.db.sql import any_of, array_parameter, execute
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


# The groups m of a user with the open requests r that meet `decidable_by`: the handshake counts them in its only query.
DECIDABLE = """chat_user_groups m JOIN auth_group g ON g.id = m.group_id
    LEFT JOIN (chat_inputrequest r JOIN chat_thread a ON a.id = r.thread_id AND a.deleted_at IS NULL)
    ON r.status = 'open' AND r.decided_by = 'group:' || g.name AND r.user_id <> m.user_id"""
_COUNTS = f"SELECT m.user_id, count(r.id) FROM {DECIDABLE} WHERE m.user_id {any_of('bigint')} GROUP BY m.user_id"  # noqa: S608


def visible_to(user: User | int) -> Q:
    """Return the condition on requests that exist for the user: their own, and those that they may decide."""
    user_id = user if isinstance(user, int) else user.pk
    return Q(user=user_id, thread__deleted_at=None) | decidable_by(user_id)


def announce(rows: Iterable[InputRequest]) -> None:
    """Tell the sockets of other deciders of these requests, on commit, how many requests wait for them."""
    owners: dict[str, set[int]] = {}
    for row in rows:
        kind, _, name = row.decided_by.partition(":")
        if kind == "group":
            owners.setdefault(name, set()).add(row.user_id)
    if owners:
        members = User.groups.through.objects.filter(group__name__in=owners, user__is_active=True)
        named = members.values_list("group__name", "user_id")
        tell({user_id for name, user_id in named if owners[name] != {user_id}})


def tell(user_ids: Collection[int]) -> None:
    """Tell the sockets of these users, on commit, how many requests of others wait for them."""
    if user_ids:
        transaction.on_commit(partial(_publish, user_ids), robust=True)


def _publish(user_ids: Collection[int]) -> None:
    """Count after the commit: of two changes at once, the later count knows both."""
    counts = dict(execute(_COUNTS, [array_parameter(user_ids)]))
    for user_id in user_ids:
        notice = {"type": "notice", "frame": protocol.control("approvals_changed", open=counts.get(user_id, 0))}
        channel_layer.publish(channel_layer.user_group(user_id), notice)
