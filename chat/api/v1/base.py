"""Parts that the views of OpenAI's interface share: bodies, ids, and the start of a run for what a client sent."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.types import OpenApiTypes
from pydantic import Field
from rest_framework.request import Request

from chat import protocol, runs
from chat.api.base import identity_of, owner
from chat.api.exceptions import not_found
from chat.api.messages import idempotent
from chat.dialects.openai_input import File, Sent, Turn
from chat.dialects.paths import extend, root
from chat.models import Message, Run
from chat.protocol import MAX_FRAME, ProtocolError
from chat.protocol.fields import MAX_AGENT, Declaration, Text, validate
from chat.streams.addresses import branch_of, same_message
from chat.streams.files import SentFile, base64_bytes, data_url, store_all
from chat.streams.views import StreamView

_ID = re.compile(r"(resp|conv)_([0-9a-f]{32})(?:_([1-9][0-9]{0,3}))?")
OBJECT = OpenApiTypes.OBJECT
STREAM: dict[int | tuple[int, str], Any] = {(200, "text/event-stream"): OpenApiTypes.STR}


class OpenAIError(Declaration):
    """A mistake or a failure."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(Declaration):
    """The answer to an error."""

    error: OpenAIError


class Body(Declaration):
    """Fields that both ways to ask have. Agents choose for themselves what the fields after `store` are about."""

    model: Text = Field(description="The name of an agent")
    stream: bool = False
    metadata: dict[str, Any] = {}
    store: bool = True
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    seed: int | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: Any = Field(None, description="`auto` or `none`: agents run their own tools")
    prompt: Any = Field(None, description="Not supported")

    def check(self) -> None:
        """Raise ProtocolError invalid_message for what cannot be ignored without a lie."""
        if len(self.model) > MAX_AGENT:
            raise ProtocolError("unknown_agent", f"There is no model {self.model[:MAX_AGENT]!r}.", field="model")
        if self.tool_choice not in (None, "auto", "none"):
            raise refused("tool_choice", "must be auto or none: agents run their own tools")
        if self.prompt is not None:
            raise refused("prompt", "is not supported")


_Body = TypeVar("_Body", bound=Body)


def refused(field: str, message: str) -> ProtocolError:
    """Return the error about a field; `message` follows its name."""
    return ProtocolError("invalid_message", f"{field} {message}.", field=field)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a new message; `thread_id` is None for a thread that the client did not name.

    `named` is what it called the place, where that is no thread: the same in a repeated request.
    `by_history`: it follows the branch that reads like what was sent before it, in that thread or any of the user's.
    Else it follows `parent_id` if `has_parent` (None: the thread's root), or the last message of the thread.
    `hides_new`: a thread that is made for it is in no list. `hides`: nor does the message bring an old one into it.
    """

    thread_id: UUID | None = None
    named: str = ""
    by_history: bool = False
    has_parent: bool = False
    parent_id: UUID | None = None
    hides_new: bool = False
    hides: bool = False


class V1View(StreamView):
    """A view of OpenAI's interface."""

    mode = "openai"
    content_field = "messages"  # that has the text of the new message

    def fields(self, request: Request, model: type[_Body]) -> _Body:
        """Return the body's fields; null is the same as absent. Raises ProtocolError."""
        given = self.read(request)
        found = validate(model, {name: value for name, value in given.items() if value is not None})
        found.check()
        return found

    def start(self, request: Request, agent: str, sent: Sent, place: Place, interactive: bool = True) -> Run:
        """Start a run for what was sent, or return the one that the same Idempotency-Key has started.

        Raises ProtocolError.
        """
        user_id, agents, language = owner(request).pk, identity_of(request).agents, identity_of(request).language
        key = idempotent(request, {}).get("client_msg_id")
        digest = hashlib.sha256(
            repr((agent, sent, place.thread_id, place.named)).encode("utf-8", "replace")
        ).hexdigest()
        if key is not None and (known := runs.repeated(user_id, key, digest, agents)):
            return _run(user_id, known)
        text = sent.text or ""
        if len(text.encode()) > MAX_FRAME:
            raise ProtocolError("too_large", f"A message has at most {MAX_FRAME} bytes.", field=self.content_field)
        self.count_message(request)
        found, context = _found(user_id, place, sent)
        files = [_sent_file(file) for file in sent.files]
        if place.by_history and found.thread_id and (same := _asked_before(user_id, found, context, text, files)):
            return _run(user_id, runs.ask_again(user_id, same.pk, agent, key, agents, digest, interactive, language))
        fields = {"content": text, "agent": agent, "interactive": interactive, "client_msg_id": key}
        fields["thread_id"] = found.thread_id and str(found.thread_id)
        if found.has_parent:
            fields["parent_id"] = found.parent_id and str(found.parent_id)
        origin = runs.Origin(None, context, found.hides, digest)
        try:
            message = protocol.user_message_fields(fields)
        except ProtocolError as error:
            error.field = self.content_field if error.field == "content" else error.field
            raise
        stored = store_all(user_id, files, self.content_field)  # not before the message is checked
        message = message.model_copy(update={"attachment_ids": stored})
        return _run(user_id, runs.start(user_id, message, agents, origin, language))


def _found(user_id: int, place: Place, sent: Sent) -> tuple[Place, tuple[Turn, ...]]:
    """Return where the message hangs by what was sent before it, and what of that no branch has: its context."""
    claimed = (*sent.instructions, *sent.before, *sent.after)
    if not place.by_history:
        return place, claimed
    parent = branch_of(user_id, sent.before, place.thread_id)
    if parent is None:
        hides = place.hides or (place.hides_new and place.thread_id is None)
        return Place(place.thread_id, has_parent=place.thread_id is not None, hides=hides), claimed
    further = (*sent.instructions, *sent.after)
    return Place(parent.thread_id, has_parent=True, parent_id=parent.pk, hides=place.hides), further


def _asked_before(
    user_id: int, place: Place, context: tuple[Turn, ...], text: str, files: list[SentFile]
) -> Message | None:
    """Return the user's message that is there already, with the same text, files and claimed turns."""
    assert place.thread_id is not None
    before: str | None = root(user_id)
    if place.parent_id is not None:
        before = Message.objects.filter(pk=place.parent_id).values_list("path", flat=True).first()
    path = extend(before or "", [*context, ("user", text)])
    return same_message(user_id, place.thread_id, place.parent_id, text, files, path)


def _sent_file(file: File) -> SentFile:
    if file.id is not None:
        try:
            return SentFile(None, attachment=UUID(file.id))
        except ValueError:
            raise ProtocolError("not_found", "There is no such file.", field="file_id") from None
    data = file.data or ""
    content, media_type = data_url(data, "file_data") or (base64_bytes(data, "file_data"), "")
    return SentFile(content, file.name, media_type)


def _run(user_id: int, started: runs.StartedRun) -> Run:
    return Run.objects.for_user(user_id).select_related("message__parent").get(pk=started.run_id)


def id_of(text: str, kind: str, param: str) -> tuple[UUID, int]:
    """Return the UUID in an id of OpenAI's form, and the number behind it. Raises ProtocolError not_found."""
    match = _ID.fullmatch(text)
    if match is None or match[1] != kind:
        raise ProtocolError("not_found", f"There is nothing with the id {text[:80]!r}.", field=param)
    return UUID(match[2]), int(match[3] or 0)


@csrf_exempt
def nothing(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer a path that Netra does not have."""
    return not_found(request)
