"""Section 1 of the wire, against a real server: who gets in, what is selected, what is never told."""

import json
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from functools import partial

import httpx
import jwt
import pytest
from websockets.exceptions import InvalidStatus

from chat import protocol
from tests.site import NATIVE_MODES, WAIT_TIMEOUT, Socket

PATHS = tuple(NATIVE_MODES)


@pytest.fixture(autouse=True)
def _closed_afterwards(site):
    """The site closes its sockets after each test."""


@pytest.fixture(scope="module")
def alice(_site):
    return _site.register("alice")


@pytest.fixture(scope="module")
def bob(_site):
    return _site.register("bob")


def encoded(token):
    return urlsafe_b64encode(token.encode()).decode().rstrip("=")


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def mint(user, key=None, algorithm="HS256", **claims):
    """The user's access token with other claims; None leaves one out."""
    claims = jwt.decode(user.access, options={"verify_signature": False}) | claims
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, user.site.environment["SECRET_KEY"] if key is None else key, algorithm)


def filled(offers, token):
    return [offer.format(raw=token, b64=encoded(token)) for offer in offers]


def first(raw, *types):
    """The types of the first frames, and the last of them."""
    found = [json.loads(raw.recv(60)) for _ in types]
    assert [frame["type"] for frame in found] == list(types)
    return found[-1]


def refusal(site, **options):
    """The whole answer to a handshake that is refused, without its date."""
    with pytest.raises(InvalidStatus) as refused:
        site.ws(**options)
    response = refused.value.response
    headers = sorted((name, value) for name, value in response.headers.raw_items() if name.lower() != "date")
    return response.status_code, headers, response.body


class Shut:
    """A socket that has not authenticated."""

    ANSWER = (
        [
            {
                "type": "error",
                "error_code": "unauthorized",
                "message": "Sign in first.",
                "recoverable": False,
                "ref": None,
            }
        ],
        4401,
    )

    def __init__(self, site, path="/ws"):
        self.socket = Socket(site.ws(path), older_names=path.endswith("/legacy"))
        self.greeting = self.socket.next()
        self.send = self.socket.send

    def ended(self):
        """Return the frames after auth_required, and the close code."""
        code = self.socket.closed()
        return self.socket.got[1:], code


# ---- What is accepted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("offers", "header", "selected"),
    [
        (["jwt-auth", "jwt.{b64}"], False, "jwt-auth"),
        (["jwt-auth", "jwt.{raw}"], False, "jwt-auth"),
        (["jwt.{b64}", "jwt-auth"], False, "jwt-auth"),
        (["jwt-auth", "bearer.{b64}"], False, "jwt-auth"),
        (["jwt.{raw}"], False, "jwt.{raw}"),
        (["jwt.{b64}"], False, "jwt.{b64}"),
        (["jwt-auth.{raw}"], False, "jwt-auth.{raw}"),
        (["jwt-auth.{b64}"], False, "jwt-auth.{b64}"),
        (["bearer.{raw}"], False, "bearer.{raw}"),
        (["bearer.{b64}"], False, "bearer.{b64}"),
        (["graphql-ws", "bearer.{b64}", "e2e-testing"], False, "bearer.{b64}"),
        (["jwt.{b64}", "bearer.{raw}"], False, "jwt.{b64}"),
        (["jwt-auth"], True, "jwt-auth"),
        (["graphql-ws", "jwt-auth"], True, "jwt-auth"),
        (["jwt.{b64}"], True, "jwt.{b64}"),
        (None, True, None),
    ],
)
def test_accepted(site, alice, path, offers, header, selected):
    options = {"additional_headers": bearer(alice.access)} if header else {}
    if offers is not None:
        options["subprotocols"] = filled(offers, alice.access)
    raw = site.ws(path, **options)
    assert raw.subprotocol == (selected and selected.format(raw=alice.access, b64=encoded(alice.access)))
    if selected in (None, "jwt-auth"):
        answer = str(raw.response.headers)
        assert alice.access not in answer
        assert encoded(alice.access) not in answer
    assert first(raw, "connection_established")["data"]["user_id"] == alice.id


def test_offers_in_two_header_lines_are_one_list(site, alice):
    lines = (b"Sec-WebSocket-Protocol: jwt-auth", f"Sec-WebSocket-Protocol: jwt.{encoded(alice.access)}".encode())
    raw = site.raw("/ws", *lines)
    assert raw.status == 101
    assert b"sec-websocket-protocol: jwt-auth\r\n" in raw.answer.lower()


def test_the_header_counts_before_the_subprotocol(site, alice, bob):
    for more in ([], ["jwt-auth"]):
        offers = [*more, f"jwt.{encoded(bob.access)}"]
        raw = site.ws(subprotocols=offers, additional_headers=bearer(alice.access))
        assert raw.subprotocol == offers[0]
        assert first(raw, "connection_established")["data"]["user_id"] == alice.id


def test_another_scheme_of_authorization_counts_as_none(site, alice):
    basic = {"Authorization": "Basic YWxpY2U6cGFzc3dvcmQ="}
    raw = site.ws(subprotocols=["jwt-auth", f"jwt.{encoded(alice.access)}"], additional_headers=basic)
    assert first(raw, "connection_established")["data"]["user_id"] == alice.id
    first(site.ws(additional_headers=basic), "auth_required")


@pytest.mark.parametrize(("path", "mode"), list(NATIVE_MODES.items()))
def test_the_first_frame(alice, path, mode):
    hello = alice.connect(path).hello
    data = hello["data"]
    assert hello.keys() == {"type", "timestamp", "data"}
    assert data.keys() == {
        *("connection_id", "user_id", "mode", "agents", "events", "heartbeat_interval", "limits", "server_time")
    }
    assert data["mode"] == mode
    assert data["events"] == ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]
    assert data["agents"][:2] == ["advisor", "assistant"]
    assert data["connection_id"] != alice.connect(path).hello["data"]["connection_id"]


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_handshake_clock_seconds_behind_accepts(site, alice, claim):
    token = mint(alice, **{claim: int(time.time()) + 10})
    assert alice.connect(token=token).silent()
    shut = Shut(site)
    shut.send({"type": "authenticate", "token": token})
    assert shut.socket.receive("authenticated")["user_id"] == alice.id


# ---- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("offers", "header", "reason"),
    [
        (["jwt-auth"], False, "jwt-auth without a token"),
        (["jwt", "{b64}"], False, "No supported subprotocols"),
        (["jwt-auth", "{b64}"], False, "jwt-auth without a token"),
        (["jwt-auth", "{raw}"], False, "jwt-auth without a token"),
        (["graphql-ws"], False, "No supported subprotocols"),
        (["graphql-ws", "e2e-testing"], True, "No supported subprotocols"),
        (["{raw}"], True, "No supported subprotocols"),
        (["JWT.{b64}"], False, "No supported subprotocols"),
        (["jwt."], False, "Malformed token in subprotocol"),
        (["jwt.x", "bearer.{b64}"], False, "Malformed token in subprotocol"),
    ],
)
def test_refused_before_accept(site, alice, path, offers, header, reason):
    before = len(site.log("web"))
    options = {"additional_headers": bearer(alice.access)} if header else {}
    assert refusal(site, path=path, subprotocols=filled(offers, alice.access), **options)[0] == 403
    assert f"refused {path!r}: {reason}" in site.log("web")[before:]


HEADERS = {
    "percent": b"jwt%%2Dauth, jwt.%s",
    "percent alone": b"jwt%%2Dauth",
    "percent in the token": b"jwt.a%%41",
    "encoded line break": b"jwt-auth%%0d%%0aX-Injected:1, jwt.%s",
    "line break": b"jwt-auth\r\n X-Injected: 1, jwt.%s",
    "bare line feed": b"jwt-auth,\nX-Injected: 1, jwt.%s",
    "spaces": b"jwt auth, jwt.%s",
    "empty": b"",
    "empty among others": b"jwt-auth,,jwt.%s",
    "commas": b",,,",
    "duplicates": b"jwt-auth, jwt-auth, jwt.%s",
    "token twice": b"jwt-auth, jwt.%s, jwt.%s",
    "not ASCII": b"jwt-auth, jwt.%s, \xff\xfe",
    "quoted": b'"jwt-auth", jwt.%s',
    "20 KB": b"jwt." + b"a" * 20_000,
    "20 KB of offers": b", ".join(b"a%d" % n for n in range(3_000)) + b", jwt.%s",
    "64 KB": b"jwt." + b"a" * 65_536,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_bad_subprotocol_header_breaks_nothing(site, alice, name):
    value = HEADERS[name]
    token = encoded(alice.access).encode()
    value = value % ((token,) * value.count(b"%s")) if b"%" in value else value
    raw = site.raw("/ws", b"Sec-WebSocket-Protocol: " + value)
    assert raw.status in (0, 400, 403, 500)  # daphne answers some itself, and with 500 what is not ASCII
    assert b"X-Injected" not in raw.answer
    assert token not in raw.answer
    # A server whose checker of applications broke would hang here for five seconds.
    after = site.raw("/ws/unknown")
    after.socket.settimeout(2)
    assert after.status == 403
    assert alice.connect().silent()


@pytest.mark.parametrize(
    "path", ["/", "//ws", "/%2Fws", "/ws/", "/ws/unknown", "/wsx", "/WS", "/ws/factory/deeper", "/api/threads"]
)
def test_a_path_without_a_socket_is_refused(site, alice, path):
    assert refusal(site, path=path, additional_headers=bearer(alice.access))[0] == 403


def test_handshake_token_in_query_or_cookie_is_refused(site, alice):
    for query in ("token", "access_token", "jwt", "authorization"):
        first(site.ws(f"/ws?{query}={alice.access}"), "auth_required")
    for cookie in ("token", "access_token", "netra_refresh", "sessionid"):
        token = alice.refresh if cookie == "netra_refresh" else alice.access
        first(site.ws(additional_headers={"Cookie": f"{cookie}={token}"}), "auth_required")
    assert refusal(site, path=f"/ws?token={alice.access}", subprotocols=["jwt-auth"])[0] == 403
    assert alice.access not in site.log("web")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["X-Test-Mode", "X-User-Id", "X-Auth-Bypass", "X-E2E-Testing", "X-Forwarded-User"])
def test_no_other_header_lets_in(site, alice, path, header):
    first(site.ws(path, additional_headers={header: alice.id}), "auth_required")


# ---- Bad tokens --------------------------------------------------------------------------------------------


def unsigned(user):
    claims = jwt.decode(user.access, options={"verify_signature": False})
    return jwt.encode(claims, None, "none") + "A"  # the wire's form of a token has three parts that are not empty


def flipped(user):
    head, _, signature = user.access.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def logged_out(user):
    gone = user.site.register("gone")
    assert gone.http("POST", "/auth/logout", {"refresh_token": gone.refresh}).status_code == 200
    return gone.access


def inactive(user):
    away = user.site.register("away")
    user.site.shell(f"User.objects.filter(pk={away.id}).update(is_active=False)")
    return away.access


BAD_TOKENS = {
    "expired": (lambda user: mint(user, exp=int(time.time()) - 5), "expired"),
    "expired a second ago": (lambda user: mint(user, exp=int(time.time()) - 1), "expired"),
    "issued minutes from now": (lambda user: mint(user, iat=int(time.time()) + 120), "invalid"),
    "not valid for minutes": (lambda user: mint(user, nbf=int(time.time()) + 120), "invalid"),
    "never expires": (lambda user: mint(user, exp=None), "exp"),
    "signature": (flipped, "invalid"),
    "another key": (lambda user: mint(user, key="another key of a sufficient length, 42"), "invalid"),
    "alg none": (unsigned, "invalid"),
    "alg HS384": (lambda user: mint(user, algorithm="HS384"), "invalid"),
    "audience": (lambda user: mint(user, aud="others"), "invalid"),
    "no audience": (lambda user: mint(user, aud=None), "invalid"),
    "issuer": (lambda user: mint(user, iss="others"), "invalid"),
    "no issuer": (lambda user: mint(user, iss=None), "invalid"),
    "refresh token": (lambda user: user.refresh, "type"),
    "session that ended": (logged_out, "ended"),
    "unknown session": (lambda user: mint(user, sid="00000000-0000-4000-8000-000000000000"), "no such session"),
    "no session": (lambda user: mint(user, sid=None), "names no session"),
    "unknown user": (lambda user: mint(user, user_id="987654321"), "no such session"),
    "inactive user": (inactive, "not active"),
    "user_id as text": (lambda user: mint(user, user_id="alice"), "names no user"),
    "user_id as list": (lambda user: mint(user, user_id=[user.id]), "names no user"),
    "user_id as object": (lambda user: mint(user, user_id={"id": user.id}), "names no user"),
    "user_id null": (lambda user: mint(user, user_id=None), "names no user"),
    "another password": (lambda user: mint(user, hash_password="0" * 32), "password"),
    "garbage": (lambda user: "pppp.qqqq.zzzz", "invalid"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_every_bad_token_gets_the_same_answer(site, alice, name):
    make, reason = BAD_TOKENS[name]
    token = make(alice)
    before = len(site.log("web"))
    expected = refusal(site, subprotocols=["jwt-auth"])
    for offers in (["jwt-auth", "jwt.{b64}"], ["jwt.{raw}"], ["jwt-auth.{b64}"], ["bearer.{b64}"]):
        assert refusal(site, subprotocols=filled(offers, token)) == expected
    assert refusal(site, additional_headers=bearer(token)) == expected
    # A good token elsewhere does not make up for a bad one.
    good = ["jwt-auth", f"jwt.{encoded(alice.access)}"]
    assert refusal(site, additional_headers=bearer(token), subprotocols=good) == expected

    found = Shut(site)
    found.send({"type": "authenticate", "token": token})
    assert found.ended() == Shut.ANSWER

    log = site.log("web")[before:]
    assert reason.lower() in log.lower()
    for secret in (token, encoded(token), token.rpartition(".")[2][1:] or token):
        assert secret not in log
    assert "Traceback" not in log


# ---- In band -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_token_in_band(site, alice, path):
    socket = Shut(site, path).socket
    assert socket.got == [{"type": "auth_required", "timeout": 10.0}]
    assert socket.raw.subprotocol is None
    socket.send({"type": "authenticate", "token": alice.access})
    exp = jwt.decode(alice.access, options={"verify_signature": False})["exp"]
    assert socket.next() == {
        "type": "authenticated",
        "user_id": alice.id,
        "expires_at": protocol.timestamp(datetime.fromtimestamp(exp, UTC)),
    }
    assert socket.next()["type"] == "connection_established"
    accepted = socket.ask("hello")
    assert socket.answer(accepted["run_id"])["final_response"] == "hello "


@pytest.mark.parametrize("place", ["payload", "data"])
def test_a_token_in_band_stands_anywhere(site, alice, place):
    socket = Shut(site).socket
    socket.send({"type": "authenticate", place: {"token": alice.access}})
    assert socket.receive("authenticated")["user_id"] == alice.id


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ping", "id": 1},
        {"type": "user_message", "content": "hello"},
        {"type": "agent_status"},
        {"type": "authenticate"},
        {"type": "authenticate", "token": 5},
        {"type": "authenticate", "token": ""},
        {"type": "unknown"},
        "not JSON",
        "",
        b"binary",
    ],
    ids=str,
)
def test_socket_other_frame_before_authenticate_closes_it(site, alice, frame):
    shut = Shut(site)
    shut.send(frame)
    shut_frames, code = shut.ended()
    assert (shut_frames, code) == Shut.ANSWER


def test_nothing_is_sent_before_authenticate(site, alice):
    shut = Shut(site)
    socket = alice.connect()
    socket.answer(socket.ask("hello")["run_id"])
    shut.send({"type": "ping"})
    assert shut.ended() == Shut.ANSWER


def test_socket_without_authenticate_in_time_is_closed(brisk):
    shut = Shut(brisk)
    assert shut.greeting == {"type": "auth_required", "timeout": 0.5}
    assert shut.ended() == Shut.ANSWER


def test_socket_authenticated_in_time_stays_open(brisk):
    other, user = Shut(brisk), brisk.register("user")
    socket = Shut(brisk).socket
    socket.send({"type": "authenticate", "token": user.access})
    socket.receive("connection_established")
    late = Shut(brisk)
    assert (other.ended()[1], late.ended()[1]) == (4401, 4401)  # its own time is over now
    assert socket.silent()


# ---- The life of a token on a live socket ------------------------------------------------------------------


def in_seconds(seconds):
    return int(time.time()) + seconds


def wire_time(seconds):
    return protocol.timestamp(datetime.fromtimestamp(seconds, UTC))


def test_a_socket_ends_with_its_token_unless_it_is_renewed(alice):
    old, new = in_seconds(2), in_seconds(3)
    ending, renewed = (alice.connect(token=mint(alice, exp=old)) for _ in range(2))
    renewed.send({"type": "authenticate", "token": mint(alice, exp=new)})
    assert renewed.next() == {"type": "authenticated", "user_id": alice.id, "expires_at": wire_time(new)}
    for socket, end in ((ending, old), (renewed, new)):
        assert socket.next() == {"type": "token_expiring", "expires_at": wire_time(end)}
        assert socket.closed() == 4401
        assert socket.got[-1]["type"] == "token_expiring"


def test_a_bad_second_token_changes_nothing(alice, bob):
    socket = alice.connect()
    for token in (bob.access, flipped(alice), alice.refresh, mint(alice, exp=in_seconds(-5)), "x"):
        socket.send({"type": "authenticate", "token": token, "id": "second"})
        error = socket.next()
        assert (error["type"], error["error_code"], error["ref"]) == ("error", "unauthorized", "second")
        assert error["recoverable"] is False
    assert socket.silent()
    accepted = socket.ask("still alice")
    assert socket.answer(accepted["run_id"])["type"] == "agent_completed"
    assert alice.http("GET", f"/api/threads/{accepted['thread_id']}").status_code == 200
    assert bob.http("GET", f"/api/threads/{accepted['thread_id']}").status_code == 404


def test_reuse_of_a_spent_refresh_token_closes_the_sockets_of_that_session_only(site, bob):
    user = site.register("robbed")
    login = {"email": user.email, "password": user.password}
    second = httpx.post(site.url + "/auth/login", json=login, timeout=WAIT_TIMEOUT).json()
    here, elsewhere, other = user.connect(), user.connect(token=second["access_token"]), bob.connect()
    spend = partial(httpx.post, site.url + "/auth/refresh", json={"refresh_token": user.refresh}, timeout=WAIT_TIMEOUT)
    thief = user.connect(token=spend().json()["access_token"])
    assert here.silent()
    assert spend().status_code == 401
    for socket in (here, thief):
        assert socket.closed() == 4401
        assert socket.got[-1] == {"type": "session_revoked"}
    assert elsewhere.silent()
    assert other.silent()


def test_logging_out_ends_the_sockets_of_that_session_only(site, bob):
    user = site.register("leaving")
    login = {"email": user.email, "password": user.password}
    second = httpx.post(site.url + "/auth/login", json=login, timeout=WAIT_TIMEOUT).json()
    here, tab, elsewhere = user.connect(), user.connect("/ws/isolated"), user.connect(token=second["access_token"])
    other = bob.connect()

    rotated = httpx.post(site.url + "/auth/refresh", json={"refresh_token": user.refresh}, timeout=WAIT_TIMEOUT).json()
    assert here.silent()
    assert tab.silent()
    renewed = user.connect(token=rotated["access_token"])
    here.send({"type": "authenticate", "token": rotated["access_token"]})
    here.receive("authenticated")

    assert user.http("POST", "/auth/logout", {"refresh_token": rotated["refresh_token"]}).status_code == 200
    for socket in (here, tab, renewed):
        assert socket.closed() == 4401
        assert socket.got[-1] == {"type": "session_revoked"}
    assert elsewhere.silent()

    everywhere = {"refresh_token": second["refresh_token"], "everywhere": True}
    answer = httpx.post(
        site.url + "/auth/logout", json=everywhere, headers=bearer(second["access_token"]), timeout=WAIT_TIMEOUT
    )
    assert answer.status_code == 200
    assert elsewhere.closed() == 4401
    assert elsewhere.got[-1] == {"type": "session_revoked"}
    assert other.silent()


def test_socket_of_a_deactivated_or_deleted_user_is_closed(brisk):
    deactivated, deleted, staying = (brisk.register(name) for name in ("deactivated", "deleted", "staying"))
    sockets = [user.connect() for user in (deactivated, deleted, staying)]
    brisk.shell(
        f"User.objects.filter(pk={deactivated.id}).update(is_active=False)\nUser.objects.get(pk={deleted.id}).delete()"
    )
    for socket in sockets[:2]:
        assert socket.closed() == 4401
        assert socket.got[-1] == {"type": "session_revoked"}
    assert sockets[2].silent()


# ---- Origin, Host, and plain HTTP --------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_origins(site, alice, path):
    first(site.ws(path, origin=site.url, additional_headers=bearer(alice.access)), "connection_established")
    first(site.ws(path, origin=site.url), "auth_required")
    bad = [
        "null",
        "http://evil.example",
        f"https://127.0.0.1:{site.port}",
        "http://127.0.0.1",
        f"http://127.0.0.1:{site.port + 1}",
        f"http://127.0.0.1.evil.example:{site.port}",
        f"http://evil.example?{site.url}",
    ]
    for origin in bad:
        headers = {"Origin": origin} | bearer(alice.access)
        before = len(site.log("web"))
        assert refusal(site, path=path, additional_headers=headers)[0] == 403, origin
        assert refusal(site, path=path, additional_headers={"Origin": origin})[0] == 403, origin
        assert site.log("web")[before:].count("origin not allowed") == 2


@pytest.mark.parametrize("path", PATHS)
def test_hosts(site, alice, path):
    authorization = f"Authorization: Bearer {alice.access}".encode()
    assert site.raw(path, b"Host: localhost", authorization).status == 101
    assert site.raw(path, b"Host: LOCALHOST:8000", authorization).status == 101
    for host in (b"evil.example", b"127.0.0.1.evil.example", b"localhost@evil.example", b"evil.example:8000"):
        assert site.raw(path, b"Host: " + host, authorization).status == 403
        assert site.raw(path, b"Host: " + host).status == 403


@pytest.mark.parametrize("path", PATHS)
def test_plain_http_is_told_what_to_offer(site, path):
    for headers in ({}, {"Authorization": "Bearer x"}):
        answer = httpx.get(site.url + path, headers=headers, timeout=WAIT_TIMEOUT)
        assert answer.status_code == 426
        body = answer.json()
        assert body.pop("message")
        assert body == {"error": "upgrade_required", "subprotocols": ["jwt-auth", "jwt.<token>", "bearer.<token>"]}


def test_no_token_is_ever_logged(site, alice, bob):
    """Last: over all that the tests above have done."""
    log = site.log("web")
    for user in (alice, bob):
        for token in (user.access, user.refresh):
            assert token not in log
            assert encoded(token) not in log
            assert token.rpartition(".")[2] not in log
