"""The comparison of what a continuation says with what its run has shown before it waited."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.sdk import Sink
from chat.protocol import ENVELOPE

Shown = Sequence[tuple[int, dict[str, Any]]]

_TEXTS = {"agent_delta": "delta", "agent_thinking": "reasoning"}
_IDS = {
    "agent_started": "part_id",
    "subagent_completed": "part_id",
    "tool_executing": "tool_call_id",
    "tool_completed": "tool_call_id",
    "input_requested": "request_id",
    "input_resolved": "request_id",
}
_REUSED = {"tool_executing", "tool_completed", "input_requested", "input_resolved"}
_OF_THE_RUN = {"run_waiting", "run_resumed", "message_created", "thread_updated"}


@dataclass(slots=True)
class _Text:
    """A text of one part: all that is shown of it, and how much of that the continuation has repeated."""

    shown: str = ""
    repeated: int = 0


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event as an agent emits it."""
    dropped = (ENVELOPE | {"offset"}) - {"type", "agent_name"}
    return {name: value for name, value in event.items() if name not in dropped}


def again(event: dict[str, Any]) -> dict[str, Any]:
    """Return a shown event as it is shown once more after a restart."""
    return {**plain(event), "reused": True} if event["type"] in _REUSED else plain(event)


def is_covered(shown: Shown, seq: int) -> Callable[[int, dict[str, Any]], bool]:
    """Return whether a state that was saved at `seq` covers an event: of the run's agent, or a finished sub-agent."""
    finished = {event.get("part_id") for at, event in shown if event["type"] == "subagent_completed" and at <= seq}
    return lambda at, event: at <= seq and (event.get("part_id") is None or event["part_id"] in finished)


def _common_length(one: str, other: str) -> int:
    """Return the length of the longest common beginning."""
    end = min(len(one), len(other))
    if one[:end] == other[:end]:
        return end
    return next(at for at in range(end) if one[at] != other[at])


class Replay:
    """The sink between the turn of a continuation and the run's events.

    Output that equals the log is not written again; what goes beyond it is. At the first difference the run is shown
    afresh. `read` returns what is shown by then. `move` lets the saved state cover what was written again until then,
    and returns the number of the last event. The caller emits one event at a time.
    """

    def __init__(
        self,
        agent: str,
        events: Sink,
        shown: Shown,
        seq: int,
        read: Callable[[], Awaitable[Shown]],
        move: Callable[[], Awaitable[int]],
    ) -> None:
        """Compare with `shown`, without what a state that was saved at `seq` covers; 0 for none."""
        self.outcome = "silent"
        self.covered = seq
        self._agent, self._events, self._read, self._move = agent, events, read, move
        self._texts: dict[tuple[str, str | None], _Text] = {}
        self._known: set[tuple[str, str | None]] = set()
        self._said = [event["delta"] for _, event in shown if event["type"] == "agent_delta"]
        covered = is_covered(shown, seq)
        for at, event in shown:
            kind, part = event["type"], event.get("part_id")
            if kind in _TEXTS:
                text = self._text(kind, part)
                text.shown += event[_TEXTS[kind]]
                if covered(at, event):
                    text.repeated = len(text.shown)
            elif kind in _IDS and (kind != "agent_started" or part is not None):
                self._known.add((kind, event.get(_IDS[kind])))

    @property
    def said(self) -> str:
        """The run's text since its last restart."""
        return "".join(self._said)

    @property
    def is_behind(self) -> bool:
        """True while the run's own agent has shown text that it has not repeated."""
        return any(text.repeated < len(text.shown) for (_, part), text in self._texts.items() if part is None)

    async def emit(self, event: dict[str, Any]) -> None:
        """Pass the event on, as far as it is not shown already."""
        kind, part = event["type"], event.get("part_id")
        if kind in _TEXTS:
            await self._emit_text(event, kind, self._text(kind, part))
            return
        key = (kind, event.get(_IDS.get(kind, "")))
        if key in self._known:
            self._known.discard(key)
        else:
            await self._events.emit(event)

    def show(self, piece: dict[str, Any]) -> None:
        """Pass a piece of a thought on, unless its part has thoughts to repeat: it may be of one that is shown."""
        text = self._text("agent_thinking", piece.get("part_id"))
        if text.repeated == len(text.shown):
            self._events.show(piece)

    async def commit(self) -> None:
        """Return when all that was emitted is committed."""
        await self._events.commit()

    def _text(self, kind: str, part: str | None) -> _Text:
        return self._texts.setdefault((kind, part), _Text())

    async def _emit_text(self, event: dict[str, Any], kind: str, text: _Text) -> None:
        said, rest = event[_TEXTS[kind]], text.shown[text.repeated :]
        same = _common_length(said, rest)
        text.repeated += same
        if same == len(said) > 0:
            return
        if same < len(rest):
            await self._restart(event.get("part_id"))
        said = said[same:]
        text.shown += said
        text.repeated = len(text.shown)
        if kind == "agent_delta":
            self._said.append(said)
        await self._events.emit({**event, _TEXTS[kind]: said})

    async def _restart(self, part: str | None) -> None:
        """Show the run afresh, without what this part said and has not repeated."""
        self.outcome = "changed"
        await self._events.commit()
        shown = await self._read()
        await self._events.emit({"type": "run_restarted", "agent_name": self._agent, "reason": "changed"})
        left = {kind: self._text(kind, part).repeated for kind in _TEXTS}
        self._said = []
        is_to_move = self.covered > 0  # the state covers the same events under their new numbers
        for at, event in shown:
            kind = event["type"]
            if is_to_move and at > self.covered:
                self.covered, is_to_move = await self._move(), False
            if kind in _OF_THE_RUN:
                continue
            if kind in _TEXTS and event.get("part_id") == part:
                kept = event[_TEXTS[kind]][: left[kind]]
                left[kind] -= len(kept)
                if not kept:
                    continue
                event = {**event, _TEXTS[kind]: kept}
            if kind == "agent_delta":
                self._said.append(event["delta"])
            await self._events.emit(again(event))
        if is_to_move:
            self.covered = await self._move()
        for kind in _TEXTS:
            text = self._text(kind, part)
            text.shown = text.shown[: text.repeated]
