"""Connecting a provider to an account, and disconnecting it, by a user who is signed in."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from rest_framework.request import Request

from chat.accounts import audit, sessions
from chat.models import Session, User
from chat.oidc import accounts, groups
from chat.oidc.config import Config, Refused
from chat.oidc.identity import Identity
from chat.protocol import ProtocolError

FRESH = timedelta(minutes=10)  # for which a sign-in by a provider stands for the password


def of(user: User) -> QuerySet[SocialAccount]:
    """Return the user's connections with providers that are configured."""
    return every(user).filter(provider__in=settings.NETRA_SSO)


def every(user: User) -> QuerySet[SocialAccount]:
    """Return the user's connections, also with providers that were configured once."""
    return cast(QuerySet[SocialAccount], SocialAccount.objects.filter(user=user).order_by("pk"))


def is_fresh(user: User, session_id: UUID) -> bool:
    """Return whether a provider began this session a short while ago."""
    begun = Session.objects.for_user(user).filter(pk=session_id, created_at__gt=Now() - FRESH)
    return begun.exclude(provider="").exists()


def begin(request: HttpRequest, config: Config, user: User, session_id: UUID) -> str:
    """Return the address at the provider that connects it. The browser's Django session is for this alone."""
    request.session.flush()
    state = {"user": user.pk, "session": str(session_id)}
    answer = get_adapter().get_provider(request, config.id).redirect(request, "connect", **state)
    return str(answer["Location"])


@transaction.atomic
def connect(request: HttpRequest, person: Identity, state: Mapping[str, Any]) -> None:
    """Connect the person to the account of the session that asked for it. Raises Refused."""
    accounts.check_domain(person)
    user = User.objects.select_for_update(no_key=True).filter(pk=state["user"]).first()
    if user is None or not sessions.alive([UUID(state["session"])]):
        raise Refused("inactive", "the session that asked to connect has ended")
    account = accounts.find(person)
    if account is not None and account.user_id != user.pk:
        raise Refused("account_exists", "the person is connected to another account")
    if account is None:
        account = SocialAccount(user=user, provider=person.provider.id, uid=person.subject)
        audit.record("provider_connected", user.pk, request, detail=person.provider.id)
    account.extra_data = accounts.described(person)
    account.save()
    if person.provider.trusted and person.verified and user.email == person.email:
        accounts.set_verified(user)
    groups.follow(person, user)


@transaction.atomic
def disconnect(request: Request, user: User, account: SocialAccount, session_id: UUID) -> None:
    """Delete the connection, and end the sessions that it began, but for this one. Raises ProtocolError conflict."""
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    others = of(user).exclude(pk=account.pk).exists()
    if not others and (settings.NETRA_SSO_ONLY or not user.has_usable_password()):
        raise ProtocolError("conflict", "This is the only way into your account: connect another one first.")
    account.delete()
    audit.record("provider_disconnected", user.pk, request, detail=account.provider)
    begun = Session.objects.for_user(user).filter(provider=account.provider, provider_sub=account.uid, ended_at=None)
    for session in begun.exclude(pk=session_id):
        sessions.end_session(session)
