"""Which tools the model is offered, and how it calls them: through the turn.

What a tool brings in from outside is data, but a model may take it for instructions. So this holds, whatever it says:

- In a new thread the model has nothing but the user's words, and all tools are open.
- As soon as a tool has brought something in, there remain in that answer the tools that only compute, those that read
  what the user attached or wrote the address of, and those that read more of that same source.
- In a thread that goes on, earlier answers may repeat what came in. There a tool can be called only with words that
  the user wrote; one that acts also needs its name, and its numbers, to be written in the message that is answered.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from pydantic_ai import ModelRetry, RunContext, ToolFailed
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, ToolsetTool, WrapperToolset

from agents import tools
from agents.advisor.files import UsageFiles
from agents.agent import AgentError, Turn
from agents.toolbox.calculator import calculator
from agents.toolbox.files import file_tools
from agents.toolbox.prices import model_price
from agents.toolbox.threads import thread_search_for

_ANSWERS = "earlier answers"  # of the thread: a source like any other
_MARKS = " \t\n\"'“”„«»‘’`()[]{}<>.,;:!?…#*_-–—"


class _Failed(AgentError):
    """A tool failed: the model is told, and goes on."""


@dataclass
class Offer(WrapperToolset[Turn]):
    """Tools of one source. `came_in`: the sources of what the model has read by now, shared by the offers of a run.

    `source` None: what they bring in is computed here. `safe`: no parameters can make them do harm. `prefix`: what
    stands before the name of each.
    """

    source: str | None
    came_in: set[str]
    safe: bool = False
    prefix: str = ""

    async def get_tools(self, ctx: RunContext[Turn]) -> dict[str, ToolsetTool[Turn]]:
        found = await self.wrapped.get_tools(ctx)
        new = self.came_in - {_ANSWERS}
        if self.safe or not new:
            return found
        if new == {self.source}:
            return {name: tool for name, tool in found.items() if _only_reads(tool)}
        return {}

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Turn], tool: ToolsetTool[Turn]
    ) -> Any:
        async def made(**parameters: Any) -> Any:
            try:
                return await self.wrapped.call_tool(name, parameters, ctx, tool)
            except (AgentError, ToolFailed, ModelRetry) as error:
                raise _Failed(error.message) from error

        made.__name__ = name
        if not self.safe and _ANSWERS in self.came_in:
            _demand_the_users_words(name.removeprefix(self.prefix), tool_args, ctx.deps, tool, not _only_reads(tool))
        if self.source is not None:
            self.came_in.add(self.source)
        try:
            return await ctx.deps.call(made if _only_reads(tool) else tools.once(made), **tool_args)
        except _Failed as error:
            raise ToolFailed(error.message) from error


def _only_reads(tool: ToolsetTool[Turn]) -> bool:
    """All tools of this house do; an MCP server says of each of its own whether it does."""
    metadata = tool.tool_def.metadata or {}
    return "annotations" not in metadata or bool((metadata["annotations"] or {}).get("readOnlyHint"))


def _demand_the_users_words(
    name: str, parameters: dict[str, Any], turn: Turn, tool: ToolsetTool[Turn], acts: bool
) -> None:
    """Raises ToolFailed where the user has not asked for this call in words of their own."""
    written = _words(" ".join(message.content for message in turn.history if message.role == "user"))
    named = json.dumps(tool.tool_def.parameters_json_schema)
    for value in _values(tools.jsonable(parameters, "parameters"), named, numbers=acts):
        if not _words(value) <= written:
            raise ToolFailed(f"The user did not write {value[:100]!r}. Use the user's own words, or ask for them.")
    if acts and not _words(re.sub(r"[_-]+|(?<=[a-z])(?=[A-Z])", " ", name)) <= _words(turn.text):
        raise ToolFailed(f"This is only done when the user asks for it by its name, “{name}”. Tell the user so.")


def _words(text: str) -> set[str]:
    return {word for piece in text.casefold().split() if (word := piece.strip(_MARKS))}


def _values(value: Any, named: str, numbers: bool) -> list[str]:
    """The texts in it, and the numbers if they count, however deep; and the keys that the schema does not name."""
    if isinstance(value, dict):
        keys = [key for key in value if json.dumps(key) not in named]
        return [*keys, *_values([*value.values()], named, numbers)]
    if isinstance(value, list):
        return [found for inner in value for found in _values(inner, named, numbers)]
    if isinstance(value, str) or (numbers and isinstance(value, int | float) and not isinstance(value, bool)):
        return [str(value)]
    return []


@asynccontextmanager
async def offered(turn: Turn) -> AsyncIterator[list[AbstractToolset[Turn]]]:
    """The tools for one run. An MCP server that cannot be reached is said to be, and left out."""
    came_in = {_ANSWERS} if any(message.role == "assistant" for message in turn.history) else set[str]()
    offers: list[AbstractToolset[Turn]] = [
        Offer(FunctionToolset([calculator, model_price]), None, came_in, safe=True),
        Offer(FunctionToolset([thread_search_for(turn)]), "threads", came_in),
    ]
    async with AsyncExitStack() as stack:
        if turn.attachments:
            files = UsageFiles(turn.attachments)
            stack.push_async_callback(files.leave)
            offers.append(Offer(FunctionToolset(file_tools(turn, files)), "files", came_in, safe=True))
        if settings.NETRA_WEB_FETCH:
            from agents.toolbox.web import web_fetch_for

            offers.append(Offer(FunctionToolset([web_fetch_for(turn)]), "web", came_in, safe=True))
        for name, server in settings.NETRA_MCP_SERVERS.items():
            from agents.toolbox.mcp import connected

            try:
                toolset = await stack.enter_async_context(connected(name, server))
            except AgentError as error:
                await turn.think(error.message)
            else:
                offers.append(Offer(toolset, f"mcp {name}", came_in, prefix=f"{name}_"))
        yield offers
