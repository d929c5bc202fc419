"""`manage.py up`, started for real in a directory of its own with nothing else in its environment."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from chat.devserver import environment as embedded
from chat.devserver.valkey import server_binary
from tests.site import WAIT_TIMEOUT, free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).resolve().parents[2]
PARTS = {"web process": "daphne", "worker": "runagents", "Valkey": "valkey-server"}


class Up:
    """A `manage.py up` and its output; after WAIT_TIMEOUT it is killed and the test fails."""

    def __init__(self, var: Path, **given: str) -> None:
        self.var, self.port, self.lines = var, free_port(), list[str]()
        environment = {"PATH": os.environ["PATH"], "NETRA_DATA_DIR": str(var), "PORT": str(self.port), **given}
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
        with urlopen(request, timeout=WAIT_TIMEOUT) as answer:
            return json.load(answer)

    def status(self, path: str) -> int:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=WAIT_TIMEOUT) as answer:
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
        self.timer = threading.Timer(WAIT_TIMEOUT, process.kill)

    def __enter__(self) -> None:
        self.timer.start()

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()
        self.timer.join()


def run(directory: Path, command: list[str], typed: str = "", **given: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a new terminal does: PATH and NETRA_DATA_DIR alone are set beside what is given."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "NETRA_DATA_DIR": str(directory), **given},
        input=typed,
        capture_output=True,
        start_new_session=True,  # getpass finds no terminal and reads the input
        text=True,
        timeout=WAIT_TIMEOUT,
    )


def manage(directory: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    return run(directory, [sys.executable, "manage.py", *arguments], **given)


def processes(var: Path) -> dict[int, str]:
    """Every process of this directory, whoever its parent is now: pid to command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, given = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        sockets = bytes(embedded.valkey_socket(var))  # Valkey writes its title over its environment
        if f"NETRA_DATA_DIR={var}\0".encode() in given or sockets in command:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode()
    return found


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_TIMEOUT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def valkey(path: Path) -> Iterator[subprocess.Popen]:
    """A Valkey that no `up` started, listening here."""
    embedded.make_private(path.parent)
    command = [server_binary(), "--port", "0", "--unixsocket", path, "--save", ""]
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
    with closing(sqlite3.connect(var / "netra.sqlite3")) as database:
        assert database.execute("SELECT password FROM chat_user").fetchone()[0].startswith("pbkdf2_sha256$")
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


def test_manage_beside_up_with_nothing_set_uses_its_settings(start: Start, tmp_path: Path) -> None:
    up = start(tmp_path)
    up.line("Netra is running")
    email = "ann@netra.example"
    create = manage(tmp_path, "createsuperuser", "--noinput", "--email", email, DJANGO_SUPERUSER_PASSWORD="a first one")
    assert create.returncode == 0, create.stderr
    (line,) = create.stderr.splitlines()
    assert line.startswith(f"Using the settings of `make run` in {tmp_path}: ")
    assert f"DATABASE_URL=sqlite:///{tmp_path}/netra.sqlite3," in line
    assert {name for name in embedded.REQUIRED if name in line} == set(embedded.REQUIRED)
    assert (tmp_path / "secret_key").read_text() not in create.stdout + create.stderr
    change = manage(tmp_path, "changepassword", email, typed="another one\nanother one\n")
    assert change.returncode == 0, change.stderr
    assert up.post("/auth/login", email=email, password="another one")["user"]["email"] == email
    commands = [
        ("check",),
        ("migrate", "--check"),
        ("shell", "--command", "from chat.models import User; print(User.objects.count())"),
        ("export_user", email, str(tmp_path / "ann.zip")),
    ]
    if shutil.which("sqlite3"):
        commands.append(("dbshell", "--", "select count(*) from chat_user"))
    done = {command[0]: manage(tmp_path, *command) for command in commands}
    assert {name: result.stderr for name, result in done.items() if result.returncode} == {}
    assert done["shell"].stdout.strip().splitlines()[-1] == "2"
    assert (tmp_path / "ann.zip").exists()
    assert up.stop() == 0
    assert processes(tmp_path) == {}


def test_manage_with_a_setting_given_names_the_missing_one(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("k" * 48)
    (tmp_path / "netra.sqlite3").touch()
    done = manage(tmp_path, "check", DATABASE_URL=f"sqlite:///{tmp_path}/netra.sqlite3")
    assert done.returncode != 0
    assert done.stderr.startswith("SECRET_KEY is not set.")


@pytest.mark.parametrize("made", [[], ["secret_key"], ["netra.sqlite3"]])
def test_manage_without_a_directory_of_make_run_names_the_missing_one(tmp_path: Path, made: list[str]) -> None:
    for name in made:
        (tmp_path / name).write_text("k" * 48)
    done = manage(tmp_path, "check")
    assert done.returncode != 0
    assert done.stderr.startswith("SECRET_KEY is not set.")
    assert sorted(path.name for path in tmp_path.iterdir()) == made


def test_daphne_beside_a_directory_of_make_run_guesses_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("k" * 48)
    (tmp_path / "netra.sqlite3").touch()
    daphne = [sys.executable, "-m", "daphne", "-p", "0", "netra.asgi:application"]
    done = run(tmp_path, daphne)
    assert done.returncode != 0
    assert "SECRET_KEY is not set." in done.stderr


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
    up = start(tmp_path, NETRA_SHUTDOWN_SECONDS="3600")
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
        assert left.wait(WAIT_TIMEOUT) == 0
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
            NETRA_BASE_PATH="/netra",
        )
        assert "http://netra.test/netra/" in up.line("Netra is running")
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
        ("NETRA_DATA_DIR", "/dev/null/var"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_name(start: Start, tmp_path: Path, name: str, value: str) -> None:
    up = start(tmp_path, **{name: value})
    assert up.end() == 1
    assert up.output.startswith(name)
    assert up.output.count("\n") == 1
