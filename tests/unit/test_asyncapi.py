"""The AsyncAPI document: valid by the specification's own schema, and of the frames that really pass."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft7Validator, ValidationError
from pydantic import TypeAdapter

from chat import protocol
from chat.aisdk.frames import AnyAnswer, AnyFrame, client_frame, frame_text
from chat.api.asyncapi import REFERENCE, document
from chat.protocol import COMMANDS, EVENTS, MODES
from chat.protocol.controls import AnyControl

SPECIFICATION = Path("node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json")
ID = "0b3c8a52-6a0e-4c1d-9d6e-2f6b1a4c8e37"


@pytest.fixture(scope="module")
def described():
    return document("https://netra.example")


def resolved(described, reference):
    """Return what a `$ref` names."""
    found = described
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        value = list(value.values())
    for part in value if isinstance(value, list) else []:
        yield from references(part)


def payload_of(described, name, mode="main"):
    """Return the validator of the message for frames of this type on this channel."""
    messages = [resolved(described, entry["$ref"]) for entry in described["channels"][mode]["messages"].values()]
    (message,) = (one for one in messages if name in types_of(resolved(described, one["payload"]["$ref"])))
    return Draft7Validator({**message["payload"], "components": described["components"]})


def types_of(schema):
    kind = schema["properties"]["type"]
    return kind.get("enum") or [kind["const"]]


@pytest.mark.parametrize("origin", ["https://netra.example", "http://127.0.0.1:8000", "http://[::1]:8000"])
@pytest.mark.parametrize("base", ["", "/netra", "/tools/netra"])
def test_document_is_valid_asyncapi_3(settings, origin, base):
    settings.NETRA_BASE_PATH = base
    found = document(origin)
    Draft7Validator(json.loads(SPECIFICATION.read_text())).validate(found)
    (server,) = found["servers"].values()
    assert (server["host"], server["pathname"]) == (origin.partition("//")[2], base or "/")
    assert server["protocol"] == ("wss" if origin.startswith("https") else "ws")


def test_specification_refuses_what_is_not_asyncapi(described):
    for wrong in ({**described, "channels": []}, {**described, "asyncapi": "4.0.0"}, {**described, "more": 1}):
        with pytest.raises(ValidationError):
            Draft7Validator(json.loads(SPECIFICATION.read_text())).validate(wrong)


def test_every_reference_leads_to_something(described):
    found = set(references(described))
    assert len(found) > 50
    for reference in found:
        assert resolved(described, reference), reference


def test_every_path_and_every_frame_is_described(described):
    assert {channel["address"]: mode for mode, channel in described["channels"].items()} == MODES
    controls = {kind for model in get_args(AnyControl) for kind in types_of(model.model_json_schema())}
    for mode in set(MODES.values()) - {"ai-sdk"}:
        assert passing(described, f"receive_{mode}") == set(COMMANDS)
        assert passing(described, f"send_{mode}") == EVENTS | controls
    assert passing(described, "receive_ai-sdk") == {"send", "resume", "abort"}
    assert passing(described, "send_ai-sdk") == {"chunk", "start", "end", "no-active", "error"}


def test_declarations_of_ai_sdk_have_names_of_their_own():
    own = protocol.schemas_of({"Frame": TypeAdapter(AnyFrame), "Answer": TypeAdapter(AnyAnswer)}, REFERENCE)
    assert not set(own) & set(protocol.json_schemas())


def passing(described, operation):
    """Return the types of the frames of an operation."""
    messages = [resolved(described, entry["$ref"]) for entry in described["operations"][operation]["messages"]]
    payloads = [resolved(described, message["$ref"])["payload"] for message in messages]
    return {kind for payload in payloads for kind in types_of(resolved(described, payload["$ref"]))}


def test_frames_are_as_described(described):
    now = datetime.now(UTC)
    first = protocol.connection_established(
        connection_id=ID, user_id="1", mode="main", agents=["echo"], server_time=now
    )
    head, tail = protocol.event(
        "tool_completed",
        thread_id=ID,
        run_id=ID,
        attempt=1,
        agent_name="echo",
        timestamp=protocol.timestamp(now),
        fields={"tool_call_id": "a", "tool_name": "count", "result": [1], "success": True, "duration_ms": 3},
    )
    error = protocol.ProtocolError("rate_limited", "Wait.", ref="x", retry_after=1.5).frame()
    for text in (first, f"{head}7{tail}", error):
        frame = json.loads(text)
        validator = payload_of(described, frame["type"])
        validator.validate(frame)
        wrong = [{**frame, name: {"no": "value"}} for name in ("seq", "timestamp", "recoverable") if name in frame]
        assert wrong
        for changed in wrong:
            assert not validator.is_valid(changed)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "user_message", "content": "hello", "thread_id": None, "parent_id": None, "interactive": False},
        {"type": "resume", "thread_id": ID, "after": 0},
        {"type": "heartbeat", "id": 7},
        {"type": "answer_input", "request_id": ID, "action": "accept", "content": {"value": "x"}},
    ],
)
def test_frames_of_clients_are_as_described(described, frame):
    validator = payload_of(described, frame["type"])
    validator.validate(frame)
    protocol.parse(json.dumps(frame))
    assert not validator.is_valid({"type": frame["type"]}) or frame["type"] == "heartbeat"


USER = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
HEADERS = {"authorization": "Bearer x"}


@pytest.mark.parametrize(
    "frame",
    [
        {
            "type": "send",
            "requestId": "r1",
            "id": "c",
            "trigger": "submit-message",
            "messages": [USER],
            "headers": HEADERS,
            "body": {"agent": "echo"},
        },
        {"type": "resume", "requestId": "r1", "id": "c", "headers": {}, "body": {}},
        {"type": "abort", "requestId": "r1"},
    ],
)
def test_frames_of_ai_sdk_clients_are_as_described(described, frame):
    validator = payload_of(described, frame["type"], "ai-sdk")
    validator.validate(frame)
    client_frame(frame)
    assert not validator.is_valid({**frame, "requestId": 5})


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("chunk", {"sequence": 0, "chunk": {"type": "start-step"}}),
        ("start", {}),
        ("end", {}),
        ("no-active", {}),
        ("error", {"errorText": "Sign in first."}),
    ],
)
def test_frames_to_ai_sdk_clients_are_as_described(described, kind, fields):
    frame = json.loads(frame_text("r1", kind, **fields))
    validator = payload_of(described, kind, "ai-sdk")
    validator.validate(frame)
    for name in ("requestId", *fields):
        assert not validator.is_valid({key: value for key, value in frame.items() if key != name})
