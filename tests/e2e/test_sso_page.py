"""Sign-in by a provider in Chromium: the buttons, the way there and back, Settings, and the ends of a session."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.axe import serious
from tests.openid_provider import CLIENT, SECRET, OpenIdProvider, openid_provider
from tests.page import needs_chromium
from tests.site import WAIT_TIMEOUT, Site, running

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with openid_provider() as found:
        yield found


@pytest.fixture(scope="module")
def site(provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    given = {"URL": provider.url, "CLIENT": CLIENT, "SECRET": SECRET}
    settings = {"NETRA_SSO": "corp=oidc,git=github"}
    for id, name in (("CORP", "Corp"), ("GIT", "the GitHub of our company and of its daughters")):
        settings |= {f"NETRA_SSO_{id}_{key}": value for key, value in {**given, "NAME": name}.items()}
    with running(tmp_path_factory.mktemp("sso"), **settings) as found:
        yield found


PHONE = {"width": 360, "height": 640}


def visit(browser: Browser, site: Site, path: str, **options: Any) -> Page:
    """Open the path in a browser without cookies."""
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT_TIMEOUT * 1000)
    page = context.new_page()
    page.goto(site.url + path)
    return page


def somebody_new(provider: OpenIdProvider) -> str:
    """Let the provider have another user. Return the user's subject."""
    name = f"sub-{secrets.token_hex(4)}"
    provider.person = {"sub": name, "email": f"{name}@corp.example", "email_verified": True, "name": "Carol"}
    return name


def sign_in(page: Page) -> None:
    page.get_by_role("button", name="Continue with Corp").click()


def test_sign_in_first_message_second_visit_and_the_ends(
    site: Site, browser: Browser, provider: OpenIdProvider
) -> None:
    page = visit(browser, site, "/login")
    sign_in(page)
    expect(page.locator("#account")).to_have_text("Carol")
    assert page.url == f"{site.url}/"
    page.fill("#composer", "hello")
    page.press("#composer", "Enter")
    expect(page.locator(".message[data-role=assistant]")).to_be_visible()

    provider.claims["sid"] = "second"
    again = visit(browser, site, "/settings")
    expect(again).to_have_url(re.compile("/login"))
    sign_in(again)
    expect(again.locator("#email")).to_have_value("carol@corp.example")
    expect(again.locator("#sessions li")).to_have_count(2)
    expect(again.locator("#connections li")).to_contain_text("Corp")
    expect(again.locator("#password-section")).to_be_hidden()
    again.goto(f"{site.url}/")
    expect(again.locator("#account")).to_have_text("Carol")

    # The provider ends its second session: that page's socket is closed, and it shows the sign-in.
    token = provider.logout_token(sid="second")
    answer = requests.post(f"{site.url}/auth/sso/corp/logout", data={"logout_token": token}, timeout=WAIT_TIMEOUT)
    assert answer.status_code == 200
    expect(again).to_have_url(re.compile("/login"))
    expect(again.locator(".lead")).to_contain_text("Your session has ended")

    third = visit(browser, site, "/login?next=/settings")
    sign_in(third)
    expect(third.locator("#sessions li")).to_have_count(2)
    third.get_by_role("button", name="Sign out everywhere").click()
    expect(page).to_have_url(re.compile("/login"))
    expect(third).to_have_url(re.compile("/login"))


def test_connect_disconnect_and_a_refused_sign_in(site: Site, browser: Browser, provider: OpenIdProvider) -> None:
    user = site.register("dora")
    provider.person = {"sub": "dora", "email": user.email, "email_verified": True, "name": "Dora"}
    page = visit(browser, site, "/login")
    sign_in(page)
    expect(page.get_by_role("alert").first).to_contain_text("connect it in Settings")

    page.goto(f"{site.url}/login?next=/settings")
    page.fill("#email", user.email)
    page.fill("#password", user.password)
    page.click("#submit")
    expect(page.locator("#connections")).to_contain_text("None.")
    page.get_by_role("button", name="Connect Corp").click()
    expect(page.locator("#connect-form [role=alert]")).to_be_visible()
    page.fill("#proof-password", user.password)
    page.get_by_role("button", name="Connect Corp").click()
    expect(page.locator("#connections li")).to_contain_text(user.email)
    expect(page).to_have_url(f"{site.url}/settings")

    second = visit(browser, site, "/login")
    sign_in(second)
    expect(second.locator("#account")).to_have_text("dora")

    page.fill("#proof-password", user.password)
    page.get_by_role("button", name="Disconnect Corp").click()
    expect(page.locator("#connections")).to_contain_text("None.")
    expect(second).to_have_url(re.compile("/login"))


def test_link_to_a_shared_conversation_is_told_to_no_request_of_the_sign_in(
    site: Site, browser: Browser, provider: OpenIdProvider
) -> None:
    """A proxy writes the Referer of a failed request to its log, and the end of the link is a secret."""
    token = "t" * 27
    somebody_new(provider)
    page = visit(browser, site, "/login")
    referrers: list[str] = []
    page.on("request", lambda request: referrers.append(request.all_headers().get("referer", "")))
    page.goto(f"{site.url}/s/{token}")
    expect(page).to_have_url(re.compile("/login\\?next="))
    page.fill("#email", "nobody@example.com")
    page.fill("#password", "a wrong password")
    page.click("#submit")
    expect(page.get_by_role("alert").first).to_be_visible()
    sign_in(page)
    expect(page).to_have_url(f"{site.url}/s/{token}")
    assert site.url + "/" in referrers, "the requests are those of the page"
    assert not [referrer for referrer in referrers if token in referrer]


def check(page: Page) -> None:
    """Fail for a finding of axe, and for what is beside the window."""
    serious(page)
    beside = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
          .filter((shown) => shown.getBoundingClientRect().right > document.documentElement.clientWidth)
          .map((shown) => shown.outerHTML.slice(0, 100))"""
    )
    assert beside == [], page.url


ERRORS = ("sso_failed", "sso_denied", "email_unverified", "account_exists", "domain", "closed", "inactive")


@pytest.mark.parametrize(
    "options", [{}, {"viewport": PHONE, "has_touch": True, "is_mobile": True}], ids=["desk", "phone"]
)
def test_pages_of_sign_in_are_for_everybody(
    site: Site, browser: Browser, provider: OpenIdProvider, options: dict[str, Any]
) -> None:
    page = visit(browser, site, "/login", **options)
    check(page)
    for error in ERRORS:
        page.goto(f"{site.url}/login?error={error}")
        expect(page.locator(".refused")).to_be_visible()
        check(page)
    # By the keyboard alone: the first key leads to the first provider.
    page.locator(".refused").evaluate("(shown) => { shown.tabIndex = -1; shown.focus(); }")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Continue with Corp")).to_be_focused()
    name = somebody_new(provider)
    page.goto(f"{site.url}/login?next=/settings")
    sign_in(page)
    expect(page.locator("#connections li")).to_contain_text("Corp")
    check(page)
    page.get_by_role("button", name="Connect the GitHub").click()
    provider.emails = [{"email": f"{name}@home.example", "primary": True, "verified": True, "visibility": "private"}]
    expect(page.locator("#connections li")).to_have_count(2)
    check(page)
    # A conflict, said on the page: the way that is left is the only one.
    page.get_by_role("button", name="Disconnect the GitHub").click()
    expect(page.locator("#connections li")).to_have_count(1)
    page.get_by_role("button", name="Disconnect Corp").click()
    expect(page.get_by_text("This is the only way into your account")).to_be_visible()
    check(page)
    page.goto(f"{site.url}/settings?error=account_exists")
    expect(page.get_by_role("alert").first).to_be_visible()
    check(page)
