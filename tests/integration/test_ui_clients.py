"""Clients of AI SDK and AG-UI: which run a request is about, and what is streamed of it."""

import asyncio
import json
import re
import time
import uuid
from contextlib import suppress
from typing import Annotated

import pytest
from channels.exceptions import StopConsumer
from pydantic import Discriminator, TypeAdapter
from rest_framework.test import APIClient

from chat import runs
from chat.accounts import api_keys, sessions
from chat.accounts.authentication import Identity
from chat.aisdk.consumer import AiSdkConsumer
from chat.aisdk.frames import AnyAnswer
from chat.db.access import from_database, in_database
from chat.models import InputRequest, Message, Run
from chat.realtime.connections import ConnectionRegistry
from chat.runs import RunBatch, event_log
from chat.runs.batching import StartBatcher
from tests.factories import accept, ask, claim_one, client, completed, delta, message, waiting
from tests.site import WAIT_TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)
ANSWERS = TypeAdapter(Annotated[AnyAnswer, Discriminator("type")])


def said(id, text="hello", role="user"):
    return {"id": id, "role": role, "parts": [{"type": "text", "text": text}]}


def chat(caller, *messages, **fields):
    return caller.post("/api/chat", {"id": "c", "messages": messages, "agent": "echo", **fields}, format="json")


def run_agent(caller, run_id, content="hello", fields=(), **headers):
    body = {"threadId": "t", "runId": run_id, "messages": [{"id": "m1", "role": "user", "content": content}]}
    return caller.post("/agui/echo", {**body, **dict(fields)}, format="json", **headers)


def chunks(answer):
    """The chunks of a whole stream."""

    async def read():
        return b"".join([part async for part in answer.streaming_content]).decode()

    return [json.loads(text) for text in re.findall(r"^data: ({.*})$", asyncio.run(read()), re.M)]


def finish():
    runs.record([completed(claim_one(), usage={})])


def test_repeated_request_shows_a_run_over_its_waits(alice):
    chat(client(alice), said("m1"))
    accept(alice, waiting(claim_one()))
    finish()
    again = chunks(chat(client(alice), said("m1")))
    assert again[-1] == {"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": {}}}
    assert again == chunks(client(alice).get("/api/chat/c/stream"))


@pytest.mark.parametrize(
    ("named", "answered"), [(None, "m2"), ("a2", "m2"), ("a1", "m1"), ("m1", "m1"), ("elsewhere", "m2")]
)
def test_another_answer_is_to_the_users_message_before_it(alice, named, answered):
    caller = client(alice)
    chat(caller, said("m1"))
    finish()
    chat(caller, said("m1"), said("a1", "done", "assistant"), said("m2", "more"))
    finish()
    shown = [said("m1"), said("a1", "done", "assistant"), said("m2", "more"), said("a2", "done", "assistant")]
    answer = chat(caller, *shown, trigger="regenerate-message", messageId=named)
    assert answer.status_code == 200, answer.content
    assert Run.objects.get(pk=answer["Netra-Run"]).message.client_id == answered
    assert Message.objects.filter(role="user").count() == 2


def test_idempotency_key_of_another_message_is_a_conflict(alice):
    caller = client(alice)
    first = run_agent(caller, "r1", "one", HTTP_IDEMPOTENCY_KEY="k")
    assert run_agent(caller, "r1", "one", HTTP_IDEMPOTENCY_KEY="k")["Netra-Run"] == first["Netra-Run"]
    other = run_agent(caller, "r2", "two", HTTP_IDEMPOTENCY_KEY="k")
    assert (other.status_code, other.json()["error"]) == (409, "conflict")


@pytest.mark.parametrize("joins", ["attach", "resume"])
def test_run_is_known_by_the_id_under_which_it_was_joined(alice, bob, joins):
    caller = client(alice)
    first = run_agent(caller, "r1")["Netra-Run"]
    asked = waiting(claim_one())
    answer = {"interruptId": str(asked), "status": "resolved", "payload": {"value": "blue"}}
    fields = {"attach": {"forwardedProps": {"netra": {"attach": True}}}, "resume": {"resume": [answer]}}
    assert run_agent(caller, "r2", fields=fields[joins])["Netra-Run"] == first
    assert run_agent(caller, "r2")["Netra-Run"] == first
    assert Run.objects.count() == 1
    stop = {"threadId": Run.objects.get().thread_id, "runId": "r2"}
    assert client(bob).post("/agui/echo/stop", stop, format="json").status_code == 404
    assert caller.post("/agui/echo/stop", stop, format="json").json() == {"run_ids": [first]}


def test_key_that_may_only_read_comes_back_to_a_run_and_no_more(alice):
    first = run_agent(client(alice), "r1")["Netra-Run"]
    _, key = api_keys.make(alice, "k", ["read"], [], None, None)
    reader = APIClient()
    reader.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    attach = {"forwardedProps": {"netra": {"attach": True}}}
    for run_id, fields in (("r1", {}), ("r2", attach), ("r2", {})):
        answer = run_agent(reader, run_id, fields=fields)
        assert (answer.status_code, answer.get("Netra-Run")) == (200, first)
    asked = waiting(claim_one())
    for run_id, fields in (("r3", {}), ("r3", answers_of("ag-ui", first, [(asked, "blue")]))):
        answer = run_agent(reader, run_id, "more", fields)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    stop = reader.post("/agui/echo/stop", {"threadId": "t"}, format="json")
    assert (stop.status_code, stop.json()["error"]) == (403, "forbidden")
    assert (Run.objects.get().status, InputRequest.objects.get().status) == ("waiting", "open")
    assert Message.objects.count() == 1


def answers_of(kind, run_id, values):
    """The fields of a request that answers these requests (id, value) in this dialect."""
    if kind == "ag-ui":
        entries = [{"interruptId": str(id), "status": "resolved", "payload": {"value": value}} for id, value in values]
        return {"resume": entries}
    parts = [
        {"type": "tool-ask_user", "toolCallId": str(id), "state": "output-available", "output": {"value": value}}
        for id, value in values
    ]
    return {"messages": [{"id": run_id, "role": "assistant", "parts": parts}]}


@pytest.mark.parametrize("kind", ["ag-ui", "ai-sdk"])
def test_answers_of_one_request_are_all_taken_or_none(alice, kind):
    caller = client(alice)
    if kind == "ag-ui":
        run_id, send = run_agent(caller, "r1")["Netra-Run"], lambda fields: run_agent(caller, "r2", fields=fields)
    else:
        run_id, send = chat(caller, said("m1"))["Netra-Run"], lambda fields: chat(caller, **fields)
    run = claim_one()
    first, second = ask(run), ask(run)
    runs.suspend(run, [str(first), str(second)], {})
    refused = send(answers_of(kind, run_id, [(first, "blue"), (second, 5)]))
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_message")
    assert set(InputRequest.objects.values_list("status", flat=True)) == {"open"}
    assert send(answers_of(kind, run_id, [(first, "blue"), (second, "red")])).status_code == 200
    assert set(InputRequest.objects.values_list("status", flat=True)) == {"accepted"}
    assert send(answers_of(kind, run_id, [(first, "blue"), (second, "red")])).status_code == 200, "repeated"
    assert send(answers_of(kind, run_id, [(first, "blue"), (second, "green")])).status_code == 409


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "binary", "mimeType": "text/plain", "data": "YQ=="}, "messages"),  # of AG-UI before 1.0
        ({"type": "document", "source": {"type": "url", "value": "https://x.example/a", "mimeType": None}}, "messages"),
        ({"type": "image", "source": {"type": "data", "value": "YQ==", "mimeType": "image/png"}}, "messages"),
        ({"type": "text", "text": None}, "content"),
        ("text", "content"),
    ],
)
def test_wrong_part_of_an_ag_ui_message_is_refused_by_name(alice, part, field):
    answer = run_agent(client(alice), "r1", [{"type": "text", "text": "read this"}, part])
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert "must be a text" not in answer.json()["message"] or field == "content"


class Layer:
    """A channel layer whose messages a test delivers."""

    async def subscribe(self, group, callback):
        self.deliver = callback

    def unsubscribe(self, group, callback):
        """Go on delivering."""

    def publish(self, group, published):
        """Lose it."""


class PlayedSocket:
    """An authenticated socket of AI SDK, as its server plays it. `sent` are the frames to the client."""

    def __init__(self, user, expires_at=None):
        self.sent, self._changed = [], asyncio.Event()
        self.consumer = AiSdkConsumer(ConnectionRegistry(), StartBatcher())
        self.consumer.mode, self.consumer.base_send, self.consumer.scope = "ai-sdk", self._send, {"headers": []}
        self.consumer.identity = Identity(user.id, user.email, uuid.uuid4(), expires_at)

    async def _send(self, frame):
        self.sent.append(json.loads(frame["text"]))
        ANSWERS.validate_json(frame["text"])
        self._changed.set()

    async def receive(self, **frame):
        """Take a frame of the client."""
        await self.consumer.websocket_receive({"type": "websocket.receive", "text": json.dumps(frame)})

    async def until(self, kind):
        """Wait for a frame or a chunk of this type."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not any(kind in (frame["type"], frame.get("chunk", {}).get("type")) for frame in self.sent):
                self._changed.clear()
                await self._changed.wait()

    async def leave(self):
        """Lose the client."""
        with suppress(StopConsumer):
            await self.consumer.websocket_disconnect()
        self.consumer.cleanup()


@pytest.fixture
def layer(monkeypatch):
    found = Layer()
    monkeypatch.setattr("chat.realtime.channel_layer.get_layer", lambda: found)
    return found


def test_stream_of_a_socket_goes_on_after_its_token_was_renewed(alice, layer):
    """The first token ends before the second one comes; the timer that closes the socket is the second one's."""
    thread = runs.start(alice.id, message()).thread_id
    run = claim_one()
    runs.record([RunBatch(run, [delta(run)])])

    async def play():
        socket = PlayedSocket(alice, int(time.time()) - 1)
        await socket.receive(type="resume", requestId="r1", id=str(thread))
        await socket.until("text-delta")
        token = (await in_database(sessions.sign_in, alice, "")).access
        headers = {"Authorization": f"Bearer {token}"}
        await socket.receive(type="resume", requestId="r2", id="none", headers=headers)
        await socket.until("no-active")
        await in_database(runs.record, [completed(run, "word ", usage={})])
        log = await from_database(event_log.read, thread, 0, 1000)
        events = [[str(thread), seq, run_id, kind, text] for seq, run_id, kind, text in log]
        await layer.deliver({"type": "events", "events": events})
        await socket.until("end")
        await socket.leave()
        return [frame for frame in socket.sent if frame["requestId"] == "r1"]

    of_first = asyncio.run(play())
    assert [frame["type"] for frame in of_first] == ["start", *["chunk"] * (len(of_first) - 2), "end"]
    assert [frame["sequence"] for frame in of_first[1:-1]] == list(range(len(of_first) - 2))


def test_stream_of_a_socket_that_fails_ends_with_an_error(alice, layer):
    thread = runs.start(alice.id, message()).thread_id
    run = claim_one()
    event = {"type": "agent_delta", "agent_name": run.agent}  # without its text: no agent can say this
    runs.record([RunBatch(run, [event_log.encode_event(run.thread_id, run.run_id, run.attempt, event)])])

    async def play():
        socket = PlayedSocket(alice)
        await socket.receive(type="resume", requestId="r1", id=str(thread))
        await socket.until("error")
        await socket.receive(type="resume", requestId="r1", id="none")  # the request is over, and the socket open
        await socket.until("no-active")
        await socket.leave()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, "running"), ({"netra-disconnect": "cancel"}, "cancelled"), ({"Netra-Disconnect": "x"}, "")],
)
def test_run_of_a_socket_that_is_lost_goes_on_unless_its_header_says_stop(alice, layer, headers, status):
    async def play():
        socket = PlayedSocket(alice)
        fields = {"id": "c", "messages": [said("m1")], "body": {"agent": "echo"}, "headers": headers}
        await socket.receive(type="send", requestId="r1", **fields)
        await socket.until("chunk" if status else "error")
        if status:
            await in_database(claim_one)
        streams, others = set(socket.consumer.tasks), asyncio.all_tasks()
        await socket.leave()
        if status:
            await asyncio.wait(streams)
        while started := asyncio.all_tasks() - others:  # by the end of the stream
            await asyncio.wait(started)

    asyncio.run(play())
    assert [run.status for run in Run.objects.all()] == [status] * bool(status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, "cancelled"), ({"Netra-Disconnect": "cancel"}, "cancelled"), ({"netra-disconnect": "continue"}, "running")],
)
def test_run_of_an_aborted_request_stops_unless_its_header_says_continue(alice, layer, headers, status):
    async def play():
        socket = PlayedSocket(alice)
        fields = {"id": "c", "messages": [said("m1")], "body": {"agent": "echo"}, "headers": headers}
        await socket.receive(type="send", requestId="r1", **fields)
        await socket.until("chunk")
        await in_database(claim_one)
        await socket.receive(type="abort", requestId="r1")
        if status == "running":
            await socket.receive(type="resume", requestId="r1", id="none")  # the request is over
            await socket.until("no-active")
        await socket.leave()

    asyncio.run(play())
    assert [run.status for run in Run.objects.all()] == [status]


def test_idempotency_key_of_a_socket_s_request_is_that_of_the_run(alice, layer):
    async def play():
        socket = PlayedSocket(alice)
        for request_id, text in (("r1", "one"), ("r2", "one"), ("r3", "two")):
            fields = {"id": "c", "messages": [said("m1", text)], "headers": {"idempotency-key": "k"}}
            await socket.receive(type="send", requestId=request_id, body={"agent": "echo"}, **fields)
        await socket.until("error")
        await socket.leave()
        return [frame["requestId"] for frame in socket.sent if frame["type"] == "error"]

    assert asyncio.run(play()) == ["r3"]
    assert [run.client_msg_id for run in Run.objects.all()] == ["k"]
