"""One answer: the model speaks, thinks and calls tools through the turn."""

import logging
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

from django.conf import settings
from pydantic_ai import Agent, UsageLimits
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage

from agents.assistant.recording import RecordingModel
from agents.assistant.toolsets import toolsets
from agents.llm.catalogue import entry
from agents.llm.errors import user_error
from agents.llm.history import texts
from agents.llm.models import add, configured, model_settings
from agents.llm.relay import Relay
from agents.llm.tool_policy import INSTRUCTIONS, Context
from agents.sdk import AgentError, Turn
from chat.assistants import Definition

log = logging.getLogger(__name__)


async def answer(turn: Turn, definition: Definition) -> str | None:
    """Answer the turn. Returns the whole text where it is not what was said, else None.

    Raises AgentError for whatever the model or its provider do wrong before they have said anything, and wherever
    another attempt may help. What was said before that is kept otherwise, with a last paragraph that tells what cut it.
    """
    if turn.saved is not None:  # the worker was lost after the answer was complete
        whole: str | None = turn.saved["answer"]
        return whole
    chosen = entry(definition.model)
    await turn.think(f"Asking {chosen.own_name}")
    usage, counted = RunUsage(), RunUsage()
    history, question = texts(turn)
    said, context = Relay(turn), Context.of(turn)
    model = RecordingModel(configured(chosen), turn)

    def count() -> None:
        """Add what was used up since the last count, unless it belongs to a recorded response."""
        nonlocal counted
        spent, counted = deepcopy(usage) - counted, deepcopy(usage)
        if not model.replayed:  # the tools count their calls
            add(turn.usage, replace(spent, tool_calls=0), chosen.model, chosen.options.get("price"))

    async with toolsets(turn, context, definition.policies) as offered:
        agent = Agent(
            model,
            deps_type=Turn,
            instructions=f"{definition.instructions}\n\n{INSTRUCTIONS}\n\nToday is {datetime.now(UTC).date()}.",
            model_settings=ModelSettings(**{**model_settings(chosen), **definition.options}),  # type: ignore[typeddict-item]
            toolsets=offered,
            retries=2,
        )
        try:
            async with (
                agent,
                agent.iter(
                    question,
                    message_history=history,
                    deps=turn,
                    usage=usage,
                    usage_limits=UsageLimits(
                        request_limit=settings.NETRA_MODEL_STEPS,
                        tool_calls_limit=settings.NETRA_MODEL_TOOL_CALLS,
                        total_tokens_limit=settings.NETRA_MODEL_TOKENS,
                    ),
                ) as run,
            ):
                async for node in run:
                    if Agent.is_model_request_node(node):
                        async with node.stream(run.ctx) as events:
                            await said.relay(events)
                        count()
        except Exception as error:
            if isinstance(error, AgentError) and not said.is_streaming:
                raise
            words = user_error(error)
            if words is None:
                raise
            log.warning("run %s: %s", turn.run_id, type(error).__name__)
            if not said.is_kept(words):
                raise words from None
            if not said.is_whole:
                await said.cut(words)
        finally:
            count()
    whole = said.text if said.text != turn.said else None
    await turn.save({"untrusted": sorted(context.earlier | context.brought_in), "answer": whole})
    return whole
