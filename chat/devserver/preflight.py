"""Checks before and while `manage.py up` starts: the lock of its data directory, its port, the answer of the web."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from django.conf import settings

from chat.devserver.processes import fail


def address() -> str:
    """Return the address of the site, for a browser."""
    return f"{settings.ALLOWED_ORIGINS[0]}{settings.NETRA_BASE_PATH}/"


@contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of the data directory. Exits with a message if another process holds it."""
    with open(directory / "up.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            fail(
                f"Netra is already running in {directory} ({lock.read()}). "
                "Stop it first, or start a second one with another NETRA_DATA_DIR and PORT."
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {address()}")
        lock.flush()
        yield


def check_port(port: int) -> None:
    """Exit with a message if the port of the loopback address cannot be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            fail(f"Port {port} may not be used by this user. Choose another with PORT, from 1024 up.")
        except OSError:
            fail(f"Port {port} is taken by another program. Stop it, or choose another port with PORT.")


def serves(port: int) -> bool:
    """Return True if the web process answers. Refusals and redirects count: settings may refuse a plain request."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
