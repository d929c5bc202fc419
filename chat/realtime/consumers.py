"""The WebSocket consumer: handshake, authentication and the answers to a client's frames."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, assert_never

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import Error
from django.http.request import split_domain_port, validate_host
from prometheus_client import Gauge
from structlog.contextvars import bind_contextvars

from chat import limits, metrics, protocol, runs
from chat.accounts import authentication
from chat.accounts.authentication import Claims, Identity, KeyClaims
from chat.api import client_ip
from chat.db.access import error_name, from_database, in_database
from chat.limits import address_slots, frame_weight, user_slots
from chat.limits.rates import MESSAGES
from chat.protocol import (
    Ack,
    AgentStatus,
    AnswerInput,
    AnyCommand,
    Authenticate,
    Ping,
    ProtocolError,
    Refused,
    Regenerate,
    Resume,
    StopAgent,
    UserMessage,
)
from chat.realtime import channel_layer
from chat.realtime.connections import ConnectionRegistry
from chat.realtime.event_stream import EventStream
from chat.realtime.sender import FrameSender
from chat.runs.batching import StartBatcher

log = logging.getLogger("netra.socket")

EXPIRY_NOTICE_SECONDS = 60.0  # before the token's end; a third of what is left for a shorter token


class ChatConsumer(AsyncConsumer):  # type: ignore[misc]
    """The connection of one client.

    `registry` reconciles the socket with the event log; `batcher` starts its runs.
    """

    channel_layer_alias = None  # events come from chat.realtime.channel_layer without a channel for each socket

    def __init__(self, registry: ConnectionRegistry, batcher: StartBatcher) -> None:
        self.registry, self.batcher = registry, batcher
        self.connection_id = uuid.uuid4()
        self.fresh_thread = uuid.uuid4()  # of a factory connection's messages that name no thread
        self.mode = ""
        self.identity: Identity | None = None
        self.group = ""  # of the user whose token came, whether it is valid or not
        self.ended: list[dict[str, Any]] = []  # messages about sessions and keys that came during the look-up
        self.counted: Gauge | None = None
        self.frame_limiter = limits.FrameLimiter()
        self.slots: dict[str, int] = {}  # of the user and of the address, which this socket occupies
        self.sender = FrameSender(lambda message: self.base_send(message))
        self.stream = EventStream(self.sender, self._spawn)
        self.timers: list[asyncio.TimerHandle] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message as the base class does, without its hop to the database thread for every frame."""
        if message["type"] == "websocket.receive":
            await self.websocket_receive(message)
        elif message["type"] == "websocket.connect":
            await self.websocket_connect()
        elif message["type"] == "websocket.disconnect":
            await self.websocket_disconnect()

    # ---- handshake ----

    async def websocket_connect(self) -> None:
        """Refuse the handshake, or accept it and authenticate the client or ask it to authenticate."""
        bind_contextvars(connection_id=str(self.connection_id))
        async with self.stream.lock:
            try:
                handshake = self._negotiate()
                found = await self.identify(handshake.token) if handshake.token else None
            except (Refused, authentication.Unauthorized) as refusal:
                log.info("refused %r: %s", self.scope["path"][:100], refusal.reason)
                metrics.REFUSALS.labels(refusal.reason if isinstance(refusal, Refused) else "token").inc()
                await self.sender.close()
                return
            except Error as error:
                log.warning("refused: database: %s", error_name(error))
                metrics.REFUSALS.labels("database").inc()
                await self._accept(handshake)  # a refusal would tell the client that its token is bad
                await self.sender.close(protocol.CLOSE_NOT_READY)
                return
            await self._accept(handshake)
            metrics.HANDSHAKES.labels(self.mode).inc()
            slots = address_slots(client_ip.of_scope(self.scope))
            if not await self._admit(slots | user_slots(found[0].user_id) if found else slots):
                return
            if found is not None:
                await self.open(*found)
                await self.stream.send_outstanding()
                return
        await self.ask_to_authenticate(settings.NETRA_AUTHENTICATE_SECONDS)

    async def ask_to_authenticate(self, seconds: float) -> None:
        """Give the client this many seconds for its first frame."""
        await self.sender.send(protocol.control("auth_required", timeout=seconds))
        self._call_later(seconds, self._reject)

    async def _accept(self, handshake: protocol.Handshake) -> None:
        await self.base_send({"type": "websocket.accept", "subprotocol": handshake.subprotocol})

    def _negotiate(self) -> protocol.Handshake:
        headers = self.scope["headers"]
        self.mode = self.scope["url_route"]["kwargs"]["mode"]
        if not self.mode:
            raise Refused("no such path")
        host, _ = split_domain_port(protocol.host_of(headers))
        if not host or not validate_host(host, settings.ALLOWED_HOSTS):
            raise Refused("host not allowed")
        if not protocol.origin_allowed(headers, settings.ALLOWED_ORIGINS):
            raise Refused("origin not allowed")
        return protocol.negotiate(headers)

    async def _admit(self, slots: dict[str, int]) -> bool:
        if await limits.connection_limiter().acquire(slots):
            self.slots |= slots
            return True
        log.info("closed: too many sockets")
        metrics.REFUSALS.labels("too many sockets").inc()
        await self.sender.close(protocol.CLOSE_TOO_MANY)
        return False

    async def identify(self, token: str) -> tuple[Identity, dict[str, int], int | None, list[str]]:
        """Return what `open` takes, for the owner of the token or API key. The caller holds the stream's lock.

        Raises Unauthorized. What is published from now on is kept until `open`.
        """
        claims = await self._read_key(token) if protocol.is_key(token) else authentication.read_claims(token)
        # Subscribe first, then read the heads: an event in between is in both.
        await self._subscribe(channel_layer.user_group(claims.user_id))
        return await from_database(_admit, claims)

    async def _read_key(self, token: str) -> Claims | KeyClaims:
        try:
            return await authentication.read_key(token, client_ip.of_scope(self.scope))
        except ProtocolError as error:
            raise Refused(error.code) from None

    async def _subscribe(self, group: str) -> None:
        if self.group not in ("", group):  # an earlier token was of another user
            channel_layer.get_layer().unsubscribe(self.group, self.receive)
        self.group = group
        await channel_layer.get_layer().subscribe(group, self.receive)

    async def open(self, identity: Identity, heads: dict[str, int], approvals: int | None, agents: list[str]) -> None:
        """Serve this user, whose threads end at `heads`, from now on. The caller holds the stream's lock."""
        self.identity = identity.speaking(self.scope["headers"])
        bind_contextvars(user_id=identity.user_id)
        log.info("socket opened", extra={"mode": self.mode})
        self.counted = metrics.SOCKETS.labels(self.mode)
        self.counted.inc()
        self.registry.add(self)
        if any(map(identity.ends_with, self.ended)):
            await self.revoke()
            return
        self._watch_expiry(identity)
        await self.greet(identity, heads, approvals, agents)

    async def greet(self, identity: Identity, heads: dict[str, int], approvals: int | None, agents: list[str]) -> None:
        """Begin the stream of events with the first frame of an authenticated socket."""
        self.stream.open(identity.user_id, self.mode, heads)
        await self.sender.send(
            protocol.connection_established(
                connection_id=str(self.connection_id),
                user_id=str(identity.user_id),
                mode=self.mode,
                agents=agents,
                server_time=datetime.now(UTC),
            )
        )
        if approvals is not None:
            await self.sender.send(protocol.control("approvals_changed", open=approvals))

    def _watch_expiry(self, identity: Identity) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        if identity.expires_at is None:
            return
        left = max(0.0, identity.expires_at - time.time())
        expires_at = protocol.timestamp(datetime.fromtimestamp(identity.expires_at, UTC))
        self._call_later(left - min(EXPIRY_NOTICE_SECONDS, left / 3), self.warn_of_expiry, expires_at)
        self._call_later(left, self.sender.close, protocol.CLOSE_UNAUTHORIZED)

    async def warn_of_expiry(self, expires_at: str) -> None:
        """Tell the client that its token ends soon."""
        await self.sender.send(protocol.control("token_expiring", expires_at=expires_at))

    def _call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> None:
        loop = asyncio.get_running_loop()
        self.timers.append(loop.call_later(seconds, lambda: self._spawn(function(*args))))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.add(task := asyncio.get_running_loop().create_task(work))
        task.add_done_callback(self.tasks.discard)
        return task

    async def websocket_disconnect(self) -> None:
        """End the consumer: the client has left."""
        raise StopConsumer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection as an ASGI application."""
        try:
            await super().__call__(scope, receive, send)
        finally:  # also if the server cancels the application
            self.cleanup()

    def cleanup(self) -> None:
        """Release all that the socket holds. It sends nothing more."""
        self.sender.closed = True
        for timer in self.timers:
            timer.cancel()
        for task in self.tasks:
            task.cancel()
        if self.counted is not None:
            self.counted.dec()
            log.info("socket closed", extra={"code": self.sender.code})
        if self.identity is not None:
            self.registry.discard(self)
        if self.group:
            channel_layer.get_layer().unsubscribe(self.group, self.receive)
        limits.connection_limiter().release(self.slots)

    # ---- from the client ----

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Answer one frame of the client."""
        if self.sender.closed:
            return
        self.sender.window.reset_unread()
        metrics.FRAMES_RECEIVED.inc()
        async with self.stream.lock:
            ref = None
            try:
                text = message.get("text")
                if self.identity is None:
                    await self._authenticate_first(text)
                    return
                frame = self._parse(text)
                ref = frame.ref
                if not isinstance(frame, Ack):  # an ack costs less than its refusal
                    self.frame_limiter.acquire(frame_weight(text or "", isinstance(frame, Resume)))
                await self._handle(frame)
            except ProtocolError as error:
                metrics.ERRORS.labels(error.code).inc()
                error.ref = ref if error.ref is None else error.ref
                await self.sender.send(error.frame())
            except Error as error:
                log.warning("database: %s", error_name(error))
                metrics.ERRORS.labels("unavailable").inc()
                gone = ProtocolError("unavailable", "The service is unavailable. Try again.", ref=ref, retry_after=1)
                await self.sender.send(gone.frame())
            except Exception:
                log.exception("a frame could not be answered")
                metrics.ERRORS.labels("unavailable").inc()
                failed = ProtocolError("unavailable", "The frame could not be processed.", ref=ref)
                await self.sender.send(failed.frame())
            await self.stream.send_outstanding()

    async def _authenticate_first(self, text: str | None) -> None:
        for timer in self.timers:  # the frame came in time, however long the database takes
            timer.cancel()
        try:
            frame = protocol.parse(text or "")
            if not isinstance(frame, Authenticate) or protocol.is_key(frame.token):
                raise authentication.Unauthorized("another frame before authenticate, or an API key in it")
            found = await self.identify(frame.token)
        except (ProtocolError, authentication.Unauthorized) as error:
            log.info("not authenticated: %s", error)
            metrics.REFUSALS.labels("token").inc()
            await self._reject()
            return
        except Error:  # the client may try again, but not forever
            self._call_later(settings.NETRA_AUTHENTICATE_SECONDS, self._reject)
            raise
        if await self._admit(user_slots(found[0].user_id)):
            await self._send_authenticated(found[0])
            await self.open(*found)

    async def _reject(self) -> None:
        if self.identity is None:
            await self.sender.send(ProtocolError("unauthorized", "Sign in first.").frame())
            await self.sender.close(protocol.CLOSE_UNAUTHORIZED)

    async def _send_authenticated(self, identity: Identity) -> None:
        assert identity.expires_at is not None  # of a token
        expires_at = protocol.timestamp(datetime.fromtimestamp(identity.expires_at, UTC))
        await self.sender.send(protocol.control("authenticated", user_id=str(identity.user_id), expires_at=expires_at))

    def _parse(self, text: str | None) -> AnyCommand:
        try:
            if not text:
                raise ProtocolError("unsupported_data", "A frame is a JSON object in a text message.")
            return protocol.parse(text)
        except ProtocolError:
            self.frame_limiter.acquire(frame_weight(text or ""))
            raise

    async def _handle(self, frame: AnyCommand) -> None:
        self.owner.check(frame)
        if isinstance(frame, UserMessage | Regenerate):
            await limits.rate_limiter().acquire_async(MESSAGES, self.user_id)
        match frame:
            case UserMessage():
                fresh = self.fresh_thread if self.mode == "factory" else None
                asked = runs.StartRequest(self.user_id, frame, fresh, self.owner.agents, language=self.owner.language)
                await self._send_accepted(await self.batcher.start(asked))
            case Regenerate():
                wanted = self.user_id, frame, self.owner.agents, self.owner.language
                await self._send_accepted(await in_database(runs.regenerate, *wanted))
            case StopAgent():
                one, agents = (frame.run_id, frame.thread_id), self.owner.agents
                ids = [str(run_id) for run_id in await in_database(runs.cancel, self.user_id, *one, agents=agents)]
                await self.sender.send(protocol.control("stop_accepted", run_ids=ids))
            case AnswerInput():
                await self._send_answered(await in_database(runs.answer, runs.answer_of(frame), self.decider("socket")))
            case Resume():
                await self.stream.resume(frame)
            case Ping():
                given = {"id": frame.id, "timestamp": frame.timestamp}
                echo = {name: value for name, value in given.items() if value is not None}
                await self.sender.send(protocol.control(frame.reply_type, **echo))
            case Ack():
                await self.stream.acknowledge(frame.received)
            case AgentStatus():
                await self.sender.send(
                    protocol.control("agent_status", runs=await from_database(runs.active, self.user_id))
                )
            case Authenticate():
                await self._authenticate_again(frame)
            case _:
                assert_never(frame)

    async def _send_accepted(self, accepted: runs.StartedRun) -> None:
        thread, run = str(accepted.thread_id), str(accepted.run_id)
        # A regenerated answer follows a message whose event was sent long ago.
        after = accepted.seq - (accepted.created is not None or accepted.repeated)
        self.stream.subscriptions.add_run(thread, run, after, accepted.repeated)
        await self.sender.send(
            protocol.control(
                "message_accepted",
                client_msg_id=accepted.client_msg_id,
                thread_id=thread,
                message_id=str(accepted.message_id),
                run_id=run,
                seq=accepted.seq,
            )
        )
        if accepted.created is not None:
            await self.stream.deliver(thread, accepted.created[0], run, "message_created", accepted.created[1])

    def decider(self, via: str) -> runs.Decider:
        """Return the user as the person who answers what a run has asked."""
        return runs.Decider(self.user_id, via, self.owner.session_id, client_ip.of_scope(self.scope))

    async def _send_answered(self, answered: runs.AnsweredInput) -> None:
        ids = {name: str(getattr(answered, name)) for name in ("request_id", "run_id", "thread_id")}
        repeated = {"repeated": True} if answered.repeated else {}
        frame = protocol.control("answer_accepted", **ids, status=answered.status, seq=answered.seq, **repeated)
        await self.sender.send(frame)

    async def _authenticate_again(self, frame: Authenticate) -> None:
        try:
            identity = await from_database(authentication.identify, frame.token)
        except authentication.Unauthorized as error:
            log.info("not authenticated again: %s", error.reason)
            raise ProtocolError("unauthorized", "This token is not valid.") from error
        if identity.user_id != self.user_id:
            raise ProtocolError("unauthorized", "This token is not valid.")
        self.identity = identity.speaking(self.scope["headers"])
        self._watch_expiry(identity)
        await self._send_authenticated(identity)

    # ---- from the process: published messages and reconciliation ----

    @property
    def owner(self) -> Identity:
        """The authenticated user, with the session or the API key."""
        assert self.identity is not None
        return self.identity

    @property
    def user_id(self) -> int:
        """The authenticated user."""
        return self.owner.user_id

    async def receive(self, message: dict[str, Any]) -> None:
        """Handle a message that was published to the user's group."""
        if self.sender.closed:
            return
        if message["type"] == "events":
            await self.stream.push(message["events"])
        elif message["type"] == "live":
            await self.stream.push_live(message["deltas"])
        elif message["type"] == "notice":
            if self.stream.is_open:
                await self.sender.send(message["frame"])
        elif message["type"] == "control":
            if self.stream.is_open and self.stream.subscriptions.includes(message["thread"]):
                self.stream.subscriptions.remove_thread(message["thread"])
                if message["thread"] == str(self.fresh_thread):
                    self.fresh_thread = uuid.uuid4()
                await self.sender.send(message["frame"])
        elif message["type"] in ("session_ended", "key_ended"):
            if self.identity is None:
                self.ended.append(message)
            elif self.identity.ends_with(message):
                await self.revoke()

    def active_threads(self) -> set[str]:
        """Return the threads with a run whose end was not sent."""
        return self.stream.active_threads()

    def reconcile(self, heads: dict[str, int]) -> None:
        """Send what the event log has beyond what was sent; `heads` are the last seqs by thread."""
        self.stream.reconcile(heads)

    async def revoke(self) -> None:
        """Close the socket: its session or API key has ended."""
        if not self.sender.closed:
            await self.sender.send(protocol.control("session_revoked"))
            await self.sender.close(protocol.CLOSE_UNAUTHORIZED)


def _admit(claims: Claims | KeyClaims) -> tuple[Identity, dict[str, int], int | None, list[str]]:
    """Return what `open` takes, in one use of the database's thread. Raises Unauthorized."""
    identity, heads, approvals = authentication.admit(claims)
    return identity, heads, approvals, list(runs.agents_for(identity.user_id, identity.agents))
