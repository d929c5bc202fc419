"""End sessions when a password changes or a user is deactivated or deleted; tell who may decide other requests."""

import hashlib
from collections.abc import Iterable
from typing import Any

from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session as DjangoSession
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.dispatch import receiver
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from chat.accounts import audit
from chat.accounts.sessions import end_sessions
from chat.accounts.tokens import STANDING
from chat.models import User
from chat.runs import event_log, tell


@receiver(pre_save, sender=User)
def _end_with_the_password(
    instance: User, raw: bool = False, update_fields: Iterable[str] | None = None, **signal: Any
) -> None:
    """Refuse to take away the last administrator; end the sessions of a user whose password or activity changes."""
    changed = STANDING.intersection(STANDING if update_fields is None else update_fields)
    if raw or instance.pk is None or not changed:
        return
    stored = User.objects.filter(pk=instance.pk).first()
    if stored is None:
        return
    password, was_active = stored.password, stored.is_active
    for name in changed:
        setattr(stored, name, getattr(instance, name))
    User.objects.keep_administrator({stored.pk: stored.standing})
    if password != stored.password:
        audit.record("password_changed", instance.pk)
        end_sessions(instance)
    elif was_active and not stored.is_active:
        audit.record("deactivated", instance.pk)
        end_sessions(instance)
        event_log.publish_key_ended(instance.pk, None)


@receiver(pre_delete, sender=User)
def _leave_nothing(instance: User, **signal: Any) -> None:
    """Delete rows about the user that no foreign key connects with the user."""
    OutstandingToken.objects.filter(user=instance).delete()
    typed = hashlib.sha256(instance.email.encode()).hexdigest()
    AccessAttempt.objects.filter(username=typed).delete()
    about = ContentType.objects.get_for_model(User)
    LogEntry.objects.filter(content_type=about, object_id=str(instance.pk)).delete()
    for session in DjangoSession.objects.iterator():  # of the admin: there are few
        if session.get_decoded().get(SESSION_KEY) == str(instance.pk):
            session.delete()


@receiver(post_delete, sender=User)
def _end_with_the_user(instance: User, **signal: Any) -> None:
    audit.record("deleted", instance.pk)
    event_log.publish_session_ended(instance.pk, None)
    event_log.publish_key_ended(instance.pk, None)


@receiver(m2m_changed, sender=User.groups.through)
def _tell_new_members(instance: User | Group, action: str, pk_set: set[int] | None = None, **signal: Any) -> None:
    """Tell users who join or leave a group how many requests wait for them now."""
    if action in ("post_add", "post_remove", "pre_clear"):  # after a clear the group's members are not known
        if isinstance(instance, User):
            tell([instance.pk])
        else:
            tell(list(instance.user_set.values_list("pk", flat=True) if pk_set is None else pk_set))


@receiver([post_save, pre_delete], sender=Group)
def _tell_members(instance: Group, **signal: Any) -> None:
    """Tell the members of a group that gets another name or is deleted: requests name it."""
    tell(list(instance.user_set.values_list("pk", flat=True)))
