"""Assistants: agents that administrators define, their tools and their versions."""

from django.contrib.auth.models import Group
from django.db import models
from django.db.models.functions import Now

from chat.models.accounts import User
from chat.models.fields import OrderedJSONField


class Assistant(models.Model):
    """An agent that an administrator defines. Its runs follow its newest version, which saving it writes."""

    name = models.CharField(
        max_length=64, unique=True, help_text="Small letters, digits, - and _. Clients and API keys use it."
    )
    title = models.CharField(max_length=100, blank=True, help_text="Shown instead of the name.")
    description = models.CharField(max_length=300, blank=True)
    instructions = models.TextField(help_text="What the model is told before each conversation.")
    model = models.CharField(max_length=64, blank=True, help_text="A name of the catalogue; empty: its first model.")
    options = models.JSONField(default=dict, blank=True, help_text="temperature, top_p, max_tokens")
    starters = models.JSONField(default=list, blank=True, help_text="Up to six messages that the page offers.")
    groups = models.ManyToManyField(
        Group, blank=True, help_text="It exists for their members alone; without a group for everybody."
    )
    enabled = models.BooleanField(default=True, help_text="Disabling it ends no run.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.title or self.name


class AssistantTool(models.Model):
    """The policy that an administrator saved for one definition of a tool of an assistant."""

    OFF, NEVER, ASK, ALWAYS = POLICIES = ("off", "never", "ask", "always")
    assistant = models.ForeignKey(Assistant, models.CASCADE, related_name="tools")
    tool = models.CharField(max_length=64)
    policy = models.CharField(max_length=8, choices=[(policy, policy) for policy in POLICIES], default=ASK)
    decided_by = models.CharField(max_length=160, default="owner", help_text="owner, or group: and a group's name.")
    four_eyes = models.BooleanField(default=False, help_text="Somebody else than the run's user decides.")
    editable = models.BooleanField(default=True, help_text="The person may change the parameters.")
    definition_hash = models.CharField(max_length=64, blank=True, editable=False)
    definition = OrderedJSONField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["assistant", "tool"], name="assistant_tool")]

    def __str__(self) -> str:
        return self.tool


class AssistantVersion(models.Model):
    """The content of an assistant at one time, as JSON. It never changes; a run keeps its version to its end."""

    assistant = models.ForeignKey(Assistant, models.CASCADE, related_name="versions")
    number = models.IntegerField()
    content = OrderedJSONField()
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["assistant", "number"], name="assistant_version_number")]

    def __str__(self) -> str:
        return f"{self.assistant.name} {self.number}"


class ToolDefinition(models.Model):
    """The newest definition of a tool of an MCP server, as a worker has seen it. The admin makes policies for it.

    `hints` are the claims of the server: they fill forms in, and grant nothing.
    """

    tool = models.CharField(max_length=64, primary_key=True)
    server = models.CharField(max_length=32)
    definition = OrderedJSONField(help_text="Its name, description and schema.")
    definition_hash = models.CharField(max_length=64)
    hints = models.JSONField(default=dict)
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.tool
