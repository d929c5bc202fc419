"""AI SDK: a run's events as chunks. The client's own schema reads the golden file, too (tests/interop)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.dialects import aisdk, project
from tests import run_logs
from tests.run_logs import FACTS, FOREVER, Log

GOLDEN = Path(__file__).parent.parent / "golden" / "aisdk.json"
CUT = st.integers(0, 40)


def frames_of(events, known=FOREVER):
    """The numbered frames of a client that reads on over every wait."""
    return [frame for frame in project(aisdk.Projection(FACTS, known), events) if frame != aisdk.DONE]


@given(run_logs.logs(), CUT)
def test_aisdk_of_a_longer_log_only_adds_frames(log, cut):
    assert frames_of(log)[: len(frames_of(log[:cut]))] == frames_of(log[:cut])


def test_aisdk_matches_its_golden_file():
    lines = ",\n".join(json.dumps(frame, ensure_ascii=False) for frame in frames_of(run_logs.everything()))
    assert f"[\n{lines}\n]\n" == GOLDEN.read_text()


@given(run_logs.logs())
def test_aisdk_opens_before_it_writes_and_closes_once(log):
    open_blocks, seen, calls, approvals = set(), set(), set(), set()
    for chunk in frames_of(log):
        kind = chunk["type"]
        if kind in ("text-start", "reasoning-start"):
            assert chunk["id"] not in seen
            open_blocks.add(chunk["id"])
            seen.add(chunk["id"])
        elif kind in ("text-delta", "reasoning-delta"):
            assert chunk["id"] in open_blocks
            assert chunk["delta"]
        elif kind in ("text-end", "reasoning-end"):
            open_blocks.remove(chunk["id"])
        elif kind == "reset-step":
            open_blocks, calls, approvals = set(), set(), set()
        elif kind == "tool-input-start":
            calls.add(chunk["toolCallId"])
        elif kind == "tool-approval-response":
            assert chunk["approvalId"] in approvals
        elif kind.startswith("tool-"):
            assert chunk["toolCallId"] in calls
            approvals |= {chunk["approvalId"]} if kind == "tool-approval-request" else set()
        elif kind in ("finish", "error"):
            assert not open_blocks


@given(run_logs.logs())
def test_aisdk_message_has_the_text_of_the_last_attempt(log):
    said, final = "", None
    for event in log:
        if event["type"] == "run_restarted":
            said = ""
        elif event["type"] == "agent_delta":
            said += event["delta"]
        elif event["type"] == "agent_completed":
            final = event["final_response"]
    texts = [part["text"] for part in aisdk.message(frames_of(log))["parts"] if part["type"] == "text"]
    if final is None or final.startswith(said):
        assert "".join(texts) == (said if final is None else final)
    else:
        assert texts[-1] == final


def test_aisdk_numbers_texts_and_thoughts_in_one_row():
    log = Log()
    log.begin()
    log.say("One")
    log.add("agent_thinking", reasoning="Hm")
    log.say("Two")
    chunks = frames_of(log.events)
    assert [chunk["id"] for chunk in chunks if chunk["type"].endswith("-start") and "id" in chunk] == ["t1", "r2", "t3"]


@pytest.mark.parametrize(
    ("end", "types"),
    [
        ("complete", ["text-end", "finish-step", "finish"]),
        ("fail", ["text-end", "error"]),
        ("cancel", ["text-end", "abort", "finish-step", "finish"]),
    ],
)
def test_aisdk_ends_a_run_by_its_terminal_event(end, types):
    log = Log()
    log.begin()
    log.say("One")
    getattr(log, end)()
    assert [chunk["type"] for chunk in frames_of(log.events)][-len(types) :] == types
