"""The usage of agents that an agent of pydantic-ai delegates to, as the library's documentation does it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, RunContext, ToolFailed
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage

from agents.llm.pydantic_agent import served
from chat.models import Run
from tests.factories import accept, frames
from tests.turns import execute, killing, lose, open_requests, text

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("model_settings")]


def model(name: str, *responses: Any, tokens: tuple[int, int] = (100, 10)) -> FunctionModel:
    """Return a model with this name that gives one response after the other; the last one again and again."""
    left = list(responses)

    def respond(messages: Any, info: Any) -> ModelResponse:
        parts = left.pop(0) if len(left) > 1 else left[0]
        parts = [TextPart(parts)] if isinstance(parts, str) else [parts]
        return ModelResponse(parts=parts, usage=RequestUsage(input_tokens=tokens[0], output_tokens=tokens[1]))

    return FunctionModel(respond, model_name=name)


def call(tool: str, id: str = "1", **parameters: Any) -> ToolCallPart:
    return ToolCallPart(tool, parameters, tool_call_id=id)


def used(thread: Any) -> dict[str, tuple[int, int]]:
    """Return the requests and the input tokens of the run, in all and by model."""
    usage = frames(thread)[-1]["usage"]
    models = {
        each["model"].removeprefix("function:"): (each["requests"], each["input_tokens"]) for each in usage["models"]
    }
    return {"": (usage["requests"], usage["input_tokens"]), **models}


def joking(**how: Any) -> tuple[Any, Agent[None, str]]:
    """Return the agents of the documentation's example of delegation: one chooses among the other's jokes."""
    generation = Agent(model("small", "A joke.", tokens=(30, 3)), name="generation")
    selection = Agent(model("large", call("factory", count=5), "The best one."))

    @selection.tool
    async def factory(ctx: RunContext[None], count: int) -> str:
        given = {"usage": ctx.usage} if how.get("shared") else {}
        given |= {"message_history": ctx.messages[:-1]} if how.get("history") else {}
        for _ in range(how.get("times", 1)):
            result = await generation.run(f"Generate {count} jokes.", **given)
        if how.get("fails"):
            raise ToolFailed("No.")
        return result.output

    return served(selection, SimpleNamespace()), generation


@pytest.mark.parametrize("how", [{"shared": True}, {}, {"shared": True, "history": True}, {"fails": True}])
def test_agent_that_a_tool_runs_counts_with_its_own_model(thread: Any, how: dict[str, Any]) -> None:
    agent, _ = joking(**how)
    assert execute(agent).status == Run.COMPLETED
    assert used(thread) == {"": (3, 230), "large": (2, 200), "small": (1, 30)}


def test_agent_that_is_run_several_times_counts_each_time_where_it_shares_the_usage(thread: Any) -> None:
    agent, _ = joking(shared=True, times=3)
    execute(agent)
    assert used(thread) == {"": (5, 290), "large": (2, 200), "small": (1, 30), "unknown": (2, 60)}


def test_agents_of_agents_and_calls_in_parallel_count(thread: Any) -> None:
    leaf = Agent(model("leaf", "x", tokens=(1, 1)))
    middle = Agent(model("middle", call("deeper"), "y", tokens=(10, 1)))

    @middle.tool
    async def deeper(ctx: RunContext[None]) -> str:
        return (await leaf.run("?", usage=ctx.usage)).output

    def both(messages: Any, info: Any) -> ModelResponse:
        is_first = not any(isinstance(part, ToolReturnPart) for part in messages[-1].parts)
        parts = [call("ask", "1", name="a"), call("ask", "2", name="b")] if is_first else [TextPart("End.")]
        return ModelResponse(parts=parts, usage=RequestUsage(input_tokens=1000))

    root = Agent(FunctionModel(both, model_name="root"))
    turns = [asyncio.Event(), asyncio.Event()]

    @root.tool
    async def ask(ctx: RunContext[None], name: str) -> str:
        turns["ab".index(name)].set()
        await asyncio.gather(*(turn.wait() for turn in turns))  # both are at work
        agent = middle if name == "a" else Agent(model("other", "z", tokens=(5, 1)))
        return (await agent.run("?", usage=ctx.usage)).output

    execute(served(root, SimpleNamespace()))
    assert used(thread) == {
        "": (6, 2026), "root": (2, 2000), "middle": (2, 20), "other": (1, 5), "unknown": (1, 1)
    }  # fmt: skip


def test_agent_that_the_output_is_handed_to_counts(thread: Any) -> None:
    class Row(BaseModel):
        name: str

    table = Agent(model("sql", call("final_result", name="ada"), tokens=(40, 4)), output_type=Row)

    async def hand_off(ctx: RunContext[None], query: str) -> Row:
        """Let another agent answer."""
        return (await table.run(query, usage=ctx.usage)).output

    router = Agent(model("router", call("final_result", query="who?")), output_type=hand_off)
    execute(served(router, SimpleNamespace()))
    assert frames(thread)[-1]["result"] == {"name": "ada"}
    assert used(thread) == {"": (2, 140), "router": (1, 100), "sql": (1, 40)}


def test_agent_that_is_delegated_to_is_paid_once_over_a_wait_and_a_lost_worker(thread: Any, alice: Any) -> None:
    inner = Agent(model("inner", "x", tokens=(7, 1)))
    outer = Agent(model("outer", call("ask"), call("pay", "2"), call("stick", "3"), "End."))
    killed = asyncio.Event()

    @outer.tool
    async def ask(ctx: RunContext[None]) -> str:
        return (await inner.run("?", usage=ctx.usage)).output

    @outer.tool_plain(requires_approval=True)
    def pay() -> str:
        return "paid"

    @outer.tool_plain
    async def stick() -> str:
        if not killed.is_set():
            killed.set()
            await asyncio.Event().wait()
        return "loose"

    agent = served(outer, SimpleNamespace())
    assert execute(agent).status == Run.WAITING
    [asked] = open_requests()
    accept(alice, asked.id)
    lose(execute(agent, killing(killed)))
    assert execute(agent).status == Run.COMPLETED
    assert text(thread) == "End."
    assert used(thread) == {"": (5, 407), "outer": (4, 400), "inner": (1, 7)}


def test_price_of_the_catalogue_applies_to_an_agent_that_is_delegated_to(thread: Any, model_settings: Any) -> None:
    price = {"input": 2.0, "output": 10.0}
    model_settings.NETRA_MODELS["small"] = {
        "model": "small", "key": "", "url": "", "options": {"price": price}
    }  # fmt: skip
    agent, _ = joking(shared=True)
    execute(agent)
    costs = {each["model"]: each["cost_usd"] for each in frames(thread)[-1]["usage"]["models"]}
    assert costs == {"large": None, "small": pytest.approx(30 * 2e-6 + 3 * 10e-6)}
