"""REST: the user's connections with MCP servers for which each user has a token."""

import logging
from typing import Any

from django.conf import settings
from django.core import signing
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.accounts import audit
from chat.api.auth import Account, session_id_of
from chat.api.base import origin_of, owner
from chat.api.fields import Text, Timestamp
from chat.api.parsers import fields
from chat.api.schema import described
from chat.mcp_client import flow, requests, revocation, tokens
from chat.mcp_client.config import OAUTH, OWN, NotPossible, Server, configured, find
from chat.mcp_client.views import COOKIE, SALT
from chat.models import McpConnection
from chat.protocol import ProtocolError

log = logging.getLogger("netra.mcp")


class McpConnectionSerializer(serializers.Serializer[Any]):
    server = serializers.CharField(help_text="its name in NETRA_MCP_SERVERS")
    auth = serializers.ChoiceField([OAUTH, OWN], help_text="oauth: by signing in there; user: by a token of the user")
    connected = serializers.BooleanField()
    issuer = serializers.CharField(help_text="the authorization server, empty without one")
    scope = serializers.CharField()
    wanted = serializers.CharField(help_text="what runs that wait need beside it: connect again to allow it")
    connected_at = Timestamp(allow_null=True)
    used_at = Timestamp(allow_null=True)


class McpConnectionsSerializer(serializers.Serializer[Any]):
    connections = McpConnectionSerializer(many=True)


class McpSignInSerializer(serializers.Serializer[Any]):
    url = serializers.URLField(
        help_text="the authorization server's page; the browser that made the request goes there"
    )


class McpTokenSerializer(serializers.Serializer[Any]):
    token = Text(max_length=4096)


class McpConnections(Account):
    """The servers, and which of them the user has connected."""

    @described("mcp_connections", {200: McpConnectionsSerializer})
    def get(self, request: Request) -> Response:
        """List the servers. No answer has a token."""
        mine = {row.server: row for row in McpConnection.objects.for_user(owner(request))}
        shown = [_shown(server, mine.get(server.name), owner(request).pk) for server in configured()]
        return Response(McpConnectionsSerializer({"connections": shown}).data)


def _shown(server: Server, row: McpConnection | None, user_id: int) -> dict[str, Any]:
    row = row if row is not None and row.url == server.url else None
    return {
        "server": server.name,
        "auth": server.auth,
        "connected": row is not None,
        "issuer": row.issuer if row else "",
        "scope": row.scope if row else "",
        "wanted": requests.wanted_scope(user_id, server) if row else "",
        "connected_at": row.created_at if row else None,
        "used_at": row.used_at if row else None,
    }


class OneMcpConnection(Account):
    """The user's connection with one server."""

    @described("connect_mcp_server", {200: McpSignInSerializer})
    def post(self, request: Request, server: str) -> Response:
        """Begin to sign in at the server. The answer sets a cookie without which the sign-in cannot end."""
        found = _server(server, OAUTH)
        session_id = session_id_of(request)
        redirect_uri = origin_of(request) + reverse("chat:mcp_callback")
        try:
            url = flow.begin(found, owner(request).pk, session_id, redirect_uri)
        except NotPossible as error:
            log.warning("mcp %s: cannot be connected: %s", found.name, error.reason)
            raise ProtocolError("unavailable", error.message, retry_after=10) from None
        response = Response({"url": url})
        response.set_cookie(
            COOKIE,
            signing.dumps(session_id.hex, salt=SALT),
            max_age=flow.STATE_SECONDS,
            path=reverse("chat:mcp_callback"),
            secure=settings.NETRA_HTTPS,
            httponly=True,
            samesite="Lax",  # the browser comes back from another site
        )
        return response

    @described("give_mcp_token", {204: None}, McpTokenSerializer)
    def put(self, request: Request, server: str) -> Response:
        """Store a token that the user has made at the server. It is never shown again."""
        found = _server(server, OWN)
        token = fields(McpTokenSerializer, request)["token"]
        if not tokens.is_token(token):
            raise ProtocolError("invalid_message", "token: Only printable ASCII without spaces.", field="token")
        tokens.store(owner(request).pk, found, "", "", {"access_token": token}, None)
        flow.connected(request, owner(request).pk, found, session_id_of(request))
        return Response(status=204)

    @described("disconnect_mcp_server", {204: None})
    def delete(self, request: Request, server: str) -> Response:
        """Delete the user's tokens, and revoke them at the server as far as it answers."""
        row = McpConnection.objects.for_user(owner(request)).filter(server=server).first()
        if row is None:
            raise ProtocolError("not_found", "There is no such connection.")
        audit.record("mcp_disconnected", owner(request).pk, request, detail=row.server)
        revocation.delete(row)
        return Response(status=204)


def _server(name: str, auth: str) -> Server:
    found = find(name)
    if found is None or found.auth != auth:
        raise ProtocolError("not_found", "There is no such server.")
    return found
