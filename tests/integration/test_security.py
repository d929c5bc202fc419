"""Security headers of every answer, and attacks that must fail."""

import json
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings

from chat.accounts import sessions
from chat.models import User
from tests.commands import start

PASSWORD = "correct horse battery"
PAGES = ["/", "/login", "/signup", "/api/docs", "/admin/login/"]
ANSWERS = [*PAGES, "/health", "/api/threads", "/api/schema", "/ws", "/nowhere", "/static/chat/ui/app.js"]


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_is_shut_in(client, db, path):
    answer = client.get(path)
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert path.startswith("/static/") or answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer, "no page of another origin reads what is here"
    assert "Server" not in answer


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_only_its_own_scripts(client, db, path):
    policies = [client.get(path)["Content-Security-Policy"] for _ in range(2)]
    for policy in policies:
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert "form-action 'self'" in policy
        assert not re.search(r"unsafe|\*|https?:", policy), "nothing in-line, nothing from elsewhere"
        assert "object-src" not in policy
    page = client.get(path)
    nonces = set(re.findall(r"'nonce-([^']+)'", page["Content-Security-Policy"]))
    assert set(re.findall(r'nonce="([^"]+)"', page.content.decode())) <= nonces


def test_a_nonce_is_for_one_answer(client, db):
    nonces = [re.findall(r"'nonce-([^']+)'", client.get("/")["Content-Security-Policy"]) for _ in range(2)]
    assert nonces[0] and not set(nonces[0]) & set(nonces[1])


def test_https_is_insisted_on(client, db):
    with override_settings(SECURE_SSL_REDIRECT=True, SECURE_HSTS_SECONDS=31_536_000):
        secured = Client()
        answer = secured.get("/")
        assert (answer.status_code, answer["Location"]) == (301, "https://testserver/")
        assert secured.get("/", secure=True)["Strict-Transport-Security"] == "max-age=31536000"


def test_production_marks_its_cookies():
    code = (
        "from django.conf import settings as s; "
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, s.SESSION_COOKIE_SAMESITE, "
        "s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS > 0, s.DEBUG, s.NETRA_RATE_LIMITS)"
    )
    done = start("manage.py", "shell", "-v", "0", "-c", code)
    assert done.stdout.split() == ["True", "True", "True", "Lax", "True", "True", "False", "True"], done.stderr


@pytest.mark.parametrize("origin", ["http://evil.example", "http://testserver", "null"])
def test_no_origin_is_let_in_by_cors(client, db, origin):
    for path in ("/api/threads", "/auth/login", "/health"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for answer in (client.get(path, headers={"Origin": origin}), client.options(path, headers=asked)):
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


TRAVERSALS = [
    "/static/../manage.py",
    "/static/%2e%2e/manage.py",
    "/static/..%2f..%2fnetra/settings.py",
    "/static//etc/passwd",
]


@pytest.mark.parametrize("path", [*TRAVERSALS, "/.env", "/var/secret_key", "/static/chat/", "/media/"])
def test_files_that_are_nobodys_are_not_served(client, db, path):
    assert client.get(path).status_code == 404


def test_registering_gives_no_rights(client, db):
    extra = {"is_staff": True, "is_superuser": True, "id": 1, "groups": [1], "is_active": False}
    body = {"email": "ann@example.com", "password": PASSWORD, **extra}
    answer = client.post("/auth/register", json.dumps(body), content_type="application/json")
    assert answer.status_code == 201
    user = User.objects.get()
    assert (user.is_staff, user.is_superuser, user.is_active) == (False, False, True)


@pytest.mark.parametrize("path", ["/admin/login/", "/reset"])
@pytest.mark.parametrize("kind", ["fields", "parts", "files", "length"])
def test_form_of_too_many_parts_is_refused_in_json(db, settings, path, kind):
    settings.NETRA_EMAIL_URL = "smtp://localhost"
    caller = Client(enforce_csrf_checks=True)
    caller.get(path)  # without the cookie that comes here no form is read
    if kind == "fields":
        answer = caller.post(path, "a=1&" * 2000, content_type="application/x-www-form-urlencoded")
    elif kind == "parts":
        answer = caller.post(path, {f"f{number}": "x" for number in range(2000)})
    elif kind == "files":
        answer = caller.post(path, {f"f{number}": SimpleUploadedFile("a", b"x") for number in range(20)})
    else:
        answer = caller.post(path, {"username": "x" * 70_000})
    assert (answer.status_code, answer.json()["error"]) in ((422, "invalid_message"), (413, "too_large"))


TRICKS = {
    "X-HTTP-Method-Override": "DELETE",
    "X-Forwarded-User": "alice@example.com",
    "X-Remote-User": "alice@example.com",
    "X-Original-URL": "/health",
    "X-Test-Mode": "1",
    "X-E2E-Bypass": "1",
    "X-User-Id": "1",
}


@pytest.mark.parametrize("name", TRICKS)
def test_no_header_stands_for_a_token(client, alice, name):
    answer = client.post("/api/threads", b"{}", content_type="application/json", headers={name: TRICKS[name]})
    assert answer.status_code == 401


def test_a_method_cannot_be_overridden(client, alice):
    token = {"Authorization": f"Bearer {sessions.sign_in(alice, '').access}"}
    thread = client.post("/api/threads", b"{}", content_type="application/json", headers=token).json()["id"]
    tricked = token | {"X-HTTP-Method-Override": "DELETE"}
    assert client.get(f"/api/threads/{thread}?_method=DELETE", headers=tricked).status_code == 200
    assert client.get(f"/api/threads/{thread}", headers=token).status_code == 200


def test_staff_see_no_more_than_others_over_rest(client, alice):
    boss = User.objects.create_superuser("boss@example.com", PASSWORD)
    hers, his = ({"Authorization": f"Bearer {sessions.sign_in(user, '').access}"} for user in (alice, boss))
    thread = client.post("/api/threads", b"{}", content_type="application/json", headers=hers).json()["id"]
    for path in (f"/api/threads/{thread}", f"/api/threads/{thread}/events", f"/api/threads/{thread}/export"):
        assert client.get(path, headers=his).status_code == 404
    assert client.get("/api/threads", headers=his).json()["total_count"] == 0
