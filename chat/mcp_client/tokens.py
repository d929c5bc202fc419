"""The tokens of connections: read, refresh under one lease, store, encrypt anew.

Functions that ask an authorization server hold no transaction. A caller in a worker calls each in the right thread.
"""

import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from chat.mcp_client import clients, secrets
from chat.mcp_client.config import NotPossible, Server
from chat.mcp_client.guarded_http import Http, json_of
from chat.models import AuditRecord, McpConnection

log = logging.getLogger("netra.mcp")
EARLY_SECONDS = 30  # before its end that a token is exchanged: it must last for a call
LEASE_SECONDS = 60  # for which one process may exchange a refresh token
USED_SECONDS = 3600  # between two writes of the time of use
MAX_LIFETIME = 10 * 365 * 86_400  # seconds; a longer one is taken for this


class Refused(Exception):
    """The authorization server refuses the refresh token, or the code: the user must sign in again."""


@dataclass(frozen=True, slots=True)
class Held:
    """The access token of a connection. `is_stale`: it has ended, or ends shortly; `is_noted`: its use is."""

    connection_id: uuid.UUID
    access_token: str = field(repr=False)
    is_stale: bool
    can_refresh: bool
    is_noted: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to exchange the refresh token of a connection."""

    connection_id: uuid.UUID
    issuer: str
    values: Mapping[str, Any] = field(repr=False)


def read(user_id: int, server: Server) -> Held | None:
    """Return the user's token for the server; None without one, or if it is for another address of the server."""
    rows = McpConnection.objects.for_user(user_id).filter(server=server.name, url=server.url)
    stale = Q(expires_at__lte=Now() + timedelta(seconds=EARLY_SECONDS))
    noted = Q(used_at__gt=Now() - timedelta(seconds=USED_SECONDS))
    row = rows.first()
    values = secrets.decrypt(row.secrets) if row is not None else None
    if row is None or values is None:
        return None
    return Held(
        row.pk,
        values["access_token"],
        rows.filter(stale).exists(),
        bool(values.get("refresh_token")),
        rows.filter(noted).exists(),
    )


def note_use(connection_id: uuid.UUID) -> None:
    """Write the time of use."""
    McpConnection.objects.filter(pk=connection_id).update(used_at=Now())


@transaction.atomic
def store(user_id: int, server: Server, issuer: str, scope: str, values: Mapping[str, Any], lifetime: Any) -> None:
    """Store a connection in place of an earlier one."""
    McpConnection.objects.filter(user=user_id, server=server.name).delete()
    made = McpConnection.objects.create(
        user_id=user_id,
        server=server.name,
        url=server.url,
        issuer=issuer,
        scope=scope[:4000],
        secrets=secrets.encrypt(values),
    )
    McpConnection.objects.filter(pk=made.pk).update(expires_at=_end(lifetime))


def _end(lifetime: Any) -> Any:
    """Return the end of a token as the database computes it; None if the server names none."""
    try:
        seconds = int(lifetime)
    except (TypeError, ValueError, OverflowError):
        return None
    return Now() + timedelta(seconds=min(max(seconds, 0), MAX_LIFETIME))


# ---- Refresh -------------------------------------------------------------------------------------------------


@transaction.atomic
def lease(connection_id: uuid.UUID, old_token: str) -> Lease | None:
    """Take the lease to exchange this token's refresh token. None: another process has it, or has exchanged it."""
    free = Q(refreshing_until=None) | Q(refreshing_until__lt=Now())
    until = Now() + timedelta(seconds=LEASE_SECONDS)
    if not McpConnection.objects.filter(free, pk=connection_id).update(refreshing_until=until):
        return None
    row = McpConnection.objects.get(pk=connection_id)
    values = secrets.decrypt(row.secrets)
    if values is None or values["access_token"] != old_token or not values.get("refresh_token"):
        McpConnection.objects.filter(pk=connection_id).update(refreshing_until=None)
        return None
    return Lease(connection_id, row.issuer, values)


def exchange(server: Server, leased: Lease) -> dict[str, Any]:
    """Exchange the refresh token for new tokens. Raises Refused, and NotPossible if the server does not answer."""
    values = leased.values
    data = {"grant_type": "refresh_token", "refresh_token": values["refresh_token"], "resource": values["resource"]}
    return ask_for_tokens(server, values["client"], values["token_endpoint"], data)


@transaction.atomic
def end_lease(leased: Lease, given: Mapping[str, Any] | None) -> None:
    """Store the new tokens and give the lease back; without new tokens only the latter."""
    rows = McpConnection.objects.filter(pk=leased.connection_id)
    if given is None:
        rows.update(refreshing_until=None)
        return
    kept = {name: given[name] for name in ("access_token", "refresh_token") if given.get(name)}
    scope = given.get("scope")
    changes = {"scope": scope[:4000]} if isinstance(scope, str) and scope else {}
    rows.update(
        secrets=secrets.encrypt({**leased.values, **kept}),
        expires_at=_end(given.get("expires_in")),
        refreshing_until=None,
        **changes,
    )


@transaction.atomic
def drop(connection_id: uuid.UUID) -> None:
    """Delete a connection whose tokens are refused."""
    row = McpConnection.objects.filter(pk=connection_id).first()
    if row is not None:
        row.delete()
        AuditRecord.objects.create(kind="mcp_disconnected", user_id=row.user_id, detail=f"{row.server}: refused")


def ask_for_tokens(server: Server, client: Mapping[str, Any], url: str, data: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer of a token endpoint. Raises Refused and NotPossible."""
    form, headers = clients.authenticated(client, data)
    answer = Http(server.hosts).ask("POST", url, data=form, headers=headers)
    found = json_of(answer) or {}
    if answer.status_code == 429 or answer.status_code >= 500:
        raise NotPossible("The server does not answer. Try again later.", f"tokens answered {answer.status_code}")
    error = found.get("error")  # some servers send it with 200
    if error in ("invalid_client", "unauthorized_client"):
        raise Refused("invalid_client")
    token = found.get("access_token")
    if not answer.is_success or error or not is_token(token) or not _is_bearer(found):
        raise Refused(error if error in ("invalid_grant", "invalid_scope", "invalid_target") else "no token")
    if not isinstance(found.get("refresh_token", ""), str):
        del found["refresh_token"]
    return found


def is_token(token: Any) -> bool:
    """Return whether a value can be sent as a bearer token."""
    return isinstance(token, str) and re.fullmatch(r"[\x21-\x7e]{1,16384}", token) is not None


def _is_bearer(found: Mapping[str, Any]) -> bool:
    kind = found.get("token_type", "Bearer")
    return isinstance(kind, str) and kind.lower() == "bearer"


def rotate() -> tuple[int, int]:
    """Encrypt all tokens under the first key. Return how many were, and how many no key of today decrypts."""
    done = lost = 0
    for row in McpConnection.objects.only("pk", "secrets").iterator():
        text = secrets.rotated(row.secrets)
        changed = text and McpConnection.objects.filter(pk=row.pk, secrets=row.secrets).update(secrets=text)
        done, lost = done + bool(changed), lost + (text is None)
    return done, lost
