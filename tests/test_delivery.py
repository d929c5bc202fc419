"""What a socket is sent of each thread: pure, no socket and no database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.delivery import Delivery, Window
from chat.protocol import MAX_AHEAD, MAX_UNREAD

THREAD, OTHER, RUN, FOREIGN = "thread", "other", "run", "foreign"


def offered(delivery, *seqs, run=RUN):
    """The numbers that are sent as they are."""
    sent = []
    for seq in seqs:
        if delivery.offer(THREAD, seq, run):
            delivery.sent(THREAD, seq, run, ends=False)
            sent.append(seq)
    return sent


# ---- In order, once ----------------------------------------------------------------------------------------


def test_events_in_order_are_sent_as_they_are():
    delivery = Delivery("main", {})
    assert offered(delivery, 1, 2, 3) == [1, 2, 3]
    assert delivery.cursor(THREAD) == 3
    assert not delivery.behind


def test_what_is_older_is_dropped():
    delivery = Delivery("main", {})
    assert offered(delivery, 1, 1, 2, 1, 2, 3) == [1, 2, 3]


def test_a_thread_from_before_the_connection_goes_on_from_its_head():
    delivery = Delivery("main", {THREAD: 7})
    assert offered(delivery, 7, 8) == [8]


def test_after_a_gap_the_log_is_read():
    delivery = Delivery("main", {})
    assert offered(delivery, 1, 3, 4) == [1]
    assert delivery.behind == {THREAD}
    assert delivery.cursor(THREAD) == 1
    delivery.behind.discard(THREAD)
    for seq in (2, 3, 4):
        delivery.sent(THREAD, seq, RUN, ends=False)
    assert offered(delivery, 4, 5) == [5]


def test_nothing_overtakes_what_is_still_to_be_read():
    delivery = Delivery("main", {})
    delivery.behind.add(THREAD)
    assert offered(delivery, 1) == []
    assert delivery.behind == {THREAD}


def test_a_thread_that_is_resumed_page_by_page_waits():
    delivery = Delivery("main", {})
    delivery.paused.add(THREAD)
    assert offered(delivery, 1, 2, 3) == []
    assert not delivery.compare(THREAD, 3)
    assert not delivery.behind
    delivery.paused.discard(THREAD)
    delivery.move(THREAD, 3)
    assert offered(delivery, 4) == [4]


@given(st.lists(st.integers(1, 12)), st.integers(0, 5))
def test_whatever_arrives_the_numbers_sent_have_no_gap_and_no_duplicate(arriving, head):
    delivery, sent = Delivery("main", {THREAD: head}), []
    log = max(arriving, default=0)
    for seq in arriving:
        sent += offered(delivery, seq)
        if delivery.behind:
            delivery.behind.clear()
            for missed in range(delivery.cursor(THREAD) + 1, seq + 1):
                delivery.sent(THREAD, missed, RUN, ends=False)
                sent.append(missed)
    assert sent == list(range(head + 1, max(log, head) + 1))


# ---- Comparing with the log --------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "behind"), [(0, False), (4, False), (5, False), (6, True), (60, True)])
def test_comparing_finds_what_was_not_sent(head, behind):
    delivery = Delivery("main", {THREAD: 5})
    assert delivery.compare(THREAD, head) is behind
    assert (THREAD in delivery.behind) is behind


def test_a_thread_never_seen_is_owed_from_its_first_event():
    delivery = Delivery("main", {OTHER: 5})
    assert delivery.compare(THREAD, 1)
    assert delivery.cursor(THREAD) == 0


def test_a_run_is_compared_until_its_end_was_sent():
    delivery = Delivery("main", {})
    delivery.started(THREAD, RUN, 0, repeated=False)
    delivery.sent(THREAD, 1, RUN, ends=False)
    delivery.sent(THREAD, 2, FOREIGN, ends=False)
    assert delivery.live == {THREAD: {RUN, FOREIGN}}
    delivery.sent(THREAD, 3, RUN, ends=True)
    assert delivery.live == {THREAD: {FOREIGN}}
    delivery.sent(THREAD, 4, FOREIGN, ends=True)
    delivery.sent(THREAD, 5, "", ends=False)
    assert delivery.live == {}


def test_a_repeated_message_may_have_ended_so_the_log_is_read():
    delivery = Delivery("main", {})
    delivery.started(THREAD, RUN, 0, repeated=True)
    assert delivery.behind == {THREAD}
    assert delivery.live == {}


def test_a_deleted_thread_is_not_compared_any_more():
    delivery = Delivery("main", {})
    delivery.started(THREAD, RUN, 0, repeated=False)
    delivery.behind.add(THREAD)
    delivery.paused.add(THREAD)
    delivery.forget(THREAD)
    assert (delivery.live, delivery.behind, delivery.paused) == ({}, set(), set())


# ---- The four paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["main", "legacy"])
def test_main_and_legacy_want_everything(mode):
    delivery = Delivery(mode, {})
    assert delivery.wants(THREAD)
    assert delivery.wants(THREAD, RUN)
    assert delivery.own_runs(THREAD) is None


def test_factory_wants_the_threads_it_started_or_named():
    delivery = Delivery("factory", {})
    assert offered(delivery, 1) == []
    assert not delivery.compare(THREAD, 9)
    delivery.started(THREAD, RUN, 0, repeated=False)
    assert offered(delivery, 1) == [1]
    assert offered(delivery, 2, run=FOREIGN) == [2]
    assert not delivery.wants(OTHER)
    delivery.named(OTHER)
    assert delivery.wants(OTHER, FOREIGN)
    assert delivery.own_runs(THREAD) is None


def test_isolated_wants_the_runs_it_started():
    delivery = Delivery("isolated", {})
    assert delivery.own_runs(THREAD) == set()
    delivery.named(THREAD)
    assert not delivery.wants(THREAD)
    delivery.started(THREAD, RUN, 0, repeated=False)
    assert offered(delivery, 1) == [1]
    assert offered(delivery, 2, run=FOREIGN) == []
    assert offered(delivery, 2, run="") == []  # an event of the thread that belongs to no run
    assert not delivery.behind
    assert delivery.own_runs(THREAD) == {RUN}
    assert delivery.own_runs(OTHER) == set()
    assert not delivery.wants(OTHER)


@pytest.mark.parametrize("mode", ["factory", "isolated"])
def test_a_thread_begins_for_a_confined_socket_with_its_own_message(mode):
    delivery = Delivery(mode, {THREAD: 4})
    delivery.started(THREAD, RUN, 8, repeated=False)  # 5 to 8 were others', before this
    assert offered(delivery, 9, 10) == [9, 10]
    delivery.started(THREAD, "second", 19, repeated=False)
    assert delivery.cursor(THREAD) == 10


def test_isolated_does_not_read_the_same_foreign_events_again_and_again():
    delivery = Delivery("isolated", {})
    delivery.started(THREAD, RUN, 0, repeated=False)
    offered(delivery, 1)
    assert delivery.compare(THREAD, 8)
    delivery.behind.clear()
    delivery.seen(THREAD, 8)
    assert not delivery.compare(THREAD, 8)
    delivery.seen(THREAD, 5)
    assert delivery.cursor(THREAD) == 8


def test_elsewhere_what_was_not_sent_was_not_seen():
    delivery = Delivery("main", {})
    delivery.seen(THREAD, 8)
    assert delivery.cursor(THREAD) == 0


# ---- How far ahead -----------------------------------------------------------------------------------------

MIB = "x" * (1024 * 1024)


def test_without_an_ack_everything_fits():
    window = Window()
    for _ in range(3):
        window.sent(MIB)
        assert window.fits(MIB)


def test_from_the_first_ack_on_at_most_a_mebibyte_is_sent_ahead():
    window = Window()
    window.sent(MIB)
    window.acked(1)
    window.sent("x" * (MAX_AHEAD - 1))
    assert window.fits("x")
    assert not window.fits("xx")
    window.acked(2)
    assert window.fits(MIB)
    window.sent(MIB)
    assert not window.fits("x")
    window.acked(3)
    assert window.fits(MIB)


def test_acks_for_what_was_not_sent_or_again_change_nothing():
    window = Window()
    window.acked(0)
    window.sent(MIB)
    for received in (0, 0):
        window.acked(received)
        assert not window.fits("x")
    window.acked(1_000_000)
    assert window.fits(MIB)
    window.sent(MIB)
    window.acked(1)
    assert not window.fits("x")
    window.acked(2)
    assert window.fits(MIB)


def test_what_was_sent_before_the_first_ack_counts():
    window = Window()
    for _ in range(9):
        window.sent("x" * (MAX_AHEAD // 2))
    window.acked(1)
    assert not window.fits("x")
    window.acked(8)
    assert window.fits("x" * (MAX_AHEAD // 2))
    assert not window.fits("x" * (MAX_AHEAD // 2 + 1))


def test_bytes_are_counted_not_characters():
    window = Window()
    window.acked(0)
    window.sent("é" * (MAX_AHEAD // 2))
    assert not window.fits("x")


def test_four_mebibytes_without_a_sign_of_life_are_too_many():
    window = Window()
    window.sent("x" * MAX_UNREAD)
    assert not window.too_slow
    window.heard()
    window.sent("x" * MAX_UNREAD)
    assert not window.too_slow
    window.sent("x")
    assert window.too_slow


@given(st.lists(st.tuples(st.integers(0, MAX_AHEAD // 2), st.integers(0, 3)), max_size=30))
def test_the_window_knows_what_is_ahead(steps):
    window, sizes, acked = Window(), [], 0
    window.acked(0)
    for size, more in steps:
        window.sent("x" * size)
        sizes.append(size)
        acked = min(len(sizes), acked + more)
        window.acked(acked)
        ahead = sum(sizes[acked:])
        assert window.fits("x") is (acked == len(sizes) or ahead + 1 <= MAX_AHEAD)


def test_a_resend_does_not_end_the_pause_between_two_pages():
    delivery = Delivery("main", {THREAD: 9})
    delivery.paused.add(THREAD)
    delivery.started(THREAD, RUN, 0, repeated=True)
    assert not delivery.behind
