"""REST: messages, sent and listed."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import limits, protocol, runs
from chat.api.base import ListView, View, identity_of, owner
from chat.api.fields import Id
from chat.api.pagination import PAGED
from chat.api.parsers import body
from chat.api.schema import described
from chat.api.serializers import (
    AcceptedSerializer,
    MessageSerializer,
    MessagesPageSerializer,
)
from chat.limits.rates import MESSAGES
from chat.models import Message, Thread
from chat.protocol import MessageBody, ProtocolError, RegenerateBody
from chat.protocol.fields import MAX_ID


def speaker(request: Request) -> int:
    """Count a message of the user and return the user's id. Raises ProtocolError rate_limited."""
    limits.rate_limiter().acquire(MESSAGES, owner(request).pk)
    return owner(request).pk


def accepted(done: runs.StartedRun) -> Response:
    return Response(AcceptedSerializer(done).data, status=202)


def idempotent(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body with its Idempotency-Key, if any, as `client_msg_id`. Raises ProtocolError."""
    key = client_msg_id_of(request.headers.get("Idempotency-Key"))
    if key is None:
        return given
    if given.get("client_msg_id") not in (None, key):
        raise ProtocolError("invalid_message", "Idempotency-Key and client_msg_id differ.", field="client_msg_id")
    return {**given, "client_msg_id": key}


def client_msg_id_of(key: str | None) -> str | None:
    """Return the value of the header Idempotency-Key, None for none. Raises ProtocolError invalid_message."""
    if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) <= MAX_ID):
        why = f"Idempotency-Key must be printable ASCII of at most {MAX_ID} characters."
        raise ProtocolError("invalid_message", why, field="client_msg_id")
    return key


class MessageListView(ListView):
    """A view with a list of messages."""

    serializer_class, results_name = MessageSerializer, "messages"

    def page_of_thread(self, request: Request, thread_id: UUID) -> Response:
        """Return a page of the thread's messages, the oldest first. Raises not_found."""
        if identity_of(request).key is None:
            runs.show(owner(request).pk, thread_id)
        if not Thread.objects.for_user(owner(request)).filter(pk=thread_id).exists():
            raise ProtocolError("not_found", "There is no such thread.")
        return self.page(request, self.messages(request).filter(thread=thread_id).order_by("seq"))

    def page_of_user(self, request: Request) -> Response:
        """Return a page of the user's messages, the oldest first, of all threads or of the one in the query."""
        asked = request.query_params.get("thread_id")
        if asked is None:
            shown = self.messages(request).filter(thread__hidden=False, thread__temporary=False)
            return self.page(request, shown.order_by("created_at", "thread", "seq"))
        try:
            thread_id = Id().to_internal_value(asked)
        except serializers.ValidationError:
            raise ProtocolError("invalid_message", "thread_id must be a UUID.", field="thread_id") from None
        return self.page_of_thread(request, thread_id)

    def messages(self, request: Request) -> QuerySet[Message]:
        """Return all messages of the user."""
        return Message.objects.for_user(owner(request)).select_related("feedback").prefetch_related("attachments")


class ThreadMessages(MessageListView):
    @described("thread_messages", {200: MessagesPageSerializer}, query=PAGED)
    def get(self, request: Request, thread_id: UUID) -> Response:
        """List the thread's messages, the oldest first."""
        return self.page_of_thread(request, thread_id)

    @described("send_to_thread", {202: AcceptedSerializer}, MessageBody, headers=("Idempotency-Key",))
    def post(self, request: Request, thread_id: UUID) -> Response:
        message = protocol.user_message_fields(idempotent(request, body(request)))
        if message.thread_id not in (None, thread_id):
            raise ProtocolError("invalid_message", "thread_id differs from the one in the path.", field="thread_id")
        named = message.model_copy(update={"thread_id": thread_id})
        identity = identity_of(request)
        return accepted(runs.start(speaker(request), named, identity.agents, language=identity.language))


class Messages(MessageListView):
    @described("messages", {200: MessagesPageSerializer}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        return self.page_of_user(request)

    @described("send", {202: AcceptedSerializer}, MessageBody, headers=("Idempotency-Key",))
    def post(self, request: Request) -> Response:
        message = protocol.user_message_fields(idempotent(request, body(request)))
        identity = identity_of(request)
        return accepted(runs.start(speaker(request), message, identity.agents, language=identity.language))


class ChatMessages(MessageListView):
    @described("chat_messages", {200: MessagesPageSerializer}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        return self.page_of_user(request)


class RegenerateMessage(View):
    @described("regenerate", {202: AcceptedSerializer}, RegenerateBody, headers=("Idempotency-Key",))
    def post(self, request: Request, message_id: UUID) -> Response:
        given = {**idempotent(request, body(request, needed=False)), "message_id": str(message_id)}
        frame = protocol.regenerate_fields(given)
        identity = identity_of(request)
        return accepted(runs.regenerate(speaker(request), frame, identity.agents, language=identity.language))
