"""Fair shares of a worker's slots: the rule, the runs of a claim, and a real worker."""

import asyncio
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import chain
from math import ceil

import pytest
from django.db import connection, connections
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from chat import runs
from chat.models import Message, Run, Thread, User
from chat.runs import RunBatch, RunOutcome
from chat.runs.slots import SlotQueue, Slots
from tests.factories import AGENTS, completed, message, new_worker

HALF = Fraction(1, 2)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
shares = st.fractions(min_value=Fraction(1, 100), max_value=1)


# ---- The rule --------------------------------------------------------------------------------------------


@given(number=st.integers(1, 200), share=shares, wishes=st.lists(st.integers(0, 9), max_size=300))
def test_slots_any_order_keeps_each_user_to_the_share(number, share, wishes):
    slots, held = Slots(number, share), Counter()
    for user in wishes:
        may = slots.may_begin(user)
        if slots.free and not held[user]:
            assert may, "who has none gets one while there is any"
        if may:
            slots.take(user)
            held[user] += 1
        assert held[user] <= max(1, ceil(share * number))
    assert slots.free == number - held.total() >= 0


@pytest.mark.parametrize(
    ("number", "share", "alone"),
    [(20, HALF, 10), (1, HALF, 1), (2, HALF, 1), (3, HALF, 2), (30, Fraction("0.1"), 3), (20, Fraction(1), 20)],
)
def test_slots_of_one_user_alone_are_the_share(number, share, alone):
    slots = Slots(number, share)
    while slots.may_begin(1):
        slots.take(1)
    assert slots.free == number - alone


def test_slots_a_few_users_leave_one_for_the_next():
    slots, took = Slots(20, HALF), []
    for user in range(5):
        assert slots.may_begin(user)
        before = slots.free
        while slots.may_begin(user):
            slots.take(user)
        took.append(before - slots.free)
    assert took == [10, 5, 3, 1, 1]


def test_slots_released_can_be_taken_again():
    slots = Slots(4, HALF, [1, 1])
    slots.leave(1)
    assert slots.may_begin(1)
    assert slots.full() == set()


def test_slot_queue_admits_another_user_before_a_waiting_one():
    async def play():
        queue, order = SlotQueue(Slots(4, HALF)), []
        ends = {name: asyncio.Event() for name in ("a1", "a2", "a3", "b1")}

        async def hold(user, name):
            async with queue.acquire(user):
                order.append(name)
                await ends[name].wait()

        tasks = [asyncio.ensure_future(hold(ord(name[0]), name)) for name in ends]
        while len(order) < 3:  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        assert order == ["a1", "a2", "b1"]
        assert queue.must_wait(ord("a"))
        ends["b1"].set()
        await tasks[3]
        assert len(order) == 3, "still at the share"
        ends["a1"].set()
        await tasks[0]
        while len(order) < 4:  # noqa: ASYNC110 nobody is told
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not queue.must_wait(ord("a"))

    asyncio.run(asyncio.wait_for(play(), 60))


@pytest.mark.parametrize("steps", range(4))
def test_slot_queue_cancelled_task_releases_its_slot(steps):
    async def play():
        queue = SlotQueue(Slots(1, HALF))
        first, waiting = (asyncio.ensure_future(hold(queue)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(first, waiting, return_exceptions=True)
        assert not queue.must_wait(1)

    async def hold(queue):
        async with queue.acquire(1):
            await asyncio.Event().wait()

    asyncio.run(asyncio.wait_for(play(), 60))


# ---- What a claim takes ----------------------------------------------------------------------------------


@pytest.fixture
def shared(settings):
    settings.NETRA_USER_SHARE = HALF


def started(user, number):
    """The ids of so many runs, each a second behind all that there are: one after the other, whoever's they are."""
    found = []
    for _ in range(number):
        before = Run.objects.count()
        found.append(str(runs.start(user.id, message()).run_id))
        Run.objects.filter(id=found[-1]).update(scheduled_for=LONG_AGO + timedelta(seconds=before + 1))
    return found


def ids(claimed):
    return [run.run_id for run in claimed]


def test_claim_takes_no_more_of_a_user_than_the_share(shared, alice):
    many = started(alice, 12)
    worker = new_worker()
    first = runs.claim(worker, AGENTS, 8)
    assert ids(first) == many[:4]
    assert runs.claim(worker, AGENTS, 4, [alice.id] * 4) == []
    runs.record([completed(first[0])])
    assert ids(runs.claim(worker, AGENTS, 5, [alice.id] * 3)) == many[4:5]
    assert ids(runs.claim(new_worker(), AGENTS, 8)) == many[5:9], "another worker has slots of its own"


def test_claim_passes_those_at_their_share_and_keeps_the_order(shared, alice, bob):
    many, few = started(alice, 12), started(bob, 3)
    assert ids(runs.claim(new_worker(), AGENTS, 9)) == [*many[:5], *few[:2]]


def test_claim_with_one_slot_takes_turns(shared, settings, alice, bob):
    settings.NETRA_RATE_LIMITS = True
    many, few = ([str(runs.start(user.id, message()).run_id) for _ in range(n)] for user, n in ((alice, 3), (bob, 1)))
    worker, order = new_worker(), []
    for _ in range(4):
        (run,) = runs.claim(worker, AGENTS, 1)
        order.append(run.run_id)
        runs.record([completed(run)])
    assert order == [many[0], few[0], *many[1:]]


def test_claim_takes_runs_that_lost_their_worker_beyond_the_share(shared, alice, bob):
    """Runs of a dead worker are claimed beyond the share; queued runs of the user are not, and others get a slot."""
    lost = started(alice, 4)
    assert len(runs.claim(new_worker(), AGENTS, 8)) == 4
    started(alice, 3)
    Run.objects.filter(status=Run.RUNNING).update(lease_until=Now() - timedelta(seconds=1))
    (one,) = started(bob, 1)
    taken = runs.claim(new_worker(), AGENTS, 6, [alice.id] * 4)
    assert set(ids(taken[:4])) == set(lost)
    assert ids(taken[4:]) == [one]


@pytest.mark.django_db(transaction=True)
def test_claim_many_workers_at_once_keep_every_user_to_the_share(shared, alice, bob):
    carol = User.objects.create_user("carol@example.com")
    for user in (alice, bob, carol):
        started(user, 20)
    workers = [new_worker() for _ in range(4)]

    def work(worker):
        held = []
        try:
            for _ in range(20):  # two that choose the same at once: one of them gets it
                held += [run.user_id for run in runs.claim(worker, AGENTS, 6 - len(held), held)]
            return held
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, workers))
    assert all(count <= 3 for held in found for count in Counter(held).values())
    assert all(len(held) >= 5 for held in found), "what may begin is not left waiting"
    assert Run.objects.filter(status=Run.RUNNING).count() == len(list(chain(*found)))


def queue(user, number, agent="echo", thread=None):
    """Queue so many runs at one moment, as old as it gets: ahead of all others, and not put back for each other."""
    threads = [Thread(user=user, agent=agent, last_seq=1) for _ in range(1 if thread else number)]
    Thread.objects.bulk_create(threads, batch_size=500)
    threads = threads * number if thread else threads
    messages = [Message(thread=one, role="user", content="x", seq=n) for n, one in enumerate(threads)]
    Message.objects.bulk_create(messages, batch_size=500)
    Run.objects.bulk_create(
        [
            Run(
                user=user,
                thread=one.thread,
                message=one,
                request_hash="",
                agent=agent,
                thread_seq=one.seq,
                scheduled_for=LONG_AGO,
            )
            for one in messages
        ],
        batch_size=500,
    )


@pytest.mark.parametrize("way", ["at their share", "waiting for each other"])
def test_claim_finds_who_waits_behind_thousands_that_may_not_begin(shared, alice, bob, way):
    worker, held = new_worker(), []
    if way == "at their share":
        queue(alice, 3000)
        held = [alice.id] * 6
    else:
        queue(alice, 3000, thread=True)
        assert len(runs.claim(worker, AGENTS, 1)) == 1
    few = started(bob, 3)
    assert ids(runs.claim(worker, AGENTS, 6, held)) == few


def test_claim_takes_of_many_users_behind_thousands_each_a_few(shared, alice):
    queue(alice, 500)
    others = [User.objects.create(email=f"{n}@example.com") for n in range(30)]
    for other in others:
        queue(other, 3)
    claimed = runs.claim(new_worker(), AGENTS, 10, [alice.id] * 10)
    assert len({run.user_id for run in claimed}) == 10
    rest = runs.claim(new_worker(), AGENTS, 100, [alice.id] * 100)
    assert len(rest) == 80


def test_claim_asks_as_often_and_reads_as_little_however_many_wait(shared, alice, bob):
    worker = new_worker()

    def asked():
        with CaptureQueriesContext(connection) as queries:
            assert runs.claim(worker, AGENTS, 10, [alice.id] * 10) == []
        return [query["sql"] for query in queries]

    queue(alice, 200)
    few = len(asked())
    queue(alice, 3000)
    statements = asked()
    assert len(statements) == few
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as PostgreSQL does by itself
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN (ANALYZE)"
        plans = []
        for statement in statements:
            cursor.execute(f"{explain} {statement}")
            plans.append("\n".join(str(row) for row in cursor.fetchall()))
    users = next(plan for plan, text in zip(plans, statements, strict=True) if "WITH RECURSIVE" in text)
    assert "run_user_queue" in users
    assert not re.search(r"run_scheduled|Seq Scan on chat_run|SCAN r\b(?! USING)", users)
    for plan in plans:  # PostgreSQL says how many rows each step has read
        assert max(map(int, re.findall(r"actual .*?rows=(\d+)", plan)), default=0) <= runs.MAX_SCANNED_RUNS + 10
        assert "RIGHT PART OF ORDER BY" not in plan


def test_claim_retried_run_counts_like_any_other(shared, alice):
    first, _ = started(alice, 2)
    worker = new_worker()
    (run,) = runs.claim(worker, AGENTS, 2)
    runs.record([RunBatch(run, end=RunOutcome(Run.QUEUED, error_code="x"))])
    assert ids(runs.claim(worker, AGENTS, 2)) == [first]
    assert runs.claim(worker, AGENTS, 1, [alice.id]) == []
