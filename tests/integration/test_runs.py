"""The record against its invariants: by a state machine that tries everything in any order, and one by one."""

import asyncio
import json
import math
import re
import threading
import time
import uuid
from collections import defaultdict
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from django.conf import settings as netra
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agents.worker.event_writer import EventWriter, RunEvents
from chat import runs
from chat.models import AuditRecord, Event, InputRequest, InputStep, Message, Run, Thread, User, Worker
from chat.protocol import TERMINAL, ProtocolError
from chat.realtime import channel_layer
from chat.runs import RunBatch, RunOutcome, StartRequest, ToolCall, event_log
from tests.factories import (
    AGENTS,
    accept,
    asked,
    claim_one,
    completed,
    decline,
    delta,
    failed,
    frames,
    message,
    new_worker,
    regenerate,
    types,
)
from tests.transcript import Transcript


class Reader:
    """A client: it shows live text, and reads the event log."""

    def __init__(self):
        self.last, self.runs = {}, defaultdict(Transcript)

    def show(self, frame):
        self.runs[frame["run_id"]].add(frame)

    def read(self, thread_id, limit=1000):
        for frame in frames(thread_id)[self.last.get(thread_id, 0) :][:limit]:
            self.show(frame)
            self.last[thread_id] = frame["seq"]


class Machine(RuleBasedStateMachine):
    """Threads, runs and workers of one user; `claims` has every claim ever made, so most of them are stale."""

    def __init__(self):
        super().__init__()
        self.user = User.objects.create_user(f"{uuid.uuid4()}@example.com")
        self.workers = [new_worker(), new_worker()]
        self.sent = {}
        self.claims = []
        self.ends = {}
        self.resolved = {}
        self.writer = EventWriter()
        self.speaking = {}  # the events of each claim, by run and fencing token
        self.said = {}  # all that its agent said, by the same
        self.answers = {}
        self.elapsed = 0.0  # seconds that passed for the workers beyond those of the test
        self.steady, self.unsteady = Reader(), Reader()  # a client that has everything at once, and one that does not

    def teardown(self):
        Run.objects.filter(user=self.user).update(worker=None)
        self.user.delete()
        Worker.objects.all().delete()

    def active(self, status=Run.RUNNING):
        return list(Run.objects.filter(user=self.user, status=status).order_by("created_at"))

    @initialize()
    def begin(self):
        self.send(0, "a")
        self.claim(0, 1)

    # ---- what clients do ----

    @rule(thread=st.integers(0, 1), content=st.sampled_from(["a", "b"]))
    def send(self, thread, content):
        threads = list(Thread.objects.filter(user=self.user).order_by("created_at"))
        thread_id = threads[thread].id if thread < len(threads) else uuid.uuid4()
        frame = message(content, thread_id=thread_id, client_msg_id=str(len(self.sent)), agent=AGENTS[thread])
        self.sent[frame.client_msg_id] = (frame, runs.start(self.user.id, frame))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def resend(self, data):
        frame, accepted = self.sent[data.draw(st.sampled_from(sorted(self.sent)))]
        again = runs.start(self.user.id, frame)
        assert again.repeated
        assert (again.run_id, again.message_id, again.seq) == (accepted.run_id, accepted.message_id, accepted.seq)
        with pytest.raises(ProtocolError, match="another message"):
            runs.start(self.user.id, message("other", thread_id=frame.thread_id, client_msg_id=frame.client_msg_id))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def stop(self, data):
        _, accepted = self.sent[data.draw(st.sampled_from(sorted(self.sent)))]
        was_active = Run.objects.get(id=accepted.run_id).status in Run.ACTIVE
        assert runs.cancel(self.user.id, run_id=accepted.run_id) == ([accepted.run_id] if was_active else [])

    # ---- what workers do ----

    @rule(worker=st.integers(0, 1), limit=st.integers(1, 3))
    def claim(self, worker, limit):
        before = {str(run.id): run for run in self.active(Run.QUEUED) + self.active()}
        for run in runs.claim(self.workers[worker], AGENTS, limit):
            old = before[run.run_id]
            continues = old.continues and old.status == Run.QUEUED
            assert (run.attempt, run.fencing_token) == (old.attempt + (not continues), old.fencing_token + 1)
            assert (run.continues, run.restarted) == (continues, old.started_at is not None and not continues)
            run = replace(run, since=run.since + self.elapsed)
            self.claims.append(run)
            claim = run.run_id, run.fencing_token
            said = self.steady.runs[run.run_id].logged if continues else ""
            self.speaking[claim] = RunEvents(run, self.writer, lambda: None)
            self.speaking[claim].continue_text(said)
            self.said[claim] = said

    def say(self, run, text):
        """The agent of this claim says a delta."""
        events = self.speaking[run.run_id, run.fencing_token]
        events.live.due_at = math.inf  # `publish` does it, not the event writer

        async def say():
            with suppress(asyncio.CancelledError):  # the worker knows that the claim is no longer its own
                await events.emit({"type": "agent_delta", "agent_name": run.agent, "delta": text})
                self.said[run.run_id, run.fencing_token] += text

        asyncio.run(say())

    def pending(self, run):
        """Return the events of this claim's agent that are not recorded."""
        return self.speaking[run.run_id, run.fencing_token].take()

    def write(self, entry):
        """Record an entry; it must be written if and only if its fencing token is the run's and the run is running."""
        row = Run.objects.get(id=entry.run.run_id)
        holds = row.status == Run.RUNNING and row.fencing_token == entry.run.fencing_token
        before = Event.objects.filter(run=row).count()
        is_end = entry.end is not None and entry.end.status != Run.QUEUED
        left_open = len(self.requests(run=row, status="open")) if is_end else 0  # its end cancels them
        assert runs.record([entry]).keys() == ({str(row.id)} if holds else set())
        assert Event.objects.filter(run=row).count() == before + (len(entry.events) + left_open if holds else 0)
        if not holds:
            self.speaking[entry.run.run_id, entry.run.fencing_token].revoke()
        return holds

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        deltas=st.lists(st.sampled_from(["word ", "é👍🏽 "]), min_size=1, max_size=3),
        then=st.sampled_from(["", "publish", "record", "publish, record", "record, publish"]),
    )
    def speak(self, data, deltas, then):
        run = data.draw(st.sampled_from(self.claims[-4:]))
        for text in deltas:
            self.say(run, text)
        for what in then.split(", "):
            if what == "record":
                self.write(self.pending(run))
            elif what == "publish":
                self.publish(run, data.draw(st.integers(0, 2)))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def record(self, data):
        self.write(self.pending(data.draw(st.sampled_from(self.claims))))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), copies=st.integers(0, 2))
    def publish_late(self, data, copies):
        self.publish(data.draw(st.sampled_from(self.claims)), copies)

    def publish(self, run, copies):
        """A worker publishes live text, also one that was frozen and does not know it. A client gets `copies` of it."""
        frames = self.speaking[run.run_id, run.fencing_token].live.take(time.monotonic() + self.elapsed)
        newest = max(token for run_id, token in self.speaking if run_id == run.run_id)
        assert frames == [] or run.fencing_token == newest, "a run's text is published by a worker that lost it"
        for frame in map(json.loads, frames):
            self.steady.show(frame)
            for _ in range(copies):
                self.unsteady.show(frame)

    @rule(limit=st.integers(1, 10))
    def read(self, limit):
        for thread in Thread.objects.filter(user=self.user):
            self.unsteady.read(thread.id, limit)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["finish", "drain", "retry"]))
    def finish(self, data, how):
        run = data.draw(st.sampled_from(self.claims))
        entry = self.pending(run)
        if how == "finish":
            answer = self.said[run.run_id, run.fencing_token]
            last = completed(run, answer)
            if self.write(RunBatch(run, entry.events + last.events, last.end)):
                self.answers[run.run_id] = answer
        elif how == "drain" or run.attempt < netra.NETRA_MAX_ATTEMPTS:
            end = RunOutcome(Run.QUEUED, refund=how == "drain", error_code="" if how == "drain" else "x")
            self.write(RunBatch(run, entry.events, end))
        self.speaking[run.run_id, run.fencing_token].revoke()

    @precondition(lambda self: len(self.claims) > 1)
    @rule()
    def record_a_batch(self):
        """The latest claim of every run at once, the stale among them."""
        latest = {run.run_id: run for run in self.claims}
        for run in latest.values():
            self.say(run, "word ")
        entries = [entry for run in latest.values() if (entry := self.pending(run)).events]
        holding = {str(row.id) for row in self.active() if row.fencing_token == latest[str(row.id)].fencing_token}
        holding &= {entry.run.run_id for entry in entries}
        assert runs.record(entries).keys() == holding

    @rule(worker=st.integers(0, 1))
    def heartbeat(self, worker):
        """Extend the lease of every claim: a worker may execute an old claim of a run beside a newer one."""
        holding = {str(row.id) for row in self.active() if (str(row.id), row.fencing_token) in self.fencing_tokens()}
        began = time.monotonic() + self.elapsed
        assert runs.heartbeat(self.workers[worker], False, self.claims) == holding
        for row in self.active():
            if (claim := (str(row.id), row.fencing_token)) in self.speaking:
                self.speaking[claim].live.lease_until = began + netra.NETRA_LEASE_SECONDS

    def fencing_tokens(self):
        return {(run.run_id, run.fencing_token) for run in self.claims}

    # ---- what runs ask, and persons answer ----

    def requests(self, **condition):
        return list(InputRequest.objects.filter(user=self.user, **condition).order_by("created_at", "id"))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), kind=st.sampled_from(["form", "approval"]))
    def ask(self, data, kind):
        """Ask, or ask for an approval: the row is there with its event, or neither."""
        run = data.draw(st.sampled_from(self.claims))
        batch = asked(run, kind)
        row = Run.objects.get(id=run.run_id)
        holds = row.status == Run.RUNNING and row.fencing_token == run.fencing_token
        assert runs.record([batch]).keys() == ({run.run_id} if holds else set())
        assert InputRequest.objects.filter(id=batch.events[0].request.id, status="open").exists() == holds

    @precondition(lambda self: self.requests())
    @rule(data=st.data(), how=st.sampled_from(["accept", "edit", "decline"]))
    def answer(self, data, how):
        row = data.draw(st.sampled_from(self.requests()))
        edited = {"parameters": {"amount": 1}} if how == "edit" and row.kind == "approval" else {}
        before = Run.objects.get(id=row.run_id)
        overdue = row.status == "open" and InputRequest.objects.filter(id=row.id, expires_at__lte=Now()).exists()
        status = "declined" if how == "decline" else "accepted"
        with suppress(ProtocolError) if row.status != "open" or overdue else nullcontext():
            done = decline(self.user, row.id) if how == "decline" else accept(self.user, row.id, **edited)
            assert (done.status, done.repeated) == (status, row.status != "open")
            assert InputRequest.objects.get(id=row.id).status == status
        assert InputRequest.objects.get(id=row.id).status != "open"
        after = Run.objects.get(id=row.run_id)
        assert after.status == (Run.QUEUED if before.status == Run.WAITING else before.status)
        assert after.attempt == before.attempt

    @precondition(lambda self: self.requests(status="open"))
    @rule(data=st.data(), swept=st.booleans())
    def expire_request(self, data, swept):
        row = data.draw(st.sampled_from(self.requests(status="open")))
        InputRequest.objects.filter(id=row.id).update(expires_at=Now() - timedelta(seconds=1))
        if swept:
            assert runs.expire_inputs() >= 1
            assert InputRequest.objects.get(id=row.id).status == "expired"

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def suspend(self, data):
        run = data.draw(st.sampled_from(self.claims))
        row = Run.objects.get(id=run.run_id)
        if row.status == Run.RUNNING and row.fencing_token == run.fencing_token and not self.requests(run=row):
            return
        self.write(self.pending(run))  # a worker suspends a run only after it recorded all
        awaited = [str(request.id) for request in self.requests(run=row)][-1:]
        still = [str(request.id) for request in self.requests(run=row, status="open")]
        found = runs.suspend(run, awaited, {})
        if row.status != Run.RUNNING or row.fencing_token != run.fencing_token:
            assert found is None
        else:
            assert found == (Run.WAITING if set(awaited) <= set(still) else Run.QUEUED)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), number=st.integers(1, 3))
    def keep(self, data, number):
        """Record a step and save a state, with any claim there was."""
        run = data.draw(st.sampled_from(self.claims))
        row = Run.objects.get(id=run.run_id)
        holds = row.status == Run.RUNNING and row.fencing_token == run.fencing_token
        key = uuid.uuid5(row.id, str(number))
        before = runs.read_steps(run).get(str(key))
        assert runs.keep_step(run, key, json.dumps(len(self.claims))) == holds
        assert bool(runs.save_state(run, json.dumps(number), row.thread_seq)) == holds
        if holds:
            assert runs.read_steps(run)[str(key)] == (len(self.claims) if before is None else before)
            state, covered = runs.read_state(run)
            assert (state, covered >= row.thread_seq) == (number, True)

    # ---- what time does ----

    @precondition(lambda self: self.active())
    @rule(data=st.data())
    def expire(self, data):
        self.expire_lease(data.draw(st.sampled_from(self.active())).id)

    def expire_lease(self, run_id):
        Run.objects.filter(id=run_id).update(lease_until=Now() - timedelta(seconds=1))
        self.elapsed += netra.NETRA_LEASE_SECONDS + 1

    @precondition(lambda self: any(self.holds(run) for run in self.claims))
    @rule(worker=st.integers(0, 1), data=st.data())
    def take_over(self, worker, data):
        """A worker is frozen with text that it has not published, and wakes up after another has its run."""
        run = data.draw(st.sampled_from([run for run in self.claims if self.holds(run)]))
        self.say(run, "late ")
        self.expire_lease(run.run_id)
        self.claim(worker, 3)
        self.publish(run, 1)

    def holds(self, run):
        row = Run.objects.get(id=run.run_id)
        return row.status == Run.RUNNING and row.fencing_token == run.fencing_token

    @precondition(lambda self: self.active())
    @rule(data=st.data())
    def time_out(self, data):
        run = data.draw(st.sampled_from(self.active()))
        Run.objects.filter(id=run.id).update(claimed_at=Now() - timedelta(seconds=netra.NETRA_RUN_TIMEOUT + 1))
        runs.expire_runs()
        assert Run.objects.get(id=run.id).error_code == "timeout"

    @rule()
    def sweep(self):
        exhausted = Run.objects.filter(
            user=self.user, status=Run.RUNNING, lease_until__lt=Now(), attempt=netra.NETRA_MAX_ATTEMPTS
        )
        ids = list(exhausted.values_list("id", flat=True))
        assert runs.expire_runs() == len(ids)
        assert set(Run.objects.filter(id__in=ids).values_list("error_code", flat=True)) <= {"max_attempts"}

    # ---- what must always hold ----

    @invariant()
    def numbers_have_no_gap(self):
        for thread in Thread.objects.filter(user=self.user):
            seqs = list(Event.objects.filter(thread=thread).order_by("seq").values_list("seq", flat=True))
            assert seqs == list(range(1, thread.last_seq + 1))
            assert [frame["seq"] for frame in frames(thread.id)] == seqs

    @invariant()
    def a_run_ends_once_and_for_good(self):
        for run in Run.objects.filter(user=self.user):
            events = list(Event.objects.filter(run=run).order_by("seq").values_list("type", "frame"))
            ends = [event for event in events if event[0] in TERMINAL]
            if run.status in Run.ACTIVE:
                assert ends == []
            else:
                assert ends == [events[-1]]
                assert ends[0][0] == f"agent_{run.status}"
                assert self.ends.setdefault(run.id, (run.status, ends)) == (run.status, ends)

    @invariant()
    def a_request_is_resolved_once_and_for_good(self):
        rows = self.requests()
        log = [frame for thread in {row.thread_id for row in rows} for frame in frames(thread)]
        details = " ".join(AuditRecord.objects.filter(user=self.user).values_list("detail", flat=True))
        for row in rows:
            told = [frame for frame in log if frame.get("request_id") == str(row.id)]
            ends = int(row.status != "open")
            assert [frame["type"] for frame in told] == ["input_requested", "input_resolved"][: 1 + ends]
            assert details.count(str(row.id)) == ends
            if row.status != "open":
                assert told[1]["status"] == row.status
                values = InputRequest.objects.filter(id=row.id).values().get()
                assert self.resolved.setdefault(row.id, values) == values

    @invariant()
    def a_waiting_run_has_nothing_but_its_requests(self):
        for run in Run.objects.filter(user=self.user):
            still = [str(row.id) for row in self.requests(run=run, status="open")]
            if run.status == Run.WAITING:
                assert still
                assert (run.worker_id, run.lease_until, run.waiting_since is None) == (None, None, False)
            if run.status not in Run.ACTIVE:
                assert still == []
                assert not InputStep.objects.filter(run=run).exists()
            waits = False
            for kind in Event.objects.filter(run=run).order_by("seq").values_list("type", flat=True):
                assert not waits or kind in {"run_resumed", "input_resolved", *TERMINAL}
                waits = kind == "run_waiting" or (waits and kind == "input_resolved")
            assert waits == (run.status == Run.WAITING) or run.status == Run.QUEUED

    @invariant()
    def nothing_is_stuck(self):
        """Queued, leased, or claimable, and never more attempts than are allowed."""
        for run in Run.objects.filter(user=self.user):
            assert run.attempt <= netra.NETRA_MAX_ATTEMPTS
            assert (run.lease_until is not None) == (run.status == Run.RUNNING)
            assert (run.finished_at is None) == (run.status in Run.ACTIVE)

    @invariant()
    def one_message_is_one_run_with_one_answer(self):
        assert Run.objects.filter(user=self.user).count() == len(self.sent)
        for run in Run.objects.filter(user=self.user, status=Run.COMPLETED):
            answer = self.answers[str(run.id)]
            assert list(run.answers.values_list("content", "parent")) == [(answer, run.message_id)]

    @invariant()
    def live_and_logged_are_one_text(self):
        for thread in Thread.objects.filter(user=self.user):
            self.steady.read(thread.id)
        for run in Run.objects.filter(user=self.user):
            shown, token = self.steady.runs[str(run.id)], run.fencing_token
            assert shown.wrong == []
            if run.status == Run.RUNNING:
                assert self.said[str(run.id), token].startswith(shown.text)
            elif run.status == Run.COMPLETED:
                assert shown.text == shown.logged == self.answers[str(run.id)]
            elif run.status == Run.CANCELLED:
                assert [shown.text] == (list(run.answers.values_list("content", flat=True)) or [""])

    @invariant()
    def a_client_that_lags_shows_the_same_in_the_end(self):
        for thread in Thread.objects.filter(user=self.user):
            if self.unsteady.last.get(thread.id, 0) == thread.last_seq:
                for run in Run.objects.filter(thread=thread).exclude(status__in=Run.ACTIVE):
                    shown = self.unsteady.runs[str(run.id)]
                    assert (shown.text, shown.wrong) == (self.steady.runs[str(run.id)].text, [])


@pytest.mark.django_db(transaction=True)
def test_the_invariants_hold_whatever_happens():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=settings().max_examples // 5, stateful_step_count=25, suppress_health_check=list(HealthCheck)
        ),
    )


# ---- Starting ----


def test_a_message_is_a_run_and_an_event_in_one(alice):
    accepted = runs.start(alice.id, message("What do I pay?", client_msg_id="one"))
    run = Run.objects.get(id=accepted.run_id)
    assert (run.status, run.attempt, run.agent, run.message_id) == (Run.QUEUED, 0, "advisor", accepted.message_id)
    (created,) = frames(accepted.thread_id)
    assert created["type"] == "message_created"
    assert created["seq"] == accepted.seq == 1
    assert (created["content"], created["client_msg_id"], created["attempt"]) == ("What do I pay?", "one", 0)
    assert Thread.objects.get().title == "What do I pay?"


def test_the_thread_is_the_client_s_choice_and_nobody_else_s(alice, bob):
    thread_id = uuid.uuid4()
    runs.start(alice.id, message(thread_id=thread_id))
    with pytest.raises(ProtocolError) as error:
        runs.start(bob.id, message(thread_id=thread_id))
    assert error.value.code == "not_found"
    assert Thread.objects.get().user == alice


@pytest.mark.parametrize(
    "other",
    [{"content": "else"}, {"agent": "echo"}, {"thread_id": uuid.uuid4()}, {"parent_id": None}],
    ids=lambda other: next(iter(other)),
)
def test_an_id_used_for_another_message_is_a_conflict(alice, other):
    runs.start(alice.id, message(client_msg_id="one"))
    with pytest.raises(ProtocolError) as error:
        runs.start(alice.id, message(**{"client_msg_id": "one", **other}))
    assert error.value.code == "conflict"
    assert Run.objects.count() == 1


def test_an_id_may_be_repeated_with_the_thread_that_it_got(alice):
    first = runs.start(alice.id, message(client_msg_id="one"))
    assert runs.start(alice.id, message(client_msg_id="one", thread_id=first.thread_id)).run_id == first.run_id


def test_an_id_of_a_named_thread_is_not_one_of_a_new_thread(alice):
    runs.start(alice.id, message(client_msg_id="one", thread_id=uuid.uuid4()))
    with pytest.raises(ProtocolError, match="another message"):
        runs.start(alice.id, message(client_msg_id="one"))


def test_a_thread_s_id_is_taken_once(alice, bob):
    thread_id = runs.create_thread(alice.id, None, "", None).id
    for user in (alice, bob):
        with pytest.raises(ProtocolError) as error:
            runs.create_thread(user.id, thread_id, "", None)
        assert error.value.code == "conflict"


def test_heartbeat_of_a_deleted_worker_raises(db):
    worker, other = new_worker(), new_worker()
    Worker.objects.filter(id=worker).update(heartbeat_at=Now() - timedelta(hours=2))
    runs.heartbeat(other, False, [])
    with pytest.raises(Worker.DoesNotExist):
        runs.heartbeat(worker, False, [])


def test_run_timeout_does_not_count_time_in_the_queue(alice):
    runs.start(alice.id, message())
    runs.record([RunBatch(claim_one(), [], RunOutcome(Run.QUEUED, refund=True))])
    Run.objects.update(started_at=Now() - timedelta(hours=2))
    claim_one()
    assert runs.expire_runs() == 0


def test_ids_are_each_user_s_own(alice, bob):
    assert (
        runs.start(alice.id, message(client_msg_id="one")).run_id
        != runs.start(bob.id, message(client_msg_id="one")).run_id
    )


@pytest.mark.django_db(transaction=True)
def test_the_same_id_many_times_at_once_is_one_run(alice):
    found, failed = [], []

    def send():
        try:
            found.append(runs.start(alice.id, message(client_msg_id="one")).run_id)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(found) == 12
    assert len(set(found)) == Run.objects.count() == Message.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"agent": "nobody"}, "unknown_agent"),
        ({"parent_id": uuid.uuid4()}, "not_found"),
        ({"attachment_ids": (uuid.uuid4(),)}, "not_found"),
    ],
)
def test_start_refused_writes_nothing(alice, fields, code):
    with pytest.raises(ProtocolError) as error:
        runs.start(alice.id, message(**fields))
    assert error.value.code == code
    assert not Thread.objects.exists()
    assert not Event.objects.exists()


def test_start_all_one_bad_message_does_not_fail_the_others(alice, bob, django_assert_max_num_queries):
    bobs = runs.start(bob.id, message()).thread_id
    asked = [
        StartRequest(alice.id, message("one")),
        StartRequest(alice.id, message("two", agent="nobody")),
        StartRequest(alice.id, message("three", thread_id=bobs)),
        StartRequest(bob.id, message("four", thread_id=bobs, client_msg_id="four")),
    ]
    with django_assert_max_num_queries(12):  # no more for a hundred of them
        first, second, third, fourth = runs.start_all(asked)
    assert (second.code, third.code) == ("unknown_agent", "not_found")
    assert [frames(one.thread_id)[-1]["content"] for one in (first, fourth)] == ["one", "four"]
    assert frames(bobs)[-1]["parent_id"] == frames(bobs)[0]["message_id"]
    (again,) = runs.start_all(asked[3:])
    assert (again.repeated, again.run_id) == (True, fourth.run_id)


def test_start_all_of_two_users_with_one_thread_id_gives_it_to_the_first(alice, bob):
    thread_id = uuid.uuid4()
    asked = [StartRequest(user.id, message(thread_id=thread_id)) for user in (alice, bob)]
    first, second = runs.start_all(asked)
    assert (first.thread_id, second.code) == (thread_id, "not_found")
    assert [frame["seq"] for frame in frames(thread_id)] == [1]


def test_a_message_follows_the_newest_or_what_it_names(alice):
    first = runs.start(alice.id, message("one"))
    runs.record([completed(claim_one(), "answer")])
    second = runs.start(alice.id, message("two", thread_id=first.thread_id))
    edited = runs.start(alice.id, message("two!", thread_id=first.thread_id, parent_id=first.message_id))
    root = runs.start(alice.id, message("anew", thread_id=first.thread_id, parent_id=None))
    parents = dict(Message.objects.values_list("id", "parent__content"))
    assert [parents[run.message_id] for run in (second, edited, root)] == ["answer", "one", None]


def test_regenerating_gives_a_sibling(alice, bob):
    first = runs.start(alice.id, message("one"))
    runs.record([completed(claim_one(), "answer")])
    answer = Message.objects.get(role="assistant")
    again = runs.regenerate(alice.id, regenerate(answer.id, client_msg_id="r1"))
    assert (again.message_id, again.seq, again.created) == (first.message_id, 3, None)
    assert runs.regenerate(alice.id, regenerate(answer.id, client_msg_id="r1")).run_id == again.run_id
    runs.record([completed(claim_one(), "another")])
    assert set(Message.objects.filter(role="assistant").values_list("content", "parent")) == {
        ("answer", first.message_id),
        ("another", first.message_id),
    }
    for user, message_id in ((bob, answer.id), (alice, first.message_id), (alice, uuid.uuid4())):
        with pytest.raises(ProtocolError) as error:
            runs.regenerate(user.id, regenerate(message_id))
        assert error.value.code == "not_found"


# ---- Claiming ----


def test_claim_two_runs_of_a_thread_takes_one_at_a_time(alice):
    first = runs.start(alice.id, message("one"))
    second = runs.start(alice.id, message("two", thread_id=first.thread_id))
    other = runs.start(alice.id, message("elsewhere"))
    worker = new_worker()
    claimed = runs.claim(worker, AGENTS, 10)
    assert {run.run_id for run in claimed} == {str(first.run_id), str(other.run_id)}
    assert runs.claim(worker, AGENTS, 10) == []
    runs.record([completed(run) for run in claimed])
    assert claim_one(worker).run_id == str(second.run_id)


@pytest.fixture
def limited(settings):
    settings.NETRA_RATE_LIMITS = True


def test_claim_user_with_many_runs_does_not_delay_another(limited, alice, bob):
    """A user with many queued runs does not delay the runs of others."""
    many = [str(runs.start(alice.id, message(str(number))).run_id) for number in range(5)]
    one = str(runs.start(bob.id, message("one")).run_id)
    worker = new_worker()
    assert [run.run_id for run in runs.claim(worker, AGENTS, 2)] == [many[0], one]
    assert [run.run_id for run in runs.claim(worker, AGENTS, 9)] == many[1:]


def test_claim_messages_of_one_batch_alternate_users(limited, alice, bob):
    runs.start_all([StartRequest(user.id, message()) for user in (alice, alice, alice, bob)])
    assert {run.user_id for run in runs.claim(new_worker(), AGENTS, 2)} == {alice.id, bob.id}


@pytest.mark.parametrize("how", ["regenerate", "again"])
def test_claim_regenerated_answer_is_queued_fairly(limited, alice, bob, how):
    runs.start(alice.id, message())
    run = claim_one()
    runs.record([completed(run)])
    runs.start(alice.id, message())
    if how == "again":
        runs.rerun(run.run_id)
    else:
        answer = Message.objects.get(role="assistant")
        runs.regenerate(alice.id, regenerate(answer.id))
    runs.start(bob.id, message())
    assert [run.user_id for run in runs.claim(new_worker(), AGENTS, 3)] == [alice.id, bob.id, alice.id]


def test_claim_expired_lease_is_taken_whatever_the_share(limited, alice, bob):
    """A run whose lease ran out is claimed whatever slots its user has."""
    runs.start(alice.id, message("one"))
    lost = str(runs.start(alice.id, message("two")).run_id)
    assert len(runs.claim(new_worker(), AGENTS, 2)) == 2
    one = str(runs.start(bob.id, message("one")).run_id)
    Run.objects.filter(id=lost).update(lease_until=Now() - timedelta(seconds=1))
    assert [run.run_id for run in runs.claim(new_worker(), AGENTS, 1)] == [lost]
    Run.objects.filter(id=lost).update(lease_until=Now() - timedelta(seconds=1))
    assert {run.run_id for run in runs.claim(new_worker(), AGENTS, 9)} == {lost, one}


def test_claim_requeued_run_comes_before_later_messages_of_its_thread(alice):
    first = runs.start(alice.id, message("one"))
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    run = claim_one()
    runs.record([RunBatch(run, [], RunOutcome(Run.QUEUED, delay=3600, error_code="x"))])
    assert runs.claim(new_worker(), AGENTS, 10) == []
    Run.objects.filter(id=run.run_id).update(available_at=Now())
    assert claim_one().run_id == str(first.run_id)


def test_claim_takes_only_offered_agents(alice):
    runs.start(alice.id, message(agent="echo"))
    assert runs.claim(new_worker(), ["advisor"], 1) == []
    assert runs.claim(new_worker(), [], 1) == []
    assert claim_one().agent == "echo"


def test_unserved_agents_silent_or_draining_worker_does_not_count(alice):
    runs.start(alice.id, message(agent="echo"))
    runs.start(alice.id, message(agent="advisor"))
    worker = uuid.uuid4()
    runs.register(worker, "host", 1, {"echo": {}})
    assert runs.unserved_agents() == {"advisor"}
    Worker.objects.update(draining=True)
    assert runs.unserved_agents() == {"advisor", "echo"}
    Worker.objects.update(draining=False, heartbeat_at=Now() - timedelta(seconds=netra.NETRA_LEASE_SECONDS + 1))
    assert runs.unserved_agents() == {"advisor", "echo"}
    assert len(runs.claim(worker, AGENTS, 2)) == 2
    assert runs.unserved_agents() == set()


def test_fail_unserved_leaves_runs_that_waited_shortly(alice):
    waiting, young, other, claimed = (
        runs.start(alice.id, message(agent=agent)).run_id for agent in ("echo", "echo", "advisor", "echo")
    )
    Run.objects.exclude(id=claimed).update(available_at=Now() + timedelta(days=1))
    claim_one()
    late = Now() - timedelta(seconds=netra.NETRA_RUN_TIMEOUT + 1)
    Run.objects.exclude(id=young).update(created_at=late)
    assert runs.fail_unserved(["echo"]) == 1
    assert runs.fail_unserved(["echo"]) == 0
    run = Run.objects.get(id=waiting)
    assert (run.status, run.error_code) == (Run.FAILED, "unknown_agent")
    assert types(run.thread_id) == ["message_created", "agent_failed"]
    assert set(Run.objects.filter(id__in=[young, other]).values_list("status", flat=True)) == {Run.QUEUED}
    assert Run.objects.get(id=claimed).status == Run.RUNNING


@pytest.mark.django_db(transaction=True)
def test_claim_by_many_workers_takes_each_run_once(alice):
    for number in range(20):
        runs.start(alice.id, message(str(number)))
    taken, failed = [], []

    def work():
        try:
            worker = new_worker()
            while claimed := runs.claim(worker, AGENTS, 3):
                taken.extend(claimed)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(taken) == len({run.run_id for run in taken})
    assert Run.objects.filter(status=Run.QUEUED).count() == 0
    assert set(Run.objects.values_list("attempt", flat=True)) == {1}


def test_record_retried_after_its_commit_writes_once(alice):
    """Write the batch again, as after a connection that broke in its COMMIT."""
    accepted = runs.start(alice.id, message())
    run = claim_one()
    first, second = RunBatch(run, [delta(run, "one ")]), completed(run, "one")
    known = {run.run_id: run.seq}
    for after in (known, known, None):  # tried before it was made, made, and not tried again
        assert runs.record([first], after) == {run.run_id: 4 if after is None else 3}
    known = {run.run_id: 4}
    for _ in range(2):
        assert runs.record([second], known) == {run.run_id: 5}
    kinds = [frame["type"] for frame in frames(accepted.thread_id)]
    assert kinds == ["message_created", "agent_started", "agent_delta", "agent_delta", "agent_completed"]
    assert runs.record([first]) == {}


def test_record_retried_after_another_claim_writes_nothing(alice):
    """The commit was not made, and meanwhile the run was lost, or stopped."""
    accepted = runs.start(alice.id, message())
    first = claim_one()
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    second = claim_one()
    assert runs.record([RunBatch(first, [delta(first)])], {first.run_id: first.seq}) == {}
    runs.record([RunBatch(second, [delta(second)])])
    runs.cancel(alice.id)
    last = frames(accepted.thread_id)[-1]["seq"]
    assert runs.record([completed(second)], {second.run_id: last - 1}) == {}
    assert frames(accepted.thread_id)[-1]["seq"] == last


@pytest.mark.parametrize(
    ("how", "reason", "attempt"),
    [("lease", "worker_lost", 2), ("drain", "worker_stopped", 1), ("retry", "retry", 2)],
)
def test_claim_of_a_begun_run_writes_run_restarted(alice, how, reason, attempt):
    accepted = runs.start(alice.id, message())
    run = claim_one()
    if how == "lease":
        Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    else:
        runs.record(
            [RunBatch(run, [], RunOutcome(Run.QUEUED, refund=how == "drain", error_code="" if how == "drain" else "x"))]
        )
    again = claim_one()
    assert (again.restarted, again.attempt) == (True, attempt)
    assert types(accepted.thread_id) == ["message_created", "agent_started", "run_restarted", "agent_started"]
    restarted = frames(accepted.thread_id)[2]
    assert (restarted["reason"], restarted["attempt"]) == (reason, attempt)


def test_claim_of_a_requeued_last_attempt_is_still_the_last(alice, settings):
    settings.NETRA_MAX_ATTEMPTS = 2
    runs.start(alice.id, message())
    assert not claim_one().last
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    run = claim_one()
    assert run.last
    runs.record([RunBatch(run, [], RunOutcome(Run.QUEUED, refund=True))])
    assert claim_one().last


# ---- Recording and ending ----


def test_record_with_a_stale_fencing_token_writes_nothing(alice):
    accepted = runs.start(alice.id, message())
    frozen = new_worker()
    first = claim_one(frozen)
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    second = claim_one()
    before = types(accepted.thread_id)
    assert runs.record([RunBatch(first, [delta(first)])]) == {}
    assert runs.record([completed(first)]) == {}
    assert runs.heartbeat(frozen, False, [first]) == set()
    assert types(accepted.thread_id) == before
    assert runs.record([completed(second)]).keys() == {second.run_id}


@pytest.mark.parametrize("kind", sorted(TERMINAL))
def test_database_refuses_a_second_terminal_event(alice, kind):
    """The database refuses a second end, even if the code writes one."""
    accepted = runs.start(alice.id, message())
    runs.record([completed(claim_one())])
    with pytest.raises(IntegrityError), transaction.atomic():
        Event.objects.create(thread_id=accepted.thread_id, run_id=accepted.run_id, seq=99, type=kind, frame="{}")


def test_record_with_one_stale_run_writes_the_others(alice):
    accepted = [runs.start(alice.id, message(str(number))) for number in range(3)]
    claimed = {run.run_id: run for run in runs.claim(new_worker(), AGENTS, 3)}
    stale = claimed[str(accepted[1].run_id)]
    runs.cancel(alice.id, run_id=stale.run_id)
    assert runs.record([RunBatch(run, [delta(run)]) for run in claimed.values()]).keys() == claimed.keys() - {
        stale.run_id
    }
    assert "agent_delta" not in types(stale.thread_id)


def test_a_stale_run_leaves_no_gap_in_the_thread_that_another_run_has(alice):
    """Both are in one commit of the worker that had the first and has the second."""
    accepted = runs.start(alice.id, message())
    worker = new_worker()
    stale = claim_one(worker)
    runs.start(alice.id, message(thread_id=accepted.thread_id))
    runs.cancel(alice.id, run_id=accepted.run_id)
    run = claim_one(worker)
    before = frames(accepted.thread_id)[-1]["seq"]
    entries = [RunBatch(stale, [delta(stale), delta(stale)]), RunBatch(run, [delta(run, "one "), delta(run, "two ")])]
    assert runs.record(entries) == {run.run_id: before + 2}
    last = frames(accepted.thread_id)[-2:]
    assert [(frame["seq"], frame["delta"]) for frame in last] == [(before + 1, "one "), (before + 2, "two ")]
    assert Thread.objects.get().last_seq == before + 2


@pytest.mark.django_db(transaction=True)
def test_record_deltas_commits_in_a_transaction(alice):
    """A statement that commits by itself may be on its way for long, and be made after it was tried again."""
    runs.start(alice.id, message())
    run = claim_one()
    with CaptureQueriesContext(connection) as queries:
        runs.record([RunBatch(run, [delta(run)])])
    assert queries[0]["sql"].startswith("BEGIN")
    assert connection.get_autocommit()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite plans in no time")
def test_record_deltas_statement_is_prepared_once_a_connection(alice):
    runs.start(alice.id, message())
    run = claim_one()
    for _ in range(2):
        runs.record([RunBatch(run, [delta(run)])])
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO chat_event%'")
        statements = [statement for (statement,) in cursor.fetchall()]
    assert sum("held" in statement for statement in statements) == 1


def test_record_completed_stores_the_answer_with_its_end(alice):
    accepted = runs.start(alice.id, message())
    run = claim_one()
    runs.record([completed(run, "the answer")])
    row, end = Run.objects.get(), frames(accepted.thread_id)[-1]
    answer = Message.objects.get(role="assistant")
    assert (row.status, answer.content, str(answer.id), answer.seq) == (
        "completed",
        "the answer",
        end["message_id"],
        end["seq"],
    )


def test_cancel_keeps_the_text_before_it(alice):
    accepted = runs.start(alice.id, message())
    first = claim_one()
    runs.record([RunBatch(first, [delta(first, "of the first attempt")])])
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    second = claim_one()
    runs.record([RunBatch(second, [delta(second, "so "), delta(second, "far")])])
    assert runs.cancel(alice.id) == [uuid.UUID(second.run_id)]
    end = frames(accepted.thread_id)[-1]
    answer = Message.objects.get(role="assistant")
    assert (end["type"], end["message_id"], answer.content) == ("agent_cancelled", str(answer.id), "so far")
    assert runs.record([completed(second)]) == {}


def test_record_usage_late_is_taken_from_the_claim_that_ended(alice):
    accepted = runs.start(alice.id, message())
    first = claim_one()
    runs.record([RunBatch(first, [], RunOutcome(Run.QUEUED, refund=True, usage={"tokens": 1}))])
    second = claim_one()
    assert second.usage == {"tokens": 1}
    runs.record_usage(second, {"tokens": 5})  # it has not ended
    runs.cancel(alice.id, accepted.run_id)
    runs.record_usage(first, {"tokens": 7})
    assert Run.objects.get().usage == {"tokens": 1}
    runs.record_usage(second, {"tokens": 2})
    assert Run.objects.get().usage == {"tokens": 2}


def test_a_stop_reaches_only_the_user_s_own(alice, bob):
    accepted = runs.start(alice.id, message())
    assert runs.cancel(bob.id) == []
    for ids in ({"run_id": accepted.run_id}, {"thread_id": accepted.thread_id}, {"run_id": uuid.uuid4()}):
        with pytest.raises(ProtocolError) as error:
            runs.cancel(bob.id, **ids)
        assert error.value.code == "not_found"
    assert Run.objects.get().status == Run.QUEUED


def test_history_has_the_answers_of_earlier_queued_messages(alice):
    first = runs.start(alice.id, message("one"))
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    runs.record([completed(claim_one(), "answer one")])
    assert runs.history(claim_one())[0] == [("user", "one"), ("assistant", "answer one"), ("user", "two")]


def test_history_follows_the_branch(alice):
    first = runs.start(alice.id, message("one"))
    runs.record([completed(claim_one(), "answer")])
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    runs.record([completed(claim_one(), "answer two")])
    runs.start(alice.id, message("one, edited", thread_id=first.thread_id, parent_id=None))
    assert runs.history(claim_one())[0] == [("user", "one, edited")]


def parent_of(accepted):
    return Message.objects.values_list("parent_id", flat=True).get(id=accepted.message_id)


def answered(name):
    """Return the history of a message that was answered: both texts."""
    return [("user", name), ("assistant", f"answer {name}")]


def answer(text=None):
    """Claim the next run and end it with this answer, else with one that names the message; returns its history."""
    run = claim_one()
    said = runs.history(run)[0]
    runs.record([completed(run, text or f"answer {run.text}")])
    return said


def test_message_without_parent_follows_the_end_of_the_queue(alice):
    u0 = runs.start(alice.id, message("u0"))
    u1, u2 = (runs.start(alice.id, message(text, thread_id=u0.thread_id)) for text in ("u1", "u2"))
    assert answer() == [("user", "u0")]
    u3 = runs.start(alice.id, message("u3", thread_id=u0.thread_id))
    assert [parent_of(one) for one in (u0, u1, u2, u3)] == [None, u0.message_id, u1.message_id, u2.message_id]
    for names in (["u0"], ["u0", "u1"], ["u0", "u1", "u2"]):
        assert answer() == [line for name in names for line in answered(name)] + [("user", f"u{len(names)}")]


def test_message_without_parent_follows_a_run_that_failed_behind_an_answer(alice):
    u0 = runs.start(alice.id, message("u0"))
    u1 = runs.start(alice.id, message("u1", thread_id=u0.thread_id))
    answer()
    runs.record([failed(claim_one())])
    u2 = runs.start(alice.id, message("u2", thread_id=u0.thread_id))
    assert parent_of(u2) == u1.message_id
    assert answer() == [*answered("u0"), ("user", "u1"), ("user", "u2")]


def test_message_without_parent_follows_what_was_stopped_while_it_ran(alice):
    u0 = runs.start(alice.id, message("u0"))
    run = claim_one()
    runs.record([RunBatch(run, [delta(run, "half of it")])])
    u1 = runs.start(alice.id, message("u1", thread_id=u0.thread_id))
    runs.cancel(alice.id, run_id=u0.run_id)
    u2 = runs.start(alice.id, message("u2", thread_id=u0.thread_id))
    assert (parent_of(u1), parent_of(u2)) == (u0.message_id, u1.message_id)
    told = [("user", "u0"), ("assistant", "half of it")]
    assert answer() == [*told, ("user", "u1")]
    assert answer() == [*told, *answered("u1"), ("user", "u2")]


def test_history_passes_over_a_message_that_was_taken_out_of_the_queue(alice):
    u0 = runs.start(alice.id, message("u0"))
    u1, u2 = (runs.start(alice.id, message(text, thread_id=u0.thread_id)) for text in ("u1", "u2"))
    runs.cancel(alice.id, run_id=u1.run_id)
    assert answer() == [("user", "u0")]
    assert answer() == [*answered("u0"), ("user", "u2")]
    u3 = runs.start(alice.id, message("u3", thread_id=u0.thread_id))
    runs.cancel(alice.id, run_id=u3.run_id)  # nothing was ahead of it: it was said, and stopped
    runs.start(alice.id, message("u4", thread_id=u0.thread_id))
    assert answer() == [*answered("u0"), *answered("u2"), ("user", "u3"), ("user", "u4")]
    runs.rerun(u1.run_id)  # by staff: now it has been answered
    runs.record([completed(claim_one(), "answer u1")])
    assert ("user", "u1") in runs.history(replace(claim_again(alice, u0.thread_id), message_id=str(u2.message_id)))[0]


def claim_again(user, thread_id):
    runs.start(user.id, message("once more", thread_id=thread_id))
    return claim_one()


def test_message_without_parent_follows_another_answer_that_still_waits(alice):
    u0 = runs.start(alice.id, message("u0"))
    answer()
    u1 = runs.start(alice.id, message("u1", thread_id=u0.thread_id))
    a0 = Message.objects.get(role="assistant")
    runs.regenerate(alice.id, regenerate(a0.id))
    u2 = runs.start(alice.id, message("u2", thread_id=u0.thread_id))
    assert (parent_of(u1), parent_of(u2)) == (a0.id, u0.message_id)
    assert answer() == [*answered("u0"), ("user", "u1")]
    assert answer("another") == [("user", "u0")]
    assert answer() == [("user", "u0"), ("assistant", "another"), ("user", "u2")]


def test_message_without_parent_follows_an_edit_that_waits(alice):
    u0 = runs.start(alice.id, message("u0"))
    runs.start(alice.id, message("u1", thread_id=u0.thread_id))
    edited = runs.start(alice.id, message("u0 edited", thread_id=u0.thread_id, parent_id=None))
    u2 = runs.start(alice.id, message("u2", thread_id=u0.thread_id))
    assert (parent_of(edited), parent_of(u2)) == (None, edited.message_id)
    for told in (["u0"], ["u0", "u1"], ["u0 edited"], ["u0 edited", "u2"]):
        assert answer() == [line for name in told[:-1] for line in answered(name)] + [("user", told[-1])]


def test_messages_of_several_threads_in_one_batch_each_follow_their_own_queue(alice, bob):
    first = {user: runs.start(user.id, message("u0")) for user in (alice, bob)}
    second = {user: runs.start(user.id, message("u1", thread_id=first[user].thread_id)) for user in (alice, bob)}
    asked = [StartRequest(user.id, message("u2", thread_id=first[user].thread_id)) for user in (alice, bob)]
    theirs = StartRequest(bob.id, message("u2", thread_id=runs.start(alice.id, message("other")).thread_id))
    *started, refused = runs.start_all([*asked, theirs])
    assert [parent_of(one) for one in started] == [second[alice].message_id, second[bob].message_id]
    assert refused.code == "not_found"


class Order(RuleBasedStateMachine):
    """A thread of a client that names no parent: each answer gets all earlier messages, in order."""

    def __init__(self):
        super().__init__()
        self.user = User.objects.create_user(f"{uuid.uuid4()}@example.com")
        self.worker = new_worker()
        self.thread_id = None
        self.said = []  # of each message: its text, its run, its answer or None
        self.running = None

    def teardown(self):
        Run.objects.filter(user=self.user).update(worker=None)
        self.user.delete()
        Worker.objects.all().delete()

    def of(self, run_id):
        return next(index for index, (_, run, _) in enumerate(self.said) if str(run) == str(run_id))

    @rule()
    def send(self):
        text = f"u{len(self.said)}"
        started = runs.start(self.user.id, message(text, thread_id=self.thread_id))
        self.thread_id = started.thread_id
        self.said.append([text, started.run_id, None])

    @precondition(lambda self: self.running is None)
    @rule()
    def claim(self):
        for run in runs.claim(self.worker, AGENTS, 1):
            before = self.said[: self.of(run.run_id)]
            told = [line for text, _, said in before for line in (("user", text), ("assistant", said)) if line[1]]
            assert runs.history(run)[0] == [*told, ("user", run.text)]
            self.running = run

    @precondition(lambda self: self.running is not None)
    @rule(how=st.sampled_from(["completed", "failed", "stopped", "stopped early"]))
    def end(self, how):
        run, self.running = self.running, None
        text = f"answer {run.text}"
        if how == "completed":
            runs.record([completed(run, text)])
        elif how == "failed":
            runs.record([failed(run)])
        else:
            runs.record([RunBatch(run, [delta(run, text)])] if how == "stopped" else [])
            runs.cancel(self.user.id, run_id=uuid.UUID(run.run_id))
        if how in ("completed", "stopped"):
            self.said[self.of(run.run_id)][2] = text

    @precondition(lambda self: Run.objects.filter(user=self.user, status=Run.QUEUED).exists())
    @rule(data=st.data())
    def take_out(self, data):
        queue = list(Run.objects.filter(user=self.user, status__in=Run.ACTIVE).order_by("thread_seq"))
        index = data.draw(st.integers(0, len(queue) - 1))
        if queue[index].status != Run.QUEUED:
            return
        runs.cancel(self.user.id, run_id=queue[index].id)
        if index > 0:
            del self.said[self.of(queue[index].id)]

    @invariant()
    def the_list_of_messages_is_one_line(self):
        users = list(Message.objects.filter(thread__user=self.user, role="user").order_by("seq"))
        answers = dict(Message.objects.filter(thread__user=self.user, role="assistant").values_list("id", "parent_id"))
        for before, after in pairwise(users):
            assert answers.get(after.parent_id, after.parent_id) == before.id


def test_history_is_complete_and_in_order_whatever_happens(db):
    run_state_machine_as_test(
        Order,
        settings=settings(
            max_examples=settings().max_examples // 3, stateful_step_count=25, suppress_health_check=list(HealthCheck)
        ),
    )


def test_read_tool_calls_returns_full_results(alice):
    runs.start(alice.id, message())
    run = claim_one()

    def tool(kind, call, result=None, whole=None, **fields):
        event = {"type": kind, "agent_name": run.agent, "tool_call_id": call, **fields}
        if kind == "tool_completed":
            event["result"] = result
        return event_log.encode_event(run.thread_id, run.run_id, 1, event, whole)

    said = [
        tool("tool_executing", "done"),
        tool("tool_completed", "done", 7, success=True),
        tool("tool_executing", "cut"),
        tool("tool_completed", "cut", "begin…", '["all of it"]', success=True),
        tool("tool_executing", "raised"),
        tool("tool_completed", "raised", success=False, error="It broke."),
        tool("tool_executing", "broken off"),
    ]
    runs.record([RunBatch(run, said)])
    assert runs.read_tool_calls(run) == {
        "done": ToolCall(completed=True, result=7, starts=1),
        "cut": ToolCall(completed=True, result=["all of it"], starts=1),
        "raised": ToolCall(error="It broke.", starts=1),
        "broken off": ToolCall(starts=1),
    }


# ---- Signals ----


@pytest.mark.django_db(transaction=True)
def test_no_event_is_published_before_its_commit(alice, monkeypatch):
    """Every signal finds, in the database as another connection sees it, what it tells of."""
    seen = []

    def look(group, signal):
        def count():
            try:
                seen.append((group, signal["type"], Event.objects.count()))
            finally:
                connection.close()

        other = threading.Thread(target=count)
        other.start()
        other.join()

    monkeypatch.setattr(channel_layer, "publish", look)
    runs.start(alice.id, message())
    run = claim_one()
    runs.record([RunBatch(run, [delta(run)])])
    runs.cancel(alice.id)
    group = f"user.{alice.id}"
    assert sorted(seen) == sorted(
        [
            ("workers", "run", 1),
            (group, "events", 1),
            (group, "events", 2),
            (group, "events", 3),
            (group, "events", 4),
            ("workers", "stop", 4),
        ]
    )


# ---- Threads and reading ----


def test_the_log_is_read_in_pages(alice, bob):
    accepted = runs.start(alice.id, message())
    run = claim_one()
    runs.record([RunBatch(run, [delta(run) for _ in range(8)])])
    page = event_log.replay(alice.id, accepted.thread_id, 3, 4)
    assert [json.loads(frame)["seq"] for frame in page.frames] == [4, 5, 6, 7]
    assert (page.head, page.first) == (10, 4)
    assert event_log.replay(alice.id, accepted.thread_id, 10, 4).rows == []
    Event.objects.filter(seq__lte=5).delete()
    assert event_log.replay(alice.id, accepted.thread_id, 0, 4).first == 6
    for user, thread_id in ((bob, accepted.thread_id), (alice, uuid.uuid4())):
        with pytest.raises(ProtocolError) as error:
            event_log.replay(user.id, thread_id, 0, 1)
        assert error.value.code == "not_found"


def test_a_rename_is_an_event_of_no_run(alice, bob):
    accepted = runs.start(alice.id, message())
    with pytest.raises(ProtocolError):
        runs.rename(bob.id, accepted.thread_id, "mine")
    assert runs.rename(alice.id, accepted.thread_id, "Costs").title == "Costs"
    event = frames(accepted.thread_id)[-1]
    assert (event["type"], event["title"], event["run_id"], event["seq"]) == ("thread_updated", "Costs", None, 2)


def test_a_deleted_thread_ends_its_runs_and_keeps_its_id(alice, bob):
    accepted = runs.start(alice.id, message(client_msg_id="one"))
    with pytest.raises(ProtocolError):
        runs.delete(bob.id, accepted.thread_id)
    runs.delete(alice.id, accepted.thread_id)
    assert Run.objects.get().status == Run.CANCELLED
    for again in (
        lambda: runs.start(alice.id, message(thread_id=accepted.thread_id)),
        lambda: runs.start(alice.id, message(client_msg_id="one")),
        lambda: event_log.replay(alice.id, accepted.thread_id, 0, 1),
        lambda: runs.delete(alice.id, accepted.thread_id),
    ):
        with pytest.raises(ProtocolError) as error:
            again()
        assert error.value.code == "not_found"
    with pytest.raises(ProtocolError) as error:
        runs.create_thread(bob.id, accepted.thread_id, "", None)
    assert error.value.code == "conflict"


def test_heads_and_changed_threads_are_those_of_the_user(alice, bob):
    accepted = runs.start(alice.id, message())
    assert event_log.heads_of([accepted.thread_id]) == {accepted.thread_id: 1}
    assert event_log.changed_threads([alice.id, bob.id], timedelta(seconds=60)) == [(alice.id, accepted.thread_id, 1)]
    Thread.objects.update(updated_at=Now() - timedelta(seconds=90))
    assert event_log.changed_threads([alice.id, bob.id], timedelta(seconds=60)) == []
    run = claim_one()
    long_ago = Thread.objects.annotate(then=Now() - timedelta(seconds=90)).get().then
    Thread.objects.update(updated_at=long_ago)
    runs.record([RunBatch(run, [delta(run)])])
    assert event_log.changed_threads([alice.id, bob.id], timedelta(seconds=60)) == [(alice.id, accepted.thread_id, 3)]
    assert Thread.objects.get().updated_at == long_ago  # what a run merely says writes no index
    runs.record([completed(run)])
    assert Thread.objects.get().updated_at > long_ago


def test_resuming_a_longer_log_takes_no_more_queries(alice, django_assert_num_queries):
    thread = runs.start(alice.id, message()).thread_id
    runs.record([completed(claim_one(), "So.")])
    for _ in range(2):
        for after in (0, 2):
            with django_assert_num_queries(2):
                event_log.replay(alice.id, thread, after, 1000)
        for number in range(20):
            runs.rename(alice.id, thread, str(number))


@pytest.mark.django_db(transaction=True)
def test_cancel_all_ends_every_run_before_a_worker_looks(alice, monkeypatch):
    """The end of one rings the workers, who look for the next in its thread."""
    for _ in range(5):
        thread_id = runs.start(alice.id, message()).thread_id
        runs.start(alice.id, message(thread_id=thread_id))
        runs.start(alice.id, message(thread_id=thread_id))
    worker_id, begun = new_worker(), []
    assert len(runs.claim(worker_id, AGENTS, 5)) == 5
    monkeypatch.setattr(channel_layer, "publish", lambda group, told: begun.extend(runs.claim(worker_id, AGENTS, 20)))
    assert len(runs.cancel(alice.id)) == 15
    assert begun == []


def test_claim_query_uses_the_indexes(alice):
    """On any number of runs it goes by the two indexes; of few, PostgreSQL would read all."""
    with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
        runs.claim(new_worker(), AGENTS, 1)
        (looked,) = [query["sql"] for query in queries if "ORDER BY r.lease_until" in query["sql"]]
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {looked}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert re.search(r"(SEARCH r USING INDEX|Index Scan using) run_lease", plan)
    assert re.search(r"run_lease \(lease_until<|Index Cond: \(lease_until <", plan)
    assert re.search(r"(SCAN r USING INDEX|Index Scan using) run_scheduled", plan)


def test_heartbeat_with_two_claims_of_a_run_extends_the_newer(alice, bob):
    """The older one's agent has not ended yet: the newer one and the runs behind it are held all the same."""
    worker = new_worker()
    runs.start(alice.id, message("one"))
    older = claim_one(worker)
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    newer = claim_one(worker)
    runs.start(bob.id, message("two"))
    other = claim_one(worker)
    soon = Now() + timedelta(seconds=1)
    Run.objects.update(lease_until=soon)
    assert runs.heartbeat(worker, False, [older, newer, other]) == {newer.run_id, other.run_id}
    assert not Run.objects.filter(lease_until__lte=soon).exists()
