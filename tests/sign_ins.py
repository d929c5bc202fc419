"""The browser of a sign-in by a provider, and what tests read of its answers."""

from urllib.parse import parse_qs, urlsplit

import requests
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.contrib.auth.models import Group
from django.test import Client

from chat.models import ApiKey, GroupPolicy, Session, Share, Thread, User

ORIGIN = {"Origin": "http://testserver"}


class Browser:
    """A browser: it has cookies, sends the form of the page, and follows the provider."""

    def __init__(self):
        self.client = Client(enforce_csrf_checks=True)

    def begin(self, id="corp", query="", **form):
        self.client.get("/login")
        form["csrfmiddlewaretoken"] = self.client.cookies["csrftoken"].value
        return self.client.post(f"/auth/sso/{id}/login{query}", form)

    def at_provider(self, answer):
        """Return the callback that the provider answers with, as path and query."""
        assert answer.status_code == 302
        back = requests.get(answer["Location"], allow_redirects=False)
        assert back.status_code == 302
        return back.headers["Location"].removeprefix("http://testserver")

    def sign_in(self, id="corp", **form):
        return self.client.get(self.at_provider(self.begin(id, **form)))

    def refresh(self):
        answer = self.client.post("/auth/refresh", "{}", content_type="application/json", headers=ORIGIN)
        return answer.json() if answer.status_code == 200 else None


def everything():
    """Return all that a sign-in might change."""
    tables = User, Session, SocialAccount, SocialToken, EmailAddress, ApiKey, Group, GroupPolicy, Thread, Share
    rows = {model.__name__: list(model.objects.order_by("pk").values()) for model in tables}
    return {**rows, "members": list(User.groups.through.objects.order_by("pk").values())}


def error_of(answer):
    """Return the error that the page of sign-in is shown with. Nothing else is in its address."""
    assert answer.status_code == 302, answer.content
    parts = urlsplit(answer["Location"])
    assert parts.path == "/login"
    assert set(parse_qs(parts.query)) == {"error"}
    return parse_qs(parts.query)["error"][0]


def succeeded(answer, path="/"):
    """Return whether the answer ends a sign-in and goes on to this path."""
    return answer.status_code == 302 and answer["Location"] == f"/login/done?next={path}"
