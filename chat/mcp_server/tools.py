"""The tools: one for each agent, and one that waits for a run."""

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import Error
from drf_spectacular.settings import spectacular_settings
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
)

from chat import runs
from chat.api import agents, exceptions
from chat.db.access import from_database
from chat.mcp_server import results
from chat.mcp_server.arguments import AgentArguments, WaitArguments, WaitSeconds, read, schema_of
from chat.mcp_server.calls import Call, Caller, Result
from chat.protocol import ProtocolError

WAIT = "netra_wait"
WAIT_DESCRIPTION = (
    "Wait for an agent that was still working, or was waiting for a person, when an earlier call returned. "
    "Takes the run_id of that result and returns the answer, or the status running again."
)
INSTRUCTIONS = (
    "Each tool asks one agent and returns its answer. To continue a conversation, pass the thread_id of the last "
    f"result. If the status is running, call {WAIT} with the run_id: the agent goes on meanwhile."
)
AGENT_SCHEMA, WAIT_SCHEMA = schema_of(AgentArguments), schema_of(WaitArguments)

Context = ServerRequestContext[Any, Any]


def make_server() -> Server[Any]:
    """Return the server. The caller of each request is `request.state.caller`."""
    server: Server[Any] = Server(
        "netra",
        version=spectacular_settings.VERSION,
        title=spectacular_settings.TITLE,
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: WAIT_SCHEMA if name == WAIT else AGENT_SCHEMA,
        on_list_tools=_list,
        on_call_tool=_call,
    )
    # A state is encrypted and bound to its user, tool and arguments. It is good for as long as a request may be open.
    security = RequestStateSecurity(
        keys=[settings.SECRET_KEY],
        ttl=settings.NETRA_INPUT_SECONDS_LIMIT,
        bind_principal=lambda context: str(_caller(context).user_id),
    )
    server.middleware.append(RequestStateBoundary(security, default_audience="netra"))
    return server


def _caller(context: Context) -> Caller:
    assert context.request is not None
    return cast(Caller, context.request.state.caller)


async def _list(context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
    caller = _caller(context)
    found = await from_database(agents.agents, caller.user_id, caller.identity.agents)
    tools = [
        _tool(agent["name"], agent["description"], AGENT_SCHEMA, agent.get("title"))
        for agent in found
        if agent["available"]
    ]
    return ListToolsResult(tools=[*tools, _tool(WAIT, WAIT_DESCRIPTION, WAIT_SCHEMA)])


def _tool(name: str, description: str, schema: dict[str, Any], title: str | None = None) -> Tool:
    return Tool(name=name, title=title, description=description, input_schema=schema, output_schema=results.OUTPUT)


async def _call(context: Context, params: CallToolRequestParams) -> Result:
    caller = _caller(context)
    try:
        if params.name != WAIT:
            existing = await from_database(runs.agents_for, caller.user_id, caller.identity.agents)
            if params.name not in existing:
                raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {params.name[:64]}")
        arguments = read(WaitArguments if params.name == WAIT else AgentArguments, params.arguments)
        return await _result(Call(caller, context.session, arguments.wait_seconds), arguments, params)
    except ProtocolError as error:
        return results.refused(error, caller.ids)
    except Error as error:
        return results.refused(exceptions.unavailable(error), caller.ids)


async def _result(call: Call, arguments: WaitSeconds, params: CallToolRequestParams) -> Result:
    responses = params.input_responses
    if params.request_state is not None:  # the call is repeated: nothing is started
        run_id = UUID(params.request_state)
        if responses:
            await call.answer(run_id, responses)
        return await call.follow(run_id)
    if responses:
        raise ProtocolError("invalid_message", "Answers need the requestState.", field="requestState")
    if isinstance(arguments, WaitArguments):
        return await call.follow(arguments.run_id, patient=True)
    assert isinstance(arguments, AgentArguments)
    return await call.start(params.name, arguments)
