"""Bodies of OpenAI's clients, read as one new message and what stands before it. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chat.dialects.paths import NO_TURNS
from chat.protocol import ProtocolError

_TEXT = ("text", "input_text", "output_text", "summary_text")
_ROLES = ("user", "assistant", "tool", "function", *NO_TURNS)
# Items of earlier responses that clients send back, and that Netra has itself.
_OWN_ITEMS = ("reasoning", "mcp_call", "mcp_approval_request", "mcp_list_tools", "compaction")
_REFERRED = re.compile(r"(?:msg|rs|mcp)_([0-9a-f]{32})[0-9]+(?:_[0-9]+)?")  # an item of a run's responses
MAX_ANSWERS = 1000  # that a history refers to; the newest count
_CALLS = ("function_call", "custom_tool_call")  # of another model's tools; what these returned is a turn
# Thoughts that some clients put before an answer, or into a message of its own, when they send it back.
_THOUGHTS = re.compile(r"\A(?:\s*<think>.*?</think>)+\s*", re.DOTALL)

Turn = tuple[str, str]  # (role, text)
# Takes runs by their ids without hyphens; returns the texts of their answers, of those runs that the client has.
Answers = Callable[[Sequence[str]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the new message: the id of an attachment, or its data URL with a name."""

    id: str | None
    data: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Approval:
    """The answer to a request for approval."""

    request_id: str
    approve: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a client sent, with all beside it.

    `text` is that of the last user message, None if there is none or answers to requests stand behind it: they are all
    that is new then. `before` are the turns in front of it, `instructions` system and developer messages from anywhere,
    `after` what follows it. `run_hex` is the id of the last run to whose answer the history refers.
    """

    text: str | None
    before: tuple[Turn, ...] = ()
    after: tuple[Turn, ...] = ()
    instructions: tuple[Turn, ...] = ()
    files: tuple[File, ...] = ()
    approvals: tuple[Approval, ...] = ()
    run_hex: str | None = None


def read_messages(messages: Sequence[Any]) -> Sent:
    """Read `messages` of Chat Completions. Raises ProtocolError invalid_message."""
    return _read([_message(message, "messages") for message in messages], (), "messages")


def read_input(given: str | Sequence[Any], instructions: str | None, answers: Answers = lambda runs: {}) -> Sent:
    """Read `input` and `instructions` of Responses; a reference to an item of an answer stands for the whole answer.

    Raises ProtocolError invalid_message.
    """
    found: list[_Message] = [] if not instructions else [_Message("system", instructions)]
    if isinstance(given, str):
        return _read([*found, _Message("user", given)], (), "input")
    approvals: list[Approval] = []
    behind: list[Approval] = []  # the last message of the user
    referred = list(dict.fromkeys(run for item in given if (run := _run_of(item)) is not None))
    texts = dict(answers(referred[-MAX_ANSWERS:])) if referred else {}
    run_hex = None
    for item in given:
        if not isinstance(item, Mapping):
            raise _invalid("input", "must be a text or a list of items")
        kind = item.get("type", "message")
        if kind == "message":
            found.append(_message(item, "input"))
            if found[-1].role == "user":
                behind.clear()
        elif kind == "mcp_approval_response":
            approvals.append(_approval(item))
            behind.append(approvals[-1])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            found.append(_Message("tool", _text(item.get("output"), "input")))
        elif kind == "item_reference":
            if (run := _run_of(item)) in texts:
                run_hex = run
                found.append(_Message("assistant", texts.pop(run)))
        elif not isinstance(kind, str):
            raise _invalid("input", "must have items with a type")
        elif kind in ("input_image", "input_audio"):
            raise _invalid("input", f"must have no {kind}: text and files only")
        elif kind not in (*_OWN_ITEMS, *_CALLS):
            raise _invalid("input", f"has an item of the type {kind!r}, which is not supported")
    if behind:
        return Sent(None, instructions=_instructions(found), approvals=tuple(behind))
    return replace(_read(found, approvals, "input"), run_hex=run_hex)


def _run_of(item: Any) -> str | None:
    """Return the id without hyphens of the run that the item refers to."""
    if not isinstance(item, Mapping) or item.get("type") != "item_reference":
        return None
    match = _REFERRED.fullmatch(str(item.get("id")))
    return match and match[1]


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    text: str
    files: tuple[File, ...] = ()


def _read(messages: Sequence[_Message], approvals: Sequence[Approval], field: str) -> Sent:
    turns = _joined(m for m in messages if m.role not in NO_TURNS and (m.text or m.role == "user"))
    last = max((n for n, m in enumerate(turns) if m.role == "user"), default=None)
    if last is None:
        raise _invalid(field, "must have a message of the user")
    pairs = [(m.role, m.text) for m in turns]
    before, after = tuple(pairs[:last]), tuple(pairs[last + 1 :])
    return Sent(turns[last].text, before, after, _instructions(messages), turns[last].files, tuple(approvals))


def _instructions(messages: Sequence[_Message]) -> tuple[Turn, ...]:
    return tuple((m.role, m.text) for m in messages if m.role in NO_TURNS and m.text)


def _joined(turns: Iterable[_Message]) -> list[_Message]:
    """Return the turns; adjacent ones of the assistant are one, as the answer is stored of which they are items."""
    found: list[_Message] = []
    for turn in turns:
        if found and turn.role == found[-1].role == "assistant":
            found[-1] = replace(turn, text=found[-1].text + turn.text)
        else:
            found.append(turn)
    return found


def _message(message: Any, field: str) -> _Message:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in _ROLES:
        raise _invalid(field, f"must be messages, each with one of the roles {', '.join(_ROLES)}")
    text = _text(message.get("content"), field)
    if role == "assistant":
        text = _THOUGHTS.sub("", text)
    return _Message(str(role), text, tuple(_files(message.get("content"), field)))


def _text(content: Any, field: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise _invalid(field, "must have a text or a list of parts as content")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXT or kind == "refusal":
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                raise _invalid(field, "must have a text in each text part")
            texts.append(text)
        elif kind not in ("file", "input_file"):
            raise _invalid(field, f"must have parts of text and files only, not {kind!r}: no images, no audio")
    return "\n\n".join(texts)


def _files(content: Any, field: str) -> list[File]:
    found = []
    for part in content if isinstance(content, list) else ():
        if part.get("type") not in ("file", "input_file"):
            continue
        file = part.get("file") if part["type"] == "file" else part
        given = file if isinstance(file, Mapping) else {}
        id, data, name, url = (given.get(key) for key in ("file_id", "file_data", "filename", "file_url"))
        if url is not None:
            raise _invalid(field, "must have no file_url: nothing is fetched. Send file_data or file_id")
        if not (isinstance(id, str) or isinstance(data, str)) or not isinstance(name, str | None):
            raise _invalid(field, "must have a file_id or file_data in each file part")
        found.append(File(id if isinstance(id, str) else None, data if isinstance(data, str) else None, name))
    return found


def _approval(item: Mapping[str, Any]) -> Approval:
    id, approve, reason = item.get("approval_request_id"), item.get("approve"), item.get("reason")
    if not isinstance(id, str) or not isinstance(approve, bool) or not isinstance(reason, str | None):
        raise _invalid("input", "must have approval_request_id, approve and maybe reason in an mcp_approval_response")
    return Approval(id.removeprefix("mcpr_"), approve, reason or "")


def _invalid(field: str, message: str) -> ProtocolError:
    return ProtocolError("invalid_message", f"{field} {message}.", field=field)
