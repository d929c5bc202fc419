"""The addresses and keys that an OpenID provider publishes, kept for ten minutes in each process."""

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from allauth.socialaccount.adapter import get_adapter
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from requests import RequestException

from chat.oidc.config import BadAnswer, Config

log = logging.getLogger("netra.sso")
KEEP_SECONDS = 600
# A token with an unknown key has the keys read again, but a flood of such tokens must not become one at the provider.
RENEW_SECONDS = 10
KEY_TYPES = ("RSA", "EC", "OKP")  # never oct: who reads a shared secret could sign with it
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key: its id, type, only algorithm and only issuer, as far as the provider names them."""

    id: object
    type: str
    algorithm: object
    issuer: object
    key: Any


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer that was read: an object, or the reason why there is none."""

    read_at: float
    value: dict[str, Any] | BadAnswer = field(repr=False)

    def is_fresh(self, max_age: float) -> bool:
        age = time.monotonic() - self.read_at
        return age < (min(max_age, RENEW_SECONDS) if isinstance(self.value, BadAnswer) else max_age)


_kept: dict[str, _Kept] = {}
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def document(provider: Config) -> dict[str, Any]:
    """Return the discovery document. Raises BadAnswer for one of another issuer, or with an address that is none."""
    url = f"{provider.url.rstrip('/')}/.well-known/openid-configuration"
    found: dict[str, Any] = _read(url, KEEP_SECONDS)
    issuer = found.get("issuer")
    if not isinstance(issuer, str) or not all(isinstance(found.get(name), str) for name in NEEDED):
        raise BadAnswer("the discovery document is not complete")
    # Microsoft's names the tenant by its id, whatever name of it was asked for, or has {tenantid} for any.
    if provider.kind != "microsoft" and issuer.rstrip("/") != provider.url.rstrip("/"):
        raise BadAnswer("the discovery document is of another issuer")
    addresses = [found[name] for name in (*NEEDED, "userinfo_endpoint") if isinstance(found.get(name), str)]
    if provider.url.startswith("https:") and not all(address.startswith("https://") for address in addresses):
        raise BadAnswer("an address of the discovery document is not https")
    return found


def keys(provider: Config, kid: str | None, max_age: float) -> list[Key]:
    """Return the provider's keys that a signature may be of, read at most `max_age` seconds ago.

    These are the keys with this id, else those without one; all if the signature names none. Raises BadAnswer.
    """
    found = _keys(_read(document(provider)["jwks_uri"], max_age))
    return [key for key in found if kid in (None, key.id)] or [key for key in found if key.id is None]


def _keys(published: dict[str, Any]) -> list[Key]:
    listed = published.get("keys")
    found = []
    for jwk in listed if isinstance(listed, list) else ():
        if not isinstance(jwk, dict) or jwk.get("kty") not in KEY_TYPES or jwk.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK({name: value for name, value in jwk.items() if name != "alg"}).key
        except (PyJWTError, AttributeError, TypeError, ValueError):
            continue  # of a kind that is not known here; another key may be
        found.append(Key(jwk.get("kid"), jwk["kty"], jwk.get("alg"), jwk.get("issuer"), key))
    return found


def authorization_origins(providers: list[Config]) -> list[str]:
    """Return the origins that a browser is sent to, for a page's form-action."""
    found = []
    for provider in providers:
        url = provider.url
        if provider.kind != "github":
            try:
                url = document(provider)["authorization_endpoint"]
            except BadAnswer:
                log.warning("%s: no discovery document; a page names the origin of its issuer", provider.id)
        parts = urlsplit(url)
        found.append(f"{parts.scheme}://{parts.netloc}")
    return list(dict.fromkeys(found))


def _read(url: str, max_age: float) -> dict[str, Any]:
    """Return the JSON object at this address, at most `max_age` seconds old. Raises BadAnswer.

    A provider that does not answer is asked again after RENEW_SECONDS, so that few requests wait for it.
    """
    kept = _kept.get(url)
    if kept is None or not kept.is_fresh(max_age):
        with _locks[url]:  # of many sign-ins at once, one reads
            kept = _kept.get(url)
            if kept is None or not kept.is_fresh(max_age):
                kept = _kept[url] = _Kept(time.monotonic(), _ask(url))
    if isinstance(kept.value, BadAnswer):
        raise BadAnswer(str(kept.value))
    return kept.value


def _ask(url: str) -> dict[str, Any] | BadAnswer:
    try:
        with get_adapter().get_requests_session() as session:
            answer = session.get(url, allow_redirects=False)
            answer.raise_for_status()
            found = answer.json()
    except RequestException as error:
        return BadAnswer(f"the provider does not answer ({type(error).__name__})")
    return found if isinstance(found, dict) else BadAnswer("the provider answers with no JSON object")


def forget() -> None:
    """Forget all that was read."""
    _kept.clear()
