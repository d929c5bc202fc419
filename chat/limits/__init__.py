"""Limits on the rate of requests, messages and frames, and on the number of open connections.

Redis counts for all web processes together, and each process also counts for itself. While Redis does not answer, each
limit holds per process. Exceeding a rate raises ProtocolError `rate_limited`. NETRA_RATE_LIMITS=off switches all limits
off.
"""

from typing import TYPE_CHECKING, cast

from django.apps import apps

from chat.limits.connections import ConnectionLimiter, address_slots, user_slots
from chat.limits.frames import FrameLimiter, frame_weight
from chat.limits.rates import Rate, RateLimiter, rate_limited

if TYPE_CHECKING:
    from chat.apps import ChatConfig

__all__ = [
    "ConnectionLimiter",
    "FrameLimiter",
    "Rate",
    "RateLimiter",
    "address_slots",
    "connection_limiter",
    "frame_weight",
    "rate_limited",
    "rate_limiter",
    "user_slots",
]


def rate_limiter() -> RateLimiter:
    """Return the rate limiter of this process, which the app's `ready` made."""
    return _app().rate_limiter


def connection_limiter() -> ConnectionLimiter:
    """Return the connection limiter of this process, which the app's `ready` made."""
    return _app().connection_limiter


def _app() -> "ChatConfig":
    return cast("ChatConfig", apps.get_app_config("chat"))
