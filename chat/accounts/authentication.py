"""Authentication by access token, for sockets and for REST.

The reason of a refusal goes to the log only: the client gets the same answer for all.
"""

import time
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from chat.db.sql import execute, format_id, id_parameter
from chat.models import User
from chat.protocol import Refused, negotiate

_MAX_ID = 2**63 - 1
_Token = TypeVar("_Token", bound=Token)


class Unauthorized(Exception):
    """A missing or invalid token. `reason` is for the log and has no part of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a token. `expires_at` is in seconds since the epoch."""

    user_id: int
    email: str
    session_id: UUID
    expires_at: int


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a verified access token. Its session may have ended."""

    token: AccessToken
    user_id: int
    session_id: UUID


def identify(raw: str) -> Identity:
    """Return the owner of an access token, found in one query. Raises Unauthorized."""
    return _identify(raw)[1]


def read_claims(raw: str) -> Claims:
    """Return the claims of an access token, checked without the database. Raises Unauthorized."""
    return Claims(*verify(AccessToken, raw))


def admit(claims: Claims) -> tuple[Identity, dict[str, int], int | None]:
    """Return the owner of the token, the number of the last event of each of their threads, and a count of requests.

    The count is of the open requests of others that the owner may decide, None for a user without a group. Raises
    Unauthorized. One query: every socket that opens asks it.
    """
    session_id = claims.session_id
    rows = execute(_LIVE_THREADS, [claims.user_id, id_parameter(session_id), claims.user_id])
    if not rows:
        raise Unauthorized(_ENDED)
    email, is_active, password, approvals = rows[0][:4]
    _check(claims.token, is_active, password)
    heads = {format_id(thread): head for *_, thread, head in rows if thread is not None}
    return Identity(claims.user_id, email, session_id, int(claims.token["exp"])), heads, approvals


class TokenAuthentication(BaseAuthentication):
    """REST authentication by an access token: `request.user` is the User, `request.auth` the Identity."""

    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        """Return the user and the identity, None without a token. Raises Unauthorized."""
        header = request.headers.get("Authorization", "").encode("latin-1", "replace")
        try:
            token = negotiate([(b"authorization", header)]).token
        except Refused as refused:
            raise Unauthorized(refused.reason) from None
        return None if token is None else _identify(token)

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme that a 401 names."""
        return "Bearer"


def _identify(raw: str) -> tuple[User, Identity]:
    token, user, session_id = find_owner(AccessToken, raw)
    return user, Identity(user.pk, user.email, session_id, int(token["exp"]))


# The count is that of `chat.runs.inputs.deciders.decidable_by`. It does not depend on the row, so it is made once.
_LIVE_THREADS = """
    SELECT u.email, u.is_active, u.password,
        (SELECT count(r.id) FROM chat_user_groups m JOIN auth_group g ON g.id = m.group_id
            LEFT JOIN (chat_inputrequest r JOIN chat_thread a ON a.id = r.thread_id AND a.deleted_at IS NULL)
            ON r.status = 'open' AND r.decided_by = 'group:' || g.name AND r.user_id <> m.user_id
            WHERE m.user_id = %s HAVING count(*) > 0),
        t.id, t.last_seq FROM chat_user u
    JOIN chat_session s ON s.user_id = u.id
    LEFT JOIN chat_thread t ON t.user_id = u.id AND t.deleted_at IS NULL
    WHERE s.id = %s AND u.id = %s AND s.ended_at IS NULL"""
_ENDED = "no such session of this user, or it has ended"
# Written out: every request asks it, and building it costs more than running it.
_LIVE = """
    SELECT u.* FROM chat_user u JOIN chat_session s ON s.user_id = u.id
    WHERE s.id = %s AND u.id = %s AND s.ended_at IS NULL"""


def find_owner(kind: type[_Token], raw: str) -> tuple[_Token, User, UUID]:
    """Return the verified token with its user and the id of the live session. Raises Unauthorized."""
    token, user_id, session_id = verify(kind, raw)
    user = next(iter(User.objects.raw(_LIVE, [id_parameter(session_id), user_id])), None)
    if user is None:
        raise Unauthorized(_ENDED)
    _check(token, user.is_active, user.password)
    return token, user, session_id


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
