"""Isolated processes, and the worker that owns them: processes that hang or fail, shutdowns, repeated claims."""

import asyncio
import sys
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.echo import echo
from agents.worker import isolated, retry, worker
from agents.worker.worker import Worker
from chat import runs
from chat.db.access import from_database, in_database
from chat.exposition import WorkerRegistry
from chat.models import Run
from chat.models import Worker as WorkerRow
from tests.factories import claim_one, message
from tests.site import WAIT_TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def last(alice, settings, tmp_path, monkeypatch):
    """A claim of a last attempt, whose process does nothing."""
    settings.NETRA_MAX_ATTEMPTS, settings.NETRA_LEASE_SECONDS = 2, 60
    process = tmp_path / "process.py"
    process.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(sys, "argv", [str(process)])
    monkeypatch.setattr(isolated, "KILL_TIMEOUT", 0.1)
    monkeypatch.setattr(isolated, "REQUEUE_TIMEOUT", 0.05)
    runs.start(alice.id, message())
    claim_one()
    Run.objects.update(lease_until=Now() - timedelta(seconds=1), usage={"tokens": 1})
    run = claim_one()
    assert run.last
    return run


def execute(run, then, registry=None):
    """Execute the run, and await `then(worker)` as soon as its process runs."""

    async def play():
        async with asyncio.timeout(WAIT_TIMEOUT):
            playing = Worker({}, 1, registry=registry)
            await playing.register()
            playing.start(run)
            (task,) = playing.running
            while not playing.isolated.processes and not task.done():  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0.01)
            await then(playing)
            await asyncio.wait([task])

    asyncio.run(play())


def test_isolated_process_that_hangs_after_cancel_is_killed(alice, last):
    async def stop(playing):
        await in_database(runs.cancel, alice.id)
        await playing.heartbeat()

    execute(last, stop)
    assert Run.objects.get().status == Run.CANCELLED


def test_isolated_process_terminated_before_it_reads_the_run_costs_no_attempt(last):
    async def drain(playing):
        playing.drain()

    execute(last, drain)
    run = Run.objects.get()
    assert (run.status, run.attempt, run.usage) == (Run.QUEUED, 1, {"tokens": 1})


def test_isolated_process_that_hangs_at_shutdown_is_killed(last):
    async def give_up(playing):
        for task in playing.running:
            task.cancel()

    execute(last, give_up)
    run = Run.objects.get()
    assert (run.status, run.attempt) == (Run.QUEUED, 1)


async def started_without_a_slot(run):
    """Start the run while another user holds the only slot. Returns the worker, the other user's slot and the task."""
    worker = Worker({}, 1)
    other = worker.isolated.slots.acquire(0)
    await other.__aenter__()
    await worker.register()
    worker.start(run)
    (task,) = worker.running
    while await in_database(Run.objects.filter(claimed_at__isnull=False).exists):  # noqa: ASYNC110 nobody is told
        await asyncio.sleep(0.01)
    return worker, other, task


def test_isolated_run_waiting_for_a_slot_does_not_time_out(last, settings, monkeypatch):
    monkeypatch.setattr(isolated, "MAX_PROCESSES", 1)
    settings.NETRA_RUN_TIMEOUT = 0

    async def play():
        async with asyncio.timeout(WAIT_TIMEOUT):
            playing, other, task = await started_without_a_slot(last)
            waiting = await in_database(runs.expire_runs)
            await other.__aexit__(None, None, None)
            while not playing.isolated.processes:  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0.01)
            begun = await in_database(runs.expire_runs)
            await playing.heartbeat()
            await asyncio.wait([task])
            return waiting, begun

    assert asyncio.run(play()) == (0, 1)
    assert Run.objects.get().error_code == "timeout"


@pytest.mark.parametrize("noticed", [True, False])
def test_isolated_run_cancelled_while_waiting_for_a_slot_is_not_started(alice, last, monkeypatch, tmp_path, noticed):
    """The heartbeat releases its slot; no process is started even before that."""
    monkeypatch.setattr(isolated, "MAX_PROCESSES", 1)
    begun = tmp_path / "begun"
    (tmp_path / "process.py").write_text(f"open({str(begun)!r}, 'w')\n")

    async def play():
        async with asyncio.timeout(WAIT_TIMEOUT):
            playing, other, task = await started_without_a_slot(last)
            await in_database(runs.cancel, alice.id)
            if noticed:
                await playing.heartbeat()
            else:
                await other.__aexit__(None, None, None)
            await asyncio.wait([task])
            return list(playing.running)

    assert asyncio.run(play()) == []
    assert not begun.exists()
    assert Run.objects.get().status == Run.CANCELLED


def test_isolated_process_that_cannot_be_started_is_logged(last, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def play():
        playing = Worker({}, 1)
        playing.start(last)
        (task,) = playing.running
        await task
        return playing.isolated.slots.must_wait(last.user_id)

    assert not asyncio.run(play())
    told = [record.levelname for record in caplog.records if "cannot be started" in record.getMessage()]
    assert told == ["ERROR"]


def test_execution_drained_before_the_first_read_keeps_the_usage(alice):
    runs.start(alice.id, message())
    runs.record([runs.RunBatch(claim_one(), [], runs.RunOutcome(Run.QUEUED, usage={"tokens": 1}, refund=True))])
    run = claim_one()
    gate = threading.Event()

    async def play():
        async with asyncio.timeout(WAIT_TIMEOUT):
            playing = Worker({run.agent: echo}, 1)
            recorder = asyncio.create_task(playing.event_writer.run())
            blocking = asyncio.create_task(from_database(gate.wait))  # so that earlier events cannot be read yet
            playing.start(run)
            (task,) = playing.running
            while not playing.event_writer.runs:  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0)
            playing.drain()
            task.cancel()
            await asyncio.wait([task])
            gate.set()
            await blocking
            recorder.cancel()

    asyncio.run(play())
    row = Run.objects.get()
    assert (row.status, row.attempt, row.usage) == (Run.QUEUED, 0, {"tokens": 1})


def test_isolated_process_that_is_killed_keeps_its_metrics(last, tmp_path):
    (tmp_path / "process.py").write_text(
        "import os, sys\n"
        "sys.stdin.read()\n"
        'told = b\'[["netra_deltas_merged_total", {}, 7], ["netra_events_total", {"type": "told"}, 2]]\'\n'
        "os.pwrite(int(sys.argv[-1]), told, 0)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    registry = WorkerRegistry()

    def figures():
        families = text_string_to_metric_families(generate_latest(registry).decode())
        return {(s.name, s.labels.get("type")): s.value for family in families for s in family.samples}

    async def nothing(playing):
        pass

    before = figures()
    execute(last, nothing, registry)
    after = figures()
    assert after["netra_deltas_merged_total", None] == before["netra_deltas_merged_total", None] + 7
    assert after["netra_events_total", "told"] == 2
    assert after["netra_events_total", "agent_failed"] == before["netra_events_total", "agent_failed"]


@pytest.fixture
def unfrozen(alice, settings):
    """Let a worker execute a run, be frozen past its lease and claim the run again: `unfrozen(agent, then)`.

    Its heartbeat meanwhile asks about the claim before. `then` is called after that, with the tasks of both claims.
    """
    settings.NETRA_LEASE_SECONDS = 60

    def play(agent, then):
        runs.start(alice.id, message())
        first = claim_one()
        gate = threading.Event()

        async def frozen():
            async with asyncio.timeout(WAIT_TIMEOUT):
                playing = Worker({first.agent: agent}, 2)
                await playing.register()
                recorder = asyncio.create_task(playing.event_writer.run())
                playing.start(first)
                while not playing.event_writer.runs:  # noqa: ASYNC110 nobody is told
                    await asyncio.sleep(0)
                await in_database(Run.objects.update, lease_until=Now() - timedelta(seconds=1))
                (old,) = playing.running
                claims = asyncio.create_task(playing.claim())
                blocking = asyncio.create_task(in_database(gate.wait, WAIT_TIMEOUT))
                beat = asyncio.create_task(playing.heartbeat())
                while not (new := [task for task, run in playing.running.items() if run != first]):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                streams = playing.event_writer.runs
                while not playing.isolated.processes and all(stream.run == first for stream in streams.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                gate.set()
                await asyncio.gather(blocking, beat)
                await then(playing, old, *new)
                playing.drain()
                await asyncio.wait([claims])
                recorder.cancel()

        asyncio.run(frozen())

    return play


def test_worker_frozen_past_its_lease_executes_its_own_run_again(unfrozen):
    go = asyncio.Event()

    async def agent(turn):
        await go.wait()
        return f"attempt {turn.attempt}"

    async def then(playing, old, new):
        go.set()
        await asyncio.wait([old, new])

    unfrozen(agent, then)
    run = Run.objects.get()
    assert (run.status, run.attempt, run.answers.get().content) == (Run.COMPLETED, 2, "attempt 2")


def test_worker_frozen_past_its_lease_keeps_its_new_isolated_process(unfrozen, settings, monkeypatch, tmp_path):
    settings.NETRA_MAX_ATTEMPTS = 2
    process, gate, ended = tmp_path / "process.py", tmp_path / "gate", []
    process.write_text(f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n")
    monkeypatch.setattr(sys, "argv", [str(process)])
    monkeypatch.setattr(worker, "REVOKE_TIMEOUT", 0)
    monkeypatch.setattr(isolated, "KILL_TIMEOUT", 0)

    async def agent(turn):
        await asyncio.Event().wait()

    async def then(playing, old, new):
        (started,) = playing.isolated.processes.values()
        await asyncio.wait([old])  # its agent is stopped, though it says nothing that could not be written
        await playing.heartbeat()
        gate.touch()
        await asyncio.wait([new])
        ended.append(started.returncode)

    unfrozen(agent, then)
    assert ended == [0]


def looks(alice, settings, broken, mended):
    """Return the status of an unserved run after each of two looks.

    The worker has looked once before `broken` and once, in vain, between `broken` and `mended`.
    """
    settings.NETRA_RUN_TIMEOUT = 0
    runs.start(alice.id, message())

    async def look():
        looking, found = Worker({}, 1), []
        await looking.register()
        await looking.unserved.fail_overdue()
        await in_database(broken)
        await retry.attempt(looking.unserved.fail_overdue)
        await in_database(mended)
        for _ in range(2):
            await looking.unserved.fail_overdue()
            found.append((await in_database(Run.objects.get)).status)
        return found

    return asyncio.run(look())


def test_unserved_agents_query_that_fails_restarts_the_period(alice, settings):
    def rename(old, new):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    found = looks(alice, settings, lambda: rename("chat_worker", "gone"), lambda: rename("gone", "chat_worker"))
    assert found == [Run.QUEUED, Run.FAILED]


def test_unserved_agents_without_own_heartbeat_fail_no_run(alice, settings):
    found = looks(
        alice,
        settings,
        lambda: WorkerRow.objects.update(heartbeat_at=Now() - timedelta(hours=1)),
        lambda: WorkerRow.objects.update(heartbeat_at=Now()),
    )
    assert found == [Run.QUEUED, Run.FAILED]
