"""The installed versions of packages whose private names are used."""

from collections.abc import Mapping
from importlib.metadata import version


def unknown_package(written_for: Mapping[str, str], installed: Mapping[str, str] | None = None) -> str:
    """Return the first package, with its version, that the caller does not know; "" if it knows all of them.

    `written_for` maps each package to the first parts of its version, such as "4.2". `installed` replaces the
    installed versions.
    """
    for package, known in written_for.items():
        found = installed[package] if installed is not None else version(package)
        if not f"{found}.".startswith(f"{known}."):
            return f"{package} {found}"
    return ""
