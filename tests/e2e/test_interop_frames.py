"""The frames of many runs before the schemas and reducers of their clients, without a site."""

import json

from hypothesis import HealthCheck, given, settings

from chat.dialects import agui, agui_messages, aisdk, project
from tests import interop, run_logs
from tests.run_logs import FACTS, FOREVER

BRANCH = [{"id": "u1", "role": "user", "content": "Reduce my costs by 30 %"}]


def frames_of(log):
    chunks = [chunk for chunk in project(aisdk.Projection(FACTS, FOREVER), log) if chunk != aisdk.DONE]
    ids = (FACTS, "chat-1", "run-1", BRANCH)
    events = project(agui.Projection(*ids, known=FOREVER), log)
    joined = project(agui.Projection(*ids, log[: len(log) // 2], True, FOREVER), log)
    messages = agui_messages.copied(BRANCH)
    for frame in events:
        if frame["type"] == "MESSAGES_SNAPSHOT":
            messages = agui_messages.copied(frame["messages"])
        agui_messages.apply(messages, frame)
    shown = {"chunks": chunks, "message": aisdk.message(chunks)}
    return {**shown, "events": events, "joined": joined, "branch": BRANCH, "messages": messages}


def test_clients_take_every_frame_and_show_what_is_stored(tmp_path):
    runs = [frames_of(run_logs.everything())]

    @settings(suppress_health_check=list(HealthCheck))
    @given(run_logs.logs())
    def collect(log):
        runs.append(frames_of(log))

    collect()
    path = tmp_path / "frames.json"
    path.write_text(json.dumps(runs))
    interop.run_script("frames.test.mjs", NETRA_FRAMES=str(path))
