"""The chat page in twelve states as small pictures, compared with those in tests/pictures.

A picture is the page at a sixth of its size: what moves a line by a pixel is not seen in it, what breaks the layout is.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageFilter, ImageStat
from playwright.sync_api import Page, expect

from tests.page import Person, needs_chromium, runs, say
from tests.site import ROOT, Site
from tests.usage_files import csv_of, rows

pytestmark = needs_chromium

PICTURES = ROOT / "tests" / "pictures"
SHRINK = 6
# Of 255: how far the picture as a whole, and its worst part, may be from the stored one.
MAX_MEAN, MAX_PART = 3.0, 48
DESKTOP, TABLET = {"width": 1280, "height": 860}, {"width": 820, "height": 1100}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
SAVING = "I pay $5,000 a month for GPT-4 calls, cut it by 30%"
HEBREW = (
    "# חשבון\n\nשילמנו 5,000 דולר.\n\n| דגם | עלות |\n| --- | --- |\n| gpt-4o | $5,938 |\n| gpt-4o-mini | $593.77 |\n"
)


def asked(page: Page, text: str, files: list[Any] | None = None) -> None:
    """Have the text answered."""
    if files:
        page.set_input_files("#file", files)
        expect(page.locator(".draft[data-state=ready]")).to_have_count(len(files))
    page.fill("#composer", text)
    page.locator("#send").click()
    expect(runs(page, "completed").or_(runs(page, "failed"))).to_have_count(1)
    expect(page.locator(".stepper i")).to_have_count(0)


def sign_in(ann: Person) -> Page:
    page = ann.open("/login")
    expect(page.locator("#email")).to_be_focused()
    return page


def welcome(ann: Person) -> Page:
    page = ann.open()
    expect(page.locator("#agent-name")).not_to_be_empty()
    return page


def verdict(ann: Person) -> Page:
    page = ann.open(ann.thread("advisor"))
    asked(page, SAVING)
    return page


def chart(ann: Person) -> Page:
    page = ann.open(ann.thread("advisor"))
    file = {"name": "usage.csv", "mimeType": "text/csv", "buffer": csv_of(rows(2_000, cost=True))}
    asked(page, "What did we spend by model?", [file])
    expect(page.locator(".chart[data-drawn]")).to_have_count(1)
    return page


def panel(ann: Person) -> Page:
    page = verdict(ann)
    page.click(".run-line")
    page.locator("#panel .step summary").first.click()
    return page


def sidebar(ann: Person) -> Page:
    """Threads in each state: pinned, in a project, failed, new."""
    user = ann.user
    project = user.http("POST", "/api/projects", {"name": "Bills"}).json()["id"]
    page = ann.open()
    for title, agent in (("Bill of May", "echo"), ("Support bot", "echo"), ("Broken export", "failing")):
        thread = user.http("POST", "/api/threads", {"title": title, "agent": agent}).json()["id"]
        user.http("POST", f"/api/threads/{thread}/messages", {"content": "some_code"})
        expect(page.locator("#threads a", has_text=title).locator(".working")).to_have_text(
            "failed" if agent == "failing" else "new answer"
        )
        if title == "Bill of May":
            user.http("PUT", f"/api/projects/{project}/threads/{thread}")
        if title == "Support bot":
            user.http("PATCH", f"/api/threads/{thread}", {"pinned": True})
    page.reload()
    expect(page.locator("section[data-project] a")).to_have_count(1)
    return page


def request(ann: Person) -> Page:
    page = ann.open(ann.thread("curious"))
    say(page, "approval")
    expect(page.locator("section.request")).to_be_visible()
    return page


def hebrew(ann: Person) -> Page:
    page = ann.open(ann.thread("mirror"))
    asked(page, HEBREW)
    return page


def printed(ann: Person) -> Page:
    page = verdict(ann)
    page.emulate_media(media="print")
    return page


STATES: dict[str, tuple[Callable[[Person], Page], dict[str, Any]]] = {
    "sign-in": (sign_in, {"signed_in": False}),
    "welcome": (welcome, {}),
    "welcome-dark": (welcome, {"color_scheme": "dark"}),
    "verdict": (verdict, {}),
    "verdict-dark": (verdict, {"color_scheme": "dark"}),
    "verdict-phone": (verdict, PHONE),
    "chart-tablet": (chart, {"viewport": TABLET}),
    "panel": (panel, {"viewport": {"width": 1440, "height": 900}}),
    "sidebar": (sidebar, {}),
    "request": (request, {}),
    "hebrew": (hebrew, {}),
    "forced-colours": (verdict, {"forced_colors": "active"}),
    "print": (printed, {"viewport": {"width": 800, "height": 1100}}),
}


def picture(page: Page) -> Image.Image:
    """The page as it is now, small, with times that do not differ from run to run."""
    page.evaluate(
        """async () => {
          await document.fonts.ready;
          for (const one of document.querySelectorAll(".time:not(:empty)")) one.textContent = "1 s";
          for (const one of document.querySelectorAll(".run-status"))
            one.textContent = one.textContent.replace(/[^·]*$/, " 1 s");
        }"""
    )
    content = page.screenshot(animations="disabled", caret="hide")
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return image.resize((image.width // SHRINK, image.height // SHRINK), Image.Resampling.BOX)


@pytest.fixture
def shown(meet: Callable[..., Person], site: Site) -> Iterator[Callable[[str], Page]]:
    def show(name: str) -> Page:
        state, options = STATES[name]
        options = {"viewport": DESKTOP, "reduced_motion": "reduce", "color_scheme": "light", **options}
        return state(meet(site, **options))

    return show


@pytest.mark.parametrize("name", STATES)
def test_state_of_the_page_looks_as_it_is_stored(shown, name: str, tmp_path: Path) -> None:
    found, stored, path = picture(shown(name)), PICTURES / f"{name}.png", tmp_path / f"{name}.png"
    found.quantize(64).save(path, optimize=True)
    accept = f"Look at {path}; if it is right: cp {path} {stored}"
    assert stored.exists(), accept
    known = Image.open(stored).convert("RGB")
    assert known.size == found.size, accept
    blurred = [one.filter(ImageFilter.BoxBlur(1)) for one in (known, found)]
    difference = ImageChops.difference(*blurred).convert("L")
    mean, (_, worst) = ImageStat.Stat(difference).mean[0], difference.getextrema()
    assert (mean <= MAX_MEAN, worst <= MAX_PART) == (True, True), f"{mean:.1f}, {worst}. {accept}"
