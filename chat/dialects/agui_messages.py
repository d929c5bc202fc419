"""AG-UI 1.0: the messages that a client makes of frames, as its own reducer does. Pure."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
Frame: TypeAlias = Mapping[str, Any]


def copied(messages: Iterable[Message]) -> list[Message]:
    """Return copies that do not change with the messages."""
    return [copy.deepcopy(message) for message in messages]


def apply(messages: list[Message], frame: Frame) -> None:
    """Apply a frame to the messages."""
    owner = {"subagentRunId": frame["subagentRunId"]} if "subagentRunId" in frame else {}
    match frame["type"]:
        case "TEXT_MESSAGE_START":
            if _find(messages, frame["messageId"]) is None:
                messages.append({"id": frame["messageId"], "role": frame["role"], "content": ""})
        case "REASONING_MESSAGE_START":
            messages.append({"id": frame["messageId"], "role": "reasoning", "content": "", **owner})
        case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
            if (message := _find(messages, frame["messageId"])) is not None:
                message["content"] = message.get("content", "") + frame["delta"]
        case "TEXT_MESSAGE_END" | "REASONING_MESSAGE_END":
            if (message := _find(messages, frame["messageId"])) is not None:
                message["metadata"] = {**message.get("metadata", {}), **frame["metadata"]}
        case "TOOL_CALL_START":
            _add_call(messages, frame, owner)
        case "TOOL_CALL_ARGS":
            if (call := _call_of(messages, frame["toolCallId"])) is not None:
                call["function"]["arguments"] += frame["delta"]
        case "TOOL_CALL_END":
            if (call := _call_of(messages, frame["toolCallId"])) is not None:
                call["metadata"] = {**call.get("metadata", {}), **frame["metadata"]}
        case "TOOL_CALL_RESULT":
            _add_result(messages, frame, owner)


def _find(messages: Iterable[Message], id: str) -> Message | None:
    return next((message for message in messages if message["id"] == id), None)


def _call_of(messages: Iterable[Message], call_id: str) -> dict[str, Any] | None:
    calls = (call for message in messages for call in message.get("toolCalls", []))
    return next((call for call in calls if call["id"] == call_id), None)


def _add_call(messages: list[Message], frame: Frame, owner: dict[str, str]) -> None:
    parent = frame.get("parentMessageId") or frame["toolCallId"]
    message = _find(messages, parent)
    if message is None:
        message = {"id": parent, "role": "assistant", **owner}
        messages.append(message)
    call = {"name": frame["toolCallName"], "arguments": ""}
    message.setdefault("toolCalls", []).append({"id": frame["toolCallId"], "type": "function", "function": call})


def _add_result(messages: list[Message], frame: Frame, owner: dict[str, str]) -> None:
    """Insert the result behind the message of its call, and behind the results that stand there."""
    result = {"id": frame["messageId"], "role": "tool", "toolCallId": frame["toolCallId"], "content": frame["content"]}
    result |= owner | ({"metadata": frame["metadata"]} if "metadata" in frame else {})
    for index, message in enumerate(messages):
        if any(call["id"] == frame["toolCallId"] for call in message.get("toolCalls", [])):
            place = index + 1
            while place < len(messages) and messages[place]["role"] == "tool":
                place += 1
            messages.insert(place, result)
            return
    messages.append(result)
