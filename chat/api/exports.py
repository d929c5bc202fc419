"""REST: a thread as a file; and the export of all data of a user."""

import shutil
from collections.abc import Iterator
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

from django.db.models.functions import Coalesce, Now
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from chat import protocol, runs
from chat.api.base import View, owner
from chat.api.schema import described
from chat.api.serializers import ApiKeySerializer, ExportSerializer, GrantSerializer, ProfileSerializer
from chat.api.threads import thread_of, threads_of
from chat.api.uploads import printable
from chat.models import (
    ApiKey,
    Attachment,
    CheckedStep,
    Grant,
    InputRequest,
    McpConnection,
    Message,
    Project,
    Session,
    Share,
    Thread,
    User,
)
from chat.oidc import connections
from chat.protocol import ProtocolError

FORMATS = {"md": "text/markdown", "json": "application/json"}


class Export(View):
    @described(
        "export_thread",
        {(200, FORMATS["md"]): str, (200, FORMATS["json"]): ExportSerializer},
        query=("format",),
    )
    def get(self, request: Request, thread_id: UUID) -> HttpResponse:
        """Return the thread as a download: Markdown (`format=md`, the default) or JSON (`format=json`).

        Both have every message of every branch, in the order in which they were sent, each answer after its message.
        JSON gives each its `parent_id`; Markdown marks a message that stands beside an earlier one as another version.
        Attachments are named, with type and size; their contents are not in the file.
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
    """Write a zip of all the user's data to `file`.

    It has the profile with the sessions, API keys, connections and links to shared copies, every thread as JSON and
    Markdown, every attachment as uploaded, and the requests for input with their answers, but nothing of threads that
    the user has deleted. Of requests of others it has what the user decided, not what was asked.
    """
    with ZipFile(file, "w", ZIP_DEFLATED) as found:
        sessions = Session.objects.for_user(user).order_by("created_at").values("created_at", "used_at", "user_agent")
        keys = ApiKeySerializer(ApiKey.objects.for_user(user).order_by("created_at", "pk"), many=True).data
        profile = {**ProfileSerializer(user).data, "input_mail": user.input_mail, "sessions": list(sessions)}
        profile |= {"api_keys": keys, "instructions": user.instructions, "language": user.language}
        accounts = connections.every(user).values("provider", "uid", "extra_data", "date_joined", "last_login")
        profile["providers"] = list(accounts)
        tools = McpConnection.objects.for_user(user).order_by("created_at", "pk")
        profile["mcp_connections"] = list(tools.values("server", "issuer", "scope", "created_at", "used_at"))
        shares = Share.objects.for_user(user).order_by("created_at", "pk")
        profile["shares"] = list(shares.values("title", "thread_id", "created_at", "expires_at", "revoked_at"))
        projects = Project.objects.for_user(user).order_by("created_at", "pk")
        profile["projects"] = [
            {
                **{name: getattr(one, name) for name in ("id", "name", "instructions", "created_at")},
                "attachments": [file.name for file in one.attachments.all()],
            }
            for one in projects.prefetch_related("attachments")
        ]
        steps = CheckedStep.objects.for_user(user).order_by("checked_at", "pk")
        profile["checklist"] = list(steps.values("message_id", "name", "checked_at"))
        found.writestr("profile.json", JSONRenderer().render(profile))
        found.writestr("inputs.json", JSONRenderer().render(inputs_for(user)))
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


def inputs_for(user: User) -> dict[str, Any]:
    """Return the requests of the user's runs, the user's decisions about those of others, and the valid grants."""
    own = InputRequest.objects.for_user(user).select_related("run", "user", "resolved_by").order_by("created_at", "pk")
    others = InputRequest.objects.filter(resolved_by=user).exclude(user=user).order_by("resolved_at", "pk")
    decided = others.values("id", "status", "comment", "via", "resolved_at")
    grants = Grant.objects.for_user(user).filter(expires_at__gt=Now()).order_by("created_at", "pk")
    return {
        "inputs": [runs.input_fields(row) for row in own.iterator()],
        "decided": list(decided),
        "grants": GrantSerializer(grants, many=True).data,
    }


def messages_of(thread: Thread) -> list[Message]:
    """Return the thread's messages in the order in which they were asked, each answer after its message."""
    messages = Message.objects.filter(thread=thread).annotate(place=Coalesce("run__message__seq", "seq"))
    return list(messages.order_by("place", "seq").select_related("run", "feedback").prefetch_related("attachments"))


def as_json(thread: Thread, messages: list[Message]) -> bytes:
    rendered: bytes = JSONRenderer().render(ExportSerializer({"thread": thread, "messages": messages}).data)
    return rendered


def as_markdown(thread: Thread, messages: list[Message]) -> bytes:
    return ("\n\n".join(markdown(thread, messages)) + "\n").encode()


def file_name(thread: Thread) -> str:
    """Return the title without characters that have a meaning for a file system or a shell."""
    kept = "".join(" " if letter in '\\/:*?"<>|' else letter for letter in printable(thread.title, " "))
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
        if rated := getattr(message, "feedback", None):
            yield f"Rated {rated.get_rating_display()}" + (
                f": {rated.comment.strip()}" if rated.comment.strip() else ""
            )
        if files := message.attachments.all():
            yield "\n".join(f"- {file.name} ({file.media_type}, {file.size:,} bytes)" for file in files)
