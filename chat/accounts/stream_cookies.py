"""The cookie with which a browser's EventSource, which sends no header, reads the events of its user's threads.

It names the session and ends with it. It is taken by one GET only, from a page of an allowed origin.
"""

from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from chat import protocol
from chat.accounts.authentication import Identity, Unauthorized
from chat.accounts.sessions import UNENDED
from chat.models import Session, User
from chat.protocol import ProtocolError

COOKIE = "netra_stream"
_SALT = "netra.stream"


def give(response: HttpResponse, session_id: UUID) -> None:
    """Set the cookie of this session."""
    response.set_cookie(
        COOKIE,
        signing.dumps(session_id.hex, salt=_SALT),
        max_age=_max_age(),
        path=path(),
        secure=settings.NETRA_HTTPS,
        httponly=True,
        samesite="Strict",
    )


def _max_age() -> int:
    return int(settings.NETRA_REFRESH_TOKEN_SECONDS)


def path() -> str:
    """Return the path of the cookie."""
    return f"{settings.NETRA_BASE_PATH}/api/threads"


def wants_events(request: HttpRequest | Request) -> bool:
    """Return whether the client accepts server-sent events."""
    accepted = request.headers.get("Accept", "").lower().split(",")
    return any(kind.partition(";")[0].strip() == "text/event-stream" for kind in accepted)


class CookieAuthentication(BaseAuthentication):
    """Authentication of a stream of events by the cookie."""

    def authenticate(self, request: Request) -> tuple[User, Identity] | None:
        """Return the user and the identity, None without the cookie and for what is no stream.

        Raises Unauthorized, and ProtocolError forbidden for a cookie from a page of another origin.
        """
        if COOKIE not in request.COOKIES or not wants_events(request):
            return None
        origin = request.headers.get("Origin", "").encode("latin-1", "replace")
        headers = [(b"origin", origin)] if origin else []
        if not protocol.origin_allowed(headers, settings.ALLOWED_ORIGINS):
            raise ProtocolError("forbidden", "The cookie of a stream is only accepted from a page of this site.")
        try:
            session_id = UUID(signing.loads(request.COOKIES[COOKIE], salt=_SALT, max_age=_max_age()))
        except (signing.BadSignature, ValueError, TypeError):
            raise Unauthorized("the cookie of a stream is malformed") from None
        session = Session.objects.filter(UNENDED, pk=session_id).select_related("user").first()
        if session is None or not session.user.is_active:
            raise Unauthorized("the session of a stream's cookie has ended")
        ends_at = None if session.expires_at is None else int(session.expires_at.timestamp())
        return session.user, Identity(session.user_id, session.user.email, session.pk, ends_at)
