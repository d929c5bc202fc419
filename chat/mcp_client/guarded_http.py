"""HTTP to addresses that an MCP server has named: never into the network of this machine.

A host's addresses are looked up once and checked, and the connection goes to the address that was checked. Hosts that
the operator has listed are exempt. Redirects are not followed.
"""

import ipaddress
import socket
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic_core import from_json

from chat.mcp_client.config import NotPossible

TIMEOUT = 10.0  # seconds for each of connecting, sending and a pause in the answer
MAX_BYTES = 256 * 1024  # of an answer: a metadata document has a few KiB
# Beside those that Python knows not to be global, or to be reserved: protocol assignments, Azure's platform.
_CLOSED = [ipaddress.ip_network(network) for network in ("192.0.0.0/24", "168.63.129.16/32")]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSAL = "The server names an address that cannot be used."
_NO_ANSWER = "The server does not answer. Try again later."


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the internet. An IPv6 address that wraps an IPv4 one is judged by both."""
    found = ipaddress.ip_address(address)
    if isinstance(found, IPv4Address):
        return _is_open(found)
    low = IPv4Address(int(found) & 0xFFFFFFFF)
    if found.ipv4_mapped is not None or found in _NAT64:
        return _is_open(low)
    is_isatap = (int(found) >> 32) & 0xFDFFFFFF == 0x5EFE
    inner = found.sixtofour or (low if is_isatap else None)
    return not found.is_site_local and _is_open(found) and (inner is None or _is_open(inner))


def _is_open(address: IPv4Address | IPv6Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or any(address in network for network in _CLOSED)
    return address.is_global and not is_special


def is_on_the_internet(host: str) -> bool:
    """Return whether all addresses of the host are public: others than this network's machines can reach it."""
    try:
        Http(()).addresses(host, 443)
    except NotPossible:
        return False
    return True


class Http:
    """A client for one server's metadata, registration and tokens. `hosts` are exempt from the check."""

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts = hosts

    def ask(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Return the answer with its whole body. Raises NotPossible."""
        parts = self._checked(url)
        host = parts.hostname or ""
        places = [""] if host in self._hosts else self.addresses(host, parts.port or 443)
        for place in places:
            try:
                named = {"accept": "application/json", **(headers or {})}
                return self._asked(method, url, host, place, json=json, data=data, headers=named)
            except httpx2.ConnectError:
                continue
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
                raise NotPossible(_NO_ANSWER, f"{method} failed: {type(error).__name__}") from None
        raise NotPossible(_NO_ANSWER, f"{method} failed: no connection")

    def _asked(self, method: str, url: str, host: str, place: str, **given: Any) -> httpx2.Response:
        with httpx2.Client(timeout=TIMEOUT, trust_env=not place, follow_redirects=False) as client:
            request = client.build_request(method, url, **given)
            if place:
                request.url = request.url.copy_with(host=place)
                request.extensions = {**request.extensions, "sni_hostname": host}
            response = client.send(request, stream=True)
            try:
                body = bytearray()
                # An MCP server that has accepted the request may send events without an end.
                if response.headers.get("content-type", "").partition(";")[0].strip() != "text/event-stream":
                    for part in response.iter_bytes():
                        body += part
                        if len(body) > MAX_BYTES:
                            raise NotPossible(_REFUSAL, "the answer is too large")
            finally:
                response.close()
        kept = {name: value for name, value in response.headers.items() if name in ("www-authenticate", "content-type")}
        return httpx2.Response(response.status_code, headers=kept, content=bytes(body), request=request)

    def _checked(self, url: str) -> Any:
        """Return the parts of a URL that may be asked: https, or http of a listed host. Raises NotPossible."""
        try:
            parts = urlsplit(url)
            is_good = bool(parts.hostname) and parts.port != 0 and not (parts.username or parts.password)
        except ValueError:
            is_good = False
        if not is_good or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in self._hosts)):
            raise NotPossible(_REFUSAL, "an address is not https")
        return parts

    def check(self, url: str) -> str:
        """Return the URL if it may be asked, by its form. Raises NotPossible."""
        self._checked(url)
        return url

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of the host. Raises NotPossible if one of them is not public."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotPossible(_NO_ANSWER, "a name is not known") from None
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        if not addresses or not all(map(is_public, addresses)):
            raise NotPossible(_REFUSAL, "an address is not a public one")
        return addresses


def json_of(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the JSON object of an answer; None without one."""
    try:
        found = from_json(response.content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
