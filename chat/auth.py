"""Who is asking: from a token to a user, and the sessions that tokens belong to.

`identify` is the one way a token becomes a user, for sockets and for REST. Every token carries the id of its session
(`sid`), so that ending the session ends them all; refresh tokens are rotated, and a spent one is refused.
What is wrong with a token is for the log only: whoever sent it gets one and the same answer.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.password_validation import validate_password
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session as DjangoSession
from django.db import transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now
from django.db.models.signals import post_delete, pre_delete, pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from chat import audit, events
from chat.limits import address_of
from chat.models import Session, User
from chat.protocol import ProtocolError, Refused, negotiate
from chat.sql import key as key_of

log = logging.getLogger("netra.auth")
_MAX_ID = 2**63 - 1
_Token = TypeVar("_Token", bound=Token)


class Unauthorized(Exception):
    """A token, or none, that is nobody's. `reason` is for the log and carries nothing of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it was. `expires_at` is in seconds since the epoch."""

    user_id: int
    email: str
    session_id: UUID
    expires_at: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """A fresh pair. `expires_in` is the access token's life in seconds."""

    user: User
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: int


def identify(raw: str) -> Identity:
    """The owner of an access token, found in one query. Raises Unauthorized."""
    return _identified(raw)[1]


def account(request: HttpRequest | Request, credentials: Mapping[str, Any] | None) -> str:
    """What failed sign-ins are counted under: not the address as it was typed, which may be a password."""
    typed = str((credentials or {}).get("username") or "")
    return hashlib.sha256(typed.strip().lower().encode("utf-8", "replace")).hexdigest()


def check_lock(request: HttpRequest | Request, email: str) -> None:
    """Raises ProtocolError rate_limited after ten failures for this account from this address."""
    credentials = {"username": email}
    if settings.NETRA_LIMITS and not AxesProxyHandler.is_allowed(request, credentials):
        raise locked_out(request, credentials)


def locked_out(request: HttpRequest | Request, credentials: Mapping[str, Any] | None) -> ProtocolError:
    mine = {"username": account(request, credentials), "ip_address": address_of(request)}
    last = AccessAttempt.objects.filter(**mine).aggregate(last=Max("attempt_time"))["last"] or timezone.now()
    left = (last + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds()
    return ProtocolError("rate_limited", "Too many failed attempts. Try again later.", retry_after=max(1, round(left)))


def sign_in(user: User, user_agent: str) -> Tokens:
    """Begin a session of a user whose password was just checked."""
    return _pair(user, Session.objects.create(user=user, user_agent=user_agent.replace("\0", "")[:300]).pk)


def refresh(raw: str, key: str = "") -> Tokens:
    """Spend a refresh token for a new pair. Of two that spend the same one, one wins; but whoever lost the answer gets
    it again with the `key` of the first try, as long as the session has spent no other since. Raises Unauthorized.
    """
    token, user, session_id = _found(_Spendable, raw)
    # The new token's id follows from the spent one's and the key: however often it is made, it is spent once.
    successor = hashlib.sha256(f"{token['jti']} {key}".encode()).hexdigest() if key else uuid4().hex
    with transaction.atomic():
        # The session's row is held until the token is spent, so a session that is ended meanwhile stays ended.
        if not Session.objects.filter(pk=session_id, ended_at=None).update(used_at=Now()):
            raise Unauthorized("the session has ended")
        spent, _ = OutstandingToken.objects.get_or_create(
            jti=token["jti"], defaults={"user": user, "expires_at": datetime_from_epoch(token["exp"])}
        )
        if BlacklistedToken.objects.get_or_create(token=spent)[1]:
            Session.objects.filter(pk=session_id).update(newest=successor)
        elif not Session.objects.filter(pk=session_id, newest=successor).exists():
            raise Unauthorized("the refresh token is spent")
    return _pair(user, session_id, successor)


def session_of(raw: str) -> Session:
    """The live session of a refresh token, which is not spent by it. Raises Unauthorized."""
    return Session.objects.get(pk=_found(RefreshToken, raw)[2])


def end_session(session: Session) -> None:
    """Sign out: its tokens are refused from now on, and its sockets close."""
    with transaction.atomic():
        if Session.objects.filter(pk=session.pk, ended_at=None).update(ended_at=Now()):
            audit.record("session_ended", session.user_id, detail=f"session {session.pk}")
        events.session_ended(session.user_id, session.pk)


def end_sessions(user: User) -> None:
    """Sign the user out everywhere."""
    with transaction.atomic():
        ended = Session.objects.filter(user=user, ended_at=None).update(ended_at=Now())
        audit.record("signed_out_everywhere", user.pk, detail=f"{ended} sessions")
        events.session_ended(user.pk, None)


def change_password(user: User, current: str, new: str, session_id: UUID) -> Tokens:
    """Set the password and end every session but this one, whose tokens are made anew: the old ones end with the old
    password. Raises Unauthorized where `current` is not the password, or not any more; ValidationError for a bad `new`.
    """
    # Not user.check_password: that may store the hash anew, and with a new hash every session ends.
    if not check_password(current, user.password):
        raise Unauthorized("the current password is wrong")
    validate_password(new, user)
    hashed = make_password(new)
    with transaction.atomic():
        if not User.objects.filter(pk=user.pk, password=user.password).update(password=hashed):
            raise Unauthorized("the password was changed meanwhile")
        audit.record("password_changed", user.pk)
        others = list(live_sessions(user).exclude(pk=session_id).values_list("pk", flat=True))
        Session.objects.filter(pk__in=others).update(ended_at=Now())
        for other in others:
            events.session_ended(user.pk, other)
        user = User.objects.get(pk=user.pk)
    return _pair(user, session_id)


def live_sessions(user: User) -> QuerySet[Session]:
    """Those that have not ended and whose refresh token has not expired."""
    since = Now() - api_settings.REFRESH_TOKEN_LIFETIME
    return Session.objects.for_user(user).filter(ended_at=None, used_at__gt=since)


def alive(ids: Iterable[UUID]) -> set[UUID]:
    """Those of the sessions that have not ended and whose users are active; one query."""
    live = Session.objects.filter(pk__in=set(ids), ended_at=None, user__is_active=True)
    return set(live.values_list("pk", flat=True))


class _Spendable(RefreshToken):
    """Whether it is spent is for `refresh` to decide, with the session's row held."""

    def check_blacklist(self) -> None:
        if not isinstance(self.payload.get(api_settings.JTI_CLAIM), str):
            raise TokenError("the token's id is no text")


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>`: `request.user` is the User and `request.auth` the Identity."""

    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        header = request.headers.get("Authorization", "").encode("latin-1", "replace")
        try:
            token = negotiate([(b"authorization", header)]).token
        except Refused as refused:
            raise Unauthorized(refused.reason) from None
        return None if token is None else _identified(token)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


@receiver(pre_save, sender=User)
def _end_with_the_password(
    instance: User, raw: bool = False, update_fields: Iterable[str] | None = None, **signal: Any
) -> None:
    changed = {"password", "is_active"}.intersection(update_fields or ("password", "is_active"))
    if raw or instance.pk is None or not changed:
        return
    stored = User.objects.filter(pk=instance.pk).values("password", "is_active").first()
    if stored and stored["password"] != instance.password:
        audit.record("password_changed", instance.pk)
        end_sessions(instance)
    elif stored and stored["is_active"] and not instance.is_active:
        audit.record("deactivated", instance.pk)
        end_sessions(instance)


@receiver(pre_delete, sender=User)
def _leave_nothing(instance: User, **signal: Any) -> None:
    """What tells of the user without belonging to them as far as the database knows."""
    OutstandingToken.objects.filter(user=instance).delete()
    typed = hashlib.sha256(instance.email.encode()).hexdigest()
    AccessAttempt.objects.filter(username=typed).delete()
    about = ContentType.objects.get_for_model(User)
    LogEntry.objects.filter(content_type=about, object_id=str(instance.pk)).delete()
    for session in DjangoSession.objects.iterator():  # of the admin: there are few
        if session.get_decoded().get(SESSION_KEY) == str(instance.pk):
            session.delete()


@receiver(post_delete, sender=User)
def _end_with_the_user(instance: User, **signal: Any) -> None:
    audit.record("deleted", instance.pk)
    events.session_ended(instance.pk, None)


def _identified(raw: str) -> tuple[User, Identity]:
    token, user, session_id = _found(AccessToken, raw)
    return user, Identity(user.pk, user.email, session_id, int(token["exp"]))


# Written out: every handshake and every request asks it, and building it costs more than running it.
_LIVE = """
    SELECT u.* FROM chat_user u JOIN chat_session s ON s.user_id = u.id
    WHERE s.id = %s AND u.id = %s AND s.ended_at IS NULL"""


def _found(kind: type[_Token], raw: str) -> tuple[_Token, User, UUID]:
    token, user_id, session_id = _verified(kind, raw)
    user = next(iter(User.objects.raw(_LIVE, [key_of(session_id), user_id])), None)
    if user is None:
        raise Unauthorized("no such session of this user, or it has ended")
    if not user.is_active:
        raise Unauthorized("the user is not active")
    revoke = token.get(api_settings.REVOKE_TOKEN_CLAIM)
    if not constant_time_compare(str(revoke), get_md5_hash_password(user.password)):
        raise Unauthorized("the password was changed")
    return token, user, session_id


def _verified(kind: type[_Token], raw: str) -> tuple[_Token, int, UUID]:
    try:
        token = kind(cast(Any, raw))
    except TokenError as error:
        raise Unauthorized(str(error)) from None
    # What a claim or a header of the wrong type or size makes of the libraries below.
    except (TypeError, ValueError, LookupError, ArithmeticError, OSError) as error:
        raise Unauthorized(f"malformed token ({type(error).__name__})") from None
    user_id, session_id = token.get(api_settings.USER_ID_CLAIM), token.get("sid")
    if isinstance(user_id, str) and user_id.isascii() and user_id.isdecimal() and len(user_id) < 20:
        user_id = int(user_id)
    if type(user_id) is not int or not 0 < user_id <= _MAX_ID:
        raise Unauthorized("the token names no user")
    try:
        return token, user_id, UUID(session_id)
    except (TypeError, ValueError, AttributeError):
        raise Unauthorized("the token names no session") from None


def _pair(user: User, session_id: UUID, jti: str | None = None) -> Tokens:
    # Not RefreshToken.for_user: that keeps the token itself in the database, where it is as good as a password.
    token = RefreshToken()
    token[api_settings.JTI_CLAIM] = jti or token[api_settings.JTI_CLAIM]
    token[api_settings.USER_ID_CLAIM] = str(user.pk)
    token[api_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(user.password)
    token["sid"] = str(session_id)
    lifetime = int(api_settings.ACCESS_TOKEN_LIFETIME.total_seconds())
    return Tokens(user, str(token.access_token), str(token), lifetime)
