"""Create, copy, rename and delete threads."""

import json
import uuid
from collections.abc import Collection
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from chat import protocol
from chat.assistants.listing import Listed, assistants
from chat.models import Attachment, Event, Message, Run, Thread
from chat.protocol import ProtocolError
from chat.runs import event_log
from chat.runs.cancel import cancel_one
from chat.runs.queries import attachment_fields, branch
from chat.runs.record import insert_messages

MAX_COPIED_MESSAGES = 2_000  # each is a few statements in one transaction


class ChosenAgent(NamedTuple):
    """An agent by its name, with the newest version if it is an assistant."""

    name: str
    version_id: int | None = None


def agents_for(user_id: int, allowed: Collection[str] = ()) -> dict[str, Listed | None]:
    """Return name -> assistant of the agents that exist for the user, the default first; None for one of the settings.

    Those of `allowed` only, if that is not empty.
    """
    default, *others = settings.AGENTS
    listed = {one.name: one for one in assistants().visible_to(user_id)}
    found: dict[str, Listed | None] = {default: None, **listed, **dict.fromkeys(others)}
    return {name: one for name, one in found.items() if not allowed or name in allowed}


def choose_agent(user_id: int, asked: str | None, of_thread: str | None, allowed: Collection[str] = ()) -> ChosenAgent:
    """Return the requested agent, else that of the thread, else the default. Raises unknown_agent.

    Agents that are not `allowed` do not exist here, unless that is empty.
    """
    found = agents_for(user_id, allowed)
    name = _choose_name(list(found), asked, of_thread)
    listed = found[name]
    return ChosenAgent(name, listed.version_id if listed else None)


def _choose_name(names: list[str], asked: str | None, of_thread: str | None) -> str:
    if asked is not None and asked not in names:
        raise ProtocolError("unknown_agent", f"There is no agent called {asked!r}.", field="agent")
    if not names:
        raise ProtocolError("unknown_agent", "None of the agents of this API key exists.", field="agent")
    if asked is not None:
        return asked
    return of_thread if of_thread in names else names[0]


def create_thread(
    user_id: int,
    thread_id: uuid.UUID | None,
    title: str,
    agent: str | None,
    allowed: Collection[str] = (),
    temporary: bool = False,
) -> Thread:
    """Create a thread. Raises unknown_agent, and conflict for an id that any user has taken."""
    chosen = choose_agent(user_id, agent, None, allowed)
    thread = Thread(id=thread_id or uuid.uuid4(), user_id=user_id, title=title, agent=chosen.name, temporary=temporary)
    try:
        with transaction.atomic():
            thread.save(force_insert=True)
    except IntegrityError:
        raise ProtocolError("conflict", "This id is taken.", field="id") from None
    return Thread.objects.get(id=thread.id)


@transaction.atomic
def copy(user_id: int, thread_id: uuid.UUID, message_id: uuid.UUID | None = None) -> Thread:
    """Make a thread of the messages down to this one, or to the newest, with their attachments and results.

    The copied runs cost nothing and have no steps; one without an answer counts as stopped. Raises not_found, conflict
    for an empty thread, too_large.
    """
    source = Thread.objects.for_user(user_id).filter(id=thread_id).first()
    if source is None:
        raise ProtocolError("not_found", "There is no such thread.")
    found = branch(thread_id, message_id)
    if not found:
        if message_id is None:
            raise ProtocolError("conflict", "There is nothing to copy yet.")
        raise ProtocolError("not_found", "There is no such message in this thread.", field="message_id")
    if len(found) > MAX_COPIED_MESSAGES:
        raise ProtocolError("too_large", f"A conversation of more than {MAX_COPIED_MESSAGES:,} messages is not copied.")
    ids = [id for id, _, _ in found]
    messages = Message.objects.filter(id__in=ids).select_related("run").prefetch_related("attachments").in_bulk()
    runs = [message.run_id for message in messages.values() if message.run_id]
    ends = Event.objects.filter(thread=thread_id, run__in=runs, type="agent_completed").values_list("run", "frame")
    results = {run_id: json.loads(frame).get("result") for run_id, frame in ends}
    thread = Thread.objects.create(user_id=user_id, agent=source.agent, title=source.title)
    last: uuid.UUID | None = None
    for position, id in enumerate(ids):
        if messages[id].role == "user":
            after = messages[ids[position + 1]] if position + 1 < len(ids) else None
            answer = after if after is not None and after.role == "assistant" else None
            last = _copy_exchange(thread, last, messages[id], answer, results)
    return Thread.objects.get(id=thread.id)


def _copy_exchange(
    thread: Thread, parent: uuid.UUID | None, asked: Message, answer: Message | None, results: dict[uuid.UUID, Any]
) -> uuid.UUID:
    """Write a question and its answer at the end of a new thread. Return the id of the last message."""
    thread_id, run_id, asked_id, answer_id = str(thread.id), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    run = answer.run if answer is not None else None
    agent = run.agent if run is not None else thread.agent
    files: list[Attachment] = list(asked.attachments.all())
    created = event_log.make_event(
        thread_id,
        str(run_id),
        0,
        "message_created",
        agent,
        message_id=str(asked_id),
        role="user",
        content=asked.content,
        parent_id=str(parent) if parent else None,
        client_msg_id=None,
        attachments=[attachment_fields(file) for file in files],
    )
    if answer is None:
        ended = event_log.make_event(thread_id, str(run_id), 0, "agent_cancelled", agent, status="cancelled")
    else:
        result = results.get(run.id) if run is not None else None
        ended = event_log.make_event(
            thread_id,
            str(run_id),
            0,
            "agent_completed",
            agent,
            status="completed",
            final_response=answer.content,
            **({} if result is None else {"result": result}),
            message_id=str(answer_id),
            agents_involved=[agent],
            usage={},
            duration_ms=0,
        )
    (first, _), (second, _) = event_log.append({thread_id: thread.user_id}, [created, ended])
    insert_messages([(asked_id, thread.id, parent, None, "user", asked.content, first)], [asked.path])
    Message.objects.get(id=asked_id).attachments.set(files)
    Run.objects.create(
        id=run_id,
        user_id=thread.user_id,
        thread=thread,
        message_id=asked_id,
        request_hash="",
        agent=agent,
        status=Run.CANCELLED if answer is None else Run.COMPLETED,
        thread_seq=first,
        started_at=Now(),
        finished_at=Now(),
        compacted=True,
    )
    if answer is None:
        return asked_id
    insert_messages([(answer_id, thread.id, asked_id, run_id, "assistant", answer.content, second)], [answer.path])
    return answer_id


@transaction.atomic
def rename(user_id: int, thread_id: uuid.UUID, title: str) -> Thread:
    """Set the thread's title and write `thread_updated`. Raises not_found."""
    thread = lock_thread(user_id, thread_id)
    body = event_log.make_event(str(thread.id), None, 0, "thread_updated", None, title=title)
    event_log.append({str(thread.id): user_id}, [body])
    Thread.objects.filter(id=thread.id).update(title=title)
    return Thread.objects.get(id=thread.id)


def show(user_id: int, thread_id: uuid.UUID) -> None:
    """Bring a hidden thread of the user into the lists: a person has opened it."""
    Thread.objects.for_user(user_id).filter(id=thread_id, hidden=True).update(hidden=False)


def mark(user_id: int, thread_id: uuid.UUID, **marks: bool) -> None:
    """Set whether the thread is pinned or archived. Raises not_found."""
    with transaction.atomic():
        Thread.objects.filter(id=lock_thread(user_id, thread_id).id).update(**marks)


def see(user_id: int, thread_id: uuid.UUID, seq: int) -> None:
    """Note that the user has seen the thread's events up to this one, and tell the user's sockets. Raises not_found."""
    with transaction.atomic():
        thread = lock_thread(user_id, thread_id)
        seen = min(seq, thread.last_seq)
        if seen > thread.seen_seq:
            Thread.objects.filter(id=thread.id).update(seen_seq=seen)
            frame = protocol.control("thread_seen", thread_id=str(thread.id), seen_seq=seen)
            event_log.publish(user_id, {"type": "notice", "frame": frame})


def move(user_id: int, thread_id: uuid.UUID, project_id: uuid.UUID | None) -> None:
    """Put the thread into a project of the same user, or into none. Raises not_found."""
    with transaction.atomic():
        Thread.objects.filter(id=lock_thread(user_id, thread_id).id).update(project=project_id)


def delete(user_id: int, thread_id: uuid.UUID) -> None:
    """Cancel the thread's runs and hide it for good; its id stays taken. Raises not_found."""
    active = Run.objects.filter(user=user_id, thread=thread_id, status__in=Run.ACTIVE).order_by("id")
    with transaction.atomic():
        for run in list(active.select_for_update()):
            cancel_one(run.id)
        thread = lock_thread(user_id, thread_id)
        Thread.objects.filter(id=thread.id).update(deleted_at=Now(), updated_at=Now())
        frame = protocol.control("thread_deleted", thread_id=str(thread.id))
        event_log.publish(user_id, {"type": "control", "thread": str(thread.id), "frame": frame})
    for run in active:  # a run that started before the thread was locked; later ones are refused
        cancel_one(run.id)


def lock_thread(user_id: int, thread_id: uuid.UUID) -> Thread:
    """Lock the user's thread until the transaction ends, and return it. Raises not_found."""
    thread = Thread.objects.for_user(user_id).select_for_update().filter(id=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    return thread
