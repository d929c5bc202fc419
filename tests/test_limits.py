"""Limits: who does too much is told so, and nobody else notices."""

import asyncio
import json
import socket
import time
import uuid

import httpx
import pytest
import redis
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from chat import auth, limits, protocol, runs
from chat.limits import Pace, Rate
from chat.models import Run
from chat.protocol import ProtocolError
from tests.site import free_port, wait_until
from tests.test_runs import message


@pytest.fixture
def limited(settings, monkeypatch, tmp_path):
    """Limits, and nobody who answers where Redis should be."""
    settings.NETRA_LIMITS, settings.NETRA_PROXIES = True, 0
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    for name, value in (("_quiet_until", 0.0), ("_lost", False), ("_teller", None)):
        monkeypatch.setattr(limits, name, value)


@pytest.fixture
def shared(limited, settings, site):
    settings.REDIS_URL = site.environment["REDIS_URL"]


@pytest.fixture
def who():
    return uuid.uuid4().hex


def run(work):
    """What it returns, with no connection left open."""

    async def working():
        try:
            return await work
        finally:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            limits._teller, limits._wake = None, asyncio.Event()
            await limits._client().connection_pool.disconnect()

    return asyncio.run(working())


def wait_of(spend):
    """How long to wait, as the refusal says; 0 where there was none."""
    try:
        spend()
    except ProtocolError as error:
        return error.retry_after
    return 0


# ---- How often -------------------------------------------------------------------------------------------


def test_a_burst_then_a_pace(shared, who):
    rate = Rate("test", 3, 100)
    assert [wait_of(lambda: rate.spend_now(who)) for _ in range(3)] == [0, 0, 0]
    assert 99 < wait_of(lambda: rate.spend_now(who)) <= 100.001
    assert wait_of(lambda: rate.spend_now(uuid.uuid4())) == 0, "somebody else's are not counted"


def test_what_is_refused_is_not_counted(shared, who):
    rate = Rate("test", 1, 0.001)
    rate.spend_now(who)
    for _ in range(50):
        wait_of(lambda: rate.spend_now(who))
    wait_until(lambda: wait_of(lambda: rate.spend_now(who)) == 0, "the next one to be allowed")


def test_sockets_and_rest_count_together(shared, who):
    rate = Rate("test", 2, 100)
    rate.spend_now(who)
    run(rate.spend(who))
    assert wait_of(lambda: run(rate.spend(who))) > 0
    assert wait_of(lambda: rate.spend_now(who)) > 0


def test_without_redis_nothing_is_refused_and_one_line_says_so(limited, who, caplog):
    rate = Rate("test", 1, 100)
    for _ in range(5):
        rate.spend_now(who)
        run(rate.spend(who))
    assert [record.levelname for record in caplog.records if record.name == "netra.limits"] == ["WARNING"]


def test_a_redis_that_hangs_is_asked_once(limited, settings, who, tmp_path, caplog):
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "hanging.sock"))
        hanging.listen()
        settings.REDIS_URL = f"unix://{tmp_path}/hanging.sock"
        run(Rate("test", 1, 100).spend(who))
        for _ in range(100):
            Rate("test", 1, 100).spend_now(who)
            assert run(limits.admit({who: 1000}))
        hanging.setblocking(False)
        hanging.accept()[0].close()
        with pytest.raises(BlockingIOError):
            hanging.accept()
    assert [record.levelname for record in caplog.records if record.name == "netra.limits"] == ["WARNING"]


def test_limits_hold_again_once_redis_is_back(limited, settings, site, who, monkeypatch):
    rate = Rate("test", 1, 100)
    rate.spend_now(who)
    settings.REDIS_URL = site.environment["REDIS_URL"]
    rate.spend_now(who)  # it is not asked again so soon
    monkeypatch.setattr(limits, "_quiet_until", time.monotonic())
    rate.spend_now(who)
    assert wait_of(lambda: rate.spend_now(who)) > 0


def test_limits_can_be_off(shared, settings, who):
    settings.NETRA_LIMITS = False
    rate, pace = Rate("test", 1, 100), Pace()
    for _ in range(1000):
        rate.spend_now(who)
        pace.spend(1)
    assert run(limits.admit({who: 0}))


def test_the_frames_of_a_socket(limited):
    pace = Pace()
    waits = [wait_of(lambda: pace.spend(1)) for _ in range(2000)]
    assert waits[: protocol.FRAME_BURST] == [0] * protocol.FRAME_BURST
    assert waits[-1] > 0
    assert limits.weight("x" * protocol.MAX_FRAME) == 9
    assert limits.weight("{}", resumes=True) == 4


# ---- How many at once ------------------------------------------------------------------------------------


def test_places_are_taken_and_given_back(shared, who):
    async def play():
        two = {f"test.{who}": 2}
        assert await limits.admit(two)
        assert await limits.admit(two)
        assert not await limits.admit(two)
        limits.leave(two)
        assert await limits.admit(two)
        both = {f"test.other.{who}": 1, **two}
        assert not await limits.admit(both), "one of its places is not free"
        limits.leave(two)
        assert await limits.admit(both)

    run(play())


def test_places_of_other_processes_count_while_they_live(shared, settings, who):
    name = f"test.{who}"
    server = redis.Redis.from_url(settings.REDIS_URL)
    server.hset(f"netra.limit.{name}", "another", 3)
    server.set("netra.limit.process.another", 1)
    assert not run(limits.admit({name: 3}))
    assert run(limits.admit({name: 4}))
    server.delete("netra.limit.process.another")
    assert run(limits.admit({name: 2}))
    assert b"another" not in server.hgetall(f"netra.limit.{name}")


def test_a_process_counts_its_own_without_redis(limited, who):
    async def play():
        return [await limits.admit({who: 2}) for _ in range(3)]

    assert run(play()) == [True, True, False]


# ---- From where ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "found"),
    [
        (0, "203.0.113.9", "", "203.0.113.9"),
        (0, "203.0.113.9", "198.51.100.1", "203.0.113.9"),
        (1, "10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (1, "10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (2, "10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (2, "10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (1, "10.0.0.1", "unknown", "10.0.0.1"),
        (1, "10.0.0.1", "6.6.6.6, ", "10.0.0.1"),
        (0, "::ffff:203.0.113.9", "", "203.0.113.9"),
        (0, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::"),
        (1, "10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        (1, "10.0.0.1", "[2001:db8:1:2:3::1]:4711", "2001:db8:1:2::"),
        (0, "", "", "0.0.0.0"),
    ],
)
def test_the_address_that_counts(settings, proxies, peer, forwarded, found):
    settings.NETRA_PROXIES = proxies
    assert limits.address(peer, forwarded) == found


# ---- REST ------------------------------------------------------------------------------------------------


def refused(answer):
    body = answer.json()
    assert (answer.status_code, body["error"]) == (429, "rate_limited")
    assert int(answer["Retry-After"]) >= 1
    return body["retry_after"] > 0


@pytest.fixture
def bucket(shared, settings):
    """Set what `who` has left of a rate: all of it, or nothing for a minute."""
    server, keys = redis.Redis.from_url(settings.REDIS_URL), []

    def bucket(rate, who, full):
        keys.append(f"netra.limit.{rate.name}.{who}")
        server.set(keys[-1], time.time() + (0 if full else rate.burst * rate.gap + 60))

    yield bucket
    server.delete(*keys)


@pytest.mark.parametrize(
    ("method", "path", "body", "rate"),
    [
        ("GET", "/api/threads", None, limits.REQUESTS),
        ("GET", "/auth/me", None, limits.REQUESTS),
        ("POST", "/api/messages", {"content": "x"}, limits.MESSAGES),
        ("POST", f"/api/threads/{uuid.UUID(int=1)}/messages", {"content": "x"}, limits.MESSAGES),
        ("POST", f"/api/messages/{uuid.UUID(int=1)}/regenerate", {}, limits.MESSAGES),
        ("POST", "/api/agents/execute", {"content": "x", "agent": "echo"}, limits.MESSAGES),
        ("POST", "/api/attachments", None, limits.UPLOADS),
    ],
)
def test_too_many_requests_of_a_user(bucket, alice, bob, method, path, body, rate):
    def ask(user):
        headers = {"Authorization": f"Bearer {auth.sign_in(user, '').access}", "Prefer": "respond-async"}
        return Client().generic(method, path, json.dumps(body), "application/json", headers=headers)

    bucket(rate, alice.pk, full=False)
    bucket(rate, bob.pk, full=True)
    assert refused(ask(alice))
    assert ask(bob).status_code != 429
    assert not Run.objects.filter(user=alice).exists()


@pytest.mark.parametrize(("path", "rate"), [("/auth/register", limits.REGISTRATIONS), ("/auth/login", limits.SIGN_INS)])
def test_too_many_requests_from_an_address(bucket, db, path, rate):
    def ask(address):
        body = {"email": "ann@example.com", "password": "correct horse battery"}
        return Client(REMOTE_ADDR=address).post(path, json.dumps(body), content_type="application/json")

    bucket(rate, "203.0.113.9", full=False)
    assert refused(ask("203.0.113.9"))
    assert ask("203.0.113.10").status_code in (201, 401)


def test_so_many_runs_of_a_user_may_be_active(limited, alice, bob, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_ACTIVE_RUNS", 2)
    first = runs.start(alice.pk, message())
    runs.start(alice.pk, message())
    with pytest.raises(ProtocolError) as error:
        runs.start(alice.pk, message())
    assert (error.value.code, Run.objects.count()) == ("rate_limited", 2)
    runs.start(bob.pk, message())
    runs.cancel(alice.pk, run_id=first.run_id)
    runs.start(alice.pk, message())


# ---- Sockets ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ann(_site):
    return _site.register("ann")


@pytest.fixture(scope="module")
def ben(_site):
    return _site.register("ben")


def test_a_hundred_messages_in_a_burst_then_a_pace(site, ann, ben):
    flooding, other = ann.connect(), ben.connect()
    for number in range(1000):
        flooding.send({"type": "user_message", "content": "x", "agent": "nobody", "client_msg_id": f"flood {number}"})
    answers = [flooding.receive("error") for _ in range(1000)]
    assert {answer["error_code"] for answer in answers[:150]} == {"unknown_agent"}
    late = [answer for answer in answers if answer["error_code"] == "rate_limited"]
    assert len(late) > 300
    assert all(answer["retry_after"] > 0 and answer["recoverable"] for answer in late)
    assert {answer["ref"] for answer in answers} == {f"flood {number}" for number in range(1000)}
    assert other.answer(other.ask("hello")["run_id"])["type"] == "agent_completed"


@pytest.mark.parametrize("frame", ["{", '{"type":"nothing"}', b"\0"])
def test_bad_frames_are_counted_too(site, ben, frame):
    socket = ben.connect()
    for _ in range(600):
        socket.send(frame)
    assert socket.receive("error", error_code="rate_limited")["retry_after"] > 0


def test_acks_are_free(site, ben):
    socket = ben.connect()
    for _ in range(1000):
        socket.send({"type": "ack", "received": 1})
    assert socket.silent()


def test_too_many_sockets_of_a_user(site, ben):
    user = site.register("tabs")
    tabs = [user.connect() for _ in range(protocol.MAX_SOCKETS)]
    assert closed_at_once(site, user.access)
    assert ben.connect().silent()
    assert all(tab.silent() for tab in (tabs[0], tabs[-1]))
    tabs[0].close()
    wait_until(lambda: not closed_at_once(site, user.access), "a place for another tab")


def closed_at_once(site, token):
    raw = site.ws(additional_headers={"Authorization": f"Bearer {token}"})
    try:
        return not json.loads(raw.recv(60))
    except ConnectionClosed as end:
        return end.rcvd.code == 4429
    finally:
        raw.close()


def test_sockets_are_counted_in_all_web_processes(brisk):
    user, port = brisk.register("spread"), free_port()
    command = ["-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port), "netra.asgi:application"]
    second = brisk.start(*command, log="second")
    wait_until(lambda: answers(port), "a second web process")
    for _ in range(protocol.MAX_SOCKETS):
        user.connect()
    headers = {"Authorization": f"Bearer {user.access}"}
    with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers) as socket:
        with pytest.raises(ConnectionClosed) as end:
            socket.recv(60)
    assert end.value.rcvd.code == 4429
    second.terminate()
    second.wait()


def answers(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_a_socket_counts_for_its_address_before_it_says_whose_it_is(site, ben):
    server = redis.Redis.from_url(site.environment["REDIS_URL"])

    def open_from(address):
        return sum(map(int, server.hvals(f"netra.limit.sockets.address.{address}")))

    wait_until(lambda: open_from("127.0.0.1") == 0, "the sockets of other tests to be gone")
    silent = site.ws(additional_headers={"X-Forwarded-For": "198.51.100.1"})
    assert json.loads(silent.recv(60))["type"] == "auth_required"
    assert (open_from("127.0.0.1"), open_from("198.51.100.1")) == (1, 0)
    silent.send(json.dumps({"type": "authenticate", "token": ben.access}))
    assert json.loads(silent.recv(60))["type"] == "authenticated"
    assert sum(map(int, server.hvals(f"netra.limit.sockets.user.{ben.id}"))) == 1
    silent.close()
    wait_until(lambda: open_from("127.0.0.1") == 0, "its place to be given back")
