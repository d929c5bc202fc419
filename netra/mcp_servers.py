"""The settings of the MCP servers that agents use: NETRA_MCP_SERVERS, NETRA_MCP_<NAME>_* and NETRA_ENCRYPTION_KEYS.

What is wrong or missing ends the start with the name of its variable, and never with a secret.
"""

import re
from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from netra.env import flag, names, text

# token: one for all users, from the environment; oauth: each user signs in at the server; user: each user's own token.
AUTHS = ("token", "oauth", "user")


def encryption_keys() -> list[str]:
    """Return the keys of stored tokens: the first one encrypts, all decrypt. Raises ImproperlyConfigured."""
    found = names("NETRA_ENCRYPTION_KEYS", "")
    for key in found:
        try:
            is_good = len(urlsafe_b64decode(key)) == 32
        except ValueError:
            is_good = False
        if not is_good:  # it is not repeated
            raise ImproperlyConfigured(
                "NETRA_ENCRYPTION_KEYS has a key that is not 32 bytes in URL-safe base64. Make one with: "
                'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
            )
    return found


def servers(keys: list[str]) -> dict[str, dict[str, Any]]:
    """Return the servers by name. Raises ImproperlyConfigured."""
    found: dict[str, dict[str, Any]] = {}
    for entry in names("NETRA_MCP_SERVERS", ""):
        name, _, url = entry.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9]{0,31}", name) or not _is_address(url):
            raise ImproperlyConfigured(f"NETRA_MCP_SERVERS has an entry that is not name=http(s)://…: {name!r}.")
        found[name] = {"url": url, **_server(f"NETRA_MCP_{name.upper()}", keys)}
    return found


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _server(prefix: str, keys: list[str]) -> dict[str, Any]:
    given = text(f"{prefix}_AUTH", "").lower()
    auth = given or "token"
    if auth not in AUTHS:
        raise ImproperlyConfigured(f"{prefix}_AUTH must be {', '.join(AUTHS[:-1])} or {AUTHS[-1]}.")
    token = text(f"{prefix}_TOKEN", "")
    if given == "token" and not token:
        raise ImproperlyConfigured(f"{prefix}_TOKEN is not set, but {prefix}_AUTH is token.")
    if auth != "token" and token:
        raise ImproperlyConfigured(f"{prefix}_TOKEN is set, but {prefix}_AUTH is {auth}: each user has their own.")
    if not re.fullmatch(r"[\x21-\x7e]*", token):  # a header has nothing else
        raise ImproperlyConfigured(f"{prefix}_TOKEN must be printable ASCII without spaces.")
    if auth != "token" and not keys:
        raise ImproperlyConfigured(
            f"NETRA_ENCRYPTION_KEYS is not set, but {prefix}_AUTH is {auth}: tokens of users are stored encrypted."
        )
    secret = text(f"{prefix}_SECRET", "")
    client = text(f"{prefix}_CLIENT", "")
    if auth != "oauth" and (client or secret):
        raise ImproperlyConfigured(f"{prefix}_CLIENT and {prefix}_SECRET need {prefix}_AUTH=oauth.")
    if secret and not client:
        raise ImproperlyConfigured(f"{prefix}_CLIENT is not set, but {prefix}_SECRET is.")
    return {
        "auth": auth,
        "token": token,
        "trusted": flag(f"{prefix}_TRUSTED", False),
        "client": client,
        "secret": secret,
        "scopes": text(f"{prefix}_SCOPES", ""),
        "hosts": [host.lower() for host in names(f"{prefix}_HOSTS", "")],
    }
