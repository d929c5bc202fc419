"""The language of pages and mails."""

import re
from typing import Any

import pytest
from django.core import mail
from rest_framework.test import APIClient

from chat import runs
from chat.accounts import authentication, notifications, sessions
from chat.models import InputRequest, Run, User
from tests.conftest import PASSWORD
from tests.factories import claim_one, message
from tests.factories import client as client_of
from tests.site import wait_until

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-AT,de;q=0.9,en;q=0.5"}
PAGES = [
    "/",
    "/login",
    "/signup",
    "/settings",
    "/inputs",
    "/reset",
    "/reset/sent",
    "/reset/MQ/set-password",
    "/login/done",
]
COOKIE = "netra_language"


@pytest.fixture(autouse=True)
def set_up(settings: Any) -> None:
    settings.NETRA_EMAIL_URL = "smtp://mail.example"


def language(answer: Any) -> str:
    (found,) = re.findall(r'<html lang="([^"]+)"', answer.content.decode())
    assert answer.headers["Content-Language"] == found
    return found


@pytest.mark.parametrize("path", PAGES)
def test_page_is_in_the_first_language_of_the_browser_that_there_is(client, db, path):
    for asked, expected in [
        ("de", "de"), ("de-CH", "de"), ("fr,de;q=0.5", "de"), ("en-GB,de;q=0.9", "en"), ("fr", "en"), ("", "en"),
        ("x" * 600, "en"),
    ]:  # fmt: skip
        answer = client.get(path, HTTP_ACCEPT_LANGUAGE=asked)
        assert (answer.status_code, language(answer)) == (200, expected), asked
        assert {"Accept-Language", "Cookie"} <= {name.strip() for name in answer.headers["Vary"].split(",")}


@pytest.mark.parametrize("path", ["/", "/login", "/settings"])
def test_page_loads_the_table_of_its_language_and_no_other(client, db, path):
    for asked in ("de", "en"):
        text = client.get(path, HTTP_ACCEPT_LANGUAGE=asked).content.decode()
        assert f'"#strings": "/static/chat/text/{asked}.js"' in text
        other = {"de": "en", "en": "de"}[asked]
        assert f"text/{other}" not in text


def test_choice_of_the_user_counts_before_the_browsers(client, db):
    for chosen, expected in [("en", "en"), ("de", "de"), ("fr", "de"), ("../de", "de"), ("", "de")]:
        client.cookies[COOKIE] = chosen
        assert language(client.get("/login", **GERMAN)) == expected


def test_pages_are_german_throughout(client, db):
    text = client.get("/settings", **GERMAN).content.decode()
    assert "<h1>Einstellungen</h1>" in text
    assert 'placeholder="Ihr Unternehmen, ' in text
    assert "Bei Netra anmelden" in client.get("/login?why=ended", **GERMAN).content.decode()
    assert "Ihre Sitzung ist beendet." in client.get("/login?why=ended", **GERMAN).content.decode()
    assert "Passwort zurücksetzen" in client.get("/reset", **GERMAN).content.decode()
    wrong = client.post("/reset", {"email": "nobody"}, **GERMAN).content.decode()
    assert "Geben Sie eine gültige E-Mail-Adresse ein." in wrong


def test_programs_get_english_whatever_they_accept(db):
    caller = APIClient()
    caller.cookies[COOKIE] = "de"
    answer = caller.post("/auth/register", {}, format="json", **GERMAN)
    assert answer.json()["message"] == "email: This field is required."
    refused = caller.post("/auth/register", {"email": "a@b.example", "password": "123"}, format="json", **GERMAN)
    assert refused.json()["message"].startswith("This password is too short.")
    assert "Content-Language" not in answer.headers


def test_user_chooses_a_language_which_this_browser_keeps(alice, bob):
    caller = client_of(alice)
    assert caller.get("/auth/language").json() == {"language": ""}
    answer = caller.patch("/auth/language", {"language": "de"}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"language": "de"})
    cookie = answer.cookies[COOKIE]
    assert (cookie.value, cookie["path"], cookie["samesite"], cookie["httponly"]) == ("de", "/", "Lax", True)
    assert caller.get("/auth/language").json() == {"language": "de"}
    assert client_of(bob).get("/auth/language").json() == {"language": ""}
    back = caller.patch("/auth/language", {"language": ""}, format="json")
    assert back.cookies[COOKIE]["max-age"] == 0


@pytest.mark.parametrize("wrong", ["fr", "DE", "de-AT", 5, None, True, ["de"]])
def test_language_that_there_is_not_is_refused(alice, wrong):
    answer = client_of(alice).patch("/auth/language", {"language": wrong}, format="json")
    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (422, "invalid_message", "language")
    assert COOKIE not in answer.cookies


def test_sign_in_brings_the_users_language_and_takes_that_of_another(alice, bob, settings):
    User.objects.filter(pk=alice.pk).update(language="de")
    browser = APIClient()

    def sign_in(user: User) -> Any:
        given = {"email": user.email, "password": PASSWORD, "session": "cookie"}
        return browser.post("/auth/login", given, format="json")

    assert sign_in(alice).cookies[COOKIE].value == "de"
    assert language(browser.get("/settings")) == "de"
    assert COOKIE not in sign_in(alice).cookies, "it is there already"
    assert sign_in(bob).cookies[COOKIE].value == ""
    assert language(browser.get("/settings")) == "en"
    tokens = browser.post("/auth/login", {"email": alice.email, "password": PASSWORD}, format="json")
    assert COOKIE not in tokens.cookies, "of a program"


@pytest.mark.parametrize(("chosen", "asked", "expected"), [
    ("de", "en", "Ihr Passwort bei Netra zurücksetzen"), ("", "de", "Ihr Passwort bei Netra zurücksetzen"),
    ("en", "de", "Reset your Netra password"), ("", "en", "Reset your Netra password"),
])  # fmt: skip
def test_reset_mail_is_in_the_users_language_or_that_of_the_page(client, alice, chosen, asked, expected):
    User.objects.filter(pk=alice.pk).update(language=chosen)
    mail.outbox.clear()
    client.post("/reset", {"email": alice.email}, HTTP_ACCEPT_LANGUAGE=asked)
    wait_until(lambda: mail.outbox, "the mail")
    (message,) = mail.outbox
    assert message.subject == expected
    assert ("Wählen Sie hier innerhalb von 24 Stunden" in message.body) == ("Passwort" in expected)


def test_mail_about_requests_is_in_the_language_that_its_reader_chose(alice, bob):
    for user, chosen, expected in [
        (alice, "de", ("Eine Rückfrage in Netra wartet auf Sie", "Gefragt vom Agenten echo")),
        (bob, "", ("A request waits for you in Netra", "Asked by the agent echo.")),
    ]:
        user.language = chosen
        asked = InputRequest(message="Which?", agent_name="echo", user=user, thread_id="t", expires_at=user.created_at)
        notice = notifications.Notice(user, [asked], None, user.created_at)
        message = notifications._mail_of(notice)
        assert message.subject == expected[0]
        assert expected[1] in message.body


VISIT = {"HTTP_SEC_FETCH_DEST": "document", "HTTP_ACCEPT": "text/html,*/*;q=0.8"}


def test_visitor_of_an_unknown_address_sees_a_page(client, db):
    for path in ("/nope", "/settings/nope", "/c/a/b", "/nope/<script>"):
        answer = client.get(path, **VISIT)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8"), path
        assert "Page not found" in answer.content.decode()
        assert "<script>" not in answer.content.decode().replace('<script src="', "")
        assert "no-store" in answer.headers["Cache-Control"]
    assert "Seite nicht gefunden" in client.get("/nope", **VISIT, **GERMAN).content.decode()


@pytest.mark.parametrize(
    "path", ["/api/nope", "/auth/nope", "/v1/nope", "/ws/nope", "/static/nope.js", "/agui/a/b/c", "/mcp/x"]
)
def test_paths_of_programs_are_json_for_everybody(client, db, path):
    answer = client.get(path, **VISIT)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")


@pytest.mark.parametrize("sent", [
    {"HTTP_ACCEPT": "text/html"}, {"HTTP_SEC_FETCH_DEST": "empty", "HTTP_ACCEPT": "text/html"},
    {"HTTP_SEC_FETCH_DEST": "script"},
])  # fmt: skip
def test_unknown_address_is_json_for_what_is_no_visit(client, db, sent):
    answer = client.get("/nope", **sent)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert client.post("/nope", **VISIT).json()["error"] == "not_found"


@pytest.mark.parametrize(("chosen", "cookie", "asked", "expected"), [
    ("", "", "de-AT,en;q=0.5", "de"), ("", "", "fr", "en"), ("", "", "", "en"), ("", "de", "en", "de"),
    ("", "xx", "de", "de"), ("de", "en", "en", "de"), ("en", "", "de", "en"),
])  # fmt: skip
def test_run_knows_the_language_of_the_account_else_that_of_the_page(alice, bob, chosen, cookie, asked, expected):
    User.objects.filter(pk=alice.pk).update(language=chosen)
    User.objects.filter(pk=bob.pk).update(language="de" if expected == "en" else "en")
    headers: list[tuple[bytes, bytes]] = [(b"accept-language", asked.encode())]
    caller = client_of(alice)
    if cookie:
        caller.cookies[COOKIE] = cookie
        headers.append((b"Cookie", f"{COOKIE}={cookie}".encode()))
    sent = caller.post("/api/messages", {"content": "hello"}, format="json", HTTP_ACCEPT_LANGUAGE=asked)
    assert sent.status_code == 202
    run = claim_one()
    assert (run.run_id, run.language) == (sent.json()["run_id"], expected)
    of_socket = authentication.identify(sessions.sign_in(alice, "").access)
    assert of_socket.speaking(headers).language == expected


def test_another_answer_keeps_the_language_of_the_one_who_asks(alice):
    first = runs.start(alice.id, message(), language="de")
    again = runs.ask_again(alice.id, first.message_id, language="en")
    runs.cancel(alice.id)
    third = runs.rerun(first.run_id)
    languages = dict(Run.objects.values_list("id", "language"))
    assert [languages[one.run_id] for one in (first, again, third)] == ["de", "en", "de"]
