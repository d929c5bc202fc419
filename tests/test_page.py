"""The chat page in a real Chromium, against the real stack."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocket, expect, sync_playwright

from tests.site import PATIENCE, Site, User

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "the page's tests need a Chromium on the PATH: `apt-get install chromium`"
pytestmark = pytest.mark.skipif(not CHROMIUM and os.environ.get("CI") != "true", reason=NO_CHROMIUM)

ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)
# What Chromium prints into the console; a test that provokes one of them says so.
UNAUTHORIZED, CONFLICT, UNREACHABLE = r"status of 401", r"status of 409", r"net::ERR_CONNECTION_(REFUSED|RESET)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For this module only: while Playwright runs, its event loop keeps Django's database from the other tests."""
    assert CHROMIUM, NO_CHROMIUM
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


class Person:
    """Someone with an account, at a browser with cookies of its own. `heard`: the frames its sockets received."""

    def __init__(self, context: BrowserContext, user: User, provokes: str) -> None:
        self.context, self.user, self.provokes = context, user, provokes
        self.heard: list[str] = []
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE * 1000)
        context.on("console", lambda message: message.type == "error" and self._complain(message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
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
        """One more tab."""
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


@pytest.fixture
def meet(browser: Browser) -> Iterator[Callable[..., Person]]:
    """meet(site, signed_in=False, provokes=REGEX): someone new. What else reaches the console fails the test."""
    people: list[Person] = []

    def new(site: Site, *, signed_in: bool = True, provokes: str = "", **options: Any) -> Person:
        user = site.register("ann")
        context = browser.new_context(storage_state=session(user) if signed_in else None, **options)
        people.append(Person(context, user, provokes))
        return people[-1]

    yield new
    for person in people:
        person.context.close()
    assert [person.complaints for person in people] == [[] for _ in people]


def session(user: User) -> Any:
    """What the form of sign-in leaves in a browser."""
    address = urlsplit(user.site.url)
    cookie = {"name": "netra_refresh", "value": user.refresh, "domain": address.hostname, "path": "/auth"}
    cookie |= {"httpOnly": True, "sameSite": "Strict", "secure": False, "expires": -1}
    kept = [{"name": "netra.signed_in", "value": "1"}]
    return {"cookies": [cookie], "origins": [{"origin": user.site.url, "localStorage": kept}]}


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What the agent `gated` waits for, once it is sent as a message; for its folder it does not wait."""
    return tmp_path / "gate"


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


# ---- From sign-up to an answer ----


def test_from_sign_up_to_a_stored_answer_with_the_right_figures(site, meet):
    someone = meet(site, signed_in=False)
    page = someone.open("/")
    page.click("text=Create one")
    user = User(site, "", f"new-{someone.user.email}", "correct horse battery", "", "")
    page.fill("#name", "Ada")
    page.fill("#email", user.email)
    page.fill("#password", user.password)
    page.click("#submit")
    expect(page.locator("#account")).to_have_text("Ada")

    page.click("text=I pay $5,000 a month for GPT-4 calls, get it down by 30 %")
    page.keyboard.press("Enter")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Answer complete")
    parts = [part.get_attribute("data-agent") for part in page.locator(".run .part").all()]
    assert parts == ["advisor", "triage", "data", "optimization", "actions", "reporting"]

    credentials = {"email": user.email, "password": user.password}
    user.access = httpx.post(site.url + "/auth/login", json=credentials, timeout=PATIENCE).json()["access_token"]
    events = user.http("GET", f"/api/threads/{thread_id(page)}/events").json()["events"]
    end = events[-1]
    totals, saving = end["result"], end["result"]["monthly_saving"]
    assert totals["monthly_spend"] == 5_000
    assert 0 < saving < 5_000
    assert totals["monthly_after"] == pytest.approx(5_000 - saving)
    assert totals["yearly_saving"] == pytest.approx(12 * saving)
    shown = answers(page).inner_text()
    for amount in (5_000, 0.3 * 5_000, 0.7 * 5_000, saving, 5_000 - saving, 12 * saving):
        assert f"${amount:,.0f}" in shown
    column = [dollars(cell) for cell in page.locator("table:has-text('Together') tr td:last-child").all_inner_texts()]
    assert sum(column[:-1]) == pytest.approx(column[-1], abs=len(column))
    assert column[-1] == pytest.approx(saving, abs=1)

    assert stored(user, page)[1] == ("assistant", end["final_response"])
    html = answers(page).inner_html()
    page.reload()
    expect(runs(page, "completed")).to_be_visible()
    assert answers(page).inner_html() == html


def dollars(text: str) -> float:
    return float(text.replace("$", "").replace(",", ""))


def test_every_kind_of_step_is_shown(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one two three")
    expect(page.locator(".run .part[data-agent=echo]")).to_be_visible()
    expect(page.locator(".thought")).to_have_text("Counting the words")
    step = page.locator(".step[data-tool=word_count][data-status=completed]")
    expect(step.locator("summary")).to_contain_text("text: one two three")
    step.locator("summary").click()
    assert json.loads(step.locator("pre").nth(0).inner_text()) == {"text": "one two three"}
    expect(step.locator("pre").nth(1)).to_have_text("3")
    expect(step).to_be_in_viewport()
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page)).to_have_text(["one two three"])
    expect(listed(page)).to_have_text(["one two three"])


def test_a_run_that_fails_says_so_in_the_agents_words(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("failing"))
    expect(page.locator("#welcome")).to_be_visible()
    # However fast it fails: here the page paints nothing before the end.
    page.evaluate(
        "() => { [paint, later] = [requestAnimationFrame, []]; requestAnimationFrame = (f) => later.push(f) }"
    )
    with ann.sockets[-1].expect_event("framereceived", lambda text: "agent_failed" in str(text)):
        say(page, "some_code")
    page.evaluate("requestAnimationFrame = paint; later.forEach((f) => paint(f))")
    expect(page.get_by_role("alert")).to_have_text("The words of the agent.")
    expect(page.locator("#status")).to_have_text("The answer failed")
    expect(runs(page, "failed")).to_be_visible()
    expect(page.locator("#stop")).to_be_hidden()
    for leave_and_return in (lambda: (page.click("#new-thread"), listed(page).click()), page.reload):
        leave_and_return()
        expect(page.locator(".failure")).to_have_text("The words of the agent.")
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_message_sent_while_another_is_answered_waits_its_turn(site, meet, gate):
    ann = meet(site)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    say(page, str(gate.parent))
    expect(page.locator(".state")).to_contain_text("Queued")
    expect(runs(page, "running")).to_have_count(1)
    gate.touch()
    expect(runs(page, "completed")).to_have_count(2)
    expect(answers(page)).to_have_text(["before after 1"] * 2)
    expect(questions(page)).to_have_text([str(gate), str(gate.parent)])


# ---- Accounts ----


def test_a_wrong_password_is_told_beside_the_form(site, meet):
    ann = meet(site, signed_in=False, provokes=UNAUTHORIZED)
    page = ann.open("/login")
    page.fill("#email", ann.user.email)
    page.fill("#password", "not the password")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("The address or the password is wrong.")
    ann.sign_in(page)


def test_a_taken_address_is_told_beside_the_form(site, meet):
    ann = meet(site, signed_in=False, provokes=CONFLICT)
    page = ann.open("/signup")
    page.fill("#email", ann.user.email.upper())
    page.fill("#password", "correct horse battery")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("This address is already registered.")
    expect(page.locator("#email[aria-invalid=true]")).to_be_focused()
    assert urlsplit(page.url).path == "/signup"


def test_who_signs_out_and_in_again_finds_everything_there(site, meet):
    ann = meet(site)
    path = ann.thread("echo")
    page = ann.open(path)
    say(page, "keep this")
    expect(answers(page)).to_have_text(["keep this"])
    expect(runs(page, "completed")).to_be_visible()
    other = ann.open()
    expect(listed(other)).to_have_text(["keep this"])

    page.click("#sign-out")
    for tab in (page, other):
        expect(tab).to_have_url(re.compile(r"/login"))
    assert ann.context.cookies(site.url + "/auth/refresh") == []
    page.goto(site.url + path)
    expect(page).to_have_url(re.compile(r"/login\?next="))
    ann.sign_in(page)
    assert urlsplit(page.url).path == path
    expect(answers(page)).to_have_text(["keep this"])

    page = ann.open()
    expect(listed(page)).to_have_text(["keep this"])
    listed(page).click()
    expect(answers(page)).to_have_text(["keep this"])
    assert urlsplit(page.url).path == path


def test_tokens_are_out_of_reach_of_scripts(site, meet):
    ann = meet(site, signed_in=False)
    page = ann.open("/login")
    with page.expect_request("**/api/threads?*") as asked:
        ann.sign_in(page)
    token = asked.value.headers["authorization"].removeprefix("Bearer ")
    assert token.count(".") == 2
    (cookie,) = ann.context.cookies(site.url + "/auth/refresh")
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("netra_refresh", True, "Strict")
    assert cookie["path"] == "/auth"
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert token not in kept
    assert cookie["value"] not in kept
    assert "eyJ" not in kept
    assert page.evaluate("document.cookie") == ""


def test_two_users_do_not_see_each_other(site, meet):
    ann, bob = meet(site), meet(site)
    hers, his = ann.open(ann.thread("echo")), bob.open(bob.thread("echo"))
    expect(his.locator("#welcome")).to_be_visible()
    say(hers, "the secret of ann")
    expect(runs(hers, "completed")).to_be_visible()
    say(his, "the words of bob")
    expect(runs(his, "completed")).to_be_visible()
    expect(listed(his)).to_have_text(["the words of bob"])

    his.goto(hers.url)
    expect(his.locator("#missing")).to_be_visible()
    expect(his.locator("#ask")).to_be_hidden()
    expect(listed(his)).to_have_text(["the words of bob"])
    assert "secret" not in his.content()
    assert any("the words of bob" in frame for frame in bob.heard)
    assert not any("secret" in frame or (thread_id(hers) in frame and "not_found" not in frame) for frame in bob.heard)
    expect(answers(hers)).to_have_text(["the secret of ann"])


# ---- Never stuck, never doubled ----


def test_a_reload_in_mid_answer_goes_on(site, meet, gate):
    ann = meet(site)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    page.reload()
    expect(runs(page, "running")).to_be_visible()
    expect(answers(page)).to_have_text(["before"])
    gate.touch()
    expect(runs(page, "completed")).to_have_count(1)
    expect(answers(page)).to_have_text(["before after 1"])
    expect(questions(page)).to_have_text([str(gate)])


def test_two_tabs_show_the_same(site, meet, gate):
    ann = meet(site)
    path = ann.thread("gated")
    one = ann.open(path)
    two = ann.open(path)
    expect(two.locator("#welcome")).to_be_visible()
    say(one, str(gate))
    for tab in (one, two):
        expect(answers(tab)).to_have_text(["before"])
        expect(questions(tab)).to_have_text([str(gate)])
    gate.touch()
    say(two, str(gate.parent))
    for tab in (one, two):
        expect(runs(tab, "completed")).to_have_count(2)
        expect(answers(tab)).to_have_text(["before after 1"] * 2)
        expect(questions(tab)).to_have_text([str(gate), str(gate.parent)])
        expect(listed(tab)).to_have_count(1)
    assert sorted(stored(ann.user, one)) == twice(gate)


@pytest.mark.parametrize("how", ["button", "escape", "other tab"])
def test_stop_keeps_what_was_said(site, meet, how):
    ann = meet(site)
    path = ann.thread("slow")
    page = ann.open(path)
    say(page, "go")
    expect(answers(page)).to_contain_text("0 1 2")
    stopping = ann.open(path) if how == "other tab" else page
    if how == "escape":
        page.keyboard.press("Escape")
    else:
        stopping.click("#stop")
    for tab in {page, stopping}:
        expect(runs(tab, "cancelled")).to_be_visible()
        expect(tab.locator("#stop")).to_be_hidden()
    ((_, asked), (_, said)) = stored(ann.user, page)
    assert asked == "go"
    assert said.startswith("0 1 2")
    for tab in {page, stopping}:
        expect(answers(tab)).to_have_text([said.strip()])
    page.reload()
    expect(runs(page, "cancelled")).to_be_visible()
    expect(answers(page)).to_have_text([said.strip()])


def test_a_killed_worker_shows_restarted_and_one_whole_answer(brisk, meet, gate):
    ann = meet(brisk)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    for worker in brisk.workers:
        worker.kill()
        worker.wait()
    brisk.worker()
    expect(page.locator(".restarted")).to_contain_text("Restarted, attempt 2")
    expect(answers(page)).to_have_text(["before"])
    gate.touch()
    expect(runs(page, "completed")).to_have_count(1)
    expect(answers(page)).to_have_text(["before after 2"])
    assert stored(ann.user, page) == [("user", str(gate)), ("assistant", "before after 2")]


def test_a_page_whose_server_dies_counts_down_and_goes_on(brisk, meet, gate):
    ann = meet(brisk, provokes=UNREACHABLE)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    brisk.web.kill()
    brisk.web.wait()
    expect(page.locator("#connection-text")).to_have_text(
        re.compile(r"^The connection is lost. Trying again in \d+ s$")
    )
    say(page, str(gate.parent))
    expect(page.locator(".state[data-state=waiting]")).to_be_visible()
    gate.touch()
    brisk.start_web()
    page.locator("#reconnect").dispatch_event("click")  # which may be hidden again by now
    expect(page.locator("#connection")).to_be_hidden()
    expect(runs(page, "completed")).to_have_count(2)
    expect(answers(page)).to_have_text(["before after 1"] * 2)
    expect(questions(page)).to_have_text([str(gate), str(gate.parent)])
    assert sorted(stored(ann.user, page)) == twice(gate)


def twice(gate: Path) -> list[tuple[str, str]]:
    """What is stored after two questions, each answered once."""
    answer = ("assistant", "before after 1")
    return [answer, answer, ("user", str(gate.parent)), ("user", str(gate))]


# ---- What reaches the page is text ----

HOSTILE = (
    "<img src=x onerror=owned=1> <script>owned=1</script> <svg onload=owned=1> "
    "<iframe srcdoc='<script>parent.owned=1</script>'></iframe> <a href='javascript:owned=1'>a</a> "
    "[link](javascript:owned=1) ![image](https://example.com/x.png) <b id=composer> "
    "<form action=https://example.com><input name=attributes></form> <style>*{display:none}</style> {{7*7}} `</code>"
)
DANGEROUS = (
    "img, script, svg:not(.icon), iframe, object, embed, form, input, style, link, base, b,"
    " [onerror], [onload], [style], a[href^='javascript' i]"
)


def inert(page: Page) -> None:
    assert page.evaluate("window.owned") is None
    assert page.locator("script").count() == 2  # the import map and app.js
    for place in ("#sidebar", ".bar", "#transcript"):
        expect(page.locator(place)).to_be_visible()
        assert page.locator(place).locator(DANGEROUS).count() == 0, place


def test_hostile_words_of_a_user_stay_text(site, meet):
    ann = meet(site)
    name = HOSTILE[:60]
    assert ann.user.http("PATCH", "/auth/me", {"name": name}).status_code == 200
    page = ann.open(ann.thread("echo"))
    say(page, HOSTILE)
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator("#account")).to_have_text(name)
    expect(questions(page)).to_have_text([HOSTILE])
    expect(page.locator("#title")).to_contain_text("<img src=x onerror=owned=1>")
    expect(listed(page)).to_contain_text(["<img src=x onerror=owned=1>"])
    expect(answers(page)).to_contain_text(["<script>owned=1</script>"])
    inert(page)

    page.click("#rename")
    page.fill("#new-title", f"Renamed {HOSTILE[:100]}")
    page.press("#new-title", "Enter")
    expect(page.locator("#title")).to_contain_text("Renamed <img")
    inert(page)


def test_hostile_words_of_an_agent_stay_text(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, HOSTILE)
    expect(page.get_by_role("alert")).to_have_text(HOSTILE)
    for shown in (".thought", ".part .agent", ".part .task", ".step .gist", ".step pre"):
        expect(page.locator(shown).filter(has_text="<img src=x onerror=owned=1>")).not_to_have_count(0)
    expect(answers(page)).to_contain_text(["<script>owned=1</script>"])
    inert(page)
    page.reload()
    expect(runs(page, "failed")).to_be_visible()
    inert(page)


def test_the_policy_of_the_pages_allows_no_inline_script(site):
    for path in ("/", "/login", "/signup", "/c/00000000-0000-4000-8000-000000000000"):
        policies = [httpx.get(site.url + path).headers["content-security-policy"] for _ in range(2)]
        directives = dict(directive.split(maxsplit=1) for directive in policies[0].split("; "))
        assert "unsafe" not in policies[0]
        assert (directives["default-src"], directives["frame-ancestors"]) == ("'none'", "'none'")
        assert directives["script-src"].startswith("'self'")
        assert path == "/signup" or path == "/login" or policies[0] != policies[1], "the nonce is always another"


# ---- Keyboard and phone ----


def test_enter_sends_and_shift_enter_starts_a_line(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    expect(page.locator("#composer")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator("#composer")).to_have_value("one\ntwo")
    page.keyboard.press("Enter")
    expect(page.locator("#composer")).to_have_value("")
    expect(runs(page, "completed")).to_have_count(1)
    assert stored(ann.user, page)[0] == ("user", "one\ntwo")
    expect(questions(page)).to_have_count(1)


def test_on_a_phone_the_threads_are_in_a_drawer(site, meet):
    ann = meet(site, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    first = ann.thread("echo")
    page = ann.open(first)
    say(page, "words " * 60)
    expect(runs(page, "completed")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    page.tap("#menu")
    expect(page.locator("#sidebar")).to_be_in_viewport(ratio=0.9)
    page.tap("#new-thread")
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    expect(page.locator("#welcome")).to_be_visible()
    page.tap("#menu")
    page.locator("#threads a").tap()
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    expect(runs(page, "completed")).to_be_visible()
    assert urlsplit(page.url).path == first
