"""Fixtures of the tests of pages: a browser, the people at it, and an agent's gate."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.page import ARGUMENTS, CHROMIUM, NO_CHROMIUM, Person, session
from tests.site import WAIT_TIMEOUT, Site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Playwright for this module only: its event loop keeps Django's database from the other tests."""
    assert CHROMIUM, NO_CHROMIUM
    expect.set_options(timeout=WAIT_TIMEOUT * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def meet(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Open a new person's browser: `meet(site, signed_in=False, provokes=REGEX)`. Other console messages fail."""
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


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """File whose path, as a message, makes the agent `gated` wait for it; for its folder the agent does not wait."""
    return tmp_path / "gate"
