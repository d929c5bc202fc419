"""The end of connections: tokens are revoked at the server that issued them (RFC 7009)."""

import logging
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from chat.mcp_client import clients, secrets
from chat.mcp_client.config import NotPossible
from chat.mcp_client.guarded_http import Http
from chat.models import McpConnection, User

log = logging.getLogger("netra.mcp")


def delete(row: McpConnection) -> None:
    """Delete a connection, and revoke its tokens at the server, as far as it answers."""
    row.delete()
    _revoke(row.server, row.secrets)


@receiver(pre_delete, sender=User)
def _revoke_with_the_user(instance: User, **signal: Any) -> None:
    """Revoke the tokens of a user whose rows are deleted, once that is committed: servers may be slow to answer."""
    for row in McpConnection.objects.filter(user=instance):
        transaction.on_commit(partial(_revoke, row.server, row.secrets), robust=True)


def _revoke(server: str, ciphertext: str) -> None:
    values = secrets.decrypt(ciphertext)
    if values is None or not values.get("revocation_endpoint"):
        return
    for kind in ("refresh_token", "access_token"):
        if not values.get(kind):
            continue
        form, headers = clients.authenticated(values["client"], {"token": values[kind], "token_type_hint": kind})
        http = Http(frozenset(values["hosts"]))
        try:
            answer = http.ask("POST", values["revocation_endpoint"], data=form, headers=headers)
        except NotPossible as error:
            log.warning("mcp %s: tokens were not revoked: %s", server, error.reason)
            return
        if answer.status_code >= 400:
            log.warning("mcp %s: a token was not revoked: HTTP %s", server, answer.status_code)
