"""OpenAI's interface: conversations, which are threads."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.api.base import identity_of, owner
from chat.api.schema import described
from chat.api.v1.base import OBJECT, OpenAIErrorBody, V1View, refused
from chat.api.v1.responses import conversation_of
from chat.models import Thread
from chat.protocol.fields import Declaration, validate
from chat.streams.addresses import answer_headers


class ConversationBody(Declaration):
    """The body of a conversation."""

    items: list[Any] = []
    metadata: dict[str, Any] = {}


class Conversations(V1View):
    @described("create_conversation", {200: OBJECT}, ConversationBody, errors=OpenAIErrorBody)
    def post(self, request: Request) -> HttpResponseBase:
        """Make an empty conversation. Netra stores no turn because a client sent it: `items` must be empty."""
        given = self.read(request, needed=False)
        body = validate(ConversationBody, {name: value for name, value in given.items() if value is not None})
        if body.items:
            raise refused("items", "must be empty: no turn is stored because a client sent it")
        thread = runs.create_thread(owner(request).pk, None, "", None, identity_of(request).agents)
        return _shown(thread)


class OneConversation(V1View):
    @described("conversation", {200: OBJECT}, errors=OpenAIErrorBody)
    def get(self, request: Request, conversation_id: str) -> HttpResponseBase:
        return _shown(conversation_of(request, conversation_id))


def _shown(thread: Thread) -> Response:
    created_at = int(thread.created_at.timestamp())
    shown = {"id": f"conv_{thread.pk.hex}", "object": "conversation", "created_at": created_at, "metadata": {}}
    return Response(shown, headers=answer_headers(thread.pk))
