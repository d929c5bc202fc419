"""An assistant from its first line in the admin to an approved call, in a real Chromium."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from playwright.sync_api import Browser, Page, expect

from tests.conftest import BRISK
from tests.model_provider import Exchange, Provider, calls, elsewhere, says
from tests.page import needs_chromium
from tests.site import WAIT_TIMEOUT, Site, User, wait_until
from tests.tickets import serving

pytestmark = needs_chromium

CLOSED: list[int] = []  # tickets


@asynccontextmanager
async def world(provider: Provider) -> Any:
    """Run a model's provider and a server with a tool that acts; yield their addresses."""
    desk = MCPServer("desk")

    @desk.tool()
    def close(number: int) -> str:
        """Close a ticket."""
        CLOSED.append(number)
        return "closed"

    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(provider.running()), await stack.enter_async_context(serving(desk))


@pytest.fixture
def desk(own_site: Any) -> Iterator[tuple[Site, Provider]]:
    """A site with a model and the server `desk`, which needs no sign-in."""
    CLOSED.clear()
    provider = Provider()
    with elsewhere(world(provider)) as (model, server):
        options = {"NETRA_MODELS": "own=openai:gpt-4o", "NETRA_MODEL_OWN_URL": model}
        yield own_site(workers=1, **BRISK, **options, NETRA_MCP_SERVERS=f"desk={server}"), provider


def visit(browser: Browser, user: User, path: str, heading: str) -> Page:
    """Open the path in a browser without cookies, and sign in by its form."""
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(WAIT_TIMEOUT * 1000)
    page = context.new_page()
    page.goto(user.site.url + path)
    if path.startswith("/admin"):
        page.get_by_label("Email").fill(user.email)
        page.get_by_label("Password").fill(user.password)
        page.get_by_role("button", name="Log in").click()
    else:
        page.fill("#email", user.email)
        page.fill("#password", user.password)
        page.click("#submit")
    expect(page.locator(heading)).to_be_visible()
    return page


async def hangs(exchange: Exchange) -> None:
    await asyncio.Event().wait()


def test_an_administrator_makes_an_assistant_and_a_user_edits_and_approves_its_call(
    desk: tuple[Site, Provider], browser: Browser, tmp_path: Path
) -> None:
    site, provider = desk
    staff, ann = site.register("staff"), site.register("ann")
    make = "from chat.models import User; User.objects.filter(email=%r).update(is_staff=True, is_superuser=True)"
    site.shell(make % staff.email)
    chat = visit(browser, ann, "/login", "#composer")

    # The administrator makes it; the tools of the server are there without a restart.
    admin = visit(browser, staff, "/admin/chat/assistant/add/", "#id_name")
    admin.fill("#id_name", "helpdesk")
    admin.fill("#id_title", "Help desk")
    admin.fill("#id_instructions", "Close tickets that are done.")
    admin.fill("#id_starters", "Close my ticket")
    admin.get_by_role("button", name="Save and continue editing").click()
    admin.get_by_role("link", name="Tools", exact=True).click()
    wait_until(lambda: admin.reload() and admin.locator("[name=desk_close-save]").count(), "the tool of the server")
    expect(admin.locator("[name=desk_close-policy]")).to_have_value("ask")
    admin.locator("[name=desk_close-policy]").select_option("always")
    admin.check("[name=desk_close-save]")
    admin.get_by_role("button", name="Save the marked ones").click()
    expect(admin.get_by_text("Policies saved: 1.")).to_be_visible()

    # It is in the user's picker at once.
    def offered() -> bool:
        chat.reload()
        expect(chat.locator("#agent-name")).not_to_be_empty()
        chat.click("#agent")
        return bool(chat.get_by_role("menuitemradio", name="Help desk").count())

    wait_until(offered, "the assistant in the picker")
    chat.get_by_role("menuitemradio", name="Help desk").click()
    provider.replies = [calls(("desk_close", {"number": 7}), text="Closing. "), hangs, says("It is closed."), says("T")]
    chat.fill("#composer", "Close 7")
    chat.press("#composer", "Enter")
    card = chat.locator("section.request")
    expect(chat.get_by_role("table", name="Parameters").get_by_role("row")).to_have_text(["Number7"])
    expect(card.get_by_role("button", name="Approve", exact=True)).not_to_be_focused()
    assert CLOSED == []
    card.get_by_role("button", name="Edit", exact=True).click()
    card.get_by_label("Number").fill("8")
    card.get_by_role("button", name="Approve with these values").click()

    # The worker is killed after the call, in the second response: neither the first nor the call is made again.
    wait_until(lambda: len(provider.asked) == 2, "the second request to the model")
    site.workers[-1].send_signal(signal.SIGKILL)
    site.workers[-1].wait()
    site.repair()
    expect(chat.locator(".message[data-role=assistant]")).to_contain_text("It is closed.")
    expect(chat.locator(".run[data-status=completed]")).to_have_count(1)
    assert CLOSED == [8]
    assert len([asked for asked in provider.asked if asked.offered]) == 3  # the one that hung is paid, and asked again

    # Versions: what has changed is shown, and an earlier one comes back.
    admin.goto(f"{site.url}/admin/chat/assistant/")
    admin.get_by_role("link", name="helpdesk").click()
    admin.fill("#id_instructions", "Close nothing.")
    admin.get_by_role("button", name="Save and continue editing").click()
    admin.get_by_role("link", name="Versions", exact=True).click()
    expect(admin.locator("pre").first).to_contain_text("-    Close tickets that are done.")
    expect(admin.locator("pre").first).to_contain_text("+    Close nothing.")
    admin.get_by_role("button", name="Restore version 2").click()
    expect(admin.get_by_text("Version 2 is restored as version 4.")).to_be_visible()
    expect(admin.locator("pre").first).to_contain_text("+    Close tickets that are done.")
