"""The sign-in of a user at an MCP server: OAuth 2.1 with PKCE, for one resource, back to one address."""

import hashlib
import hmac
import logging
import secrets as random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest
from mcp.client.auth import PKCEParameters
from mcp.client.auth.utils import union_scopes
from rest_framework.request import Request

from chat import runs
from chat.accounts import audit, sessions
from chat.api.client_ip import address_of
from chat.mcp_client import clients, requests, secrets, tokens
from chat.mcp_client.config import NotPossible, Server, find
from chat.mcp_client.discovery import discover
from chat.models import McpAuthorization, McpConnection
from chat.protocol import ProtocolError

log = logging.getLogger("netra.mcp")
STATE_SECONDS = 600  # from the button to the server's answer
MAX_BEGUN = 20  # sign-ins of one user that are under way
_FAILED = "The sign-in at the server failed. Try again."
_CANCELLED = "The sign-in was cancelled."


def begin(server: Server, user_id: int, session_id: UUID, redirect_uri: str) -> str:
    """Return the address at the authorization server to which the user's browser goes. Raises NotPossible."""
    found = discover(server)
    if wanted := requests.wanted_scope(user_id, server):
        row = McpConnection.objects.for_user(user_id).filter(server=server.name, url=server.url).first()
        # What was granted before is asked for again: the new tokens take the place of the old ones.
        scope = union_scopes(union_scopes(row.scope if row else "", found.scope), wanted) or ""
        found = replace(found, scope=scope)
    client = clients.client_for(server, found, redirect_uri)
    pkce, state = PKCEParameters.generate(), random.token_urlsafe(32)
    values = {
        "verifier": pkce.code_verifier,
        "redirect_uri": redirect_uri,
        "client": client,
        "issuer": found.issuer,
        "names_itself": found.names_itself,
        "token_endpoint": found.token_endpoint,
        "revocation_endpoint": found.revocation_endpoint,
        "resource": found.resource,
        "scope": found.scope,
        "url": server.url,
    }
    mine = McpAuthorization.objects.for_user(user_id)
    mine.filter(expires_at__lte=Now()).delete()
    if mine.count() >= MAX_BEGUN:
        raise NotPossible("Too many sign-ins are under way. Try again in ten minutes.")
    McpAuthorization.objects.create(
        digest=_digest(state),
        user_id=user_id,
        session_id=session_id,
        server=server.name,
        secrets=secrets.encrypt(values),
        expires_at=Now() + timedelta(seconds=STATE_SECONDS),
    )
    query = {
        "response_type": "code",
        "client_id": client["id"],
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": pkce.code_challenge,
        "code_challenge_method": "S256",
        "resource": found.resource,
        **({"scope": found.scope} if found.scope else {}),
        **({"prompt": "consent"} if "offline_access" in found.scope.split() else {}),
    }
    joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
    return f"{found.authorization_endpoint}{joint}{urlencode(query)}"


def finish(request: HttpRequest, session_id: UUID | None) -> str:
    """Take the authorization server's answer, store the connection and resolve the requests for it.

    `session_id` is the session of the browser that brings the answer. Return the server's name. Raises NotPossible for
    a state that is not of this browser, was used or is too old, and for an answer that cannot be believed.
    """
    given = request.GET
    row = McpAuthorization.objects.filter(Q(expires_at__gt=Now()), digest=_digest(given.get("state", ""))).first()
    if row is None or not McpAuthorization.objects.filter(pk=row.pk).delete()[0]:
        raise NotPossible(_FAILED, "the state is unknown, used or too old")
    if session_id != row.session_id or not sessions.alive([row.session_id]):
        raise NotPossible(_FAILED, "the state is of another session")
    server, values = find(row.server), secrets.decrypt(row.secrets)
    if server is None or values is None or values["url"] != server.url:
        raise NotPossible(_FAILED, "the server was changed meanwhile")
    _check_issuer(given.get("iss"), values)
    if given.get("error"):
        is_denied = given["error"] == "access_denied"
        raise NotPossible(_CANCELLED if is_denied else _FAILED, "denied" if is_denied else "an error of the server")
    if not given.get("code"):
        raise NotPossible(_FAILED, "no code")
    found = _exchange(server, values, given["code"])
    scope = found["scope"] if isinstance(found.get("scope"), str) else values["scope"]
    kept = {name: values[name] for name in ("client", "token_endpoint", "revocation_endpoint", "resource")}
    kept |= {name: found[name] for name in ("access_token", "refresh_token") if found.get(name)}
    kept["hosts"] = sorted(server.hosts)
    tokens.store(row.user_id, server, values["issuer"], scope, kept, found.get("expires_in"))
    connected(request, row.user_id, server, row.session_id)
    return server.name


def _exchange(server: Server, values: Mapping[str, Any], code: str) -> dict[str, Any]:
    data = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": values["redirect_uri"],
        "code_verifier": values["verifier"],
        "resource": values["resource"],
    }
    try:
        return tokens.ask_for_tokens(server, values["client"], values["token_endpoint"], data)
    except tokens.Refused as error:
        if str(error) == "invalid_client":
            clients.forget(values["issuer"])
        raise NotPossible(_FAILED, f"the code was refused: {error}") from None


def _check_issuer(named: str | None, values: Mapping[str, Any]) -> None:
    """Check who answers (RFC 9207). Raises NotPossible."""
    if named is None and not values["names_itself"]:
        return
    if named is None or not hmac.compare_digest(named.encode(), values["issuer"].encode()):
        raise NotPossible(_FAILED, "the answer is of another issuer")


def connected(request: HttpRequest | Request, user_id: int, server: Server, session_id: UUID) -> None:
    """Record that the user has connected the server, and accept the user's open requests to do so."""
    audit.record("mcp_connected", user_id, request, detail=server.name)
    decider = runs.Decider(user_id, "rest", session_id, address_of(request))
    for request_id in requests.open_requests(user_id, server.name):
        try:
            runs.answer(runs.Answer(request_id, "accept"), decider)
        except ProtocolError as error:
            log.info("mcp %s: the request %s is not accepted: %s", server.name, request_id, error.code)


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()
