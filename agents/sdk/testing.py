"""A sink and a journal that keep all in memory, for tests of agents without a worker."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from agents.sdk.journal import ACCEPTED, DECLINED, EXPIRED, Answer, Count, Kept, Request, Waiting
from chat.protocol import forms


class RecordingSink(list[dict[str, Any]]):
    """The events of a turn, in order, as a list."""

    async def emit(self, event: dict[str, Any]) -> None:
        """Append the event."""
        self.append(event)

    def show(self, piece: dict[str, Any]) -> None:
        """Do nothing: the event that follows has the whole thought."""

    async def commit(self) -> None:
        """Return at once: a list commits nothing."""


def accept(content: Any = None, *, parameters: dict[str, Any] | None = None, reason: str = "") -> Answer:
    """Return the answer that accepts: with the values of a form, or with other parameters than those proposed."""
    return Answer(ACCEPTED, content, parameters, parameters is not None, reason)


def decline(reason: str = "") -> Answer:
    """Return the answer that declines."""
    return Answer(DECLINED, reason=reason)


def expire() -> Answer:
    """Return the resolution of a request without an answer in time."""
    return Answer(EXPIRED)


class MemoryJournal:
    """Gives the answers of a test in their order, each to the next new request.

    Raises Waiting without a further answer.
    """

    def __init__(self, answers: Sequence[Answer], show: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self.kept = Kept()
        self._answers, self._show = list(answers), show
        self._open: list[Request] = []

    async def ask(self, request: Request, held: bool) -> Answer:
        """Return the next answer of the test. Raises Waiting without one."""
        self._open.append(request)
        await self._show({"type": "input_requested", "agent_name": request.agent_name, **request.event()})
        if not self._answers:
            raise Waiting(list(self._open))
        answer = self._resolved(request, self._answers.pop(0))
        self._open.remove(request)
        shown = {"request_id": request.id, "status": answer.status}
        await self._show({"type": "input_resolved", "agent_name": request.agent_name, **shown})
        return answer

    @staticmethod
    def _resolved(request: Request, answer: Answer) -> Answer:
        content, parameters = answer.content, answer.parameters
        if answer.status == EXPIRED:
            content = request.default
        elif request.kind == "form" and answer.status == ACCEPTED:
            content = forms.form_answer(request.schema or {}, content)
        if parameters is None:
            parameters = request.parameters
        return Answer(answer.status, content, parameters, answer.edited, answer.reason, answer.by)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do nothing: a test is not suspended."""
        yield

    async def keep_step(self, key: str, result: Any) -> None:
        """Keep the result of a step."""
        self.kept.steps[key] = result

    async def save(self, state: Any, counts: list[Count]) -> None:
        """Keep the newest state."""
        self.kept.saved, self.kept.counts = state, counts

    def said(self) -> str | None:
        """Return None: the turn keeps its text."""
        return None
