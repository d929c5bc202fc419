"""Errors in OpenAI's shape. Pure."""

from typing import Any

from chat.protocol import ProtocolError

# Error of wire.md -> status and code, where they are not the same.
_ERRORS = {
    "unauthorized": (401, "invalid_api_key"),
    "forbidden": (403, "insufficient_scope"),
    "invalid_json": (400, "invalid_json"),
    "invalid_message": (400, "invalid_message"),
    "unsupported_data": (400, "unsupported_data"),
    "unknown_agent": (404, "model_not_found"),
    "method_not_allowed": (404, "not_found"),
    "rate_limited": (429, "rate_limit_exceeded"),
}
_PARAMS = {"agent": "model"}


def openai_error(error: ProtocolError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return the status, the body and further headers of the answer to an error."""
    status, code = _ERRORS.get(error.code, (error.status, error.code))
    kind = "invalid_request_error" if status < 500 else "server_error"
    param = _PARAMS.get(error.field or "", error.field)
    headers = {"x-should-retry": "false"} if status == 409 else {}
    return status, {"error": {"message": error.message, "type": kind, "param": param, "code": code}}, headers
