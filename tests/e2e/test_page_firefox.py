"""The chat page in a real Firefox, against the real stack: a short flow beside Chromium's tests."""

from collections.abc import Iterator

import pytest

from tests.firefox import ENTER, Tab, firefox, needs_firefox
from tests.site import wait_until

pytestmark = needs_firefox

ANSWER = ".message[data-role=assistant]"


@pytest.fixture
def tab(tmp_path) -> Iterator[Tab]:
    with firefox(tmp_path) as found:
        yield found
        assert found.complaints == []


def test_person_signs_in_asks_stops_an_answer_and_finds_all_after_a_reload_in_firefox(site, tab):
    ann = site.register("ann")
    path = "/c/" + ann.http("POST", "/api/threads", {"agent": "slow"}).json()["id"]
    tab.open(site.url + path)
    for field, text in (("#email", ann.email), ("#password", ann.password)):
        tab.click(field)
        tab.type(text)
    tab.click("#submit")
    wait_until(lambda: tab.texts("#account") == ["ann"], "the account's name")

    tab.click("#composer")
    tab.type("go" + ENTER)
    wait_until(lambda: "0 1 2" in "".join(tab.texts(ANSWER)), "an answer that grows")
    tab.reload()
    wait_until(lambda: "0 1 2" in "".join(tab.texts(ANSWER)), "the answer after a reload")
    tab.click("#stop")
    wait_until(lambda: tab.texts(".run[data-status=cancelled]"), "the stopped run")
    messages = ann.http("GET", f"/api/threads{path.removeprefix('/c')}/messages").json()["messages"]
    said = [message["content"].strip() for message in messages]
    wait_until(lambda: tab.texts(ANSWER) == said[1:], "all that was said")

    tab.reload()
    wait_until(lambda: tab.texts(ANSWER) == said[1:], "all that was said, after a reload")
    assert len(tab.texts(".run[data-status=cancelled]")) == 1
    assert tab.texts(".message[data-role=user] .text") == said[:1] == ["go"]
