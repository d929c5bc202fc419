"""REST: threads and their events."""

from typing import Any
from uuid import UUID

from django.db.models import Func, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Substr
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import metrics, runs
from chat.api import search
from chat.api.base import ListView, View, identity_of, owner
from chat.api.fields import Count, Flag, Id, Name, Text
from chat.api.pagination import PAGED
from chat.api.parsers import fields
from chat.api.schema import described
from chat.api.serializers import (
    ThreadSerializer,
    ThreadsPageSerializer,
)
from chat.models import Event, InputRequest, Message, Run, Thread, User
from chat.protocol import ProtocolError
from chat.runs import retention


class NewThreadSerializer(serializers.Serializer[Any]):
    id = Id(required=False)
    title = Name(max_length=200, required=False, allow_blank=True)
    agent = Text(max_length=64, required=False)
    temporary = Flag(required=False, help_text="in no list; emptied once it is deleted")


class SpentSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.FloatField(allow_null=True, help_text="null: a price is unknown")


class ModelSpentSerializer(SpentSerializer):
    model = serializers.CharField()


class UsageSerializer(SpentSerializer):
    models = ModelSpentSerializer(many=True)


class OneThreadSerializer(ThreadSerializer):
    usage = UsageSerializer(help_text="of all runs of the thread, on all branches")


class CopyThreadSerializer(serializers.Serializer[Any]):
    message_id = Id(required=False, help_text="the last message to copy; absent: the newest")


class ChangeThreadSerializer(serializers.Serializer[Any]):
    title = Name(max_length=200, required=False)
    pinned = Flag(required=False)
    archived = Flag(required=False, help_text="only a search finds it")
    seen_seq = Count(required=False, help_text="events up to this one are seen")

    def to_internal_value(self, data: Any) -> Any:
        """Refuse a body that changes nothing."""
        given = super().to_internal_value(data)
        if not given:
            raise serializers.ValidationError({"title": ["This field is required."]})
        return given


def as_id(project: str) -> UUID:
    """Return the id that a query names. Raises invalid_message."""
    try:
        return UUID(project)
    except ValueError:
        raise ProtocolError("invalid_message", "project must be an id or any.", field="project") from None


def threads_of(user: User) -> QuerySet[Thread]:
    messages = Message.objects.filter(thread=OuterRef("pk")).order_by()
    counted = messages.annotate(n=Func("pk", function="COUNT")).values("n")
    asked = InputRequest.objects.filter(thread=OuterRef("pk"), status=InputRequest.OPEN).order_by()
    number_asked = asked.annotate(n=Func("pk", function="COUNT")).values("n")
    ended = Event.objects.filter(
        thread=OuterRef("pk"), seq__gt=OuterRef("seen_seq"), type__in=("agent_completed", "agent_failed")
    )
    return (
        Thread.objects.for_user(user)
        .annotate(
            message_count=Subquery(counted, output_field=IntegerField()),
            open_inputs=Subquery(number_asked, output_field=IntegerField()),
            unread=Subquery(ended.order_by("-seq").values(status=Substr("type", len("agent_") + 1))[:1]),
        )
        .order_by("-updated_at", "-id")
    )


def thread_of(user: User, thread_id: UUID) -> Thread:
    thread = threads_of(user).filter(pk=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.")
    return thread


def delete(thread: Thread) -> None:
    """Delete the thread, a temporary one with all that is in it. Raises not_found."""
    runs.delete(thread.user_id, thread.pk)
    if thread.temporary:
        retention.empty_deleted(thread.pk)


class Threads(ListView):
    serializer_class, results_name = ThreadSerializer, "threads"

    @described("threads", {200: ThreadsPageSerializer}, query=("q", "pinned", "archived", "project", *PAGED))
    def get(self, request: Request) -> Response:
        """List the user's threads, the last changed first: those that are not archived, unless `archived` is true.

        `pinned` narrows the list to pinned ones, or to others; `project` to those of one, or of `any`. Temporary
        threads are in no list.

        With `q`, those that have each of its words in their title or in a message, in any case and any script; words
        in quotation marks belong together, no character is a wildcard. `match` is then the newest message with one of
        the words, null where only the title has it.
        """
        threads = threads_of(owner(request)).filter(hidden=False, temporary=False)
        sought = request.query_params.get("q", "").strip()
        if len(sought) > 200 or "\0" in sought:
            raise ProtocolError("invalid_message", "q must be a text of at most 200 characters.", field="q")
        for name in ("pinned", "archived"):
            asked = request.query_params.get(name)
            if asked not in (None, "true", "false"):
                raise ProtocolError("invalid_message", f"{name} must be true or false.", field=name)
            if asked is not None or (name == "archived" and not sought):
                threads = threads.filter(**{name: asked == "true"})
        if project := request.query_params.get("project"):
            threads = threads.filter(
                **({"project__isnull": False} if project == "any" else {"project": as_id(project)})
            )
        if not sought:
            return self.page(request, threads)
        words = search.words_of(sought)
        answer = self.page(request, threads, list(search.holding(threads, words).values_list("pk", flat=True)))
        matches = search.matches([thread["id"] for thread in answer.data["threads"]], words)
        for thread in answer.data["threads"]:
            thread["match"] = matches.get(UUID(thread["id"]))
        return answer

    @described("create_thread", {201: ThreadSerializer}, NewThreadSerializer)
    def post(self, request: Request) -> Response:
        given = fields(NewThreadSerializer, request, needed=False)
        user, agents = owner(request), identity_of(request).agents
        thread = runs.create_thread(
            user.pk, given.get("id"), given.get("title", ""), given.get("agent"), agents, given.get("temporary", False)
        )
        return Response(ThreadSerializer(thread_of(user, thread.pk)).data, status=201)

    @described("delete_threads", {204: None})
    def delete(self, request: Request) -> Response:
        """Delete all of the user's threads, and cancel their runs."""
        for thread in Thread.objects.for_user(owner(request)):
            delete(thread)
        return Response(status=204)


class OneThread(View):
    @described("thread", {200: OneThreadSerializer})
    def get(self, request: Request, thread_id: UUID) -> Response:
        """Return the thread. A hidden one is in the lists from now on, unless a program with an API key asks."""
        if identity_of(request).key is None:
            runs.show(owner(request).pk, thread_id)
        thread = thread_of(owner(request), thread_id)
        used = Run.objects.filter(thread=thread).exclude(usage={}).values_list("usage", flat=True)
        thread.usage = metrics.spent(used)  # type: ignore[attr-defined]
        return Response(OneThreadSerializer(thread).data)

    @described("change_thread", {200: OneThreadSerializer}, ChangeThreadSerializer)
    def patch(self, request: Request, thread_id: UUID) -> Response:
        """Change the title, whether the thread is pinned or archived, or which of its events the user has seen."""
        given = fields(ChangeThreadSerializer, request)
        title, seen = given.pop("title", None), given.pop("seen_seq", None)
        if title is not None:
            runs.rename(owner(request).pk, thread_id, title)
        if seen is not None:
            runs.see(owner(request).pk, thread_id, seen)
        if given:
            runs.mark(owner(request).pk, thread_id, **given)
        return self.get(request, thread_id)

    @described("delete_thread", {204: None})
    def delete(self, request: Request, thread_id: UUID) -> Response:
        delete(thread_of(owner(request), thread_id))
        return Response(status=204)


class CopyThread(View):
    @described("copy_thread", {201: ThreadSerializer}, CopyThreadSerializer)
    def post(self, request: Request, thread_id: UUID) -> Response:
        """Make another thread of the branch that ends with a message, or with the newest."""
        given = fields(CopyThreadSerializer, request, needed=False)
        user = owner(request)
        copied = runs.copy(user.pk, thread_id, given.get("message_id"))
        return Response(ThreadSerializer(thread_of(user, copied.pk)).data, status=201)
