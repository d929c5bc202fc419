"""OpenAI's interface: what is asked where, what is refused, and whose it is."""

import base64
import json
import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.test import APIClient

from chat import runs
from chat.accounts import api_keys
from chat.models import Attachment, InputRequest, Message, Run, Thread
from chat.runs import retention
from tests.factories import USAGE, claim_one, client, completed, message, upload, waiting

pytestmark = pytest.mark.django_db  # with a transaction where a key is used: that is noted in another thread
ASK = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def post(caller, path, body, **headers):
    named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return caller.post(f"/v1/{path}", body, format="json", **named)


def ask(caller, *contents, before=(), **given):
    """Ask by chat completion without reading the answer; its run. `contents` alternate between user and assistant."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    headers = {name: given.pop(name) for name in list(given) if name.startswith(("netra_", "idempotency_", "x_"))}
    answer = post(caller, "chat/completions", {**ASK, "messages": [*before, *messages], **given}, **headers)
    assert answer.status_code == 200, answer.content
    return Run.objects.select_related("message__thread").get(pk=answer["Netra-Run"])


def respond(caller, text="hello", status=200, **given):
    """Ask by a response in the background; its object."""
    headers = {name: given.pop(name) for name in list(given) if name.startswith("netra_")}
    answer = post(caller, "responses", {"model": "echo", "input": text, "background": True, **given}, **headers)
    assert answer.status_code == status, answer.content
    return answer.json()


def answered(text="done"):
    """Let the next run end with this answer; its row."""
    run = claim_one()
    runs.record([completed(run, text)])
    return Run.objects.get(pk=run.run_id)


def error_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def keyed(user, **given):
    options = {"scopes": ["read", "write"], "agents": [], "lifetime": None, **given}
    return api_keys.make(user, "k", options["scopes"], options["agents"], options["lifetime"], None)


def with_key(key):
    found = client_without_credentials()
    found.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return found


def client_without_credentials():
    return APIClient()


def paths(run, thread):
    resp, conv = f"resp_{run.hex}", f"conv_{thread.hex}"
    return [
        ("get", "models"), ("get", "models/echo"), ("post", "chat/completions"), ("post", "responses"),
        ("get", f"responses/{resp}"), ("get", f"responses/{resp}?stream=true"), ("post", f"responses/{resp}/cancel"),
        ("get", f"responses/{resp}/input_items"), ("post", "conversations"), ("get", f"conversations/{conv}"),
    ]  # fmt: skip


# ---- Who ----


def test_every_path_refuses_a_bad_credential_in_the_shape_of_openai(alice, settings):
    run = runs.start(alice.id, message())
    row, expired = keyed(alice, lifetime=timedelta(seconds=60))
    row.expires_at = timezone.now() - timedelta(seconds=1)
    row.save()
    for method, path in paths(run.run_id, run.thread_id):
        for credential in (None, "netra_wrong", expired, "no.jwt.atall"):
            caller = client_without_credentials() if credential is None else with_key(credential)
            answer = (
                getattr(caller, method)(f"/v1/{path}", {}, format="json")
                if method == "post"
                else caller.get(f"/v1/{path}")
            )
            assert error_of(answer) == (401, "invalid_api_key"), path
            assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.django_db(transaction=True)
def test_read_only_key_reads_and_starts_nothing(alice):
    started = runs.start(alice.id, message())
    reader = with_key(keyed(alice, scopes=["read"])[1])
    for method, path in paths(started.run_id, started.thread_id):
        body = ASK if "chat" in path else {"model": "echo", "input": "x"} if path == "responses" else {}
        if method == "post":
            assert error_of(post(reader, path, body)) == (403, "insufficient_scope"), path
        elif path != "models/echo":
            assert reader.get(f"/v1/{path}").status_code == 200, path
    assert Run.objects.get().status == Run.QUEUED


@pytest.mark.django_db(transaction=True)
def test_reader_with_a_read_only_key_cannot_stop_a_run_by_leaving(alice):
    started = runs.start(alice.id, message())
    reader = with_key(keyed(alice, scopes=["read"])[1])
    for path in (f"/api/threads/{started.thread_id}/events?until={started.run_id}",):
        answer = reader.get(path, HTTP_ACCEPT="text/event-stream", HTTP_NETRA_DISCONNECT="cancel")
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.django_db(transaction=True)
def test_agents_that_a_key_does_not_name_do_not_exist_for_it(alice):
    new_worker_of("echo", "advisor")
    caller = with_key(keyed(alice, agents=["advisor"])[1])
    assert [model["id"] for model in caller.get("/v1/models").json()["data"]] == ["advisor"]
    assert error_of(caller.get("/v1/models/echo")) == (404, "model_not_found")
    assert error_of(post(caller, "chat/completions", ASK)) == (404, "model_not_found")
    assert error_of(post(caller, "responses", {"model": "echo", "input": "x"})) == (404, "model_not_found")


@pytest.mark.django_db(transaction=True)
def test_runs_of_agents_that_a_key_does_not_name_do_not_exist_for_it(alice):
    run = ask(client(alice), "hello")
    caller = with_key(keyed(alice, agents=["advisor"])[1])
    for method, path in paths(run.pk, run.thread_id):
        if "resp_" in path:
            answer = post(caller, path, {}) if method == "post" else caller.get(f"/v1/{path}")
            assert error_of(answer) == (404, "not_found"), path
    previous = {"model": "advisor", "input": "more", "previous_response_id": f"resp_{run.pk.hex}"}
    assert error_of(post(caller, "responses", previous)) == (404, "not_found")
    assert caller.get(f"/api/runs/{run.pk}").status_code == 404
    assert caller.post(f"/api/runs/{run.pk}/cancel").status_code == 404
    assert caller.get(f"/api/chat/{run.thread_id}/stream").status_code == 204
    body = {"threadId": str(run.thread_id), "runId": "r1", "forwardedProps": {"netra": {"attach": True}}}
    assert caller.post("/agui/advisor", body, format="json").status_code == 404
    stop = {"threadId": str(run.thread_id), "runId": str(run.pk)}
    assert caller.post("/agui/advisor/stop", stop, format="json").status_code == 404
    assert Run.objects.get().status == Run.QUEUED
    named = with_key(keyed(alice, agents=["echo"])[1])
    assert named.get(f"/v1/responses/resp_{run.pk.hex}").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_key_stops_and_follows_no_run_of_an_agent_that_it_does_not_name_in_its_thread(alice):
    run = ask(client(alice), "hello")
    caller, thread = with_key(keyed(alice, agents=["advisor"])[1]), str(run.thread_id)
    stops = [
        caller.post(f"/api/chat/{thread}/stop"),
        caller.post("/agui/advisor/stop", {"threadId": thread}, format="json"),
    ]
    assert [(answer.status_code, answer.json()) for answer in stops] == [(202, {"run_ids": []})] * 2
    events = caller.get(f"/api/threads/{thread}/events?until={run.pk}", HTTP_ACCEPT="text/event-stream")
    assert (events.status_code, events.json()["field"]) == (404, "until")
    assert Run.objects.get().status == Run.QUEUED
    named = with_key(keyed(alice, agents=["echo"])[1])
    assert named.post(f"/api/chat/{thread}/stop").json() == {"run_ids": [str(run.pk)]}


def ai_sdk(caller, **fields):
    """Ask the user's chat as an AI SDK client."""
    messages = [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}]
    return caller.post("/api/chat", {"id": "c", "messages": messages, **fields}, format="json")


def ag_ui(caller, agent, **fields):
    """Run an agent as an AG-UI client."""
    body = {"threadId": "t", "runId": "r1", "messages": [{"id": "m1", "role": "user", "content": "hello"}]}
    return caller.post(f"/agui/{agent}", {**body, **fields}, format="json")


def of_other_dialects(thread):
    """Requests (method, path, body, headers) of AI SDK, AG-UI and for events, with what a read-only key gets."""
    sent = [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}]
    chat = {"id": thread, "messages": sent, "agent": "echo"}
    run = {"threadId": thread, "runId": "r1", "messages": [{"id": "m1", "role": "user", "content": "hello"}]}
    attach = {**run, "runId": "joins", "forwardedProps": {"netra": {"attach": True}}}
    resume = {**run, "resume": [{"interruptId": str(uuid.uuid4()), "status": "cancelled"}]}
    events = f"/api/threads/{thread}/events"
    return [
        ("post", "/api/chat", chat, {}, 403),
        ("post", f"/api/chat/{thread}/stop", {}, {}, 403),
        ("get", f"/api/chat/{thread}/stream", None, {}, 200),
        ("get", f"/api/chat/{thread}/messages", None, {}, 200),
        ("post", "/agui/echo", run, {}, 403),
        ("post", "/agui/echo", resume, {}, 403),
        ("post", "/agui/echo", attach, {}, 200),
        ("post", "/agui/echo/stop", {"threadId": thread}, {}, 403),
        ("get", events, None, {}, 200),
        ("get", events, None, {"HTTP_ACCEPT": "text/event-stream"}, 200),
    ]


def answer_to(caller, method, path, body, headers):
    return getattr(caller, method)(path, body, format="json", **headers)


@pytest.mark.django_db(transaction=True)
def test_other_dialects_refuse_a_bad_credential_and_write_nothing(alice):
    started = runs.start(alice.id, message())
    row, expired = keyed(alice, lifetime=timedelta(seconds=60))
    row.expires_at = timezone.now() - timedelta(seconds=1)
    row.save()
    for method, path, body, headers, _ in of_other_dialects(str(started.thread_id)):
        for credential in (None, "netra_wrong", expired, "no.jwt.atall"):
            caller = client_without_credentials() if credential is None else with_key(credential)
            answer = answer_to(caller, method, path, body, headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized"), (path, credential)
            assert answer["WWW-Authenticate"] == "Bearer", (path, credential)
    assert [run.status for run in Run.objects.all()] == [Run.QUEUED]
    assert (Message.objects.count(), Thread.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_read_only_key_reads_in_other_dialects_and_writes_nothing(alice):
    started = runs.start(alice.id, message())
    reader = with_key(keyed(alice, scopes=["read"])[1])
    for thread in (str(started.thread_id), "new"):
        for method, path, body, headers, status in of_other_dialects(thread):
            if status == 403:
                answer = answer_to(reader, method, path, body, headers)
                assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), path
    for method, path, body, headers, status in of_other_dialects(str(started.thread_id)):
        if status == 200:
            assert answer_to(reader, method, path, body, headers).status_code == 200, path
    assert [run.status for run in Run.objects.all()] == [Run.QUEUED]
    assert (Message.objects.count(), Thread.objects.count()) == (1, 1)


def rest(caller, **fields):
    return caller.post("/api/messages", {"content": "hello", "client_msg_id": "rest", **fields}, format="json")


@pytest.mark.django_db(transaction=True)
def test_repeated_request_does_not_show_a_run_of_an_agent_that_the_key_does_not_name(alice):
    caller = with_key(keyed(alice, agents=["advisor"])[1])
    assert ai_sdk(client(alice), agent="echo").status_code == 200
    assert ag_ui(client(alice), "echo").status_code == 200
    ask(client(alice), "again", idempotency_key="k")
    assert rest(client(alice), agent="echo").status_code == 202
    refused = [ai_sdk(caller, agent="echo"), ai_sdk(caller), ag_ui(caller, "advisor"), rest(caller)]
    assert [(answer.status_code, answer.json()["error"]) for answer in refused] == [(422, "unknown_agent")] * 4
    body = {**ASK, "messages": [{"role": "user", "content": "again"}]}
    for model in ("echo", "advisor"):
        answer = post(caller, "chat/completions", {**body, "model": model}, idempotency_key="k")
        assert error_of(answer) == (404, "model_not_found")
    assert Run.objects.count() == 4
    named = with_key(keyed(alice, agents=["echo"])[1])
    assert ai_sdk(named, agent="echo").status_code == ag_ui(named, "echo").status_code == 200
    assert Run.objects.count() == 4, "of its own agent a key is shown the run"


def new_worker_of(*names):
    offers = {name: {"description": f"The {name}", "available": True, "reason": ""} for name in names}
    runs.register(uuid.uuid4(), "host", 1, offers)


def test_models_are_the_available_agents(alice):
    new_worker_of("echo")
    (model,) = client(alice).get("/v1/models").json()["data"]
    assert model == {
        "id": "echo", "object": "model", "created": 0, "owned_by": "netra", "description": "The echo",
    }  # fmt: skip
    assert client(alice).get("/v1/models/echo").json() == model
    assert error_of(client(alice).get("/v1/models/advisor")) == (404, "model_not_found")


def test_what_is_another_users_does_not_exist(alice, bob):
    run = ask(client(bob), "hello")
    answered("hi")
    thread, mallory = run.thread_id, client(alice)
    for method, path in paths(run.pk, thread):
        if "resp_" in path or "conv_" in path:
            answer = post(mallory, path, {}) if method == "post" else mallory.get(f"/v1/{path}")
            assert error_of(answer) == (404, "not_found"), path
    resp, conv = f"resp_{run.pk.hex}", f"conv_{thread.hex}"
    assert respond(mallory, status=404, previous_response_id=resp)["error"]["param"] == "previous_response_id"
    assert respond(mallory, status=404, conversation=conv)["error"]["param"] == "conversation"
    assert error_of(post(mallory, "chat/completions", ASK, netra_thread=str(thread))) == (404, "not_found")
    named = {**ASK, "metadata": {"thread_id": str(thread)}}
    assert error_of(post(mallory, "chat/completions", named)) == (404, "not_found")
    same_history = ask(mallory, "hello", "hi", "more")
    assert same_history.thread_id != thread, "a history is looked for among one's own threads"
    file = Attachment.objects.create(user=bob, name="a.csv", size=1)
    part = {"role": "user", "content": [{"type": "input_file", "file_id": str(file.pk)}]}
    assert respond(mallory, [part, {"role": "user", "content": "x"}])  # of an earlier message: not taken
    part["content"].append({"type": "input_text", "text": "x"})
    assert respond(mallory, [part], status=404)["error"]["code"] == "not_found"
    assert Thread.objects.filter(user=bob).count() == 1


# ---- What is refused ----


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"model": 5}, "model"),
        ({"metadata": {"thread_id": 5}}, "metadata"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    ],
)
def test_completion_that_would_lie_is_refused(alice, given, param):
    answer = post(client(alice), "chat/completions", {**ASK, **given})
    assert error_of(answer) == (400, "invalid_message")
    assert answer.json()["error"]["param"] == param
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"conversation": "conv_" + "0" * 32, "previous_response_id": "resp_" + "0" * 32}, "previous_response_id"),
        ({"input": [{"type": "input_image", "image_url": "https://example.org/a.png"}]}, "input"),
        ({"input": [{"type": "message", "role": "assistant", "content": "x"}]}, "input"),
        ({"input": [{"type": "computer_call_output"}]}, "input"),
        ({"input": []}, "input"),
        ({"input": "  "}, "input"),
        ({"input": 5}, "input"),
    ],
)
def test_response_that_would_lie_is_refused(alice, given, param):
    found = post(client(alice), "responses", {"model": "echo", "input": "x", **given}).json()
    assert found["error"]["code"] == "invalid_message"
    assert found["error"]["param"].startswith(param)


def test_completion_ignores_what_agents_choose_for_themselves(alice):
    chosen = {
        "temperature": 0.7,
        "max_tokens": 5,
        "stop": ["x"],
        "seed": 1,
        "user": "u",
        "tools": [{"type": "function"}],
    }
    chosen |= {"tool_choice": "auto", "service_tier": "auto", "logit_bias": {"1": 1}, "parallel_tool_calls": False}
    assert ask(client(alice), "hello", **chosen).agent == "echo"


@pytest.mark.parametrize("model", ["gpt-4o", "meta-llama/Llama-3.3-70B-Instruct", f"hf.co/{'x' * 100}"])
def test_model_of_another_provider_is_not_found(alice, model):
    for answer in (
        post(client(alice), "chat/completions", {**ASK, "model": model}),
        post(client(alice), "responses", {"model": model, "input": "x"}),
        client(alice).get(f"/v1/models/{model}"),
    ):
        assert error_of(answer) == (404, "model_not_found")
        assert answer.json()["error"]["param"] == "model"


def test_unknown_paths_and_methods_have_the_shape_of_openai(alice):
    caller = client(alice)
    for answer in (
        caller.get("/v1"),
        caller.get("/v1/embeddings"),
        caller.delete("/v1/models"),
        post(caller, "files/x/y", {}),
    ):
        assert error_of(answer) == (404, "not_found")
    answer = caller.post("/v1/chat/completions", "{", content_type="application/json")
    assert error_of(answer) == (400, "invalid_json")
    assert error_of(post(caller, "responses", {"model": "echo", "input": "x" * 65_537})) == (413, "too_large")


# ---- Which thread ----


def test_completion_that_continues_a_conversation_joins_its_thread(alice):
    caller = client(alice)
    first = ask(caller, "What is  up?")
    assert first.message.thread.hidden
    answered("The sky. ")
    assert caller.get("/api/threads").json()["total_count"] == 0
    second = ask(caller, "What is up?", "The sky.", "And down?")
    assert second.thread_id == first.thread_id
    assert second.message.parent == Message.objects.get(role="assistant")
    assert not Thread.objects.get().hidden
    assert caller.get("/api/threads").json()["total_count"] == 1
    third = ask(caller, "What is up?", "The sea.", "And down?")
    assert third.thread_id != first.thread_id, "another history is another conversation"
    assert third.message.context == [["user", "What is up?"], ["assistant", "The sea."]]


def test_conversation_begun_elsewhere_is_found_at_its_next_turn(alice):
    caller = client(alice)
    first = ask(caller, "one", "of another model", "two")
    assert first.message.context == [["user", "one"], ["assistant", "of another model"]]
    assert [m["content"] for m in caller.get(f"/api/threads/{first.thread_id}/messages").json()["messages"]] == ["two"]
    answered("four")
    assert ask(caller, "one", "of another model", "two", "four", "five").thread_id == first.thread_id


def test_conversation_that_a_person_copied_is_continued_in_the_copy(alice):
    caller = client(alice)
    first = ask(caller, "one", netra_thread="7")
    answered("two")
    copy = caller.post(f"/api/threads/{first.thread_id}/copy", {}, format="json").json()
    assert str(ask(caller, "one", "two", "three").thread_id) == copy["id"], "the newest message counts"
    assert ask(caller, "one", "two", "three", netra_thread="7").thread_id == first.thread_id


def test_same_message_again_is_answered_again(alice):
    caller = client(alice)
    first = ask(caller, "one")
    answered("two")
    second = ask(caller, "one", "two", "three")
    again = ask(caller, "one", "two", "three")
    assert (again.message_id, again.pk == second.pk) == (second.message_id, False)
    assert ask(caller, "one").thread_id != first.thread_id, "a first message always begins a conversation"


def test_same_files_again_are_the_same_message(alice, media_folder):
    def asked(*contents):
        files = [
            {"type": "file", "file": {"filename": "a.csv", "file_data": base64.b64encode(content).decode()}}
            for content in contents
        ]
        return ask(client(alice), [*files, {"type": "text", "text": "What do I pay?"}], netra_thread="t").message_id

    first = asked(USAGE, b"a,b\n1,2\n")
    assert asked(USAGE, b"a,b\n1,2\n") == first
    assert Attachment.objects.count() == 2, "nothing is stored twice"
    assert asked(USAGE, b"a,b\n1,3\n") != first
    assert asked(USAGE) != first
    assert asked() != first


def test_instructions_are_context_and_no_turn(alice):
    caller = client(alice)
    system = {"role": "system", "content": "Be brief."}
    first = ask(caller, "one", before=[system])
    assert first.message.context == [["system", "Be brief."]]
    answered("two")
    assert ask(caller, "one", "two", "three").thread_id == first.thread_id


@pytest.mark.parametrize("name", ["netra_thread", "x_openwebui_chat_id", "metadata"])
def test_named_thread_is_the_users_own_in_every_dialect(alice, bob, name):
    def named(user, *contents):
        given = {"metadata": {"thread_id": "chat 7"}} if name == "metadata" else {name: "chat 7"}
        return ask(client(user), *contents, **given)

    first = named(alice, "hello")
    assert not first.message.thread.hidden
    answered("hi")
    assert named(alice, "hello", "hi", "more").thread_id == first.thread_id
    assert named(alice, "elsewhere", "said", "more").message.parent is None, "what matches nothing begins at the root"
    assert named(alice, "hello").message_id == first.message_id, "the same first message is asked again"
    assert named(bob, "hello").thread_id != first.thread_id


@pytest.mark.parametrize("name", ["Übung 7 – 日本", "chat 7", "Z\xfcrich"])
def test_name_of_a_thread_is_the_same_in_a_header_and_in_the_body(alice, name):
    caller = client(alice)
    first = ask(caller, "hello", metadata={"thread_id": name})
    sent = name.encode("latin-1" if name == "Z\xfcrich" else "utf-8").decode("latin-1")  # as a server decodes headers
    for header in ("netra_thread", "x_openwebui_chat_id"):
        assert ask(caller, "hello", **{header: sent}).thread_id == first.thread_id
    assert respond(caller, "more", netra_thread=sent)["conversation"] == {"id": f"conv_{first.thread_id.hex}"}


def test_task_has_a_hidden_thread_of_its_own(alice):
    caller = client(alice)
    first = ask(caller, "hello", netra_thread="7")
    answered("hi")
    task = ask(caller, "hello", "hi", "Title?", netra_thread="7", netra_task="title_generation")
    assert task.thread_id != first.thread_id
    assert task.message.thread.hidden
    assert caller.get("/api/threads").json()["total_count"] == 1


@pytest.mark.django_db(transaction=True)
def test_hidden_thread_is_shown_once_a_person_opens_it(alice):
    thread = ask(client(alice), "hello").thread_id
    assert with_key(keyed(alice)[1]).get(f"/api/threads/{thread}").status_code == 200
    assert Thread.objects.get().hidden, "a program is no person"
    assert client(alice).get("/api/messages").json()["total_count"] == 0
    assert client(alice).get(f"/api/threads/{thread}").status_code == 200
    assert client(alice).get("/api/threads").json()["total_count"] == 1


def test_hidden_threads_are_deleted_after_a_week(alice):
    old, active = ask(client(alice), "old"), ask(client(alice), "active")
    named = ask(client(alice), "named", netra_thread="7")
    runs.cancel(alice.id, old.pk)
    runs.cancel(alice.id, named.pk)
    Thread.objects.update(updated_at=Now() - timedelta(days=6))
    assert retention.drop_hidden() == 0
    Thread.objects.update(updated_at=Now() - timedelta(days=8))
    assert retention.drop_hidden() == 1
    kept = Thread.objects.filter(deleted_at=None).values_list("pk", flat=True)
    assert set(kept) == {active.thread_id, named.thread_id}


def test_key_that_is_sent_again_gives_the_same_run(alice):
    caller = client(alice)
    first = ask(caller, "hello", idempotency_key="k")
    assert ask(caller, "hello", idempotency_key="k").pk == first.pk
    answer = post(
        caller, "chat/completions", {**ASK, "messages": [{"role": "user", "content": "x"}]}, idempotency_key="k"
    )
    assert error_of(answer) == (409, "conflict")
    assert answer["x-should-retry"] == "false"
    answered("hi")
    second = ask(caller, "hello", "hi", "more", idempotency_key="l")
    assert ask(caller, "hello", "hi", "more", idempotency_key="l").pk == second.pk


def test_tenth_run_too_many_is_refused_with_a_time_to_wait(alice, settings, monkeypatch):
    settings.NETRA_RATE_LIMITS = True
    monkeypatch.setattr("chat.protocol.MAX_ACTIVE_RUNS", 0)
    answer = post(client(alice), "responses", {"model": "echo", "input": "x", "background": True})
    assert error_of(answer) == (429, "rate_limit_exceeded")
    assert answer["Retry-After"] == "5"


# ---- Responses ----


def test_response_follows_the_one_that_it_names(alice):
    caller = client(alice)
    first = respond(caller, "one")
    assert (first["status"], first["output"], first["usage"]) == ("queued", [], None)
    queued = respond(caller, "two", previous_response_id=first["id"])
    assert queued["conversation"] == first["conversation"]
    assert queued["previous_response_id"] == first["id"]
    assert Message.objects.get(content="two").parent.content == "one"
    answered("answer to one")
    answered("answer to two")
    third = respond(caller, "three", previous_response_id=first["id"])
    assert Message.objects.get(content="three").parent.content == "answer to one"
    assert third["previous_response_id"] == first["id"]
    found = caller.get(f"/v1/responses/{first['id']}").json()
    assert (found["status"], found["output"][0]["content"][0]["text"]) == ("completed", "answer to one")


def test_conversation_is_a_thread(alice):
    caller = client(alice)
    made = post(caller, "conversations", {}).json()
    assert made["object"] == "conversation"
    assert caller.get(f"/v1/conversations/{made['id']}").json() == made
    first = respond(caller, "one", conversation=made["id"])
    answered("two")
    respond(caller, "three", conversation={"id": made["id"]})
    assert first["conversation"] == {"id": made["id"]}
    assert Message.objects.get(content="three").parent.content == "two"
    assert error_of(post(caller, "conversations", {"items": [{"role": "user", "content": "x"}]})) == (
        400, "invalid_message",
    )  # fmt: skip


def referring(response, *, part="0"):
    """The history of a client that refers to the answer of this response."""
    item = {"type": "item_reference", "id": f"msg_{response['id'].removeprefix('resp_')}{part}"}
    return [{"role": "user", "content": "one"}, item, {"role": "user", "content": "more"}]


@pytest.mark.parametrize("other", ["the second", "the first"])
@pytest.mark.parametrize("part", ["0", "12", "1_0"])
def test_history_that_refers_to_an_answer_follows_it(alice, other, part):
    caller = client(alice)
    first = respond(caller, "one")
    run = answered("the first")
    respond(caller, "one")
    answered(other)
    history = referring(first, part=part)
    history.insert(1, {"type": "item_reference", "id": f"rs_{run.pk.hex}0"})  # of the same answer
    found = respond(caller, history)
    assert found["conversation"] == first["conversation"]
    asked = Message.objects.get(content="more")
    assert (asked.parent.content, asked.parent.run_id, asked.context) == ("the first", run.pk, None)
    named = respond(caller, history, netra_thread="7")
    assert named["conversation"] != first["conversation"], "the thread that the client names counts"
    respond(caller, history, conversation=first["conversation"])
    assert Message.objects.filter(content="more", thread=run.thread_id).latest("seq").context == [["user", "one"]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_own", [False, True])
def test_reference_to_an_answer_that_does_not_exist_for_the_client_is_nothing(alice, bob, is_own):
    new_worker_of("echo", "advisor")
    first = respond(client(bob), "another one")
    answered("a secret")
    caller = with_key(keyed(bob, agents=["advisor"])[1]) if is_own else client(alice)
    found = respond(caller, referring(first), model="advisor")
    assert found["conversation"] != first["conversation"]
    assert Message.objects.get(content="more").context == [["user", "one"]]


def test_response_that_is_not_stored_is_in_no_list(alice):
    caller = client(alice)
    respond(caller, "one", store=False)
    assert caller.get("/api/threads").json()["total_count"] == 0
    respond(caller, "two")
    assert caller.get("/api/threads").json()["total_count"] == 1


def test_cancelled_response_says_so_and_an_ended_one_is_unchanged(alice):
    caller = client(alice)
    first = respond(caller, "one")
    cancelled = post(caller, f"responses/{first['id']}/cancel", {}).json()
    assert cancelled["status"] == "cancelled"
    assert post(caller, f"responses/{first['id']}/cancel", {}).json() == cancelled
    second = respond(caller, "two")
    answered("done")
    assert post(caller, f"responses/{second['id']}/cancel", {}).json()["status"] == "completed"


def test_response_without_its_events_has_the_stored_answer(alice):
    caller = client(alice)
    first = respond(caller, "one")
    answered("kept")
    assert sum(retention.prune(timedelta())) > 0
    found = caller.get(f"/v1/responses/{first['id']}").json()
    assert (found["status"], found["output"][0]["content"][0]["text"]) == ("completed", "kept")


def test_files_of_a_response_are_attachments(alice, media_folder):
    caller = client(alice)
    data = f"data:text/csv;base64,{base64.b64encode(USAGE).decode()}"
    kept = upload(caller).json()["id"]
    content = [
        {"type": "input_file", "file_data": data, "filename": "usage.csv"},
        {"type": "input_file", "file_id": kept},
        {"type": "input_text", "text": "What do I pay?"},
    ]
    first = respond(caller, [{"role": "user", "content": content}])
    (item,) = caller.get(f"/v1/responses/{first['id']}/input_items").json()["data"]
    assert [part.get("filename") or part["text"] for part in item["content"]] == [
        "usage.csv", "usage.csv", "What do I pay?",
    ]  # fmt: skip
    content[0]["file_data"] = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
    assert respond(caller, [{"role": "user", "content": content}], status=400)["error"]["code"] == "unsupported_data"


# ---- Waiting ----


def test_completion_has_nobody_to_ask_unless_it_says_so(alice):
    assert not ask(client(alice), "hello").interactive
    assert ask(client(alice), "hello", netra_input="wait").interactive


@pytest.mark.parametrize("waits", [False, True])
def test_completion_that_is_asked_again_has_somebody_to_ask_only_if_it_says_so(alice, waits):
    headers = {"netra_input": "wait"} if waits else {}
    first = ask(client(alice), "hello", netra_thread="t")
    second = ask(client(alice), "hello", netra_thread="t", **headers)
    assert (second.pk != first.pk, second.message) == (True, first.message)
    assert second.interactive == waits


@pytest.mark.parametrize("waits", [False, True])
def test_run_that_staff_start_again_has_somebody_to_ask_if_it_had(alice, waits):
    ask(client(alice), "hello", **({"netra_input": "wait"} if waits else {}))
    again = runs.rerun(answered().pk)
    assert Run.objects.get(pk=again.run_id).interactive == waits


@pytest.mark.parametrize("approve", [True, False])
def test_approval_is_answered_by_the_next_response(alice, approve):
    caller = client(alice)
    first = respond(caller, "refund them")
    run = claim_one()
    request_id = waiting(run, "approval")
    found = caller.get(f"/v1/responses/{first['id']}").json()
    assert found["status"] == "completed"
    item = {"type": "mcp_approval_response", "approval_request_id": f"mcpr_{request_id.hex}", "approve": approve}
    second = respond(caller, [item], previous_response_id=first["id"])
    assert (second["id"], second["previous_response_id"]) == (f"{first['id']}_1", first["id"])
    asked = InputRequest.objects.get()
    assert (asked.status, asked.via) == ("accepted" if approve else "declined", "openai")
    again = respond(caller, [item])
    assert again["id"] == second["id"], "the same answer again is no error"
    answered("They are refunded.")
    third = respond(caller, "thanks", previous_response_id=second["id"])
    assert third["previous_response_id"] == second["id"]
    item["approve"] = not approve
    assert respond(caller, [item], status=409)["error"]["code"] == "conflict"


def test_approval_behind_the_history_starts_no_other_run(alice):
    caller, user = client(alice), {"role": "user", "content": "refund them"}
    first = respond(caller, [user])
    request_id = waiting(claim_one(), "approval")
    asked = {"type": "item_reference", "id": f"mcpr_{request_id.hex}"}
    item = {"type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": True}
    assert respond(caller, [user, asked, item])["id"] == f"{first['id']}_1"
    assert Run.objects.count() == Message.objects.count() == 1
    answered("They are refunded.")
    second = respond(caller, [user, asked, item, {"role": "user", "content": "and now?"}])
    assert (second["id"], Run.objects.count()) == (f"resp_{Run.objects.latest('thread_seq').pk.hex}", 2)


def test_approval_of_another_user_does_not_exist(alice, bob):
    respond(client(bob), "refund them")
    request_id = waiting(claim_one(), "approval")
    item = {"type": "mcp_approval_response", "approval_request_id": str(request_id), "approve": True}
    assert respond(client(alice), [item], status=404)["error"]["code"] == "not_found"
    assert InputRequest.objects.get().status == "open"


# ---- What the stream sends first ----


def test_stream_has_the_headers_of_its_run(alice):
    answer = post(client(alice), "chat/completions", ASK)
    run = Run.objects.get()
    assert answer["Content-Type"].startswith("text/event-stream")
    assert (answer["Netra-Run"], answer["Netra-Thread"]) == (str(run.pk), str(run.thread_id))
    assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-cache", "no")


def test_every_answer_says_what_it_is_about(alice):
    new_worker_of("echo")
    caller, run = client(alice), ask(client(alice), "hello")
    id, thread = str(run.pk), str(run.thread_id)

    def check(method, path, *ids):
        answer = caller.post(path, {"threadId": thread}, format="json") if method == "post" else caller.get(path)
        assert (answer.get("Netra-Run"), answer.get("Netra-Thread")) == ids, path
        assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-cache", "no"), path

    about = {"resp_": (id, thread), "conv_": (None, thread), "models": (None, None)}
    for method, path in paths(run.pk, run.thread_id):
        for kind in [kind for kind in about if kind in path]:
            check(method, f"/v1/{path}", *about[kind])
    check("get", f"/api/chat/{thread}/messages", id, thread)
    for stop in (f"/api/chat/{thread}/stop", "/agui/echo/stop"):
        started = runs.start(alice.id, message(thread_id=run.thread_id))
        check("post", stop, str(started.run_id), thread)
        check("post", stop, None, thread)


def test_every_error_of_a_dialect_tells_proxies_what_its_answers_tell_them(alice):
    started = runs.start(alice.id, message())
    stranger, signed_in = client_without_credentials(), client(alice)
    reader = with_key(keyed(alice, scopes=["read"])[1])
    asked = [
        answer_to(caller, method, path, body, headers)
        for method, path, body, headers, _ in of_other_dialects(str(started.thread_id))
        for caller in (stranger, reader)
    ]
    asked += [post(caller, path, {}) for caller in (stranger, signed_in) for path in ("chat/completions", "responses")]
    asked += [signed_in.get("/v1/nothing"), signed_in.put("/v1/models"), signed_in.get("/v1/models", HTTP_HOST="evil")]
    asked += [signed_in.post("/agui/nobody", {}, format="json"), signed_in.get("/agui/echo")]
    asked += [signed_in.post("/api/chat", b"{", content_type="application/json")]
    refused = [answer for answer in asked if answer.status_code >= 400]
    assert {answer.status_code for answer in refused} == {400, 401, 403, 404, 405, 422}
    for answer in refused:
        of_proxies = (answer.get("Cache-Control"), answer.get("X-Accel-Buffering"))
        assert of_proxies == ("no-cache", "no"), (answer.request["PATH_INFO"], answer.status_code)
    elsewhere = [client_without_credentials().get("/api/threads"), signed_in.get("/api/health", HTTP_HOST="evil")]
    assert [answer["Cache-Control"] for answer in elsewhere] == ["no-store", "no-store"]


def test_client_that_resumes_a_response_may_say_what_its_leaving_means(alice):
    path = f"/v1/responses/resp_{ask(client(alice), 'hello').pk.hex}?stream=true"
    assert error_of(client(alice).get(path, HTTP_NETRA_DISCONNECT="maybe")) == (400, "invalid_message")
    reader = with_key(keyed(alice, scopes=["read"])[1])
    assert error_of(reader.get(path, HTTP_NETRA_DISCONNECT="cancel")) == (403, "insufficient_scope")


def test_disconnect_header_is_one_of_two_words(alice):
    answer = post(client(alice), "chat/completions", ASK, netra_disconnect="maybe")
    assert (error_of(answer), json.loads(answer.content)["error"]["param"]) == (
        (400, "invalid_message"), "Netra-Disconnect",
    )  # fmt: skip
    assert not Run.objects.exists()
