"""The assistant: a general agent with the model of the settings. Without one it says so.

Model libraries are large: they are loaded by the first answer, in a worker that has a model, and by nothing else.
"""

import asyncio
from importlib import import_module

from django.conf import settings

from agents.agent import AgentError, Turn


def unavailable() -> str | None:
    """Why the assistant cannot answer here, for the user; None when it can."""
    if not settings.NETRA_MODEL:
        return "No model is configured. An administrator can set NETRA_MODEL."
    if not settings.NETRA_MODEL_KEY and not settings.NETRA_MODEL_URL and not settings.NETRA_MODEL.startswith("ollama:"):
        return "The configured model has no key. An administrator can set NETRA_MODEL_KEY."
    return None


async def assistant(turn: Turn) -> None:
    """Talk about anything, with a language model and tools."""
    if reason := unavailable():
        raise AgentError(reason, code="unavailable")
    # In a thread: seconds of importing would hold up the worker's other runs.
    conversation = await asyncio.to_thread(import_module, "agents.assistant.conversation")
    await conversation.answer(turn)
