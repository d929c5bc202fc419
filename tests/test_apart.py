"""A last attempt, in a process of its own: what becomes of it when that process hangs, or is stopped as it starts; what
becomes of any attempt that is stopped as it starts; of a worker that claims anew what it was playing itself; and what
it takes for one to end the runs that nobody plays."""

import asyncio
import sys
import threading
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.db.models.functions import Now
from prometheus_client.parser import text_string_to_metric_families

from agents import worker
from agents.echo import echo
from agents.worker import Worker
from chat import database, metrics, runs
from chat.database import in_database
from chat.models import Run
from chat.models import Worker as WorkerRow
from tests.site import PATIENCE
from tests.test_runs import claim_one, message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def last(alice, settings, tmp_path, monkeypatch):
    """A claim of a last attempt, whose process does nothing."""
    settings.NETRA_MAX_ATTEMPTS, settings.NETRA_LEASE_SECONDS = 2, 60
    process = tmp_path / "process.py"
    process.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(sys, "argv", [str(process)])
    monkeypatch.setattr(worker, "PATIENCE", 0.05)
    monkeypatch.setattr(worker, "HANDING_BACK", 0.05)
    runs.start(alice.id, message())
    claim_one()
    Run.objects.update(lease_until=Now() - timedelta(seconds=1), usage={"tokens": 1})
    run = claim_one()
    assert run.last
    return run


def played(run, then):
    """Play it, and do that as soon as its process runs."""

    async def play():
        async with asyncio.timeout(PATIENCE):
            playing = Worker({}, 1)
            await playing._register()
            playing._start(run)
            (task,) = playing._playing
            while not playing._apart and not task.done():  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0.01)
            await then(playing)
            await asyncio.wait([task])

    asyncio.run(play())


def test_a_process_that_hangs_after_its_run_was_stopped_is_killed(alice, last):
    async def stop(playing):
        await in_database(runs.cancel, alice.id)
        await playing._beat()

    played(last, stop)
    assert Run.objects.get().status == Run.CANCELLED


def test_a_process_that_is_drained_before_it_listens_costs_no_attempt(last):
    async def drain(playing):
        playing.drain()

    played(last, drain)
    run = Run.objects.get()
    assert (run.status, run.attempt, run.usage) == (Run.QUEUED, 1, {"tokens": 1})


def test_a_process_that_hangs_is_not_waited_for_at_the_end_of_a_drain(last):
    async def give_up(playing):
        for task in playing._playing:
            task.cancel()

    played(last, give_up)
    run = Run.objects.get()
    assert (run.status, run.attempt) == (Run.QUEUED, 1)


def test_the_time_in_which_it_waits_for_room_is_not_its_own(last, settings, monkeypatch):
    monkeypatch.setattr(worker, "APART", 0)
    settings.NETRA_RUN_TIMEOUT = 0

    async def play():
        async with asyncio.timeout(PATIENCE):
            playing = Worker({}, 1)
            await playing._register()
            playing._start(last)
            (task,) = playing._playing
            while await in_database(Run.objects.filter(claimed_at__isnull=False).exists):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            waiting = await in_database(runs.sweep)
            playing._room.release()
            while not playing._apart:  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0.01)
            begun = await in_database(runs.sweep)
            await playing._beat()
            await asyncio.wait([task])
            return waiting, begun

    assert asyncio.run(play()) == (0, 1)
    assert Run.objects.get().error_code == "timeout"


@pytest.mark.parametrize("noticed", [True, False])
def test_what_ended_while_it_waited_for_room_is_not_started(alice, last, monkeypatch, tmp_path, noticed):
    """It gives its slot back as soon as the heartbeat tells; no process is started even before that."""
    monkeypatch.setattr(worker, "APART", 0)
    begun = tmp_path / "begun"
    (tmp_path / "process.py").write_text(f"open({str(begun)!r}, 'w')\n")

    async def play():
        async with asyncio.timeout(PATIENCE / 4):
            playing = Worker({}, 1)
            await playing._register()
            playing._start(last)
            (task,) = playing._playing
            while await in_database(Run.objects.filter(claimed_at__isnull=False).exists):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await in_database(runs.cancel, alice.id)
            if noticed:
                await playing._beat()
            else:
                playing._room.release()
            await asyncio.wait([task])
            return list(playing._playing)

    assert asyncio.run(play()) == []
    assert not begun.exists()
    assert Run.objects.get().status == Run.CANCELLED


def test_a_process_that_cannot_be_started_is_told_of(last, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def play():
        playing = Worker({}, 1)
        playing._start(last)
        (task,) = playing._playing
        await task
        return playing._room.locked()

    assert not asyncio.run(play())
    told = [record.levelname for record in caplog.records if "no process" in record.getMessage()]
    assert told == ["ERROR"]


def test_what_was_used_up_is_kept_when_a_drain_comes_before_anything_else(alice):
    runs.start(alice.id, message())
    runs.record([runs.Entry(claim_one(), [], runs.End(Run.QUEUED, usage={"tokens": 1}, refund=True))])
    run = claim_one()
    gate = threading.Event()

    async def play():
        async with asyncio.timeout(PATIENCE):
            playing = Worker({run.agent: echo}, 1)
            recorder = asyncio.create_task(playing._recorder.run())
            database._reader.call(gate.wait)  # what was said and done before cannot be read yet
            playing._start(run)
            (task,) = playing._playing
            while not playing._recorder._streams:  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0)
            playing.drain()
            task.cancel()
            await asyncio.wait([task])
            gate.set()
            recorder.cancel()

    asyncio.run(play())
    row = Run.objects.get()
    assert (row.status, row.attempt, row.usage) == (Run.QUEUED, 0, {"tokens": 1})


def test_what_a_process_had_counted_when_it_was_killed_is_counted(last, tmp_path):
    (tmp_path / "process.py").write_text(
        "import os, sys\n"
        "sys.stdin.read()\n"
        'told = b\'[["netra_deltas_merged_total", {}, 7], ["netra_events_total", {"type": "told"}, 2]]\'\n'
        "os.pwrite(int(sys.argv[-1]), told, 0)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    def figures():
        families = text_string_to_metric_families(metrics.exposition().decode())
        return {(s.name, s.labels.get("type")): s.value for family in families for s in family.samples}

    async def nothing(playing):
        pass

    before = figures()
    played(last, nothing)
    after = figures()
    assert after["netra_deltas_merged_total", None] == before["netra_deltas_merged_total", None] + 7
    assert after["netra_events_total", "told"] == 2
    assert after["netra_events_total", "agent_failed"] == before["netra_events_total", "agent_failed"]


@pytest.fixture
def unfrozen(alice, settings):
    """unfrozen(agent, then): a worker plays a run and is frozen past its lease; then it claims the run anew, while its
    heartbeat asks about the claim before. `then` comes after that, with the tasks of both claims."""
    settings.NETRA_LEASE_SECONDS = 60

    def play(agent, then):
        runs.start(alice.id, message())
        first = claim_one()
        gate = threading.Event()

        async def frozen():
            async with asyncio.timeout(PATIENCE):
                playing = Worker({first.agent: agent}, 2)
                await playing._register()
                recorder = asyncio.create_task(playing._recorder.run())
                playing._start(first)
                while not playing._recorder._streams:  # noqa: ASYNC110 nobody is told
                    await asyncio.sleep(0)
                await in_database(Run.objects.update, lease_until=Now() - timedelta(seconds=1))
                (old,) = playing._playing
                claims = asyncio.create_task(playing._claim())
                asyncio.get_running_loop().call_soon(database._writer.call, partial(gate.wait, PATIENCE))
                beat = asyncio.create_task(playing._beat())
                while not (new := [task for task, run in playing._playing.items() if run != first]):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                streams = playing._recorder._streams
                while not playing._apart and all(stream.run == first for stream in streams.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                gate.set()
                await beat
                await then(playing, old, *new)
                playing.drain()
                await asyncio.wait([claims])
                recorder.cancel()

        asyncio.run(frozen())

    return play


def test_a_worker_that_was_frozen_plays_its_own_run_anew(unfrozen):
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


def test_a_worker_that_was_frozen_leaves_its_own_new_process_alone(unfrozen, settings, monkeypatch, tmp_path):
    settings.NETRA_MAX_ATTEMPTS = 2
    process, gate, ended = tmp_path / "process.py", tmp_path / "gate", []
    process.write_text(f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n")
    monkeypatch.setattr(sys, "argv", [str(process)])
    monkeypatch.setattr(worker, "PATIENCE", 0)

    async def agent(turn):
        await asyncio.Event().wait()

    async def then(playing, old, new):
        (started,) = playing._apart.values()
        await asyncio.wait([old])  # its agent is stopped, though it says nothing that could not be written
        await playing._beat()
        gate.touch()
        await asyncio.wait([new])
        ended.append(started.returncode)

    unfrozen(agent, then)
    assert ended == [0]


def looks(alice, settings, broken, mended):
    """The status of a run that nobody plays: after a look, one while it is `broken`, one once it is `mended`; and after
    one more."""
    settings.NETRA_RUN_TIMEOUT = 0
    runs.start(alice.id, message())

    async def look():
        looking, found = Worker({}, 1), []
        await looking._register()
        await looking._abandon()
        await in_database(broken)
        await looking._tried(looking._abandon)
        await in_database(mended)
        for _ in range(2):
            await looking._abandon()
            found.append((await in_database(Run.objects.get)).status)
        return found

    return asyncio.run(look())


def test_what_nobody_plays_is_not_ended_over_a_look_that_failed(alice, settings):
    def rename(old, new):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    found = looks(alice, settings, lambda: rename("chat_worker", "gone"), lambda: rename("gone", "chat_worker"))
    assert found == [Run.QUEUED, Run.FAILED]


def test_a_worker_that_is_silent_itself_does_not_judge(alice, settings):
    found = looks(
        alice,
        settings,
        lambda: WorkerRow.objects.update(heartbeat_at=Now() - timedelta(hours=1)),
        lambda: WorkerRow.objects.update(heartbeat_at=Now()),
    )
    assert found == [Run.QUEUED, Run.FAILED]
