"""Who is asking: from a token to a user, and the sessions that tokens belong to.

`identify` is the one way a token becomes a user, for sockets and for REST. Every token carries the id of its session
(`sid`), so that ending the session ends them all; refresh tokens are rotated, and a spent one is refused.
What is wrong with a token is for the log only: whoever sent it gets one and the same answer.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.db.models.signals import post_delete, pre_save
from django.dispatch import receiver
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from chat import runs
from chat.models import Session, User
from chat.protocol import Refused, negotiate

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


def sign_in(user: User, user_agent: str) -> Tokens:
    """Begin a session of a user whose password was just checked."""
    with transaction.atomic():
        session = Session.objects.create(user=user, user_agent=user_agent.replace("\0", "")[:300])
        User.objects.filter(pk=user.pk).update(last_login=Now())
    return _pair(session)


def refresh(raw: str) -> Tokens:
    """Spend a refresh token for a new pair. Of two that spend the same one, one wins. Raises Unauthorized."""
    token, session = _found(RefreshToken, raw)
    with transaction.atomic():
        # The session's row is held until the token is spent, so a session that is ended meanwhile stays ended.
        if not Session.objects.filter(pk=session.pk, ended_at=None).update(used_at=Now()):
            raise Unauthorized("the session has ended")
        spent, _ = OutstandingToken.objects.get_or_create(
            jti=token["jti"], defaults={"user": session.user, "expires_at": datetime_from_epoch(token["exp"])}
        )
        if not BlacklistedToken.objects.get_or_create(token=spent)[1]:
            raise Unauthorized("the refresh token is spent")
    return _pair(session)


def session_of(raw: str) -> Session:
    """The live session of a refresh token, which is not spent by it. Raises Unauthorized."""
    return _found(RefreshToken, raw)[1]


def end_session(session: Session) -> None:
    """Sign out: its tokens are refused from now on, and its sockets close."""
    with transaction.atomic():
        Session.objects.filter(pk=session.pk, ended_at=None).update(ended_at=Now())
        runs.session_ended(session.user_id, session.pk)


def end_sessions(user: User) -> None:
    """Sign the user out everywhere."""
    with transaction.atomic():
        Session.objects.filter(user=user, ended_at=None).update(ended_at=Now())
        runs.session_ended(user.pk, None)


def alive(ids: Iterable[UUID]) -> set[UUID]:
    """Those of the sessions that have not ended and whose users are active; one query."""
    live = Session.objects.filter(pk__in=set(ids), ended_at=None, user__is_active=True)
    return set(live.values_list("pk", flat=True))


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
    if stored and (stored["password"] != instance.password or (stored["is_active"] and not instance.is_active)):
        end_sessions(instance)


@receiver(post_delete, sender=User)
def _end_with_the_user(instance: User, **signal: Any) -> None:
    runs.session_ended(instance.pk, None)


def _identified(raw: str) -> tuple[User, Identity]:
    token, session = _found(AccessToken, raw)
    return session.user, Identity(session.user.pk, session.user.email, session.pk, int(token["exp"]))


def _found(kind: type[_Token], raw: str) -> tuple[_Token, Session]:
    token, user_id, session_id = _verified(kind, raw)
    live = Session.objects.filter(pk=session_id, user=user_id, ended_at=None)
    session = live.select_related("user").first()
    if session is None:
        raise Unauthorized("no such session of this user, or it has ended")
    if not session.user.is_active:
        raise Unauthorized("the user is not active")
    revoke = token.get(api_settings.REVOKE_TOKEN_CLAIM)
    if not constant_time_compare(str(revoke), get_md5_hash_password(session.user.password)):
        raise Unauthorized("the password was changed")
    return token, session


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


def _pair(session: Session) -> Tokens:
    # Not RefreshToken.for_user: that keeps the token itself in the database, where it is as good as a password.
    token = RefreshToken()
    token[api_settings.USER_ID_CLAIM] = str(session.user.pk)
    token[api_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(session.user.password)
    token["sid"] = str(session.pk)
    lifetime = int(api_settings.ACCESS_TOKEN_LIFETIME.total_seconds())
    return Tokens(session.user, str(token.access_token), str(token), lifetime)
