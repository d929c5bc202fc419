"""Runs that wait for a person, in a running site whose processes are killed, stopped and restarted."""

import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
import psycopg
import pytest

from tests.conftest import BRISK
from tests.site import Site, wait_until

MARGIN = 30  # seconds that a busy machine may add to the two of an expiry


def open_input(user, number=1):
    """The user's newest open request, once there are so many."""
    found = wait_until(lambda: (one := listed(user)) and len(one) >= number and one, "a request")
    return found[0]


def listed(user):
    return user.http("GET", "/api/inputs").json()["inputs"]


def answer(user, request, **body):
    done = post_answer(user, request, **body)
    assert done.status_code == 200, done.text
    return done.json()


def post_answer(user, request, **body):
    request_id = request.get("id") or request["request_id"]
    return user.http("POST", f"/api/inputs/{request_id}/answer", {"action": "accept", **body})


def kill(*processes, number=signal.SIGKILL):
    for process in processes:
        process.send_signal(number)
        process.wait()


def of(log, kind, **fields):
    return [event for event in log if event["type"] == kind and fields.items() <= event.items()]


def status(user, run_id):
    return user.http("GET", f"/api/runs/{run_id}").json()


def text_of(events):
    """The text that a client shows: what was said since the last restart."""
    shown = ""
    for event in events:
        if event["type"] == "run_restarted":
            shown = ""
        shown += event["delta"] if event["type"] == "agent_delta" else ""
    return shown


def log_of(user, thread_id):
    return user.http("GET", f"/api/threads/{thread_id}/events?after=0").json()["events"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_every_process_restarted_while_a_run_waits(own_site, tmp_path, number):
    """The request is answerable as soon as the web process is there; the run continues once a worker is."""
    site: Site = own_site(workers=1, **BRISK)
    user, notes = site.register("waiting"), tmp_path / "notes"
    socket = user.connect()
    accepted = socket.ask(str(notes), "asking")
    run_id, thread_id = accepted["run_id"], accepted["thread_id"]
    socket.receive("run_waiting")
    for process in (*site.workers, site.web, site.redis):
        process.send_signal(number)
        process.wait()
    site.repair()
    request = open_input(user)
    assert status(user, run_id)["status"] == "waiting"
    socket = user.connect()
    socket.send({"type": "resume", "thread_id": thread_id, "after": 0})
    socket.receive("resumed")
    socket.send({"type": "answer_input", "request_id": request["id"], "action": "accept", "content": "second"})
    assert socket.receive("answer_accepted")["status"] == "accepted"
    approval = open_input(user)
    wait_until(lambda: status(user, run_id)["status"] == "waiting", "the second wait")
    for process in list(site.workers):
        process.send_signal(number)
        process.wait()
    answer(user, approval, parameters={**approval["parameters"], "line": "edited"})
    site.repair()
    end = socket.receive("agent_completed", run_id=run_id)
    assert end["final_response"] == "before between after 2" == text_of(log_of(user, thread_id))
    assert notes.read_text().splitlines() == ["first", "edited"]
    kinds = [event["type"] for event in log_of(user, thread_id)]
    assert kinds.count("run_waiting") == kinds.count("run_resumed") == 2
    assert "run_restarted" not in kinds
    assert status(user, run_id)["attempt"] == 1


def test_waiting_runs_hold_no_slot(own_site, tmp_path):
    site: Site = own_site(workers=0, **BRISK, NETRA_WORKER_CONCURRENCY="1")
    site.worker()
    user = site.register("many")
    socket = user.connect()
    for number in range(10):
        socket.ask(str(tmp_path / str(number)), "asking")
        socket.receive("run_waiting")
    run = socket.ask("one two", "echo")
    assert socket.answer(run["run_id"])["final_response"] == "one two "
    assert len(listed(user)) == 10


def test_a_stop_ends_a_waiting_run(brisk, tmp_path):
    user = brisk.register()
    socket = user.connect()
    accepted = socket.ask(str(tmp_path / "notes"), "asking")
    request = open_input(user)
    socket.receive("run_waiting")
    socket.send({"type": "stop_agent", "run_id": accepted["run_id"]})
    assert socket.receive("input_resolved")["status"] == "cancelled"
    socket.receive("agent_cancelled")
    late = user.http("POST", f"/api/inputs/{request['id']}/answer", {"action": "accept", "content": "late"})
    assert (late.status_code, late.json()["status"]) == (409, "cancelled")
    other = brisk.register().http("GET", f"/api/inputs/{request['id']}")
    assert other.status_code == 404


# ---- One fault after the other ----


def test_a_worker_killed_between_the_question_and_the_wait_leaves_one_form(brisk, tmp_path):
    """An answer that is given while no worker is there is used by the next attempt."""
    user, gate = brisk.register(), tmp_path / "gate"
    socket = user.connect()
    accepted = socket.ask(str(gate), "settling")
    request = socket.receive("input_requested")
    kill(*brisk.workers)
    answer(user, request, content="tea")
    gate.touch()
    brisk.repair()
    assert socket.answer(accepted["run_id"])["final_response"] == "tea"
    log = log_of(user, accepted["thread_id"])
    assert {event["request_id"] for event in log if "request_id" in event} == {request["request_id"]}
    for kind in ("input_requested", "input_resolved"):
        assert len([event for event in of(log, kind) if not event.get("reused")]) == 1
    assert (of(log, "run_waiting"), status(user, accepted["run_id"])["attempt"]) == ([], 2)


def test_a_web_process_killed_at_the_commit_of_an_answer(brisk, tmp_path):
    """The request is resolved with its event and requeue, or open; the client sends its answer again."""
    user = brisk.register()
    socket = user.connect()
    accepted = socket.ask("600", "timed")
    socket.receive("run_waiting")
    request = open_input(user)
    with ThreadPoolExecutor() as pool:
        with brisk.locked():
            posted = pool.submit(post_answer, user, request, content="tea")
            assert status(user, accepted["run_id"])["status"] == "waiting"  # a request behind it: it has arrived
        kill(brisk.web)
        assert isinstance(posted.exception(), httpx.TransportError) or posted.result().status_code == 200
    brisk.repair()
    found = user.http("GET", f"/api/inputs/{request['id']}").json()["status"]
    resolved = of(log_of(user, accepted["thread_id"]), "input_resolved")
    assert (found, len(resolved)) in (("open", 0), ("accepted", 1))
    assert answer(user, request, content="tea")["status"] == "accepted"
    wait_until(lambda: status(user, accepted["run_id"])["status"] == "completed", "the end")
    log = log_of(user, accepted["thread_id"])
    assert (len(of(log, "input_resolved")), text_of(log)) == (1, "tea")


def test_a_worker_killed_in_an_approved_tool_starts_it_once_for_each_approval(brisk, tmp_path):
    user, notes = brisk.register(), tmp_path / "notes"
    socket = user.connect()
    accepted = socket.ask(str(notes), "perilous")
    answer(user, socket.receive("input_requested"))
    wait_until(lambda: brisk.workers[-1].poll() is not None, "the end of the worker")
    brisk.repair()
    again = socket.receive("input_requested", reason="interrupted")
    socket.receive("run_waiting")
    assert notes.read_text().splitlines() == ["noted"]
    answer(user, again)
    assert socket.answer(accepted["run_id"])["final_response"] == "before noted"
    assert notes.read_text().splitlines() == ["noted", "noted"]
    log = log_of(user, accepted["thread_id"])
    starts = [event for event in of(log, "tool_executing") if not event.get("reused")]
    accepts = [event for event in of(log, "input_resolved", status="accepted") if not event.get("reused")]
    assert (len(starts), len(accepts), text_of(log)) == (2, 2, "before noted")


def test_a_worker_frozen_while_it_settles_writes_nothing_when_it_wakes(brisk, tmp_path):
    user, gate = brisk.register(), tmp_path / "gate"
    socket = user.connect()
    accepted = socket.ask(str(gate), "settling")
    request = socket.receive("input_requested")
    frozen = next(worker for worker in brisk.workers if worker.poll() is None)
    frozen.send_signal(signal.SIGSTOP)
    second = brisk.worker()
    socket.receive("run_restarted", reason="worker_lost")
    gate.touch()
    socket.receive("run_waiting")
    before = log_of(user, accepted["thread_id"])
    kill(second)
    frozen.send_signal(signal.SIGCONT)
    assert socket.answer(socket.ask("one two")["run_id"])["final_response"] == "one two "  # by who was frozen
    assert log_of(user, accepted["thread_id"]) == before
    assert status(user, accepted["run_id"])["inputs"] == [request["request_id"]]
    answer(user, request, content="tea")
    assert socket.answer(accepted["run_id"])["final_response"] == "tea"


def test_a_worker_stopped_while_it_settles_hands_the_run_back_with_its_request(brisk, tmp_path):
    user, gate = brisk.register(), tmp_path / "gate"
    socket = user.connect()
    accepted = socket.ask(str(gate), "settling")
    request = socket.receive("input_requested")
    kill(*(worker for worker in brisk.workers if worker.poll() is None), number=signal.SIGTERM)
    found = status(user, accepted["run_id"])
    assert (found["status"], found["inputs"]) == ("queued", [request["request_id"]])
    gate.touch()
    brisk.repair()
    socket.receive("run_waiting")
    assert status(user, accepted["run_id"])["attempt"] == 1
    answer(user, request, content="tea")
    assert socket.answer(accepted["run_id"])["final_response"] == "tea"


@pytest.mark.parametrize("ahead", [300, -300])
def test_clocks_of_worker_and_web_process_decide_no_expiry(own_site, ahead):
    """The times of a request are the database's: it is open for as long as it says, and expired then."""
    clock = {"DJANGO_SETTINGS_MODULE": "tests.clock_settings", "TEST_CLOCK_AHEAD": str(ahead)}
    site: Site = own_site(workers=1, **BRISK, **clock)
    user = site.register()
    socket = user.connect()
    accepted = socket.ask("120", "timed")
    socket.receive("run_waiting")
    request = open_input(user)
    lasts = datetime.fromisoformat(request["expires_at"]) - datetime.fromisoformat(request["created_at"])
    assert 60 < lasts.total_seconds() <= 120
    answer(user, request, content="tea")
    assert socket.answer(accepted["run_id"])["final_response"] == "tea"
    accepted = socket.ask("0.5", "timed")
    end = socket.answer(accepted["run_id"])
    assert (end["type"], end["error_code"]) == ("agent_failed", "input_expired")
    (expired,) = user.http("GET", f"/api/inputs?status=all&run_id={accepted['run_id']}").json()["inputs"]
    late = datetime.fromisoformat(expired["resolved_at"]) - datetime.fromisoformat(expired["expires_at"])
    assert 0 <= late.total_seconds() < 2 + MARGIN


@pytest.mark.parametrize("fault", ["killed", "flushed", "frozen"])
def test_redis_away_at_question_and_answer_costs_time_only(brisk, tmp_path, fault):
    """The run waits, is answered, continues and ends without Redis; the socket heals by itself."""
    user, notes = brisk.register(), tmp_path / "notes"
    socket = user.connect()
    if fault == "killed":
        kill(brisk.redis)
    elif fault == "frozen":
        brisk.redis.send_signal(signal.SIGSTOP)
    try:
        accepted = socket.ask(str(notes), "asking")
        for body in ({"content": "second"}, {}):
            wait_until(lambda: status(user, accepted["run_id"])["status"] == "waiting", "the run to wait")
            if fault == "flushed":
                brisk.flush_redis()
            (request_id,) = status(user, accepted["run_id"])["inputs"]
            assert answer(user, {"id": request_id}, **body)["status"] == "accepted"
        assert socket.answer(accepted["run_id"])["final_response"] == "before between after 2"
    finally:
        brisk.redis.send_signal(signal.SIGCONT)
        brisk.repair()
    log = log_of(user, accepted["thread_id"])
    assert [event["seq"] for event in socket.events(accepted["thread_id"])] == [event["seq"] for event in log]
    assert notes.read_text().splitlines() == ["first", "second"]


def test_a_database_locked_at_suspension_and_answer_is_waited_for(brisk, tmp_path):
    """A client may be told that the service is unavailable. Then it sends its answer again."""
    user, gate = brisk.register(), tmp_path / "gate"
    socket = user.connect()
    accepted = socket.ask(str(gate), "settling")
    request = socket.receive("input_requested")
    with brisk.locked():
        gate.touch()  # the run may wait as soon as its call is recorded
        assert status(user, accepted["run_id"])["status"] == "running"
    socket.receive("run_waiting")
    with ThreadPoolExecutor() as pool:
        with brisk.locked():
            posted = pool.submit(post_answer, user, request, content="tea")
            assert status(user, accepted["run_id"])["status"] == "waiting"
        if posted.result().status_code != 200:
            assert posted.result().json()["error"] == "unavailable"
            answer(user, request, content="tea")
    assert socket.answer(accepted["run_id"])["final_response"] == "tea"
    kinds = [event["type"] for event in log_of(user, accepted["thread_id"])]
    assert [kinds.count(kind) for kind in ("run_waiting", "input_resolved", "run_resumed")] == [1, 1, 1]


def test_no_secret_is_in_an_event_a_row_or_a_log(own_site, tmp_path):
    """Also not of a request that is refused, and of an agent that fails with the answer in its hands."""
    site: Site = own_site(workers=1, **BRISK, NETRA_MODEL_KEY="sk-only-in-the-environment")
    user, notes = site.register(), tmp_path / "notes"
    socket = user.connect()
    accepted = socket.ask(str(notes), "asking")
    socket.receive("run_waiting")
    request = open_input(user)
    refused = post_answer(user, request, content={"value": "tea", "token": user.access})
    assert refused.status_code == 422
    assert user.access not in refused.text
    answer(user, request, content="tea")
    wait_until(lambda: len(of(log_of(user, accepted["thread_id"]), "run_waiting")) == 2, "the second wait")
    answer(user, open_input(user))
    socket.answer(accepted["run_id"])
    secrets = {
        name: value
        for name, value in {**site.environment, "access": user.access, "refresh": user.refresh}.items()
        if name in ("SECRET_KEY", "NETRA_MODEL_KEY", "access", "refresh")
    } | {"password": user.password}
    kill(*site.workers, site.web, number=signal.SIGTERM)
    texts = {path.name: path.read_text(errors="replace") for path in site.folder.glob("*.log")}
    texts |= rows_of(site.environment["DATABASE_URL"])
    assert texts.keys() >= {"web.log", "worker.log", "chat_event", "chat_inputrequest", "chat_auditrecord"}
    assert "input_requested" in texts["chat_event"]
    found = [(name, place) for name, value in secrets.items() for place, text in texts.items() if value in text]
    assert found == []


def rows_of(url):
    """The rows of every table as text."""
    if url.startswith("postgres"):
        with psycopg.connect(url) as database:
            names = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            return {name: str(database.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in names}
    database = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: str(database.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in names}
    finally:
        database.close()
