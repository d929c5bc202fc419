"""The HTML pages. They carry no data: what a user sees comes over the socket and REST, with a token."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from urllib.parse import urlsplit

from csp.decorators import csp_update
from django.conf import settings as configured
from django.contrib.auth.forms import PasswordResetForm, SetPasswordForm
from django.contrib.auth.views import PasswordResetConfirmView, PasswordResetView
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy, set_script_prefix
from django.utils.cache import add_never_cache_headers
from django.utils.functional import lazy
from django.utils.translation import get_language, gettext, override
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from chat import limits
from chat.accounts import api_keys
from chat.api import client_ip
from chat.api.base import origin_of
from chat.api.exceptions import refusal
from chat.languages import translated
from chat.limits.rates import PASSWORD_RESETS
from chat.mcp_client import config as mcp_servers
from chat.models import User
from chat.oidc import accounts, discovery, flow
from chat.oidc import config as providers
from chat.protocol import ProtocolError

Page = Callable[..., HttpResponse]


def trusted_types(page: Page) -> Page:
    """Return the page in its reader's language. Its scripts run no strings, but for the policy that cleans answers."""
    return cast(Page, csp_update(TRUSTED_TYPES)(translated(page)))


TRUSTED_TYPES = {"require-trusted-types-for": ["'script'"], "trusted-types": ["dompurify"]}


def to_providers(page: Page) -> Page:
    """Add to `trusted_types` that the page's forms may lead to the providers, as Chromium asks of each redirect."""
    in_language = translated(page)

    @wraps(page)
    def shown(request: HttpRequest, **parts: Any) -> HttpResponse:
        found = providers.configured()
        more = {"form-action": discovery.authorization_origins(found)} if found else {}
        return cast(HttpResponse, csp_update({**TRUSTED_TYPES, **more})(in_language)(request, **parts))

    return shown


def untold(page: Page) -> Page:
    """Return the page. Its requests do not name `next`, which may be a link to a shared conversation."""

    @wraps(page)
    def shown(request: HttpRequest, **parts: Any) -> HttpResponse:
        answer = page(request, **parts)
        if "next" in request.GET:
            answer["Referrer-Policy"] = "strict-origin"  # no-referrer would send forms without an origin
        return answer

    return shown


# Modules of the first view, by folder: the page names all at once, so that the browser loads them in parallel.
LAYERS = {
    "net": (
        "api", "base", "choices", "drafts", "http", "inputs", "loader", "outbox", "session", "socket", "storage",
        "uuid",
    ),
    "state": (
        "branches", "difference", "forms", "hidden", "inputs", "model", "outbox", "parameters", "reducer", "requests",
        "run", "spent", "store", "thread", "typed", "verdict",
    ),
    "text": ("strings",),
    "markdown": ("lazy",),
    "ui": (
        "answer", "appearance", "attachments", "browser", "card", "charts", "chips", "commands", "composer",
        "difference", "drawer", "duration", "editor", "element", "exchange", "fields", "figures", "inputs", "menu",
        "messages", "notices", "notify", "panel", "pending", "pictures", "preview", "projects", "rating", "removals",
        "request", "requests", "resolved", "search", "share", "shortcuts", "sidebar", "spent", "steps", "switch",
        "table", "text", "thread-menu", "threads", "transcript", "unread", "uploads", "values", "verdict", "view",
        "viewport", "welcome",
    ),
}  # fmt: skip
# Modules of each language, of which a page loads one.
TABLES = {"en": ("en",), "de": ("de", "de-server")}
MODULES = [f"chat/{layer}/{name}.js" for layer, names in LAYERS.items() for name in names]
MODULES += ["vendor/d3-dsv/d3-dsv.min.mjs"]
# Modules of the first answer that is shown: a new conversation begins without them.
ANSWERS = [f"chat/markdown/{name}.js" for name in ("blocks", "code", "markdown", "math", "purify", "scheduler")]
ANSWERS += ["vendor/markdown-it/markdown-it.esm.min.mjs", "vendor/dompurify/purify.min.js"]
# Later ones override earlier ones of the same weight: Markdown's tables and charts come after tables.
COMPONENTS = (
    "sidebar", "conversation", "message", "files", "table", "chart", "verdict", "run", "request", "inputs", "markdown",
    "composer", "overlay", "share", "print",
)  # fmt: skip
STYLES = [f"chat/css/{name}.css" for name in COMPONENTS]


@never_cache
@trusted_types
def page(request: HttpRequest, thread_id: str = "") -> HttpResponse:
    """Show the chat page, the same for everybody.

    Its script reads from the address what it shows, and says if there is no such conversation.
    """
    modules = [f"chat/text/{name}.js" for name in TABLES[str(get_language())]] + MODULES
    modules += ANSWERS if thread_id else []
    given = {"modules": modules, "styles": STYLES, "share_links": configured.NETRA_SHARE_LINKS}
    return render(request, "chat/page.html", given)


@never_cache
@to_providers
def settings(request: HttpRequest) -> HttpResponse:
    """Show the forms of name, theme, language, mail, password, providers and sessions."""
    known = {"mails": bool(configured.NETRA_EMAIL_URL), "languages": configured.LANGUAGES}
    accounts = {"connectors": mcp_servers.configured(), "unlinked": UNLINKED.get(request.GET.get("link", ""))}
    return render(request, "chat/settings.html", {**known, **accounts, **ways_in(request)})


UNLINKED = {
    "failed": _("The service was not connected. Try again; if it fails again, ask your administrator."),
    "cancelled": _("The service was not connected: the sign-in there was cancelled."),
}


def ways_in(request: HttpRequest) -> dict[str, Any]:
    """Return what the pages show of providers and passwords."""
    return {
        "providers": providers.configured(),
        "passwords": not configured.NETRA_SSO_ONLY,
        "signup": configured.NETRA_OPEN_REGISTRATION and not configured.NETRA_SSO_ONLY,
        "next": flow.local_path(request.GET.get("next", "")),
        "failure": FAILURES.get(request.GET.get("error", "")),
    }


FAILURES = {
    "sso_failed": _(
        "The sign-in failed. Try again; if it fails again, ask your administrator, who finds why in the log."
    ),
    "sso_denied": _("The sign-in was cancelled. Try again when you are ready."),
    "email_unverified": _("Your provider has not verified your email address. Verify it there, then try again."),
    "account_exists": _("An account has this already. Sign in the way you did before, then connect it in Settings."),
    "domain": _("This address is not of your organisation. Sign in with the account of your organisation."),
    "closed": _("There is no account for you here. Ask your administrator for one."),
    "inactive": _("This account is deactivated. Ask your administrator."),
}


REASONS = {
    "ended": _("Your session has ended. Sign in to go on where you were."),
    "changed": _("Your password was changed. Sign in with the new one."),
}


@untold
@to_providers
def login(request: HttpRequest) -> HttpResponse:
    """Show the form of sign-in and the providers.

    The parameter `why`, a key of REASONS, names the reason; `error`, a key of FAILURES, says what a provider refused.
    """
    reason = REASONS.get(request.GET.get("why", ""), "")
    context = {"resets": bool(configured.NETRA_EMAIL_URL), "reason": reason, **ways_in(request)}
    page = render(request, "chat/login.html", context)
    if context["providers"]:
        add_never_cache_headers(page)  # it has the CSRF token of this browser
    return page


@untold
@never_cache
@trusted_types
def sso_done(request: HttpRequest) -> HttpResponse:
    """Show the page after a provider's sign-in, whose script goes on to `next`."""
    return render(request, "chat/done.html", {"next": flow.local_path(request.GET.get("next", ""))})


@trusted_types
def signup(request: HttpRequest) -> HttpResponse:
    """Show the form of sign-up; where only providers sign in, they make the accounts."""
    if configured.NETRA_SSO_ONLY:
        return redirect("chat:login")
    return render(request, "chat/signup.html")


def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect browsers that ask for /favicon.ico, as they do where a page names no icon."""
    return redirect(static("chat/favicon.svg"))


def robots(request: HttpRequest) -> HttpResponse:
    """Nothing here is for a search engine."""
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


# ---- A new password by e-mail ----------------------------------------------------------------------------


class ResetForm(PasswordResetForm):
    """The form that asks for a link to choose a new password."""

    def save(self, *args: Any, **options: Any) -> None:
        """Send the link. It leads to one of ALLOWED_ORIGINS: a Host of the client's choice would get the token."""
        origin = urlsplit(origin_of(options["request"]))
        given = {"domain_override": origin.netloc, "use_https": origin.scheme == "https"}
        super().save(*args, **options | given)

    def send_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send the mail in a thread: the response time must not reveal whether the account exists."""
        threading.Thread(target=self._send_mail, args=(get_language(), *args), kwargs=kwargs).start()

    def _send_mail(
        self, language: str, subject: str, body: str, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        set_script_prefix(configured.NETRA_BASE_PATH or "/")  # of the link: a thread of its own has none
        with override(context["user"].language or language):
            super().send_mail(subject, body, context, *args, **kwargs)


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """The form that sets the new password."""

    def save(self, commit: bool = True) -> User:
        """Set the password and revoke the user's API keys: the mailbox is all that the user is sure of.

        The first proof that the mailbox is the user's ends all that somebody else may have left in the account.
        """
        with transaction.atomic():
            user: User = super().save(commit)
            api_keys.revoke(api_keys.live_keys(user))
            if not accounts.is_verified(user):
                accounts.clear(user)
                accounts.set_verified(user)
        return user


def resetting(view: Callable[..., HttpResponseBase]) -> Page:
    """Return a step of setting a new password, which is 404 without e-mail."""

    @never_cache
    @trusted_types
    @wraps(view)
    def step(request: HttpRequest, **parts: Any) -> HttpResponse:
        if not configured.NETRA_EMAIL_URL or configured.NETRA_SSO_ONLY:
            raise Http404
        try:
            if request.method == "POST":
                limits.rate_limiter().acquire(PASSWORD_RESETS, client_ip.address_of(request))
        except ProtocolError as error:
            return refusal(error)
        return cast(HttpResponse, view(request, **parts))

    return step


reset = resetting(
    PasswordResetView.as_view(
        form_class=ResetForm,
        template_name="chat/reset.html",
        email_template_name="chat/reset_email.txt",
        subject_template_name="chat/reset_subject.txt",
        success_url=reverse_lazy("chat:reset_sent"),
        extra_context={
            "heading": _("Reset your password"),
            "lead": _("We'll email you a link. It works once and expires in 24 hours."),
            "submit": _("Send the link"),
        },
    )
)
# What was signed in with the old password is signed out: `auth` sees to it when the user is saved.
reset_confirm = resetting(
    PasswordResetConfirmView.as_view(
        form_class=NewPasswordForm,
        template_name="chat/reset_confirm.html",
        success_url=lazy(lambda: reverse("chat:login") + "?why=changed", str)(),
    )
)


@resetting
def reset_sent(request: HttpRequest) -> HttpResponse:
    """Show that a link is on its way, without saying whether the account exists."""
    lead = gettext("If an account exists for that address, we've sent a link.")
    words = {"heading": gettext("Check your email"), "lead": lead}
    return render(request, "chat/reset.html", words)
