"""API keys on sockets: the handshake, what a key with the scope read may send, and the end of its sockets."""

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from chat.accounts.api_keys import new_key
from tests import site as sites
from tests.site import WAIT_TIMEOUT, Socket, wait_until

MARKED = ["jwt-auth", "bearer.{key}"]


@pytest.fixture(scope="module")
def _quiet(tmp_path_factory):
    """A site whose sockets find out nothing by themselves within the test: what closes one was published."""
    never = {"NETRA_RECONCILE_SECONDS": "3600", "NETRA_RECONCILE_ACTIVE_SECONDS": "3600"}
    with sites.running(tmp_path_factory.mktemp("keys"), **never) as found:
        yield found


@pytest.fixture
def quiet(_quiet):
    yield _quiet
    _quiet.close_sockets()


@pytest.fixture(scope="module")
def alice(_quiet):
    return _quiet.register("alice")


def made(user, **fields):
    answer = user.http("POST", "/auth/keys", {"name": "cron", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def opened(site, key, path="/ws", offers=None):
    options = {"subprotocols": [offer.format(key=key) for offer in offers]} if offers else {}
    if not offers:
        options["additional_headers"] = {"Authorization": f"Bearer {key}"}
    raw = site.ws(path, **options)
    found = Socket(raw, older_names=path.endswith("/legacy"))
    found.hello, found.raw = found.receive("connection_established"), raw
    return found


@pytest.mark.parametrize("path", ["/ws", "/ws/factory", "/ws/isolated", "/ws/legacy"])
@pytest.mark.parametrize(
    ("offers", "selected"),
    [
        (None, None),
        (MARKED, "jwt-auth"),
        (["bearer.{key}", "jwt-auth"], "jwt-auth"),
        (["bearer.{key}"], "bearer.{key}"),
        (["graphql-ws", "bearer.{key}"], "bearer.{key}"),
    ],
)
def test_a_key_opens_a_socket_and_is_selected_only_where_it_must(quiet, alice, path, offers, selected):
    key = made(alice)["key"]
    socket = opened(quiet, key, path, offers)
    assert socket.raw.subprotocol == (selected and selected.format(key=key))
    assert (key in str(socket.raw.response.headers)) == (selected == "bearer.{key}")
    assert socket.hello["data"]["user_id"] == alice.id
    if path == "/ws":
        run = socket.ask("one two")
        assert socket.answer(run["run_id"])["final_response"]


@pytest.mark.parametrize(
    "offers", [["jwt.{key}"], ["jwt-auth", "jwt.{key}"], ["jwt-auth.{key}"], ["{key}"], ["jwt-auth", "bearer.{key}x"]]
)
def test_a_key_in_another_offer_is_refused(quiet, alice, offers):
    key = made(alice)["key"]
    with pytest.raises(InvalidStatus) as refused:
        quiet.ws(subprotocols=[offer.format(key=key) for offer in offers])
    assert refused.value.response.status_code == 403


def test_a_key_in_the_query_or_in_a_frame_is_refused(quiet, alice):
    key = made(alice)["key"]
    socket = Socket(quiet.ws(f"/ws?key={key}&token={key}&access_token={key}"))
    socket.receive("auth_required")
    socket.send({"type": "authenticate", "token": key})
    assert socket.receive("error")["error_code"] == "unauthorized"
    assert socket.closed() == 4401


def test_a_key_that_has_ended_is_refused_before_accept(quiet, alice):
    key = made(alice)
    assert alice.http("DELETE", f"/auth/keys/{key['id']}").status_code == 204
    with pytest.raises(InvalidStatus) as refused:
        opened(quiet, key["key"])
    assert refused.value.response.status_code == 403
    assert key["key"][15:] not in quiet.log("web")


def test_revocation_closes_the_sockets_of_that_key_only(quiet, alice):
    ending, staying = made(alice), made(alice)
    sockets = [opened(quiet, ending["key"]), opened(quiet, ending["key"], offers=MARKED)]
    others = [opened(quiet, staying["key"]), alice.connect()]
    assert alice.http("DELETE", f"/auth/keys/{ending['id']}").status_code == 204
    for socket in sockets:
        assert socket.closed() == 4401
        assert socket.got[-1] == {"type": "session_revoked"}
    for socket in others:
        assert socket.silent()


def test_ends_of_sessions_leave_keys_and_ends_of_keys_leave_sessions(quiet):
    user = quiet.register("ending")
    key, here = made(user)["key"], user.connect()
    socket = opened(quiet, key)
    changed = user.http("POST", "/auth/password", {"current": user.password, "new": "another horse battery"})
    user.access = changed.json()["access_token"]
    assert socket.silent()
    body = {"current": "another horse battery", "new": user.password, "keys": True}
    assert user.http("POST", "/auth/password", body).status_code == 200
    assert socket.closed() == 4401
    assert here.silent()


def test_an_end_whose_message_was_lost_is_found_out(brisk):
    user = brisk.register("losing")
    ending, staying = (opened(brisk, made(user, name=name)["key"]) for name in ("ending", "staying"))
    now = "__import__('datetime').datetime.now(__import__('datetime').UTC)"
    brisk.shell(f"User.objects.get(pk={user.id}).api_keys.filter(name='ending').update(revoked_at={now})")
    assert ending.closed() == 4401
    assert staying.silent()


@pytest.mark.parametrize("end", ["user.is_active = False; user.save()", "user.delete()"])
def test_sockets_of_keys_close_with_the_user(quiet, end):
    user = quiet.register("leaving")
    socket = opened(quiet, made(user)["key"])
    quiet.shell(f"user = User.objects.get(pk={user.id}); {end}", publishes=True)
    assert socket.closed() == 4401


def test_an_expired_key_closes_its_socket(quiet, alice):
    socket = opened(quiet, made(alice, expires_in=3)["key"])
    assert socket.closed() == 4401


def test_a_key_that_never_expires_opens_a_socket(quiet, alice):
    socket = opened(quiet, made(alice, expires_in=None)["key"])
    socket.send({"type": "ping", "id": "1"})
    socket.receive("pong", id="1")


def test_a_key_with_the_scope_read_may_only_look(quiet, alice):
    watched = alice.connect()
    run = watched.ask("one two")
    watched.answer(run["run_id"])
    socket = opened(quiet, made(alice, scopes=["read"])["key"])
    for frame in (
        {"type": "user_message", "content": "hello", "client_msg_id": "1"},
        {"type": "regenerate", "message_id": run["message_id"]},
        {"type": "stop_agent"},
        {"type": "answer_input", "request_id": run["run_id"], "action": "decline"},
        {"type": "authenticate", "token": alice.access},
    ):
        socket.send(frame)
        assert socket.receive("error")["error_code"] == "forbidden", frame
    socket.send({"type": "resume", "thread_id": run["thread_id"], "after": 0})
    assert socket.receive("resumed")["head"] > 1
    socket.send({"type": "agent_status"})
    assert socket.receive("agent_status")["runs"] == []
    socket.send({"type": "ack", "received": len(socket.got)})
    socket.send({"type": "ping", "id": "2"})
    socket.receive("pong", id="2")
    assert alice.http("GET", "/api/threads").json()["total_count"] >= 1


def test_the_use_of_a_key_on_a_socket_is_written(quiet, alice):
    key = made(alice)
    opened(quiet, key["key"])

    def used():
        (shown,) = [one for one in alice.http("GET", "/auth/keys").json()["keys"] if one["id"] == key["id"]]
        return shown["last_used_at"]

    wait_until(used, "the use is written")


def test_an_upload_with_a_key_needs_the_scope_write(quiet, alice):
    def uploaded(key):
        file, headers = {"file": ("usage.csv", b"a,b\n1,2\n")}, {"Authorization": f"Bearer {key}"}
        return httpx.post(quiet.url + "/api/attachments", files=file, headers=headers, timeout=WAIT_TIMEOUT).status_code

    keys = [made(alice, scopes=[scope])["key"] for scope in ("write", "read")]
    assert [uploaded(key) for key in (*keys, new_key(), keys[0][:-1])] == [201, 403, 401, 401]


def test_a_key_of_a_member_is_told_of_the_requests_to_decide(quiet):
    user = quiet.register("deciding")
    quiet.shell(
        f"from django.contrib.auth.models import Group; Group.objects.create(name='deciders').user_set.add({user.id})"
    )
    assert opened(quiet, made(user)["key"]).receive("approvals_changed")["open"] == 0


def test_a_socket_of_a_key_knows_its_agents_only(quiet, alice):
    socket = opened(quiet, made(alice, agents=["echo"])["key"])
    assert socket.hello["data"]["agents"] == ["echo"]
    socket.send({"type": "user_message", "content": "hello", "agent": "advisor"})
    assert socket.receive("error")["error_code"] == "unknown_agent"
    socket.send({"type": "user_message", "content": "hello"})
    accepted = socket.receive("message_accepted")
    assert alice.http("GET", f"/api/runs/{accepted['run_id']}").json()["agent"] == "echo"
