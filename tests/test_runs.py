"""The record against its invariants: by a state machine that tries everything in any order, and one by one."""

import json
import re
import threading
import uuid
from datetime import timedelta

import pytest
from django.conf import settings as netra
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chat import events, layer, runs
from chat.models import Event, Message, Run, Thread, User, Worker
from chat.protocol import TERMINAL, ProtocolError, Regenerate, UserMessage
from chat.runs import Asked, End, Entry

AGENTS = ["echo", "advisor"]


def message(content="hello", **fields):
    blank = dict.fromkeys(("thread_id", "agent", "client_msg_id", "parent_id", "ref"))
    return UserMessage(**{**blank, "content": content, "parent_given": False, "attachment_ids": (), **fields})


def delta(run, text="word "):
    return events.body(
        run.thread_id, run.run_id, run.attempt, {"type": "agent_delta", "agent_name": run.agent, "delta": text}
    )


def completed(run, answer="done", **fields):
    """The entry of a run that ends with this answer."""
    message_id = uuid.uuid4()
    event = {
        "type": "agent_completed",
        "agent_name": run.agent,
        "final_response": answer,
        "message_id": str(message_id),
    }
    body = events.body(run.thread_id, run.run_id, run.attempt, {**event, **fields})
    return Entry(run, [body], End(Run.COMPLETED, answer, message_id))


def new_worker():
    worker_id = uuid.uuid4()
    runs.register(worker_id, "host", 1, {})
    return worker_id


def claim_one(worker_id=None):
    (run,) = runs.claim(worker_id or new_worker(), AGENTS, 1)
    return run


def frames(thread_id):
    return [
        json.loads(frame)
        for frame in Event.objects.filter(thread=thread_id).order_by("seq").values_list("frame", flat=True)
    ]


def types(thread_id):
    return [frame["type"] for frame in frames(thread_id)]


class Machine(RuleBasedStateMachine):
    """Threads, runs and workers of one user; `claims` has every claim ever made, so most of them are stale."""

    def __init__(self):
        super().__init__()
        self.user = User.objects.create_user(f"{uuid.uuid4()}@example.com")
        self.workers = [new_worker(), new_worker()]
        self.sent = {}
        self.claims = []
        self.ends = {}

    def teardown(self):
        Run.objects.filter(user=self.user).update(worker=None)
        self.user.delete()
        Worker.objects.all().delete()

    def active(self, status=Run.RUNNING):
        return list(Run.objects.filter(user=self.user, status=status).order_by("created_at"))

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
            assert (run.attempt, run.fence) == (old.attempt + 1, old.fence + 1)
            assert run.restarted == (old.started_at is not None)
            self.claims.append(run)

    def write(self, entry):
        """Record an entry; it must be written if and only if its fence is the run's and the run is running."""
        row = Run.objects.get(id=entry.run.run_id)
        holds = row.status == Run.RUNNING and row.fence == entry.run.fence
        before = Event.objects.filter(run=row).count()
        assert runs.record([entry]).keys() == ({str(row.id)} if holds else set())
        assert Event.objects.filter(run=row).count() == before + (len(entry.events) if holds else 0)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), words=st.integers(1, 3))
    def record(self, data, words):
        run = data.draw(st.sampled_from(self.claims))
        self.write(Entry(run, [delta(run) for _ in range(words)]))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["finish", "drain", "retry"]))
    def finish(self, data, how):
        run = data.draw(st.sampled_from(self.claims))
        if how == "finish":
            self.write(completed(run))
        elif how == "drain" or run.attempt < netra.NETRA_MAX_ATTEMPTS:
            self.write(Entry(run, [], End(Run.QUEUED, refund=how == "drain", error_code="" if how == "drain" else "x")))

    @precondition(lambda self: len(self.claims) > 1)
    @rule()
    def record_a_batch(self):
        """The latest claim of every run at once, the stale among them."""
        latest = {run.run_id: run for run in self.claims}
        holding = {str(row.id) for row in self.active() if row.fence == latest[str(row.id)].fence}
        assert runs.record([Entry(run, [delta(run)]) for run in latest.values()]).keys() == holding

    @rule(worker=st.integers(0, 1))
    def heartbeat(self, worker):
        """For every claim there was: a worker may play an older one of a run beside its own newer one."""
        holding = {str(row.id) for row in self.active() if (str(row.id), row.fence) in self.fences()}
        assert runs.heartbeat(self.workers[worker], False, self.claims) == holding

    def fences(self):
        return {(run.run_id, run.fence) for run in self.claims}

    # ---- what time does ----

    @precondition(lambda self: self.active())
    @rule(data=st.data())
    def expire(self, data):
        run = data.draw(st.sampled_from(self.active()))
        Run.objects.filter(id=run.id).update(lease_until=Now() - timedelta(seconds=1))

    @precondition(lambda self: self.active())
    @rule(data=st.data())
    def time_out(self, data):
        run = data.draw(st.sampled_from(self.active()))
        Run.objects.filter(id=run.id).update(claimed_at=Now() - timedelta(seconds=netra.NETRA_RUN_TIMEOUT + 1))
        runs.sweep()
        assert Run.objects.get(id=run.id).error_code == "timeout"

    @rule()
    def sweep(self):
        exhausted = Run.objects.filter(
            user=self.user, status=Run.RUNNING, lease_until__lt=Now(), attempt=netra.NETRA_MAX_ATTEMPTS
        )
        ids = list(exhausted.values_list("id", flat=True))
        assert runs.sweep() == len(ids)
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
            assert list(run.answers.values_list("content", "parent")) == [("done", run.message_id)]


@pytest.mark.django_db(transaction=True)
def test_the_invariants_hold_whatever_happens():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
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
    [{"content": "else"}, {"agent": "echo"}, {"thread_id": uuid.uuid4()}, {"parent_given": True}],
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


def test_a_silent_worker_that_was_forgotten_is_told(db):
    worker, other = new_worker(), new_worker()
    Worker.objects.filter(id=worker).update(heartbeat_at=Now() - timedelta(hours=2))
    runs.heartbeat(other, False, [])
    with pytest.raises(Worker.DoesNotExist):
        runs.heartbeat(worker, False, [])


def test_time_in_the_queue_is_not_the_run_s(alice):
    runs.start(alice.id, message())
    runs.record([Entry(claim_one(), [], End(Run.QUEUED, refund=True))])
    Run.objects.update(started_at=Now() - timedelta(hours=2))
    claim_one()
    assert runs.sweep() == 0


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
        ({"parent_given": True, "parent_id": uuid.uuid4()}, "not_found"),
        ({"attachment_ids": (uuid.uuid4(),)}, "not_found"),
    ],
)
def test_what_cannot_be_started_leaves_nothing(alice, fields, code):
    with pytest.raises(ProtocolError) as error:
        runs.start(alice.id, message(**fields))
    assert error.value.code == code
    assert not Thread.objects.exists()
    assert not Event.objects.exists()


def test_messages_written_together_fail_alone(alice, bob, django_assert_max_num_queries):
    bobs = runs.start(bob.id, message()).thread_id
    asked = [
        Asked(alice.id, message("one")),
        Asked(alice.id, message("two", agent="nobody")),
        Asked(alice.id, message("three", thread_id=bobs)),
        Asked(bob.id, message("four", thread_id=bobs, client_msg_id="four")),
    ]
    with django_assert_max_num_queries(12):  # no more for a hundred of them
        first, second, third, fourth = runs.start_all(asked)
    assert (second.code, third.code) == ("unknown_agent", "not_found")
    assert [frames(one.thread_id)[-1]["content"] for one in (first, fourth)] == ["one", "four"]
    assert frames(bobs)[-1]["parent_id"] == frames(bobs)[0]["message_id"]
    (again,) = runs.start_all(asked[3:])
    assert (again.repeated, again.run_id) == (True, fourth.run_id)


def test_what_meets_at_a_constraint_is_written_one_by_one(alice, bob):
    thread_id = uuid.uuid4()
    asked = [Asked(user.id, message(thread_id=thread_id)) for user in (alice, bob)]
    first, second = runs.start_all(asked)
    assert (first.thread_id, second.code) == (thread_id, "not_found")
    assert [frame["seq"] for frame in frames(thread_id)] == [1]


def test_a_message_follows_the_newest_or_what_it_names(alice):
    first = runs.start(alice.id, message("one"))
    runs.record([completed(claim_one(), "answer")])
    second = runs.start(alice.id, message("two", thread_id=first.thread_id))
    edited = runs.start(
        alice.id, message("two!", thread_id=first.thread_id, parent_given=True, parent_id=first.message_id)
    )
    root = runs.start(alice.id, message("anew", thread_id=first.thread_id, parent_given=True))
    parents = dict(Message.objects.values_list("id", "parent__content"))
    assert [parents[run.message_id] for run in (second, edited, root)] == ["answer", "one", None]


def test_regenerating_gives_a_sibling(alice, bob):
    first = runs.start(alice.id, message("one"))
    runs.record([completed(claim_one(), "answer")])
    answer = Message.objects.get(role="assistant")
    again = runs.regenerate(alice.id, Regenerate(answer.id, None, "r1", None))
    assert (again.message_id, again.seq, again.created) == (first.message_id, 3, None)
    assert runs.regenerate(alice.id, Regenerate(answer.id, None, "r1", None)).run_id == again.run_id
    runs.record([completed(claim_one(), "another")])
    assert set(Message.objects.filter(role="assistant").values_list("content", "parent")) == {
        ("answer", first.message_id),
        ("another", first.message_id),
    }
    for user, message_id in ((bob, answer.id), (alice, first.message_id), (alice, uuid.uuid4())):
        with pytest.raises(ProtocolError) as error:
            runs.regenerate(user.id, Regenerate(message_id, None, None, None))
        assert error.value.code == "not_found"


# ---- Claiming ----


def test_a_thread_s_runs_are_played_one_after_the_other(alice):
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
    settings.NETRA_LIMITS = True


def test_users_take_turns(limited, alice, bob):
    """Whoever has many runs in the queue does not make all others wait for them."""
    many = [str(runs.start(alice.id, message(str(number))).run_id) for number in range(5)]
    one = str(runs.start(bob.id, message("one")).run_id)
    worker = new_worker()
    assert [run.run_id for run in runs.claim(worker, AGENTS, 2)] == [many[0], one]
    assert [run.run_id for run in runs.claim(worker, AGENTS, 9)] == many[1:]


def test_users_whose_messages_come_together_take_turns(limited, alice, bob):
    runs.start_all([Asked(user.id, message()) for user in (alice, alice, alice, bob)])
    assert {run.user_id for run in runs.claim(new_worker(), AGENTS, 2)} == {alice.id, bob.id}


@pytest.mark.parametrize("how", ["regenerate", "again"])
def test_another_answer_waits_for_its_turn_too(limited, alice, bob, how):
    runs.start(alice.id, message())
    run = claim_one()
    runs.record([completed(run)])
    runs.start(alice.id, message())
    if how == "again":
        runs.again(run.run_id)
    else:
        answer = Message.objects.get(role="assistant")
        runs.regenerate(alice.id, Regenerate(answer.id, None, None, None))
    runs.start(bob.id, message())
    assert [run.user_id for run in runs.claim(new_worker(), AGENTS, 3)] == [alice.id, bob.id, alice.id]


def test_a_run_that_lost_its_worker_waits_for_nobody(limited, alice, bob):
    """Its time runs, whoever has had how many before it."""
    runs.start(alice.id, message("one"))
    lost = str(runs.start(alice.id, message("two")).run_id)
    assert len(runs.claim(new_worker(), AGENTS, 2)) == 2
    one = str(runs.start(bob.id, message("one")).run_id)
    Run.objects.filter(id=lost).update(lease_until=Now() - timedelta(seconds=1))
    assert [run.run_id for run in runs.claim(new_worker(), AGENTS, 1)] == [lost]
    Run.objects.filter(id=lost).update(lease_until=Now() - timedelta(seconds=1))
    assert {run.run_id for run in runs.claim(new_worker(), AGENTS, 9)} == {lost, one}


def test_a_requeued_run_stays_ahead(alice):
    first = runs.start(alice.id, message("one"))
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    run = claim_one()
    runs.record([Entry(run, [], End(Run.QUEUED, delay=3600, error_code="x"))])
    assert runs.claim(new_worker(), AGENTS, 10) == []
    Run.objects.filter(id=run.run_id).update(not_before=Now())
    assert claim_one().run_id == str(first.run_id)


def test_a_claim_takes_only_the_agents_that_it_can_play(alice):
    runs.start(alice.id, message(agent="echo"))
    assert runs.claim(new_worker(), ["advisor"], 1) == []
    assert runs.claim(new_worker(), [], 1) == []
    assert claim_one().agent == "echo"


def test_who_is_silent_or_drains_serves_nobody(alice):
    runs.start(alice.id, message(agent="echo"))
    runs.start(alice.id, message(agent="advisor"))
    worker = uuid.uuid4()
    runs.register(worker, "host", 1, {"echo": {}})
    assert runs.unserved() == {"advisor"}
    Worker.objects.update(draining=True)
    assert runs.unserved() == {"advisor", "echo"}
    Worker.objects.update(draining=False, heartbeat_at=Now() - timedelta(seconds=netra.NETRA_LEASE_SECONDS + 1))
    assert runs.unserved() == {"advisor", "echo"}
    assert len(runs.claim(worker, AGENTS, 2)) == 2
    assert runs.unserved() == set()


def test_only_what_has_waited_long_for_its_agent_is_abandoned(alice):
    waiting, young, other, claimed = (
        runs.start(alice.id, message(agent=agent)).run_id for agent in ("echo", "echo", "advisor", "echo")
    )
    Run.objects.exclude(id=claimed).update(not_before=Now() + timedelta(days=1))
    claim_one()
    late = Now() - timedelta(seconds=netra.NETRA_RUN_TIMEOUT + 1)
    Run.objects.exclude(id=young).update(created_at=late)
    assert runs.abandon(["echo"]) == 1
    assert runs.abandon(["echo"]) == 0
    run = Run.objects.get(id=waiting)
    assert (run.status, run.error_code) == (Run.FAILED, "unknown_agent")
    assert types(run.thread_id) == ["message_created", "agent_failed"]
    assert set(Run.objects.filter(id__in=[young, other]).values_list("status", flat=True)) == {Run.QUEUED}
    assert Run.objects.get(id=claimed).status == Run.RUNNING


@pytest.mark.django_db(transaction=True)
def test_many_workers_never_claim_the_same(alice):
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


def test_a_commit_is_made_once_however_often_it_is_tried(alice):
    """As after a connection that broke in its COMMIT."""
    accepted = runs.start(alice.id, message())
    run = claim_one()
    first, second = Entry(run, [delta(run, "one ")]), completed(run, "one")
    known = {run.run_id: run.seq}
    for after in (known, known, None):  # tried before it was made, made, and not tried again
        assert runs.record([first], after) == {run.run_id: 4 if after is None else 3}
    known = {run.run_id: 4}
    for _ in range(2):
        assert runs.record([second], known) == {run.run_id: 5}
    kinds = [frame["type"] for frame in frames(accepted.thread_id)]
    assert kinds == ["message_created", "agent_started", "agent_delta", "agent_delta", "agent_completed"]
    assert runs.record([first]) == {}


def test_what_another_wrote_since_is_not_taken_for_ones_own(alice):
    """The commit was not made, and meanwhile the run was lost, or stopped."""
    accepted = runs.start(alice.id, message())
    first = claim_one()
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    second = claim_one()
    assert runs.record([Entry(first, [delta(first)])], {first.run_id: first.seq}) == {}
    runs.record([Entry(second, [delta(second)])])
    runs.cancel(alice.id)
    last = frames(accepted.thread_id)[-1]["seq"]
    assert runs.record([completed(second)], {second.run_id: last - 1}) == {}
    assert frames(accepted.thread_id)[-1]["seq"] == last


@pytest.mark.parametrize(
    ("how", "reason", "attempt"),
    [("lease", "worker_lost", 2), ("drain", "worker_stopped", 1), ("retry", "retry", 2)],
)
def test_a_run_that_had_begun_is_announced_anew(alice, how, reason, attempt):
    accepted = runs.start(alice.id, message())
    run = claim_one()
    if how == "lease":
        Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    else:
        runs.record([Entry(run, [], End(Run.QUEUED, refund=how == "drain", error_code="" if how == "drain" else "x"))])
    again = claim_one()
    assert (again.restarted, again.attempt) == (True, attempt)
    assert types(accepted.thread_id) == ["message_created", "agent_started", "run_restarted", "agent_started"]
    restarted = frames(accepted.thread_id)[2]
    assert (restarted["reason"], restarted["attempt"]) == (reason, attempt)


def test_a_last_attempt_that_was_handed_back_stays_one(alice, settings):
    settings.NETRA_MAX_ATTEMPTS = 2
    runs.start(alice.id, message())
    assert not claim_one().last
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    run = claim_one()
    assert run.last
    runs.record([Entry(run, [], End(Run.QUEUED, refund=True))])
    assert claim_one().last


# ---- Recording and ending ----


def test_who_has_lost_a_run_writes_nothing_of_it(alice):
    accepted = runs.start(alice.id, message())
    frozen = new_worker()
    first = claim_one(frozen)
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    second = claim_one()
    before = types(accepted.thread_id)
    assert runs.record([Entry(first, [delta(first)])]) == {}
    assert runs.record([completed(first)]) == {}
    assert runs.heartbeat(frozen, False, [first]) == set()
    assert types(accepted.thread_id) == before
    assert runs.record([completed(second)]).keys() == {second.run_id}


@pytest.mark.parametrize("kind", sorted(TERMINAL))
def test_the_database_takes_one_end_of_a_run(alice, kind):
    """Whatever the code that writes it believes."""
    accepted = runs.start(alice.id, message())
    runs.record([completed(claim_one())])
    with pytest.raises(IntegrityError), transaction.atomic():
        Event.objects.create(thread_id=accepted.thread_id, run_id=accepted.run_id, seq=99, type=kind, frame="{}")


def test_one_stale_run_costs_the_others_nothing(alice):
    accepted = [runs.start(alice.id, message(str(number))) for number in range(3)]
    claimed = {run.run_id: run for run in runs.claim(new_worker(), AGENTS, 3)}
    stale = claimed[str(accepted[1].run_id)]
    runs.cancel(alice.id, run_id=stale.run_id)
    assert runs.record([Entry(run, [delta(run)]) for run in claimed.values()]).keys() == claimed.keys() - {stale.run_id}
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
    entries = [Entry(stale, [delta(stale), delta(stale)]), Entry(run, [delta(run, "one "), delta(run, "two ")])]
    assert runs.record(entries) == {run.run_id: before + 2}
    last = frames(accepted.thread_id)[-2:]
    assert [(frame["seq"], frame["delta"]) for frame in last] == [(before + 1, "one "), (before + 2, "two ")]
    assert Thread.objects.get().last_seq == before + 2


@pytest.mark.django_db(transaction=True)
def test_what_runs_say_is_made_by_a_commit_of_its_own(alice):
    """A statement that commits by itself may be on its way for long, and be made after it was tried again."""
    runs.start(alice.id, message())
    run = claim_one()
    with CaptureQueriesContext(connection) as queries:
        runs.record([Entry(run, [delta(run)])])
    assert queries[0]["sql"].startswith("BEGIN")
    assert connection.get_autocommit()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite plans in no time")
def test_what_a_run_says_is_planned_once_a_connection(alice):
    runs.start(alice.id, message())
    run = claim_one()
    for _ in range(2):
        runs.record([Entry(run, [delta(run)])])
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO chat_event%'")
        statements = [statement for (statement,) in cursor.fetchall()]
    assert sum("held" in statement for statement in statements) == 1


def test_the_answer_and_the_end_are_one(alice):
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


def test_what_was_said_before_a_stop_is_kept(alice):
    accepted = runs.start(alice.id, message())
    first = claim_one()
    runs.record([Entry(first, [delta(first, "of the first attempt")])])
    Run.objects.update(lease_until=Now() - timedelta(seconds=1))
    second = claim_one()
    runs.record([Entry(second, [delta(second, "so "), delta(second, "far")])])
    assert runs.cancel(alice.id) == [uuid.UUID(second.run_id)]
    end = frames(accepted.thread_id)[-1]
    answer = Message.objects.get(role="assistant")
    assert (end["type"], end["message_id"], answer.content) == ("agent_cancelled", str(answer.id), "so far")
    assert runs.record([completed(second)]) == {}


def test_usage_comes_late_only_from_whom_the_run_was_taken(alice):
    accepted = runs.start(alice.id, message())
    first = claim_one()
    runs.record([Entry(first, [], End(Run.QUEUED, refund=True, usage={"tokens": 1}))])
    second = claim_one()
    assert second.usage == {"tokens": 1}
    runs.used(second, {"tokens": 5})  # it has not ended
    runs.cancel(alice.id, accepted.run_id)
    runs.used(first, {"tokens": 7})
    assert Run.objects.get().usage == {"tokens": 1}
    runs.used(second, {"tokens": 2})
    assert Run.objects.get().usage == {"tokens": 2}


def test_a_stop_reaches_only_the_user_s_own(alice, bob):
    accepted = runs.start(alice.id, message())
    assert runs.cancel(bob.id) == []
    for ids in ({"run_id": accepted.run_id}, {"thread_id": accepted.thread_id}, {"run_id": uuid.uuid4()}):
        with pytest.raises(ProtocolError) as error:
            runs.cancel(bob.id, **ids)
        assert error.value.code == "not_found"
    assert Run.objects.get().status == Run.QUEUED


def test_history_has_the_answers_of_what_was_queued_behind(alice):
    first = runs.start(alice.id, message("one"))
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    runs.record([completed(claim_one(), "answer one")])
    assert runs.history(claim_one())[0] == [("user", "one"), ("assistant", "answer one"), ("user", "two")]


def test_history_follows_the_branch(alice):
    first = runs.start(alice.id, message("one"))
    runs.record([completed(claim_one(), "answer")])
    runs.start(alice.id, message("two", thread_id=first.thread_id))
    runs.record([completed(claim_one(), "answer two")])
    runs.start(alice.id, message("one, edited", thread_id=first.thread_id, parent_given=True))
    assert runs.history(claim_one())[0] == [("user", "one, edited")]


def test_earlier_tool_calls_are_known_whole(alice):
    runs.start(alice.id, message())
    run = claim_one()

    def tool(kind, call, result=None, whole=None, **fields):
        event = {"type": kind, "agent_name": run.agent, "tool_call_id": call, **fields}
        if kind == "tool_completed":
            event["result"] = result
        return events.body(run.thread_id, run.run_id, 1, event, whole)

    said = [
        tool("tool_executing", "done"),
        tool("tool_completed", "done", 7, success=True),
        tool("tool_executing", "cut"),
        tool("tool_completed", "cut", "begin…", '["all of it"]', success=True),
        tool("tool_executing", "raised"),
        tool("tool_completed", "raised", success=False),
        tool("tool_executing", "broken off"),
    ]
    runs.record([Entry(run, said)])
    assert runs.calls(run) == {
        "done": (True, 7),
        "cut": (True, ["all of it"]),
        "raised": (False, None),
        "broken off": (False, None),
    }


# ---- Signals ----


@pytest.mark.django_db(transaction=True)
def test_nothing_is_signalled_before_the_commit(alice, monkeypatch):
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

    monkeypatch.setattr(layer, "post", look)
    runs.start(alice.id, message())
    run = claim_one()
    runs.record([Entry(run, [delta(run)])])
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
    runs.record([Entry(run, [delta(run) for _ in range(8)])])
    page = events.replay(alice.id, accepted.thread_id, 3, 4)
    assert [json.loads(frame)["seq"] for frame in page.frames] == [4, 5, 6, 7]
    assert (page.head, page.first) == (10, 4)
    assert events.replay(alice.id, accepted.thread_id, 10, 4).rows == []
    Event.objects.filter(seq__lte=5).delete()
    assert events.replay(alice.id, accepted.thread_id, 0, 4).first == 6
    for user, thread_id in ((bob, accepted.thread_id), (alice, uuid.uuid4())):
        with pytest.raises(ProtocolError) as error:
            events.replay(user.id, thread_id, 0, 1)
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
        lambda: events.replay(alice.id, accepted.thread_id, 0, 1),
        lambda: runs.delete(alice.id, accepted.thread_id),
    ):
        with pytest.raises(ProtocolError) as error:
            again()
        assert error.value.code == "not_found"
    with pytest.raises(ProtocolError) as error:
        runs.create_thread(bob.id, accepted.thread_id, "", None)
    assert error.value.code == "conflict"


def test_what_a_socket_compares(alice, bob):
    accepted = runs.start(alice.id, message())
    assert events.heads(alice.id) == {str(accepted.thread_id): 1}
    assert events.heads(bob.id) == {}
    assert events.heads_of([accepted.thread_id]) == {accepted.thread_id: 1}
    assert events.changed([alice.id, bob.id], timedelta(seconds=60)) == [(alice.id, accepted.thread_id, 1)]
    Thread.objects.update(updated_at=Now() - timedelta(seconds=90))
    assert events.changed([alice.id, bob.id], timedelta(seconds=60)) == []
    run = claim_one()
    long_ago = Thread.objects.annotate(then=Now() - timedelta(seconds=90)).get().then
    Thread.objects.update(updated_at=long_ago)
    runs.record([Entry(run, [delta(run)])])
    assert events.changed([alice.id, bob.id], timedelta(seconds=60)) == [(alice.id, accepted.thread_id, 3)]
    assert Thread.objects.get().updated_at == long_ago  # what a run merely says writes no index
    runs.record([completed(run)])
    assert Thread.objects.get().updated_at > long_ago


def test_resuming_a_longer_log_takes_no_more_queries(alice, django_assert_num_queries):
    thread = runs.start(alice.id, message()).thread_id
    runs.record([completed(claim_one(), "So.")])
    for _ in range(2):
        for after in (0, 2):
            with django_assert_num_queries(2):
                events.replay(alice.id, thread, after, 1000)
        for number in range(20):
            runs.rename(alice.id, thread, str(number))


@pytest.mark.django_db(transaction=True)
def test_stopping_all_lets_nothing_of_it_begin(alice, monkeypatch):
    """The end of one rings the workers, who look for the next in its thread."""
    for _ in range(5):
        thread_id = runs.start(alice.id, message()).thread_id
        runs.start(alice.id, message(thread_id=thread_id))
        runs.start(alice.id, message(thread_id=thread_id))
    worker_id, begun = new_worker(), []
    assert len(runs.claim(worker_id, AGENTS, 5)) == 5
    monkeypatch.setattr(layer, "post", lambda group, told: begun.extend(runs.claim(worker_id, AGENTS, 20)))
    assert len(runs.cancel(alice.id)) == 15
    assert begun == []


def test_looking_for_a_run_reads_none_that_another_plays(alice):
    """On any number of runs it goes by the two indexes; of few, PostgreSQL would read all."""
    with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
        runs.claim(new_worker(), AGENTS, 1)
        (looked,) = [query["sql"] for query in queries if "ORDER BY r.lease_until" in query["sql"]]
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if connection.vendor == 'sqlite' else 'EXPLAIN'} {looked}")
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert re.search(r"(SEARCH r USING INDEX|Index Scan using) run_lease", plan)
    assert re.search(r"run_lease \(lease_until<|Index Cond: \(lease_until <", plan)
    assert re.search(r"(SCAN r USING INDEX|Index Scan using) run_turn", plan)


def test_a_heartbeat_may_hold_two_claims_of_one_run(alice, bob):
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
