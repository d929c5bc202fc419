"""System checks of the settings without which an invalid token would be accepted."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, Tags, register


@register(Tags.security)
def tokens_can_be_refused(app_configs: Any, **options: Any) -> list[Error]:
    """Return an error for each setting without which simplejwt silently skips a check of a token."""
    errors = []
    if not apps.is_installed("rest_framework_simplejwt.token_blacklist"):
        hint = "Add rest_framework_simplejwt.token_blacklist to INSTALLED_APPS."
        errors.append(Error("Spent refresh tokens would be accepted.", hint=hint, id="netra.E001"))
    for number, name in enumerate(("AUDIENCE", "ISSUER", "CHECK_REVOKE_TOKEN"), 2):
        if not settings.SIMPLE_JWT.get(name):
            errors.append(
                Error(
                    f"Tokens would not be checked: {name} is not set.",
                    hint="Set it in SIMPLE_JWT.",
                    id=f"netra.E00{number}",
                )
            )
    return errors
