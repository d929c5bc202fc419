"""REST: the events of a thread, as a page of JSON or as a stream of server-sent events."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.request import Request

from chat import protocol
from chat.accounts.authentication import TokenAuthentication
from chat.accounts.stream_cookies import CookieAuthentication, wants_events
from chat.api.base import identity_of, owner
from chat.api.fields import Id
from chat.api.parsers import number
from chat.api.schema import described
from chat.api.serializers import EventPage
from chat.dialects import COMMENT, sse
from chat.models import Event, Run
from chat.protocol import TERMINAL, ProtocolError
from chat.runs import event_log
from chat.streams.addresses import answer_headers, runs_of
from chat.streams.follower import Follower
from chat.streams.requests import Reader, connection_of
from chat.streams.views import CHUNK, StreamView, streamed

# Milliseconds after which an EventSource comes back, and a comment. Without an empty line: to some clients, the end of
# a block with `retry` in it is an event without data.
HEAD = "retry: 2000\n: netra\n"
MAX_SEQ = 10**18 - 1


class ThreadEvents(StreamView):
    authentication_classes = (TokenAuthentication, CookieAuthentication)

    @described(
        "thread_events",
        {200: EventPage, (200, "text/event-stream"): str},
        query=("after#", "limit#", "until"),
        headers=("Last-Event-ID", "Netra-Disconnect"),
    )
    def get(self, request: Request, thread_id: UUID) -> HttpResponseBase:
        """Return the thread's events after `after`, as a socket gets them.

        With `Accept: text/event-stream`, those after `Last-Event-ID` or else `after`, each with its number as the id,
        and then live; with `until`, up to the end of that run, and 204 to a client that has its end. Events without an
        id are named `resync` and `thread_deleted`, as on the socket.
        """
        after = number(request, "after", 0, 0, MAX_SEQ)
        if wants_events(request):
            return self.follow(request, thread_id, after)
        limit = number(request, "limit", protocol.RESUME_LIMIT, 1, protocol.RESUME_LIMIT)
        log = event_log.replay(owner(request).pk, thread_id, after, limit)
        more = bool(log.rows) and log.rows[-1][0] < log.head
        text = f'{{"events":[{",".join(log.frames)}],"head":{log.head},"more":{json.dumps(more)}}}'
        return HttpResponse(text, content_type="application/json")

    def follow(self, request: Request, thread_id: UUID, after: int) -> HttpResponseBase:
        """Return the stream. Raises ProtocolError."""
        last = request.headers.get("Last-Event-ID", "")
        if last:
            if not (last.isascii() and last.isdecimal() and len(last) < 19):
                raise ProtocolError("invalid_message", "Last-Event-ID must be a number.", field="Last-Event-ID")
            after = int(last)
        event_log.replay(owner(request).pk, thread_id, MAX_SEQ, 0)  # raises not_found
        until, cancels = self.run_of(request, thread_id), self.cancels(request, default=False)
        if cancels and until is None:
            raise ProtocolError("invalid_message", "Netra-Disconnect: cancel needs until.", field="until")
        if until is not None and until.status not in Run.ACTIVE:
            ends = Event.objects.filter(thread=thread_id, run=until.pk, type__in=TERMINAL).values_list("seq", flat=True)
            end = ends.first()
            if end is None or after >= end:
                return HttpResponse(status=204)
        identity = self.admit(request)
        follower = Follower(identity, thread_id, after, self.mode)
        if until is None:
            return streamed(_events(follower, thread_id), answer_headers(thread_id))
        reader = Reader(identity, until.pk, connection_of(request._request), cancels)
        return streamed(_events(follower, thread_id, until.pk, reader), answer_headers(thread_id, until.pk))

    def run_of(self, request: Request, thread_id: UUID) -> Run | None:
        """Return the run that `until` names, None without one. Raises ProtocolError invalid_message, not_found."""
        named = request.query_params.get("until")
        if named is None:
            return None
        try:
            run_id = Id().to_internal_value(named)
        except serializers.ValidationError:
            raise ProtocolError("invalid_message", "until must be a UUID.", field="until") from None
        run = runs_of(identity_of(request)).filter(pk=run_id, thread=thread_id).first()
        if run is None:
            raise ProtocolError("not_found", "There is no such run in this thread.", field="until")
        return run


async def _events(
    follower: Follower, thread_id: UUID, until: UUID | None = None, reader: Reader | None = None
) -> AsyncIterator[str]:
    """Yield the events of the thread, up to the end of the run `until`."""
    yield HEAD
    skipped = 0  # numbers up to here are not sent: the client fetches the thread
    with reader or nullcontext():
        async with follower, aclosing(follower.batches()) as batches:
            async for events in batches:
                text = ""
                if follower.pruned is not None:
                    first, skipped = follower.pruned
                    frame = protocol.control("resync", thread_id=str(thread_id), head=skipped, first=first)
                    text = sse(frame, event="resync")
                for event in events:
                    if event.seq > skipped:
                        text += sse(event.text, id=event.seq)
                    if until is not None and event.run_id == str(until) and event.fields["type"] in TERMINAL:
                        if reader is not None:
                            reader.finish()
                        yield text
                        return
                    if len(text) > CHUNK:
                        yield text
                        text = ""
                yield text or COMMENT
    if follower.ended == "deleted":
        yield sse(protocol.control("thread_deleted", thread_id=str(thread_id)), event="thread_deleted")
