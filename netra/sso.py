"""The settings of sign-in by a provider: NETRA_SSO and NETRA_SSO_<ID>_*.

What is wrong or missing ends the start with the name of its variable, and never with a secret.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from netra.env import names, text

KINDS = ("oidc", "google", "microsoft", "github")
NAMES = {"google": "Google", "microsoft": "Microsoft", "github": "GitHub"}
GOOGLE, GITHUB, MICROSOFT = "https://accounts.google.com", "https://github.com", "https://login.microsoftonline.com"
DISCOVERY = "/.well-known/openid-configuration"
ANY_TENANT = ("common", "organizations", "consumers")


def providers() -> dict[str, dict[str, Any]]:
    """Return the providers by id, in the order in which the page shows them. Raises ImproperlyConfigured."""
    found: dict[str, dict[str, Any]] = {}
    for entry in names("NETRA_SSO", ""):
        id, _, kind = entry.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9]{0,31}", id) or kind not in KINDS:
            raise ImproperlyConfigured(f"NETRA_SSO has {entry!r}; an entry is id=kind, of kind {', '.join(KINDS)}.")
        if id in found:
            raise ImproperlyConfigured(f"NETRA_SSO has {id!r} twice.")
        found[id] = _provider(f"NETRA_SSO_{id.upper()}", id, kind)
    return found


def _provider(prefix: str, id: str, kind: str) -> dict[str, Any]:
    trust = text(f"{prefix}_TRUST_EMAIL", "off").lower()
    if trust not in ("off", "verified", "always"):
        raise ImproperlyConfigured(f"{prefix}_TRUST_EMAIL must be off, verified or always.")
    domains = [domain.lower() for domain in names(f"{prefix}_DOMAINS", "")]
    for domain in domains:
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", domain):
            raise ImproperlyConfigured(f"{prefix}_DOMAINS has {domain!r}; a domain is a name such as example.com.")
    return {
        "kind": kind,
        "url": _url(prefix, kind, trust),
        "client": text(f"{prefix}_CLIENT"),
        "secret": text(f"{prefix}_SECRET"),
        "name": text(f"{prefix}_NAME", NAMES.get(kind, id.capitalize())),
        "trust": trust,
        "domains": domains,
        "groups": text(f"{prefix}_GROUPS", ""),
    }


def _url(prefix: str, kind: str, trust: str) -> str:
    """Return the issuer of a provider of OpenID Connect, the address of the site of GitHub."""
    if kind == "google":
        return GOOGLE
    if kind == "microsoft":
        tenant = text(f"{prefix}_TENANT").lower()
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,99}", tenant):
            raise ImproperlyConfigured(f"{prefix}_TENANT must be the id of a tenant, or one of its domains.")
        if tenant in ANY_TENANT and trust != "off":
            raise ImproperlyConfigured(
                f"{prefix}_TRUST_EMAIL must be off where {prefix}_TENANT is {tenant}: "
                "every tenant says of any address that it is its own."
            )
        return f"{MICROSOFT}/{tenant}/v2.0"
    url = text(f"{prefix}_URL", GITHUB if kind == "github" else None)
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.scheme == "https" or _is_loopback(parts.scheme, parts.hostname))
        good = good and not (parts.query or parts.fragment or parts.username or parts.password) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"\s", url):  # the URL may hold a password: it is not repeated
        raise ImproperlyConfigured(f"{prefix}_URL must be https://host/path, without user and query.")
    if parts.path.endswith(DISCOVERY):
        raise ImproperlyConfigured(f"{prefix}_URL must be the issuer: the address without {DISCOVERY}.")
    return url


def _is_loopback(scheme: str, host: str | None) -> bool:
    return scheme == "http" and host in ("127.0.0.1", "::1", "localhost")
