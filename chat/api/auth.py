"""REST: users and their sessions: register, log in, refresh, log out, password, sessions, profile."""

import contextlib
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate, user_logged_in, user_login_failed
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import languages, limits, metrics, protocol
from chat.accounts import authentication, sessions, stream_cookies, tokens
from chat.api import client_ip
from chat.api.base import ListView, Open, View, identity_of, owner
from chat.api.fields import Text
from chat.api.pagination import PAGED
from chat.api.parsers import fields
from chat.api.permissions import NO_ACCOUNT
from chat.api.schema import described
from chat.api.serializers import (
    LoginSerializer,
    LogoutSerializer,
    NotificationsSerializer,
    PasswordSerializer,
    ProfileSerializer,
    RefreshSerializer,
    RegisterSerializer,
    RenameUserSerializer,
    SessionSerializer,
    SessionsPageSerializer,
    SignedOutSerializer,
    TokensSerializer,
    UserSerializer,
    VerifiedSerializer,
)
from chat.limits.rates import REGISTRATIONS, SIGN_INS
from chat.models import Session, User
from chat.protocol import ProtocolError

REFRESH_COOKIE = "netra_refresh"
VIEW_COOKIE = "netra_view"


def tokens_response(request: Request, fresh: tokens.Tokens, in_cookie: bool, status: int = 200) -> Response:
    """Return the response with new tokens. The refresh token is in the cookie or in the body, never in both."""
    data: dict[str, Any] = {
        "access_token": fresh.access,
        "token_type": "Bearer",
        "expires_in": fresh.expires_in,
        "user": UserSerializer(fresh.user).data,
    }
    if not in_cookie:
        return Response({**data, "refresh_token": fresh.refresh}, status=status)
    response = Response(data, status=status)
    set_cookies(response, request, fresh)
    return response


def set_cookies(response: HttpResponseBase, request: HttpRequest, fresh: tokens.Tokens) -> None:
    """Set the cookie with the refresh token, which only `/auth` gets, and that with the user's language."""
    languages.remember(response, request, fresh.user)
    response.set_cookie(
        REFRESH_COOKIE,
        fresh.refresh,
        max_age=int(settings.NETRA_REFRESH_TOKEN_SECONDS),
        path=f"{settings.NETRA_BASE_PATH}/auth",
        secure=settings.NETRA_HTTPS,
        httponly=True,
        samesite="Strict",
    )


def start_session(request: Request, user: User, in_cookie: bool, status: int = 200) -> Response:
    """Start a session for a user whose password was right."""
    user_logged_in.send(User, request=request, user=user)
    metrics.count_sign_in("password")
    fresh = sessions.sign_in(user, request.headers.get("User-Agent", ""))
    return tokens_response(request, fresh, in_cookie, status)


def read_refresh_token(request: Request, given: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the refresh token and whether it came in the cookie: then only from a page of an allowed origin."""
    if "refresh_token" in given:
        return given["refresh_token"], False
    if REFRESH_COOKIE not in request.COOKIES:
        raise authentication.Unauthorized("no refresh token")
    origin = request.headers.get("Origin", "").encode("latin-1", "replace")
    if not protocol.origin_allowed([(b"origin", origin)], settings.ALLOWED_ORIGINS):
        raise ProtocolError("forbidden", "The session cookie is only accepted from a page of this site.")
    return request.COOKIES[REFRESH_COOKIE], True


def demand_passwords() -> None:
    """Raise ProtocolError forbidden where only providers sign in."""
    if settings.NETRA_SSO_ONLY:
        raise ProtocolError("forbidden", "Passwords are not used here: sign in with your company's account.")


class Account(View):
    """A view of the account, which no API key reaches."""

    takes_keys = False


class Entrance(Open):
    """A view that signs in or out. An API key is forbidden there, too, whether it is good or not."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise ProtocolError forbidden for a request with an API key."""
        super().initial(request, *args, **kwargs)
        with contextlib.suppress(authentication.Unauthorized):
            if protocol.is_key(authentication.token_of(request) or ""):
                raise ProtocolError("forbidden", NO_ACCOUNT)


def session_id_of(request: Request) -> UUID:
    """Return the session of the request's access token."""
    session_id = identity_of(request).session_id
    assert session_id is not None
    return session_id


class Register(Entrance):
    @described("register", {201: TokensSerializer}, RegisterSerializer)
    def post(self, request: Request) -> Response:
        demand_passwords()
        if not settings.NETRA_OPEN_REGISTRATION:
            raise ProtocolError("forbidden", "Registration is closed.")
        given = fields(RegisterSerializer, request)
        email, password, name = given["email"], given["password"], given.get("name", "")
        try:
            validate_password(password, User(email=email, name=name))
        except ValidationError as error:
            raise ProtocolError("invalid_message", " ".join(error.messages), field="password") from None
        limits.rate_limiter().acquire(REGISTRATIONS, client_ip.address_of(request))
        try:
            user = User.objects.create_user(email, password, name=name)
        except IntegrityError:
            raise ProtocolError("conflict", "This address is already registered.", field="email") from None
        return start_session(request, user, "session" in given, 201)


class Login(Entrance):
    @described("login", {200: TokensSerializer}, LoginSerializer)
    def post(self, request: Request) -> Response:
        demand_passwords()
        given = fields(LoginSerializer, request)
        limits.rate_limiter().acquire(SIGN_INS, client_ip.address_of(request))
        with tokens.attempt(request, given["email"]):
            # Django hashes the password for an unknown address too, so the response time does not reveal accounts.
            user = authenticate(cast(HttpRequest, request), username=given["email"], password=given["password"])
        if user is None:
            raise ProtocolError("unauthorized", "Email or password is incorrect.")
        return start_session(request, user, "session" in given)


class Refresh(Entrance):
    @described("refresh", {200: TokensSerializer}, RefreshSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair.

        A client that may lose the answer, or send the request twice, sends a random Idempotency-Key: with the same key
        it gets the same pair again. Any other reuse of a spent token ends the session.
        """
        token, by_cookie = read_refresh_token(request, fields(RefreshSerializer, request, needed=False))
        key = request.headers.get("Idempotency-Key", "")
        if 0 < len(key) < 16:
            # A finder of a spent token must not find its key by trying.
            raise ProtocolError("invalid_message", "Idempotency-Key needs at least 16 characters here.")
        return tokens_response(request, tokens.refresh(token, key, request), by_cookie)


class Logout(Entrance):
    @described("logout", {200: SignedOutSerializer}, LogoutSerializer)
    def post(self, request: Request) -> Response:
        """End the session of the refresh token in the body, else of the one in the cookie, else of the access token."""
        given = fields(LogoutSerializer, request, needed=False)
        session = self.session(request, given)
        everywhere = given.get("everywhere", False)
        if everywhere:
            sessions.end_sessions(session.user, given.get("keys", False))
        else:
            sessions.end_session(session)
        response = Response({"everywhere": everywhere})
        response.delete_cookie(REFRESH_COOKIE, path=f"{settings.NETRA_BASE_PATH}/auth", samesite="Strict")
        response.delete_cookie(stream_cookies.COOKIE, path=stream_cookies.path(), samesite="Strict")
        response.delete_cookie(VIEW_COOKIE, path=f"{settings.NETRA_BASE_PATH}/s", samesite="Strict")
        return response

    def session(self, request: Request, given: Mapping[str, Any]) -> Session:
        bearer = None
        if "refresh_token" not in given and REFRESH_COOKIE not in request.COOKIES:
            bearer = authentication.TokenAuthentication().authenticate(request)
        if bearer is None:
            return tokens.session_to_end(read_refresh_token(request, given)[0], request)
        return Session.objects.for_user(bearer[0]).select_related("user").get(pk=cast(UUID, bearer[1].session_id))


class Password(Account):
    @described("change_password", {200: TokensSerializer}, PasswordSerializer)
    def post(self, request: Request) -> Response:
        """Change the password and end every other session, and all API keys with `keys`.

        This session goes on with the tokens of the answer: the old ones end with the old password.
        """
        demand_passwords()
        given = fields(PasswordSerializer, request)
        user, session_id, in_cookie = owner(request), session_id_of(request), self.in_cookie(request)
        keys = given.get("keys", False)
        try:
            with tokens.attempt(request, user.email):
                try:
                    fresh = sessions.change_password(user, given["current"], given["new"], session_id, keys)
                except authentication.Unauthorized:
                    user_login_failed.send(__name__, credentials={"username": user.email}, request=request)
                    raise
        except authentication.Unauthorized:
            raise ProtocolError("invalid_message", "The current password is wrong.", field="current") from None
        except ValidationError as error:
            raise ProtocolError("invalid_message", " ".join(error.messages), field="new") from None
        return tokens_response(request, fresh, in_cookie)

    def in_cookie(self, request: Request) -> bool:
        """Return whether the refresh token of the caller's session is in the cookie."""
        try:
            return sessions.session_of(request.COOKIES.get(REFRESH_COOKIE, "")).pk == session_id_of(request)
        except authentication.Unauthorized:
            return False


class Sessions(Account, ListView):
    serializer_class, results_name = SessionSerializer, "sessions"

    @described("sessions", {200: SessionsPageSerializer}, query=PAGED)
    def get(self, request: Request) -> Response:
        """List the user's live sessions, the last used first; `used_at` is the time of the newest tokens."""
        current = ExpressionWrapper(Q(pk=session_id_of(request)), output_field=BooleanField())
        live = sessions.live_sessions(owner(request)).annotate(current=current).order_by("-used_at", "-pk")
        return self.page(request, live)


class OneSession(Account):
    @described("end_session", {204: None})
    def delete(self, request: Request, session_id: UUID) -> Response:
        """End that session and close its sockets."""
        session = sessions.live_sessions(owner(request)).filter(pk=session_id).first()
        if session is None:
            raise ProtocolError("not_found", "There is no such session.")
        sessions.end_session(session)
        return Response(status=204)


class Stream(Account):
    @described("stream_cookie", {204: None})
    def post(self, request: Request) -> Response:
        """Set the cookie with which this browser's EventSource reads the events of the user's threads."""
        response = Response(status=204)
        stream_cookies.give(response, session_id_of(request))
        return response


class Viewer(Account):
    """The right of a browser to open links that are for members."""

    @described("view", {204: None})
    def post(self, request: Request) -> Response:
        """Set the cookie by which this browser opens `/s/…` until its session ends."""
        response = Response(status=204)
        response.set_cookie(
            VIEW_COOKIE,
            sessions.viewer(session_id_of(request)),
            max_age=int(settings.NETRA_REFRESH_TOKEN_SECONDS),
            path=f"{settings.NETRA_BASE_PATH}/s",
            secure=settings.NETRA_HTTPS,
            httponly=True,
            samesite="Strict",
        )
        return response


class Verify(View):
    reading_methods = ("POST",)

    @described("verify", {200: VerifiedSerializer})
    def get(self, request: Request) -> Response:
        """Return the owner of the token or API key, and when it expires: null for a key that never does."""
        identity = identity_of(request)
        user_id, exp = str(identity.user_id), identity.expires_at
        return Response({"valid": True, "user_id": user_id, "email": identity.email, "exp": exp})

    @described("verify_post", {200: VerifiedSerializer})
    def post(self, request: Request) -> Response:
        return self.get(request)


class Me(Account):
    @described("me", {200: ProfileSerializer})
    def get(self, request: Request) -> Response:
        return Response(ProfileSerializer(owner(request)).data)

    @described("rename_me", {200: ProfileSerializer}, RenameUserSerializer)
    def patch(self, request: Request) -> Response:
        user = owner(request)
        user.name = fields(RenameUserSerializer, request)["name"]
        user.save(update_fields=["name"])
        return self.get(request)


class InstructionsSerializer(serializers.Serializer[Any]):
    instructions = Text(max_length=2000, allow_blank=True, help_text="what the assistant knows of the user")


class Instructions(Account):
    """The text that the user wants the assistant to know."""

    @described("instructions", {200: InstructionsSerializer})
    def get(self, request: Request) -> Response:
        return Response(InstructionsSerializer(owner(request)).data)

    @described("change_instructions", {200: InstructionsSerializer}, InstructionsSerializer)
    def patch(self, request: Request) -> Response:
        """Change it: the assistant reads it with each message from then on."""
        user = owner(request)
        user.instructions = fields(InstructionsSerializer, request)["instructions"]
        user.save(update_fields=["instructions"])
        return self.get(request)


class LanguageSerializer(serializers.Serializer[Any]):
    language = serializers.ChoiceField(
        list(dict(settings.LANGUAGES)), allow_blank=True, help_text="of pages and mails; empty: the browser's"
    )


class Language(Account):
    """The language of the pages that the user reads, and of mail."""

    @described("language", {200: LanguageSerializer})
    def get(self, request: Request) -> Response:
        return Response(LanguageSerializer(owner(request)).data)

    @described("change_language", {200: LanguageSerializer}, LanguageSerializer)
    def patch(self, request: Request) -> Response:
        """Change it, also for this browser, by a cookie."""
        user = owner(request)
        user.language = fields(LanguageSerializer, request)["language"]
        user.save(update_fields=["language"])
        response = self.get(request)
        languages.remember(response, request, user)
        return response


class Notifications(Account):
    """The mail that the user gets."""

    @described("notifications", {200: NotificationsSerializer})
    def get(self, request: Request) -> Response:
        """Return about whose requests mail comes: those of others that the user may decide, all, or none."""
        return Response(NotificationsSerializer(owner(request)).data)

    @described("change_notifications", {200: NotificationsSerializer}, NotificationsSerializer)
    def patch(self, request: Request) -> Response:
        """Change that."""
        user = owner(request)
        user.input_mail = fields(NotificationsSerializer, request)["input_mail"]
        user.save(update_fields=["input_mail"])
        return self.get(request)
