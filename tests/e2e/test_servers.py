"""A conversation under uvicorn, and under daphne without any private name of what Netra stands on."""

import signal
import socket
from contextlib import ExitStack, suppress

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests import site as sites
from tests.site import UNKNOWN_VERSIONS, WAIT_TIMEOUT, User, wait_until

SERVERS = {"uvicorn": "netra.asgi:application", "daphne": "tests.plain_servers:application"}


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    with sites.empty(tmp_path_factory.mktemp(request.param), request.param) as site:
        site.application = SERVERS[request.param]
        site.start_redis()
        site.create_database()
        site.start_web()
        site.worker()
        yield site


@pytest.fixture(scope="module")
def alice(server):
    return server.register("alice")


def test_agent_is_called_as_a_tool_of_mcp(server, alice):
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "echo", "arguments": {"message": "one"}, "_meta": meta}
    headers = {
        "Authorization": f"Bearer {alice.access}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "echo",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = httpx.post(f"{server.url}/mcp", json=body, headers=headers, timeout=WAIT_TIMEOUT)
    assert answer.json()["result"]["structuredContent"]["answer"] == "one "


def types(events):
    return [event["type"] for event in events]


def test_server_uses_public_interfaces(server):
    used = [package for package in UNKNOWN_VERSIONS if f"{package} 99.0 is not known" in server.log("web")]
    assert set(used) == ({"daphne", "redis"} if server.server == "daphne" else set())


def test_conversation_login_message_tool_call_resume_stop(server, alice, tmp_path):
    body = {"email": alice.email, "password": alice.password}
    answer = httpx.post(server.url + "/auth/login", json=body, timeout=WAIT_TIMEOUT).json()
    user = User(server, alice.id, alice.email, alice.password, answer["access_token"], answer["refresh_token"])
    socket = user.connect()
    accepted = socket.ask(f"{tmp_path}/notes plainly", "tooled")
    thread = accepted["thread_id"]
    assert socket.answer(accepted["run_id"])["final_response"] == "lines: 1"
    events = socket.events(thread)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {"message_created", "agent_started", "tool_executing", "tool_completed"} <= set(types(events))

    again = user.connect()
    again.send({"type": "resume", "thread_id": thread, "after": 0})
    assert again.receive("resumed")["after"] == len(events)
    assert again.events(thread) == events

    running = socket.ask("go", "slow", thread_id=thread)
    socket.receive("agent_delta", run_id=running["run_id"])
    socket.send({"type": "stop_agent", "run_id": running["run_id"]})
    assert socket.receive("stop_accepted")["run_ids"] == [running["run_id"]]
    assert socket.answer(running["run_id"])["type"] == again.answer(running["run_id"])["type"] == "agent_cancelled"
    messages = user.http("GET", f"/api/threads/{thread}/messages").json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2


def test_sockets_are_refused_closed_and_revoked(server, alice):
    with pytest.raises(InvalidStatus) as refused:
        server.ws("/ws", subprotocols=["jwt-auth", "jwt.bm90LWEtdG9rZW4"])
    assert refused.value.response.status_code == 403
    anonymous = sites.Socket(server.ws("/ws"))
    assert anonymous.receive("auth_required")
    anonymous.send({"type": "ping"})
    assert anonymous.closed() == 4401
    socket = alice.connect()
    assert alice.http("POST", "/auth/logout", {"refresh_token": alice.refresh}).status_code < 300
    assert socket.closed() == 4401


def test_client_that_leaves_in_the_middle_of_an_answer_leaves_no_traceback(server):
    user = server.register("bob")
    for _ in range(3):
        socket = user.connect()
        running = socket.ask("go", "slow")
        socket.receive("agent_delta", run_id=running["run_id"])
        socket.raw.socket.close()
        with suppress(Exception):
            socket.raw.close()
        other = user.connect()
        other.send({"type": "stop_agent", "run_id": running["run_id"]})
        other.receive("stop_accepted")
    wait_until(lambda: httpx.get(server.url + "/health", timeout=WAIT_TIMEOUT).status_code == 200, "the site")
    assert "Traceback" not in server.log("web")


def test_burst_of_connections_waits_for_a_busy_process(server):
    """More than the 50 that Twisted lets wait by default: the kernel resets some of those beyond."""
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        server.web.send_signal(signal.SIGSTOP)
        stack.callback(server.web.send_signal, signal.SIGCONT)
        address = "127.0.0.1", server.port
        opened = [stack.enter_context(socket.create_connection(address, WAIT_TIMEOUT)) for _ in range(200)]
        for one in opened:
            one.sendall(request)
        server.web.send_signal(signal.SIGCONT)
        assert {one.makefile("rb").readline() for one in opened} == {b"HTTP/1.1 200 OK\r\n"}
