"""Agents of pydantic-ai as agents of Netra: any `pydantic_ai.Agent` that NETRA_AGENTS names."""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

from django.conf import settings
from pydantic_ai import UsageLimits
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.durable_exec import replay_scope
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse, RetryFeedbackPart
from pydantic_ai.models import Model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_core import to_jsonable_python

from agents.llm import files, history
from agents.llm.catalogue import Entry, entry
from agents.llm.delegation import SharedUsage
from agents.llm.durability import Durability
from agents.llm.errors import user_error
from agents.llm.models import configured, model_settings
from agents.llm.relay import Relay
from agents.sdk import AgentError, Turn
from agents.sdk.current import using
from chat.catalogue import unavailable


class PydanticAgent:
    """An agent of pydantic-ai that answers turns.

    `deps_for` makes the dependencies of a run from its turn, also as a coroutine. Raises TypeError for an agent whose
    dependencies nothing makes.
    """

    def __init__(self, agent: AbstractAgent[Any, Any], deps_for: Callable[[Turn], Any] | None = None) -> None:
        if deps_for is None and agent.deps_type not in (Turn, type(None), object):
            raise TypeError(
                f"its dependencies are {agent.deps_type.__name__}: add `def deps_for(turn)` beside it, which makes them"
            )
        self._agent, self._deps_for = agent, deps_for
        self.__doc__ = agent.description or agent.name

    def unavailable(self) -> str | None:
        """Return the reason why no model can answer; None if one can."""
        return None if self._agent.model is not None else unavailable()

    async def __call__(self, turn: Turn) -> Any:
        """Answer the turn; see `answer`."""
        deps: Any = turn if self._agent.deps_type is Turn else None
        if self._deps_for is not None:
            deps = self._deps_for(turn)
            deps = await deps if inspect.isawaitable(deps) else deps
        return await answer(turn, self._agent, deps, None if self._agent.model is not None else entry())


def served(agent: AbstractAgent[Any, Any], module: object) -> PydanticAgent:
    """Return the agent as one of Netra's; `deps_for` is a function of its module. Raises TypeError."""
    return PydanticAgent(agent, getattr(module, "deps_for", None))


async def answer(
    turn: Turn,
    agent: AbstractAgent[Any, Any],
    deps: Any = None,
    model: Entry | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    engine: type[Durability] = Durability,
    state: Callable[[], Mapping[str, Any]] = dict,
) -> Any:
    """Let the agent answer the turn, with its own model or that of the catalogue, and save its messages.

    `options` are settings of requests to a model of the catalogue, `state` gives what is saved beside the messages.

    Returns the text of the answer where it is not what was said, the agent's structured output as JSON values, or None.
    Raises AgentError for a failure of the model or its provider, unless text is kept: see `Relay.is_kept`.
    """
    match turn.saved:
        case {"answer": returned}:  # the worker was lost after the answer was complete
            return returned
    relay = Relay(turn, is_marked=model is not None)
    result = None
    async with _served(agent, model) as (chosen, own):
        durability = engine(agent, turn, relay, chosen, model, is_streaming=_can_stream(chosen))
        if options:
            own["model_settings"] = {**own["model_settings"], **options}
        earlier, text = history.before(turn, _context_of(chosen))
        question = await files.question_of(turn, text, chosen)
        await relay.tell(question.note)
        try:
            with replay_scope(), using(lambda: turn):
                result = await agent.run(
                    question.content,
                    message_history=earlier,
                    deps=deps,
                    usage=SharedUsage(),
                    usage_limits=UsageLimits(
                        request_limit=settings.NETRA_MODEL_STEPS,
                        tool_calls_limit=settings.NETRA_MODEL_TOOL_CALLS,
                        total_tokens_limit=settings.NETRA_MODEL_TOKENS,
                    ),
                    capabilities=[durability],
                    **own,
                )
        except Exception as error:
            if isinstance(error, AgentError) and not relay.is_streaming:
                raise
            words = user_error(error)
            if words is None:
                raise
            if not relay.is_kept(words):
                raise words from None  # it may quote the key
            if not relay.is_whole or isinstance(error, UnexpectedModelBehavior):  # or the agent refused the output
                await relay.cut(words)
    whole = relay.text if relay.text != turn.said else None
    if result is None:
        return whole
    if isinstance(result.output, str):
        # The library joins the texts of a response without the paragraphs between them.
        is_said = relay.is_cut or "".join(turn.said.split()).endswith("".join(result.output.split()))
        returned = whole if is_said and not _is_corrected(result.new_messages()) else result.output
    else:
        returned = to_jsonable_python(result.output, bytes_mode="base64", inf_nan_mode="null", serialize_unknown=True)
    with suppress(AgentError):  # too large to be kept: the next turn has the texts
        await turn.save({"answer": returned, "messages": history.dumped(result.all_messages()), **state()})
    return returned


def _is_corrected(messages: Sequence[ModelMessage]) -> bool:
    """Return whether the agent refused a text of its model as its output, and got another one.

    It also asks again after a response that says nothing: no text is refused then.
    """
    return any(
        isinstance(response, ModelResponse)
        and bool(response.text)
        and any(isinstance(part, RetryFeedbackPart) for part in request.parts)
        for response, request in pairwise(messages)
    )


@asynccontextmanager
async def _served(
    agent: AbstractAgent[Any, Any], model: Entry | None
) -> AsyncIterator[tuple[Model | str | None, dict[str, Any]]]:
    """Yield the model of the run, and the arguments of the run that name a model of the catalogue."""
    if model is None:
        yield agent.model, {}
        return
    async with configured(model) as made:
        yield made, {"model": made, "model_settings": model_settings(model)}


def _bare(model: Model | str | None) -> Model | str | None:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    return model


def _can_stream(model: Model | str | None) -> bool:
    bare = _bare(model)
    if isinstance(bare, FallbackModel):
        return all(map(_can_stream, bare.models))
    return not isinstance(bare, FunctionModel) or bare.stream_function is not None


def _context_of(model: Model | str | None) -> int | None:
    if not isinstance(model, Model):
        return None
    try:
        return model.profile.get("context_window")
    except NotImplementedError:  # a model of several has no profile of its own
        return None
