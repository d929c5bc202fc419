"""Back-channel logout: the provider says that a session of its own, or all of a user, has ended."""

import hashlib

from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest

from chat.accounts import audit, sessions
from chat.models import Session
from chat.oidc import id_tokens
from chat.oidc.config import BadAnswer, Config

# A token is remembered for longer than its age is accepted.
KEPT_SECONDS = 2 * (id_tokens.LOGOUT_SECONDS + id_tokens.LEEWAY)


def end(request: HttpRequest, provider: Config, token: object) -> int:
    """End the sessions that a logout token names; return how many. Raises BadAnswer for one that is none, or again.

    The table of the cache is in the database, so the token counts as used only if the sessions have ended.
    """
    claims = id_tokens.verify_logout(provider, token)  # before the transaction: it may ask the provider for its keys
    with transaction.atomic():
        if not cache.add(_key(provider, claims["jti"]), True, KEPT_SECONDS):
            raise BadAnswer("the logout token was used before")
        begun = Session.objects.filter(provider=provider.id, ended_at=None)
        if "sub" in claims:
            begun = begun.filter(provider_sub=claims["sub"])
        if "sid" in claims:  # a session whose sid the provider did not say may be this one
            named = [claims["sid"], ""] if "sub" in claims else [claims["sid"]]
            begun = begun.filter(provider_sid__in=named)
        ended = list(begun)
        for session in ended:
            sessions.end_session(session)
            detail = f"{provider.id}: session {session.pk}"
            audit.record("signed_out_by_provider", session.user_id, request, detail=detail)
    return len(ended)


def _key(provider: Config, jti: str) -> str:
    return f"netra.sso.logout:{hashlib.sha256(f'{provider.id} {jti}'.encode()).hexdigest()}"
