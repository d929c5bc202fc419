"""Connections of users with MCP servers. All tokens and secrets are ciphertexts of `chat.mcp_client.secrets`."""

import uuid

from django.db import models
from django.db.models.functions import Now

from chat.models.accounts import OwnedQuerySet, Session, User


class McpConnection(models.Model):
    """The tokens of one user for one MCP server. `url` is the server's address for which they were issued.

    `refreshing_until` is the end of the lease under which one process exchanges the refresh token; `expires_at` is the
    end of the access token, as far as the server says it.
    """

    OWNER, IN_THREAD = "user", False
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="mcp_connections")
    server = models.CharField(max_length=32, help_text="Its name in NETRA_MCP_SERVERS.")
    url = models.TextField()
    issuer = models.TextField(blank=True, help_text="The authorization server; empty: the user gave a token.")
    scope = models.TextField(blank=True)
    secrets = models.TextField(editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    refreshing_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    used_at = models.DateTimeField(null=True, blank=True)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "MCP connection"
        constraints = [models.UniqueConstraint(fields=["user", "server"], name="mcp_connection_user_server")]

    def __str__(self) -> str:
        return f"{self.server} {self.user_id}"


class McpClient(models.Model):
    """The registration of this site as a client of an authorization server, for one redirect_uri."""

    issuer = models.TextField()
    redirect_uri = models.TextField()
    secrets = models.TextField(editable=False)
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "redirect_uri"], name="mcp_client_issuer_redirect")]

    def __str__(self) -> str:
        return self.issuer


class McpAuthorization(models.Model):
    """A sign-in at an authorization server that has begun. `digest` is that of its state, which counts once."""

    OWNER, IN_THREAD = "user", False
    digest = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    session = models.ForeignKey(Session, models.CASCADE, related_name="+")
    server = models.CharField(max_length=32)
    secrets = models.TextField(editable=False)
    expires_at = models.DateTimeField(db_index=True)
    objects = OwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.server} {self.user_id}"
