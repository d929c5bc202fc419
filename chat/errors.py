"""The one JSON answer to whatever goes wrong.

What a client did wrong is a ProtocolError; `exception_handler` and the handlers that netra/urls.py names make JSON of
everything else.
"""

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException

from chat import auth, protocol
from chat.protocol import STATUS, ProtocolError

log = logging.getLogger("netra.auth")
SIGN_IN = "Sign in: a valid token is needed."
_CODES = {status: code for code, status in STATUS.items() if code not in ("unknown_agent", "unknown_type")}


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponseBase | None:
    """The one JSON answer to whatever a view raises; None (a bug: handler500) for what nobody foresaw."""
    match exc:
        case ProtocolError():
            return refusal(exc)
        case auth.Unauthorized():
            log.warning("refused: %s", exc.reason)
            return refusal(ProtocolError("unauthorized", SIGN_IN))
        case APIException():
            code = _CODES.get(exc.status_code, "invalid_message")
            return refusal(ProtocolError(code, SIGN_IN if code == "unauthorized" else str(exc.detail)))
        case RequestDataTooBig():
            return bad_request(context["request"], exc)
        case Http404():
            return not_found(context["request"])
        case PermissionDenied():
            return forbidden(context["request"])
        case OperationalError() | InterfaceError():
            logging.getLogger("netra.database").error("unavailable: %s", type(exc).__name__)
            return refusal(ProtocolError("unavailable", "The database does not answer. Try again.", retry_after=1))
    return None


def refusal(error: ProtocolError) -> JsonResponse:
    answer = JsonResponse(error.body(), status=error.status)
    if error.code == "unauthorized":
        answer["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        answer["Retry-After"] = str(max(1, round(error.retry_after)))
    return answer


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    if isinstance(exception, RequestDataTooBig):
        return refusal(ProtocolError("too_large", f"At most {protocol.MAX_FRAME} bytes."))
    if isinstance(exception, DisallowedHost):
        return refusal(ProtocolError("forbidden", "This server does not answer to that Host."))
    return refusal(ProtocolError("invalid_message", "The request is malformed."))


def forbidden(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return refusal(ProtocolError("forbidden", "You may not do that."))


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    return refusal(ProtocolError("forbidden", "The request did not come from a page of this site. Reload it."))


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return refusal(ProtocolError("not_found", "There is nothing here."))


def locked_out(request: HttpRequest, response: HttpResponseBase, credentials: Mapping[str, Any] | None) -> JsonResponse:
    """Instead of the admin's answer to who has failed to sign in too often."""
    return refusal(auth.locked_out(request, credentials))


def server_error(request: HttpRequest) -> JsonResponse:
    return refusal(ProtocolError("internal_error", "Something went wrong here. It has been logged."))


def reading(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A page answers GET and HEAD; any other method is `method_not_allowed`."""

    @csrf_exempt
    @wraps(view)
    def only(request: HttpRequest, **parts: Any) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return view(request, **parts)
        answer = refusal(ProtocolError("method_not_allowed", "This is a page: it can only be read."))
        answer["Allow"] = "GET, HEAD"
        return answer

    return only


@csrf_exempt
def upgrade_required(request: HttpRequest) -> JsonResponse:
    """A socket's path without a socket."""
    return JsonResponse(protocol.UPGRADE_REQUIRED, status=426, headers={"Upgrade": "websocket"})
