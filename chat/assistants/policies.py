"""The policies of an assistant's tools, as an administrator sees and saves them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chat.assistants.changes import difference, visible
from chat.assistants.definition import OWN_TOOLS
from chat.assistants.tools import proposed
from chat.models import Assistant, AssistantTool, ToolDefinition


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A tool with its policy. `changed`: the lines in which its definition differs from the one of the saved policy.

    `definition` and `definition_hash` are those of now, or of the saved policy for a tool that its server has no more;
    None and empty for a tool of Netra.
    `initial`: what the form begins with.
    """

    tool: str
    server: str
    description: str
    is_saved: bool
    changed: list[str]
    definition: Mapping[str, Any] | None
    definition_hash: str
    initial: Mapping[str, Any]

    @property
    def in_force(self) -> str:
        """The rule that is in force now."""
        if self.is_saved and not (self.changed and self.initial["policy"] == AssistantTool.NEVER):
            return str(self.initial["policy"])
        return AssistantTool.ASK if self.server or self.is_saved else "default"


def policy_rows(assistant: Assistant) -> list[PolicyRow]:
    """Return a row for each tool: those of Netra, of the known servers, and those with a saved policy."""
    saved = {row.tool: row for row in assistant.tools.all()}
    known = {row.tool: row for row in ToolDefinition.objects.all()}
    return [_row(name, saved.get(name), known.get(name)) for name in sorted({*OWN_TOOLS, *known, *saved})]


def _row(name: str, saved: AssistantTool | None, known: ToolDefinition | None) -> PolicyRow:
    is_changed = saved is not None and known is not None and saved.definition_hash != known.definition_hash
    differing = difference(saved.definition, known.definition) if is_changed and saved and known else []
    seen = known or saved
    rule = saved.policy if saved else proposed(known) if known else "default"
    return PolicyRow(
        tool=name,
        server=known.server if known else "",
        description=visible(known.definition.get("description", "")) if known else "",
        is_saved=saved is not None,
        changed=[visible(line) for line in differing],
        definition=seen.definition if seen else None,
        definition_hash=seen.definition_hash if seen else "",
        initial={
            "policy": rule,
            "decided_by": saved.decided_by if saved else "owner",
            "four_eyes": saved.four_eyes if saved else False,
            "editable": saved.editable if saved else True,
            "definition_hash": seen.definition_hash if seen else "",
        },
    )


def save_policy(assistant: Assistant, row: PolicyRow, given: Mapping[str, Any]) -> None:
    """Save the policy for the definition that the row shows; the rule `default` deletes it."""
    if given["policy"] == "default":
        assistant.tools.filter(tool=row.tool).delete()
        return
    values = {name: given[name] for name in ("policy", "decided_by", "four_eyes", "editable")}
    values |= {"definition": row.definition, "definition_hash": row.definition_hash}
    AssistantTool.objects.update_or_create(assistant=assistant, tool=row.tool, defaults=values)
