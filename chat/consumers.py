"""The pipe between a socket, the protocol and the record."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, assert_never
from urllib.parse import unquote

from autobahn.exception import Disconnected
from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import Error
from django.http.request import split_domain_port, validate_host
from prometheus_client import Gauge
from structlog.contextvars import bind_contextvars

from chat import auth, events, layer, limits, metrics, protocol, runs, sockets, starts
from chat.auth import Identity
from chat.database import from_database, in_database
from chat.delivery import Delivery, Window
from chat.protocol import (
    Ack,
    AgentStatus,
    Authenticate,
    Frame,
    Ping,
    ProtocolError,
    Refused,
    Regenerate,
    Resume,
    StopAgent,
    UserMessage,
)

log = logging.getLogger("netra.socket")

PAGE_BYTES = protocol.MAX_AHEAD // 2  # of one answer to `resume`; what is more is left to the next
FIRST_PAGE, PAGE = 50, 500  # rows of the log read at once: the first few are on their way before the rest is read
EXPIRY_NOTICE = 60.0  # seconds before the token's end
INBOX = 500  # events that wait while a frame is answered; more of them are read from the log instead


class ChatConsumer(AsyncConsumer):  # type: ignore[misc]
    channel_layer_alias = None  # signals come through chat.layer, one listener a process

    def __init__(self) -> None:
        self.connection_id = uuid.uuid4()
        self.fresh_thread = uuid.uuid4()  # where a factory connection's messages go that name no thread
        self.mode = ""
        self.identity: Identity | None = None
        self.code: int | None = None  # with which it was closed from here
        self.counted: Gauge | None = None
        self.delivery: Delivery | None = None
        self.window = Window()
        self.pace = limits.Pace()
        self.places: dict[str, int] = {}  # that this socket takes up among those of its user and its address
        self.lock = asyncio.Lock()  # held while a frame is answered or the log is read: one order of sending
        self.inbox: list[list[Any]] = []  # live events that came while the lock was held
        self.postponed: dict[uuid.UUID, Resume] = {}  # pages that wait for an ack
        self.closed = False
        self.timers: list[asyncio.TimerHandle] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As in the base class, without its hop to the database's thread for every frame."""
        if message["type"] == "websocket.receive":
            await self.websocket_receive(message)
        elif message["type"] == "websocket.connect":
            await self.websocket_connect()
        elif message["type"] == "websocket.disconnect":
            await self.websocket_disconnect()

    # ---- handshake ----

    async def websocket_connect(self) -> None:
        bind_contextvars(connection_id=str(self.connection_id))
        try:
            handshake = self._negotiate()
            identity = await from_database(auth.identify, handshake.token) if handshake.token else None
        except (Refused, auth.Unauthorized) as refusal:
            log.info("refused %r: %s", self.scope["path"][:100], refusal.reason)
            metrics.REFUSALS.labels(refusal.reason if isinstance(refusal, Refused) else "token").inc()
            await self._close()
            return
        except Error as error:
            log.warning("refused: database: %s", type(error).__name__)
            metrics.REFUSALS.labels("database").inc()
            await self._close()
            return
        await self.base_send({"type": "websocket.accept", "subprotocol": handshake.subprotocol})
        metrics.HANDSHAKES.labels(self.mode).inc()
        if not await self._admit(self._places(identity)):
            return
        if identity is not None:
            async with self.lock:
                await self._enter(identity)
                await self._settle()
        else:
            timeout = settings.NETRA_AUTHENTICATE_SECONDS
            await self._send(protocol.control("auth_required", timeout=timeout))
            self._later(timeout, self._reject)

    def _negotiate(self) -> protocol.Handshake:
        headers = self.scope["headers"]
        self.mode = protocol.MODES.get(unquote(self.scope["path"]), "")
        if not self.mode:
            raise Refused("no such path")
        host, _ = split_domain_port(protocol.host_of(headers))
        if not host or not validate_host(host, settings.ALLOWED_HOSTS):
            raise Refused("host not allowed")
        if not protocol.origin_allowed(headers, settings.ALLOWED_ORIGINS):
            raise Refused("origin not allowed")
        return protocol.negotiate(headers)

    def _places(self, identity: Identity | None) -> dict[str, int]:
        forwarded = b",".join(value for name, value in self.scope["headers"] if name == b"x-forwarded-for")
        address = limits.address((self.scope.get("client") or ("",))[0], forwarded.decode("latin-1"))
        return limits.of_address(address) | (limits.of_user(identity.user_id) if identity else {})

    async def _admit(self, places: dict[str, int]) -> bool:
        if await limits.admit(places):
            self.places |= places
            return True
        log.info("closed: too many sockets")
        metrics.REFUSALS.labels("too many sockets").inc()
        await self._close(protocol.CLOSE_TOO_MANY)
        return False

    async def _enter(self, identity: Identity) -> None:
        self.identity = identity
        bind_contextvars(user_id=identity.user_id)
        log.info("socket opened", extra={"mode": self.mode})
        self.counted = metrics.SOCKETS.labels(self.mode)
        self.counted.inc()
        # First the group, then the log: what is said in between is in both.
        await layer.join(layer.user_group(identity.user_id), self.hear)
        sockets.add(self)
        try:
            heads = await from_database(events.heads, identity.user_id)
        except Error as error:
            log.warning("database: %s; a socket is not served", type(error).__name__)
            await self._close(protocol.CLOSE_NOT_READY)
            return
        self.delivery = Delivery(self.mode, heads)
        self._watch_expiry(identity)
        await self._send(
            protocol.connection_established(
                connection_id=str(self.connection_id),
                user_id=str(identity.user_id),
                mode=self.mode,
                agents=list(settings.AGENTS),
                server_time=datetime.now(UTC),
            )
        )

    def _watch_expiry(self, identity: Identity) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        left = max(0.0, identity.expires_at - time.time())
        expires_at = protocol.timestamp(datetime.fromtimestamp(identity.expires_at, UTC))
        notice = protocol.control("token_expiring", expires_at=expires_at)
        self._later(left - min(EXPIRY_NOTICE, left / 3), self._send, notice)
        self._later(left, self._close, protocol.CLOSE_UNAUTHORIZED)

    def _later(self, seconds: float, function: Callable[..., Any], *args: Any) -> None:
        loop = asyncio.get_running_loop()
        self.timers.append(loop.call_later(seconds, lambda: self._spawn(function(*args))))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def websocket_disconnect(self) -> None:
        raise StopConsumer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # also where the server gave up waiting for it
            self.closed = True
            for timer in self.timers:
                timer.cancel()
            for task in self.tasks:
                task.cancel()
            if self.counted is not None:
                self.counted.dec()
                log.info("socket closed", extra={"code": self.code})
            if self.identity is not None:
                sockets.discard(self)
                layer.leave(layer.user_group(self.identity.user_id), self.hear)
            limits.leave(self.places)

    # ---- from the client ----

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        if self.closed:
            return
        self.window.heard()
        metrics.FRAMES_RECEIVED.inc()
        async with self.lock:
            ref = None
            try:
                text = message.get("text")
                if self.identity is None:
                    await self._authenticate_first(text)
                    return
                frame = self._parse(text)
                ref = getattr(frame, "ref", None)
                if not isinstance(frame, Ack):  # it costs less than to refuse it
                    self.pace.spend(limits.weight(text or "", isinstance(frame, Resume)))
                await self._obey(frame)
            except ProtocolError as error:
                metrics.ERRORS.labels(error.code).inc()
                error.ref = ref if error.ref is None else error.ref
                await self._send(error.frame())
            except Error as error:
                log.warning("database: %s", type(error).__name__)
                metrics.ERRORS.labels("unavailable").inc()
                await self._send(
                    ProtocolError("unavailable", "Not just now. Try again.", ref=ref, retry_after=1).frame()
                )
            except Exception:
                log.exception("a frame could not be answered")
                metrics.ERRORS.labels("unavailable").inc()
                await self._send(ProtocolError("unavailable", "This could not be answered.", ref=ref).frame())
            await self._settle()

    async def _authenticate_first(self, text: str | None) -> None:
        for timer in self.timers:  # it came in time, however long it takes to be looked up
            timer.cancel()
        try:
            frame = protocol.parse(text or "")
            if not isinstance(frame, Authenticate):
                raise auth.Unauthorized("another frame before authenticate")
            identity = await from_database(auth.identify, frame.token)
        except (ProtocolError, auth.Unauthorized) as error:
            log.info("not authenticated: %s", error)
            metrics.REFUSALS.labels("token").inc()
            await self._reject()
            return
        except Error:  # it may try again, but not for ever
            self._later(settings.NETRA_AUTHENTICATE_SECONDS, self._reject)
            raise
        if await self._admit(limits.of_user(identity.user_id)):
            await self._send_authenticated(identity)
            await self._enter(identity)

    async def _reject(self) -> None:
        if self.identity is None:
            await self._send(ProtocolError("unauthorized", "Sign in first.").frame())
            await self._close(protocol.CLOSE_UNAUTHORIZED)

    async def _send_authenticated(self, identity: Identity) -> None:
        expires_at = protocol.timestamp(datetime.fromtimestamp(identity.expires_at, UTC))
        await self._send(protocol.control("authenticated", user_id=str(identity.user_id), expires_at=expires_at))

    def _parse(self, text: str | None) -> Frame:
        try:
            if not text:
                raise ProtocolError("unsupported_data", "A frame is a JSON object in a text message.")
            return protocol.parse(text)
        except ProtocolError:
            self.pace.spend(limits.weight(text or ""))
            raise

    async def _obey(self, frame: Frame) -> None:
        if isinstance(frame, UserMessage | Regenerate):
            await limits.MESSAGES.spend(self.user_id)
        match frame:
            case UserMessage():
                fresh = self.fresh_thread if self.mode == "factory" else None
                await self._accepted(await starts.start(runs.Asked(self.user_id, frame, fresh)))
            case Regenerate():
                await self._accepted(await in_database(runs.regenerate, self.user_id, frame))
            case StopAgent():
                ended = await in_database(runs.cancel, self.user_id, frame.run_id, frame.thread_id)
                await self._send(protocol.control("stop_accepted", run_ids=[str(run_id) for run_id in ended]))
            case Resume():
                await self._resume(frame)
            case Ping():
                echo = {"id": frame.id, "timestamp": frame.timestamp}
                await self._send(protocol.control(frame.reply_type, **{k: v for k, v in echo.items() if v is not None}))
            case Ack():
                self.window.acked(frame.received)
                waiting, self.postponed = self.postponed, {}
                for resume in waiting.values():
                    await self._resume(resume)
            case AgentStatus():
                await self._send(protocol.control("agent_status", runs=await from_database(runs.active, self.user_id)))
            case Authenticate():
                await self._authenticate_again(frame)
            case _:
                assert_never(frame)

    async def _accepted(self, accepted: runs.Accepted) -> None:
        thread, run = str(accepted.thread_id), str(accepted.run_id)
        # What a regenerated answer follows had its event long ago.
        after = accepted.seq - (accepted.created is not None or accepted.repeated)
        self._delivery.started(thread, run, after, accepted.repeated)
        await self._send(
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
            await self._deliver(thread, accepted.created[0], run, False, accepted.created[1])

    async def _authenticate_again(self, frame: Authenticate) -> None:
        try:
            identity = await from_database(auth.identify, frame.token)
        except auth.Unauthorized as error:
            log.info("not authenticated again: %s", error.reason)
            raise ProtocolError("unauthorized", "This token is not valid.") from error
        if identity.user_id != self.user_id:
            raise ProtocolError("unauthorized", "This token is not valid.")
        self.identity = identity
        self._watch_expiry(identity)
        await self._send_authenticated(identity)

    # ---- from the log ----

    async def _resume(self, frame: Resume) -> None:
        delivery, thread = self._delivery, str(frame.thread_id)
        own = delivery.own_runs(thread)
        page = await from_database(
            events.replay, self.user_id, frame.thread_id, frame.after, min(frame.limit, FIRST_PAGE), own
        )
        delivery.named(thread)
        if page.rows and not self.window.fits(page.rows[0][3]):
            delivery.paused.add(thread)
            self.postponed[frame.thread_id] = frame
            return
        delivery.paused.discard(thread)
        delivery.behind.discard(thread)
        pruned = own is None and frame.after < page.head and page.first > frame.after + 1
        if pruned or frame.after > page.head:
            delivery.move(thread, page.head)
            metrics.RESYNC.inc()
            await self._send(protocol.control("resync", thread_id=thread, head=page.head, first=page.first))
            return
        delivery.move(thread, frame.after)
        rows, left, asked, bytes_sent = page.rows, frame.limit, min(frame.limit, FIRST_PAGE), 0
        while True:
            for seq, run, kind, text in rows:
                if bytes_sent > PAGE_BYTES or not self.window.fits(text):
                    left = 0
                    break
                await self._send_event(thread, seq, run, kind in protocol.TERMINAL, text)
                bytes_sent += len(text)
                left -= 1
            if left <= 0 or len(rows) < asked:
                break
            asked = min(left, PAGE)
            rows = await from_database(events.read, frame.thread_id, delivery.cursor(thread), asked, own)
        after = delivery.cursor(thread)
        more = left <= 0 and bool(await from_database(events.read, frame.thread_id, after, 1, own))
        if more:
            delivery.paused.add(thread)
        head = max(page.head, after)
        metrics.RESUMED.inc()
        await self._send(protocol.control("resumed", thread_id=thread, after=after, head=head, more=more))

    async def _settle(self) -> None:
        """Send what came while the lock was held, and read from the log what could not be sent. The lock is held."""
        delivery = self.delivery
        while delivery is not None and not self.closed:
            inbox, self.inbox = self.inbox, []
            for event in inbox:
                await self._deliver(*event)
            delivery.behind -= delivery.paused  # the client asks for those itself
            if not delivery.behind:
                return
            thread = delivery.behind.pop()
            own = delivery.own_runs(thread)
            try:
                rows = await from_database(events.read, uuid.UUID(thread), delivery.cursor(thread), PAGE, own)
            except Error as error:
                log.warning("database: %s; a socket is compared later", type(error).__name__)
                delivery.behind.add(thread)
                return
            if rows:
                metrics.GAPS_HEALED.inc()
            for seq, run, kind, text in rows:
                if not self.window.fits(text):  # until the next ack
                    delivery.behind.add(thread)
                    return
                await self._send_event(thread, seq, run, kind in protocol.TERMINAL, text)
            if len(rows) == PAGE:
                delivery.behind.add(thread)

    async def _catch_up(self) -> None:
        async with self.lock:
            await self._settle()

    # ---- from the process: signals and comparisons ----

    @property
    def user_id(self) -> int:
        assert self.identity is not None
        return self.identity.user_id

    @property
    def session_id(self) -> uuid.UUID:
        assert self.identity is not None
        return self.identity.session_id

    @property
    def _delivery(self) -> Delivery:
        assert self.delivery is not None
        return self.delivery

    async def hear(self, message: dict[str, Any]) -> None:
        """A signal of the user's group."""
        if self.closed:
            return
        if message["type"] == "events":
            if self.lock.locked():  # also while it enters: what comes after the heads were read must not be missed
                self._keep(message["events"])
                return
            if self.delivery is None:
                return
            for event in message["events"]:
                await self._deliver(*event)
            if self.delivery.behind:
                self._spawn(self._catch_up())
        elif message["type"] == "control":
            if self.delivery is not None and self.delivery.wants(message["thread"]):
                self.delivery.forget(message["thread"])
                if message["thread"] == str(self.fresh_thread):
                    self.fresh_thread = uuid.uuid4()
                await self._send(message["frame"])
        elif message["type"] == "session_ended" and message["session"] in (None, str(self.session_id)):
            await self.revoke()

    def _keep(self, events: list[list[Any]]) -> None:
        self.inbox.extend(events)
        if len(self.inbox) > INBOX and self.delivery is not None:
            delivery = self.delivery
            delivery.behind.update(event[0] for event in self.inbox if delivery.wants(event[0], event[2]))
            self.inbox.clear()

    async def _deliver(self, thread: str, seq: int, run: str, ends: bool, text: str) -> None:
        delivery = self._delivery
        if delivery.offer(thread, seq, run):
            if self.window.fits(text):
                await self._send_event(thread, seq, run, ends, text)
            else:
                delivery.behind.add(thread)

    def active_threads(self) -> set[str]:
        return set(self.delivery.live) if self.delivery is not None else set()

    def compare(self, heads: dict[str, int]) -> None:
        """Find out what the log has of these threads that was not sent, and read it."""
        if self.delivery is not None and not self.closed:
            behind = [thread for thread, head in heads.items() if self.delivery.compare(thread, head)]
            if behind and not self.lock.locked():
                self._spawn(self._heal({thread: heads[thread] for thread in behind}))

    async def _heal(self, heads: dict[str, int]) -> None:
        await self._catch_up()
        for thread, head in heads.items():
            if thread not in self._delivery.behind:
                self._delivery.seen(thread, head)

    async def revoke(self) -> None:
        if not self.closed:
            await self._send(protocol.control("session_revoked"))
            await self._close(protocol.CLOSE_UNAUTHORIZED)

    # ---- to the client ----

    async def _send_event(self, thread: str, seq: int, run: str, ends: bool, text: str) -> None:
        self._delivery.sent(thread, seq, run, ends)
        await self._send(protocol.legacy(text) if self.mode == "legacy" else text)

    async def _send(self, text: str) -> None:
        if self.closed:
            return
        self.window.sent(text)
        metrics.FRAMES_SENT.inc()
        try:
            await self.base_send({"type": "websocket.send", "text": text})
        except Disconnected:  # in the middle of an answer: nobody is there to read the rest
            self.closed = True
        if self.window.too_slow:
            await self._close(protocol.CLOSE_TOO_SLOW)

    async def _close(self, code: int | None = None) -> None:
        if not self.closed:
            self.closed = True
            if code is not None:
                self.code = code
                metrics.CLOSES.labels(code).inc()
            await self.base_send({"type": "websocket.close", **({} if code is None else {"code": code})})
