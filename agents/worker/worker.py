"""The worker process: it claims runs, has their agents executed, keeps the leases, and shuts down."""

import asyncio
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error

from agents.llm import titles
from agents.worker import known_tools, retry
from agents.worker.event_writer import EventWriter
from agents.worker.execution import Executor
from agents.worker.isolated import IsolatedProcesses
from agents.worker.registry import Agent, described
from agents.worker.unserved import UnservedAgents
from chat import runs
from chat.accounts import notifications
from chat.db import search, sql
from chat.db.access import error_name, from_database, in_database
from chat.exposition import MetricsFile, WorkerRegistry
from chat.models import Worker as WorkerRow
from chat.realtime import channel_layer
from chat.runs import ClaimedRun, retention

log = logging.getLogger("netra.worker")
REVOKE_TIMEOUT = 5  # seconds for an agent to end after its run was revoked, before another run gets its slot
SHUTDOWN_STEP_TIMEOUT = 2  # seconds for each database access of a shutdown: a database that hangs must not block it
COMPACT_PERIOD = 60.0  # seconds between two looks for old runs whose deltas can be joined, and for parts of the index
COMPACT_PAUSE = 0.05  # seconds between two of them: events are written in between
CHECKPOINT_PERIOD = 0.25  # seconds between two checkpoints of SQLite: the next commit pays for what they leave


class Worker:
    """Claims and executes up to `concurrency` runs at a time.

    With `only`, it executes this one run, which another worker has claimed, and returns: see agents.worker.isolated.
    The metrics are then saved to `metrics_file`. `registry` gets the metrics of this worker's isolated processes.
    """

    def __init__(
        self,
        agents: dict[str, Agent],
        concurrency: int,
        only: ClaimedRun | None = None,
        metrics_file: MetricsFile | None = None,
        registry: WorkerRegistry | None = None,
    ) -> None:
        self.id = uuid.uuid4()
        self.running: dict[asyncio.Task[None], ClaimedRun] = {}
        self.event_writer = EventWriter(self._save_metrics)
        self.isolated = IsolatedProcesses(registry or WorkerRegistry())
        self.unserved = UnservedAgents(self.id)
        self._agents, self._concurrency = agents, concurrency
        self._only, self._metrics_file = only, metrics_file
        self._wake_up = asyncio.Event()
        self._draining = asyncio.Event()
        self._mail_stop = threading.Event()
        self._executor = Executor(agents, self.event_writer, self._draining.is_set)

    async def run(self) -> None:
        """Execute runs until `drain` is called; then queue again the runs that do not end in time, and return."""
        layer = channel_layer.get_layer()
        layer.attach()
        await titles.load()
        draining = asyncio.create_task(self._draining.wait())
        if not await self._registered(draining):
            return
        await layer.subscribe(channel_layer.WORKERS, self.receive)
        log.info("worker %s executes %s, %d at a time", self.id, ", ".join(self._agents), self._concurrency)
        claims = asyncio.create_task(self.claim() if self._only is None else self._execute_only(self._only))
        if self._only is None:  # a daemon thread: a process that exits does not wait for a mail server
            threading.Thread(target=notifications.run, args=[self._mail_stop], name="mail", daemon=True).start()
        tasks = [claims, asyncio.create_task(self.event_writer.run()), *self._periodic_tasks()]
        await asyncio.wait((draining, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # an exception ends the worker: other workers take its runs over
        await self._end_runs(claims)
        await self._stop([draining, *tasks])
        layer.unsubscribe(channel_layer.WORKERS, self.receive)
        await retry.attempt(lambda: in_database(runs.unregister, self.id), SHUTDOWN_STEP_TIMEOUT)
        self._save_metrics()
        log.info("worker %s has shut down", self.id)

    def drain(self) -> None:
        """Claim no more runs, and let `run` shut down."""
        self._draining.set()
        self._mail_stop.set()
        self._wake_up.set()
        self.isolated.drain()

    def _save_metrics(self) -> None:
        if self._metrics_file is not None:
            self._metrics_file.save()

    # Registration and heartbeat

    async def register(self) -> None:
        """Insert this worker with the agents that it offers. Raises Django's database errors."""
        offered = described(self._agents) if self._only is None else {}
        await in_database(runs.register, self.id, socket.gethostname(), os.getpid(), offered)

    async def heartbeat(self) -> None:
        """Extend the leases of the running runs, and stop the runs that this worker no longer owns."""
        running, began = dict(self.running), time.monotonic()
        try:
            held = await in_database(runs.heartbeat, self.id, self._draining.is_set(), list(running.values()))
        except WorkerRow.DoesNotExist:
            await self.register()  # other workers delete the row of a worker that was silent for long
            return
        for run in running.values():
            # Only of this claim: a later one of the run may be this worker's.
            if run.run_id in held:
                self.event_writer.confirm(run.run_id, run.fencing_token, began + settings.NETRA_LEASE_SECONDS)
            else:
                self.event_writer.revoke(run.run_id, run.fencing_token)
                self.isolated.revoke(run)

    async def _registered(self, draining: asyncio.Task[Any]) -> bool:
        """Register, as soon as the database is available. Return False if the worker is drained before."""
        registering = asyncio.create_task(retry.until_available(self.register))
        await asyncio.wait((draining, registering), return_when=asyncio.FIRST_COMPLETED)
        if registering.done():
            registering.result()
            return True
        registering.cancel()
        # The row may have been inserted although the task was cancelled.
        await retry.attempt(lambda: in_database(runs.unregister, self.id), SHUTDOWN_STEP_TIMEOUT)
        return False

    def _periodic_tasks(self) -> list[asyncio.Task[None]]:
        lease = settings.NETRA_LEASE_SECONDS
        return [
            asyncio.create_task(self._repeat(period, work))
            for period, work in (
                (lease / 3, self.heartbeat),
                (min(1.0, settings.NETRA_POLL_SECONDS), self.expire),
                (CHECKPOINT_PERIOD, lambda: from_database(sql.checkpoint)),
                (lease / 3, self._fail_unserved),
                (COMPACT_PERIOD, self.compact),
                (known_tools.PERIOD, self._store_tools),
            )
        ]

    async def expire(self) -> None:
        """Fail late runs, and expire all overdue input requests, in batches: events are written between two."""
        await in_database(runs.expire_runs)
        while await in_database(runs.expire_inputs):
            pass

    async def compact(self) -> None:
        """Join the deltas of all runs that ended NETRA_COMPACT_DAYS ago, run by run, and merge the search's index."""
        if self._only is not None:
            return
        keep = timedelta(days=settings.NETRA_COMPACT_DAYS)
        while bool(keep) and await in_database(retention.compact, keep):  # noqa: ASYNC110 events are written meanwhile
            await asyncio.sleep(COMPACT_PAUSE)
        while await in_database(retention.drop_hidden):  # noqa: ASYNC110 here, too
            await asyncio.sleep(COMPACT_PAUSE)
        while await in_database(search.merge):  # noqa: ASYNC110 here, too
            await asyncio.sleep(COMPACT_PAUSE)

    @staticmethod
    async def _repeat(period: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(period)
            await retry.attempt(work)

    async def _fail_unserved(self) -> None:
        # An isolated process offers no agent, and a worker that shuts down may be the last one that is silent.
        if self._only is None and not self._draining.is_set():
            await self.unserved.fail_overdue()

    async def _store_tools(self) -> None:
        if self._only is None:
            await known_tools.store_tools()

    # Claims

    async def claim(self) -> None:
        """Claim and start runs as slots become free, until the worker is drained."""
        while not self._draining.is_set():
            self._wake_up.clear()
            free = self._concurrency - len(self.running)
            if free > 0:
                try:
                    users = [run.user_id for run in self.running.values()]
                    for run in await in_database(runs.claim, self.id, list(self._agents), free, users):
                        self.start(run)
                except Error as error:
                    log.warning("database: %s", error_name(error))
            try:
                async with asyncio.timeout(settings.NETRA_POLL_SECONDS):
                    await self._wake_up.wait()
            except TimeoutError:
                pass

    def start(self, run: ClaimedRun) -> asyncio.Task[None]:
        """Start the execution of a claimed run; a last attempt gets an isolated process."""
        self.event_writer.revoke(run.run_id)  # an earlier claim of the same run that the heartbeat has not missed yet
        isolate = run.last and self._only is None
        execution = self.isolated.execute(run) if isolate else self._executor.execute(run, self._cancel)
        task = asyncio.create_task(execution)
        self.running[task] = run
        task.add_done_callback(self._free_slot)
        return task

    async def _execute_only(self, run: ClaimedRun) -> None:
        self.start(run)
        await retry.attempt(self.heartbeat)  # the claim may be old: it waited for an isolated process
        while self.running and not self._draining.is_set():
            self._wake_up.clear()
            await self._wake_up.wait()

    async def receive(self, message: dict[str, Any]) -> None:
        """Handle a message of the workers' group: a stopped run, an answered request, or a wake-up."""
        if message["type"] == "stop":
            self.event_writer.revoke(message["run"])
        elif message["type"] == "input":
            self._executor.notice_input(message["run"])
        self._wake_up.set()

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel the execution of a revoked run. Its slot becomes free after REVOKE_TIMEOUT even if it does not end."""

        def free() -> None:
            if run := self.running.get(task):
                log.error("run %s: %s does not end; its slot is given to another run", run.run_id, run.agent)
                self._free_slot(task)

        task.cancel()
        asyncio.get_running_loop().call_later(REVOKE_TIMEOUT, free)

    def _free_slot(self, task: asyncio.Task[None]) -> None:
        if self.running.pop(task, None):
            self._wake_up.set()

    # Shutdown

    async def _end_runs(self, claims: asyncio.Task[None]) -> None:
        """Let the runs end within NETRA_SHUTDOWN_SECONDS; cancel the others, and each queues its run again."""
        log.info("worker %s shuts down: %d runs", self.id, len(self.running))
        await asyncio.wait([claims], timeout=SHUTDOWN_STEP_TIMEOUT)  # a claim under way starts its runs
        await retry.attempt(self.heartbeat, SHUTDOWN_STEP_TIMEOUT)
        if self.running:
            await asyncio.wait(self.running, timeout=settings.NETRA_SHUTDOWN_SECONDS)
        for task in self.running:
            task.cancel()
        if self.running:
            await asyncio.wait(self.running, timeout=SHUTDOWN_STEP_TIMEOUT)

    @staticmethod
    async def _stop(tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
