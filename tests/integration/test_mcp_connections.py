"""Connections of users with MCP servers: the sign-in, its attacks, tokens at rest and their end."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from urllib.parse import parse_qs, urlencode, urlsplit
from zipfile import ZipFile

import pytest
import requests
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connections
from django.db.models.functions import Now
from django.test import Client
from mcp.shared.auth import OAuthClientInformationFull

from chat.mcp_client import secrets, tokens
from chat.mcp_client.config import find
from chat.models import AuditRecord, McpAuthorization, McpClient, McpConnection
from tests.mcp_oauth import CALLBACK, Browser, entry, guarded


@pytest.fixture
def server(settings, db):
    settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with guarded() as found:
        settings.NETRA_MCP_SERVERS = {"notes": entry(found)}
        yield found


@pytest.fixture
def browser(server, alice):
    return Browser(alice)


def outcome(answer):
    assert answer.status_code == 302
    parts = urlsplit(answer["Location"])
    assert parts.path == "/settings"
    return parts.query


def token_of(user, name="notes"):
    held = tokens.read(user.pk, find(name))
    return held and held.access_token


def kinds():
    return list(AuditRecord.objects.order_by("pk").values_list("kind", "detail"))


# ---- The sign-in -------------------------------------------------------------------------------------------


def test_sign_in_at_a_server_stores_its_tokens_encrypted(browser, server, alice):
    url = urlsplit(browser.begin())
    query = parse_qs(url.query)
    assert query["resource"] == [f"{server.url}/mcp"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"http://testserver{CALLBACK}"]
    assert outcome(browser.connect()) == "linked=notes"
    row = McpConnection.objects.get()
    [(access, issued)] = server.authorizing.access.items()
    [refresh] = server.authorizing.refresh
    assert (issued.subject, issued.resource) == ("alice-there", f"{server.url}/mcp")
    assert token_of(alice) == access
    stored = json.dumps(list(McpConnection.objects.values()) + list(McpClient.objects.values()), default=str)
    [client] = server.authorizing.clients.values()
    assert not [secret for secret in (access, refresh, client.client_secret) if secret in stored]
    assert (row.user, row.issuer, row.url) == (alice, server.url, f"{server.url}/mcp")
    assert ("mcp_connected", "notes") in kinds()


def test_connections_are_listed_without_a_token(browser, server):
    [before] = browser.listed()
    assert before == {
        "server": "notes", "auth": "oauth", "connected": False, "issuer": "", "scope": "", "wanted": "",
        "connected_at": None, "used_at": None,
    }  # fmt: skip
    browser.connect()
    [after] = browser.listed()
    assert (after["connected"], after["issuer"]) == (True, server.url)
    assert not [token for token in server.authorizing.access if token in json.dumps(after)]


def test_client_is_registered_once_for_all_users(browser, server, bob):
    browser.connect()
    Browser(bob).connect()
    assert len(server.authorizing.clients) == 1
    [client] = server.authorizing.clients.values()
    assert [str(uri) for uri in client.redirect_uris] == [f"http://testserver{CALLBACK}"]


def test_configured_client_is_not_registered(browser, server, settings):
    browser.connect()
    [client] = server.authorizing.clients.values()
    McpClient.objects.all().delete()
    settings.NETRA_MCP_SERVERS = {"notes": entry(server, client=client.client_id, secret=client.client_secret)}
    assert outcome(browser.connect()) == "linked=notes"
    assert not McpClient.objects.exists()
    assert len(server.authorizing.clients) == 1


def test_denied_sign_in_is_told_and_stores_nothing(browser, server):
    server.authorizing.denies = True
    assert outcome(browser.connect()) == "link=cancelled"
    assert not McpConnection.objects.exists()


def test_no_token_is_in_a_log_or_an_answer(browser, server, caplog):
    caplog.set_level(logging.DEBUG, "netra")
    answer = browser.connect()
    with ZipFile(BytesIO(b"".join(browser.ask("GET", "/auth/export").streaming_content))) as exported:
        profile = exported.read("profile.json").decode()
    assert json.loads(profile)["mcp_connections"][0]["server"] == "notes"
    said = caplog.text + str(answer.headers) + profile
    held = [*server.authorizing.access, *server.authorizing.refresh]
    assert held and not [token for token in held if token in said]


# ---- Attacks -----------------------------------------------------------------------------------------------


def test_state_counts_once(browser):
    back = browser.at_server(browser.begin())
    assert outcome(browser.client.get(back)) == "linked=notes"
    McpConnection.objects.all().delete()
    assert outcome(browser.client.get(back)) == "link=failed"
    assert not McpConnection.objects.exists()


def test_state_of_another_user_connects_nobody(browser, bob):
    """Alice sends Bob the address with her code: his account must not get hers there, nor hers his."""
    theirs = Browser(bob)
    theirs.begin()
    back = browser.at_server(browser.begin())
    assert outcome(theirs.client.get(back)) == "link=failed"
    assert outcome(browser.client.get(back)) == "link=failed"
    assert not McpConnection.objects.exists()


def test_state_in_another_browser_of_the_user_connects_nobody(browser, alice):
    back = browser.at_server(browser.begin())
    assert outcome(Client().get(back)) == "link=failed"
    assert not McpConnection.objects.exists()


def test_code_of_another_user_is_refused_by_pkce(browser, bob, server):
    theirs = Browser(bob)
    code = parse_qs(urlsplit(theirs.at_server(theirs.begin())).query)["code"][0]
    mine = parse_qs(urlsplit(browser.at_server(browser.begin())).query)
    answer = browser.client.get(f"{CALLBACK}?{urlencode({'code': code, 'state': mine['state'][0]})}")
    assert outcome(answer) == "link=failed"
    assert not McpConnection.objects.exists()


def test_answer_of_another_issuer_is_refused(browser):
    back = browser.at_server(browser.begin())
    assert outcome(browser.client.get(f"{back}&iss=https%3A%2F%2Fevil.example")) == "link=failed"
    assert not McpConnection.objects.exists()


def test_state_is_refused_after_ten_minutes(browser):
    back = browser.at_server(browser.begin())
    McpAuthorization.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert outcome(browser.client.get(back)) == "link=failed"


def test_state_ends_with_its_session(browser):
    back = browser.at_server(browser.begin())
    browser.ask("POST", "/auth/logout", {})
    assert outcome(browser.client.get(back)) == "link=failed"
    assert not McpConnection.objects.exists()


@pytest.mark.parametrize(
    "query", ["", "?state=", "?code=x", "?state=%00", "?state=x&code=y", "?error=x", "?state=a&state=b"]
)
def test_callback_without_a_sign_in_connects_nobody(browser, query):
    assert outcome(browser.client.get(f"{CALLBACK}{query}")) == "link=failed"


def changed(server, path, change):
    """Let the server answer this path with what `change` makes of its JSON."""

    def wrap(app):
        async def wrapped(scope, receive, send):
            if scope["type"] != "http" or scope["path"] != path:
                return await app(scope, receive, send)
            sent = []

            async def collect(message):
                sent.append(message)

            await app(scope, receive, collect)
            body = b"".join(message.get("body", b"") for message in sent[1:])
            status, content = change(sent[0]["status"], json.loads(body))
            content = json.dumps(content).encode()
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": content})
            return None

        return wrapped

    server.wrap = wrap


RESOURCE, SERVER = "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"
WRONG = {
    "resource of another server": (RESOURCE, {"resource": "https://evil.example/mcp"}),
    "resource below ours": (RESOURCE, {"resource": "{url}/mcp/deeper"}),
    "issuer in the network": (RESOURCE, {"authorization_servers": ["https://169.254.169.254/"]}),
    "issuer at another loopback address": (RESOURCE, {"authorization_servers": ["http://localhost:1/"]}),
    "metadata of another issuer": (SERVER, {"issuer": "https://evil.example"}),
    "no PKCE": (SERVER, {"code_challenge_methods_supported": None}),
    "plain PKCE only": (SERVER, {"code_challenge_methods_supported": ["plain"]}),
    "token endpoint in the network": (SERVER, {"token_endpoint": "https://10.0.0.1/token"}),
    "token endpoint without TLS": (SERVER, {"token_endpoint": "http://evil.example/token"}),
    "token endpoint of another kind": (SERVER, {"token_endpoint": "file:///etc/passwd"}),
    "authorization endpoint that is a script": (SERVER, {"authorization_endpoint": "javascript:alert(1)"}),
    "registration endpoint in the network": (SERVER, {"registration_endpoint": "https://[::1]/register"}),
    "no registration": (SERVER, {"registration_endpoint": None}),
}


@pytest.mark.parametrize("name", WRONG)
def test_metadata_that_leads_elsewhere_is_refused(browser, server, name):
    path, fields = WRONG[name]
    filled = json.loads(json.dumps(fields).replace("{url}", server.url))
    changed(server, path, lambda status, found: (status, {**found, **filled}))
    answer = browser.ask("POST", "/auth/mcp/connections/notes")
    if answer.status_code == 200:  # its form is good: the address is refused when it is asked
        answer = browser.client.get(browser.at_server(answer.json()["url"]))
        assert outcome(answer) == "link=failed"
    else:
        assert answer.json()["error"] == "unavailable"
    assert not McpConnection.objects.exists()


def test_redirect_of_metadata_is_not_followed(browser, server):
    changed(server, SERVER, lambda status, found: (307, {}))
    assert browser.ask("POST", "/auth/mcp/connections/notes").status_code == 503


def test_token_for_another_audience_is_refused_by_the_server(browser, server, alice):
    browser.connect()
    [issued] = server.authorizing.access.values()
    issued.resource = "https://other.example/mcp"
    answer = requests.post(f"{server.url}/mcp", headers={"Authorization": f"Bearer {token_of(alice)}"}, json={})
    assert answer.status_code == 401


def test_token_is_not_sent_to_a_server_whose_address_was_changed(browser, server, settings, alice):
    browser.connect()
    settings.NETRA_MCP_SERVERS = {"notes": entry(server, url="http://127.0.0.1:9/mcp")}
    assert token_of(alice) is None
    assert browser.listed()[0]["connected"] is False


def test_api_key_reaches_no_connection(browser, client, alice):
    key = browser.ask("POST", "/auth/keys", {"name": "k"}).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    for method, path in (("GET", ""), ("POST", "/notes"), ("PUT", "/notes"), ("DELETE", "/notes")):
        assert client.generic(method, f"/auth/mcp/connections{path}", headers=headers).status_code == 403


# ---- Of another user ---------------------------------------------------------------------------------------


def test_connection_of_another_user_is_neither_seen_nor_used_nor_ended(browser, server, alice, bob):
    browser.connect()
    theirs = Browser(bob)
    assert theirs.listed()[0]["connected"] is False
    assert token_of(bob) is None
    assert theirs.ask("DELETE", "/auth/mcp/connections/notes").status_code == 404
    server.authorizing.person = "bob-there"
    theirs.connect()
    assert token_of(alice) != token_of(bob)
    assert theirs.ask("DELETE", "/auth/mcp/connections/notes").status_code == 204
    assert token_of(alice) is not None


# ---- The client's metadata ---------------------------------------------------------------------------------


def test_metadata_of_the_client_names_itself_and_the_callback(client, settings):
    settings.ALLOWED_ORIGINS = ["http://testserver", "https://testserver"]
    answer = client.get("/auth/mcp/client.json", secure=True)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.json() == {
        "client_id": "https://testserver/auth/mcp/client.json",
        "client_name": "Netra",
        "client_uri": "https://testserver",
        "redirect_uris": ["https://testserver/auth/mcp/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }
    assert client.post("/auth/mcp/client.json").status_code == 405


def test_sign_in_with_the_address_of_the_metadata_as_the_client(browser, server, alice, settings):
    settings.ALLOWED_ORIGINS = ["https://testserver"]
    browser.origin = "https://testserver"
    about = browser.client.get("/auth/mcp/client.json", secure=True).json()
    server.authorizing.clients[about["client_id"]] = OAuthClientInformationFull(**about)  # the server has read it
    changed(
        server,
        SERVER,
        lambda status, found: (
            status,
            {**found, "client_id_metadata_document_supported": True, "registration_endpoint": None},
        ),
    )
    url = browser.begin()
    assert parse_qs(urlsplit(url).query)["client_id"] == ["https://testserver/auth/mcp/client.json"]
    assert outcome(browser.client.get(browser.at_server(url), secure=True)) == "linked=notes"
    assert token_of(alice) in server.authorizing.access
    assert not McpClient.objects.exists()


# ---- The end -----------------------------------------------------------------------------------------------


def test_disconnect_deletes_and_revokes(browser, server, alice):
    browser.connect()
    held = {*server.authorizing.access, *server.authorizing.refresh}
    assert browser.ask("DELETE", "/auth/mcp/connections/notes").status_code == 204
    assert set(server.authorizing.revoked) == held
    assert not McpConnection.objects.exists()
    assert ("mcp_disconnected", "notes") in kinds()
    assert browser.ask("DELETE", "/auth/mcp/connections/notes").status_code == 404


def test_disconnect_deletes_although_the_server_is_away(browser, server, alice):
    browser.connect()
    changed(server, "/revoke", lambda status, found: (500, {}))
    assert browser.ask("DELETE", "/auth/mcp/connections/notes").status_code == 204
    assert not McpConnection.objects.exists()


@pytest.mark.parametrize("how", ["command", "account", "admin"])
def test_erased_user_leaves_no_connection_and_no_token_that_works(
    browser, server, alice, bob, django_user_model, client, on_commit, how
):
    root = django_user_model.objects.create_superuser("root@example.com", "x")
    theirs = Browser(bob)
    theirs.connect()
    kept = {*server.authorizing.access, *server.authorizing.refresh}
    browser.connect()
    browser.begin()
    held = {*server.authorizing.access, *server.authorizing.refresh} - kept
    with on_commit(execute=True):
        if how == "command":
            call_command("erase_user", alice.email, "--no-input")
        elif how == "account":
            assert browser.ask("POST", "/auth/delete", {"current": "correct horse battery"}).status_code == 204
        else:
            client.force_login(root)
            client.post(f"/admin/chat/user/{alice.pk}/delete/", {"post": "yes"})
    assert not django_user_model.objects.filter(pk=alice.pk).exists()
    assert set(server.authorizing.revoked) == held
    assert [row.user_id for row in McpConnection.objects.all()] == [bob.pk]
    assert not McpAuthorization.objects.exists()


def test_user_is_erased_although_the_server_is_away(browser, server, alice, django_user_model, on_commit):
    django_user_model.objects.create_superuser("root@example.com", "x")
    browser.connect()
    changed(server, "/revoke", lambda status, found: (500, {}))
    with on_commit(execute=True):
        call_command("erase_user", alice.email, "--no-input")
    assert not McpConnection.objects.exists()


# ---- Tokens ------------------------------------------------------------------------------------------------


def test_first_key_encrypts_and_all_decrypt(settings, browser, alice):
    old, new = settings.NETRA_ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    browser.connect()
    access = token_of(alice)
    settings.NETRA_ENCRYPTION_KEYS = [new, old]
    assert token_of(alice) == access
    assert Fernet(new).decrypt(secrets.encrypt({"a": 1}).encode())
    call_command("rotate_tokens")
    settings.NETRA_ENCRYPTION_KEYS = [new]
    assert token_of(alice) == access


def test_token_of_a_lost_key_counts_as_none(settings, browser, alice):
    browser.connect()
    settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert token_of(alice) is None


def refreshed(user, name="notes"):
    """Exchange the refresh token as a worker does; return whether this caller had the lease."""
    server = find(name)
    held = tokens.read(user.pk, server)
    lease = tokens.lease(held.connection_id, held.access_token)
    if lease is None:
        return False
    tokens.end_lease(lease, tokens.exchange(server, lease))
    return True


def test_refresh_token_is_exchanged_and_rotated(browser, server, alice):
    server.authorizing.lifetime = 1
    browser.connect()
    old, held = token_of(alice), tokens.read(alice.pk, find("notes"))
    assert held.is_stale
    server.authorizing.lifetime = 3600
    assert refreshed(alice)
    held = tokens.read(alice.pk, find("notes"))
    assert held.access_token != old
    assert not held.is_stale
    assert refreshed(alice)
    assert len(set(server.authorizing.exchanged)) == 2


@pytest.mark.django_db(transaction=True)
def test_refresh_is_made_by_one_of_many_at_once(browser, server, alice):
    browser.connect()
    gate = threading.Barrier(5)
    server.authorizing.before_refresh = lambda: None

    def one(number):
        held = tokens.read(alice.pk, find("notes"))
        gate.wait()
        try:
            lease = tokens.lease(held.connection_id, held.access_token)
            if lease is None:
                return False
            tokens.end_lease(lease, tokens.exchange(find("notes"), lease))
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(one, range(5))) == [False] * 4 + [True]
    assert len(server.authorizing.exchanged) == 1


def test_refused_refresh_token_ends_the_connection(browser, server, alice):
    browser.connect()
    server.authorizing.forget_all()
    held = tokens.read(alice.pk, find("notes"))
    lease = tokens.lease(held.connection_id, held.access_token)
    with pytest.raises(tokens.Refused):
        tokens.exchange(find("notes"), lease)
    tokens.drop(lease.connection_id)
    assert token_of(alice) is None
    assert ("mcp_disconnected", "notes: refused") in kinds()


# ---- A user's own token ------------------------------------------------------------------------------------


def test_own_token_is_stored_encrypted_and_never_shown(browser, server, settings, alice):
    settings.NETRA_MCP_SERVERS = {"notes": entry(server, auth="user")}
    assert browser.ask("POST", "/auth/mcp/connections/notes").status_code == 404
    assert browser.ask("PUT", "/auth/mcp/connections/notes", {"token": "pat-of-alice"}).status_code == 204
    assert token_of(alice) == "pat-of-alice"
    assert "pat-of-alice" not in json.dumps(list(McpConnection.objects.values()), default=str)
    assert "pat-of-alice" not in json.dumps(browser.listed())
    for wrong in ("", "two words", "ümlaut", "x" * 5000):
        assert browser.ask("PUT", "/auth/mcp/connections/notes", {"token": wrong}).status_code == 422
    assert browser.ask("DELETE", "/auth/mcp/connections/notes").status_code == 204


# ---- The admin ---------------------------------------------------------------------------------------------


def test_admin_lists_connections_without_tokens_and_ends_them(browser, server, admin_client, alice):
    browser.connect()
    row = McpConnection.objects.get()
    held = [*server.authorizing.access, *server.authorizing.refresh, row.secrets]
    pages = [
        admin_client.get(f"/admin/chat/mcpconnection/{path}").content.decode() for path in ("", f"{row.pk}/change/")
    ]
    assert all("notes" in page and alice.email in page for page in pages)
    assert not [secret for secret in held if secret in "".join(pages)]
    form = {"action": "disconnect", "_selected_action": [str(row.pk)]}
    assert admin_client.post("/admin/chat/mcpconnection/", form).status_code == 302
    assert not McpConnection.objects.exists()
    assert set(server.authorizing.revoked) == set(held[:2])
    assert ("mcp_disconnected", "notes") in kinds()
