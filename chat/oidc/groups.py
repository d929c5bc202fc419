"""Groups that follow a provider's claim."""

import logging

from chat.accounts import audit
from chat.models import GroupPolicy, User
from chat.oidc.identity import Identity

log = logging.getLogger("netra.sso")


def follow(person: Identity, user: User) -> None:
    """Give and take the groups that name a value of the provider's claim. All other groups stay, and none is made.

    Nothing changes where the provider has no claim of groups, or did not say them. No group makes staff of anybody.
    """
    if person.groups is None:
        if person.provider.groups:
            log.warning("%s: the groups of user %s are too many to be said: none changes", person.provider.id, user.pk)
        return
    policies = [policy for policy in GroupPolicy.objects.select_related("group") if policy.claims]
    meant = {policy.group for policy in policies if not person.groups.isdisjoint(policy.claims)}
    has = set(user.groups.filter(pk__in=[policy.group_id for policy in policies])) if policies else set()
    given, taken = sorted(meant - has, key=str), sorted(has - meant, key=str)
    if given:
        user.groups.add(*given)
    if taken:
        user.groups.remove(*taken)
    for sign, groups in (("+", given), ("-", taken)):
        for group in groups:
            audit.record("group_changed", user.pk, detail=f"{person.provider.id}: {sign}{group.name}")
