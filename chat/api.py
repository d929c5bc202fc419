"""REST: threads, messages and runs without a socket, under the same rules and with the same errors.

Every queryset begins with `for_user`, so what is another user's is `not_found` like what never was.
"""

import json
import re
import time
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Exists, Func, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import events, limits, metrics, protocol, runs
from chat.models import Event, Message, Run, Thread, User
from chat.protocol import TERMINAL, ProtocolError
from chat.rest import PAGED, View, body, described, fields, number, owner, page
from chat.shapes import (
    MESSAGES_PAGE,
    AcceptedSerializer,
    ActiveRunSerializer,
    AgentSerializer,
    ExecutedSerializer,
    ExecuteSerializer,
    Id,
    MessageSerializer,
    NewThreadSerializer,
    RegenerateSerializer,
    RenameThreadSerializer,
    RunSerializer,
    ThreadSerializer,
    UserMessageSerializer,
    listed,
    shape,
)

# ---- Threads and messages --------------------------------------------------------------------------------


def threads_of(user: User) -> QuerySet[Thread]:
    messages = Message.objects.filter(thread=OuterRef("pk")).order_by()
    counted = messages.annotate(n=Func("pk", function="COUNT")).values("n")
    return (
        Thread.objects.for_user(user)
        .annotate(message_count=Subquery(counted, output_field=IntegerField()))
        .order_by("-updated_at", "-id")
    )


def thread_of(user: User, thread_id: UUID) -> Thread:
    thread = threads_of(user).filter(pk=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.")
    return thread


def speaker(request: Request) -> int:
    """The user's id, whose messages of a minute are now one more. Raises ProtocolError rate_limited."""
    limits.MESSAGES.spend_now(owner(request).pk)
    return owner(request).pk


def accepted(done: runs.Accepted) -> Response:
    return Response(AcceptedSerializer(done).data, status=202)


def idempotent(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body with the Idempotency-Key, where there is one, as `client_msg_id`. Raises ProtocolError."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return given
    if not (key.isascii() and key.isprintable()):
        raise ProtocolError("invalid_message", "Idempotency-Key must be printable ASCII.", field="client_msg_id")
    if given.get("client_msg_id") not in (None, key):
        raise ProtocolError("invalid_message", "Idempotency-Key and client_msg_id differ.", field="client_msg_id")
    return {**given, "client_msg_id": key}


class Threads(View):
    @described("threads", {200: listed("threads", ThreadSerializer)}, query=("q", *PAGED))
    def get(self, request: Request) -> Response:
        """The user's threads, the last changed first; `q` is looked for in titles and messages."""
        threads = threads_of(owner(request))
        sought = request.query_params.get("q", "").strip()
        if len(sought) > 200 or "\0" in sought:
            raise ProtocolError("invalid_message", "q must be a text of at most 200 characters.", field="q")
        if sought:
            said = Message.objects.filter(thread=OuterRef("pk"), content__icontains=sought)
            threads = threads.filter(Q(title__icontains=sought) | Exists(said))
        return page(request, "threads", threads, ThreadSerializer)

    @described("create_thread", {201: ThreadSerializer}, NewThreadSerializer)
    def post(self, request: Request) -> Response:
        given = fields(NewThreadSerializer, request, needed=False)
        user = owner(request)
        thread = runs.create_thread(user.pk, given.get("id"), given.get("title", ""), given.get("agent"))
        return Response(ThreadSerializer(thread_of(user, thread.pk)).data, status=201)


class OneThread(View):
    @described("thread", {200: ThreadSerializer})
    def get(self, request: Request, thread_id: UUID) -> Response:
        return Response(ThreadSerializer(thread_of(owner(request), thread_id)).data)

    @described("rename_thread", {200: ThreadSerializer}, RenameThreadSerializer)
    def patch(self, request: Request, thread_id: UUID) -> Response:
        runs.rename(owner(request).pk, thread_id, fields(RenameThreadSerializer, request)["title"])
        return self.get(request, thread_id)

    @described("delete_thread", {204: None})
    def delete(self, request: Request, thread_id: UUID) -> Response:
        runs.delete(owner(request).pk, thread_id)
        return Response(status=204)


class ThreadMessages(View):
    @described("thread_messages", {200: MESSAGES_PAGE}, query=PAGED)
    def get(self, request: Request, thread_id: UUID) -> Response:
        """The thread's messages, the oldest first."""
        user = owner(request)
        if not Thread.objects.for_user(user).filter(pk=thread_id).exists():
            raise ProtocolError("not_found", "There is no such thread.")
        messages = (
            Message.objects.for_user(user).filter(thread=thread_id).order_by("seq").prefetch_related("attachments")
        )
        return page(request, "messages", messages, MessageSerializer)

    @described("send_to_thread", {202: AcceptedSerializer}, UserMessageSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request, thread_id: UUID) -> Response:
        message = protocol.user_message_fields(idempotent(request, body(request)))
        if message.thread_id not in (None, thread_id):
            raise ProtocolError("invalid_message", "thread_id is not the path's.", field="thread_id")
        return accepted(runs.start(speaker(request), replace(message, thread_id=thread_id)))


class ThreadEvents(View):
    @described(
        "thread_events",
        {
            200: shape(
                "Events",
                events=serializers.ListField(child=serializers.DictField()),
                head=serializers.IntegerField(),
                more=serializers.BooleanField(),
            )
        },
        query=("after#", "limit#"),
    )
    def get(self, request: Request, thread_id: UUID) -> HttpResponse:
        """The thread's events after `after`, as a socket gets them: stored text, put together and never decoded."""
        after = number(request, "after", 0, 0, 10**18 - 1)
        limit = number(request, "limit", protocol.RESUME_LIMIT, 1, protocol.RESUME_LIMIT)
        log = events.replay(owner(request).pk, thread_id, after, limit)
        more = bool(log.rows) and log.rows[-1][0] < log.head
        text = f'{{"events":[{",".join(log.frames)}],"head":{log.head},"more":{json.dumps(more)}}}'
        return HttpResponse(text, content_type="application/json")


def own_messages(request: Request) -> Response:
    """The user's messages, the oldest first, of all threads or of the one that the query names."""
    asked = request.query_params.get("thread_id")
    if asked is None:
        messages = Message.objects.for_user(owner(request)).order_by("created_at", "thread", "seq")
        return page(request, "messages", messages.prefetch_related("attachments"), MessageSerializer)
    try:
        thread_id = Id().to_internal_value(asked)
    except serializers.ValidationError:
        raise ProtocolError("invalid_message", "thread_id must be a UUID.", field="thread_id") from None
    return ThreadMessages().get(request, thread_id)


class Messages(View):
    @described("messages", {200: MESSAGES_PAGE}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        return own_messages(request)

    @described("send", {202: AcceptedSerializer}, UserMessageSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request) -> Response:
        message = protocol.user_message_fields(idempotent(request, body(request)))
        return accepted(runs.start(speaker(request), message))


class ChatMessages(View):
    @described("chat_messages", {200: MESSAGES_PAGE}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        return own_messages(request)


class RegenerateMessage(View):
    @described("regenerate", {202: AcceptedSerializer}, RegenerateSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request, message_id: UUID) -> Response:
        given = {**idempotent(request, body(request, needed=False)), "message_id": str(message_id)}
        return accepted(runs.regenerate(speaker(request), protocol.regenerate_fields(given)))


# ---- Runs and agents -------------------------------------------------------------------------------------


class OneRun(View):
    @described("run", {200: RunSerializer})
    def get(self, request: Request, run_id: UUID) -> Response:
        run = Run.objects.for_user(owner(request)).filter(pk=run_id).first()
        if run is None:
            raise ProtocolError("not_found", "There is no such run.")
        return Response(RunSerializer(run).data)


class CancelRun(View):
    @described("cancel_run", {202: shape("Cancelled", run_ids=serializers.ListField(child=serializers.UUIDField()))})
    def post(self, request: Request, run_id: UUID) -> Response:
        """`run_ids` is empty for a run that had ended."""
        return Response({"run_ids": runs.cancel(owner(request).pk, run_id, None)}, status=202)


def agents() -> list[dict[str, Any]]:
    """The registered agents, the default first: name, description, available, and the reason where it is not."""
    offers = list(runs.live_workers().values_list("agents", flat=True))
    shown = []
    for name in settings.AGENTS:
        offered = sorted((of[name] for of in offers if name in of), key=lambda one: not one["available"])
        best = offered[0] if offered else {"available": False}
        agent = {"name": name, "description": best.get("description") or "", "available": best["available"]}
        if not agent["available"]:
            agent["reason"] = best.get("reason") or (
                "No worker plays this agent." if offers else "No worker is running."
            )
        shown.append(agent)
    return shown


class Agents(View):
    @described("agents", {200: shape("AgentList", agents=AgentSerializer(many=True))})
    def get(self, request: Request) -> Response:
        return Response({"agents": agents()})


class AgentsStatus(View):
    @described("agents_status", {200: shape("ActiveRuns", runs=ActiveRunSerializer(many=True))})
    def get(self, request: Request) -> Response:
        """The user's queued and running runs."""
        return Response({"runs": runs.active(owner(request).pk)})


class Execute(View):
    @described(
        "execute",
        {
            200: ExecutedSerializer,
            202: shape(
                "Executing",
                **{name: serializers.CharField() for name in ("run_id", "thread_id", "message_id", "status")},
            ),
        },
        ExecuteSerializer,
        headers=("Idempotency-Key", "Prefer"),
    )
    def post(self, request: Request) -> Response:
        """Send a message and wait for the end of its run; 202 with `Prefer: respond-async`, or if it takes too long."""
        given = idempotent(request, body(request))
        message = protocol.user_message_fields(given)
        if message.agent is None:
            raise ProtocolError("invalid_message", "agent is required", field="agent")
        done = runs.start(speaker(request), message)
        wishes = re.split(r"[,;\s]+", request.headers.get("Prefer", "").lower())
        patience = 0.0 if "respond-async" in wishes else settings.NETRA_RUN_TIMEOUT
        end = self.end_of(done, patience)
        ids = {"run_id": str(done.run_id), "thread_id": str(done.thread_id)}
        if end is None:
            status = Run.objects.values_list("status", flat=True).get(pk=done.run_id)
            return Response({**ids, "message_id": str(done.message_id), "status": status}, status=202)
        failure = {name: end[name] for name in ("error_code", "message") if name in end}
        answer = {name: end.get(name) for name in ("status", "final_response", "result")}
        return Response({**ids, **answer, **failure})

    def end_of(self, done: runs.Accepted, patience: float) -> dict[str, Any] | None:
        """The event that ended the run, waiting `patience` seconds for it; None too if it was pruned since."""
        log = Event.objects.filter(thread=done.thread_id, seq__gt=done.seq)
        ends = log.filter(run=done.run_id, type__in=TERMINAL).values_list("frame", flat=True)
        deadline, pause = time.monotonic() + patience, 0.02
        going = Run.objects.filter(pk=done.run_id, status__in=Run.ACTIVE)
        while (was_going := going.exists(), frame := ends.first())[1] is None and time.monotonic() < deadline:
            if not was_going:
                break
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return None if frame is None else cast(dict[str, Any], json.loads(frame))


class Metrics(View):
    @described(
        "metrics",
        {
            200: shape(
                "Numbers",
                threads=serializers.IntegerField(),
                messages=serializers.IntegerField(),
                runs=serializers.DictField(child=serializers.IntegerField()),
                tokens=serializers.DictField(child=serializers.IntegerField()),
                cost_usd=serializers.FloatField(),
            )
        },
    )
    def get(self, request: Request) -> Response:
        """The user's own numbers: threads, messages, runs by status; the tokens that these used up, and what they cost
        by list prices, as far as both are known."""
        user = owner(request)
        by_status = Run.objects.for_user(user).values_list("status").annotate(n=Count("pk")).order_by()
        used = list(Run.objects.for_user(user).exclude(usage={}).values_list("usage", flat=True))
        statuses = (*Run.ACTIVE, Run.COMPLETED, Run.FAILED, Run.CANCELLED)
        return Response(
            {
                "threads": Thread.objects.for_user(user).count(),
                "messages": Message.objects.for_user(user).count(),
                "runs": {**dict.fromkeys(statuses, 0), **dict(by_status)},
                "tokens": {kind: int(metrics.total(used, f"{kind}_tokens")) for kind in ("input", "output")},
                "cost_usd": round(metrics.total(used, "cost_usd"), 6),
            }
        )
