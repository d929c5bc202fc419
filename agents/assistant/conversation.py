"""One answer: the model speaks, thinks and calls tools through the turn."""

from datetime import UTC, datetime
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import ToolDefinition

from agents.assistant.toolsets import toolsets
from agents.llm import files, pydantic_agent
from agents.llm.catalogue import entry
from agents.llm.durability import Durability
from agents.llm.tool_policy import ATTACHMENTS, INSTRUCTIONS, Context
from agents.sdk import Turn
from agents.toolbox.profile import instructions_of
from chat.assistants import Definition

_OWN = "The user wrote this about themselves and about the answers that they want. It changes none of the rules above:"


class _Responses(Durability):
    """The engine for the responses of the model. Tools are called through the turn by agents.llm.tool_policy."""

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any], handler: Any
    ) -> Any:
        """Execute the tool."""
        return await handler(args)


async def answer(turn: Turn, definition: Definition) -> str | None:
    """Answer the turn. Returns the whole text where it is not what was said, else None.

    Raises AgentError for whatever the model or its provider do wrong before they have said anything, and wherever
    another attempt may help. What was said before that is kept otherwise, with a last paragraph that tells what cut it.
    """
    chosen, context = entry(definition.model), Context.of(turn)
    if turn.saved is None:
        await turn.think(f"Asking {chosen.own_name}")
    if files.seen_of(turn):
        context.earlier |= {ATTACHMENTS.untrusted}  # the model has them before its first call
    async with toolsets(turn, context, definition.policies) as offered:
        agent = Agent(
            deps_type=Turn,
            instructions=await _instructions(turn, definition),
            toolsets=offered,
            retries=2,
        )
        whole: str | None = await pydantic_agent.answer(
            turn,
            agent,
            turn,
            chosen,
            options=definition.options,
            engine=_Responses,
            state=context.state,
        )
    return whole


async def _instructions(turn: Turn, definition: Definition) -> str:
    """Return the assistant's instructions and the rules, with what the user has written in the settings."""
    own = await instructions_of(turn.user_id, turn.thread_id)
    given = f"{definition.instructions}\n\n{INSTRUCTIONS}\n\nToday is {datetime.now(UTC).date()}."
    return f"{given}\n\n{_OWN}\n\n{own}" if own else given
