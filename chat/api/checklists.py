"""REST: the steps of answers that users have done."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import ListView, View, owner
from chat.api.feedback import answer_of
from chat.api.fields import Timestamp
from chat.api.pagination import PAGED
from chat.api.schema import described
from chat.api.serializers import PageSerializer
from chat.api.threads import thread_of
from chat.models import CheckedStep
from chat.protocol import ProtocolError

MAX_STEPS = 20  # checked ones of an answer
MAX_NAME = 32  # characters


class CheckedStepSerializer(serializers.Serializer[Any]):
    message_id = serializers.UUIDField(help_text="the answer that recommends the step")
    name = serializers.CharField(help_text="of the step in the answer's result")
    checked_at = Timestamp()


class ChecklistPageSerializer(PageSerializer):
    checklist = CheckedStepSerializer(many=True)


class MessageChecklist(View):
    """A step of one of the user's answers, by its name: it is done or not."""

    @described("check_step", {200: CheckedStepSerializer})
    def put(self, request: Request, message_id: UUID, name: str) -> Response:
        """Check the step as done. Checking it again changes nothing."""
        answer = answer_of(request, message_id)
        if len(name) > MAX_NAME:
            raise ProtocolError("invalid_message", f"The name of a step has at most {MAX_NAME} characters.")
        checked = CheckedStep.objects.filter(message=answer)
        if not checked.filter(name=name).exists() and checked.count() >= MAX_STEPS:
            raise ProtocolError("conflict", f"At most {MAX_STEPS} steps of an answer can be checked.")
        step, _ = CheckedStep.objects.get_or_create(message=answer, name=name)
        return Response(CheckedStepSerializer(CheckedStep.objects.get(pk=step.pk)).data)

    @described("uncheck_step", {204: None})
    def delete(self, request: Request, message_id: UUID, name: str) -> Response:
        """Take the check back, if there is one."""
        CheckedStep.objects.filter(message=answer_of(request, message_id), name=name).delete()
        return Response(status=204)


class ThreadChecklist(ListView):
    """The checked steps of a thread's answers."""

    serializer_class, results_name = CheckedStepSerializer, "checklist"

    @described("thread_checklist", {200: ChecklistPageSerializer}, query=PAGED)
    def get(self, request: Request, thread_id: UUID) -> Response:
        """List the steps that are done, in the order in which they were checked."""
        thread = thread_of(owner(request), thread_id)
        rows = CheckedStep.objects.for_user(owner(request)).filter(message__thread=thread)
        return self.page(request, rows.order_by("checked_at", "pk"))
