"""API keys: static credentials of a user's programs, with scopes and an expiry. The database has their digests only.

A key is `netra_`, 8 characters of its public id, `_`, 32 random characters, and 6 of a checksum of all before, so that
a scanner recognises a key and a mistyped one costs no query.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Collection, Iterable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework.request import Request

from chat.accounts import audit
from chat.db.access import afterwards
from chat.models import ApiKey, User
from chat.protocol import KEY_PREFIX, ProtocolError
from chat.runs import event_log

MAX_LIVE_KEYS = 50  # of a user
DEFAULT_LIFETIME = timedelta(days=90)
TOUCH_INTERVAL = timedelta(minutes=1)  # between two writes of last_used_at
_ALPHABET = string.digits + string.ascii_letters
_PUBLIC, _SECRET, _CHECKSUM = 8, 32, 6  # characters; 62**32 is 190 bits, 62**6 more than a CRC-32
_FORM = re.compile(rf"({KEY_PREFIX}[0-9A-Za-z]{{{_PUBLIC}}})_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}")


def new_key() -> str:
    """Return a new random key."""
    public, secret = ("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (_PUBLIC, _SECRET))
    beginning = f"{KEY_PREFIX}{public}_{secret}"
    return beginning + _checksum(beginning)


def prefix_of(key: str) -> str | None:
    """Return the public beginning of a key, None if the form or the checksum is wrong."""
    match = _FORM.fullmatch(key)
    return match[1] if match and key[-_CHECKSUM:] == _checksum(key[:-_CHECKSUM]) else None


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()  # of a random text: a slow hash would protect nothing more


def make(
    user: User,
    name: str,
    scopes: Iterable[str],
    agents: Iterable[str],
    lifetime: timedelta | None,
    request: HttpRequest | Request,
) -> tuple[ApiKey, str]:
    """Make a key, valid for ever if `lifetime` is None; return its row and the key, which cannot be read again.

    Raises ProtocolError conflict if the user has MAX_LIVE_KEYS.
    """
    key = new_key()
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(
            pk=user.pk
        )  # of two requests at once the second counts the first
        if live_keys(user).count() >= MAX_LIVE_KEYS:
            raise ProtocolError("conflict", f"You have {MAX_LIVE_KEYS} API keys. Revoke one first.")
        row = ApiKey.objects.create(
            user=user,
            name=name,
            prefix=key[: len(KEY_PREFIX) + _PUBLIC],
            digest=_digest(key),
            scopes=list(dict.fromkeys(scopes)),
            agents=list(dict.fromkeys(agents)),
            expires_at=None if lifetime is None else timezone.now() + lifetime,
        )
        audit.record("key_made", user.pk, request, detail=row.prefix)
    row.refresh_from_db()
    return row, key


def live_keys(user: User) -> QuerySet[ApiKey]:
    """Return the user's keys that are neither revoked nor expired."""
    return ApiKey.objects.for_user(user).filter(_LIVE)


_LIVE = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def find(key: str) -> ApiKey | None:
    """Return the live row of a key of an active user, with the user; None for any other key, in at most one query."""
    prefix = prefix_of(key)
    if prefix is None:
        return None
    row = ApiKey.objects.filter(_LIVE, prefix=prefix, user__is_active=True).select_related("user").first()
    if row is None or not constant_time_compare(row.digest, _digest(key)):
        return None
    return row


def note_use(row: ApiKey, address: str) -> None:
    """Write that a key was used from this address, after the request and at most once in TOUCH_INTERVAL."""
    if row.last_used_at is None or row.last_used_at < timezone.now() - TOUCH_INTERVAL:
        afterwards(_touch, row.pk, row.user_id, row.prefix, address)


@transaction.atomic
def _touch(key_id: UUID, user_id: int, prefix: str, address: str) -> None:
    keys = ApiKey.objects.filter(pk=key_id)
    if keys.filter(last_used_at=None).update(last_used_at=Now()):
        audit.record("key_used_first", user_id, detail=prefix, address=address)
    else:
        keys.filter(last_used_at__lt=Now() - TOUCH_INTERVAL).update(last_used_at=Now())


def revoke(keys: Iterable[ApiKey], request: HttpRequest | Request | None = None, by: int | None = None) -> int:
    """Revoke keys: they are refused from now on, and their sockets close. Return how many were not revoked before.

    `by` is the acting staff user.
    """
    revoked = 0
    with transaction.atomic():
        for key in keys:
            if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now()):
                audit.record("key_revoked", key.user_id, request, by, key.prefix)
                revoked += 1
            event_log.publish_key_ended(key.user_id, key.pk)
    return revoked


def alive(ids: Collection[UUID]) -> set[UUID]:
    """Return the ids of those keys that are live and whose users are active, in one query."""
    return set(ApiKey.objects.filter(_LIVE, pk__in=ids, user__is_active=True).values_list("pk", flat=True))
