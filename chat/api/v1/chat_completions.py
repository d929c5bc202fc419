"""OpenAI's interface: chat completions."""

from typing import Any

from django.http import JsonResponse
from django.http.response import HttpResponseBase
from pydantic import Field
from rest_framework.request import Request

from chat.api.base import owner
from chat.api.schema import described
from chat.api.v1.base import OBJECT, STREAM, Body, OpenAIErrorBody, Place, V1View, refused
from chat.dialects import Frame, sse
from chat.dialects.openai_chat import ChatCompletion
from chat.dialects.openai_input import read_messages
from chat.protocol.fields import Declaration
from chat.streams.addresses import facts_of, name_in, thread_id_of


class StreamOptions(Declaration):
    """The options of a stream."""

    include_usage: bool | None = None


class ChatCompletionBody(Body):
    """The body of a chat completion."""

    messages: list[Any] = Field(min_length=1)
    stream_options: StreamOptions = StreamOptions()
    n: int | None = Field(None, description="1")
    response_format: dict[str, Any] | None = Field(None, description="`{type: text}`")
    logprobs: bool | None = Field(None, description="false")
    modalities: list[str] | None = Field(None, description="text")
    audio: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    function_call: Any = Field(None, description="`auto` or `none`: the older name of `tool_choice`")
    stop: Any = None
    reasoning_effort: str | None = None

    def check(self) -> None:
        """Raise ProtocolError invalid_message for what cannot be ignored without a lie."""
        super().check()
        if self.function_call not in (None, "auto", "none"):
            raise refused("function_call", "must be auto or none: agents run their own tools")
        if self.n not in (None, 1):
            raise refused("n", "must be 1")
        if self.response_format is not None and self.response_format.get("type") != "text":
            raise refused("response_format", "must be of the type text")
        if self.logprobs:
            raise refused("logprobs", "are not available")
        if self.modalities is not None and self.modalities != ["text"]:
            raise refused("modalities", "must be text")


class ChatCompletions(V1View):
    @described(
        "chat_completions",
        {200: OBJECT, **STREAM},
        ChatCompletionBody,
        headers=("Idempotency-Key", "Netra-Thread", "Netra-Task", "Netra-Disconnect", "Netra-Input"),
        errors=OpenAIErrorBody,
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Ask an agent; the answer comes at the end, or in chunks with `stream`.

        Only the last user message is asked. The messages before it say which thread it continues.
        """
        given = self.fields(request, ChatCompletionBody)
        cancels = self.cancels(request, default=True)
        sent = read_messages(given.messages)
        self.admit(request)
        run = self.start(
            request, given.model, sent, place_of(request, given), request.headers.get("Netra-Input") == "wait"
        )
        facts = facts_of(run)
        projection = ChatCompletion(facts, given.stream_options.include_usage is True)
        if given.stream:
            return self.stream(request, run, facts, projection, encode=_encode, cancels=cancels)

        def answer() -> HttpResponseBase:
            if projection.error is not None:
                failed = JsonResponse({"error": projection.error}, status=500)
                failed["x-should-retry"] = "false"
                return failed
            return JsonResponse(projection.completion())

        return self.wait(request, run, facts, projection, answer, cancels=cancels)


def _encode(frame: Frame, number: int) -> str:
    return sse(frame)


def place_of(request: Request, given: ChatCompletionBody) -> Place:
    """Return the place that the headers and the metadata of a chat completion name. Raises ProtocolError."""
    if request.headers.get("Netra-Task", "").strip():
        return Place(hides_new=True, hides=True)
    named = name_in(request.headers.get("Netra-Thread", "")) or given.metadata.get("thread_id")
    named = named or name_in(request.headers.get("X-OpenWebUI-Chat-Id", ""))
    if named is not None and not isinstance(named, str):
        raise refused("metadata", "must have a text as thread_id")
    thread_id = thread_id_of(owner(request).pk, named) if named else None
    return Place(thread_id, by_history=True, hides_new=True)
