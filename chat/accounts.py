"""Users and their sessions over REST: register, log in, refresh, log out, password, sessions, who am I."""

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
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import auth, limits, protocol
from chat.models import Session, User
from chat.protocol import ProtocolError
from chat.rest import PAGED, Open, View, described, fields, owner, page
from chat.shapes import (
    LoginSerializer,
    LogoutSerializer,
    PasswordSerializer,
    ProfileSerializer,
    RefreshSerializer,
    RegisterSerializer,
    RenameUserSerializer,
    SessionSerializer,
    TokensSerializer,
    UserSerializer,
    VerifiedSerializer,
    listed,
    shape,
)

REFRESH_COOKIE = "netra_refresh"


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


def begun(request: Request, user: User, in_cookie: bool, status: int = 200) -> Response:
    """A session of a user whose password is right."""
    user_logged_in.send(User, request=request, user=user)
    return signed_in(auth.sign_in(user, request.headers.get("User-Agent", "")), in_cookie, status)


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


def whose(request: Request) -> auth.Identity:
    return cast(auth.Identity, request.auth)


class Register(Open):
    @described("register", {201: TokensSerializer}, RegisterSerializer)
    def post(self, request: Request) -> Response:
        if not settings.NETRA_OPEN_REGISTRATION:
            raise ProtocolError("forbidden", "Registration is closed.")
        given = fields(RegisterSerializer, request)
        email, password, name = given["email"], given["password"], given.get("name", "")
        try:
            validate_password(password, User(email=email, name=name))
        except ValidationError as error:
            raise ProtocolError("invalid_message", " ".join(error.messages), field="password") from None
        limits.REGISTRATIONS.spend_now(limits.address_of(request))
        try:
            user = User.objects.create_user(email, password, name=name)
        except IntegrityError:
            raise ProtocolError("conflict", "This address is already registered.", field="email") from None
        return begun(request, user, "session" in given, 201)


class Login(Open):
    @described("login", {200: TokensSerializer}, LoginSerializer)
    def post(self, request: Request) -> Response:
        given = fields(LoginSerializer, request)
        limits.SIGN_INS.spend_now(limits.address_of(request))
        auth.check_lock(request, given["email"])
        # For an address that nobody has, Django hashes the password all the same: the time tells nothing.
        user = authenticate(cast(HttpRequest, request), username=given["email"], password=given["password"])
        if user is None:
            raise ProtocolError("unauthorized", "The address or the password is wrong.")
        return begun(request, user, "session" in given)


class Refresh(Open):
    @described("refresh", {200: TokensSerializer}, RefreshSerializer, headers=("Idempotency-Key",))
    def post(self, request: Request) -> Response:
        """Whoever may lose the answer sends a random Idempotency-Key, and with it again gets the pair once more."""
        token, by_cookie = presented(request, fields(RefreshSerializer, request, needed=False))
        key = request.headers.get("Idempotency-Key", "")
        if 0 < len(key) < 16:
            # Whoever finds a spent token must not find its key by trying.
            raise ProtocolError("invalid_message", "Idempotency-Key needs at least 16 characters here.")
        return signed_in(auth.refresh(token, key), by_cookie)


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


class Password(View):
    @described("change_password", {200: TokensSerializer}, PasswordSerializer)
    def post(self, request: Request) -> Response:
        """Change the password: every other session ends, this one goes on with the tokens of the answer, because the
        old ones end with the old password."""
        given = fields(PasswordSerializer, request)
        user, identity, in_cookie = owner(request), whose(request), self.in_cookie(request)
        auth.check_lock(request, user.email)
        try:
            tokens = auth.change_password(user, given["current"], given["new"], identity.session_id)
        except auth.Unauthorized:
            user_login_failed.send(__name__, credentials={"username": user.email}, request=request)
            raise ProtocolError("invalid_message", "The current password is wrong.", field="current") from None
        except ValidationError as error:
            raise ProtocolError("invalid_message", " ".join(error.messages), field="new") from None
        return signed_in(tokens, in_cookie)

    def in_cookie(self, request: Request) -> bool:
        """Whether the caller's own session has its refresh token in the cookie."""
        try:
            return auth.session_of(request.COOKIES.get(REFRESH_COOKIE, "")).pk == whose(request).session_id
        except auth.Unauthorized:
            return False


class Sessions(View):
    @described("sessions", {200: listed("sessions", SessionSerializer)}, query=PAGED)
    def get(self, request: Request) -> Response:
        """The user's live sessions, the last used first; `used_at` is when its tokens were last made."""
        current = ExpressionWrapper(Q(pk=whose(request).session_id), output_field=BooleanField())
        live = auth.live_sessions(owner(request)).annotate(current=current).order_by("-used_at", "-pk")
        return page(request, "sessions", live, SessionSerializer)


class OneSession(View):
    @described("end_session", {204: None})
    def delete(self, request: Request, session_id: UUID) -> Response:
        """Sign that session out; its sockets close."""
        session = auth.live_sessions(owner(request)).filter(pk=session_id).first()
        if session is None:
            raise ProtocolError("not_found", "There is no such session.")
        auth.end_session(session)
        return Response(status=204)


class Verify(View):
    @described("verify", {200: VerifiedSerializer})
    def get(self, request: Request) -> Response:
        identity = whose(request)
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
