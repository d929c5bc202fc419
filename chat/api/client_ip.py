"""The client's address of a request or a handshake, also behind trusted proxies."""

import contextlib
import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request


def address_of(request: HttpRequest | Request) -> str:
    return address(request.META.get("REMOTE_ADDR") or "", request.META.get("HTTP_X_FORWARDED_FOR", ""))


def of_scope(scope: Mapping[str, Any]) -> str:
    """Return the address of an ASGI scope, as `address_of` does of a request."""
    peer = (scope.get("client") or ("",))[0]
    forwarded = b",".join(value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for")
    return address(peer, forwarded.decode("latin-1"))


def address(peer: str, forwarded: str) -> str:
    """Return the client's address: the peer's, or the one that the outermost trusted proxy wrote into X-Forwarded-For.

    Of an IPv6 address its /64 counts: that is what one customer has. 0.0.0.0 for what is none (a Unix socket).
    """
    hops = [peer, *(hop.strip() for hop in reversed(forwarded.split(",")))]
    for claimed in (hops[min(settings.NETRA_TRUSTED_PROXIES, len(hops) - 1)], peer):
        with contextlib.suppress(ValueError):
            found = ipaddress.ip_address(_without_port(claimed))
            if isinstance(found, ipaddress.IPv6Address):
                if found.ipv4_mapped is not None:
                    return str(found.ipv4_mapped)
                return str(ipaddress.ip_network((found, 64), strict=False).network_address)
            return str(found)
    return "0.0.0.0"  # noqa: S104 nothing is bound to it


def _without_port(hop: str) -> str:
    """Remove the port that some proxies add: 192.0.2.1:4711, [2001:db8::1]:4711."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
