"""Events of each thread that a socket is sent: pure, no socket and no database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocol import MAX_AHEAD, MAX_UNREAD
from chat.realtime.flow_control import SendWindow
from chat.realtime.subscriptions import Subscriptions

THREAD, OTHER, RUN, FOREIGN = "thread", "other", "run", "foreign"


def offered(subscriptions, *seqs, run=RUN):
    """The numbers that are sent as they are."""
    sent = []
    for seq in seqs:
        if subscriptions.accept(THREAD, seq, run):
            subscriptions.record_sent(THREAD, seq, run, "agent_delta")
            sent.append(seq)
    return sent


# ---- In order, once ----------------------------------------------------------------------------------------


def test_events_in_order_are_sent_as_they_are():
    subscriptions = Subscriptions("main", {})
    assert offered(subscriptions, 1, 2, 3) == [1, 2, 3]
    assert subscriptions.cursor(THREAD) == 3
    assert not subscriptions.lagging


def test_accept_older_event_is_dropped():
    subscriptions = Subscriptions("main", {})
    assert offered(subscriptions, 1, 1, 2, 1, 2, 3) == [1, 2, 3]


def test_a_thread_from_before_the_connection_goes_on_from_its_head():
    subscriptions = Subscriptions("main", {THREAD: 7})
    assert offered(subscriptions, 7, 8) == [8]


def test_after_a_gap_the_log_is_read():
    subscriptions = Subscriptions("main", {})
    assert offered(subscriptions, 1, 3, 4) == [1]
    assert subscriptions.lagging == {THREAD}
    assert subscriptions.cursor(THREAD) == 1
    subscriptions.lagging.discard(THREAD)
    for seq in (2, 3, 4):
        subscriptions.record_sent(THREAD, seq, RUN, "agent_delta")
    assert offered(subscriptions, 4, 5) == [5]


def test_accept_lagging_thread_sends_no_later_event():
    subscriptions = Subscriptions("main", {})
    subscriptions.lagging.add(THREAD)
    assert offered(subscriptions, 1) == []
    assert subscriptions.lagging == {THREAD}


def test_a_thread_that_is_resumed_page_by_page_waits():
    subscriptions = Subscriptions("main", {})
    subscriptions.awaiting_resume.add(THREAD)
    assert offered(subscriptions, 1, 2, 3) == []
    assert not subscriptions.reconcile(THREAD, 3)
    assert not subscriptions.lagging
    subscriptions.awaiting_resume.discard(THREAD)
    subscriptions.move_cursor(THREAD, 3)
    assert offered(subscriptions, 4) == [4]


@given(st.lists(st.integers(1, 12)), st.integers(0, 5))
def test_accept_any_arrivals_send_numbers_without_gap_or_duplicate(arriving, head):
    subscriptions, sent = Subscriptions("main", {THREAD: head}), []
    log = max(arriving, default=0)
    for seq in arriving:
        sent += offered(subscriptions, seq)
        if subscriptions.lagging:
            subscriptions.lagging.clear()
            for missed in range(subscriptions.cursor(THREAD) + 1, seq + 1):
                subscriptions.record_sent(THREAD, missed, RUN, "agent_delta")
                sent.append(missed)
    assert sent == list(range(head + 1, max(log, head) + 1))


# ---- Comparing with the log --------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "lagging"), [(0, False), (4, False), (5, False), (6, True), (60, True)])
def test_comparing_finds_what_was_not_sent(head, lagging):
    subscriptions = Subscriptions("main", {THREAD: 5})
    assert subscriptions.reconcile(THREAD, head) is lagging
    assert (THREAD in subscriptions.lagging) is lagging


def test_a_thread_never_seen_is_owed_from_its_first_event():
    subscriptions = Subscriptions("main", {OTHER: 5})
    assert subscriptions.reconcile(THREAD, 1)
    assert subscriptions.cursor(THREAD) == 0


def test_a_run_is_compared_until_its_end_was_sent():
    subscriptions = Subscriptions("main", {})
    subscriptions.add_run(THREAD, RUN, 0, repeated=False)
    subscriptions.record_sent(THREAD, 1, RUN, "agent_delta")
    subscriptions.record_sent(THREAD, 2, FOREIGN, "agent_delta")
    assert subscriptions.active_runs == {THREAD: {RUN: 0, FOREIGN: 0}}
    subscriptions.record_sent(THREAD, 3, RUN, "agent_completed")
    assert subscriptions.active_runs == {THREAD: {FOREIGN: 0}}
    subscriptions.record_sent(THREAD, 4, FOREIGN, "agent_completed")
    subscriptions.record_sent(THREAD, 5, "", "thread_updated")
    assert subscriptions.active_runs == {}


def test_a_repeated_message_may_have_ended_so_the_log_is_read():
    subscriptions = Subscriptions("main", {})
    subscriptions.add_run(THREAD, RUN, 0, repeated=True)
    assert subscriptions.lagging == {THREAD}
    assert subscriptions.active_runs == {}


def test_a_deleted_thread_is_not_compared_any_more():
    subscriptions = Subscriptions("main", {})
    subscriptions.add_run(THREAD, RUN, 0, repeated=False)
    subscriptions.lagging.add(THREAD)
    subscriptions.awaiting_resume.add(THREAD)
    subscriptions.remove_thread(THREAD)
    assert (subscriptions.active_runs, subscriptions.lagging, subscriptions.awaiting_resume) == ({}, set(), set())


# ---- The four paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["main", "legacy"])
def test_main_and_legacy_want_everything(mode):
    subscriptions = Subscriptions(mode, {})
    assert subscriptions.includes(THREAD)
    assert subscriptions.includes(THREAD, RUN)
    assert subscriptions.own_runs(THREAD) is None


def test_factory_wants_the_threads_it_started_or_named():
    subscriptions = Subscriptions("factory", {})
    assert offered(subscriptions, 1) == []
    assert not subscriptions.reconcile(THREAD, 9)
    subscriptions.add_run(THREAD, RUN, 0, repeated=False)
    assert offered(subscriptions, 1) == [1]
    assert offered(subscriptions, 2, run=FOREIGN) == [2]
    assert not subscriptions.includes(OTHER)
    subscriptions.add_thread(OTHER)
    assert subscriptions.includes(OTHER, FOREIGN)
    assert subscriptions.own_runs(THREAD) is None


def test_isolated_wants_the_runs_it_started():
    subscriptions = Subscriptions("isolated", {})
    assert subscriptions.own_runs(THREAD) == set()
    subscriptions.add_thread(THREAD)
    assert not subscriptions.includes(THREAD)
    subscriptions.add_run(THREAD, RUN, 0, repeated=False)
    assert offered(subscriptions, 1) == [1]
    assert offered(subscriptions, 2, run=FOREIGN) == []
    assert offered(subscriptions, 2, run="") == []  # an event of the thread that belongs to no run
    assert not subscriptions.lagging
    assert subscriptions.own_runs(THREAD) == {RUN}
    assert subscriptions.own_runs(OTHER) == set()
    assert not subscriptions.includes(OTHER)


@pytest.mark.parametrize("mode", ["factory", "isolated"])
def test_a_thread_begins_for_a_confined_socket_with_its_own_message(mode):
    subscriptions = Subscriptions(mode, {THREAD: 4})
    subscriptions.add_run(THREAD, RUN, 8, repeated=False)  # 5 to 8 were others', before this
    assert offered(subscriptions, 9, 10) == [9, 10]
    subscriptions.add_run(THREAD, "second", 19, repeated=False)
    assert subscriptions.cursor(THREAD) == 10


def test_isolated_does_not_read_the_same_foreign_events_again_and_again():
    subscriptions = Subscriptions("isolated", {})
    subscriptions.add_run(THREAD, RUN, 0, repeated=False)
    offered(subscriptions, 1)
    assert subscriptions.reconcile(THREAD, 8)
    subscriptions.lagging.clear()
    subscriptions.mark_advanced(THREAD, 8)
    assert not subscriptions.reconcile(THREAD, 8)
    subscriptions.mark_advanced(THREAD, 5)
    assert subscriptions.cursor(THREAD) == 8


def test_mark_advanced_in_mode_main_keeps_the_cursor():
    subscriptions = Subscriptions("main", {})
    subscriptions.mark_advanced(THREAD, 8)
    assert subscriptions.cursor(THREAD) == 0


# ---- How far ahead -----------------------------------------------------------------------------------------

MIB = "x" * (1024 * 1024)


def test_without_an_ack_everything_fits():
    window = SendWindow()
    for _ in range(3):
        window.add(MIB)
        assert window.fits(MIB)


def test_from_the_first_ack_on_at_most_a_mebibyte_is_sent_ahead():
    window = SendWindow()
    window.add(MIB)
    window.acknowledge(1)
    window.add("x" * (MAX_AHEAD - 1))
    assert window.fits("x")
    assert not window.fits("xx")
    window.acknowledge(2)
    assert window.fits(MIB)
    window.add(MIB)
    assert not window.fits("x")
    window.acknowledge(3)
    assert window.fits(MIB)


def test_acks_for_what_was_not_sent_or_again_change_nothing():
    window = SendWindow()
    window.acknowledge(0)
    window.add(MIB)
    for received in (0, 0):
        window.acknowledge(received)
        assert not window.fits("x")
    window.acknowledge(1_000_000)
    assert window.fits(MIB)
    window.add(MIB)
    window.acknowledge(1)
    assert not window.fits("x")
    window.acknowledge(2)
    assert window.fits(MIB)


def test_window_counts_frames_before_the_first_ack():
    window = SendWindow()
    for _ in range(9):
        window.add("x" * (MAX_AHEAD // 2))
    window.acknowledge(1)
    assert not window.fits("x")
    window.acknowledge(8)
    assert window.fits("x" * (MAX_AHEAD // 2))
    assert not window.fits("x" * (MAX_AHEAD // 2 + 1))


def test_bytes_are_counted_not_characters():
    window = SendWindow()
    window.acknowledge(0)
    window.add("é" * (MAX_AHEAD // 2))
    assert not window.fits("x")


def test_four_mebibytes_without_a_sign_of_life_are_too_many():
    window = SendWindow()
    window.add("x" * MAX_UNREAD)
    assert not window.too_slow
    window.reset_unread()
    window.add("x" * MAX_UNREAD)
    assert not window.too_slow
    window.add("x")
    assert window.too_slow


@given(st.lists(st.tuples(st.integers(0, MAX_AHEAD // 2), st.integers(0, 3)), max_size=30))
def test_the_window_knows_what_is_ahead(steps):
    window, sizes, acked = SendWindow(), [], 0
    window.acknowledge(0)
    for size, more in steps:
        window.add("x" * size)
        sizes.append(size)
        acked = min(len(sizes), acked + more)
        window.acknowledge(acked)
        ahead = sum(sizes[acked:])
        assert window.fits("x") is (acked == len(sizes) or ahead + 1 <= MAX_AHEAD)


def test_a_resend_does_not_end_the_pause_between_two_pages():
    subscriptions = Subscriptions("main", {THREAD: 9})
    subscriptions.awaiting_resume.add(THREAD)
    subscriptions.add_run(THREAD, RUN, 0, repeated=True)
    assert not subscriptions.lagging


# ---- Live text ---------------------------------------------------------------------------------------------


def in_step(subscriptions, seq, run=RUN):
    return subscriptions.is_in_step(THREAD, seq, run)


def test_live_text_is_for_a_socket_that_has_every_event_before_it():
    subscriptions = Subscriptions("main", {THREAD: 2})
    assert in_step(subscriptions, 2)
    assert not in_step(subscriptions, 3)
    assert offered(subscriptions, 3) == [3]
    assert in_step(subscriptions, 3)


@pytest.mark.parametrize("missing", ["lagging", "awaiting_resume"])
def test_live_text_is_not_for_a_socket_that_misses_events(missing):
    subscriptions = Subscriptions("main", {THREAD: 2})
    getattr(subscriptions, missing).add(THREAD)
    assert not in_step(subscriptions, 2)
    assert subscriptions.is_in_step(OTHER, 0, RUN)


def test_live_text_of_an_attempt_before_the_last_restart_is_dropped():
    subscriptions = Subscriptions("main", {THREAD: 1})
    for seq, kind in ((2, "agent_started"), (3, "run_restarted"), (4, "agent_started")):
        subscriptions.record_sent(THREAD, seq, RUN, kind)
    assert not in_step(subscriptions, 2)  # a Redis that stood still delivers it now
    assert in_step(subscriptions, 4)
    subscriptions.record_sent(THREAD, 5, RUN, "agent_delta")
    assert not in_step(subscriptions, 2)
    assert in_step(subscriptions, 4)  # said before the delta was logged


def test_live_text_from_before_the_connection_or_what_the_client_resumes_after_is_dropped():
    subscriptions = Subscriptions("main", {THREAD: 4})
    assert not in_step(subscriptions, 2)
    assert in_step(subscriptions, 4)
    subscriptions.move_cursor(THREAD, 6)
    assert not in_step(subscriptions, 4)
    assert in_step(subscriptions, 6)


def test_live_text_is_for_the_sockets_that_its_events_are_for():
    isolated, factory = Subscriptions("isolated", {}), Subscriptions("factory", {})
    for subscriptions in (isolated, factory):
        assert not in_step(subscriptions, 0)
        subscriptions.add_run(THREAD, RUN, 0, repeated=False)
        assert in_step(subscriptions, 0)
    assert not in_step(isolated, 0, run=FOREIGN)
    assert in_step(factory, 0, run=FOREIGN)
