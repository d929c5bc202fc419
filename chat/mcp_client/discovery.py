"""Discovery of the authorization server of an MCP server: RFC 9728, then RFC 8414 or OpenID Connect.

Only the fields that a sign-in needs are read, as they are written: servers compare addresses as texts.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from httpx2 import Response
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from mcp.types import LATEST_PROTOCOL_VERSION

from chat.mcp_client.config import NotPossible, Server
from chat.mcp_client.guarded_http import Http, json_of

_CHALLENGES = (401, 403)
_MCP_VERSION = {"mcp-protocol-version": LATEST_PROTOCOL_VERSION}
_MAX_ISSUER = 1000  # characters, which an index has room for
_UNREADABLE = "The server does not say how to sign in to it."
_OTHER = "The server's description is of another server. Ask your administrator."


@dataclass(frozen=True, slots=True)
class Discovered:
    """The addresses and abilities of an authorization server. `resource` is what tokens are asked for.

    `names_itself`: its answers carry `iss`. `reads_documents`: a client's id may be the address of its metadata.
    `scope`: what to ask for; empty: the server's default.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str
    revocation_endpoint: str
    auth_methods: tuple[str, ...]
    names_itself: bool
    reads_documents: bool
    resource: str
    scope: str


def discover(server: Server) -> Discovered:
    """Return the authorization server of this MCP server. Raises NotPossible."""
    http = Http(server.hosts)
    challenge = _challenge(http, server)
    resource, issuer, scopes = _protected_resource(http, server, challenge)
    found = _authorization_server(http, server, issuer)
    if "S256" not in _texts(found.get("code_challenge_methods_supported")):
        raise NotPossible("The server's sign-in is not safe enough: it lacks PKCE.", "no S256")
    optional = {name: http.check(_text(found, name)) for name in _OPTIONAL if _text(found, name)}
    challenged = extract_scope_from_www_auth(challenge) if challenge is not None else None
    scope = server.scopes or challenged or " ".join(scopes)
    if scope and "offline_access" in _texts(found.get("scopes_supported")) and "offline_access" not in scope.split():
        scope += " offline_access"
    return Discovered(
        issuer=found["issuer"],
        authorization_endpoint=http.check(found["authorization_endpoint"]),
        token_endpoint=http.check(found["token_endpoint"]),
        registration_endpoint=optional.get("registration_endpoint", ""),
        revocation_endpoint=optional.get("revocation_endpoint", ""),
        auth_methods=tuple(_texts(found.get("token_endpoint_auth_methods_supported"))),
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        reads_documents=found.get("client_id_metadata_document_supported") is True,
        resource=resource,
        scope=scope,
    )


_NEEDED = ("issuer", "authorization_endpoint", "token_endpoint")
_OPTIONAL = ("registration_endpoint", "revocation_endpoint")


def _challenge(http: Http, server: Server) -> Response | None:
    """Return the server's refusal of a request without a token; None if it refuses none."""
    about = {"protocolVersion": LATEST_PROTOCOL_VERSION, "capabilities": {}}
    about["clientInfo"] = {"name": "netra", "version": "1"}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": about}
    accept = {"accept": "application/json, text/event-stream"}
    answer = http.ask("POST", server.url, json=message, headers=accept)
    return answer if answer.status_code in _CHALLENGES else None


def _protected_resource(http: Http, server: Server, challenge: Response | None) -> tuple[str, str, list[str]]:
    """Return the resource, the issuer of its tokens and its scopes: of a server without metadata, its own origin."""
    named = extract_resource_metadata_from_www_auth(challenge) if challenge is not None else None
    is_failing = False
    for url in build_protected_resource_metadata_discovery_urls(named, server.url):
        answer = http.ask("GET", url, headers=_MCP_VERSION)
        is_failing = is_failing or answer.status_code >= 500 or answer.status_code == 429
        found = json_of(answer) if answer.status_code == 200 else None
        if found is None or not _text(found, "resource"):
            continue
        resource, issuers = found["resource"], _texts(found.get("authorization_servers"))
        if not check_resource_allowed(requested_resource=server.url, configured_resource=resource):
            raise NotPossible(_OTHER, "the metadata is of another resource")
        if issuers and len(issuers[0]) <= _MAX_ISSUER:
            return resource, issuers[0], _texts(found.get("scopes_supported"))
    if is_failing:  # an error says nothing about what the server publishes
        raise NotPossible("The server does not answer. Try again later.", "no metadata of the resource")
    return resource_url_from_server_url(server.url), "", []


def _authorization_server(http: Http, server: Server, issuer: str) -> dict[str, Any]:
    """Return the metadata of the issuer; of none, that of the server's own origin."""
    parts = urlsplit(server.url)
    expected = issuer or f"{parts.scheme}://{parts.netloc}"
    for url in build_oauth_authorization_server_metadata_discovery_urls(issuer or None, server.url):
        answer = http.ask("GET", url, headers=_MCP_VERSION)
        if answer.status_code >= 500:
            break
        found = json_of(answer) if answer.status_code == 200 else None
        if found is None or not all(_text(found, name) for name in _NEEDED):
            continue
        if found["issuer"].rstrip("/") != expected.rstrip("/"):  # Google's two documents differ by a slash
            raise NotPossible(_OTHER, "the metadata is of another issuer")
        return found
    raise NotPossible(_UNREADABLE, "no metadata of the authorization server")


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str) and entry] if isinstance(value, list) else []
