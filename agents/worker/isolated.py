"""Runs in a process of their own.

The last attempt of a run that has already lost its workers may kill its process. It is executed in an isolated process,
so that it cannot fail the other runs of the worker. The worker keeps the run's lease meanwhile.
"""

import asyncio
import json
import logging
import signal
import sys
from dataclasses import asdict
from tempfile import TemporaryFile

from django.conf import settings

from agents.worker import retry
from chat import runs
from chat.db.access import in_database
from chat.exposition import WorkerRegistry
from chat.models import Run
from chat.runs import ClaimedRun, RunBatch, RunOutcome
from chat.runs.slots import SlotQueue, Slots

log = logging.getLogger("netra.worker")
MAX_PROCESSES = 8  # at a time: each needs as much memory as a worker; one user alone has a share of half of them
KILL_TIMEOUT = 10  # seconds for a process to end after its run was revoked
REQUEUE_TIMEOUT = 1.5  # seconds for a process to hand its run back at the end of a shutdown


def read_claim(text: str) -> ClaimedRun:
    """Return the claimed run that a worker wrote to its isolated process. Raises ValueError, TypeError."""
    return ClaimedRun(**json.loads(text))


class IsolatedProcesses:
    """The isolated processes of a worker, and the runs that wait for a slot among them."""

    def __init__(self, registry: WorkerRegistry) -> None:
        self._registry = registry
        self.slots = SlotQueue[int](Slots(MAX_PROCESSES, settings.NETRA_USER_SHARE))
        self.processes: dict[tuple[str, int], asyncio.subprocess.Process] = {}  # by run and fencing token
        self._waiting: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._draining = False

    async def execute(self, run: ClaimedRun) -> None:
        """Execute the run in a process of its own and return when the process has ended.

        If the process dies or cannot be started, the run stays running: it ends when its lease expires.
        """
        task = asyncio.current_task()
        assert task is not None
        key = run.run_id, run.fencing_token
        must_wait = self.slots.must_wait(run.user_id)
        try:
            if must_wait:  # the time limit of the run does not include the wait for a slot
                self._waiting[key] = task
                await retry.attempt(lambda: in_database(runs.set_run_timer, run, False))
            async with self.slots.acquire(run.user_id):
                if not must_wait or await retry.until_available(lambda: in_database(runs.set_run_timer, run, True)):
                    self._waiting.pop(key, None)
                    await self._execute_with_metrics(run)
        except asyncio.CancelledError:  # a shutdown; or the run was revoked while it waited, then this changes nothing
            await retry.attempt(lambda: self._requeue(run))
            raise
        finally:
            self._waiting.pop(key, None)

    def drain(self) -> None:
        """Ask every process to hand its run back and to exit."""
        self._draining = True
        for process in self.processes.values():
            self._signal(process, signal.SIGTERM)

    def revoke(self, run: ClaimedRun) -> None:
        """End the process of a run that this worker no longer owns, or its wait for a slot.

        The process notices the revocation itself. A process that hangs is killed after KILL_TIMEOUT.
        """
        key = run.run_id, run.fencing_token
        if process := self.processes.get(key):
            asyncio.get_running_loop().call_later(KILL_TIMEOUT, self._signal, process, signal.SIGKILL)
        elif task := self._waiting.get(key):
            task.cancel()

    async def _execute_with_metrics(self, run: ClaimedRun) -> None:
        with TemporaryFile() as figures:
            await self._execute_in_process(run, figures.fileno())
            figures.seek(0)
            self._registry.add(figures.read())

    async def _execute_in_process(self, run: ClaimedRun, figures: int) -> None:
        command = (sys.executable, sys.argv[0], "runagents", "--claimed", "--figures", str(figures))
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, pass_fds=[figures])
        except OSError:
            log.exception("run %s: the isolated process cannot be started", run.run_id)
            return
        self.processes[run.run_id, run.fencing_token] = process
        try:
            if self._draining:  # `drain` was called before the process was in `processes`
                self._signal(process, signal.SIGTERM)
            await process.communicate(json.dumps(asdict(run), default=str).encode())
        except asyncio.CancelledError:  # a shutdown: the process hands its run back, unless it hangs
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait([ended], timeout=REQUEUE_TIMEOUT)
            self._signal(process, signal.SIGKILL)
            await ended
            raise
        finally:
            self.processes.pop((run.run_id, run.fencing_token))
            self._signal(process, signal.SIGKILL)
        log.info("run %s: its isolated process ended with %s", run.run_id, process.returncode)
        if self._draining and process.returncode in (0, -signal.SIGTERM):  # it may have ended before it read the run
            await retry.attempt(lambda: self._requeue(run))

    @staticmethod
    async def _requeue(run: ClaimedRun) -> None:
        await in_database(runs.record, [RunBatch(run, end=RunOutcome(Run.QUEUED, usage=run.usage, refund=True))])

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: int) -> None:
        if process.returncode is None:
            process.send_signal(number)
