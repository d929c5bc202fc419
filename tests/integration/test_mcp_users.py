"""Conversations of several users with MCP servers, whose connections the database has."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.mcp_servers import Odd, converse, offered_by, success, thoughts, tool
from tests.model_provider import calls, says, told

pytestmark = [pytest.mark.usefixtures("model_settings"), pytest.mark.django_db(transaction=True)]
HTML = b"<html>Sign in</html>"


@pytest.fixture
def conversation(model_settings: Any) -> Callable[..., None]:
    """Serve several messages in one process: give it servers and a coroutine function of `message`."""
    return partial(converse, model_settings)


@pytest.fixture
def impatient(model_settings: Any) -> Any:
    model_settings.NETRA_MCP_CONNECT_SECONDS = 0.5
    return model_settings


def test_mcp_silent_server_is_waited_for_once(conversation: Any, impatient: Any) -> None:
    silent, good = Odd(tool("find")), Odd(tool("find"))
    silent.silent = True

    async def scene(message: Any) -> None:
        first, provider = await message(says("Hi"), user_id="1")
        assert thoughts(first) == ["The tools of “silent” cannot be reached."]
        assert "good_find" in provider.asked[0].offered
        asked = silent.asked.total()
        second, provider = await message(says("Hi"), user_id="1")
        assert thoughts(second) == []
        assert "good_find" in provider.asked[0].offered
        another, _ = await message(says("Hi"), user_id="2")
        assert thoughts(another) == ["The tools of “silent” cannot be reached."]
        assert silent.asked.total() == asked

    conversation({"silent": silent, "good": good}, scene)


def test_mcp_session_is_one_runs_own_and_not_in_the_log(conversation: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    odd = Odd(tool("find"))

    async def scene(message: Any) -> None:
        for user in ("1", "2"):
            await message(calls(("s_find", {})), says("ok"), user_id=user)

    conversation({"s": odd}, scene)
    used = [headers.get("mcp-session-id") for headers in odd.headers]
    assert len({session for session in used if session}) == 3  # one for the list, one for each run
    assert odd.asked["DELETE"] == 3
    assert not [session for session in used if session and session in caplog.text]


def test_mcp_server_that_dies_in_a_call_is_told_and_left_out_next_time(conversation: Any, model_settings: Any) -> None:
    model_settings.NETRA_MCP_CALL_SECONDS = 5.0
    odd = Odd(tool("act", annotations={}))

    async def die(parameters: dict[str, Any]) -> Any:
        odd.refusal = 502, "text/html", HTML
        raise ConnectionResetError

    odd.results["act"] = die

    async def scene(message: Any) -> None:
        sink, provider = await message(calls(("s_act", {})), says("Well."))
        assert success(sink) == [False]
        assert len(odd.called) == 1
        assert told(provider.asked[1])
        sink, provider = await message(calls(("s_act", {})), says("Well."))
        assert success(sink) == [False]
        assert len(odd.called) == 1
        sink, provider = await message(says("Well."), user_id="9")
        assert thoughts(sink)
        assert not offered_by(provider.asked[0], "s")

    conversation({"s": odd}, scene)
