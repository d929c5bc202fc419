"""The text of an answer for clients that cannot take text back. Pure."""

from chat.dialects.base import rest_of

DEPARTURE = "\n\n---\n\n"  # before the whole text of an attempt that departs from what was sent


class AppendedText:
    """The text that such a client was sent, and each addition to it.

    After a restart, the new attempt's text is not sent as far as it repeats what was sent. Where it departs, a line and
    the whole of it follow. `said` is the text of the current attempt.
    """

    def __init__(self) -> None:
        self.said = ""
        self._shown = ""  # the last that was sent: of an attempt, from its beginning
        self._is_restarted = False

    def restart(self) -> None:
        """Begin another attempt."""
        self.said, self._is_restarted = "", True

    def add(self, delta: str) -> str:
        """Return what the client gets for a delta of the current attempt."""
        self.said += delta
        if self._shown.startswith(self.said):
            return ""
        text = self.said[len(self._shown) :] if self.said.startswith(self._shown) else DEPARTURE + self.said
        self._shown = self.said
        return text

    def finish(self, final: str) -> tuple[str, bool]:
        """Return what is still to be sent of the final answer, and whether that begins another block."""
        text, is_other = rest_of(self._shown, final)
        self.said = self._shown = final
        return (DEPARTURE + text if is_other and self._is_restarted else text), is_other
