import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import protocol
from chat.protocol import (
    Handshake,
    ProtocolError,
    Refused,
    UserMessage,
    negotiate,
    parse,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiMSJ9.c2ln-_ature"
OTHER = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiMiJ9.b3RoZXI"
KEY = "netra_4f9aZk01_0123456789abcdefghijklmnopqrstuv00OsXi"
A, B = "6152c1c2-ee01-466a-9e3b-295e75428983", "e608de0e-2551-4205-bbd2-6e3f0b918847"


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def headers(
    offers: str | list[str] | None = None, authorization: str | list[str] | None = None
) -> list[tuple[bytes, bytes]]:
    found = [(b"host", b"localhost")]
    for name, values in ((b"sec-websocket-protocol", offers), (b"authorization", authorization)):
        listed = [values] if isinstance(values, str) else values or []
        found += [(name, value.encode("latin-1")) for value in listed]
    return found


def frame(type: str = "user_message", **fields: Any) -> str:
    return json.dumps({"type": type, **fields})


def user_message(**fields: Any) -> UserMessage:
    return UserMessage(type="user_message", **fields)


def refusal(text: str) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        parse(text)
    return caught.value


# --- Handshake: every row of the table ---

BEARER = f"Bearer {JWT}"


@pytest.mark.parametrize(
    ("offers", "authorization", "selected", "token"),
    [
        # jwt-auth beside a token
        (f"jwt-auth, jwt.{JWT}", None, "jwt-auth", JWT),
        (f"jwt-auth,jwt.{JWT}", None, "jwt-auth", JWT),
        (f"jwt.{JWT}, jwt-auth", None, "jwt-auth", JWT),
        (f"jwt-auth, jwt.{b64(JWT)}", None, "jwt-auth", JWT),
        (f"jwt-auth, bearer.{JWT}", None, "jwt-auth", JWT),
        (f"jwt-auth, jwt-auth.{b64(JWT)}", None, "jwt-auth", JWT),
        ([f"jwt.{JWT}", "jwt-auth"], None, "jwt-auth", JWT),
        # a token alone or beside unsupported ones
        (f"jwt.{JWT}", None, f"jwt.{JWT}", JWT),
        (f"jwt-auth.{JWT}", None, f"jwt-auth.{JWT}", JWT),
        (f"bearer.{JWT}", None, f"bearer.{JWT}", JWT),
        (f"jwt.{b64(JWT)}", None, f"jwt.{b64(JWT)}", JWT),
        (f"jwt-auth.{b64(JWT)}", None, f"jwt-auth.{b64(JWT)}", JWT),
        (f"bearer.{b64(JWT)}", None, f"bearer.{b64(JWT)}", JWT),
        (f"graphql-ws, jwt.{JWT}, e2e-testing", None, f"jwt.{JWT}", JWT),
        (["graphql-ws", f"jwt.{JWT}"], None, f"jwt.{JWT}", JWT),
        # the first that bears a token counts
        (f"bearer.{OTHER}, jwt.{JWT}", None, f"bearer.{OTHER}", OTHER),
        (f"jwt-auth, bearer.{OTHER}, jwt.{JWT}", None, "jwt-auth", OTHER),
        # Authorization
        ("jwt-auth", BEARER, "jwt-auth", JWT),
        ("graphql-ws, jwt-auth", BEARER, "jwt-auth", JWT),
        (None, BEARER, None, JWT),
        (None, f"bEARER   {JWT} ", None, JWT),
        (None, ["Basic dXNlcjpwdw==", 'Digest username="a", realm="b"'], None, None),
        # Authorization is looked for first, and what is selected was offered
        (f"jwt-auth, jwt.{OTHER}", BEARER, "jwt-auth", JWT),
        (f"jwt.{OTHER}", BEARER, f"jwt.{OTHER}", JWT),
        (f"jwt-auth.{b64(OTHER)}, x", BEARER, f"jwt-auth.{b64(OTHER)}", JWT),
        ("jwt-auth, jwt.garbage", BEARER, "jwt-auth", JWT),
        (f"jwt-auth, {b64(JWT)}", BEARER, "jwt-auth", JWT),
        # another scheme counts as none
        (f"jwt-auth, jwt.{JWT}", "Basic dXNlcjpwdw==", "jwt-auth", JWT),
        (f"jwt.{JWT}", "Basic dXNlcjpwdw==", f"jwt.{JWT}", JWT),
        (None, "Basic dXNlcjpwdw==", None, None),
        (None, "", None, None),
        (None, f"Bearerish {JWT}", None, None),
        # nothing at all: in band
        (None, None, None, None),
    ],
)
def test_accepted_handshake(
    offers: str | list[str] | None, authorization: str | list[str] | None, selected: str | None, token: str | None
) -> None:
    assert negotiate(headers(offers, authorization)) == Handshake(selected, token)


@pytest.mark.parametrize(
    ("offers", "authorization"),
    [
        # no token anywhere
        ("jwt-auth", None),
        ("jwt-auth", "Basic dXNlcjpwdw=="),
        ("jwt-auth, graphql-ws", None),
        # the two-element forms
        (f"jwt, {b64(JWT)}", None),
        (f"jwt, {b64(JWT)}", BEARER),
        (f"jwt-auth, {b64(JWT)}", None),
        (f"jwt-auth, {JWT}", None),
        # not a token
        ("jwt.", None),
        ("jwt.", BEARER),
        ("jwt.garbage", BEARER),
        ("jwt-auth, jwt.garbage", None),
        ("jwt.a.b", None),
        ("jwt.a.b.", None),
        ("jwt.a.b.c.d", None),
        ("jwt.a!.b.c", None),
        (f"jwt.{b64('a.b')}", None),
        (f"jwt.{b64('a.b.c.d')}", None),
        (f"jwt.{b64(JWT + chr(10))}", None),
        (f"jwt.{b64(' ' + JWT)}", None),
        (f"jwt.{b64('Bearer ' + JWT)}", None),
        (f"jwt.{b64('a.b.é')}", None),
        (f"jwt.{b64(b64(JWT))}", None),
        (f"jwt.{b64(JWT)}A", None),
        (f"jwt.+{b64(JWT)}", None),
        (f"jwt.garbage, jwt.{JWT}", None),
        # a bad Authorization is not made good by an offer
        (None, "Bearer"),
        (None, "Bearer "),
        (None, "Bearer garbage"),
        (None, f"Bearer {JWT} {JWT}"),
        (None, f"Bearer {JWT}\x00"),
        (None, f"Bearer {JWT}\u00e9"),
        ("jwt-auth", "Bearer "),
        (f"jwt-auth, jwt.{JWT}", "Bearer "),
        (f"jwt-auth, jwt.{JWT}", "Bearer garbage"),
        (None, [BEARER, f"Bearer {OTHER}"]),
        (None, [BEARER, BEARER]),
        (None, ["Basic dXNlcjpwdw==", BEARER]),
        (None, f"{BEARER}, Bearer {OTHER}"),
        (None, f"Basic dXNlcjpwdw==, {BEARER}"),
        # malformed lists and values
        ("", None),
        ("", BEARER),
        ("jwt-auth,", BEARER),
        (f"jwt-auth,,jwt.{JWT}", None),
        ([f"jwt.{JWT}", ""], None),
        (f"jwt-auth, jwt-auth, jwt.{JWT}", None),
        ([f"jwt.{JWT}", f"jwt.{JWT}"], None),
        (f"jwt-auth, jwt.{JWT}, a b", None),
        (f"jwt-auth jwt.{JWT}", None),
        (f"jwt-auth; jwt.{JWT}", None),
        (f"jwt-auth, jwt.{JWT}, a%41", None),
        ("jwt%2Dauth", BEARER),
        (f"jwt%2Dauth, jwt.{JWT}", None),
        (f"jwt%2E{JWT}", None),
        ("jwt.a%41.b.c", None),
        (f"jwt-auth, jwt.{JWT}\x00", None),
        (f"jwt-auth, jwt.{JWT}\r\n", None),
        (f"jwt-auth, jwt.{JWT}\x7f", None),
        (f"jwt-auth, jwt.{JWT}\xa0", None),
        (f"jwt-auth, jwt.{JWT}, é", None),
        (f'jwt-auth, "jwt.{JWT}"', None),
        # too large
        (f"jwt.{JWT}, {'a' * 20_000}", None),
        (f"jwt.{'a' * 20_000}.b.c", None),
        (f"jwt-auth, jwt.{b64('a.b.' + 'c' * 48_000)}", None),
        (None, f"Bearer a.b.{'c' * 20_000}"),
        (None, f"Bearer a.b.{'c' * 64_000}"),
    ],
)
def test_refused_handshake(offers: str | list[str] | None, authorization: str | list[str] | None) -> None:
    with pytest.raises(Refused) as caught:
        negotiate(headers(offers, authorization))
    assert caught.value.reason == str(caught.value)


@pytest.mark.parametrize("authorization", [None, BEARER, "Basic dXNlcjpwdw=="])
@pytest.mark.parametrize(
    "offers", ["graphql-ws", "e2e-testing, graphql-ws", f"JWT.{JWT}", "JWT-AUTH", f"token.{JWT}", JWT]
)
def test_only_unsupported_subprotocols_are_refused_with_or_without_a_header(
    offers: str, authorization: str | None
) -> None:
    with pytest.raises(Refused, match=r"^No supported subprotocols$"):
        negotiate(headers(offers, authorization))


def test_a_padded_base64_token_is_refused() -> None:
    padded = base64.urlsafe_b64encode(b"a.b.cc").decode(), base64.urlsafe_b64encode(b"a.b.ccc").decode()
    assert [value.count("=") for value in padded] == [0, 2]
    assert negotiate(headers(f"jwt.{padded[0]}")).token == "a.b.cc"
    assert negotiate(headers(f"jwt.{padded[1].rstrip('=')}")).token == "a.b.ccc"
    with pytest.raises(Refused):
        negotiate(headers(f"jwt.{padded[1]}"))


def test_only_the_canonical_base64_is_a_token() -> None:
    encoded = b64("a.b.ccc")
    sloppy = encoded[:-1] + chr(ord(encoded[-1]) + 1)
    assert base64.urlsafe_b64decode(sloppy + "==") == b"a.b.ccc"
    with pytest.raises(Refused):
        negotiate(headers(f"jwt.{sloppy}"))


def test_header_names_in_any_case() -> None:
    assert negotiate([(b"Authorization", BEARER.encode())]).token == JWT


def test_a_handshake_and_an_authenticate_frame_do_not_print_their_token() -> None:
    assert JWT not in repr(negotiate(headers(f"jwt-auth, jwt.{JWT}")))
    assert JWT not in repr(parse(frame("authenticate", token=JWT)))


pieces = st.sampled_from(
    [
        "jwt-auth",
        "jwt.",
        "jwt-auth.",
        "bearer.",
        "jwt",
        JWT,
        b64(JWT),
        OTHER,
        KEY,
        ",",
        ", ",
        " ",
        "%",
        "é",
        "a",
        "=",
        "\x00",
        "Bearer ",
        "Basic ",
    ]
)
values = st.one_of(st.binary(max_size=40), st.lists(pieces, max_size=6).map(lambda parts: "".join(parts).encode()))


@given(
    st.lists(st.tuples(st.sampled_from([b"sec-websocket-protocol", b"authorization", b"origin"]), values), max_size=4)
)
def test_negotiate_selects_only_what_was_offered_and_raises_only_refused(found: list[tuple[bytes, bytes]]) -> None:
    offered = [
        offer.strip(b" \t") for name, value in found if name == b"sec-websocket-protocol" for offer in value.split(b",")
    ]
    try:
        handshake = negotiate(found)
    except Refused as refused:
        reason = refused.reason
        assert JWT not in reason and b64(JWT) not in reason and KEY not in reason
        return
    if handshake.subprotocol is None:
        assert not offered or any(offer.startswith(b"bearer.netra_") for offer in offered)
    else:
        assert handshake.subprotocol.encode() in offered
        assert handshake.token
        assert KEY not in handshake.subprotocol
    assert handshake.token is None or handshake.token.count(".") == 2 or protocol.is_key(handshake.token)


# --- Origin and Host ---


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://netra.example", True),
        ("HTTPS://NETRA.example", True),
        ("https://netra.example:443", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("http://plain.example", True),
        ("http://plain.example:80", True),
        ("http://netra.example", False),
        ("https://netra.example:8443", False),
        ("https://netra.example:80", False),
        ("http://localhost", False),
        ("http://localhost:08000", False),
        ("https://netra.example.evil.example", False),
        ("https://evil.example/https://netra.example", False),
        ("https://netra.example@evil.example", False),
        ("https://user@netra.example", False),
        ("https://netra.example/", False),
        ("https://netra.example?", False),
        ("https://netra.example:", False),
        ("https://netra.example\n", False),
        ("https://netra.example, https://netra.example", False),
        ("//netra.example", False),
        ("netra.example", False),
        ("null", False),
        ("", False),
        ("*", False),
        ("https://nétra.example", False),
    ],
)
def test_origin(origin: str | None, allowed: bool) -> None:
    found = [] if origin is None else [(b"origin", origin.encode("latin-1"))]
    known = [
        "https://netra.example",
        "http://localhost:8000",
        "http://[::1]:8000",
        "http://plain.example:80",
        "null",
        "*",
    ]
    assert protocol.origin_allowed(found, known) is allowed


def test_two_origins_are_not_allowed() -> None:
    assert not protocol.origin_allowed([(b"origin", b"http://a.example")] * 2, ["http://a.example"])


def test_a_present_origin_is_not_allowed_by_an_empty_list() -> None:
    assert not protocol.origin_allowed([(b"origin", b"http://a.example")], [])


@given(st.binary(max_size=60))
def test_origin_of_any_bytes(value: bytes) -> None:
    assert protocol.origin_allowed([(b"origin", value)], ["https://netra.example"]) in (True, False)


ORIGINS = [
    "https://netra.example",
    "http://netra.example:8000",
    "http://other.example",
    "https://OTHER.example",
    "http://[::1]:8000",
]


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", "netra.example", 0),
        ("https", "netra.example:443", 0),
        ("http", "netra.example:8000", 1),
        ("https", "netra.example:8000", 1),
        ("http", "netra.example", 0),  # a proxy that does not say how the client came
        ("https", "netra.example:4444", 0),
        ("https", "NETRA.example", 0),
        ("http", "other.example", 2),
        ("https", "other.example", 3),
        ("http", "[::1]:8000", 4),
        ("http", "[::1]", 4),
        ("https", "evil.example", 0),
        ("https", "netra.example.evil.example", 0),
        ("https", "netra.example:443@evil.example", 0),
        ("https", "evil.example/netra.example", 0),
        ("https", "", 0),
        ("", "", 0),
    ],
)
def test_origin_for_a_request_is_one_of_the_list(scheme: str, host: str, origin: int) -> None:
    assert protocol.origin_for(scheme, host, ORIGINS) == ORIGINS[origin]


@given(st.text(max_size=40))
def test_origin_for_any_host_is_one_of_the_list(host: str) -> None:
    assert protocol.origin_for("https", host, ORIGINS) in ORIGINS


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        ([b"netra.example:8000"], "netra.example:8000"),
        ([], ""),
        ([b"a", b"b"], ""),
        (["nétra".encode()], ""),
    ],
)
def test_host(hosts: list[bytes], host: str) -> None:
    assert protocol.host_of([(b"host", value) for value in hosts]) == host


# --- JSON ---


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("{'type':'ping'}", "invalid_json"),
        ('{"a":1,}', "invalid_json"),
        ('{"a":1} {}', "invalid_json"),
        ('{"a":NaN}', "invalid_json"),
        ('{"a":Infinity}', "invalid_json"),
        ('{"a":-Infinity}', "invalid_json"),
        ('{"a":1e999}', "invalid_json"),
        ('{"a":-1e999}', "invalid_json"),
        ('{"a":1,"a":2}', "invalid_json"),
        ('{"a":{"b":1,"b":1}}', "invalid_json"),
        ('{"a":"\n"}', "invalid_json"),
        ('{"a":"\x00"}', "invalid_json"),
        ('{"a":01}', "invalid_json"),
        ('{"a":9223372036854775808}', "invalid_json"),
        ('{"a":-9223372036854775809}', "invalid_json"),
        ('{"a":' + "9" * 1_000_000 + "}", "too_large"),
        ('{"a":' + "9" * 60_000 + "}", "invalid_json"),
        ("[" * 100_000, "too_large"),
        ("[" * 60_000, "invalid_json"),
        ("[" * 65 + "]" * 65, "invalid_json"),
        ('{"a":' * 65 + "1" + "}" * 65, "invalid_json"),
        ("\ufeff{}", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_json"),
        ('{"a":"x"}'.encode("utf-16"), "invalid_json"),
        ('{"a":"\\u0000"}', "invalid_message"),
        ('{"a":"\\ud800"}', "invalid_message"),
        ('{"a":"\\udc00\\ud800"}', "invalid_message"),
        ('{"a":"\ud800"}', "invalid_message"),
        ('{"\\u0000":1}', "invalid_message"),
        ('{"a":[{"\\ud800":1}]}', "invalid_message"),
        ('"' + "a" * protocol.MAX_FRAME + '"', "too_large"),
        ('"' + "é" * 40_000 + '"', "too_large"),
    ],
)
def test_strict_json(text: str | bytes, code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.loads(text)
    assert caught.value.code == code


@pytest.mark.parametrize("depth", [100_000, 2_000, 65])
def test_deep_and_long_json_within_a_higher_limit(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(ProtocolError, match=r"Not valid JSON|Nested") as caught:
            protocol.loads(text, 10_000_000)
        assert caught.value.code == "invalid_json"
    with pytest.raises(ProtocolError) as caught:
        protocol.loads("1" * 1_000_000, 10_000_000)
    assert caught.value.code == "invalid_json"


def test_sound_json_is_read_as_it_is() -> None:
    text = (
        '{"a":[1,-0.5,1e3,true,null,"\\ud83d\\ude00 é\\n"],"__proto__":{},'
        '"n":-9223372036854775808,"m":9223372036854775807}'
    )
    assert protocol.loads(text) == protocol.loads(text.encode()) == json.loads(text)
    assert protocol.loads("[" * 64 + "]" * 64) == json.loads("[" * 64 + "]" * 64)
    assert protocol.loads("  1 ", 4) == 1
    assert protocol.loads('"' + "a" * (protocol.MAX_FRAME - 2) + '"') == "a" * (protocol.MAX_FRAME - 2)
    assert protocol.loads('"é"', 4) == "é"


def test_unsound_text_is_refused_with_the_nearest_key() -> None:
    error = refusal('{"type":"user_message","id":7,"payload":{"content":"a\\u0000b"}}')
    assert (error.code, error.field, error.ref) == ("invalid_message", "content", 7)


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "9223372036854775808", "-9223372036854775809", "9" * 4_000, "9" * 60_000]
)
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"type":"resume","id":7,"thread_id":"x","after":%s}', "after"),
        ('{"type":"resume","id":7,"payload":{"limit":%s}}', "limit"),
        ('{"type":"ping","id":7,"timestamp":[1,{"at":[%s]}]}', "at"),
        ('{"type":"nonsense","id":7,"more":%s}', "more"),
    ],
)
def test_parse_number_out_of_range_names_its_field(text: str, field: str, number: str) -> None:
    error = refusal(text % number)
    assert (error.code, error.field, error.ref) == ("invalid_message", field, 7)
    json.loads(error.frame())


def test_parse_frame_that_is_a_number_out_of_range_is_refused() -> None:
    assert refusal("9" * 30).code == "invalid_message"


@given(st.text())
def test_loads_raises_only_protocol_errors_on_any_text(text: str) -> None:
    try:
        protocol.loads(text)
    except ProtocolError as error:
        json.loads(error.frame())


@given(st.binary())
def test_loads_raises_only_protocol_errors_on_any_bytes(data: bytes) -> None:
    try:
        protocol.loads(data)
    except ProtocolError as error:
        json.loads(error.frame())


# --- Client frames ---


@pytest.mark.parametrize(
    "type",
    [
        "user_message",
        "start_agent",
        "chat",
        "chat_message",
        "message",
        "execute_agent",
        "agent_execute",
        "agent_request",
    ],
)
@pytest.mark.parametrize("name", ["content", "user_request", "message", "text", "input"])
@pytest.mark.parametrize("place", [None, "payload", "data"])
def test_a_message_under_every_name_in_every_place(type: str, name: str, place: str | None) -> None:
    fields = {name: " Hallo ", "thread_id": A, "agent_type": "echo", "client_msg_id": "c1"}
    message = parse(frame(type, **fields) if place is None else frame(type, **{place: fields}))
    expected = user_message(content=" Hallo ", thread_id=UUID(A), agent="echo", client_msg_id="c1")
    assert (message, message.ref) == (expected, "c1")


def test_a_message_with_everything() -> None:
    message = parse(
        frame(
            content="x",
            thread_id=A.upper(),
            agent="echo",
            agent_type="old",
            parent_id=B,
            attachment_ids=[A, B],
            id=3,
            more=1,
        )
    )
    assert message == user_message(
        content="x", thread_id=UUID(A), agent="echo", parent_id=UUID(B), attachment_ids=(UUID(A), UUID(B)), id=3
    )
    assert (message.parent_given, message.ref) == (True, 3)


def test_null_is_absent_except_for_the_parent() -> None:
    nulls = dict.fromkeys(
        ["thread_id", "agent", "client_msg_id", "parent_id", "attachment_ids", "payload", "data", "id"]
    )
    for text, parent_given in (
        (frame(content="x", **nulls), True),
        (frame(content="x"), False),
        (frame(payload={"content": "x", "parent_id": None}), True),
    ):
        message = parse(text)
        assert message == user_message(content="x")
        assert (message.parent_given, message.ref) == (parent_given, None)


def test_the_top_level_wins_then_payload_then_data() -> None:
    layers = {
        "data": {"content": "data", "agent": "data", "client_msg_id": "data"},
        "payload": {"content": "payload", "agent": "payload"},
    }
    message = parse(frame(content="top", **layers))
    assert isinstance(message, UserMessage)
    assert (message.content, message.agent, message.client_msg_id) == ("top", "payload", "data")


def test_null_hides_no_field_below_it() -> None:
    below = {"content": "x", "thread_id": A, "parent_id": B}
    nulls = dict.fromkeys(below)
    assert parse(frame(**nulls, payload=below)) == user_message(content="x", thread_id=UUID(A), parent_id=UUID(B))
    assert parse(frame(payload=nulls, data=below)) == user_message(content="x", thread_id=UUID(A), parent_id=UUID(B))
    assert parse(frame(**nulls | {"content": "y"}, data={"content": "x"})).parent_given


def test_the_type_is_read_at_the_top_only() -> None:
    assert refusal(json.dumps({"payload": {"type": "ping"}})).field == "type"
    assert isinstance(parse(frame("user_message", payload={"type": "ping", "content": "x"})), UserMessage)


BLANK = (
    "\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200c\u200d\u200e\u200f\u202e\u2060\u2066\u206f\u2800\u3164\ufe0e\ufe0f\ufeff\uffa0\ufff9"
    "\U0001d159\U0001d173\U000e0020\U000e0100\x07\x1b\x85\u2028\u00a0\u1680\u2003\u202f\u205f\u3000"
)


@pytest.mark.parametrize("content", [*BLANK, BLANK, " \t\n\u200b\ufeff"])
def test_user_message_of_nothing_visible_is_refused(content: str) -> None:
    error = refusal(frame(content=content))
    assert (error.code, error.field) == ("invalid_message", "content")


@pytest.mark.parametrize(
    "content",
    [
        "👩‍👩‍👧",
        "❤️",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "é",
        "e\u0301",
        "\u0301",
        "می‌خواهم",
        "क्‍ष",
        "ㅎ",
        "한",
        ".",
        "\u200b.",
        "\ue000",
        "0️⃣",
        "\u0600",
        "\ufffd",
        "𓀀",
    ],
)
def test_user_message_with_anything_visible_is_taken_as_it_is(content: str) -> None:
    typed = f"    {content}\n  "
    message = parse(frame(content=typed))
    assert isinstance(message, UserMessage)
    assert message.content == typed


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "content"),
        ({"content": ""}, "content"),
        ({"content": " \n\t\u2003"}, "content"),
        ({"content": None}, "content"),
        ({"content": 5}, "content"),
        ({"content": True}, "content"),
        ({"content": ["x"]}, "content"),
        ({"message": {"content": "x"}}, "content"),
        ({"content": "x", "thread_id": 5}, "thread_id"),
        ({"content": "x", "thread_id": ""}, "thread_id"),
        ({"content": "x", "thread_id": A.replace("-", "")}, "thread_id"),
        ({"content": "x", "thread_id": "{" + A + "}"}, "thread_id"),
        ({"content": "x", "thread_id": "urn:uuid:" + A}, "thread_id"),
        ({"content": "x", "thread_id": A + "\n"}, "thread_id"),
        ({"content": "x", "thread_id": "' OR 1=1 --"}, "thread_id"),
        ({"content": "x", "thread_id": "٠" * 8 + A[8:]}, "thread_id"),
        ({"content": "x", "parent_id": "root"}, "parent_id"),
        ({"content": "x", "parent_id": False}, "parent_id"),
        ({"content": "x", "agent": 5}, "agent"),
        ({"content": "x", "agent": ""}, "agent"),
        ({"content": "x", "agent": "a" * 65}, "agent"),
        ({"content": "x", "agent_type": {}}, "agent"),
        ({"content": "x", "client_msg_id": 5}, "client_msg_id"),
        ({"content": "x", "client_msg_id": ""}, "client_msg_id"),
        ({"content": "x", "client_msg_id": "a" * 201}, "client_msg_id"),
        ({"content": "x", "attachment_ids": A}, "attachment_ids"),
        ({"content": "x", "attachment_ids": {A: 1}}, "attachment_ids"),
        ({"content": "x", "attachment_ids": [5]}, "attachment_ids"),
        ({"content": "x", "attachment_ids": [None]}, "attachment_ids"),
        ({"content": "x", "attachment_ids": [A, A.upper()]}, "attachment_ids"),
        ({"content": "x", "attachment_ids": [str(UUID(int=number)) for number in range(21)]}, "attachment_ids"),
        ({"content": "x", "payload": "y"}, "payload"),
        ({"content": "x", "payload": []}, "payload"),
        ({"content": "x", "payload": False}, "payload"),
        ({"content": "x", "data": 5}, "data"),
        ({"content": "x", "payload": {}, "data": "y"}, "data"),
    ],
)
def test_bad_message(fields: dict[str, Any], field: str) -> None:
    error = refusal(frame(id="f-1", **fields))
    assert (error.code, error.field) == ("invalid_message", field)


def test_the_longest_names_are_good() -> None:
    message = parse(
        frame(content="x", agent="a" * 64, client_msg_id="é" * 200, attachment_ids=[str(uuid4()) for _ in range(20)])
    )
    assert isinstance(message, UserMessage) and len(message.attachment_ids) == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (frame("regenerate", message_id=A), {"message_id": UUID(A)}),
        (
            frame("regenerate", data={"message_id": A, "agent_type": "echo"}, client_msg_id="c"),
            {"message_id": UUID(A), "agent": "echo", "client_msg_id": "c", "ref": "c"},
        ),
        (frame("stop_agent"), {}),
        (frame("stop_agent", run_id=A, thread_id=None, id=1), {"run_id": UUID(A), "id": 1, "ref": 1}),
        (frame("cancel_run", payload={"thread_id": B}), {"type": "stop_agent", "thread_id": UUID(B)}),
        (frame("resume", thread_id=A, after=0), {"thread_id": UUID(A), "after": 0, "limit": 1000}),
        (
            frame("subscribe", thread_id=A, after=7, limit=1),
            {"type": "resume", "thread_id": UUID(A), "after": 7, "limit": 1},
        ),
        (
            frame("resume", thread_id=A, after=7, limit=10**9, id="r"),
            {"thread_id": UUID(A), "after": 7, "limit": 1000, "id": "r", "ref": "r"},
        ),
        (frame("ping"), {"reply_type": "pong"}),
        (
            frame("ping", id=1, timestamp="now", payload="anything", data=5),
            {"reply_type": "pong", "id": 1, "timestamp": "now", "ref": 1},
        ),
        (frame("ping", payload={"id": "p"}), {"reply_type": "pong", "id": "p", "ref": "p"}),
        (frame("heartbeat", timestamp=1.5), {"reply_type": "heartbeat_ack", "timestamp": 1.5}),
        (frame("heartbeat", id=[1]), {"reply_type": "heartbeat_ack", "id": [1]}),
        (frame("ack", received=0), {"received": 0}),
        (frame("ack", payload={"received": 2**40}), {"received": 2**40}),
        (frame("agent_status"), {}),
        (frame("get_agent_status", id="s"), {"type": "agent_status", "id": "s", "ref": "s"}),
        (frame("authenticate", token=JWT), {"token": JWT}),
        (frame("authenticate", payload={"token": "not even a token"}), {"token": "not even a token"}),
    ],
)
def test_frames(text: str, expected: dict[str, Any]) -> None:
    command = parse(text)
    expected = {"type": json.loads(text)["type"], "id": None, "client_msg_id": None, "ref": None, **expected}
    found = {name: getattr(command, name) for name in expected}
    assert (type(command), found) == (protocol.COMMANDS[expected["type"]], expected)
    assert not any(value for name, value in command.model_dump().items() if name not in expected)


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("not json", "invalid_json", None),
        ("5", "invalid_message", None),
        ("[]", "invalid_message", None),
        ("null", "invalid_message", None),
        ('"ping"', "invalid_message", None),
        ("{}", "invalid_message", "type"),
        ('{"type":null}', "invalid_message", "type"),
        ('{"type":5}', "invalid_message", "type"),
        ('{"type":["ping"]}', "invalid_message", "type"),
        ('{"type":""}', "unknown_type", None),
        ('{"type":"Ping"}', "unknown_type", None),
        ('{"type":"__proto__"}', "unknown_type", None),
        ('{"type":"agent_completed","payload":5}', "unknown_type", None),
        (frame("ping", pad="x" * protocol.MAX_FRAME), "too_large", None),
        (frame("regenerate"), "invalid_message", "message_id"),
        (frame("regenerate", message_id=5), "invalid_message", "message_id"),
        (frame("regenerate", message_id=A, agent=1), "invalid_message", "agent"),
        (frame("regenerate", message_id=A, client_msg_id=1), "invalid_message", "client_msg_id"),
        (frame("stop_agent", run_id=5), "invalid_message", "run_id"),
        (frame("stop_agent", run_id="all"), "invalid_message", "run_id"),
        (frame("stop_agent", thread_id=[]), "invalid_message", "thread_id"),
        (frame("resume", after=0), "invalid_message", "thread_id"),
        (frame("resume", thread_id=A), "invalid_message", "after"),
        (frame("resume", thread_id=A, after=-1), "invalid_message", "after"),
        (frame("resume", thread_id=A, after="0"), "invalid_message", "after"),
        (frame("resume", thread_id=A, after=True), "invalid_message", "after"),
        (frame("resume", thread_id=A, after=0.0), "invalid_message", "after"),
        (frame("resume", thread_id=A, after=0, limit=0), "invalid_message", "limit"),
        (frame("resume", thread_id=A, after=0, limit="9"), "invalid_message", "limit"),
        (frame("ack"), "invalid_message", "received"),
        (frame("ack", received=-1), "invalid_message", "received"),
        (frame("ack", received=True), "invalid_message", "received"),
        (frame("authenticate"), "invalid_message", "token"),
        (frame("authenticate", token=""), "invalid_message", "token"),
        (frame("authenticate", token=5), "invalid_message", "token"),
        (frame("agent_status", data=5), "invalid_message", "data"),
    ],
)
def test_bad_frames(text: str, code: str, field: str | None) -> None:
    error = refusal(text)
    assert (error.code, error.field) == (code, field)


@pytest.mark.parametrize(
    ("fields", "ref"),
    [
        ({"id": 5}, 5),
        ({"id": "x", "client_msg_id": "c"}, "c"),
        ({"payload": {"client_msg_id": "c"}}, "c"),
        ({"payload": 5, "data": {"id": 6}}, 6),
        ({"client_msg_id": 5, "id": "x"}, 5),
        ({"client_msg_id": "", "id": "x"}, "x"),
        ({"id": True}, None),
        ({"id": 1.5}, None),
        ({"id": {"a": 1}}, None),
        ({"id": "x" * 201}, None),
        ({"client_msg_id": "x" * 201, "id": 4}, 4),
        ({"id": "a\ud800"}, None),
        ({"id": 1, "deep": json.loads("[" * 70 + "]" * 70)}, 1),
    ],
)
def test_an_error_carries_the_frames_ref(fields: dict[str, Any], ref: str | int | None) -> None:
    assert refusal(frame("nonsense", **fields)).ref == ref


def test_an_error_repeats_no_content_of_the_frame() -> None:
    for text in (frame(f"nonsense {JWT}"), frame("authenticate", token=[JWT]), frame(content=[JWT])):
        assert JWT not in refusal(text).frame()


@given(st.text())
def test_parse_raises_only_protocol_errors_on_any_text(text: str) -> None:
    try:
        parse(text)
    except ProtocolError as error:
        error.frame().encode()


names = st.sampled_from(
    [
        "content",
        "thread_id",
        "after",
        "limit",
        "id",
        "client_msg_id",
        "payload",
        "data",
        "token",
        "received",
        "attachment_ids",
    ]
)
atoms = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())) | st.just(A)
)
shapes = st.recursive(atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4))


@given(
    st.sampled_from(
        ["user_message", "regenerate", "stop_agent", "resume", "ping", "ack", "agent_status", "authenticate"]
    ),
    st.dictionaries(names, shapes),
)
def test_parse_raises_only_protocol_errors_on_any_fields(type: str, fields: dict[str, Any]) -> None:
    try:
        parse(frame(type, **fields))
    except ProtocolError as error:
        json.loads(error.frame().encode())


def test_fields_of_a_rest_body() -> None:
    assert protocol.user_message_fields({"content": "x", "client_msg_id": "c"}).client_msg_id == "c"
    assert protocol.regenerate_fields({"message_id": A}).message_id == UUID(A)
    for broken in ({"content": 5}, {}):
        with pytest.raises(ProtocolError):
            protocol.user_message_fields(broken)
        with pytest.raises(ProtocolError):
            protocol.regenerate_fields(broken)


# --- Server frames ---


def build(type: str = "agent_delta", **fields: Any) -> tuple[str, str]:
    return protocol.event(
        type, thread_id=A, run_id=B, attempt=1, agent_name="echo", timestamp="2026-11-22T12:00:00.123Z", fields=fields
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.integers(1, 2**63 - 1), json_values)
def test_the_halves_of_an_event_are_one_compact_json_text(seq: int, value: Any) -> None:
    head, tail = build("tool_completed", result=value, success=True)
    expected = {
        "type": "tool_completed",
        "seq": seq,
        "thread_id": A,
        "run_id": B,
        "attempt": 1,
        "agent_name": "echo",
        "timestamp": "2026-11-22T12:00:00.123Z",
        "result": value,
        "success": True,
    }
    text = head + str(seq) + tail
    assert json.loads(text) == expected
    assert text == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))


def test_an_event_without_fields_run_or_agent() -> None:
    head, tail = protocol.event(
        "thread_updated", thread_id=A, run_id=None, attempt=0, agent_name=None, timestamp="t", fields={}
    )
    assert (head, tail) == (
        '{"type":"thread_updated","seq":',
        f',"thread_id":"{A}","run_id":null,"attempt":0,"agent_name":null,"timestamp":"t"}}',
    )


@pytest.mark.parametrize("name", ["type", "seq", "thread_id", "run_id", "attempt", "agent_name", "timestamp"])
def test_fields_cannot_override_the_envelope(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        protocol.event(
            "agent_delta",
            thread_id=A,
            run_id=B,
            attempt=1,
            agent_name="echo",
            timestamp="t",
            fields={"delta": "x", name: 1},
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"a": {1, 2}}, object()])
def test_only_json_becomes_an_event(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        build("tool_completed", result=value)


def test_only_numbered_events_have_a_number() -> None:
    with pytest.raises(ValueError, match="pong"):
        build("pong")
    expected = """message_created agent_started agent_thinking agent_delta tool_executing tool_completed
        subagent_completed input_requested input_resolved run_waiting run_resumed run_restarted thread_updated
        agent_completed agent_failed agent_cancelled"""
    assert frozenset(expected.split()) == protocol.EVENTS
    assert frozenset({"agent_completed", "agent_failed", "agent_cancelled"}) == protocol.TERMINAL
    assert protocol.THE_FIVE == (
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_completed",
    )


def test_no_event_is_over_its_bound() -> None:
    with pytest.raises(ProtocolError) as caught:
        build(delta="é" * (protocol.MAX_EVENT // 2))
    assert caught.value.code == "too_large"
    head, tail = build(delta="")
    room = protocol.MAX_EVENT - len(head + str(2**63) + tail)
    head, tail = build(delta="x" * room)
    assert len(head + str(2**63 - 1) + tail) <= protocol.MAX_EVENT
    with pytest.raises(ProtocolError):
        build(delta="x" * (room + 1))


def test_control_frames_are_compact() -> None:
    assert protocol.control("resumed", thread_id=A, more=False, é=None) == (
        f'{{"type":"resumed","thread_id":"{A}","more":false,"é":null}}'
    )
    with pytest.raises(ValueError, match="JSON"):
        protocol.control("pong", id=float("nan"))


def test_timestamps_are_utc_with_milliseconds() -> None:
    moment = datetime(2026, 11, 22, 12, 0, 0, 123_999, UTC)
    assert protocol.timestamp(moment) == "2026-11-22T12:00:00.123Z"
    assert protocol.timestamp(moment.astimezone(timezone(timedelta(hours=-5)))) == "2026-11-22T12:00:00.123Z"
    assert protocol.timestamp(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"
    with pytest.raises(ValueError, match="zone"):
        protocol.timestamp(datetime(2026, 1, 2))


@pytest.mark.parametrize(
    "result",
    [
        "x" * 300_000,
        '"\\\n' * 200_000,
        "é€😀" * 90_000,
        "\x00" * 45_000 + "y" * 300_000,
        {"rows": list(range(80_000))},
        ["é" * 200_000],
    ],
)
def test_a_large_result_is_cut(result: Any) -> None:
    fields, cut = protocol.cut_result({"tool_name": "t", "result": result, "success": True})
    assert cut and fields["truncated"] is True and fields["tool_name"] == "t" and fields["success"] is True
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    assert text.startswith(fields["result"])
    size = len(json.dumps(fields["result"], ensure_ascii=False).encode())
    assert protocol.MAX_TOOL_RESULT - 8 < size <= protocol.MAX_TOOL_RESULT
    build("tool_completed", **fields)


@pytest.mark.parametrize("result", [None, 5, "x" * (protocol.MAX_TOOL_RESULT - 2), {"a": [1, 2]}])
def test_a_result_within_bounds_stays_as_it_is(result: Any) -> None:
    given_fields = {"tool_name": "t", "result": result}
    assert protocol.cut_result(given_fields) == (given_fields, False)


def test_a_tool_without_result_is_not_cut() -> None:
    assert protocol.cut_result({"tool_name": "t", "error": "boom"}) == ({"tool_name": "t", "error": "boom"}, False)


def test_connection_established() -> None:
    text = protocol.connection_established(
        connection_id="c",
        user_id="17",
        mode=protocol.MODES["/ws/legacy"],
        agents=["echo"],
        server_time=datetime(2026, 11, 22, 12, tzinfo=UTC),
    )
    found = json.loads(text)
    assert found["type"] == "connection_established" and found["timestamp"] == "2026-11-22T12:00:00.000Z"
    data = found["data"]
    assert data.pop("limits")["max_frame"] == 65536
    assert data == {
        "connection_id": "c",
        "user_id": "17",
        "mode": "legacy",
        "agents": ["echo"],
        "events": list(protocol.THE_FIVE),
        "heartbeat_interval": 30,
        "server_time": "2026-11-22T12:00:00.000Z",
    }


def test_the_paths_of_sockets() -> None:
    assert protocol.MODES == {
        "/ws": "main",
        "/ws/factory": "factory",
        "/ws/isolated": "isolated",
        "/ws/legacy": "legacy",
        "/ws/ai-sdk": "ai-sdk",
    }


# --- Older names ---


def older(type: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    head, tail = build(type, **fields)
    frame = json.loads(head + "17" + tail)
    return frame, json.loads(protocol.with_older_names(head + "17" + tail))


@pytest.mark.parametrize(
    ("type", "fields", "added"),
    [
        ("agent_thinking", {"reasoning": "hm", "step_number": 1}, {"thought": "hm"}),
        ("tool_executing", {"tool_name": "t", "parameters": {"a": 1}}, {"tool": "t"}),
        (
            "tool_completed",
            {"tool_name": "t", "result": [1], "success": True, "duration_ms": 1500},
            {"tool": "t", "results": [1], "duration": 1.5, "execution_time_ms": 1500},
        ),
        ("subagent_completed", {"summary": "s", "duration_ms": 12}, {"duration": 0.012, "execution_time_ms": 12}),
        (
            "agent_completed",
            {"final_response": "é", "result": {"x": 1}, "duration_ms": 0},
            {"content": "é", "response": "é", "results": {"x": 1}, "duration": 0.0, "execution_time_ms": 0},
        ),
        ("agent_failed", {"message": "no", "error_code": "timeout"}, {"error_message": "no"}),
        ("message_created", {"content": "hi", "role": "user"}, {}),
        ("agent_delta", {"delta": "d"}, {}),
        ("agent_cancelled", {"status": "cancelled"}, {}),
    ],
)
def test_older_names_stand_beside_the_wires(type: str, fields: dict[str, Any], added: dict[str, Any]) -> None:
    frame, widened = older(type, **fields)
    assert widened == {**frame, **added, "data": fields}


def test_a_field_of_the_event_wins_over_an_older_name() -> None:
    frame, widened = older("agent_completed", final_response="new", content="own")
    assert widened["content"] == frame["content"] == "own" and widened["response"] == "new"


def test_control_frames_stay_as_they_are_for_older_clients() -> None:
    for text in (
        ProtocolError("conflict", "no").frame(),
        protocol.control("message_accepted", client_msg_id="c", thread_id=A, message_id=A, run_id=B, seq=1),
        protocol.control("resumed", thread_id=A, after=3, head=3, more=False),
        '{"type": "pong", "id":1}',
    ):
        assert protocol.with_older_names(text) == text


@pytest.mark.parametrize("size", [200_000, 300_000, 500_000, protocol.MAX_ANSWER])
def test_no_frame_for_older_clients_is_over_the_bound(size: int) -> None:
    head, tail = build("agent_completed", final_response="x" * size, status="completed")
    text = protocol.with_older_names(head + "17" + tail)
    assert len(text.encode()) <= protocol.MAX_EVENT
    assert json.loads(text)["final_response"] == "x" * size
    assert ("data" in json.loads(text)) is (size < 250_000)
    assert ("content" in json.loads(text)) is (size < 340_000)


# --- Errors ---


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_json", 400),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("conflict", 409),
        ("too_large", 413),
        ("unsupported_data", 415),
        ("invalid_message", 422),
        ("unknown_agent", 422),
        ("unknown_type", 422),
        ("upgrade_required", 426),
        ("rate_limited", 429),
        ("internal_error", 500),
        ("unavailable", 503),
    ],
)
def test_errors_have_a_status_and_a_frame(code: str, status: int) -> None:
    error = ProtocolError(code, "Words")
    assert (error.status, str(error)) == (status, "Words")
    assert error.body() == {"error": code, "message": "Words"}
    assert json.loads(error.frame()) == {
        "type": "error",
        "error_code": code,
        "message": "Words",
        "recoverable": code != "unauthorized",
        "ref": None,
    }
    assert len(protocol.STATUS) == 16


def test_an_error_with_everything() -> None:
    error = ProtocolError("rate_limited", "Slower", field="content", ref="c1", retry_after=0)
    assert error.body() == {"error": "rate_limited", "message": "Slower", "field": "content", "retry_after": 0}
    assert json.loads(error.frame()) == {
        "type": "error",
        "error_code": "rate_limited",
        "message": "Slower",
        "recoverable": True,
        "ref": "c1",
        "field": "content",
        "retry_after": 0,
    }


def test_an_unknown_code_is_a_bug() -> None:
    with pytest.raises(KeyError):
        ProtocolError("oops", "Words")


def test_upgrade_required() -> None:
    assert protocol.UPGRADE_REQUIRED["error"] == "upgrade_required"
    assert protocol.UPGRADE_REQUIRED["subprotocols"] == ["jwt-auth", "jwt.<token>", "bearer.<token>"]
    assert isinstance(protocol.UPGRADE_REQUIRED["message"], str)


def test_close_codes_and_limits() -> None:
    assert (
        protocol.CLOSE_DONE,
        protocol.CLOSE_UNAUTHORIZED,
        protocol.CLOSE_TOO_SLOW,
        protocol.CLOSE_TOO_MANY,
        protocol.CLOSE_NOT_READY,
    ) == (1000, 4401, 4408, 4429, 4503)
    assert (protocol.MAX_FRAME, protocol.MAX_EVENT, protocol.MAX_TOOL_RESULT) == (65536, 1048576, 262144)
    assert (protocol.MAX_ANSWER, protocol.MAX_UNREAD, protocol.MAX_AHEAD) == (524288, 4194304, 1048576)
    assert (protocol.HEARTBEAT_INTERVAL, protocol.RESUME_LIMIT) == (30, 1000)
