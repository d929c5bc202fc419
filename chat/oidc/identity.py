"""The person whom a provider names, read from its answers. Pure but for the check of an address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from chat.oidc.config import BadAnswer, Config

MAX_EMAIL, MAX_NAME, MAX_SID = 254, 150, 255  # characters


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as a provider names them: issuer and subject say who it is, the address does not.

    `email` is lower-case, empty if there is none. `groups` is None where the provider did not say them.
    """

    provider: Config
    issuer: str
    subject: str
    email: str
    verified: bool
    name: str
    sid: str = ""
    groups: frozenset[str] | None = frozenset()


def of_claims(provider: Config, id_token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> Identity:
    """Return the person of a sign-in by OpenID Connect, whose two sources have the same subject.

    What the id_token says counts, since it is signed; an address and the word on who verified it belong together.
    """
    source = id_token if id_token.get("email") else userinfo
    words = [source, userinfo] if userinfo.get("email") == source.get("email") else [source]
    sid = id_token.get("sid")
    return Identity(
        provider=provider,
        issuer=str(id_token["iss"]),
        subject=str(id_token["sub"]),
        sid=sid if isinstance(sid, str) and len(sid) <= MAX_SID and "\0" not in sid else "",
        groups=groups_of(provider, id_token, userinfo),
        **_described(provider, source.get("email"), _is_verified(words), _name_of(id_token, userinfo)),
    )


def _name_of(*sources: Mapping[str, Any]) -> str:
    """Return the name that the provider has for the person: else its parts, else that of the account there."""
    for names in (("name",), ("given_name", "family_name"), ("preferred_username",), ("nickname",)):
        for claims in sources:
            parts = [claims[name] for name in names if isinstance(claims.get(name), str)]
            if found := " ".join(parts).strip():
                return found
    return ""


def of_github(provider: Config, profile: Mapping[str, Any], addresses: list[Mapping[str, Any]]) -> Identity:
    """Return the person of a sign-in by GitHub. Only the primary address counts. Raises BadAnswer."""
    id = profile.get("id")
    if type(id) is not int or id <= 0:
        raise BadAnswer("the provider names no user")
    primary: Mapping[str, Any] = next((one for one in addresses if one.get("primary") is True), {})
    name = profile.get("name") or profile.get("login")
    described = _described(provider, primary.get("email"), primary.get("verified") is True, name)
    return Identity(provider=provider, issuer=provider.url, subject=str(id), **described)


def _described(provider: Config, email: object, verified: bool, name: object) -> dict[str, Any]:
    address = _address(email)
    return {
        "email": address,
        "verified": bool(address) and (verified or provider.trust == "always"),
        "name": name.replace("\0", "").strip()[:MAX_NAME] if isinstance(name, str) else "",
    }


def _address(email: object) -> str:
    """Return an address in lower case, empty for what is none.

    Only ASCII: some other letters become those of another address in lower case.
    """
    if not isinstance(email, str) or not email.isascii() or len(email) > MAX_EMAIL:
        return ""
    address = email.lower()
    try:
        validate_email(address)
    except ValidationError:
        return ""
    return address


def _is_verified(sources: Sequence[Mapping[str, Any]]) -> bool:
    """Return the provider's word on the address, that of the first source that has one.

    Entra says it in `xms_edov` and omits `email_verified`: the first counts only where the second is absent in all.
    """
    for claims in sources:
        word = claims.get("email_verified")
        if word is not None:
            return word is True or word == "true"
    words = [claims["xms_edov"] for claims in sources if claims.get("xms_edov") is not None]
    return bool(words) and _is_true(words[0])


def _is_true(word: object) -> bool:
    return word in (1, "1", "true", "True")  # True is 1


def groups_of(provider: Config, id_token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the groups that the provider's claim names; None where it has too many to say (Entra)."""
    name = provider.groups
    if not name:
        return None
    for claims in (id_token, userinfo):
        given = _claim(claims, name)
        if isinstance(given, str):
            return frozenset([given])
        if isinstance(given, list | dict):  # Zitadel's is an object by role
            return frozenset(value for value in given if isinstance(value, str))
    overage = id_token.get("_claim_names")
    # `hasgroups` is Entra's word on the claim `groups` alone.
    if (isinstance(overage, dict) and name in overage) or (name == "groups" and _is_true(id_token.get("hasgroups"))):
        return None
    return frozenset()


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """Return the claim of this name, else the one at this path, such as Keycloak's realm_access.roles."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
