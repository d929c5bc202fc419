"""The text of a run as a client shows it: the rule of docs/clients.md."""

from typing import Any

from chat.protocol import TERMINAL


class Transcript:
    """The text that one client shows of one run. It takes frames in any order, except that events come in theirs."""

    def __init__(self) -> None:
        self.attempt = 0
        self.is_over = False
        self.wrong: list[str] = []  # what must never happen
        self._units = b""  # UTF-16: two bytes for each unit of an offset
        self._logged = 0  # units that came in events

    @property
    def text(self) -> str:
        return self._units.decode("utf-16-le")

    @property
    def logged(self) -> str:
        return self._units[: 2 * self._logged].decode("utf-16-le")

    def add(self, frame: dict[str, Any]) -> None:
        """Take an event or live text of the run."""
        kind = frame["type"]
        if kind == "live_delta":
            if frame["attempt"] == self.attempt and not self.is_over:
                self._extend(frame)
        elif kind == "agent_delta":
            self._take_logged(frame["offset"], frame["delta"].encode("utf-16-le"))
        elif kind == "run_restarted":
            self.attempt, self._units, self._logged = frame["attempt"], b"", 0
        elif kind == "agent_started":
            self.attempt = frame["attempt"]
        elif kind in TERMINAL:
            self.is_over = True
            answer = frame.get("final_response")
            self._units = self._units[: 2 * self._logged] if answer is None else answer.encode("utf-16-le")

    def _take_logged(self, offset: int, units: bytes) -> None:
        begin = 2 * self._logged
        end = begin + len(units)
        if offset != self._logged:
            self.wrong.append(f"an event repeats or skips text: it is at {offset}, not at {self._logged}")
        if not units.startswith(self._units[begin:end]):
            self.wrong.append(f"live text at {self._logged} is not that of the event log")
        self._units = self._units[:begin] + units + self._units[end:]
        self._logged = end // 2

    def _extend(self, frame: dict[str, Any]) -> None:
        gap = 2 * frame["offset"] - len(self._units)
        if gap <= 0:
            self._units += frame["delta"].encode("utf-16-le")[-gap:]
