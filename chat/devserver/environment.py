"""Settings of the local installation: environment variables that `manage.py` sets before Django reads its settings.

This module runs before the settings are read, so it imports nothing of Django. A variable that is given wins.
"""

import os
import secrets
import sys
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

BASE_DIR = Path(__file__).resolve().parents[2]
REQUIRED = ("SECRET_KEY", "ALLOWED_HOSTS", "ALLOWED_ORIGINS", "DATABASE_URL", "REDIS_URL")
MAX_SOCKET_PATH_BYTES = 100  # operating systems allow 104 to 108


def prepare() -> None:
    """Make the data directory (mode 0700) and set each required variable that is not given.

    Exits with a message if the directory cannot be used.
    """
    os.umask(0o077)  # the database and attachments are readable by this user only
    directory = data_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = _given("SECRET_KEY") or secret_key(directory / "secret_key")
    except OSError as error:
        sys.exit(f"NETRA_DATA_DIR is {str(directory)!r}, which cannot be used: {error.strerror}.")
    _set_defaults(directory, key)


def reuse() -> None:
    """Set the variables that `prepare` set in the data directory, and print one line that names them to stderr.

    Does nothing if a required variable is given, or if the directory holds no key and database of an earlier `prepare`.
    """
    if any(_given(name) for name in REQUIRED):
        return
    directory = data_directory()
    try:
        if not database_file(directory).is_file():
            return
        key = (directory / "secret_key").read_text().strip()
    except FileNotFoundError:
        return
    except OSError as error:
        print(f"The settings of `make run` in {directory} cannot be read: {error.strerror}.", file=sys.stderr)
        return
    os.umask(0o077)
    _set_defaults(directory, key)
    named = ", ".join(f"{name}={os.environ[name]}" for name in REQUIRED[1:])
    print(f"Using the settings of `make run` in {directory}: SECRET_KEY from secret_key, {named}", file=sys.stderr)


def data_directory() -> Path:
    """Return the data directory: NETRA_DATA_DIR, relative to the project, or `var`."""
    return BASE_DIR / (_given("NETRA_DATA_DIR") or "var")


def database_file(directory: Path) -> Path:
    """Return the path of the SQLite database in this data directory."""
    return directory / "netra.sqlite3"


def secret_key(path: Path) -> str:
    """Return the key in this file; make the file (mode 0600) if it is missing. Concurrent callers get the same key."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(48))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


def valkey_socket(directory: Path) -> Path:
    """Return the path of the Valkey socket of this data directory.

    It is the same at each start, so that the next start finds a Valkey that was left running.
    """
    path = directory / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        digest = sha256(os.fsencode(directory)).hexdigest()[:16]
        # make_private refuses a directory that another user made first.
        path = Path("/tmp") / f"netra-{os.getuid()}-{digest}" / "valkey.sock"  # noqa: S108
    return path


def make_private(directory: Path) -> Path:
    """Make the directory, or change its mode, to 0700 and return it. Raises PermissionError if another user owns it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.lstat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user")
    directory.chmod(0o700)
    return directory


def _set_defaults(directory: Path, key: str) -> None:
    port = _given("PORT") or "8000"
    defaults = {
        "SECRET_KEY": key,
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "NETRA_HTTPS": "off",
        "NETRA_LOG_FORMAT": "text",
        "DATABASE_URL": "sqlite:///" + quote(str(database_file(directory))),
        "REDIS_URL": "unix://" + quote(str(valkey_socket(directory))),
    }
    os.environ.update({name: value for name, value in defaults.items() if not _given(name)})


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()
