"""Error codes with their HTTP status, close codes, and the one exception for a client's mistake."""

from typing import Any, TypeAlias

from chat.protocol.encoding import control

# Codes of failures that a tool told the model of its agent: results like any other, which another attempt gets again.
TOOL_VERDICTS = frozenset({"tool_failed", "tool_retry"})

# Error codes with their HTTP status. A client can recover from every one but `unauthorized`.
STATUS: dict[str, int] = {
    "invalid_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "conflict": 409,
    "too_large": 413,
    "unsupported_data": 415,
    "invalid_message": 422,
    "unknown_agent": 422,
    "unknown_type": 422,
    "upgrade_required": 426,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
}

CLOSE_DONE = 1000
CLOSE_UNAUTHORIZED = 4401
CLOSE_TOO_SLOW = 4408
CLOSE_TOO_MANY = 4429
CLOSE_NOT_READY = 4503

Ref: TypeAlias = str | int | None


class ProtocolError(Exception):
    """An error whose message the client may read. `code` is a key of STATUS; `retry_after` is in seconds."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        ref: Ref = None,
        retry_after: float | None = None,
        stands: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = STATUS[code]
        self.code = code
        self.message = message
        self.field = field
        self.ref = ref
        self.retry_after = retry_after
        self.stands = stands

    def frame(self) -> str:
        """Return the `error` control frame."""
        known = {"message": self.message, "recoverable": self.code != "unauthorized", "ref": self.ref}
        return control("error", error_code=self.code, **known, **self._optional())

    def body(self) -> dict[str, Any]:
        """Return the body of a REST answer with `status`."""
        return {"error": self.code, "message": self.message, **self._optional()}

    def _optional(self) -> dict[str, Any]:
        extra = {"field": self.field, "retry_after": self.retry_after, "status": self.stands}
        return {name: value for name, value in extra.items() if value is not None}
