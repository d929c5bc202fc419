"""Comparison of what a server sends with the declarations of frames."""

from typing import Any

from chat.protocol import SERVER_FRAME


def check(frame: dict[str, Any], older_names: bool = False) -> dict[str, Any]:
    """Return a frame of the server; fail if it is not as declared, or has fields that are not declared."""
    SERVER_FRAME.validate_python(frame, extra="ignore" if older_names else "forbid")
    return frame
