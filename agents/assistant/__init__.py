"""The assistant: a general agent with the model of the settings. Without one it says so."""

import asyncio
from importlib import import_module

from agents.sdk import AgentError, Turn
from chat.catalogue import unavailable


async def assistant(turn: Turn) -> str | None:
    """Talk about anything, with a language model and tools."""
    if reason := unavailable():
        raise AgentError(reason, code="unavailable")
    # In a thread: seconds of importing would hold up the worker's other runs.
    conversation = await asyncio.to_thread(import_module, "agents.assistant.conversation")
    said: str | None = await conversation.answer(turn)
    return said
