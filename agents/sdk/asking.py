"""Questions and approvals of a turn: identities, and what an answer means. Pure."""

import dataclasses
import json
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agents.sdk import approval, tools
from agents.sdk.errors import AgentError
from agents.sdk.journal import ACCEPTED, DECLINED, EXPIRED, Answer, Declined, Expired, Request
from chat.protocol import (
    MAX_INPUT_MESSAGE,
    MAX_INPUT_REASON,
    ProtocolError,
    forms,
    shown_parameters,
)

if TYPE_CHECKING:
    from agents.sdk.records import Call
    from agents.sdk.turn import Turn

MAX_GROUP = 150  # characters of a group's name, which Django has room for
Doing = Callable[[], AbstractContextManager[None]]  # makes the context of an occurrence that is under way

# True inside a tool or a step: a question there is held, because what runs cannot be repeated.
is_inside_work: ContextVar[bool] = ContextVar("is_inside_work", default=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """A person's consent. `parameters` are those to use, `edited` by the person or as proposed.

    `tool_call_id` is that of the request, empty without a tool.
    """

    parameters: dict[str, Any]
    edited: bool
    by: str
    reason: str
    tool_call_id: str
    _start: Callable[[Callable[..., Any], dict[str, Any]], Any] = dataclasses.field(repr=False, compare=False)

    async def call(self, tool: Callable[..., Any]) -> Any:
        """Run the approved tool with `parameters`, as the call's one start, and return its result."""
        return await self._start(tool, self.parameters)


async def ask(turn: "Turn", message: str, schema: Any, default: Any, url: str | None, **given: Any) -> Any:
    """Ask with a form, or with the address of a link. Return the values."""
    if url is not None:
        if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
            raise TypeError("url: an address of http or https")
        answer = await _put(turn, Request("link", message, {"url": tools.clean(url)}, **given))
        _raise_unless_accepted(answer)
        return None
    kind = schema if isinstance(schema, type) and dataclasses.is_dataclass(schema) else None
    form = tools.jsonable(forms.form_schema(approval.form_of(kind) if kind else schema), "schema")
    alone = schema is None or (kind is None and schema.get("type") != "object")
    if default is not None:
        plain = tools.jsonable(default, "default")
        if kind is not None and isinstance(default, kind):  # None in it is a field without an answer
            plain = {name: plain[name] for name in form["properties"] if plain[name] is not None}
        try:
            default = forms.form_answer(form, plain)
        except ProtocolError as error:
            raise TypeError(f"default: {error.message.removeprefix('content')}") from None
    answer = await _put(turn, Request("form", message, form, default, **given))
    if answer.status != EXPIRED or answer.content is None:
        _raise_unless_accepted(answer)
    content: Mapping[str, Any] = answer.content or {}
    if kind is not None:
        return approval.made_of(kind, content)
    return content[forms.VALUE] if alone else dict(content)


async def approve(turn: "Turn", asked: Request, earlier: "Call | None", doing: Doing) -> Approval:
    """Ask for the approval of an action or of a tool call. Raises Declined and Expired.

    Each acceptance covers one start of the tool: after a start that was interrupted it asks again. `doing` makes the
    context of a start that the caller does not make itself.
    """
    starts = earlier.starts if earlier is not None else 0
    is_known = earlier is not None and (earlier.completed or earlier.error is not None)
    number = 0
    while True:
        answer = await _put(turn, asked if number == 0 else dataclasses.replace(asked, reason="interrupted"), number)
        _raise_unless_accepted(answer)
        number += 1
        if number > starts or (is_known and number == starts):
            break
    parameters = dict(answer.parameters or {})

    is_started = False

    async def start(tool: Callable[..., Any], accepted: dict[str, Any]) -> Any:
        nonlocal is_started
        if not asked.tool_name:
            raise TypeError("approve(tool=…) names the tool that this runs")
        if is_started:
            raise TypeError("an approval covers one call")
        is_started = True
        with doing():
            return await turn.start_call(tool, asked.tool_name, asked.tool_call_id, accepted, earlier)

    return Approval(parameters, answer.edited, answer.by, answer.reason, asked.tool_call_id, start)


def _raise_unless_accepted(answer: Answer) -> None:
    if answer.status == EXPIRED:
        raise Expired
    if answer.status != ACCEPTED:
        raise Declined(answer.reason)


async def _put(turn: "Turn", asked: Request, start: int = 0) -> Answer:
    """Put the request to the person and return the resolution. `start` counts the starts of the tool before it.

    A call that equals a declined one of the run is declined without asking.
    """
    message = tools.clean(asked.message) if isinstance(asked.message, str) else None
    if not message or len(message) > MAX_INPUT_MESSAGE:
        raise TypeError(f"the message of a request is a str of 1 to {MAX_INPUT_MESSAGE} characters")
    if asked.decided_by != "owner" and not _names_group(asked.decided_by):
        raise TypeError(f'decided_by: "owner" or "group:<name>" with a name of 1 to {MAX_GROUP} characters')
    if asked.expires is not None and not (0 < asked.expires < math.inf):
        raise TypeError("expires: a number of seconds")
    shown = asked.key if asked.key is not None else [message, asked.schema]
    identity = [asked.kind, shown, asked.tool_name, asked.parameters, asked.definition_hash, start]
    key = json.dumps(identity, sort_keys=True)
    occurrence = turn.occurrence("request", key)
    request_id = uuid.uuid5(uuid.UUID(turn.run_id), json.dumps([turn.path, key, occurrence]))
    request = dataclasses.replace(
        asked,
        id=str(request_id),
        path=turn.path,
        agent_name=turn.agent_name,
        message=message,
        editable=asked.editable and shown_parameters(asked.parameters) == asked.parameters,
        tool_name=tools.clean(asked.tool_name),
        reason=tools.clean(asked.reason[:MAX_INPUT_REASON]),
    )
    kept, call = turn.journal.kept, call_key(request.tool_name, request.parameters)
    if request.tool_name and call in kept.declined and request.id not in kept.asked:
        return Answer(DECLINED, reason=kept.declined[call])
    with turn.doing("request", key, occurrence):
        await turn.end_text()
        answer = await turn.journal.ask(request, is_inside_work.get())
    if request.tool_name and answer.status not in (ACCEPTED, EXPIRED):
        kept.declined[call] = answer.reason
    return answer


def call_key(tool_name: str, parameters: Mapping[str, Any] | None) -> str:
    """Return a key that is equal for calls of one tool with equal parameters."""
    return tools.compact([tool_name, parameters])


def _names_group(decided_by: Any) -> bool:
    if not isinstance(decided_by, str) or tools.clean(decided_by) != decided_by:
        return False
    kind, _, name = decided_by.partition(":")
    return kind == "group" and 0 < len(name) <= MAX_GROUP


def failure_of(error: str, code: str | None) -> Exception:
    """Return the exception of a call that failed before the wait, from its logged text and its AgentError's code.

    A built-in exception that a text alone can make is raised again as such, any other as AgentError.
    """
    if code == Declined().code:
        return Declined(error.removeprefix("Declined: ") if error.startswith("Declined: ") else "")
    if code == Expired().code:
        return Expired()
    if code is not None:
        return AgentError(error, code)
    name, separator, message = error.partition(": ")
    kind = getattr(__import__("builtins"), name, None) if separator else None
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError | ExceptionGroup):
        return kind(message)
    return AgentError(error)
