"""An agent of pydantic-ai and a graph of LangGraph for tests, which note what they do in a file and are killed."""

import os
from pathlib import Path
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agents.sdk import current_turn


def note(line: str) -> None:
    """Append a line to the file that the message names."""
    with Path(current_turn().text).open("a") as file:
        file.write(f"{line}\n")


def die_at_first(line: str) -> None:
    note(line)
    if Path(current_turn().text).read_text().splitlines().count(line) == 1:
        os._exit(9)


def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    done = sum(isinstance(message, ModelResponse) for message in messages)
    note(f"response {done}")
    names = ["first", "second"]
    if done < len(names):
        return ModelResponse([TextPart(f"Now {names[done]}. "), ToolCallPart(names[done], {})])
    return ModelResponse([TextPart("All done.")])


durable = Agent(FunctionModel(respond))


@durable.tool_plain
def first() -> str:
    note("first")
    return "1"


@durable.tool_plain
def second() -> str:
    die_at_first("second")
    return "2"


def plan(state: MessagesState) -> dict[str, Any]:
    note("plan")
    return {"messages": [GenericFakeChatModel(messages=iter(["Planned. "])).invoke(state["messages"])]}


async def act(state: MessagesState) -> dict[str, Any]:
    note("act")
    await current_turn().call(first)
    await current_turn().call(second)
    return {"messages": [AIMessage("Acted.")]}


graph = (
    StateGraph(MessagesState)
    .add_node(plan)
    .add_node(act)
    .add_edge(START, "plan")
    .add_edge("plan", "act")
    .add_edge("act", END)
    .compile()
)
