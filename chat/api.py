"""REST: what can be done without a socket, under the same rules and with the same errors.

Every queryset begins with `for_user`, so what is another user's is `not_found` like what never was. What a client did
wrong is a ProtocolError; `exception_handler` and the handlers that netra/urls.py names make JSON of everything else.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import IO, Any, TypeVar, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import Error, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Count, Exists, Func, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat import auth, layer, protocol, runs
from chat.models import Event, Message, Run, Session, Thread, User, Worker
from chat.protocol import STATUS, TERMINAL, ProtocolError

log = logging.getLogger("netra.auth")
STARTED = time.monotonic()
REFRESH_COOKIE = "netra_refresh"
PAGE_SIZE, MAX_PAGE_SIZE = 50, 100
SIGN_IN = "Sign in: a valid token is needed."
_CODES = {status: code for code, status in STATUS.items() if code not in ("unknown_agent", "unknown_type")}

# ---- Errors ----------------------------------------------------------------------------------------------


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponseBase | None:
    """The one JSON answer to whatever a view raises; None (a bug: handler500) for what nobody foresaw."""
    match exc:
        case ProtocolError():
            return refusal(exc)
        case auth.Unauthorized():
            log.warning("refused: %s", exc.reason)
            return refusal(ProtocolError("unauthorized", SIGN_IN))
        case APIException():
            code = _CODES.get(exc.status_code, "invalid_message")
            return refusal(ProtocolError(code, SIGN_IN if code == "unauthorized" else str(exc.detail)))
        case RequestDataTooBig():
            return bad_request(context["request"], exc)
        case Http404():
            return not_found(context["request"])
        case DjangoPermissionDenied():
            return forbidden(context["request"])
        case OperationalError() | InterfaceError():
            logging.getLogger("netra.database").error("unavailable: %s", type(exc).__name__)
            return refusal(ProtocolError("unavailable", "The database does not answer. Try again.", retry_after=1))
    return None


def refusal(error: ProtocolError) -> JsonResponse:
    answer = JsonResponse(error.body(), status=error.status)
    if error.code == "unauthorized":
        answer["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        answer["Retry-After"] = str(max(1, round(error.retry_after)))
    return answer


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    if isinstance(exception, RequestDataTooBig):
        return refusal(ProtocolError("too_large", f"At most {protocol.MAX_FRAME} bytes."))
    if isinstance(exception, DisallowedHost):
        return refusal(ProtocolError("forbidden", "This server does not answer to that Host."))
    return refusal(ProtocolError("invalid_message", "The request is malformed."))


def forbidden(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return refusal(ProtocolError("forbidden", "You may not do that."))


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    return refusal(ProtocolError("forbidden", "The request did not come from a page of this site. Reload it."))


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return refusal(ProtocolError("not_found", "There is nothing here."))


def server_error(request: HttpRequest) -> JsonResponse:
    return refusal(ProtocolError("internal_error", "Something went wrong here. It has been logged."))


def reading(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page answers GET and HEAD; any other method is `method_not_allowed`."""

    @csrf_exempt
    @wraps(view)
    def only(request: HttpRequest, **parts: Any) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request, **parts)
        answer = refusal(ProtocolError("method_not_allowed", "This is a page: it can only be read."))
        answer["Allow"] = "GET, HEAD"
        return answer

    return only


@csrf_exempt
def upgrade_required(request: HttpRequest) -> JsonResponse:
    """A socket's path without a socket."""
    return JsonResponse(protocol.UPGRADE_REQUIRED, status=426, headers={"Upgrade": "websocket"})


# ---- Reading ---------------------------------------------------------------------------------------------


class StrictJSONParser(BaseParser):
    """JSON by the same rules as a socket's frames."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return protocol.loads(stream.read())


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


def body(request: Request, needed: bool = True) -> dict[str, Any]:
    """The JSON object of a request; {} for an empty one that needs none. Raises ProtocolError."""
    raw = request.body
    if not raw:
        if needed:
            raise ProtocolError("invalid_json", "A JSON object is needed.")
        return {}
    # A chunked body has no length of its own, and the framework would take it for empty.
    request.META["CONTENT_LENGTH"] = str(len(raw))
    data = request.data
    if not isinstance(data, dict):
        raise ProtocolError("invalid_message", "The body must be a JSON object.")
    return data


def fields(shape: type[serializers.Serializer[Any]], request: Request, needed: bool = True) -> dict[str, Any]:
    """The body's fields, checked against `shape`; null is the same as absent. Raises ProtocolError."""
    read = shape(data={name: value for name, value in body(request, needed).items() if value is not None})
    if not read.is_valid():
        name, problems = next(iter(read.errors.items()))
        raise ProtocolError("invalid_message", f"{name}: {problems[0]}", field=name)
    return cast(dict[str, Any], read.validated_data)


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query string. Raises ProtocolError."""
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise ProtocolError("invalid_message", f"{name} must be a whole number from {least} to {most}.", field=name)
    return int(text)


def owner(request: Request) -> User:
    return cast(User, request.user)


# ---- Shapes ----------------------------------------------------------------------------------------------


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


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "chat.auth.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def shape(name: str, **parts: Any) -> Any:
    """The shape of an answer that is used once."""
    return inline_serializer(name, parts)


def listed(name: str, of: type[serializers.Serializer[Any]]) -> Any:
    counts = {key: serializers.IntegerField() for key in ("total_count", "page", "page_size")}
    return shape(f"{name.capitalize()}Page", **{name: of(many=True)}, **counts, has_more=serializers.BooleanField())


_View = TypeVar("_View", bound=Callable[..., Any])


def described(
    operation: str,
    answers: Mapping[int, Any],
    takes: type[serializers.Serializer[Any]] | None = None,
    query: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
) -> Callable[[_View], _View]:
    """The operation in the OpenAPI schema. Query parameters with a "#" at the end are numbers."""
    parameters = [
        OpenApiParameter(name.rstrip("#"), int if name.endswith("#") else str, OpenApiParameter.QUERY) for name in query
    ] + [OpenApiParameter(name, str, OpenApiParameter.HEADER) for name in headers]
    return extend_schema(
        operation_id=operation,
        request=takes,
        responses={**answers, "4XX": ErrorSerializer, "5XX": ErrorSerializer},
        parameters=parameters,
    )


PAGED = ("page#", "page_size#")
MESSAGES_PAGE = listed("messages", MessageSerializer)

# ---- Views -----------------------------------------------------------------------------------------------


class JSONOnly(BaseContentNegotiation):
    """Whatever a client says it accepts, it gets JSON: an error must not depend on a header."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        content_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class View(APIView):
    content_negotiation_class = JSONOnly
    parser_classes: tuple[type[BaseParser], ...] = (StrictJSONParser,)
    metadata_class = None  # OPTIONS would tell what /api/schema tells, in another way

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "no-store"
        return final


class Open(View):
    # A token that is sent all the same is not looked at: a stale one must not keep anybody from logging in.
    authentication_classes = ()
    permission_classes = (AllowAny,)


class Schema(SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer2]
    authentication_classes = ()
    content_negotiation_class = JSONOnly
    metadata_class = None


class Docs(SpectacularSwaggerSplitView):
    authentication_classes = ()
    metadata_class = None


# ---- Users and tokens ------------------------------------------------------------------------------------


def signed_in(tokens: auth.Tokens, in_cookie: bool, status: int = 200) -> Response:
    """The answer with a fresh pair; the refresh token is in the cookie or in the body, never in both."""
    data: dict[str, Any] = {
        "access_token": tokens.access,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
        "user": UserSerializer(tokens.user).data,
    }
    if not in_cookie:
        return Response({**data, "refresh_token": tokens.refresh}, status=status)
    response = Response(data, status=status)
    response.set_cookie(
        REFRESH_COOKIE,
        tokens.refresh,
        max_age=int(settings.NETRA_REFRESH_TOKEN_SECONDS),
        path="/auth",
        secure=settings.NETRA_HTTPS,
        httponly=True,
        samesite="Strict",
    )
    return response


def presented(request: Request, given: Mapping[str, Any]) -> tuple[str, bool]:
    """The refresh token, and whether it came by the cookie: then only from a page of an allowed origin."""
    if "refresh_token" in given:
        return given["refresh_token"], False
    if REFRESH_COOKIE not in request.COOKIES:
        raise auth.Unauthorized("no refresh token")
    origin = request.headers.get("Origin", "").encode("latin-1", "replace")
    if not protocol.origin_allowed([(b"origin", origin)], settings.ALLOWED_ORIGINS):
        raise ProtocolError("forbidden", "The session's cookie counts only from a page of this site.")
    return request.COOKIES[REFRESH_COOKIE], True


def user_agent(request: Request) -> str:
    return request.headers.get("User-Agent", "")


class Register(Open):
    @described("register", {201: TokensSerializer}, RegisterSerializer)
    def post(self, request: Request) -> Response:
        if not settings.NETRA_OPEN_REGISTRATION:
            raise ProtocolError("forbidden", "Registration is closed.")
        given = fields(RegisterSerializer, request)
        email, password, name = given["email"], given["password"], given.get("name", "")
        try:
            validate_password(password, User(email=email, name=name))
        except DjangoValidationError as error:
            raise ProtocolError("invalid_message", " ".join(error.messages), field="password") from None
        try:
            with transaction.atomic():
                user = User.objects.create_user(email, password, name=name)
        except IntegrityError:
            raise ProtocolError("conflict", "This address is already registered.", field="email") from None
        return signed_in(auth.sign_in(user, user_agent(request)), "session" in given, 201)


class Login(Open):
    @described("login", {200: TokensSerializer}, LoginSerializer)
    def post(self, request: Request) -> Response:
        given = fields(LoginSerializer, request)
        # For an address that nobody has, Django hashes the password all the same: the time tells nothing.
        user = authenticate(username=given["email"], password=given["password"])
        if user is None:
            log.warning("refused: wrong address or password, or an inactive user")
            raise ProtocolError("unauthorized", "The address or the password is wrong.")
        return signed_in(auth.sign_in(user, user_agent(request)), "session" in given)


class Refresh(Open):
    @described("refresh", {200: TokensSerializer}, RefreshSerializer)
    def post(self, request: Request) -> Response:
        token, by_cookie = presented(request, fields(RefreshSerializer, request, needed=False))
        return signed_in(auth.refresh(token), by_cookie)


class Logout(Open):
    @described("logout", {200: shape("SignedOut", everywhere=serializers.BooleanField())}, LogoutSerializer)
    def post(self, request: Request) -> Response:
        """Of the session of the refresh token in the body, else in the cookie, else of the access token's session."""
        given = fields(LogoutSerializer, request, needed=False)
        session = self.session(request, given)
        everywhere = given.get("everywhere", False)
        if everywhere:
            auth.end_sessions(session.user)
        else:
            auth.end_session(session)
        response = Response({"everywhere": everywhere})
        response.delete_cookie(REFRESH_COOKIE, path="/auth", samesite="Strict")
        return response

    def session(self, request: Request, given: Mapping[str, Any]) -> Session:
        bearer = None
        if "refresh_token" not in given and REFRESH_COOKIE not in request.COOKIES:
            bearer = auth.TokenAuthentication().authenticate(request)
        if bearer is None:
            return auth.session_of(presented(request, given)[0])
        return Session.objects.for_user(bearer[0]).select_related("user").get(pk=bearer[1].session_id)


class Verify(View):
    @described("verify", {200: VerifiedSerializer})
    def get(self, request: Request) -> Response:
        identity = cast(auth.Identity, request.auth)
        user_id, exp = str(identity.user_id), identity.expires_at
        return Response({"valid": True, "user_id": user_id, "email": identity.email, "exp": exp})

    @described("verify_post", {200: VerifiedSerializer})
    def post(self, request: Request) -> Response:
        return self.get(request)


class Me(View):
    @described("me", {200: ProfileSerializer})
    def get(self, request: Request) -> Response:
        return Response(ProfileSerializer(owner(request)).data)

    @described("rename_me", {200: ProfileSerializer}, RenameUserSerializer)
    def patch(self, request: Request) -> Response:
        user = owner(request)
        user.name = fields(RenameUserSerializer, request)["name"]
        user.save(update_fields=["name"])
        return self.get(request)


# ---- Threads and messages --------------------------------------------------------------------------------


def page(request: Request, name: str, rows: QuerySet[Any], of: type[serializers.Serializer[Any]]) -> Response:
    index, size = number(request, "page", 1, 1, 10**9), number(request, "page_size", PAGE_SIZE, 1, MAX_PAGE_SIZE)
    total, start = rows.count(), (index - 1) * size
    shown = of(rows[start : start + size], many=True).data
    more = bool(shown) and start + len(shown) < total
    return Response({name: shown, "total_count": total, "page": index, "page_size": size, "has_more": more})


def threads_of(user: User) -> QuerySet[Thread]:
    messages = Message.objects.filter(thread=OuterRef("pk")).order_by()
    counted = messages.annotate(n=Func("pk", function="COUNT")).values("n")
    return (
        Thread.objects.for_user(user)
        .annotate(message_count=Subquery(counted, output_field=IntegerField()))
        .order_by("-updated_at", "-id")
    )


def thread_of(user: User, thread_id: UUID) -> Thread:
    thread = threads_of(user).filter(pk=thread_id).first()
    if thread is None:
        raise ProtocolError("not_found", "There is no such thread.")
    return thread


def accepted(done: runs.Accepted) -> Response:
    return Response(AcceptedSerializer(done).data, status=202)


def idempotent(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body with the Idempotency-Key, where there is one, as `client_msg_id`. Raises ProtocolError."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return given
    if not (key.isascii() and key.isprintable()):
        raise ProtocolError("invalid_message", "Idempotency-Key must be printable ASCII.", field="client_msg_id")
    if given.get("client_msg_id") not in (None, key):
        raise ProtocolError("invalid_message", "Idempotency-Key and client_msg_id differ.", field="client_msg_id")
    return {**given, "client_msg_id": key}


class Threads(View):
    @described("threads", {200: listed("threads", ThreadSerializer)}, query=("q", *PAGED))
    def get(self, request: Request) -> Response:
        """The user's threads, the last changed first; `q` is looked for in titles and messages."""
        threads = threads_of(owner(request))
        sought = request.query_params.get("q", "").strip()
        if len(sought) > 200 or "\0" in sought:
            raise ProtocolError("invalid_message", "q must be a text of at most 200 characters.", field="q")
        if sought:
            said = Message.objects.filter(thread=OuterRef("pk"), content__icontains=sought)
            threads = threads.filter(Q(title__icontains=sought) | Exists(said))
        return page(request, "threads", threads, ThreadSerializer)

    @described("create_thread", {201: ThreadSerializer}, NewThreadSerializer)
    def post(self, request: Request) -> Response:
        given = fields(NewThreadSerializer, request, needed=False)
        user = owner(request)
        thread = runs.create_thread(user.pk, given.get("id"), given.get("title", ""), given.get("agent"))
        return Response(ThreadSerializer(thread_of(user, thread.pk)).data, status=201)


class OneThread(View):
    @described("thread", {200: ThreadSerializer})
    def get(self, request: Request, thread_id: UUID) -> Response:
        return Response(ThreadSerializer(thread_of(owner(request), thread_id)).data)

    @described("rename_thread", {200: ThreadSerializer}, RenameThreadSerializer)
    def patch(self, request: Request, thread_id: UUID) -> Response:
        runs.rename(owner(request).pk, thread_id, fields(RenameThreadSerializer, request)["title"])
        return self.get(request, thread_id)

    @described("delete_thread", {204: None})
    def delete(self, request: Request, thread_id: UUID) -> Response:
        runs.delete(owner(request).pk, thread_id)
        return Response(status=204)


class ThreadMessages(View):
    @described("thread_messages", {200: MESSAGES_PAGE}, query=PAGED)
    def get(self, request: Request, thread_id: UUID) -> Response:
        """The thread's messages, the oldest first."""
        user = owner(request)
        if not Thread.objects.for_user(user).filter(pk=thread_id).exists():
            raise ProtocolError("not_found", "There is no such thread.")
        messages = (
            Message.objects.for_user(user).filter(thread=thread_id).order_by("seq").prefetch_related("attachments")
        )
        return page(request, "messages", messages, MessageSerializer)

    @described("send_to_thread", {202: AcceptedSerializer}, UserMessageSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request, thread_id: UUID) -> Response:
        message = protocol.user_message_fields(idempotent(request, body(request)))
        if message.thread_id not in (None, thread_id):
            raise ProtocolError("invalid_message", "thread_id is not the path's.", field="thread_id")
        return accepted(runs.start(owner(request).pk, replace(message, thread_id=thread_id)))


class ThreadEvents(View):
    @described(
        "thread_events",
        {
            200: shape(
                "Events",
                events=serializers.ListField(child=serializers.DictField()),
                head=serializers.IntegerField(),
                more=serializers.BooleanField(),
            )
        },
        query=("after#", "limit#"),
    )
    def get(self, request: Request, thread_id: UUID) -> HttpResponse:
        """The thread's events after `after`, as a socket gets them: stored text, put together and never decoded."""
        after = number(request, "after", 0, 0, 10**18 - 1)
        limit = number(request, "limit", protocol.RESUME_LIMIT, 1, protocol.RESUME_LIMIT)
        log = runs.replay(owner(request).pk, thread_id, after, limit)
        more = bool(log.rows) and log.rows[-1][0] < log.head
        text = f'{{"events":[{",".join(log.frames)}],"head":{log.head},"more":{json.dumps(more)}}}'
        return HttpResponse(text, content_type="application/json")


def own_messages(request: Request) -> Response:
    """The user's messages, the oldest first, of all threads or of the one that the query names."""
    asked = request.query_params.get("thread_id")
    if asked is None:
        messages = Message.objects.for_user(owner(request)).order_by("created_at", "thread", "seq")
        return page(request, "messages", messages.prefetch_related("attachments"), MessageSerializer)
    try:
        thread_id = Id().to_internal_value(asked)
    except serializers.ValidationError:
        raise ProtocolError("invalid_message", "thread_id must be a UUID.", field="thread_id") from None
    return ThreadMessages().get(request, thread_id)


class Messages(View):
    @described("messages", {200: MESSAGES_PAGE}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        return own_messages(request)

    @described("send", {202: AcceptedSerializer}, UserMessageSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request) -> Response:
        message = protocol.user_message_fields(idempotent(request, body(request)))
        return accepted(runs.start(owner(request).pk, message))


class ChatMessages(View):
    @described("chat_messages", {200: MESSAGES_PAGE}, query=("thread_id", *PAGED))
    def get(self, request: Request) -> Response:
        return own_messages(request)


class RegenerateMessage(View):
    @described("regenerate", {202: AcceptedSerializer}, RegenerateSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request, message_id: UUID) -> Response:
        given = {**idempotent(request, body(request, needed=False)), "message_id": str(message_id)}
        return accepted(runs.regenerate(owner(request).pk, protocol.regenerate_fields(given)))


# ---- Runs and agents -------------------------------------------------------------------------------------


class OneRun(View):
    @described("run", {200: RunSerializer})
    def get(self, request: Request, run_id: UUID) -> Response:
        run = Run.objects.for_user(owner(request)).filter(pk=run_id).first()
        if run is None:
            raise ProtocolError("not_found", "There is no such run.")
        return Response(RunSerializer(run).data)


class CancelRun(View):
    @described("cancel_run", {202: shape("Cancelled", run_ids=serializers.ListField(child=serializers.UUIDField()))})
    def post(self, request: Request, run_id: UUID) -> Response:
        """`run_ids` is empty for a run that had ended."""
        return Response({"run_ids": runs.cancel(owner(request).pk, run_id, None)}, status=202)


def live_workers() -> QuerySet[Worker]:
    """Those that take work, and were heard of within a lease."""
    since = Now() - timedelta(seconds=settings.NETRA_LEASE_SECONDS)
    return Worker.objects.filter(draining=False, heartbeat_at__gt=since)


def agents() -> list[dict[str, Any]]:
    """The registered agents, the default first: name, description, available, and the reason where it is not."""
    offers = list(live_workers().values_list("agents", flat=True))
    shown = []
    for name in settings.AGENTS:
        offered = sorted((of[name] for of in offers if name in of), key=lambda one: not one["available"])
        best = offered[0] if offered else {"available": False}
        agent = {"name": name, "description": best.get("description") or "", "available": best["available"]}
        if not agent["available"]:
            agent["reason"] = best.get("reason") or (
                "No worker plays this agent." if offers else "No worker is running."
            )
        shown.append(agent)
    return shown


class Agents(View):
    @described("agents", {200: shape("AgentList", agents=AgentSerializer(many=True))})
    def get(self, request: Request) -> Response:
        return Response({"agents": agents()})


class AgentsStatus(View):
    @described("agents_status", {200: shape("ActiveRuns", runs=ActiveRunSerializer(many=True))})
    def get(self, request: Request) -> Response:
        """The user's queued and running runs."""
        return Response({"runs": runs.active(owner(request).pk)})


class Execute(View):
    @described(
        "execute",
        {
            200: ExecutedSerializer,
            202: shape(
                "Executing",
                **{name: serializers.CharField() for name in ("run_id", "thread_id", "message_id", "status")},
            ),
        },
        ExecuteSerializer,
        headers=("Idempotency-Key", "Prefer"),
    )
    def post(self, request: Request) -> Response:
        """Send a message and wait for the end of its run; 202 with `Prefer: respond-async`, or if it takes too long."""
        given = idempotent(request, body(request))
        message = protocol.user_message_fields(given)
        if message.agent is None:
            raise ProtocolError("invalid_message", "agent is required", field="agent")
        done = runs.start(owner(request).pk, message)
        wishes = re.split(r"[,;\s]+", request.headers.get("Prefer", "").lower())
        patience = 0.0 if "respond-async" in wishes else settings.NETRA_RUN_TIMEOUT
        end = self.end_of(done.run_id, patience)
        ids = {"run_id": str(done.run_id), "thread_id": str(done.thread_id)}
        if end is None:
            status = Run.objects.values_list("status", flat=True).get(pk=done.run_id)
            return Response({**ids, "message_id": str(done.message_id), "status": status}, status=202)
        failure = {name: end[name] for name in ("error_code", "message") if name in end}
        answer = {name: end.get(name) for name in ("status", "final_response", "result")}
        return Response({**ids, **answer, **failure})

    def end_of(self, run_id: UUID, patience: float) -> dict[str, Any] | None:
        """The event that ended the run, waiting `patience` seconds for it."""
        ends = Event.objects.filter(run=run_id, type__in=TERMINAL).values_list("frame", flat=True)
        deadline, pause = time.monotonic() + patience, 0.02
        while (frame := ends.first()) is None and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return None if frame is None else cast(dict[str, Any], json.loads(frame))


# ---- The system ------------------------------------------------------------------------------------------


class Metrics(View):
    @described(
        "metrics",
        {
            200: shape(
                "Numbers",
                threads=serializers.IntegerField(),
                messages=serializers.IntegerField(),
                runs=serializers.DictField(child=serializers.IntegerField()),
            )
        },
    )
    def get(self, request: Request) -> Response:
        """The user's own numbers: threads, messages, and runs by status."""
        user = owner(request)
        by_status = Run.objects.for_user(user).values_list("status").annotate(n=Count("pk")).order_by()
        statuses = (*Run.ACTIVE, Run.COMPLETED, Run.FAILED, Run.CANCELLED)
        return Response(
            {
                "threads": Thread.objects.for_user(user).count(),
                "messages": Message.objects.for_user(user).count(),
                "runs": {**dict.fromkeys(statuses, 0), **dict(by_status)},
            }
        )


class Alive(Open):
    @described("alive", {200: shape("Alive", status=serializers.CharField())})
    def get(self, request: Request) -> Response:
        return Response({"status": "healthy"})


class Ready(Open):
    @described("ready", {200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        """503, with `checks` all the same, while a part is missing."""
        checks = {
            "database": answers(database),
            "channel_layer": layer.ping(),
            "workers": answers(live_workers().exists),
        }
        missing = [name for name, good in checks.items() if not good]
        data: dict[str, Any] = {
            "status": "unhealthy" if missing else "healthy",
            "checks": {name: "healthy" if good else "unhealthy" for name, good in checks.items()},
            "version": settings.SPECTACULAR_SETTINGS["VERSION"],
            "uptime_seconds": round(time.monotonic() - STARTED, 3),
        }
        if not missing:
            return Response(data)
        error = ProtocolError("unavailable", f"Not ready: {', '.join(missing)}.")
        return Response({**error.body(), **data}, status=error.status)


def database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def answers(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Error:
        return False


def socket_origin(request: Request) -> str:
    return f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"


class Services(Open):
    @described("services", {200: shape("Services", services=serializers.DictField(child=serializers.DictField()))})
    def get(self, request: Request) -> Response:
        """Where everything is."""
        paths = {"api": "/api", "auth": "/auth", "health": "/api/health", "schema": "/api/schema", "docs": "/api/docs"}
        services = {name: {"url": request.build_absolute_uri(path)} for name, path in paths.items()}
        return Response(
            {
                "services": {
                    **services,
                    "websocket": {
                        "url": f"{socket_origin(request)}/ws",
                        "config": request.build_absolute_uri("/ws/config"),
                    },
                }
            }
        )


class SocketConfig(Open):
    @described(
        "socket_config",
        {
            200: shape(
                "SocketConfig",
                url=serializers.CharField(),
                paths=serializers.DictField(child=serializers.CharField()),
                subprotocols=serializers.ListField(child=serializers.CharField()),
                heartbeat_interval=serializers.IntegerField(),
                authenticate_timeout=serializers.FloatField(),
                limits=serializers.DictField(child=serializers.IntegerField()),
            )
        },
    )
    def get(self, request: Request) -> Response:
        """What a client needs to connect: where (`paths` by mode), how, and within what limits (bytes and counts)."""
        return Response(
            {
                "url": f"{socket_origin(request)}/ws",
                "paths": {mode: path for path, mode in protocol.MODES.items()},
                "subprotocols": protocol.UPGRADE_REQUIRED["subprotocols"],
                "heartbeat_interval": protocol.HEARTBEAT_INTERVAL,
                "authenticate_timeout": settings.NETRA_AUTHENTICATE_SECONDS,
                "limits": protocol.LIMITS,
            }
        )
