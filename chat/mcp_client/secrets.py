"""The encryption of stored tokens by NETRA_ENCRYPTION_KEYS: the first key encrypts, all of them decrypt."""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def encrypt(values: Mapping[str, Any]) -> str:
    """Return the ciphertext of a JSON object."""
    return _keys().encrypt(json.dumps(values).encode()).decode()


def decrypt(ciphertext: str) -> dict[str, Any] | None:
    """Return the object of a ciphertext; None if none of today's keys made it."""
    try:
        found: dict[str, Any] = json.loads(_keys().decrypt(ciphertext.encode()))
    except InvalidToken:
        return None
    return found


def rotated(ciphertext: str) -> str | None:
    """Return the same object under the first key; None if none of today's keys made the ciphertext."""
    try:
        return _keys().rotate(ciphertext.encode()).decode()
    except InvalidToken:
        return None


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.NETRA_ENCRYPTION_KEYS])
