"""Users, their sessions and the audit log."""

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, Group, PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.functions import Now

_M = TypeVar("_M", bound=models.Model, covariant=True)


class OwnedQuerySet(models.QuerySet[_M]):
    """Query set of a model whose `OWNER` is the lookup of the user that owns a row."""

    def for_user(self, user: "User | int") -> "OwnedQuerySet[_M]":
        """Return the rows of this user, without deleted threads and their contents."""
        path = self.model.OWNER  # type: ignore[attr-defined]
        alive = {f"{path.removesuffix('user')}deleted_at": None} if self.model.IN_THREAD else {}  # type: ignore[attr-defined]
        return self.filter(**{path: user}, **alive)


class UserManager(BaseUserManager["User"]):
    """Manager that creates users and protects the last administrator."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user with a hashed password. Raises IntegrityError if the address is taken, in any case."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)  # takes tenths of a second: before the transaction, which locks SQLite
        with transaction.atomic(using=self._db):
            user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create an active superuser with staff status."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def keep_administrator(self, changes: Mapping[int, int]) -> None:
        """Raise ValidationError if `changes` would lower the highest `standing` of all users.

        `changes` maps user ids to their new standings. Locks the rows of all superusers until the transaction ends,
        so that two administrators cannot remove each other at once.
        """
        with transaction.atomic(using=self._db):
            superusers = self.filter(is_active=True, is_superuser=True).order_by("pk").select_for_update(no_key=True)
            now = {user.pk: user.standing for user in superusers}
        after = now | {pk: min(standing, now[pk]) for pk, standing in changes.items() if pk in now}
        if max(after.values(), default=0) < max(now.values(), default=0):
            raise ValidationError(
                "This is the last active superuser who can sign in to the admin. First make another user an active "
                "superuser with staff status and a password, here or by manage.py createsuperuser.",
                code="last_administrator",
            )

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user with this address, in any case."""
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in with an email address."""

    MAIL = ("others", "all", "none")
    email = models.EmailField(unique=True, error_messages={"unique": "This address is already registered."})
    name = models.CharField(max_length=150, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    instructions = models.TextField(
        max_length=2000, blank=True, default="", db_default="", help_text="What the assistant knows of the user."
    )
    language = models.CharField(
        max_length=8, blank=True, default="", db_default="", help_text="Of pages and mails. Empty: the browser's."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    input_mail = models.CharField(
        "mail about requests",
        max_length=8,
        default=MAIL[0],
        db_default=MAIL[0],
        choices=[(about, about) for about in MAIL],
        help_text="Others: about requests of others, which a group of the user decides, but not about own ones.",
    )
    input_mail_at = models.DateTimeField(null=True, editable=False, help_text="Time of the last one.")

    USERNAME_FIELD = "email"
    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        return self.email

    @property
    def standing(self) -> int:
        """Degree of administration: 0, 1 active superuser, 2 also with staff status, 3 also with a password."""
        if not (self.is_active and self.is_superuser):
            return 0
        return 1 + self.is_staff + (self.is_staff and self.has_usable_password())

    def clean(self) -> None:
        """Validate a form's user. Raises ValidationError as `save` does."""
        super().clean()
        if self.pk is not None:
            User.objects.keep_administrator({self.pk: self.standing})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the user. Raises ValidationError if this removes the last administrator (chat/accounts/signals.py)."""
        with transaction.atomic(using=kwargs.get("using")):  # the check, the end of sessions and the row
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the user. Raises ValidationError for the last administrator; an outer transaction stays usable."""
        with transaction.atomic(using=kwargs.get("using")):
            return super().delete(*args, **kwargs)


class Session(models.Model):
    """A sign-in and the refresh tokens that descend from it. Its id is the `sid` claim of its tokens."""

    OWNER, IN_THREAD = "user", False
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="sessions")
    user_agent = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    used_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    newest = models.CharField(
        max_length=64, blank=True, db_default="", editable=False, help_text="Id of the refresh token issued last."
    )
    provider = models.CharField(max_length=32, blank=True, db_default="", editable=False, help_text="Who began it.")
    provider_sub = models.CharField(
        max_length=191, blank=True, db_default="", editable=False, help_text="The provider's id of the user."
    )
    provider_sid = models.CharField(
        max_length=255, blank=True, db_default="", editable=False, help_text="The provider's id of its own session."
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Its end, however often it is refreshed.")
    objects = OwnedQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["provider", "provider_sub"], name="session_provider_sub", condition=~models.Q(provider="")
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class GroupPolicy(models.Model):
    """Rules for the members of a group."""

    group = models.OneToOneField(Group, models.CASCADE, related_name="policy")
    claims = models.JSONField(
        default=list, blank=True, help_text="Values of a provider's claim: whoever has one joins at the sign-in."
    )

    class Meta:
        verbose_name_plural = "group policies"

    def __str__(self) -> str:
        return str(self.group)

    def clean(self) -> None:
        """Raise ValidationError for claims that are no list of texts."""
        if not isinstance(self.claims, list) or not all(isinstance(claim, str) and claim for claim in self.claims):
            raise ValidationError({"claims": 'Write a list of texts, such as ["engineers"].'})


class ApiKey(models.Model):
    """A static credential of a user's programs. The key itself is not stored."""

    OWNER, IN_THREAD = "user", False
    READ, WRITE = SCOPES = ("read", "write")
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=14, unique=True, help_text="Its public beginning.")
    digest = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the key.")
    scopes = models.JSONField(default=list, help_text="read; write, which includes read.")
    agents = models.JSONField(default=list, blank=True, help_text="The agents that exist for it; empty: all.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.prefix


class AuditRecord(models.Model):
    """An entry of the audit log, written by chat/accounts/audit.py. It outlives the users that it names."""

    KINDS = (
        "signed_in",
        "sign_in_failed",
        "locked_out",
        "session_ended",
        "refresh_token_reused",
        "signed_out_everywhere",
        "password_changed",
        "deactivated",
        "deleted",
        "admin_added",
        "admin_changed",
        "admin_deleted",
        "admin_read",
        "admin_acted",
        "input_resolved",
        "grant_added",
        "grant_removed",
        "assistant_changed",
        "key_made",
        "key_used_first",
        "key_revoked",
        "provider_connected",
        "provider_disconnected",
        "address_changed",
        "signed_out_by_provider",
        "group_changed",
        "share_made",
        "share_revoked",
        "mcp_connected",
        "mcp_disconnected",
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
