"""HTTP for AI SDK clients: ask, resume, stop, and load a chat."""

import re
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.aisdk.bodies import ChatBody, chat_body
from chat.aisdk.frames import SESSION_ENDED
from chat.aisdk.history import ui_messages
from chat.aisdk.requests import Opened, open_chat, resumable
from chat.api.base import identity_of, owner
from chat.api.client_ip import address_of
from chat.api.messages import idempotent
from chat.api.schema import described
from chat.dialects import Frame, sse
from chat.protocol import ProtocolError
from chat.streams.addresses import answer_headers, thread_id_of
from chat.streams.sending import newest_run
from chat.streams.serializers import StoppedSerializer
from chat.streams.views import StreamView, stopped

VERSION = {"x-vercel-ai-ui-message-stream": "v1"}
# A stream that only ended would be taken for the whole answer.
_CUT = sse({"type": "error", "errorText": SESSION_ENDED})
_STREAM: dict[int | tuple[int, str], Any] = {(200, "text/event-stream"): str}


class UIMessagesSerializer(serializers.Serializer[Any]):
    """A chat for an AI SDK client."""

    id = serializers.CharField()
    messages = serializers.ListField(child=serializers.DictField())


def decider_of(request: Request) -> runs.Decider:
    """Return the user of a request as the person who answers in an AI SDK client."""
    identity = identity_of(request)
    return runs.Decider(identity.user_id, "aisdk", identity.session_id, address_of(request))


class ChatView(StreamView):
    """A view that streams a run as UI message chunks."""

    mode = "ai-sdk"

    def chunks(self, request: Request, opened: Opened) -> HttpResponseBase:
        """Return the stream of a run. `Netra-Disconnect: cancel` makes a client that leaves stop it."""
        return self.stream(
            request,
            opened.run,
            opened.facts,
            opened.projection(),
            encode=_numbered,
            after=opened.after,
            cancels=self.cancels(request, default=False),
            headers=VERSION,
            cut=_CUT,
        )


class Chat(ChatView):
    """The path where a client asks."""

    @described("ai_sdk_chat", _STREAM, ChatBody, query=("agent",), headers=("Idempotency-Key", "Netra-Disconnect"))
    def post(self, request: Request) -> HttpResponseBase:
        """Start a run for the last message, or answer what a run has asked, and stream UI message chunks."""
        body = chat_body(self.read(request))
        self.cancels(request, default=False)  # a bad value starts nothing
        key = idempotent(request, {}).get("client_msg_id")
        identity = self.admit(request)
        self.count_message(request)
        return self.chunks(
            request, open_chat(identity, body, request.query_params.get("agent"), key, decider_of(request))
        )


class ChatStream(ChatView):
    """The path where a client that lost its line goes on."""

    @described("ai_sdk_stream", {**_STREAM, 204: None}, query=("after#",), headers=("Last-Event-ID",))
    def get(self, request: Request, chat_id: str) -> HttpResponseBase:
        """Stream the chat's newest run again from its first chunk, if it goes on or has just ended; else 204."""
        after = _after(request)
        opened = resumable(identity_of(request), chat_id)
        if opened is None:
            return HttpResponse(status=204)
        self.admit(request)
        return self.chunks(request, Opened(opened.run, after, opened.known))


class ChatStop(ChatView):
    """The path of a client's stop button."""

    @described("ai_sdk_stop", {202: StoppedSerializer})
    def post(self, request: Request, chat_id: str) -> Response:
        """Stop the runs of a chat."""
        user_id, agents = owner(request).pk, identity_of(request).agents
        thread_id = thread_id_of(user_id, chat_id)
        return stopped(thread_id, runs.cancel(user_id, thread_id=thread_id, agents=agents))


class ChatHistory(ChatView):
    """The path where a client loads a chat."""

    @described("ai_sdk_messages", {200: UIMessagesSerializer})
    def get(self, request: Request, chat_id: str) -> Response:
        """Return the chat's newest branch as UI messages, with the ids and parts that were streamed."""
        identity = identity_of(request)
        found = {"id": chat_id, "messages": ui_messages(identity, chat_id)}
        thread_id = thread_id_of(identity.user_id, chat_id)
        newest = newest_run(identity, thread_id)
        return Response(found, headers=answer_headers(thread_id, newest.pk if newest else None))


def _after(request: Request) -> int:
    """Return the number of the last chunk that the client has; -1 for none. Raises ProtocolError."""
    text = request.query_params.get("after") or request.headers.get("Last-Event-ID") or "-1"
    if not re.fullmatch(r"-1|[0-9]{1,18}", text):
        raise ProtocolError("invalid_message", "after must be the number of a chunk.", field="after")
    return int(text)


def _numbered(frame: Frame, number: int) -> str:
    return sse(frame, id=None if isinstance(frame, str) else number)
