"""JSON answers to all errors.

A client's error is a ProtocolError. `exception_handler` and the handlers that netra/urls.py names make JSON of all
other exceptions.
"""

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.cache import add_never_cache_headers
from django.utils.encoding import escape_uri_path, iri_to_uri
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException

from chat import protocol
from chat.accounts import authentication, lockout
from chat.db.access import error_name
from chat.dialects import ANSWER_HEADERS, PATHS
from chat.dialects.openai_errors import openai_error
from chat.languages import translated
from chat.protocol import STATUS, ProtocolError

log = logging.getLogger("netra.auth")
V1 = "/v1/"
SIGN_IN = "Sign in: a valid token is needed."
_CODES = {status: code for code, status in STATUS.items() if code not in ("unknown_agent", "unknown_type")}


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponseBase | None:
    """Return the JSON answer to an exception of a view; None for an unexpected one, which handler500 answers."""
    path = context["request"].path_info
    match exc:
        case ProtocolError():
            return refusal(exc, path)
        case authentication.Unauthorized():
            log.warning("refused: %s", exc.reason)
            return refusal(ProtocolError("unauthorized", SIGN_IN), path)
        case APIException():
            code = _CODES.get(exc.status_code, "invalid_message")
            return refusal(ProtocolError(code, SIGN_IN if code == "unauthorized" else str(exc.detail)), path)
        case RequestDataTooBig():
            return bad_request(context["request"], exc)
        case Http404():
            return not_found(context["request"])
        case PermissionDenied():
            return forbidden(context["request"])
        case OperationalError() | InterfaceError():
            return refusal(unavailable(exc), path)
    return None


def unavailable(error: Exception) -> ProtocolError:
    """Log a failure of the database with its code, and return what the client gets."""
    logging.getLogger("netra.database").error("unavailable: %s", error_name(error))
    return ProtocolError("unavailable", "The database does not answer. Try again.", retry_after=1)


def refusal(error: ProtocolError, path: str = "") -> JsonResponse:
    """Return the answer to an error, in the shape and with the headers of the request's path below the base path."""
    if f"{path}/".startswith(V1):
        status, body, headers = openai_error(error)
        answer = JsonResponse(body, status=status, headers=headers)
    else:
        answer = JsonResponse(error.body(), status=error.status)
    for name, value in (ANSWER_HEADERS if PATHS.fullmatch(path) else {"Cache-Control": "no-store"}).items():
        answer[name] = value
    if error.code == "unauthorized":
        answer["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        answer["Retry-After"] = str(max(1, round(error.retry_after)))
    return answer


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    if isinstance(exception, RequestDataTooBig):
        return refusal(ProtocolError("too_large", f"At most {protocol.MAX_FRAME} bytes."), request.path_info)
    if isinstance(exception, DisallowedHost):
        return refusal(ProtocolError("forbidden", "This server does not answer to that Host."), request.path_info)
    return refusal(ProtocolError("invalid_message", "The request is malformed."), request.path_info)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return refusal(ProtocolError("forbidden", "You may not do that."), request.path_info)


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    return refusal(ProtocolError("forbidden", "The request did not come from a page of this site. Reload it."))


# Names of routes, beside the admin's, that a person types and reads.
PAGES = {
    "page",
    "thread_page",
    "inputs_page",
    "settings",
    "shared",
    "login",
    "signup",
    "reset",
    "reset_sent",
    "reset_confirm",
    "docs",
}


# First segments of the paths that programs ask for, whose answers are JSON for everybody.
PROGRAMS = {"agui", "api", "auth", "health", "mcp", "metrics", "static", "v1", "ws"}


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 404, or send a browser to the page whose path was typed with a wrong slash.

    The answer is JSON, as the contract says, but a page for a person who has gone to the address with a browser.
    """
    plain = "/" + "/".join(filter(None, request.path_info.split("/")))
    if page := _page_meant(request, plain):
        query = request.META.get("QUERY_STRING")
        url = escape_uri_path(settings.NETRA_BASE_PATH + page) + (f"?{iri_to_uri(query)}" if query else "")
        return HttpResponseRedirect(url)
    if plain in protocol.MODES:
        return refusal(ProtocolError("not_found", f"There is nothing here. The socket is at {plain}, without a slash."))
    if _is_visit(request) and plain.split("/")[1] not in PROGRAMS:
        return missing(request)
    return refusal(ProtocolError("not_found", "There is nothing here."), request.path_info)


@translated
def missing(request: HttpRequest) -> HttpResponse:
    """Show that there is no such page."""
    page = render(request, "chat/missing.html", status=404)
    add_never_cache_headers(page)
    return page


def _is_visit(request: HttpRequest) -> bool:
    """Return True if a browser shows the answer as a page, which only browsers say: programs may accept HTML, too."""
    return request.method in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Dest") == "document"


def _page_meant(request: HttpRequest, plain: str) -> str | None:
    """Return the path of the page that differs from the request's in slashes only, for a browser that asks for HTML."""
    types = ["application/json", "text/html"]
    if request.method not in ("GET", "HEAD") or request.get_preferred_type(types) != "text/html":
        return None
    for path in {plain, plain.rstrip("/") + "/"} - {request.path_info}:
        try:
            match = resolve(path)
        except Resolver404:
            continue
        # The admin's catch-all has no name, and answers 404 itself.
        if match.url_name in PAGES or (match.app_name == "admin" and match.url_name):
            return path
    return None


def locked_out(request: HttpRequest, response: HttpResponseBase, credentials: Mapping[str, Any] | None) -> JsonResponse:
    """Answer a client of the admin that has failed to sign in too often."""
    return refusal(lockout.locked_out(request, credentials))


def server_error(request: HttpRequest) -> JsonResponse:
    return refusal(ProtocolError("internal_error", "Something went wrong here. It has been logged."), request.path_info)


def reading(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Allow GET and HEAD only; other methods are `method_not_allowed`."""

    @csrf_exempt
    @wraps(view)
    def only(request: HttpRequest, **parts: Any) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return view(request, **parts)
        return method_not_allowed("GET, HEAD")

    return only


def method_not_allowed(allowed: str) -> JsonResponse:
    answer = refusal(ProtocolError("method_not_allowed", f"Allowed here: {allowed}."))
    answer["Allow"] = allowed
    return answer


@csrf_exempt
def upgrade_required(request: HttpRequest) -> JsonResponse:
    """Answer an HTTP request to the path of a socket."""
    return JsonResponse(protocol.UPGRADE_REQUIRED, status=426, headers={"Upgrade": "websocket"})
