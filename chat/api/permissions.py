"""Permissions of API keys over REST."""

from typing import Any, cast

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from chat.accounts.authentication import Identity
from chat.protocol import ProtocolError

NO_ACCOUNT = "An API key does not reach the account: sign in."


class WithinKey(BasePermission):
    """Permission of a view by the API key of the request: its scopes, and whether the view takes keys."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return True for a token and for a key that may do this. Raises ProtocolError forbidden."""
        key = cast(Identity, request.auth).key
        if key is not None:
            if not view.takes_keys:
                raise ProtocolError("forbidden", NO_ACCOUNT)
            if not key.may_write and request.method not in (*SAFE_METHODS, *view.reading_methods):
                raise ProtocolError("forbidden", "This API key may only read: it has no scope write.")
        return True
