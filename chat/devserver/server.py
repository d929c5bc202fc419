"""The local installation of `manage.py up`: Valkey, the database, the web process and a worker."""

import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connections

from chat.devserver import valkey
from chat.devserver.preflight import address, check_port, directory_lock, serves
from chat.devserver.processes import ChildProcess, Supervisor, fail
from chat.models import User

ADMINISTRATOR = "admin@localhost"
WEB_STOP_TIMEOUT = 5  # seconds
WORKER_STOP_MARGIN = 5  # seconds that the worker has after NETRA_SHUTDOWN_SECONDS


def run(say: Callable[[str], None]) -> None:
    """Run Netra until SIGINT, SIGTERM or SIGHUP, then stop all of it. Exits with a message if it cannot run.

    `say` prints a line to the user.
    """
    supervisor = Supervisor(say)
    supervisor.interrupt_on_signals()
    try:
        with directory_lock(settings.NETRA_DATA_DIR), _socket_removed(), supervisor.stopping_on_exit():
            _start(supervisor)
            while True:
                time.sleep(0.2)
                supervisor.restart_ended()
    except KeyboardInterrupt:
        say("Netra has stopped.")


def _start(supervisor: Supervisor) -> None:
    check_port(settings.PORT)
    if valkey.is_embedded():
        supervisor.say("Starting Valkey …")
        valkey.start(supervisor)
    supervisor.say("Preparing the database …")
    _prepare_database(supervisor.say)
    supervisor.say("Starting the web process and a worker …")
    # By default Twisted lets 50 connections wait to be accepted; the kernel resets more of a burst.
    endpoint = f"tcp:{settings.PORT}:interface=127.0.0.1:backlog=1024"
    daphne = [sys.executable, "-m", "daphne", "-v", "0", "-e", endpoint]
    supervisor.add(ChildProcess("web process", [*daphne, "netra.asgi:application"], WEB_STOP_TIMEOUT))
    worker = [sys.executable, "manage.py", "runagents"]
    supervisor.add(ChildProcess("worker", worker, settings.NETRA_SHUTDOWN_SECONDS + WORKER_STOP_MARGIN))
    supervisor.wait_until(lambda: serves(settings.PORT), "What it wrote is above.")
    supervisor.say(f"Netra is running. Open {address()} in a browser; Ctrl-C stops it.")


def _prepare_database(say: Callable[[str], None]) -> None:
    try:
        call_command("migrate", interactive=False, verbosity=0)
        if not User.objects.filter(is_superuser=True).exists():
            _create_administrator(say)
    except OperationalError as error:
        fail(f"The database cannot be used: {str(error).strip()}")
    finally:
        connections.close_all()


def _create_administrator(say: Callable[[str], None]) -> None:
    if User.objects.filter(email=ADMINISTRATOR).exists():
        say("There is no administrator; `manage.py createsuperuser` makes one.")
        return
    password = secrets.token_urlsafe(15)
    User.objects.create_superuser(ADMINISTRATOR, password)
    say(f"First administrator: {ADMINISTRATOR}, password {password} (it is not shown again).")


@contextmanager
def _socket_removed() -> Iterator[None]:
    try:
        yield
    finally:
        valkey.remove_socket()
