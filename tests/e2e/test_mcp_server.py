"""The MCP server, with the stock client of `mcp` in both of its eras."""

import ast
import asyncio
import json
import uuid
from contextlib import asynccontextmanager

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from chat.accounts.api_keys import new_key
from tests.site import WAIT_TIMEOUT, wait_until

ERAS = ["auto", "legacy"]  # 2026-07-28, which cancels by closing, and the versions with a handshake
PERIOD = {"amount": 5, "regions": ["eu"], "plan": "s", "count": 3, "exact": True}


@pytest.fixture
def alice(site):
    return site.register("alice")


@pytest.fixture
def bob(site):
    return site.register("bob")


@pytest.fixture(scope="module")
def anybody(_site):
    """A user for tests to which it does not matter what others have left."""
    return _site.register("anybody")


@asynccontextmanager
async def connected(user, era="auto", credential=None, headers=None, answers=None):
    """Yield a client. `answers` are given to what it is asked, in turn; what it was asked is in `client.asked`."""
    asked = []

    async def answer(context, params):
        asked.append(params)
        return answers[len(asked) - 1]

    given = {"Authorization": f"Bearer {credential or user.access}", **(headers or {})}
    async with httpx2.AsyncClient(headers=given, timeout=WAIT_TIMEOUT) as http:
        transport = streamable_http_client(f"{user.site.url}/mcp", http_client=http)
        async with Client(transport, mode=era, elicitation_callback=answer if answers is not None else None) as client:
            client.asked = asked
            yield client


def call(user, name, arguments, **options):
    """Return the result of one call by a client of its own."""

    async def play():
        async with connected(user, **options) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(play())


def made(user, **fields):
    answer = user.http("POST", "/auth/keys", {"name": "host", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def status_of(user, run_id):
    return user.http("GET", f"/api/runs/{run_id}").json()["status"]


def runs_of(user):
    return user.http("GET", "/api/agents/status").json()["runs"]


def text_of(result):
    return "".join(block.text for block in result.content)


@pytest.mark.parametrize("era", ERAS)
def test_tools_are_the_available_agents_and_the_wait(anybody, era):
    async def play():
        async with connected(anybody, era) as client:
            return client.protocol_version, (await client.list_tools()).tools

    version, tools = asyncio.run(play())
    assert (version == "2026-07-28") == (era == "auto")
    agents = {agent["name"]: agent for agent in anybody.http("GET", "/api/agents").json()["agents"]}
    assert {tool.name for tool in tools} == {name for name in agents if agents[name]["available"]} | {"netra_wait"}
    echo = next(tool for tool in tools if tool.name == "echo")
    assert echo.description == agents["echo"]["description"]
    assert echo.input_schema["required"] == ["message"]
    assert set(echo.input_schema["properties"]) == {"message", "thread_id", "attachment_ids", "wait_seconds"}
    assert echo.input_schema["properties"]["wait_seconds"]["default"] == 50


@pytest.mark.parametrize("era", ERAS)
def test_call_answers_and_goes_on_in_the_same_thread(alice, era):
    async def play():
        async with connected(alice, era) as client:
            first = await client.call_tool("echo", {"message": "one two"})
            thread = first.structured_content["thread_id"]
            return first, await client.call_tool("echo", {"message": "three", "thread_id": thread})

    first, second = asyncio.run(play())
    assert not first.is_error
    assert (text_of(first), first.structured_content["answer"]) == ("one two ", "one two ")
    assert first.structured_content["status"] == "completed"
    thread = first.structured_content["thread_id"]
    assert second.structured_content["thread_id"] == thread
    messages = alice.http("GET", f"/api/threads/{thread}/messages").json()["messages"]
    assert [message["content"] for message in messages] == ["one two", "one two ", "three", "three "]
    assert messages[2]["parent_id"] == messages[1]["id"]


@pytest.mark.parametrize("era", ERAS)
def test_progress_rises_with_thoughts_tools_and_subagents(alice, era, tmp_path):
    seen = []

    async def note(progress, total, message):
        seen.append((progress, message))

    async def play():
        async with connected(alice, era) as client:
            await client.call_tool("family", {"message": "hi"}, progress_callback=note)
            await client.call_tool("tooled", {"message": f"{tmp_path}/notes plainly"}, progress_callback=note)
            return await client.call_tool("structured", {"message": "x"})

    result = asyncio.run(play())
    assert [progress for progress, _ in seen] == [1, 2, 3, 4, 1]
    assert {message for _, message in seen[:4]} == {"left: be left", "right: be right", "I am left", "I am right"}
    assert seen[4][1] == "note"
    assert result.structured_content["result"] == {"answer": 42, "text": "x"}


@pytest.mark.parametrize("era", ERAS)
def test_run_outlasts_the_wait_and_is_waited_for(alice, era, tmp_path):
    gate = tmp_path / "gate"

    async def play():
        async with connected(alice, era) as client:
            started = await client.call_tool("gated", {"message": str(gate), "wait_seconds": 0})
            run_id = started.structured_content["run_id"]
            waited = await client.call_tool("netra_wait", {"run_id": run_id, "wait_seconds": 0.1})
            gate.touch()
            ended = await client.call_tool("netra_wait", {"run_id": run_id})
            return started, waited, ended, await client.call_tool("netra_wait", {"run_id": run_id, "wait_seconds": 0})

    started, waited, ended, again = asyncio.run(play())
    for result in (started, waited):
        assert (result.structured_content["status"], result.is_error) == ("running", False)
        assert "netra_wait" in text_of(result)
        assert started.structured_content["run_id"] in text_of(result)
    for result in (ended, again):
        assert result.structured_content["answer"] == "before after 1"


@pytest.mark.parametrize(
    ("era", "header", "stops"),
    [("auto", None, True), ("legacy", None, False), ("auto", "continue", False), ("legacy", "cancel", True)],
)
def test_client_that_closes_stops_the_run_as_its_version_means_it(alice, tmp_path, era, header, stops):
    gate = tmp_path / "gate"
    run_id = leave(alice, gate, era, header)
    # If it stopped the first run, too, that would be done before the second one is stopped.
    second = run_id if stops else leave(alice, tmp_path / "closed", "auto", None)
    wait_until(lambda: status_of(alice, second) == "cancelled", "the run to be cancelled")
    gate.touch()
    wait_until(lambda: status_of(alice, run_id) == ("cancelled" if stops else "completed"), "the end of the run")


def leave(user, gate, era, header):
    """Close a call once its run is running; the run's id."""

    def started():
        return [run["run_id"] for run in runs_of(user) if run["status"] == "running" and run["run_id"] not in before]

    async def play():
        async with connected(user, era, headers={"Netra-Disconnect": header} if header else {}) as client:
            calling = asyncio.ensure_future(client.call_tool("gated", {"message": str(gate)}))
            await asyncio.to_thread(wait_until, started, "the run")
            calling.cancel()
            await asyncio.wait([calling])
            return started()[0]

    before = {run["run_id"] for run in runs_of(user)}
    return asyncio.run(play())


def events_of(user, thread_id):
    return user.http("GET", f"/api/threads/{thread_id}/events").json()["events"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("failing", {"message": "too_bad"}, "too_bad"),
        ("raising", {"message": "x"}, "internal_error"),
        ("echo", {}, "invalid_message"),
        ("echo", {"message": " "}, "invalid_message"),
        ("echo", {"message": 5}, "invalid_message"),
        ("echo", {"message": "a\x00b"}, "invalid_message"),
        ("echo", {"message": "x", "wait_seconds": 601}, "invalid_message"),
        ("echo", {"message": "x", "thread_id": "mine"}, "invalid_message"),
        ("echo", {"message": "x" * 70_000}, "too_large"),
        ("echo", {"message": "x", "attachment_ids": [str(uuid.uuid4())]}, "not_found"),
        ("netra_wait", {"run_id": str(uuid.uuid4())}, "not_found"),
        ("netra_wait", {}, "invalid_message"),
    ],
)
def test_failed_runs_and_wrong_arguments_are_errors_of_the_tool(anybody, era, name, arguments, code):
    result = call(anybody, name, arguments, era=era)
    assert (result.is_error, result.structured_content["error_code"]) == (True, code)
    assert text_of(result) == result.structured_content["message"]
    assert "secret" not in text_of(result)


@pytest.mark.parametrize("era", ERAS)
def test_unknown_tool_is_an_error_of_the_protocol(anybody, era):
    async def play():
        async with connected(anybody, era) as client:
            with pytest.raises(MCPError) as refused:
                await client.call_tool("nobody", {"message": "x"})
            return refused.value.error.code

    assert asyncio.run(play()) == -32602


# ---- Requests to persons ----------------------------------------------------------------------------------


def test_form_is_put_to_the_clients_user_and_its_values_reach_the_agent(alice):
    async def play():
        async with connected(alice, answers=[ElicitResult(action="accept", content=PERIOD)]) as client:
            result = await client.call_tool("curious", {"message": "form"})
            return client.asked, result

    (asked,), result = asyncio.run(play())
    assert asked.message == "Which period do you mean?"
    properties = asked.requested_schema["properties"]
    assert properties["regions"]["items"] == {"type": "string", "enum": ["eu", "us"]}
    assert asked.requested_schema["required"] == ["amount", "month", "regions"]
    expected = {**PERIOD, "month": "2026-11-01"}
    assert result.structured_content["status"] == "completed"
    shown = result.structured_content["answer"].removeprefix("Before. Result: ")
    assert ast.literal_eval(shown) == expected


@pytest.mark.parametrize(
    ("message", "action", "end"),
    [
        ("approval", "accept", "Result: Plan\u202e went to bob@example.org"),
        ("approval", "decline", "Result: declined, "),
        ("form", "decline", "Result: declined, "),
        ("link", "accept", "Result: None"),
    ],
)
def test_request_is_decided_by_the_clients_user(alice, message, action, end):
    async def play():
        async with connected(alice, answers=[ElicitResult(action=action)]) as client:
            return client.asked, await client.call_tool("curious", {"message": message})

    (asked,), result = asyncio.run(play())
    assert result.structured_content["answer"] == f"Before. {end}"
    if message == "approval":
        assert all(part in asked.message for part in ("Send", '"to": "bob@example.org"', '"tags"'))
    if message == "link":
        assert (asked.mode, asked.url) == ("url", "https://example.org/sign-in?state=1")
    (event,) = (e for e in events_of(alice, result.structured_content["thread_id"]) if e["type"] == "input_resolved")
    assert (event["via"], event["resolved_by"]["user_id"]) == ("mcp", str(alice.id))


def test_two_requests_in_turn_are_put_to_the_clients_user(alice, tmp_path):
    notes = tmp_path / "notes"
    answers = [ElicitResult(action="accept", content={"value": "second"}), ElicitResult(action="accept")]
    result = call(alice, "asking", {"message": str(notes)}, answers=answers)
    assert result.structured_content["answer"] == "before between after 2"
    assert notes.read_text() == "first\nsecond\n"


def test_wrong_values_are_refused_and_asked_for_again(alice):
    wrong = ElicitResult(action="accept", content={**PERIOD, "amount": 0})
    refused = call(alice, "curious", {"message": "form"}, answers=[wrong])
    assert (refused.is_error, refused.structured_content["error_code"]) == (True, "invalid_message")
    assert refused.structured_content["field"] == "content.amount"
    run_id = refused.structured_content["run_id"]
    assert status_of(alice, run_id) == "waiting"
    right = ElicitResult(action="accept", content=PERIOD)
    assert not call(alice, "netra_wait", {"run_id": run_id}, answers=[right]).is_error
    assert status_of(alice, run_id) == "completed"


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("form", {"era": "legacy", "answers": []}),  # its answer would find no session
        ("form", {}),  # a client that cannot ask
        ("form", {"answers": [ElicitResult(action="cancel")]}),  # dismissed: neither accepted nor declined
    ],
)
def test_request_that_the_client_does_not_answer_is_answered_in_netra(alice, message, options):
    result = call(alice, "curious", {"message": message}, **options)
    found = result.structured_content
    assert (found["status"], result.is_error) == ("waiting", False)
    assert found["link"] == f"{alice.site.url}/c/{found['thread_id']}"
    assert found["link"] in text_of(result)
    (asked,) = found["inputs"]

    async def play():
        async with connected(alice, "legacy") as client:
            late = await client.call_tool("netra_wait", {"run_id": found["run_id"], "wait_seconds": 0})
            waiting = asyncio.ensure_future(client.call_tool("netra_wait", {"run_id": found["run_id"]}))
            body = {"action": "accept", "content": PERIOD}
            answer = await asyncio.to_thread(alice.http, "POST", f"/api/inputs/{asked}/answer", body)
            return late, answer.status_code, await waiting

    late, status, ended = asyncio.run(play())
    assert (late.structured_content["status"], status) == ("waiting", 200)
    assert ended.structured_content["status"] == "completed"


def test_request_for_somebody_else_is_not_put_to_the_clients_user(anybody):
    result = call(anybody, "refunding", {"message": "x"}, answers=[])
    # Nobody is in the group: the request is declined at once.
    assert result.structured_content["error_code"] == "input_declined"


# ---- Two users, and credentials ---------------------------------------------------------------------------


def headers_of(body, era):
    version = {"auto": "2026-07-28", "legacy": "2025-11-25"}[era]
    known = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": body["method"],
    }
    if name := body.get("params", {}).get("name"):
        known["Mcp-Name"] = name
    return known


def post(site, body, era="auto", **headers):
    known = headers_of(body, era)
    return httpx.post(f"{site.url}/mcp", json=body, headers={**known, **headers}, timeout=WAIT_TIMEOUT)


def request(method, **params):
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}


def test_runs_threads_and_states_of_another_user_do_not_exist(alice, bob):
    mine = call(alice, "curious", {"message": "approval", "wait_seconds": 0}).structured_content
    wait_until(lambda: status_of(alice, mine["run_id"]) == "waiting", "the request")
    foreign = [
        ("netra_wait", {"run_id": mine["run_id"]}),
        ("echo", {"message": "x", "thread_id": mine["thread_id"]}),
    ]
    for name, arguments in foreign:
        result = call(bob, name, arguments)
        assert (result.is_error, result.structured_content["error_code"]) == (True, "not_found")

    asks = request("tools/call", name="netra_wait", arguments={"run_id": mine["run_id"]})
    asked = post(alice.site, asks, Authorization=f"Bearer {alice.access}").json()["result"]
    (request_id,) = asked["inputRequests"]
    assert asked["resultType"] == "input_required"
    assert mine["run_id"] not in asked["requestState"]
    again = {"requestState": asked["requestState"], "inputResponses": {request_id: {"action": "accept"}}}
    stolen = {**asks, "params": {**asks["params"], **again}}
    refused = post(bob.site, stolen, Authorization=f"Bearer {bob.access}")
    assert refused.json()["error"]["code"] == -32602
    changed = {**stolen["params"], "requestState": asked["requestState"][:-2] + "AA"}
    refused = post(alice.site, {**asks, "params": changed}, Authorization=f"Bearer {alice.access}")
    assert refused.json()["error"]["code"] == -32602
    assert status_of(alice, mine["run_id"]) == "waiting"
    answered = post(alice.site, stolen, Authorization=f"Bearer {alice.access}").json()["result"]
    assert answered["structuredContent"]["status"] == "completed"


def test_bad_credentials_get_one_answer(anybody):
    revoked, expiring = made(anybody), made(anybody, expires_in=1)
    anybody.http("DELETE", f"/auth/keys/{revoked['id']}")
    listing = request("tools/list")
    wait_until(
        lambda: post(anybody.site, listing, Authorization=f"Bearer {expiring['key']}").status_code == 401, "its end"
    )
    bad = [None, "Basic x", "Bearer a.b.c", "Bearer netra_nonsense"]
    bad += [f"Bearer {key}" for key in (new_key(), revoked["key"], expiring["key"])]
    answers = [post(anybody.site, listing, era, **auth(value)) for value in bad for era in ERAS]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.text for answer in answers}) == 1


def auth(value):
    return {} if value is None else {"Authorization": value}


@pytest.mark.parametrize("era", ERAS)
def test_read_only_key_lists_and_waits_but_starts_and_decides_nothing(alice, era):
    key = made(alice, scopes=["read"])["key"]
    run = call(alice, "curious", {"message": "form", "wait_seconds": 0}).structured_content
    wait_until(lambda: status_of(alice, run["run_id"]) == "waiting", "the request")

    async def play():
        async with connected(alice, era, key, answers=[ElicitResult(action="accept", content=PERIOD)]) as client:
            tools = (await client.list_tools()).tools
            refused = await client.call_tool("echo", {"message": "x"})
            return tools, refused, await client.call_tool("netra_wait", {"run_id": run["run_id"], "wait_seconds": 0})

    tools, refused, waited = asyncio.run(play())
    assert "echo" in {tool.name for tool in tools}
    assert (refused.is_error, refused.structured_content["error_code"]) == (True, "forbidden")
    assert len(alice.http("GET", "/api/threads").json()["threads"]) == 1
    if era == "auto":
        assert waited.structured_content["error_code"] == "forbidden"
    else:
        assert waited.structured_content["status"] == "waiting"
    assert status_of(alice, run["run_id"]) == "waiting"


def test_other_agents_do_not_exist_for_a_key(alice):
    key = made(alice, agents=["echo"])["key"]
    run = call(alice, "structured", {"message": "x"}).structured_content

    async def play():
        async with connected(alice, credential=key) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            waited = await client.call_tool("netra_wait", {"run_id": run["run_id"]})
            with pytest.raises(MCPError):
                await client.call_tool("structured", {"message": "x"})
            return names, waited

    names, waited = asyncio.run(play())
    assert names == ["echo", "netra_wait"]
    assert waited.structured_content["error_code"] == "not_found"


def test_revoked_key_ends_a_call_and_the_run_goes_on(alice, tmp_path):
    key, gate = made(alice), tmp_path / "gate"

    async def play():
        async with connected(alice, credential=key["key"]) as client:
            calling = asyncio.ensure_future(client.call_tool("gated", {"message": str(gate)}))
            await asyncio.to_thread(wait_until, lambda: [run["status"] for run in runs_of(alice)] == ["running"], "run")
            await asyncio.to_thread(alice.http, "DELETE", f"/auth/keys/{key['id']}")
            return await calling

    result = asyncio.run(play())
    assert (result.is_error, result.structured_content["error_code"]) == (True, "unauthorized")
    gate.touch()
    wait_until(lambda: status_of(alice, result.structured_content["run_id"]) == "completed", "the end of the run")


# ---- HTTP ---------------------------------------------------------------------------------------------------


def test_only_posts_to_this_host_and_origin_are_answered(anybody):
    url, signed_in = f"{anybody.site.url}/mcp", {"Authorization": f"Bearer {anybody.access}"}
    for method in ("GET", "DELETE", "PUT"):
        answer = httpx.request(method, url, headers=signed_in, timeout=WAIT_TIMEOUT)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.headers.get_list("cache-control") == ["no-cache"]
    for foreign in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = post(anybody.site, request("tools/list"), **signed_in, **foreign)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert post(anybody.site, request("tools/list"), **signed_in, Origin=anybody.site.url).status_code == 200


def test_stream_begins_with_the_ids_of_its_run_while_the_run_goes_on(alice, tmp_path):
    gate = tmp_path / "gate"
    asks = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    asks["params"] = {"name": "gated", "arguments": {"message": str(gate)}}
    headers = {"Authorization": f"Bearer {alice.access}", **headers_of(asks, "legacy")}
    with httpx.stream("POST", f"{alice.site.url}/mcp", json=asks, headers=headers, timeout=WAIT_TIMEOUT) as answer:
        run_id, thread_id = answer.headers["netra-run"], answer.headers["netra-thread"]
        assert status_of(alice, run_id) in ("queued", "running")
        gate.touch()
        text = "".join(answer.iter_text())
    assert f'"run_id":"{run_id}","thread_id":"{thread_id}"' in text


def test_repeated_idempotency_key_is_the_same_run(alice):
    headers = {"Authorization": f"Bearer {alice.access}", "Idempotency-Key": "once"}
    call_echo = request("tools/call", name="echo", arguments={"message": "one"})
    answers = [post(alice.site, call_echo, **headers) for _ in range(2)]
    first, second = (answer.json()["result"]["structuredContent"] for answer in answers)
    assert first == second
    assert answers[0].headers["netra-run"] == first["run_id"]
    assert answers[0].headers["cache-control"] == "no-cache"
    other = request("tools/call", name="echo", arguments={"message": "two"})
    assert post(alice.site, other, **headers).json()["result"]["structuredContent"]["error_code"] == "conflict"


def test_notification_names_no_run_and_has_no_effect(anybody):
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    for era in ERAS:
        answer = post(anybody.site, note, era, Authorization=f"Bearer {anybody.access}")
        assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"jsonrpc":"2.0"}', b"\xff", json.dumps([1] * 10).encode()])
@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25", "1999-01-01"])
def test_malformed_body_is_refused(anybody, body, version):
    headers = {
        "Authorization": f"Bearer {anybody.access}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": version,
    }
    answer = httpx.post(f"{anybody.site.url}/mcp", content=body, headers=headers, timeout=WAIT_TIMEOUT)
    assert answer.status_code == 400
    assert "error" in answer.json()
