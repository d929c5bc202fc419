"""The process that claims runs and plays agents."""

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

from django.conf import settings
from django.db import Error
from django.db.models.fields.files import FieldFile

from agents import tools
from agents.agent import AgentError, Call, Message, Turn
from agents.recorder import Recorder, Stream
from agents.registry import Agent, described
from chat import layer, runs
from chat.database import from_database, in_database
from chat.models import Run
from chat.models import Worker as WorkerRow
from chat.protocol import MAX_ANSWER
from chat.runs import Claimed, End

log = logging.getLogger("netra.worker")
R = TypeVar("R")
PATIENCE = 5  # seconds for an agent to end once its run is lost


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
    def __init__(self, agents: dict[str, Agent], concurrency: int) -> None:
        self.id = uuid.uuid4()
        self._agents, self._concurrency = agents, concurrency
        self._recorder = Recorder()
        self._playing: dict[asyncio.Task[None], Claimed] = {}
        self._bell = asyncio.Event()
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Play runs until `drain` is called; then hand back what does not end in time, and return."""
        layer.attach()
        while not await self._tried(self._register):  # noqa: ASYNC110 a database has no event
            await asyncio.sleep(1)
        await layer.join(layer.WORKERS, self._hear)
        log.info("worker %s plays %s, %d at a time", self.id, ", ".join(self._agents), self._concurrency)
        recorder = asyncio.create_task(self._recorder.run())
        beat = asyncio.create_task(self._again(settings.NETRA_LEASE_SECONDS / 3, self._beat))
        sweep = asyncio.create_task(self._again(min(1.0, settings.NETRA_POLL_SECONDS), self._sweep))
        claims = asyncio.create_task(self._claim())
        await asyncio.wait([claims, recorder, beat, sweep], return_when=asyncio.FIRST_COMPLETED)
        for task in (claims, recorder, beat, sweep):
            if task.done():
                task.result()  # what ends before its time is a bug, and ends the worker: others take its runs over
        log.info("worker %s drains: %d runs", self.id, len(self._playing))
        await self._tried(self._beat)
        if self._playing:
            await asyncio.wait(self._playing, timeout=settings.NETRA_DRAIN_SECONDS)
        for task in self._playing:
            task.cancel()
        if self._playing:  # each hands its run back as its last act
            await asyncio.wait(self._playing, timeout=2)
        await self._stop([sweep, beat, recorder])
        layer.leave(layer.WORKERS, self._hear)
        await self._tried(lambda: in_database(runs.unregister, self.id))
        log.info("worker %s is done", self.id)

    def drain(self) -> None:
        """Claim nothing more; `run` hands back what does not end in time, and returns."""
        self._draining.set()
        self._bell.set()

    @staticmethod
    async def _stop(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    @staticmethod
    async def _tried(work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
            return True
        except Error as error:
            log.warning("database: %s", type(error).__name__)
            return False

    async def _again(self, period: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(period)
            await self._tried(work)

    async def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "stop":
            self._recorder.lose(uuid.UUID(message["run"]))
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
        log.info("run %s attempt %d: %s", run.run_id, run.attempt, run.agent)
        task = asyncio.create_task(self._play(run))
        self._playing[task] = run
        task.add_done_callback(self._finished)

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

    async def _register(self) -> None:
        await in_database(runs.register, self.id, socket.gethostname(), os.getpid(), described(self._agents))

    async def _beat(self) -> None:
        playing = list(self._playing.values())
        try:
            held = await in_database(runs.heartbeat, self.id, self._draining.is_set(), playing)
        except WorkerRow.DoesNotExist:
            await self._register()  # it was silent for so long that it was forgotten
            return
        for run in playing:
            if run.run_id not in held:
                self._recorder.lose(run.run_id)

    async def _sweep(self) -> None:
        await in_database(runs.sweep)

    async def _play(self, run: Claimed) -> None:
        """Play the agent; whatever happens, the run ends, is handed back, or is another's."""
        task = asyncio.current_task()
        assert task is not None
        stream = self._recorder.open(run, lambda: self._give_up(task))
        try:
            failure: AgentError | None = None
            try:
                await stream.close(*await self._answer(run, stream))
                return
            except BaseException as error:
                if stream.is_lost:
                    return
                if isinstance(error, asyncio.CancelledError) and task.cancelling() and self._draining.is_set():
                    await stream.close(End(Run.QUEUED, refund=True), None)
                    return
                failure = AgentError.of(error)
                if failure is None:
                    log.exception("run %s: %s raised", run.run_id, run.agent)
                    failure = AgentError("Something went wrong inside the agent.", "internal_error")
            await stream.close(*_failed(run, failure))
        finally:
            self._recorder.close(stream)

    async def _read(self, function: Callable[[Claimed], R], run: Claimed) -> R:
        """A database that is away is waited for, as long as the run is this worker's."""
        while True:
            try:
                return await from_database(function, run)
            except Error as error:
                log.warning("database: %s; trying again", type(error).__name__)
                await asyncio.sleep(1)

    async def _answer(self, run: Claimed, stream: Stream) -> tuple[End, dict[str, Any]]:
        began = time.monotonic()
        history, attachments = await self._read(runs.history, run)
        calls = await self._read(runs.calls, run) if run.restarted else {}
        turn = Turn(
            text=run.text,
            sink=stream,
            run_id=str(run.run_id),
            thread_id=str(run.thread_id),
            user_id=str(run.user_id),
            attempt=run.attempt,
            agent_name=run.agent,
            history=[Message(role, content) for role, content in history],
            attachments=[_Attachment(a.name, a.media_type, a.size, a.file) for a in attachments],
            calls={id: Call(completed, result) for id, (completed, result) in calls.items()},
        )
        returned = await self._agents[run.agent](turn)
        answer = tools.clean(returned) if isinstance(returned, str) else turn.said
        if len(answer.encode()) > MAX_ANSWER:
            raise AgentError("The answer grew too long.", code="too_large")
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
            "usage": turn.usage,
            "duration_ms": int((time.monotonic() - began) * 1000),
        }
        return End(Run.COMPLETED, answer, message_id, usage=turn.usage), event


def _failed(run: Claimed, error: AgentError) -> tuple[End, dict[str, Any] | None]:
    if error.retryable and run.attempt < settings.NETRA_MAX_ATTEMPTS:
        return End(Run.QUEUED, error_code=error.code, delay=2.0 ** (run.attempt - 1)), None
    event = {
        "type": "agent_failed",
        "agent_name": run.agent,
        "status": "failed",
        "error_code": error.code,
        "message": error.message,
        "recoverable": True,
    }
    return End(Run.FAILED, error_code=error.code), event
