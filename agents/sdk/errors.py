"""The exception whose message the user reads."""

from agents.sdk import tools
from chat.protocol import visible

UNKNOWN = "The agent hit an error and stopped. Try again."  # what the user reads where no other words are known
_LONGEST_MESSAGE, _LONGEST_CODE = 2000, 64  # characters


class AgentError(Exception):
    """A failure that the user reads about. Any other exception is a bug, and the user reads "internal error".

    `message` is shown to the user. `code` is the `error_code` of the wire. `retryable` asks for another attempt.
    Longer messages than 2,000 characters and longer codes than 64 are truncated. A blank message, as many libraries'
    exceptions have as their text, is UNKNOWN.
    """

    def __init__(self, message: str, code: str = "agent_error", retryable: bool = False) -> None:
        super().__init__(message)
        text = tools.clean(str(message)[:_LONGEST_MESSAGE])
        self.message = text if visible(text) else UNKNOWN
        self.code = tools.clean(str(code)[:_LONGEST_CODE])
        self.retryable = bool(retryable)

    @classmethod
    def of(cls, error: BaseException) -> "AgentError | None":
        """Return `error` if it is an AgentError, or the first of an exception group of AgentErrors only; else None."""
        if isinstance(error, BaseExceptionGroup):
            found = [cls.of(inner) for inner in error.exceptions]
            return found[0] if all(found) else None
        return error if isinstance(error, cls) else None
