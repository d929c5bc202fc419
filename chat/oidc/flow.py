"""The frame of a sign-in: its state, what follows on the provider's answer, and where the browser goes."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import SESSION_KEY, login, user_logged_in
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from chat import limits, metrics
from chat.accounts import audit, sessions
from chat.api.auth import set_cookies
from chat.api.client_ip import address_of
from chat.limits.rates import SIGN_INS
from chat.models import User
from chat.oidc import accounts, connections
from chat.oidc.config import Refused
from chat.oidc.identity import Identity
from chat.protocol import ProtocolError

log = logging.getLogger("netra.sso")
STATE_SECONDS = 600  # from the button to the provider's answer
MAX_PATH = 2000  # characters of a path to go to
BOUND_TO = "netra_sid"  # in a Django session: the session of Netra that it ends with
CONNECT = "connect"
BACKEND = "django.contrib.auth.backends.ModelBackend"


def finish(request: HttpRequest, person: Identity, state: Mapping[str, Any]) -> HttpResponse:
    """Sign in or connect the person whom a provider named. Return where the browser goes."""
    try:
        if state.get("process") == CONNECT:
            connections.connect(request, person, state)
            request.session.flush()
            return HttpResponseRedirect(f"{reverse('chat:settings')}?{urlencode({'connected': person.provider.id})}")
        return _sign_in(request, person, local_path(str(state.get("next") or "")))
    except Refused as refused:
        return refuse(request, person.provider.id, refused, state)


def _sign_in(request: HttpRequest, person: Identity, path: str) -> HttpResponse:
    user = accounts.enter(person, request)
    # Nothing of the browser's Django session outlives this: whoever has set its cookie before gets nothing by it.
    request.session.flush()
    provided = sessions.Provided(person.provider.id, person.subject, person.sid)
    if user.is_staff and path.startswith(reverse("admin:index")):
        login(request, user, backend=BACKEND)
        fresh = sessions.sign_in(user, request.headers.get("User-Agent", ""), provided)
        request.session[BOUND_TO] = str(fresh.session_id)
        request.session.set_expiry(int(settings.NETRA_SSO_SESSION_SECONDS))
    else:
        user_logged_in.send(User, request=request, user=user)
        fresh = sessions.sign_in(user, request.headers.get("User-Agent", ""), provided)
    metrics.count_sign_in(person.provider.id)
    response = HttpResponseRedirect(f"{reverse('chat:sso_done')}?next={quote(path)}")
    set_cookies(response, request, fresh)
    return response


def refuse(request: HttpRequest, provider_id: str, refused: Refused, state: Mapping[str, Any]) -> HttpResponse:
    """Log why a sign-in is refused, and return the way to the page that says so in general words.

    A Django session that was for this sign-in alone ends, that of the admin does not.
    """
    if state and SESSION_KEY not in request.session:
        request.session.flush()
    log.warning("%s: refused as %s: %s", provider_id, refused.code, refused.reason)
    with suppress(ProtocolError):  # anybody can ask for a refusal: beyond the limit only the log has them
        limits.rate_limiter().acquire(SIGN_INS, address_of(request))
        audit.record("sign_in_failed", None, request, detail=f"{provider_id}: {refused.code}")
    page = reverse("chat:settings" if state.get("process") == CONNECT else "chat:login")
    return HttpResponseRedirect(f"{page}?{urlencode({'error': refused.code})}")


def local_path(path: str) -> str:
    """Return the path if it is one of this site, else that of the chat page."""
    base = settings.NETRA_BASE_PATH
    good = path.startswith(f"{base}/") and len(path) <= MAX_PATH and "\\" not in path and path.isprintable()
    good = good and not path.removeprefix(base).startswith(("/login", "/auth/"))
    return path if good and url_has_allowed_host_and_scheme(path, allowed_hosts=None) else f"{base}/"
