"""Shares: copies of a conversation that others read by a link. Make, find and revoke them."""

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from chat import runs
from chat.accounts import audit
from chat.models import Share, Thread, User
from chat.protocol import ProtocolError

MAX_LIVE_SHARES = 20  # of one thread
MAX_SNAPSHOT = 400_000  # characters: at worst, laying them out takes some seconds
TOKEN_BYTES = 20  # 160 bits: nobody finds one by trying
_LIVE = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def snapshot(thread: Thread, message_id: UUID | None) -> list[dict[str, Any]]:
    """Return {role, content} of the thread's messages down to this one, or to the newest.

    Raises ProtocolError: forbidden where sharing is off, not_found for a message that the thread does not have,
    conflict for an empty thread, too_large.
    """
    if settings.NETRA_SHARE_LINKS == "off":
        raise ProtocolError("forbidden", "Sharing is switched off here.")
    branch = runs.branch(thread.pk, message_id)
    if message_id is not None and not branch:
        raise ProtocolError("not_found", "There is no such message in this thread.", field="message_id")
    if not branch:
        raise ProtocolError("conflict", "There is nothing to share yet.")
    if sum(len(content) for _, _, content in branch) > MAX_SNAPSHOT:
        raise ProtocolError("too_large", f"A conversation of more than {MAX_SNAPSHOT:,} characters cannot be shared.")
    return [{"role": role, "content": content} for _, role, content in branch]


def make(thread: Thread, message_id: UUID | None, lifetime: timedelta | None, request: HttpRequest | Request) -> Share:
    """Share a branch, for ever if `lifetime` is None. Raises ProtocolError as `snapshot`, conflict for too many."""
    copied = snapshot(thread, message_id)
    with transaction.atomic():
        # Of two requests at once the second counts the first.
        User.objects.select_for_update(no_key=True).get(pk=thread.user_id)
        if live_shares(thread.user_id).filter(thread=thread).count() >= MAX_LIVE_SHARES:
            raise ProtocolError("conflict", f"This conversation has {MAX_LIVE_SHARES} links. Revoke one first.")
        share = Share.objects.create(
            thread=thread,
            user_id=thread.user_id,
            token=secrets.token_urlsafe(TOKEN_BYTES),
            title=thread.title,
            snapshot=copied,
            expires_at=None if lifetime is None else timezone.now() + lifetime,
        )
        audit.record("share_made", thread.user_id, request, detail=f"share {share.pk}")
    share.refresh_from_db()
    return share


def live_shares(user: User | int) -> QuerySet[Share]:
    """Return the user's shares that are neither revoked nor expired, of threads that are not deleted."""
    return Share.objects.for_user(user).filter(_LIVE)


def find(token: str) -> Share | None:
    """Return the share of a link; None if it has ended, its thread is deleted, or its user is not active."""
    if settings.NETRA_SHARE_LINKS == "off" or "\0" in token:
        return None
    found = Share.objects.filter(_LIVE, token=token, thread__deleted_at=None, thread__user__is_active=True)
    return found.first()


def revoke(shares: Iterable[Share], request: HttpRequest | Request | None = None, by: int | None = None) -> int:
    """Revoke shares and drop what they show. Return how many were not revoked before. `by` is the acting staff user."""
    revoked = 0
    with transaction.atomic():
        for share in shares:
            rows = Share.objects.filter(pk=share.pk, revoked_at=None)
            if rows.update(revoked_at=Now(), title="", snapshot=[]):
                audit.record("share_revoked", share.user_id, request, by, f"share {share.pk}")
                revoked += 1
    return revoked
