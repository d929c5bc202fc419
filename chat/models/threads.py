"""Threads, messages, runs, events and workers: the source of truth. All times are the database's."""

import uuid
from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.dispatch import receiver

from chat.models.accounts import OwnedQuerySet, User
from chat.models.projects import Project
from chat.protocol import TERMINAL


class Thread(models.Model):
    """A conversation of a user.

    `last_seq` is the number of its last event. The transaction that inserts events raises it, so numbers have no gap.
    `seen_seq` is the number of the last event that the user has seen on a page.
    """

    OWNER, IN_THREAD = "user", True
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="threads")
    title = models.CharField(max_length=200, blank=True)
    agent = models.CharField(max_length=64)
    last_seq = models.BigIntegerField(default=0)
    seen_seq = models.BigIntegerField(db_default=0)
    hidden = models.BooleanField(
        db_default=False, help_text="Whether it is in no list: a client's call made it without naming it."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)
    pinned = models.BooleanField(db_default=False, help_text="Whether the list has it at the top.")
    archived = models.BooleanField(db_default=False, help_text="Whether only a search finds it.")
    temporary = models.BooleanField(db_default=False, help_text="Whether it is in no list, and emptied once deleted.")
    project = models.ForeignKey(Project, models.SET_NULL, null=True, blank=True, db_index=False, related_name="threads")
    objects = OwnedQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["user", "-updated_at"], name="thread_user_updated"),
            models.Index(fields=["project"], condition=Q(project__isnull=False), name="thread_project"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)


def attachment_path(attachment: "Attachment", name: str) -> str:
    """Return the path of the file below MEDIA_ROOT: from the id, never from a name that a user chose."""
    return f"attachments/{attachment.id.hex[:2]}/{attachment.id.hex}"


class Attachment(models.Model):
    """An uploaded file, without the metadata of pictures and PDF files. `recognised` is the result of chat/usage."""

    OWNER, IN_THREAD = "user", False
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="attachments")
    name = models.CharField(max_length=255)
    media_type = models.CharField(max_length=100)
    size = models.BigIntegerField(help_text="Size in bytes.")
    recognised = models.JSONField(null=True, blank=True)
    file = models.FileField(upload_to=attachment_path)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = OwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


@receiver(models.signals.post_delete, sender=Attachment)
def _delete_file(instance: Attachment, **signal: Any) -> None:
    transaction.on_commit(partial(instance.file.delete, save=False))


class Message(models.Model):
    """A message of a user or an answer of an agent.

    `parent` is the message before it. An edit or a further answer is a sibling; no message is overwritten.
    `context` is what the client claims beside the message, as [[role, text], …]. `path` is a digest of all that is
    said from the thread's root to this message, claimed turns included (chat.runs.branches).
    """

    OWNER, IN_THREAD = "thread__user", True
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    run = models.ForeignKey("Run", models.CASCADE, null=True, blank=True, related_name="answers")
    role = models.CharField(max_length=16, choices=[("user", "user"), ("assistant", "assistant")])
    content = models.TextField()
    seq = models.BigIntegerField(
        help_text="Number of the event that announced the message; orders a thread's messages."
    )
    attachments = models.ManyToManyField(Attachment, blank=True, related_name="messages")
    client_id = models.CharField(max_length=128, null=True, blank=True, help_text="Id that the client gave it.")
    context = models.JSONField(null=True, blank=True)
    path = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["thread", "seq"], name="message_thread_seq")]
        indexes = [
            models.Index(fields=["-created_at"], name="message_created"),
            models.Index(fields=["thread", "client_id"], condition=Q(client_id__isnull=False), name="message_client"),
            models.Index(fields=["path"], condition=~Q(path=""), name="message_path"),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:60]}"


class MessageText(models.Model):
    """A message's content as it is compared by a search (chat.db.search.fold).

    A table of its own: an answer's reader loads the content once. Its index of trigrams, which the migration makes, is
    SQLite's table chat_messageindex, and on PostgreSQL chat_messagetext_trigrams where the extension pg_trgm exists.
    """

    message = models.OneToOneField(Message, models.CASCADE, related_name="text")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    folded = models.TextField()

    def __str__(self) -> str:
        return self.folded[:60]


class Run(models.Model):
    """An execution of an agent for a message.

    Each claim, requeue and end raises `fencing_token`; a worker with an older token writes nothing. `request_hash` is
    the SHA-256 of the request with this `client_msg_id`: the same id with another request is a conflict.
    """

    OWNER, IN_THREAD = "thread__user", True
    QUEUED, RUNNING, WAITING = "queued", "running", "waiting"
    COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
    PENDING = (QUEUED, RUNNING)  # for a worker or at one
    ACTIVE = (*PENDING, WAITING)
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="runs")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="runs")
    message = models.ForeignKey(Message, models.CASCADE, related_name="runs")
    client_msg_id = models.CharField(max_length=200, null=True, blank=True)
    request_hash = models.CharField(max_length=64)
    agent = models.CharField(max_length=64)
    assistant_version = models.ForeignKey(
        "AssistantVersion",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="runs",
        db_index=False,
        help_text="Of an assistant: the version that the run keeps to its end.",
    )
    status = models.CharField(
        max_length=16, default=QUEUED, choices=[(s, s) for s in (*ACTIVE, COMPLETED, FAILED, CANCELLED)]
    )
    thread_seq = models.BigIntegerField(help_text="Position in the thread's queue: the seq of the message.")
    scheduled_for = models.DateTimeField(
        db_default=Now(),
        help_text="Position among all runs: the time of creation, later for each active run of the user.",
    )
    attempt = models.IntegerField(default=0)
    fencing_token = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    available_at = models.DateTimeField(null=True, blank=True)
    worker = models.ForeignKey("Worker", models.SET_NULL, null=True, blank=True, related_name="runs")
    error_code = models.CharField(max_length=64, blank=True)
    usage = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    claimed_at = models.DateTimeField(
        null=True, blank=True, help_text="Time of the latest claim; NETRA_RUN_TIMEOUT counts from it."
    )
    finished_at = models.DateTimeField(null=True, blank=True)
    interactive = models.BooleanField(db_default=True, help_text="Whether a person is there to answer its requests.")
    language = models.CharField(
        max_length=8, blank=True, db_default="", help_text="Of the user, for the agent's texts. Empty: not known."
    )
    continues = models.BooleanField(
        db_default=False, help_text="Whether the next claim continues the attempt instead of starting another."
    )
    waiting_since = models.DateTimeField(null=True, blank=True, help_text="Time of the suspension, until the claim.")
    compacted = models.BooleanField(db_default=False, help_text="Whether the deltas of its text were joined.")
    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "client_msg_id"], name="run_client_msg_id"),
            models.UniqueConstraint(fields=["thread"], condition=Q(status="running"), name="run_one_running_a_thread"),
        ]
        indexes = [
            # A claim reads the queued runs in their order and the running ones by the end of their lease.
            models.Index(fields=["scheduled_for", "created_at"], condition=Q(status="queued"), name="run_scheduled"),
            models.Index(fields=["lease_until"], condition=Q(status="running"), name="run_lease"),
            models.Index(
                fields=["thread", "thread_seq"], condition=Q(status__in=("queued", "running")), name="run_queue"
            ),
            models.Index(
                fields=["user", "status", "scheduled_for", "created_at"],
                condition=Q(status__in=("queued", "running")),
                name="run_user_queue",
            ),
            models.Index(fields=["waiting_since"], condition=Q(status="waiting"), name="run_waiting"),
            models.Index(fields=["-created_at"], name="run_created"),
            models.Index(
                fields=["finished_at"], condition=Q(compacted=False, finished_at__isnull=False), name="run_uncompacted"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} {self.id}"


class Event(models.Model):
    """A numbered event of a thread. `frame` is the JSON text that clients get, as it was encoded once.

    `result` is the full result of a tool where the frame has it truncated: a later attempt uses it. Otherwise None.
    `pieces` is None, or for deltas that were joined the JSON list of their lengths in characters: `frame` has the text
    of all, and `seq` is the number of the last. The event log returns them as they were.
    """

    id = models.BigAutoField(primary_key=True)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    # No index and no constraint: each event would pay for them. A run and its events are deleted with their thread.
    run = models.ForeignKey(
        Run, models.DO_NOTHING, null=True, blank=True, related_name="events", db_index=False, db_constraint=False
    )
    attempt = models.IntegerField(default=0)
    type = models.CharField(max_length=32)
    frame = models.TextField()
    result = models.TextField(null=True, blank=True)
    pieces = models.TextField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["thread", "seq"], name="event_thread_seq"),
            models.UniqueConstraint(
                fields=["run"], condition=Q(type__in=sorted(TERMINAL)), name="event_one_terminal_a_run"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.seq}"


class Worker(models.Model):
    """A worker process. `agents` maps the names of its agents to {description, available, reason}."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    agents = models.JSONField(default=dict)
    draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    heartbeat_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
