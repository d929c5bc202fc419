"""Faults around a running site, one at a time; tools/chaos.py combines them.

docs/reliability.md says which test stands for which fault.
"""

import resource
import signal
import uuid
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.site import WAIT_TIMEOUT, memory, wait_until
from tools.abuse import MIN_ROUNDS, abuse, asked, beside
from tools.chaos import log_of


def test_a_burst_of_events_arrives_whole(site):
    alice = site.register("alice")
    socket = alice.connect()
    accepted = socket.ask("10000", "pensive")
    while socket.next()["type"] != "agent_completed":
        if len(socket.got) % 500 == 0:
            socket.send({"type": "ping"})  # as every client does now and then
    events = socket.events(accepted["thread_id"])
    assert [event["seq"] for event in events] == list(range(1, 10_004))
    assert [event["reasoning"] for event in events[2:-1]] == [str(number) for number in range(10_000)]


def test_run_with_ten_wake_ups_is_executed_once(site, tmp_path):
    alice, gate = site.register("alice"), tmp_path / "gate"
    socket = alice.connect()
    accepted = socket.ask(str(gate), "gated")
    site.shell(
        "from chat.realtime.channel_layer import WORKERS, publish\n"
        "for _ in range(10):\n    publish(WORKERS, {'type': 'run'})\n",
        publishes=True,
    )
    gate.touch()
    assert socket.answer(accepted["run_id"])["attempt"] == 1
    kinds = [event["type"] for event in log_of(alice, accepted["thread_id"])]
    assert kinds.count("agent_started") == 1


@pytest.mark.slow
def test_an_agent_that_hangs_is_given_up(own_site):
    site = own_site(NETRA_RUN_TIMEOUT="1")
    alice = site.register("alice")
    socket = alice.connect()
    end = socket.answer(socket.ask("hang", "gated")["run_id"])
    assert (end["type"], end["error_code"], end["attempt"]) == ("agent_failed", "timeout", 1)
    assert socket.answer(socket.ask("one two")["run_id"])["type"] == "agent_completed"


@pytest.mark.slow
def test_run_whose_agent_no_worker_offers_fails(own_site):
    site = own_site(workers=0, NETRA_LEASE_SECONDS="1", NETRA_RUN_TIMEOUT="1")
    alice = site.register("alice")
    socket = alice.connect()
    removed = socket.ask("1", "pensive")
    site.worker(NETRA_AGENTS="")
    end = socket.answer(removed["run_id"])
    assert (end["type"], end["error_code"], end["attempt"]) == ("agent_failed", "unknown_agent", 0)
    assert "pensive" in end["message"]
    assert alice.http("GET", f"/api/runs/{removed['run_id']}").json()["status"] == "failed"
    assert socket.answer(socket.ask("one two")["run_id"])["type"] == "agent_completed"


@pytest.mark.slow
def test_run_waits_for_a_worker_that_offers_its_agent(own_site):
    """While a new version comes to one worker after another, its new agents are unknown to those that are up."""
    site = own_site(workers=0, NETRA_LEASE_SECONDS="1")
    site.worker(NETRA_AGENTS="")
    socket = site.register("alice").connect()
    added = socket.ask("1", "pensive")
    assert socket.answer(socket.ask("one two")["run_id"])["type"] == "agent_completed"
    site.worker()
    assert socket.answer(added["run_id"])["type"] == "agent_completed"


def test_a_locked_database_is_waited_for(site):
    """Nothing is refused, lost or written twice; who only reads is not kept waiting."""
    alice = site.register("alice")
    socket = alice.connect()
    key = str(uuid.uuid4())
    with site.locked():
        socket.send({"type": "user_message", "content": "one two", "agent": "echo", "client_msg_id": key})
        assert alice.http("GET", "/api/threads").json()["threads"] == []
    accepted = socket.receive("message_accepted", client_msg_id=key)
    assert socket.answer(accepted["run_id"])["final_response"] == "one two "
    log = log_of(alice, accepted["thread_id"])
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))


def test_a_worker_is_stopped_though_its_database_does_not_answer(own_site):
    site = own_site(workers=0, NETRA_SHUTDOWN_SECONDS="0.2")
    url = site.environment["DATABASE_URL"]
    if not url.startswith("postgres"):
        pytest.skip("SQLite gives every wait up by itself")
    playing, idle = site.worker(), site.worker(NETRA_AGENTS="")
    socket = site.register("alice").connect()
    socket.ask("on and on", "slow")
    socket.receive("agent_delta")
    with psycopg.connect(url) as held:
        held.execute("LOCK TABLE chat_run, chat_worker IN ACCESS EXCLUSIVE MODE")  # in the workers' own order
        starting = site.start("manage.py", "runagents", log="worker")
        waiting = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        name, registers = held.info.dbname, """ AND query LIKE 'INSERT INTO "chat_worker"%%'"""
        with psycopg.connect(url, autocommit=True) as other:
            for query, least in ((waiting, 3), (waiting + registers, 1)):
                wait_until(lambda q=query, n=least: other.execute(q, [name]).fetchone()[0] >= n, "the workers to wait")
        for worker in (playing, idle, starting):
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait(WAIT_TIMEOUT) for worker in (playing, idle, starting)] == [0, 0, 0]


def test_a_full_disk_acknowledges_nothing(own_site):
    site = own_site()
    if site.environment["DATABASE_URL"].startswith("postgres"):
        pytest.skip("the server's disk is not ours to fill")
    alice = site.register("alice")
    socket = alice.connect()
    socket.answer(socket.ask("one two")["run_id"])
    log = Path(site.environment["DATABASE_URL"].removeprefix("sqlite:///") + "-wal")
    room = log.stat().st_size
    resource.prlimit(site.web.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    frame = {"type": "user_message", "content": "long " * 10_000, "agent": "echo", "client_msg_id": "full"}
    socket.send(frame)
    answer = socket.receive("error", "message_accepted")
    assert (answer["type"], answer["error_code"], answer["ref"]) == ("error", "unavailable", "full")
    assert len(alice.http("GET", "/api/threads").json()["threads"]) == 1
    resource.prlimit(site.web.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    socket.send(frame)
    accepted = socket.receive("message_accepted")
    assert socket.answer(accepted["run_id"])["type"] == "agent_completed"


@pytest.mark.slow
def test_a_connection_that_died_without_a_word_is_dropped(own_site):
    """Nothing answers daphne's pings any more: it closes after interval and time-out."""
    site = own_site()
    site.web.terminate()
    site.web.wait()
    site.web_options = ["--ping-interval", "1", "--ping-timeout", "1"]
    site.start_web()
    alice = site.register("alice")
    dead = site.raw("/ws", f"Authorization: Bearer {alice.access}".encode())
    assert dead.status == 101
    assert dead.ended()


@pytest.mark.alone
def test_abuse_costs_no_memory_and_nobody_else(own_site):
    """Garbage, floods and readers that do not read: afterwards the web process is as large as it was."""
    site = own_site()
    healthy = site.register("alice").connect()
    for _ in range(2):  # what a process needs once it has been busy
        abuse(site)
    before = memory(site.web.pid)
    with beside(partial(abuse, site), MIN_ROUNDS):
        for _ in range(20):  # the abuse ends no sooner than they have
            asked(healthy)
    asked(healthy)
    assert memory(site.web.pid) < 1.2 * before
    assert site.web.poll() is None
    assert site.log("web").count("Traceback") == 0
