"""Sign in and out, change passwords, list and end sessions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken

from chat.accounts import api_keys, audit
from chat.accounts.authentication import Unauthorized, find_owner
from chat.accounts.tokens import Tokens, pair
from chat.models import Session, User
from chat.runs import event_log


@dataclass(frozen=True, slots=True)
class Provided:
    """A provider that has just signed in a user, its id of the user, and of its own session ("" if it says none)."""

    provider: str
    subject: str
    sid: str


def sign_in(user: User, user_agent: str, provided: Provided | None = None) -> Tokens:
    """Begin a session of a user whose password was just checked, or whom a provider has just signed in."""
    session = Session(user=user, user_agent=user_agent.replace("\0", "")[:300])
    if provided is not None:
        session.provider, session.provider_sub = provided.provider, provided.subject
        session.provider_sid = provided.sid
        session.expires_at = timezone.now() + timedelta(seconds=settings.NETRA_SSO_SESSION_SECONDS)
    session.save(force_insert=True)
    return pair(user, session.pk, expires_at=session.expires_at)


def session_of(raw: str) -> Session:
    """Return the live session of a refresh token, without spending the token. Raises Unauthorized."""
    return Session.objects.get(pk=find_owner(RefreshToken, raw)[2])


def end_session(session: Session) -> None:
    """Sign out: its tokens are refused from now on, and its sockets close."""
    with transaction.atomic():
        if Session.objects.filter(pk=session.pk, ended_at=None).update(ended_at=Now()):
            audit.record("session_ended", session.user_id, detail=f"session {session.pk}")
        event_log.publish_session_ended(session.user_id, session.pk)


def end_sessions(user: User, keys: bool = False) -> None:
    """Sign the user out everywhere, and revoke all API keys if `keys`."""
    with transaction.atomic():
        if keys:
            api_keys.revoke(api_keys.live_keys(user))
        ended = Session.objects.filter(user=user, ended_at=None).update(ended_at=Now())
        audit.record("signed_out_everywhere", user.pk, detail=f"{ended} sessions")
        event_log.publish_session_ended(user.pk, None)


def change_password(user: User, current: str, new: str, session_id: UUID, keys: bool = False) -> Tokens:
    """Set the password and end every other session, and all API keys if `keys`; return new tokens for this one.

    Raises Unauthorized if `current` is not the password, also if it was changed meanwhile; ValidationError for a bad
    `new`.
    """
    # Not user.check_password: that may store a new hash, and a new hash ends every session.
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
            event_log.publish_session_ended(user.pk, other)
        if keys:
            api_keys.revoke(api_keys.live_keys(user))
        session = Session.objects.select_related("user").get(pk=session_id)
    return pair(session.user, session_id, expires_at=session.expires_at)


def live_sessions(user: User) -> QuerySet[Session]:
    """Return the user's sessions that have not ended and whose refresh token has not expired."""
    since = Now() - api_settings.REFRESH_TOKEN_LIFETIME
    return Session.objects.for_user(user).filter(UNENDED, used_at__gt=since)


UNENDED = Q(ended_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


_VIEWER = Signer(salt="netra.view")


def viewer(session_id: UUID) -> str:
    """Return the value of a cookie by which a browser reads what is shared with members, while its session lives."""
    return _VIEWER.sign(session_id.hex)


def is_viewer(cookie: str) -> bool:
    """Return whether the value is that of a live session of an active user."""
    try:
        session_id = UUID(_VIEWER.unsign(cookie))
    except (BadSignature, ValueError):
        return False
    since = Now() - api_settings.REFRESH_TOKEN_LIFETIME
    return Session.objects.filter(UNENDED, pk=session_id, used_at__gt=since, user__is_active=True).exists()


def alive(ids: Iterable[UUID]) -> set[UUID]:
    """Return the ids of those sessions that have not ended and whose users are active, in one query."""
    live = Session.objects.filter(UNENDED, pk__in=set(ids), user__is_active=True)
    return set(live.values_list("pk", flat=True))
