"""The HTML pages. They carry no data: what a user sees comes over the socket and REST, with a token."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from uuid import UUID

from csp.decorators import csp_update
from django.conf import settings as configured
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.views import PasswordResetConfirmView, PasswordResetView
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache

from chat import limits
from chat.errors import refusal
from chat.protocol import ProtocolError

Page = Callable[..., HttpResponse]


def trusted_types(page: Page) -> Page:
    """What would run a string as a script takes none; the one exception makes clean HTML of an agent's text."""
    policy = {"require-trusted-types-for": ["'script'"], "trusted-types": ["dompurify"]}
    return cast(Page, csp_update(policy)(page))


# What the chat page needs before it shows anything: named to the browser at once, not found one behind the other.
LAYERS = (
    "api", "attachments", "branches", "card", "charts", "code", "element", "markdown", "math", "menu", "purify",
    "reducer", "search", "sidebar", "socket", "transcript", "view",
)  # fmt: skip
LIBRARIES = ("marked/marked.esm.js", "dompurify/purify.es.mjs", "d3-dsv/d3-dsv.min.mjs")
MODULES = [*(f"chat/{name}.js" for name in LAYERS), *(f"vendor/{name}" for name in LIBRARIES)]


@never_cache
@trusted_types
def page(request: HttpRequest, thread_id: UUID | None = None) -> HttpResponse:
    """The chat page, the same for everybody; its script reads `thread_id` from the address."""
    return render(request, "chat/page.html", {"modules": MODULES})


@never_cache
@trusted_types
def settings(request: HttpRequest) -> HttpResponse:
    """Name, theme, password and sessions."""
    return render(request, "chat/settings.html")


@trusted_types
def login(request: HttpRequest) -> HttpResponse:
    """The form of sign-in."""
    return render(request, "chat/login.html", {"resets": bool(configured.NETRA_EMAIL_URL)})


@trusted_types
def signup(request: HttpRequest) -> HttpResponse:
    """The form of sign-up."""
    return render(request, "chat/signup.html")


# ---- A new password by e-mail ----------------------------------------------------------------------------

RESETS = limits.Rate("resets", 10, 60)  # from an address


class ResetForm(PasswordResetForm):
    def send_mail(self, *args: Any, **kwargs: Any) -> None:
        # Beside the request: how long it takes does not tell whether there is such an account.
        threading.Thread(target=super().send_mail, args=args, kwargs=kwargs).start()


def resetting(view: Callable[..., HttpResponseBase]) -> Page:
    """A step of setting a new password; without e-mail there is none."""

    @never_cache
    @trusted_types
    @wraps(view)
    def step(request: HttpRequest, **parts: Any) -> HttpResponse:
        if not configured.NETRA_EMAIL_URL:
            raise Http404
        try:
            if request.method == "POST":
                RESETS.spend_now(limits.address_of(request))
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
        success_url=reverse_lazy("reset_sent"),
        extra_context={
            "heading": "A new password",
            "lead": "A link will be sent to your address. It is good for a day, and once.",
            "submit": "Send the link",
        },
    )
)
# What was signed in with the old password is signed out: `auth` sees to it when the user is saved.
reset_confirm = resetting(
    PasswordResetConfirmView.as_view(template_name="chat/reset_confirm.html", success_url=reverse_lazy("login"))
)


@resetting
def reset_sent(request: HttpRequest) -> HttpResponse:
    """Whether there is such an account is not said."""
    words = {"heading": "Look into your mail", "lead": "If there is an account for that address, a link is on its way."}
    return render(request, "chat/reset.html", words)
