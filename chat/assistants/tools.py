"""The tools of MCP servers, as workers have seen them, and the policies that an administrator may save for them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from chat.assistants.definition import OWN_TOOLS, Policy
from chat.models import AssistantTool, ToolDefinition


@dataclass(frozen=True, slots=True)
class KnownTool:
    """A tool of an MCP server. `definition`: name, description, schema. `hints`: what the server claims of it."""

    name: str
    server: str
    definition: Mapping[str, Any]
    definition_hash: str
    hints: Mapping[str, bool]


@transaction.atomic
def store(server: str, known: Collection[KnownTool], are_all: bool = True) -> None:
    """Store tools of this server. If they are all that it has, delete those that it has no more."""
    there = dict(ToolDefinition.objects.filter(server=server).values_list("tool", "definition_hash"))
    for tool in known:
        if there.pop(tool.name, None) != tool.definition_hash:
            ToolDefinition.objects.update_or_create(
                tool=tool.name,
                defaults={
                    "server": server,
                    "definition": dict(tool.definition),
                    "definition_hash": tool.definition_hash,
                    "hints": dict(tool.hints),
                    "seen_at": Now(),
                },
            )
    if are_all:
        ToolDefinition.objects.filter(tool__in=there).delete()


def proposed(tool: ToolDefinition) -> str:
    """Return the policy that the server's claims propose. It grants nothing until an administrator saves it."""
    if tool.hints.get("destructiveHint"):
        return AssistantTool.ALWAYS
    return AssistantTool.NEVER if tool.hints.get("readOnlyHint") else AssistantTool.ASK


def default_policy(tool: str) -> str:
    """Return the policy of a tool for which none is saved."""
    return AssistantTool.NEVER if tool in OWN_TOOLS else Policy().rule
