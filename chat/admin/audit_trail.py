"""Audit records of what staff do in the admin."""

from typing import Any

from django.http import HttpRequest

from chat.accounts import audit


def record_of(request: HttpRequest, kind: str, user_id: int | None, detail: str = "") -> None:
    """Write an audit record of a staff action on a user's data; `user_id` None: on the data of several users."""
    audit.record(kind, user_id, request, request.user.pk, detail)


def changed(message: Any) -> str:
    """Return the names of the fields that a form has changed, never their values."""
    if isinstance(message, str):
        return message
    return ", ".join(name for part in message for name in part.get("changed", {}).get("fields", ()))
