"""OpenAI's Chat Completions: a run's events as chunks, and as one completion. Pure."""

import json
from typing import Any

from chat.dialects.appending import AppendedText
from chat.dialects.base import Event, Frame, RunFacts, Usage, clip, usage_of

DONE = "[DONE]"


class ChatCompletion:
    """The projection of a run. With `include_usage` its last chunk has the usage.

    Thoughts, tools and sub-agents are lines of `reasoning_content`, never tool calls: the client would run those.
    `error` is OpenAI's error of a failed run, else None.
    """

    def __init__(self, facts: RunFacts, include_usage: bool = False) -> None:
        self.ended = False
        self.error: dict[str, Any] | None = None
        self._facts, self._include_usage = facts, include_usage
        self._text = AppendedText()
        self._content = ""  # of the complete answer
        self._reasoning: list[str] = []
        self._finish_reason: str | None = None
        self._usage = Usage()

    def begin(self) -> list[Frame]:
        """Return the chunk with the role."""
        return [self._chunk({"role": "assistant", "content": ""})]

    def feed(self, event: Event) -> list[Frame]:
        """Return the chunks of one event."""
        match event["type"]:
            case "agent_delta":
                return self._say(self._text.add(event["delta"]))
            case "run_restarted":
                self._text.restart()
                self._reasoning.clear()
            case "run_waiting":
                line = f"An answer is needed. Give it here: {self._facts.address}"
                self._content = f"{self._text.said}\n\n{line}" if self._text.said else line
                return self._say(f"\n\n{line}\n" if self._text.said else f"{line}\n") + self._finish("stop")
            case "agent_completed":
                self._content, self._usage = event["final_response"], usage_of(event)
                rest, is_other = self._text.finish(self._content)
                return self._say(f"\n\n{rest.lstrip()}" if is_other else rest) + self._finish("stop")
            case "agent_cancelled":
                self._content = self._text.said
                return self._finish("length")
            case "agent_failed":
                self.ended = True
                self.error = {
                    "message": event["message"],
                    "type": "server_error",
                    "param": None,
                    "code": event["error_code"],
                }
                return [{"error": self.error}, DONE]
            case _:
                return self._think(reasoning_line(event))
        return []

    def completion(self) -> dict[str, Any]:
        """Return the whole completion of the ended run."""
        message: dict[str, Any] = {"role": "assistant", "content": self._content, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(self._usage)}

    def _say(self, text: str) -> list[Frame]:
        return [self._chunk({"content": text})] if text else []

    def _think(self, line: str) -> list[Frame]:
        if not line:
            return []
        self._reasoning.append(f"{line}\n")
        return [self._chunk({"reasoning_content": f"{line}\n"})]

    def _finish(self, reason: str) -> list[Frame]:
        self.ended, self._finish_reason = True, reason
        frames: list[Frame] = [self._chunk({}, reason)]
        if self._include_usage:
            frames.append({**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(self._usage)})
        return [*frames, DONE]

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **usage}

    def _head(self, kind: str) -> dict[str, Any]:
        facts = self._facts
        return {
            "id": f"chatcmpl-{facts.run_hex}",
            "object": kind,
            "created": facts.created_at,
            "model": facts.agent,
        }


def reasoning_line(event: Event) -> str:
    """Return what the user reads of a thought, a tool or a sub-agent; "" for another event.

    A thought is whole; the others have one line of at most 200 characters.
    """
    match event["type"]:
        case "agent_thinking":
            return str(event["reasoning"]).strip()
        case "agent_started" if event.get("parent_agent") is not None:
            return clip(f"{event['agent_name']}: {event['task']}")
        case "subagent_completed":
            return clip(f"{event['agent_name']}: {event['summary'] or 'done'}")
        case "tool_executing":
            parameters = json.dumps(event["parameters"], ensure_ascii=False, separators=(",", ":"))
            return clip(f"{event['tool_name']} {parameters}")
        case "tool_completed" if not event["success"]:
            return clip(f"{event['tool_name']} failed: {event.get('error') or ''}")
    return ""


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
