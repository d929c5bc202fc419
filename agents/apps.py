"""The Django app of the agents: their system check, the worker command, and what the runs of a process share."""

from functools import cached_property
from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.core.checks import register

if TYPE_CHECKING:
    from agents.toolbox.mcp import Servers


class AgentsConfig(AppConfig):
    """The app `agents`."""

    name = "agents"

    def ready(self) -> None:
        """Register the check of the agents in the settings."""
        from agents.worker.registry import check

        register(check, "agents")

    @cached_property
    def mcp_servers(self) -> "Servers":
        """The MCP servers of this process. Their client library is imported only where a run uses it."""
        from agents.toolbox.mcp import Servers

        return Servers()
