"""An MCP server on loopback that demands a token, with an authorization server: both are those of the `mcp` package."""

import asyncio
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import requests
import uvicorn
from django.test import Client
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, AuthorizationCode, AuthorizeError, RefreshToken, TokenError
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from mcp.types import ToolAnnotations
from starlette.types import ASGIApp

from chat.accounts import sessions
from chat.models import User

CALLBACK = "/auth/mcp/callback"
LIFETIME = 3600  # seconds of an access token


class Authorizing:
    """The authorization server's state. Its user is `person`, who consents to everything unless `denies`."""

    def __init__(self) -> None:
        self.person = "alice-there"
        self.denies = False
        self.lifetime: int | None = LIFETIME
        self.scopes: list[str] | None = None
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.revoked: list[str] = []
        self.exchanged: list[str] = []
        self.before_refresh: Callable[[], None] = lambda: None

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: Any) -> str:
        if self.denies:
            raise AuthorizeError("access_denied")
        code = secrets.token_urlsafe(32)
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [],
            expires_at=time.time() + 300,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
            subject=self.person,
        )
        return f"{params.redirect_uri}?{urlencode({'code': code, 'state': params.state})}"

    async def load_authorization_code(self, client: Any, authorization_code: str) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client: Any, authorization_code: AuthorizationCode) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._issue(authorization_code)

    def _issue(self, of: AuthorizationCode | RefreshToken) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        given = {"client_id": of.client_id, "scopes": of.scopes, "resource": of.resource, "subject": of.subject}
        self.access[access] = AccessToken(token=access, **given)  # type: ignore[arg-type]
        self.refresh[refresh] = RefreshToken(token=refresh, **given)  # type: ignore[arg-type]
        return OAuthToken(access_token=access, expires_in=self.lifetime, refresh_token=refresh)

    async def load_refresh_token(self, client: Any, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(self, client: Any, refresh_token: RefreshToken, scopes: list[str]) -> OAuthToken:
        self.exchanged.append(refresh_token.token)
        self.before_refresh()
        if self.refresh.pop(refresh_token.token, None) is None:
            raise TokenError("invalid_grant")
        return self._issue(refresh_token)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.revoked.append(token.token)
        self.access.pop(token.token, None)
        self.refresh.pop(token.token, None)

    def forget_access(self) -> None:
        """Refuse every access token from now on."""
        self.access.clear()

    def forget_all(self) -> None:
        """Refuse every token from now on."""
        self.access.clear()
        self.refresh.clear()


class Guarded:
    """The server. `called`: (who, tool) of each call; `wrap` puts an app around all of it, for wrong answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.authorizing = Authorizing()
        self.called: list[tuple[str, str]] = []
        self.asked: list[str] = []  # method and path of each request
        auth = AuthSettings(
            issuer_url=url,  # type: ignore[arg-type]
            resource_server_url=f"{url}/mcp",  # type: ignore[arg-type]
            client_registration_options=ClientRegistrationOptions(enabled=True),
            revocation_options=RevocationOptions(enabled=True),
            validate_token_resource=True,
        )
        self.server = MCPServer("notes", auth_server_provider=self.authorizing, auth=auth)
        self.wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app

        @self.server.tool(annotations=ToolAnnotations(read_only_hint=True))
        def whoami() -> str:
            """Say who calls."""
            return self._note("whoami")

        @self.server.tool()
        def write(text: str) -> str:
            """Write a note."""
            return f"{self._note('write')} wrote {text}"

    def demand(self, tool: str, scope: str) -> None:
        """Refuse calls of the tool with a token that lacks the scope."""

        def wrap(app: ASGIApp) -> ASGIApp:
            async def wrapped(request: Any, receive: Any, send: Any) -> None:
                if request["type"] != "http" or (request["method"], request["path"]) != ("POST", "/mcp"):
                    return await app(request, receive, send)
                first = await receive()
                called = json.loads(first["body"])
                head = dict(request["headers"])
                token = self.authorizing.access.get(head.get(b"authorization", b"").decode().removeprefix("Bearer "))
                lacks = token is not None and scope not in token.scopes
                if called.get("method") == "tools/call" and called["params"]["name"] == tool and lacks:
                    error = f'Bearer error="insufficient_scope", scope="{scope}", error_description="No."'
                    headers = [(b"www-authenticate", error.encode())]
                    await send({"type": "http.response.start", "status": 403, "headers": headers})
                    return await send({"type": "http.response.body", "body": b""})
                rest = iter([first])
                return await app(request, lambda: _next(rest, receive), send)

            return wrapped

        self.wrap = wrap

    def _note(self, tool: str) -> str:
        token = get_access_token()
        who = (token.subject if token else None) or "nobody"
        self.called.append((who, tool))
        return who

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.asked.append(f"{scope['method']} {scope['path']}")
        await self.wrap(self._app)(scope, receive, send)

    def build(self) -> None:
        self._app = self.server.streamable_http_app()


async def _next(first: Iterator[Any], receive: Any) -> Any:
    return next(first, None) or await receive()


@contextmanager
def guarded(*, tools: Callable[[Guarded], None] = lambda server: None) -> Iterator[Guarded]:
    """Run the server in a thread. `tools` adds tools to it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    found = Guarded(f"http://127.0.0.1:{listening.getsockname()[1]}")
    tools(found)
    found.build()
    config = uvicorn.Config(found.app, log_config=None, log_level="critical", lifespan="on", interface="asgi3")
    config.timeout_graceful_shutdown = 1
    running = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listening])))
    thread.start()
    try:
        while not running.started and thread.is_alive():
            time.sleep(0.01)
        yield found
    finally:
        running.should_exit = True
        thread.join()
        listening.close()


def entry(server: Guarded, **fields: Any) -> dict[str, Any]:
    """Return the server's entry in NETRA_MCP_SERVERS."""
    return {"url": f"{server.url}/mcp", "auth": "oauth", "token": "", "trusted": False, **fields}


class Browser:
    """A browser with a signed-in user."""

    def __init__(self, user: User) -> None:
        self.client = Client()
        self.user = user
        self.origin = "http://testserver"
        self.signed_in = sessions.sign_in(user, "test")
        self.headers = {"Authorization": f"Bearer {self.signed_in.access}"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        given: dict[str, Any] = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        is_secure = self.origin.startswith("https:")
        return self.client.generic(method, path, headers=self.headers, secure=is_secure, **given)

    def begin(self, name: str = "notes") -> str:
        """Return the address at the authorization server."""
        answer = self.ask("POST", f"/auth/mcp/connections/{name}")
        assert answer.status_code == 200, answer.content
        return str(answer.json()["url"])

    def at_server(self, url: str) -> str:
        """Return the callback with which the authorization server answers."""
        answer = requests.get(url, allow_redirects=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"].removeprefix(self.origin)

    def connect(self, name: str = "notes") -> Any:
        return self.client.get(self.at_server(self.begin(name)))

    def listed(self) -> Any:
        return self.ask("GET", "/auth/mcp/connections").json()["connections"]
