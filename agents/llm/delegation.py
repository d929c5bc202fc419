"""The usage of agents that an agent of pydantic-ai runs in its tools and for its output."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic_ai import capture_run_messages
from pydantic_ai.messages import ModelResponse
from pydantic_ai.usage import RequestUsage, RunUsage

from agents.llm.models import UNKNOWN, add, price_of, spent_by


class SharedUsage(RunUsage):
    """The usage of a run, to which agents that its tools run add theirs (`usage=ctx.usage`)."""

    def incr(self, incr_usage: RunUsage | RequestUsage) -> None:
        """Add to the usage, and note what is added within `delegating`."""
        super().incr(incr_usage)
        shared, added = _delegated.get()
        if shared is self and isinstance(incr_usage, RequestUsage):
            added.append(incr_usage)


_delegated: ContextVar[tuple[RunUsage | None, list[RequestUsage]]] = ContextVar("delegated", default=(None, []))


@contextmanager
def delegating(usage: dict[str, Any], shared: RunUsage) -> Iterator[None]:
    """Add to a run's usage what agents use up that are run in this context.

    That is what they add to `shared`, the usage that the library keeps of the run, and what the first of them uses up
    where it is not given `shared`. The library tells the model of the first only.
    """
    added: list[RequestUsage] = []
    token = _delegated.set((shared, added))
    with capture_run_messages() as messages:
        try:
            yield
        finally:
            _delegated.reset(token)
            # It may have begun with messages of other runs, which are paid.
            own = [message for message in messages if message.run_id == messages[-1].run_id]
            responses = [message for message in own if isinstance(message, ModelResponse)]
            for spent, name in map(spent_by, responses):
                add(usage, spent, name, price_of(name))
            for each in added:
                if not any(each is response.usage for response in responses):
                    spent = RunUsage(requests=1)
                    spent.incr(each)
                    add(usage, spent, UNKNOWN)
