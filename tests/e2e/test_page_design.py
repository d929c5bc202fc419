"""The chat page's design: the line of a run and its panel, the verdict, figures in tables, and the sidebar."""

import re

from playwright.sync_api import expect

from tests.page import needs_chromium, runs, say

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
    expect(line.locator(".tally")).to_have_text("3 agents · 1 tool call")
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
    page = ann.open(ann.thread("echo"))
    say(page, "one two")
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
