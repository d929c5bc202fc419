"""The account that a person of a provider enters: the connected one, a new one, or one with the address if trusted.

(provider, issuer, subject) says who it is. The address is no key: it makes an account or enters one only where it is
verified, and the second only where the provider is trusted with addresses.
"""

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from chat import runs, sharing
from chat.accounts import api_keys, audit
from chat.models import Grant, User
from chat.oidc import groups
from chat.oidc.config import Refused
from chat.oidc.identity import Identity


def enter(person: Identity, request: HttpRequest) -> User:
    """Return the user who signs in, made or changed as the sign-in demands. Raises Refused, with nothing changed."""
    check_domain(person)
    try:
        return _enter(person, request)
    except IntegrityError:  # of two first sign-ins at once, the second finds what the first has made
        return _enter(person, request)


@transaction.atomic
def _enter(person: Identity, request: HttpRequest) -> User:
    account = find(person)
    if account is not None:
        user = User.objects.select_for_update(no_key=True).get(pk=account.user_id)
        _check_active(user)
        _follow_address(person, account, user, request)
        account.extra_data = described(person)
        account.save()
    else:
        user = _matched(person, request)
        SocialAccount.objects.create(
            user=user, provider=person.provider.id, uid=person.subject, extra_data=described(person)
        )
        audit.record("provider_connected", user.pk, request, detail=person.provider.id)
    if person.provider.trusted and person.verified and user.email == person.email:
        set_verified(user)
    groups.follow(person, user)
    return user


def find(person: Identity) -> SocialAccount | None:
    """Return the connection of this person, None if there is none. Raises Refused if it is of another issuer."""
    account = SocialAccount.objects.filter(provider=person.provider.id, uid=person.subject).first()
    if account is not None and account.extra_data.get("iss") != person.issuer:
        raise Refused("sso_failed", "the subject is known of another issuer")
    return account


def check_domain(person: Identity) -> None:
    """Raise Refused for an address outside of the provider's domains, if it has any."""
    if person.provider.domains:
        if not person.verified:
            raise Refused("email_unverified", "only verified addresses of its domains may sign in")
        if person.email.rpartition("@")[2] not in person.provider.domains:
            raise Refused("domain", "the address is of another domain")


def described(person: Identity) -> dict[str, str]:
    """Return what is kept of the person beside the subject."""
    return {"iss": person.issuer, "email": person.email}


def _matched(person: Identity, request: HttpRequest) -> User:
    """Return the account for a person who has none yet. Raises Refused."""
    if not person.verified:
        raise Refused("email_unverified", "there is no verified address")
    user = User.objects.select_for_update(no_key=True).filter(email=person.email).first()
    if user is None:
        if not (settings.NETRA_OPEN_REGISTRATION or settings.NETRA_SSO_ONLY):
            raise Refused("closed", "registration is closed")
        return User.objects.create_user(person.email, None, name=person.name)
    if not person.provider.trusted:
        raise Refused("account_exists", "an account has this address, and the provider is not trusted with addresses")
    _check_active(user)
    if not is_verified(user):
        take_back(user, person.name, request)
    return user


def _check_active(user: User) -> None:
    if not user.is_active:
        raise Refused("inactive", "the account is not active")


def take_back(user: User, name: str, request: HttpRequest) -> None:
    """Give an account whose address was never verified to the owner of the address. Raises Refused.

    Password and sessions end, and all that `clear` ends. The last administrator is refused, who needs a password.
    """
    try:
        user.set_unusable_password()
        user.save(update_fields=["password"])  # ends the sessions
    except ValidationError:
        raise Refused("account_exists", "the account of the last administrator keeps its password") from None
    clear(user, name, request)


def clear(user: User, name: str = "", request: HttpRequest | None = None) -> None:
    """End what acts or speaks for a user whose address was never verified: somebody else may have made it.

    API keys, shares, connections and grants end, active runs are cancelled, the assistant forgets the instructions, and
    the name becomes `name`. Conversations, files and groups stay: they do nothing by themselves.
    """
    user.name, user.instructions, user.input_mail = name, "", User.MAIL[0]
    user.save(update_fields=["name", "instructions", "input_mail"])
    api_keys.revoke(api_keys.live_keys(user), request)
    sharing.revoke(sharing.live_shares(user), request)
    for account in SocialAccount.objects.filter(user=user):
        audit.record("provider_disconnected", user.pk, request, detail=account.provider)
        account.delete()
    for grant_id in list(Grant.objects.for_user(user).values_list("pk", flat=True)):
        runs.revoke_grant(user.pk, grant_id)
    runs.cancel(user.pk)


def _follow_address(person: Identity, account: SocialAccount, user: User, request: HttpRequest) -> None:
    """Take over a new verified address of the provider for an account that has the provider's old one."""
    old = account.extra_data.get("email")
    if not person.verified or person.email in (old, user.email) or user.email != old:
        return
    free = not User.objects.filter(email=person.email).exists()
    if free:
        user.email = person.email
        user.save(update_fields=["email"])
    detail = f"{person.provider.id}: {'changed' if free else 'kept, since another account has the new one'}"
    audit.record("address_changed", user.pk, request, detail=detail)


def is_verified(user: User) -> bool:
    """Return whether Netra knows that the address is the user's: by a trusted provider, or by a reset by mail."""
    return bool(EmailAddress.objects.filter(user=user, email=user.email, verified=True).exists())


def set_verified(user: User) -> None:
    """Note that the address is the user's."""
    if is_verified(user):
        return
    EmailAddress.objects.filter(email=user.email).exclude(user=user).delete()  # of a time when it was another's
    EmailAddress.objects.filter(user=user, primary=True).exclude(email=user.email).delete()
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
