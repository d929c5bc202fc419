"""Permissions of API keys over REST."""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from chat.accounts.authentication import Identity, Unauthorized, token_of
from chat.api.exceptions import refusal
from chat.protocol import ProtocolError, is_key

View = Callable[..., HttpResponse]
NO_ACCOUNT = "An API key does not reach the account: sign in."


class WithinKey(BasePermission):
    """Permission of a view by the API key of the request: its scopes, and whether the view takes keys."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return True for a token and for a key that may do this. Raises ProtocolError forbidden."""
        identity = cast(Identity, request.auth)
        if identity.key is not None:
            if not view.takes_keys:
                raise ProtocolError("forbidden", NO_ACCOUNT)
            if request.method not in (*SAFE_METHODS, *view.reading_methods):
                identity.check_write()
        return True


def without_key(view: View) -> View:
    """Return the view of Django, which is forbidden to an API key like all of the account."""

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with suppress(Unauthorized):
            if is_key(token_of(request) or ""):
                return refusal(ProtocolError("forbidden", NO_ACCOUNT))
        return view(request, *args, **kwargs)

    return shown
