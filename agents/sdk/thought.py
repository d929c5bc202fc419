"""A thought that is shown while it grows. Pure: standard library only."""

import time
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any

from agents.sdk import tools
from agents.sdk.errors import AgentError
from chat.protocol import MAX_ANSWER, utf16_length

if TYPE_CHECKING:
    from agents.sdk.turn import Turn


class Thought:
    """One thought of an agent, as the context of `Turn.thought`. Its end emits the event with all of it.

    A thought of white space alone is neither shown nor emitted.
    """

    __slots__ = ("_began", "_cleaner", "_fields", "_id", "_offset", "_pieces", "_shown", "_size", "_turn")

    def __init__(self, turn: "Turn", fields: dict[str, Any]) -> None:
        self._turn, self._fields = turn, fields
        self._id = uuid.uuid4().hex
        self._began = time.monotonic()
        self._cleaner = tools.DeltaCleaner()
        self._pieces: list[str] = []
        self._shown = ""  # what waits for something to see
        self._size = self._offset = 0  # bytes of all pieces; UTF-16 code units of those that were shown

    async def add(self, text: str) -> None:
        """Add a piece. It is shown soon, unless the client misses it. Raises AgentError too_large."""
        if not isinstance(text, str):
            raise TypeError(f"a piece of a thought is a str, not {type(text).__name__}")
        self._add(self._cleaner.add(text))

    async def end(self) -> None:
        """Emit `agent_thinking` with all pieces. A second call does nothing."""
        self._add(self._cleaner.end())
        text = "".join(self._pieces)
        self._pieces.clear()
        if text.strip():
            duration = int((time.monotonic() - self._began) * 1000)
            await self._turn.emit_thought(
                {"reasoning": text, **self._fields, "thought_id": self._id, "duration_ms": duration}
            )

    def _add(self, piece: str) -> None:
        if not piece:
            return
        self._size += len(piece) if piece.isascii() else len(piece.encode())
        if self._size > MAX_ANSWER:
            self._pieces.clear()
            raise AgentError("A thought is too long.", code="too_large")
        self._pieces.append(piece)
        self._shown += piece
        if self._offset or self._shown.strip():
            shown, self._shown = self._shown, ""
            self._turn.show_thought({"thought_id": self._id, "offset": self._offset, "delta": shown})
            self._offset += utf16_length(shown)

    async def __aenter__(self) -> "Thought":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()


def step_fields(step: int | None, of: int | None) -> dict[str, int]:
    """Return the fields of a thought with its number and the number of all."""
    fields = {name: number for name, number in (("step_number", step), ("total_steps", of)) if number is not None}
    for name, number in fields.items():
        if not isinstance(number, int):
            raise TypeError(f"{name} is an int, not {type(number).__name__}")
    return fields
