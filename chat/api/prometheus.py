"""Metrics for Prometheus: of this web process and of the database."""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import Error
from django.db.models import Count, Min
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from chat import exposition, runs
from chat.api import exceptions
from chat.models import InputRequest, Run
from chat.protocol import ProtocolError


class DatabaseCollector(Collector):
    """Gauges of runs and workers, read from the database at each scrape: the same from every web process."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; fewer while the database is unavailable."""
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
            asked = GaugeMetricFamily("netra_inputs_open", "Requests that wait for a person.", labels=["kind"])
            still = InputRequest.objects.filter(status=InputRequest.OPEN, thread__deleted_at=None)
            for kind, count in still.values_list("kind").annotate(n=Count("pk")).order_by():
                asked.add_metric([kind], count)
            yield asked
            yield GaugeMetricFamily("netra_workers", "Workers that take runs.", runs.live_workers().count())
        except Error:
            return  # the process's own metrics are shown all the same


DATABASE = CollectorRegistry()
DATABASE.register(DatabaseCollector())


def prometheus(request: HttpRequest) -> HttpResponseBase:
    """Answer a scrape that bears NETRA_METRICS_TOKEN; 404 if the setting is empty."""
    if not settings.NETRA_METRICS_TOKEN:
        return exceptions.not_found(request)
    if not exposition.is_allowed(request.headers.get("Authorization", "")):
        return exceptions.refusal(ProtocolError("unauthorized", "The bearer token must be NETRA_METRICS_TOKEN."))
    answer = HttpResponse(generate_latest(REGISTRY) + generate_latest(DATABASE), content_type=CONTENT_TYPE_LATEST)
    answer["Cache-Control"] = "no-store"
    return answer
