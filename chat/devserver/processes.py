"""Child processes of `manage.py up` and the supervisor that starts, restarts and stops them.

Each child has a process group of its own, so a Ctrl-C in the terminal reaches the supervisor alone, which stops the
children in order. If the supervisor is killed, Linux kills its children.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from subprocess import DEVNULL, Popen, TimeoutExpired
from types import FrameType
from typing import Any, NoReturn

from django.conf import settings

LIBC = ctypes.CDLL(None)  # loaded before the fork
PR_SET_PDEATHSIG = 1
MAX_RESTARTS_PER_MINUTE = 5
START_TIMEOUT = 60.0  # seconds

Handler = Callable[[int, FrameType | None], Any]


def fail(message: str) -> NoReturn:
    """Print the message to stderr and exit with code 1."""
    print(message, file=sys.stderr, flush=True)
    sys.exit(1)


class ChildProcess:
    """A process that `manage.py up` runs. It is killed if it does not end within `stop_timeout` seconds."""

    def __init__(self, name: str, command: list[str], stop_timeout: float, stops_last: bool = False) -> None:
        self.name, self.command, self.stop_timeout, self.stops_last = name, command, stop_timeout, stops_last
        self.exit_times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start the process, or a new one in its place."""
        self.process = Popen(  # noqa: S603
            self.command,
            cwd=settings.BASE_DIR,
            stdin=DEVNULL,
            process_group=0,
            preexec_fn=partial(_die_with_parent, os.getpid()),
        )

    def exit_reason(self) -> str | None:
        """Return a phrase that says how the process ended, or None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"

    def wait(self) -> None:
        """Wait until the process has ended, then kill its descendants. Kills the process after `stop_timeout`."""
        try:
            self.process.wait(self.stop_timeout)
        except TimeoutExpired:
            self.kill()
            self.process.wait()
        self.kill()

    def kill(self) -> None:
        """Kill the process and its descendants."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Start, restart and stop child processes. `say` prints a line to the user."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.children: list[ChildProcess] = []

    def add(self, child: ChildProcess) -> None:
        """Take over a child that has been started."""
        self.children.append(child)

    def wait_until(self, ready: Callable[[], bool], advice: str) -> None:
        """Return when `ready` returns True. Exits with a message if a child ends or START_TIMEOUT passes before."""
        end = time.monotonic() + START_TIMEOUT
        while not ready():
            for child in self.children:
                if reason := child.exit_reason():
                    fail(f"Netra cannot start: the {child.name} {reason}. {advice}")
            if time.monotonic() > end:
                name = self.children[-1].name
                fail(f"Netra cannot start: the {name} gave no answer in {START_TIMEOUT:.0f} s. {advice}")
            time.sleep(0.1)

    def restart_ended(self) -> None:
        """Restart each child that has ended. Exits if a child ends more than MAX_RESTARTS_PER_MINUTE times."""
        for child in self.children:
            if reason := child.exit_reason():
                child.kill()  # its descendants
                now = time.monotonic()
                child.exit_times = [then for then in child.exit_times if now - then < 60] + [now]
                if len(child.exit_times) > MAX_RESTARTS_PER_MINUTE:
                    times = len(child.exit_times)
                    fail(f"The {child.name} {reason}, for the {times}th time in a minute. Netra stops.")
                self.say(f"The {child.name} {reason}. It is started again.")
                child.start()

    @contextmanager
    def stopping_on_exit(self) -> Iterator[None]:
        """Stop every child at the end of the block; those with `stops_last` after the others have ended."""
        try:
            yield
        finally:
            self.handle_signals(self._kill_all, self._ignore)
            last = [child for child in self.children if child.stops_last]
            first = [child for child in self.children if not child.stops_last]
            if first:
                self.say("Stopping; the worker finishes or hands back its runs (Ctrl-C again hurries it) …")
            for children in (first, last):
                for child in children:
                    child.process.terminate()
                for child in children:
                    child.wait()

    def interrupt_on_signals(self) -> None:
        """Raise KeyboardInterrupt at the first SIGINT, SIGTERM or SIGHUP. A second SIGINT kills the children."""
        self.handle_signals(self._interrupt, self._interrupt)

    def handle_signals(self, on_interrupt: Handler, on_terminate: Handler) -> None:
        """Set the handlers of SIGINT and of SIGTERM and SIGHUP. SIGHUP stays ignored if it is, as under nohup."""
        signal.signal(signal.SIGINT, on_interrupt)
        signal.signal(signal.SIGTERM, on_terminate)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, on_terminate)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.handle_signals(self._kill_all, self._ignore)
        raise KeyboardInterrupt

    def _kill_all(self, number: int, frame: FrameType | None) -> None:
        for child in self.children:
            child.kill()

    def _ignore(self, number: int, frame: FrameType | None) -> None:
        """Ignore a repeated SIGTERM: a process manager may signal `make` and `up`, and `make` signals `up` again."""


def _die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent dies. Runs in the child between fork and exec."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            os.kill(os.getpid(), signal.SIGKILL)
