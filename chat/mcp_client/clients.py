"""The client that Netra is at an authorization server, and how it authenticates.

It is configured, or its id is the address of its metadata, which the server reads, or it registers itself (RFC 7591).
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse

from chat.mcp_client import secrets
from chat.mcp_client.config import NotPossible, Server
from chat.mcp_client.discovery import Discovered
from chat.mcp_client.guarded_http import Http, is_on_the_internet, json_of
from chat.models import McpClient

# The best first: servers of the python-sdk revoke no token for a client whose secret is in the header.
_METHODS = ("client_secret_post", "client_secret_basic", "none")
_DEFAULT_METHOD = "client_secret_basic"  # of a server that names none (RFC 8414)
_REFUSED = "The server does not register Netra as its client. Ask your administrator."
_NOT_CONFIGURED = "The server knows no client called Netra yet. Ask your administrator."


def client_for(server: Server, found: Discovered, redirect_uri: str) -> dict[str, Any]:
    """Return the client's id, secret and way to authenticate, registered once for all users. Raises NotPossible."""
    offered = [name for name in _METHODS if name in (found.auth_methods or [_DEFAULT_METHOD])]
    if server.client:
        by_secret = [name for name in offered if name != "none"] or ["client_secret_post"]
        return {"id": server.client, "secret": server.secret, "method": by_secret[0] if server.secret else "none"}
    if found.reads_documents and (document := _document(redirect_uri, bool(found.registration_endpoint))):
        return {"id": document, "secret": "", "method": "none"}
    known = McpClient.objects.filter(issuer=found.issuer, redirect_uri=redirect_uri)
    valid = known.filter(Q(expires_at=None) | Q(expires_at__gt=Now())).first()
    client = secrets.decrypt(valid.secrets) if valid is not None else None
    # Some servers grant a client no scope that it has not registered with.
    if client is not None and set(found.scope.split()) <= set(client.get("scope", "").split()):
        return client
    if not found.registration_endpoint:
        raise NotPossible(_NOT_CONFIGURED, f"no registration: set NETRA_MCP_{server.name.upper()}_CLIENT")
    client, expires_at = _register(server, found, redirect_uri, offered[0] if offered else "none")
    values = {"secrets": secrets.encrypt(client), "expires_at": expires_at}
    with transaction.atomic():
        McpClient.objects.update_or_create(issuer=found.issuer, redirect_uri=redirect_uri, defaults=values)
    return client


def _document(redirect_uri: str, may_register: bool) -> str:
    """Return the address of Netra's metadata. "": the server had better register a client, as it cannot read it."""
    parts = urlsplit(redirect_uri)
    is_readable = parts.scheme == "https" and (not may_register or is_on_the_internet(parts.hostname or ""))
    return f"{parts.scheme}://{parts.netloc}{reverse('chat:mcp_client')}" if is_readable else ""


def metadata(redirect_uri: str, method: str) -> dict[str, Any]:
    """Return what an authorization server is told of Netra. `method`: how Netra authenticates at the token endpoint."""
    parts = urlsplit(redirect_uri)
    return {
        "client_name": "Netra",
        "client_uri": f"{parts.scheme}://{parts.netloc}",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "web",
    }


def _register(
    server: Server, found: Discovered, redirect_uri: str, method: str
) -> tuple[dict[str, Any], datetime | None]:
    about = {**metadata(redirect_uri, method), **({"scope": found.scope} if found.scope else {})}
    answer = Http(server.hosts).ask("POST", found.registration_endpoint, json=about)
    given = json_of(answer) if answer.status_code in (200, 201) else None
    if given is None or not isinstance(given.get("client_id"), str) or not given["client_id"]:
        raise NotPossible(_REFUSED, f"registration answered {answer.status_code}")
    secret = given.get("client_secret") or ""
    chosen = given.get("token_endpoint_auth_method") or method
    if (chosen == "none") == bool(secret):  # some name no method, or none beside a secret
        chosen = "client_secret_post" if secret else "none"
    if chosen not in _METHODS or not isinstance(secret, str) or (chosen != "none" and not secret):
        raise NotPossible(_REFUSED, "registration gave no way to authenticate")
    end = given.get("client_secret_expires_at")
    is_time = isinstance(end, int | float) and 0 < end < 32_503_680_000  # 0: never; a date before the year 3000
    expires_at = datetime.fromtimestamp(end or 0, UTC) if is_time else None
    return {"id": given["client_id"], "secret": secret, "method": chosen, "scope": found.scope}, expires_at


def forget(issuer: str) -> None:
    """Forget the registrations with an issuer that knows them no more."""
    McpClient.objects.filter(issuer=issuer).delete()


def authenticated(client: Mapping[str, Any], data: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form and the headers of a request that this client makes."""
    match client["method"]:
        case "client_secret_basic":
            pair = f"{quote(client['id'], safe='')}:{quote(client['secret'], safe='')}"
            # Servers of the python-sdk look for the id in the form, too.
            return {**data, "client_id": client["id"]}, {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        case "client_secret_post":
            return {**data, "client_id": client["id"], "client_secret": client["secret"]}, {}
    return {**data, "client_id": client["id"]}, {}
