"""Verification of a provider's signed tokens: the id_token and userinfo of a sign-in, the token of a logout.

allauth leaves the signature unchecked behind TLS, takes the algorithm from the token, and knows no nonce.
"""

import time
import uuid
from typing import Any

import jwt
from django.utils.crypto import constant_time_compare

from chat.oidc import discovery
from chat.oidc.config import GOOGLE_ISSUERS, BadAnswer, Config

LEEWAY = 30  # seconds that the provider's clock may differ from ours
LOGOUT_SECONDS = 300  # for which a logout token is accepted
MAX_SUBJECT = 191  # characters: the column of allauth's accounts; OpenID Connect allows 255, and no provider uses them
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512", "ES256K"),
    "OKP": ("EdDSA",),
}


def verify_sign_in(provider: Config, token: object, nonce: str) -> dict[str, Any]:
    """Return the claims of the id_token of a sign-in that was begun with this nonce. Raises BadAnswer."""
    claims = _verify(provider, token, ("exp", "iat", "sub"))
    given = claims.get("nonce")
    if not isinstance(given, str) or not constant_time_compare(given, nonce):
        raise BadAnswer("the id_token has another nonce")
    subject_of(claims)
    return claims


def verify_userinfo(provider: Config, token: str) -> dict[str, Any]:
    """Return the claims of a userinfo answer that is signed. Raises BadAnswer."""
    return _verify(provider, token, ("sub",))


def verify_logout(provider: Config, token: object) -> dict[str, Any]:
    """Return the claims of a logout token that is not older than LOGOUT_SECONDS. Raises BadAnswer."""
    claims = _verify(provider, token, ("iat", "jti"))
    jti, events = claims["jti"], claims.get("events")
    if int(claims["iat"]) < time.time() - LOGOUT_SECONDS:
        raise BadAnswer("the logout token is too old")
    if "nonce" in claims or not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise BadAnswer("it is no logout token")
    if not isinstance(jti, str) or not jti:
        raise BadAnswer("the logout token has no id")
    named = [claims[name] for name in ("sub", "sid") if name in claims]
    if not named or not all(isinstance(name, str) and name and "\0" not in name for name in named):
        raise BadAnswer("the logout token names neither a user nor a session")
    return claims


def subject_of(claims: dict[str, Any]) -> str:
    """Return the id that the provider has for the user. Raises BadAnswer."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise BadAnswer("the provider names no user")
    return subject


def _verify(provider: Config, token: object, needed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(token, str):
        raise BadAnswer("there is no token")
    try:
        header = jwt.get_unverified_header(token)
        kid, algorithm = header.get("kid"), header.get("alg")
        # The second time with the keys of now: the provider may have changed them, even under the same id.
        for max_age in (discovery.KEEP_SECONDS, discovery.RENEW_SECONDS):
            for key in discovery.keys(provider, kid if isinstance(kid, str) else None, max_age):
                if algorithm not in ALGORITHMS[key.type] or key.algorithm not in (None, algorithm):
                    continue
                try:
                    claims = jwt.decode(
                        token,
                        key.key,
                        algorithms=[algorithm],
                        audience=provider.client,
                        leeway=LEEWAY,
                        options={"require": ["iss", "aud", *needed], "verify_iss": False},
                    )
                except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
                    continue  # another of the provider's keys may be the right one
                _check(provider, claims, key)
                return claims
    except (jwt.PyJWTError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise BadAnswer(f"the token is not valid ({type(error).__name__})") from None
    raise BadAnswer("the token is signed with none of the provider's keys")


def _check(provider: Config, claims: dict[str, Any], key: discovery.Key) -> None:
    """Check issuer and authorized party; jwt has checked audience and times."""
    issuers = [discovery.document(provider)["issuer"]]
    if provider.kind == "google":
        issuers = list(GOOGLE_ISSUERS)
    elif provider.any_tenant:
        tenant = str(uuid.UUID(str(claims.get("tid"))))
        # Microsoft's keys of consumers are not good for tenants, and those of tenants not for consumers.
        named = [issuers[0], key.issuer] if isinstance(key.issuer, str) else issuers
        issuers = [issuer.replace("{tenantid}", tenant) for issuer in named]
        if len(set(issuers)) > 1:
            raise BadAnswer("the token is signed with a key of another issuer")
    if claims["iss"] not in issuers:
        raise BadAnswer("the token is of another issuer")
    audience, party = claims["aud"], claims.get("azp")
    if party not in (None, provider.client) or (
        isinstance(audience, list) and len(set(audience)) > 1 and party is None
    ):
        raise BadAnswer("the token is for another client")
