"""The WebSocket of AI SDK clients: chunks of several requests on one socket."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, assert_never

from django.conf import settings
from django.db import Error

from chat import limits, metrics, protocol, runs
from chat.accounts import authentication
from chat.accounts.authentication import Identity, Unauthorized
from chat.aisdk.frames import (
    SESSION_ENDED,
    AbortFrame,
    AnyFrame,
    Envelope,
    ResumeFrame,
    SendFrame,
    client_frame,
    envelope,
    frame_text,
)
from chat.aisdk.requests import Opened, open_chat, resumable
from chat.api.bodies import MAX_HISTORY
from chat.api.messages import client_msg_id_of
from chat.db.access import error_name, from_database, in_database
from chat.limits import user_slots
from chat.limits.rates import MESSAGES
from chat.protocol import MAX_FRAME, MAX_UNREAD, ProtocolError, Refused
from chat.realtime.consumers import ChatConsumer
from chat.realtime.daphne_writer import PING, PONG
from chat.streams.addresses import leaving_cancels
from chat.streams.follower import Follower
from chat.streams.requests import Connection, Reader
from chat.streams.views import frames_of

log = logging.getLogger("netra.socket")

MAX_REQUESTS = 50  # under way on one socket
PING_BYTES = MAX_UNREAD // 8  # sent since the last ping, after which another one is sent
PAUSE_BYTES = MAX_UNREAD // 2  # unread, above which nothing is sent until the client answers a ping
UNREAD_SECONDS = 60.0  # after which such a client is closed


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A request whose chunks are sent by a task. `stops`: its `abort` stops the run."""

    opened: Opened
    stops: bool
    task: asyncio.Task[None]


class AiSdkConsumer(ChatConsumer):
    """The connection of one AI SDK client.

    Nothing is sent but answers to its requests: the client fails on a frame without a `requestId`. It sends no
    heartbeat either, so the answer to a WebSocket ping counts as a frame of the client.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._credential: str | None = None  # that the client's frames bear
        self._under_way: dict[str, UnderWay] = {}  # by request
        self._unread = self._unpinged = 0  # bytes since the client last read all; since the last ping
        self._has_read = asyncio.Event()
        self._connection = Connection()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message; an answered ping says that the client has read everything before it."""
        if message["type"] == PONG:
            self._note_read()
        else:
            await super().dispatch(message)

    async def websocket_disconnect(self) -> None:
        """End the consumer, and note it if the client has left."""
        self._connection.has_left = not self.sender.closed
        await super().websocket_disconnect()

    def _note_read(self) -> None:
        self._unread = 0
        self.sender.window.reset_unread()
        self._has_read.set()

    # ---- authentication ----

    async def ask_to_authenticate(self, seconds: float) -> None:
        """Close the socket if no frame with a good credential comes in this time."""
        self._call_later(seconds, self._reject)

    async def greet(self, identity: Identity, heads: dict[str, int], approvals: int | None, agents: list[str]) -> None:
        """Send nothing: the client speaks first."""

    async def warn_of_expiry(self, expires_at: str) -> None:
        """Send nothing: the client brings a new token with its next request."""

    async def _reject(self) -> None:
        if self.identity is None:
            await self.sender.close(protocol.CLOSE_UNAUTHORIZED)

    async def revoke(self) -> None:
        """Close the socket: its session or API key has ended."""
        await self.sender.close(protocol.CLOSE_UNAUTHORIZED)

    async def _authenticate(self, frame: Envelope) -> bool:
        """Take the credential of a frame, if it has a new one. Return False if it is bad: the socket is closed then."""
        given = frame.header("Authorization")
        if given is None and self.identity is None:
            return await self._refuse(frame, Unauthorized("no credential in the first frame"))
        if given is None or given == self._credential:
            return True
        try:
            token = authentication.read_token([(b"authorization", given.encode("latin-1", "replace"))])
            if token is None:
                raise Unauthorized("no token in the header of a frame")
            if self.identity is None:
                for timer in self.timers:
                    timer.cancel()
                found = await self.identify(token)
                if not await self._admit(user_slots(found[0].user_id)):
                    return False
                await self.open(*found)
            else:
                await self._renew(token)
        except (Refused, Unauthorized) as error:
            return await self._refuse(frame, error)
        except Error:
            if self.identity is None:
                self._call_later(settings.NETRA_AUTHENTICATE_SECONDS, self._reject)
            raise
        self._credential = given
        return not self.sender.closed

    async def _renew(self, token: str) -> None:
        """Go on with another credential of the same user. Raises Refused and Unauthorized."""
        claims = await self._read_key(token) if protocol.is_key(token) else authentication.read_claims(token)
        identity, *_ = await from_database(authentication.admit, claims)
        if identity.user_id != self.user_id:
            raise Unauthorized("a token of another user")
        self.identity = identity.speaking(self.scope["headers"])
        self._watch_expiry(identity)

    async def _refuse(self, frame: Envelope, error: Refused | Unauthorized) -> bool:
        log.info("not authenticated: %s", error.reason)
        metrics.REFUSALS.labels("token").inc()
        await self._send(frame.request_id, "error", errorText="Sign in first.")
        await self.sender.close(protocol.CLOSE_UNAUTHORIZED)
        return False

    # ---- from the client ----

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Answer one frame of the client."""
        if self.sender.closed:
            return
        self._note_read()
        metrics.FRAMES_RECEIVED.inc()
        request_id = ""
        async with self.stream.lock:
            try:
                text = message.get("text")
                if not text:
                    raise ProtocolError("unsupported_data", "A frame is a JSON object in a text message.")
                self.frame_limiter.acquire(1 + len(text) // MAX_FRAME)
                data = protocol.loads(text, MAX_HISTORY)
                if not isinstance(data, dict):
                    raise ProtocolError("invalid_message", "A frame must be a JSON object")
                request_id = given if isinstance(given := data.get("requestId"), str) else ""
                if await self._authenticate(envelope(data)):
                    await self._handle_frame(client_frame(data))
            except ProtocolError as error:
                metrics.ERRORS.labels(error.code).inc()
                await self._send(request_id, "error", errorText=error.message)
            except Error as error:
                log.warning("database: %s", error_name(error))
                metrics.ERRORS.labels("unavailable").inc()
                await self._send(request_id, "error", errorText="The service is unavailable. Try again.")
            except Exception:
                log.exception("a frame could not be answered")
                metrics.ERRORS.labels("unavailable").inc()
                await self._send(request_id, "error", errorText="The frame could not be processed.")

    async def _handle_frame(self, frame: AnyFrame) -> None:
        if not isinstance(frame, ResumeFrame):
            self.owner.check_write()
        match frame:
            case SendFrame():
                self._check_new(frame.request_id)
                leaving = self._leaving(frame)
                client_msg_id = client_msg_id_of(frame.header("Idempotency-Key"))
                await limits.rate_limiter().acquire_async(MESSAGES, self.user_id)
                decider = self.decider("aisdk")
                opened = await in_database(open_chat, self.owner, frame, None, client_msg_id, decider)
                self._follow(frame.request_id, opened, opened.after + 1, leaving)
            case ResumeFrame():
                self._check_new(frame.request_id)
                leaving = self._leaving(frame)
                found = await from_database(resumable, self.owner, frame.id)
                if found is None:
                    await self._send(frame.request_id, "no-active")
                    return
                await self._send(frame.request_id, "start")
                self._follow(frame.request_id, Opened(found.run, frame.last_sequence, found.known), 0, leaving)
            case AbortFrame():
                if (aborted := self._under_way.get(frame.request_id)) is not None:
                    if aborted.stops:
                        await in_database(runs.cancel, self.user_id, aborted.opened.run.pk)
                    else:
                        await self._leave(frame.request_id, aborted.task)
            case _:
                assert_never(frame)

    def _check_new(self, request_id: str) -> None:
        if request_id in self._under_way:
            raise ProtocolError("conflict", "This requestId is under way.", field="requestId")
        if len(self._under_way) >= MAX_REQUESTS:
            raise ProtocolError("rate_limited", "Too many requests are under way on this socket.")

    # ---- to the client ----

    def _leaving(self, frame: Envelope) -> tuple[bool, bool]:
        """Return whether a lost socket stops the run of a request, and if its `abort` does. Raises ProtocolError."""
        given = frame.header("Netra-Disconnect")
        return leaving_cancels(given, self.owner, default=False), leaving_cancels(given, self.owner, default=True)

    def _follow(self, request_id: str, opened: Opened, first: int, leaving: tuple[bool, bool]) -> None:
        cancels, stops = leaving
        task = self._spawn(self._answer(request_id, opened, first, cancels))
        self._under_way[request_id] = UnderWay(opened, stops, task)

    async def _leave(self, request_id: str, task: asyncio.Task[None]) -> None:
        """Send no more chunks of a request."""
        task.cancel()
        await asyncio.wait([task])
        self._under_way.pop(request_id, None)  # of a task that had not begun

    async def _answer(self, request_id: str, opened: Opened, first: int, cancels: bool) -> None:
        """Send the frames of a request, whatever happens to its stream."""
        try:
            await self._stream(request_id, opened, first, cancels)
        except Exception:
            log.exception("a request could not be streamed")
            metrics.ERRORS.labels("unavailable").inc()
            await self._send(request_id, "error", errorText="The service is unavailable. Resume the chat.")
        finally:
            del self._under_way[request_id]

    async def _stream(self, request_id: str, opened: Opened, first: int, cancels: bool) -> None:
        """Send the chunks of a run above the number `opened.after`, and `end`; the sequence of chunk `first` is 0.

        `cancels`: a client whose socket is lost stops the run.
        """
        run, number = opened.run, 0
        # The socket closes when its token ends, unless another frame has renewed it by then.
        reading = replace(self.owner, expires_at=None)
        projection, reader = opened.projection(), Reader(reading, run.pk, self._connection, cancels)
        follower = Follower(reading, run.thread_id, run.thread_seq - 1, self.mode)
        async with aclosing(frames_of(follower, run, projection, reader)) as batches:
            async for frames in batches:
                for frame in frames or ():
                    if isinstance(frame, str):  # the end of a stream over HTTP
                        continue
                    if number > opened.after:
                        await self._wait_until_read()
                        await self._send(request_id, "chunk", sequence=number - first, chunk=frame)
                    number += 1
        if projection.ended:
            await self._send(request_id, "end")
        else:  # a session may also end whose token was renewed by that of another one
            deleted = follower.ended == "deleted"
            text = "This chat was deleted." if deleted else SESSION_ENDED
            await self._send(request_id, "error", errorText=text)

    async def _send(self, request_id: str, kind: str, **fields: Any) -> None:
        text = frame_text(request_id, kind, **fields)
        await self.sender.send(text)
        if self._ping is None:  # other servers wait in `send` for the client
            self.sender.window.reset_unread()
            return
        self._unread += len(text)
        self._unpinged += len(text)
        if self._unpinged > PING_BYTES:
            self._unpinged = 0
            self._ping()

    @property
    def _ping(self) -> Callable[[], None] | None:
        found: Callable[[], None] | None = self.scope.get(PING)
        return found

    async def _wait_until_read(self) -> None:
        """Wait while the client has too much unread; close the socket if that lasts."""
        while self._unread > PAUSE_BYTES and not self.sender.closed:
            self._has_read.clear()
            try:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self._has_read.wait()
            except TimeoutError:
                await self.sender.close(protocol.CLOSE_TOO_SLOW)

    # ---- from the process ----

    async def receive(self, message: dict[str, Any]) -> None:
        """Handle the end of a session or API key. The events come through the followers of the requests."""
        if message["type"] in ("session_ended", "key_ended") and not self.sender.closed:
            if self.identity is None:
                self.ended.append(message)
            elif self.identity.ends_with(message):
                await self.revoke()

    def active_threads(self) -> set[str]:
        """Return none: the followers are reconciled by themselves."""
        return set()

    def reconcile(self, heads: dict[str, int]) -> None:
        """Do nothing: see `active_threads`."""
