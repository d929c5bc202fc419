"""The metrics of a process as Prometheus reads them.

Web processes answer at /metrics, workers at a port of their own (`runagents --metrics-port`). An isolated process saves
its metrics to a file, which its worker adds to its own after the process has ended.
"""

import json
import os
from collections import Counter as Sum
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from django.conf import settings
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from chat import metrics

REQUEST_TIMEOUT_SECONDS = 10.0  # for a client of the worker's port to send its request

_COUNTED = [metric for metric in vars(metrics).values() if isinstance(metric, Counter | Histogram)]


class MetricsFile:
    """A file of an isolated process's counters, which the process keeps up to date."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._length = descriptor, 0

    def save(self) -> None:
        """Write all counters of this process, in one write since the process may be killed at any time."""
        counted = [(s.name, s.labels, s.value) for metric in _COUNTED for s in self._samples(metric) if s.value]
        text = json.dumps(counted).encode().ljust(self._length)
        self._length = len(text)
        with suppress(OSError):  # a full disk
            os.pwrite(self._descriptor, text, 0)

    @staticmethod
    def _samples(metric: Counter | Histogram) -> Iterator[Sample]:
        samples = (sample for family in metric.collect() for sample in family.samples)
        return (sample for sample in samples if not sample.name.endswith("_created"))


class WorkerRegistry(CollectorRegistry):
    """The metrics of this process, together with those of isolated processes that have ended."""

    def __init__(self) -> None:
        super().__init__()
        self._added: Sum[tuple[str, tuple[tuple[str, str], ...]]] = Sum()  # by sample name and labels

    def add(self, saved: bytes) -> None:
        """Add the content of an isolated process's MetricsFile."""
        with suppress(ValueError):  # a full disk
            for name, labels, value in json.loads(saved or b"[]"):
                self._added[name, tuple(sorted(labels.items()))] += value

    def collect(self) -> Iterator[Metric]:
        """Yield each metric family of this process with the added values."""
        added = self._added.copy()
        for family in REGISTRY.collect():
            here = [(s, added.pop((s.name, tuple(sorted(s.labels.items()))), 0)) for s in family.samples]
            family.samples = [s._replace(value=s.value + more) if more else s for s, more in here]
            suffixes = [family.name + suffix for suffix in ("_total", "_bucket", "_count", "_sum")]
            for name, labels in [key for key in added if key[0] in suffixes]:
                family.samples.append(Sample(name, dict(labels), added.pop((name, labels))))
            yield family


def is_allowed(authorization: str) -> bool:
    """Tell if this header bears NETRA_METRICS_TOKEN. The caller makes sure that the token is not empty."""
    return constant_time_compare(authorization.encode("utf-8", "replace"), f"Bearer {settings.NETRA_METRICS_TOKEN}")


def serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Answer at http://host:port/metrics, in a thread, until the process exits. Raises OSError, OverflowError."""

    class Page(BaseHTTPRequestHandler):
        """Answers the scrapes of Prometheus."""

        timeout = REQUEST_TIMEOUT_SECONDS

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            status = 404 if not found else 200 if is_allowed(self.headers.get("Authorization", "")) else 401
            body = generate_latest(registry) if status == 200 else b""
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: a scrape comes every few seconds."""

    Thread(target=ThreadingHTTPServer((host, port), Page).serve_forever, daemon=True).start()
