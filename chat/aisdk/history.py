"""The messages of a chat as an AI SDK client has them after it has streamed them."""

from typing import Any

from django.urls import reverse

from chat.accounts.authentication import Identity
from chat.dialects import project
from chat.dialects.aisdk import Projection, message
from chat.models import Attachment, Message
from chat.streams.addresses import existing_thread, facts_of
from chat.streams.branches import branch, events_of_answers, newest_leaf


def ui_messages(identity: Identity, chat_id: str) -> list[dict[str, Any]]:
    """Return the newest branch of the chat. Raises ProtocolError not_found.

    The answer to the last message is missing while it is made: a client resumes its stream. An answer whose events are
    no longer kept has its text only.
    """
    thread = existing_thread(identity.user_id, chat_id)
    messages = branch(thread.pk, newest_leaf(identity, thread.pk))
    runs = events_of_answers(thread.pk, messages)
    shown = []
    for one in messages:
        if one.role == "user":
            shown.append(_of_user(one))
        elif one.run_id is not None and one.run_id in runs:
            run, events = runs[one.run_id]
            shown.append(message(project(Projection(facts_of(run), known=events[-1]["seq"]), events)))
        else:
            shown.append(_text_only(one))
    return shown


def _of_user(one: Message) -> dict[str, Any]:
    files = [_file(attachment) for attachment in one.attachments.order_by("created_at", "pk")]
    return {
        "id": one.client_id or str(one.pk),
        "role": "user",
        "parts": [*files, {"type": "text", "text": one.content}],
    }


def _file(attachment: Attachment) -> dict[str, Any]:
    url = reverse("chat:content", args=[attachment.pk])
    return {"type": "file", "mediaType": attachment.media_type, "filename": attachment.name, "url": url}


def _text_only(one: Message) -> dict[str, Any]:
    part = {"type": "text", "text": one.content, "state": "done"}
    return {"id": str(one.run_id or one.pk), "role": "assistant", "parts": [{"type": "step-start"}, part]}
