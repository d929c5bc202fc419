"""The language of pages, mails and runs: the one that a user chose, else the first of the browser's that Netra speaks.

What programs get is English: only the views with `translated` are in another language, and agents that have its texts.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.cookie import parse_cookie
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers

from chat.models import User
from chat.protocol import Headers

MAX_AGE = 365 * 86_400  # seconds


def translated(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return the view in the language of its reader: that of the cookie, else of Accept-Language, else English."""

    @wraps(page)
    def shown(request: HttpRequest, *args: Any, **parts: Any) -> HttpResponse:
        language = translation.get_language_from_request(request)
        with translation.override(language):
            answer = page(request, *args, **parts)
            if isinstance(answer, SimpleTemplateResponse):
                answer.render()  # else it is rendered when the language is no longer this one
        answer["Content-Language"] = language
        patch_vary_headers(answer, ("Accept-Language", "Cookie"))
        return answer

    return shown


def language_of(user: User) -> str:
    """Return the language of the user's mail: the chosen one, else English."""
    return user.language or settings.LANGUAGE_CODE


def language_of_headers(headers: Headers) -> str:
    """Return the language of the cookie, else of Accept-Language, else English: that of the page which asks."""
    given = {name.lower(): value.decode("latin-1") for name, value in headers}
    request = HttpRequest()
    request.COOKIES = parse_cookie(given.get(b"cookie", ""))
    request.META["HTTP_ACCEPT_LANGUAGE"] = given.get(b"accept-language", "")
    return translation.get_language_from_request(request)


def remember(response: HttpResponseBase, request: HttpRequest, user: User) -> None:
    """Let this browser know which language its user chose, since the pages are served without a token."""
    name, path = settings.LANGUAGE_COOKIE_NAME, settings.LANGUAGE_COOKIE_PATH
    known = request.COOKIES.get(name, "")
    if user.language == known:
        return
    if not user.language:
        response.delete_cookie(name, path=path, samesite="Lax")
        return
    response.set_cookie(
        name,
        user.language,
        max_age=MAX_AGE,
        path=path,
        secure=settings.NETRA_HTTPS,
        httponly=True,
        samesite="Lax",  # a link to a page here is in the language, too
    )
