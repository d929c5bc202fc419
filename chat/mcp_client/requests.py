"""Earlier requests of runs to connect an MCP server, and the tools that earlier runs have seen there."""

import uuid

from chat.mcp_client.config import Server, lacking
from chat.models import InputRequest, ToolDefinition


def was_declined(thread_id: str, url: str) -> bool:
    """Return whether a request of this thread to visit the address was declined."""
    declined = {"kind": InputRequest.LINK, "status": InputRequest.DECLINED}
    rows = InputRequest.objects.filter(thread=uuid.UUID(thread_id), **declined)
    return any((schema or {}).get("url") == url for schema in rows.values_list("schema", flat=True))


def open_requests(user_id: int, server: str) -> dict[uuid.UUID, str]:
    """Return the user's open requests to connect the server, with the scope that each one is for."""
    rows = InputRequest.objects.for_user(user_id).filter(kind=InputRequest.LINK, status=InputRequest.OPEN)
    found = {pk: lacking((schema or {}).get("url", ""), server) for pk, schema in rows.values_list("pk", "schema")}
    return {pk: scope for pk, scope in found.items() if scope is not None}


def wanted_scope(user_id: int, server: Server) -> str:
    """Return what runs of the user wait for beside what the connection has, as far as the settings allow it."""
    wanted = dict.fromkeys(" ".join(open_requests(user_id, server.name).values()).split())
    return " ".join(scope for scope in wanted if server.allows(scope))


def known_tools(server: str) -> list[ToolDefinition]:
    """Return the tools of a server as any run has seen them."""
    return list(ToolDefinition.objects.filter(server=server).order_by("tool"))
