"""OpenAI's own Python client, unchanged, against a running site; and streams of events as a browser reads them."""

import asyncio
import json
import signal
from contextlib import contextmanager

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests import interop
from tests.site import WAIT_TIMEOUT, wait_until

HELLO = [{"role": "user", "content": "hello there"}]


def client_of(site, key, **options):
    return OpenAI(api_key=key, base_url=f"{site.url}/v1", timeout=WAIT_TIMEOUT, max_retries=0, **options)


@pytest.fixture(scope="module")
def alice(_site):
    return _site.register("alice")


@pytest.fixture
def client(site, alice):
    return client_of(site, alice.access)


def key_of(user, **fields):
    return user.http("POST", "/auth/keys", {"name": "k", **fields}).json()


def status_of(user, response):
    return user.http("GET", f"/v1/responses/{response}").json()["status"]


def ended(user, response):
    return wait_until(lambda: (s := status_of(user, response)) not in ("queued", "in_progress") and s, "the end")


# ---- Chat completions ----


def test_client_asks_streams_and_goes_on_in_the_same_thread(client):
    assert "echo" in [model.id for model in client.models.list()]
    raw = client.chat.completions.with_raw_response.create(model="echo", messages=HELLO)
    first = raw.parse()
    assert (first.choices[0].message.content, first.choices[0].finish_reason) == ("hello there ", "stop")
    assert first.choices[0].message.reasoning_content.splitlines() == [
        "Counting the words", 'word_count {"text":"hello there"}',
    ]  # fmt: skip
    messages = [*HELLO, {"role": "assistant", "content": "hello there"}, {"role": "user", "content": "and again"}]
    second = client.chat.completions.create(
        model="echo", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    assert second.response.headers["netra-thread"] == raw.headers["netra-thread"]
    chunks = list(second)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "and again "
    assert chunks[-1].usage is not None


def test_client_that_closes_its_stream_stops_the_run(client, alice):
    stream = client.chat.completions.create(model="slow", messages=HELLO, stream=True)
    run = stream.response.headers["netra-run"]
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    stream.close()
    assert ended(alice, f"resp_{run.replace('-', '')}") == "cancelled"


def test_client_that_gives_up_waiting_stops_the_run(client, alice):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(model="slow", messages=HELLO)
    wait_until(lambda: not alice.http("GET", "/api/agents/status").json()["runs"], "the run to be cancelled")


def test_client_that_leaves_may_let_the_run_go_on(client, alice, tmp_path):
    gate = tmp_path / "gate"
    stream = client.chat.completions.create(
        model="gated", stream=True, extra_headers={"Netra-Disconnect": "continue"},
        messages=[{"role": "user", "content": str(gate)}],
    )  # fmt: skip
    run = stream.response.headers["netra-run"]
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    stream.close()
    other = client.chat.completions.create(model="echo", messages=HELLO)  # the server has noticed by then
    assert other.choices[0].finish_reason == "stop"
    gate.touch()
    assert ended(alice, f"resp_{run.replace('-', '')}") == "completed"


def test_failed_run_is_an_error_that_is_not_repeated(client):
    messages = [{"role": "user", "content": "no_prices"}]
    with pytest.raises(openai.APIError, match="The words of the agent"):
        list(client.chat.completions.create(model="failing", messages=messages, stream=True))
    with pytest.raises(openai.InternalServerError) as failed:
        client.with_options(max_retries=2).chat.completions.create(model="failing", messages=messages)
    assert failed.value.code == "no_prices"
    assert failed.value.response.headers["x-should-retry"] == "false"


def test_errors_are_those_that_the_client_knows(site, client, alice):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="echo", messages=HELLO, n=2)
    assert refused.value.param == "n"
    with pytest.raises(openai.AuthenticationError):
        client_of(site, "sk-wrong").models.list()
    with pytest.raises(openai.PermissionDeniedError):
        client_of(site, key_of(alice, scopes=["read"])["key"]).chat.completions.create(model="echo", messages=HELLO)
    with pytest.raises(openai.APIStatusError) as long:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "x" * 5_000_000}])
    assert (long.value.status_code, long.value.code) == (413, "too_large")
    earlier = [{"role": role, "content": "x" * 500_000} for role in ("user", "assistant", "user", "assistant")]
    assert client.chat.completions.create(model="echo", messages=[*earlier, *HELLO]).choices


# ---- Responses ----


def test_client_streams_a_response_and_follows_it(client):
    with client.responses.stream(model="family", input="go") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1], final.status) == ("response.created", "response.completed", "completed")
    second = client.responses.create(model="echo", input="more words", previous_response_id=final.id)
    assert (second.output_text, second.conversation.id) == ("more words ", final.conversation.id)
    assert [item.type for item in second.output] == ["reasoning", "mcp_call", "message"]
    (item,) = client.responses.input_items.list(second.id)
    assert item.content[0].text == "more words"
    conversation = client.conversations.create()
    third = client.responses.create(model="echo", input="hi", conversation=conversation.id)
    assert third.conversation.id == client.conversations.retrieve(conversation.id).id


@pytest.mark.parametrize("kept", [0, 3, 6])
def test_response_is_resumed_after_any_frame(client, kept):
    stream = client.responses.create(model="loud", input="3000", stream=True, background=True)
    first = [next(stream) for _ in range(kept + 1)]
    stream.close()
    id, last = first[0].response.id, first[-1].sequence_number
    rest = list(client.responses.retrieve(id, stream=True, starting_after=last))
    frames = [*first, *rest]
    assert [frame.sequence_number for frame in frames] == list(range(len(frames)))
    said = "".join(frame.delta for frame in frames if frame.type == "response.output_text.delta")
    assert said == client.responses.retrieve(id).output_text == "".join(f"{n} " for n in range(3000))
    with client.responses.stream(response_id=id, starting_after=last) as helper:
        assert [event.type for event in helper][-1] == "response.completed"


def test_response_is_cancelled_from_elsewhere(client):
    stream = client.responses.create(model="slow", input="x", stream=True, background=True)
    frames = [next(stream)]
    while frames[-1].type != "response.output_text.delta":
        frames.append(next(stream))
    assert client.responses.cancel(frames[0].response.id).status == "cancelled"
    frames += stream
    assert (frames[-1].type, frames[-1].response.status) == ("response.incomplete", "cancelled")
    assert frames[-1].response.output_text == "".join(f.delta for f in frames if f.type == "response.output_text.delta")


def test_response_of_another_user_does_not_exist(site, client):
    response = client.responses.create(model="echo", input="mine")
    bob = client_of(site, site.register("bob").access)
    for attempt in (
        lambda: bob.responses.retrieve(response.id),
        lambda: bob.responses.retrieve(response.id, stream=True),
        lambda: bob.responses.cancel(response.id),
        lambda: bob.responses.create(model="echo", input="x", previous_response_id=response.id),
        lambda: bob.conversations.retrieve(response.conversation.id),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_revoked_key_ends_its_streams(site, alice):
    key = key_of(alice)
    stream = client_of(site, key["key"]).responses.create(model="slow", input="x", stream=True, background=True)
    id = next(stream).response.id
    assert alice.http("DELETE", f"/auth/keys/{key['id']}").status_code == 204
    frames = list(stream)  # it ends
    assert all(frame.type != "response.incomplete" for frame in frames)
    assert status_of(alice, id) == "in_progress", "its run goes on"
    alice.http("POST", f"/v1/responses/{id}/cancel")


# ---- Clients that are built on it ----


@pytest.mark.parametrize("model", [OpenAIChatModel, OpenAIResponsesModel])
def test_pydantic_ai_asks_and_goes_on_in_the_same_thread(site, model):
    user = site.register("pydantic")

    async def play():
        key, url = key_of(user)["key"], f"{site.url}/v1"
        async with AsyncOpenAI(api_key=key, base_url=url, timeout=WAIT_TIMEOUT, max_retries=0) as own:
            agent = Agent(model("echo", provider=OpenAIProvider(openai_client=own)), instructions="Be brief.")
            first = await agent.run("hello there")
            async with agent.run_stream("and again", message_history=first.all_messages()) as stream:
                return first.output, "".join([text async for text in stream.stream_text(delta=True)])

    assert asyncio.run(play()) == ("hello there ", "and again ")
    messages = user.http("GET", "/api/messages").json()["messages"]
    assert [message["content"] for message in messages] == ["hello there", "hello there ", "and again", "and again "]
    assert len({message["thread_id"] for message in messages}) == 1


# ---- Faults ----


def gated_response(client, gate):
    """A stream that has said its first words, and its first frames."""
    stream = client.responses.create(model="gated", input=str(gate), stream=True)
    frames = [next(stream)]
    while frames[-1].type != "response.output_text.delta":
        frames.append(next(stream))
    return stream, frames


def resumed(site, user, frames):
    id, last = frames[0].response.id, frames[-1].sequence_number
    rest = list(client_of(site, user.access).responses.retrieve(id, stream=True, starting_after=last))
    numbers = [frame.sequence_number for frame in (*frames, *rest)]
    assert numbers == list(range(len(numbers)))
    return "".join(f.delta for f in (*frames, *rest) if f.type == "response.output_text.delta"), rest[-1].response


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_response_goes_on_after_its_web_process_has_ended(brisk, tmp_path, how):
    user, gate = brisk.register(), tmp_path / "gate"
    stream, frames = gated_response(client_of(brisk, user.access), gate)
    brisk.web.send_signal(how)
    brisk.web.wait()
    with pytest.raises(openai.APIConnectionError):
        frames += stream
    brisk.start_web()
    assert status_of(user, frames[0].response.id) == "in_progress", "a process that stops is no client that leaves"
    gate.touch()
    said, final = resumed(brisk, user, frames)
    assert (said, final.status, final.output_text) == ("before after 1", "completed", "before after 1")


def test_response_goes_on_after_its_worker_was_killed(brisk, tmp_path):
    user, gate = brisk.register(), tmp_path / "gate"
    stream, frames = gated_response(client_of(brisk, user.access), gate)
    for worker in brisk.workers:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
    gate.touch()
    brisk.worker()
    frames += stream
    said = "".join(f.delta for f in frames if f.type == "response.output_text.delta")
    assert (said, frames[-1].response.output_text) == ("before after 2", "before after 2"), "nothing is said twice"


# ---- Native events ----


@contextmanager
def events(site, path, token=None, **headers):
    """The lines of a stream, as they come."""
    named = {"Accept": "text/event-stream", **({"Authorization": f"Bearer {token}"} if token else {}), **headers}
    with httpx.stream("GET", site.url + path, headers=named, timeout=WAIT_TIMEOUT) as answer:
        yield answer, answer.iter_lines()


def data(lines, count):
    """The next events: (id, frame)."""
    found, id = [], None
    for line in lines:
        if line.startswith("id: "):
            id = int(line[4:])
        elif line.startswith("data: "):
            found.append((id, json.loads(line[6:])))
            id = None
            if len(found) == count:
                break
    return found


def test_events_of_a_thread_are_those_of_the_log_and_go_on(site, alice):
    socket = alice.connect()
    first = socket.ask("hello there")
    thread = first["thread_id"]
    socket.answer(first["run_id"])
    log = alice.http("GET", f"/api/threads/{thread}/events").json()["events"]
    path = f"/api/threads/{thread}/events"
    with events(site, path, alice.access) as (answer, lines):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert next(lines) == "retry: 2000"
        assert data(lines, len(log)) == [(event["seq"], event) for event in log]
        second = socket.ask("more", thread_id=thread)
        assert data(lines, 1)[0][1]["run_id"] == second["run_id"]
        alice.http("DELETE", f"/api/threads/{thread}")
        last = [line for line in lines if line.startswith(("event: ", "data: "))][-2:]
        assert last[0] == "event: thread_deleted", "the stream ends"
    with events(site, path, alice.access) as (answer, _):
        assert answer.status_code == 404


def test_events_until_the_end_of_a_run_stop_an_event_source(site, alice):
    socket = alice.connect()
    accepted = socket.ask("hello there")
    path = f"/api/threads/{accepted['thread_id']}/events?until={accepted['run_id']}"
    with events(site, path, alice.access) as (_, lines):
        found = data(lines, 10**6)
    assert found[-1][1]["type"] == "agent_completed"
    middle = found[len(found) // 2][0]
    with events(site, path, alice.access, **{"Last-Event-ID": str(middle)}) as (_, lines):
        assert data(lines, 10**6) == found[len(found) // 2 + 1 :]
    with events(site, path, alice.access, **{"Last-Event-ID": str(found[-1][0])}) as (answer, _):
        assert answer.status_code == 204
    bob = site.register("bob")
    with events(site, path, bob.access) as (answer, _):
        assert answer.status_code == 404


def test_cookie_of_a_stream_is_for_streams_from_this_site_only(site):
    user = site.register("browser")
    socket = user.connect()
    accepted = socket.ask("hello there")
    socket.answer(accepted["run_id"])
    answer = user.http("POST", "/auth/stream")
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 204
    assert {"HttpOnly", "SameSite=Strict", "Path=/api/threads"} <= set(cookie.split("; "))
    given = {"Cookie": cookie.partition(";")[0]}
    path = f"/api/threads/{accepted['thread_id']}/events?until={accepted['run_id']}"
    with events(site, path, **given) as (_, lines):
        assert data(lines, 10**6)[-1][1]["type"] == "agent_completed"
    with events(site, path, **given, Origin="https://evil.example") as (answer, _):
        assert answer.status_code == 403
    for other in (path, "/api/threads"):
        assert httpx.get(site.url + other, headers=given, timeout=WAIT_TIMEOUT).status_code == 401, "no stream"
    with events(site, path.partition("?")[0], **given) as (_, lines):
        data(lines, 1)
        user.http("POST", "/auth/logout", {"refresh_token": user.refresh})
        assert list(lines) is not None, "the stream ends with its session"
    with events(site, path, **given) as (answer, _):
        assert answer.status_code == 401


def test_pages_of_allowed_origins_may_ask_and_read(site):
    def preflight(path, origin):
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-stainless-os,x-other",
        }
        return httpx.options(site.url + path, headers=headers, timeout=WAIT_TIMEOUT)

    answer = preflight("/v1/responses", site.url)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, site.url)
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    own = {"netra-thread", "netra-disconnect", "netra-task", "netra-input", "x-openwebui-chat-id", "idempotency-key"}
    assert {"authorization", "x-stainless-os", *own} <= set(allowed)
    assert "x-other" not in allowed
    assert "access-control-allow-credentials" not in answer.headers
    for path, origin in (("/v1/responses", "https://evil.example"), ("/api/threads", site.url)):
        assert "access-control-allow-origin" not in preflight(path, origin).headers
    refused = httpx.get(f"{site.url}/v1/models", headers={"Origin": site.url}, timeout=WAIT_TIMEOUT)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, site.url)
    assert "netra-run" in refused.headers["access-control-expose-headers"]


def test_paths_are_named_where_clients_look_for_them(site):
    config = httpx.get(f"{site.url}/ws/config", timeout=WAIT_TIMEOUT).json()
    services = httpx.get(f"{site.url}/api/discovery/services", timeout=WAIT_TIMEOUT).json()["services"]
    assert config["dialects"]["openai"] == services["openai"]["url"] == f"{site.url}/v1"
    assert config["dialects"]["events"] == f"{site.url}/api/threads/{{thread_id}}/events"
    paths = httpx.get(f"{site.url}/api/schema", timeout=WAIT_TIMEOUT).json()["paths"]
    assert {"/v1/models", "/v1/chat/completions", "/v1/responses", "/v1/conversations"} <= paths.keys()
    assert "text/event-stream" in paths["/v1/responses"]["post"]["responses"]["200"]["content"]


def test_clients_for_node_ask_stream_resume_and_are_refused(site):
    interop.run(site, "openai.test.mjs")
