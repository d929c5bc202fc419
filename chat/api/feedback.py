"""REST: what users think of answers."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import metrics
from chat.api.base import ListView, View, owner
from chat.api.fields import Choice, Text
from chat.api.pagination import PAGED
from chat.api.parsers import fields
from chat.api.schema import described
from chat.api.serializers import FeedbackSerializer, PageSerializer
from chat.api.threads import thread_of
from chat.models import Feedback, Message
from chat.protocol import ProtocolError

MAX_MODEL_NAME = 100  # characters


class RatingSerializer(serializers.Serializer[Any]):
    rating = Choice(Feedback.RATINGS, help_text="1: good, -1: bad")
    comment = Text(max_length=Feedback.MAX_COMMENT, required=False, allow_blank=True)


class FeedbackPageSerializer(PageSerializer):
    feedback = FeedbackSerializer(many=True)


def answer_of(request: Request, message_id: UUID) -> Message:
    """Return the answer of the user with this id. Raises not_found, for messages of the user, too."""
    answers = Message.objects.for_user(owner(request)).filter(role="assistant", run__isnull=False)
    found = answers.select_related("run").filter(pk=message_id).first()
    if found is None:
        raise ProtocolError("not_found", "There is no such answer.")
    return found


class MessageFeedback(View):
    """The user's rating of one of their answers."""

    @described("give_feedback", {200: FeedbackSerializer}, RatingSerializer)
    def put(self, request: Request, message_id: UUID) -> Response:
        """Rate the answer, in place of an earlier rating and its comment."""
        given = fields(RatingSerializer, request)
        answer = answer_of(request, message_id)
        assert answer.run is not None
        model = answer.run.usage.get("model")
        now = {
            "user": owner(request),
            "run": answer.run,
            "agent": answer.run.agent,
            "model": model[:MAX_MODEL_NAME].replace("\0", "") if isinstance(model, str) else "",
            "rating": given["rating"],
            "comment": given.get("comment", ""),
            "updated_at": Now(),
        }
        with transaction.atomic():
            before = Feedback.objects.filter(message=answer).values_list("rating", flat=True).first()
            Feedback.objects.update_or_create(message=answer, defaults=now)
        if before != given["rating"]:
            metrics.count_feedback(answer.run.agent, given["rating"])
        return Response(FeedbackSerializer(Feedback.objects.get(message=answer)).data)

    @described("withdraw_feedback", {204: None})
    def delete(self, request: Request, message_id: UUID) -> Response:
        """Take the rating back, if there is one."""
        Feedback.objects.filter(message=answer_of(request, message_id)).delete()
        return Response(status=204)


class ThreadFeedback(ListView):
    """The ratings in a thread, without the messages."""

    serializer_class, results_name = FeedbackSerializer, "feedback"

    @described("thread_feedback", {200: FeedbackPageSerializer}, query=PAGED)
    def get(self, request: Request, thread_id: UUID) -> Response:
        """List the ratings of the thread's answers, the oldest answer first."""
        thread = thread_of(owner(request), thread_id)
        rows = Feedback.objects.for_user(owner(request)).filter(message__thread=thread)
        return self.page(request, rows.order_by("message__seq"))
