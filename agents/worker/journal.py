"""The journal of a run that a worker executes: its requests, steps and state, and its suspension."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings

from agents.sdk import AgentError, Answer, Request
from agents.sdk.asking import call_key
from agents.sdk.journal import Count, Kept
from agents.worker import retry
from agents.worker.event_writer import RunEvents
from agents.worker.replay import Replay, Shown, again, is_covered
from chat import metrics, protocol, runs
from chat.db.access import from_database, in_database
from chat.protocol import MAX_STATE
from chat.runs import ClaimedRun, NewInput, RecordedInput

log = logging.getLogger("netra.worker")

SETTLE_SECONDS = 0.05  # without output, call and step, before a run that asks is suspended
POLL_SECONDS = 1.0  # between two queries for answers whose wake-up was lost


class _Steps(dict[str, Any]):
    """Recorded steps; counts those that are used again."""

    def __getitem__(self, key: str) -> Any:
        metrics.STEPS_REUSED.inc()
        return super().__getitem__(key)


class RunJournal:
    """Keeps what one run asks and records, and suspends the run while it waits for a person.

    It is the sink of the run's turn, too: it knows when the run has settled.
    """

    def __init__(self, run: ClaimedRun, events: RunEvents, usage: Callable[[], dict[str, Any]]) -> None:
        self.kept = Kept(steps=_Steps())
        self._run, self._events, self._usage = run, events, usage
        self._replay: Replay | None = None
        self._inputs: dict[str, RecordedInput] = {}
        self._awaited: dict[str, asyncio.Future[Answer]] = {}
        self._gate = asyncio.Lock()  # of the run's output: a restart, or a save, is one piece of it
        self._asking = asyncio.Lock()  # of new requests: each is counted before the next one
        self._busy = 0  # calls, steps, questions that are not shown yet and emissions under way
        self._active_at = 0.0  # time of the loop at which the run last did something
        self._unsaved: str | None = None  # a state for the end of the run
        self._is_suspending = False
        self._suspended = asyncio.Event()  # what is emitted meanwhile waits for it, and is refused then
        self._noticed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read what earlier executions have kept, and show again what a saved state covers."""
        run = self._run
        if run.has_previous:
            self.kept.previous = _state_of(await _read(runs.read_previous_state, run))
        if not (run.continues or run.restarted):
            return
        self._inputs = await _read(runs.read_inputs, run)
        self.kept.asked = set(self._inputs)
        self.kept.declined = {
            call_key(each.tool_name, each.parameters): each.comment
            for each in self._inputs.values()
            if each.tool_name and each.status in ("declined", "cancelled")
        }
        self.kept.steps = _Steps(await _read(runs.read_steps, run))
        found = await _read(runs.read_state, run)
        seq = 0
        if found is not None:
            state, seq = found
            self.kept.saved = state["state"]
            self.kept.counts = [Count(**{**count, "path": tuple(count["path"])}) for count in state["counts"]]
        if run.continues:
            shown = await self._read_shown()
            self._events.continue_text("".join(e["delta"] for _, e in shown if e["type"] == "agent_delta"))
        elif found is None:
            return
        else:
            shown = await self._show_again(seq)
            seq = self._events.seq
        self._replay = Replay(run.agent, self._events, shown, seq, self._read_shown, self._move_state)

    async def _read_shown(self) -> Shown:
        shown: Shown = await _read(runs.read_shown, self._run)
        return shown

    async def _move_state(self) -> int:
        """Let the saved state cover what is written by now. Return the number of the last event."""
        found = await _read(runs.read_state, self._run)
        assert found is not None
        await self._events.commit()
        return await self._keep(runs.save_state, json.dumps(found[0]), self._events.seq)

    async def _show_again(self, seq: int) -> Shown:
        """Write the events that the state covers again, after the restart. Return the shown state."""
        before: Shown = await _read(runs.read_shown, self._run, seq)
        covered = is_covered(before, seq)
        for at, event in before:
            is_start = event["type"] == "agent_started" and event.get("part_id") is None
            if covered(at, event) and not is_start and not event["type"].startswith(("run_", "message_", "thread_")):
                await self._events.emit(again(event))
        await self._move_state()
        return await self._read_shown()

    def said(self) -> str | None:
        """Return the run's text since its last restart; None if the turn has all of it."""
        return None if self._replay is None else self._replay.said

    async def involved(self, names: list[str]) -> list[str]:
        """Return these names of agents after those of agents that are shown and did not run again."""
        if self._replay is None:
            return names
        shown = [e["agent_name"] for _, e in await self._read_shown() if e["type"] == "agent_started"]
        return list(dict.fromkeys([*shown, *names]))

    # ---- The sink of the turn ----

    async def emit(self, event: dict[str, Any]) -> None:
        """Pass the event on, once the run is not being suspended."""
        with self.working():
            if self._is_suspending:
                await self._suspended.wait()
            async with self._gate:
                await (self._replay or self._events).emit(event)

    def show(self, piece: dict[str, Any]) -> None:
        """Pass a piece of a thought on, unless the run is being suspended."""
        if not self._is_suspending:
            self._active_at = asyncio.get_running_loop().time()
            (self._replay or self._events).show(piece)

    async def commit(self) -> None:
        """Return when all that was emitted is committed."""
        await self._events.commit()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the run from being suspended meanwhile."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._active_at = asyncio.get_running_loop().time()

    # ---- Requests ----

    async def ask(self, request: Request, held: bool) -> Answer:
        """Show the request and return its resolution; see `agents.sdk.journal.Journal`.

        Raises AgentError for edited parameters that do not fit the request's schema any more.
        """
        answer = await self._resolution_of(request, held)
        if answer.edited:
            try:
                await asyncio.to_thread(runs.check_parameters, request.schema, answer.parameters)
            except protocol.ProtocolError as error:
                raise AgentError(f"What was approved is not possible any more: {error.message}") from None
        return answer

    async def _resolution_of(self, request: Request, held: bool) -> Answer:
        with self.working():  # or a run whose database is slow would wait before all of it is asked
            known = self._inputs.get(request.id)
            if known is None:
                async with self._asking:
                    await self._put(request, held)
            else:
                await self._show_known(request, known)
            found = self._answer_in(known) or self._answer_in(await _read_input(request.id))
            if found is not None:
                return found
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._awaited[request.id] = future
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        self._noticed.set()
        try:
            return await future
        finally:
            self._awaited.pop(request.id, None)

    async def _put(self, request: Request, held: bool) -> None:
        if await _read(runs.too_many_inputs, self._run):
            raise AgentError("This run asks too many questions.", "too_many_inputs")
        seconds = runs.input_seconds(request.expires)
        if held:
            seconds = min(seconds, settings.NETRA_HELD_INPUT_SECONDS)
        expires_at = await retry.until_available(lambda: from_database(runs.expiry_of, seconds))
        event = {**self._event(request), "expires_at": protocol.timestamp(expires_at)}
        values = asdict(request)
        del values["expires"], values["key"]
        if self._is_suspending:
            await self._suspended.wait()
        async with self._gate:
            await self._events.emit(event, NewInput(**{**values, "path": request.path, "expires_at": expires_at}))
        await self._events.commit()

    async def _show_known(self, request: Request, known: RecordedInput) -> None:
        """Show a request of an earlier execution again, where the log does not show it since the last restart."""
        if known.resolved is None and self._run.restarted:
            known = await _read_input(request.id) or known  # the answer may be logged before the request is shown
        event = {**self._event(request), "expires_at": known.expires_at, "reused": True}
        await self.emit(event)
        if known.resolved is not None:
            speaker: dict[str, Any] = {key: event[key] for key in ("agent_name", "part_id") if key in event}
            await self.emit({"type": "input_resolved", **speaker, **known.resolved, "reused": True})

    @staticmethod
    def _event(request: Request) -> dict[str, Any]:
        part = protocol.part_id(request.path)
        speaker = {"agent_name": request.agent_name, **({"part_id": part} if part else {})}
        fields = request.event()
        if "parameters" in fields:
            fields["parameters"] = protocol.shown_parameters(fields["parameters"])
        return {"type": "input_requested", **speaker, **fields}

    @staticmethod
    def _answer_in(found: RecordedInput | None) -> Answer | None:
        if found is None or found.status == "open":
            return None
        return Answer(found.status, found.content, found.parameters, found.edited, found.comment, found.by)

    def notice(self) -> None:
        """Look for answers: one of the run's requests was resolved."""
        self._noticed.set()

    # ---- Suspension ----

    async def _watch(self) -> None:
        try:
            await self._give_answers_until_settled()
        except Exception as error:
            for future in self._awaited.values():
                if not future.done():
                    future.set_exception(error)

    async def _give_answers_until_settled(self) -> None:
        """Give answers to the branches that wait, and suspend the run once nothing else happens."""
        loop = asyncio.get_running_loop()
        looked_at = 0.0
        while not self._events.is_revoked:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS if self._awaited else POLL_SECONDS):
                    await self._noticed.wait()
            if self._noticed.is_set() or loop.time() - looked_at >= POLL_SECONDS:
                self._noticed.clear()
                looked_at = loop.time()
                await self._give_answers()
            is_settled = self._busy == 0 and loop.time() - self._active_at >= SETTLE_SECONDS
            if is_settled and any(not future.done() for future in self._awaited.values()):
                await self._suspend()
                return

    async def _give_answers(self) -> None:
        for request_id, future in list(self._awaited.items()):
            answer = self._answer_in(await _read_input(request_id))
            if answer is not None and not future.done():
                self._active_at = asyncio.get_running_loop().time()
                future.set_result(answer)

    async def _suspend(self) -> None:
        """Store that the run waits, and cancel its agent. The run is not this worker's any more."""
        self._is_suspending = True
        await self._events.commit()
        awaited = [request_id for request_id, future in self._awaited.items() if not future.done()]
        status = await retry.until_available(lambda: in_database(runs.suspend, self._run, awaited, self._usage()))
        log.info("run %s: %s", self._run.run_id, status or "lost while it was being suspended")
        self._events.revoke()
        self._suspended.set()

    def close(self) -> None:
        """End the watch over answers."""
        if self._watching is not None:
            self._watching.cancel()
        if self._run.continues and self._replay is not None:
            metrics.CONTINUATIONS.labels(self._replay.outcome).inc()

    # ---- Steps and state ----

    async def keep_step(self, key: str, result: Any) -> None:
        """Record the result of a step; see `agents.sdk.journal.Journal`."""
        text = json.dumps(result)
        _check_size(text, "A step")
        try:
            await self._keep(runs.keep_step, key, text, self._usage())
        except runs.TooManySteps:
            raise AgentError("This run has too many steps.", "too_many_steps") from None
        dict.__setitem__(self.kept.steps, key, result)

    async def save(self, state: Any, counts: list[Count]) -> None:
        """Store the newest state; see `agents.sdk.journal.Journal`."""
        text = json.dumps({"state": state, "counts": [asdict(count) for count in counts]})
        _check_size(text, "A state")
        with self.working():
            async with self._gate:  # what another branch says meanwhile is not covered
                await self._events.commit()
                seq = self._events.seq
            # The stored state belongs to text that the continuation is still to repeat, or will not repeat.
            self._unsaved = text if self._replay is not None and self._replay.is_behind else None
            if self._unsaved is None:
                covered = await self._keep(runs.save_state, text, seq, self._usage())
                if self._replay is not None:
                    self._replay.covered = covered

    async def save_last(self) -> None:
        """Store the newest state that could not be stored before: the agent has ended, and all it said is shown."""
        if self._unsaved is not None:
            await self._events.commit()
            await self._keep(runs.save_state, self._unsaved, self._events.seq, self._usage())

    async def _keep(self, function: Callable[..., int], *values: Any) -> int:
        """Return the result of a function of the write service.

        Raises CancelledError if that is 0 or False: the run is no longer this worker's.
        """
        kept = await retry.until_available(lambda: in_database(function, self._run, *values))
        if not kept:
            self._events.revoke()
            raise asyncio.CancelledError("the run no longer belongs to this worker")
        return kept


def _check_size(text: str, what: str) -> None:
    if len(text.encode()) > MAX_STATE:
        raise AgentError(f"{what} of this run is too large to be kept.", "too_large")


def _state_of(stored: Any) -> Any:
    return None if stored is None else stored["state"]


async def _read(function: Callable[..., Any], *values: Any) -> Any:
    return await retry.until_available(lambda: from_database(function, *values))


async def _read_input(request_id: str) -> RecordedInput | None:
    found: RecordedInput | None = await _read(runs.read_input, request_id)
    return found
