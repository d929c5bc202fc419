"""The audit record: sign-ins, ends of sessions, and what staff did with a user's data.

A record has no secret and no content: a kind, two users, an address, and names of things. Nothing edits or deletes it.
"""

import logging
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest
from rest_framework.request import Request

from chat.api.client_ip import address_of
from chat.models import AuditRecord, User

log = logging.getLogger("netra.audit")


def record(
    kind: str,
    user_id: int | None,
    request: HttpRequest | Request | None = None,
    by: int | None = None,
    detail: str = "",
    address: str | None = None,
) -> None:
    """`user_id` is the owner of the account or data, `by` the acting staff user; each is None if unknown.

    `address` is the client's where there is no request any more.
    """
    address = address if request is None else address_of(request)
    log.info(kind, extra={"user_id": user_id, "by": by})
    AuditRecord.objects.create(kind=kind, user_id=user_id, by_id=by, address=address, detail=detail[:200])


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, user: User, **signal: Any) -> None:
    record("signed_in", user.pk, request, detail=request.path)


@receiver(user_login_failed)
def _failed(credentials: dict[str, Any], request: HttpRequest | None = None, **signal: Any) -> None:
    # A locked account refuses without trying the password, and the lock has a record of its own.
    tried = getattr(request, "axes_failures_since_start", None) is not None
    if tried or not getattr(request, "axes_locked_out", False):
        typed = str(credentials.get("username") or "").strip().lower()
        known = User.objects.filter(email=typed).values_list("pk", flat=True).first() if "\0" not in typed else None
        record("sign_in_failed", known, request, detail=getattr(request, "path", ""))


@receiver(user_locked_out)
def _locked(request: HttpRequest, **signal: Any) -> None:
    if getattr(request, "axes_failures_since_start", None) is not None:
        record("locked_out", None, request, detail=request.path)
