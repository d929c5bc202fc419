"""Read and check environment variables.

Booleans are on/off/1/0/true/false/yes/no, durations decimal seconds, lists comma-separated.
"""

import re
from os import environ

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str | None = None) -> str:
    """Return the text of a variable. Raises ImproperlyConfigured if it is not set and has no default."""
    value = environ.get(name, "").strip() or default
    if value is None:
        raise ImproperlyConfigured(f"{name} is not set. It must be given in the environment (see .env.example).")
    return value


def flag(name: str, default: bool) -> bool:
    """Return a variable that is on or off. Raises ImproperlyConfigured."""
    value = text(name, "on" if default else "off").lower()
    if value in ("on", "1", "true", "yes"):
        return True
    if value in ("off", "0", "false", "no"):
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}; it must be on, off, 1, 0, true or false.")


def number(name: str, default: int, least: int, most: int = 10**9) -> int:
    """Return a whole number from `least` to `most`. Raises ImproperlyConfigured."""
    value = text(name, str(default))
    if not re.fullmatch(r"\d{1,10}", value) or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number from {least} to {most}.")
    return int(value)


def seconds(name: str, default: float, least: float) -> float:
    """Return a duration in seconds, at least `least`. Raises ImproperlyConfigured."""
    value = text(name, str(default))
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value) or float(value) < least:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a number of seconds, at least {least}.")
    return float(value)


def names(name: str, default: str | None = None) -> list[str]:
    """Return the parts of a list with commas. Raises ImproperlyConfigured for an empty list without a default."""
    found = [part.strip() for part in text(name, default).split(",") if part.strip()]
    if not found and default is None:
        raise ImproperlyConfigured(f"{name} is empty. It must be given in the environment (see .env.example).")
    return found
