"""The record: what is true, whatever Redis or a process does.

All times are the database's. Rows are reached through `for_user(user)`: a user's query can only find what is theirs.
"""

import uuid
from functools import partial
from typing import Any, ClassVar, TypeVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.dispatch import receiver

from chat.protocol import TERMINAL

_M = TypeVar("_M", bound=models.Model, covariant=True)


class OwnedQuerySet(models.QuerySet[_M]):
    def for_user(self, user: "User | int") -> "OwnedQuerySet[_M]":
        """Only the rows of this user; a thread that was deleted is gone with all that is in it."""
        path = self.model.OWNER  # type: ignore[attr-defined]
        alive = {f"{path.removesuffix('user')}deleted_at": None} if self.model.IN_THREAD else {}  # type: ignore[attr-defined]
        return self.filter(**{path: user}, **alive)


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A user with a hashed password. Raises IntegrityError when the address (in any case) is taken."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)  # takes tenths of a second, in which nobody else could write to SQLite
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(unique=True, error_messages={"unique": "This address is already registered."})
    name = models.CharField(max_length=150, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    USERNAME_FIELD = "email"
    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        return self.email


class Session(models.Model):
    """One sign-in: the family of a refresh token. Its id is the `sid` claim of every token made from it."""

    OWNER, IN_THREAD = "user", False
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="sessions")
    user_agent = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    used_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    newest = models.CharField(
        max_length=64, blank=True, db_default="", editable=False, help_text="id of the refresh token last made"
    )
    objects = OwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.id)


class Thread(models.Model):
    """`last_seq` counts its events; it is raised in the transaction that inserts them, so the numbers have no gap."""

    OWNER, IN_THREAD = "user", True
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="threads")
    title = models.CharField(max_length=200, blank=True)
    agent = models.CharField(max_length=64)
    last_seq = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["user", "-updated_at"], name="thread_user_updated")]

    def __str__(self) -> str:
        return self.title or str(self.id)


def attachment_path(attachment: "Attachment", name: str) -> str:
    """Where its bytes lie: under its id, never under a name that somebody else chose."""
    return f"attachments/{attachment.id.hex[:2]}/{attachment.id.hex}"


class Attachment(models.Model):
    """A file of a user, as it came. `recognised` is what chat/usage made of it."""

    OWNER, IN_THREAD = "user", False
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="attachments")
    name = models.CharField(max_length=255)
    media_type = models.CharField(max_length=100)
    size = models.BigIntegerField(help_text="bytes")
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
    """`parent` is the message it follows: an edit or another answer is a sibling, nothing is overwritten."""

    OWNER, IN_THREAD = "thread__user", True
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    run = models.ForeignKey("Run", models.CASCADE, null=True, blank=True, related_name="answers")
    role = models.CharField(max_length=16, choices=[("user", "user"), ("assistant", "assistant")])
    content = models.TextField()
    seq = models.BigIntegerField(help_text="of the event that announced it: the order of a thread's messages")
    attachments = models.ManyToManyField(Attachment, blank=True, related_name="messages")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["thread", "seq"], name="message_thread_seq")]
        indexes = [models.Index(fields=["-created_at"], name="message_created")]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:60]}"


class Run(models.Model):
    """One execution of one agent. `fence` rises with every change of hands; who holds an older one writes nothing.

    `request` is the SHA-256 of what was asked under `client_msg_id`: the same id with another body is a conflict.
    """

    OWNER, IN_THREAD = "thread__user", True
    QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED = "queued", "running", "completed", "failed", "cancelled"
    ACTIVE = (QUEUED, RUNNING)
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="runs")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="runs")
    message = models.ForeignKey(Message, models.CASCADE, related_name="runs")
    client_msg_id = models.CharField(max_length=200, null=True, blank=True)
    request = models.CharField(max_length=64)
    agent = models.CharField(max_length=64)
    status = models.CharField(
        max_length=16, default=QUEUED, choices=[(s, s) for s in (QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED)]
    )
    position = models.BigIntegerField(help_text="its place in the thread's queue: the seq of its message")
    turn = models.DateTimeField(
        db_default=Now(), help_text="its place among all runs: when it came, put back for those its user had active"
    )
    attempt = models.IntegerField(default=0)
    fence = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)
    worker = models.ForeignKey("Worker", models.SET_NULL, null=True, blank=True, related_name="runs")
    error_code = models.CharField(max_length=64, blank=True)
    usage = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    claimed_at = models.DateTimeField(
        null=True, blank=True, help_text="the last time; NETRA_RUN_TIMEOUT counts from it"
    )
    finished_at = models.DateTimeField(null=True, blank=True)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "client_msg_id"], name="run_client_msg_id"),
            models.UniqueConstraint(fields=["thread"], condition=Q(status="running"), name="run_one_running_a_thread"),
        ]
        indexes = [
            # What a worker that looks for a run reads: what waits, in its order, and what may be lost.
            models.Index(fields=["turn", "created_at"], condition=Q(status="queued"), name="run_turn"),
            models.Index(fields=["lease_until"], condition=Q(status="running"), name="run_lease"),
            models.Index(
                fields=["thread", "position"], condition=Q(status__in=("queued", "running")), name="run_queue"
            ),
            models.Index(fields=["user"], condition=Q(status__in=("queued", "running")), name="run_user_active"),
            models.Index(fields=["-created_at"], name="run_created"),
        ]

    def __str__(self) -> str:
        return f"{self.agent} {self.id}"


class Event(models.Model):
    """One numbered fact of a thread. `frame` is the JSON text every client gets, as the worker encoded it.

    `result` is set only for a tool result that was cut in the frame: the whole of it, for a later attempt.
    """

    id = models.BigAutoField(primary_key=True)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    # A run goes with its thread, and its events with theirs: for an index and a constraint more every event would pay.
    run = models.ForeignKey(
        Run, models.DO_NOTHING, null=True, blank=True, related_name="events", db_index=False, db_constraint=False
    )
    attempt = models.IntegerField(default=0)
    type = models.CharField(max_length=32)
    frame = models.TextField()
    result = models.TextField(null=True, blank=True)
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
    """A process that plays agents. `agents`: name -> {description, available, reason}."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    agents = models.JSONField(default=dict)
    draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    heartbeat_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class AuditRecord(models.Model):
    """What happened to an account or to a user's data; chat/audit.py writes it. It outlives the users it names."""

    KINDS = (
        "signed_in",
        "sign_in_failed",
        "locked_out",
        "session_ended",
        "signed_out_everywhere",
        "password_changed",
        "deactivated",
        "deleted",
        "admin_added",
        "admin_changed",
        "admin_deleted",
        "admin_read",
        "admin_acted",
    )
    at = models.DateTimeField(db_default=Now(), editable=False)
    kind = models.CharField(max_length=32, choices=[(kind, kind) for kind in KINDS])
    user = models.ForeignKey(User, models.DO_NOTHING, null=True, db_constraint=False, related_name="+")
    by = models.ForeignKey(User, models.DO_NOTHING, null=True, db_constraint=False, related_name="+")
    address = models.GenericIPAddressField(null=True)
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [models.Index(fields=["-at"], name="audit_at")]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M:%S}"
