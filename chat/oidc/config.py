"""The providers of NETRA_SSO, and the errors of a sign-in by one."""

from dataclasses import dataclass, field
from typing import Any

from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.utils.crypto import salted_hmac

# Google's documentation allows both, and its discovery document names the first.
GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")


class BadAnswer(OAuth2Error):  # type: ignore[misc]
    """An answer of a provider that cannot be believed. The message is for the log and has no part of the answer."""


class Refused(Exception):
    """A sign-in that is refused. `code` is for the page, `reason` for the log: no address, no token."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Config:
    """A provider. `url` is its issuer, of GitHub its site; `trust`, `domains` and `groups` are as in the settings."""

    id: str
    kind: str
    url: str
    client: str
    secret: str = field(repr=False)
    name: str
    trust: str = "off"
    domains: list[str] = field(default_factory=list)
    groups: str = ""

    @property
    def trusted(self) -> bool:
        """Return whether an address that counts as verified enters an account that has it."""
        return self.trust != "off"

    @property
    def any_tenant(self) -> bool:
        """Return whether several tenants of Microsoft, each an issuer of its own, may sign in."""
        return self.kind == "microsoft" and self.url.split("/")[3] in ("common", "organizations", "consumers")


def find(id: str) -> Config | None:
    """Return the provider with this id, None if there is none."""
    given: dict[str, Any] | None = settings.NETRA_SSO.get(id)
    return None if given is None else Config(id=id, **given)


def configured() -> list[Config]:
    """Return all providers in the order of NETRA_SSO."""
    return [Config(id=id, **given) for id, given in settings.NETRA_SSO.items()]


def nonce_of(state: str) -> str:
    """Return the nonce that belongs to a state."""
    return salted_hmac("netra.sso.nonce", state, algorithm="sha256").hexdigest()
