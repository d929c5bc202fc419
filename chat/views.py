"""The HTML pages. They carry no data: what a user sees comes over the socket and REST, with a token."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache


@never_cache
def page(request: HttpRequest, thread_id: UUID | None = None) -> HttpResponse:
    """The chat page, the same for everybody; its script reads `thread_id` from the address."""
    return render(request, "chat/page.html")


def login(request: HttpRequest) -> HttpResponse:
    """The form of sign-in."""
    return render(request, "chat/login.html")


def signup(request: HttpRequest) -> HttpResponse:
    """The form of sign-up."""
    return render(request, "chat/signup.html")
