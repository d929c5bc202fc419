"""The older field names of `/ws/legacy`."""

import json

from chat.protocol.encoding import dumps, encoded_size
from chat.protocol.events import ENVELOPE, EVENTS
from chat.protocol.limits import MAX_EVENT

_OLDER_FIELDS: tuple[tuple[str, str], ...] = (
    ("reasoning", "thought"),
    ("tool_name", "tool"),
    ("result", "results"),
    ("duration_ms", "execution_time_ms"),
    ("final_response", "content"),
    ("final_response", "response"),
    ("message", "error_message"),
)


def with_older_names(text: str) -> str:
    """Add the older names to an event's frame; return a control frame as it is.

    Where the older names would bring a frame over MAX_EVENT, `data` is left out first, then all of them.
    """
    frame = json.loads(text)
    if frame["type"] not in EVENTS:
        return text
    data = {name: value for name, value in frame.items() if name not in ENVELOPE}
    widened = frame | {old: frame[new] for new, old in _OLDER_FIELDS if new in frame and old not in frame}
    if frame["type"] == "input_requested":  # a client that does not know it shows the question as a thought
        widened["thought"] = frame["message"]
        del widened["error_message"]
    if "duration_ms" in frame:
        widened["duration"] = frame["duration_ms"] / 1000
    for older in ({**widened, "data": data}, widened):
        if encoded_size(older) <= MAX_EVENT:
            return dumps(older)
    return text
