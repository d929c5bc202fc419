"""The agents of settings.AGENTS, imported and checked. Only a worker does this: the web carries no agent code."""

import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from agents.agent import Turn

Agent = Callable[[Turn], Awaitable[Any]]


def load() -> dict[str, Agent]:
    """name -> agent, in the order of the settings. Raises ValueError: the agent's name, what is wrong."""
    return {name: _load(name, path) for name, path in settings.AGENTS.items()}


def described(agents: dict[str, Agent]) -> dict[str, dict[str, Any]]:
    """What a worker's row says of its agents: name -> {description, available, reason}."""
    return {
        name: {
            "description": (inspect.getdoc(agent) or "").partition("\n")[0],
            "available": (reason := unavailable(agent)) is None,
            "reason": reason,
        }
        for name, agent in agents.items()
    }


def unavailable(agent: Agent) -> str | None:
    """Why the agent cannot answer, as its module's `unavailable()` says, if there is one; None: it can."""
    ask: Callable[[], str | None] | None = getattr(inspect.getmodule(agent), "unavailable", None)
    return ask() if ask else None


def check(**_: Any) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    for name, path in settings.AGENTS.items():
        try:
            _load(name, path)
        except ValueError as error:
            problems.append(Error(str(error), id="agents.E001"))
    return problems


def _load(name: str, path: str) -> Agent:
    module, _, attribute = path.rpartition(".")
    try:
        agent = getattr(import_module(module), attribute)
    except Exception as error:
        raise ValueError(f"Agent {name!r}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    if not inspect.iscoroutinefunction(agent):
        raise ValueError(f"Agent {name!r}: {path} must be an async function.")
    try:
        inspect.signature(agent).bind(None)
    except TypeError:
        raise ValueError(f"Agent {name!r}: {path} must take one argument, the turn.") from None
    return agent  # type: ignore[no-any-return]
