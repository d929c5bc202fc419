"""The wire on one screen: the handshake's choice, frames in, events out, errors, close codes.

Pure: text and bytes in, values and text out. No socket, no database, no clock.
What a client did wrong is a `ProtocolError`; a handshake that must not be accepted is a `Refused`.
A `ValueError` or `TypeError` from an outgoing builder is a bug of its caller.
"""

import base64
import binascii
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

# Error codes with their HTTP status. A client can recover from every one but `unauthorized`.
STATUS: dict[str, int] = {
    "invalid_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "too_large": 413,
    "unsupported_data": 415,
    "invalid_message": 422,
    "unknown_agent": 422,
    "unknown_type": 422,
    "upgrade_required": 426,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
}

CLOSE_DONE = 1000
CLOSE_UNAUTHORIZED = 4401
CLOSE_TOO_SLOW = 4408
CLOSE_TOO_MANY = 4429
CLOSE_NOT_READY = 4503

KIB = 1024
MAX_FRAME = 64 * KIB  # bytes of one frame from a client
MAX_EVENT = 1024 * KIB  # bytes of one frame to a client
MAX_TOOL_RESULT = 256 * KIB  # bytes of a tool's result as JSON; more is cut
MAX_ANSWER = 512 * KIB  # bytes of an answer as text; more ends its run
MAX_AHEAD = 1024 * KIB  # bytes sent to a client beyond what it has acked
MAX_UNREAD = 4096 * KIB  # bytes sent to a client since its last frame
MAX_HANDSHAKE = 16 * KIB  # bytes of all headers that may bear a token
MAX_DEPTH = 64  # nested arrays and objects of a frame
MAX_ATTACHMENTS = 20
HEARTBEAT_INTERVAL = 30  # seconds
RESUME_LIMIT = 1000  # events
MAX_SOCKETS = 100  # open ones of a user
MAX_ACTIVE_RUNS = 300  # queued and running ones of a user
MESSAGE_BURST, MESSAGES_PER_MINUTE = 500, 600  # of a user
FRAME_BURST, FRAMES_PER_SECOND = 400, 100  # of a socket
LIMITS = {
    "max_frame": MAX_FRAME,
    "max_event": MAX_EVENT,
    "max_tool_result": MAX_TOOL_RESULT,
    "max_answer": MAX_ANSWER,
    "max_ahead": MAX_AHEAD,
    "max_unread": MAX_UNREAD,
    "max_attachments": MAX_ATTACHMENTS,
    "resume_limit": RESUME_LIMIT,
    "max_sockets": MAX_SOCKETS,
    "max_active_runs": MAX_ACTIVE_RUNS,
    "message_burst": MESSAGE_BURST,
    "messages_per_minute": MESSAGES_PER_MINUTE,
    "frame_burst": FRAME_BURST,
    "frames_per_second": FRAMES_PER_SECOND,
}

MODES: dict[str, str] = {"/ws": "main", "/ws/factory": "factory", "/ws/isolated": "isolated", "/ws/legacy": "legacy"}

THE_FIVE = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")
TERMINAL = frozenset({"agent_completed", "agent_failed", "agent_cancelled"})
EVENTS = (
    frozenset({"message_created", "agent_delta", "subagent_completed", "run_restarted", "thread_updated"})
    | TERMINAL
    | frozenset(THE_FIVE)
)
ENVELOPE = frozenset({"type", "seq", "thread_id", "run_id", "attempt", "agent_name", "timestamp"})

UPGRADE_REQUIRED: dict[str, Any] = {
    "error": "upgrade_required",
    "message": "This path speaks WebSocket. Offer one of these subprotocols, or send an Authorization header.",
    "subprotocols": ["jwt-auth", "jwt.<token>", "bearer.<token>"],
}

Ref: TypeAlias = str | int | None


class ProtocolError(Exception):
    """What a client may read about its own mistake. `code` is a key of STATUS; `retry_after` is in seconds."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        ref: Ref = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = STATUS[code]
        self.code = code
        self.message = message
        self.field = field
        self.ref = ref
        self.retry_after = retry_after

    def frame(self) -> str:
        """The `error` control frame."""
        known = {"message": self.message, "recoverable": self.code != "unauthorized", "ref": self.ref}
        return control("error", error_code=self.code, **known, **self._optional())

    def body(self) -> dict[str, Any]:
        """The body of a REST answer with `status`."""
        return {"error": self.code, "message": self.message, **self._optional()}

    def _optional(self) -> dict[str, Any]:
        extra = {"field": self.field, "retry_after": self.retry_after}
        return {name: value for name, value in extra.items() if value is not None}


class Refused(Exception):
    """A handshake to refuse before accept. `reason` is for the log and carries nothing that the client sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --- Handshake ---

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

_PREFIXES = ("jwt.", "jwt-auth.", "bearer.")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# RFC 7230's tchar without "%": daphne decodes percent signs, and then what is selected is not what was offered.
_OFFER = re.compile(rb"[A-Za-z0-9!#$&'*+.^_`|~-]+")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Handshake:
    """What to select and the token to check. Both None: authenticate in band."""

    subprotocol: str | None
    token: str | None = field(repr=False)


def negotiate(headers: Headers) -> Handshake:
    """Choose subprotocol and token from the raw headers of an ASGI scope, or raise Refused.

    The token is only well-formed: whether it is any good is for the caller to find out, before accept.
    """
    found = list(headers)
    authorization = _values(found, b"authorization")
    offered = _values(found, b"sec-websocket-protocol")
    if sum(map(len, authorization + offered)) > MAX_HANDSHAKE:
        raise Refused("Token headers too large")
    token = _bearer(authorization)
    if not offered:
        return Handshake(None, token)
    offers = _offers(offered)
    bearing = next((offer for offer in offers if offer.startswith(_PREFIXES)), None)
    if "jwt-auth" in offers and token:
        return Handshake("jwt-auth", token)
    if bearing is None:
        raise Refused("jwt-auth without a token" if "jwt-auth" in offers else "No supported subprotocols")
    carried = _carried(bearing)
    return Handshake("jwt-auth" if "jwt-auth" in offers else bearing, token or carried)


def origin_allowed(headers: Headers, allowed: Collection[str]) -> bool:
    """Whether Origin is absent (no browser) or one of `allowed`: each `scheme://host[:port]`, no wildcards."""
    origins = _values(headers, b"origin")
    if not origins:
        return True
    origin = _origin(origins[0].decode("latin-1"))
    return len(origins) == 1 and origin is not None and origin in map(_origin, allowed)


def host_of(headers: Headers) -> str:
    """The Host header as sent; "" (which no list allows) where it is missing, repeated or not ASCII."""
    hosts = _values(headers, b"host")
    return hosts[0].decode("ascii") if len(hosts) == 1 and hosts[0].isascii() else ""


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _bearer(values: list[bytes]) -> str | None:
    # Servers join repeated headers with commas, and no Bearer token has one: two credentials are nobody's.
    credentials = [part.strip(b" \t") for value in values for part in value.split(b",")]
    bearers = [part for part in credentials if re.match(rb"bearer(?:[ \t]|$)", part, re.IGNORECASE)]
    if not bearers:
        return None
    token = bearers[0][len(b"bearer") :].strip(b" \t").decode("latin-1")
    if len(credentials) > 1 or not _JWT.fullmatch(token):
        raise Refused("Malformed Authorization header")
    return token


def _offers(values: list[bytes]) -> list[str]:
    offers = [offer.strip(b" \t") for offer in b",".join(values).split(b",")]
    if not all(map(_OFFER.fullmatch, offers)) or len(set(offers)) < len(offers):
        raise Refused("Malformed Sec-WebSocket-Protocol header")
    return [offer.decode("ascii") for offer in offers]


def _carried(offer: str) -> str:
    """The JWT of an offer `<prefix>.<token>`: the token as it is, or decoded from unpadded base64url."""
    encoded = offer.partition(".")[2]
    if _JWT.fullmatch(encoded):
        return encoded
    try:
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        token = decoded.decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("Malformed token in subprotocol") from None
    # The decoder skips what is not in its alphabet; only the one true encoding counts.
    if not _JWT.fullmatch(token) or base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != encoded:
        raise Refused("Malformed token in subprotocol")
    return token


def _origin(text: str) -> tuple[str, str, str] | None:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, port or _DEFAULT_PORTS.get(scheme, "")


# --- Client to server ---


@dataclass(frozen=True, slots=True)
class UserMessage:
    """`parent_given` tells `parent_id: null` (the thread's root) from none (the thread's newest message)."""

    content: str
    thread_id: UUID | None
    agent: str | None
    client_msg_id: str | None
    parent_id: UUID | None
    parent_given: bool
    attachment_ids: tuple[UUID, ...]
    ref: Ref


@dataclass(frozen=True, slots=True)
class Regenerate:
    message_id: UUID
    agent: str | None
    client_msg_id: str | None
    ref: Ref


@dataclass(frozen=True, slots=True)
class StopAgent:
    """Neither id: every active run of the user."""

    run_id: UUID | None
    thread_id: UUID | None
    ref: Ref


@dataclass(frozen=True, slots=True)
class Resume:
    thread_id: UUID
    after: int
    limit: int
    ref: Ref


@dataclass(frozen=True, slots=True)
class Ping:
    """`id` and `timestamp` are to be echoed as they came; None where not given."""

    reply_type: Literal["pong", "heartbeat_ack"]
    id: Any
    timestamp: Any


@dataclass(frozen=True, slots=True)
class Ack:
    received: int
    ref: Ref


@dataclass(frozen=True, slots=True)
class AgentStatus:
    ref: Ref


@dataclass(frozen=True, slots=True)
class Authenticate:
    token: str = field(repr=False)
    ref: Ref


Frame: TypeAlias = UserMessage | Regenerate | StopAgent | Resume | Ping | Ack | AgentStatus | Authenticate
Fields: TypeAlias = Mapping[str, Any]

OLDER_TYPES: dict[str, str] = {
    "start_agent": "user_message",
    "chat": "user_message",
    "chat_message": "user_message",
    "message": "user_message",
    "execute_agent": "user_message",
    "agent_execute": "user_message",
    "agent_request": "user_message",
    "cancel_run": "stop_agent",
    "subscribe": "resume",
    "get_agent_status": "agent_status",
}
# The first name is the wire's, the others are older.
_CONTENT = ("content", "user_request", "message", "text", "input")
_AGENT = ("agent", "agent_type")
_MAX_ID = 200
_MAX_AGENT = 64
_MAX_INT = 2**63

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Neither can be stored as text by PostgreSQL, nor the second be sent as UTF-8.
_UNSOUND = re.compile(r"[\x00\ud800-\udfff]")
_Value = TypeVar("_Value")


def loads(data: str | bytes, limit: int = MAX_FRAME) -> Any:
    """Read JSON that a client sent, of at most `limit` bytes.

    Raises ProtocolError: too_large; invalid_json, also for what JSON does not have (NaN, bytes that are no UTF-8),
    for repeated keys, numbers beyond 64 bits and deep nesting; invalid_message for text with NUL or lone surrogates.
    """
    value = _read(data, limit)
    _check_sound(value)
    return value


def parse(text: str) -> Frame:
    """Read a client's text frame. Every ProtocolError carries the frame's `ref` where one could be read."""
    frame = _read(text, MAX_FRAME)
    ref = None
    try:
        if isinstance(frame, dict):
            ref = _ref(_merged(frame, strict=False))
        _check_sound(frame)
        return _frame(frame)
    except ProtocolError as error:
        error.ref = ref
        raise


def user_message_fields(data: Fields) -> UserMessage:
    """The fields of a `user_message`, from a frame or a REST body."""
    content = _required("content", _text(data, *_CONTENT))
    if not content.strip():
        raise _invalid("content", "must not be empty")
    return UserMessage(
        content=content,
        thread_id=_uuid(data, "thread_id"),
        agent=_text(data, *_AGENT, longest=_MAX_AGENT),
        client_msg_id=_text(data, "client_msg_id", longest=_MAX_ID),
        parent_id=_uuid(data, "parent_id"),
        parent_given="parent_id" in data,
        attachment_ids=_uuids(data, "attachment_ids"),
        ref=_ref(data),
    )


def regenerate_fields(data: Fields) -> Regenerate:
    """The fields of a `regenerate`, from a frame or a REST body and its path."""
    return Regenerate(
        message_id=_required("message_id", _uuid(data, "message_id")),
        agent=_text(data, *_AGENT, longest=_MAX_AGENT),
        client_msg_id=_text(data, "client_msg_id", longest=_MAX_ID),
        ref=_ref(data),
    )


def _resume(data: Fields) -> Resume:
    limit = _count(data, "limit", least=1)
    return Resume(
        thread_id=_required("thread_id", _uuid(data, "thread_id")),
        after=_required("after", _count(data, "after")),
        limit=RESUME_LIMIT if limit is None else min(limit, RESUME_LIMIT),
        ref=_ref(data),
    )


_FRAMES: dict[str, Callable[[Fields], Frame]] = {
    "user_message": user_message_fields,
    "regenerate": regenerate_fields,
    "stop_agent": lambda data: StopAgent(_uuid(data, "run_id"), _uuid(data, "thread_id"), _ref(data)),
    "resume": _resume,
    "ack": lambda data: Ack(_required("received", _count(data, "received")), _ref(data)),
    "agent_status": lambda data: AgentStatus(_ref(data)),
    "authenticate": lambda data: Authenticate(
        _required("token", _text(data, "token", longest=MAX_HANDSHAKE)), _ref(data)
    ),
}
_PINGS: dict[str, Literal["pong", "heartbeat_ack"]] = {"ping": "pong", "heartbeat": "heartbeat_ack"}


def _frame(frame: Any) -> Frame:
    if not isinstance(frame, dict):
        raise ProtocolError("invalid_message", "A frame must be a JSON object")
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise _invalid("type", "must be a text")
    kind = OLDER_TYPES.get(kind, kind)
    if kind in _PINGS:
        data = _merged(frame, strict=False)
        return Ping(_PINGS[kind], data.get("id"), data.get("timestamp"))
    if kind not in _FRAMES:
        raise ProtocolError("unknown_type", "Unknown frame type")
    return _FRAMES[kind](_merged(frame, strict=True))


def _merged(frame: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    """The fields of a frame wherever they stand: those of `data`, over them `payload`, over them the top level."""
    merged: dict[str, Any] = {}
    for name in ("data", "payload"):
        layer = frame.get(name)
        if isinstance(layer, dict):
            merged |= layer
        elif strict and layer is not None:
            raise _invalid(name, "must be an object")
    return merged | frame


def _ref(data: Fields) -> Ref:
    for name in ("client_msg_id", "id"):
        ref = data.get(name)
        if isinstance(ref, str) and 0 < len(ref) <= _MAX_ID and not _UNSOUND.search(ref):
            return ref
        if isinstance(ref, int) and not isinstance(ref, bool):
            return ref
    return None


def _invalid(name: str, message: str) -> ProtocolError:
    return ProtocolError("invalid_message", f"{name} {message}", field=name)


def _required(name: str, value: _Value | None) -> _Value:
    if value is None:
        raise _invalid(name, "is required")
    return value


def _text(data: Fields, *names: str, longest: int | None = None) -> str | None:
    value = next((data[name] for name in names if data.get(name) is not None), None)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _invalid(names[0], "must be a text")
    if not value:
        raise _invalid(names[0], "must not be empty")
    if longest is not None and len(value) > longest:
        raise _invalid(names[0], f"must have at most {longest} characters")
    return value


def _uuid(data: Fields, name: str) -> UUID | None:
    value = data.get(name)
    return None if value is None else _one_uuid(name, value)


def _uuids(data: Fields, name: str) -> tuple[UUID, ...]:
    values = data.get(name)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise _invalid(name, "must be a list")
    if len(values) > MAX_ATTACHMENTS:
        raise _invalid(name, f"must have at most {MAX_ATTACHMENTS} entries")
    uuids = tuple(_one_uuid(name, value) for value in values)
    if len(set(uuids)) < len(uuids):
        raise _invalid(name, "must not repeat an entry")
    return uuids


def _one_uuid(name: str, value: object) -> UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _invalid(name, "must be a UUID")
    return UUID(value)


def _count(data: Fields, name: str, least: int = 0) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _invalid(name, f"must be a whole number, at least {least}")
    return value


def _read(data: str | bytes, limit: int) -> Any:
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    if len(raw) > limit:
        raise ProtocolError("too_large", f"At most {limit} bytes")
    try:
        # A lone surrogate in text is left for the check that names its field; in bytes it is no UTF-8.
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant
        )
    except (ValueError, RecursionError):
        raise ProtocolError("invalid_json", "Not valid JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("repeated key")
    return found


def _integer(digits: str) -> int:
    value = int(digits)
    if not -_MAX_INT <= value < _MAX_INT:
        raise ValueError("integer beyond 64 bits")
    return value


def _real(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError("number beyond a double")
    return value


def _constant(name: str) -> float:
    raise ValueError(name)


def _check_sound(value: Any, name: str | None = None, depth: int = 0) -> None:
    """`name` is the nearest key above `value`."""
    if depth == MAX_DEPTH and isinstance(value, dict | list):
        raise ProtocolError("invalid_json", f"Nested more than {MAX_DEPTH} deep")
    if isinstance(value, str) and _UNSOUND.search(value):
        raise ProtocolError("invalid_message", "Text must not contain NUL or lone surrogates", field=name)
    if isinstance(value, list):
        for item in value:
            _check_sound(item, name, depth + 1)
    if isinstance(value, dict):
        for key, item in value.items():
            _check_sound(key, name, depth)
            _check_sound(item, key, depth + 1)


# --- Server to client ---


def event(
    type: str,
    *,
    thread_id: str,
    run_id: str | None,
    attempt: int,
    agent_name: str | None,
    timestamp: str,
    fields: Fields,
) -> tuple[str, str]:
    """The JSON text of a numbered event in two halves: `head + str(seq) + tail` is the frame.

    Raises ProtocolError too_large over MAX_EVENT bytes; ValueError or TypeError for an unknown type, for fields that
    are no JSON, and for fields named like the envelope's.
    """
    if type not in EVENTS:
        raise ValueError(f"{type} is no event")
    if taken := ENVELOPE & fields.keys():
        raise ValueError(f"{type} fields named like the envelope's: {', '.join(sorted(taken))}")
    head = f'{{"type":"{type}","seq":'
    envelope = _envelope(thread_id, run_id, attempt, agent_name)
    # Field by field: what is only text is encoded in a fifth of the time that a dict of it takes.
    said = "".join([f",{_dumps(name)}:{_dumps(value)}" for name, value in fields.items()])
    tail = f'{envelope}"{timestamp}"{said}}}'
    if len(head) + len(str(_MAX_INT)) + len(tail.encode()) > MAX_EVENT:
        raise ProtocolError("too_large", f"{type} is over {MAX_EVENT} bytes")
    return head, tail


@lru_cache(maxsize=1024)
def _envelope(thread_id: str, run_id: str | None, attempt: int, agent_name: str | None) -> str:
    """What is the same for all that a run says; the time follows."""
    return (
        f',"thread_id":{_dumps(thread_id)},"run_id":{_dumps(run_id)},"attempt":{attempt}'
        f',"agent_name":{_dumps(agent_name)},"timestamp":'
    )


def control(type: str, **fields: Any) -> str:
    """The JSON text of a frame without a number."""
    return _dumps({"type": type, **fields})


def connection_established(
    *, connection_id: str, user_id: str, mode: str, agents: Sequence[Any], server_time: datetime
) -> str:
    """The first frame of an authenticated socket. `agents` are their names, the default first."""
    now = timestamp(server_time)
    return control(
        "connection_established",
        timestamp=now,
        data={
            "connection_id": connection_id,
            "user_id": user_id,
            "mode": mode,
            "agents": agents,
            "events": THE_FIVE,
            "heartbeat_interval": HEARTBEAT_INTERVAL,
            "limits": LIMITS,
            "server_time": now,
        },
    )


def timestamp(moment: datetime) -> str:
    """`2026-11-22T12:00:00.123Z`, for a datetime that knows its zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def cut_result(fields: Fields) -> tuple[dict[str, Any], bool]:
    """The fields of a tool_completed, and whether they were cut.

    A `result` over MAX_TOOL_RESULT bytes of JSON becomes the beginning of its text, beside `truncated: true`.
    """
    result = fields.get("result")
    if _size(result) <= MAX_TOOL_RESULT:
        return dict(fields), False
    text = result if isinstance(result, str) else _dumps(result)
    text = text[:MAX_TOOL_RESULT]
    fits = bisect_right(range(len(text) + 1), MAX_TOOL_RESULT, key=lambda length: _size(text[:length])) - 1
    return {**fields, "result": text[:fits], "truncated": True}, True


_OLDER_FIELDS: tuple[tuple[str, str], ...] = (
    ("reasoning", "thought"),
    ("tool_name", "tool"),
    ("result", "results"),
    ("duration_ms", "execution_time_ms"),
    ("final_response", "content"),
    ("final_response", "response"),
    ("message", "error_message"),
)


def legacy(text: str) -> str:
    """An event's frame with the older names beside the wire's; a control frame as it is.

    Where the older names would bring a frame over MAX_EVENT, `data` is left out first, then all of them.
    """
    frame = json.loads(text)
    if frame["type"] not in EVENTS:
        return text
    data = {name: value for name, value in frame.items() if name not in ENVELOPE}
    widened = frame | {old: frame[new] for new, old in _OLDER_FIELDS if new in frame and old not in frame}
    if "duration_ms" in frame:
        widened["duration"] = frame["duration_ms"] / 1000
    for older in ({**widened, "data": data}, widened):
        if _size(older) <= MAX_EVENT:
            return _dumps(older)
    return text


_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _size(value: Any) -> int:
    return len(_dumps(value).encode())
