"""A new password by e-mail. The mail goes to Django's own outbox for tests; all else is real."""

import re
from functools import partial
from typing import Any

import pytest
from django.conf import LazySettings
from django.core import mail
from django.test import Client

from chat.accounts import authentication, sessions
from chat.limits.rates import PASSWORD_RESETS
from chat.models import User
from tests.conftest import PASSWORD
from tests.site import wait_until

NEW = "staple battery horse"


@pytest.fixture
def set_up(settings: LazySettings) -> None:
    settings.NETRA_EMAIL_URL = "smtp://mail.example"


def link_for(client: Client, address: str) -> str:
    """The path in the mail that asking for a new password brings."""
    mail.outbox.clear()
    answer = client.post("/reset", {"email": address})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/reset/sent")
    wait_until(lambda: mail.outbox, "the mail")
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    found = re.search(r"http://testserver(/reset/\S+)", str(message.body))
    assert found
    return found[1]


def choose(client: Client, link: str, password: str = NEW) -> Any:
    form = client.get(link, follow=True)
    (path, _), *_ = form.redirect_chain or [(link, 0)]
    return client.post(path, {"new_password1": password, "new_password2": password})


@pytest.mark.parametrize(
    ("host", "headers", "origin"),
    [
        ("testserver", {}, "http://testserver"),
        ("testserver:6666", {}, "http://testserver"),
        ("TESTSERVER:80", {}, "http://testserver"),
        ("netra.example", {}, "https://netra.example"),
        ("netra.example:6666", {}, "https://netra.example"),
        ("inner.example", {}, "https://netra.example"),
        ("testserver", {"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "6666"}, "http://testserver"),
        ("testserver", {"X-Host": "evil.example", "Forwarded": "host=evil.example"}, "http://testserver"),
        ("testserver", {"X-Forwarded-Proto": "https"}, "http://testserver"),
    ],
)
def test_reset_link_leads_to_an_allowed_origin_whatever_the_host(
    client, alice, set_up, settings, host, headers, origin
):
    settings.ALLOWED_HOSTS = ["testserver", "netra.example", "inner.example"]
    settings.ALLOWED_ORIGINS = ["https://netra.example", "http://testserver"]
    mail.outbox.clear()
    client.post("/reset", {"email": alice.email}, headers={"Host": host, **headers})
    wait_until(lambda: mail.outbox, "the mail")
    (message,) = mail.outbox
    links = re.findall(r"\S+://\S+", message.body)
    assert [link.partition("/reset/")[0] for link in links] == [origin]
    assert "6666" not in message.body
    assert "evil" not in message.body
    assert f"at {origin.partition('://')[2]}." in message.body


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver@evil.example", "a b", ""])
def test_reset_with_a_host_that_is_not_allowed_sends_nothing(client, alice, set_up, host):
    mail.outbox.clear()
    assert client.post("/reset", {"email": alice.email}, headers={"Host": host}).status_code == 403
    assert not mail.outbox


def test_a_link_gives_a_new_password_once_and_signs_everybody_out(client, alice, set_up):
    token = sessions.sign_in(alice, "a browser").access
    link = link_for(client, "Alice@Example.com")
    refused = choose(client, link, "12345678")
    assert refused.status_code == 200
    assert b"entirely numeric" in refused.content
    to = choose(client, link).headers["Location"]
    assert to == "/login?why=changed"
    assert b"Your password was changed." in client.get(to).content
    assert b"<script>" not in client.get("/login?why=<script>alert(1)</script>").content
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    with pytest.raises(authentication.Unauthorized):
        authentication.identify(token)
    spent = client.get(link, follow=True)
    assert b"This link has expired" in spent.content
    assert b"<form" not in spent.content
    assert b"This link has expired" in client.get("/reset/MQ/forged-token").content


def test_nobody_learns_whether_there_is_an_account(client, alice, set_up):
    mail.outbox.clear()
    answers = {client.post("/reset", {"email": one}).headers["Location"] for one in ("bob@example.com", "x@y.example")}
    assert answers == {"/reset/sent"}
    link_for(client, "alice@example.com")
    assert len(mail.outbox) == 1
    assert b"Forgot your password?" in client.get("/login").content


def test_the_pages_keep_the_policy_of_the_others(client, db, set_up):
    for path in ("/reset", "/reset/sent", "/reset/MQ/token"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "require-trusted-types-for" in answer.headers["Content-Security-Policy"]
        assert "no-store" in answer.headers["Cache-Control"]
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/reset", {"email": "alice@example.com"}).status_code == 403


def test_reset_link_of_a_site_under_a_path_is_below_it(client, alice, set_up, settings):
    settings.NETRA_BASE_PATH = settings.FORCE_SCRIPT_NAME = "/netra"
    mail.outbox.clear()
    client.post("/reset", {"email": alice.email})
    wait_until(lambda: mail.outbox, "the mail")
    assert "/netra/reset/" in str(mail.outbox[0].body)


def test_asking_again_and_again_is_refused(client, alice, set_up, redis, limited_by):
    limited_by(redis.url)
    ask = partial(client.post, "/reset", {"email": "x@y.example"}, REMOTE_ADDR="198.51.100.7")
    assert [ask().status_code for _ in range(PASSWORD_RESETS.burst)] == [302] * PASSWORD_RESETS.burst
    refused = ask()
    assert (refused.status_code, refused.json()["error"]) == (429, "rate_limited")
    assert ask(REMOTE_ADDR="198.51.100.8").status_code == 302


def test_without_e_mail_there_is_no_such_page(client, alice):
    for path in ("/reset", "/reset/sent", "/reset/MQ/token"):
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404
    assert b"Forgot" not in client.get("/login").content


def test_users_keep_their_old_password_until_they_choose(client, alice, set_up):
    link_for(client, "alice@example.com")
    assert User.objects.get(pk=alice.pk).check_password(PASSWORD)
