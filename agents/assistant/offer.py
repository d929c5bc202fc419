"""The tools that the model is offered, which it calls through the turn.

What a tool brings in from outside is data, but a model may take it for instructions. So these rules hold:

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

from agents.sdk import AgentError, Turn, tools
from agents.toolbox.calculator import calculator
from agents.toolbox.files import file_tools
from agents.toolbox.prices import model_price
from agents.toolbox.threads import thread_search_for
from agents.usage.files import UsageFiles

_ANSWERS = "earlier answers"  # of the thread: a source like any other
# All tools of this house: no tool of an MCP server is offered under one of these names, whatever is switched on.
OWN_TOOLS = frozenset(
    {
        "attached_files",
        "attached_text",
        "calculator",
        "model_price",
        "thread_search",
        "usage_query",
        "usage_summary",
        "web_fetch",
    }
)
_MARKS = " \t\n\"'“”„«»‘’`()[]{}<>.,;:!?…#*_-–—"


class _Failed(AgentError):
    """A tool failed: the model is told, and goes on."""


@dataclass
class Offer(WrapperToolset[Turn]):
    """Tools of one source. `came_in`: the sources of what the model has read by now, shared by the offers of a run.

    `source` None: what they bring in is computed here. `safe`: no parameters can make them do harm.
    """

    source: str | None
    came_in: set[str]
    safe: bool = False

    async def get_tools(self, ctx: RunContext[Turn]) -> dict[str, ToolsetTool[Turn]]:
        """Return the tools that may be offered after what has come in so far."""
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
        """Call the tool through the turn. Raises ToolFailed."""
        try:
            parameters = tools.jsonable(tool_args, "parameters")
        except TypeError as error:
            raise ToolFailed(str(error)) from None

        async def made(**parameters: Any) -> Any:
            try:
                return await self.wrapped.call_tool(name, parameters, ctx, tool)
            except (AgentError, ToolFailed, ModelRetry) as error:
                raise _Failed(error.message) from error

        made.__name__ = name
        if not self.safe and _ANSWERS in self.came_in:
            _demand_the_users_words(name, parameters, ctx.deps, tool, not _only_reads(tool))
        if self.source is not None:
            self.came_in.add(self.source)
        try:
            return await ctx.deps.call(made if _only_reads(tool) else tools.once(made), **tool_args)
        except _Failed as error:
            raise ToolFailed(error.message) from error


def _only_reads(tool: ToolsetTool[Turn]) -> bool:
    """Return whether the tool only reads. Tools of this project do; an MCP server declares it for each of its tools."""
    metadata = tool.tool_def.metadata or {}
    return "annotations" not in metadata or metadata["annotations"]["readOnlyHint"] is True


def _demand_the_users_words(
    name: str, parameters: dict[str, Any], turn: Turn, tool: ToolsetTool[Turn], acts: bool
) -> None:
    """Demand that the user has asked for this call in their own words. Raises ToolFailed.

    An MCP tool goes by the name that its server gave it, not by the one under which it is offered.
    """
    name = (tool.tool_def.metadata or {}).get("own_name", name)
    written = _words(" ".join(message.content for message in turn.history if message.role == "user"))
    named = json.dumps(tool.tool_def.parameters_json_schema)
    for value in _values(parameters, named, numbers=acts):
        if not _words(value) <= written:
            raise ToolFailed(f"The user did not write {value[:100]!r}. Use the user's own words, or ask for them.")
    if acts and not _named(name, _words(turn.text)):
        raise ToolFailed(f"This is only done when the user asks for it by its name, “{name}”. Tell the user so.")


def _named(name: str, written: set[str]) -> bool:
    """Return whether the name is written, as it is or as the words of it: “close_ticket”, “close the ticket”.

    A name without a word in it, e.g. of dashes, is never written.
    """
    words = _words(re.sub(r"[\s_./:-]+|(?<=[a-z])(?=[A-Z])", " ", name))
    return name.casefold() in written or (bool(words) and words <= written)


def _words(text: str) -> set[str]:
    return {word for piece in text.casefold().split() if (word := piece.strip(_MARKS))}


def _values(value: Any, named: str, numbers: bool) -> list[str]:
    """Return the texts in a value, the keys that the schema does not name and, if they count, the numbers."""
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
    """Yield the tools for one run, without those of an MCP server that cannot be reached."""
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
        if settings.NETRA_MCP_SERVERS:
            from agents.toolbox.mcp import connected

            for name, toolset in (await stack.enter_async_context(connected(turn, OWN_TOOLS))).items():
                offers.append(Offer(toolset, f"mcp {name}", came_in))
        yield offers
