"""Runs that use an MCP server at which each user has an account: they wait for it, and use nobody else's."""

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.db.models.functions import Now

from chat import runs
from chat.assistants import versions
from chat.models import Assistant, AssistantTool, Event, InputRequest, McpConnection, Run, ToolDefinition
from tests.factories import accept, decline, frames, message, types
from tests.mcp_oauth import Browser, entry, guarded
from tests.model_provider import calls, provided, says, told
from tests.turns import execute, text

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(model_settings):
    model_settings.NETRA_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with guarded() as found:
        model_settings.NETRA_MCP_SERVERS = {"notes": entry(found)}
        yield found


@pytest.fixture
def assistant(server):
    """An assistant whose tool `whoami` needs no approval."""
    made = Assistant.objects.create(name="desk", instructions="Be short.")
    AssistantTool.objects.create(assistant=made, tool="notes_whoami", policy="never")
    versions.save_version(made, None)
    return made


@pytest.fixture
def provider(model_settings):
    with provided() as (found, model_settings.NETRA_MODELS["default"]["url"]):
        yield found


def begin(user, provider, *replies, **fields):
    provider.replies = [*replies, says("A title")]
    return runs.start(user.pk, message("Who am I there?", agent="desk", **fields)).thread_id


def asked(thread):
    return [event for event in frames(thread) if event["type"] == "input_requested"]


WHO = calls(("notes_whoami", {}))


def test_missing_connection_makes_the_run_wait_for_the_callback(alice, assistant, server, provider):
    thread = begin(alice, provider, WHO, says("You are alice."))
    run = execute(None)
    assert (run.status, run.worker) == (Run.WAITING, None)
    [request] = asked(thread)
    assert request["kind"] == "link"
    assert request["schema"]["url"].endswith("/settings?connect=notes")
    assert "“notes”" in request["message"]
    Browser(alice).connect()
    row = InputRequest.objects.get()
    assert (row.status, row.resolved_by, row.via) == (InputRequest.ACCEPTED, alice, "rest")
    assert execute(None).status == Run.COMPLETED
    assert server.called == [("alice-there", "whoami")]
    assert text(thread) == "You are alice."
    assert "alice-there" in told(provider.asked[1])[0]
    assert types(thread).count("input_requested") == 1


def test_connected_user_is_asked_nothing(alice, assistant, server, provider):
    Browser(alice).connect()
    thread = begin(alice, provider, WHO, says("You are alice."))
    assert execute(None).status == Run.COMPLETED
    assert not asked(thread)
    assert server.called == [("alice-there", "whoami")]
    assert McpConnection.objects.get().used_at is not None


def test_no_run_uses_the_connection_of_another_user(alice, bob, assistant, server, provider):
    Browser(alice).connect()
    thread = begin(bob, provider, WHO, says("I cannot tell."))
    assert execute(None).status == Run.WAITING
    decline(bob, InputRequest.objects.get().pk)
    assert execute(None).status == Run.COMPLETED
    assert server.called == []
    assert len(asked(thread)) == 1


def test_connection_of_one_user_resolves_no_request_of_another(alice, bob, assistant, provider, server):
    begin(bob, provider)
    execute(None)
    Browser(alice).connect()
    assert InputRequest.objects.get().status == InputRequest.OPEN


def test_tools_that_others_have_seen_are_offered_and_a_call_asks(alice, bob, assistant, server, provider):
    Browser(alice).connect()
    begin(alice, provider, says("Hello."))
    execute(None)
    assert set(ToolDefinition.objects.values_list("tool", flat=True)) == {"notes_whoami", "notes_write"}
    thread = begin(bob, provider, says("Hello."))
    assert execute(None).status == Run.COMPLETED, "nothing is asked where no tool is called"
    assert not asked(thread)
    thread = begin(bob, provider, WHO, says("You are bob."))
    assert execute(None).status == Run.WAITING
    assert [request["kind"] for request in asked(thread)] == ["link"]
    assert "tool_executing" not in types(thread), "the question is asked outside of a call"
    server.authorizing.person = "bob-there"
    Browser(bob).connect()
    assert execute(None).status == Run.COMPLETED
    assert server.called == [("bob-there", "whoami")]


def test_declined_connection_leaves_the_tools_out_and_is_not_asked_again(alice, assistant, server, provider):
    thread = begin(alice, provider, says("Without."))
    execute(None)
    decline(alice, InputRequest.objects.get().pk, "no")
    assert execute(None).status == Run.COMPLETED
    assert not [name for name in provider.asked[0].offered if name.startswith("notes_")]
    begin(alice, provider, says("Again without."), thread_id=thread)
    assert execute(None).status == Run.COMPLETED
    assert len(asked(thread)) == 1


def test_done_without_a_connection_is_asked_again(alice, assistant, server, provider):
    thread = begin(alice, provider, says("Well."))
    for _ in range(3):
        assert execute(None).status == Run.WAITING
        accept(alice, InputRequest.objects.get(status="open").pk)
    assert execute(None).status == Run.COMPLETED
    assert len(asked(thread)) == 3


def test_run_without_a_person_does_not_wait(alice, assistant, server, provider):
    thread = begin(alice, provider, says("Well."), interactive=False)
    assert execute(None).status == Run.COMPLETED
    assert server.called == []
    assert "run_waiting" not in types(thread)


def test_expired_token_is_exchanged_without_a_question(alice, assistant, server, provider):
    Browser(alice).connect()
    McpConnection.objects.update(expires_at=Now() - timedelta(seconds=1))
    thread = begin(alice, provider, WHO, says("You are alice."))
    assert execute(None).status == Run.COMPLETED
    assert not asked(thread)
    assert len(server.authorizing.exchanged) == 1
    assert server.called == [("alice-there", "whoami")]


def test_refused_token_is_exchanged_once_without_a_question(alice, assistant, server, provider):
    Browser(alice).connect()
    server.authorizing.forget_access()
    thread = begin(alice, provider, WHO, says("You are alice."))
    assert execute(None).status == Run.COMPLETED
    assert not asked(thread)
    assert len(server.authorizing.exchanged) == 1
    assert server.called == [("alice-there", "whoami")]


def test_token_revoked_at_the_server_makes_the_run_wait(alice, assistant, server, provider):
    Browser(alice).connect()
    server.authorizing.forget_all()
    thread = begin(alice, provider, WHO, says("You are alice."))
    assert execute(None).status == Run.WAITING
    assert not McpConnection.objects.exists()
    Browser(alice).connect()
    assert execute(None).status == Run.COMPLETED
    assert server.called == [("alice-there", "whoami")]
    assert len(asked(thread)) == 1


def test_token_revoked_in_the_middle_of_a_run_is_asked_for_outside_the_call(alice, assistant, server, provider):
    Browser(alice).connect()

    async def then_revoked(exchange):
        server.authorizing.forget_all()
        await WHO(exchange)

    thread = begin(alice, provider, WHO, then_revoked, says("You are alice."))
    assert execute(None).status == Run.WAITING
    assert types(thread)[-2:] == ["input_requested", "run_waiting"]
    Browser(alice).connect()
    assert execute(None).status == Run.COMPLETED
    assert server.called == [("alice-there", "whoami")] * 2


def test_no_token_is_in_a_frame(alice, assistant, server, provider):
    begin(alice, provider, WHO, says("You are alice."))
    execute(None)
    Browser(alice).connect()
    execute(None)
    held = [*server.authorizing.access, *server.authorizing.refresh]
    [client] = server.authorizing.clients.values()
    said = "".join(Event.objects.values_list("frame", flat=True))
    assert not [secret for secret in [*held, client.client_secret] if secret in said]


def test_own_token_of_a_user_is_sent(alice, assistant, server, provider, model_settings):
    model_settings.NETRA_MCP_SERVERS = {"notes": entry(server)}
    browser = Browser(alice)
    browser.connect()
    [token] = server.authorizing.access
    McpConnection.objects.all().delete()
    model_settings.NETRA_MCP_SERVERS = {"notes": entry(server, auth="user")}
    begin(alice, provider, WHO, says("You are alice."))
    assert execute(None).status == Run.WAITING
    assert browser.ask("PUT", "/auth/mcp/connections/notes", {"token": token}).status_code == 204
    assert execute(None).status == Run.COMPLETED
    assert server.called == [("alice-there", "whoami")]


def test_approval_and_connection_are_two_questions(alice, assistant, server, provider):
    thread = begin(alice, provider, calls(("notes_write", {"text": "tea"})), says("Written."))
    execute(None)
    Browser(alice).connect()
    assert execute(None).status == Run.WAITING
    accept(alice, InputRequest.objects.get(status="open").pk)
    assert execute(None).status == Run.COMPLETED
    assert [request["kind"] for request in asked(thread)] == ["link", "approval"]
    assert server.called == [("alice-there", "write")]


# ---- A call that needs more than the connection has ----


def test_call_that_lacks_a_scope_waits_until_the_user_allows_it(alice, assistant, server, provider):
    browser = Browser(alice)
    browser.connect()
    server.demand("whoami", "notes:read")
    thread = begin(alice, provider, WHO, says("You are alice."))
    assert execute(None).status == Run.WAITING
    [request] = asked(thread)
    assert (request["kind"], "“notes:read”" in request["message"]) == ("link", True)
    [shown] = browser.listed()
    assert (shown["connected"], shown["wanted"]) == (True, "notes:read")
    assert "scope=notes%3Aread" in browser.begin()
    browser.connect()
    assert execute(None).status == Run.COMPLETED
    assert server.called == [("alice-there", "whoami")]
    assert len(asked(thread)) == 1
    [shown] = browser.listed()
    assert (shown["scope"], shown["wanted"]) == ("notes:read", "")


def test_scope_that_is_not_allowed_by_the_user_is_asked_for_again_and_then_given_up(alice, assistant, server, provider):
    Browser(alice).connect()
    server.demand("whoami", "notes:read")
    thread = begin(alice, provider, WHO, says("Well."))
    for _ in range(3):
        assert execute(None).status == Run.WAITING
        accept(alice, InputRequest.objects.get(status="open").pk)
    assert execute(None).status == Run.COMPLETED
    assert (len(asked(thread)), server.called) == (3, [])
    assert "“notes:read”" in told(provider.asked[-2])[0]


def test_scope_that_helps_nothing_is_asked_for_once_a_run(alice, assistant, server, provider):
    Browser(alice).connect()
    server.demand("whoami", "notes:read")
    begin(alice, provider, WHO, WHO, says("Well."))
    assert execute(None).status == Run.WAITING
    Browser(alice).connect()
    server.demand("whoami", "notes:read-again")
    assert execute(None).status == Run.WAITING
    Browser(alice).connect()
    server.authorizing.access = {
        key: token.model_copy(update={"scopes": []}) for key, token in server.authorizing.access.items()
    }
    assert execute(None).status == Run.COMPLETED
    assert (InputRequest.objects.count(), server.called) == (2, [])


def test_declined_scope_is_not_asked_for_again_in_the_thread(alice, assistant, server, provider):
    Browser(alice).connect()
    server.demand("whoami", "notes:read")
    thread = begin(alice, provider, WHO, says("Without."))
    execute(None)
    decline(alice, InputRequest.objects.get().pk, "no")
    assert execute(None).status == Run.COMPLETED
    begin(alice, provider, WHO, says("Again without."), thread_id=thread)
    assert execute(None).status == Run.COMPLETED
    assert (len(asked(thread)), server.called) == (1, [])


def test_scope_beyond_those_of_the_administrator_is_not_asked_for(alice, assistant, server, provider, model_settings):
    model_settings.NETRA_MCP_SERVERS = {"notes": entry(server, scopes="notes:read")}
    Browser(alice).connect()
    server.demand("whoami", "notes:delete")
    thread = begin(alice, provider, WHO, says("Well."))
    assert execute(None).status == Run.COMPLETED
    assert not asked(thread)
    assert "administrator does not allow" in told(provider.asked[-2])[0]


def test_scope_for_the_run_of_one_user_is_asked_for_from_no_other(alice, bob, assistant, server, provider):
    Browser(alice).connect()
    theirs = Browser(bob)
    server.authorizing.person = "bob-there"
    theirs.connect()
    server.demand("whoami", "notes:read")
    begin(alice, provider, WHO)
    execute(None)
    assert theirs.listed()[0]["wanted"] == ""
    assert "scope=" not in theirs.begin()
    theirs.connect()
    assert InputRequest.objects.get().status == InputRequest.OPEN


@pytest.mark.parametrize("scope", ["", "x" * 1001, "notes\u00e9", 'a\\"b'])
def test_scope_that_cannot_be_asked_for_fails_the_call(alice, assistant, server, provider, scope):
    Browser(alice).connect()
    server.demand("whoami", scope)
    thread = begin(alice, provider, WHO, says("Well."))
    assert execute(None).status == Run.COMPLETED
    assert not asked(thread)
