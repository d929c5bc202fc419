"""Throttles of views: rates of chat.limits that count every request.

A rate that counts only what the body asks for (messages, sign-ins, registrations) is acquired by the view once the body
is known to be good.
"""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from chat import limits
from chat.limits import Rate
from chat.limits.rates import REQUESTS, UPLOADS
from chat.protocol import ProtocolError


class UserThrottle(BaseThrottle):
    """Limits the requests of a user."""

    rate: ClassVar[Rate] = REQUESTS

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request and return True, or return False if the user must wait."""
        self._wait: float | None = None
        try:
            limits.rate_limiter().acquire(self.rate, request.user.pk)
        except ProtocolError as error:
            self._wait = error.retry_after
        return self._wait is None

    def wait(self) -> float | None:
        """Return the seconds to wait after a refusal."""
        return self._wait


class UploadThrottle(UserThrottle):
    """Limits the uploads of a user."""

    rate = UPLOADS
