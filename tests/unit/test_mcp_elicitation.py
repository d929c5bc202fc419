"""Questions of MCP servers to the user of a run: in the middle of a call, and as its result."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from mcp import UrlElicitationRequiredError, types
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel, Field

from agents.sdk import Turn, Waiting, accept, decline, expire
from agents.sdk.testing import MemoryJournal
from agents.toolbox.mcp import questions
from tests.model_provider import FREE, calls, of, says, told

pytestmark = pytest.mark.usefixtures("model_settings")
FORM = {"type": "object", "properties": {"guests": {"type": "integer", "minimum": 1}}, "required": ["guests"]}


class Booking(BaseModel):
    guests: int = Field(ge=1, description="How many come")
    vegan: bool = False


class Table:
    """A server that asks. `old`: it speaks no revision after 2025-11-25, and asks in the middle of a call."""

    def __init__(self, old: bool = True) -> None:
        self.old = old
        self.seen: list[Any] = []  # (answers, state) of each call
        self.slow = 0.0  # seconds that a call takes after its question
        self.server = MCPServer("table")

        @self.server.tool()
        async def book(ctx: Context[Any, Any]) -> Any:
            """Book a table."""
            if not self.old:
                return self.in_result(ctx)
            answer = await ctx.elicit("For how many?", Booking)
            await asyncio.sleep(self.slow)
            return f"{answer.action} {getattr(answer, 'data', None)}"

        @self.server.tool()
        async def pay(ctx: Context[Any, Any]) -> str:
            """Pay."""
            return (await ctx.elicit_url("Pay there", "https://pay.example/1", "e-1")).action

        @self.server.tool()
        async def link(ctx: Context[Any, Any]) -> str:
            """Link an account."""
            self.seen.append("link")
            if len(self.seen) == 1:
                asked = types.ElicitRequestURLParams(message="Sign in", url="https://in.example/", elicitation_id="e")
                raise UrlElicitationRequiredError([asked])
            return "linked"

    def in_result(self, ctx: Context[Any, Any]) -> Any:
        self.seen.append((ctx.input_responses, ctx.request_state))
        if ctx.input_responses:
            found = ctx.input_responses["guests"]
            assert isinstance(found, types.ElicitResult)
            return f"{found.action} {found.content} {ctx.request_state}"
        form = types.ElicitRequestFormParams(message="For how many?", requested_schema=FORM)
        return types.InputRequiredResult(
            input_requests={"guests": types.ElicitRequest(params=form)}, request_state="sealed"
        )

    @asynccontextmanager
    async def running(self, settings: Any) -> AsyncIterator[None]:
        app = self.server.streamable_http_app()

        async def front(scope: Any, receive: Any, send: Any) -> None:
            if not self.old or scope.get("method") != "POST":
                return await app(scope, receive, send)
            messages = [await receive()]
            if b"server/discover" in messages[0]["body"]:
                await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
                return await send({"type": "http.response.body", "body": b""})

            async def again() -> Any:
                return messages.pop() if messages else await receive()

            return await app(scope, again, send)

        config = uvicorn.Config(front, host="127.0.0.1", port=0, log_config=None, lifespan="on", interface="asgi3")
        running = uvicorn.Server(config)
        serving = asyncio.create_task(running.serve())
        while not running.started:  # noqa: ASYNC110 it has no event
            await asyncio.sleep(0.01)
        try:
            url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/mcp"
            settings.NETRA_MCP_SERVERS = {"table": {"url": url}}
            yield
        finally:
            running.should_exit = True
            await serving


@pytest.fixture
def ask(play: Any, model_settings: Any) -> Any:
    """Let the model call a tool of the table, and the person give these answers. Return the events and the results."""

    def ask(table: Table, tool: str, *answers: Any, **given: Any) -> Any:
        replies = calls((f"table_{tool}", {})), says("ok")
        given = {"policies": FREE, "answers": answers, "beside": table.running(model_settings), **given}
        _, sink, provider = play(*replies, **given)
        return sink, told(provider.asked[-1])

    return ask


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (accept({"guests": 2}), "accept guests=2 vegan=False"),
        (accept({"guests": 2, "vegan": True}), "accept guests=2 vegan=True"),
        (decline("not today"), "decline None"),
        (expire(), "cancel None"),
    ],
)
def test_question_in_a_call_is_put_to_the_user_as_a_form(ask: Any, answer: Any, expected: str) -> None:
    sink, words = ask(Table(), "book", answer)
    [asked] = of(sink, "input_requested")
    assert asked["kind"] == "form"
    assert asked["message"] == "The server “table” asks: For how many?"
    assert asked["schema"]["properties"]["guests"]["type"] == "integer"
    assert words == [expected]


def test_address_in_a_call_is_a_link(ask: Any) -> None:
    sink, words = ask(Table(), "pay", accept())
    [asked] = of(sink, "input_requested")
    assert (asked["kind"], asked["schema"]) == ("link", {"url": "https://pay.example/1"})
    assert words == ["accept"]


class Slowly(MemoryJournal):
    """A person who takes longer than a call may."""

    async def ask(self, request: Any, held: bool) -> Any:
        await asyncio.sleep(1.5)
        return await super().ask(request, held)


async def unseen(event: Any) -> None:
    """Show nothing."""


def test_time_of_the_person_does_not_count_against_the_call(ask: Any, model_settings: Any) -> None:
    model_settings.NETRA_MCP_CALL_SECONDS = 1
    table = Table()
    for slow, expected in ((0.0, "accept guests=2"), (5.0, "did not answer within 1 seconds")):
        table.slow = slow
        assert expected in ask(table, "book", journal=Slowly([accept({"guests": 2})], unseen))[1][0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (accept({"guests": 2}), "accept {'guests': 2} sealed"),
        (decline("no"), "decline None sealed"),
        (expire(), "cancel None sealed"),
    ],
)
def test_question_as_a_result_ends_the_call_which_is_repeated_with_the_answer(
    ask: Any, answer: Any, expected: str
) -> None:
    table = Table(old=False)
    sink, words = ask(table, "book", answer)
    [asked] = of(sink, "input_requested")
    assert (asked["kind"], asked["message"]) == ("form", "The server “table” asks: For how many?")
    kinds = [event["type"] for event in sink if event["type"].startswith(("tool", "input"))]
    call = ["tool_executing", "tool_completed"]
    assert kinds == [*call, "input_requested", "input_resolved", *call], "it is asked while no call is under way"
    assert words == [expected]
    assert [state for _, state in table.seen] == [None, "sealed"]
    assert "sealed" not in str(of(sink, "tool_completed")[0]), "the state is not for the user"


def test_question_as_a_result_waits_without_a_call(ask: Any) -> None:
    table = Table(old=False)
    with pytest.raises(Waiting) as waiting:
        ask(table, "book")
    assert [request.kind for request in waiting.value.requests] == ["form"]
    assert len(table.seen) == 1


def test_address_that_a_call_needs_is_a_link_before_it_is_repeated(ask: Any) -> None:
    sink, words = ask(Table(), "link", accept())
    [asked] = of(sink, "input_requested")
    assert (asked["kind"], asked["schema"]) == ("link", {"url": "https://in.example/"})
    assert words == ["linked"]
    assert "did not visit" in ask(Table(), "link", decline())[1][0]


def test_call_that_was_interrupted_is_approved_again(ask: Any) -> None:
    """An acceptance covers one start."""
    table = Table(old=False)
    sink, words = ask(table, "book", accept(), accept({"guests": 2}), accept(), policies={})
    assert [event["kind"] for event in of(sink, "input_requested")] == ["approval", "form", "approval"]
    assert words == ["accept {'guests': 2} sealed"]


# ---- Forms of servers, as they are met ------------------------------------------------------------------------


def put(schema: Any, *answers: Any, **asked: Any) -> tuple[Any, Any]:
    """Ask with this schema. Return the server's result and the form that the user saw."""
    turn = Turn(text="x", answers=answers)
    given = {"message": "Well?", "requestedSchema": schema, **asked}
    result = asyncio.run(questions.answer(turn, "s", given))
    events: Any = turn._run.sink
    return result, next((event.get("schema") for event in events if event["type"] == "input_requested"), None)


def test_form_of_an_older_revision_shows_its_titles() -> None:
    schema = {"type": "object", "properties": {"size": {"type": "string", "enum": ["s", "l"], "enumNames": ["S", "L"]}}}
    result, shown = put(schema, accept({"size": "l"}))
    assert shown["properties"]["size"]["oneOf"] == [{"const": "s", "title": "S"}, {"const": "l", "title": "L"}]
    assert result == {"action": "accept", "content": {"size": "l"}}


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "pattern": "(a+)+$", "minLength": 1},
        {"type": "string", "format": "password"},
        {"type": ["string", "null"], "default": None},
        {"type": "string", "default": 5},
        {"type": "string", "examples": ["a"], "title": "A"},
        {"enum": ["a", "b"]},
        {"type": "string", "const": None, "x-vendor": {}},
    ],
)
def test_hints_that_a_form_cannot_have_are_left_out(field: Any) -> None:
    result, shown = put({"type": "object", "properties": {"a": field}, "title": "T"}, accept({"a": "a"}))
    assert result == {"action": "accept", "content": {"a": "a"}}
    assert shown["properties"]["a"]["type"] == "string"


def test_question_without_fields_is_a_confirmation() -> None:
    assert put({"type": "object", "properties": {}}, accept())[0] == {"action": "accept", "content": {}}
    assert put({"type": "object"}, decline())[0] == {"action": "decline"}
    assert put({}, expire())[0] == {"action": "cancel"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}},
        {"type": "object", "properties": {"a": {"$ref": "#/x"}}},
        {"type": "object", "properties": {"a": None}},
        {"type": "object", "properties": [1]},
        {"type": "object", "properties": {"a" * 65: {"type": "string"}}},
        {"type": "object", "properties": {f"a{at}": {"type": "string"} for at in range(21)}},
        {"type": "object", "properties": {"a": {"type": "string", "enum": list("a" * 201)}}},
    ],
)
def test_form_that_cannot_be_asked_is_cancelled(schema: Any) -> None:
    assert put(schema) == ({"action": "cancel"}, None)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "", "//x"])
def test_address_that_is_none_of_the_web_is_cancelled(url: str) -> None:
    assert put(None, mode="url", url=url)[0] == {"action": "cancel"}


@pytest.mark.parametrize("asked", [None, [], {}, {"message": 5}, {"message": "x"}, {"message": "x", "mode": "voice"}])
def test_question_of_no_known_form_is_cancelled(asked: Any) -> None:
    assert asyncio.run(questions.answer(Turn(text="x"), "s", asked)) == {"action": "cancel"}
