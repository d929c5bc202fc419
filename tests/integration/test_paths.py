"""Paths as people type them and as proxies and crawlers ask for them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client, RequestFactory

from chat.models import User
from chat.protocol import MODES
from netra.static_files import StaticFiles
from tests.conftest import PASSWORD

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
THREAD = "6d1c0000-0000-4000-8000-00000000000A"
WRONG_SLASH = [
    ("/admin", "/admin/"),
    ("/admin/login", "/admin/login/"),
    ("/admin/chat/user", "/admin/chat/user/"),
    ("/admin//chat//user/", "/admin/chat/user/"),
    ("/login/", "/login"),
    ("/login//", "/login"),
    ("/signup/", "/signup"),
    ("/settings/", "/settings"),
    (f"/c/{THREAD}/", f"/c/{THREAD}"),
    ("/c/abc/", "/c/abc"),
    ("/reset/", "/reset"),
    ("/reset/MQ/token/", "/reset/MQ/token"),
    ("/api/docs/", "/api/docs"),
]
NO_PAGE = [
    "/nope", "/nope/", "/api/threads/", "/auth/me/", "/health/", "/api/health/", "/metrics/", "/api/schema/",
    "/%2f%2fevil.example/", "/\\evil.example/", "/login%0d%0a/",
    "/admin/nope", "/admin/nope/",
]  # fmt: skip


@pytest.fixture
def staff(client: Client, db: Any) -> Client:
    User.objects.create_superuser("root@example.com", PASSWORD)
    assert client.login(username="root@example.com", password=PASSWORD)
    return client


@pytest.mark.parametrize(("path", "meant"), WRONG_SLASH)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_page_with_a_wrong_slash_sends_a_browser_to_the_page(staff, method, path, meant):
    answer = staff.generic(method, path, HTTP_ACCEPT=BROWSER, QUERY_STRING="next=/a%0d%0ab&x=ü")
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{meant}?next=/a%0d%0ab&x=%C3%BC"


@pytest.mark.parametrize("path", [path for path, _ in WRONG_SLASH])
@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html;q=0.5", "image/*"])
def test_page_with_a_wrong_slash_answers_a_program_in_json(staff, path, accept):
    headers = {} if accept is None else {"HTTP_ACCEPT": accept}
    answer = staff.get(path, **headers)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize("path", NO_PAGE)
def test_path_of_no_page_answers_a_browser_in_json(staff, path):
    answer = staff.generic("GET", path, HTTP_ACCEPT=BROWSER)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_page_with_a_wrong_slash_is_not_found_by_another_method(client, db):
    for method in ("POST", "PUT", "DELETE"):
        assert client.generic(method, "/login/", HTTP_ACCEPT=BROWSER).status_code == 404


def test_admin_path_without_its_slash_is_found_after_signing_in(client, db):
    User.objects.create_superuser("root@example.com", PASSWORD)
    asked = client.get("/admin/chat/user", HTTP_ACCEPT=BROWSER)
    form = {"username": "root@example.com", "password": PASSWORD, "next": "/admin/chat/user"}
    signed_in = client.post(asked.headers["Location"], form)
    assert client.get(signed_in.headers["Location"], HTTP_ACCEPT=BROWSER).headers["Location"] == "/admin/chat/user/"


@pytest.mark.parametrize("next_page", ["", "//evil.example/", "https://evil.example/", "javascript:alert(1)"])
def test_admin_sign_in_with_a_foreign_next_page_ends_in_the_admin(client, db, next_page):
    User.objects.create_superuser("root@example.com", PASSWORD)
    form = {"username": "root@example.com", "password": PASSWORD, "next": next_page}
    assert client.post("/admin/login/", form).headers["Location"] == "/admin/"


@pytest.mark.parametrize("path", MODES)
def test_socket_path_with_a_slash_names_the_right_one(client, path):
    answer = client.get(f"{path}/")
    assert answer.status_code == 404
    assert f"The socket is at {path}, without a slash." in answer.json()["message"]


def test_every_page_answers_head_like_get_without_a_body(client, db):
    for path in ("/", f"/c/{THREAD}", "/login", "/signup", "/settings", "/admin/login/", "/api/docs", "/robots.txt"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"]


def test_crawlers_are_told_to_stay_away(client):
    answer = client.get("/robots.txt")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.content == b"User-agent: *\nDisallow: /\n"


# ---- Static files ----


async def read(files: StaticFiles, path: str) -> tuple[int, str, bytes]:
    """Status, length as announced, and body."""
    answer: Any = await files(RequestFactory().get(path))
    body = b"".join([piece async for piece in answer]) if answer.streaming else answer.content
    return answer.status_code, answer.get("Content-Length", ""), body


def test_static_file_that_was_replaced_is_served_with_its_new_length(settings: Any, tmp_path: Path) -> None:
    async def missing(request: HttpRequest) -> HttpResponseBase:
        return HttpResponse(status=404)

    settings.STATICFILES_DIRS = [tmp_path]
    file = tmp_path / "page.js"
    file.write_text("a long first version")
    files = StaticFiles(missing)

    async def replaced() -> None:
        assert await read(files, "/static/page.js") == (200, "20", b"a long first version")
        file.write_text("short")
        assert await read(files, "/static/page.js") == (200, "5", b"short")
        file.unlink()
        assert (await read(files, "/static/page.js"))[0] == 404
        file.write_text("there again")
        assert await read(files, "/static/page.js") == (200, "11", b"there again")

    asyncio.run(replaced())
