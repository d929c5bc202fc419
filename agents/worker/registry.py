"""The agents of settings.AGENTS, imported and checked. Only workers import agents: web processes load no agent code."""

import inspect
import traceback
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from agents.sdk import Turn
from chat.assistants import Definition

Agent = Callable[[Turn], Awaitable[Any]]

# Class -> module and name of what makes an agent of its objects, from the object and the module that has it.
_ADAPTERS = {
    "langgraph.Pregel": ("agents.llm.langgraph_agent", "served"),
    "langgraph.StateGraph": ("agents.llm.langgraph_agent", "served"),
    "pydantic_ai.AbstractAgent": ("agents.llm.pydantic_agent", "served"),
}


def load() -> dict[str, Agent]:
    """Return name -> agent in the order of the settings. Raises ValueError with the agent's name and the fault."""
    return {name: _load(name, path) for name, path in settings.AGENTS.items()}


def assistant(definition: Definition) -> Agent:
    """Return the agent that an administrator has defined so."""
    module, _, name = settings.ASSISTANT.rpartition(".")
    answer: Callable[[Turn, Definition], Awaitable[Any]] = getattr(import_module(module), name)
    return lambda turn: answer(turn, definition)


def described(agents: dict[str, Agent]) -> dict[str, dict[str, Any]]:
    """Return name -> {description, available, reason} for the worker's row."""
    return {
        name: {
            "description": (inspect.getdoc(agent) or "").partition("\n")[0],
            "available": (reason := unavailable(agent)) is None,
            "reason": reason,
        }
        for name, agent in agents.items()
    }


def unavailable(agent: Agent) -> str | None:
    """Return the reason of the agent's or its module's `unavailable()` why it cannot answer; None if it can."""
    ask: Callable[[], str | None] | None = getattr(
        agent, "unavailable", getattr(inspect.getmodule(agent), "unavailable", None)
    )
    return ask() if ask else None


def check(**_: Any) -> list[CheckMessage]:
    """Report each agent that cannot be loaded, as a system check."""
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
        found = import_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{_source(name)}: {path} cannot be imported: {_why(error, module)}") from error
    agent = getattr(found, attribute, None)
    if agent is None:
        near = get_close_matches(attribute, [known for known in vars(found) if not known.startswith("_")], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"{_source(name)}: {path} cannot be found: {found.__file__} has no {attribute!r}{hint}")
    if (adapter := _adapter_of(agent)) is not None:
        try:
            return getattr(import_module(adapter[0]), adapter[1])(agent, found)  # type: ignore[no-any-return]
        except TypeError as error:
            raise ValueError(f"{_source(name)}: {path} cannot be served: {error}") from None
    if not inspect.iscoroutinefunction(agent):
        kind = "an async generator: say each part with turn.say" if inspect.isasyncgenfunction(agent) else _kind(agent)
        raise ValueError(f"{_source(name)}: {path} must be an async function; it is {kind}.")
    try:
        inspect.signature(agent).bind(None)
    except TypeError:
        takes = inspect.signature(agent)
        raise ValueError(f"{_source(name)}: {path} must take one argument, the turn; it takes {takes}.") from None
    return agent  # type: ignore[no-any-return]


def _adapter_of(value: object) -> tuple[str, str] | None:
    """Return module and name of the adapter for an object of a library; None without one.

    Objects are recognised by the names of their classes: a library is imported only by agents that use it.
    """
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    return next((adapter for kind, adapter in _ADAPTERS.items() if kind in names), None)


def _source(name: str) -> str:
    """Return the words that name the agent and, if it comes from there, the variable NETRA_AGENTS."""
    return f"NETRA_AGENTS, agent {name!r}" if name in settings.NETRA_AGENTS else f"Agent {name!r}"


def _why(error: BaseException, module: str) -> str:
    """Return the error with the last line of the agent's own code in its traceback."""
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r}; is it spelt right, and its folder on PYTHONPATH?"
    places = [place for place in traceback.extract_tb(error.__traceback__) if "importlib" not in place.filename]
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places[1:] else ""
    return f"{type(error).__name__}: {error}{'' if isinstance(error, SyntaxError) else where}"


def _kind(value: object) -> str:
    return "a plain function: write async def" if inspect.isfunction(value) else f"a {type(value).__name__}"
