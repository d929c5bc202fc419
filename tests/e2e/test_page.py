"""The chat page in a real Chromium, against the real stack."""

import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

from tests.axe import serious
from tests.factories import USAGE
from tests.page import (
    CONFLICT,
    MISSING,
    UNAUTHORIZED,
    UNREACHABLE,
    Person,
    answers,
    listed,
    needs_chromium,
    questions,
    runs,
    say,
    session,
    stored,
    thread_id,
)
from tests.site import ROOT, WAIT_TIMEOUT, User, wait_until
from tests.usage_files import Row, csv_of, rows

pytestmark = needs_chromium

# ---- From sign-up to an answer ----


@pytest.mark.essential
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

    page.click("text=I pay $5,000 a month for GPT-4 calls, cut it by 30%")
    page.keyboard.press("Enter")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Answer complete")
    page.click(".run-line")
    expect(page.locator("#panel .part[data-agent=reporting]")).to_be_visible()
    parts = [part.get_attribute("data-agent") for part in page.locator("#panel .part").all()]
    assert parts == ["advisor", "triage", "data", "optimization", "actions", "reporting"]

    credentials = {"email": user.email, "password": user.password}
    user.access = httpx.post(site.url + "/auth/login", json=credentials, timeout=WAIT_TIMEOUT).json()["access_token"]
    events = user.http("GET", f"/api/threads/{thread_id(page)}/events").json()["events"]
    end = events[-1]
    figures = {one["id"]: one["value"] for one in end["result"]["figures"]}
    assert (figures["spend"], figures["saving"], figures["rest"]) == (5_000, 1_500, 3_500)
    assert end["result"]["request"]["models"] == "gpt-4"
    shown = answers(page).text_content() or ""
    for amount in (5_000, 1_500, 3_500):
        assert f"${amount:,.0f}" in shown
    html = answers(page).inner_html()
    folded = answers(page).locator("details", has_text="how this was worked out")
    expect(folded.locator("li").first).not_to_be_visible()
    folded.locator("summary").click()
    expect(folded.locator("li").first).to_be_visible()

    assert stored(user, page)[1] == ("assistant", end["final_response"])
    page.reload()
    expect(runs(page, "completed")).to_be_visible()
    wait_until(lambda: answers(page).inner_html() == html, "the same answer")


def dollars(text: str) -> float:
    return float(text.replace("$", "").replace(",", ""))


@pytest.mark.slow
def test_every_kind_of_step_is_shown(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one two three")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator("#panel")).to_be_hidden()
    page.click(".run-line")
    expect(page.locator("#panel .part[data-agent=echo]")).to_be_visible()
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


def test_a_stranger_asks_about_the_sample_file_without_typing(site, meet):
    page = meet(site).open("/")
    page.click("text=Try it with a sample file of usage")
    expect(page.locator(".draft[data-state=ready] .chip-name")).to_have_text("sample-usage.csv")
    page.keyboard.press("Enter")
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page)).to_contain_text("You spent $2,238 from 2026-10-01 to 2026-10-31.")
    expect(answers(page).locator("figure.chart[data-drawn]")).to_have_count(1)


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


def test_twenty_messages_in_a_row_are_shown_with_their_answers(site, meet, gate):
    ann = meet(site)
    path = ann.thread("recalling")
    page, other = ann.open(path), ann.open(path)
    texts = [str(gate), *(f"u{number}" for number in range(1, 20))]
    asked = [f"answer to {Path(text).name}" for text in texts]
    for text in texts[:8]:
        say(page, text)
    expect(page.locator(".state[data-state=queued]")).to_have_count(7)
    for text in texts[8:14]:  # from elsewhere, by a client that names no parent
        ann.user.http("POST", f"/api/threads/{thread_id(page)}/messages", {"content": text})
    expect(questions(page)).to_have_text(texts[:14])
    gate.touch()
    expect(answers(page).first).to_have_text(asked[0])
    for text in texts[14:17]:
        ann.user.http("POST", f"/api/threads/{thread_id(page)}/messages", {"content": text})
    expect(questions(page)).to_have_text(texts[:17])
    for text in texts[17:]:
        say(page, text)
    for tab in (page, other, ann.open(path)):
        expect(questions(tab)).to_have_text(texts)
        expect(answers(tab)).to_have_text(asked)
        expect(tab.locator(".switch:visible")).to_have_count(0)
    page.reload()
    expect(questions(page)).to_have_text(texts)
    expect(answers(page)).to_have_text(asked)
    order = page.locator(".message").evaluate_all("all => all.map((one) => one.dataset.role)")
    assert order == ["user", "assistant"] * 20
    replayed(page)

    page.locator(".message[data-role=user]").nth(10).hover()
    page.get_by_role("button", name="Edit the message").nth(10).click()
    page.keyboard.press("End")
    page.keyboard.type(" edited")
    page.keyboard.press("Enter")
    expect(questions(page)).to_have_text([*texts[:10], f"{texts[10]} edited"])
    expect(answers(page)).to_have_text([*asked[:10], f"{asked[10]} edited"])
    page.get_by_role("button", name="Previous message").click()
    expect(questions(page)).to_have_text(texts)
    expect(answers(page)).to_have_text(asked)


def test_two_tabs_that_send_before_they_hear_of_each_other_make_one_line(site, meet, gate):
    ann = meet(site)
    path = ann.thread("recalling")
    page, other = ann.open(path), ann.context.new_page()
    held: list[str | bytes] | None = None

    def relay(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda text: socket.send(text) if held is None else held.append(text))
        sockets.append(socket)

    sockets: list[WebSocketRoute] = []
    other.route_web_socket("**/ws", relay)
    other.goto(site.url + path)
    say(page, str(gate))
    expect(questions(other)).to_have_text([str(gate)])
    held = []
    for text in ("u1", "u2"):
        say(page, text)
    expect(questions(page)).to_have_text([str(gate), "u1", "u2"])
    for text in ("u3", "u4"):
        say(other, text)
    wait_until(lambda: page.evaluate("1") and any("message_accepted" in str(text) for text in held), "the first")
    say(page, "u5")
    for text in held:
        sockets[-1].send(text)
    held = None
    gate.touch()
    for tab in (page, other):
        expect(answers(tab)).to_have_count(6)
        expect(tab.locator(".switch:visible")).to_have_count(0)
    order = [content for role, content in stored(ann.user, page) if role == "user"]
    assert [text for text in order if text not in ("u3", "u4")] == [str(gate), "u1", "u2", "u5"]
    assert order.index("u3") < order.index("u4")
    expect(questions(page)).to_have_text(order)
    expect(questions(other)).to_have_text(order)
    other.reload()
    expect(questions(other)).to_have_text(order)


# ---- Accounts ----


@pytest.mark.slow
def test_a_wrong_password_is_told_beside_the_form(site, meet):
    ann = meet(site, signed_in=False, provokes=UNAUTHORIZED)
    page = ann.open("/login")
    page.fill("#email", ann.user.email)
    page.fill("#password", "not the password")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("Email or password is incorrect.")
    ann.sign_in(page)


@pytest.mark.slow
def test_a_taken_address_is_told_beside_the_form(site, meet):
    ann = meet(site, signed_in=False, provokes=CONFLICT)
    page = ann.open("/signup")
    page.fill("#email", ann.user.email.upper())
    page.fill("#password", "correct horse battery")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("You already have an account. Sign in?")
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


@pytest.mark.essential
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


@pytest.mark.essential
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
    expect(page.locator(".restarted")).to_contain_text("Restarted after an interruption (attempt 2)")
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
    expect(page.locator("#connection-text")).to_have_text(re.compile(r"^Connection lost. Retrying in \d+ s$"))
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
    """Messages stored after two questions, each answered once."""
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
    page.click(".run-line")
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
    page.get_by_role("button", name="Regenerate").click()
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
    expect(answers(page)).to_have_text(["one", "after the first answer"])
    expect(switch.first).to_have_text("1/2")
    other = ann.open(urlsplit(page.url).path)
    other.get_by_role("button", name="Next message").click()
    expect(answers(other)).to_have_text(["one and a half"])
    replayed(page)


def test_branch_that_was_chosen_is_shown_after_a_reload_and_in_a_new_tab(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    for text in ("first", "second"):
        say(page, text)
        expect(answers(page).last).to_have_text(text)
    expect(runs(page, "completed")).to_have_count(2)
    questions(page).first.hover()
    page.get_by_role("button", name="Edit the message").first.click()
    page.keyboard.type(" edited")
    page.keyboard.press("Enter")
    expect(questions(page)).to_have_text(["first edited"])
    expect(runs(page, "completed")).to_have_count(1)
    page.get_by_role("button", name="Previous message").click()
    expect(questions(page)).to_have_text(["first", "second"])
    page.reload()
    for tab in (page, ann.open(urlsplit(page.url).path)):
        expect(questions(tab)).to_have_text(["first", "second"])
    page.get_by_role("button", name="Next message").click()
    expect(questions(page)).to_have_text(["first edited"])
    page.reload()
    expect(questions(page)).to_have_text(["first edited"])


def test_agent_that_answered_last_gets_the_next_message_after_a_reload(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one")
    expect(runs(page, "completed")).to_have_count(1)
    page.click("#agent")
    page.get_by_role("menuitemradio", name="ticking", exact=False).click()
    say(page, "2 0")
    expect(runs(page, "completed")).to_have_count(2)
    expect(runs(page, "completed").locator(".headline")).to_have_text(["echo answered", "ticking answered"])
    page.reload()
    expect(page.locator("#agent-name")).to_have_text("ticking")
    say(page, "3 0")
    expect(runs(page, "completed")).to_have_count(3)
    expect(runs(page, "completed").locator(".headline").last).to_have_text("ticking answered")


def replayed(page: Page) -> None:
    """Replay the shown thread's log, cut, doubled and shuffled: it gives one state, with a replay at each gap."""
    found = page.evaluate(
        """async (thread_id) => {
          const { EMPTY } = await import("/static/chat/state/model.js");
          const { reduce } = await import("/static/chat/state/reducer.js");
          const { path } = await import("/static/chat/state/branches.js");
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
    expect(drafts.nth(1).get_by_role("alert")).to_contain_text("Only text")
    expect(drafts.nth(2).get_by_role("alert")).to_have_text("The file is empty.")
    drafts.nth(2).get_by_role("button", name="Remove").click()
    drafts.nth(1).get_by_role("button", name="Remove").click()
    drafts.locator(".chip-open").click()
    preview = page.locator("#preview")
    expect(preview.locator("h2")).to_have_text(name)
    expect(preview.locator("p").first).to_contain_text("Usage data")
    expect(preview.locator("th").nth(2)).to_contain_text("input tokens")
    expect(preview.locator("td").filter(has_text="<img src=x onerror=owned=1>")).to_be_attached()
    inert(page, "#preview")
    page.keyboard.press("Escape")

    say(page, "What did we spend by model?")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator(".message .chip-name")).to_have_text(name)
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(1)
    log = ann.user.http("GET", f"/api/threads/{thread_id(page)}/events").json()["events"]
    results = [event.get("result") for event in log if event["type"] == "tool_completed"]
    charts = [one["chart"] for result in results if isinstance(result, dict) for one in result.get("charts", [])]
    spend = next(chart for chart in charts if chart["title"] == "Cost by model")
    figure = page.locator("figure").filter(has_text="Cost by model").first
    figure.locator("summary").click()
    shown = dict(zip(figure.locator("tbody th").all_inner_texts(), figure.locator("td").all_inner_texts(), strict=True))
    assert shown == {
        label: f"${value:,.2f}" for label, value in zip(spend["labels"], spend["series"][0]["values"], strict=True)
    }
    inert(page)
    serious(page)

    page.reload()
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(1)
    kept = page.evaluate("import('chart.js').then(({Chart}) => Object.keys(Chart.instances).length)")
    assert kept == 1
    page.emulate_media(color_scheme="dark")
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(kept)
    pixels = "(canvas) => new Uint32Array(canvas.getContext('2d').getImageData(0, 0, 999, 999).data.buffer)"
    for canvas in page.locator("figure.chart canvas").all():
        wait_until(lambda canvas=canvas: canvas.evaluate(f"{pixels}.some(Boolean)"), "the chart in the other colours")
    path = urlsplit(page.url).path
    page.click("#new-thread")
    expect(page.locator("#welcome")).to_be_visible()
    assert page.evaluate("import('chart.js').then(({Chart}) => Object.keys(Chart.instances))") == []
    page.locator(f"#threads a[href='{path}']").click()
    expect(page.locator("figure.chart[data-drawn]")).to_have_count(1)
    page.locator(".message[data-role=user] .chip").click()
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
    expect(page.locator("#search-count")).to_have_text(re.compile("^No results for"))
    page.keyboard.press("Escape")

    page.route("**/api/threads?*q=*", lambda route: route.abort())
    page.locator("body").press("Control+k")
    page.keyboard.type("heron")
    expect(page.locator("#search-count")).to_have_text("Can't search while offline")
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
    page.get_by_role("button", name="Save").first.click()
    expect(page.locator("#status")).to_have_text("Saved")
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
        page.get_by_role("button", name="Change password").click()
        if told:
            expect(page.get_by_role("alert")).to_have_text(told)
            expect(page.locator("#current[aria-invalid]")).to_be_focused()
    expect(page.locator("#status")).to_have_text("Password changed")
    credentials = {"email": ann.user.email, "password": new}
    second = httpx.post(site.url + "/auth/login", json=credentials, timeout=WAIT_TIMEOUT)
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
          const { Writing } = await import("/static/chat/markdown/markdown.js");
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


def test_markdown_of_many_blocks_has_few_children_however_it_arrives(site, meet):
    page = meet(site).open()
    found = page.evaluate(
        """async () => {
          const { Writing } = await import("/static/chat/markdown/markdown.js");
          const blocks = Array.from({ length: 350 }, (_, at) => `block ${at} [a]\n\n- item ${at}\n\n`).join("");
          return ["", "[a]: https://example.com/"].map((end) => {
            const [whole, pieces] = [new Writing(), new Writing()];
            whole.write(blocks + end, true, Infinity);
            for (let at = 1_000; at < blocks.length; at += 1_000) pieces.write(blocks.slice(0, at), false, Infinity);
            const streamed = pieces.node.childElementCount;
            while (!pieces.write(blocks + end, true, 0));
            const same = whole.node.innerHTML === pieces.node.innerHTML;
            const texts = [...pieces.node.querySelectorAll("p, li")].map(({ textContent }) => textContent);
            const ordered = texts.every((text, at) => text.includes(` ${at >> 1}`));
            return [same, ordered, texts.length, streamed < 110, whole.node.childElementCount,
              pieces.node.querySelectorAll("a").length];
          });
        }"""
    )
    assert found == [[True, True, 700, True, 7, 0], [True, True, 700, True, 7, 350]]


# Writes a text in one go and in random pieces, some of them cut off by the deadline; the seeds of those that differ.
WRITES = """async ([seeds, largest]) => {
  const { Writing } = await import("/static/chat/markdown/markdown.js");
  const { random, randomMarkdown } = await import("/static/hard.mjs");
  // Without what comes later by itself: colours and formulas.
  const shown = ({ node }) => [...node.querySelectorAll("*")].map(({ tagName, className, dir }) =>
    [tagName, className, dir].join()).join() + node.textContent;
  const wrong = [];
  for (const seed of seeds) {
    const next = random(seed);
    const text = randomMarkdown(next, 2 ** (4 + next() * (Math.log2(largest) - 4)));
    const whole = new Writing();
    whole.write(text, true, Infinity);
    const pieces = new Writing();
    for (let end = 0; end < text.length; end += 1 + next() ** 3 * Math.max(40, text.length / 12)) {
      pieces.write(text.slice(0, end), false, next() < 0.3 ? 0 : Infinity);
    }
    while (!pieces.write(text, true, next() < 0.5 ? 0 : Infinity));
    if (shown(pieces) !== shown(whole) || whole.node.querySelector(".plain")) wrong.push(seed);
    await new Promise((resolve) => setTimeout(resolve));
  }
  return wrong;
}"""


def hard(page: Page) -> Page:
    """The page with `tests/hard.mjs` beside its own modules."""
    path, kind = ROOT / "tests/hard.mjs", "text/javascript"
    page.route("**/static/hard.mjs", lambda route: route.fulfill(path=path, content_type=kind))
    return page


@pytest.mark.parametrize(
    ("seeds", "largest"),
    [
        ([*range(80), 1828, 2110], 3_000),
        pytest.param(range(1_000, 3_000), 3_000, marks=pytest.mark.slow),
        pytest.param(range(12), 500_000, marks=pytest.mark.slow),
    ],
)
def test_markdown_of_random_text_is_the_same_however_it_arrives(site, meet, seeds, largest):
    page = hard(meet(site).open())
    assert page.evaluate(WRITES, [list(seeds), largest]) == []


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
    page.click(".run-line")
    expect(page.locator(".step")).to_have_count(680)
    page.reload()
    measure(page)
    expect(answers(page).locator("h2").last).to_have_text("Section 149")
    print(f"at reload: {measured(page)}")


# ---- What is in view ----


def in_view(page: Page) -> dict[str, float]:
    """Return where the last exchange is, in pixels.

    `question`: below the top of the view; `below`: how far its answer reaches below the view; `end`: from the view to
    the end of the conversation; `top`: how far the view is scrolled.
    """
    return page.evaluate(
        """() => {
          const view = document.querySelector("#scroller"), box = view.getBoundingClientRect();
          const last = document.querySelector("#transcript").lastElementChild;
          const end = [...last.children].findLast((part) => part.offsetHeight > 0);
          return {question: last.getBoundingClientRect().top - box.top,
            below: end.getBoundingClientRect().bottom - box.bottom,
            end: view.scrollHeight - view.scrollTop - view.clientHeight, top: view.scrollTop};
        }"""
    )


def test_question_stands_at_the_top_while_its_answer_grows(site, meet):
    ann = meet(site, viewport={"width": 390, "height": 560})
    page = ann.open(ann.thread("ticking"))
    say(page, "120 0")
    expect(runs(page, "completed")).to_have_count(1)
    say(page, "5 0")
    expect(runs(page, "completed")).to_have_count(2)
    assert 0 <= in_view(page)["question"] < 30, "where its answer is short, too"
    expect(page.locator("#latest")).to_be_hidden()
    say(page, "400 50")
    expect(questions(page)).to_have_count(3)
    wait_until(lambda: in_view(page)["below"] > 200, "an answer that is taller than the view")
    assert 0 <= in_view(page)["question"] < 30
    latest = page.get_by_role("button", name="Jump to latest")
    expect(latest).to_be_visible()
    expect(runs(page, "completed")).to_have_count(3)
    assert 0 <= in_view(page)["question"] < 30
    latest.click()
    expect(latest).to_be_hidden()
    assert in_view(page)["end"] < 2
    page.reload()
    expect(runs(page, "completed")).to_have_count(3)
    wait_until(lambda: 0 <= in_view(page)["question"] < 30, "the last question at the top of a thread that is opened")


def test_long_conversation_is_drawn_from_its_end_where_the_reader_is_and_as_a_whole_for_print(site, meet):
    ann = meet(site)
    path = ann.thread("echo")
    socket = ann.user.connect()
    for number in range(40):
        asked = socket.ask(f"question {number}", thread_id=path.removeprefix("/c/"))
    socket.answer(asked["run_id"])
    page = ann.context.new_page()
    # Each look at the clock takes long, so that a step of drawing is short, and the next step waits for the test.
    page.add_init_script(
        """{ let time = 0; globalThis.look = 5; performance.now = () => (time += look);
          const after = setTimeout; globalThis.later = [];
          globalThis.setTimeout = (work, ms, ...rest) => ms === 10 ? later.push(work) : after(work, ms, ...rest); }"""
    )
    step = "later.splice(0).forEach((work) => work())"
    page.goto(site.url + path)
    exchanges = page.locator(".exchange")

    def drawn(number: int) -> Callable[[], bool]:
        def look() -> bool:
            page.evaluate(step)
            return bool(exchanges.nth(number).locator(".markdown").count())

        return look

    wait_until(drawn(39), "the newest answer")
    expect(exchanges).to_have_count(40)
    expect(exchanges.nth(0)).to_be_empty()
    page.evaluate("look = 0")
    page.focus("#scroller")
    page.keyboard.press("Home")
    wait_until(lambda: page.evaluate("document.querySelector('#scroller').scrollTop === 0"), "the beginning")
    page.evaluate("look = 5")
    wait_until(drawn(0), "the answer that the reader went to")
    expect(exchanges.nth(0)).to_contain_text("question 0")
    expect(exchanges.nth(20)).to_be_empty()

    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert exchanges.locator(".markdown").count() == 40
    assert questions(page).all_inner_texts() == [f"question {number}" for number in range(40)]


def test_reader_at_the_live_edge_follows_until_scrolling_away(site, meet):
    ann = meet(site, viewport={"width": 390, "height": 560})
    page = ann.open(ann.thread("ticking"))
    say(page, "2000 50")
    expect(answers(page)).to_have_count(1)
    wait_until(lambda: in_view(page)["below"] > 100, "an answer that is taller than the view")
    page.locator("#scroller").focus()
    page.keyboard.press("End")
    expect(page.locator("#latest")).to_be_hidden()
    for _ in range(3):
        height = page.locator("#scroller").evaluate("(view) => view.scrollHeight")
        wait_until(
            lambda height=height: page.locator("#scroller").evaluate("(view) => view.scrollHeight") > height + 60,
            "more",
        )
        assert in_view(page)["end"] < 60
    page.mouse.move(190, 200)
    page.mouse.wheel(0, -150)
    expect(page.locator("#latest")).to_be_visible()
    top = in_view(page)["top"]
    below = in_view(page)["below"]
    wait_until(lambda: in_view(page)["below"] > below + 60, "more")
    assert abs(in_view(page)["top"] - top) < 2
    page.keyboard.press("Escape")
    expect(runs(page, "cancelled")).to_be_visible()


def test_way_to_the_latest_keeps_clear_of_what_is_written(site, meet):
    ann = meet(site, viewport={"width": 390, "height": 560})
    page = ann.open(ann.thread("ticking"))
    say(page, "400 0")
    expect(runs(page, "completed")).to_have_count(1)
    page.fill("#composer", "line\n" * 12)
    expect(page.locator("#latest")).to_be_visible()
    pill, box = page.locator("#latest").bounding_box(), page.locator("#ask .box").bounding_box()
    assert pill and box
    assert pill["y"] + pill["height"] <= box["y"]


def test_search_says_why_and_leads_to_the_message_on_its_branch(site, meet):
    ann = meet(site, reduced_motion="no-preference")
    page = ann.open(ann.thread("echo"))
    for text in ("the zebra runs", "second", "third"):
        say(page, text)
        expect(answers(page).last).to_have_text(text)
    expect(runs(page, "completed")).to_have_count(3)
    questions(page).first.hover()
    page.get_by_role("button", name="Edit the message").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.type("instead of it")
    page.keyboard.press("Enter")
    expect(questions(page)).to_have_text(["instead of it"])
    expect(runs(page, "completed")).to_have_count(1)
    page.click("#new-thread")
    page.keyboard.press("Control+k")
    page.keyboard.type("runs ZEBRA")
    expect(page.locator("#search-found mark")).to_have_text("zebra")
    expect(page.locator("#search-count")).to_have_text("1 conversation found")
    page.keyboard.press("Enter")
    expect(questions(page)).to_have_text(["the zebra runs", "second", "third"])
    expect(page.locator(".exchange[data-found]")).to_contain_text("the zebra runs")
    expect(questions(page).first).to_be_in_viewport()


# ---- On paper, on a phone, in other colours ----


def test_conversation_is_printed_as_a_whole_and_without_the_page_around_it(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("lengthy"))
    say(page, "1 12")
    expect(runs(page, "completed")).to_be_visible()
    expect(answers(page).locator("h2").last).to_have_text("Section 11")
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf()))
    assert pages > 6
    page.emulate_media(media="print")
    for hidden in ("#sidebar", "#ask", ".run", "#thread-menu"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#title")).to_be_visible()


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_enter_starts_a_line_where_the_keyboard_is_on_the_screen(site, meet):
    ann = meet(site, **PHONE)
    page = ann.open(ann.thread("echo"))
    page.fill("#composer", "one")
    page.press("#composer", "Enter")
    page.keyboard.type("two")
    expect(page.locator("#composer")).to_have_value("one\ntwo")
    page.tap("#send")
    expect(questions(page)).to_have_text(["one\ntwo"])
    expect(runs(page, "completed")).to_have_count(1)
    small = page.locator(".tool-button:visible").evaluate_all("all => all.filter((b) => b.offsetHeight < 44).length")
    assert small == 0, "a finger needs 44 pixels"


def contrast(page: Page, selector: str) -> float:
    """Return the contrast of an element's border to the ground inside it, as WCAG counts it."""
    return page.locator(selector).first.evaluate(
        """(node) => {
          const light = (color) => {
            const context = new OffscreenCanvas(1, 1).getContext("2d");
            context.fillStyle = color;
            context.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((part) => part / 255)
              .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const { borderTopColor, backgroundColor } = getComputedStyle(node);
          const [a, b] = [light(borderTopColor), light(backgroundColor)].sort((x, y) => y - x);
          return (a + 0.05) / (b + 0.05);
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_borders_of_fields_can_be_seen(site, meet, scheme):
    ann = meet(site, color_scheme=scheme)
    page = ann.open()
    expect(page.locator("#welcome")).to_be_visible()
    page.locator("#scroller").focus()
    assert contrast(page, ".box") >= 3
    page.goto(site.url + "/settings")
    expect(page.locator("#sessions li")).to_have_count(1)
    assert contrast(page, "#name") >= 3
    assert contrast(page, "#email") >= 3


def test_forced_colours_still_tell_whose_message_which_thread_and_how_it_ended(site, meet):
    ann = meet(site, forced_colors="active")
    page = ann.open(ann.thread("echo"))
    say(page, "one")
    expect(runs(page, "completed")).to_have_count(1)
    width = "(node) => getComputedStyle(node).borderTopWidth"
    assert questions(page).evaluate(width) == "1px"
    assert page.locator("#threads a[aria-current]").evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
    seen = page.locator(".pulse").evaluate("(node) => getComputedStyle(node).backgroundColor")
    assert seen != page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_failure_can_be_read_in_forced_colours(site, meet):
    ann = meet(site, forced_colors="active")
    page = ann.open(ann.thread("raising"))
    say(page, "go")
    expect(runs(page, "failed")).to_have_count(1)
    ink = "getComputedStyle(document.body).color"
    assert page.locator(".failure").evaluate("(node) => getComputedStyle(node).color") == page.evaluate(ink)


def test_first_column_of_a_wide_table_stays_in_view_on_a_phone(site, meet):
    ann = meet(site, viewport={"width": 390, "height": 844})
    page = ann.open(ann.thread("mirror"))
    say(page, "| model | one | two | three | four | five |\n|---|---|---|---|---|--:|\n| gpt-4o | a | b | c | d | $5 |")
    expect(runs(page, "failed")).to_have_count(1)
    scroller = page.locator(".markdown .table")
    scroller.evaluate("(node) => node.scrollTo(1000, 0)")
    left = (scroller.bounding_box() or {})["x"]
    expect(page.get_by_role("cell", name="$5")).to_be_in_viewport(ratio=1)
    assert (page.get_by_role("cell", name="gpt-4o").bounding_box() or {})["x"] == left


# ---- What goes away, and what stays ----


def test_deleted_thread_is_gone_for_who_goes_back_to_it_until_it_is_undone(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "remember me")
    expect(runs(page, "completed")).to_have_count(1)
    page.clock.install()
    page.click("#thread-menu")
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.locator("#welcome")).to_be_visible()
    page.go_back()
    expect(page.locator("#missing")).to_be_visible()
    expect(questions(page)).to_have_count(0)
    expect(page.locator("#ask")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(answers(page)).to_have_text(["remember me"])
    expect(page.locator("#missing")).to_be_hidden()


@pytest.mark.parametrize("name", ["abc", "6d1c0000-0000-4000-8000-0000000", "6d1c0000-0000-4000-8000-000000000001"])
def test_address_of_no_conversation_says_so(site, meet, name):
    page = meet(site, provokes=MISSING).open(f"/c/{name}")
    expect(page.get_by_role("heading", name="Conversation not found")).to_be_visible()
    expect(page.locator("#account")).to_have_text("ann")
    page.click("#missing .button")
    expect(page.locator("#welcome")).to_be_visible()


def test_stop_by_an_administrator_is_not_shown_as_the_users_own(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("slow"))
    say(page, "go")
    expect(answers(page)).to_contain_text("3 ")
    site.shell(f"from chat import runs; runs.cancel({ann.user.id}, by_administrator=True)", publishes=True)
    expect(page.locator(".headline")).to_have_text(re.compile("slow was stopped by an administrator"))
    expect(page.locator("#status")).to_have_text("Answer stopped by an administrator")


def test_a_picture_is_shown_small_in_its_message_and_large_when_it_is_opened(site, meet):
    """The browser that did not send it has it from the server."""
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(content, "PNG")
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    picture = {"name": "red.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.set_input_files("#file", files=[picture])
    expect(page.locator("#drafts [data-state=ready]")).to_have_count(1)
    say(page, "look")
    expect(runs(page, "completed")).to_have_count(1)
    page.reload()
    thumbnail = questions(page).locator("img.thumbnail")
    expect(thumbnail).to_have_js_property("naturalWidth", 40)
    thumbnail.click()
    large = page.locator("#preview").get_by_role("img", name="red.png")
    expect(large).to_have_js_property("naturalWidth", 40)
    expect(page.locator("#preview")).not_to_contain_text("PNG\n")


@pytest.mark.parametrize(
    ("name", "content", "tables", "text", "foot"),
    [
        ("notes.md", b"# Hello, world\n\nThis, is, a text.\n", 0, "# Hello, world\n\nThis, is, a text.\n", "34 B"),
        ("a.py", b"def f(a, b):\n    return a, b\n", 0, "def f(a, b):\n    return a, b\n", "29 B"),
        ("usage.txt", USAGE, 1, None, "1 row"),
        ("usage.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0), 0, None, "28 B"),
        ("marked.csv", b"\xef\xbb\xbf", 1, None, "0 rows, 3 B"),
        ("mac.csv", b"a,b\r1,2\r3,4\r", 1, None, "2 rows, 12 B"),
        ("windows.csv", b'a,b\r\n"1\r\n",2\r\n\r\n3,4', 1, None, "2 rows"),
    ],
)
def test_preview_shows_text_as_text_and_nothing_of_an_archive(site, meet, name, content, tables, text, foot):
    page = meet(site).open()
    page.set_input_files("#file", [{"name": name, "mimeType": "", "buffer": content}])
    page.locator(".chip-open:not([disabled])").click()
    preview = page.locator("#preview")
    expect(preview.locator(".foot")).to_contain_text(foot)
    expect(preview.locator("table")).to_have_count(tables)
    expect(preview.locator("pre")).to_have_text([text] if text else [], use_inner_text=True)


def test_preview_of_a_table_says_how_many_rows_there_are_and_sets_numbers_to_the_right(site, meet):
    ann = meet(site)
    page = ann.open()
    lines = "".join(f'2026-09-01,"gpt-4o\nmini",{number},$0.5\r\n' for number in range(300))
    content = f"day,model,input_tokens,cost\r\n{lines}".encode()
    page.set_input_files("#file", files=[{"name": "usage.csv", "mimeType": "text/csv", "buffer": content}])
    page.get_by_role("button", name=re.compile("^usage.csv")).click()
    expect(page.locator("#preview .foot")).to_contain_text("First 20 of 300 rows")
    sides = [cell.evaluate("(cell) => getComputedStyle(cell).textAlign") for cell in page.locator("#preview th").all()]
    assert sides == ["left", "left", "right", "right"]
    frame, table = page.locator("#preview .table"), page.locator("#preview table")
    assert (table.bounding_box() or {})["width"] >= (frame.bounding_box() or {})["width"] - 3


@pytest.mark.parametrize("path", ["/", "/login", "/signup", "/settings"])
def test_page_without_scripts_says_only_what_it_needs(site, meet, path):
    page = meet(site, signed_in=False, java_script_enabled=False).open(path)
    expect(page.get_by_role("heading", name="Please turn on JavaScript")).to_be_visible()
    assert page.locator("body > :visible").count() == page.locator("body > noscript:visible").count() == 1


def test_long_message_is_folded_until_it_is_asked_for(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    text = "\n".join(f"line {number}" for number in range(400))
    say(page, text)
    expect(runs(page, "completed")).to_have_count(1)
    folded = questions(page).first
    expect(folded.get_by_role("button", name="Show all")).to_be_visible()
    assert (folded.bounding_box() or {})["height"] < 400
    folded.get_by_role("button", name="Show all").click()
    assert (folded.bounding_box() or {})["height"] > 4_000
    folded.get_by_role("button", name="Show less").click()
    assert (folded.bounding_box() or {})["height"] < 400


def test_edit_that_was_begun_outlives_a_reload_and_another_thread(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "first")
    expect(runs(page, "completed")).to_have_count(1)
    page.press("#composer", "ArrowUp")
    page.keyboard.press("End")
    page.keyboard.type(" and more")
    page.reload()
    expect(page.locator(".editing textarea")).to_have_value("first and more")
    page.click("#new-thread")
    expect(page.locator("#welcome")).to_be_visible()
    listed(page).first.click()
    expect(page.locator(".editing textarea")).to_have_value("first and more")
    page.get_by_role("button", name="Cancel").click()
    page.reload()
    expect(questions(page)).to_have_text(["first"])


def test_stop_holds_what_is_queued_until_it_is_sent_or_discarded(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("slow"))
    say(page, "one")
    expect(answers(page)).to_have_count(1)
    for text in ("two", "three"):
        say(page, text)
    expect(page.locator(".state[data-state=queued]")).to_have_count(2)
    page.fill("#composer", "being written")
    page.keyboard.press("Escape")
    expect(page.locator("#stop")).to_be_enabled()
    page.fill("#composer", "")
    page.keyboard.press("Escape")
    expect(runs(page, "cancelled")).to_have_count(1)
    held = page.locator(".state[data-state=held]")
    expect(held).to_have_count(2)
    expect(page.locator("#stop")).to_be_hidden()
    expect(questions(page)).to_have_text(["one", "two", "three"])
    page.reload()
    expect(held).to_have_count(2)
    held.last.get_by_role("button", name="Discard").click()
    expect(held).to_have_count(1)
    held.get_by_role("button", name="Send").click()
    expect(held).to_have_count(0)
    expect(runs(page, "running")).to_have_count(1)
    expect(questions(page)).to_have_text(["one", "two"])
    page.click("#stop")
    expect(runs(page, "cancelled")).to_have_count(2)


def test_sign_in_waits_for_its_script(site, meet):
    ann = meet(site, signed_in=False)
    page, held = ann.context.new_page(), []
    page.route("**/ui/account.js", lambda route: held.append(route))
    page.goto(site.url + "/login", wait_until="commit")
    page.fill("#email", ann.user.email)
    page.fill("#password", ann.user.password)
    expect(page.locator("#submit")).to_be_disabled()
    wait_until(lambda: page.wait_for_timeout(10) or held, "the script to be asked for")
    held.pop().continue_()
    page.click("#submit")
    expect(page.locator("#account")).to_have_text("ann")


def test_nothing_is_called_empty_while_it_is_loading(site, meet):
    ann = meet(site)
    path = ann.thread("echo")
    ann.user.http("POST", f"/api/threads{path.removeprefix('/c')}/messages", {"content": "hello"})
    held: list[Route] = []
    ann.context.route("**/api/threads?*", lambda route: held.append(route))
    page = ann.open()
    expect(page.locator("#threads .waiting")).to_be_attached()
    wait_until(lambda: page.evaluate("1") and held, "the list to be asked for")
    expect(page.get_by_text("No conversations yet")).to_have_count(0)
    for route in held:
        route.continue_()
    expect(listed(page)).to_have_text(["Hello"])
    expect(page.locator("#threads .waiting")).to_have_count(0)


def test_ended_session_says_so_where_it_leads_to(site, meet):
    ann = meet(site, provokes=UNAUTHORIZED)
    page = ann.open(ann.thread("echo"))
    expect(page.locator("#account")).to_have_text("ann")
    ann.user.http("POST", "/auth/logout", {"everywhere": True})
    expect(page.locator(".lead")).to_have_text("Your session has ended. Sign in to go on where you were.")
    expect(page).to_have_url(re.compile(r"/login\?next="))


def test_api_key_is_made_copied_once_and_revoked(site, meet):
    ann = meet(site)
    page = ann.open("/settings")
    expect(page.locator("#keys")).to_have_text("None.")
    page.fill("#key-name", HOSTILE[:80])
    page.locator("#key-form").get_by_text("Never").click()
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#new-key")).to_contain_text("it is not shown again")
    key = page.locator("#new-key code").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#new-key button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == key
    shown = page.locator("#keys li")
    expect(shown).to_contain_text(HOSTILE[:80])
    expect(shown).to_contain_text("Reads only")
    expect(shown).to_contain_text("Never used, never expires")
    serious(page)

    def asked():
        return httpx.get(site.url + "/api/threads", headers={"Authorization": f"Bearer {key}"}, timeout=WAIT_TIMEOUT)

    assert asked().status_code == 200
    page.reload()
    expect(page.locator("#keys li")).to_contain_text(key[:14])
    assert key not in page.content()
    page.locator("#keys").get_by_role("button", name="Revoke").click()
    expect(page.locator("#keys")).to_have_text("None.")
    assert asked().status_code == 401


def test_what_was_done_in_the_settings_goes_away(site, meet):
    ann = meet(site, provokes=r"status of 422")
    page = ann.open("/settings")
    page.fill("#name", "Ada")
    page.click("#name-form button")
    expect(page.locator("#status")).to_have_text("Saved")
    page.fill("#current", "not the password")
    page.fill("#new", "correct horse battery")
    page.click("#password-form button")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#status")).to_be_hidden()


def test_theme_that_is_chosen_in_one_tab_is_shown_in_the_others(site, meet):
    ann = meet(site)
    page, other = ann.open(), ann.open("/settings")
    other.get_by_text("Dark", exact=True).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


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
    expect(other.locator("#title")).to_have_text("stored", ignore_case=True)


# ---- Any text ----


def test_answer_of_deep_nesting_is_shown_and_so_are_its_neighbours(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    texts = ["before", ">" * 3_000, "- " * 1_500 + "x", "behind"]
    for count, text in enumerate(texts, 1):
        say(page, text)
        expect(runs(page, "completed")).to_have_count(count)
    for shown in (lambda: None, page.reload):
        shown()
        expect(answers(page)).to_have_count(4)
        expect(answers(page).nth(0)).to_have_text("before")
        expect(answers(page).nth(1)).to_contain_text(">" * 2_900)
        expect(answers(page).nth(2)).to_contain_text("- - x")
        expect(answers(page).nth(3)).to_have_text("behind")
    page.set_viewport_size({"width": 390, "height": 844})
    for answer in answers(page).all():
        assert answer.evaluate("(node) => node.scrollWidth <= node.clientWidth && node.clientWidth < innerWidth")
        assert answer.locator("p, li").last.evaluate("(node) => node.clientWidth") > 120, "room for the text"


BREAK = """{
  const parse = DOMParser.prototype.parseFromString;
  DOMParser.prototype.parseFromString = function (text, ...rest) {
    if (String(text).includes("poison")) throw new Error("out of order");
    return parse.call(this, text, ...rest);
  };
}"""


def test_answer_that_cannot_be_laid_out_is_shown_as_text(site, meet):
    ann = meet(site, provokes="of null")
    ann.context.add_init_script(BREAK)
    page = ann.open(ann.thread("echo"))
    for count, text in enumerate(["**fine**", "**poison** <b>", "**well**"], 1):
        say(page, text)
        expect(runs(page, "completed")).to_have_count(count)
    for shown in (lambda: None, page.reload):
        shown()
        expect(answers(page).locator("strong")).to_have_text(["fine", "well"])
        expect(answers(page).nth(1)).to_contain_text("cannot be laid out")
        expect(answers(page).nth(1).locator("pre")).to_have_text("**poison** <b>")


# Each hard text in an answer, a question, a thought and a formula's place, drawn into the page; what was thrown.
DRAWN = """async ([names, size]) => {
  const { Writing } = await import("/static/chat/markdown/markdown.js");
  const { HARD } = await import("/static/hard.mjs");
  const wrong = [];
  addEventListener("error", ({ message }) => wrong.push(message));
  for (const name of names) {
    const text = HARD[name](size);
    const writing = new Writing();
    for (let end = 0; end < size; end += size / 3) writing.write(text.slice(0, end), false, 0);
    while (!writing.write(text, true, performance.now() + 25)) await new Promise((resolve) => setTimeout(resolve));
    document.querySelector("#transcript").append(writing.node);
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    if (writing.node.querySelector(".plain") && !/columns|rows/.test(name)) wrong.push(name);
    let deepest = 0;
    for (const node of writing.node.querySelectorAll("*")) {
      let depth = 0;
      for (let at = node; at !== writing.node; at = at.parentElement) depth += 1;
      deepest = Math.max(deepest, depth);
    }
    if (deepest > 250) wrong.push(`${name}: ${deepest} deep`);
    writing.node.remove();
  }
  return wrong;
}"""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_hard_text_is_drawn_without_an_error(site, meet, part):
    page = hard(meet(site).open())
    page.set_default_timeout(0)
    names = page.evaluate("import('/static/hard.mjs').then(({ HARD }) => Object.keys(HARD))")
    assert page.evaluate(DRAWN, [names[part::4], 60_000]) == []


FORMULAS = [
    r"\def\a{\a\a}\a",
    r"\gdef\a#1{#1#1#1#1#1#1#1#1}\a{\a{\a{\a{\a{\a{x}}}}}}",
    r"\newcommand{\a}[1]{#1#1}\a{\a{\a{x}}}",
    r"\let\a\b",
    "\\sqrt{" * 400 + "x" + "}" * 400,
    "x^{" * 900 + "y" + "}" * 900,
    "\\frac{1}{" * 300 + "x" + "}" * 300,
    "\\left(" * 300 + "x" + "\\right)" * 300,
    "{" * 1_900 + "x_1" + "}" * 1_900,
]


def test_formula_of_macros_or_deep_nesting_stays_text(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, "\n\n".join([*(f"$$\n{formula}\n$$" for formula in FORMULAS), "$$\nx^2\n$$"]))
    expect(answers(page).locator(".katex")).to_have_count(1)
    expect(answers(page).locator("code.math")).to_have_text([*FORMULAS])


def test_code_of_long_lines_stays_without_colours(site, meet):
    page = meet(site).open()
    coloured = page.evaluate(
        """async () => {
          const { Writing } = await import("/static/chat/markdown/markdown.js");
          const writings = ["a = 1\\n".repeat(3_000), "_".repeat(19_000), "a = 1"].map((code) => {
            const writing = new Writing();
            writing.write(`\\`\\`\\`ini\\n${code}\\n\\`\\`\\``, true, Infinity);
            return writing.node;
          });
          const coloured = (at) => writings[at].querySelector("pre span");
          while (!coloured(0) || !coloured(2)) await new Promise(requestAnimationFrame);
          return writings.map((node) => node.querySelector("pre span") !== null);
        }"""
    )
    assert coloured == [True, False, True]


HEBREW = """# כותרת with English

שלום, זה `npm install --save` ואז USD 123 (כולל מע"מ).

`x = 1` הוא קוד.

https://example.org/a הוא האתר.

- פריט ראשון
- second item
  - פריט פנימי

> ציטוט בעברית
>
> and English

| שם | Price |
|---|--:|
| אחד | 1,234.50 |

```python
print("שלום")  # הערה
```

مرحبا بالعالم، $x^2$ صيغة.

English again."""

DIRECTIONS = """(node) => [...node.querySelectorAll("h1, p, li, blockquote, table, th, pre, p > code, .katex, ul")]
  .map((one) => [one.tagName.toLowerCase(), getComputedStyle(one).direction].join(" "))"""


def test_text_runs_in_the_direction_of_its_letters_and_code_from_left_to_right(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, HEBREW)
    expect(runs(page, "failed")).to_be_visible()
    expect(answers(page).locator(".katex").first).to_be_visible()
    assert answers(page).evaluate(DIRECTIONS) == [
        "h1 rtl", "p rtl", "code ltr", "p rtl", "code ltr", "p rtl",
        "ul rtl", "li rtl", "li ltr", "ul rtl", "li rtl",
        "blockquote rtl", "p rtl", "p ltr", "table rtl", "th rtl", "th ltr", "pre ltr",
        "p rtl", "span ltr", "p ltr",
    ]  # fmt: skip
    page.click(".run-line")
    direction = "(node) => getComputedStyle(node).direction"
    for place in ("#title", "#threads .title", ".thought .gist", ".failure", ".message[data-role=user] .text"):
        assert page.locator(place).first.evaluate(direction) == "rtl", place
    for step in page.locator(".step summary").all():
        step.click()
    assert page.locator(".step pre").first.evaluate(direction) == "ltr"
    page.fill("#composer", "שלום world")
    assert page.locator("#composer").evaluate(direction) == "rtl"
    page.fill("#composer", "hello עולם")
    assert page.locator("#composer").evaluate(direction) == "ltr"
    page.get_by_role("button", name="Edit the message").click()
    assert page.locator(".editing textarea").evaluate(direction) == "rtl"
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.locator("#search-found [data-found]")).to_have_count(1)
    assert page.locator("#search-found [data-found] .title").evaluate(direction) == "rtl"


def test_text_of_the_other_direction_stands_at_its_own_side(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, "- אחד\n- two\n\n> ציטוט\n\nשלום\n\nhello")
    expect(runs(page, "failed")).to_be_visible()
    sides = answers(page).evaluate(
        """(node) => [...node.querySelectorAll("li, blockquote p, .markdown > p")].map((block) => {
          const text = document.createRange();
          text.selectNodeContents(block);
          const [outer, inner] = [node.getBoundingClientRect(), text.getBoundingClientRect()];
          return inner.left - outer.left < outer.right - inner.right ? "left" : "right";
        })"""
    )
    assert sides == ["right", "left", "right", "right", "left"]
    assert answers(page).locator("blockquote").evaluate("(node) => getComputedStyle(node).borderRightWidth") == "3px"


TABLES = """| שם | Price | סכום |
|---|--:|:--|
| אחד | 1,234.50 | $5 |
| two | שלוש | ₪12 |

| a | שלום | c |
|---|:--|--:|
| שם | x | long |"""
# Of each column of each table: how far its cells' texts are from the side of the table at which they stand.
COLUMNS = """(node, sides) => [...node.querySelectorAll("table")].map((table, at) => sides[at].map((side, column) => {
  const edges = [...table.rows].map(({ cells }) => {
    const text = document.createRange();
    text.selectNodeContents(cells[column]);
    return Math.round(text.getBoundingClientRect()[side]);
  });
  return new Set(edges).size;
}))"""


def test_columns_of_mixed_directions_stand_at_one_side(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, TABLES)
    expect(runs(page, "failed")).to_be_visible()
    sides = [["right", "right", "left"], ["left", "left", "right"]]
    assert answers(page).evaluate(COLUMNS, sides) == [[1, 1, 1], [1, 1, 1]]
    right_to_left, right = answers(page).evaluate(
        "(node) => [node.querySelector('table'), node].map((one) => Math.round(one.getBoundingClientRect().right))"
    )
    assert right_to_left == right, "a table from right to left begins at the right"


def test_title_with_an_override_turns_nothing_else_around(site, meet):
    ann = meet(site)
    thread = ann.user.http("POST", "/api/threads", {"title": "abc \u202efdp.exe\u2066"}).json()["id"]
    page = ann.open(f"/c/{thread}")
    expect(page.locator("#title")).to_contain_text("abc")
    assert page.title() == "abc fdp.exe · Netra"
    assert page.locator("#title").get_attribute("dir") == "auto"


# ---- Input methods ----

# What Safari tells of the Enter that ends a composition: its end first, then the key, which is in no composition then.
SAFARI = """(field) => {
  field.focus();
  const key = (type, key) => field.dispatchEvent(new KeyboardEvent(type,
    { key, code: key, keyCode: 229, which: 229, isComposing: false, bubbles: true, cancelable: true }));
  field.dispatchEvent(new CompositionEvent("compositionend", { data: field.value, bubbles: true }));
  for (const name of ["Enter", "Escape"]) key("keydown", name), key("keyup", name);
}"""


@pytest.mark.parametrize("words", ["日本語を変換", "中文拼音", "한국어"])
def test_enter_that_ends_a_composition_sends_nothing(site, meet, words):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    expect(page.locator("#composer")).to_be_focused()
    protocol = ann.context.new_cdp_session(page)
    for end in range(1, len(words) + 1):
        at = {"selectionStart": end, "selectionEnd": end}
        protocol.send("Input.imeSetComposition", {"text": words[:end], **at})
    for kind in ("rawKeyDown", "keyUp"):
        taken = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
        protocol.send("Input.dispatchKeyEvent", {"type": kind, **taken})
    protocol.send("Input.insertText", {"text": words})
    expect(page.locator("#composer")).to_have_value(words)
    page.locator("#composer").evaluate(SAFARI)
    expect(page.locator("#composer")).to_have_value(words)
    expect(questions(page)).to_have_count(0)
    page.keyboard.press("Enter")
    expect(runs(page, "completed")).to_have_count(1)
    assert stored(ann.user, page)[0] == ("user", words)


def test_keys_of_an_input_method_leave_edit_rename_search_and_run_alone(site, meet, gate):
    ann = meet(site)
    page = ann.open(ann.thread("gated"))
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    page.fill("#composer", "次")
    page.locator("#composer").evaluate(SAFARI)
    expect(page.locator("#composer")).to_have_value("次")
    page.keyboard.press("Control+k")
    page.fill("#search-words", "gate")
    expect(page.locator("#search-found [data-found]")).to_have_count(1)
    page.locator("#search-words").evaluate(SAFARI)
    expect(page.locator("#searching")).to_be_visible()
    page.keyboard.press("Escape")
    page.click("#thread-menu")
    page.get_by_role("menuitem", name="Rename").click()
    page.fill("#new-title", "名前")
    page.locator("#new-title").evaluate(SAFARI)
    expect(page.locator("#renaming")).to_be_visible()
    page.keyboard.press("Escape")
    gate.touch()
    expect(runs(page, "completed")).to_have_count(1)
    expect(answers(page)).to_have_text(["before after 1"])
    page.get_by_role("button", name="Edit the message").click()
    page.locator(".editing textarea").fill("変更")
    page.locator(".editing textarea").evaluate(SAFARI)
    expect(page.locator(".editing textarea")).to_have_value("変更")
    expect(questions(page)).to_have_count(0)


# ---- What is sent ----


@pytest.mark.parametrize("blank", ["\u200b", "\ufeff\u2060", " \u3164\n\u00ad", "\u115f\ufe0f\u2800"])
def test_message_that_shows_nothing_is_not_sent(site, meet, blank):
    ann = meet(site, provokes="status of 422")
    page = ann.open(ann.thread("echo"))
    page.fill("#composer", blank)
    expect(page.locator("#send")).to_be_disabled()
    page.press("#composer", "Enter")
    say(page, "seen")
    expect(runs(page, "completed")).to_be_visible()
    expect(questions(page)).to_have_text(["seen"])
    page.get_by_role("button", name="Edit the message").click()
    page.locator(".editing textarea").fill(blank)
    page.keyboard.press("Enter")
    expect(page.locator(".editing")).to_be_visible()
    assert [content.strip() for _, content in stored(ann.user, page)] == ["seen", "seen"]


def test_message_is_sent_and_shown_as_it_was_typed(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    typed = "    def f():\n        return 1  "
    say(page, f"{typed}\n\n")
    expect(runs(page, "completed")).to_be_visible()
    assert stored(ann.user, page)[0] == ("user", typed)
    assert questions(page).locator(".text").evaluate("(node) => node.textContent") == typed
    assert questions(page).locator(".text").evaluate("(node) => getComputedStyle(node).whiteSpace") == "pre-wrap"
    page.get_by_role("button", name="Edit the message").click()
    expect(page.locator(".editing textarea")).to_have_value(typed)
    page.keyboard.press("End")
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.locator(".switch-text").first).to_have_text("2/2")
    assert questions(page).locator(".text").evaluate("(node) => node.textContent.slice(0, 8)") == "    def "


def test_message_too_long_to_be_sent_can_become_a_file(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    page.fill("#composer", "é x" * 350_000)
    page.press("#composer", "Enter")
    expect(page.locator("#held")).to_contain_text("(limit 60 KB)")
    expect(questions(page)).to_have_count(0)
    page.get_by_role("button", name="Attach it as a file").click()
    expect(page.locator(".draft[data-state=ready] .chip-name")).to_have_text(["message.txt"])
    expect(page.locator("#held")).to_be_hidden()
    say(page, "look")
    expect(page.locator(".message .chip-about")).to_contain_text("1.3 MB")


def test_refused_message_can_be_changed(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    page.set_input_files("#file", files=[{"name": "a.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}])
    expect(page.locator(".draft[data-state=ready]")).to_have_count(1)
    kept = page.evaluate("sessionStorage['netra.files']")
    forged = re.sub(r'"id":"[^"]+"', '"id":"00000000-0000-4000-8000-000000000000"', kept)
    page.evaluate("(kept) => { sessionStorage['netra.files'] = kept }", forged)
    page.reload()
    say(page, "look")
    expect(page.get_by_role("alert")).to_contain_text("Not sent:")
    page.fill("#composer", "more")
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator("#composer")).to_have_value("look\n\nmore")
    page.locator(".draft").get_by_role("button", name="Remove").click()
    page.press("#composer", "Enter")
    expect(runs(page, "completed")).to_have_count(1)
    expect(questions(page)).to_have_text(["look\n\nmore"])


CSV = {"mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}


@pytest.mark.parametrize("how", ["abort", "503", "413"])
def test_message_with_a_file_that_failed_is_held_back(site, meet, how):
    ann = meet(site, provokes=r"net::ERR_FAILED|status of (503|413)")
    page = ann.open(ann.thread("echo"))
    body = json.dumps({"error": "unavailable", "message": "Not now."})
    fails = [True]

    def answer(route: Route) -> None:
        if not fails or b"good.csv" in (route.request.post_data_buffer or b""):
            route.continue_()
        elif how == "abort":
            route.abort()
        else:
            route.fulfill(status=int(how), body=body, content_type="application/json")

    page.route("**/api/attachments", answer)
    page.set_input_files("#file", files=[{"name": "good.csv", **CSV}, {"name": "bad.csv", **CSV}])
    expect(page.locator(".draft[data-state=failed] .chip-name")).to_have_text(["bad.csv"])
    expect(page.locator(".draft[data-state=ready]")).to_have_count(1)
    for send in (lambda: page.press("#composer", "Enter"), lambda: page.click("#send")):
        page.fill("#composer", "with both")
        send()
        expect(page.locator("#held")).to_contain_text("Not sent: “bad.csv” could not be stored.")
        expect(page.locator("#composer")).to_have_value("with both")
    expect(questions(page)).to_have_count(0)
    again = page.get_by_role("button", name="Try again")
    if how == "413":
        expect(again).to_have_count(0)
        page.reload()
        expect(page.locator(".draft[data-state=failed]")).to_contain_text("bad.csvIt was not stored.")
        page.press("#composer", "Enter")
        expect(page.locator("#held")).to_contain_text("Not sent: “bad.csv” could not be stored.")
        page.get_by_role("button", name="Remove bad.csv").click()
    else:
        fails.clear()
        again.click()
        expect(page.locator(".draft[data-state=ready]")).to_have_count(2)
    expect(page.locator("#held")).to_be_hidden()
    page.press("#composer", "Enter")
    names = ["good.csv"] if how == "413" else ["good.csv", "bad.csv"]
    expect(page.locator(".message .chip-name")).to_have_text(names)


def test_refused_edit_is_changed_in_its_place(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    for count, text in enumerate(["first", "second"], 1):
        say(page, text)
        expect(runs(page, "completed")).to_have_count(count)
    page.get_by_role("button", name="Edit the message").first.click()
    page.fill(".editing textarea", "x" * 70_000)
    page.press(".editing textarea", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("Not sent:")
    change = page.get_by_role("button", name="Edit", exact=True)
    change.click()
    page.press(".editing textarea", "Escape")
    expect(change).to_be_focused()
    change.click()
    page.fill(".editing textarea", "changed")
    page.press(".editing textarea", "Enter")
    expect(questions(page)).to_have_text(["changed"])
    expect(answers(page)).to_have_text(["changed"])
    expect(page.locator(".exchange").first.locator("[data-of=user] .switch-text")).to_have_text("2/2")


@pytest.mark.parametrize("path", ["/api/attachments", "/api/attachments/*/content"])
def test_file_of_a_token_that_is_over_is_asked_for_with_a_new_one(site, meet, path):
    ann = meet(site, provokes=UNAUTHORIZED)
    page = ann.open(ann.thread("echo"))
    page.route(f"**{path}", lambda route: route.fulfill(status=401, json={"error": "unauthorized"}), times=1)
    page.set_input_files("#file", files=[{"name": "a.csv", **CSV}])
    expect(page.locator(".draft[data-state=ready]")).to_have_count(1)
    say(page, "look")
    page.locator(".message[data-role=user] .chip").click()
    expect(page.locator("#preview td").first).to_have_text("1")


def test_file_of_an_ended_session_leads_to_sign_in_and_the_text_stays(site, meet):
    ann = meet(site, provokes=UNAUTHORIZED)
    page = ann.open(ann.thread("echo"))
    page.fill("#composer", "half a")
    gone = {"status": 401, "json": {"error": "unauthorized"}}
    page.route("**/api/attachments", lambda route: route.fulfill(**gone))
    page.route("**/auth/refresh", lambda route: route.fulfill(**gone))
    page.set_input_files("#file", files=[{"name": "a.csv", **CSV}])
    expect(page.locator("#email")).to_be_visible()
    page.unroute("**/auth/refresh")
    ann.sign_in(page)
    expect(page.locator("#composer")).to_have_value("half a")


DROP = """(node) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["a,b"], "a.csv", { type: "text/csv" }));
  return ["dragover", "drop"].map((type) =>
    !node.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true })));
}"""


def test_file_that_is_dropped_elsewhere_does_not_leave_the_page(site, meet):
    page = meet(site).open()
    for place in ("#sidebar", "#help", "body"):
        assert page.locator(place).evaluate(DROP) == [True, True], place
    expect(page.locator(".draft")).to_have_count(0)
    assert page.locator("main").evaluate(DROP) == [True, True]
    expect(page.locator(".draft")).to_have_count(1)


def test_message_waits_for_a_file_that_is_on_its_way(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    held: list[Route] = []
    page.route("**/api/attachments", lambda route: held.append(route))
    page.set_input_files("#file", files=[{"name": "slow.csv", **CSV}])
    expect(page.locator(".draft")).to_have_count(1)
    say(page, "with it")
    expect(page.locator("#held")).to_contain_text("“slow.csv” is still on its way")
    wait_until(lambda: bool(page.evaluate("0") or held), "the upload")
    held.pop().continue_()
    expect(page.locator(".draft[data-state=ready]")).to_have_count(1)
    expect(page.locator("#held")).to_be_hidden()
    page.press("#composer", "Enter")
    expect(page.locator(".message .chip-name")).to_have_text(["slow.csv"])


def test_files_stay_with_their_thread_and_outlive_a_reload(site, meet):
    ann = meet(site)
    first, second = (ann.user.http("POST", "/api/threads", {"title": title}).json()["id"] for title in ("one", "two"))
    page = ann.open(f"/c/{first}")
    held: list[Route] = []
    page.route("**/api/attachments", lambda route: held.append(route))
    page.set_input_files("#file", files=[{"name": "one.csv", **CSV}])
    expect(page.locator(".draft")).to_have_count(1)
    page.click(f"#threads a[href='/c/{second}']")
    expect(page.locator("#title")).to_have_text("two")
    expect(page.locator(".draft")).to_have_count(0)
    wait_until(lambda: bool(page.evaluate("0") or held), "the upload")
    held.pop().continue_()
    page.unroute("**/api/attachments")
    page.set_input_files("#file", files=[{"name": "two.csv", **CSV}])
    expect(page.locator(".draft[data-state=ready] .chip-name")).to_have_text(["two.csv"])
    page.click(f"#threads a[href='/c/{first}']")
    for shown in (lambda: None, page.reload):
        shown()
        expect(page.locator(".draft[data-state=ready] .chip-name")).to_have_text(["one.csv"])
    page.locator(".draft .chip-open").click()
    expect(page.locator("#preview td").first).to_have_text("1")
    page.keyboard.press("Escape")
    say(page, "mine")
    expect(page.locator(".message .chip-name")).to_have_text(["one.csv"])
    page.reload()
    expect(page.locator(".message .chip-name")).to_have_text(["one.csv"])
    expect(page.locator(".draft")).to_have_count(0)
    page.click(f"#threads a[href='/c/{second}']")
    expect(page.locator(".draft .chip-name")).to_have_text(["two.csv"])


def test_what_one_user_was_writing_is_not_shown_to_the_next_one(site, meet):
    ann, bob = meet(site), meet(site)
    page = ann.open()
    page.fill("#composer", "for ann only")
    page.set_input_files("#file", files=[{"name": "secret.csv", **CSV}])
    expect(page.locator(".draft[data-state=ready]")).to_have_count(1)
    ann.context.clear_cookies()
    ann.context.add_cookies(session(bob.user)["cookies"])
    page.evaluate("(id) => localStorage.setItem('netra.signed_in', id)", bob.user.id)
    page.reload()
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#composer")).to_have_value("")
    expect(page.locator(".draft")).to_have_count(0)


def test_pasted_table_with_its_picture_is_text_and_a_dropped_folder_is_told_of(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    expect(page.locator("#composer")).to_be_focused()
    taken = page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text/plain", "a\\tb");
          data.items.add(new File(["x"], "image.png", { type: "image/png" }));
          const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
          document.querySelector("#composer").dispatchEvent(event);
          return event.defaultPrevented;
        }"""
    )
    assert not taken
    page.evaluate(
        """() => {
          const folder = { kind: "file", getAsFile: () => new File([], "exports"),
            webkitGetAsEntry: () => ({ isDirectory: true }) };
          const file = { kind: "file", getAsFile: () => new File(["a\\n1\\n"], "a.csv"), webkitGetAsEntry: () => null };
          const event = new DragEvent("drop", { bubbles: true, cancelable: true });
          Object.defineProperty(event, "dataTransfer", { value: { types: ["Files"], items: [folder, file] } });
          document.querySelector("main").dispatchEvent(event);
        }"""
    )
    expect(page.locator("#notices")).to_contain_text("“exports” is a folder")
    expect(page.locator(".draft .chip-name")).to_have_text(["a.csv"])


# ---- Connection ----


def test_half_a_minute_offline_with_a_message_in_the_outbox(site, meet, gate):
    ann = meet(site, provokes=UNREACHABLE)
    page = ann.open(ann.thread("gated"))
    page.clock.install()
    say(page, str(gate))
    expect(answers(page)).to_have_text(["before"])
    ann.context.set_offline(True)
    page.clock.run_for(30_000)
    expect(page.locator("#connection-text")).to_have_text(re.compile("You are offline. Retrying"))
    say(page, str(gate.parent))
    expect(page.locator(".state[data-state=waiting]")).to_contain_text("Waiting for connection")
    gate.touch()
    ann.context.set_offline(False)
    expect(page.locator("#connection")).to_be_hidden()
    expect(runs(page, "completed")).to_have_count(2)
    expect(answers(page)).to_have_text(["before after 1"] * 2)
    assert sorted(stored(ann.user, page)) == twice(gate)


@pytest.mark.slow
def test_a_reload_keeps_what_is_unsent_and_what_is_being_written(site, meet):
    ann = meet(site, provokes=UNREACHABLE)  # what the page still loads when the line goes
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
    expect(queued).to_have_text("Stopping…", use_inner_text=True)
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


def test_lists_that_cannot_be_read_are_one_notice(site, meet):
    ann = meet(site, provokes=r"net::ERR_FAILED")
    page = ann.context.new_page()
    held: list[Route] = []
    page.route("**/api/threads?pinned=*", lambda route: held.append(route))
    page.route("**/api/threads?page=*", lambda route: route.abort())
    page.goto(site.url)
    expect(page.locator("#notices .notice")).to_have_text(["The server cannot be reached. Dismiss"])
    wait_until(lambda: page.evaluate("1") and held, "the list of pinned threads")
    with page.expect_event("requestfailed"):
        held[0].abort()
    page.evaluate("() => fetch('/health').then(({status}) => status)")
    expect(page.locator("#notices .notice")).to_have_count(1)


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


def test_two_tabs_that_refresh_at_once_without_locks_stay_signed_in(site, meet):
    """Outside a secure context, plain HTTP on a network for instance, there are no Web Locks."""
    ann = meet(site, signed_in=False)
    ann.context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    ann.sign_in(ann.open("/login"))
    held: list[Route] = []
    ann.context.route("**/auth/refresh", lambda route: held.append(route))
    tabs = [ann.context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(site.url)
    wait_until(lambda: tabs[0].evaluate("1") and len(held) == 2, "both refreshes")
    for route in held:
        route.continue_()
    for tab in tabs:
        expect(tab.locator("#account")).to_have_text("ann")
    ann.context.unroute("**/auth/refresh")
    for tab in tabs:
        tab.reload()
        expect(tab.locator("#account")).to_have_text("ann")


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
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".switch-text").filter(has_text="2/2")).to_be_visible()
    expect(runs(page, "completed")).to_be_visible()
    page.click(".run-line")
    page.locator("#panel .thought summary").first.click()
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
def test_focus_stays_beside_what_was_done(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "first")
    expect(runs(page, "completed")).to_have_count(1)
    pen = page.get_by_role("button", name="Edit the message")
    pen.click()
    page.keyboard.press("Escape")
    expect(pen).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("!")
    page.keyboard.press("Enter")
    expect(page.locator("#composer")).to_be_focused()
    expect(questions(page)).to_have_text(["first!"])
    expect(runs(page, "completed")).to_have_count(1)
    before, after = (page.get_by_role("button", name=f"{side} message") for side in ("Previous", "Next"))
    before.press("Enter")
    expect(questions(page)).to_have_text(["first"])
    expect(after).to_be_focused()
    page.get_by_role("button", name="Regenerate").press("Enter")
    expect(page.locator("#composer")).to_be_focused()
    expect(page.locator("[data-of=assistant] .switch-text")).to_have_text("2/2")
    page.get_by_role("button", name="Previous answer").press("Enter")
    expect(page.get_by_role("button", name="Next answer")).to_be_focused()


def test_headings_lead_from_message_to_message_and_into_an_answer(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, "# Title\n\nwords\n\n## Part")
    expect(runs(page, "failed")).to_have_count(1)
    headings = page.get_by_role("log").get_by_role("heading")
    expect(headings).to_have_text(["Your message", "Answer of mirror", "Title", "Part"])
    levels = "(nodes) => nodes.map((node) => node.ariaLevel ?? node.tagName[1])"
    assert headings.evaluate_all(levels) == ["2", "2", "3", "4"]
    page.get_by_role("link", name="Skip to the conversation").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#scroller")).to_be_focused()


def test_agent_that_is_not_available_is_reached_with_its_reason_and_not_chosen(site, meet):
    page = meet(site).open()
    expect(page.locator("#agent-name")).not_to_be_empty()
    chosen = page.locator("#agent-name").inner_text()
    page.click("#agent")
    item = page.get_by_role("menuitemradio", name=re.compile("^Assistant"))
    expect(item).to_be_disabled()
    expect(item).to_contain_text("Not set up yet")
    for _ in page.get_by_role("menuitemradio").all():
        if item.evaluate("(node) => node === document.activeElement"):
            break
        page.keyboard.press("ArrowDown")
    expect(item).to_be_focused()
    page.keyboard.press("Enter")
    expect(item).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#agent-name")).to_have_text(chosen)


def test_table_of_an_answer_is_copied_and_saved_without_formulas(site, meet):
    ann = meet(site)
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = ann.open(ann.thread("mirror"))
    say(page, '## Cost: "May"\n\n| model | cost |\n| --- | --: |\n| =A1+1 | -5 |\n| a, b | **$2** |')
    expect(runs(page, "failed")).to_have_count(1)
    page.get_by_role("button", name="Copy the table").click()
    assert page.evaluate("navigator.clipboard.readText()") == "model\tcost\n'=A1+1\t-5\na, b\t$2"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the table as CSV").click()
    assert saved.value.suggested_filename == "Cost May.csv"
    assert Path(saved.value.path()).read_text("utf-8-sig") == 'model,cost\n\'=A1+1,-5\n"a, b",$2'


def test_failed_run_names_its_id_for_a_report(site, meet):
    ann = meet(site)
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = ann.open(ann.thread("raising"))
    say(page, "go")
    expect(runs(page, "failed")).to_have_count(1)
    run_id = page.locator(".run").get_attribute("data-run") or ""
    expect(page.locator(".reference code")).to_have_text(run_id[:8])
    page.get_by_role("button", name="Copy its id").click()
    assert page.evaluate("navigator.clipboard.readText()") == run_id


def test_answer_is_rated_in_words_that_outlive_a_reload(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one two")
    expect(runs(page, "completed")).to_be_visible()
    bad = page.get_by_role("button", name="Bad answer")
    bad.click()
    expect(page.get_by_label("What was wrong with it?")).to_be_focused()
    serious(page)
    page.keyboard.type("Too short")
    page.locator(".rating-form").get_by_role("button", name="Send").click()
    expect(bad).to_be_focused()
    page.reload()
    expect(bad).to_have_attribute("aria-pressed", "true")
    messages = ann.user.http("GET", f"/api/threads/{thread_id(page)}/messages").json()["messages"]
    assert (messages[1]["feedback"]["rating"], messages[1]["feedback"]["comment"]) == (-1, "Too short")
    bad.click()
    expect(page.get_by_label("What was wrong with it?")).to_have_value("Too short")
    page.get_by_role("button", name="Remove rating").click()
    expect(bad).to_have_attribute("aria-pressed", "false")


def test_answer_that_nobody_saw_is_marked_until_it_was_shown_on_one_device(site, meet):
    ann = meet(site)
    elsewhere = ann.user.connect()
    asked = elsewhere.ask("while away")
    elsewhere.answer(asked["run_id"])
    page = ann.open("/")
    marked = page.locator("#threads a[data-mark=completed]")
    expect(marked.locator(".title")).to_have_text("While away")
    page.reload()
    expect(marked).to_have_count(1)
    thread = f"/api/threads/{asked['thread_id']}"
    ann.user.http("PATCH", thread, {"seen_seq": ann.user.http("GET", thread).json()["last_seq"]})
    expect(marked).to_have_count(0)
    assert listed(page).all_inner_texts() == ["While away"]

    again = elsewhere.ask("once more", thread_id=asked["thread_id"])
    end = elsewhere.answer(again["run_id"])
    expect(marked).to_have_count(1)
    listed(page).click()
    expect(answers(page)).to_have_text(["while away", "once more"])
    expect(marked).to_have_count(0)
    seen = elsewhere.receive("thread_seen", thread_id=asked["thread_id"])
    while seen["seen_seq"] < end["seq"]:
        seen = elsewhere.receive("thread_seen", thread_id=asked["thread_id"])
    page.goto(site.url)
    expect(listed(page)).to_have_text(["While away"])
    expect(marked).to_have_count(0)


def test_shared_conversation_is_looked_at_first_then_read_by_members_until_revoked(site, meet):
    ann, bob, carol = meet(site), meet(site), meet(site, signed_in=False)
    page = ann.open(ann.thread("echo"))
    say(page, "one **two**")
    expect(runs(page, "completed")).to_be_visible()
    page.click("#thread-menu")
    page.get_by_role("menuitem", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share this conversation")
    expect(dialog.locator(".message strong")).to_have_text("two")
    expect(dialog).to_contain_text("is signed in here")
    serious(page)
    assert ann.user.http("GET", "/api/shares").json()["shares"] == []
    dialog.get_by_role("button", name="Create link").click()
    address = dialog.get_by_label("Link", exact=True).input_value()
    path = urlsplit(address).path
    read = bob.open(path)
    expect(read.locator(".markdown strong")).to_have_text("two")
    assert urlsplit(read.url).path == path
    serious(read)
    form = carol.open(path)
    expect(form).to_have_url(re.compile(r"/login\?next=%2Fs%2F"))
    form.fill("#email", carol.user.email)
    form.fill("#password", carol.user.password)
    form.click("#submit")
    expect(form.get_by_role("heading", level=1)).to_have_text("One two")
    settings = ann.open("/settings")
    settings.locator("#links").get_by_role("button", name="Revoke").click()
    expect(settings.locator("#links")).to_have_text("None.")
    bob.provokes = MISSING
    read.reload()
    expect(read.get_by_role("heading", level=1)).to_have_text("This link leads nowhere")


def test_account_is_changed_taken_along_and_deleted_in_the_settings(site, meet):
    ann = meet(site)
    page = ann.open("/settings")
    expect(page.locator("#email")).to_have_value(ann.user.email)
    page.fill("#email", f"new-{ann.user.email}")
    page.fill("#address-current", ann.user.password)
    page.get_by_role("button", name="Change email").click()
    expect(page.locator("#status")).to_have_text("Email changed")
    with page.expect_download() as started:
        page.get_by_role("button", name="Export").click()
    assert started.value.suggested_filename == "netra.zip"
    page.locator("[data-opens=delete-account]").click()
    serious(page)
    page.fill("#delete-current", ann.user.password)
    page.get_by_role("button", name="Delete account").click()
    expect(page).to_have_url(re.compile("/login"))
    credentials = {"email": f"new-{ann.user.email}", "password": ann.user.password}
    assert httpx.post(site.url + "/auth/login", json=credentials, timeout=WAIT_TIMEOUT).status_code == 401


def test_conversation_goes_on_from_an_answer_in_a_new_one(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "one")
    expect(answers(page)).to_have_text(["one"])
    say(page, "two")
    expect(answers(page)).to_have_text(["one", "two"])
    before = page.url
    page.locator(".exchange").first.hover()
    page.get_by_role("button", name="Continue from here in a new conversation").first.click()
    expect(answers(page)).to_have_text(["one"])
    assert page.url != before
    say(page, "three")
    expect(answers(page)).to_have_text(["one", "three"])


def test_temporary_conversation_is_in_no_list_and_gone_once_it_is_left(site, meet):
    ann = meet(site)
    page = ann.open("/")
    page.get_by_role("button", name="Temporary").click()
    expect(page.locator("#temporary-note")).to_be_visible()
    say(page, "between us")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator("#threads .nothing")).to_have_text("No conversations yet")
    path = f"/api/threads/{thread_id(page)}"
    assert ann.user.http("GET", path).json()["temporary"] is True
    page.click("#new-thread")
    expect(page.locator("#welcome")).to_be_visible()
    wait_until(lambda: ann.user.http("GET", path).status_code == 404, "the end of the conversation")


def test_row_of_a_conversation_pins_renames_and_archives_it(site, meet):
    ann = meet(site)
    old, page = ann.user.http("POST", "/api/threads", {"title": "Old"}).json()["id"], ann.open("/")
    ann.user.http("POST", "/api/threads", {"title": "New"})
    page.reload()
    expect(listed(page)).to_have_text(["New", "Old"])
    row = page.locator("#threads li").filter(has_text="Old")

    def choose(name):
        row.hover()
        row.get_by_role("button").click()
        page.get_by_role("menuitem", name=name).click()

    choose("Pin")
    expect(listed(page)).to_have_text(["Old", "New"])
    expect(page.locator("#threads h2").first).to_have_text("Pinned")
    page.reload()
    expect(listed(page)).to_have_text(["Old", "New"])
    choose("Archive")
    expect(listed(page)).to_have_text(["New"])
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(listed(page)).to_have_text(["Old", "New"])
    assert ann.user.http("GET", f"/api/threads/{old}").json()["pinned"] is True


def test_copied_is_said_beside_the_other_buttons(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "first")
    expect(runs(page, "completed")).to_have_count(1)
    copy, again = (page.get_by_role("button", name=name) for name in ("Copy the answer", "Regenerate"))
    copy.click()
    expect(copy).to_have_text(re.compile("Copied|Not allowed"))
    assert copy.evaluate("(node) => node.scrollWidth <= node.clientWidth"), "it has room for its word"
    right, left = (one.bounding_box() for one in (copy, again))
    assert right and left and right["x"] + right["width"] <= left["x"]


def test_search_gives_commands_after_conversations(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("echo"))
    say(page, "a dark theme for all")
    expect(runs(page, "completed")).to_be_visible()
    chosen = page.locator("#search-found [aria-selected=true]")
    for keys, expected in (("", "a dark theme for all"), ("ArrowDown", "Theme: dark")):
        page.keyboard.press("Control+k")
        page.keyboard.type("dark theme")
        expect(page.locator("#search-found li")).to_have_count(2)
        if keys:
            page.keyboard.press(keys)
        expect(chosen).to_contain_text(expected)
        page.keyboard.press("Enter")
        expect(page.locator("#searching")).to_be_hidden()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("Control+k")
    page.keyboard.type("rename")
    expect(page.locator("#search-count")).to_have_text("1 command found")
    page.keyboard.press("Enter")
    expect(page.locator("#new-title")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("new conv")
    expect(chosen).to_contain_text("New conversation")
    page.keyboard.press("Enter")
    expect(page.locator("#welcome")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("set go")
    expect(chosen).to_contain_text("Go to settings")
    page.keyboard.press("Enter")
    page.wait_for_url("**/settings")


@pytest.mark.parametrize("key", ["k", "л", "ל", "ㅏ", "K"])
def test_search_opens_with_any_layout_of_keys(site, meet, key):
    page = meet(site).open()
    expect(page.locator("#account")).to_have_text("ann")
    page.locator("body").dispatch_event("keydown", {"key": key, "code": "KeyK", "ctrlKey": True, "bubbles": True})
    expect(page.locator("#searching")).to_be_visible()


def test_what_is_typed_before_the_scripts_are_there_stays(site, meet):
    ann = meet(site)
    page = ann.context.new_page()
    held: list[Route] = []
    page.route("**/ui/composer.js", lambda route: held.append(route))
    page.goto(site.url + ann.thread("echo"), wait_until="commit")
    page.fill("#composer", "early words")
    wait_until(lambda: held or page.evaluate("0"), "the script to be asked for")
    for route in held:
        route.continue_()
    expect(page.locator("#agent-name")).to_have_text("echo")
    expect(page.locator("#composer")).to_have_value("early words")
    page.press("#composer", "Enter")
    expect(answers(page)).to_have_text(["early words"])


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
    page.fill("#composer", "words " * 60)
    page.tap("#send")
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


# ---- What an answer understood ----


def test_chip_opens_the_request_as_a_form_and_a_changed_one_is_asked_anew(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("advisor"))
    say(
        page,
        "What do 1,000 requests a day with 1,000 input and 100 output tokens each cost a month on gpt-4o, 50 % cached?",
    )
    expect(answers(page).last).to_contain_text("a month on gpt-4o")
    chips = page.get_by_role("region", name="Understood")
    expect(chips).to_be_visible()
    expect(answers(page).last).not_to_contain_text("Understood:")
    chips.get_by_role("button", name="Requests: 1,000").click()
    form = page.get_by_role("form", name="Change what was understood")
    expect(form.get_by_label("Requests (optional)")).to_be_focused()
    expect(form.get_by_label("Requests (optional)")).to_have_value("1000")
    page.keyboard.press("Escape")
    expect(form).to_have_count(0)
    expect(chips.get_by_role("button", name="Requests: 1,000")).to_be_focused()
    page.keyboard.press("Enter")
    form.get_by_label("Requests (optional)").fill("many")
    form.get_by_role("button", name="Ask again").click()
    expect(page.locator("[data-field=requests] .wrong")).to_have_text("Must be a number.")
    form.get_by_label("Requests (optional)").fill("2000")
    form.get_by_label("Cached part of the input, %").fill("")
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last).to_contain_text("This costs $212.92 a month on gpt-4o")
    expect(page.locator(".message[data-role=user] .text").last).to_contain_text("requests: 2000")
    expect(page.locator(".understood").last).not_to_contain_text("Cached part")
    page.reload()
    expect(chips).to_have_count(2)


# ---- Questions to a person ----


def requests(page: Page) -> Locator:
    """The open input requests."""
    return page.locator("section.request")


def resolved(page: Page) -> Locator:
    return page.locator("details.request .outcome")


def ask(ann: Person, text: str) -> Page:
    """A page on a new thread whose run asks what the message says."""
    page = ann.open(ann.thread("curious"))
    say(page, text)
    expect(runs(page, "waiting")).to_be_visible()
    expect(requests(page)).to_have_count(1)
    return page


def pressed(page: Page, name: str) -> None:
    requests(page).get_by_role("button", name=name, exact=True).click()


@pytest.mark.essential
def test_form_with_wrong_values_shows_them_and_its_answer_continues_the_run(site, meet):
    ann = meet(site)
    page = ask(ann, "form")
    group = page.get_by_role("group", name="Which period do you mean?")
    expect(group).to_be_visible()
    expect(page.locator(".run .what")).to_have_text("is waiting for your answer")
    expect(page.locator("#threads a .working")).to_have_text("waits for you")
    expect(page.locator("#composer")).to_be_focused()
    expect(group.get_by_label("Month", exact=True)).to_have_value("2026-11-01")
    group.get_by_label("Monthly amount").fill(".5")
    group.get_by_label("Contact").fill("nobody")
    group.get_by_label("Requests").fill("many")
    pressed(page, "Answer")
    amount = group.get_by_role("textbox", name="Monthly amount")
    expect(amount).to_be_focused()
    expect(amount).to_have_accessible_description("In US dollars. Must be at least 1.")
    expect(amount).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-field=contact] .wrong")).to_have_text("Must be an e-mail address.")
    expect(page.locator("[data-field=count] .wrong")).to_have_text("Must be a whole number.")
    expect(page.locator("[data-field=regions] .wrong")).to_have_text("Must have at least 1 entries.")
    amount.fill("12.5")
    group.get_by_label("Contact").fill("")
    group.get_by_label("Requests").fill("3")
    group.get_by_label("us", exact=True).check()
    group.get_by_label("Plan").select_option("Large")
    amount.press("Enter")
    values = {"amount": 12.5, "month": "2026-11-01", "plan": "l", "regions": ["us"], "count": 3, "exact": False}
    expect(answers(page)).to_have_text([f"Before. Result: {values}"])
    expect(requests(page)).to_have_count(0)
    expect(resolved(page)).to_contain_text("Answered by ann: amount: 12.5, month: 2026-11-01")
    page.reload()
    expect(resolved(page)).to_contain_text("Answered by ann: amount: 12.5")
    page.locator("details.request summary").click()
    expect(page.get_by_role("table", name="Answer")).to_contain_text("Monthly amount12.5")


@pytest.mark.parametrize("text", ["form", "approval", "link"])
def test_declined_request_says_by_whom_and_why(site, meet, text):
    page = ask(meet(site), text)
    pressed(page, "Decline")
    reason = requests(page).get_by_label("Reason")
    expect(reason).to_be_focused()
    page.keyboard.press("Escape")
    expect(requests(page).get_by_role("button", name="Decline", exact=True)).to_be_focused()
    expect(runs(page, "waiting")).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.type("not now")
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text(["Before. Result: declined, not now"])
    expect(resolved(page)).to_have_text("Declined by ann: not now")


def test_approval_shows_exact_parameters_and_runs_with_edited_ones(site, meet):
    ann = meet(site)
    page = ask(ann, "approval")
    table = page.get_by_role("table", name="Parameters")
    expect(table.get_by_role("row")).to_have_text(
        ["tobob@example.org", "subjectPlan[U+202E]", re.compile('tags.*"a"', re.S)]
    )
    approve = requests(page).get_by_role("button", name="Approve", exact=True)
    expect(approve).not_to_be_focused()
    pressed(page, "Edit")
    to = requests(page).get_by_label("to", exact=True)
    expect(to).to_be_focused()
    to.fill("carol@example.org")
    page.keyboard.press("Enter")
    expect(requests(page)).to_have_count(1)  # Enter does not approve
    requests(page).get_by_label("tags").fill("b\n\nc, d")
    expect(page.locator("[data-field=tags] .changed")).to_contain_text('Proposed: ["a"]')
    page.reload()
    to = requests(page).get_by_label("to", exact=True)
    expect(to).to_have_value("carol@example.org\n")
    expect(requests(page).get_by_label("tags")).to_have_value("b\n\nc, d")
    to.fill("dave@example.org")
    expect(page.locator("[data-field=to] .changed ins")).to_have_text("dave")
    pressed(page, "Approve with these values")
    expect(answers(page)).to_contain_text("went to dave@example.org")
    expect(resolved(page)).to_have_text("Approved with changes by ann")
    page.locator("details.request summary").click()
    expect(page.get_by_role("table", name="Parameters as proposed")).to_contain_text("bob@example.org")
    expect(page.get_by_role("table", name="Parameters as approved")).to_contain_text("dave@example.org")
    expect(page.get_by_role("table", name="Parameters as approved")).to_contain_text(re.compile('"b",\\s*"c, d"'))


def test_approval_edited_in_one_field_keeps_what_was_proposed_in_the_others(site, meet):
    """The labels are proposed as none, two values do not fit their fields, and nobody has proposed a box to tick."""
    page = ask(meet(site), "issue")
    pressed(page, "Edit")
    requests(page).get_by_label("title").fill("Two")
    expect(requests(page).get_by_label("state")).to_have_value('"reopened"')
    expect(requests(page).get_by_label("milestone")).to_have_value('"12"')
    expect(requests(page).get_by_label("closed_by")).to_have_value("bob")
    requests(page).get_by_label("closed_by").fill("")
    requests(page).get_by_label("milestone").fill("[")
    requests(page).get_by_label("assignee").fill("12345678901234567890")
    pressed(page, "Approve with these values")
    expect(page.locator("[data-field=assignee] .wrong")).to_have_text("Has more digits than a browser can send.")
    expect(page.locator("[data-field=milestone] .wrong")).to_contain_text("Must be JSON")
    requests(page).get_by_label("milestone").fill('"12"')
    requests(page).get_by_label("assignee").fill("")
    pressed(page, "Approve with these values")  # the page has no rule for what its field cannot hold, the server has
    expect(page.locator("[data-field=state] .wrong")).to_be_visible()
    requests(page).get_by_label("state").fill('"closed"')
    requests(page).get_by_label("milestone").fill("12")
    pressed(page, "Approve with these values")
    expect(answers(page)).to_have_text(
        'Before. Result: {"title": "Two", "labels": [], "state": "closed", "milestone": 12, "closed_by": null}'
    )


def test_approval_with_a_broken_schema_is_shown_edited_and_decided(site, meet):
    page = ask(meet(site), "broken")
    expect(page.get_by_role("table", name="Parameters").get_by_role("row")).to_have_count(5)
    pressed(page, "Edit")
    expect(requests(page).get_by_label("letters")).to_have_value('"a"')
    requests(page).get_by_label("made").fill("e")
    pressed(page, "Approve with these values")
    expect(requests(page).get_by_role("alert")).to_contain_text("cannot be checked, so they cannot be edited")
    pressed(page, "Cancel editing")
    pressed(page, "Approve")
    expect(answers(page)).to_have_text(
        'Before. Result: {"nobody": [], "letters": "a", "either": "b", "nothing": "c", "made": "d"}'
    )


def test_date_that_is_only_begun_is_no_answer(site, meet):
    page = ask(meet(site), "form")
    month = requests(page).get_by_label("Month", exact=True)
    requests(page).get_by_label("Monthly amount").fill("12")
    requests(page).get_by_label("us", exact=True).check()
    month.fill("")
    month.press("1")
    pressed(page, "Answer")
    expect(month).to_be_focused()
    expect(page.locator("[data-field=month] .wrong")).to_have_text("Is not complete.")
    month.fill("2026-10-01")
    pressed(page, "Answer")
    expect(resolved(page)).to_contain_text("month: 2026-10-01")


def test_number_is_written_as_in_the_language_of_its_reader(site, meet):
    page = ask(meet(site, locale="de-DE"), "form")
    amount = requests(page).get_by_label("Monthly amount")
    requests(page).get_by_label("us", exact=True).check()
    for typed, told in {
        "1.000": "Muss eine Zahl ohne Punkte zwischen den Tausendern sein.",
        "1,5,0": "Muss eine Zahl sein.",
    }.items():
        amount.fill(typed)
        pressed(page, "Antworten")
        expect(page.locator("[data-field=amount] .wrong")).to_have_text(told)
    amount.fill("1000,5")
    pressed(page, "Antworten")
    expect(answers(page)).to_contain_text("'amount': 1000.5")


def test_short_answers_of_a_form_stand_side_by_side_where_there_is_room(site, meet):
    page = ask(meet(site), "form")
    amount, month = page.locator("[data-field=amount]"), page.locator("[data-field=month]")
    whole = page.locator("[data-field=regions]")
    expect(amount).to_be_visible()
    assert amount.bounding_box()["y"] == month.bounding_box()["y"]
    assert whole.bounding_box()["width"] > 2 * amount.bounding_box()["width"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("""() => {
        const [amount, month] = ["amount", "month"].map((name) => document.querySelector(`[data-field=${name}]`));
        return amount.getBoundingClientRect().bottom <= month.getBoundingClientRect().top;
    }""")


def test_number_of_more_digits_than_a_browser_keeps_is_what_was_proposed(site, meet):
    page = ask(meet(site), "digits")
    field = requests(page).get_by_label("id")
    expect(field).to_have_value("")
    expect(field).to_have_accessible_description(re.compile("Leave it empty for the default"))
    requests(page).get_by_label("of").fill("3")
    pressed(page, "Answer")
    table = page.get_by_role("table", name="Parameters")
    expect(table.get_by_role("row").first).to_have_text("id9007199254740993")
    pressed(page, "Approve")
    expect(answers(page)).to_have_text('Before. Result: {"id": 9007199254740993, "of": 3}')
    page.locator("details.request summary").first.click()
    expect(page.get_by_role("table", name="Answer").get_by_role("row").first).to_contain_text("rounded")


def test_link_is_shown_in_full_and_done(site, meet):
    page = ask(meet(site), "link")
    address = "https://example.org/sign-in?state=1"
    link = requests(page).get_by_role("link", name=address)
    expect(link).to_have_attribute("href", address)
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    pressed(page, "Done")
    expect(answers(page)).to_contain_text("Result: None")
    expect(resolved(page)).to_have_text("Done by ann")


def test_answer_on_another_page_closes_the_form_here(site, meet):
    ann = meet(site)
    page = ask(ann, "Which name?")
    other = ann.open(urlsplit(page.url).path)
    expect(requests(other)).to_have_count(1)
    requests(page).get_by_role("textbox").fill("half writ")
    requests(other).get_by_role("textbox").fill("Netra")
    requests(other).get_by_role("textbox").press("Enter")
    for one in (page, other):
        expect(answers(one)).to_have_text(["Before. Result: Netra"])
        expect(resolved(one)).to_have_text("Answered by ann: value: Netra")
        expect(requests(one)).to_have_count(0)
    expect(page.locator("details.request summary")).to_be_focused()


def test_waiting_run_delays_no_message_and_can_be_stopped(site, meet):
    page = ask(meet(site), "Which name?")
    say(page, "link")
    expect(runs(page, "waiting")).to_have_count(2)
    expect(requests(page)).to_have_count(2)
    page.locator("#stop").click()
    expect(runs(page, "cancelled")).to_have_count(1)
    expect(resolved(page)).to_have_text(["Cancelled"])
    expect(requests(page)).to_have_count(1)
    page.reload()
    expect(resolved(page)).to_have_text(["Cancelled"])
    expect(requests(page)).to_have_count(1)


def test_answer_given_offline_is_sent_with_the_connection(site, meet):
    ann = meet(site, provokes=UNREACHABLE)
    page = ask(ann, "Which name?")
    ann.context.set_offline(True)
    requests(page).get_by_role("textbox").fill("Netra")
    pressed(page, "Answer")
    expect(requests(page).get_by_role("button", name="Answer", exact=True)).to_be_disabled()
    ann.context.set_offline(False)
    expect(answers(page)).to_have_text(["Before. Result: Netra"])


def test_hostile_question_stays_text_and_axe_finds_nothing_serious(site, meet):
    ann = meet(site)
    text = "<img src=x onerror=alert(1)> **bold** \u202e[x](javascript:alert(1))"
    page = ask(ann, text)
    expect(requests(page).locator(".asked")).to_have_text(text.replace("\u202e", "[U+202E]"))
    expect(requests(page).locator("img, b, strong, a")).to_have_count(0)
    serious(page)
    for kind in ("form", "approval"):
        asked = ask(ann, kind)
        if kind == "approval":
            serious(asked)
            pressed(asked, "Edit")
        else:
            pressed(asked, "Answer")
        serious(asked)
        pressed(asked, "Decline")
        serious(asked)


@pytest.mark.parametrize("text", ["form", "approval"])
def test_request_on_a_narrow_phone_is_as_wide_as_the_screen(site, meet, text):
    ann = meet(site, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    page = ann.open(ann.thread("curious"))
    page.fill("#composer", text)
    page.get_by_role("button", name="Send", exact=True).tap()  # Enter starts a line here
    expect(requests(page)).to_have_count(1)
    if text == "approval":
        pressed(page, "Edit")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('#scroller').scrollWidth <= innerWidth")


def member(user: User, group: str) -> None:
    """Put the user into a group of deciders."""
    joins = f"Group.objects.get_or_create(name={group!r})[0].user_set.add({user.id!r})"
    user.site.shell(f"from django.contrib.auth.models import Group; {joins}")


def question(ann: Person, text: str) -> str:
    """The path of a thread whose run has asked what the text says, sent from no page."""
    path = ann.thread("curious")
    ann.user.http("POST", "/api/messages", {"thread_id": path.removeprefix("/c/"), "content": text})
    return path


def test_all_requests_are_answered_on_one_page_and_counted_in_title_icon_and_sidebar(site, meet):
    ann = meet(site)
    page = ann.open("/")
    question(ann, "Which name?")
    question(ann, "approval")
    expect(page.locator("#inputs-badge")).to_have_text("2")
    expect(page).to_have_title("(2) New conversation · Netra")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("^data:image/svg.*%3E2%3C"))
    expect(page.locator("#threads a .working").filter(has_text="waits for you")).to_have_count(2)
    page.locator("#scroller").focus()
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page).to_have_url(re.compile("/inputs$"))
    expect(page.get_by_role("status").filter(has_text="2 requests wait for you.")).to_be_visible()
    expect(page.locator("#composer")).to_be_hidden()
    serious(page)
    page.reload()
    name = page.get_by_role("group", name="Which name?")
    expect(name).to_be_focused()  # it expires first
    page.keyboard.press("a")
    page.keyboard.type("Netra")
    page.keyboard.press("Enter")
    expect(resolved(page)).to_have_text("Answered by ann: value: Netra")
    expect(page.locator("details.request summary")).to_be_focused()
    expect(page).to_have_title("(1) Requests · Netra")
    send = page.get_by_role("group", name="Send")
    send.focus()
    page.keyboard.press("a")
    expect(send.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    expect(requests(page)).to_have_count(1)
    page.keyboard.press("d")
    expect(send.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("no mail")
    page.keyboard.press("Enter")
    expect(resolved(page).filter(has_text="Declined by ann: no mail")).to_be_visible()
    expect(page).to_have_title("Requests · Netra")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("favicon.svg$"))
    page.locator("[data-input] a[data-thread]").first.click()
    expect(answers(page)).to_have_text(["Before. Result: Netra"])
    page.go_back()
    expect(page.get_by_role("heading", name="Nothing waits for you.")).to_be_visible()
    serious(page)


def test_group_decides_for_others_and_nobody_else_sees_it(site, meet):
    ann, bob, eve = meet(site), meet(site), meet(site)
    member(bob.user, "refunds")
    there, outside = bob.open("/inputs"), eve.open("/inputs")
    expect(there.get_by_role("heading", name="Nothing waits for you.")).to_be_visible()
    page = ann.open(question(ann, "close"))
    expect(requests(page)).to_contain_text("Another person than you must decide this.")
    expect(page.locator(".run .what")).to_have_text("is waiting for an answer")
    expect(requests(page).get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    expect(page.locator("#inputs-badge")).to_be_empty()
    card = there.get_by_role("group", name="Close the account?")
    expect(card).to_contain_text("You decide as a member of the group refunds.")
    expect(there.locator(f"a[href$='{urlsplit(page.url).path}']")).to_have_count(0)
    expect(there).to_have_title("(1) Requests · Netra")
    serious(there)
    pressed(there, "Approve")
    expect(resolved(there)).to_have_text("Approved by ann")
    expect(there.locator("#inputs-badge")).to_be_empty()
    expect(answers(page)).to_have_text(["Before. Result: closed 7"])
    expect(outside.get_by_role("heading", name="Nothing waits for you.")).to_be_visible()
    assert not any("approvals_changed" in frame for frame in eve.heard)


def test_decision_of_another_member_closes_the_card(site, meet):
    ann, bob, eve = meet(site), meet(site, provokes=CONFLICT), meet(site)
    member(bob.user, "refunds")
    member(eve.user, "refunds")
    one, other = bob.open("/inputs"), eve.open("/inputs")
    question(ann, "refund")
    expect(requests(one)).to_have_count(1)
    pressed(other, "Decline")
    requests(other).get_by_label("Reason").fill("too much")
    requests(other).get_by_label("Reason").press("Enter")
    for page in (one, other):
        expect(resolved(page)).to_have_text("Declined by ann: too much")
        expect(requests(page)).to_have_count(0)


def test_tool_allowed_for_the_conversation_is_not_asked_for_until_that_is_taken_back(site, meet):
    ann = meet(site)
    page = ann.open(question(ann, "letters"))
    requests(page).get_by_label("Allow post in this conversation").check()
    pressed(page, "Approve")
    expect(answers(page)).to_have_text(["Before. Result: posted 3 characters, posted 3 characters"])
    expect(resolved(page)).to_have_text(["Approved by ann", "Approved, as this conversation allows"])
    page.locator("details.request summary").nth(1).click()
    expect(page.locator(".allowed")).to_contain_text("post is allowed in this conversation until")
    settings = ann.open("/settings")
    expect(settings.locator("#grants strong")).to_have_text("post")
    serious(settings)
    settings.locator("#grants").get_by_role("button", name="Ask again").click()
    expect(settings.locator("#grants")).to_have_text("None. Netra asks each time.")
    say(page, "letters")
    expect(requests(page)).to_have_count(1)


def test_long_text_is_shown_as_a_difference_to_the_proposal(site, meet):
    ann = meet(site)
    page = ann.open(question(ann, "letter"))
    pressed(page, "Edit")
    text = requests(page).get_by_label("text", exact=True)
    expect(page.locator("[data-field=text] .changed")).to_be_hidden()
    text.fill(text.input_value().replace("Dear Bob", "Dear Carol"))
    for _ in range(2):
        expect(page.locator("[data-field=text] .changed del")).to_have_text("Bob")
        expect(page.locator("[data-field=text] .changed ins")).to_have_text("Carol")
        page.reload()
    serious(page)
    pressed(page, "Approve with these values")
    expect(resolved(page)).to_have_text("Approved with changes by ann")
    page.locator("details.request summary").click()
    expect(page.locator(".decided .changed del")).to_have_text("Bob")
    page.reload()
    say(page, "letter")
    pressed(page, "Approve")
    expect(resolved(page).last).to_have_text("Approved by ann")


def test_default_is_shown_and_used_at_expiry(site, meet):
    ann = meet(site)
    page = ann.open(question(ann, "default 3600"))
    expect(requests(page)).to_contain_text("Without an answer the agent continues with: currency: EUR")
    expect(requests(page).locator(".expiry")).to_have_text(re.compile(r"^Expires in (\d+ min|1 h)"))
    say(page, "default 1")
    expect(answers(page).last).to_contain_text("Result: {'currency': 'EUR'}")
    expect(resolved(page)).to_have_text("Expired without an answer, the default was used")


def test_phone_answers_while_the_desktop_looks_on_and_everything_is_restarted(brisk, meet):
    site = brisk
    ann = meet(site, provokes=UNREACHABLE)
    path = question(ann, "form")
    desktop = ann.open(path)
    expect(requests(desktop)).to_have_count(1)
    requests(desktop).get_by_label("Contact").fill("half")
    for process in (*site.workers, site.web):
        process.kill()
        process.wait()
    site.start_web()
    site.worker()
    assert ann.context.browser is not None
    phone_context = ann.context.browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    try:
        phone = phone_context.new_page()
        phone.goto(site.url + "/login?next=/inputs")
        phone.fill("#email", ann.user.email)
        phone.fill("#password", ann.user.password)
        phone.click("#submit")
        card = phone.get_by_role("group", name="Which period do you mean?")
        card.get_by_label("Monthly amount").fill("7")
        card.get_by_label("eu", exact=True).check()
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        card.get_by_role("button", name="Answer", exact=True).tap()
        expect(resolved(phone)).to_contain_text("Answered by ann: amount: 7")
    finally:
        phone_context.close()
    expect(resolved(desktop)).to_contain_text("Answered by ann: amount: 7")
    expect(requests(desktop)).to_have_count(0)
    expect(answers(desktop)).to_contain_text("'amount': 7")


def test_request_that_opens_while_the_page_is_hidden_is_notified(site, meet):
    ann = meet(site, permissions=["notifications"])
    page = ann.open("/")
    expect(page.locator("#account")).to_have_text("ann")
    page.evaluate("""() => {
      Object.defineProperty(document, "hidden", {get: () => true});
      globalThis.told = [];
      globalThis.Notification = class {
        static permission = "granted";
        constructor(title, {body, tag}) { told.push([title, body, tag.length]); }
      };
    }""")
    question(ann, "Which name?")
    expect(page.locator("#inputs-badge")).to_have_text("1")
    assert page.evaluate("() => told") == [["curious waits for you", "Which name?", 36]]


def test_request_below_the_view_is_scrolled_to(site, meet):
    ann = meet(site, viewport={"width": 900, "height": 330})
    page = ann.open(question(ann, "approval"))
    expect(requests(page).locator(".asked")).to_be_in_viewport(ratio=1)
    expect(page.locator("#composer")).to_be_in_viewport()
    expect(page.locator("#composer")).to_be_focused()


# ---- German ----


def untranslated(page: Page) -> set[str]:
    """English texts of the tables and catalogues that the page shows or has for a screen reader."""
    tables = [(ROOT / f"chat/pages/static/chat/text/{name}.js").read_text() for name in ("en", "de")]
    english, own = (dict(re.findall(r'^  "?([\w.]+)"?:\s+"(.+)",$', table, re.M)) for table in tables)
    sentences = {text for key, text in english.items() if own[key] != text}
    catalogue = (ROOT / "chat/locale/de/LC_MESSAGES/django.po").read_text()
    sentences |= {text for text, said in re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', catalogue, re.M) if text != said}
    shown = page.evaluate(
        """() => [...document.querySelectorAll("body, body *")].flatMap((one) => [
          ...["aria-label", "title", "placeholder"].map((name) => one.getAttribute(name) ?? ""),
          ...[...one.childNodes].filter(({ nodeType }) => nodeType === 3).map(({ data }) => data.trim()),
        ])"""
    )
    return sentences & set(shown)


@pytest.mark.essential
def test_page_speaks_german_where_the_browser_does_until_the_user_chooses_english(site, meet):
    ann = meet(site, signed_in=False, provokes=UNAUTHORIZED, locale="de-DE")
    page = ann.open("/login")
    assert untranslated(page) == set()
    page.fill("#email", ann.user.email)
    page.fill("#password", "wrong password")
    page.click("#submit")
    expect(page.get_by_role("alert")).to_have_text("E-Mail-Adresse oder Passwort ist falsch.")
    ann.sign_in(page)
    expect(page.locator("#title")).to_have_text("Neue Unterhaltung")
    expect(page.locator("#welcome")).to_be_visible()
    assert untranslated(page) == set()
    page.click("#agent")
    expect(page.get_by_role("menu")).to_contain_text("Gespräche über alles, mit Sprachmodell und Werkzeugen.")
    page.keyboard.press("Escape")
    page.click("#show-help")
    keys = page.locator("#help dt").all()
    assert [key for key in keys if key.evaluate("(key) => key.scrollWidth > key.clientWidth")] == []
    page.keyboard.press("Escape")

    page = ask(ann, "form")
    expect(page.locator(".run .what")).to_have_text("wartet auf Ihre Antwort")
    requests(page).get_by_label("Monthly amount").fill("0.5")
    pressed(page, "Antworten")
    expect(page.locator("[data-field=amount] .wrong")).to_have_text("Muss mindestens 1 sein.")
    assert untranslated(page) == {"Requests", "form"}, "as the agent calls a field, and what the user said"
    page = ask(ann, "approval")
    expect(requests(page).locator(".from")).to_contain_text("benötigt eine Freigabe, um")
    assert untranslated(page) == {"approval"}, "what the user said"
    pressed(page, "Freigeben")
    expect(resolved(page)).to_have_text("Freigegeben von ann")
    expect(page.locator("#status")).to_have_text("Antwort vollständig")
    page.click(".run-line")
    expect(page.locator(".run .time").first).to_have_text(re.compile(r"^\d+(,\d)? m?s$"))
    assert untranslated(page) == {"approval"}
    page.click("#inputs-link")
    expect(page.locator("#inputs-count")).to_have_text("1 Rückfrage wartet auf Sie.")
    assert untranslated(page) == {"Requests"}

    page.click("#account-link")
    expect(page.locator("h1")).to_have_text("Einstellungen")
    expect(page.locator("#sessions")).to_contain_text("Dieses Gerät")
    assert untranslated(page) == set()
    page.get_by_label("English").click()
    expect(page.locator("h1")).to_have_text("Settings")
    expect(page.get_by_label("English")).to_be_checked()
    page.goto(site.url)
    expect(page.locator("#title")).to_have_text("New conversation")
    page.goto(f"{site.url}/settings")
    expect(page.get_by_label("English")).to_be_checked()
    page.get_by_label("Browser").click()
    expect(page.locator("h1")).to_have_text("Einstellungen")


def test_archived_conversation_is_found_in_the_settings_and_taken_out(site, meet):
    ann = meet(site)
    for number in range(21):
        old = ann.user.http("POST", "/api/threads", {"title": f"Old {number}"}).json()["id"]
        ann.user.http("PATCH", f"/api/threads/{old}", {"archived": True})
    page = ann.open("/")
    expect(page.locator("#threads .nothing")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("archived")
    page.keyboard.press("Enter")
    page.wait_for_url("**/settings#archived-title")
    expect(page.locator("#archived li")).to_have_count(20)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#archived li")).to_have_count(21)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.get_by_role("button", name="Unarchive Old 7", exact=True).click()
    expect(page.locator("#status")).to_have_text("Conversation unarchived")
    expect(page.locator("#archived li")).to_have_count(20)
    page.click("a.back")
    expect(listed(page)).to_have_text(["Old 7"])


def test_visitor_of_an_unknown_address_finds_the_way_back(site, meet):
    ann = meet(site, provokes=MISSING)
    page = ann.open("/nope")
    expect(page.locator("h1")).to_have_text("Page not found")
    page.click("text=Go to Netra")
    expect(page.locator("#account")).to_have_text("ann")
