"""Serializers of request bodies and answers."""

from typing import Any

from pydantic import AliasChoices, Field
from rest_framework import serializers

from chat import runs
from chat.api.fields import Email, Flag, Name, Seconds, Text, Texts, Timestamp
from chat.models import ApiKey, Feedback, Message, Run, Session, Thread, User
from chat.oidc.accounts import is_verified
from chat.protocol import STATUS, MessageBody, NumberedEvent
from chat.protocol.fields import AgentName, Count, Declaration

MAX_LIFETIME = 100 * 365 * 86_400  # seconds


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
    email_verified = serializers.SerializerMethodField(help_text="by a trusted provider or a reset by mail")
    groups = serializers.SerializerMethodField(help_text="names of the user's groups")
    created_at = Timestamp()

    def get_email_verified(self, user: User) -> bool:
        return is_verified(user)

    def get_groups(self, user: User) -> list[str]:
        return list(user.groups.order_by("name").values_list("name", flat=True))


class TokensSerializer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField(required=False, help_text="absent if it is in the cookie")
    token_type = serializers.CharField(default="Bearer")
    expires_in = serializers.IntegerField(help_text="seconds")
    user = UserSerializer()


class VerifiedSerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    user_id = serializers.CharField()
    email = serializers.EmailField()
    exp = serializers.IntegerField(allow_null=True, help_text="seconds since the epoch")


class ProviderSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


class ProvidersSerializer(serializers.Serializer[Any]):
    providers = ProviderSerializer(many=True)
    password = serializers.BooleanField(help_text="false: only providers sign in")
    signup = serializers.BooleanField(help_text="whether anybody may register with a password")


class SessionSerializer(serializers.Serializer[Session]):
    id = serializers.UUIDField()
    current = serializers.BooleanField(help_text="true for the session of this request")
    user_agent = serializers.CharField()
    created_at = Timestamp()
    used_at = Timestamp()


class ApiKeySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="the beginning of the key")
    scopes = serializers.ListField(child=serializers.ChoiceField(ApiKey.SCOPES))
    agents = serializers.ListField(child=serializers.CharField(), help_text="empty: all")
    created_at = Timestamp()
    expires_at = Timestamp(allow_null=True)
    last_used_at = Timestamp(allow_null=True)


class MadeApiKeySerializer(ApiKeySerializer):
    key = serializers.CharField(help_text="never shown again")


class MatchSerializer(serializers.Serializer[Any]):
    message_id = serializers.UUIDField()
    before = serializers.CharField()
    text = serializers.CharField(help_text="the word as the message has it")
    after = serializers.CharField()


class ThreadSerializer(serializers.Serializer[Thread]):
    id = serializers.UUIDField()
    object = serializers.CharField(default="thread")
    title = serializers.CharField()
    agent = serializers.CharField()
    created_at = Timestamp()
    updated_at = Timestamp()
    message_count = serializers.IntegerField()
    last_seq = serializers.IntegerField()
    seen_seq = serializers.IntegerField(help_text="the last event that the user has seen")
    unread = serializers.CharField(allow_null=True, help_text="completed or failed: the end of a run that was not seen")
    open_inputs = serializers.IntegerField(help_text="requests that wait for a person")
    pinned = serializers.BooleanField()
    archived = serializers.BooleanField()
    temporary = serializers.BooleanField()
    project_id = serializers.UUIDField(allow_null=True)


class FoundThreadSerializer(ThreadSerializer):
    match = MatchSerializer(required=False, allow_null=True, help_text="in a search only")


class AttachmentSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    media_type = serializers.CharField()
    size = serializers.IntegerField(help_text="bytes")
    recognised = serializers.JSONField(allow_null=True)


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField()


class FeedbackSerializer(serializers.Serializer[Feedback]):
    message_id = serializers.UUIDField()
    rating = serializers.ChoiceField(Feedback.RATINGS)
    comment = serializers.CharField()
    created_at = Timestamp()
    updated_at = Timestamp()


class MessageSerializer(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    run_id = serializers.UUIDField(allow_null=True)
    parent_id = serializers.UUIDField(allow_null=True)
    role = serializers.ChoiceField(["user", "assistant"])
    content = serializers.CharField()
    attachments = AttachmentSerializer(many=True)
    feedback = FeedbackSerializer(allow_null=True, help_text="of an answer that its user has rated")
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
    waiting_since = Timestamp(allow_null=True)
    inputs = serializers.SerializerMethodField()

    def to_representation(self, instance: Run) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {
            **shown,
            "error_code": instance.error_code or None,
            "waiting_since": shown["waiting_since"] if instance.status == Run.WAITING else None,
        }

    def get_inputs(self, run: Run) -> list[str]:
        """Return the ids of its open requests."""
        return runs.open_inputs([run.pk]).get(run.pk, [])


class AcceptedSerializer(serializers.Serializer[runs.StartedRun]):
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
    input_requests = serializers.ListField(child=serializers.UUIDField(), required=False)


class NamedUserSerializer(serializers.Serializer[Any]):
    """A user, as named to others."""

    user_id = serializers.CharField()
    name = serializers.CharField()


class InputSerializer(serializers.Serializer[Any]):
    """An input request, as `runs.input_fields` makes it."""

    id = serializers.UUIDField()
    object = serializers.CharField(default="input_request")
    kind = serializers.ChoiceField(["form", "approval", "link"])
    status = serializers.ChoiceField(["open", "accepted", "declined", "expired", "cancelled"])
    run_id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    user = NamedUserSerializer(help_text="of the run")
    agent = serializers.CharField()
    agent_name = serializers.CharField()
    message = serializers.CharField()
    schema = serializers.JSONField(allow_null=True)
    default = serializers.JSONField(allow_null=True)
    tool_name = serializers.CharField(allow_null=True)
    tool_call_id = serializers.CharField(allow_null=True)
    parameters = serializers.JSONField(allow_null=True)
    editable = serializers.BooleanField()
    decided_by = serializers.CharField(help_text="owner, or group: and a name")
    four_eyes = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True)
    may_remember = serializers.BooleanField(help_text="whether an acceptance may be remembered for the thread")
    created_at = Timestamp()
    expires_at = Timestamp()
    resolved_at = Timestamp(allow_null=True)
    content = serializers.JSONField(allow_null=True)
    edited_parameters = serializers.JSONField(allow_null=True)
    edited = serializers.BooleanField()
    comment = serializers.CharField(allow_null=True)
    resolved_by = NamedUserSerializer(allow_null=True)
    via = serializers.CharField(allow_null=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the wire's fields."""
        return runs.input_fields(instance)


class GrantSerializer(serializers.Serializer[Any]):
    """A tool that is allowed for a thread."""

    id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    tool_name = serializers.CharField()
    created_at = Timestamp()
    expires_at = Timestamp()


class AgentSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField(required=False, help_text="of an assistant")
    description = serializers.CharField()
    starters = serializers.ListField(child=serializers.CharField(), required=False, help_text="of an assistant")
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
    name = Name(max_length=150, required=False, allow_blank=True)
    session = serializers.ChoiceField(["cookie"], required=False)


class LoginSerializer(serializers.Serializer[Any]):
    email = Email(max_length=254)
    password = Text(max_length=1024, trim_whitespace=False)
    session = serializers.ChoiceField(["cookie"], required=False)


class RefreshSerializer(serializers.Serializer[Any]):
    refresh_token = Text(required=False)


class LogoutSerializer(RefreshSerializer):
    everywhere = Flag(required=False)
    keys = Flag(required=False, help_text="with everywhere: revoke all API keys, too")


class PasswordSerializer(serializers.Serializer[Any]):
    current = Text(max_length=1024, trim_whitespace=False)
    new = Text(max_length=1024, trim_whitespace=False)
    keys = Flag(required=False, help_text="revoke all API keys, too")


class ProofSerializer(serializers.Serializer[Any]):
    current = Text(
        max_length=1024, trim_whitespace=False, required=False, help_text="the password, of an account that has one"
    )


class NewApiKeySerializer(serializers.Serializer[Any]):
    name = Name(max_length=100)
    scopes = Texts(
        child=serializers.ChoiceField(ApiKey.SCOPES),
        allow_empty=False,
        required=False,
        help_text="both, if absent; write includes read",
    )
    agents = Texts(child=Text(max_length=64), max_length=100, required=False, help_text="empty: all")
    expires_in = Seconds(
        min_value=1,
        max_value=MAX_LIFETIME,
        required=False,
        allow_null=True,
        help_text="90 days if absent, null: never",
    )


class RenameUserSerializer(serializers.Serializer[Any]):
    name = Name(max_length=150, allow_blank=True)


class NotificationsSerializer(serializers.Serializer[Any]):
    input_mail = serializers.ChoiceField(User.MAIL, help_text="the requests about which mail comes")


class AliveSerializer(serializers.Serializer[Any]):
    status = serializers.CharField()


class ServicesSerializer(serializers.Serializer[Any]):
    services = serializers.DictField(child=serializers.DictField())


class SocketConfigSerializer(serializers.Serializer[Any]):
    url = serializers.CharField()
    paths = serializers.DictField(child=serializers.CharField())
    dialects = serializers.DictField(child=serializers.CharField(), help_text="URLs of other clients' protocols")
    subprotocols = serializers.ListField(child=serializers.CharField())
    heartbeat_interval = serializers.IntegerField(help_text="seconds")
    authenticate_timeout = serializers.FloatField(help_text="seconds")
    limits = serializers.DictField(child=serializers.IntegerField())


class NumbersSerializer(serializers.Serializer[Any]):
    threads = serializers.IntegerField()
    messages = serializers.IntegerField()
    runs = serializers.DictField(child=serializers.IntegerField())
    tokens = serializers.DictField(child=serializers.IntegerField())
    cost_usd = serializers.FloatField()


class AgentListSerializer(serializers.Serializer[Any]):
    agents = AgentSerializer(many=True)


class ActiveRunsSerializer(serializers.Serializer[Any]):
    runs = ActiveRunSerializer(many=True)


class CancelledSerializer(serializers.Serializer[Any]):
    run_ids = serializers.ListField(child=serializers.UUIDField())


class SignedOutSerializer(serializers.Serializer[Any]):
    everywhere = serializers.BooleanField()


class ExecutingSerializer(serializers.Serializer[Any]):
    run_id = serializers.CharField()
    thread_id = serializers.CharField()
    message_id = serializers.CharField()
    status = serializers.CharField()
    inputs = serializers.ListField(child=serializers.UUIDField(), required=False)


class ExecuteBody(MessageBody):
    """The body that has a message answered within the request."""

    agent: AgentName = Field(validation_alias=AliasChoices("agent", "agent_type"))


class EventPage(Declaration):
    """Events of a thread."""

    events: list[NumberedEvent]
    head: Count = Field(description="The last seq there is")
    more: bool


class PageSerializer(serializers.Serializer[Any]):
    total_count = serializers.IntegerField()
    page = serializers.IntegerField()
    page_size = serializers.IntegerField()
    has_more = serializers.BooleanField()


class MessagesPageSerializer(PageSerializer):
    messages = MessageSerializer(many=True)


class ThreadsPageSerializer(PageSerializer):
    threads = FoundThreadSerializer(many=True)


class SessionsPageSerializer(PageSerializer):
    sessions = SessionSerializer(many=True)


class ApiKeysPageSerializer(PageSerializer):
    keys = ApiKeySerializer(many=True)


class InputsPageSerializer(PageSerializer):
    inputs = InputSerializer(many=True)


class GrantsPageSerializer(PageSerializer):
    grants = GrantSerializer(many=True)
