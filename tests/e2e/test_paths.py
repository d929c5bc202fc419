"""Paths as proxies and attackers ask a running site for them."""

import httpx
import pytest

from tests.site import WAIT_TIMEOUT, Site

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def test_double_slash_in_front_leads_to_no_other_host(site: Site) -> None:
    def asked(path: str) -> httpx.Response:
        return httpx.get(site.url + path, headers={"Accept": BROWSER}, timeout=WAIT_TIMEOUT)

    assert asked("//login").headers["location"] == "/login"
    assert asked("//login//?next=//evil.example/").headers["location"] == "/login?next=//evil.example/"
    for path in ("//evil.example/", "//evil.example/%2e%2e", "///evil.example/admin"):
        assert asked(path).json()["error"] == "not_found"


def test_favicon_of_a_page_without_one_is_the_icon(site: Site) -> None:
    answer = httpx.get(f"{site.url}/favicon.ico", follow_redirects=True, timeout=WAIT_TIMEOUT)
    assert answer.headers["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize(
    "header", ["Daphne-Root-Path", "X-Forwarded-Prefix", "X-Script-Name", "Script-Name", "X-Original-URL"]
)
@pytest.mark.parametrize("value", ["/evil", "//evil.example", "@evil.example", "/admin"])
def test_client_cannot_move_the_site_by_a_header(site: Site, header: str, value: str) -> None:
    def asked(path: str) -> httpx.Response:
        return httpx.get(site.url + path, headers={header: value}, timeout=WAIT_TIMEOUT)

    assert asked("/admin/").headers["location"] == "/admin/login/?next=/admin/"
    assert "evil" not in asked("/login").text
    assert asked("/evil/login").status_code == 404
    assert asked("/api/discovery/services").json()["services"]["api"]["url"] == f"{site.url}/api"
