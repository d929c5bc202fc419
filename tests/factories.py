"""Messages, runs, workers and files that several test modules make."""

import json
import uuid

from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from chat import runs
from chat.accounts import sessions
from chat.models import Event, InputRequest, Run
from chat.protocol import Regenerate, UserMessage
from chat.runs import RunBatch, RunOutcome, event_log

AGENTS = ["echo", "advisor"]


def message(content="hello", **fields):
    return UserMessage(type="user_message", content=content, **fields)


def regenerate(message_id, **fields):
    return Regenerate(type="regenerate", message_id=message_id, **fields)


def delta(run, text="word "):
    return event_log.encode_event(
        run.thread_id, run.run_id, run.attempt, {"type": "agent_delta", "agent_name": run.agent, "delta": text}
    )


def completed(run, answer="done", **fields):
    """The entry of a run that ends with this answer."""
    message_id = uuid.uuid4()
    event = {
        "type": "agent_completed",
        "agent_name": run.agent,
        "final_response": answer,
        "message_id": str(message_id),
    }
    body = event_log.encode_event(run.thread_id, run.run_id, run.attempt, {**event, **fields})
    return RunBatch(run, [body], RunOutcome(Run.COMPLETED, answer, message_id))


def failed(run):
    """The entry of a run that fails."""
    event = {"type": "agent_failed", "agent_name": run.agent, "error_code": "agent_error", "message": "No."}
    body = event_log.encode_event(run.thread_id, run.run_id, run.attempt, event)
    return RunBatch(run, [body], RunOutcome(Run.FAILED, error_code="agent_error"))


def asked(run, kind="form", seconds=3600, **fields):
    """A batch in which the run asks a person."""
    request_id, expires_at = uuid.uuid4(), runs.expiry_of(seconds)
    given = {"schema": {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]}}
    if kind == "approval":
        given = {"schema": None, "tool_name": "refund", "parameters": {"amount": 5}, "editable": True}
    given |= fields
    shown = {"message": "Which?", "kind": kind, "request_id": str(request_id)}
    event = {"type": "input_requested", "agent_name": run.agent, **shown, "expires_at": expires_at.isoformat()}
    body = event_log.encode_event(run.thread_id, run.run_id, run.attempt, event)
    new = runs.NewInput(request_id, kind, (run.agent,), run.agent, "Which?", expires_at, **given)
    return RunBatch(run, [body._replace(request=new)])


def ask(run, kind="form", **fields):
    """Let the run ask a person; the request's id."""
    batch = asked(run, kind, **fields)
    runs.record([batch])
    return batch.events[0].request.id


def waiting(run, kind="form", **fields):
    """Ask and suspend; the request's id."""
    request_id = ask(run, kind, **fields)
    assert runs.suspend(run, [str(request_id)], {}) == Run.WAITING
    return request_id


def accept(user, request_id, content=None, **fields):
    """Accept; a form with words unless `content` is given."""
    if content is None and InputRequest.objects.filter(pk=request_id, kind=InputRequest.FORM).exists():
        content = "words"
    return runs.answer(runs.Answer(request_id, "accept", content, **fields), runs.Decider(user.id, "rest"))


def decline(user, request_id, reason=""):
    return runs.answer(runs.Answer(request_id, "decline", reason=reason), runs.Decider(user.id, "rest"))


def new_worker():
    worker_id = uuid.uuid4()
    runs.register(worker_id, "host", 1, {})
    return worker_id


def claim_one(worker_id=None):
    (run,) = runs.claim(worker_id or new_worker(), AGENTS, 1)
    return run


def frames(thread_id):
    return [
        json.loads(frame)
        for frame in Event.objects.filter(thread=thread_id).order_by("seq").values_list("frame", flat=True)
    ]


def types(thread_id):
    return [frame["type"] for frame in frames(thread_id)]


USAGE = b"timestamp,model,input_tokens,output_tokens\n2026-09-01T09:30:00Z,gpt-4o,1800,240\n"


def client(user):
    found = APIClient()
    found.credentials(HTTP_AUTHORIZATION=f"Bearer {sessions.sign_in(user, '').access}")
    return found


def upload(caller, name="usage.csv", content=USAGE, **fields):
    file = SimpleUploadedFile(name, content)
    return caller.post("/api/attachments", {"file": file, **fields}, format="multipart")
