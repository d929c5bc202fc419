"""Figures for Prometheus: who may see them, and that each moves when what it counts happens."""

import collections
import json
import re
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus

from chat import metrics, runs
from chat.api import prometheus
from chat.limits.connections import open_sockets
from chat.models import Run, User
from tests.conftest import METRICS_TOKEN
from tests.factories import message
from tests.site import WAIT_TIMEOUT, wait_until

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


def scraped(url):
    answer = httpx.get(url, headers={"Authorization": f"Bearer {METRICS_TOKEN}"}, timeout=WAIT_TIMEOUT)
    assert answer.status_code == 200, answer.text
    return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]


def figures(site):
    """(name, labels as sorted pairs) -> the sum over the web process and the worker."""
    found = collections.Counter()
    for url in (site.url + "/metrics", site.worker_figures):
        for sample in scraped(url):
            found[sample.name, tuple(sorted(sample.labels.items()))] += sample.value
    return found


@pytest.fixture
def moved(watched):
    """Wait until a figure is larger than at the start of the test by so much (or anything)."""
    before = figures(watched)

    def moved(name, by=None, **labels):
        key = name, tuple(sorted(labels.items()))

        def difference():
            change = figures(watched)[key] - before[key]
            return change == by if by is not None else change > 0

        wait_until(difference, f"{key} to move from {before[key]}")

    return moved


@pytest.fixture
def alice(watched):
    return watched.register("alice")


def test_a_run_moves_its_figures(alice, moved):
    socket = alice.connect()
    accepted = socket.ask("2000", agent="loud")
    assert socket.answer(accepted["run_id"])["type"] == "agent_completed"
    moved("netra_runs_started_total", 1, agent="loud")
    moved("netra_claims_total", 1, agent="loud", reason="first")
    moved("netra_queue_wait_seconds_count", 1, agent="loud")
    moved("netra_first_event_seconds_count", 1, agent="loud")
    moved("netra_run_seconds_count", 1, agent="loud")
    moved("netra_runs_ended_total", 1, agent="loud", status="completed")
    moved("netra_events_total", 1, type="message_created")
    moved("netra_events_total", 1, type="agent_completed")
    moved("netra_events_total", sum(e["type"] == "agent_delta" for e in socket.got), type="agent_delta")
    moved("netra_deltas_merged_total")
    moved("netra_commit_events_sum", len(socket.events(accepted["thread_id"])) - 2)  # two were not the event writer's
    moved("netra_commit_seconds_count")


def test_requests_move_their_figures(alice, moved, tmp_path):
    socket = alice.connect()
    socket.ask(str(tmp_path / "notes"), agent="asking")
    form = socket.receive("input_requested")
    socket.receive("run_waiting")
    moved("netra_inputs_open", 1, kind="form")
    moved("netra_runs", 1, agent="asking", status="waiting")
    answer = {"type": "answer_input", "request_id": form["request_id"], "action": "accept", "content": "second"}
    socket.send(answer)
    approval = socket.receive("input_requested")
    moved("netra_inputs_total", 1, kind="form", status="accepted", via="socket")
    moved("netra_input_wait_seconds_count", 1, kind="form")
    moved("netra_continuations_total", 1, outcome="silent")
    moved("netra_steps_reused_total", 1)
    moved("netra_inputs_open", 0, kind="form")
    moved("netra_inputs_open", 1, kind="approval")
    socket.send({**answer, "action": "decline"})
    assert socket.receive("error")["status"] == "accepted"
    moved("netra_input_conflicts_total", 1)
    alice.http("POST", f"/api/inputs/{approval['request_id']}/answer", {"action": "decline"})
    assert socket.receive("agent_failed")["error_code"] == "input_declined"
    moved("netra_inputs_total", 1, kind="approval", status="declined", via="rest")
    moved("netra_runs", 0, agent="asking", status="waiting")


def test_metrics_sum_the_cost_of_models(alice, moved):
    socket = alice.connect()
    socket.answer(socket.ask("says how much", agent="costly")["run_id"])
    moved("netra_llm_tokens_total", 1000, model="other", kind="input")
    moved("netra_llm_tokens_total", 10, model="other", kind="output")
    moved("netra_llm_cost_dollars_total", 0.25, model="other")


def test_a_socket_moves_its_figures(watched, alice, moved):
    socket = alice.connect()
    moved("netra_handshakes_total", 1, mode="main")
    moved("netra_sockets", 1, mode="main")
    thread = socket.ask("one")["thread_id"]
    socket.answer(socket.got[-1]["run_id"])
    sent = len(socket.got)
    socket.send("no JSON")
    socket.receive("error")
    socket.send({"type": "resume", "thread_id": thread, "after": 0})
    socket.receive("resumed")
    socket.send({"type": "resume", "thread_id": thread, "after": 99})
    socket.receive("resync")
    moved("netra_errors_total", 1, code="invalid_json")
    moved("netra_resumes_total", 1, outcome="resumed")
    moved("netra_resumes_total", 1, outcome="resync")
    moved("netra_frames_received_total", 4)
    moved("netra_frames_sent_total", len(socket.got))
    assert len(socket.got) > sent
    watched.shell(f"from chat import runs; runs.rename({alice.id}, '{thread}', 'beside the site')")
    socket.receive("thread_updated")
    moved("netra_gaps_reconciled_total")
    alice.http("POST", "/auth/logout")
    assert socket.closed() == 4401
    moved("netra_closes_total", 1, code="4401")
    moved("netra_sockets", 0, mode="main")


def test_refusals_are_counted_by_reason(watched, alice, moved):
    for offered in (["graphql-ws"], ["jwt-auth", "jwt.a.b.c"]):
        with pytest.raises(InvalidStatus):
            watched.ws(subprotocols=offered)
    moved("netra_refusals_total", 1, reason="No supported subprotocols")
    moved("netra_refusals_total", 1, reason="token")


def test_metrics_of_the_queue_come_from_the_database(watched, alice, tmp_path):
    socket, gate = alice.connect(), tmp_path / "gate"
    first = socket.ask(str(gate), agent="gated")
    second = socket.ask(str(gate), agent="gated", thread_id=first["thread_id"])

    def shown(name, **labels):
        return figures(watched)[name, tuple(sorted(labels.items()))]

    wait_until(lambda: shown("netra_runs", agent="gated", status="running") == 1, "a run that runs")
    assert shown("netra_runs", agent="gated", status="queued") == 1
    assert shown("netra_queue_oldest_seconds") > 0
    assert shown("netra_workers") == 1
    gate.touch()
    socket.answer(second["run_id"])
    assert shown("netra_runs", agent="gated", status="queued") == 0


def test_a_stopped_run_is_counted_where_it_was_stopped(alice, moved):
    socket = alice.connect()
    run = socket.ask("x", agent="slow")["run_id"]
    socket.receive("agent_delta", run_id=run)
    socket.send({"type": "stop_agent", "run_id": run})
    socket.answer(run)
    moved("netra_runs_ended_total", 1, agent="slow", status=Run.CANCELLED)
    moved("netra_run_seconds_count", 1, agent="slow")


@pytest.mark.slow
def test_a_last_attempt_in_a_process_of_its_own_is_counted_too(watched, alice, moved, tmp_path):
    """The second attempt is the last one here, after a lease ran out: that process tells its worker what it counts."""
    (main,) = watched.workers
    main.send_signal(signal.SIGSTOP)
    other = watched.worker()
    socket, gate = alice.connect(), tmp_path / "gate"
    run = socket.ask(str(gate), agent="gated")["run_id"]
    socket.receive("agent_delta", run_id=run)
    main.send_signal(signal.SIGCONT)
    other.kill()
    watched.workers.remove(other)
    gate.touch()
    assert socket.answer(run)["final_response"] == "before after 2"
    events = [frame for frame in socket.got if frame.get("run_id") == run and "seq" in frame]
    sent = [event["type"] for event in events if event.get("attempt") == 2]
    moved("netra_claims_total", 1, agent="gated", reason="worker_lost")
    moved("netra_runs_ended_total", 1, agent="gated", status=Run.COMPLETED)
    moved("netra_run_seconds_count", 1, agent="gated")
    moved("netra_events_total", sent.count("agent_delta"), type="agent_delta")
    moved("netra_events_total", 1, type="agent_completed")
    moved("netra_commit_events_sum", len(sent) - 2)  # the claim wrote two
    moved("netra_commit_seconds_count")


# ---- Who may see them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", METRICS_TOKEN, f"bearer {METRICS_TOKEN}", "Bearer é"])
def test_metrics_need_the_token(watched, header):
    for url in (watched.url + "/metrics", watched.worker_figures):
        answer = httpx.get(url, headers={"Authorization": header.encode("latin-1")}, timeout=WAIT_TIMEOUT)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "netra_" not in answer.text


def test_without_a_token_there_are_no_figures(client, settings):
    assert settings.NETRA_METRICS_TOKEN == ""
    for header in ("Bearer ", "Bearer", ""):
        assert client.get("/metrics", headers={"Authorization": header}).status_code == 404


def test_a_user_s_token_opens_nothing(watched, alice):
    assert alice.http("GET", "/metrics").status_code == 401


# ---- What is drawn -------------------------------------------------------------------------------------------

WORDS = {"sum", "by", "rate", "max", "histogram_quantile", "increase"}


def queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    alarms = re.findall(r"^\| `([^`]*netra_[^`]*)`", (DASHBOARD.parent / "operations.md").read_text(), re.M)
    assert len(alarms) == 5
    return [target["expr"] for panel in panels for target in panel["targets"]] + alarms


def families():
    """Return all metrics of a process, each with at least one sample."""
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            for count in (1, 2, 3):
                with suppress(ValueError):  # it has another number of labels
                    metric.labels(*["x"] * count)
    return list(REGISTRY.collect())


def known():
    """Return the labels of every metric, by the name of its samples."""
    found = {}
    for family in [*families(), *prometheus.DatabaseCollector().collect()]:
        for sample in family.samples:
            found.setdefault(sample.name, {"instance"}).update(sample.labels)
    return found


def test_the_dashboard_names_only_what_there_is(db):
    runs.start(User.objects.create_user("ann@example.com").id, message())
    names_of, asked = known(), queries()
    assert len(asked) > 20
    for query in asked:
        bare = re.sub(r"\[[^]]*\]|\"[^\"]*\"", "", query)
        names = set(re.findall(r"[a-z_]{2,}", bare))
        drawn = {name for name in names if name in names_of}
        labels = set().union(*(names_of[name] for name in drawn))
        assert drawn, query
        assert names <= drawn | labels | WORDS, f"{query}: {names - drawn - labels - WORDS}"


def test_the_dashboard_draws_every_figure():
    drawn = " ".join(queries())
    names = [family.name for family in families() if family.name.startswith("netra_")]
    assert len(names) > 20
    assert [name for name in names if name not in drawn] == []


def test_sockets_are_shown_by_user(watched, limited_by):
    limited_by(f"unix://{watched.redis_socket}")
    alice = watched.register("alice")
    sockets = [alice.connect() for _ in range(3)]
    assert open_sockets()[int(alice.id)] == 3
    for socket in sockets[1:]:
        socket.close()
    wait_until(lambda: open_sockets()[int(alice.id)] == 1, "the others to be told of")
