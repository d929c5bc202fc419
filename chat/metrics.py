"""Metrics: the counters, gauges and histograms of every process.

Counting is arithmetic in this process, with the labels of frequent metrics bound beforehand. chat.exposition shows the
metrics to Prometheus.
"""

from collections import Counter as Sum
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from chat import catalogue, protocol

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)  # seconds
_COMMITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)  # seconds
_COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens")  # of a usage
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
GAPS_RECONCILED = Counter(
    "netra_gaps_reconciled",
    "Threads of sockets that were completed from the event log, as a published event had been lost.",
)

SIGN_INS = Counter("netra_sign_ins", "Sign-ins by a password or by a provider, by its id.", ["by"])

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
    "From a message to the first event or text of its agent that was published.",
    ["agent"],
    buckets=_WAITS,
)
RUN_DURATION = Histogram("netra_run_seconds", "From the last claim of a run to its end.", ["agent"], buckets=_WAITS)
INPUTS = Counter("netra_inputs", "Input requests that were resolved.", ["kind", "status", "via"])
INPUT_CONFLICTS = Counter("netra_input_conflicts", "Answers to requests that were resolved otherwise.")
INPUT_WAIT = Histogram(
    "netra_input_wait_seconds",
    "From a request to its decision.",
    ["kind"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800),
)
CONTINUATIONS = Counter("netra_continuations", "Runs that went on after a wait, by what they repeated.", ["outcome"])
STEPS_REUSED = Counter("netra_steps_reused", "Steps whose recorded result was returned.")
LLM_REQUESTS = Counter("netra_llm_requests", "Requests of ended runs to models, by catalogue name.", ["model"])
LLM_TOKENS = Counter("netra_llm_tokens", "Tokens that ended runs used up, by catalogue name.", ["model", "kind"])
LLM_COST = Counter("netra_llm_cost_dollars", "What ended runs cost, where prices are known.", ["model"])
FEEDBACK = Counter("netra_feedback", "Ratings that users gave to answers, or changed.", ["agent", "rating"])

# ---- Event log -------------------------------------------------------------------------------------------

EVENTS = Counter("netra_events", "Events that were committed.", ["type"])
_EVENTS = {name: EVENTS.labels(name) for name in protocol.EVENTS}
DELTAS_MERGED = Counter("netra_deltas_merged", "Deltas that were joined to one before them.")
COMMIT_EVENTS = Histogram("netra_commit_events", "Events in one commit of the event writer.", buckets=_BATCHES)
COMMIT_SECONDS = Histogram("netra_commit_seconds", "How long a commit of the event writer took.", buckets=_COMMITS)


def count_events(types: Iterable[str]) -> None:
    """Count committed events by type."""
    for name, n in Sum(types).items():
        _EVENTS[name].inc(n)


def count_sign_in(by: str) -> None:
    """Count a sign-in that began a session, by `password` or by the id of a provider."""
    SIGN_INS.labels(by).inc()


def count_start(agent: str) -> None:
    """Count a queued run."""
    RUNS_STARTED.labels(agent).inc()


def count_claim(agent: str, reason: str, waited: float) -> None:
    """Count a claim, `waited` seconds after the message."""
    CLAIMS.labels(agent, reason).inc()
    if reason == "first":
        QUEUE_WAIT.labels(agent).observe(waited)


def observe_first_event(agent: str, waited: float) -> None:
    """Observe the publishing of the first event or text of the agent itself, `waited` seconds after the message."""
    FIRST_EVENT.labels(agent).observe(waited)


def count_end(agent: str, status: str, seconds: float | None, usage: Mapping[str, Any]) -> None:
    """Count an ended run, `seconds` after its last claim. `seconds` is None for a run that was never claimed."""
    RUNS_ENDED.labels(agent, status).inc()
    if seconds is not None:
        RUN_DURATION.labels(agent).observe(seconds)
    count_usage(usage)


def count_input(kind: str, status: str, via: str, seconds: float) -> None:
    """Count a resolved input request, this long after it was asked."""
    INPUTS.labels(kind, status, via).inc()
    INPUT_WAIT.labels(kind).observe(max(0.0, seconds))


def count_feedback(agent: str, rating: int) -> None:
    """Count a rating of an answer."""
    FEEDBACK.labels(agent, str(rating)).inc()


def count_usage(usage: Mapping[str, Any]) -> None:
    """Count the requests, tokens and cost of a run by model. An agent may report anything: wrong types do not count.

    Models outside the catalogue are `other`: the number of labels is bounded.
    """
    models = usage.get("models")
    for each in models if isinstance(models, list) else [usage]:
        model = each.get("model") if isinstance(each, dict) else None
        if not isinstance(model, str):
            continue
        name = catalogue.name_of(model)
        LLM_REQUESTS.labels(name).inc(_amount(each.get("requests")) or 0)
        for kind in ("input", "output"):
            if (tokens := _amount(each.get(f"{kind}_tokens"))) is not None:
                LLM_TOKENS.labels(name, kind).inc(tokens)
        if (cost := _amount(each.get("cost_usd"))) is not None:
            LLM_COST.labels(name).inc(cost)


def spent(usages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the usage of all these runs, in all and by model, as the usage of one run has it.

    `cost_usd` is None if the price of any of it is unknown.
    """
    models: dict[str, dict[str, Any]] = {}
    for usage in usages:
        listed = usage.get("models")
        for each in listed if isinstance(listed, list) else [usage]:
            model = each.get("model") if isinstance(each, dict) else None
            if isinstance(model, str):
                _add(models.setdefault(model, {"model": model}), each)
    whole: dict[str, Any] = {}
    for each in models.values():
        _add(whole, each)
    return {**(whole or dict.fromkeys(_COUNTS, 0) | {"cost_usd": 0.0}), "models": list(models.values())}


def _add(to: dict[str, Any], usage: Mapping[str, Any]) -> None:
    for name in _COUNTS:
        to[name] = to.get(name, 0) + int(_amount(usage.get(name)) or 0)
    so_far, cost = to.get("cost_usd", 0.0), _amount(usage.get("cost_usd"))
    to["cost_usd"] = None if so_far is None or cost is None else so_far + cost


def total(usages: Iterable[Mapping[str, Any]], name: str) -> float:
    """Return the sum of this figure of the runs' usage, without values of a wrong type."""
    return sum(_amount(usage.get(name)) or 0 for usage in usages)


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < 1e15 else None
