"""The chat page in a real Chromium, against the real stack."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    WebSocket,
    WebSocketRoute,
    expect,
    sync_playwright,
)

from tests.site import PATIENCE, ROOT, Site, User, wait_until
from tests.usage_files import Row, csv_of, rows

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
UNAUTHORIZED, MISSING, CONFLICT = r"status of 401", r"status of 404", r"status of 409"
UNREACHABLE = r"net::ERR_CONNECTION_(REFUSED|RESET)"


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
    kept = [{"name": "netra.signed_in", "value": user.id}]
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
    page.click(".run > summary")
    expect(page.locator(".run .part[data-agent=reporting]")).to_be_visible()
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
    shown = answers(page).text_content() or ""
    for amount in (5_000, 0.3 * 5_000, 0.7 * 5_000, saving, 5_000 - saving, 12 * saving):
        assert f"${amount:,.0f}" in shown
    column = [dollars(cell) for cell in page.locator("table:has-text('Together') tr td:last-child").all_text_contents()]
    assert sum(column[:-1]) == pytest.approx(column[-1], abs=len(column))
    assert column[-1] == pytest.approx(saving, abs=1)

    assert stored(user, page)[1] == ("assistant", end["final_response"])
    html = answers(page).inner_html()
    page.reload()
    expect(runs(page, "completed")).to_be_visible()
    assert answers(page).inner_html() == html


def dollars(text: str) -> float:
    return float(text.replace("$", "").replace(",", ""))


@pytest.mark.slow
def test_every_kind_of_step_is_shown(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one two three")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator(".run .part[data-agent=echo]")).to_be_hidden()
    page.click(".run > summary")
    expect(page.locator(".run .part[data-agent=echo]")).to_be_visible()
    expect(page.locator(".thought")).to_have_text(re.compile("^Counting the words"))
    step = page.locator(".step[data-tool=word_count][data-status=completed]")
    expect(step.locator("summary")).to_contain_text("text: one two three")
    step.locator("summary").click()
    assert json.loads(step.locator("pre").nth(0).inner_text()) == {"text": "one two three"}
    expect(step.locator("pre").nth(1)).to_have_text("3")
    expect(step).to_be_in_viewport()
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page)).to_have_text(["one two three"])
    expect(listed(page)).to_have_text(["One two three"])


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_wrong_password_is_told_beside_the_form(site, meet):
    ann = meet(site, signed_in=False, provokes=UNAUTHORIZED)
    page = ann.open("/login")
    page.fill("#email", ann.user.email)
    page.fill("#password", "not the password")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("The address or the password is wrong.")
    ann.sign_in(page)


@pytest.mark.slow
def test_a_taken_address_is_told_beside_the_form(site, meet):
    ann = meet(site, signed_in=False, provokes=CONFLICT)
    page = ann.open("/signup")
    page.fill("#email", ann.user.email.upper())
    page.fill("#password", "correct horse battery")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("This address is already registered.")
    expect(page.locator("#email[aria-invalid=true]")).to_be_focused()
    assert urlsplit(page.url).path == "/signup"


@pytest.mark.slow
def test_who_signs_out_and_in_again_finds_everything_there(site, meet):
    ann = meet(site)
    path = ann.thread("echo")
    page = ann.open(path)
    say(page, "keep this")
    expect(answers(page)).to_have_text(["keep this"])
    expect(runs(page, "completed")).to_be_visible()
    other = ann.open()
    expect(listed(other)).to_have_text(["Keep this"])

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
    expect(listed(page)).to_have_text(["Keep this"])
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
    ann, bob = meet(site), meet(site, provokes=MISSING)
    hers, his = ann.open(ann.thread("echo")), bob.open(bob.thread("echo"))
    expect(his.locator("#welcome")).to_be_visible()
    say(hers, "the secret of ann")
    expect(runs(hers, "completed")).to_be_visible()
    say(his, "the words of bob")
    expect(runs(his, "completed")).to_be_visible()
    expect(listed(his)).to_have_text(["The words of bob"])

    his.goto(hers.url)
    expect(his.locator("#missing")).to_be_visible()
    expect(his.locator("#ask")).to_be_hidden()
    expect(listed(his)).to_have_text(["The words of bob"])
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
    " [onerror], [onload], [style]:not(figure *, .katex *), a[href^='javascript' i]"
)


def inert(page: Page, *places: str) -> None:
    assert page.evaluate("window.owned") is None
    assert page.locator("script").count() == 3  # theme.js, the import map and app.js
    for place in places or ("#sidebar", ".bar", "#transcript"):
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

    page.click("#thread-menu")
    page.get_by_role("menuitem", name="Rename").click()
    page.fill("#new-title", f"Renamed {HOSTILE[:100]}")
    page.press("#new-title", "Enter")
    expect(page.locator("#title")).to_contain_text("Renamed <img")
    inert(page)


def test_hostile_words_of_an_agent_stay_text(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, HOSTILE)
    expect(page.get_by_role("alert")).to_have_text(HOSTILE)
    for step in page.locator(".step summary").all():
        step.click()
    for shown in (".thought", ".part .agent", ".part .task", ".step .gist", ".step pre"):
        expect(page.locator(shown).filter(has_text="<img src=x onerror=owned=1>")).not_to_have_count(0)
    expect(answers(page)).to_contain_text(["<script>owned=1</script>"])
    inert(page)
    page.reload()
    expect(runs(page, "failed")).to_be_visible()
    inert(page)


def test_the_policy_of_the_pages_allows_no_inline_script(site):
    for path in ("/", "/login", "/signup", "/settings", "/c/00000000-0000-4000-8000-000000000000"):
        policies = [httpx.get(site.url + path).headers["content-security-policy"] for _ in range(2)]
        directives = dict(directive.split(maxsplit=1) for directive in policies[0].split("; "))
        assert "unsafe" not in policies[0]
        assert (directives["default-src"], directives["frame-ancestors"]) == ("'none'", "'none'")
        assert directives["script-src"].startswith("'self'")
        assert directives["require-trusted-types-for"] == "'script'"
        assert path in ("/login", "/signup", "/settings") or policies[0] != policies[1], "the nonce is always another"


# ---- Branches and the queue ----


def test_editing_and_answering_again_make_branches_and_destroy_nothing(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one")
    expect(answers(page)).to_have_text(["one"])
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".tools[data-of=assistant] .switch-text")).to_have_text("2/2")
    expect(runs(page, "completed")).to_have_count(1)
    page.get_by_role("button", name="Previous answer").click()
    expect(page.locator(".tools[data-of=assistant] .switch-text")).to_have_text("1/2")
    say(page, "after the first answer")
    expect(answers(page)).to_have_text(["one", "after the first answer"])
    page.get_by_role("button", name="Next answer").click()
    expect(answers(page)).to_have_text(["one"])

    page.locator(".message[data-role=user]").hover()
    page.get_by_role("button", name="Edit the message").click()
    page.keyboard.press("End")
    page.keyboard.type(" and a half")
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text(["one and a half"])
    switch = page.locator(".tools[data-of=user] .switch-text")
    expect(switch).to_have_text("2/2")
    page.get_by_role("button", name="Previous message").click()
    expect(answers(page)).to_have_text(["one"])
    page.get_by_role("button", name="Previous answer").click()
    expect(answers(page)).to_have_text(["one", "after the first answer"])

    messages = ann.user.http("GET", f"/api/threads/{thread_id(page)}/messages").json()["messages"]
    ids = {message["id"]: number for number, message in enumerate(messages)}
    assert [(m["role"], m["content"].strip(), ids.get(m["parent_id"])) for m in messages] == [
        ("user", "one", None),
        ("assistant", "one", 0),
        ("assistant", "one", 0),
        ("user", "after the first answer", 1),
        ("assistant", "after the first answer", 3),
        ("user", "one and a half", None),
        ("assistant", "one and a half", 5),
    ]
    page.reload()
    expect(answers(page)).to_have_text(["one and a half"])
    expect(switch).to_have_text("2/2")
    other = ann.open(urlsplit(page.url).path)
    other.get_by_role("button", name="Previous message").click()
    expect(other.locator(".tools[data-of=assistant] .switch-text")).to_have_text("2/2")
    replayed(page)


def replayed(page: Page) -> None:
    """The recorded log of the thread that is shown gives one state: cut anywhere, doubled and shuffled, with a replay
    at every gap."""
    found = page.evaluate(
        """async (thread_id) => {
          const { EMPTY, reduce } = await import("/static/chat/reducer.js");
          const { path } = await import("/static/chat/branches.js");
          const { access_token } = await (await fetch("/auth/refresh", {method: "POST", body: "{}",
            headers: {"Content-Type": "application/json"}})).json();
          const answer = await fetch(`/api/threads/${thread_id}/events`,
            {headers: {Authorization: `Bearer ${access_token}`}});
          const log = (await answer.json()).events;
          const start = reduce(EMPTY, {type: "thread_opened", thread_id, at: log[0].timestamp, fresh: false});
          const play = (events, state = start) => events.reduce(reduce, state);
          const text = (state) => JSON.stringify([state, path(state.threads.get(thread_id))],
            (_, value) => value instanceof Map ? [...value] : value);
          const whole = text(play(log));
          const wrong = [];
          for (let cut = 0; cut <= log.length; cut += Math.ceil(log.length / 60)) {
            const part = play(log.slice(0, cut));
            if (text(play(log.slice(Math.floor(cut / 2)), part)) !== whole) wrong.push(`cut at ${cut}`);
          }
          for (let seed = 1; seed <= 25; seed += 1) {
            let state = start;
            let dice = seed;
            const roll = (sides) => (dice = (dice * 1103515245 + 12345) % 2147483648) % sides;
            const storm = [];
            for (const event of log) {
              if (roll(4)) storm.splice(Math.max(0, storm.length - roll(4)), 0, event);
              if (!roll(4)) storm.push(log[roll(log.length)]);
            }
            for (const event of [...storm, log.at(-1)]) {
              state = reduce(state, event);
              const { gap, last } = state.threads.get(thread_id);
              if (gap > last) state = play(log.slice(last, event.seq), state);
            }
            if (text(state) !== whole) wrong.push(`seed ${seed}`);
          }
          return [log.length, wrong];
        }""",
        thread_id(page),
    )
    assert found[0] > 5
    assert found[1] == []


@pytest.mark.slow
def test_what_is_queued_can_be_changed_and_taken_out(site, meet, gate):
    ann = meet(site)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    folder = str(gate.parent)
    for name in ("/etc", "/bin", "/usr"):
        say(page, name)
    queued = page.locator(".state[data-state=queued]")
    expect(queued).to_have_count(3)
    other = ann.open(urlsplit(page.url).path)
    expect(other.locator(".state[data-state=queued]")).to_have_count(3)
    queued.nth(1).get_by_role("button", name="Remove").click()
    expect(questions(page)).to_have_text([str(gate), "/etc", "/usr"])
    queued.nth(0).get_by_role("button", name="Edit").click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(folder)
    page.keyboard.press("Enter")
    for tab in (page, other):
        expect(questions(tab)).to_have_text([str(gate), folder, "/usr"])
        expect(tab.locator(".switch:visible")).to_have_count(0)
    gate.touch()
    for tab in (page, other):
        expect(runs(tab, "completed")).to_have_count(3)
        expect(answers(tab)).to_have_text(["before after 1"] * 3)
    messages = ann.user.http("GET", f"/api/threads/{thread_id(page)}/messages").json()["messages"]
    follows = {m["id"]: m for m in messages}
    last = next(m for m in messages[::-1] if m["content"] == "/usr" and m["role"] == "user")
    assert follows[last["parent_id"]]["content"] == folder
    replayed(page)


# ---- Files and charts ----


def test_a_usage_file_is_looked_into_answered_with_charts_and_kept(site, meet):
    ann = meet(site, provokes=r"status of 415")
    page = ann.open()
    name = "<img src=x onerror=owned=1>.csv"
    made = rows(300)
    hostile = Row(**{**asdict(made[0]), "feature": HOSTILE[:90]})
    page.set_input_files("#file", files=[
        {"name": name, "mimeType": "text/csv", "buffer": csv_of([hostile, *made])},
        {"name": "picture.csv", "mimeType": "text/csv", "buffer": b"\x89PNG\0\0\0\0" * 100},
        {"name": "empty.csv", "mimeType": "text/csv", "buffer": b""},
    ])  # fmt: skip
    drafts = page.locator("#drafts .draft")
    expect(page.locator(".draft[data-state=ready]")).to_have_count(1)
    expect(drafts.nth(0).locator(".chip-about")).to_contain_text("Usage data")
    expect(drafts.nth(1).get_by_role("alert")).to_contain_text("must be text")
    expect(drafts.nth(2).get_by_role("alert")).to_have_text("The file is empty.")
    drafts.nth(2).get_by_role("button", name="Remove").click()
    drafts.nth(1).get_by_role("button", name="Remove").click()
    drafts.locator(".chip-open").click()
    preview = page.locator("#preview")
    expect(preview.locator("h2")).to_have_text(name)
    expect(preview.locator("p").first).to_contain_text("A table of usage")
    expect(preview.locator("th").nth(2)).to_contain_text("input tokens")
    expect(preview.locator("td").filter(has_text="<img src=x onerror=owned=1>")).to_be_attached()
    inert(page, "#preview")
    page.keyboard.press("Escape")

    say(page, "Where can we save?")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator(".message .chip-name")).to_have_text(name)
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(2)
    page.get_by_role("button", name=re.compile("more chart")).click()
    expect(page.locator("figure.chart[data-drawn]").nth(2)).to_be_visible()
    log = ann.user.http("GET", f"/api/threads/{thread_id(page)}/events").json()["events"]
    results = [event.get("result") for event in log if event["type"] == "tool_completed"]
    charts = [one["chart"] for result in results if isinstance(result, dict) for one in result.get("charts", [])]
    spend = next(chart for chart in charts if chart["title"] == "Spend by model")
    figure = page.locator("figure").filter(has_text="Spend by model").first
    figure.locator("summary").click()
    shown = dict(zip(figure.locator("tbody th").all_inner_texts(), figure.locator("td").all_inner_texts(), strict=True))
    assert shown == {
        label: f"${value:,.2f}" for label, value in zip(spend["labels"], spend["series"][0]["values"], strict=True)
    }
    inert(page)
    serious(page)

    page.reload()
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(2)
    kept = page.evaluate("import('chart.js').then(({Chart}) => Object.keys(Chart.instances).length)")
    assert kept > 2
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name=re.compile("more chart")).click()
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(kept)
    pixels = "(canvas) => new Uint32Array(canvas.getContext('2d').getImageData(0, 0, 999, 999).data.buffer)"
    for canvas in page.locator("figure.chart canvas").all():
        wait_until(lambda canvas=canvas: canvas.evaluate(f"{pixels}.some(Boolean)"), "the chart in the other colours")
    path = urlsplit(page.url).path
    page.click("#new-thread")
    expect(page.locator("#welcome")).to_be_visible()
    assert page.evaluate("import('chart.js').then(({Chart}) => Object.keys(Chart.instances))") == []
    page.locator(f"#threads a[href='{path}']").click()
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(2)
    page.locator(".message .chip").click()
    expect(preview.locator("tbody tr")).to_have_count(20)
    replayed(page)


@pytest.mark.slow
def test_files_are_dropped_and_pasted(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    drop = """(kind) => {
      const data = new DataTransfer();
      data.items.add(new File(["a,b\\n1,2\\n"], `${kind}.csv`, {type: "text/csv"}));
      const at = document.querySelector(kind === "paste" ? "#composer" : "main");
      const types = kind === "paste" ? ["paste"] : ["dragover", "drop"];
      for (const type of types) at.dispatchEvent(type === "paste"
        ? new ClipboardEvent(type, {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(drop, kind)
    expect(page.locator(".draft[data-state=ready] .chip-name")).to_have_text(["drop.csv", "paste.csv"])
    page.locator(".draft").nth(0).get_by_role("button", name="Remove").click()
    say(page, "look")
    expect(page.locator(".message .chip-name")).to_have_text(["paste.csv"])
    expect(page.locator("#drafts .draft")).to_have_count(0)
    messages = ann.user.http("GET", f"/api/threads/{thread_id(page)}/messages").json()["messages"]
    assert [one["name"] for one in messages[0]["attachments"]] == ["paste.csv"]


# ---- Conversations ----


@pytest.mark.slow
def test_deleting_can_be_undone_and_is_done_when_the_page_goes(site, meet):
    ann = meet(site)
    ids = {}
    for words in ("first", "second", "third"):
        ids[words] = urlsplit(ann.thread("echo")).path.removeprefix("/c/")
        ann.user.http("PATCH", f"/api/threads/{ids[words]}", {"title": words})
    page = ann.open(f"/c/{ids['first']}")

    def delete(words: str) -> None:
        page.locator("#threads a").filter(has_text=words).click()
        expect(page.locator("#title")).to_have_text(words)
        page.click("#thread-menu")
        page.get_by_role("menuitem", name="Delete").click()

    delete("first")
    expect(listed(page)).to_have_text(["third", "second"])
    expect(page.locator("#welcome")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(listed(page)).to_have_text(["third", "second", "first"])
    expect(page.locator("#title")).to_have_text("first")
    assert ann.user.http("GET", f"/api/threads/{ids['first']}").status_code == 200

    page.clock.install()
    delete("second")
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.clock.run_for(7_000)
    expect(page.locator(".toast")).to_have_count(0)
    delete("third")
    expect(page.locator(".toast")).to_be_visible()
    page.close()
    wait_until(lambda: ann.user.http("GET", f"/api/threads/{ids['third']}").status_code == 404, "the deletion")
    left = ann.user.http("GET", "/api/threads").json()["threads"]
    assert [thread["title"] for thread in left] == ["first"]


@pytest.mark.slow
def test_search_export_and_copy(site, meet):
    ann = meet(site, provokes="net::ERR_FAILED")
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = ann.open(ann.thread("echo"))
    say(page, "the heron stands")
    expect(runs(page, "completed")).to_be_visible()
    path = urlsplit(page.url).path
    page.click("#new-thread")
    expect(page.locator("#welcome")).to_be_visible()
    page.locator("body").press("Control+k")
    page.keyboard.type("HERON")
    expect(page.locator("#search-found [aria-selected=true]")).to_have_text(
        re.compile("the heron stands", re.IGNORECASE)
    )
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text(["the heron stands"])
    assert urlsplit(page.url).path == path
    page.locator("body").press("Control+k")
    page.keyboard.type("no such words")
    expect(page.locator("#search-count")).to_have_text("Nothing was found.")
    page.keyboard.press("Escape")

    page.route("**/api/threads?*q=*", lambda route: route.abort())
    page.locator("body").press("Control+k")
    page.keyboard.type("heron")
    expect(page.locator("#search-count")).to_have_text("The search failed. The server cannot be reached.")
    page.unroute_all()
    page.keyboard.press("Enter")
    expect(page.locator("#searching")).to_be_hidden()

    page.get_by_role("button", name="Copy the answer").click()
    assert page.evaluate("navigator.clipboard.readText()") == "the heron stands "
    copied = page.get_by_role("button", name="Copy the answer")
    expect(copied).to_have_text("Copied")
    copied.click()
    expect(copied).to_have_text("")
    expect(copied.locator("svg")).to_have_count(1)
    for words, suffix in (("Markdown", "md"), ("JSON", "json")):
        page.click("#thread-menu")
        with page.expect_download() as saved:
            page.get_by_role("menuitem", name=f"Export as {words}").click()
        assert saved.value.suggested_filename == f"The heron stands.{suffix}"
        assert "the heron stands" in Path(saved.value.path()).read_text()


@pytest.mark.slow
def test_settings_name_theme_password_and_sessions(site, meet):
    ann = meet(site, provokes=r"status of 422")
    elsewhere = site.register("bob")
    page = ann.open("/settings")
    expect(page.locator("#email")).to_have_value(ann.user.email)
    page.fill("#name", HOSTILE[:80])
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#status")).to_have_text("Saved.")
    serious(page)
    page.get_by_text("Dark").click()
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    page.reload()
    expect(page.get_by_label("Dark")).to_be_checked()
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    serious(page)

    expect(page.locator("#sessions li")).to_have_count(1)
    new = "another horse battery"
    for current, told in (("wrong password here", "The current password is wrong."), (ann.user.password, "")):
        page.fill("#current", current)
        page.fill("#new", new)
        page.get_by_role("button", name="Change the password").click()
        if told:
            expect(page.get_by_role("alert")).to_have_text(told)
            expect(page.locator("#current[aria-invalid]")).to_be_focused()
    expect(page.locator("#status")).to_have_text("The password is changed.")
    credentials = {"email": ann.user.email, "password": new}
    second = httpx.post(site.url + "/auth/login", json=credentials, timeout=PATIENCE)
    assert second.status_code == 200
    page.goto(site.url + "/")
    expect(page.locator("#account")).to_have_text(HOSTILE[:80])
    page.click("#account-link")
    expect(page.locator("#sessions li")).to_have_count(2)
    page.locator("#sessions li").filter(has_not_text="This device").get_by_role("button").click()
    expect(page.locator("#sessions li")).to_have_count(1)
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page).to_have_url(re.compile(r"/login\?next=%2Fsettings"))
    assert elsewhere.http("GET", "/auth/me").status_code == 200


# ---- Long answers, Markdown, first paint ----

MARKDOWN = """# Title

A paragraph with `code`, **bold**
and a break. It costs $5 a day, $10 at most; $x^2 + y_1$ is a formula.

- [ ] to do
- [x] done

  with a second paragraph

- last

1. one
2. two

| a | b |
|---|--:|
| 1 | 2 |

> quoted
> twice

```js
const answer = 42; // <script>owned=1</script>
```

$$
\\sum_{i=1}^n i
$$

Setext
======

    indented code

[link](https://example.com) ![image](https://example.com/x.png) <b>raw</b>

***

\\[ an unfinished

formula \\]

\\[
a_1
\\]

\\( b_1 \\) is one, $$c and $d$$ e are none

end"""


@pytest.mark.slow
def test_markdown_is_the_same_however_it_arrives(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, MARKDOWN)
    expect(runs(page, "failed")).to_be_visible()
    answer = answers(page)
    expect(answer.locator("pre .hljs-keyword")).to_have_text("const")
    expect(answer.locator(".katex")).to_have_count(4)
    expect(answer).to_contain_text("formula ]")
    expect(answer.locator("li.todo")).to_have_count(2)
    expect(answer.locator("a")).to_have_count(2)
    expect(answer.locator("h1")).to_have_text(["Title", "Setext"])
    expect(answer).to_contain_text("It costs $5 a day, $10 at most;")
    inert(page)
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer.locator(".code").first.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("const answer = 42;")
    different = page.evaluate(
        """async (text) => {
          const { Writing } = await import("/static/chat/markdown.js");
          const html = (writing) => writing.node.innerHTML;
          const settled = async (writing) => {
            while (writing.node.querySelector("code.math, code[class*=language-]:not(:has(span))"))
              await new Promise(requestAnimationFrame);
            return html(writing);
          };
          const whole = new Writing();
          whole.write(text, true, Infinity);
          const expected = await settled(whole);
          const wrong = [];
          for (let step = 1; step < 40; step += step < 8 ? 1 : 7) {
            const writing = new Writing();
            for (let end = step; end < text.length; end += step) writing.write(text.slice(0, end), false, Infinity);
            while (!writing.write(text, true, 0));
            if (await settled(writing) !== expected) wrong.push(step);
          }
          return wrong;
        }""",
        MARKDOWN,
    )
    assert different == []


@pytest.mark.slow
def test_long_answers_and_long_logs_are_shown(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("lengthy"))
    measure(page)
    say(page, "680 150")
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page).locator("h2").last).to_have_text("Section 149")
    head = ann.user.http("GET", f"/api/threads/{thread_id(page)}/events?limit=1").json()["head"]
    print(f"\n{head} events, {len(answers(page).text_content() or '')} characters; long tasks: {measured(page)}")
    assert head >= 2_000
    expect(page.locator(".step")).to_have_count(680)
    expect(page.locator("#newest")).to_be_hidden()
    below = "(scroller) => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight"
    assert page.locator("#scroller").evaluate(below) < 60
    page.reload()
    measure(page)
    expect(answers(page).locator("h2").last).to_have_text("Section 149")
    print(f"at reload: {measured(page)}")


def measure(page: Page) -> None:
    page.evaluate(
        """() => { globalThis.tasks = [];
          new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({duration}) => Math.round(duration))))
            .observe({type: "longtask", buffered: true}); }"""
    )


def measured(page: Page) -> list[int]:
    """Tasks over 50 ms, in ms, the longest first."""
    tasks: list[int] = page.evaluate("tasks.sort((a, b) => b - a)")
    return tasks


def test_a_stored_thread_is_shown_before_there_is_a_socket(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "stored")
    expect(runs(page, "completed")).to_be_visible()
    other = ann.context.new_page()
    other.route_web_socket("**/ws", lambda _: None)
    other.goto(page.url)
    expect(answers(other)).to_have_text(["stored"])
    expect(other.locator("#title")).to_have_text("stored")


# ---- Connection ----


def test_half_a_minute_offline_with_a_message_in_the_outbox(site, meet, gate):
    ann = meet(site, provokes=r"net::ERR_(INTERNET_DISCONNECTED|CONNECTION_REFUSED)")
    page = ann.open(ann.thread("gated"))
    page.clock.install()
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    ann.context.set_offline(True)
    page.clock.run_for(30_000)
    expect(page.locator("#connection-text")).to_have_text(re.compile("You are offline. Trying again"))
    say(page, str(gate.parent))
    expect(page.locator(".state[data-state=waiting]")).to_contain_text("waiting for the connection")
    gate.touch()
    ann.context.set_offline(False)
    expect(page.locator("#connection")).to_be_hidden()
    expect(runs(page, "completed")).to_have_count(2)
    expect(answers(page)).to_have_text(["before after 1"] * 2)
    assert sorted(stored(ann.user, page)) == twice(gate)


@pytest.mark.slow
def test_a_reload_keeps_what_is_unsent_and_what_is_being_written(site, meet):
    ann = meet(site)
    page = ann.context.new_page()
    cut = [False]
    page.route_web_socket("**/ws", lambda socket: None if cut[0] else socket.connect_to_server())
    page.goto(site.url + ann.thread("echo"))
    expect(page.locator("#agent-name")).to_have_text("echo")
    ann.context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('offline'))")
    cut[0] = True
    for words in ("first", "second"):
        say(page, words)
    page.fill("#composer", "a draft")
    ann.context.set_offline(False)
    page.reload()
    expect(page.locator("#composer")).to_have_value("a draft")
    cut[0] = False
    page.reload()
    expect(answers(page)).to_have_text(["first", "second"])
    assert [content for role, content in stored(ann.user, page) if role == "user"] == ["first", "second"]


@pytest.mark.slow
def test_what_is_written_before_the_first_greeting_outlives_a_reload(site, meet):
    ann = meet(site)
    page = ann.context.new_page()
    cut = [True]
    page.route_web_socket("**/ws", lambda socket: None if cut[0] else socket.connect_to_server())
    page.goto(site.url + ann.thread("echo"))
    say(page, "early")
    expect(page.locator(".state[data-state=waiting]")).to_be_visible()
    page.reload()
    expect(questions(page)).to_have_text(["early"])
    cut[0] = False
    page.reload()
    expect(answers(page)).to_have_text(["early"])
    assert stored(ann.user, page) == [("user", "early"), ("assistant", "early ")]

    say(page, "once more")
    expect(answers(page)).to_have_text(["early", "once more"])
    cut[0] = True
    page.reload()
    say(page, "not for bob to send")
    expect(page.locator(".state[data-state=waiting]")).to_be_visible()
    bob = site.register("bob")
    ann.context.add_cookies(session(bob)["cookies"])
    page.evaluate("(id) => localStorage.setItem('netra.signed_in', id)", bob.id)
    page.fill("#composer", "nor to read")
    cut[0] = False
    page.goto(site.url)
    expect(page.locator("#account")).to_have_text("bob")
    expect(page.locator("#composer")).to_have_value("")
    assert bob.http("GET", "/api/threads").json()["threads"] == []


@pytest.mark.slow
def test_what_was_queued_and_changed_offline_is_asked_once_after_a_reload(site, meet, gate):
    ann = meet(site)
    page = ann.context.new_page()
    live: list[WebSocketRoute] = []
    cut = [False]

    def connect(socket: WebSocketRoute) -> None:
        if not cut[0]:
            live.append(socket.connect_to_server())

    page.route_web_socket("**/ws", connect)
    page.goto(site.url + ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    say(page, "/etc")
    queued = page.locator(".state[data-state=queued]")
    expect(queued).to_be_visible()
    cut[0] = True
    live[-1].close()
    queued.get_by_role("button", name="Edit").click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(str(gate.parent))
    page.keyboard.press("Enter")
    expect(page.locator(".state[data-state=waiting]")).to_be_visible()
    expect(queued).to_have_text("Cancelling…", use_inner_text=True)
    cut[0] = False
    page.reload()
    expect(questions(page)).to_have_text([str(gate), str(gate.parent)])
    gate.touch()
    expect(runs(page, "completed")).to_have_count(2)
    assert sorted(content for role, content in stored(ann.user, page) if role == "assistant") == ["before after 1"] * 2


@pytest.mark.slow
def test_a_thread_whose_log_is_gone_is_read_again_even_where_that_fails_at_first(site, meet, gate):
    ann = meet(site, provokes=r"status of 503")
    page = ann.open(ann.thread("gated"))
    say(page, str(gate.parent))
    expect(runs(page, "completed")).to_be_visible()
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before after 1", "before"])
    log = ann.user.http("GET", f"/api/threads/{thread_id(page)}/events").json()["events"]
    end = next(event["seq"] for event in log if event["type"] == "agent_completed")
    site.shell(f"Event.objects.filter(thread='{thread_id(page)}', seq__lte={end}).delete()")
    answered: list[Route] = []

    def messages(route: Route) -> None:
        answered.append(route)
        if len(answered) == 1:
            route.fulfill(status=503, json={"error": "unavailable", "message": "Not now."})
        else:
            route.continue_()

    page.route("**/messages?*", messages)
    page.reload()
    expect(questions(page)).to_have_text([str(gate.parent), str(gate)])
    expect(answers(page)).to_have_text(["before after 1", "before"])
    expect(runs(page, "running")).to_be_visible()
    gate.touch()
    expect(answers(page)).to_have_text(["before after 1"] * 2)
    page.unroute_all()
    page.reload()
    expect(answers(page)).to_have_text(["before after 1"] * 2)
    expect(page.locator("#loading")).to_be_hidden()


@pytest.mark.parametrize("answer", ["is lost", "never comes"])
def test_a_refresh_without_an_answer_signs_nobody_out(site, meet, answer):
    ann = meet(site, provokes=r"net::ERR_FAILED")
    page = ann.context.new_page()
    page.clock.install()
    asked: list[Route] = []

    def refresh(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()
        elif answer == "is lost":
            # The server has spent the cookie; the browser does not hear of the one that comes in its place.
            names = {"origin": site.url, "idempotency-key": route.request.headers.get("idempotency-key", "")}
            cookies = {"netra_refresh": ann.user.refresh}
            assert httpx.post(route.request.url, headers=names, cookies=cookies, json={}).status_code == 200
            route.abort()

    page.route("**/auth/refresh", refresh)
    page.goto(site.url)
    wait_until(lambda: page.evaluate("1") and asked, "the first refresh")
    page.clock.run_for(25_000)
    expect(page.locator("#account")).to_have_text("ann")
    assert urlsplit(page.url).path == "/"
    say(page, "still here")
    expect(questions(page)).to_have_text(["still here"])


@pytest.mark.slow
def test_a_token_is_renewed_in_mid_answer(own_site, meet, gate):
    ann = meet(own_site(NETRA_ACCESS_TOKEN_SECONDS="8"))
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    (socket,) = ann.sockets
    with socket.expect_event("framereceived", lambda text: '"authenticated"' in str(text)):
        pass
    gate.touch()
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page)).to_have_text(["before after 1"])
    assert len(ann.sockets) == 1


def test_redis_restarted_empty_in_mid_answer_loses_nothing(brisk, meet, gate):
    ann = meet(brisk)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    brisk.redis.kill()
    brisk.redis.wait()
    brisk.start_redis()
    gate.touch()
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page)).to_have_text(["before after 1"])


# ---- Without eyes, without a mouse ----


def serious(page: Page) -> None:
    """What axe finds to be serious or critical fails the test."""
    if not page.evaluate("'axe' in globalThis"):
        page.evaluate((ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text())
    page.emulate_media(reduced_motion="reduce")
    for theme in ("dark", "light"):
        found = page.evaluate(
            """async (theme) => {
              document.documentElement.dataset.theme = theme;
              await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
              return (await axe.run(document, {resultTypes: ["violations"]})).violations
                .filter(({impact}) => impact === "serious" || impact === "critical")
                .flatMap(({id, nodes}) => nodes.map(({html, any}) => [id, any[0]?.message, html.slice(0, 200)]));
            }""",
            theme,
        )
        assert found == [], theme


def test_axe_finds_nothing_serious(site, meet, gate):
    ann = meet(site, signed_in=False, provokes=UNAUTHORIZED)
    page = ann.open("/signup")
    serious(page)
    page.click("text=Sign in")
    page.fill("#email", ann.user.email)
    page.fill("#password", "not the password")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_be_visible()
    serious(page)
    ann.sign_in(page)
    expect(page.locator("#agent-name")).not_to_be_empty()
    serious(page)
    page.goto(site.url + ann.thread("family"))
    say(page, "hello")
    expect(runs(page, "completed")).to_be_visible()
    page.click(".run > summary")
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".switch-text").filter(has_text="2/2")).to_be_visible()
    expect(runs(page, "completed")).to_be_visible()
    serious(page)
    for opener in ("#show-search", "#show-help", "#thread-menu", "#agent"):
        page.click(opener)
        serious(page)
        page.keyboard.press("Escape")
    page.goto(site.url + ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    say(page, "/etc")
    expect(page.locator(".state[data-state=queued]")).to_be_visible()
    serious(page)


def test_the_whole_flow_with_the_keyboard_alone(site, meet):
    ann = meet(site, signed_in=False)
    page = ann.open("/login")
    keys = page.keyboard
    expect(page.locator("#email")).to_be_focused()
    keys.type(ann.user.email)
    keys.press("Tab")
    keys.type(ann.user.password)
    keys.press("Enter")
    expect(page.locator("#composer")).to_be_focused()
    expect(page.locator("#agent-name")).to_have_text("advisor")
    keys.press("Tab")
    expect(page.locator("#attach")).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    expect(page.get_by_role("menuitemradio", name="advisor")).to_be_focused()
    expect(page.get_by_role("menuitemradio", name="advisor")).to_have_attribute("aria-checked", "true")
    page.get_by_role("menuitemradio", name="slow").focus()
    keys.press("Enter")
    expect(page.locator("#agent-name")).to_have_text("slow")
    expect(page.locator("#composer")).to_be_focused()
    keys.type("go on")
    keys.press("Enter")
    expect(answers(page)).to_contain_text("0 1 2")
    expect(page.locator("#status")).to_have_text("Generating")
    keys.press("Escape")
    expect(page.locator("#status")).to_have_text("Answer stopped")
    expect(runs(page, "cancelled")).to_be_visible()
    keys.press("ArrowUp")
    expect(page.get_by_role("textbox", name="Message").first).to_be_focused()
    keys.press("Escape")
    expect(page.locator(".editing")).to_have_count(0)
    page.locator("#scroller").focus()
    keys.press("?")
    expect(page.locator("#help")).to_be_visible()
    keys.press("Escape")
    keys.press("/")
    expect(page.locator("#composer")).to_be_focused()
    expect(page.locator("#composer")).to_have_value("")
    keys.press("Control+k")
    keys.type("go")
    expect(page.locator("#search-found [aria-selected=true]")).to_contain_text("go on", ignore_case=True)
    keys.press("Escape")
    assert page.locator("#transcript").get_attribute("aria-live") == "off"


# ---- Keyboard and phone ----


@pytest.mark.slow
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


@pytest.mark.slow
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
    page.tap("#menu")
    page.tap("#show-search")
    page.locator("#search-found li").first.tap()
    expect(page.locator("#searching")).to_be_hidden()
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    page.tap("#menu")
    page.tap("#show-search")
    expect(page.locator("#searching kbd")).to_be_hidden()
    page.get_by_role("button", name="Close the search").tap()
    expect(page.locator("#searching")).to_be_hidden()
