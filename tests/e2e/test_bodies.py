"""Request bodies that are too long, too slow, too many or malformed, under both servers."""

import asyncio
import contextlib
import json
import secrets
import socket
import threading
import time

import httpx
import pytest

from chat.accounts import sessions
from chat.api import bodies
from chat.models import User
from chat.protocol import KIB, MAX_FRAME
from chat.realtime import daphne_reader
from tests import site as sites
from tests.site import WAIT_TIMEOUT, memory, wait_until

SERVERS = ("daphne", "uvicorn")
MAX_DELAY_SECONDS = 0.1  # seconds
SHORT = {"NETRA_BODY_SECONDS": "1"}


@pytest.fixture(scope="module", params=SERVERS)
def _served(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with sites.running(folder, workers=0, server=request.param, **SHORT) as found:
        yield found


@pytest.fixture
def served(_served):
    """A running site under each server, with short limits for slow bodies."""
    yield _served
    _served.close_sockets()


@pytest.fixture
def alice(served):
    return served.register("alice")


class Wire:
    """A connection in bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_TIMEOUT)
        self.file = self.socket.makefile("rb")

    def send(self, *pieces):
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self):
        """(status, headers by lower-case name, body); status 0 where the connection was closed."""
        line = self.file.readline()
        if not line:
            return 0, {}, b""
        headers = {}
        while (field := self.file.readline().rstrip()) != b"":
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = b""
        if "content-length" in headers:
            body = self.file.read(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
        return int(line.split()[1]), headers, body

    def refusal(self):
        """(status, code) of an answer in JSON."""
        status, headers, body = self.answer()
        assert headers["content-type"] == "application/json", (status, headers, body)
        return status, json.loads(body)["error"]

    def close(self):
        self.file.close()
        self.socket.close()

    def is_closed(self):
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65_536):
                pass
        return True


@pytest.fixture
def wire_of():
    """Opens a connection to a site."""
    found = []

    def connect(site):
        found.append(Wire(site.port))
        return found[-1]

    yield connect
    for connection in found:
        connection.close()


@pytest.fixture
def wire(served, wire_of):
    return lambda: wire_of(served)


def head(method, path, *fields):
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "", "")).encode()


def bearer(user):
    return f"Authorization: Bearer {user.access}"


def form(content, name="a.csv"):
    """Return (Content-Type, body)."""
    file = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return "Content-Type: multipart/form-data; boundary=XX", file + content + b"\r\n--XX--\r\n"


def chunks(body, size=1000):
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# ---- Length ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/auth/login", "/admin/login/", "/", "/nowhere", "/ws", "/metrics", "/static/x.js"])
def test_body_longer_than_its_path_allows_is_refused_at_its_headers(wire, path):
    connection = wire()
    connection.send(head("POST", path, f"Content-Length: {MAX_FRAME + 1}"))
    assert connection.refusal() == (413, "too_large")
    assert connection.is_closed()


def test_body_longer_than_an_upload_may_be_is_refused_at_its_headers(wire, alice):
    connection = wire()
    length = 30 * 1024 * KIB
    connection.send(head("POST", "/api/attachments", bearer(alice), f"Content-Length: {length}"))
    assert connection.refusal() == (413, "too_large")
    assert connection.is_closed()


@pytest.mark.parametrize("length", [10**12, 10**30])
def test_body_of_absurd_length_is_refused_at_its_headers(wire, length):
    connection = wire()
    connection.send(head("POST", "/auth/login", f"Content-Length: {length}"))
    assert connection.answer()[0] in (400, 413)
    assert connection.is_closed()


@pytest.mark.parametrize("path", ["/auth/login", "/nowhere"])
def test_chunked_body_is_refused_as_soon_as_it_is_too_long(wire, path):
    connection = wire()
    connection.send(head("POST", path, "Transfer-Encoding: chunked"), chunks(b"x" * (MAX_FRAME + 1))[:-5])
    assert connection.refusal() == (413, "too_large")
    assert connection.is_closed()


def test_body_of_the_greatest_length_reaches_the_view(served, alice):
    padded = json.dumps({"title": "x"}).encode().ljust(MAX_FRAME)
    headers = {"Authorization": f"Bearer {alice.access}", "Content-Type": "application/json"}
    for content in (padded, iter([padded[:100], padded[100:]])):
        answer = httpx.post(f"{served.url}/api/threads", content=content, headers=headers, timeout=WAIT_TIMEOUT)
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 4 * MAX_FRAME, 200 * MAX_FRAME])
def test_client_that_sends_first_and_reads_later_gets_the_refusal(served, size):
    for content in (b"x" * size, iter([b"x" * 1000] * (size // 1000 + 1))):
        answer = httpx.post(f"{served.url}/auth/login", content=content, timeout=WAIT_TIMEOUT)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


# ---- Uploads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi"])
def test_upload_without_a_token_is_refused_before_its_body(wire, token):
    connection = wire()
    fields = [f"Authorization: {token}"] if token else []
    connection.send(head("POST", "/api/attachments", *fields, "Content-Length: 1000000", "Expect: 100-continue"))
    status, headers, body = connection.answer()
    assert (status, json.loads(body)["error"], headers["www-authenticate"]) == (401, "unauthorized", "Bearer")
    assert connection.is_closed()


def test_upload_comes_back_as_it_was_and_is_never_whole_in_memory(served, alice):
    content = secrets.token_hex(12 * 1024 * 1024).encode()
    kind, body = form(content)
    before, most, over = memory(served.web.pid), [0], threading.Event()

    def watch():
        while not over.wait(0.005):
            most[0] = max(most[0], memory(served.web.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    headers = {"Authorization": f"Bearer {alice.access}", "Content-Type": kind.partition(": ")[2]}
    url = f"{served.url}/api/attachments"
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    answers = [httpx.post(url, content=sent, headers=headers, timeout=WAIT_TIMEOUT) for sent in (body, pieces)]
    over.set()
    watching.join()
    for answer in answers:
        assert answer.status_code == 201, answer.text
        got = httpx.get(f"{url}/{answer.json()['id']}/content", headers=headers, timeout=WAIT_TIMEOUT)
        assert got.content == content
    assert most[0] - before < 15 * 1024 * KIB


def test_downloads_that_nobody_reads_stay_on_disk(served, wire, alice):
    kind, body = form(b"a,b\n" * 5 * 1024 * KIB)
    headers = {"Authorization": f"Bearer {alice.access}", "Content-Type": kind.partition(": ")[2]}
    stored = httpx.post(f"{served.url}/api/attachments", content=body, headers=headers, timeout=WAIT_TIMEOUT).json()
    before, unread = memory(served.web.pid), [wire() for _ in range(10)]
    for connection in unread:
        connection.send(head("GET", f"/api/attachments/{stored['id']}/content", bearer(alice)))
    for connection in unread:
        assert b" 200 " in connection.file.readline()
    assert memory(served.web.pid) - before < 40 * 1024 * KIB
    assert unread[0].file.read(stored["size"]).count(b"a,b\n") > stored["size"] / 4 - 1000, (
        "but for what the head takes"
    )


def test_upload_in_chunks_is_taken(wire, alice):
    kind, body = form(b"a,b\n1,2\n")
    connection = wire()
    connection.send(
        head("POST", "/api/attachments", bearer(alice), kind, "Transfer-Encoding: chunked"), chunks(body, 7)
    )
    status, _, answer = connection.answer()
    assert (status, json.loads(answer)["size"]) == (201, 8)


@pytest.mark.parametrize(
    "field", ["Content-Encoding: gzip", "Content-Encoding: br, gzip", "Content-Range: bytes 0-9/99"]
)
def test_body_that_is_compressed_or_a_part_is_refused(wire, alice, field):
    kind, body = form(b"a,b\n1,2\n")
    connection = wire()
    connection.send(head("POST", "/api/attachments", bearer(alice), kind, field, f"Content-Length: {len(body)}"), body)
    assert connection.refusal() == (415, "unsupported_data")


def test_upload_without_a_boundary_is_refused_in_json(wire, alice):
    body = form(b"a,b\n")[1]
    fields = (bearer(alice), "Content-Type: multipart/form-data", f"Content-Length: {len(body)}")
    connection = wire()
    connection.send(head("POST", "/api/attachments", *fields), body)
    assert connection.refusal() == (422, "invalid_message")


def test_upload_waits_for_100_continue_and_gets_it(wire, alice):
    kind, body = form(b"a,b\n")
    fields = (bearer(alice), kind, f"Content-Length: {len(body)}", "Expect: 100-continue")
    connection = wire()
    connection.send(head("POST", "/api/attachments", *fields))
    assert connection.answer()[0] == 100
    connection.send(body)
    assert connection.answer()[0] == 201


# ---- Pace and number -------------------------------------------------------------------------------------


def test_body_that_does_not_arrive_in_time_is_given_up(wire):
    connection = wire()
    connection.send(head("POST", "/auth/login", "Content-Length: 1000"), b"{")
    assert connection.refusal() == (408, "timeout")
    assert connection.is_closed()


def post(user=None, address="192.0.2.1"):
    """The scope of a request with a body."""
    headers = [(b"content-length", b"10")]
    if user:
        headers.append((b"authorization", f"Bearer {sessions.sign_in(user, '').access}".encode()))
    path = "/api/attachments" if user else "/auth/login"
    return {"type": "http", "method": "POST", "path": path, "headers": headers, "client": (address, 1)}


async def statuses(scopes):
    """Return the statuses of the requests that are answered while none of their bodies arrives."""
    answered = []

    async def wait(scope, receive, send):
        await receive()

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    application = bodies.bounded(wait)
    requests = [asyncio.create_task(application(scope, receive, send)) for scope in scopes]
    await asyncio.sleep(0)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    return answered


def test_bodies_on_their_way_from_one_address_are_bounded(settings):
    settings.NETRA_RATE_LIMITS = True
    for _ in range(2):  # and counted only while they are on their way
        scopes = [post() for _ in range(bodies.MAX_ADDRESS_BODIES + 2)] + [post(address="192.0.2.2")]
        assert asyncio.run(statuses(scopes)) == [429, 429]
    settings.NETRA_RATE_LIMITS = False
    assert asyncio.run(statuses(scopes)) == []


def test_uploads_on_their_way_of_one_user_are_bounded(settings, db):
    settings.NETRA_RATE_LIMITS = True
    alice, bob = (User.objects.create_user(f"{name}@example.com", "x") for name in ("alice", "bob"))
    scopes = [post(alice)] * (bodies.MAX_USER_BODIES + 1) + [post(bob)]
    assert asyncio.run(statuses(scopes)) == [429]


def test_client_that_leaves_in_the_middle_of_a_body_leaves_nothing(served, wire, alice):
    kind, body = form(b"x" * 300_000)
    for _ in range(20):
        connection = wire()
        connection.send(
            head("POST", "/api/attachments", bearer(alice), kind, f"Content-Length: {len(body)}"), body[:-9]
        )
        connection.close()
    assert alice.http("GET", "/api/agents/status").status_code == 200
    assert "Traceback" not in served.log("web")
    wait_until(lambda: not list(served.folder.rglob("*.upload*")), "temporary files to go")


# ---- The protocol around bodies --------------------------------------------------------------------------


def test_connection_stays_open_after_a_complete_body(wire):
    connection = wire()
    for _ in range(3):
        connection.send(head("POST", "/auth/login", "Content-Type: application/json", "Content-Length: 2"), b"{}")
        assert connection.refusal() == (422, "invalid_message")
        connection.send(head("POST", "/auth/login", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        connection.send(chunks(b"{}"))
        assert connection.refusal() == (422, "invalid_message")
        connection.send(head("GET", "/health"))
        assert connection.answer()[0] == 200


def test_pipelined_requests_are_answered_in_their_order(wire):
    connection = wire()
    post = head("POST", "/auth/login", "Content-Type: application/json", "Content-Length: 2") + b"{}"
    chunked = head("POST", "/nowhere", "Transfer-Encoding: chunked") + chunks(b"x" * 5000, 100)
    connection.send(post + head("GET", "/health") + chunked + head("HEAD", "/health") + head("GET", "/health"))
    assert [connection.answer()[0] for _ in range(3)] == [422, 200, 404]
    line = connection.file.readline()
    assert b" 200 " in line
    while connection.file.readline().strip():
        pass
    assert connection.answer()[0] == 200


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_request_that_comes_in_pieces_is_read_whole(wire, piece):
    body = json.dumps({"email": "nobody@example.com", "password": "x" * 300}).encode()
    sent = head("POST", "/auth/login", "Content-Type: application/json", "Transfer-Encoding: chunked")
    sent += chunks(body, 50)
    connection = wire()
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.send(*(sent[at : at + piece] for at in range(0, len(sent), piece)))
    assert connection.refusal() == (401, "unauthorized")


def test_refused_body_is_never_taken_for_a_request(wire):
    connection = wire()
    smuggled = head("GET", "/health")
    connection.send(head("POST", "/nowhere", f"Content-Length: {MAX_FRAME + 1}") + smuggled * 20)
    assert connection.refusal() == (413, "too_large")
    assert connection.answer()[0] == 0


SMUGGLED = {
    "both lengths": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "negative": ("Content-Length: -5",),
    "plus": ("Content-Length: +5",),
    "no number": ("Content-Length: five",),
    "other encoding": ("Transfer-Encoding: gzip",),
}


@pytest.mark.parametrize("fields", SMUGGLED.values(), ids=SMUGGLED)
def test_ambiguous_length_is_refused_or_ends_the_connection(wire, fields):
    connection = wire()
    connection.send(head("POST", "/auth/login", *fields) + b"0\r\n\r\n" + head("GET", "/health"))
    status = connection.answer()[0]
    assert status in (400, 413, 415, 422, 501)
    assert status == 400 or connection.answer()[0] in (0, 400), "the rest may be another's request"


@pytest.mark.parametrize("chunk", [b"zz\r\nx\r\n", b"-1\r\nx\r\n", b"2\r\nxyz\r\n", b"0x2\r\nxy\r\n"])
def test_bad_chunk_ends_the_connection(wire, chunk):
    connection = wire()
    connection.send(head("POST", "/auth/login", "Transfer-Encoding: chunked") + chunk + head("GET", "/health"))
    assert connection.answer()[0] == 400
    assert connection.is_closed()


def test_upgrade_with_a_body_is_no_handshake_under_daphne(site, wire_of):
    connection = wire_of(site)
    fields = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Content-Length: 5")
    connection.send(head("POST", "/ws", *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), b"hello")
    assert connection.refusal() == (426, "upgrade_required")


# ---- What daphne and Twisted would answer by themselves --------------------------------------------------

MALFORMED = {
    "no request": b"hello\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "endless line": b"GET /" + b"x" * 20_000,
    "endless header": head("GET", "/", "X-Long: " + "x" * 20_000),
    "many headers": head("GET", "/", *(f"X-{number}: 1" for number in range(600))),
    "header without a colon": head("GET", "/health", "nonsense"),
    "space in a name": head("GET", "/health", "X Y: 1"),
    "underscores are dropped, brackets are not": head("GET", "/health", "X[]: 1"),
    "bad length": head("POST", "/auth/login", "Content-Length: x"),
    "length of many digits": head("POST", "/auth/login", "Content-Length: " + "9" * 5000),
    "bad chunk": head("POST", "/auth/login", "Transfer-Encoding: chunked") + b"x\r\n",
    "path of bytes": b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "tiny chunks": head("POST", "/auth/login", "Transfer-Encoding: chunked") + chunks(b"x" * 5000, 1),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_malformed_request_is_refused_in_json_under_daphne(site, wire_of, sent):
    connection = wire_of(site)
    connection.send(sent)
    assert connection.refusal() == (400, "invalid_message")
    assert connection.is_closed()


@pytest.mark.parametrize("target", [b"/\x85", b"/health?q=\x85"])
def test_bytes_in_an_address_are_refused_in_json_under_daphne(site, wire_of, target):
    connection = wire_of(site)
    connection.send(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert connection.refusal() == (400, "invalid_message")


@pytest.mark.parametrize(
    ("path", "status"), [("/%ff", 404), ("/c/%00", 404), ("/api/threads/%zz", 404), ("/static/%2e%2e%2f", 404)]
)
def test_path_with_bad_escapes_is_answered_in_json(wire, path, status):
    connection = wire()
    connection.send(head("GET", path))
    assert connection.refusal() == (status, "not_found")


def test_host_that_is_not_allowed_is_answered_in_json(wire):
    connection = wire()
    connection.send(b"GET /api/threads HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert connection.refusal() == (403, "forbidden")


def test_unknown_versions_fall_back_to_bodies_that_are_not_parsed(monkeypatch):
    from daphne import http_protocol

    monkeypatch.setattr(http_protocol, "WebRequest", http_protocol.WebRequest)
    daphne_reader.install({"daphne": "5.0.0", "Twisted": "26.10.0"})
    assert http_protocol.WebRequest.keywords == {"parsePOSTFormSubmission": False}


# ---- Others meanwhile ------------------------------------------------------------------------------------


def disturbed(site, count, *kinds):
    """Post bodies beside a socket that pings.

    Returns (answers by kind, seconds in which nine of ten pings were answered, bytes by which the web process grew).
    """
    socket = site.register("bob").connect()
    before = most = memory(site.web.pid)
    waited = []
    posting = site.start("-m", "tests.bodies", str(site.port), str(count), *kinds, log="bodies")
    while posting.poll() is None:
        sent = time.perf_counter()
        assert socket.silent()
        waited.append(time.perf_counter() - sent)
        most = max(most, memory(site.web.pid))
        time.sleep(0.02)  # a socket's frames are limited
    assert posting.returncode == 0, site.log("bodies")
    answers = json.loads(site.log("bodies").splitlines()[-1])
    return answers, sorted(waited)[len(waited) * 9 // 10], most - before


def check_refused(answers):
    assert answers
    for kind, counts in answers.items():
        assert set(counts) <= {"400", "401", "403", "404", "405", "408", "413", "415", "422", "426"}, (kind, counts)


def test_pings_of_others_are_answered_while_bodies_are_posted(served):
    answers, waited, memory_more = disturbed(served, 20, "parts", "fields", "chunked", "within", "slow")
    check_refused(answers)
    # A machine with other things to do delays a ping now and then. Parsed in the loop, bodies delay nearly all.
    assert waited < MAX_DELAY_SECONDS
    assert memory_more < 50 * 1024 * KIB


@pytest.mark.alone
@pytest.mark.parametrize("server", SERVERS)
def test_hundred_bodies_of_every_kind_delay_no_other_socket(tmp_path, server):
    with sites.running(tmp_path, workers=0, server=server, **SHORT) as site:
        # uvicorn's own parser needs a second for bodies in chunks of one byte: that is not ours to mend.
        kinds = ("large", "parts", "fields", "chunked", "within", "slow")
        for kind in (*kinds, *(["tiny chunks"] if server == "daphne" else [])):
            answers, waited, memory_more = disturbed(site, 100, kind)
            check_refused(answers)
            assert waited < MAX_DELAY_SECONDS, kind
            assert memory_more < 50 * 1024 * KIB, kind
