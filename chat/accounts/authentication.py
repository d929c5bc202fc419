"""Authentication by access token or API key, for sockets and for REST.

The reason of a refusal goes to the log only: the client gets the same answer for all.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from chat import limits
from chat.accounts import api_keys
from chat.api import client_ip
from chat.db.access import from_database
from chat.db.sql import execute, format_id, id_parameter, sql
from chat.languages import language_of_headers
from chat.limits.rates import BAD_KEYS
from chat.models import ApiKey, User
from chat.protocol import (
    Ack,
    AgentStatus,
    AnyCommand,
    Authenticate,
    Headers,
    Ping,
    ProtocolError,
    Refused,
    Resume,
    is_key,
    negotiate,
)
from chat.runs.inputs.deciders import DECIDABLE

READING = Resume, Ping, Ack, AgentStatus  # frames that need no scope write
_MAX_ID = 2**63 - 1
_Token = TypeVar("_Token", bound=Token)


class Unauthorized(Exception):
    """A missing or invalid token. `reason` is for the log and has no part of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """The permissions of an API key. Agents other than `agents` do not exist for it, unless that is empty."""

    id: UUID
    may_write: bool
    agents: frozenset[str]


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a token or of an API key.

    `expires_at` is in seconds since the epoch, None for never. `session_id` is None for a key, `key` for a token.
    `language` is the account's choice, else that of the request or handshake; empty where neither is known.
    """

    user_id: int
    email: str
    session_id: UUID | None
    expires_at: int | None
    key: KeyGrant | None = None
    language: str = ""

    @property
    def agents(self) -> frozenset[str]:
        """The names of the only agents that exist here; empty: all."""
        return self.key.agents if self.key else frozenset()

    @property
    def may_write(self) -> bool:
        """False for an API key without the scope write."""
        return self.key is None or self.key.may_write

    def check_write(self) -> None:
        """Raise ProtocolError forbidden for an API key that may only read."""
        if not self.may_write:
            raise ProtocolError("forbidden", "This API key may only read: it has no scope write.")

    def speaking(self, headers: Headers) -> "Identity":
        """Return the identity with the language of a request or handshake, if its account has none."""
        return self if self.language else replace(self, language=language_of_headers(headers))

    @property
    def credential_id(self) -> UUID | None:
        """The id of the session or of the API key."""
        return self.key.id if self.key else self.session_id

    def ends_with(self, message: Mapping[str, Any]) -> bool:
        """Return whether a published message says that the session, or the API key, has ended."""
        kind = "key" if self.key else "session"
        return message["type"] == f"{kind}_ended" and message[kind] in (None, str(self.credential_id))

    def check(self, frame: AnyCommand) -> None:
        """Raise ProtocolError forbidden for a frame that the API key does not permit."""
        if self.key is not None:
            if isinstance(frame, Authenticate):
                raise ProtocolError("forbidden", "A socket of an API key takes no token.")
            if not isinstance(frame, READING):
                self.check_write()


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a verified access token. Its session may have ended."""

    token: AccessToken
    user_id: int
    session_id: UUID


@dataclass(frozen=True, slots=True)
class KeyClaims:
    """An API key that was found, with its owner and the client's address. It may have been revoked since."""

    key: str = field(repr=False)
    user_id: int
    address: str


def identify(raw: str) -> Identity:
    """Return the owner of an access token, found in one query. Raises Unauthorized."""
    return _identify(raw)[1]


def read_claims(raw: str) -> Claims:
    """Return the claims of an access token, checked without the database. Raises Unauthorized."""
    return Claims(*verify(AccessToken, raw))


async def read_key(raw: str, address: str) -> KeyClaims:
    """Return the owner of an API key that came from this address.

    Raises Unauthorized, and ProtocolError rate_limited for one bad key of too many.
    """
    return KeyClaims(raw, (await _read_live_key(raw, address)).user_id, address)


async def identify_from(raw: str, address: str) -> Identity:
    """Return the owner of an access token or API key that came from this address, and note the use of a key.

    Raises Unauthorized, and ProtocolError rate_limited for one bad key of too many.
    """
    if not is_key(raw):
        return await from_database(identify, raw)
    row = await _read_live_key(raw, address)
    api_keys.note_use(row, address)
    return _identity_of_key(row)


async def _read_live_key(raw: str, address: str) -> ApiKey:
    try:
        return await from_database(_live_key, raw)
    except Unauthorized:
        await limits.rate_limiter().acquire_async(BAD_KEYS, address)
        raise


def _live_key(raw: str) -> ApiKey:
    row = api_keys.find(raw)
    if row is None:
        raise Unauthorized("no such API key, or it has ended")
    return row


def _identity_of_key(row: ApiKey) -> Identity:
    expires_at = None if row.expires_at is None else int(row.expires_at.timestamp())
    grant = KeyGrant(row.pk, ApiKey.WRITE in row.scopes, frozenset(row.agents))
    return Identity(row.user_id, row.user.email, None, expires_at, grant, row.user.language)


def admit(claims: Claims | KeyClaims) -> tuple[Identity, dict[str, int], int | None]:
    """Return the owner of the token, the number of the last event of each of their threads, and a count of requests.

    The count is of the open requests of others that the owner may decide, None for a user without a group. Raises
    Unauthorized. One query for a token: every socket that opens asks it. The use of an API key is noted.
    """
    if isinstance(claims, KeyClaims):
        row = _live_key(claims.key)  # it may have been revoked before the socket subscribed
        api_keys.note_use(row, claims.address)
        rows = execute(_THREADS.format(credential=""), [claims.user_id, claims.user_id])
        identity = _identity_of_key(row)
    else:
        session_id = claims.session_id
        rows = execute(_LIVE_THREADS, [claims.user_id, id_parameter(session_id), claims.user_id])
        if not rows:
            raise Unauthorized(_ENDED)
        email, is_active, password, language = rows[0][:4]
        _check(claims.token, is_active, password)
        identity = Identity(claims.user_id, email, session_id, int(claims.token["exp"]), language=language)
    heads = {format_id(thread): head for *_, thread, head in rows if thread is not None}
    return identity, heads, rows[0][4] if rows else None


class TokenAuthentication(BaseAuthentication):
    """REST authentication by an access token or API key: `request.user` is the User, `request.auth` the Identity."""

    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        """Return the user and the identity, None without a token.

        Raises Unauthorized, and ProtocolError rate_limited for one bad API key of too many from an address.
        """
        token = token_of(request)
        if token is None:
            return None
        user, identity = _identify_key(token, client_ip.address_of(request)) if is_key(token) else _identify(token)
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in request.headers.items()]
        return user, identity.speaking(headers)

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme that a 401 names."""
        return "Bearer"


def token_of(request: Request | HttpRequest) -> str | None:
    """Return the token or API key of a request, unverified; None if it has none. Raises Unauthorized."""
    header = request.headers.get("Authorization", "").encode("latin-1", "replace")
    return read_token([(b"authorization", header)])


def read_token(headers: Headers) -> str | None:
    """Return the token or API key in `Authorization`, unverified. Raises Unauthorized."""
    try:
        return negotiate([header for header in headers if header[0].lower() == b"authorization"]).token
    except Refused as refused:
        raise Unauthorized(refused.reason) from None


def _identify_key(raw: str, address: str) -> tuple[User, Identity]:
    try:
        row = _live_key(raw)
    except Unauthorized:
        limits.rate_limiter().acquire(BAD_KEYS, address)
        raise
    api_keys.note_use(row, address)
    return row.user, _identity_of_key(row)


def _identify(raw: str) -> tuple[User, Identity]:
    token, user, session_id, _ = find_owner(AccessToken, raw)
    return user, Identity(user.pk, user.email, session_id, int(token["exp"]), language=user.language)


# The count does not depend on the row, so it is made once.
_THREADS = f"""
    SELECT u.email, u.is_active, u.password, u.language,
        (SELECT count(r.id) FROM {DECIDABLE} WHERE m.user_id = %s HAVING count(*) > 0),
        t.id, t.last_seq FROM chat_user u {{credential}}
    LEFT JOIN chat_thread t ON t.user_id = u.id AND t.deleted_at IS NULL
    WHERE u.id = %s"""  # noqa: S608 no text of a user's
_LIVE_SESSION = sql("s.id = %s AND s.ended_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > {statement_now})")
_LIVE_THREADS = _THREADS.format(credential=f"JOIN chat_session s ON s.user_id = u.id AND {_LIVE_SESSION}")
_ENDED = "no such session of this user, or it has ended"
# Written out: every request asks it, and building it costs more than running it.
_LIVE = f"""
    SELECT u.*, s.expires_at AS session_expires_at FROM chat_user u JOIN chat_session s ON s.user_id = u.id
    WHERE {_LIVE_SESSION} AND u.id = %s"""  # noqa: S608 no text of a user's


def find_owner(kind: type[_Token], raw: str) -> tuple[_Token, User, UUID, datetime | None]:
    """Return the verified token with its user, and the id and the end of the live session. Raises Unauthorized."""
    token, user_id, session_id = verify(kind, raw)
    user = next(iter(User.objects.raw(_LIVE, [id_parameter(session_id), user_id])), None)
    if user is None:
        raise Unauthorized(_ENDED)
    _check(token, user.is_active, user.password)
    expires_at: datetime | None = user.session_expires_at  # type: ignore[attr-defined]
    if expires_at is not None and expires_at.tzinfo is None:  # SQLite's, which stores UTC
        expires_at = expires_at.replace(tzinfo=UTC)
    return token, user, session_id, expires_at


def _check(token: Token, is_active: bool, password: str) -> None:
    if not is_active:
        raise Unauthorized("the user is not active")
    revoke = token.get(api_settings.REVOKE_TOKEN_CLAIM)
    if not constant_time_compare(str(revoke), get_md5_hash_password(password)):
        raise Unauthorized("the password was changed")


def verify(kind: type[_Token], raw: str) -> tuple[_Token, int, UUID]:
    """Return the token with its user's and session's ids, checked without the database. Raises Unauthorized."""
    try:
        token = kind(cast(Any, raw))
    except TokenError as error:
        raise Unauthorized(str(error)) from None
    # What a claim or a header of the wrong type or size makes of the libraries below.
    except (TypeError, ValueError, LookupError, ArithmeticError, OSError) as error:
        raise Unauthorized(f"malformed token ({type(error).__name__})") from None
    if int(token["exp"]) <= time.time():  # the library's leeway is for slow clocks, not for late clients
        raise Unauthorized("Token is expired")
    user_id, session_id = token.get(api_settings.USER_ID_CLAIM), token.get("sid")
    if isinstance(user_id, str) and user_id.isascii() and user_id.isdecimal() and len(user_id) < 20:
        user_id = int(user_id)
    if type(user_id) is not int or not 0 < user_id <= _MAX_ID:
        raise Unauthorized("the token names no user")
    try:
        return token, user_id, UUID(session_id)
    except (TypeError, ValueError, AttributeError):
        raise Unauthorized("the token names no session") from None
