"""AG-UI: a run's events as frames. The client's own schema reads the golden file, too (tests/interop)."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chat.dialects import agui, agui_messages, project
from tests import run_logs
from tests.run_logs import FACTS, FOREVER

GOLDEN = Path(__file__).parent.parent / "golden" / "agui.json"
CUT = st.integers(0, 40)
BRANCH = [{"id": "u1", "role": "user", "content": "Reduce my costs by 30 %"}]


def projection(**given):
    return agui.Projection(FACTS, "chat-1", "run-1", BRANCH, **{"known": FOREVER, **given})


def frames_of(events):
    return project(projection(), events)


@given(run_logs.logs(), CUT)
def test_agui_of_a_longer_log_only_adds_frames(log, cut):
    assert frames_of(log)[: len(frames_of(log[:cut]))] == frames_of(log[:cut])


def test_agui_matches_its_golden_file():
    lines = ",\n".join(json.dumps(frame, ensure_ascii=False) for frame in frames_of(run_logs.everything()))
    assert f"[\n{lines}\n]\n" == GOLDEN.read_text()


@given(run_logs.logs())
def test_agui_opens_before_it_writes_and_ends_with_nothing_open(log):
    text, agents, calls, is_running = False, set(), set(), False
    for frame in frames_of(log):
        kind = frame["type"]
        if kind == "RUN_STARTED":
            assert not is_running
            is_running = True
            continue
        assert is_running
        if kind == "TEXT_MESSAGE_START":
            assert not text
            text = True
        elif kind == "TEXT_MESSAGE_CONTENT":
            assert text
            assert frame["delta"]
        elif kind == "TEXT_MESSAGE_END":
            assert text
            text = False
        elif kind == "SUBAGENT_STARTED":
            assert frame["subagentRunId"] not in agents
            agents.add(frame["subagentRunId"])
        elif kind in ("SUBAGENT_FINISHED", "SUBAGENT_ERROR"):
            agents.remove(frame["subagentRunId"])
        elif kind == "TOOL_CALL_START":
            calls.add(frame["toolCallId"])
        elif kind == "TOOL_CALL_RESULT":
            assert frame["toolCallId"] in calls
        elif kind in ("RUN_FINISHED", "RUN_ERROR"):
            assert not text
            assert not agents
            is_running = False
        if "subagentRunId" in frame and not kind.startswith("SUBAGENT"):
            assert frame["subagentRunId"] in agents or kind == "TOOL_CALL_RESULT"
        assert None not in frame.values()


def shown(frames):
    """The messages of a client that had the branch and read these frames."""
    messages = agui_messages.copied(BRANCH)
    for frame in frames:
        if frame["type"] == "MESSAGES_SNAPSHOT":
            messages = agui_messages.copied(frame["messages"])
        agui_messages.apply(messages, frame)
    return messages


@given(run_logs.logs(), CUT)
def test_agui_shows_a_client_that_joins_what_the_others_have(log, cut):
    frames = project(projection(before=log[:cut], snapshot=True), log)

    def content(messages):
        return [{name: value for name, value in one.items() if name != "metadata"} for one in messages]

    assert content(shown(frames)) == content(shown(frames_of(log)))
