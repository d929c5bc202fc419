"""Which tools the model is offered, and how it calls them: through the turn.

What a tool brings in from outside is data, but a model may take it for instructions. So what is offered shrinks with
what came in: after text from a source there remain the tools that only compute, the one that reads addresses which
the user wrote, and those that read more of that same source. A message of the user opens all of them again.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from pydantic_ai import ModelRetry, RunContext, ToolFailed
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, ToolsetTool, WrapperToolset

from agents import tools
from agents.agent import AgentError, Turn
from agents.toolbox.calculator import calculator
from agents.toolbox.prices import model_price
from agents.toolbox.threads import thread_search_for


class _Failed(AgentError):
    """A tool failed: the model is told, and goes on."""


@dataclass
class Offer(WrapperToolset[Turn]):
    """Tools of one source. `came_in`: the sources of a run, shared by its offers.

    `source` None: what they bring in is computed here. `safe`: no parameters can make them do harm.
    """

    source: str | None
    came_in: set[str]
    safe: bool = False

    async def get_tools(self, ctx: RunContext[Turn]) -> dict[str, ToolsetTool[Turn]]:
        found = await self.wrapped.get_tools(ctx)
        if self.safe or not self.came_in:
            return found
        if self.came_in == {self.source}:
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


@asynccontextmanager
async def offered(turn: Turn) -> AsyncIterator[list[AbstractToolset[Turn]]]:
    """The tools for one run. An MCP server that cannot be reached is said to be, and left out."""
    came_in: set[str] = set()
    offers: list[AbstractToolset[Turn]] = [
        Offer(FunctionToolset([calculator, model_price]), None, came_in, safe=True),
        Offer(FunctionToolset([thread_search_for(turn)]), "threads", came_in),
    ]
    if settings.NETRA_WEB_FETCH:
        from agents.toolbox.web import web_fetch_for

        offers.append(Offer(FunctionToolset([web_fetch_for(turn)]), "web", came_in, safe=True))
    async with AsyncExitStack() as stack:
        for name, server in settings.NETRA_MCP_SERVERS.items():
            from agents.toolbox.mcp import connected

            try:
                toolset = await stack.enter_async_context(connected(name, server))
            except AgentError as error:
                await turn.think(error.message)
            else:
                offers.append(Offer(toolset, f"mcp {name}", came_in))
        yield offers
