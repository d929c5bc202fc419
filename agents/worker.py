"""The process that claims runs and plays agents."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeVar, cast

from django.conf import settings
from django.db import Error
from django.db.models.fields.files import FieldFile
from structlog.contextvars import bind_contextvars

from agents import title, tools
from agents.agent import AgentError, Call, Message, Turn
from agents.assistant import unavailable
from agents.recorder import Recorder, Stream
from agents.registry import Agent, described
from chat import layer, metrics, runs, sql
from chat.database import from_database, in_database
from chat.models import Run
from chat.models import Worker as WorkerRow
from chat.protocol import MAX_ANSWER
from chat.runs import Claimed, End, Entry, History

log = logging.getLogger("netra.worker")
R = TypeVar("R")
APART = 4  # runs that have a process of their own at a time: each costs as much memory as a worker
PATIENCE = 5  # seconds for an agent to end once its run is lost; its process, if it has one, gets twice that
ANSWER = 2  # seconds for the database to take each last word of a worker that ends: one that hangs must not hold it
CHECKPOINT = 0.25  # seconds between two of SQLite's: what they leave is the share of whoever commits next
HANDING_BACK = 1.5  # seconds for such a process to hand its run back, at the end of a drain


@dataclass(frozen=True, slots=True)
class _Attachment:
    """What an agent may know of a file; its bytes are read where they are stored."""

    name: str
    media_type: str
    size: int
    _file: FieldFile

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self._file.storage.open(str(self._file.name), "rb"))


class Worker:
    """`only`: a run that another worker has claimed, and plays in this process because it may kill it."""

    def __init__(self, agents: dict[str, Agent], concurrency: int, only: Claimed | None = None) -> None:
        self.id = uuid.uuid4()
        self._agents, self._concurrency, self._only = agents, concurrency, only
        self._apart: dict[tuple[str, int], asyncio.subprocess.Process] = {}  # by run and fence
        self._room = asyncio.Semaphore(APART)
        self._waiting: set[asyncio.Task[None]] = set()  # for room
        self._unserved: dict[str, float] = {}  # agents that runs wait for in vain -> the monotonic clock's, since when
        self._recorder = Recorder()
        self._playing: dict[asyncio.Task[None], Claimed] = {}
        self._bell = asyncio.Event()
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Play runs until `drain` is called; then hand back what does not end in time, and return.

        Nothing here waits for the database without a bound once it drains."""
        layer.attach()
        await title.load()
        told = asyncio.create_task(self._draining.wait())
        registered = asyncio.create_task(self._registered())
        await asyncio.wait((told, registered), return_when=asyncio.FIRST_COMPLETED)
        if not registered.done():
            registered.cancel()
            await self._tried(lambda: in_database(runs.unregister, self.id), ANSWER)  # it may stand there all the same
            return
        registered.result()
        await layer.join(layer.WORKERS, self._hear)
        log.info("worker %s plays %s, %d at a time", self.id, ", ".join(self._agents), self._concurrency)
        recorder = asyncio.create_task(self._recorder.run())
        beat = asyncio.create_task(self._again(settings.NETRA_LEASE_SECONDS / 3, self._beat))
        sweep = asyncio.create_task(self._again(min(1.0, settings.NETRA_POLL_SECONDS), self._sweep))
        checkpoint = asyncio.create_task(self._again(CHECKPOINT, lambda: from_database(sql.checkpoint)))
        abandon = asyncio.create_task(self._again(settings.NETRA_LEASE_SECONDS / 3, self._abandon))
        claims = asyncio.create_task(self._claim() if self._only is None else self._play_only(self._only))
        tasks = (claims, recorder, beat, sweep, checkpoint, abandon)
        await asyncio.wait((told, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # what ends before its time is a bug, and ends the worker: others take its runs over
        log.info("worker %s drains: %d runs", self.id, len(self._playing))
        await asyncio.wait([claims], timeout=ANSWER)  # what it has claimed is played, or handed back
        await self._tried(self._beat, ANSWER)
        if self._playing:
            await asyncio.wait(self._playing, timeout=settings.NETRA_DRAIN_SECONDS)
        for task in self._playing:
            task.cancel()
        if self._playing:  # each hands its run back as its last act
            await asyncio.wait(self._playing, timeout=ANSWER)
        await self._stop([told, *tasks])
        layer.leave(layer.WORKERS, self._hear)
        await self._tried(lambda: in_database(runs.unregister, self.id), ANSWER)
        metrics.keep()
        log.info("worker %s is done", self.id)

    def drain(self) -> None:
        """Claim nothing more; `run` hands back what does not end in time, and returns."""
        self._draining.set()
        self._bell.set()
        for process in self._apart.values():
            self._signal(process, signal.SIGTERM)

    @staticmethod
    async def _stop(tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    @staticmethod
    async def _tried(work: Callable[[], Awaitable[object]], within: float | None = None) -> bool:
        try:
            async with asyncio.timeout(within):
                await work()
            return True
        except (Error, TimeoutError) as error:
            log.warning("database: %s", type(error).__name__)
            return False

    async def _again(self, period: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(period)
            await self._tried(work)

    async def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "stop":
            self._recorder.lose(message["run"])
        self._bell.set()

    async def _claim(self) -> None:
        while not self._draining.is_set():
            self._bell.clear()
            free = self._concurrency - len(self._playing)
            if free > 0:
                try:
                    for run in await in_database(runs.claim, self.id, list(self._agents), free):
                        self._start(run)
                except Error as error:
                    log.warning("database: %s", type(error).__name__)
            try:
                async with asyncio.timeout(settings.NETRA_POLL_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass

    def _start(self, run: Claimed) -> None:
        self._recorder.lose(run.run_id)  # an earlier claim of it, before its heartbeat finds out
        apart = run.last and self._only is None
        task = asyncio.create_task(self._play_apart(run) if apart else self._play(run))
        self._playing[task] = run
        task.add_done_callback(self._finished)

    async def _play_only(self, run: Claimed) -> None:
        self._start(run)
        while self._playing and not self._draining.is_set():
            self._bell.clear()
            await self._bell.wait()

    async def _play_apart(self, run: Claimed) -> None:
        """Play it in a process of its own: the runs beside it must not pay for what it does to its workers.

        Meanwhile this process keeps its lease. A process that dies, or cannot be started, leaves the rest to the sweep.
        """
        task = asyncio.current_task()
        assert task is not None
        waits = self._room.locked()
        try:
            if waits:  # the time that it may take has not begun
                self._waiting.add(task)
                await self._tried(lambda: in_database(runs.clock, run, False))
            async with self._room:
                if not waits or await self._begins(run):
                    self._waiting.discard(task)
                    await self._in_a_process(run)
        except asyncio.CancelledError:  # drained, or lost before its turn came: then this changes nothing
            await self._tried(lambda: self._hand_back(run))
            raise
        finally:
            self._waiting.discard(task)

    async def _begins(self, run: Claimed) -> bool:
        while True:
            try:
                return await in_database(runs.clock, run, True)
            except Error as error:
                log.warning("database: %s; trying again", type(error).__name__)
                await asyncio.sleep(1)

    async def _in_a_process(self, run: Claimed) -> None:
        with TemporaryFile() as figures:
            await self._play_in_process(run, figures.fileno())
            figures.seek(0)
            metrics.add(figures.read())

    async def _play_in_process(self, run: Claimed, figures: int) -> None:
        command = (sys.executable, sys.argv[0], "runagents", "--claimed", "--figures", str(figures))
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, pass_fds=[figures])
        except OSError:
            log.exception("run %s: no process of its own can be started", run.run_id)
            return
        self._apart[run.run_id, run.fence] = process
        try:
            if self._draining.is_set():  # while it was begun, or before its turn came
                self._signal(process, signal.SIGTERM)
            await process.communicate(json.dumps(asdict(run), default=str).encode())
        except asyncio.CancelledError:  # drained: it is handing the run back, unless it hangs
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait([ended], timeout=HANDING_BACK)
            self._signal(process, signal.SIGKILL)
            await ended
            raise
        finally:
            self._apart.pop((run.run_id, run.fence))
            self._signal(process, signal.SIGKILL)
        log.info("run %s: its process ended with %s", run.run_id, process.returncode)
        if self._draining.is_set() and process.returncode in (0, -signal.SIGTERM):  # it may not have begun
            await self._tried(lambda: self._hand_back(run))

    async def _hand_back(self, run: Claimed) -> None:
        await in_database(runs.record, [Entry(run, end=End(Run.QUEUED, usage=run.usage, refund=True))])

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: int) -> None:
        if process.returncode is None:
            process.send_signal(number)

    def _finished(self, task: asyncio.Task[None]) -> None:
        if self._playing.pop(task, None):
            self._bell.set()

    def _give_up(self, task: asyncio.Task[None]) -> None:
        """Its run is lost: the agent is cancelled; one that does not care must not hold a slot for ever."""

        def forget() -> None:
            if run := self._playing.get(task):
                log.error("run %s: %s does not end; its slot is given to others", run.run_id, run.agent)
                self._finished(task)

        task.cancel()
        asyncio.get_running_loop().call_later(PATIENCE, forget)

    async def _registered(self) -> None:
        while not await self._tried(self._register):  # noqa: ASYNC110 a database has no event
            await asyncio.sleep(1)

    async def _register(self) -> None:
        offered = described(self._agents) if self._only is None else {}
        await in_database(runs.register, self.id, socket.gethostname(), os.getpid(), offered)

    async def _beat(self) -> None:
        playing = dict(self._playing)
        try:
            held = await in_database(runs.heartbeat, self.id, self._draining.is_set(), list(playing.values()))
        except WorkerRow.DoesNotExist:
            await self._register()  # it was silent for so long that it was forgotten
            return
        for task, run in playing.items():
            if run.run_id not in held:
                self._recorder.lose(run.run_id, run.fence)  # not a claim that was made of it since
                if process := self._apart.get((run.run_id, run.fence)):  # one that hangs would keep its room for ever
                    asyncio.get_running_loop().call_later(2 * PATIENCE, self._signal, process, signal.SIGKILL)
                elif task in self._waiting:
                    task.cancel()

    async def _sweep(self) -> None:
        await in_database(runs.sweep)

    async def _abandon(self) -> None:
        """End the runs whose agent nobody plays. Not before it has been so for NETRA_RUN_TIMEOUT without a break: its
        workers may be starting anew, or be the last that a new version comes to."""
        if self._draining.is_set() or self._only is not None:  # whether others are at work is not its to judge
            return
        now, before = time.monotonic(), self._unserved
        self._unserved = {}  # a look that fails is a break
        if not await from_database(runs.live_workers().filter(id=self.id).exists):
            return  # who was not heard of itself cannot say it of others
        self._unserved = {agent: before.get(agent, now) for agent in await from_database(runs.unserved)}
        late = [agent for agent, since in self._unserved.items() if now - since > settings.NETRA_RUN_TIMEOUT]
        if late:
            await in_database(runs.abandon, late)

    async def _play(self, run: Claimed) -> None:
        """Play the agent; whatever happens, the run ends, is handed back, or is another's."""
        task = asyncio.current_task()
        assert task is not None
        ids = {"user_id": run.user_id, "thread_id": str(run.thread_id), "run_id": str(run.run_id)}
        bind_contextvars(**ids, attempt=run.attempt)
        stream = self._recorder.open(run, lambda: self._give_up(task))
        usage = dict(run.usage)
        try:
            failure: AgentError | None = None
            try:
                await stream.close(*await self._answer(run, stream, usage))
                return
            except BaseException as error:
                if stream.is_lost:
                    return
                if isinstance(error, asyncio.CancelledError) and task.cancelling() and self._draining.is_set():
                    await stream.close(End(Run.QUEUED, usage=_kept(run, usage), refund=True), None)
                    return
                failure = AgentError.of(error)
                if failure is None:
                    log.exception("%s raised", run.agent)
                    failure = AgentError("Something went wrong inside the agent.", "internal_error")
            await stream.close(*_failed(run, failure, _kept(run, usage)))
        finally:
            self._recorder.close(stream)
            if stream.is_lost and usage:
                await self._tried(lambda: in_database(runs.used, run, _kept(run, usage)))

    async def _read(self, function: Callable[[Claimed], R], run: Claimed) -> R:
        """A database that is away is waited for, as long as the run is this worker's."""
        while True:
            try:
                return await from_database(function, run)
            except Error as error:
                log.warning("database: %s; trying again", type(error).__name__)
                await asyncio.sleep(1)

    async def _answer(self, run: Claimed, stream: Stream, usage: dict[str, Any]) -> tuple[End, dict[str, Any]]:
        began = time.monotonic()
        alone: History = ([("user", run.text)], [])
        history, attachments = alone if run.alone else await self._read(runs.history, run)
        calls = await self._read(runs.calls, run) if run.restarted else {}
        titling = await self._titling(run, stream, usage)
        turn = Turn(
            text=run.text,
            sink=titling or stream,
            run_id=str(run.run_id),
            thread_id=str(run.thread_id),
            user_id=str(run.user_id),
            attempt=run.attempt,
            agent_name=run.agent,
            history=[Message(role, content) for role, content in history],
            attachments=[_Attachment(a.name, a.media_type, a.size, a.file) for a in attachments],
            calls={id: Call(completed, result) for id, (completed, result) in calls.items()},
            usage=usage,
        )
        async with titling or nullcontext():
            returned = await self._agents[run.agent](turn)
            answer = tools.clean(returned) if isinstance(returned, str) else turn.said
            if len(answer.encode()) > MAX_ANSWER:
                raise AgentError("The answer grew too long.", code="too_large")
            name = await titling.title(answer) if titling else ""
        result = (
            None
            if returned is None or isinstance(returned, str)
            else tools.jsonable(returned, "result", tool=run.agent)
        )
        message_id = uuid.uuid4()
        event = {
            "type": "agent_completed",
            "agent_name": run.agent,
            "status": "completed",
            "final_response": answer,
            **({} if result is None else {"result": result}),
            "message_id": str(message_id),
            "agents_involved": turn.agents_involved,
            "usage": usage,
            "duration_ms": int((time.monotonic() - began) * 1000),
        }
        return End(Run.COMPLETED, answer, message_id, name, usage=usage), event

    async def _titling(self, run: Claimed, stream: Stream, usage: dict[str, Any]) -> title.Titling | None:
        """What gives the run's thread a title, where there is a model to ask and the thread has none yet."""
        if unavailable() is not None or not await self._read(runs.untitled, run):
            return None
        return title.Titling(stream, run.text, usage)


def claimed(text: str) -> Claimed:
    """A claim as `_play_apart` hands it over. Raises ValueError, TypeError."""
    return Claimed(**json.loads(text))


def _kept(run: Claimed, usage: dict[str, Any]) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = tools.jsonable(usage, "usage", tool=run.agent)
    except TypeError as error:
        log.error("run %s: %s", run.run_id, error)
        return {}
    return kept


def _failed(run: Claimed, error: AgentError, usage: dict[str, Any]) -> tuple[End, dict[str, Any] | None]:
    if error.retryable and run.attempt < settings.NETRA_MAX_ATTEMPTS:
        return End(Run.QUEUED, error_code=error.code, usage=usage, delay=2.0 ** (run.attempt - 1)), None
    event = {
        "type": "agent_failed",
        "agent_name": run.agent,
        "status": "failed",
        "error_code": error.code,
        "message": error.message,
        "recoverable": True,
    }
    return End(Run.FAILED, error_code=error.code, usage=usage), event
