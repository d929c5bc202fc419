"""Versions of assistants: saving one writes a version, which never changes."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from chat.assistants.definition import INSTRUCTIONS, Definition
from chat.models import Assistant, AssistantTool, AssistantVersion, AuditRecord
from chat.runs.types import ClaimedRun

FIRST = "assistant"  # name of the assistant that every site begins with
_TEXTS = ("title", "description", "instructions", "model", "options", "starters")
_TOOL_FIELDS = ("tool", "policy", "decided_by", "four_eyes", "editable", "definition_hash", "definition")


def content_of(assistant: Assistant) -> dict[str, Any]:
    """Return what a version of the assistant, as it is stored now, has to say."""
    return {
        **{name: getattr(assistant, name) for name in _TEXTS},
        "groups": sorted(assistant.groups.values_list("name", flat=True)),
        "tools": list(assistant.tools.order_by("tool").values(*_TOOL_FIELDS)),
    }


@transaction.atomic
def save_version(assistant: Assistant, by: int | None, address: str | None = None) -> AssistantVersion:
    """Write a version of the assistant, with an audit record, unless its newest one says the same. Return the newest.

    `by` is the administrator; None: the site itself, without a record.
    """
    Assistant.objects.select_for_update().get(pk=assistant.pk)
    newest = assistant.versions.order_by("-number").first()
    content = content_of(assistant)
    if newest is not None and newest.content == content:
        return newest
    number = 1 if newest is None else newest.number + 1
    made = AssistantVersion.objects.create(assistant=assistant, number=number, content=content, by_id=by)
    if by is not None:
        detail = f"{assistant.name} version {number}"
        AuditRecord.objects.create(kind="assistant_changed", by_id=by, address=address, detail=detail)
    return made


@transaction.atomic
def restore(version: AssistantVersion, by: int | None, address: str | None = None) -> AssistantVersion:
    """Give the assistant what this version says, as a new version. Raises ValidationError if a group is missing.

    Without its groups, the assistant would exist for everybody.
    """
    assistant = Assistant.objects.select_for_update().get(pk=version.assistant_id)
    content = version.content
    groups = Group.objects.filter(name__in=content["groups"])
    if missing := set(content["groups"]).difference(groups.values_list("name", flat=True)):
        raise ValidationError(f"There is no group called {min(missing)!r} any more.")
    for name in _TEXTS:
        setattr(assistant, name, content[name])
    assistant.save()
    assistant.groups.set(groups)
    assistant.tools.all().delete()
    AssistantTool.objects.bulk_create(AssistantTool(assistant=assistant, **tool) for tool in content["tools"])
    return save_version(assistant, by, address)


def make_first(**signal: Any) -> None:
    """Make the assistant that every site begins with, unless it is there. A receiver of `post_migrate`."""
    if Assistant.objects.filter(name=FIRST).exists():
        return
    assistant = Assistant.objects.create(
        name=FIRST,
        title="Assistant",
        description="Talk about anything, with a language model and tools.",
        instructions=INSTRUCTIONS,
    )
    save_version(assistant, None)


def definition_of(run: ClaimedRun) -> Definition:
    """Return the definition in the version that the run keeps."""
    content = AssistantVersion.objects.values_list("content", flat=True)
    return Definition.of(content.get(pk=run.assistant_version or 0))
