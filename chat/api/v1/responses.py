"""OpenAI's interface: responses."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.http import JsonResponse
from django.http.response import HttpResponseBase
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response as RestResponse

from chat import runs
from chat.api.base import identity_of, owner
from chat.api.client_ip import address_of
from chat.api.parsers import number
from chat.api.schema import described
from chat.api.v1.base import OBJECT, STREAM, Body, OpenAIErrorBody, Place, V1View, id_of, refused
from chat.dialects import Frame, project, sse
from chat.dialects.openai_input import Approval, read_input
from chat.dialects.openai_responses import Response, input_items, response_id
from chat.models import Event, InputRequest, Message, Run, Thread
from chat.protocol import ProtocolError
from chat.streams.addresses import facts_of, headers_of, name_in, runs_of, thread_id_of
from chat.streams.ended import events_of

Encode = Callable[[Frame, int], str]


class ResponseBody(Body):
    """The body of a response."""

    input: str | list[Any]
    instructions: str | None = None
    background: bool = False
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    text: dict[str, Any] = Field({}, description="`{format: {type: text}}`")
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    reasoning: dict[str, Any] | None = None
    truncation: str | None = None
    include: list[str] | None = None
    top_logprobs: int | None = Field(None, description="0")

    def check(self) -> None:
        """Raise ProtocolError invalid_message for what cannot be ignored without a lie."""
        super().check()
        form = self.text.get("format")
        if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
            raise refused("text.format", "must be of the type text")
        if self.top_logprobs:
            raise refused("top_logprobs", "are not available")
        if self.previous_response_id is not None and self.conversation is not None:
            raise refused("previous_response_id", "and conversation exclude each other")


class Responses(V1View):
    content_field = "input"

    @described(
        "create_response",
        {200: OBJECT, **STREAM},
        ResponseBody,
        headers=("Idempotency-Key", "Netra-Thread", "Netra-Disconnect"),
        errors=OpenAIErrorBody,
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Ask an agent; the answer comes at the end, in events with `stream`, or later with `background`."""
        given = self.fields(request, ResponseBody)
        cancels = self.cancels(request, default=not given.background)
        sent = read_input(given.input, given.instructions, partial(answers_of, request, given))
        self.admit(request)
        approved = answer(request, sent.approvals)
        if sent.text is None and approved is not None:
            run, part = approved
        else:
            run, part = self.start(request, given.model, sent, place_of(request, given, sent.run_hex)), 0
        projection, facts = projection_of(run, part), facts_of(run)
        if given.stream:
            return self.stream(request, run, facts, projection, encode=encode, cancels=cancels)
        if given.background:
            return shown(run, part)
        return self.wait(request, run, facts, projection, lambda: JsonResponse(projection.response()), cancels=cancels)


class OneResponse(V1View):
    @described(
        "response",
        {200: OBJECT, **STREAM},
        query=("stream", "starting_after#"),
        headers=("Netra-Disconnect",),
        errors=OpenAIErrorBody,
    )
    def get(self, request: Request, response_id: str) -> HttpResponseBase:
        """Return the response as it is now; with `stream=true` its events, those above `starting_after`."""
        run, part = run_of(request, response_id)
        if request.query_params.get("stream", "false").lower() != "true":
            return shown(run, part)
        after = number(request, "starting_after", 0, 0, 10**9) if "starting_after" in request.query_params else -1
        cancels = self.cancels(request, default=False)
        self.admit(request)
        projection = projection_of(run, part)
        return self.stream(request, run, facts_of(run), projection, encode=encode, after=after, cancels=cancels)


class CancelResponse(V1View):
    @described("cancel_response", {200: OBJECT}, errors=OpenAIErrorBody)
    def post(self, request: Request, response_id: str) -> HttpResponseBase:
        """Cancel the response. One that has ended is returned unchanged."""
        run, part = run_of(request, response_id)
        runs.cancel(owner(request).pk, run.pk)
        return shown(run, part)


class InputItems(V1View):
    @described("input_items", {200: OBJECT}, errors=OpenAIErrorBody)
    def get(self, request: Request, response_id: str) -> HttpResponseBase:
        """List what was asked: the user's message."""
        run, _ = run_of(request, response_id)
        files = [(str(file.pk), file.name) for file in run.message.attachments.order_by("created_at", "id")]
        items = input_items(str(run.message_id), run.message.content, files)
        ids = {"first_id": items[0]["id"], "last_id": items[-1]["id"]}
        shown_items = {"object": "list", "data": items, **ids, "has_more": False}
        return RestResponse(shown_items, headers=headers_of(facts_of(run)))


def encode(frame: Frame, number: int) -> str:
    """Return a frame as an event with its type as the name."""
    assert not isinstance(frame, str)
    return sse(frame, event=frame["type"])


def answers_of(request: Request, given: ResponseBody, run_hexes: Sequence[str]) -> dict[str, str]:
    """Return run id without hyphens -> the text of its answer, for those runs that exist for the client.

    None where the body names what it follows: the answers are there already.
    """
    if given.previous_response_id is not None or given.conversation is not None:
        return {}
    found = runs_of(identity_of(request)).filter(pk__in=[UUID(run) for run in run_hexes])
    return {run.hex: text or "" for run, text in found.values_list("pk", "answers__content")}


def place_of(request: Request, given: ResponseBody, run_hex: str | None) -> Place:
    """Return the place that the body names, or else the thread of the run to which its history refers.

    Raises ProtocolError not_found, invalid_message.
    """
    hides = not given.store
    if given.previous_response_id is not None:
        param = "previous_response_id"
        run = _run(request, id_of(given.previous_response_id, "resp", param)[0], param)
        said = Message.objects.filter(run=run).values_list("pk", flat=True).first()
        parent_id = said or run.message_id  # the answer of a run that goes on will stand between the two
        return Place(run.thread_id, given.previous_response_id, has_parent=True, parent_id=parent_id, hides=hides)
    if given.conversation is not None:
        named = given.conversation if isinstance(given.conversation, str) else given.conversation.get("id")
        if not isinstance(named, str):
            raise refused("conversation", "must be an id, or an object with one")
        return Place(conversation_of(request, named).pk, hides=hides)
    name = name_in(request.headers.get("Netra-Thread", ""))
    if name:
        thread_id: UUID | None = thread_id_of(owner(request).pk, name)
    else:
        thread_id = _run(request, UUID(run_hex), "input").thread_id if run_hex else None
    return Place(thread_id, by_history=True, hides_new=hides, hides=hides)


def conversation_of(request: Request, text: str) -> Thread:
    """Return the thread of a conversation's id. Raises ProtocolError not_found."""
    thread_id, _ = id_of(text, "conv", "conversation")
    thread = Thread.objects.for_user(owner(request)).filter(pk=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such conversation.", field="conversation")
    return thread


def run_of(request: Request, response_id: str) -> tuple[Run, int]:
    """Return the run of a response's id, and which of its responses that is. Raises ProtocolError not_found."""
    run_id, part = id_of(response_id, "resp", "response_id")
    run = _run(request, run_id, "response_id")
    if part > _waits(run.thread_id, run.pk):
        raise ProtocolError("not_found", "There is no such response.", field="response_id")
    return run, part


def _run(request: Request, run_id: UUID, param: str) -> Run:
    run = runs_of(identity_of(request)).select_related("message__parent").filter(pk=run_id).first()
    if run is None:
        raise ProtocolError("not_found", "There is no such response.", field=param)
    return run


def _waits(thread_id: UUID, run_id: UUID) -> int:
    """Return how often the run has waited for a person."""
    return Event.objects.filter(thread=thread_id, run=run_id, type="run_waiting").count()


def projection_of(run: Run, part: int) -> Response:
    """Return a new projection of one of the run's responses."""
    before = run.message.parent
    run_id = None if before is None else before.run_id
    if before is not None and run_id is None:  # the message of a run that had no answer then
        earlier = Run.objects.filter(message=before, thread_seq__lt=run.thread_seq)
        run_id = earlier.order_by("-thread_seq", "-created_at").values_list("pk", flat=True).first()
    facts = facts_of(run)
    previous = None
    if part:
        previous = response_id(facts.run_hex, part - 1)
    elif run_id is not None:
        previous = response_id(run_id.hex, _waits(run.thread_id, run_id))  # the last of its responses
    return Response(facts, part, previous)


def current(run: Run, part: int) -> dict[str, Any]:
    """Return the response object as the event log has it now."""
    projection = projection_of(run, part)
    project(projection, map(json.loads, events_of(run)))
    return projection.response()


def shown(run: Run, part: int) -> HttpResponseBase:
    """Return the answer with the response object as it is now."""
    return RestResponse(current(run, part), headers=headers_of(facts_of(run)))


def answer(request: Request, approvals: tuple[Approval, ...]) -> tuple[Run, int] | None:
    """Give these answers, all or none. Return the run that they let go on, and which response its continuation is.

    Raises ProtocolError not_found, forbidden, conflict.
    """
    found: tuple[Run, int] | None = None
    given = []
    for approval in approvals:
        try:
            request_id = UUID(approval.request_id)
        except ValueError:
            raise ProtocolError("not_found", "There is no such request.", field="approval_request_id") from None
        asked = InputRequest.objects.for_user(owner(request)).filter(pk=request_id).first()
        if asked is None:
            raise ProtocolError("not_found", "There is no such request.", field="approval_request_id")
        run = _run(request, asked.run_id, "approval_request_id")
        found = found or (run, _waits(run.thread_id, run.pk))  # before the answer: the continuation may wait again
        action = "accept" if approval.approve else "decline"
        given.append(runs.Answer(request_id, action, reason=approval.reason))
    if given:
        decider = runs.Decider(owner(request).pk, "openai", identity_of(request).session_id, address_of(request))
        runs.answer_all(given, decider)
    return found
