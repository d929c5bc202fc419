"""The tools of the MCP servers in the settings, over HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from pydantic_ai import BinaryContent, ModelRetry, RunContext, ToolFailed
from pydantic_ai.mcp import CallToolFunc, MCPToolset
from pydantic_ai.toolsets import AbstractToolset

from agents.agent import AgentError, Turn

_CHARACTERS = 100_000
_CONNECT_SECONDS = 10
_READ_SECONDS = 60


@asynccontextmanager
async def connected(name: str, server: Mapping[str, str]) -> AsyncIterator[AbstractToolset[Turn]]:
    """The tools of a server `{"url": …, "token": …}`, each named `<name>_<tool>`. A token goes as a bearer header.

    Raises AgentError when the server cannot be reached in time.
    """
    toolset = MCPToolset[Turn](
        server["url"],
        id=name,
        auth=server.get("token") or None,
        tool_error_behavior="failed",
        process_tool_call=_as_data,
        init_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )

    async def close() -> None:
        # The server may be gone by now; the answer is none the worse for it.
        with suppress(Exception):
            await toolset.__aexit__(None, None, None)

    async with AsyncExitStack() as stack:
        try:
            await toolset.__aenter__()
            stack.push_async_callback(close)
            await toolset.list_tools()
        except Exception as error:
            raise AgentError(f"The tools of “{name}” cannot be reached.", code="mcp_unreachable") from error
        yield toolset.prefixed(name)


async def _as_data(ctx: RunContext[Any], call: CallToolFunc, name: str, parameters: dict[str, Any]) -> Any:
    try:
        result = _json(await call(name, parameters))
    except (ToolFailed, ModelRetry):
        raise
    except Exception as error:
        raise ToolFailed(f"The server did not answer: {type(error).__name__}.") from error
    if len(str(result)) > _CHARACTERS:
        raise ToolFailed(f"The result is longer than {_CHARACTERS} characters. Ask for less.")
    return result


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, BinaryContent):
        return f"[{value.media_type}, {len(value.data)} bytes, not shown]"
    return value
