"""REST: the liveness of this process and the readiness of the site."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max
from django.db.models.functions import Now
from rest_framework.request import Request
from rest_framework.response import Response

from chat import runs
from chat.api.base import Open
from chat.api.schema import described
from chat.api.serializers import AliveSerializer, HealthSerializer
from chat.models import Worker
from chat.protocol import ProtocolError
from chat.realtime import channel_layer

STARTED = time.monotonic()


class Alive(Open):
    @described("alive", {200: AliveSerializer})
    def get(self, request: Request) -> Response:
        return Response({"status": "healthy"})


class Ready(Open):
    @described("ready", {200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        """Return 200 if the site is ready, else 503; `checks` name what is missing.

        `details` give each check's duration (`duration_ms`) and the `reason` if it failed.
        """
        details = {name: checked(check) for name, check in CHECKS.items()}
        missing = [name for name, detail in details.items() if "reason" in detail]
        data: dict[str, Any] = {
            "status": "unhealthy" if missing else "healthy",
            "checks": {name: "unhealthy" if name in missing else "healthy" for name in details},
            "details": details,
            "version": settings.SPECTACULAR_SETTINGS["VERSION"],
            "uptime_seconds": round(time.monotonic() - STARTED, 3),
        }
        if not missing:
            return Response(data)
        error = ProtocolError("unavailable", f"Not ready: {', '.join(missing)}.")
        return Response({**error.body(), **data}, status=error.status)


def checked(check: Callable[[], str]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        reason = check()
    except Error as error:
        reason = f"The database does not answer ({type(error).__name__})."
    spent = {"duration_ms": round((time.monotonic() - began) * 1000, 3)}
    return {**spent, "reason": reason} if reason else spent


def database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


class MigrationsCheck:
    """Checks that this version's migrations are applied. Once they are, it does not look again."""

    def __init__(self) -> None:
        self._applied = False

    def __call__(self) -> str:
        """Return the reason why the site is not ready, or an empty string."""
        if self._applied:
            return ""
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        self._applied = not missing
        return f"Migrations that are not applied: {len(missing)}. Run manage.py migrate." if missing else ""


def redis_loopback() -> str:
    return "" if channel_layer.get_layer().ping() else "A signal did not come back over Redis in time."


def workers() -> str:
    if runs.live_workers().exists():
        return ""
    silent = Worker.objects.aggregate(silent=Now() - Max("heartbeat_at"))["silent"]
    if silent is None:
        return "No worker is running."
    if silent < timedelta(seconds=settings.NETRA_LEASE_SECONDS):
        return "Every worker is draining."
    return f"No worker has been heard of for {silent.total_seconds():.0f} s."


CHECKS: dict[str, Callable[[], str]] = {
    "database": database,
    "migrations": MigrationsCheck(),
    "channel_layer": redis_loopback,
    "workers": workers,
}
