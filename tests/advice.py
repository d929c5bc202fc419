"""Asking the advisor, and readers of what it answers."""

import asyncio
import re
from typing import Any

from agents.advisor import advisor
from agents.sdk import Message, RecordingSink, Turn, Waiting


def ask(text: str, *files: Any, earlier: tuple[str, ...] = (), **given: Any) -> tuple[str, RecordingSink, Any]:
    """Return the answer, the events and the result of a turn that goes on with `earlier` messages."""
    sink = given.pop("sink", None)
    sink = RecordingSink() if sink is None else sink
    history = [message for said in earlier for message in (Message("user", said), Message("assistant", "…"))]
    history.append(Message("user", text))
    turn = Turn(text=text, sink=sink, agent_name="advisor", attachments=files, history=history, **given)
    result = answered(turn)
    return turn.said or (result or {}).get("form", {}).get("message", ""), sink, result


def answered(turn: Turn) -> Any:
    """Return the result of the turn; of one that waits for an answer, the form that it asks by."""
    try:
        return asyncio.run(advisor(turn))
    except Waiting as waits:
        [request] = waits.requests
        return {"form": {"message": request.message, "schema": request.schema}}


def lead(answer: str) -> str:
    """Return the first paragraph."""
    return answer.partition("\n\n")[0]


def visible(answer: str) -> str:
    """Return what stands before the folded part."""
    return answer.partition("<details>")[0]


def table(answer: str) -> dict[str, list[str]]:
    """Return the rows of the visible table by their first cell."""
    lines = [line for line in visible(answer).splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip(): row[1:] for row in rows}


def amount(cell: str) -> float:
    """Return the number of a cell."""
    return float(re.sub(r"[^\d.-]", "", cell))


def results(sink: RecordingSink, tool: str) -> list[Any]:
    """Return the results of a tool."""
    return [event["result"] for event in sink if event["type"] == "tool_completed" and event["tool_name"] == tool]


def started(sink: RecordingSink) -> list[str]:
    """Return the sub-agents in the order of their start."""
    return [event["agent_name"] for event in sink if event["type"] == "agent_started"]
