"""AI SDK 7: the events of a run as chunks of a UI message stream, and the message that a client makes of them. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from chat.dialects.base import Event, Frame, RunFacts, rest_of

Chunk: TypeAlias = dict[str, Any]

# A tool of an agent runs on the server: without these the client would run it, or send its result.
_ON_SERVER = {"dynamic": True, "providerExecuted": True}
DONE = "[DONE]"
ASK_USER = "ask_user"  # the tool as which a form or a link is shown; its call has the request's id


class Projection:
    """A fold over the events of one run, in their order.

    All chunks of a run form one sequence: the chunks of `begin`, then those of each event. The number of a chunk never
    changes. The whole run is one step, so that `reset-step` drops all parts of a lost attempt, also over a wait.
    A run that waits for a person ends the stream with `finish`, unless the log goes on to the event `known`. The last
    frame of a stream is [DONE], which has no number.
    """

    def __init__(self, run: RunFacts, known: int = 0) -> None:
        self._known = known
        self._run_id = run.run_id
        self._metadata = {"threadId": run.thread_id, "runId": run.run_id, "agent": run.agent}
        self._blocks = 0  # texts and thoughts of the run
        self._text_id = ""  # of the open text
        self._said = ""  # since the last restart
        self._calls: dict[str, Any] = {}  # shown calls of this attempt: tool_call_id -> input
        self._open: set[str] = set()  # those without a result
        self._asked: dict[str, tuple[str, bool]] = {}  # requests of this attempt: id -> (tool call id, it is a form)
        self._subagents: dict[str, tuple[str, Chunk]] = {}  # part -> (id, data) of those that were started
        self._is_paused = False  # the last chunk is the `finish` of a run that waits for a person
        self.ended = False

    def begin(self) -> list[Frame]:
        """Return the chunks of the accepted run, before its first event."""
        return [self._start(), {"type": "start-step"}]

    def feed(self, event: Event) -> list[Frame]:
        """Return the chunks of the run's next event. An unknown event has none."""
        chunks = list(self._chunks(event))
        if chunks and self._is_paused:
            self._is_paused = False
            chunks.insert(0, self._start())
        if event["type"] == "run_waiting":
            self._is_paused = True
            self.ended = event["seq"] >= self._known
        return [*chunks, DONE] if self.ended else [*chunks]

    def _start(self) -> Chunk:
        return {"type": "start", "messageId": self._run_id, "messageMetadata": dict(self._metadata)}

    def _chunks(self, event: Event) -> Iterable[Chunk]:
        match event["type"]:
            case "agent_started" if event.get("parent_agent") is not None:
                return self._subagent_started(event)
            case "agent_thinking":
                return self._thought(event["reasoning"])
            case "agent_delta":
                return self._delta(event["delta"])
            case "tool_executing":
                return self._call(event["tool_call_id"], event["tool_name"], event["parameters"])
            case "tool_completed":
                return self._result(event)
            case "subagent_completed":
                return self._subagent_completed(event)
            case "input_requested":
                return self._request(event)
            case "input_resolved":
                return self._resolution(event)
            case "run_waiting":
                return [*self._end_text(), {"type": "finish-step"}, {"type": "finish"}]
            case "run_restarted":
                return self._restart(event)
            case "thread_updated":
                return [{"type": "data-thread", "data": {"title": event["title"]}, "transient": True}]
            case "agent_completed" | "agent_failed" | "agent_cancelled":
                return self._end(event)
        return []

    # ---- text and thoughts ----

    def _next_id(self, prefix: str) -> str:
        self._blocks += 1
        return f"{prefix}{self._blocks}"

    def _delta(self, delta: str) -> Iterable[Chunk]:
        if not delta:
            return
        if not self._text_id:
            self._text_id = self._next_id("t")
            yield {"type": "text-start", "id": self._text_id}
        self._said += delta
        yield {"type": "text-delta", "id": self._text_id, "delta": delta}

    def _end_text(self) -> Iterable[Chunk]:
        if self._text_id:
            yield {"type": "text-end", "id": self._text_id}
            self._text_id = ""

    def _thought(self, text: str) -> Iterable[Chunk]:
        yield from self._end_text()
        id = self._next_id("r")
        yield {"type": "reasoning-start", "id": id}
        if text:
            yield {"type": "reasoning-delta", "id": id, "delta": text}
        yield {"type": "reasoning-end", "id": id}

    # ---- tools and sub-agents ----

    def _call(self, call_id: str, name: str, parameters: Any) -> Iterable[Chunk]:
        """Show a call. One that was shown with its request for approval is only shown again if it was edited."""
        is_known = call_id in self._calls
        if is_known and self._calls[call_id] == parameters:
            return
        self._calls[call_id] = parameters
        self._open.add(call_id)
        if not is_known:
            yield from self._end_text()
            yield {"type": "tool-input-start", "toolCallId": call_id, "toolName": name, **_ON_SERVER}
        input = {"toolCallId": call_id, "toolName": name, "input": parameters}
        yield {"type": "tool-input-available", **input, **_ON_SERVER}

    def _result(self, event: Event) -> Iterable[Chunk]:
        if event["tool_call_id"] not in self._calls:  # the client fails on a result of no call
            return []
        if event["success"]:
            return self._output(event["tool_call_id"], event["result"])
        return self._error(event["tool_call_id"], event.get("error") or "The tool failed.")

    def _output(self, call_id: str, output: Any) -> Iterable[Chunk]:
        self._open.discard(call_id)
        yield {"type": "tool-output-available", "toolCallId": call_id, "output": output, **_ON_SERVER}

    def _error(self, call_id: str, text: str) -> Iterable[Chunk]:
        self._open.discard(call_id)
        yield {"type": "tool-output-error", "toolCallId": call_id, "errorText": text, **_ON_SERVER}

    def _subagent_started(self, event: Event) -> Iterable[Chunk]:
        yield from self._end_text()
        part = event.get("part_id") or event["agent_name"]
        id, data = f"s{event['seq']}", {"name": event["agent_name"], "task": event["task"]}
        self._subagents[part] = id, data
        yield {"type": "data-subagent", "id": id, "data": {**data, "status": "started"}}

    def _subagent_completed(self, event: Event) -> Iterable[Chunk]:
        started = self._subagents.pop(event.get("part_id") or event["agent_name"], None)
        if started is not None:
            id, data = started
            yield {"type": "data-subagent", "id": id, "data": {**data, "status": "completed"}}

    # ---- requests to a person ----

    def _request(self, event: Event) -> Iterable[Chunk]:
        request_id = event["request_id"]
        if event["kind"] != "approval":
            self._asked[request_id] = request_id, True
            self._open.add(request_id)
            yield from self._end_text()
            call = {"toolCallId": request_id, "toolName": ASK_USER, "dynamic": True}
            yield {"type": "tool-input-start", **call}
            input = {"message": event["message"], "schema": event.get("schema")}
            yield {"type": "tool-input-available", **call, "input": input}
            return
        # An approval of an action that is no tool call is shown as a call of its own.
        call_id = event.get("tool_call_id") or request_id
        self._asked[request_id] = call_id, False
        yield from self._call(call_id, event.get("tool_name") or "approval", event.get("parameters"))
        reason = {"reason": event["reason"]} if event.get("reason") else {}
        yield {"type": "tool-approval-request", "approvalId": request_id, "toolCallId": call_id, **reason}

    def _resolution(self, event: Event) -> Iterable[Chunk]:
        """Show how a request was resolved, also by somebody else than this client.

        The call of a form is the server's from then on: the client would send its answer again and again.
        """
        request_id, status, content = event["request_id"], event["status"], event.get("content")
        call_id, is_form = self._asked.pop(request_id, ("", False))
        if not call_id:
            return
        if status in ("accepted", "declined") and not is_form:
            reason = {"reason": event["reason"]} if event.get("reason") else {}
            answer = {"approvalId": request_id, "approved": status == "accepted", **reason}
            yield {"type": "tool-approval-response", **answer}
        if status == "declined":
            self._open.discard(call_id)
            yield {"type": "tool-output-denied", "toolCallId": call_id}
        elif is_form and (status == "accepted" or content is not None):
            yield from self._output(call_id, content)
        elif status == "accepted":
            if call_id == request_id:  # no tool gives a result
                yield from self._output(call_id, None)
        else:
            yield from self._error(call_id, f"This request is {status}.")

    # ---- the run ----

    def _restart(self, event: Event) -> Iterable[Chunk]:
        self._text_id, self._said = "", ""
        self._calls, self._open, self._asked, self._subagents = {}, set(), {}, {}
        yield {"type": "reset-step"}
        data = {"attempt": event["attempt"], "reason": event["reason"]}
        yield {"type": "data-restart", "data": data, "transient": True}

    def _end(self, event: Event) -> Iterable[Chunk]:
        self.ended = True
        if event["type"] == "agent_completed":
            missing, is_apart = rest_of(self._said, event["final_response"])
            if is_apart:
                yield from self._end_text()
            yield from self._delta(missing)
        yield from self._end_text()
        # With an approved call that has no result, the client would ask for the answer again.
        for call_id in [id for id in (*self._calls, *self._asked) if id in self._open]:
            yield from self._error(call_id, "This was not carried out.")
        if event["type"] == "agent_failed":
            yield {"type": "error", "errorText": event["message"]}
            return
        if event["type"] == "agent_cancelled":
            yield {"type": "abort"}
            yield {"type": "finish-step"}
            yield {"type": "finish", "finishReason": "interrupted"}
            return
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": event["usage"]}}


def message(frames: Iterable[Frame]) -> dict[str, Any]:
    """Return the UI message that a client has made of these frames of one run: id, role, metadata and parts."""
    made: dict[str, Any] = {"id": "", "role": "assistant", "metadata": {}, "parts": []}
    parts: list[dict[str, Any]] = made["parts"]
    by_id: dict[str, dict[str, Any]] = {}  # open texts and thoughts, calls, and data
    for chunk in frames:
        if isinstance(chunk, str):
            continue
        made["metadata"] |= chunk.get("messageMetadata", {})
        match chunk["type"].split("-"):
            case ["start"]:
                made["id"] = chunk["messageId"]
            case ["start", "step"]:
                parts.append({"type": "step-start"})
            case ["reset", "step"]:
                del parts[1:]
                by_id = {}
            case ["text" | "reasoning" as kind, "start"]:
                id = {"id": chunk["id"]} if kind == "reasoning" else {}
                by_id[chunk["id"]] = {"type": kind, **id, "text": "", "state": "streaming"}
                parts.append(by_id[chunk["id"]])
            case ["text" | "reasoning", "delta"]:
                by_id[chunk["id"]]["text"] += chunk["delta"]
            case ["text" | "reasoning", "end"]:
                by_id[chunk["id"]]["state"] = "done"
            case ["tool", "approval", "response"]:
                part = next(part for part in parts if part.get("approval", {}).get("id") == chunk["approvalId"])
                reason = {"reason": chunk["reason"]} if "reason" in chunk else {}
                part["approval"] |= {"approved": chunk["approved"], **reason}
                part["state"] = "approval-responded"
            case ["tool", *step]:
                _fold_tool(step, chunk, parts, by_id)
            case ["data", *_] if not chunk.get("transient"):
                if chunk["id"] not in by_id:
                    by_id[chunk["id"]] = {"type": chunk["type"], "id": chunk["id"]}
                    parts.append(by_id[chunk["id"]])
                by_id[chunk["id"]]["data"] = chunk["data"]
    return made


def _fold_tool(
    step: list[str], chunk: Mapping[str, Any], parts: list[dict[str, Any]], by_id: dict[str, dict[str, Any]]
) -> None:
    call_id = chunk["toolCallId"]
    if call_id not in by_id:
        by_id[call_id] = {"type": "dynamic-tool", "toolName": chunk["toolName"], "toolCallId": call_id}
        parts.append(by_id[call_id])
    part = by_id[call_id]
    match step:
        case ["input", "start"]:
            part["state"] = "input-streaming"
        case ["input", "available"]:
            part |= {"state": "input-available", "input": chunk["input"]}
        case ["approval", "request"]:
            reason = {"requestReason": chunk["reason"]} if "reason" in chunk else {}
            part |= {"state": "approval-requested", "approval": {"id": chunk["approvalId"], **reason}}
        case ["output", "available"]:
            part |= {"state": "output-available", "output": chunk["output"]}
        case ["output", "error"]:
            part |= {"state": "output-error", "errorText": chunk["errorText"]}
        case ["output", "denied"]:
            part["state"] = "output-denied"
    if chunk.get("providerExecuted"):
        part["providerExecuted"] = True
