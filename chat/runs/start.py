"""Start runs: write Message, Run and `message_created` in one transaction, for many messages at once."""

import hashlib
import json
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count

from chat import protocol
from chat.db.sql import any_of, array_parameter, execute, format_id, id_parameter, insert
from chat.dialects.paths import extend, root
from chat.models import Attachment, Message, Run, Thread
from chat.protocol import ProtocolError, Regenerate, UserMessage
from chat.runs import event_log
from chat.runs.queries import attachment_fields
from chat.runs.record import NewRun, insert_messages, insert_runs
from chat.runs.threads import ChosenAgent, choose_agent, lock_thread
from chat.runs.titles import title_of
from chat.runs.types import NO_ORIGIN, Origin, StartedRun, StartRequest

log = logging.getLogger("netra.runs")
R = TypeVar("R")
_encode = json.JSONEncoder(default=str).encode


def start(
    user_id: int,
    message: UserMessage,
    agents: frozenset[str] = frozenset(),
    origin: Origin = NO_ORIGIN,
    language: str = "",
) -> StartedRun:
    """Write Message, Run and `message_created`. Raises not_found, unknown_agent, conflict, rate_limited.

    Other agents than `agents` do not exist, unless that is empty. `language` is the user's, for the agent.
    """
    (done,) = start_all([StartRequest(user_id, message, agents=agents, origin=origin, language=language)])
    if isinstance(done, ProtocolError):
        raise done
    return done


def start_all(asked: Sequence[StartRequest]) -> list[StartedRun | ProtocolError]:
    """Start runs for several messages in one transaction. Return a run or the error of each.

    No two requests may name the same thread, or have the same client_msg_id of one user.
    """
    try:
        return _retry_on_conflict(partial(_start_all, asked), retries=0 if len(asked) > 1 else 2)
    except IntegrityError:
        if len(asked) == 1:
            raise
        return [done for one in asked for done in start_all([one])]


def regenerate(user_id: int, frame: Regenerate, agents: frozenset[str] = frozenset(), language: str = "") -> StartedRun:
    """Start a new run for the message that the answer `frame.message_id` belongs to. Raises what `start` raises."""
    return _retry_on_conflict(partial(_regenerate, user_id, frame, agents, language), retries=2)


def _retry_on_conflict(begin: Callable[[], R], retries: int) -> R:
    """Call `begin` in a transaction; retry it after a conflict with a concurrent request at a constraint."""
    while True:
        try:
            with transaction.atomic():
                return begin()
        except IntegrityError:
            if not retries:
                raise
            retries -= 1


def ask_again(
    user_id: int,
    message_id: uuid.UUID,
    agent: str | None = None,
    client_msg_id: str | None = None,
    agents: frozenset[str] = frozenset(),
    digest: str = "",
    interactive: bool = True,
    language: str = "",
) -> StartedRun:
    """Start a new run for a message of the user, whether it has an answer or not. Raises what `start` raises.

    `digest`: see Origin; `interactive`: see UserMessage.
    """

    def begin() -> StartedRun:
        asked = digest or _hash_request("message again", message_id, agent)
        known = _find_repeats([(user_id, client_msg_id)])
        if known:
            (run,) = known.values()
            return _answer_repeat(run, (asked,), None, agents)
        message = Message.objects.for_user(user_id).filter(id=message_id, role="user").first()
        if message is None:
            raise ProtocolError("not_found", "There is no such message.", field="message_id")
        thread = lock_thread(user_id, message.thread_id)
        ahead = _admit(_count_active({user_id}), user_id)
        chosen = choose_agent(user_id, agent, thread.agent, agents)
        return _start_rerun(thread, message.id, chosen, asked, client_msg_id, ahead, interactive, language)

    return _retry_on_conflict(begin, retries=2)


def repeated(
    user_id: int, client_msg_id: str | None, digest: str, agents: frozenset[str] = frozenset()
) -> StartedRun | None:
    """Return the run that this client_msg_id has started already.

    Raises conflict if the request had another digest, unknown_agent if the run is of another agent than `agents`.
    """
    known = _find_repeats([(user_id, client_msg_id)])
    return next((_answer_repeat(run, (digest,), None, agents) for run in known.values()), None)


def _hash_request(*asked: object) -> str:
    return hashlib.sha256(_encode(asked).encode()).hexdigest()


def _accepted_hashes(message: UserMessage, digest: str) -> tuple[str, ...]:
    """Return the request hashes that a repeat of this message may match, its own first; `digest`: see Origin.

    A repeat may name the thread that the message got when it named none, but not the reverse.
    """
    if digest:
        return (digest,)
    parent = message.parent_id if message.parent_given else "newest"
    body: tuple[object, ...] = (message.content, message.agent, parent, sorted(message.attachment_ids))
    if not message.interactive:
        body = (*body, "not interactive")
    named = (True, False) if message.thread_id is not None else (False,)
    return tuple(_hash_request("message", is_named, *body) for is_named in named)


def _answer_repeat(
    run: Run, same: tuple[str, ...], thread_id: uuid.UUID | None, agents: frozenset[str] = frozenset()
) -> StartedRun:
    if agents and run.agent not in agents:
        raise ProtocolError("unknown_agent", "There is no such agent.", field="agent")
    if run.thread.deleted_at is not None:
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    if run.request_hash not in same or (thread_id is not None and thread_id != run.thread_id):
        raise ProtocolError("conflict", "This client_msg_id was used for another message.", field="client_msg_id")
    return StartedRun(run.thread_id, run.message_id, run.id, run.thread_seq, run.client_msg_id, repeated=True)


def _start_all(asked: Sequence[StartRequest]) -> list[StartedRun | ProtocolError]:
    known = _find_repeats([(one.user_id, one.message.client_msg_id) for one in asked])
    ids = [one.message.thread_id or one.fresh_thread for one in asked]
    wanted = [id_parameter(id) for id in ids if id is not None]
    there = _select_ids(f"chat_thread WHERE id {any_of('uuid')}", wanted) if wanted else []
    found = Thread.objects.select_for_update().filter(id__in=there).order_by("id") if there else []
    threads = {thread.id: thread for thread in found}
    last = _read_queue_ends(
        {id for one, id in zip(asked, ids, strict=True) if id in threads and not one.message.parent_given}
    )
    active = _count_active({one.user_id for one in asked})
    done: list[StartedRun | ProtocolError | _PreparedStart] = []
    for one, id in zip(asked, ids, strict=True):
        message = one.message
        try:
            run = known.get((one.user_id, message.client_msg_id or ""))
            if run is not None:
                digest = one.origin.digest
                named = None if digest else message.thread_id
                done.append(_answer_repeat(run, _accepted_hashes(message, digest), named, one.agents))
            else:
                start = _prepare(one, id or uuid.uuid4(), threads.get(id) if id else None, last.get(id) if id else None)
                done.append(replace(start, ahead=_admit(active, one.user_id)))
        except ProtocolError as error:
            done.append(error)
    starts = [one for one in done if isinstance(one, _PreparedStart)]
    created = iter(_write(starts))
    return [next(created) if isinstance(one, _PreparedStart) else one for one in done]


def _find_repeats(ids: Sequence[tuple[int, str | None]]) -> dict[tuple[int, str], Run]:
    """Return the runs that exist for these (user id, client_msg_id)."""
    given = [(user_id, id) for user_id, id in ids if id is not None]
    if not given:
        return {}
    # There is rarely one, and the ORM takes longer to build the query than the database to answer it.
    users, names = {user_id for user_id, _ in given}, [name for _, name in given]
    found = _select_ids(f"chat_run WHERE user_id {any_of('bigint')} AND client_msg_id {any_of('text')}", users, names)
    runs = Run.objects.filter(id__in=found).select_related("thread") if found else []
    return {(run.user_id, run.client_msg_id or ""): run for run in runs}


def _select_ids(where: str, *values: Collection[Any]) -> list[Any]:
    return [id for (id,) in execute(f"SELECT id FROM {where}", [array_parameter(some) for some in values])]  # noqa: S608 no text of a user's


def _count_active(user_ids: Collection[int]) -> Counter[int]:
    """Return user id -> number of pending runs; empty if limits are off. Runs that wait for a person delay nothing."""
    if not settings.NETRA_RATE_LIMITS:
        return Counter()
    runs = Run.objects.filter(user__in=user_ids, status__in=Run.PENDING)
    return Counter(dict(runs.values_list("user").annotate(Count("id")).order_by()))


def _admit(active: Counter[int], user_id: int) -> int:
    """Count a further run of the user. Return the number before it. Raises rate_limited."""
    if settings.NETRA_RATE_LIMITS and active[user_id] >= protocol.MAX_ACTIVE_RUNS:
        raise ProtocolError("rate_limited", "Too many of your messages are waiting for an answer.", retry_after=5)
    active[user_id] += 1
    return active[user_id] - 1


# The end of the queue of each thread: the answer of its last run, or the message of that run without an answer.
_QUEUE_ENDS = f"""
    SELECT m.thread_id, m.id, m.path FROM chat_message m WHERE m.id IN (SELECT (
        SELECT COALESCE((SELECT a.id FROM chat_message a WHERE a.run_id = r.id LIMIT 1), r.message_id)
        FROM chat_run r WHERE r.thread_id = t.id ORDER BY r.thread_seq DESC, r.created_at DESC, r.id DESC LIMIT 1)
    FROM chat_thread t WHERE t.id {any_of("uuid")})"""  # noqa: S608 no text of a user's

_Parent = tuple[uuid.UUID, str]  # id and path


def _read_queue_ends(thread_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, _Parent]:
    """Return the last message of each of these locked threads, in the order of their queues.

    So a message that waits follows the answers of the runs before it.
    """
    if not thread_ids:
        return {}
    found = execute(_QUEUE_ENDS, [array_parameter([id_parameter(id) for id in thread_ids])])
    return {uuid.UUID(format_id(thread)): (uuid.UUID(format_id(last)), path) for thread, last, path in found}


@dataclass(frozen=True, slots=True)
class _PreparedStart:
    """A checked request with all values that are written for it."""

    asked: StartRequest
    thread: Thread
    is_new: bool
    parent_id: uuid.UUID | None
    path: str
    attachments: list[Attachment]
    agent: ChosenAgent
    message_id: uuid.UUID
    run_id: uuid.UUID
    ahead: int = 0  # active runs of the user


def _prepare(asked: StartRequest, thread_id: uuid.UUID, thread: Thread | None, last: _Parent | None) -> _PreparedStart:
    message, user_id = asked.message, asked.user_id
    if thread is not None and (thread.user_id != user_id or thread.deleted_at is not None):
        raise ProtocolError("not_found", "There is no such thread.", field="thread_id")
    agent = choose_agent(user_id, message.agent, thread.agent if thread else None, asked.agents)
    found = Attachment.objects.for_user(user_id).in_bulk(message.attachment_ids) if message.attachment_ids else {}
    if len(found) < len(message.attachment_ids):
        raise ProtocolError("not_found", "There is no such attachment.", field="attachment_ids")
    parent = last
    if message.parent_given:
        parent = _read_parent(thread_id, message.parent_id)
    parent_id, path = parent or (None, root(user_id))
    return _PreparedStart(
        asked,
        thread or Thread(id=thread_id, user_id=user_id, agent=agent.name, title=title_of(message.content)),
        thread is None,
        parent_id,
        extend(path, [*asked.origin.context, ("user", message.content)]),
        [found[id] for id in message.attachment_ids],
        agent,
        uuid.uuid4(),
        uuid.uuid4(),
    )


def _read_parent(thread_id: uuid.UUID, message_id: uuid.UUID | None) -> _Parent | None:
    """Return the message of the thread with its path; None for the root. Raises not_found."""
    if message_id is None:
        return None
    found = Message.objects.filter(thread=thread_id, id=message_id).values_list("id", "path").first()
    if found is None:
        raise ProtocolError("not_found", "There is no such message in this thread.", field="parent_id")
    return found


def _write(starts: Sequence[_PreparedStart]) -> list[StartedRun]:
    if not starts:
        return []
    # In one order everywhere: two processes that insert the same keys in opposite orders would deadlock.
    new = sorted((one.thread for one in starts if one.is_new), key=lambda thread: thread.id)
    hidden = {one.thread.id for one in starts if one.asked.origin.hidden}
    rows = [
        (id_parameter(thread.id), thread.user_id, thread.title, thread.agent, thread.id in hidden) for thread in new
    ]
    insert("chat_thread", _THREAD_COLUMNS, rows, last_seq="0")
    for one in starts:
        if not one.thread.title:
            Thread.objects.filter(id=one.thread.id).update(title=title_of(one.asked.message.content))
        if not one.is_new and one.thread.hidden and not one.asked.origin.hidden:
            Thread.objects.filter(id=one.thread.id).update(hidden=False)
    bodies = [
        event_log.make_event(
            str(one.thread.id),
            str(one.run_id),
            0,
            "message_created",
            one.agent.name,
            message_id=str(one.message_id),
            role="user",
            content=one.asked.message.content,
            parent_id=str(one.parent_id) if one.parent_id else None,
            client_msg_id=one.asked.message.client_msg_id,
            attachments=[attachment_fields(attachment) for attachment in one.attachments],
            **({"hidden": True} if one.asked.origin.hidden and (one.is_new or one.thread.hidden) else {}),
        )
        for one in starts
    ]
    numbered = event_log.append({str(one.thread.id): one.asked.user_id for one in starts}, bodies)
    insert_messages(
        (
            (one.message_id, one.thread.id, one.parent_id, None, "user", one.asked.message.content, seq)
            for one, (seq, _) in zip(starts, numbered, strict=True)
        ),
        [one.path for one in starts],
    )
    for one in starts:
        if one.asked.origin.client_id is not None or one.asked.origin.context:
            claimed = {"client_id": one.asked.origin.client_id, "context": one.asked.origin.context or None}
            Message.objects.filter(id=one.message_id).update(**claimed)
    Attached = Message.attachments.through  # noqa: N806 a class
    Attached.objects.bulk_create(
        Attached(message_id=one.message_id, attachment_id=attachment.id)
        for one in starts
        for attachment in one.attachments
    )
    insert_runs(
        NewRun(
            one.run_id,
            one.asked.user_id,
            one.thread.id,
            one.message_id,
            one.asked.message.client_msg_id,
            _accepted_hashes(one.asked.message, one.asked.origin.digest)[0],
            *one.agent,
            seq,
            one.ahead,
            one.asked.message.interactive,
            one.asked.language,
        )
        for one, (seq, _) in zip(starts, numbered, strict=True)
    )
    return [
        StartedRun(
            one.thread.id, one.message_id, one.run_id, seq, one.asked.message.client_msg_id, created=(seq, frame)
        )
        for one, (seq, frame) in zip(starts, numbered, strict=True)
    ]


_THREAD_COLUMNS = "id uuid, user_id bigint, title text, agent text, hidden boolean"


def _regenerate(user_id: int, frame: Regenerate, agents: frozenset[str], language: str) -> StartedRun:
    asked = _hash_request("regenerate", frame.message_id, frame.agent)
    known = _find_repeats([(user_id, frame.client_msg_id)])
    if known:
        (run,) = known.values()
        return _answer_repeat(run, (asked,), None, agents)
    answer = Message.objects.for_user(user_id).filter(id=frame.message_id).select_related("thread", "parent").first()
    if answer is None or answer.parent is None or answer.role != "assistant":
        raise ProtocolError("not_found", "There is no such answer.", field="message_id")
    thread = lock_thread(user_id, answer.thread_id)
    ahead = _admit(_count_active({user_id}), user_id)
    agent = choose_agent(user_id, frame.agent, thread.agent, agents)
    return _start_rerun(thread, answer.parent.id, agent, asked, frame.client_msg_id, ahead, language=language)


@transaction.atomic
def rerun(run_id: uuid.UUID) -> StartedRun:
    """Start a new run for the message of an ended run, with its agent. Raises not_found, conflict, unknown_agent."""
    run = Run.objects.get(id=run_id)
    thread = lock_thread(run.user_id, run.thread_id)
    if run.status in Run.ACTIVE:
        raise ProtocolError("conflict", "This run has not ended.", field="run_id")
    ahead = _count_active({run.user_id})[run.user_id]
    agent, asked = choose_agent(run.user_id, run.agent, None), _hash_request("again", run_id)
    return _start_rerun(thread, run.message_id, agent, asked, None, ahead, run.interactive, run.language)


def _start_rerun(
    thread: Thread,
    message_id: uuid.UUID,
    agent: ChosenAgent,
    asked: str,
    client_msg_id: str | None,
    ahead: int,
    interactive: bool = True,
    language: str = "",
) -> StartedRun:
    """Insert a further run for a message of this locked thread."""
    user_id, seq = thread.user_id, thread.last_seq
    ids = uuid.uuid4(), user_id, thread.id, message_id
    run = NewRun(*ids, client_msg_id, asked, *agent, seq, ahead, interactive, language)
    insert_runs([run])
    return StartedRun(thread.id, message_id, run.id, thread.last_seq, client_msg_id)
