"""The rate of the frames of one socket, counted where they arrive, without Redis."""

import time

from django.conf import settings

from chat import protocol
from chat.limits.rates import rate_limited

FRAME_WEIGHT_SIZE = 8 * protocol.KIB  # characters of a frame that count as one more frame
RESUME_WEIGHT = 4  # frames that one `resume` counts for, since it reads up to a thousand events


def frame_weight(text: str, resumes: bool = False) -> int:
    """Return the number of frames that this frame counts for."""
    return (RESUME_WEIGHT if resumes else 1) + len(text) // FRAME_WEIGHT_SIZE


class FrameLimiter:
    """The bucket of one socket: FRAME_BURST frames at once, then FRAMES_PER_SECOND."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at = 0.0  # monotonic time

    def acquire(self, frames: float) -> None:
        """Count this number of frames. Raises ProtocolError rate_limited, and then does not count them."""
        now = time.monotonic()
        full_at = max(self._full_at, now) + frames / protocol.FRAMES_PER_SECOND
        wait = full_at - now - protocol.FRAME_BURST / protocol.FRAMES_PER_SECOND
        if wait > 0 and settings.NETRA_RATE_LIMITS:
            raise rate_limited(wait)
        self._full_at = full_at
