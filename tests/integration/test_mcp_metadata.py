"""Metadata, registrations and tokens as vendors and reports have them. The HTTP edge is the test's."""

import json
import socket
from urllib.parse import parse_qs

import httpx2
import pytest
from cryptography.fernet import Fernet

from chat.mcp_client import clients, tokens
from chat.mcp_client.config import NotPossible, Server
from chat.mcp_client.discovery import discover

S256 = {"code_challenge_methods_supported": ["S256"]}


def well_known(kind, host, path=""):
    return f"https://{host}/.well-known/{kind}{path}"


def resource(host, path=""):
    return well_known("oauth-protected-resource", host, path)


def issuer(host, path=""):
    return well_known("oauth-authorization-server", host, path)


def metadata(issuer, **fields):
    base = issuer.rstrip("/")
    ends = {"authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token"}
    return {"issuer": issuer, **ends, "registration_endpoint": f"{base}/register", **S256, **fields}


class Web:
    """Answers by address: a status, or JSON with 200, or (status, headers, JSON). `asked` are the requests."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def handle(self, transport, request):
        host = request.headers["host"].partition(":")[0]
        url = str(request.url.copy_with(host=host))
        assert request.url.host == "93.184.216.34", "the connection is to the address that was checked"
        assert request.extensions["sni_hostname"] == host
        self.asked.append((request.method, url, request.read()))
        answer = self.answers.get(url, 404)
        if isinstance(answer, int):
            return httpx2.Response(answer)
        status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
        return httpx2.Response(status, headers=headers, json=body)


@pytest.fixture
def web(monkeypatch):
    def web(answers):
        found = Web(answers)
        monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", lambda *given: found.handle(*given))
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: [address])
        return found

    return web


def server(url, **fields):
    return Server("s", url, "oauth", **fields)


GITHUB_SCOPES = ["gist", "notifications", "public_repo", "repo", "user"]
ATLASSIAN = "https://auth.atlassian.com/tenant-1"
# Where they were found: python-sdk 1919, 1400, 1265; sentry-mcp 743; qwen-code 12165; github-mcp-server 1404;
# codex 35716; exa-mcp-server 387; coder 19717; claude-ai-mcp 763. Name -> (server, answers, the issuer, the resource).
FOUND = {
    "Google Calendar: issuers that differ by a slash": (
        "https://calendarmcp.googleapis.com/mcp/v1",
        {
            resource("calendarmcp.googleapis.com", "/mcp/v1"): {
                "resource": "https://calendarmcp.googleapis.com/mcp/v1",
                "authorization_servers": ["https://accounts.google.com/"],
            },
            issuer("accounts.google.com"): metadata("https://accounts.google.com"),
        },
        "https://accounts.google.com",
        "https://calendarmcp.googleapis.com/mcp/v1",
    ),
    "Sentry: its own issuer, no challenge": (
        "https://mcp.sentry.dev/mcp",
        {
            "https://mcp.sentry.dev/mcp": (401, {}, {"error": "invalid_token"}),
            resource("mcp.sentry.dev", "/mcp"): {
                "resource": "https://mcp.sentry.dev/mcp",
                "authorization_servers": ["https://mcp.sentry.dev"],
            },
            issuer("mcp.sentry.dev"): metadata("https://mcp.sentry.dev"),
        },
        "https://mcp.sentry.dev",
        "https://mcp.sentry.dev/mcp",
    ),
    "Atlassian: an issuer with a path, named by the challenge": (
        "https://mcp.atlassian.com/v2/mcp",
        {
            "https://mcp.atlassian.com/v2/mcp": (
                401,
                {"www-authenticate": f'Bearer realm="x", resource_metadata="{resource("mcp.atlassian.com", "/x")}"'},
                {},
            ),
            resource("mcp.atlassian.com", "/x"): {
                "resource": "https://mcp.atlassian.com/v2/mcp",
                "authorization_servers": [ATLASSIAN],
            },
            issuer("auth.atlassian.com", "/tenant-1"): metadata(ATLASSIAN),
        },
        ATLASSIAN,
        "https://mcp.atlassian.com/v2/mcp",
    ),
    "python-sdk: the resource is the origin, with a slash": (
        "https://time.example/mcp",
        {
            resource("time.example"): {
                "resource": "https://time.example/",
                "authorization_servers": ["https://auth.time.example/"],
                "scopes_supported": [],
                "bearer_methods_supported": ["header"],
            },
            issuer("auth.time.example"): metadata("https://auth.time.example/"),
        },
        "https://auth.time.example/",
        "https://time.example/",
    ),
    "Coder: the resource is the origin, without a slash": (
        "https://dev.coder.com/api/experimental/mcp/http",
        {
            resource("dev.coder.com"): {
                "resource": "https://dev.coder.com",
                "authorization_servers": ["https://dev.coder.com"],
            },
            issuer("dev.coder.com"): metadata("https://dev.coder.com"),
        },
        "https://dev.coder.com",
        "https://dev.coder.com",
    ),
    "Exa: the resource is a part of the address": (
        "https://mcp.exa.ai/mcp/oauth",
        {
            resource("mcp.exa.ai", "/mcp/oauth"): {
                "resource": "https://mcp.exa.ai/mcp",
                "authorization_servers": ["https://auth.exa.ai"],
            },
            issuer("auth.exa.ai"): metadata("https://auth.exa.ai"),
        },
        "https://auth.exa.ai",
        "https://mcp.exa.ai/mcp",
    ),
    "an OpenID provider: its own well-known address, and fields of any kind": (
        "https://wiki.example/mcp",
        {
            resource("wiki.example", "/mcp"): {
                "resource": "https://wiki.example/mcp",
                "authorization_servers": ["https://sso.example/realms/main"],
                "jwks_uri": "",
                "resource_documentation": None,
            },
            "https://sso.example/realms/main/.well-known/openid-configuration": metadata(
                "https://sso.example/realms/main",
                service_documentation="",
                scopes_supported="openid",
                revocation_endpoint="",
            ),
        },
        "https://sso.example/realms/main",
        "https://wiki.example/mcp",
    ),
    "a server of 2025-03-26: no metadata of the resource": (
        "https://magicmobiles.example:51485/mcp",
        {issuer("magicmobiles.example:51485"): metadata("https://magicmobiles.example:51485")},
        "https://magicmobiles.example:51485",
        "https://magicmobiles.example:51485/mcp",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_metadata_as_it_is_met_leads_to_the_issuer_and_the_resource(web, name):
    url, answers, expected_issuer, expected_resource = FOUND[name]
    web(answers)
    found = discover(server(url))
    assert (found.issuer, found.resource) == (expected_issuer, expected_resource)
    assert found.registration_endpoint == f"{expected_issuer.rstrip('/')}/register"


NOT_FOUND = {
    "GitHub Enterprise: metadata of another origin": (
        "https://api.enterprise.githubcopilot.com/mcp/readonly",
        {
            "https://api.enterprise.githubcopilot.com/mcp/readonly": (
                401,
                {
                    "www-authenticate": 'Bearer error="invalid_request", error_description="No access token was '
                    f'provided", resource_metadata="{resource("api.githubcopilot.com", "/mcp/readonly")}"'
                },
                {},
            ),
            resource("api.githubcopilot.com", "/mcp/readonly"): {
                "resource": "https://api.githubcopilot.com/mcp/readonly",
                "authorization_servers": ["https://github.com/login/oauth"],
            },
        },
        "of another server",
    ),
    "Microsoft Fabric: the metadata names a template as issuer, and no PKCE": (
        "https://api.fabric.microsoft.com/v1/mcp/core",
        {
            resource("api.fabric.microsoft.com", "/v1/mcp/core"): {
                "issuer": "https://login.microsoftonline.com/organizations/v2.0",
                "authorization_servers": ["https://login.microsoftonline.com/organizations/v2.0"],
                "resource": "https://api.fabric.microsoft.com",
            },
            "https://login.microsoftonline.com/organizations/v2.0/.well-known/openid-configuration": metadata(
                "https://login.microsoftonline.com/{tenantid}/v2.0"
            ),
        },
        "of another server",
    ),
    "xiaohongshu-mcp: no word of PKCE": (
        "https://x.example/mcp",
        {
            issuer("x.example"): {
                "issuer": "https://x.example",
                "authorization_endpoint": "https://x.example/oauth/authorize",
                "token_endpoint": "https://x.example/oauth/token",
                "scopes_supported": ["mcp", "read", "write"],
            }
        },
        "PKCE",
    ),
    "fastmcp: a resource that is no web address": (
        "https://f.example/mcp",
        {resource("f.example"): {"resource": "mcp://my-server", "authorization_servers": ["https://auth.example.com"]}},
        "of another server",
    ),
    "502 instead of metadata": ("https://y.example/mcp", {resource("y.example", "/mcp"): 502}, "does not answer"),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_metadata_that_cannot_be_followed_is_told_in_a_sentence(web, name):
    url, answers, words = NOT_FOUND[name]
    web(answers)
    with pytest.raises(NotPossible, match=words):
        discover(server(url))


def test_scope_is_that_of_the_challenge_then_of_the_resource_then_none(web):
    found = {"resource": "https://a.example/mcp", "authorization_servers": ["https://a.example"]}
    answers = {
        resource("a.example", "/mcp"): {**found, "scopes_supported": ["one", "two"]},
        issuer("a.example"): metadata("https://a.example", scopes_supported=["one", "offline_access"]),
    }
    web(answers)
    assert discover(server("https://a.example/mcp")).scope == "one two offline_access"
    assert discover(server("https://a.example/mcp", scopes="mine")).scope == "mine offline_access"
    web({**answers, "https://a.example/mcp": (401, {"www-authenticate": 'Bearer scope="files:read"'}, {})})
    assert discover(server("https://a.example/mcp")).scope == "files:read offline_access"
    web({**answers, resource("a.example", "/mcp"): found})
    assert discover(server("https://a.example/mcp")).scope == ""


def github():
    url = "https://api.githubcopilot.com/mcp/"
    return url, {
        resource("api.githubcopilot.com", "/mcp/"): {
            "resource": "https://api.githubcopilot.com/mcp/",
            "authorization_servers": ["https://github.com/login/oauth"],
            "scopes_supported": GITHUB_SCOPES,
        },
        issuer("github.com", "/login/oauth"): {
            "issuer": "https://github.com/login/oauth",
            "authorization_endpoint": "https://github.com/login/oauth/authorize",
            "token_endpoint": "https://github.com/login/oauth/access_token",
            "response_types_supported": ["code"],
            **S256,
        },
    }


def test_github_registers_nobody_and_takes_a_configured_client(web, db):
    url, answers = github()
    web(answers)
    found = discover(server(url))
    with pytest.raises(NotPossible, match="administrator"):
        clients.client_for(server(url), found, "https://n.example/auth/mcp/callback")
    client = clients.client_for(server(url, client="Iv1.x", secret="s"), found, "https://n.example/auth/mcp/callback")
    assert (client["id"], client["secret"]) == ("Iv1.x", "s")


REGISTERED = {
    "a secret without a method (Supabase)": ({"client_secret": "s"}, "client_secret_post"),
    "a secret beside none": ({"client_secret": "s", "token_endpoint_auth_method": "none"}, "client_secret_post"),
    "no secret": ({}, "none"),
    "null and empty members": ({"client_secret": None, "token_endpoint_auth_method": "", "scope": None}, "none"),
    "basic": ({"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic"}, "client_secret_basic"),
    "a secret that never ends": ({"client_secret": "s", "client_secret_expires_at": 0}, "client_secret_post"),
}


@pytest.mark.parametrize("name", REGISTERED)
def test_registration_as_it_is_met_gives_a_client(web, db, settings, name):
    settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    fields, method = REGISTERED[name]
    sent = web(
        {
            issuer("a.example"): metadata(
                "https://a.example", token_endpoint_auth_methods_supported=["client_secret_post"]
            ),
            "https://a.example/register": (201, {}, {"client_id": "c", **fields}),
        }
    )
    asked = server("https://a.example/mcp")
    client = clients.client_for(asked, discover(asked), "https://n.example/auth/mcp/callback")
    assert (client["id"], client["method"]) == ("c", method)
    metadata_sent = json.loads(sent.asked[-1][2])
    assert metadata_sent["redirect_uris"] == ["https://n.example/auth/mcp/callback"]
    assert metadata_sent["application_type"] == "web"


@pytest.mark.parametrize(
    "answer", [422, (400, {}, {"error": "invalid_client_metadata"}), {}, {"client_id": 5}, (201, {}, [])]
)
def test_registration_that_is_refused_is_told_in_a_sentence(web, db, answer):
    web({issuer("a.example"): metadata("https://a.example"), "https://a.example/register": answer})
    asked = server("https://a.example/mcp")
    with pytest.raises(NotPossible, match="administrator"):
        clients.client_for(asked, discover(asked), "https://n.example/auth/mcp/callback")


CLIENT = {"id": "c", "secret": "", "method": "none"}


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "t", "token_type": "bearer", "expires_in": "3600"},
        (201, {}, {"access_token": "t", "token_type": "Bearer"}),  # Supabase
        {"access_token": "t"},
        {"access_token": "t", "refresh_token": None, "scope": None, "expires_in": None},
    ],
)
def test_token_as_it_is_met_is_taken(web, answer):
    sent = web({"https://a.example/token": answer})
    found = tokens.ask_for_tokens(server("https://a.example/mcp"), CLIENT, "https://a.example/token", {"code": "x"})
    assert found["access_token"] == "t"
    assert parse_qs(sent.asked[0][2].decode()) == {"code": ["x"], "client_id": ["c"]}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {}, {"error": "invalid_grant"}), tokens.Refused),
        (
            {"error": "bad_verification_code", "error_description": "The code passed is incorrect"},
            tokens.Refused,
        ),  # GitHub
        ({"access_token": "t", "token_type": "mac"}, tokens.Refused),
        ({"access_token": "t\r\nx-evil: 1"}, tokens.Refused),
        ({"access_token": ""}, tokens.Refused),
        ({"access_token": 5}, tokens.Refused),
        ((200, {}, []), tokens.Refused),
        (302, tokens.Refused),
        (503, NotPossible),
        (429, NotPossible),
    ],
)
def test_token_that_is_none_is_refused(web, answer, error):
    web({"https://a.example/token": answer})
    with pytest.raises(error):
        tokens.ask_for_tokens(server("https://a.example/mcp"), CLIENT, "https://a.example/token", {"code": "x"})


# ---- The client's id is the address of its metadata ----

DOCUMENTS = {"client_id_metadata_document_supported": True}
DOCUMENT = "https://n.example/auth/mcp/client.json"


def client_at(web, redirect_uri="https://n.example/auth/mcp/callback", **fields):
    sent = web({issuer("a.example"): metadata("https://a.example", **fields), "https://a.example/register": REGISTERS})
    asked = server("https://a.example/mcp")
    return clients.client_for(asked, discover(asked), redirect_uri)["id"], [request[1] for request in sent.asked]


REGISTERS = (201, {}, {"client_id": "c"})


def test_server_that_reads_documents_is_given_the_address_of_one_and_registers_nobody(web, db):
    found, asked = client_at(web, **DOCUMENTS)
    assert found == DOCUMENT
    assert "https://a.example/register" not in asked


@pytest.mark.parametrize("supported", [False, None, "true"])
def test_server_that_reads_no_documents_registers_a_client(web, db, settings, supported):
    settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert client_at(web, client_id_metadata_document_supported=supported)[0] == "c"


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1", None])
def test_site_that_the_server_cannot_reach_registers_unless_it_cannot(web, db, settings, monkeypatch, address):
    settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    def inside(host, *given, **named):
        if host != "n.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]
        if address is None:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    def looking_up_inside(answers):
        found = web(answers)
        monkeypatch.setattr(socket, "getaddrinfo", inside)
        return found

    assert client_at(looking_up_inside, **DOCUMENTS)[0] == "c"
    assert client_at(looking_up_inside, **DOCUMENTS, registration_endpoint=None)[0] == DOCUMENT


def test_site_without_tls_has_no_document(web, db, settings):
    settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(NotPossible, match="administrator"):
        client_at(web, "http://n.example/auth/mcp/callback", **DOCUMENTS, registration_endpoint=None)
    assert client_at(web, "http://n.example/auth/mcp/callback", **DOCUMENTS)[0] == "c"
