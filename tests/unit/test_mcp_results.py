"""Results of the MCP server: what each client is asked, and what it is told of a run."""

import uuid

import pytest
from mcp_types import ClientCapabilities
from mcp_types.methods import serialize_server_result

from chat.mcp_server import results
from chat.mcp_server.results import RunIds
from chat.models import InputRequest
from chat.protocol import ProtocolError
from chat.protocol.forms import form_schema

IDS = RunIds(uuid.uuid4(), uuid.uuid4())
URL = {"elicitation": {"url": {}}}
BOTH = {"elicitation": {"form": {}, "url": {}}}


def asked(kind="form", **fields):
    return InputRequest(id=uuid.uuid4(), kind=kind, message="Which?", **fields)


@pytest.mark.parametrize(
    ("row", "capabilities", "may"),
    [
        (asked(), {}, False),
        (asked(), {"elicitation": {}}, True),  # no mode means forms
        (asked(), URL, False),
        (asked("approval"), BOTH, True),
        (asked("link"), {"elicitation": {}}, False),
        (asked("link"), URL, True),
        (asked(decided_by="group:finance"), BOTH, False),
        (asked("approval", four_eyes=True), BOTH, False),
    ],
)
def test_request_is_put_only_to_a_client_that_can_ask_the_one_who_decides(row, capabilities, may):
    assert results.may_elicit(row, ClientCapabilities.model_validate(capabilities)) == may
    assert not results.may_elicit(row, None)


def test_titled_values_of_a_list_are_named_as_mcp_names_them():
    titled = [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]
    schema = {
        "type": "object",
        "properties": {
            "many": {"type": "array", "items": {"oneOf": titled}},
            "some": {"type": "array", "items": {"enum": ["a", "b"]}},
            "one": {"type": "string", "oneOf": titled},
        },
    }
    (request,) = results.elicit([asked(schema=form_schema(schema))], "state").input_requests.values()
    found = request.params.requested_schema["properties"]
    assert found["many"]["items"] == {"anyOf": titled}
    assert found["some"]["items"] == {"type": "string", "enum": ["a", "b"]}
    assert found["one"]["oneOf"] == titled


@pytest.mark.parametrize(
    "row",
    [
        asked(schema=form_schema({"type": "integer", "minimum": 1})),
        asked("link", schema={"url": "https://example.org/x"}),
        asked("approval", tool_name="send", parameters={"a": 1}),
    ],
)
def test_every_kind_of_request_is_valid_in_2026_07_28(row):
    result = results.elicit([row], "state").model_dump(by_alias=True, mode="json", exclude_none=True)
    sent = serialize_server_result("tools/call", "2026-07-28", result)
    assert sent["resultType"] == "input_required"
    assert list(sent["inputRequests"]) == [str(row.pk)]


@pytest.mark.parametrize(
    ("end", "said", "status", "text", "is_error"),
    [
        ({"type": "agent_completed", "final_response": "yes"}, "yes", "completed", "yes", False),
        ({"type": "agent_failed", "error_code": "model_busy", "message": "Later."}, "", "failed", "Later.", True),
        ({"type": "agent_cancelled"}, "half", "cancelled", "half", False),
        ({"type": "agent_cancelled"}, "", "cancelled", "The run was stopped.", False),
    ],
)
def test_end_of_a_run_is_told(end, said, status, text, is_error):
    result = results.ended(IDS, end, said)
    assert (result.structured_content["status"], result.is_error) == (status, is_error)
    assert [block.text for block in result.content] == [text]
    assert ("error_code" in result.structured_content) == is_error
    assert "result" not in result.structured_content


def test_result_that_is_null_is_told():
    end = {"type": "agent_completed", "final_response": "", "result": None}
    assert results.ended(IDS, end, "").structured_content["result"] is None


def test_refusal_names_code_field_and_the_time_to_wait():
    found = results.refused(ProtocolError("rate_limited", "Wait.", retry_after=1.5), IDS)
    assert found.is_error
    assert found.structured_content == {
        "error_code": "rate_limited",
        "message": "Wait.",
        "retry_after": 1.5,
        "run_id": str(IDS.run_id),
        "thread_id": str(IDS.thread_id),
    }
