"""AI SDK's and AG-UI's streams when a process dies in mid-run, and when a key is revoked."""

import json
from contextlib import contextmanager, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from chat.dialects import agui_messages, aisdk
from tests.site import WAIT_TIMEOUT, wait_until


@contextmanager
def stream(user, method, path, body=None):
    """The lines of a stream, as they come."""
    headers = {"Authorization": f"Bearer {user.access}"}
    with httpx.stream(method, user.site.url + path, json=body, headers=headers, timeout=WAIT_TIMEOUT) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()


def read(lines, count=None):
    """The next frames; all of them without a count."""
    found = []
    for line in lines:
        if line.startswith("data: {"):
            found.append(json.loads(line[6:]))
        if len(found) == count:
            break
    return found


def text_of(chunks):
    return "".join(part["text"] for part in aisdk.message(chunks)["parts"] if part["type"] == "text")


def shown(frames):
    messages = []
    for frame in frames:
        if frame["type"] == "MESSAGES_SNAPSHOT":
            messages = agui_messages.copied(frame["messages"])
        agui_messages.apply(messages, frame)
    return [one["content"] for one in messages if one["role"] == "assistant"]


def gated(gate):
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": str(gate)}]}
    return {"id": "faults", "messages": [message], "agent": "gated"}


ATTACH = {"threadId": "faults", "runId": "r1", "messages": [], "forwardedProps": {"netra": {"attach": True}}}


def test_streams_begin_again_after_a_worker_was_killed_and_show_nothing_twice(brisk, tmp_path):
    user, gate = brisk.register(), tmp_path / "gate"
    with stream(user, "POST", "/api/chat", gated(gate)) as lines:
        chunks = read(lines, 4)  # start, start-step, text-start, text-delta
        with stream(user, "POST", "/agui/gated", ATTACH) as others:
            frames = read(others, 2)
            for worker in brisk.workers:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()
            gate.touch()
            brisk.worker()
            chunks += read(lines)
            frames += read(others)
    assert [chunk["type"] for chunk in chunks].count("reset-step") == 1
    assert text_of(chunks) == "before after 2"
    assert (shown(frames), frames[-1]["type"]) == (["before after 2"], "RUN_FINISHED")


def test_streams_go_on_after_the_web_process_was_killed(brisk, tmp_path):
    user, gate = brisk.register(), tmp_path / "gate"
    with stream(user, "POST", "/api/chat", gated(gate)) as lines:
        chunks = read(lines, 4)
        brisk.web.kill()
        brisk.web.wait()
        with pytest.raises(httpx.TransportError):
            read(lines)
    brisk.start_web()
    gate.touch()
    with stream(user, "GET", f"/api/chat/faults/stream?after={len(chunks) - 1}") as lines:
        chunks += read(lines)
    with stream(user, "POST", "/agui/gated", ATTACH) as lines:
        assert shown(read(lines)) == ["before after 1"]
    assert text_of(chunks) == "before after 1"


def test_a_revoked_key_ends_its_streams_and_its_socket(brisk):
    user = brisk.register()
    key = user.http("POST", "/auth/keys", {"name": "k"}).json()
    raw = brisk.ws("/ws/ai-sdk", additional_headers={"Authorization": f"Bearer {key['key']}"})
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "x"}]}
    raw.send(
        json.dumps({"type": "send", "requestId": "r", "id": "a", "messages": [message], "body": {"agent": "slow"}})
    )
    assert json.loads(raw.recv(WAIT_TIMEOUT))["type"] == "chunk"
    headers = {"Authorization": f"Bearer {key['key']}"}
    body = {"threadId": "b", "runId": "r1", "messages": [{"id": "m1", "role": "user", "content": "x"}]}
    with httpx.stream("POST", f"{brisk.url}/agui/slow", json=body, headers=headers, timeout=WAIT_TIMEOUT) as answer:
        lines = answer.iter_lines()
        assert read(lines, 1)[0]["type"] == "RUN_STARTED"
        assert user.http("DELETE", f"/auth/keys/{key['id']}").status_code == 204
        assert "RUN_FINISHED" not in [frame["type"] for frame in read(lines)]
    with suppress(ConnectionClosed):
        while True:
            raw.recv(WAIT_TIMEOUT)
    assert raw.close_code == 4401
    for run in user.http("GET", "/api/agents/status").json()["runs"]:
        user.http("POST", f"/api/runs/{run['run_id']}/cancel")
    wait_until(lambda: not user.http("GET", "/api/agents/status").json()["runs"], "the end of both runs")
