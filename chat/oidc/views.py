"""The addresses that a browser and a provider go through, and the middleware of the admin's sign-in."""

import logging
from collections.abc import Callable
from uuid import UUID

from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter, OAuth2CallbackView, OAuth2LoginView
from django.contrib.auth import SESSION_KEY, logout
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from requests import RequestException

from chat import limits
from chat.accounts import sessions
from chat.api import client_ip
from chat.api.exceptions import method_not_allowed, refusal
from chat.api.permissions import without_key
from chat.limits.rates import SIGN_INS
from chat.oidc import flow
from chat.oidc import logout as back_channel_logout
from chat.oidc.config import BadAnswer, Refused, find
from chat.oidc.provider import CLASSES
from chat.protocol import ProtocolError

log = logging.getLogger("netra.sso")


@without_key
@never_cache
def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send the browser to the provider. Only a POST with its CSRF token begins a sign-in."""
    adapter = _adapter(request, provider_id)
    if request.method != "POST":
        return method_not_allowed("POST")
    try:
        limits.rate_limiter().acquire(SIGN_INS, client_ip.address_of(request))
    except ProtocolError as error:
        return refusal(error)
    if SESSION_KEY not in request.session:  # the session is for the state alone, not one of the admin
        request.session.set_expiry(flow.STATE_SECONDS)
    return _through(request, provider_id, OAuth2LoginView.adapter_view(adapter))


@without_key
@never_cache
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take the provider's answer, and sign in or connect whom it names."""
    adapter = _adapter(request, provider_id)
    if request.method != "GET":
        return method_not_allowed("GET")
    return _through(request, provider_id, OAuth2CallbackView.adapter_view(adapter))


def _adapter(request: HttpRequest, provider_id: str) -> OAuth2Adapter:
    config = find(provider_id)
    if config is None:
        raise Http404
    return CLASSES["github" if config.kind == "github" else "oidc"].adapter_class(request, provider_id)


def _through(request: HttpRequest, provider_id: str, view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    """Return the answer of a view of allauth's, and an answer for the errors that it lets pass."""
    try:
        return view(request)
    except (OAuth2Error, RequestException) as error:
        reason = str(error) if isinstance(error, BadAnswer) else type(error).__name__
        return flow.refuse(request, provider_id, Refused("sso_failed", reason), {})


@csrf_exempt
@without_key
def back_channel(request: HttpRequest, provider_id: str) -> HttpResponse:
    """End the sessions that the provider's logout token names: 200, or 400 for a token that is none."""
    config = find(provider_id)
    if config is None or config.kind == "github":
        raise Http404
    if request.method != "POST":
        return method_not_allowed("POST")
    try:
        ended = back_channel_logout.end(request, config, request.POST.get("logout_token"))
    except BadAnswer as refused:
        log.warning("%s: logout refused: %s", provider_id, refused)
        # In the words of RFC 6749, which the provider reads.
        answer = JsonResponse({"error": "invalid_request", "error_description": "That is no logout token."}, status=400)
    else:
        log.info("%s: %s sessions ended", provider_id, ended)
        answer = JsonResponse({})
    answer["Cache-Control"] = "no-store"
    return answer


def bound_sessions(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return the middleware. Only paths of the admin have a Django session to look at."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/admin/"):
            session_id = request.session.get(flow.BOUND_TO)
            if session_id is not None and not sessions.alive([UUID(session_id)]):
                logout(request)
        return get_response(request)

    return middleware
