"""The MCP servers of the settings for which each user has a token, and the errors of a connection with one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.conf import settings
from django.urls import reverse

OAUTH, OWN = "oauth", "user"  # the values of NETRA_MCP_<NAME>_AUTH under which each user has a token


class NotPossible(Exception):
    """A connection that cannot be made. The message is for the user and has no part of a server's answer.

    `reason` is for the log: no address inside the network, no token.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.message, self.reason = message, reason or message


@dataclass(frozen=True, slots=True)
class Server:
    """A server with its entry in NETRA_MCP_SERVERS. `hosts` may be inside the network; its own always may."""

    name: str
    url: str
    auth: str
    client: str = ""
    secret: str = field(default="", repr=False)
    scopes: str = ""
    hosts: frozenset[str] = frozenset()

    def allows(self, scope: str) -> bool:
        """Return whether users may be asked for all of these scopes: the setting names all that may be, or none."""
        return not self.scopes or set(scope.split()) <= set(self.scopes.split())


def find(name: str) -> Server | None:
    """Return the server with this name, None if there is none for which users have tokens."""
    given: Mapping[str, Any] | None = settings.NETRA_MCP_SERVERS.get(name)
    if given is None or given.get("auth") not in (OAUTH, OWN):
        return None
    own_host = urlsplit(given["url"]).hostname or ""
    return Server(
        name=name,
        url=given["url"],
        auth=given["auth"],
        client=given.get("client", ""),
        secret=given.get("secret", ""),
        scopes=given.get("scopes", ""),
        hosts=frozenset([own_host.lower(), *given.get("hosts", [])]),
    )


def configured() -> list[Server]:
    """Return all such servers in the order of NETRA_MCP_SERVERS."""
    return [server for name in settings.NETRA_MCP_SERVERS if (server := find(name)) is not None]


def connect_url(name: str, scope: str = "") -> str:
    """Return the address of the page on which a user connects the server. Requests of runs lead to it.

    `scope`: what the user's connection lacks.
    """
    query = urlencode({"connect": name, **({"scope": scope} if scope else {})})
    return f"{settings.ALLOWED_ORIGINS[0]}{reverse('chat:settings')}?{query}"


def lacking(url: str, name: str) -> str | None:
    """Return the scope in the address that `connect_url` has made for this server; None for any other address."""
    scope = dict(parse_qsl(urlsplit(url).query)).get("scope", "")
    return scope if url == connect_url(name, scope) else None
