"""The agents of settings.AGENTS, imported and checked. Only a worker does this: the web carries no agent code."""

import inspect
import traceback
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
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
        found = import_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"Agent {name!r}: {path} cannot be imported: {_why(error, module)}") from error
    agent = getattr(found, attribute, None)
    if agent is None:
        near = get_close_matches(attribute, [known for known in vars(found) if not known.startswith("_")], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"Agent {name!r}: {path} cannot be found: {found.__file__} has no {attribute!r}{hint}")
    if not inspect.iscoroutinefunction(agent):
        kind = "an async generator: say the pieces with turn.say" if inspect.isasyncgenfunction(agent) else _kind(agent)
        raise ValueError(f"Agent {name!r}: {path} must be an async function; it is {kind}.")
    try:
        inspect.signature(agent).bind(None)
    except TypeError:
        takes = inspect.signature(agent)
        raise ValueError(f"Agent {name!r}: {path} must take one argument, the turn; it takes {takes}.") from None
    return agent  # type: ignore[no-any-return]


def _why(error: BaseException, module: str) -> str:
    """What went wrong and in which line of the agent's own code, as far as it came."""
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r}; is it spelt right, and its folder on PYTHONPATH?"
    places = [place for place in traceback.extract_tb(error.__traceback__) if "importlib" not in place.filename]
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places[1:] else ""
    return f"{type(error).__name__}: {error}{'' if isinstance(error, SyntaxError) else where}"


def _kind(value: object) -> str:
    return "a plain function: write async def" if inspect.isfunction(value) else f"a {type(value).__name__}"
