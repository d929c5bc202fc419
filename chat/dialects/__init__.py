"""Dialects of other clients as pure functions of a run's events: no clock, no random id, no state outside the fold."""

from chat.dialects.base import Frame, Projection, RunFacts, Usage, clip, project, rest_of, usage_of
from chat.dialects.sse import COMMENT, sse

__all__ = [
    "COMMENT",
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
