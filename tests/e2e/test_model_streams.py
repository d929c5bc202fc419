"""Ways in which a model's stream may come and end, in a whole Netra."""

import pytest

from tests import site as sites
from tests.model_provider import Provider
from tests.model_streams import AZURE, ROWS
from tests.model_wire import chat, errs, sends


@pytest.mark.parametrize(
    ("row", "attempts"),
    [
        ("end chat: length", 1),
        ("end chat: a connection that breaks", 2),
        ("thought chat: tags in one chunk", 1),
        ("thought chat: no opening tag", 1),
        ("shape chat: half a character in a chunk", 1),
        ("shape chat: half a character and no other", 1),
        ("call chat: one id", 1),
        ("refusal chat: azure's filter", 1),
    ],
)
def test_what_a_user_reads_is_what_is_stored(
    site_with_model: tuple[sites.Site, Provider], row: str, attempts: int
) -> None:
    site, provider = site_with_model
    asked = ROWS[row]
    provider.asked.clear()
    provider.replies[:] = asked.replies * attempts
    user = site.register("alice")
    thread = user.http("POST", "/api/threads", {"title": "Mine", "agent": "assistant"}).json()["id"]
    socket = user.connect()
    accepted = socket.ask("Hello", thread_id=thread, agent="assistant")
    end = socket.answer(accepted["run_id"])
    log = socket.events(thread)
    assert end["attempt"] == attempts
    assert len(provider.asked) == attempts * asked.requests
    stored = [one for one in user.http("GET", f"/api/threads/{thread}/messages").json()["messages"]
              if one["role"] == "assistant"]  # fmt: skip
    if asked.fails:
        assert (end["type"], end["error_code"], stored) == ("agent_failed", asked.fails, [])
    else:
        assert (end["type"], end["final_response"]) == ("agent_completed", asked.reads)
        assert [one["content"] for one in stored] == [asked.reads]
    assert [frame["reasoning"] for frame in log if frame["type"] == "agent_thinking"][-len(asked.thinks) - 1 :][1:] == [
        *asked.thinks
    ]
    socket.close()


def test_a_thread_goes_on_after_a_run_that_failed(site_with_model: tuple[sites.Site, Provider]) -> None:
    site, provider = site_with_model
    provider.asked.clear()
    provider.replies[:] = [errs(400, AZURE), sends(chat("Half", finish="length")), sends(chat("Hi"))]
    user = site.register("bob")
    thread = user.http("POST", "/api/threads", {"title": "Mine", "agent": "assistant"}).json()["id"]
    socket = user.connect()
    for text in ("one", "two", "three"):
        socket.answer(socket.ask(text, thread_id=thread, agent="assistant")["run_id"])
    sent = [[(one["role"], one["content"]) for one in asked.request["messages"][1:]] for asked in provider.asked]
    assert sent[1:] == [
        [("user", "one\n\ntwo")],
        [("user", "one\n\ntwo"), ("assistant", "Half"), ("user", "three")],
    ]
    socket.close()
