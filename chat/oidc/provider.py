"""The classes that allauth drives a sign-in with: OpenID Connect, and GitHub.

allauth looks for `provider_classes` in this module. Its own classes leave out a nonce and the id_token's signature, and
take parameters of the request's query.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.github.provider import GitHubProvider
from allauth.socialaccount.providers.oauth2.client import OAuth2Client, OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest
from django.urls import reverse
from requests import Response

from chat.api.base import origin_of
from chat.oidc import discovery, id_tokens, identity
from chat.oidc.config import BadAnswer, Config, find, nonce_of
from chat.oidc.identity import Identity


class Login(SocialLogin):  # type: ignore[misc]
    """A sign-in whose person is known, and whose meaning `Adapter.pre_social_login` decides."""

    def __init__(self, person: Identity, **fields: Any) -> None:
        super().__init__(**fields)
        self.person = person

    def lookup(self) -> None:
        """Look for no account: allauth would change the row of one, and find others by their address."""


def app_of(config: Config, kind: str) -> SocialApp:
    """Return the application at a provider as allauth has it. It is never stored."""
    settings = {"server_url": config.url, "oauth_pkce_enabled": True, "scope": SCOPES[kind], "auth_params": {}}
    return SocialApp(
        provider=kind,
        provider_id=config.id,
        name=config.name,
        client_id=config.client,
        secret=config.secret,
        settings=settings,
    )


SCOPES = {"oidc": ["openid", "profile", "email"], "github": ["read:user", "user:email"]}


class Client(OAuth2Client):  # type: ignore[misc]
    """A client that sends a nonce, and reports every malformed answer as an error of the provider's."""

    basic_auth: bool  # whether the secret goes in the header

    def get_redirect_url(self, authorization_url: str, scope: list[str], extra_params: dict[str, Any]) -> str:
        """Return the address at the provider that the browser is sent to."""
        nonce = {"nonce": nonce_of(self.state or "")}
        url = cast(str, super().get_redirect_url(authorization_url, scope, {**extra_params, **nonce}))
        if "?" in authorization_url:  # which allauth does not expect
            url = url.replace(f"{authorization_url}?", f"{authorization_url}&", 1)
        return url

    def get_access_token(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Exchange the code. Raises OAuth2Error, RequestException.

        A provider that does not take the secret in the form gets it in the header: many name both ways and take the
        one that the client was registered for.
        """
        try:
            try:
                return cast(dict[str, Any], super().get_access_token(*args, **kwargs))
            except OAuth2Error as error:
                if self.basic_auth or "invalid_client" not in str(error):  # the text has the provider's answer
                    raise
                self.basic_auth = True
                return cast(dict[str, Any], super().get_access_token(*args, **kwargs))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BadAnswer(f"the token endpoint's answer cannot be read ({type(error).__name__})") from None


class _Adapter(OAuth2Adapter):  # type: ignore[misc]
    """The parts of an adapter that both kinds have in common."""

    client_class = Client

    def __init__(self, request: HttpRequest, provider_id: str) -> None:
        self.provider_id = provider_id
        config = find(provider_id)
        if config is None:
            raise SocialApp.DoesNotExist
        self.config = config
        OAuth2Adapter.__init__(self, request)

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """Return the redirect_uri. Its origin is one of ALLOWED_ORIGINS, whatever Host the client sent."""
        return origin_of(request) + reverse("chat:oidc_callback", kwargs={"provider_id": self.provider_id})

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        """Return the access token, which is used once and not kept. Raises BadAnswer."""
        token = data.get("access_token")
        if not isinstance(token, str) or not token:
            raise BadAnswer("there is no access token")
        return SocialToken(token=token)

    def login(self, person: Identity) -> Login:
        """Return the sign-in of this person."""
        account = SocialAccount(provider=self.provider_id, uid=person.subject)
        return Login(person, account=account, provider=self.get_provider())

    def ask(self, url: str, token: str, accept: str = "application/json") -> Response:
        """Return what the provider answers to the holder of the access token. Raises RequestException."""
        with get_adapter().get_requests_session() as session:
            headers = {"Authorization": f"Bearer {token}", "Accept": accept}
            answer = cast(Response, session.get(url, headers=headers, allow_redirects=False))
        answer.raise_for_status()
        return answer


class OidcAdapter(_Adapter, OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """A sign-in by OpenID Connect."""

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return the discovery document. Raises BadAnswer."""
        return discovery.document(self.config)

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **given: Any) -> Login:
        """Return the sign-in, verified. Raises BadAnswer, RequestException."""
        nonce = nonce_of(request.GET.get("state", ""))
        id_token = id_tokens.verify_sign_in(self.config, given["response"].get("id_token"), nonce)
        userinfo: dict[str, Any] = {}
        if url := self.openid_config.get("userinfo_endpoint"):
            answer = self.ask(url, token.token, "application/json, application/jwt;q=0.9")
            is_signed = answer.headers.get("Content-Type", "").lower().startswith("application/jwt")
            userinfo = id_tokens.verify_userinfo(self.config, answer.text) if is_signed else answer.json()
            if not isinstance(userinfo, dict) or userinfo.get("sub") != id_token["sub"]:
                raise BadAnswer("userinfo is of another user")
        return self.login(identity.of_claims(self.config, id_token, userinfo))


def api_of(site: str) -> str:
    """Return the address of the API of a GitHub: github.com, a company's at ghe.com, or an Enterprise Server."""
    parts = urlsplit(site)
    if parts.hostname == "github.com" or str(parts.hostname).endswith(".ghe.com"):
        return f"https://api.{parts.hostname}"
    return f"{site}/api/v3"


class GitHubAdapter(_Adapter):
    """A sign-in by GitHub, or by a GitHub Enterprise Server."""

    def __init__(self, request: HttpRequest, provider_id: str) -> None:
        super().__init__(request, provider_id)
        site = self.config.url.rstrip("/")
        self.api = api_of(site)
        self.access_token_url = f"{site}/login/oauth/access_token"
        self.authorize_url = f"{site}/login/oauth/authorize"
        self.headers = {"Accept": "application/json"}

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **given: Any) -> Login:
        """Return the sign-in. Raises BadAnswer, RequestException."""
        accept = "application/vnd.github+json"
        profile = self.ask(f"{self.api}/user", token.token, accept).json()
        addresses = self.ask(f"{self.api}/user/emails", token.token, accept).json()
        if not isinstance(profile, dict) or not isinstance(addresses, list):
            raise BadAnswer("the answer about the user cannot be read")
        listed: list[Mapping[str, Any]] = [address for address in addresses if isinstance(address, dict)]
        return self.login(identity.of_github(self.config, profile, listed))


class _Provider:
    """The parts of a provider that both kinds have in common."""

    adapter_class: Callable[[HttpRequest, str], OAuth2Adapter]
    app: SocialApp

    def get_oauth2_adapter(self, request: HttpRequest) -> OAuth2Adapter:
        """Return the adapter of this provider."""
        return self.adapter_class(request, self.app.provider_id)

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Return how a sign-in begins. `next` alone is taken from the request, and that when it has ended."""
        return {"process": "login", "next_url": request.POST.get("next", "")}


class OidcProvider(_Provider, OpenIDConnectProvider):  # type: ignore[misc]
    """A provider of OpenID Connect, Google and Microsoft included."""

    id = "oidc"
    name = "OpenID Connect"
    adapter_class = OidcAdapter


class GitHub(_Provider, GitHubProvider):  # type: ignore[misc]
    """GitHub, which gives out no id_token: its API says who signs in."""

    adapter_class = GitHubAdapter


CLASSES = {"oidc": OidcProvider, "github": GitHub}
provider_classes = [OidcProvider]
