"""Earlier requests of runs to connect an MCP server, and the tools that earlier runs have seen there."""

import uuid

from chat.models import InputRequest, ToolDefinition


def was_declined(thread_id: str, url: str) -> bool:
    """Return whether a request of this thread to visit the address was declined."""
    declined = {"kind": InputRequest.LINK, "status": InputRequest.DECLINED}
    rows = InputRequest.objects.filter(thread=uuid.UUID(thread_id), **declined)
    return any((schema or {}).get("url") == url for schema in rows.values_list("schema", flat=True))


def known_tools(server: str) -> list[ToolDefinition]:
    """Return the tools of a server as any run has seen them."""
    return list(ToolDefinition.objects.filter(server=server).order_by("tool"))
