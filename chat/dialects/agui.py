"""AG-UI 1.0: the events of a run as frames of a client's run. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from chat.dialects import base
from chat.dialects.agui_messages import Message, apply, copied
from chat.dialects.base import Event, RunFacts, rest_of, usage_of
from chat.protocol import TERMINAL, dumps

Frame: TypeAlias = dict[str, Any]

PROTOCOL_VERSION = "1.0"
_APPROVED = {"approved": {"type": "boolean"}, "reason": {"type": "string"}}


class Projection:
    """A fold over the events of one run, in their order, for one run of a client.

    `client_thread` and `client_run` are the ids as the client sent them. `branch` are the messages that the run
    answers, the user's last. A client has no cursor. One that joins later gives the events `before`; with `snapshot` it
    is shown what they have made, or the branch. Where the run waits for a person, the run of the client ends, unless
    the log goes on to the event `known`.
    """

    def __init__(
        self,
        run: RunFacts,
        client_thread: str,
        client_run: str,
        branch: Sequence[Message] = (),
        before: Sequence[Event] = (),
        snapshot: bool = False,
        known: int = 0,
    ) -> None:
        self._thread_id, self._run_id = run.thread_id, run.run_id
        self._ids = {"threadId": client_thread, "runId": client_run}
        self._branch, self._before, self._has_snapshot, self._known = list(branch), before, snapshot, known
        self._messages = copied(self._branch)  # that the client shows
        self._seq = 0
        self._is_text_open = False
        self._said = ""  # since the last restart
        self._calls: dict[str, Event] = {}  # that were shown in this attempt: id -> event that showed it
        self._unanswered: set[str] = set()  # those without a result
        self._asked: dict[str, Event] = {}  # open requests: id -> input_requested
        self._subagents: dict[str, tuple[str, Event]] = {}  # active ones: part -> (their id, agent_started)
        self._is_paused = False  # the last frame is the `RUN_FINISHED` of a run that waits for a person
        self.ended = False

    def begin(self) -> list[base.Frame]:
        """Return the first frames: for a client that joins, all there is of the run so far."""
        before = self._before
        # An end is shown like any other: it may add text, and no end follows a snapshot.
        ends = self._has_snapshot and bool(before) and before[-1]["type"] in (*TERMINAL, "run_waiting")
        self.skip(before[:-1] if ends else before)
        return [*self._begin(self._has_snapshot), *(self._add(before[-1]) if ends else [])]

    def skip(self, events: Iterable[Event]) -> None:
        """Take events whose frames the client does not get. A text that was open is opened again by its next delta."""
        for event in events:
            self._add(event)
        self._is_text_open = False
        self.ended = False

    def feed(self, event: Event) -> list[base.Frame]:
        """Return the frames of the run's next event. An unknown event has none, and none of those before."""
        return [] if 0 < event["seq"] <= self._seq else [*self._add(event)]

    def messages(self) -> list[Message]:
        """Return the messages after the branch: those of the run."""
        return self._messages[len(self._branch) :]

    def _begin(self, snapshot: bool = False) -> list[Frame]:
        self._is_paused = False
        started = {"type": "RUN_STARTED", **self._ids, "protocolVersion": PROTOCOL_VERSION, **self._origin()}
        shown = [self._snapshot()] if snapshot else []
        return [started, *shown, *(self._subagent_start(id, event) for id, event in self._subagents.values())]

    def _add(self, event: Event) -> list[Frame]:
        self._seq = event["seq"]
        begun = self._begin() if self._is_paused else []
        frames = list(self._frames(event))
        for frame in frames:
            apply(self._messages, frame)
        return begun + frames

    def _frames(self, event: Event) -> Iterable[Frame]:
        match event["type"]:
            case "agent_started" if event.get("parent_agent") is not None:
                id = f"{self._run_id}-s{self._seq}"
                self._subagents[_part_of(event)] = id, event
                return [self._subagent_start(id, event)]
            case "agent_thinking":
                return self._thought(event)
            case "agent_delta":
                return self._delta(event["delta"])
            case "tool_executing":
                return self._call(event, event["tool_call_id"], event["tool_name"], event["parameters"])
            case "tool_completed":
                return self._result(event)
            case "subagent_completed":
                return self._subagent_end(event)
            case "input_requested":
                return self._request(event)
            case "input_resolved":
                return self._resolution(event)
            case "run_waiting":
                return self._pause(event)
            case "run_restarted":
                return self._restart()
            case "thread_updated":
                return [{"type": "CUSTOM", "name": "netra.thread_updated", "value": {"title": event["title"]}}]
            case "agent_completed" | "agent_failed" | "agent_cancelled":
                return self._end(event)
        return []

    def _origin(self, **more: Any) -> dict[str, Any]:
        """Return what a frame says about its place in the log. An unknown field of a frame would be stripped."""
        netra = {"seq": self._seq, "thread_id": self._thread_id, "run_id": self._run_id, **more}
        return {"metadata": {"netra": netra}}

    def _snapshot(self) -> Frame:
        return {"type": "MESSAGES_SNAPSHOT", "messages": copied(self._messages)}

    # ---- text and thoughts ----

    def _delta(self, delta: str) -> Iterable[Frame]:
        if not delta:  # an empty one is fatal to the client
            return
        if not self._is_text_open:
            self._is_text_open = True
            yield {"type": "TEXT_MESSAGE_START", "messageId": self._run_id, "role": "assistant"}
        self._said += delta
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._run_id, "delta": delta}

    def _end_text(self) -> Iterable[Frame]:
        if self._is_text_open:
            self._is_text_open = False
            yield {"type": "TEXT_MESSAGE_END", "messageId": self._run_id, **self._origin()}

    def _thought(self, event: Event) -> Iterable[Frame]:
        tag = {"messageId": f"{self._run_id}-r{self._seq}", **self._owner(event)}
        yield {"type": "REASONING_START", **tag}
        yield {"type": "REASONING_MESSAGE_START", **tag, "role": "reasoning"}
        if event["reasoning"]:
            yield {"type": "REASONING_MESSAGE_CONTENT", **tag, "delta": event["reasoning"]}
        yield {"type": "REASONING_MESSAGE_END", **tag, **self._origin()}
        yield {"type": "REASONING_END", **tag, **self._origin()}

    # ---- tools and sub-agents ----

    def _owner(self, event: Event) -> dict[str, str]:
        """Return the attribution of an event to the active sub-agent that it is of."""
        found = self._subagents.get(_part_of(event))
        return {"subagentRunId": found[0]} if found else {}

    def _call(self, event: Event, call_id: str, name: str, parameters: Any) -> Iterable[Frame]:
        """Show a call, unless its request for approval has shown it."""
        if call_id in self._calls:
            return
        self._calls[call_id] = event
        self._unanswered.add(call_id)
        owner = self._owner(event)
        parent = {} if owner else {"parentMessageId": self._run_id}  # the message is of the run's own agent
        yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name, **parent, **owner}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": dumps(parameters), **owner}
        yield {"type": "TOOL_CALL_END", "toolCallId": call_id, **owner, **self._origin()}

    def _result(self, event: Event) -> Iterable[Frame]:
        if event["success"]:
            return self._tool_message(event, event["tool_call_id"], event["result"], True)
        return self._tool_message(event, event["tool_call_id"], {"error": event.get("error") or "failed"}, False)

    def _tool_message(self, event: Event, call_id: str, content: Any, success: bool) -> Iterable[Frame]:
        if call_id not in self._calls:
            return
        self._unanswered.discard(call_id)
        yield {
            "type": "TOOL_CALL_RESULT",
            "messageId": f"{call_id}-result",
            "toolCallId": call_id,
            "content": dumps(content),
            "role": "tool",
            **self._owner(event),
            **({} if success else self._origin(success=False)),
        }

    def _subagent_start(self, id: str, event: Event) -> Frame:
        about = {"name": event["agent_name"], "description": event["task"]}
        return {"type": "SUBAGENT_STARTED", "subagentRunId": id, **about}

    def _subagent_end(self, event: Event) -> Iterable[Frame]:
        found = self._subagents.pop(_part_of(event), None)
        if found:
            yield {"type": "SUBAGENT_FINISHED", "subagentRunId": found[0], "result": event["summary"]}

    def _end_subagents(self, why: str) -> Iterable[Frame]:
        for id, _ in self._subagents.values():
            yield {"type": "SUBAGENT_ERROR", "subagentRunId": id, "message": why}
        self._subagents = {}

    # ---- requests to a person ----

    def _request(self, event: Event) -> Iterable[Frame]:
        self._asked[event["request_id"]] = event
        if event.get("tool_call_id"):
            yield from self._call(event, event["tool_call_id"], event["tool_name"], event.get("parameters"))

    def _resolution(self, event: Event) -> Iterable[Frame]:
        asked = self._asked.pop(event["request_id"], None)
        if asked is None or not asked.get("tool_call_id") or event["status"] == "accepted":
            return
        why = {"error": event.get("reason") or f"This call was not approved: {event['status']}."}
        yield from self._tool_message(asked, asked["tool_call_id"], why, False)

    def _pause(self, event: Event) -> Iterable[Frame]:
        """End the client's run with what persons are asked. The sub-agents stay: another run goes on with them."""
        yield from self._end_text()
        yield self._snapshot()
        asked = [self._asked[id] for id in event["request_ids"] if id in self._asked]
        for part, (id, _) in self._subagents.items():
            own = [each["request_id"] for each in asked if _part_of(each) == part]
            outcome = {"type": "suspended", **({"interruptIds": own} if own else {})}
            yield {"type": "SUBAGENT_FINISHED", "subagentRunId": id, "outcome": outcome}
        interrupts = [self._interrupt(each) for each in asked]
        outcome = {"type": "interrupt", "interrupts": interrupts}
        yield {"type": "RUN_FINISHED", **self._ids, "outcome": outcome, **self._origin()}
        self._is_paused = True
        self.ended = self._seq >= self._known

    def _interrupt(self, event: Event) -> dict[str, Any]:
        kind, schema = event["kind"], event.get("schema")
        call = {"toolCallId": event["tool_call_id"]} if event.get("tool_call_id") else {}
        if kind == "approval":
            reason = "tool_call" if call else "confirmation"
            edited = {"editedArgs": schema or {"type": "object"}} if event.get("editable") else {}
            schema = {"type": "object", "properties": {**_APPROVED, **edited}, "required": ["approved"]}
        else:
            reason = "input_required"
        address = {"metadata": {"netra": {"url": event["schema"]["url"]}}} if kind == "link" else {}
        return {
            "id": event["request_id"],
            "reason": reason,
            "message": event["message"],
            **call,
            "responseSchema": {"type": "object", "properties": {}} if kind == "link" else schema or {},
            "expiresAt": event["expires_at"],
            **self._owner(event),
            **address,
        }

    # ---- the run ----

    def _restart(self) -> Iterable[Frame]:
        yield from self._end_text()
        yield from self._end_subagents("The run was restarted.")
        self._said, self._calls, self._unanswered, self._asked = "", {}, set(), {}
        self._messages[:] = copied(self._branch)
        yield self._snapshot()

    def _end(self, event: Event) -> Iterable[Frame]:
        if event["type"] == "agent_completed":
            missing, is_apart = rest_of(self._said, event["final_response"])
            yield from self._delta(f"\n\n{missing}" if is_apart else missing)
        yield from self._end_text()
        # The client takes a call without a result for one that it has to run.
        for call_id, shown in self._calls.items():
            if call_id in self._unanswered:
                yield from self._tool_message(shown, call_id, {"error": "This was not carried out."}, False)
        yield from self._end_subagents("The run has ended.")
        self.ended = True
        if event["type"] == "agent_failed":
            code = event["error_code"]
            yield {"type": "RUN_ERROR", "message": event["message"], "code": code, **self._origin()}
            return
        frame: Frame = {"type": "RUN_FINISHED", **self._ids}
        if event["type"] == "agent_completed":
            if event.get("result") is not None:
                frame["result"] = event["result"]
            frame["outcome"] = {"type": "success"}
            frame["usage"] = _usage(event)
        else:
            frame["outcome"] = {"type": "cancelled"}
        yield {**frame, **self._origin()}


def _part_of(event: Event) -> str:
    """Return the key of the sub-agent that an event is of; the run's own agent is the key of no sub-agent."""
    part: str = event.get("part_id") or event["agent_name"]
    return part


def _usage(event: Event) -> list[dict[str, Any]]:
    """Return the usage of a run as one entry. The protocol has no field for money."""
    used = usage_of(event)
    entry: dict[str, Any] = {"inputTokens": used.input, "outputTokens": used.output, "cachedInputTokens": used.cached}
    provider, colon, model = str(event["usage"].get("model") or "").partition(":")
    if colon:
        entry |= {"provider": provider, "model": model}
    elif provider:
        entry["model"] = provider
    return [entry]


def messages(run: RunFacts, events: Iterable[Event]) -> list[Message]:
    """Return the messages that a client shows of a run with these events."""
    projection = Projection(run, "", "")
    projection.skip(events)
    return projection.messages()


def refused(client_thread: str, client_run: str, code: str, message: str) -> list[Frame]:
    """Return the frames of a client's run that does not take place."""
    started = {"type": "RUN_STARTED", "threadId": client_thread, "runId": client_run}
    return [
        {**started, "protocolVersion": PROTOCOL_VERSION},
        {"type": "RUN_ERROR", "message": message, "code": code},
    ]
