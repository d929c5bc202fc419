"""Results of tool calls, made of a run's events, of its requests to persons, and of errors."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from mcp_types import (
    CallToolResult,
    ClientCapabilities,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
    TextContent,
)

from chat import protocol
from chat.models import InputRequest
from chat.protocol import ProtocolError

OUTPUT = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "description": "running, waiting, completed, failed or cancelled"},
        "run_id": {"type": "string"},
        "thread_id": {"type": "string"},
        "answer": {"type": "string"},
        "result": {"description": "Data, where the agent returns any"},
        "error_code": {"type": "string", "description": "Of a call that is refused, or a run that has failed"},
        "message": {"type": "string"},
    },
}  # nothing is required: some clients compare errors with it, too
_NO_FIELDS: dict[str, Any] = {"type": "object", "properties": {}}  # to approve is to accept a form without any


class RunIds(NamedTuple):
    """The ids that every result has."""

    run_id: UUID
    thread_id: UUID


def ended(ids: RunIds, end: Mapping[str, Any], said: str) -> CallToolResult:
    """Return the result of a run with this terminal event. `said` is the stored text of a run that was stopped."""
    match end["type"]:
        case "agent_completed":
            answer = end["final_response"]
            return _result(ids, answer, "completed", answer, **({"result": end["result"]} if "result" in end else {}))
        case "agent_failed":
            failure = {"error_code": end["error_code"], "message": end["message"]}
            return _result(ids, end["message"], "failed", "", is_error=True, **failure)
    return _result(ids, said or "The run was stopped.", "cancelled", said)


def running(ids: RunIds) -> CallToolResult:
    """Return the result of a call whose time is over before the run has ended."""
    text = f"The agent is still working. To wait for its answer, call netra_wait with the run_id {ids.run_id}."
    return _result(ids, text, "running", "")


def waiting(ids: RunIds, asked: Sequence[InputRequest], link: str) -> CallToolResult:
    """Return the result of a run that waits for answers which must be given in Netra, at this link."""
    questions = [f"- {row.message}" for row in asked]
    text = "\n".join(
        [
            "The agent waits for a person:",
            *questions,
            f"It is answered at {link}. To wait for the agent, call netra_wait with the run_id {ids.run_id}.",
        ]
    )
    return _result(ids, text, "waiting", "", inputs=[str(row.pk) for row in asked], link=link)


def refused(error: ProtocolError, ids: RunIds | None) -> CallToolResult:
    """Return the result of a call that is refused. `ids` are those of its run, if there is one."""
    fields = error.body()
    fields["error_code"] = fields.pop("error")
    if ids is not None:
        fields |= {name: str(id) for name, id in ids._asdict().items()}
    return CallToolResult(content=[_text(error.message)], structured_content=fields, is_error=True)


def _result(
    ids: RunIds, text: str, status: str, answer: str, *, is_error: bool = False, **fields: Any
) -> CallToolResult:
    known = {"status": status, "run_id": str(ids.run_id), "thread_id": str(ids.thread_id), "answer": answer}
    return CallToolResult(content=[_text(text)], structured_content={**known, **fields}, is_error=is_error)


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def progress_of(event: Mapping[str, Any]) -> str | None:
    """Return the message of the progress that an event is; None for an event that is none."""
    match event["type"]:
        case "agent_thinking":
            return str(event["reasoning"])
        case "tool_executing":
            return str(event["tool_name"])
        case "agent_started" if event.get("parent_agent") is not None:
            return f"{event['agent_name']}: {event['task']}"
    return None


# ---- Requests to persons ----------------------------------------------------------------------------------


def may_elicit(row: InputRequest, client: ClientCapabilities | None) -> bool:
    """Tell if the client can put the request to its user, and this user may decide it."""
    elicitation = client.elicitation if client is not None else None
    if elicitation is None or row.decided_by != "owner" or row.four_eyes:
        return False
    if row.kind == InputRequest.LINK:
        return elicitation.url is not None
    return elicitation.form is not None or elicitation.url is None  # no mode at all means forms


def elicit(asked: Sequence[InputRequest], state: str) -> InputRequiredResult:
    """Return the result that has the client ask its user, and repeat the call with the answers and this state."""
    return InputRequiredResult(input_requests={str(row.pk): _elicitation(row) for row in asked}, request_state=state)


def _elicitation(row: InputRequest) -> ElicitRequest:
    params: ElicitRequestURLParams | ElicitRequestFormParams
    schema = row.schema or {}
    if row.kind == InputRequest.LINK:
        params = ElicitRequestURLParams(message=row.message, url=schema["url"])
    elif row.kind == InputRequest.FORM:
        params = ElicitRequestFormParams(message=row.message, requested_schema=_form(schema))
    else:
        shown = json.dumps(protocol.shown_parameters(row.parameters), ensure_ascii=False, indent=2)
        message = f"{row.message}\n\n{row.tool_name}\n{shown}" if row.parameters else row.message
        params = ElicitRequestFormParams(message=message, requested_schema=_NO_FIELDS)
    return ElicitRequest(params=params)


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form's schema in the words of MCP, which names the titled values of a list anyOf."""
    properties = {}
    for name, field in schema["properties"].items():
        if field["type"] == "array":
            items = {"anyOf" if key == "oneOf" else key: value for key, value in field["items"].items()}
            field = {**field, "items": items if "anyOf" in items else {"type": "string", **items}}
        properties[name] = field
    return {**schema, "properties": properties}
