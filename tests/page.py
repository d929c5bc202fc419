"""The chat page in a real Chromium: the people at it, and what tests look for on it."""

import os
import re
import shutil
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, WebSocket, expect

from tests.site import WAIT_TIMEOUT, User

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "the page's tests need a Chromium on the PATH: `apt-get install chromium`"
needs_chromium = pytest.mark.skipif(not CHROMIUM and os.environ.get("CI") != "true", reason=NO_CHROMIUM)

ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)
# What Chromium prints into the console; a test that provokes one of them says so.
UNAUTHORIZED, MISSING, CONFLICT = r"status of 401", r"status of 404", r"status of 409"
UNREACHABLE = r"net::ERR_(CONNECTION_(REFUSED|RESET)|INTERNET_DISCONNECTED)"


class Person:
    """Someone with an account, at a browser with cookies of its own. `heard`: the frames its sockets received."""

    def __init__(self, context: BrowserContext, user: User, provokes: str) -> None:
        self.context, self.user, self.provokes = context, user, provokes
        self.heard: list[str] = []
        self.complaints: list[str] = []
        context.set_default_timeout(WAIT_TIMEOUT * 1000)
        context.on("console", lambda message: message.type == "error" and self._complain(message.text))
        context.on("weberror", lambda error: self._complain(str(error.error)))
        context.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        context.on("request", lambda request: self._stays_here(request.url))
        self.sockets: list[WebSocket] = []
        context.on("page", lambda page: page.on("websocket", self._listen))

    def _complain(self, text: str) -> None:
        if not (self.provokes and re.search(self.provokes, text)):
            self.complaints.append(text)

    def _stays_here(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.user.site.url).netloc:
            self.complaints.append(f"asked for {url}")

    def _listen(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framereceived", lambda text: self.heard.append(str(text)))

    def open(self, path: str = "/") -> Page:
        """Open a further tab."""
        page = self.context.new_page()
        page.goto(self.user.site.url + path)
        return page

    def sign_in(self, page: Page) -> None:
        """Fill in the form."""
        page.fill("#email", self.user.email)
        page.fill("#password", self.user.password)
        page.click("#submit")
        expect(page.locator("#account")).to_have_text("ann")

    def thread(self, agent: str) -> str:
        """The path of a new thread with this agent."""
        return "/c/" + self.user.http("POST", "/api/threads", {"agent": agent}).json()["id"]


def session(user: User) -> Any:
    """Cookies and storage of a browser after signing in by the form."""
    address = urlsplit(user.site.url)
    cookie = {"name": "netra_refresh", "value": user.refresh, "domain": address.hostname, "path": "/auth"}
    cookie |= {"httpOnly": True, "sameSite": "Strict", "secure": False, "expires": -1}
    kept = [{"name": "netra.signed_in", "value": user.id}]
    return {"cookies": [cookie], "origins": [{"origin": user.site.url, "localStorage": kept}]}


def say(page: Page, text: str) -> None:
    page.fill("#composer", text)
    page.press("#composer", "Enter")


def runs(page: Page, status: str) -> Locator:
    return page.locator(f".run[data-status={status}]")


def questions(page: Page) -> Locator:
    return page.locator(".message[data-role=user]")


def answers(page: Page) -> Locator:
    return page.locator(".message[data-role=assistant]")


def listed(page: Page) -> Locator:
    return page.locator("#threads a .title")


def stored(user: User, page: Page) -> list[tuple[str, str]]:
    """Role and content of the messages of the thread that the page shows."""
    messages = user.http("GET", f"/api/threads/{thread_id(page)}/messages").json()["messages"]
    return [(message["role"], message["content"]) for message in messages]


def thread_id(page: Page) -> str:
    return urlsplit(page.url).path.removeprefix("/c/")
