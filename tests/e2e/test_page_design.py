"""The chat page's design: the line of a run and its panel, the verdict, figures in tables, and the sidebar."""

import gzip
import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.axe import serious
from tests.page import answers, listed, needs_chromium, questions, runs, say
from tests.usage_files import csv_of, rows

pytestmark = needs_chromium

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WIDE = {"viewport": {"width": 1440, "height": 900}}


# ---- The line of a run, and the panel with its steps ----


def test_run_is_one_line_that_says_what_works_now_and_for_how_long(site, meet, gate):
    ann = meet(site)
    page = ann.open(ann.thread("staged"))
    say(page, str(gate))
    line = page.locator(".run-line")
    expect(line).to_have_text(re.compile(r"second is using exists.*\d+ s$"))
    expect(line.locator(".stepper i[data-done]")).to_have_count(1)
    expect(line.locator(".stepper i:not([data-done])")).to_have_count(1)
    elapsed = line.locator(".time").inner_text()
    expect(line.locator(".time")).not_to_have_text(elapsed)
    assert line.bounding_box()["height"] < 40
    gate.touch()
    expect(runs(page, "completed")).to_be_visible()
    expect(line.locator(".headline")).to_have_text("staged answered")
    expect(line.locator(".tally").first).to_have_text("3 agents · 1 tool call")
    expect(line.locator(".stepper i")).to_have_count(0)
    assert line.bounding_box()["height"] < 40


def test_panel_shows_the_steps_beside_the_conversation_and_follows_the_run(site, meet, gate):
    ann = meet(site, **WIDE)
    page = ann.open(ann.thread("staged"))
    say(page, str(gate))
    line, panel = page.locator(".run-line"), page.get_by_role("complementary", name="staged")
    expect(line.locator(".tool")).to_have_text("exists")
    line.press("Enter")
    expect(line).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#panel-title")).to_be_focused()
    step = panel.locator(".step")
    expect(step).to_have_attribute("data-status", "running")
    gate.touch()
    expect(step).to_have_attribute("data-status", "completed")
    expect(panel.locator(".run-status")).to_have_text(re.compile("^staged answered · 3 agents · 1 tool call · "))
    step.locator("summary").press("Enter")
    expect(step.locator("pre")).to_have_text([re.compile("gate"), "null"])
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(line).to_be_focused()
    expect(line).to_have_attribute("aria-expanded", "false")
    line.click()
    box, beside = panel.bounding_box(), page.locator("main").bounding_box()
    assert beside["x"] + beside["width"] <= box["x"] + 1
    page.click("#new-thread")
    expect(panel).to_be_hidden()


def test_panel_is_a_drawer_on_a_phone_and_leaves_nothing_behind_it_to_reach(site, meet):
    ann = meet(site, **PHONE)
    path = ann.thread("echo")
    ann.user.http("POST", f"/api/threads/{path.removeprefix('/c/')}/messages", {"content": "one two"})
    page = ann.open(path)
    expect(runs(page, "completed")).to_be_visible()
    page.tap(".run-line")
    panel = page.locator("#panel")
    expect(panel).to_be_visible()
    assert page.locator("main").evaluate("(node) => node.inert")
    assert panel.bounding_box()["width"] <= 360 * 0.92 + 1
    page.mouse.click(5, 300)
    expect(panel).to_be_hidden()
    assert not page.locator("main").evaluate("(node) => node.inert")
    page.tap(".run-line")
    page.get_by_role("button", name="Close the steps").tap()
    expect(panel).to_be_hidden()
    expect(page.locator(".run-line")).to_be_focused()


# ---- What models have used up ----


def spends(user, path):
    user.http("POST", f"/api/threads/{path.removeprefix('/c/')}/messages", {"content": "says how much"})


def test_bar_has_the_tokens_and_the_cost_of_the_whole_conversation(site, meet):
    ann = meet(site)
    path, bare = ann.thread("costly"), ann.thread("echo")
    spends(ann.user, path)
    page = ann.open(path)
    expect(runs(page, "completed")).to_have_count(1)
    total = page.get_by_role("button", name="Used by models in this conversation")
    expect(total).to_contain_text("1,010 tokens · $0.2500")
    say(page, "says how much")
    expect(runs(page, "completed")).to_have_count(2)
    expect(total).to_contain_text("2,020 tokens · $0.5000")
    models = page.get_by_role("list", name="Used by models in this conversation")
    expect(models).to_have_count(0)
    total.press("Enter")
    line = "made:up: 0 requests, 2,000 tokens in, 20 out, $0.5000"
    expect(models.get_by_role("listitem")).to_have_text([line])
    serious(page)
    box, view = models.bounding_box(), page.viewport_size
    assert box["x"] >= 0 and box["x"] + box["width"] <= view["width"]
    page.keyboard.press("Escape")
    expect(models).to_have_count(0)
    expect(total).to_be_focused()
    page.reload()
    expect(total).to_contain_text("2,020 tokens · $0.5000")
    page.goto(site.url + bare)
    expect(page.locator("#title")).to_be_visible()
    expect(page.locator("#thread-spent")).to_be_hidden()


def test_bar_has_the_total_of_a_conversation_in_german_and_on_a_phone(site, meet):
    ann = meet(site, locale="de-DE", **PHONE)
    path = ann.thread("costly")
    spends(ann.user, path)
    page = ann.open(path)
    expect(runs(page, "completed")).to_have_count(1)
    total = page.get_by_role("button", name="Verbrauch der Modelle in dieser Unterhaltung")
    expect(total.get_by_text("1.010 Tokens")).to_be_hidden()
    expect(total).to_have_text(re.compile("0,2500\\s\\$$"))
    total.tap()
    expect(page.locator("#thread-spent-models li")).to_have_text(
        re.compile("^made:up: 0 Anfragen, 1.000 Tokens gelesen, 10 geschrieben, 0,2500\\s\\$$")
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


# ---- The verdict ----

COST = "What do 1,000 requests a day with 1,000 input and 100 output tokens each cost a month on gpt-4o, 50 % cached?"


def test_answer_begins_with_its_figure_and_what_it_is_compared_with(site, meet):
    ann = meet(site, viewport={"width": 1280, "height": 860})
    page = ann.open(ann.thread("advisor"))
    say(page, "I pay $5,000 a month for GPT-4 calls, cut it by 30%")
    expect(page.locator(".stepper i")).to_have_count(0)
    verdict = page.get_by_role("region", name="Result")
    expect(verdict.locator(".asked")).to_have_text("Saving a month$1,500")
    expect(verdict.locator(".beside dd")).to_have_text(["30 %", "$18,000"])
    expect(verdict.locator(".markdown")).to_contain_text("$1,500 a month has to go to get from $5,000 to $3,500")
    expect(verdict.locator(".compared .amount")).to_have_text(["$5,000", "$3,500"])
    expect(verdict.locator(".delta")).to_have_text("−30%")
    before, after = (bar.bounding_box()["width"] for bar in verdict.locator(".share").all())
    assert abs(after / before - 0.7) < 0.02
    expect(verdict.get_by_role("region", name="Understood")).to_be_visible()
    expect(verdict).to_be_in_viewport(ratio=1)
    assert (answers(page).text_content() or "").count("has to go to get") == 1
    size = "(node) => parseFloat(getComputedStyle(node).fontSize)"
    assert verdict.locator(".asked dd").evaluate(size) >= 32


def test_steps_that_are_done_stay_checked_after_a_reload_and_on_another_device(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("advisor"))
    say(page, "I pay $5,000 a month for GPT-4 calls, cut it by 30%")
    verdict = page.get_by_role("region", name="Result")
    steps = verdict.get_by_role("group", name="Next steps").get_by_role("checkbox")
    expect(steps).to_have_count(2)
    batch = verdict.get_by_role("checkbox", name="Send what can wait through the batch API")
    with page.expect_response("**/checklist/batch") as kept:
        batch.check()
    assert kept.value.status == 200
    expect(verdict.locator(".confidence")).to_contain_text("Medium confidence: from your figures alone")
    expect(batch).to_have_accessible_name(re.compile("could be sent as batch: about \\$250 a month"))
    expect(answers(page).locator("li:visible", has_text="could be sent as batch")).to_have_count(0)  # not below it, too
    page.reload()
    expect(steps.nth(0)).to_be_checked()
    other = ann.open(urlsplit(page.url).path)
    elsewhere = other.get_by_role("checkbox", name="Send what can wait")
    expect(elsewhere).to_be_checked()
    with other.expect_response("**/checklist/batch") as withdrawn:
        elsewhere.uncheck()
    assert withdrawn.value.status == 204
    page.reload()
    expect(steps).to_have_count(2)
    expect(steps.nth(0)).to_be_enabled()
    expect(steps.nth(0)).not_to_be_checked()


def test_step_that_cannot_be_kept_is_not_shown_as_done(site, meet):
    ann = meet(site, provokes=r"status of 503")
    page = ann.open(ann.thread("advisor"))
    page.route("**/checklist/*", lambda route: route.fulfill(status=503, json={"error": "busy", "message": "Busy."}))
    say(page, "I pay $5,000 a month for GPT-4 calls, cut it by 30%")
    box = page.get_by_role("checkbox", name="Send what can wait")
    box.click()
    expect(page.locator("#notices")).to_contain_text("Busy.")
    expect(box).not_to_be_checked()


def test_verdict_is_the_same_after_a_reload_and_has_the_chart_of_its_files(site, meet):
    ann = meet(site)
    page = ann.open()
    content = csv_of(rows(2_000, cost=True))
    page.set_input_files("#file", {"name": "usage.csv", "mimeType": "text/csv", "buffer": content})
    expect(page.locator("#drafts .chip")).to_contain_text("Usage data")
    say(page, "What did we spend by model?")
    verdict = page.locator(".verdict")
    expect(verdict.locator(".chart[data-drawn]")).to_have_count(1)
    shown = answers(page).text_content()
    page.reload()
    expect(verdict.locator(".chart[data-drawn]")).to_have_count(1)
    assert answers(page).text_content() == shown


def test_chart_is_saved_and_tied_to_the_rows_of_its_table(site, meet):
    ann = meet(site)
    page = ann.open()
    content = csv_of(rows(200, cost=True))
    page.set_input_files("#file", {"name": "usage.csv", "mimeType": "text/csv", "buffer": content})
    expect(page.locator("#drafts .chip")).to_contain_text("Usage data")
    say(page, "What did we spend by model?")
    chart = page.locator(".verdict .chart[data-drawn]")
    expect(chart).to_have_count(1)
    with page.expect_download() as picture:
        chart.get_by_role("button", name="Save chart as a picture").click()
    assert picture.value.suggested_filename.endswith(".png")
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as figures:
        chart.get_by_role("button", name="Save the table as CSV").click()
    label = chart.locator("tbody th").first.text_content()
    assert label and label in Path(figures.value.path()).read_text("utf-8-sig")
    row = answers(page).locator(".markdown tbody tr", has=page.get_by_role("cell", name=label, exact=True))
    chart.locator("canvas").hover(position={"x": 260, "y": 12})
    expect(row.first).to_have_attribute("data-pointed", "")
    page.mouse.move(5, 5)


def test_answer_without_a_figure_has_no_verdict_and_keeps_its_text(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("advisor"))
    say(page, "Optimize my AI costs")
    expect(answers(page)).to_contain_text("What can be saved depends on your usage")
    expect(runs(page, "completed")).to_be_visible()
    expect(page.locator(".verdict")).to_have_count(0)


# ---- Figures and type ----

TABLE = """| Model | Cost | Change | Share | When |
| --- | --- | --- | --- | --- |
| gpt-4o | $5,938 | -$120.50 | 61 % | May |
| gpt-4o-mini | $593.77 | +$3 | 6 % | June |
| claude | – | $0 | | 2026-06-01 |
"""


def test_columns_of_figures_are_read_from_their_ends_and_changes_have_a_sign(site, meet):
    ann = meet(site)
    page = ann.open(ann.thread("mirror"))
    say(page, TABLE)
    table = answers(page).locator("table")
    expect(table.locator("th.figure")).to_have_text(["Cost", "Change", "Share"])
    aligned = "(cells) => cells.map((cell) => getComputedStyle(cell).textAlign)"
    assert set(table.locator(".figure").evaluate_all(aligned)) == {"right"}
    assert set(table.locator("td:not(.figure)").evaluate_all(aligned)) <= {"left", "start"}
    expect(table.locator("[data-sign='-']")).to_have_text("-$120.50")
    expect(table.locator("[data-sign='+']")).to_have_text("+$3")
    arrow = "(cell) => getComputedStyle(cell, '::before').content"
    assert "▼" in table.locator("[data-sign='-']").evaluate(arrow)
    # The decimal points of a column stand below each other.
    ends = """(table) => [...table.querySelectorAll("tbody tr")].slice(0, 2).map(({cells: [, cell]}) => {
      const range = document.createRange();
      const [whole] = cell.textContent.split(".");
      range.setStart(cell.firstChild, whole.length - 1);
      range.setEnd(cell.firstChild, whole.length);
      return Math.round(range.getBoundingClientRect().right);
    })"""
    one, other = table.evaluate(ends)
    assert abs(one - other) <= 1


def test_typefaces_are_the_pages_own_and_little(site, meet):
    ann = meet(site)
    page = ann.context.new_page()
    found: dict[str, bytes] = {}
    page.on("requestfinished", lambda request: found.setdefault(request.url, request.response().body()))
    page.goto(site.url)
    expect(page.locator("#account")).to_have_text("ann")
    page.wait_for_load_state("networkidle")
    loaded = page.evaluate("""async () => {
      await document.fonts.ready;
      return [...document.fonts].filter(({status}) => status === "loaded").map(({family}) => family).sort();
    }""")
    assert [name.strip('"') for name in loaded] == ["Fraunces Variable", "Geist Variable"]
    sizes = dict.fromkeys((".js", ".css", ".woff2"), 0)
    for url, content in found.items():
        path = urlsplit(url).path
        kind = ".js" if path.endswith(".mjs") else Path(path).suffix
        if kind in sizes:
            sizes[kind] += len(content) if kind == ".woff2" else len(gzip.compress(content, 6))
    print(f"\ncompressed: {sizes}")
    assert sizes[".js"] + sizes[".css"] <= 200_000
    assert sizes[".woff2"] <= 80_000


def test_answer_is_shown_as_text_where_its_scripts_cannot_be_loaded_and_laid_out_once_they_can(site, meet):
    ann = meet(site, provokes=r"net::ERR_FAILED")
    path = ann.thread("echo")
    ann.user.http("POST", f"/api/threads/{path.removeprefix('/c/')}/messages", {"content": "**one** two"})
    page = ann.context.new_page()
    page.route("**/markdown/markdown.js", lambda route: route.abort())
    page.goto(site.url + path)
    expect(answers(page).locator("pre.plain")).to_have_text("**one** two ")
    page.unroute_all()
    page.reload()
    expect(answers(page).locator("strong")).to_have_text("one")
    expect(answers(page).locator("pre.plain")).to_have_count(0)


# ---- The sidebar ----


def test_answer_elsewhere_is_marked_until_it_is_seen_in_any_tab(site, meet, gate):
    ann = meet(site)
    page, other = ann.open(ann.thread("gated")), ann.open()
    say(page, str(gate))
    mark = page.locator("#threads a .working")
    expect(mark).to_have_text("at work")
    page.click("#new-thread")
    expect(page.locator("#welcome")).to_be_visible()
    gate.touch()
    for tab in (page, other):
        expect(tab.locator("#threads a .working")).to_have_text("new answer")
    page.reload()
    expect(mark).to_have_text("new answer")
    listed(other).click()
    for tab in (page, other):
        expect(tab.locator("#threads a .working")).to_have_text("")
    page.reload()
    expect(listed(page)).to_have_count(1)
    expect(mark).to_have_text("")


def test_failure_elsewhere_is_said_in_the_sidebar(site, meet):
    ann = meet(site)
    page = ann.open()
    thread = ann.thread("failing").removeprefix("/c/")
    ann.user.http("POST", f"/api/threads/{thread}/messages", {"content": "some_code"})
    mark = page.locator("#threads a .working")
    expect(mark).to_have_text("failed")
    assert mark.bounding_box()["width"] > 20
    listed(page).click()
    expect(page.locator(".failure")).to_have_text("The words of the agent.")
    expect(mark).to_have_text("")


def test_project_has_files_that_go_with_the_first_message_of_its_conversations(site, meet):
    ann = meet(site)
    ann.user.http("POST", "/api/projects", {"name": "Bills", "instructions": ""})
    page = ann.open()
    folder = page.locator("section[data-project]")
    folder.hover()
    menu = folder.get_by_role("button", name="Menu of Bills")
    menu.click()
    page.get_by_role("menuitem", name="Edit project").click()
    dialog = page.get_by_role("dialog", name="Edit project")
    for name in ("may.csv", "june.csv"):
        content = csv_of(rows(20, cost=True))
        page.set_input_files("#project-file", {"name": name, "mimeType": "text/csv", "buffer": content})
        expect(dialog.locator(".chip", has_text=name)).to_contain_text("Usage data")
    dialog.get_by_role("button", name="Remove june.csv").click()
    expect(dialog.locator(".chip")).to_have_count(1)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    page.reload()
    folder.hover()
    menu.click()
    page.get_by_role("menuitem", name="New conversation here").click()
    expect(page.locator("#drafts .chip")).to_have_text(re.compile("may.csv"))
    say(page, "What did we spend?")
    expect(questions(page).locator(".chip")).to_have_text(re.compile("may.csv"))
    expect(page.locator("#drafts .chip")).to_have_count(0)
    expect(page.locator(".verdict .asked")).to_be_visible()
    expect(folder.locator("a .title")).to_have_text(["What did we spend?"])


def test_file_that_cannot_be_kept_is_told_of_in_the_project(site, meet):
    ann = meet(site, provokes=r"status of 4\d\d")
    ann.user.http("POST", "/api/projects", {"name": "Bills", "instructions": ""})
    page = ann.open()
    folder = page.locator("section[data-project]")
    folder.hover()
    folder.get_by_role("button", name="Menu of Bills").click()
    page.get_by_role("menuitem", name="Edit project").click()
    page.set_input_files("#project-file", {"name": "a.exe", "mimeType": "text/csv", "buffer": b"\0\1\2" * 99})
    expect(page.locator("#project-note")).to_contain_text("work here")
    expect(page.locator("#project .chip")).to_have_count(0)
    expect(page.locator("#project [value=yes]")).to_be_enabled()


def test_conversation_is_moved_into_a_project_by_its_menu_and_out_by_dragging(site, meet):
    ann = meet(site)
    ann.user.http("POST", "/api/threads", {"title": "Bill of May"})
    ann.user.http("POST", "/api/threads", {"title": "Other"})
    page = ann.open()
    row = page.locator("#threads li").filter(has_text="Bill of May")
    row.hover()
    row.get_by_role("button").click()
    page.get_by_role("menuitem", name="Move to project").click()
    dialog = page.get_by_role("dialog", name="New project")
    dialog.get_by_label("Name").fill("Bills")
    dialog.get_by_label("Instructions").fill("In euros.")
    page.keyboard.press("Tab")
    dialog.get_by_role("button", name="Save").click()
    folder = page.locator("section[data-project]")
    expect(folder.locator("h2")).to_have_text("Bills")
    expect(folder.locator("a .title")).to_have_text(["Bill of May"])
    [made] = ann.user.http("GET", "/api/projects").json()["projects"]
    assert (made["name"], made["instructions"]) == ("Bills", "In euros.")
    page.locator("#threads a", has_text="Other").drag_to(folder)
    expect(folder.locator("a .title")).to_have_count(2)
    page.reload()
    expect(folder.locator("a .title")).to_have_count(2)
    page.locator("#threads a", has_text="Bill of May").click()
    page.click("#thread-menu")
    page.get_by_role("menuitem", name="Move to project").click()
    page.get_by_role("dialog", name="Move to a project").get_by_label("No project").check()
    page.get_by_role("button", name="Move", exact=True).click()
    expect(folder.locator("a .title")).to_have_text(["Other"])
    page.locator("#threads a", has_text="Other").drag_to(page.locator("#threads section:not([data-project])"))
    expect(folder.locator("a")).to_have_count(0)
    folder.hover()
    folder.get_by_role("button", name="Menu of Bills").click()
    page.get_by_role("menuitem", name="Delete project").click()
    expect(folder).to_have_count(0)
    expect(listed(page)).to_have_count(2)
    assert ann.user.http("GET", "/api/projects").json()["projects"] == []
