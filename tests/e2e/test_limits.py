"""Limits: who does too much is told so, and nobody else notices."""

import asyncio
import json
import socket
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import httpx
import pytest
import redis
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from chat import limits, protocol, runs
from chat.accounts import sessions
from chat.api import client_ip
from chat.limits import FrameLimiter, Rate
from chat.limits.rates import MESSAGES, REGISTRATIONS, REQUESTS, SIGN_INS, UPLOADS
from chat.limits.redis_scripts import REDIS_TIMEOUT_SECONDS
from chat.models import Run
from chat.protocol import ProtocolError
from tests.factories import message
from tests.site import WAIT_TIMEOUT, free_port, wait_until


@pytest.fixture
def limited(settings, limited_by, tmp_path):
    """Switch limits on; no Redis listens at `redis.sock`."""
    settings.NETRA_TRUSTED_PROXIES = 0
    limited_by(f"unix://{tmp_path}/redis.sock")


@pytest.fixture
def shared(limited, limited_by, site):
    """Switch limits on, counted at the site's Redis."""
    limited_by(site.environment["REDIS_URL"])


@pytest.fixture
def who():
    return uuid.uuid4().hex


def run(work):
    """Return the coroutine's result; no task may be left."""

    async def working():
        try:
            return await work
        finally:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(working())


def acquire(rate, identity):
    limits.rate_limiter().acquire(rate, identity)


async def acquire_async(rate, identity):
    await limits.rate_limiter().acquire_async(rate, identity)


async def admit(slots):
    return await limits.connection_limiter().acquire(slots)


def leave(slots):
    limits.connection_limiter().release(slots)


def wait_of(function, *args):
    """Return the seconds to wait that the refusal names; 0 without a refusal."""
    try:
        function(*args)
    except ProtocolError as error:
        return error.retry_after
    return 0


# ---- How often -------------------------------------------------------------------------------------------


def test_a_burst_then_a_pace(shared, who):
    rate = Rate("test", 3, 100)
    assert [wait_of(acquire, rate, who) for _ in range(3)] == [0, 0, 0]
    assert 99 < wait_of(acquire, rate, who) <= 100.001
    assert wait_of(acquire, rate, uuid.uuid4()) == 0, "somebody else's are not counted"


@pytest.mark.parametrize("burst", [1, 3, 10, 100])
@pytest.mark.parametrize("gap", [0.1, 1 / 3, 2, 1000])
def test_rate_burst_is_let_through_to_its_last(shared, who, burst, gap):
    """Sums of floats do not cost the last call of a burst."""
    for number in range(5):
        spend = partial(acquire, Rate("test", burst, gap), f"{who}.{number}")
        assert [wait_of(spend) for _ in range(burst)] == [0] * burst


def test_rate_refused_call_is_not_counted(shared, who):
    rate = Rate("test", 1, 0.001)
    acquire(rate, who)
    for _ in range(50):
        wait_of(acquire, rate, who)
    wait_until(lambda: wait_of(acquire, rate, who) == 0, "the next one to be allowed")


def test_sockets_and_rest_count_together(shared, who):
    rate = Rate("test", 2, 100)
    acquire(rate, who)
    run(acquire_async(rate, who))
    assert wait_of(lambda: run(acquire_async(rate, who))) > 0
    assert wait_of(acquire, rate, who) > 0


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "netra.limits"]


def test_rate_redis_away_holds_in_this_process_and_one_line_says_so(limited, who, caplog):
    rate = Rate("test", 3, 100)
    acquire(rate, who)
    run(acquire_async(rate, who))
    acquire(rate, who)
    assert wait_of(acquire, rate, who) > 99
    assert wait_of(lambda: run(acquire_async(rate, who))) > 99
    assert wait_of(acquire, rate, uuid.uuid4()) == 0, "somebody else's are not counted"
    assert len(warnings(caplog)) == 1


def test_a_redis_that_hangs_is_asked_once(limited, who, tmp_path, caplog):
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "redis.sock"))
        hanging.listen()
        run(acquire_async(Rate("test", 1, 100), who))
        for _ in range(100):
            acquire(Rate("test", 1000, 100), uuid.uuid4())
            assert run(admit({who: 1000}))
        hanging.setblocking(False)
        for _ in range(2):
            hanging.accept()[0].close()
        with suppress(BlockingIOError):  # perhaps one look whether it is back
            hanging.accept()[0].close()
        with pytest.raises(BlockingIOError):
            hanging.accept()
    assert len(warnings(caplog)) == 1


def test_limits_hold_again_once_redis_is_back(limited, site, who, tmp_path):
    """Redis' counts apply again; meanwhile each process counted alone."""
    rate = Rate("test", 1000, 100)
    acquire(rate, who)
    redis.Redis.from_url(site.environment["REDIS_URL"]).set(f"netra.limit.test.{who}", time.time() + 200_000)
    (tmp_path / "redis.sock").symlink_to(site.redis_socket)
    wait_until(lambda: wait_of(acquire, rate, who) > 0, "the limit of all processes to hold")


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_rate_burst_of_hundreds_at_once_lets_through_what_is_allowed(shared, who, way, caplog):
    """Far more checks at once than there are connections: none of it is a sign that Redis is away."""
    rate = Rate("test", 50, 1000)

    async def spend():
        try:
            await acquire_async(rate, who)
        except ProtocolError:
            return 0
        return 1

    async def all_at_once():
        return sum(await asyncio.gather(*(spend() for _ in range(1000))))

    if way == "tasks":
        assert run(all_at_once()) == 50
    else:
        with ThreadPoolExecutor(300) as pool:
            waits = list(pool.map(lambda _: wait_of(acquire, rate, who), range(900)))
        assert waits.count(0) == 50
    assert warnings(caplog) == []


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_rate_burst_beside_another_process_counts_both(shared, settings, who, way, caplog):
    """Calls of other processes count in the middle of a burst, too."""
    rate = Rate("test", 1000, 1000)
    used = time.time() + (1000 - 50) * 1000  # fifty are left of them
    redis.Redis.from_url(settings.REDIS_URL).set(f"netra.limit.test.{who}", used)
    if way == "tasks":

        async def spend():
            await acquire_async(rate, who)

        async def all_at_once():
            return await asyncio.gather(*(spend() for _ in range(600)), return_exceptions=True)

        assert run(all_at_once()).count(None) == 50
    else:
        with ThreadPoolExecutor(300) as pool:
            waits = list(pool.map(lambda _: wait_of(acquire, rate, who), range(600)))
        assert waits.count(0) == 50
    assert warnings(caplog) == []


def test_rate_busy_event_loop_is_no_outage(shared, who, caplog):
    """The loop does something else for longer than Redis may take to answer."""
    rate = Rate("test", 2, 1000)

    async def busy():
        spent = [asyncio.ensure_future(acquire_async(rate, who)) for _ in range(5)]
        await asyncio.sleep(0)
        end = time.monotonic() + 2 * REDIS_TIMEOUT_SECONDS
        while time.monotonic() < end:
            pass
        return (await asyncio.gather(*spent, return_exceptions=True)).count(None)

    assert run(busy()) == 2
    assert warnings(caplog) == []


def test_rate_cancelled_checks_are_no_outage(shared, who, caplog):
    rate = Rate("test", 1000, 1000)

    async def cancelled():
        for number in range(300):
            task = asyncio.ensure_future(acquire_async(rate, who))
            for _ in range(number % 3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await acquire_async(Rate("other", 1, 1000), who)
        with pytest.raises(ProtocolError):
            await acquire_async(Rate("other", 1, 1000), who)

    run(cancelled())
    assert warnings(caplog) == []


def test_rate_connection_that_redis_closed_is_no_outage(shared, settings, who, caplog):
    rate = Rate("test", 1000, 1000)
    acquire(rate, who)
    server = redis.Redis.from_url(settings.REDIS_URL)
    server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    server.set(f"netra.limit.test.{who}", time.time() + 2_000_000)
    assert wait_of(acquire, rate, who) > 0, "it was asked, on a new connection"
    assert warnings(caplog) == []


def test_rate_one_late_answer_is_no_outage(shared, settings, who, caplog):
    rate = Rate("test", 1000, 1000)
    acquire(rate, who)
    server = redis.Redis.from_url(settings.REDIS_URL)
    server.set(f"netra.limit.test.{who}", time.time() + 2_000_000)
    server.client_pause(int(1200 * REDIS_TIMEOUT_SECONDS))
    assert wait_of(acquire, rate, who) > 0
    assert warnings(caplog) == []


def test_rate_bad_key_of_one_check_opens_no_other(shared, settings, who, caplog):
    rate, server = Rate("test", 1000, 1000), redis.Redis.from_url(settings.REDIS_URL)
    server.rpush("netra.limit.test.bad", "no number")
    server.set(f"netra.limit.test.{who}", time.time() + 2_000_000)

    async def both():
        return await asyncio.gather(acquire_async(rate, "bad"), acquire_async(rate, who), return_exceptions=True)

    bad, good = run(both())
    server.delete("netra.limit.test.bad")
    assert bad is None
    assert isinstance(good, ProtocolError)
    assert wait_of(acquire, rate, who) > 0
    (warning,) = warnings(caplog)
    assert "WRONGTYPE" in warning


def test_places_burst_admits_what_is_allowed(shared, who, caplog):
    async def all_at_once():
        return await asyncio.gather(*(admit({f"test.{who}": 50}) for _ in range(600)))

    assert run(all_at_once()).count(True) == 50
    assert warnings(caplog) == []


def test_limits_can_be_off(shared, settings, who):
    settings.NETRA_RATE_LIMITS = False
    rate, frames = Rate("test", 1, 100), FrameLimiter()
    for _ in range(1000):
        acquire(rate, who)
        frames.acquire(1)
    assert run(admit({who: 0}))


def test_the_frames_of_a_socket(limited):
    frames = FrameLimiter()
    waits = [wait_of(frames.acquire, 1) for _ in range(2000)]
    assert waits[: protocol.FRAME_BURST] == [0] * protocol.FRAME_BURST
    assert waits[-1] > 0
    assert limits.frame_weight("x" * protocol.MAX_FRAME) == 9
    assert limits.frame_weight("{}", resumes=True) == 4


# ---- How many at once ------------------------------------------------------------------------------------


def test_places_are_taken_and_given_back(shared, who):
    async def play():
        two = {f"test.{who}": 2}
        assert await admit(two)
        assert await admit(two)
        assert not await admit(two)
        leave(two)
        assert await admit(two)
        both = {f"test.other.{who}": 1, **two}
        assert not await admit(both), "one of its places is not free"
        leave(two)
        assert await admit(both)

    run(play())


def test_places_of_other_processes_count_while_they_live(shared, settings, who):
    name = f"test.{who}"
    server = redis.Redis.from_url(settings.REDIS_URL)
    server.hset(f"netra.limit.{name}", "another", 3)
    server.set("netra.limit.process.another", 1)
    assert not run(admit({name: 3}))
    assert run(admit({name: 4}))
    server.delete("netra.limit.process.another")
    assert run(admit({name: 2}))
    assert b"another" not in server.hgetall(f"netra.limit.{name}")


def test_a_process_counts_its_own_without_redis(limited, who):
    async def play():
        return [await admit({who: 2}) for _ in range(3)]

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
    settings.NETRA_TRUSTED_PROXIES = proxies
    assert client_ip.address(peer, forwarded) == found


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
        server.set(keys[-1], time.time() + (0 if full else rate.burst * rate.interval + 60))

    yield bucket
    server.delete(*keys)


@pytest.mark.parametrize(
    ("method", "path", "body", "rate"),
    [
        ("GET", "/api/threads", None, REQUESTS),
        ("GET", "/auth/me", None, REQUESTS),
        ("POST", "/api/messages", {"content": "x"}, MESSAGES),
        ("POST", f"/api/threads/{uuid.UUID(int=1)}/messages", {"content": "x"}, MESSAGES),
        ("POST", f"/api/messages/{uuid.UUID(int=1)}/regenerate", {}, MESSAGES),
        ("POST", "/api/agents/execute", {"content": "x", "agent": "echo"}, MESSAGES),
        ("POST", "/api/attachments", None, UPLOADS),
    ],
)
def test_too_many_requests_of_a_user(bucket, alice, bob, method, path, body, rate):
    def ask(user):
        headers = {"Authorization": f"Bearer {sessions.sign_in(user, '').access}", "Prefer": "respond-async"}
        return Client().generic(method, path, json.dumps(body), "application/json", headers=headers)

    bucket(rate, alice.pk, full=False)
    bucket(rate, bob.pk, full=True)
    assert refused(ask(alice))
    assert ask(bob).status_code != 429
    assert not Run.objects.filter(user=alice).exists()


@pytest.mark.parametrize(("path", "rate"), [("/auth/register", REGISTRATIONS), ("/auth/login", SIGN_INS)])
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


# ---- Bursts of a client's own making ---------------------------------------------------------------------


def burst(site, requests, at_once=300):
    """Post these requests (keyword arguments of httpx), `at_once` at a time.

    Returns the number of answers by status, and the seconds that it took.
    """

    async def send():
        limits = httpx.Limits(max_connections=at_once)
        async with httpx.AsyncClient(base_url=site.url, limits=limits, timeout=600) as client:
            return await asyncio.gather(*(client.post(**request) for request in requests))

    began = time.monotonic()
    answers = asyncio.run(send())
    return Counter(answer.status_code for answer in answers), time.monotonic() - began


@pytest.mark.parametrize("uploads", [300, pytest.param(900, marks=pytest.mark.alone)])
def test_uploads_burst_stores_what_is_allowed(site, uploads):
    user = site.register("burst")
    request = {
        "url": "/api/attachments",
        "headers": {"Authorization": f"Bearer {user.access}"},
        "files": {"file": ("a.csv", b"model,cost\na,1\n", "text/csv")},
    }
    codes, seconds = burst(site, [request] * uploads)
    site.shell(
        "from pathlib import Path\nfrom chat.models import Attachment\n"
        f"Path({str(site.folder / 'stored')!r}).write_text(str(Attachment.objects.filter(user={user.id}).count()))"
    )
    assert codes.keys() == {201, 429}
    assert int((site.folder / "stored").read_text()) == codes[201]
    assert UPLOADS.burst <= codes[201] <= UPLOADS.burst + seconds / UPLOADS.interval + 1
    assert "netra.limits" not in site.log("web")


def test_sign_ins_burst_tries_ten_passwords(own_site):
    """Hashing takes tenths of a second: meanwhile all others would have been let through."""
    site = own_site(workers=0)
    user = site.register("victim")
    requests = [
        {"url": "/auth/login", "json": {"email": user.email, "password": f"wrong horse {number}"}}
        for number in range(40)
    ]
    codes, _ = burst(site, requests)
    assert codes == {401: 10, 429: 30}


@pytest.mark.alone
def test_sign_ins_burst_of_many_accounts_is_limited_by_address(own_site):
    site = own_site(workers=0)
    site.register("other")
    requests = [
        {"url": "/auth/login", "json": {"email": f"nobody{number}@example.com", "password": "wrong horse battery"}}
        for number in range(200)
    ]
    codes, seconds = burst(site, requests)
    assert codes.keys() == {401, 429}
    assert SIGN_INS.burst <= codes[401] <= SIGN_INS.burst + seconds / SIGN_INS.interval + 1
    assert "netra.limits" not in site.log("web")


def test_uploads_redis_dies_are_taken_and_limited_again_once_it_is_back(brisk):
    user = brisk.register("meanwhile")

    def upload():
        headers, file = {"Authorization": f"Bearer {user.access}"}, ("a.csv", b"model,cost\na,1\n", "text/csv")
        return httpx.post(
            f"{brisk.url}/api/attachments", headers=headers, files={"file": file}, timeout=WAIT_TIMEOUT
        ).status_code

    assert upload() == 201
    brisk.redis.kill()
    brisk.redis.wait()
    assert [upload() for _ in range(3)] == [201] * 3
    brisk.start_redis()
    with redis.Redis(unix_socket_path=str(brisk.redis_socket)) as server:
        server.set(f"netra.limit.uploads.{user.id}", time.time() + 3600)
    wait_until(lambda: upload() == 429, "the limit of all processes to hold again")
