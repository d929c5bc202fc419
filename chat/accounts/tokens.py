"""Make, rotate and check access and refresh tokens. Every token carries the id of its session (`sid`)."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from chat.accounts import audit
from chat.accounts.authentication import Unauthorized, find_owner, read_token, verify
from chat.accounts.lockout import account, locked_out
from chat.api.client_ip import address_of
from chat.models import Session, User
from chat.protocol import Headers
from chat.runs import event_log


@dataclass(frozen=True, slots=True)
class Tokens:
    """A fresh pair. `expires_in` is the access token's life in seconds."""

    user: User
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: int
    session_id: UUID


def bearer(headers: Headers) -> int:
    """Return the user id of the access token in `Authorization`, without a look into the database.

    Raises Unauthorized.
    """
    token = read_token(headers)
    if token is None:
        raise Unauthorized("no token")
    return verify(AccessToken, token)[1]


@contextmanager
def attempt(request: HttpRequest | Request, email: str) -> Iterator[None]:
    """Try one password for this account from this address; further attempts wait for the end of the block.

    So simultaneous attempts are no more than successive ones. Raises ProtocolError rate_limited after ten failures.
    """
    credentials = {"username": email}
    with _attempting:
        lock = _attempts.setdefault((account(request, credentials), address_of(request)), threading.Lock())
    with lock:
        if settings.NETRA_RATE_LIMITS and not AxesProxyHandler.is_allowed(request, credentials):
            raise locked_out(request, credentials)
        yield


# In this process: several of them may make as many more tries as there are processes.
_attempts: WeakValueDictionary[tuple[str, str], threading.Lock] = WeakValueDictionary()
_attempting = threading.Lock()


def refresh(raw: str, key: str = "", request: HttpRequest | Request | None = None) -> Tokens:
    """Spend a refresh token for a new pair. Raises Unauthorized.

    Of two requests that spend the same token, the first wins. A client that lost the answer gets the same pair again
    with the `key` of the first request, as long as the session has spent no other token since. Any other reuse of a
    spent token ends the session: two clients have its tokens.
    """
    token, user, session_id, expires_at = find_owner(_Spendable, raw)
    # The new token's id follows from the spent one's and the key: however often it is made, it is spent once.
    successor = hashlib.sha256(f"{token['jti']} {key}".encode()).hexdigest() if key else uuid4().hex
    with transaction.atomic():
        # The session's row is held until the token is spent, so a session that is ended meanwhile stays ended.
        if not Session.objects.filter(pk=session_id, ended_at=None).update(used_at=Now()):
            raise Unauthorized("the session has ended")
        spent, _ = OutstandingToken.objects.get_or_create(
            jti=token["jti"], defaults={"user": user, "expires_at": datetime_from_epoch(token["exp"])}
        )
        first = BlacklistedToken.objects.get_or_create(token=spent)[1]
        if first:
            Session.objects.filter(pk=session_id).update(newest=successor)
        good = first or Session.objects.filter(pk=session_id, newest=successor).exists()
        # The key of the first try, too late: its answer has arrived all the same, for its token is spent as well.
        if not good and not OutstandingToken.objects.filter(jti=successor).exists():
            _end_reused(session_id, user, request)
    if not good:
        raise Unauthorized("the refresh token is spent")
    return pair(user, session_id, successor, expires_at)


def session_to_end(raw: str, request: HttpRequest | Request) -> Session:
    """Return the live session that a refresh token signs out of. A spent token ends the session as reuse.

    Raises Unauthorized.
    """
    token, user, session_id, _ = find_owner(_Spendable, raw)
    if BlacklistedToken.objects.filter(token__jti=token["jti"]).exists():
        with transaction.atomic():
            _end_reused(session_id, user, request)
        raise Unauthorized("the refresh token is spent")
    return Session.objects.get(pk=session_id)


def _end_reused(session_id: UUID, user: User, request: HttpRequest | Request | None) -> None:
    if Session.objects.filter(pk=session_id, ended_at=None).update(ended_at=Now()):
        audit.record("refresh_token_reused", user.pk, request, detail=f"session {session_id}")
        event_log.publish_session_ended(user.pk, session_id)


class _Spendable(RefreshToken):
    """A refresh token that may be spent: `refresh` decides that with the session's row locked."""

    def check_blacklist(self) -> None:
        if not isinstance(self.payload.get(api_settings.JTI_CLAIM), str):
            raise TokenError("the token's id is no text")


STANDING = frozenset(("password", "is_active", "is_staff", "is_superuser"))


@receiver(pre_delete, sender=User)
def _keep_the_last_administrator(instance: User, origin: User | QuerySet[User], **signal: Any) -> None:
    going = origin.values_list("pk", flat=True) if isinstance(origin, QuerySet) else [instance.pk]
    User.objects.keep_administrator(dict.fromkeys(going, 0))


def pair(user: User, session_id: UUID, jti: str | None = None, expires_at: datetime | None = None) -> Tokens:
    """Return a new access token and a new refresh token, with the id `jti` if given.

    None of them lives on after `expires_at`, the end of the session.
    """
    # Not RefreshToken.for_user: that keeps the token itself in the database, where it is as good as a password.
    token = RefreshToken()
    token[api_settings.JTI_CLAIM] = jti or token[api_settings.JTI_CLAIM]
    token[api_settings.USER_ID_CLAIM] = str(user.pk)
    token[api_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(user.password)
    token["sid"] = str(session_id)
    access, lifetime = token.access_token, int(api_settings.ACCESS_TOKEN_LIFETIME.total_seconds())
    if expires_at is not None:
        end = int(expires_at.timestamp())
        for one in (token, access):
            one["exp"] = min(one["exp"], end)
        lifetime = max(0, access["exp"] - int(time.time()))
    return Tokens(user, str(access), str(token), lifetime, session_id)
