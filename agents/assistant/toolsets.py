"""The tools of an assistant, by source, under agents.llm.tool_policy."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from django.conf import settings
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from agents.llm.tool_policy import (
    ATTACHMENTS,
    COMPUTES,
    THREADS,
    WEB,
    Context,
    GuardedToolset,
    mcp_source,
)
from agents.sdk import Turn
from agents.toolbox.calculator import calculator
from agents.toolbox.files import file_tools
from agents.toolbox.prices import model_price
from agents.toolbox.threads import thread_search_for
from agents.usage.files import UsageFiles
from chat.assistants import OWN_TOOLS, Policy


@asynccontextmanager
async def toolsets(
    turn: Turn, context: Context, saved: Mapping[str, Policy]
) -> AsyncIterator[list[AbstractToolset[Turn]]]:
    """Yield the tools for one run, without those of an MCP server that cannot be reached.

    `saved`: policies by the tool's name.
    """
    under = partial(GuardedToolset, context=context, saved=saved)
    found: list[AbstractToolset[Turn]] = [
        under(FunctionToolset([calculator, model_price]), COMPUTES),
        under(FunctionToolset([thread_search_for(turn)]), THREADS),
    ]
    async with AsyncExitStack() as stack:
        if turn.attachments:
            files = UsageFiles(turn.attachments)
            stack.push_async_callback(files.leave)
            found.append(under(FunctionToolset(file_tools(turn, files)), ATTACHMENTS))
        if settings.NETRA_WEB_FETCH:
            from agents.toolbox.web import web_fetch_for, written_addresses

            found.append(under(FunctionToolset([web_fetch_for(turn)]), WEB, is_covered=written_addresses(turn)))
        if settings.NETRA_MCP_SERVERS:
            from agents.toolbox.mcp import connected

            reachable = await stack.enter_async_context(connected(turn, OWN_TOOLS))
            for name, configured in settings.NETRA_MCP_SERVERS.items():
                source = mcp_source(name, configured.get("trusted", False))
                if name in reachable:
                    found.append(under(reachable[name], source, interruptible=reachable[name]))
                elif source.untrusted:  # an earlier execution may have reached it
                    await context.describe(turn, source.untrusted, is_unseen=False)
        yield found
