"""The assistants: general agents with a model and tools, as administrators define them. Without a model they say so."""

import asyncio
from importlib import import_module

from agents.sdk import AgentError, Turn
from chat.assistants import Definition
from chat.catalogue import unavailable


async def answer(turn: Turn, definition: Definition) -> str | None:
    """Answer the turn as this assistant. Returns the whole text where it is not what was said, else None."""
    if reason := unavailable(definition.model):
        raise AgentError(reason, code="unavailable")
    # In a thread: seconds of importing would hold up the worker's other runs.
    conversation = await asyncio.to_thread(import_module, "agents.assistant.conversation")
    whole: str | None = await conversation.answer(turn, definition)
    return whole
