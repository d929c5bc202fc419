"""Figures for Prometheus: what is counted, and how a process shows it to who has NETRA_METRICS_TOKEN.

Every process counts for itself and answers for itself: web processes at /metrics (chat/system.py), workers at a port
of their own (`runagents --metrics-port`). Counting is arithmetic in this process, with the labels bound beforehand
where an event passes. A process that a worker starts for one run tells that worker what it counts.
"""

import json
import os
from collections import Counter as Sum
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from django.conf import settings
from django.utils.crypto import constant_time_compare
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from chat import protocol

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)  # seconds
_COMMITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)  # seconds
_BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # events

# ---- Sockets: web processes ------------------------------------------------------------------------------

SOCKETS = Gauge("netra_sockets", "Sockets of signed-in users that are open.", ["mode"])
HANDSHAKES = Counter("netra_handshakes", "Handshakes that were accepted.", ["mode"])
REFUSALS = Counter("netra_refusals", "Handshakes and sign-ins of sockets that were refused.", ["reason"])
CLOSES = Counter("netra_closes", "Sockets that were closed from here, by close code.", ["code"])
FRAMES_RECEIVED = Counter("netra_frames_received", "Frames from clients.")
FRAMES_SENT = Counter("netra_frames_sent", "Frames to clients.")
ERRORS = Counter("netra_errors", "Frames from clients that were answered with an error.", ["code"])
RESUMES = Counter("netra_resumes", "Threads that clients resumed.", ["outcome"])
RESUMED, RESYNC = RESUMES.labels("resumed"), RESUMES.labels("resync")
GAPS_HEALED = Counter("netra_gaps_healed", "Times that a socket was sent from the log what no signal had brought it.")

# ---- Runs: who starts, claims or ends them ----------------------------------------------------------------

RUNS_STARTED = Counter("netra_runs_started", "Runs that were queued for a message.", ["agent"])
CLAIMS = Counter(
    "netra_claims",
    "Attempts that began: the first, or why there is another (worker_lost: a lease ran out).",
    ["agent", "reason"],
)
RUNS_ENDED = Counter("netra_runs_ended", "Runs that came to their end.", ["agent", "status"])
QUEUE_WAIT = Histogram(
    "netra_queue_wait_seconds", "From a message to the first claim of its run.", ["agent"], buckets=_WAITS
)
FIRST_EVENT = Histogram(
    "netra_first_event_seconds",
    "From a message to the commit of the first event that its agent sent.",
    ["agent"],
    buckets=_WAITS,
)
RUN_DURATION = Histogram("netra_run_seconds", "From the last claim of a run to its end.", ["agent"], buckets=_WAITS)
TOKENS = Counter("netra_tokens", "Tokens that ended runs used up.", ["model", "kind"])
COST = Counter("netra_cost_dollars", "What ended runs cost by list prices, where they are known.", ["model"])

# ---- The record ------------------------------------------------------------------------------------------

EVENTS = Counter("netra_events", "Events that were committed.", ["type"])
_EVENTS = {name: EVENTS.labels(name) for name in protocol.EVENTS}
DELTAS_MERGED = Counter("netra_deltas_merged", "Deltas that were joined to one before them.")
COMMIT_EVENTS = Histogram("netra_commit_events", "Events in one commit of the recorder.", buckets=_BATCHES)
COMMIT_SECONDS = Histogram("netra_commit_seconds", "How long a commit of the recorder took.", buckets=_COMMITS)


def committed(types: Iterable[str]) -> None:
    """Events of these types were."""
    for name, n in Sum(types).items():
        _EVENTS[name].inc(n)


def started(agent: str) -> None:
    """A run was queued."""
    RUNS_STARTED.labels(agent).inc()


def claimed(agent: str, reason: str, waited: float) -> None:
    """An attempt began, so many seconds after the message."""
    CLAIMS.labels(agent, reason).inc()
    if reason == "first":
        QUEUE_WAIT.labels(agent).observe(waited)


def first_event(agent: str, waited: float) -> None:
    """The first event that the agent itself sent was committed, so many seconds after the message."""
    FIRST_EVENT.labels(agent).observe(waited)


def ended(agent: str, status: str, seconds: float | None, usage: Mapping[str, Any]) -> None:
    """A run did, so many seconds after its last claim; None: it was never claimed."""
    RUNS_ENDED.labels(agent, status).inc()
    if seconds is not None:
        RUN_DURATION.labels(agent).observe(seconds)
    used(usage)


def used(usage: Mapping[str, Any]) -> None:
    """What a run says that it used up; an agent may say anything."""
    model = usage.get("model")
    if not isinstance(model, str):
        return
    for kind in ("input", "output"):
        if (tokens := _amount(usage.get(f"{kind}_tokens"))) is not None:
            TOKENS.labels(model[:100], kind).inc(tokens)
    if (cost := _amount(usage.get("cost_usd"))) is not None:
        COST.labels(model[:100]).inc(cost)


def total(usages: Iterable[Mapping[str, Any]], name: str) -> float:
    """The sum of what runs say of this."""
    return sum(_amount(usage.get(name)) or 0 for usage in usages)


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < 1e15 else None


# ---- Counted for another process -------------------------------------------------------------------------

_TOLD = [metric for metric in list(globals().values()) if isinstance(metric, Counter | Histogram)]
_told: Sum[tuple[str, tuple[tuple[str, str], ...]]] = Sum()  # by others, who have ended
_file, _length = -1, 0


def tell(file: int) -> None:
    """Keep all that this process counts in this open file, which outlives it."""
    global _file
    _file = file


def keep() -> None:
    """Write down what was counted until now, where somebody wants to know; in one piece, as this process may die."""
    global _length
    if _file < 0:
        return
    counted = [(s.name, s.labels, s.value) for metric in _TOLD for s in _samples(metric) if s.value]
    text = json.dumps(counted).encode().ljust(_length)
    _length = len(text)
    with suppress(OSError):  # a full disk
        os.pwrite(_file, text, 0)


def add(told: bytes) -> None:
    """Count what another process has kept, after its end."""
    with suppress(ValueError):  # a full disk
        for name, labels, value in json.loads(told or b"[]"):
            _told[name, tuple(sorted(labels.items()))] += value


def _samples(metric: Counter | Histogram) -> Iterator[Sample]:
    return (sample for family in metric.collect() for sample in family.samples if not sample.name.endswith("_created"))


class _Summed(CollectorRegistry):
    """What this process has counted and what others have told it."""

    def collect(self) -> Iterator[Metric]:
        told = _told.copy()
        for family in REGISTRY.collect():
            here = [(s, told.pop((s.name, tuple(sorted(s.labels.items()))), 0)) for s in family.samples]
            family.samples = [s._replace(value=s.value + more) if more else s for s, more in here]
            suffixes = [family.name + suffix for suffix in ("_total", "_bucket", "_count", "_sum")]
            for name, labels in [key for key in told if key[0] in suffixes]:
                family.samples.append(Sample(name, dict(labels), told.pop((name, labels))))
            yield family


# ---- Showing it ------------------------------------------------------------------------------------------


def allowed(authorization: str) -> bool:
    """Whether this header carries the token of the settings, which is not empty."""
    return constant_time_compare(authorization.encode("utf-8", "replace"), f"Bearer {settings.NETRA_METRICS_TOKEN}")


def exposition(*registries: CollectorRegistry) -> bytes:
    return b"".join(generate_latest(registry) for registry in (_Summed(), *registries))


class _Page(BaseHTTPRequestHandler):
    timeout = 10.0

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] == "/metrics"
        status = 404 if not found else 200 if allowed(self.headers.get("Authorization", "")) else 401
        body = exposition() if status == 200 else b""
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is nothing to tell."""


def serve(host: str, port: int) -> None:
    """Answer at http://host:port/metrics, in a thread, for as long as the process lives. Raises OSError."""
    Thread(target=ThreadingHTTPServer((host, port), _Page).serve_forever, daemon=True).start()
