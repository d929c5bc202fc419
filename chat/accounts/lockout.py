"""Lock an account for an address after repeated failures."""

import hashlib
from collections.abc import Mapping
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from chat.api.client_ip import address_of
from chat.protocol import ProtocolError


def account(request: HttpRequest | Request, credentials: Mapping[str, Any] | None) -> str:
    """Return the hash that failed sign-ins are counted under. The typed address is not kept: it may be a password."""
    typed = str((credentials or {}).get("username") or "")
    return hashlib.sha256(typed.strip().lower().encode("utf-8", "replace")).hexdigest()


def locked_out(request: HttpRequest | Request, credentials: Mapping[str, Any] | None) -> ProtocolError:
    """Return the error for an account that is locked for this address."""
    mine = {"username": account(request, credentials), "ip_address": address_of(request)}
    last = AccessAttempt.objects.filter(**mine).aggregate(last=Max("attempt_time"))["last"] or timezone.now()
    left = (last + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds()
    return ProtocolError("rate_limited", "Too many failed attempts. Try again later.", retry_after=max(1, round(left)))
