"""A whole Netra for end-to-end tests: real daphne, real workers, real Redis protocol, a database of its own.

Nothing in it is replaced; what is short are the times in its settings.
"""

import atexit
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
from redis import Redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chat.devserver.valkey import server_binary
from chat.protocol import EVENTS, MODES, TERMINAL
from tests.frames import check

ROOT = Path(__file__).resolve().parent.parent
NATIVE_MODES = {path: mode for path, mode in MODES.items() if mode != "ai-sdk"}  # with Netra's own frames
WAIT_TIMEOUT = 240.0  # seconds after which a test that waits has failed; a busy machine starts a site in 60
USERS_OF_AN_ADDRESS = 50  # that a site registers from one address


_reserved: list[socket.socket] = []


def free_port() -> int:
    """Reserve a TCP port until this process ends.

    The port is below those that the system gives to outgoing connections. The UDP port of the same number is the
    reservation: no other process that asks here gets it, also while no server of the test listens.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe:
            try:
                reservation.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
            else:
                _reserved.append(reservation)
                return port


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return the result of `condition`, as soon as it is true."""
    end = time.monotonic() + WAIT_TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)
    return found


def memory(pid: int) -> int:
    """Bytes that the process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


UNKNOWN_VERSIONS = ("daphne", "autobahn", "Twisted", "redis")  # in tests/plain_servers.py


@dataclass
class User:
    """Someone with an account on the site."""

    site: "Site"
    id: str
    email: str
    password: str
    access: str
    refresh: str

    def http(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.access}"}
        return httpx.request(method, self.site.url + path, json=body, headers=headers, timeout=WAIT_TIMEOUT)

    def connect(self, path: str = "/ws", token: str | None = None) -> "Socket":
        """A socket as a browser opens it, after its connection_established."""
        encoded = urlsafe_b64encode((token or self.access).encode()).decode().rstrip("=")
        raw = self.site.ws(path, subprotocols=["jwt-auth", f"jwt.{encoded}"])
        found = Socket(raw, older_names=path.endswith("/legacy"))
        found.hello = found.receive("connection_established")
        return found


class Socket:
    """A client: what it got stays in `got`, in order. Each frame is compared with its declaration."""

    def __init__(self, raw: ClientConnection, older_names: bool = False) -> None:
        self.raw, self.older_names, self.got = raw, older_names, list[dict[str, Any]]()
        self.hello: dict[str, Any] = {}

    def send(self, frame: dict[str, Any] | str | bytes) -> None:
        self.raw.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = check(json.loads(self.raw.recv(WAIT_TIMEOUT)), self.older_names)
        self.got.append(frame)
        return frame

    def receive(self, *types: str, **fields: Any) -> dict[str, Any]:
        """The next frame of one of these types with these fields; what comes before it stays in `got`."""
        while True:
            frame = self.next()
            if frame["type"] in types and all(frame.get(name) == value for name, value in fields.items()):
                return frame

    def ask(self, content: str, agent: str = "echo", **fields: Any) -> dict[str, Any]:
        """Send a user_message; its message_accepted."""
        self.send({"type": "user_message", "content": content, "agent": agent, **fields})
        return self.receive("message_accepted")

    def answer(self, run_id: str) -> dict[str, Any]:
        """The run's terminal event, got already or to come."""
        for frame in self.got:
            if frame["type"] in TERMINAL and frame["run_id"] == run_id:
                return frame
        return self.receive(*TERMINAL, run_id=run_id)

    def events(self, thread_id: str) -> list[dict[str, Any]]:
        """The numbered events of the thread among what it got."""
        return [frame for frame in self.got if frame["type"] in EVENTS and frame["thread_id"] == thread_id]

    def silent(self) -> bool:
        """Tell if no frame was on its way: a ping is answered after all that was sent before it."""
        before = len(self.got)
        mark = uuid.uuid4().hex
        self.send({"type": "ping", "id": mark})
        self.receive("pong", id=mark)
        return len(self.got) == before + 1

    def close(self) -> None:
        self.raw.close()

    def closed(self) -> int:
        """The close code, once the server has closed."""
        try:
            while True:
                self.next()
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 1006


class Raw:
    """A handshake in bytes, for what no client library would send. `status` is 0 where there was no answer."""

    def __init__(self, port: int, path: str, *lines: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_TIMEOUT)
        if not any(line.lower().startswith(b"host:") for line in lines):
            lines = (f"Host: 127.0.0.1:{port}".encode(), *lines)
        fixed = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        self.answer = b""
        with suppress(ConnectionError):
            head = (f"GET {path} HTTP/1.1".encode(), *fixed, key, *lines, b"", b"")
            self.socket.sendall(b"\r\n".join(head))
            while b"\r\n\r\n" not in self.answer and (piece := self.socket.recv(65536)):
                self.answer += piece
        self.status = int(self.answer.split()[1]) if self.answer else 0

    def ended(self) -> bool:
        """True, once the server has ended the connection."""
        with suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True


class Site:
    """`settings` are environment variables. Workers are started by `worker()`, at least once."""

    def __init__(self, folder: Path, server: str = "daphne", **settings: str) -> None:
        self.folder, self.server, self.port = folder, server, free_port()
        self.worker_figures = ""
        self._registered = 0
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis_socket = folder / "valkey.sock"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "tests.site_settings",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "ALLOWED_ORIGINS": self.url,
            "NETRA_HTTPS": "off",
            "NETRA_DATA_DIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder}/site.sqlite3",
            "REDIS_URL": f"unix://{self.redis_socket}",
            "NETRA_AGENTS": ",".join(f"{name}=tests.agents.{name}" for name in AGENTS),
            "NETRA_POLL_SECONDS": "0.5",
            **settings,
        }
        self._sockets: list[ClientConnection | socket.socket] = []
        self.web: subprocess.Popen[bytes] | None = None
        self.web_options: list[str] = []  # more of the server's
        self.application = "netra.asgi:application"
        self.redis: subprocess.Popen[bytes] | None = None

    # ---- processes ----

    def start(self, *command: str, log: str, **settings: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log}.log").open("ab") as output:
            environment = {**self.environment, **settings}
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        self.processes.append(process)
        return process

    def start_redis(self) -> None:
        """An empty Redis; the site's own, so that a test may kill it."""
        self.redis_socket.unlink(missing_ok=True)
        command = [str(server_binary()), "--port", "0", "--unixsocket", str(self.redis_socket), "--save", ""]
        with (self.folder / "redis.log").open("ab") as output:
            self.redis = subprocess.Popen([*command, "--appendonly", "no"], stdout=output, stderr=output)
        self.processes.append(self.redis)
        wait_until(self.redis_socket.exists, "Redis to listen")

    def flush_redis(self) -> None:
        with Redis(unix_socket_path=str(self.redis_socket), socket_timeout=WAIT_TIMEOUT) as redis:
            redis.flushall()

    def create_database(self) -> None:
        """Copy the template that this process migrated for all its sites."""
        source, url = template(postgres()), self.environment["DATABASE_URL"]
        if postgres():
            execute(f"CREATE DATABASE {urlsplit(url).path[1:]} TEMPLATE {source}")
        else:
            shutil.copy(source, url.removeprefix("sqlite:///"))

    def start_web(self) -> None:
        options = {
            "daphne": ["-v", "0", "-e", f"tcp:{self.port}:interface=127.0.0.1:backlog=1024"],
            "uvicorn": ["--log-level", "error", "--host", "127.0.0.1", "--port", str(self.port)],
        }
        command = ["-m", self.server, *options[self.server], *self.web_options]
        self.web = self.start(*command, self.application, log="web")
        wait_until(self._is_up, f"{self.server}\n{self.log('web')}")

    def _is_up(self) -> bool:
        assert self.web is not None
        assert self.web.poll() is None, self.log("web")
        try:
            return httpx.get(self.url + "/health", timeout=WAIT_TIMEOUT).status_code == 200
        except httpx.TransportError:
            return False

    def worker(self, *options: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a further worker with these settings beside the site's; return it once it is registered."""
        before = self.log("worker").count(" executes ")
        process = self.start("manage.py", "runagents", *options, log="worker", **settings)
        wait_until(lambda: self.log("worker").count(" executes ") > before or process.poll() is not None, "a worker")
        assert process.poll() is None, self.log("worker")
        self.workers.append(process)
        return process

    @contextmanager
    def locked(self, mode: str = "EXCLUSIVE") -> Iterator[None]:
        """Hold the lock that every write needs; on PostgreSQL it is that of the threads, in this mode."""
        url = self.environment["DATABASE_URL"]
        if url.startswith("postgres"):
            with psycopg.connect(url) as held:
                held.execute(f"LOCK TABLE chat_thread IN {mode} MODE")
                yield
            return
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20, isolation_level=None)) as held:
            held.execute("BEGIN IMMEDIATE")
            yield
            held.rollback()

    def shell(self, code: str, publishes: bool = False) -> None:
        """Run code beside the site. Its messages reach the site's Redis only if it `publishes`."""
        redis = self.environment["REDIS_URL"] if publishes else f"unix://{self.folder}/nowhere.sock"
        process = self.start("manage.py", "shell", "-v", "0", "-c", code, log="shell", REDIS_URL=redis)
        assert process.wait() == 0, self.log("shell")

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def repair(self) -> None:
        """Start again what a test has killed: Redis, web, or the last worker."""
        for start in (self.start_redis, self.start_web):
            process = self.redis if start == self.start_redis else self.web
            if process is None or process.poll() is not None:
                start()
        if all(worker.poll() is not None for worker in self.workers):
            self.worker()

    def stop(self) -> None:
        self.close_sockets()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes:
            process.wait()

    # ---- clients ----

    def ws(self, path: str = "/ws", **options: Any) -> ClientConnection:
        """An open connection; `close_sockets` closes it. Raises websockets' InvalidStatus for a refusal."""
        url = self.url.replace("http", "ws", 1) + path
        context = connect(url, compression=None, max_size=None, max_queue=None, open_timeout=WAIT_TIMEOUT, **options)
        found = context.__enter__()
        self._sockets.append(found)
        return found

    def raw(self, path: str, *lines: bytes) -> Raw:
        found = Raw(self.port, path, *lines)
        self._sockets.append(found.socket)
        return found

    def close_sockets(self) -> None:
        while self._sockets:
            self._sockets.pop().close()

    def register(self, name: str = "user") -> User:
        email, password = f"{name}-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
        given = {"email": email, "password": password, "name": name}
        # An address may register 100 users at once; a run of all tests has more, and the page registers some itself.
        source = f"127.0.0.{1 + self._registered // USERS_OF_AN_ADDRESS}" if sys.platform == "linux" else None
        self._registered += 1
        with httpx.Client(transport=httpx.HTTPTransport(local_address=source), timeout=WAIT_TIMEOUT) as http:
            response = http.post(self.url + "/auth/register", json=given)
        assert response.status_code == 201, response.text
        body = response.json()
        return User(self, body["user"]["id"], email, password, body["access_token"], body["refresh_token"])


AGENTS = (
    "asking",
    "refunding",
    "settling",
    "staged",
    "perilous",
    "timed",
    "slow",
    "gated",
    "musing",
    "loud",
    "brooding",
    "lengthy",
    "failing",
    "raising",
    "recalling",
    "quoting",
    "retrying",
    "sneaky",
    "family",
    "tooled",
    "bulky",
    "structured",
    "mirror",
    "odd",
    "stubborn",
    "hanging",
    "impatient",
    "chaotic",
    "pensive",
    "ticking",
    "deadly",
    "costly",
    "curious",
)


def postgres() -> str:
    """Return DATABASE_URL if it names a PostgreSQL, on which every site then has a database of its own."""
    given = os.environ.get("DATABASE_URL", "")
    return given if given.startswith("postgres") else ""


def execute(statement: str) -> None:
    with psycopg.connect(postgres(), autocommit=True) as connection:
        connection.execute(statement)


templates = ExitStack()  # removes them; pytest-xdist ends its workers before they come to atexit
atexit.register(templates.close)


@cache
def template(server: str) -> str:
    """Migrate a database for `create_database`. Returns its name on the PostgreSQL `server`, or its SQLite file."""
    folder = Path(tempfile.mkdtemp(prefix="netra-template-"))
    templates.callback(shutil.rmtree, folder, ignore_errors=True)
    if server:
        name = f"netra_template_{secrets.token_hex(4)}"
        execute(f"CREATE DATABASE {name}")
        templates.callback(execute, f"DROP DATABASE {name} WITH (FORCE)")
        site = Site(folder, DATABASE_URL=urlunsplit(urlsplit(server)._replace(path=f"/{name}")))
    else:
        name = f"{folder}/site.sqlite3"
        site = Site(folder)
    assert site.start("manage.py", "migrate", "-v", "0", log="migrate").wait() == 0, site.log("migrate")
    return name


@contextmanager
def empty(folder: Path, server: str = "daphne", **settings: str) -> Iterator[Site]:
    """Yield a site without processes: on SQLite, or with a database of its own on PostgreSQL if DATABASE_URL names one.

    `create_database` comes before its first process.
    """
    name = f"netra_site_{secrets.token_hex(4)}"
    if postgres():
        settings["DATABASE_URL"] = urlunsplit(urlsplit(postgres())._replace(path=f"/{name}"))
    site = Site(folder, server, **settings)
    try:
        yield site
    finally:
        site.stop()
        if postgres():
            execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running(folder: Path, workers: int = 1, server: str = "daphne", **settings: str) -> Iterator[Site]:
    """A site with its own Valkey, one web process and this many workers."""
    with empty(folder, server, **settings) as site:
        site.start_redis()
        site.create_database()
        site.start_web()
        for _ in range(workers):
            site.worker()
        yield site
