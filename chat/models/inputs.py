"""Questions of a run to a person, and the state of a run that waits for the answer."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from chat.models.accounts import OwnedQuerySet, Session, User
from chat.models.fields import OrderedJSONField
from chat.models.threads import Run, Thread


class InputRequest(models.Model):
    """A question that a run puts to a person. Once it is resolved, the row never changes.

    `path` is that of the sub-agent that asks; the id is derived from it and from all that is asked, so that an answer
    applies only to what was shown. `content` is the answer to a form; `edited_parameters` are those that a person
    approved in place of `parameters`.
    """

    OWNER, IN_THREAD = "thread__user", True
    FORM, APPROVAL, LINK = "form", "approval", "link"
    OPEN, ACCEPTED, DECLINED, EXPIRED, CANCELLED = "open", "accepted", "declined", "expired", "cancelled"
    id = models.UUIDField(primary_key=True, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="inputs")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="inputs")
    user = models.ForeignKey(User, models.CASCADE, related_name="inputs")
    kind = models.CharField(max_length=16)
    status = models.CharField(max_length=16, default=OPEN)
    path = models.TextField(blank=True)
    agent_name = models.TextField()
    message = models.TextField()
    schema = OrderedJSONField(null=True, blank=True)
    default = OrderedJSONField(null=True, blank=True)
    tool_name = models.TextField(blank=True)
    tool_call_id = models.CharField(max_length=64, blank=True)
    parameters = OrderedJSONField(null=True, blank=True)
    definition_hash = models.CharField(max_length=64, blank=True)
    editable = models.BooleanField(default=False)
    decided_by = models.CharField(max_length=160, default="owner", help_text="owner, or group: and a group's name.")
    four_eyes = models.BooleanField(default=False, help_text="Whether somebody else than the run's user decides.")
    reason = models.TextField(blank=True)
    remember = models.BooleanField(default=True, help_text="Whether an acceptance may be remembered for the thread.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    action = models.CharField(max_length=16, blank=True, help_text="accept or decline")
    content = OrderedJSONField(null=True, blank=True)
    edited_parameters = OrderedJSONField(null=True, blank=True)
    comment = models.TextField(blank=True)
    resolved_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    via = models.CharField(max_length=16, blank=True)
    session = models.ForeignKey(Session, models.SET_NULL, null=True, blank=True, related_name="+")
    address = models.GenericIPAddressField(null=True, blank=True)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["user", "created_at"], condition=Q(status="open"), name="input_open_user"),
            models.Index(fields=["expires_at"], condition=Q(status="open"), name="input_open_expires"),
            models.Index(fields=["-created_at"], name="input_created"),
        ]
        permissions = [("answer_inputrequest", "Can answer any input request")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class InputStep(models.Model):
    """A recorded result of a run that is no tool call, as JSON text. It is deleted when the run has ended."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="steps", db_index=False)
    key = models.UUIDField()
    result = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="step_run_key")]

    def __str__(self) -> str:
        return str(self.key)


class RunState(models.Model):
    """The state that a run's agent saved last, as JSON text. `seq` is the number of the last event that it covers."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="state")
    state = models.TextField()
    seq = models.BigIntegerField()
    saved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.run_id)


class Grant(models.Model):
    """The permission to call one definition of a tool in one thread without a further question."""

    OWNER, IN_THREAD = "thread__user", True
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="grants")
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="grants")
    tool_name = models.TextField()
    definition_hash = models.CharField(max_length=64)
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    objects = OwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.tool_name} {self.thread_id}"
