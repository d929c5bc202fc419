"""The account of a user at an MCP server in Chromium: a card that waits for it, Settings, the way there and back."""

import re
from collections.abc import Iterator

import pytest
import requests
from cryptography.fernet import Fernet
from playwright.sync_api import Browser, Page, expect

from tests.mcp_oauth import Guarded, guarded
from tests.model_provider import Provider, calls, provided, says
from tests.page import needs_chromium
from tests.site import WAIT_TIMEOUT, Site, running

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    with guarded() as found:
        yield found


@pytest.fixture(scope="module")
def site(server: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Provider]]:
    with provided() as (provider, url):
        options = {
            "NETRA_MODEL": "openai:gpt-4o",
            "NETRA_MODEL_URL": url,
            "NETRA_MCP_SERVERS": f"notes={server.url}/mcp,pages={server.url}/mcp",
            "NETRA_MCP_NOTES_AUTH": "oauth",
            "NETRA_MCP_PAGES_AUTH": "user",
            "NETRA_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        }
        with running(tmp_path_factory.mktemp("mcp"), **options) as found:
            yield found, provider


PASSWORD = "correct horse battery"


def signed_in(browser: Browser, site: Site, email: str) -> tuple[Page, str]:
    """Register the user, and sign in on the page. Return it, and the path of a conversation with the assistant."""
    account = {"email": email, "password": PASSWORD}
    token = requests.post(f"{site.url}/auth/register", json=account).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    thread = requests.post(f"{site.url}/api/threads", json={"agent": "assistant"}, headers=headers).json()["id"]
    context = browser.new_context()
    context.set_default_timeout(WAIT_TIMEOUT * 1000)
    page = context.new_page()
    page.goto(f"{site.url}/login")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#composer")).to_be_visible()
    return page, f"/c/{thread}"


def test_account_is_connected_disconnected_and_replaced_by_a_token_in_the_settings(
    site: tuple[Site, Provider], server: Guarded, browser: Browser
) -> None:
    page, _ = signed_in(browser, site[0], "ann@example.com")
    page.goto(f"{site[0].url}/settings?connect=notes")
    connect = page.get_by_role("button", name="Connect notes", exact=True)
    expect(connect).to_be_focused()
    connect.click()
    expect(page.get_by_role("button", name="Disconnect notes")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("notes connected")
    expect(page).to_have_url(re.compile(r"/settings$"))
    page.get_by_role("button", name="Disconnect notes").click()
    expect(connect).to_be_visible()
    assert len(server.authorizing.revoked) == 2
    server.authorizing.denies = True
    connect.click()
    expect(page.get_by_role("alert")).to_contain_text("the sign-in there was cancelled")
    server.authorizing.denies = False
    page.get_by_label("Your token for pages").fill("two words")
    page.get_by_role("button", name="Save token").click()
    expect(page.get_by_role("alert").last).to_contain_text("printable ASCII")
    page.get_by_label("Your token for pages").fill("a-token")
    page.get_by_role("button", name="Save token").click()
    expect(page.get_by_role("button", name="Disconnect pages")).to_be_visible()
    assert "a-token" not in page.content()


def test_card_that_waits_leads_to_the_settings_and_goes_on_after_the_callback(
    site: tuple[Site, Provider], server: Guarded, browser: Browser
) -> None:
    found, provider = site
    provider.replies = [calls(("notes_whoami", {})), says("You are alice there."), says("A title")]
    page, path = signed_in(browser, found, "bea@example.com")
    page.goto(found.url + path)
    page.locator("#composer").fill("Who am I there?")
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name=re.compile("connect=notes"))
    expect(link).to_be_visible()
    with page.context.expect_page() as opened:
        link.click()
    other = opened.value
    other.get_by_role("button", name="Connect notes", exact=True).click()
    expect(other.get_by_role("button", name="Disconnect notes")).to_be_visible()
    other_card = page.get_by_role("group", name=re.compile("“pages”"))
    other_card.get_by_role("button", name="Decline").click()
    other_card.get_by_role("button", name="Decline").click()  # after the reason
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("You are alice there.")).to_be_visible()

    # The next call needs more: the card leads to the settings, which say what for.
    server.demand("whoami", "notes:read")
    provider.replies = [calls(("notes_whoami", {})), says("You may read.")]
    page.locator("#composer").fill("And what may I?")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Approve").click()
    link = page.get_by_role("link", name=re.compile("scope=notes"))
    with page.context.expect_page() as opened:
        link.click()
    other = opened.value
    more = other.get_by_role("button", name="Allow notes more", exact=True)
    expect(more).to_be_focused()
    expect(other.get_by_text("A conversation needs beside that: notes:read")).to_be_visible()
    more.click()
    expect(other.get_by_role("status")).to_contain_text("notes connected")
    expect(more).to_have_count(0)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("You may read.")).to_be_visible()
    server.wrap = lambda app: app
