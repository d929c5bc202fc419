"""Dialects of other clients as pure functions of a run's events: no clock, no random id, no state outside the fold."""

from chat.dialects.base import (
    ANSWER_HEADERS,
    PATHS,
    Frame,
    Projection,
    RunFacts,
    Usage,
    clip,
    project,
    rest_of,
    usage_of,
)
from chat.dialects.sse import COMMENT, sse

__all__ = [
    "ANSWER_HEADERS",
    "COMMENT",
    "PATHS",
    "Frame",
    "Projection",
    "RunFacts",
    "Usage",
    "clip",
    "project",
    "rest_of",
    "sse",
    "usage_of",
]
