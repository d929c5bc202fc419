"""The end of a model's answer: complete, or truncated for a reason."""

import re

from pydantic_ai.messages import ModelResponse, TextPart

from agents.sdk import AgentError

_WHOLE = {
    *("stop", "end_turn", "stop_sequence", "completed", "complete", "end", "eos", "eos_token", "finished", "done"),
    *("success", "pause_turn", "compaction"),
}
_CALLS = {"tool_calls", "tool_call", "tool_use", "function_call"}
_LENGTH = {"length", "max_tokens", "max_output_tokens", "model_length", "max_length", "token_limit"}
_WINDOW = {"model_context_window_exceeded", "context_length", "context_length_exceeded"}
_FILTER = {
    *("content_filter", "content_filtered", "refusal", "safety", "sensitive", "recitation", "prohibited_content"),
    *("blocklist", "spii", "guardrail_intervened", "language", "image_safety"),
}
_FAILED = {
    *("error", "failed", "abort", "aborted", "cancelled", "canceled", "incomplete", "interrupted", "timeout"),
    *("network_error", "insufficient_system_resource", "malformed_function_call", "unexpected_tool_call"),
}
_NOTE = re.compile(r"\s*\*The answer (?:was cut|may be incomplete): [^\n*]*\*\Z")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$", re.M)


def truncated_by(response: ModelResponse, is_marked: bool = True) -> AgentError | None:
    """Return the reason why the response is truncated; None if it is complete.

    The finish reason of the provider decides: the library reports `stop` for a stream that ended without one. Without
    one the response is truncated, unless the model's streams have no such mark.
    """
    word = str((response.provider_details or {}).get("finish_reason") or "").lower()
    said = any(isinstance(part, TextPart) and part.content for part in response.parts)
    if response.finish_reason == "content_filter" or word in _FILTER:
        return AgentError("The provider's content filter stopped it.", code="model_refused")
    if word in _WINDOW:
        return AgentError("The conversation has filled the model's context window.", code="too_long")
    if response.finish_reason == "length" or word in _LENGTH:
        return AgentError("The model reached its length limit.", code="model_length")
    if word in _WHOLE or (word in _CALLS and (response.tool_calls or not said)):
        return None
    if word in _CALLS:
        return AgentError("The model announced a tool call, but the call is missing.", code="model_cut")
    if not word and not is_marked:
        return None
    if not word:
        return AgentError("The stream ended without the model's end marker.", code="model_unended")
    return AgentError(f"The provider ended it with “{_name(word)}”.", code="model_cut", retryable=word in _FAILED)


def interrupted() -> AgentError:
    """Return the error of a stream that broke off; the run may be retried."""
    return AgentError("The model's answer broke off. Try again.", code="model_cut", retryable=True)


def note(text: str, reason: AgentError) -> str:
    """Return the paragraph to append to a truncated answer. It closes an open code fence first."""
    what = "may be incomplete" if reason.code == "model_unended" else "was cut"
    message = reason.message.replace("*", "")
    return f"{_closing(text)}\n\n*The answer {what}: {message[:1].lower()}{message[1:]}*"


def without_note(text: str) -> str:
    """Return the answer without the paragraph that `note` appended."""
    return _NOTE.sub("", text)


def _closing(text: str) -> str:
    fence = ""
    for found in _FENCE.finditer(text):
        mark, rest = found[1], found[2]
        if not fence:
            fence = mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return f"\n{fence}" if fence else ""


def _name(word: str) -> str:
    return re.sub(r"[^\w .-]", "", word)[:40]
