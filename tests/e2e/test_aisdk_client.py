"""AI SDK's own client against a running site, over HTTP and WebSocket, and what that client cannot do."""

import json
import re

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests import interop
from tests.site import WAIT_TIMEOUT

HELLO = {"type": "text", "text": "hello there"}


@pytest.fixture(scope="module")
def alice(_site):
    return _site.register("alice")


@pytest.fixture(scope="module")
def bob(_site):
    return _site.register("bob")


def body(chat, content="hello there", id="m1", **fields):
    message = {"id": id, "role": "user", "parts": [{"type": "text", "text": content}]}
    return {"id": chat, "messages": [message], "agent": "echo", **fields}


def frames(response):
    """(number, chunk) of a stream; the number of [DONE] is None."""
    found = re.findall(r"^(?:id: (\d+)\n)?data: (.*)\n\n", response.text, re.M)
    return [(int(number) if number else None, text) for number, text in found]


def test_stock_client_does_all_that_it_can(site):
    interop.run(site, "aisdk.test.mjs")


def test_a_repeated_request_is_the_same_run_and_a_used_key_is_a_conflict(alice):
    first = alice.http("POST", "/api/chat", body("repeated"))
    assert first.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert first.headers["cache-control"] == "no-cache"
    again = alice.http("POST", "/api/chat", body("repeated"))
    assert frames(again) == frames(first)
    assert [number for number, _ in frames(first)] == [*range(len(frames(first)) - 1), None]
    assert frames(first)[-1][1] == "[DONE]"
    keyed = {"Authorization": f"Bearer {alice.access}", "Idempotency-Key": "k1"}

    def post(content):
        url = f"{alice.site.url}/api/chat"
        return httpx.post(url, json=body("keyed", content), headers=keyed, timeout=WAIT_TIMEOUT)

    assert post("one").status_code == 200
    assert post("other").json()["error"] == "conflict"


def test_resume_after_a_number_sends_what_comes_behind_it(alice, bob):
    whole = frames(alice.http("POST", "/api/chat", body("chat/with a slash")))
    path = "/api/chat/chat%2Fwith%20a%20slash/stream"
    assert frames(alice.http("GET", path)) == whole
    assert frames(alice.http("GET", f"{path}?after=3")) == whole[4:]
    headers = {"Authorization": f"Bearer {alice.access}", "Last-Event-ID": "3"}
    assert frames(httpx.get(alice.site.url + path, headers=headers, timeout=WAIT_TIMEOUT)) == whole[4:]
    thread = json.loads(whole[0][1])["messageMetadata"]["threadId"]
    for other in (f"/api/chat/{thread}", "/api/chat/chat%2Fwith%20a%20slash"):
        answer = bob.http("GET", f"{other}/stream")
        assert (answer.status_code, answer.content) == (204, b"")
        assert bob.http("GET", f"{other}/messages").status_code == 404
        assert bob.http("POST", f"{other}/stop").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"messages": []}, 422, "invalid_message"),
        ({"messages": "x"}, 422, "invalid_message"),
        ({"id": 5}, 422, "invalid_message"),
        ({"trigger": "other"}, 422, "invalid_message"),
        ({"agent": "nobody"}, 422, "unknown_agent"),
        ({"messages": [{"id": "a", "role": "assistant", "parts": [HELLO]}]}, 422, "invalid_message"),
        ({"messages": [{"id": "a", "role": "user", "parts": [{"type": "text", "text": 5}]}]}, 422, "invalid_message"),
        ({"messages": [{"id": "a" * 129, "role": "user", "parts": [HELLO]}]}, 422, "invalid_message"),
        ({"messages": [{"id": "a", "role": "user", "parts": []}]}, 422, "invalid_message"),
        (
            {"messages": [{"id": "a", "role": "user", "parts": [{"type": "text", "text": "x" * 65_537}]}]},
            413,
            "too_large",
        ),
    ],
)
def test_a_wrong_body_is_refused_by_name(alice, change, status, error):
    answer = alice.http("POST", "/api/chat", {**body("wrong"), **change})
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def socket(user, **options):
    return user.site.ws("/ws/ai-sdk", **options)


def ask(raw, frame):
    raw.send(json.dumps(frame))
    return json.loads(raw.recv(WAIT_TIMEOUT))


def test_socket_takes_only_frames_that_it_knows_and_stays_open(alice):
    raw = socket(alice, additional_headers={"Authorization": f"Bearer {alice.access}"})
    for frame in ({"type": "send"}, {"type": "other", "requestId": "r"}, [], {"type": "resume", "requestId": "r"}):
        assert ask(raw, frame)["type"] == "error"
    raw.send("{")
    assert json.loads(raw.recv(WAIT_TIMEOUT))["type"] == "error"
    assert ask(raw, {"type": "resume", "requestId": "r", "id": "nothing"}) == {"type": "no-active", "requestId": "r"}
    whole = frames(alice.http("POST", "/api/chat", body("on the socket")))
    assert ask(raw, {"type": "resume", "requestId": "s", "id": "on the socket", "lastSequence": 3})["type"] == "start"
    got = []
    while (frame := json.loads(raw.recv(WAIT_TIMEOUT)))["type"] == "chunk":
        got.append((frame["sequence"], frame["chunk"]))
    assert got == [(number, json.loads(text)) for number, text in whole[4:-1]]
    assert frame == {"type": "end", "requestId": "s"}
    raw.close()


@pytest.mark.parametrize("header", [None, "Bearer netra_wrong", "Basic eDp5"])
def test_socket_without_a_good_credential_in_its_first_frame_is_closed(alice, header):
    raw = socket(alice)
    headers = {} if header is None else {"authorization": header}
    frame = {"type": "send", "requestId": "r", **body("x"), "headers": headers, "body": {}}
    assert ask(raw, frame) == {"type": "error", "requestId": "r", "errorText": "Sign in first."}
    with pytest.raises(ConnectionClosed) as closed:
        raw.recv(WAIT_TIMEOUT)
    assert closed.value.rcvd.code == 4401


def test_socket_of_one_user_takes_no_token_of_another(alice, bob):
    raw = socket(alice)
    resume = {"type": "resume", "requestId": "r", "id": "nothing"}
    assert ask(raw, {**resume, "headers": {"Authorization": f"Bearer {alice.access}"}})["type"] == "no-active"
    assert ask(raw, {**resume, "headers": {"Authorization": f"Bearer {bob.access}"}})["type"] == "error"
    with pytest.raises(ConnectionClosed):
        raw.recv(WAIT_TIMEOUT)
