"""The embedded default: what `manage.py up` puts into the environment before the settings are read.

It runs before there are settings, so it knows no Django. What is given in the environment wins over all of it.
"""

import os
import secrets
import sys
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

BASE_DIR = Path(__file__).resolve().parent.parent
LONGEST_SOCKET_PATH = 100  # bytes; the systems end it at 104 to 108


def prepare() -> None:
    """Make the directory NETRA_VAR, mode 0700, and set every variable that is needed and not given."""
    os.umask(0o077)  # whatever a part writes, the database first, is for this user only
    var = BASE_DIR / (_given("NETRA_VAR") or "var")
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = _given("SECRET_KEY") or secret_key(var / "secret_key")
    except OSError as error:
        sys.exit(f"NETRA_VAR is {str(var)!r}, which cannot be used: {error.strerror}.")
    port = _given("PORT") or "8000"
    defaults = {
        "SECRET_KEY": key,
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "NETRA_HTTPS": "off",
        "NETRA_LOG": "text",
        "DATABASE_URL": "sqlite:///" + quote(str(var / "netra.sqlite3")),
        "REDIS_URL": "unix://" + quote(str(valkey_socket(var))),
    }
    os.environ.update({name: value for name, value in defaults.items() if not _given(name)})


def secret_key(path: Path) -> str:
    """The key in this file, which is made with mode 0600 where there is none; two that make it at once get the same."""
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


def valkey_socket(var: Path) -> Path:
    """Where the Valkey of this directory listens: the same path at every start, so that one left behind is found."""
    path = var / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        digest = sha256(os.fsencode(var)).hexdigest()[:16]
        path = Path("/tmp") / f"netra-{os.getuid()}-{digest}" / "valkey.sock"  # noqa: S108 `private` refuses one of another user
    return path


def private(directory: Path) -> Path:
    """The directory, made if need be, with mode 0700. Raises PermissionError if another user made it first."""
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.lstat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user")
    directory.chmod(0o700)
    return directory


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()
