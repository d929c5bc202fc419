"""The metadata of Netra as a client, and the one address to which authorization servers send a browser back."""

import logging
from uuid import UUID

from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from chat import limits
from chat.api import client_ip
from chat.api.base import origin_of
from chat.api.exceptions import method_not_allowed, refusal
from chat.api.permissions import without_key
from chat.limits.rates import SIGN_INS
from chat.mcp_client import clients, flow
from chat.mcp_client.config import NotPossible
from chat.protocol import ProtocolError

log = logging.getLogger("netra.mcp")
COOKIE = "netra_connect"  # of the browser that began a sign-in: its session, signed
SALT = "netra.connect"


@without_key
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Take the answer of an authorization server, and send the browser to the settings, which say how it went."""
    if request.method != "GET":
        return method_not_allowed("GET")
    try:
        limits.rate_limiter().acquire(SIGN_INS, client_ip.address_of(request))
    except ProtocolError as error:
        return refusal(error)
    try:
        outcome = {"linked": flow.finish(request, _session_of(request))}
    except NotPossible as error:
        log.warning("mcp: a sign-in failed: %s", error.reason)
        outcome = {"link": "cancelled" if error.reason == "denied" else "failed"}
    return HttpResponseRedirect(f"{reverse('chat:settings')}?{urlencode(outcome)}")


@never_cache
def client(request: HttpRequest) -> HttpResponse:
    """Return the metadata of Netra as a client. The address of this page is the client's id."""
    if request.method != "GET":
        return method_not_allowed("GET")
    origin = origin_of(request)
    about = clients.metadata(origin + reverse("chat:mcp_callback"), "none")
    return JsonResponse({"client_id": origin + reverse("chat:mcp_client"), **about})


def _session_of(request: HttpRequest) -> UUID | None:
    """Return the session of Netra that this browser began a sign-in with."""
    try:
        return UUID(signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=flow.STATE_SECONDS))
    except (signing.BadSignature, ValueError, TypeError):
        return None
