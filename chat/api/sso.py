"""REST: sign-in by a provider: which there are, and the user's connections with them."""

import re
from typing import Any
from uuid import UUID

from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.contrib.auth import user_login_failed
from django.contrib.auth.hashers import check_password
from requests import RequestException
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.accounts import tokens
from chat.api.auth import Account, Entrance, session_id_of
from chat.api.base import owner
from chat.api.fields import Timestamp
from chat.api.parsers import fields
from chat.api.schema import described
from chat.api.serializers import ProofSerializer, ProvidersSerializer
from chat.models import User
from chat.oidc import config, connections
from chat.protocol import ProtocolError


class ConnectSerializer(serializers.Serializer[Any]):
    url = serializers.URLField()


class ConnectionSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    provider = serializers.CharField()
    name = serializers.CharField(help_text="of the provider")
    email = serializers.CharField(help_text="the provider's address of the user, empty if it says none")
    connected_at = Timestamp()
    used_at = Timestamp()


class ConnectionsSerializer(serializers.Serializer[Any]):
    accounts = ConnectionSerializer(many=True)
    password = serializers.BooleanField(help_text="whether the account has one")


def demand_proof(request: Request, user: User, session_id: UUID) -> None:
    """Check the password, or that a provider began the session a short while ago. Raises ProtocolError."""
    given = fields(ProofSerializer, request, needed=False)
    if not user.has_usable_password() or (settings.NETRA_SSO_ONLY and "current" not in given):
        if not connections.is_fresh(user, session_id):
            raise ProtocolError("forbidden", "Sign in with your provider again: that was more than 10 minutes ago.")
        return
    if "current" not in given:
        raise ProtocolError("invalid_message", "current: This field is required.", field="current")
    with tokens.attempt(request, user.email):
        if not check_password(given["current"], user.password):
            user_login_failed.send(__name__, credentials={"username": user.email}, request=request)
            raise ProtocolError("invalid_message", "The current password is wrong.", field="current")


class Providers(Entrance):
    @described("providers", {200: ProvidersSerializer})
    def get(self, request: Request) -> Response:
        """Return the ways to sign in: the providers, and whether there are passwords and sign-up by one."""
        password = not settings.NETRA_SSO_ONLY
        return Response(
            {
                "providers": [{"id": one.id, "name": one.name} for one in config.configured()],
                "password": password,
                "signup": password and settings.NETRA_OPEN_REGISTRATION,
            }
        )


class Connections(Account):
    @described("sso_accounts", {200: ConnectionsSerializer})
    def get(self, request: Request) -> Response:
        """List the user's connections, and whether the account has a password."""
        user = owner(request)
        listed = [
            {
                "id": account.pk,
                "provider": account.provider,
                "name": settings.NETRA_SSO[account.provider]["name"],
                "email": account.extra_data.get("email", ""),
                "connected_at": account.date_joined,
                "used_at": account.last_login,
            }
            for account in connections.of(user)
        ]
        password = user.has_usable_password() and not settings.NETRA_SSO_ONLY
        return Response(ConnectionsSerializer({"accounts": listed, "password": password}).data)


class OneConnection(Account):
    @described("disconnect", {204: None}, ProofSerializer)
    def delete(self, request: Request, account_id: str) -> Response:
        """Disconnect a provider and end the other sessions that it began: `conflict` if it is the only way in."""
        user, session_id = owner(request), session_id_of(request)
        known = re.fullmatch(r"[0-9]{1,9}", account_id)
        account = connections.of(user).filter(pk=int(account_id)).first() if known else None
        if account is None:
            raise ProtocolError("not_found", "There is no such connection.")
        demand_proof(request, user, session_id)
        connections.disconnect(request, user, account, session_id)
        return Response(status=204)


class Connect(Account):
    @described("connect", {200: ConnectSerializer}, ProofSerializer)
    def post(self, request: Request, provider_id: str) -> Response:
        """Return the address to which this browser goes to connect the provider. The answer sets a cookie for that."""
        provider = config.find(provider_id)
        if provider is None:
            raise ProtocolError("not_found", "There is no such provider.")
        user, session_id = owner(request), session_id_of(request)
        demand_proof(request, user, session_id)
        try:
            url = connections.begin(request._request, provider, user, session_id)
        except (OAuth2Error, RequestException):
            raise ProtocolError("unavailable", "The provider does not answer. Try again.", retry_after=10) from None
        return Response({"url": url})
