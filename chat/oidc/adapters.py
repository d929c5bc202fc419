"""The answers to what allauth asks about accounts and providers."""

import logging
import re
from typing import Any, NoReturn

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from django.http import HttpRequest

from chat.api.client_ip import address_of
from chat.oidc import flow
from chat.oidc.config import BadAnswer, Refused, configured, find
from chat.oidc.provider import CLASSES, app_of

log = logging.getLogger("netra.sso")
ERROR_CODE = re.compile(r"[a-z_]{1,40}")  # as RFC 6749 has them: what a query says else is not for the log


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts: allauth neither makes nor signs in one, and sends no mail."""

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the client's address."""
        return address_of(request)

    def send_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send nothing."""


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Providers: settings, never rows."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """Return the applications at the providers of NETRA_SSO."""
        apps = [app_of(config, "github" if config.kind == "github" else "oidc") for config in configured()]
        return [app for app in apps if provider in (None, app.provider, app.provider_id)]

    def get_provider(self, request: HttpRequest, provider: str, client_id: Any = None) -> Any:
        """Return the provider with this id. Raises SocialApp.DoesNotExist."""
        config = find(provider)
        if config is None:
            raise SocialApp.DoesNotExist
        kind = "github" if config.kind == "github" else "oidc"
        return CLASSES[kind](request, app=app_of(config, kind))

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> NoReturn:
        """Decide what the sign-in means. Raises ImmediateHttpResponse: allauth's own decision never comes."""
        raise ImmediateHttpResponse(flow.finish(request, sociallogin.person, sociallogin.state))

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> NoReturn:
        """Refuse the sign-in. Raises ImmediateHttpResponse: allauth's pages are not shown."""
        state = (extra_context or {}).get("state") or {}
        said = request.GET.get("error", "")
        if said == "access_denied":  # also without the state, which some providers leave out then
            refused = Refused("sso_denied", "the user or the provider has cancelled it")
        elif exception is None:
            reason = f"the provider says {said}" if ERROR_CODE.fullmatch(said) else "there is no such state, or no code"
            refused = Refused("sso_failed", reason)
        else:
            # The text of an error of allauth's may have the provider's answer, with tokens.
            reason = str(exception) if isinstance(exception, BadAnswer) else type(exception).__name__
            refused = Refused("sso_failed", reason)
        raise ImmediateHttpResponse(flow.refuse(request, provider.app.provider_id, refused, state))
