"""What the service tells of itself, to anybody: alive, ready, and where everything is."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Max, Min
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat import errors, layer, metrics, protocol, runs
from chat.models import Run, Worker
from chat.protocol import ProtocolError
from chat.rest import Open, described
from chat.shapes import HealthSerializer, shape

STARTED = time.monotonic()


class Alive(Open):
    @described("alive", {200: shape("Alive", status=serializers.CharField())})
    def get(self, request: Request) -> Response:
        return Response({"status": "healthy"})


class Ready(Open):
    @described("ready", {200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        """503, with `checks` all the same, while a part is missing. `details` says of each how long it took to find
        out (`duration_ms`), and of what is missing the `reason`."""
        details = {check.__name__: checked(check) for check in (database, migrations, channel_layer, workers)}
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


_migrated = False


def migrations() -> str:
    """Once they are applied, they stay so: what a newer Netra adds is not this one's."""
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing:
            return f"Migrations that are not applied: {len(missing)}. Run manage.py migrate."
        _migrated = True
    return ""


def channel_layer() -> str:
    return "" if layer.ping() else "A signal did not come back over Redis in time."


def workers() -> str:
    if runs.live_workers().exists():
        return ""
    silent = Worker.objects.aggregate(silent=Now() - Max("heartbeat_at"))["silent"]
    if silent is None:
        return "No worker is running."
    if silent < timedelta(seconds=settings.NETRA_LEASE_SECONDS):
        return "Every worker is draining."
    return f"No worker has been heard of for {silent.total_seconds():.0f} s."


class Record(Collector):
    """What stands in the database: the same in every web process."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        active = Run.objects.filter(status__in=Run.ACTIVE, thread__deleted_at=None)
        try:
            counts = active.values_list("agent", "status").annotate(n=Count("pk")).order_by()
            waiting = GaugeMetricFamily("netra_runs", "Runs that wait or run.", labels=["agent", "status"])
            for agent, status, count in counts:
                waiting.add_metric([agent, status], count)
            yield waiting
            queued = active.filter(status=Run.QUEUED)
            oldest = queued.aggregate(age=Now() - Min("created_at"))["age"] or timedelta()
            yield GaugeMetricFamily(
                "netra_queue_oldest_seconds", "The age of the oldest run that waits.", max(0, oldest.total_seconds())
            )
            yield GaugeMetricFamily("netra_workers", "Workers that take runs.", runs.live_workers().count())
        except Error:
            return  # what a process counts itself is told all the same


_record = CollectorRegistry()
_record.register(Record())


def prometheus(request: HttpRequest) -> HttpResponseBase:
    """The figures of this process and of the record, with `Authorization: Bearer <NETRA_METRICS_TOKEN>`."""
    if not settings.NETRA_METRICS_TOKEN:
        return errors.not_found(request)
    if not metrics.allowed(request.headers.get("Authorization", "")):
        return errors.refusal(ProtocolError("unauthorized", "The token of NETRA_METRICS_TOKEN is needed."))
    answer = HttpResponse(metrics.exposition(_record), content_type=CONTENT_TYPE_LATEST)
    answer["Cache-Control"] = "no-store"
    return answer


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
