"""The messages of one branch of a thread, with the events that its answers were made of."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from chat.accounts.authentication import Identity
from chat.models import Message, Run
from chat.streams.sending import decoded_events, newest_run

Events = list[dict[str, Any]]
_FIRST = ("message_created", "agent_started")  # a run's first event


def newest_leaf(identity: Identity, thread_id: UUID) -> UUID | None:
    """Return the last message of the newest branch: the one that is being answered, else the newest one."""
    run = newest_run(identity, thread_id)
    if run is not None and run.status in Run.ACTIVE:
        return run.message_id
    newest = Message.objects.for_user(identity.user_id).filter(thread=thread_id).order_by("-seq")
    return newest.values_list("pk", flat=True).first()


def branch(thread_id: UUID, leaf: UUID | None) -> list[Message]:
    """Return the messages from the thread's root to `leaf`, the oldest first.

    If a message was sent while another was being answered, the answer stands between the two.
    """
    messages = {message.pk: message for message in Message.objects.filter(thread=thread_id).order_by("seq")}
    answers = {message.parent_id: message for message in messages.values() if message.role == "assistant"}
    found: list[Message] = []
    while leaf is not None:
        message = messages[leaf]
        if found and message.role == found[-1].role == "user" and leaf in answers:
            found.append(answers[leaf])
        found.append(message)
        leaf = message.parent_id
    return found[::-1]


def events_of_answers(thread_id: UUID, messages: Iterable[Message]) -> Mapping[UUID, tuple[Run, Events]]:
    """Return run id -> run and its events, for those answers whose events are still kept."""
    ids = {message.run_id for message in messages if message.role == "assistant" and message.run_id is not None}
    found = {run.pk: (run, decoded_events(run)) for run in Run.objects.filter(pk__in=ids, thread=thread_id)}
    return {id: (run, events) for id, (run, events) in found.items() if events and events[0]["type"] in _FIRST}
