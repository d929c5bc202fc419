"""The interrupts of a graph: what a person is asked, what was decided, and which tools may start for it."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langgraph.types import Interrupt
from pydantic_core import to_jsonable_python

from agents.llm.graphs.saver import RunSaver
from agents.sdk import Declined, Turn, tools
from agents.sdk.approval import shortened
from chat.protocol import ProtocolError

_DECISIONS = ("approve", "edit", "reject")  # of LangChain's middleware, where it names none
_INTERRUPTED = "interrupted"  # reason of an approval that is asked for again, as its start was lost


@dataclass(slots=True)
class Approved:
    """An approved call of a tool that has not completed. `parameters` are those that were accepted.

    `id` is the `tool_call_id` of the request, `call` the id that the model gave the call; it is empty until the tool
    starts. `execution` is the newest execution of the run that started it.
    """

    tool: str
    parameters: dict[str, Any]
    message: str
    key: str
    id: str
    call: str = ""
    starts: int = 0
    execution: str = ""


@dataclass(slots=True)
class _Answer:
    """The value with which an interrupt is resumed. `starts` counts the starts of its node, if it acts."""

    value: Any
    starts: int


class Decisions:
    """Decisions on the interrupts of a graph, as far as a later execution of the run needs them.

    `state` is what an earlier execution saved of them; `save` stores them with the state of the graph.
    """

    def __init__(self, turn: Turn, saver: RunSaver, state: Any, save: Callable[[], Awaitable[None]]) -> None:
        self._turn, self._saver, self._save = turn, saver, save
        self._execution = uuid.uuid4().hex
        given = state or {}
        self._answers = {key: _Answer(**answer) for key, answer in given.get("answers", {}).items()}
        self._approved = [Approved(**approved) for approved in given.get("approved", [])]
        self._asking: dict[str, list[str]] = given.get("asking", {})  # node -> calls whose tools asked, in their order

    def state(self) -> Any:
        """Return what has to be saved, as JSON values."""
        return {
            "answers": {key: asdict(answer) for key, answer in self._answers.items()},
            "approved": [asdict(approved) for approved in self._approved],
            "asking": self._asking,
        }

    # ---- Interrupts ----

    async def resumed(self, interrupts: Sequence[Interrupt]) -> dict[str, Any]:
        """Put all open interrupts to a person at once; return the values by their ids, once they are saved.

        One that an earlier execution has resumed is not put again, unless its node acts: an approval covers one start.
        """
        keys = {interrupt.id: self._key(interrupt) for interrupt in interrupts}
        self._answers = {key: answer for key, answer in self._answers.items() if key in keys.values()}
        putting = (self._answer(interrupt, keys[interrupt.id]) for interrupt in interrupts)
        found = await asyncio.gather(*putting, return_exceptions=True)
        if failures := [each for each in found if isinstance(each, BaseException)]:
            raise failures[-1]  # in a test, the one that knows all open requests
        await self._save()
        return {interrupt.id: self._answers[keys[interrupt.id]].value for interrupt in interrupts}

    def _key(self, interrupt: Interrupt) -> str:
        value = to_jsonable_python(interrupt.value, bytes_mode="base64", serialize_unknown=True)
        return f"{interrupt.id} {self._saver.times_asked(interrupt.id)} {json.dumps(value, sort_keys=True)}"

    async def _answer(self, interrupt: Interrupt, key: str) -> None:
        known = self._answers.get(key)
        starts = known.starts if known else 0
        actions = list(_actions(interrupt))
        if actions:
            self._approved = [each for each in self._approved if not each.key.startswith(key)]
            decisions = await asyncio.gather(*(self._review(action, key, starts) for action in actions))
            value = {"decisions": list(decisions)} if "action_requests" in interrupt.value else decisions[0]
            self._answers[key] = _Answer(value, starts + 1)
        elif known is None:
            self._answers[key] = _Answer(await self._ask(interrupt, key), 0)

    async def _ask(self, interrupt: Interrupt, key: str) -> Any:
        value, schema = interrupt.value, interrupt.response_schema
        if isinstance(value, Mapping):
            schema = value.get("schema", schema)
        try:
            return await self._turn.ask(shortened(_message(value)), schema, key=key)
        except ProtocolError as error:
            raise TypeError(f"the schema of an interrupt: {error.message}") from None

    async def _review(self, action: "_Action", key: str, starts: int) -> dict[str, Any]:
        """Return a person's decision on an action of LangChain's human-in-the-loop middleware."""
        message = shortened(action.description or f"Allow “{action.tool}”?")
        key = f"{key} {starts}" if starts else key
        try:
            if "approve" not in action.allowed and "respond" in action.allowed:
                return {"type": "respond", "message": await self._turn.ask(message, key=f"{key} {action.call}")}
            approval = await self._turn.approve(
                message,
                parameters=action.parameters,
                schema=action.schema,
                tool=action.tool,
                editable="edit" in action.allowed,
                key=key,
                reason=_INTERRUPTED if starts else "",
                remember=False,  # the graph does not tell which definition a grant would be for
            )
        except Declined as error:
            if "reject" not in action.allowed:
                raise
            return {"type": "reject", **({"message": error.reason} if error.reason else {})}
        accepted, id = approval.parameters, approval.tool_call_id
        self._approved.append(Approved(action.tool, accepted, message, key, id, action.call, 0, self._execution))
        if approval.edited:
            return {"type": "edit", "edited_action": {"name": action.tool, "args": accepted}}
        return {"type": "approve"}

    # ---- Approved tools ----

    async def start(self, tool: str, parameters: Mapping[str, Any], call: str) -> None:
        """Note that a tool starts, before it does. Raises Declined.

        A start that an earlier execution made has used its approval up: a person is asked again.
        """
        found = next((each for each in self._approved if call and each.call == call), None)
        if found is None:
            same = (tool, tools.jsonable(dict(parameters), "parameters", tool=tool))
            found = next(
                (each for each in self._approved if not each.call and (each.tool, each.parameters) == same), None
            )
        if found is None:
            return
        if found.starts and found.execution != self._execution:
            approval = await self._turn.approve(
                found.message,
                parameters=found.parameters,
                tool=tool,
                editable=False,
                key=f"{found.key} start {found.starts}",
                reason=_INTERRUPTED,
                remember=False,
            )
            found.id = approval.tool_call_id
        found.call, found.execution, found.starts = call, self._execution, found.starts + 1
        await self._save()

    def asked_before(self, node: str, call: str) -> list[str]:
        """Return the calls of the node whose tools have asked before that of this call."""
        asked = self._asking.get(node, [])
        return asked[: asked.index(call)] if call in asked else asked

    def note_asking(self, node: str, call: str) -> None:
        """Note that the tool of this call is the next of the node to ask."""
        asked = self._asking.setdefault(node, [])
        if call and call not in asked:
            asked.append(call)

    def take(self, call: str) -> Approved | None:
        """Return the approval of the call with this id of the model, which is complete, and forget it."""
        found = next((each for each in self._approved if call and each.call == call), None)
        if found is not None:
            self._approved.remove(found)
        return found


def _message(value: Any) -> str:
    """Return what the person reads: all that the interrupt says, its question first."""
    if not isinstance(value, Mapping):
        return _words(value)
    lead = next((name for name in ("message", "question") if isinstance(value.get(name), str) and value[name]), None)
    others = [f"{name}: {_words(each)}" for name, each in value.items() if name not in (lead, "schema")]
    return "\n".join([*([value[lead]] if lead else []), *others]) or _words(value)


def _words(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    return json.dumps(to_jsonable_python(value, bytes_mode="base64", serialize_unknown=True), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Action:
    """A call of a tool that a graph wants to have reviewed. `allowed` are the kinds of decisions on it."""

    tool: str
    parameters: dict[str, Any]
    description: str
    allowed: frozenset[str]
    schema: dict[str, Any] | None
    call: str = ""


def _actions(interrupt: Interrupt) -> Iterator[_Action]:
    """Yield the actions whose approval an interrupt asks for: those of a response of the model, or that of one call."""
    value = interrupt.value
    match value:
        case {"action_requests": list(requests)}:
            configs = {each.get("action_name"): each for each in value.get("review_configs") or ()}
            for request in requests:
                config = configs.get(request["name"]) or {}
                yield _Action(
                    request["name"],
                    request.get("args", request.get("arguments")) or {},
                    request.get("description") or "",
                    frozenset(config.get("allowed_decisions") or _DECISIONS),
                    config.get("args_schema"),
                )
        case {"type": "tool_approval", "name": str(name), "args": dict(parameters), **rest}:
            schema = interrupt.response_schema if isinstance(interrupt.response_schema, dict) else {}
            yield _Action(
                name,
                parameters,
                str(rest.get("description") or ""),
                frozenset(_decisions(schema)) or frozenset(_DECISIONS),
                _schema_of_edit(schema),
                str(rest.get("tool_call_id") or ""),
            )


def _decisions(schema: Any) -> Iterator[str]:
    """Yield the kinds of decisions that a schema of decisions has: the constants of their `type`."""
    if isinstance(schema, dict):
        match schema.get("properties"):
            case {"type": {"const": str(kind)}}:
                yield kind
        for inner in schema.values():
            yield from _decisions(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _decisions(inner)


def _schema_of_edit(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the parameters in a schema of decisions; None without any."""
    definitions = schema.get("$defs") or {}
    match definitions:
        case {"EditedAction": {"properties": {"args": {"$ref": str(name)}}}}:
            found = definitions.get(name.removeprefix("#/$defs/"))
            return {**found, "$defs": definitions} if isinstance(found, dict) else None
        case {"EditedAction": {"properties": {"args": dict(found)}}}:
            return {**found, "$defs": definitions} if "properties" in found else None
    return None
