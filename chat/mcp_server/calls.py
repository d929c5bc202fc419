"""Calls of tools: start a run or find one, answer its requests, and follow it."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mcp.server.session import ServerSession
from mcp_types import CallToolResult, ElicitResult, InputRequiredResult, InputResponses
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from chat import limits, protocol, runs
from chat.accounts.authentication import Identity
from chat.db.access import from_database, in_database
from chat.limits.rates import MESSAGES
from chat.mcp_server import results
from chat.mcp_server.arguments import AgentArguments
from chat.mcp_server.results import RunIds
from chat.models import Event, InputRequest, Message, Run, Thread
from chat.protocol import TERMINAL, ProtocolError
from chat.streams.addresses import runs_of
from chat.streams.follower import Follower
from chat.streams.requests import Connection, Reader

Result = CallToolResult | InputRequiredResult

DECISIVE = TERMINAL | {"run_waiting"}  # events after which a call may have a result


@dataclass(slots=True)
class Caller:
    """The authenticated client of one HTTP request.

    `page_of` returns the address of a thread's page. `on_leaving` is the header Netra-Disconnect: cancel, continue or
    None. `ids` are those of the run, once it is known: then `announce` sends the head of the answer, which names them.
    """

    identity: Identity
    address: str
    connection: Connection
    page_of: Callable[[UUID], str]
    idempotency_key: str | None = None
    on_leaving: str | None = None
    ids: RunIds | None = None
    announce: Callable[[], Awaitable[None]] | None = None

    async def name(self, ids: RunIds) -> None:
        """Note the run, and have the client told of it."""
        is_new, self.ids = self.ids is None, ids
        if is_new and self.announce is not None:
            await self.announce()

    @property
    def user_id(self) -> int:
        """The authenticated user."""
        return self.identity.user_id


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run as the database has it.

    `head` is the number of the thread's last event, read before the run. `end` is the terminal event of a run that has
    ended, `answer` its stored text. `asked` are its open requests.
    """

    ids: RunIds
    status: str
    head: int
    end: dict[str, Any] | None = None
    answer: str = ""
    asked: list[InputRequest] = field(default_factory=list)


def look(identity: Identity, run_id: UUID) -> Snapshot:
    """Return the run. Raises not_found for one that does not exist for the client."""
    heads = Thread.objects.for_user(identity.user_id).filter(runs=run_id).values_list("last_seq", flat=True)
    head = heads.first()
    run = runs_of(identity).filter(pk=run_id).first()
    if head is None or run is None:
        raise ProtocolError("not_found", "There is no such run.", field="run_id")
    ids = RunIds(run.pk, run.thread_id)
    if run.status in Run.ACTIVE:
        asked = InputRequest.objects.filter(run=run_id, status=InputRequest.OPEN).order_by("created_at", "pk")
        return Snapshot(ids, run.status, head, asked=list(asked))
    answers = Message.objects.filter(run=run_id, role="assistant").values_list("content", flat=True)
    answer = answers.first() or ""
    frames = Event.objects.filter(thread=run.thread_id, run=run_id, type__in=TERMINAL).values_list("frame", flat=True)
    frame = frames.first()
    end = json.loads(frame) if frame else _pruned_end(run, answer)
    return Snapshot(ids, run.status, head, end, answer)


def _pruned_end(run: Run, answer: str) -> dict[str, Any]:
    """Return what is known of a terminal event that the log no longer has."""
    return {
        "type": f"agent_{run.status}",
        "final_response": answer,
        "error_code": run.error_code,
        "message": "The run has failed.",
    }


class Call:
    """One call of a tool. `wait_seconds` count from its construction."""

    def __init__(self, caller: Caller, session: ServerSession, wait_seconds: float) -> None:
        self._caller, self._session = caller, session
        self._deadline = asyncio.get_running_loop().time() + wait_seconds
        self._progress = 0
        self._is_modern = session.protocol_version in MODERN_PROTOCOL_VERSIONS
        self._dismissed = False
        stops = "cancel" if self._is_modern else "continue"
        self._cancels = caller.identity.may_write and (caller.on_leaving or stops) == "cancel"

    async def start(self, agent: str, arguments: AgentArguments) -> Result:
        """Start a run of the agent and return its result. Raises what `runs.start` raises, and forbidden."""
        caller = self._caller
        caller.identity.check_write()
        fields: dict[str, Any] = {
            "content": arguments.message,
            "agent": agent,
            "thread_id": arguments.thread_id,
            "attachment_ids": arguments.attachment_ids,
            "client_msg_id": caller.idempotency_key,
        }
        message = protocol.user_message_fields(fields)
        await limits.rate_limiter().acquire_async(MESSAGES, caller.user_id)
        starting = asyncio.ensure_future(
            in_database(runs.start, caller.user_id, message, caller.identity.agents, language=caller.identity.language)
        )
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._leave)
            raise
        await caller.name(RunIds(started.run_id, started.thread_id))
        return await self.follow(started.run_id, after=started.seq)

    def _leave(self, starting: "asyncio.Future[runs.StartedRun]") -> None:
        """Read a run whose client has left while it was started, and leave it."""
        if not starting.cancelled() and starting.exception() is None:
            with self._reader(starting.result().run_id):
                pass

    def _reader(self, run_id: UUID) -> Reader:
        return Reader(self._caller.identity, run_id, self._caller.connection, self._cancels)

    async def answer(self, run_id: UUID, responses: InputResponses) -> None:
        """Resolve requests of the run with the answers that the client's user gave.

        Raises forbidden, not_found and invalid_message. A request that was resolved elsewhere meanwhile is no error.
        """
        self._caller.identity.check_write()
        await self._look(run_id)
        kinds = await from_database(_kinds_of, run_id)
        decider = runs.Decider(self._caller.user_id, "mcp", self._caller.identity.session_id, self._caller.address)
        for key, response in responses.items():
            if key not in kinds:
                raise ProtocolError("not_found", "There is no such request.", field="inputResponses")
            if not isinstance(response, ElicitResult):
                raise ProtocolError("invalid_message", "An answer must have an action.", field="inputResponses")
            if response.action == "cancel":  # neither accepted nor declined: it stays open, to be answered in Netra
                self._dismissed = True
                continue
            values = {name: value for name, value in (response.content or {}).items() if value is not None}
            content = values if kinds[key] == InputRequest.FORM and response.action == "accept" else None
            try:
                await in_database(runs.answer, runs.Answer(UUID(key), response.action, content), decider)
            except ProtocolError as error:
                if error.code != "conflict":
                    raise

    async def follow(self, run_id: UUID, after: int | None = None, patient: bool = False) -> Result:
        """Return the result of the run, at the latest when the time of the call is over.

        Progress is what happens after the event `after`; None: from now on. `patient` waits for answers that are given
        in Netra, too. Raises not_found, and unauthorized when the credential ends.
        """
        with self._reader(run_id) as reader:
            found = await self._look(run_id)
            if after is not None:
                found = await self._wait(found.ids, after)
            while (result := self._result_of(found, patient)) is None:
                found = await self._wait(found.ids, found.head)
            reader.finish()
        return result

    async def _wait(self, ids: RunIds, after: int) -> Snapshot:
        """Return the run after its next decisive event, or when the time of the call is over."""
        if asyncio.get_running_loop().time() < self._deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    await self._until_decisive(ids, after)
        return await self._look(ids.run_id)

    async def _look(self, run_id: UUID) -> Snapshot:
        found = await from_database(look, self._caller.identity, run_id)
        await self._caller.name(found.ids)
        return found

    def _result_of(self, found: Snapshot, patient: bool) -> Result | None:
        is_late = asyncio.get_running_loop().time() >= self._deadline
        if found.end is not None:
            return results.ended(found.ids, found.end, found.answer)
        is_waiting = found.status == Run.WAITING
        can_ask = self._is_modern and not self._dismissed  # before 2026-07-28 an answer would find no session
        capabilities = self._session.client_capabilities if can_ask else None
        mine = [row for row in found.asked if results.may_elicit(row, capabilities)]
        if mine and (is_waiting or is_late):
            return results.elicit(mine, str(found.ids.run_id))
        if is_waiting and (is_late or not patient or self._dismissed):
            return results.waiting(found.ids, found.asked, self._caller.page_of(found.ids.thread_id))
        return results.running(found.ids) if is_late else None

    async def _until_decisive(self, ids: RunIds, after: int) -> None:
        """Report progress until an event after which there may be a result."""
        async with Follower(self._caller.identity, ids.thread_id, after, "mcp") as follower:
            async for batch in follower.batches():
                if follower.pruned is not None:
                    return
                for event in batch:
                    if event.run_id == str(ids.run_id) and await self._report(event.fields) in DECISIVE:
                        return
        if follower.ended in ("revoked", "expired"):
            raise ProtocolError("unauthorized", "This token or API key has ended.")

    async def _report(self, event: dict[str, Any]) -> str:
        """Report the event if it is progress. Return its type."""
        if message := results.progress_of(event):
            self._progress += 1
            await self._session.report_progress(self._progress, message=message)
        return str(event["type"])


def _kinds_of(run_id: UUID) -> dict[str, str]:
    rows = InputRequest.objects.filter(run=run_id).values_list("pk", "kind")
    return {str(pk): kind for pk, kind in rows}
