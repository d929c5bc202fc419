"""Titles that the model gives: for every agent, never over a person's, and the answer never waits for them."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from chat.runs.titles import LENGTH
from tests import site as sites
from tests.model_provider import AGAIN, Exchange, Provider, hangs, refuses, says


@pytest.fixture
def titled(site_with_model: tuple[sites.Site, Provider]) -> Iterator[sites.Site]:
    yield site_with_model[0]
    site_with_model[0].close_sockets()


@pytest.fixture
def provider(site_with_model: tuple[sites.Site, Provider]) -> Provider:
    site_with_model[1].asked.clear()
    site_with_model[1].replies.clear()
    return site_with_model[1]


@pytest.fixture
def alice(titled: sites.Site) -> sites.User:
    return titled.register("alice")


def title(user: sites.User, thread_id: str) -> str:
    found: str = user.http("GET", f"/api/threads/{thread_id}").json()["title"]
    return found


def updates(socket: sites.Socket, thread_id: str) -> list[dict[str, Any]]:
    return [frame for frame in socket.events(thread_id) if frame["type"] == "thread_updated"]


@pytest.mark.parametrize("agent", ["echo", "family", "structured"])
def test_the_model_gives_a_title_whatever_the_agent(alice: sites.User, provider: Provider, agent: str) -> None:
    provider.replies.append(says('"The walrus ', 'and its cost."', tokens=(50, 5)))
    socket = alice.connect()
    accepted = socket.ask("what about the walrus", agent=agent)
    end = socket.answer(accepted["run_id"])
    log = socket.events(accepted["thread_id"])
    assert [frame["type"] for frame in log[-2:]] == ["thread_updated", "agent_completed"]
    assert [frame["seq"] for frame in log] == list(range(1, len(log) + 1))
    assert (log[-2]["title"], log[-2]["run_id"]) == ("The walrus and its cost", accepted["run_id"])
    assert title(alice, accepted["thread_id"]) == "The walrus and its cost"
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (50, 5)
    (asked,) = provider.asked
    assert "walrus" in str(asked.request["messages"])
    assert "tools" not in asked.request


def test_a_title_is_asked_for_while_the_answer_goes_on(alice: sites.User, provider: Provider) -> None:
    """`slow` never ends by itself: only its first words can have been shown."""
    provider.replies.append(hangs)
    socket = alice.connect()
    accepted = socket.ask("on and on", agent="slow")
    sites.wait_until(lambda: provider.asked, "the question for a title")
    socket.send({"type": "stop_agent", "run_id": accepted["run_id"]})
    assert socket.answer(accepted["run_id"])["type"] == "agent_cancelled"
    sites.wait_until(provider.asked[0].hung_up.is_set, "the question to be taken back")


def test_a_thread_is_given_a_title_once(alice: sites.User, provider: Provider) -> None:
    provider.replies.append(says("The walrus"))
    socket = alice.connect()
    first = socket.ask("what about the walrus")
    socket.answer(first["run_id"])
    for text in ("and the seal", "what about the walrus"):
        socket.answer(socket.ask(text, thread_id=first["thread_id"])["run_id"])
    assert len(provider.asked) == len(updates(socket, first["thread_id"])) == 1
    assert title(alice, first["thread_id"]) == "The walrus"


def test_the_same_title_again_is_no_event(alice: sites.User, provider: Provider) -> None:
    provider.replies.append(says("The walrus"))
    socket = alice.connect()
    accepted = socket.ask("the walrus")
    socket.answer(accepted["run_id"])
    assert updates(socket, accepted["thread_id"]) == []


def test_without_a_model_the_first_title_stays(site: sites.Site) -> None:
    alice = site.register("alice")
    socket = alice.connect()
    accepted = socket.ask("hello, can you explain the walrus?")
    socket.answer(accepted["run_id"])
    assert title(alice, accepted["thread_id"]) == "Explain the walrus"
    assert updates(socket, accepted["thread_id"]) == []


@pytest.mark.parametrize("theirs", ["Mine", "What about the walrus"])
def test_a_title_that_a_person_gave_stays(alice: sites.User, provider: Provider, theirs: str) -> None:
    """Even if it is the one that the thread had; and however late the model is."""
    renamed = threading.Event()

    async def late(exchange: Exchange) -> None:
        await asyncio.to_thread(renamed.wait, sites.WAIT_TIMEOUT)
        await says("The model's")(exchange)

    provider.replies.append(late)
    socket = alice.connect()
    accepted = socket.ask("what about the walrus")
    sites.wait_until(lambda: provider.asked, "the question for a title")
    assert alice.http("PATCH", f"/api/threads/{accepted['thread_id']}", {"title": theirs}).status_code == 200
    renamed.set()
    assert socket.answer(accepted["run_id"])["type"] == "agent_completed"
    assert [frame["run_id"] for frame in updates(socket, accepted["thread_id"])] == [None]
    assert title(alice, accepted["thread_id"]) == theirs


@pytest.mark.parametrize(
    "reply",
    [refuses(401), refuses(503, **AGAIN), says(""), says(" \n "), says('"**"'), says("\u200b\u2060"), hangs],
)
def test_a_model_that_has_no_title_costs_the_answer_nothing(alice: sites.User, provider: Provider, reply: Any) -> None:
    provider.replies.append(reply)
    socket = alice.connect()
    accepted = socket.ask("what about the walrus")
    assert socket.answer(accepted["run_id"])["final_response"] == "what about the walrus "
    assert updates(socket, accepted["thread_id"]) == []
    assert title(alice, accepted["thread_id"]) == "What about the walrus"
    assert len(provider.asked) == 1


def test_what_a_model_calls_a_title_becomes_one_short_line(alice: sites.User, provider: Provider) -> None:
    provider.replies.append(says("Title: **The wal\x00rus** " + "and more " * 50 + "\nSecond line"))
    socket = alice.connect()
    accepted = socket.ask("what about the walrus")
    socket.answer(accepted["run_id"])
    (update,) = updates(socket, accepted["thread_id"])
    assert update["title"].startswith("The wal\ufffdrus")
    assert len(update["title"]) <= LENGTH


@pytest.mark.parametrize(
    "said",
    [
        '**Title:** "The walrus"',
        '{"title": "The walrus"}',
        '```json\n{\n  "title": "The walrus",\n  "emoji": ""\n}\n```',
        "Here is a title:\n\n# The walrus",
    ],
)
def test_title_in_another_form_is_its_text_only(alice: sites.User, provider: Provider, said: str) -> None:
    provider.replies.append(says(said))
    socket = alice.connect()
    accepted = socket.ask("what about the walrus")
    socket.answer(accepted["run_id"])
    assert title(alice, accepted["thread_id"]) == "The walrus"


def test_title_after_a_thought_is_not_the_thought(alice: sites.User, provider: Provider) -> None:
    provider.replies.append(says("<think>\nThe user wants", " a title.</think>\n", "The walrus"))
    socket = alice.connect()
    accepted = socket.ask("what about the walrus")
    socket.answer(accepted["run_id"])
    assert title(alice, accepted["thread_id"]) == "The walrus"


def test_a_run_that_fails_has_no_title(alice: sites.User, provider: Provider) -> None:
    socket = alice.connect()
    accepted = socket.ask("walrus", agent="failing")
    assert socket.answer(accepted["run_id"])["type"] == "agent_failed"
    assert provider.asked == updates(socket, accepted["thread_id"]) == []


def test_a_title_reaches_its_user_and_nobody_else(titled: sites.Site, alice: sites.User, provider: Provider) -> None:
    bob = titled.register("bob")
    provider.replies += [refuses(401), says("The walrus")]
    socket, tab, other = alice.connect(), alice.connect(), bob.connect()
    theirs = other.ask("what about the walrus")
    other.answer(theirs["run_id"])
    accepted = socket.ask("what about the walrus")
    assert tab.receive("thread_updated", thread_id=accepted["thread_id"])["title"] == "The walrus"
    socket.answer(accepted["run_id"])
    assert other.silent()
    assert title(bob, theirs["thread_id"]) == "What about the walrus"
