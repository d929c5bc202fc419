"""Event logs of single runs, for the dialects: one with every event, and a strategy that makes others."""

import uuid
from datetime import UTC, datetime

from hypothesis import strategies as st

from chat import protocol
from chat.dialects.base import RunFacts
from chat.protocol import EVENTS, SERVER_FRAME

FOREVER = 10**9  # the number of an event that no log has
THREAD, RUN, AGENT = str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), "advisor"
USER_MESSAGE, ANSWER = str(uuid.UUID(int=3)), str(uuid.UUID(int=4))
FACTS = RunFacts(RUN, THREAD, USER_MESSAGE, AGENT, 1_796_040_000)
USAGE = {"model": "openai:gpt-5-mini", "input_tokens": 120, "output_tokens": 45, "cached_tokens": 20, "cost_usd": 0.01}
_TIME = protocol.timestamp(datetime(2026, 11, 30, 12, tzinfo=UTC))


class Log:
    """A run's events, numbered from 1; each is checked against its declaration."""

    def __init__(self):
        self.events, self.attempt, self.said = [], 0, ""

    def add(self, type, agent=AGENT, **fields):
        event = {
            "type": type,
            "seq": len(self.events) + 1,
            "thread_id": THREAD,
            "run_id": RUN,
            "attempt": self.attempt,
            "agent_name": agent,
            "timestamp": _TIME,
            **fields,
        }
        SERVER_FRAME.validate_python(event)
        self.events.append(event)
        return event

    def create(self, content="Reduce my costs by 30 %"):
        given = {"message_id": USER_MESSAGE, "parent_id": None, "client_msg_id": None, "attachments": []}
        self.add("message_created", role="user", content=content, **given)

    def begin(self):
        self.attempt += 1
        started = {"task": "Reduce my costs", "status": "started", "parent_agent": None, "message_id": USER_MESSAGE}
        self.add("agent_started", **started)

    def restart(self, reason="The worker was lost."):
        self.attempt += 1
        self.said = ""
        self.add("run_restarted", reason=reason)

    def say(self, text, **who):
        self.add("agent_delta", delta=text, offset=protocol.utf16_length(self.said), **who)
        self.said += text

    def delegate(self, name, part, task="Look"):
        return self.add("agent_started", name, task=task, status="started", parent_agent=AGENT, part_id=part)

    def call(self, call_id, name="word_count", parameters=None, **who):
        self.add("tool_executing", tool_call_id=call_id, tool_name=name, parameters=parameters or {}, **who)

    def result(self, call_id, result=None, error=None, name="word_count", **who):
        failed = {} if error is None else {"error": error}
        given = {"tool_call_id": call_id, "tool_name": name, "result": result, "duration_ms": 12}
        self.add("tool_completed", success=error is None, **given, **failed, **who)

    def ask(self, request_id, kind="form", **fields):
        schema = {"type": "object", "properties": {"month": {"type": "string"}}, "required": ["month"]}
        shown = {"form": schema, "approval": None, "link": {"url": "https://auth.example/start"}}[kind]
        about = {"kind": kind, "message": "Which month?", "schema": shown, "decided_by": "owner", "four_eyes": False}
        self.add("input_requested", **{**about, "request_id": request_id, "expires_at": _TIME, **fields})

    def resolve(self, request_id, status="accepted", **fields):
        by = {"user_id": "1", "name": "Alice"} if status in ("accepted", "declined") else None
        self.add("input_resolved", request_id=request_id, status=status, resolved_by=by, via="rest", **fields)

    def wait(self, *request_ids):
        self.add("run_waiting", request_ids=list(request_ids))

    def resume(self, *request_ids):
        self.add("run_resumed", request_ids=list(request_ids), waited_ms=5000)

    def complete(self, answer=None, **fields):
        text = self.said if answer is None else answer
        given = {"message_id": ANSWER, "agents_involved": [AGENT], "usage": USAGE, "duration_ms": 900}
        self.add("agent_completed", status="completed", final_response=text, **{**given, **fields})

    def fail(self):
        about = {"error_code": "agent_error", "message": "No prices for this model.", "recoverable": True}
        self.add("agent_failed", status="failed", **about)

    def cancel(self):
        self.add("agent_cancelled", status="cancelled", **({"message_id": ANSWER} if self.said else {}))


def request_id(number):
    return str(uuid.UUID(int=100 + number))


def everything():
    """A log with every event that is no other end than `agent_completed`."""
    log = Log()
    log.create()
    log.begin()
    log.add("agent_thinking", reasoning="First idea", step_number=1, total_steps=2)
    log.say("Let me ")
    log.delegate("prices", "0a0a0a0a", "Find prices")
    log.restart()
    log.add("agent_thinking", reasoning="Second idea")
    log.say("You pay ")
    log.say("$5,000.")
    prices = {"agent": "prices", "part_id": "0b0b0b0b"}
    log.delegate("prices", "0b0b0b0b", "Find prices")
    log.add("agent_thinking", reasoning="Which prices?", **prices)
    log.call("call-1", "price", {"model": "gpt-5"}, **prices)
    log.result("call-1", {"usd": 1.25}, name="price", **prices)
    log.say(" Cheaper:", **prices)
    log.add("subagent_completed", summary="One price", duration_ms=40, **prices)
    log.call("call-2", "fetch", {"url": "https://example.org"})
    log.result("call-2", None, "no route", name="fetch")
    log.ask(request_id(1))
    approval = {"tool_name": "refund", "tool_call_id": "call-3", "parameters": {"amount": 5}, "editable": True}
    log.ask(request_id(2), "approval", message="Refund?", **approval)
    log.wait(request_id(1), request_id(2))
    log.resolve(request_id(1), content={"month": "2026-11"})
    log.resolve(request_id(2), parameters={"amount": 4}, edited=True)
    log.resume(request_id(1), request_id(2))
    log.call("call-3", "refund", {"amount": 4})
    log.result("call-3", "done", name="refund")
    log.add("thread_updated", title="Costs")
    log.complete(log.said + " Done.", result={"saved": 1500})
    kinds = {event["type"] for event in log.events}
    assert kinds == EVENTS - {"agent_failed", "agent_cancelled"}
    return log.events


_WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@st.composite
def logs(draw):
    """Events of a run up to any point of its life."""
    log = Log()
    log.create(draw(_WORDS))
    if draw(st.integers(0, 9)) == 0:
        log.cancel()
        return log.events
    log.begin()
    parts, calls, asked = [], [], []
    for number, action in enumerate(draw(st.lists(st.integers(0, 10), max_size=25)), 1):
        who = draw(st.sampled_from([{}, *[{"agent": f"sub{part}", "part_id": f"{part:08x}"} for part in parts]]))
        match action:
            case 0 | 1 | 2:
                log.say(draw(_WORDS), **who)
            case 3:
                log.add("agent_thinking", reasoning=draw(st.just("") | _WORDS), **who)
            case 4:
                parts.append(number)
                log.delegate(f"sub{number}", f"{number:08x}")
            case 5 if parts:
                part = parts.pop()
                calls = [call for call in calls if call[1].get("part_id") != f"{part:08x}"]
                sub = {"agent": f"sub{part}", "part_id": f"{part:08x}"}
                log.add("subagent_completed", summary=draw(_WORDS), duration_ms=1, **sub)
            case 6:
                calls.append((f"call-{number}", who))
                log.call(f"call-{number}", parameters={"text": draw(_WORDS)}, **who)
            case 7 if calls:
                call_id, by = calls.pop()
                log.result(call_id, *draw(st.sampled_from([(3,), (None, "It failed."), ({"a": [None]},)])), **by)
            case 8:
                log.restart()
                parts, calls, asked = [], [], []
            case 9:
                kind = draw(st.sampled_from(["form", "approval", "tool", "link"]))
                tool = {"tool_name": "refund", "tool_call_id": f"call-{number}", "parameters": {"amount": 5}}
                asked.append(request_id(number))
                shown = {"kind": "approval", **tool} if kind == "tool" else {"kind": kind}
                log.ask(asked[-1], **shown, **who)
                if draw(st.booleans()):
                    log.wait(*asked)
                    _answer(draw, log, asked)
                    log.resume()
            case 10:
                log.add("thread_updated", title=draw(_WORDS))
    end = draw(st.sampled_from(["complete", "complete", "fail", "cancel", "none"]))
    if end == "complete":
        log.complete(draw(st.sampled_from([log.said, log.said + "more", "other"])))
    elif end != "none":
        getattr(log, end)()
    return log.events


def _answer(draw, log, asked):
    """Resolve the oldest request."""
    status = draw(st.sampled_from(["accepted", "declined", "expired"]))
    log.resolve(asked.pop(0), status, **({"content": {"month": "May"}} if status == "accepted" else {}))
