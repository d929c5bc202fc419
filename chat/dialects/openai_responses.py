"""OpenAI's Responses: a run's events as stream events, and as one response object. Pure."""

import json
from collections.abc import Iterable
from typing import Any

from chat.dialects.appending import AppendedText
from chat.dialects.base import Event, Frame, RunFacts, usage_of
from chat.dialects.openai_chat import reasoning_line

SERVER_LABEL = "netra"
_END = {
    "completed": "response.completed",
    "failed": "response.failed",
    "cancelled": "response.incomplete",  # clients know no response.cancelled
}

Item = dict[str, Any]


class Response:
    """The projection of a run.

    A run that waits for a person ends the response; its continuation is another one. `part` is 0 for the first, and
    counts the earlier ones of the run. `previous` is the id of the response before this run, if it follows one.

    `output` has the items of the last attempt, whose text is the final answer, while the stream has those of all
    attempts: a client cannot take back what it got.
    """

    def __init__(self, facts: RunFacts, part: int = 0, previous: str | None = None) -> None:
        self.ended = False
        self.status = "queued"
        self._facts, self._previous, self._wait = facts, previous, part
        self._skipped = part  # waits that are still to come before the response begins
        self._text = AppendedText()
        self._said_before = ""  # by earlier responses of the run, in this attempt
        self._number = self._index = 0  # of the next frame, and of the next item
        self._output: list[Item] = []  # of the current attempt
        self._message: tuple[int, Item] | None = None  # that is open, with its index
        self._shown: Item | None = None  # the message that was opened last, of any attempt
        self._calls: dict[str, tuple[int, Item]] = {}  # that are open, by tool_call_id
        self._asked: dict[str, Event] = {}  # requests of the run, by id
        self._usage: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._metadata: dict[str, str] = {}

    @property
    def id(self) -> str:
        """The id of the response."""
        return response_id(self._facts.run_hex, self._wait)

    def begin(self) -> list[Frame]:
        """Return `response.created`."""
        return [self._whole("response.created")]

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames of one event."""
        if event["type"] == "input_requested":
            self._asked[event["request_id"]] = event
        if self._skipped:
            self._skip(event)
            return []
        match event["type"]:
            case "agent_delta":
                return self._say(self._text.add(event["delta"]))
            case "agent_started" if event.get("parent_agent") is None:
                return self._start()
            case "run_resumed":
                return self._start()
            case "tool_executing":
                return self._call(event)
            case "tool_completed":
                return self._return(event)
            case "run_restarted":
                frames = self._close("incomplete")
                self._text.restart()
                self._said_before = ""
                self._output.clear()
                return frames
            case "run_waiting":
                return self._ask(event["request_ids"])
            case "agent_completed":
                return self._complete(event)
            case "agent_cancelled":
                return [*self._stop(), self._end("cancelled")]
            case "agent_failed":
                self._error = {"type": "server_error", "code": "server_error", "message": event["message"]}
                self._metadata = {"error_code": event["error_code"]}
                return [*self._stop(), self._end("failed")]
            case _:
                return self._think(reasoning_line(event))

    def response(self) -> dict[str, Any]:
        """Return the response object as it is now."""
        facts = self._facts
        return {
            "id": self.id,
            "object": "response",
            "created_at": facts.created_at,
            "status": self.status,
            "error": self._error,
            "incomplete_details": None,
            "instructions": None,
            "metadata": dict(self._metadata),
            "model": facts.agent,
            "output": [dict(item) for item in self._output],
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "conversation": {"id": f"conv_{facts.thread_hex}"},
            "previous_response_id": self._previous,
            "text": {"format": {"type": "text"}},
            "truncation": "disabled",
            "usage": self._usage,
        }

    # ---- the run ----

    def _skip(self, event: Event) -> None:
        match event["type"]:
            case "agent_delta":
                self._text.add(event["delta"])
            case "run_restarted":
                self._text.restart()
            case "run_waiting":
                self._skipped -= 1
        self._said_before = self._text.said

    def _start(self) -> list[Frame]:
        if self.status != "queued":
            return []
        self.status = "in_progress"
        return [self._whole("response.in_progress")]

    def _ask(self, request_ids: Iterable[str]) -> list[Frame]:
        frames = self._close("completed")
        for event in (self._asked[id] for id in request_ids if id in self._asked):
            if event["kind"] == "approval":
                index, item = self._add(
                    "mcpr",
                    type="mcp_approval_request",
                    server_label=SERVER_LABEL,
                    name=event.get("tool_name") or event["message"],
                    arguments=_text_of(event.get("parameters") or {}),
                )
                item["id"] = f"mcpr_{event['request_id'].replace('-', '')}"
                frames += [self._item("added", index, item), self._item("done", index, item)]
            else:
                frames += self._say(f"{event['message']}\n\nAnswer here: {self._facts.address}")
                frames += self._close("completed")
        return [*frames, self._end("completed")]

    def _complete(self, event: Event) -> list[Frame]:
        final, usage = event["final_response"], usage_of(event)
        self._usage = {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input + usage.output,
        }
        rest, is_other = self._text.finish(final)
        frames = self._close("completed") if is_other else []
        frames = [*frames, *self._say(rest), *self._close("completed")]
        frames += self._set_text(final.removeprefix(self._said_before))
        return [*frames, self._end("completed")]

    def _stop(self) -> list[Frame]:
        """End what is open; `output` has what the last attempt said, also where the client had it before."""
        frames = self._close("incomplete")
        return [*frames, *self._set_text(self._text.said.removeprefix(self._said_before), "incomplete")]

    def _set_text(self, final: str, status: str = "completed") -> list[Frame]:
        """Let the messages in `output` have the final text, together; it has none that the stream did not open."""
        messages = [item for item in self._output if item["type"] == "message"]
        if "".join(item["content"][0]["text"] for item in messages) == final:
            return []
        frames: list[Frame] = []
        if final and self._shown is None:  # the client has it all from an earlier response
            frames = [*self._say(final), *self._close_text(status)]
        self._output = [item for item in self._output if item["type"] != "message"]
        if final:
            assert self._shown is not None
            self._output.append({**self._shown, "status": status, "content": [_output_text(final)]})
        return frames

    def _end(self, status: str) -> Frame:
        self.status, self.ended = status, True
        return self._whole(_END[status])

    # ---- items ----

    def _say(self, text: str) -> list[Frame]:
        if not text:
            return []
        frames: list[Frame] = []
        if self._message is None:
            index, item = self._message = self._add(
                "msg", type="message", role="assistant", status="in_progress", content=[]
            )
            self._shown = item
            frames.append(self._item("added", index, item))
            frames.append(self._part("response.content_part.added", part=_output_text("")))
            item["content"] = [_output_text("")]
        part = self._message[1]["content"][0]
        part["text"] += text
        return [*frames, self._part("response.output_text.delta", delta=text, logprobs=[])]

    def _close(self, status: str) -> list[Frame]:
        """End the open message with this status, and the open calls as incomplete."""
        frames = self._close_text(status)
        for index, item in self._calls.values():
            item["status"] = "incomplete"
            frames.append(self._item("done", index, item))
        self._calls.clear()
        return frames

    def _close_text(self, status: str = "completed") -> list[Frame]:
        if self._message is None:
            return []
        index, item = self._message
        item["status"] = status
        (part,) = item["content"]
        frames = [
            self._part("response.output_text.done", text=part["text"], logprobs=[]),
            self._part("response.content_part.done", part=dict(part)),
            self._item("done", index, item),
        ]
        self._message = None
        return frames

    def _think(self, text: str) -> list[Frame]:
        if not text:
            return []
        frames = self._close_text()
        index, item = self._add("rs", type="reasoning", status="in_progress", summary=[])
        frames.append(self._item("added", index, item))
        part = {"type": "summary_text", "text": text}

        def summary(kind: str, **fields: Any) -> Frame:
            place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
            return self._frame(f"response.{kind}", **place, **fields)

        frames.append(summary("reasoning_summary_part.added", part={**part, "text": ""}))
        frames.append(summary("reasoning_summary_text.delta", delta=text))
        frames.append(summary("reasoning_summary_text.done", text=text))
        frames.append(summary("reasoning_summary_part.done", part=part))
        item |= {"status": "completed", "summary": [part]}
        return [*frames, self._item("done", index, item)]

    def _call(self, event: Event) -> list[Frame]:
        frames = self._close_text()
        index, item = self._calls[event["tool_call_id"]] = self._add(
            "mcp",
            type="mcp_call",
            status="in_progress",
            server_label=SERVER_LABEL,
            name=event["tool_name"],
            arguments="",  # clients add the deltas to it
            approval_request_id=None,
            output=None,
            error=None,
        )
        frames.append(self._item("added", index, item))
        item["arguments"] = arguments = _text_of(event["parameters"])
        place = {"item_id": item["id"], "output_index": index}
        return [
            *frames,
            self._frame("response.mcp_call.in_progress", **place),
            self._frame("response.mcp_call_arguments.delta", **place, delta=arguments),
            self._frame("response.mcp_call_arguments.done", **place, arguments=arguments),
        ]

    def _return(self, event: Event) -> list[Frame]:
        if event["tool_call_id"] not in self._calls:  # begun before the response
            return []
        index, item = self._calls.pop(event["tool_call_id"])
        if event["success"]:
            result = event["result"]
            item |= {"status": "completed", "output": result if isinstance(result, str) else _text_of(result)}
        else:
            said = [{"type": "text", "text": event.get("error") or "The tool failed."}]
            item |= {"status": "failed", "error": {"type": "mcp_tool_execution_error", "content": said}}
        frame = self._frame(f"response.mcp_call.{item['status']}", item_id=item["id"], output_index=index)
        return [frame, self._item("done", index, item)]

    def _add(self, prefix: str, **fields: Any) -> tuple[int, Item]:
        index, self._index = self._index, self._index + 1
        place = f"{index}" if not self._wait else f"{self._wait}_{index}"
        item: Item = {"id": f"{prefix}_{self._facts.run_hex}{place}", **fields}
        self._output.append(item)
        return index, item

    # ---- frames ----

    def _frame(self, kind: str, **fields: Any) -> Frame:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **fields}

    def _whole(self, kind: str) -> Frame:
        return self._frame(kind, response=self.response())

    def _item(self, what: str, index: int, item: Item) -> Frame:
        return self._frame(f"response.output_item.{what}", output_index=index, item=dict(item))

    def _part(self, kind: str, **fields: Any) -> Frame:
        assert self._message is not None
        index, item = self._message
        return self._frame(kind, item_id=item["id"], output_index=index, content_index=0, **fields)


def response_id(run_hex: str, part: int = 0) -> str:
    """Return the id of a run's response: of the first, or of the one after so many waits."""
    return f"resp_{run_hex}" + (f"_{part}" if part else "")


def input_items(message_id: str, text: str, files: Iterable[tuple[str, str]]) -> list[Item]:
    """Return the input of a response: the user's message with its files (id, name)."""
    content: list[Item] = [{"type": "input_file", "file_id": id, "filename": name} for id, name in files]
    content.append({"type": "input_text", "text": text})
    return [
        {
            "id": f"msg_{message_id.replace('-', '')}",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": content,
        }
    ]


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
