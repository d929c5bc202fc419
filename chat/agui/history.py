"""The messages of a thread's branch as AG-UI clients show them."""

from typing import Any
from uuid import UUID

from chat.dialects.agui import messages
from chat.models import Attachment, Message
from chat.streams.addresses import facts_of
from chat.streams.branches import branch, events_of_answers


def branch_messages(thread_id: UUID, leaf: UUID) -> list[dict[str, Any]]:
    """Return the messages from the thread's root to `leaf`, with the reasoning and tool calls of all answers."""
    found = branch(thread_id, leaf)
    runs = events_of_answers(thread_id, found)
    shown: list[dict[str, Any]] = []
    for one in found:
        if one.role == "user":
            shown.append({"id": one.client_id or str(one.pk), "role": "user", "content": _content(one)})
        elif one.run_id is not None and one.run_id in runs:
            run, events = runs[one.run_id]
            shown += messages(facts_of(run), events)
        else:
            shown.append({"id": str(one.run_id or one.pk), "role": "assistant", "content": one.content})
    return shown


def _content(one: Message) -> str | list[dict[str, Any]]:
    files = [_document(attachment) for attachment in one.attachments.order_by("created_at", "pk")]
    return [{"type": "text", "text": one.content}, *files] if files else one.content


def _document(attachment: Attachment) -> dict[str, Any]:
    source = {"type": "file", "provider": "netra", "value": str(attachment.pk), "mimeType": attachment.media_type}
    return {"type": "document", "source": source, "metadata": {"filename": attachment.name}}
