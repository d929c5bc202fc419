"""The configured model, shared by every agent that uses one.

Model libraries are large: only a worker with a model loads them, for the first answer.
"""

from django.conf import settings


def unavailable() -> str | None:
    """Return the reason why no model can answer, for the user; None if a model can."""
    if not settings.NETRA_MODEL:
        return "No model is configured. An administrator can set NETRA_MODEL."
    if not settings.NETRA_MODEL_KEY and not settings.NETRA_MODEL_URL and not settings.NETRA_MODEL.startswith("ollama:"):
        return "The configured model has no key. An administrator can set NETRA_MODEL_KEY."
    return None
