"""The page of a shared conversation: made on the server, without scripts, from the copy that was shared."""

from collections.abc import Callable
from typing import cast
from urllib.parse import urlencode

from csp.constants import NONE, SELF
from csp.decorators import csp
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import mark_safe

from chat import sharing
from chat.accounts import sessions
from chat.api.auth import VIEW_COOKIE
from chat.languages import translated
from chat.pages import markdown

Page = Callable[..., HttpResponse]
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
}
POLICY = {
    "default-src": [NONE],
    "style-src": [SELF],
    "frame-ancestors": [NONE],
    "base-uri": [NONE],
    "form-action": [NONE],
}


def _guarded(view: Page) -> Page:
    """Return the view with the policy, in its reader's language."""
    return cast(Page, csp(POLICY)(translated(view)))


@_guarded
def page(request: HttpRequest, token: str) -> HttpResponse:
    """Show what is behind a link.

    Where links are for members, a browser without the cookie of a live session is sent to sign in, whatever the link.
    All links that lead nowhere are answered alike.
    """
    answer = _sign_in(request) if _needs_member(request) else _shown(request, token)
    for name, value in HEADERS.items():
        answer[name] = value
    return answer


def _needs_member(request: HttpRequest) -> bool:
    return settings.NETRA_SHARE_LINKS == "members" and not sessions.is_viewer(request.COOKIES.get(VIEW_COOKIE, ""))


def _sign_in(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('chat:login')}?{urlencode({'next': request.path})}")


def _shown(request: HttpRequest, token: str) -> HttpResponse:
    share = sharing.find(token)
    if share is None:
        return render(request, "chat/shared.html", status=404)
    messages = [
        # The one text here that is not escaped: chat/pages/markdown.py cleans it.
        {**said, "html": mark_safe(markdown.html(said["content"])) if said["role"] == "assistant" else ""}  # noqa: S308
        for said in cast(list[dict[str, str]], share.snapshot)
    ]
    return render(request, "chat/shared.html", {"share": share, "messages": messages})
