"""Failures of the model or its provider, as the user reads them."""

import re

from pydantic_ai import exceptions as failures

from agents.sdk import AgentError

_MESSAGES = {
    "model_key": "The model's provider did not accept the key. An administrator has to look at it.",
    "model_unknown": "The provider does not know the model. An administrator has to look at its name and its URL.",
    "model_moved": "The provider's address leads to another one. An administrator has to look at the model's URL.",
    "model_tools": "The model cannot call tools, which the assistant needs. An administrator has to choose another.",
    "too_long": "This conversation has grown too long for the model. Start a new thread.",
    "model_quota": "The account at the model's provider has no credit left.",
    "model_busy": "The model's provider takes no more requests at the moment. Try again in a while.",
    "model_timeout": "The model did not answer in time. Try again.",
    "model_unreachable": "The model's provider cannot be reached. Try again in a while.",
    "model_down": "The model's provider is out of order. Try again in a while.",
    "model_refused": "The model's provider refused to answer this.",
    "model_rejected": "The model's provider rejected the request. An administrator has to look at it.",
    "model_length": "The model reached its length limit before it had an answer. Ask for a part of it.",
    "limit": "This took more steps or tokens than one answer may. Ask for a part of it.",
    "model_garbled": "The model's answer could not be understood. Try again.",
}

# Texts of providers for which the library has no exception class, or only a wider one. The order matters: a message
# about filtered content may name the model, and one about length may name a quota of tokens.
_SIGNS = [
    (code, re.compile("|".join(signs), re.I))
    for code, signs in {
        "model_refused": (
            r"\bcontent[_ ](?:policy|filter|management)",
            r"responsible ?ai ?policy",
            r"content ?policy ?violation",
            r"\binvalid_prompt\b",
            r"\bmoderation\b",
            r"flagged[_ ]input|\bflagged\b",
            r"data_?inspection_?failed",
            r"content exists risk",
            r"usage (?:policy|policies|guidelines)",
            r"prohibited_content",
            r"safety_check",
            r"guardrail",
        ),
        "too_long": (
            r"context_length_exceeded|exceed_context_size|context_window_exceeded|contextwindowexceeded",
            r"maximum context|context (?:length|window|size|limit)",
            r"(?:prompt|input|request|messages?)\b[^.]{0,40}\btoo (?:long|large)",
            r"too many (?:input )?tokens",
            r"input token count",
            r"range of input length",
            r"inputs?\W{0,2} tokens?.{0,40}must be",
            r"exceeds max(?:imum)? (?:length|input|prompt)",
            r"must have less than \d+ tokens",
            r"request_too_large",
        ),
        "model_quota": (
            r"insufficient[_ ](?:user[_ ])?(?:quota|balance|credits?|funds)",
            r"exceeded_current_quota|exceeded your (?:current quota|monthly)|credit balance|spend(?:ing)?[_ ]limit",
            r"billing_(?:error|hard_limit|not_active)|billing details|payment required",
            r"key limit exceeded|budget has been exceeded|budget_exceeded|\b(?:any|enough|more|no|out of) credits\b",
        ),
        "model_tools": (
            r"support(?:s|ed)? (?:the use of )?(?:tools?|tool use|tool calling|function calling)\b",
            r"tool choice requires",
        ),
        "model_unknown": (
            r"model_not_found|deployment_?not_?found|unknown_model|model_decommissioned|model_not_supported",
            r"not a valid model|invalid model\b|no such model|model not exist|unknown model",
            r"\bmodel \W{0,2}[\w./:-]+\W{0,2} (?:does not exist|not found|is not supported|has been d)",
        ),
        "model_garbled": (r"\btool_use_failed\b",),  # the model's call is none: not the request's fault
        "model_key": (r"api[_ ]key[_ ](?:not[_ ]valid|invalid)|invalid[_ ]api[_ ]key|account_deactivated",),
    }.items()
]

_KINDS: list[tuple[type[Exception], str]] = [
    (failures.ModelContextWindowExceededError, "too_long"),
    (failures.ModelAuthenticationError, "model_key"),
    (failures.ModelNotFoundError, "model_unknown"),
    (failures.ModelQuotaExceededError, "model_quota"),
    (failures.ModelRateLimitError, "model_busy"),
    (failures.ModelTimeoutError, "model_timeout"),
    (failures.ModelRequestTimeout, "model_timeout"),
    (failures.ModelConnectionError, "model_unreachable"),
    (failures.ModelUnavailableError, "model_down"),
    (failures.ModelServerError, "model_down"),
    (failures.ContentFilterError, "model_refused"),
    (failures.ModelAPIError, "model_rejected"),
    (failures.UsageLimitExceeded, "limit"),
    (failures.OutputTokenLimitExceeded, "model_length"),
    (failures.AgentRunError, "model_garbled"),
]
_STATUS = {
    401: "model_key",
    429: "model_busy",
    408: "model_timeout",
    409: "model_busy",
    413: "too_long",
    425: "model_busy",
    498: "model_busy",
}
# Of clients whose library does not tell these kinds apart.
_CLIENT_STATUS = {**_STATUS, 402: "model_quota", 403: "model_key", 404: "model_unknown"}
_TEMPORARY = {"model_busy", "model_down", "model_timeout"}
_MAX_SEARCHED = 4000  # characters of a provider's error: the patterns must not search a whole page


def user_error(error: Exception) -> AgentError | None:
    """Map an error of the model to an AgentError for the user; None for an unexpected exception.

    The message quotes nothing of the error: providers may quote the key of the request. A temporary error is retryable
    if it was reported within a stream, where the provider's client does not repeat the request.
    """
    if isinstance(error, AgentError):
        return error
    code = next((code for kind, code in _KINDS if isinstance(error, kind)), None)
    if code is None:
        return None
    if isinstance(error, failures.ModelAPIError):
        code = _api_code(error, code)
    in_stream = isinstance(error, failures.ModelAPIError) and error.in_stream
    return AgentError(_MESSAGES[code], code=code, retryable=in_stream and code in _TEMPORARY)


def client_error(error: Exception) -> AgentError | None:
    """Map an exception of a provider's own client library, as a node of a graph raises it; None for any other.

    The libraries of OpenAI, Anthropic, Groq and others are made by one generator, and name their exceptions alike. Like
    `user_error`, the message quotes nothing.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if "APITimeoutError" in names:
        code = "model_timeout"
    elif "APIConnectionError" in names:
        code = "model_unreachable"
    elif "APIStatusError" in names and isinstance(status, int):
        words = " ".join(str(getattr(error, name, "")) for name in ("code", "type", "body"))
        code = (
            _code_by_words(words) or _CLIENT_STATUS.get(status) or ("model_down" if status >= 500 else "model_rejected")
        )
    else:
        return None
    return AgentError(_MESSAGES[code], code=code)


def _code_by_words(words: str) -> str | None:
    return next((found for found, signs in _SIGNS if signs.search(words[:_MAX_SEARCHED])), None)


def _api_code(error: failures.ModelAPIError, code: str) -> str:
    words = f"{error.provider_error_code} {error.provider_error_type} {error.body}"
    if found := _code_by_words(words):
        return found
    if code != "model_rejected":
        return code
    if isinstance(error, failures.ModelHTTPError):
        return _STATUS.get(error.status_code, code)
    if 300 <= getattr(error.__cause__, "status_code", 0) < 400:
        return "model_moved"
    return "model_down" if error.in_stream else "model_garbled"
