"""The execution of one run: call its agent and write the run's end."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.db.models.fields.files import FieldFile
from structlog.contextvars import bind_contextvars

from agents.llm import titles
from agents.sdk import AgentError, Call, Message, Turn, tools
from agents.sdk.errors import UNKNOWN
from agents.worker import retry
from agents.worker.event_writer import EventWriter, RunEvents
from agents.worker.journal import RunJournal
from agents.worker.registry import Agent, assistant
from chat import runs
from chat.assistants.versions import definition_of
from chat.db.access import from_database, in_database
from chat.models import Run
from chat.protocol import MAX_ANSWER
from chat.runs import ClaimedRun, History, RunOutcome

log = logging.getLogger("netra.worker")


@dataclass(frozen=True, slots=True)
class _Attachment:
    """The view of a stored file that an agent gets. `open` reads the file where it is stored."""

    name: str
    media_type: str
    size: int
    _file: FieldFile

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self._file.storage.open(str(self._file.name), "rb"))


class Executor:
    """Executes runs in this process; the runs' events and ends go through `event_writer`."""

    def __init__(self, agents: dict[str, Agent], event_writer: EventWriter, is_draining: Callable[[], bool]) -> None:
        self._agents, self._event_writer, self._is_draining = agents, event_writer, is_draining
        self._journals: dict[str, RunJournal] = {}

    def notice_input(self, run_id: str) -> None:
        """Let the run look for answers, if it is executed here."""
        if journal := self._journals.get(run_id):
            journal.notice()

    async def execute(self, run: ClaimedRun, on_revoked: Callable[[asyncio.Task[Any]], object]) -> None:
        """Execute the run; afterwards it has ended, is queued again, or belongs to another worker.

        `on_revoked` is called with the current task when the run no longer belongs to this worker.
        """
        task = asyncio.current_task()
        assert task is not None
        ids = {"user_id": run.user_id, "thread_id": str(run.thread_id), "run_id": str(run.run_id)}
        bind_contextvars(**ids, attempt=run.attempt)
        events = self._event_writer.open(run, lambda: on_revoked(task))
        usage = dict(run.usage)
        journal = self._journals[run.run_id] = RunJournal(run, events, lambda: _jsonable(run, usage))
        try:
            failure: AgentError | None = None
            try:
                await events.close(*await self._answer(run, events, journal, usage))
                return
            except BaseException as error:
                if events.is_revoked:
                    return
                if isinstance(error, asyncio.CancelledError) and task.cancelling() and self._is_draining():
                    await events.close(RunOutcome(Run.QUEUED, usage=_jsonable(run, usage), refund=True), None)
                    return
                failure = AgentError.of(error)
                if failure is None:
                    log.exception("%s raised", run.agent)
                    failure = AgentError(UNKNOWN, "internal_error")
            await events.close(*_failed(run, failure, _jsonable(run, usage)))
        finally:
            journal.close()
            if self._journals.get(run.run_id) is journal:
                del self._journals[run.run_id]
            self._event_writer.close(events)
            if events.is_revoked and usage:
                await retry.attempt(lambda: in_database(runs.record_usage, run, _jsonable(run, usage)))

    async def _answer(
        self, run: ClaimedRun, events: RunEvents, journal: RunJournal, usage: dict[str, Any]
    ) -> tuple[RunOutcome, dict[str, Any]]:
        """Call the agent and return the completed run's end and last event. Raises the agent's exceptions."""
        began = time.monotonic()
        alone: History = ([("user", run.text)], [])
        history, attachments = alone if run.alone else await _read(runs.history, run)
        calls = await _read(runs.read_tool_calls, run) if run.restarted or run.continues else {}
        agent = await self._agent_of(run)
        await journal.load()
        titling = await self._titling(run, journal, usage)
        turn = Turn(
            text=run.text,
            sink=titling or journal,
            run_id=str(run.run_id),
            thread_id=str(run.thread_id),
            user_id=str(run.user_id),
            attempt=run.attempt,
            agent_name=run.agent,
            history=[Message(role, content) for role, content in history],
            attachments=[_Attachment(a.name, a.media_type, a.size, a.file) for a in attachments],
            calls={id: Call(c.completed, c.result, c.error, c.code, c.starts) for id, c in calls.items()},
            usage=usage,
            journal=journal,
            context=run.context,
            language=run.language,
        )
        async with titling or nullcontext():
            returned = await agent(turn)
            await turn.end_text()
            await journal.save_last()
            answer = tools.clean(returned) if isinstance(returned, str) else turn.said
            if len(answer.encode()) > MAX_ANSWER:
                raise AgentError("The answer is too long.", code="too_large")
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
            "agents_involved": await journal.involved(turn.agents_involved),
            "usage": usage,
            "duration_ms": int((time.monotonic() - began) * 1000),
        }
        return RunOutcome(Run.COMPLETED, answer, message_id, name, usage=usage), event

    async def _agent_of(self, run: ClaimedRun) -> Agent:
        """Return the agent of the settings, or the assistant in the version that the run keeps."""
        if run.assistant_version is None:
            return self._agents[run.agent]
        return assistant(await _read(definition_of, run))

    async def _titling(self, run: ClaimedRun, journal: RunJournal, usage: dict[str, Any]) -> titles.Titling | None:
        """Return the titling of the run's thread; None without a model, or if the thread has a title."""
        if not titles.is_possible() or not await _read(runs.needs_title, run):
            return None
        return titles.Titling(journal, run.text, usage)


async def _read(function: Callable[[ClaimedRun], Any], run: ClaimedRun) -> Any:
    return await retry.until_available(lambda: from_database(function, run))


def _jsonable(run: ClaimedRun, usage: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the usage that can be stored as JSON; an empty one if it cannot be, with an error in the log."""
    try:
        copy: dict[str, Any] = tools.jsonable(usage, "usage", tool=run.agent)
    except TypeError as error:
        log.error("run %s: %s", run.run_id, error)
        return {}
    return copy


def _failed(run: ClaimedRun, error: AgentError, usage: dict[str, Any]) -> tuple[RunOutcome, dict[str, Any] | None]:
    """Return the end of a run whose agent raised `error`, with its last event; None if the run gets another attempt."""
    if error.retryable and run.attempt < settings.NETRA_MAX_ATTEMPTS:
        return RunOutcome(Run.QUEUED, error_code=error.code, usage=usage, delay=2.0 ** (run.attempt - 1)), None
    event = {
        "type": "agent_failed",
        "agent_name": run.agent,
        "status": "failed",
        "error_code": error.code,
        "message": error.message,
        "recoverable": True,
    }
    return RunOutcome(Run.FAILED, error_code=error.code, usage=usage), event
