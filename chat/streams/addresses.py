"""Threads and messages as clients of other protocols name them."""

import re
import uuid
from collections.abc import Sequence

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse

from chat.accounts.authentication import Identity
from chat.dialects import ANSWER_HEADERS, RunFacts
from chat.dialects.paths import extend, root
from chat.models import Message, Run, Thread
from chat.protocol import ProtocolError
from chat.streams.files import SentFile, has_files

NAMESPACE = uuid.UUID("7b1f0c52-6a0e-5c1d-9d6e-2f6b1a4c8e37")  # of the ids that clients choose; never changes
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def runs_of(identity: Identity) -> QuerySet[Run]:
    """Return the runs that exist for a client: the user's own; for an API key that names agents, theirs only."""
    own = Run.objects.for_user(identity.user_id)
    return own.filter(agent__in=identity.agents) if identity.agents else own


def name_in(header: str) -> str:
    """Return the text of a header's value, which servers decode as Latin-1, and clients send as UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def thread_id_of(user_id: int, name: str) -> uuid.UUID:
    """Return the id of the thread that a client calls `name`: a UUID itself, for any other text one of the user's own.

    The same name is the same thread in every dialect. A UUID may be of another user: `runs.start` answers not_found.
    """
    return uuid.UUID(name) if _UUID.fullmatch(name) else uuid.uuid5(NAMESPACE, f"{user_id}:{name}")


def existing_thread(user_id: int, name: str) -> Thread:
    """Return the user's thread of this name. Raises ProtocolError not_found."""
    thread = Thread.objects.for_user(user_id).filter(pk=thread_id_of(user_id, name)).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.")
    return thread


def message_of_client(user_id: int, thread_id: uuid.UUID, client_id: str) -> Message | None:
    """Return the user's message that a client knows by this id: its own, the newest counts, or else Netra's."""
    messages = Message.objects.for_user(user_id).filter(thread=thread_id, role="user")
    found = messages.filter(client_id=client_id).order_by("-seq").first()
    if found is None and _UUID.fullmatch(client_id):
        found = messages.filter(pk=client_id).first()
    return found


def branch_of(user_id: int, turns: Sequence[tuple[str, str]], thread_id: uuid.UUID | None = None) -> Message | None:
    """Return the user's newest message whose branch reads like these (role, text), in one thread if given.

    None if there is none, or no turns.
    """
    path = extend(root(user_id), turns)
    if path == root(user_id):
        return None
    found = Message.objects.for_user(user_id).filter(path=path)
    if thread_id is not None:
        found = found.filter(thread=thread_id)
    return found.order_by("-created_at", "-seq").first()


def same_message(
    user_id: int,
    thread_id: uuid.UUID,
    parent_id: uuid.UUID | None,
    content: str,
    files: Sequence[SentFile],
    path: str,
) -> Message | None:
    """Return the user's newest message under this parent with the same content, files and path."""
    siblings = Message.objects.for_user(user_id)
    siblings = siblings.filter(thread=thread_id, parent=parent_id, role="user", content=content, path=path)
    newest = siblings.order_by("-seq").prefetch_related("attachments")[:20]
    return next((message for message in newest if has_files(message, files)), None)


def facts_of(run: Run) -> RunFacts:
    """Return what a projection knows of this run beside its events."""
    page = reverse("chat:thread_page", args=[str(run.thread_id)])
    origin = settings.ALLOWED_ORIGINS[0] if settings.ALLOWED_ORIGINS else ""
    return RunFacts(
        run_id=str(run.pk),
        thread_id=str(run.thread_id),
        message_id=str(run.message_id),
        agent=run.agent,
        created_at=int(run.created_at.timestamp()),
        address=origin + page,
    )


def headers_of(facts: RunFacts) -> dict[str, str]:
    """Return the headers of every answer about a run."""
    return answer_headers(facts.thread_id, facts.run_id)


def answer_headers(thread_id: uuid.UUID | str | None = None, run_id: uuid.UUID | str | None = None) -> dict[str, str]:
    """Return the headers of every answer in a dialect; None for what the answer is not about."""
    ids = {"Netra-Thread": thread_id, "Netra-Run": run_id}
    named = {name: str(id) for name, id in ids.items() if id is not None}
    return {**named, **ANSWER_HEADERS}


def leaving_cancels(header: str | None, identity: Identity, default: bool) -> bool:
    """Return whether a client that leaves means stop: by its header Netra-Disconnect, else by the dialect's default.

    Raises ProtocolError invalid_message for another value than `cancel` or `continue`, forbidden for a `cancel` of an
    API key that may only read.
    """
    asked = (header or "").strip().lower()
    if asked not in ("", "cancel", "continue"):
        raise ProtocolError("invalid_message", "Netra-Disconnect must be cancel or continue.", field="Netra-Disconnect")
    if asked == "cancel":
        identity.check_write()
    return default if not asked else asked == "cancel"
