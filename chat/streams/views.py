"""Views that answer with a stream, or wait for a run without holding a thread."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import update_wrapper
from typing import Any, cast
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import limits, protocol
from chat.accounts.authentication import Identity
from chat.api import turns
from chat.api.base import View, identity_of, owner
from chat.api.bodies import MAX_HISTORY
from chat.db.access import from_database
from chat.dialects import COMMENT, Frame, Projection, RunFacts, sse
from chat.limits.rates import MESSAGES
from chat.models import Run
from chat.protocol import KIB, TERMINAL, ProtocolError
from chat.streams.addresses import answer_headers, headers_of, leaving_cancels
from chat.streams.ended import stored_end
from chat.streams.follower import Follower
from chat.streams.requests import Reader, connection_of

MAX_BODY = MAX_HISTORY  # bytes: these clients send their whole history
CHUNK = 64 * KIB  # characters that are sent together

Encode = Callable[[Frame, int], str]


def encode_plain(frame: Frame, number: int) -> str:
    """Return a frame as an event without a name or an id."""
    return sse(frame)


class Deferred(HttpResponse):
    """An incomplete answer of a view: `finish` is awaited for the real one, without the view's thread."""

    def __init__(self, finish: Callable[[], Awaitable[HttpResponseBase]], reader: Reader) -> None:
        super().__init__()
        self.finish, self.reader = finish, reader


class StreamView(View):
    """A view whose handlers are ordinary ones of REST, and may return `self.stream(...)` or `self.wait(...)`.

    `mode` names the dialect in the metrics. Bodies have up to MAX_BODY bytes (`self.read`); netra/asgi.py must know
    the path by chat/api/bodies.py. Errors before a stream are those of REST.
    """

    mode = "sse"

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return an asynchronous view, so that a request that waits needs no thread's work."""
        view = super().as_view(**initkwargs)

        async def following(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            # Also if the client leaves meanwhile: a run that was started must have its reader.
            work = asyncio.ensure_future(sync_to_async(view, thread_sensitive=True)(request, *args, **kwargs))
            try:
                response = await asyncio.shield(work)
            except asyncio.CancelledError:
                work.add_done_callback(_abandon)
                raise
            return await response.finish() if isinstance(response, Deferred) else response

        return update_wrapper(following, view)

    def cancels(self, request: Request, default: bool) -> bool:
        """Return whether a client that leaves means stop: see `leaving_cancels`."""
        return leaving_cancels(request.headers.get("Netra-Disconnect"), identity_of(request), default)

    def admit(self, request: Request) -> Identity:
        """Count the request as an open stream of its user. Raises ProtocolError rate_limited."""
        connection_of(request._request).acquire(request._request, owner(request).pk)
        return identity_of(request)

    def count_message(self, request: Request) -> int:
        """Count a message of the user and return the user's id. Raises ProtocolError rate_limited."""
        limits.rate_limiter().acquire(MESSAGES, owner(request).pk)
        return owner(request).pk

    def read(self, request: Request, needed: bool = True) -> dict[str, Any]:
        """Return the JSON object of the body; {} for an empty one if none is `needed`.

        Raises ProtocolError invalid_json, invalid_message, too_large.
        """
        raw = request._request.read()
        data = protocol.loads(raw, MAX_BODY) if raw or needed else {}
        if not isinstance(data, dict):
            raise ProtocolError("invalid_message", "The body must be a JSON object.")
        return data

    def stream(
        self,
        request: Request,
        run: Run,
        facts: RunFacts,
        projection: Projection,
        *,
        encode: Encode = encode_plain,
        after: int = -1,
        cancels: bool = False,
        headers: Mapping[str, str] | None = None,
        cut: str = "",
    ) -> HttpResponseBase:
        """Return the frames of the run as server-sent events: those numbered above `after`, from 0 without a gap.

        `encode` is called with each frame and its number; "" is not sent. `cancels`: a client that leaves stops the
        run. `cut` is the text that ends a stream whose credential ends before the run. `admit` was called.
        """
        identity, connection = identity_of(request), connection_of(request._request)
        follower = Follower(identity, run.thread_id, run.thread_seq - 1, self.mode)
        reader = Reader(identity, run.pk, connection, cancels)
        frames = frames_of(follower, run, projection, reader)

        async def text() -> AsyncIterator[str]:
            async with aclosing(_encoded(frames, encode, after)) as pieces:
                async for piece in pieces:
                    yield piece
            if cut and not projection.ended:
                yield cut

        response = streamed(text(), {**headers_of(facts), **(headers or {})})
        response.reader = reader  # type: ignore[attr-defined]
        return response

    def wait(
        self,
        request: Request,
        run: Run,
        facts: RunFacts,
        projection: Projection,
        answer: Callable[[], HttpResponseBase],
        *,
        cancels: bool = False,
    ) -> HttpResponseBase:
        """Return, once the projection has ended, what `answer` makes of it. `cancels`: as in `stream`.

        The answer is unauthorized if the reader's credential ends before the run.
        """
        identity, connection = identity_of(request), connection_of(request._request)
        follower = Follower(identity, run.thread_id, run.thread_seq - 1, self.mode)
        reader = Reader(identity, run.pk, connection, cancels)

        async def finish() -> HttpResponseBase:
            async with aclosing(frames_of(follower, run, projection, reader)) as frames:
                async for _ in frames:
                    pass
            if not projection.ended:
                return self.refuse(ProtocolError("unauthorized", "The credential has ended."))
            response = answer()
            for name, value in headers_of(facts).items():
                response[name] = value
            return response

        turns.end()
        return Deferred(finish, reader)

    def refuse(self, error: ProtocolError) -> HttpResponseBase:
        """Return the answer to an error, in the view's shape."""
        handler = self.get_exception_handler()
        return cast(HttpResponseBase, handler(error, self.get_exception_handler_context()))


def streamed(text: AsyncIterator[str], headers: Mapping[str, str]) -> StreamingHttpResponse:
    """Return a response of server-sent events; it holds no thread and no connection of the database."""
    turns.end()
    response = StreamingHttpResponse(text, content_type="text/event-stream; charset=utf-8")
    for name, value in headers.items():
        response[name] = value
    return response


def stopped(thread_id: UUID, run_ids: Sequence[UUID]) -> Response:
    """Return the answer to a client's stop button, about the first of the runs that it has ended."""
    headers = answer_headers(thread_id, next(iter(run_ids), None))
    return Response({"run_ids": [str(run_id) for run_id in run_ids]}, status=202, headers=headers)


def _abandon(work: "asyncio.Future[Any]") -> None:
    """Let the reader of an answer leave that the client did not wait for."""
    reader = None if work.cancelled() or work.exception() else getattr(work.result(), "reader", None)
    if reader is not None:
        with reader:
            pass


async def frames_of(
    follower: Follower, run: Run, projection: Projection, reader: Reader
) -> AsyncGenerator[list[Frame] | None]:
    """Yield the frames of the run in lists, and None where none came for a while."""
    with reader:
        yield projection.begin()
        async with follower, aclosing(follower.batches()) as batches:
            async for events in batches:
                found = [event.fields for event in events if event.run_id == str(run.pk)]
                if follower.pruned and (end := await from_database(stored_end, run)):
                    found = [event for event in found if event["type"] not in TERMINAL] + [json.loads(end)]
                frames: list[Frame] = []
                for event in found:
                    if not projection.ended:
                        frames += projection.feed(event)
                if projection.ended:
                    reader.finish()
                yield frames if events or frames else None
                if projection.ended:
                    return
        # A deleted thread has no log any more; its runs were cancelled.
        if follower.ended == "deleted" and (end := await from_database(_deleted_end, run)):
            reader.finish()
            yield projection.feed(json.loads(end))


def _deleted_end(run: Run) -> str | None:
    with suppress(Run.DoesNotExist):  # gone with its user
        return stored_end(run)
    return None


async def _encoded(frames: AsyncGenerator[list[Frame] | None], encode: Encode, after: int) -> AsyncGenerator[str]:
    number = 0
    async with aclosing(frames):
        yield COMMENT
        async for batch in frames:
            if batch is None:
                yield COMMENT
                continue
            text = ""
            for frame in batch:
                if number > after:
                    text += encode(frame, number)
                number += 1
                if len(text) > CHUNK:
                    yield text
                    text = ""
            # Events without a frame, as of the run that this one waits for, may come for long without a pause.
            yield text or COMMENT


__all__ = ["CHUNK", "MAX_BODY", "Deferred", "Encode", "StreamView", "encode_plain", "frames_of", "stopped", "streamed"]
