"""A thread as a file, to keep or to hand on; and all that is a user's, in one."""

import shutil
from collections.abc import Iterator
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from chat import protocol
from chat.api import thread_of, threads_of
from chat.models import Attachment, Message, Session, Thread, User
from chat.protocol import ProtocolError
from chat.rest import View, described, owner
from chat.shapes import ExportSerializer, ProfileSerializer

FORMATS = {"md": "text/markdown", "json": "application/json"}


class Export(View):
    @described(
        "export_thread",
        {(200, FORMATS["md"]): str, (200, FORMATS["json"]): ExportSerializer},
        query=("format",),
    )
    def get(self, request: Request, thread_id: UUID) -> HttpResponse:
        """The thread as a download: Markdown to read (`format=md`, if nothing is said) or JSON (`format=json`).

        Both have every message of every branch, in the order in which they were said. JSON gives each its `parent_id`;
        Markdown marks a message that stands beside an earlier one as another version of it. Attachments are named,
        with type and size; their contents are not in the file.
        """
        chosen = request.query_params.get("format", "md")
        if chosen not in FORMATS:
            raise ProtocolError("invalid_message", "format must be md or json.", field="format")
        user = owner(request)
        thread = thread_of(user, thread_id)
        content = (as_json if chosen == "json" else as_markdown)(thread, messages_of(thread))
        name = f"{file_name(thread)}.{chosen}"
        answer = HttpResponse(content, content_type=f"{FORMATS[chosen]}; charset=utf-8")
        answer["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
        return answer


def everything(user: User, file: IO[bytes]) -> None:
    """All that is the user's, as a zip: the profile with the sessions, every thread as JSON and Markdown, every
    attachment as it came. Threads that the user has deleted are not in it."""
    with ZipFile(file, "w", ZIP_DEFLATED) as found:
        sessions = Session.objects.for_user(user).order_by("created_at").values("created_at", "used_at", "user_agent")
        profile = {**ProfileSerializer(user).data, "sessions": list(sessions)}
        found.writestr("profile.json", JSONRenderer().render(profile))
        for thread in threads_of(user).order_by("created_at", "id").iterator():
            name = f"threads/{thread.created_at:%Y-%m-%d} {file_name(thread)} {thread.id.hex[:8]}"
            messages = messages_of(thread)
            found.writestr(f"{name}.json", as_json(thread, messages))
            found.writestr(f"{name}.md", as_markdown(thread, messages))
        for attachment in Attachment.objects.for_user(user).order_by("created_at", "id").iterator():
            try:
                source = attachment.file.open("rb")
            except OSError:  # its bytes are gone; its name is in the thread all the same
                continue
            with source, found.open(f"attachments/{attachment.id.hex[:8]} {attachment.name}", "w") as target:
                shutil.copyfileobj(source, target)


def messages_of(thread: Thread) -> list[Message]:
    messages = Message.objects.filter(thread=thread).order_by("seq")
    return list(messages.select_related("run").prefetch_related("attachments"))


def as_json(thread: Thread, messages: list[Message]) -> bytes:
    rendered: bytes = JSONRenderer().render(ExportSerializer({"thread": thread, "messages": messages}).data)
    return rendered


def as_markdown(thread: Thread, messages: list[Message]) -> bytes:
    return ("\n\n".join(markdown(thread, messages)) + "\n").encode()


def file_name(thread: Thread) -> str:
    """The title, without what a file system or a shell would take for something else."""
    kept = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else " " for c in thread.title)
    return " ".join(kept.split())[:80].strip(". ") or "thread"


def markdown(thread: Thread, messages: list[Message]) -> Iterator[str]:
    yield f"# {thread.title or 'Untitled'}"
    seen: set[tuple[Any, str]] = set()
    for message in messages:
        speaker = message.run.agent if message.run else "You"
        place = (message.parent_id, message.role)
        note = " (another version)" if place in seen else ""
        seen.add(place)
        yield f"## {speaker}{note}, {protocol.timestamp(message.created_at)}"
        yield message.content.strip()
        if files := message.attachments.all():
            yield "\n".join(f"- {file.name} ({file.media_type}, {file.size:,} bytes)" for file in files)
