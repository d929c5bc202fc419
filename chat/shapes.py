"""What REST takes and answers, field by field. Types are strict: 5 is not "5"."""

from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from chat import protocol, runs
from chat.models import Message, Run, Session, Thread, User
from chat.protocol import STATUS


class Text(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Email(serializers.EmailField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data).lower()


class Flag(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Id(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or len(data) != 36:
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Timestamp(serializers.DateTimeField):
    def to_representation(self, value: datetime) -> str:
        return protocol.timestamp(value)


class ErrorSerializer(serializers.Serializer[Any]):
    error = serializers.ChoiceField(sorted(STATUS))
    message = serializers.CharField()
    field = serializers.CharField(required=False)
    retry_after = serializers.FloatField(required=False)


class UserSerializer(serializers.Serializer[User]):
    id = serializers.CharField()
    email = serializers.EmailField()
    name = serializers.CharField()


class ProfileSerializer(UserSerializer):
    user_id = serializers.CharField(source="id")
    created_at = Timestamp()


class TokensSerializer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField(required=False, help_text="absent where it is in the cookie")
    token_type = serializers.CharField(default="Bearer")
    expires_in = serializers.IntegerField(help_text="seconds")
    user = UserSerializer()


class VerifiedSerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    user_id = serializers.CharField()
    email = serializers.EmailField()
    exp = serializers.IntegerField(help_text="seconds since the epoch")


class SessionSerializer(serializers.Serializer[Session]):
    id = serializers.UUIDField()
    current = serializers.BooleanField(help_text="the one that asks")
    user_agent = serializers.CharField()
    created_at = Timestamp()
    used_at = Timestamp()


class ThreadSerializer(serializers.Serializer[Thread]):
    id = serializers.UUIDField()
    object = serializers.CharField(default="thread")
    title = serializers.CharField()
    agent = serializers.CharField()
    created_at = Timestamp()
    updated_at = Timestamp()
    message_count = serializers.IntegerField()
    last_seq = serializers.IntegerField()


class AttachmentSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    media_type = serializers.CharField()
    size = serializers.IntegerField(help_text="bytes")
    recognised = serializers.JSONField(allow_null=True)


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField()


class MessageSerializer(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    run_id = serializers.UUIDField(allow_null=True)
    parent_id = serializers.UUIDField(allow_null=True)
    role = serializers.ChoiceField(["user", "assistant"])
    content = serializers.CharField()
    attachments = AttachmentSerializer(many=True)
    created_at = Timestamp()


class ExportSerializer(serializers.Serializer[Any]):
    thread = ThreadSerializer()
    messages = MessageSerializer(many=True)


class RunSerializer(serializers.Serializer[Run]):
    id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    message_id = serializers.UUIDField()
    agent = serializers.CharField()
    status = serializers.CharField()
    attempt = serializers.IntegerField()
    error_code = serializers.CharField(allow_null=True)
    usage = serializers.DictField()
    created_at = Timestamp()
    started_at = Timestamp(allow_null=True)
    finished_at = Timestamp(allow_null=True)

    def to_representation(self, instance: Run) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {**shown, "error_code": instance.error_code or None}


class AcceptedSerializer(serializers.Serializer[runs.Accepted]):
    thread_id = serializers.UUIDField()
    message_id = serializers.UUIDField()
    run_id = serializers.UUIDField()
    seq = serializers.IntegerField()
    client_msg_id = serializers.CharField(allow_null=True)


class ActiveRunSerializer(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    agent = serializers.CharField()
    status = serializers.CharField()
    attempt = serializers.IntegerField()
    started_at = Timestamp(allow_null=True)


class AgentSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField()
    available = serializers.BooleanField()
    reason = serializers.CharField(required=False)


class ExecutedSerializer(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    status = serializers.CharField()
    final_response = serializers.CharField(allow_null=True)
    result = serializers.JSONField(allow_null=True)
    error_code = serializers.CharField(required=False)
    message = serializers.CharField(required=False)


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["healthy", "unhealthy"])
    checks = serializers.DictField(child=serializers.CharField())
    details = serializers.DictField(child=serializers.DictField())
    version = serializers.CharField()
    uptime_seconds = serializers.FloatField()


class RegisterSerializer(serializers.Serializer[Any]):
    email = Email(max_length=254)
    password = Text(max_length=1024, trim_whitespace=False)
    name = Text(max_length=150, required=False, allow_blank=True)
    session = serializers.ChoiceField(["cookie"], required=False)


class LoginSerializer(serializers.Serializer[Any]):
    email = Email(max_length=254)
    password = Text(max_length=1024, trim_whitespace=False)
    session = serializers.ChoiceField(["cookie"], required=False)


class RefreshSerializer(serializers.Serializer[Any]):
    refresh_token = Text(required=False)


class LogoutSerializer(RefreshSerializer):
    everywhere = Flag(required=False)


class PasswordSerializer(serializers.Serializer[Any]):
    current = Text(max_length=1024, trim_whitespace=False)
    new = Text(max_length=1024, trim_whitespace=False)


class RenameUserSerializer(serializers.Serializer[Any]):
    name = Text(max_length=150, allow_blank=True)


class NewThreadSerializer(serializers.Serializer[Any]):
    id = Id(required=False)
    title = Text(max_length=200, required=False, allow_blank=True)
    agent = Text(max_length=64, required=False)


class RenameThreadSerializer(serializers.Serializer[Any]):
    title = Text(max_length=200)


class RegenerateSerializer(serializers.Serializer[Any]):
    """Only described here: `protocol.regenerate_fields` reads it."""

    agent = Text(max_length=64, required=False)
    client_msg_id = Text(max_length=200, required=False)


class UserMessageSerializer(RegenerateSerializer):
    """Only described here: `protocol.user_message_fields` reads it."""

    content = Text()
    thread_id = Id(required=False)
    parent_id = Id(required=False, allow_null=True)
    attachment_ids = serializers.ListField(child=Id(), required=False)


class ExecuteSerializer(UserMessageSerializer):
    agent = Text(max_length=64)


def shape(name: str, **parts: Any) -> Any:
    """The shape of an answer that is used once."""
    return inline_serializer(name, parts)


def listed(name: str, of: type[serializers.Serializer[Any]]) -> Any:
    counts = {key: serializers.IntegerField() for key in ("total_count", "page", "page_size")}
    return shape(f"{name.capitalize()}Page", **{name: of(many=True)}, **counts, has_more=serializers.BooleanField())


MESSAGES_PAGE = listed("messages", MessageSerializer)
