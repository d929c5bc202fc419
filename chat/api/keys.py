"""REST: the API keys of a user."""

from datetime import timedelta
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.accounts import api_keys
from chat.api.auth import Account
from chat.api.base import ListView, owner
from chat.api.pagination import PAGED
from chat.api.parsers import body, fields
from chat.api.schema import described
from chat.api.serializers import (
    ApiKeySerializer,
    ApiKeysPageSerializer,
    MadeApiKeySerializer,
    NewApiKeySerializer,
)
from chat.models import ApiKey
from chat.protocol import ProtocolError


class ApiKeys(Account, ListView):
    """The user's keys that are neither revoked nor expired."""

    serializer_class, results_name = ApiKeySerializer, "keys"

    @described("api_keys", {200: ApiKeysPageSerializer}, query=PAGED)
    def get(self, request: Request) -> Response:
        """List them, the newest first."""
        return self.page(request, api_keys.live_keys(owner(request)).order_by("-created_at", "-pk"))

    @described("make_api_key", {201: MadeApiKeySerializer}, NewApiKeySerializer)
    def post(self, request: Request) -> Response:
        """Make one. Only this answer has the key itself."""
        given = fields(NewApiKeySerializer, request)
        lifetime: timedelta | None = api_keys.DEFAULT_LIFETIME
        if "expires_in" in body(request):
            lifetime = timedelta(seconds=given["expires_in"]) if "expires_in" in given else None
        agents = given.get("agents", [])
        known = runs.agents_for(owner(request).pk)
        if unknown := [name for name in agents if name not in known]:
            raise ProtocolError("unknown_agent", f"There is no agent called {unknown[0]!r}.", field="agents")
        scopes = given.get("scopes", ApiKey.SCOPES)
        row, key = api_keys.make(owner(request), given["name"], scopes, agents, lifetime, request)
        return Response({**ApiKeySerializer(row).data, "key": key}, status=201)


class OneApiKey(Account):
    """Resource of an API key."""

    @described("revoke_api_key", {204: None})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke the key and close its sockets."""
        key = api_keys.live_keys(owner(request)).filter(pk=key_id).first()
        if key is None:
            raise ProtocolError("not_found", "There is no such API key.")
        api_keys.revoke([key], request)
        return Response(status=204)
