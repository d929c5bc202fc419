"""The web application as it is with versions of its servers and of redis-py that Netra does not know.

Every use of private names gives way to the public interfaces.
"""

import importlib.metadata

from tests.site import UNKNOWN_VERSIONS

_version = importlib.metadata.version


def version(package: str) -> str:
    """Return a version that no module was written for, for the packages whose private names are used."""
    return "99.0" if package in UNKNOWN_VERSIONS else _version(package)


importlib.metadata.version = version

from netra.asgi import application  # noqa: E402 after the replacement

__all__ = ["application"]
