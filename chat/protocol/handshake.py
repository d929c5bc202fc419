"""The WebSocket handshake: subprotocol, token, origin and host, from raw header bytes."""

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chat.protocol.limits import MAX_HANDSHAKE

MODES: dict[str, str] = {
    "/ws": "main",
    "/ws/factory": "factory",
    "/ws/isolated": "isolated",
    "/ws/legacy": "legacy",
    "/ws/ai-sdk": "ai-sdk",  # with other frames: chat/aisdk
}

UPGRADE_REQUIRED: dict[str, Any] = {
    "error": "upgrade_required",
    "message": "This path speaks WebSocket. Offer one of these subprotocols, or send an Authorization header.",
    "subprotocols": ["jwt-auth", "jwt.<token>", "bearer.<token>"],
}
KEY_PREFIX = "netra_"  # with which an API key begins; a JWT never does: it has two dots


class Refused(Exception):
    """A handshake to refuse before accept. `reason` is for the log and carries nothing that the client sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

_PREFIXES = ("jwt.", "jwt-auth.", "bearer.")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_KEY = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9_]+")
# RFC 7230's tchar without "%": daphne decodes percent signs, and then what is selected is not what was offered.
_OFFER = re.compile(rb"[A-Za-z0-9!#$&'*+.^_`|~-]+")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Handshake:
    """The subprotocol to select and the token or API key to check.

    Both are None if the client authenticates in a frame.
    """

    subprotocol: str | None
    token: str | None = field(repr=False)


def negotiate(headers: Headers) -> Handshake:
    """Choose subprotocol and token from the raw headers of an ASGI scope, or raise Refused.

    The token is only well-formed: whether it is any good is for the caller to find out, before accept. What carries the
    token is selected only where nothing else can be: a browser closes a socket whose offers were all left.
    """
    found = list(headers)
    authorization = _values(found, b"authorization")
    offered = _values(found, b"sec-websocket-protocol")
    if sum(map(len, authorization + offered)) > MAX_HANDSHAKE:
        raise Refused("Token headers too large")
    token = _bearer(authorization)
    if not offered:
        return Handshake(None, token)
    offers = _offers(offered)
    bearing = next((offer for offer in offers if offer.startswith(_PREFIXES)), None)
    if "jwt-auth" in offers and token:
        return Handshake("jwt-auth", token)
    if bearing is None:
        raise Refused("jwt-auth without a token" if "jwt-auth" in offers else "No supported subprotocols")
    carried = _carried(bearing)
    if "jwt-auth" in offers:
        return Handshake("jwt-auth", token or carried)
    return Handshake(bearing, token or carried)


def is_key(token: str) -> bool:
    """Return whether a token of a handshake or a header claims to be an API key."""
    return token.startswith(KEY_PREFIX) and "." not in token


def origin_allowed(headers: Headers, allowed: Collection[str]) -> bool:
    """Return whether Origin is absent (no browser) or one of `allowed`: each `scheme://host[:port]`, no wildcards."""
    origins = _values(headers, b"origin")
    if not origins:
        return True
    origin = parse_origin(origins[0].decode("latin-1"))
    return len(origins) == 1 and origin is not None and origin in map(parse_origin, allowed)


def origin_for(scheme: str, host: str, allowed: Sequence[str]) -> str:
    """Return the one of `allowed` that links begin with.

    It is the origin of the request, else an origin with its host and port, else one with its host, else the first.
    `host` is what the client sent: no part of the result is taken from it.
    """
    asked = parse_origin(f"{scheme}://{host}")

    def likeness(text: str) -> tuple[bool, ...]:
        origin = parse_origin(text)
        if asked is None or origin is None:
            return ()
        return origin[1] == asked[1], origin[1:] == asked[1:], origin == asked

    return max(allowed, key=likeness)


def host_of(headers: Headers) -> str:
    """Return the Host header as sent; "", which no list allows, if it is missing, repeated or not ASCII."""
    hosts = _values(headers, b"host")
    return hosts[0].decode("ascii") if len(hosts) == 1 and hosts[0].isascii() else ""


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _bearer(values: list[bytes]) -> str | None:
    # Servers join repeated headers with commas, and no Bearer token has one: two credentials name no user.
    credentials = [part.strip(b" \t") for value in values for part in value.split(b",")]
    bearers = [part for part in credentials if re.match(rb"bearer(?:[ \t]|$)", part, re.IGNORECASE)]
    if not bearers:
        return None
    token = bearers[0][len(b"bearer") :].strip(b" \t").decode("latin-1")
    if len(credentials) > 1 or not (_JWT.fullmatch(token) or _KEY.fullmatch(token)):
        raise Refused("Malformed Authorization header")
    return token


def _offers(values: list[bytes]) -> list[str]:
    offers = [offer.strip(b" \t") for offer in b",".join(values).split(b",")]
    if not all(map(_OFFER.fullmatch, offers)) or len(set(offers)) < len(offers):
        raise Refused("Malformed Sec-WebSocket-Protocol header")
    return [offer.decode("ascii") for offer in offers]


def _carried(offer: str) -> str:
    """Return what an offer `<prefix>.<token>` carries: an API key after `bearer.`, or a JWT.

    The JWT is the token itself, or decoded from unpadded base64url.
    """
    prefix, _, encoded = offer.partition(".")
    if _JWT.fullmatch(encoded) or (prefix == "bearer" and _KEY.fullmatch(encoded)):
        return encoded
    try:
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        token = decoded.decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("Malformed token in subprotocol") from None
    # The decoder skips what is not in its alphabet; only the one true encoding counts.
    if not _JWT.fullmatch(token) or base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != encoded:
        raise Refused("Malformed token in subprotocol")
    return token


def parse_origin(text: str) -> tuple[str, str, str] | None:
    """Return scheme, host and port of an origin; None if it is none."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, port or _DEFAULT_PORTS.get(scheme, "")
