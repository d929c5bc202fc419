"""The tools of one MCP server for one run: calls, and what a person has to do before or in the middle of one."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from mcp import MCPError, types
from pydantic_ai import RunContext, ToolDefinition, ToolFailed
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from agents.llm.tool_policy import Interrupted, answers_given
from agents.sdk import Turn
from agents.sdk.approval import definition_hash
from agents.sdk.asking import is_inside_work
from agents.toolbox.mcp import questions
from agents.toolbox.mcp.accounts import Account
from agents.toolbox.mcp.servers import Server, known_servers
from agents.toolbox.mcp.session import CallNotMadeError, NoAnswerError, ScopeNeededError, ServerAsksError, Session
from agents.toolbox.mcp.values import ServerTool, result_data, safe_tools
from agents.toolbox.schemas import restored
from chat.assistants.tools import KnownTool, store
from chat.db.access import from_database, in_database
from chat.mcp_client import requests

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 1  # seconds that a run waits for a server to end its session
_WAIT_SECONDS = 0.25  # before a call is repeated whose server wants nothing but that
MAX_REPEATED = 20  # such repetitions of one call
_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))


class ServerTools(AbstractToolset[Turn]):
    """The tools of one server for one run. `limit` is how many may be offered.

    With an `account`, each call is made with the token of the run's user. Without a connection the tools are those
    that other runs have seen, and a call asks the user to connect the account.
    """

    def __init__(
        self, turn: Turn, server: Server | None, taken: frozenset[str], account: Account | None = None
    ) -> None:
        assert server is not None or account is not None
        self.name = server.name if server is not None else account.server.name  # type: ignore[union-attr]
        self.server = server
        self.limit = 0
        self._turn, self._taken, self._account = turn, taken, account
        self._tools = server.tools if server is not None else []
        self._tools_of = server
        self._changed = False
        self._opening = asyncio.Lock()
        self._preparing = asyncio.Lock()
        self._sessions: list[tuple[Server, Session]] = []
        self._allowed: set[str] = set()  # scopes that the user was asked for in this run
        self._calls: list[asyncio.Timeout] = []  # those under way; a question stops their clocks

    @property
    def id(self) -> str:
        """The name of the toolset."""
        return f"mcp_{self.name}"

    @property
    def count(self) -> int:
        """The number of tools."""
        return len(self._tools)

    async def get_tools(self, ctx: RunContext[Turn]) -> dict[str, ToolsetTool[Turn]]:
        """Return the tools that are offered, listed anew if the server has said that they changed."""
        if self._changed:
            await self._refresh()
        return {
            tool.definition.name: ToolsetTool(
                toolset=self, tool_def=tool.definition, max_retries=ctx.max_retries or 1, args_validator=_ANY_OBJECT
            )
            for tool in self._tools[: self.limit]
        }

    async def _refresh(self) -> None:
        """List the tools of this run's session: a server may change them for one session only."""
        self._changed = False
        try:
            async with asyncio.timeout(settings.NETRA_MCP_CONNECT_SECONDS):
                listed = await (await self._open()).list_tools()
        except Exception as error:
            log.warning("mcp %s: the changed tools cannot be listed: %s", self.name, type(error).__name__)
        else:
            self._tools = safe_tools(self.name, listed, self._taken)

    # ---- The user's account ----

    async def begin(self) -> None:
        """Learn the tools at the begin of a run: the user's, those that others have seen, or those after connecting."""
        assert self._account is not None
        try:
            if (token := await self._account.token()) is not None and await self._use(token):
                return
            self._tools = [_known(row) for row in await from_database(requests.known_tools, self.name)]
            if not self._tools and not await self._account.was_declined():
                await self.prepare(self._turn)
        except ToolFailed as error:
            log.info("mcp %s: no tools for this run: %s", self.name, error.message)

    async def prepare(self, turn: Turn) -> None:
        """Connect the user's account if it is not. Raises ToolFailed."""
        if self._account is None:
            return
        async with self._preparing:
            token = await self._account.token() or await self._account.connect()
            if not await self._use(token) and not await self._use(await self._account.connect()):
                raise ToolFailed(f"The server “{self.name}” does not accept the user's account.")

    async def _use(self, token: str) -> bool:
        """Call with this token from now on. Return False if the user must connect again. Raises ToolFailed.

        A token that is refused is exchanged once.
        """
        assert self._account is not None
        entry = settings.NETRA_MCP_SERVERS[self.name]
        for is_last in (False, True):
            server = known_servers().get(self.name, {**entry, "token": token})
            if server is not self.server or server.unavailable:
                await server.refresh(self._taken)
            if not server.is_refused:
                break
            renewed = None if is_last else await self._account.renewed(token)
            if renewed is None:
                return False
            token = renewed
        self.server = server
        if server.unavailable:
            raise ToolFailed(f"The server “{self.name}” cannot be reached.")
        if server is not self._tools_of:
            self._tools_of, self._tools, self._changed = server, server.tools, False
            await in_database(store, self.name, to_store(self.name, [tool.definition for tool in server.tools]), False)
        return True

    async def resolve(self, turn: Turn, need: Any) -> Any:
        """Have a person do what an interrupted call needs, and return what the repeated call is given.

        Raises ToolFailed.
        """
        match need:
            case {"elicitations": list(asked)}:
                for one in asked:
                    if (await questions.answer(turn, self.name, one))["action"] != "accept":
                        raise ToolFailed("The user did not visit the address that the server asked for.")
                return None
            case {"inputRequests": dict(asked), "requestState": state}:
                answers = await questions.answers(turn, self.name, asked)
                if answers is None:
                    raise ToolFailed("The server asks for something that cannot be given here.")
                return {"answers": answers, "state": state}
            case {"scope": str(scope), "connection": str(replaced)}:
                await self._step_up(scope, replaced)
                return None
        await self.prepare(turn)
        return None

    async def _step_up(self, scope: str, replaced: str) -> None:
        """Have the user allow the scope. It is asked for once a run: a server may want more than it ever gets."""
        assert self._account is not None
        async with self._preparing:
            if scope in self._allowed or await self._account.was_declined(scope):
                raise ToolFailed(f"The user's account at “{self.name}” lacks “{scope}”.")
            self._allowed.add(scope)
            if not await self._use(await self._account.connect(scope, replaced)):
                raise ToolFailed(f"The server “{self.name}” does not accept the user's account.")

    # ---- Calls ----

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Turn], tool: ToolsetTool[Turn]
    ) -> Any:
        """Call the tool at the server. Raises ToolFailed, and Interrupted if a person has something to do first."""
        called = next((known for known in self._tools if known.definition.name == name), None)
        if called is None:
            raise ToolFailed(f"The server “{self.name}” has no such tool for this user.")
        arguments = restored(tool_args, called.renamed)
        acts = not called.definition.metadata or not called.definition.metadata["annotations"]["readOnlyHint"]
        doubt = " It may have acted all the same." if acts else ""
        try:
            with self._timed() as clock:
                async with clock:
                    result = await self._call(called.own_name, arguments)
        except Interrupted:
            raise
        except TimeoutError:
            seconds = f"{settings.NETRA_MCP_CALL_SECONDS:g} seconds"
            raise ToolFailed(f"The server did not answer within {seconds}.{doubt}") from None
        except ServerAsksError as error:
            raise Interrupted(error.asked) from None
        except CallNotMadeError as error:
            raise ToolFailed("The server ended the session before the call. Try again.") from error
        except NoAnswerError as error:
            # The library's words have its advice to developers, and may name addresses inside the network.
            raise ToolFailed(f"The server broke off, or its answer cannot be read.{doubt}") from error
        except MCPError as error:
            reason = error.message[:1000].rstrip(".")
            if error.code in (types.INVALID_PARAMS, types.METHOD_NOT_FOUND):
                raise ToolFailed(f"The server refused the call: {reason}.") from error
            raise ToolFailed(f"The server did not answer with a result: {reason}.{doubt}") from error
        except ToolFailed:
            raise
        except Exception as error:
            raise ToolFailed(f"The server did not answer: {type(error).__name__}.{doubt}") from error
        return result_data(result)

    async def _call(self, own_name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        given = answers_given.get() or {}
        answers, state = given.get("answers"), given.get("state")
        for _ in range(MAX_REPEATED):
            try:
                return await self._call_as_user(own_name, arguments, answers, state)
            except ServerAsksError as error:
                if error.asked.get("inputRequests") or "elicitations" in error.asked:
                    raise
                answers, state = None, error.asked.get("requestState")
                await asyncio.sleep(_WAIT_SECONDS)
        raise NoAnswerError

    async def _call_as_user(self, own_name: str, *given: Any) -> types.CallToolResult:
        try:
            return await self._call_once(own_name, *given)
        except ScopeNeededError as error:
            if self._account is None or self.server is None:
                raise ToolFailed(f"The token for the server “{self.name}” lacks “{error.scope}”.") from None
            if need := await self._account.lacks(error.scope, self.server.token):
                raise Interrupted(need) from None
            if (token := await self._account.token()) is None or not await self._use(token):
                raise Interrupted({"account": self.name}) from None
            return await self._call_once(own_name, *given)
        except Exception:
            refused = self._sessions[-1][0] if self._sessions and self._sessions[-1][1].status == 401 else None
            if self._account is None or refused is None:
                raise
        token = await self._account.renewed(refused.token)
        if token is None or not await self._use(token):
            raise Interrupted({"account": self.name})
        return await self._call_once(own_name, *given)

    async def _call_once(self, own_name: str, *given: Any) -> types.CallToolResult:
        try:
            return await (await self._open()).call(own_name, *given)
        except CallNotMadeError:
            return await (await self._open()).call(own_name, *given)

    async def _open(self) -> Session:
        async with self._opening:
            server = self.server
            assert server is not None, "prepare() comes before a call"
            if self._sessions and self._sessions[-1][0] is server and self._sessions[-1][1].usable:
                return self._sessions[-1][1]
            session = Session(server.url, server.token, self._list_changed, self._answer)
            self._sessions.append((server, session))
            try:
                async with asyncio.timeout(settings.NETRA_MCP_CONNECT_SECONDS):
                    await session.open()
            except Exception as error:
                server.mark_unavailable(session.status, error)
                raise
            return session

    def _list_changed(self) -> None:
        self._changed = True
        if self.server is not None:
            self.server.expires = 0

    # ---- Questions in the middle of a call ----

    @contextmanager
    def _timed(self) -> Iterator[asyncio.Timeout]:
        clock = asyncio.timeout(settings.NETRA_MCP_CALL_SECONDS)
        self._calls.append(clock)
        try:
            yield clock
        finally:
            self._calls.remove(clock)

    async def _answer(self, asked: Any) -> dict[str, Any]:
        """Answer a question of the server. The run keeps its slot, and the calls under way have their time later."""
        if not self._calls:
            return questions.CANCEL  # nobody knows what it is about
        now = asyncio.get_running_loop().time()
        stopped = [(clock, end - now) for clock in self._calls if (end := clock.when()) is not None]
        for clock, _ in stopped:
            clock.reschedule(None)
        is_inside_work.set(True)  # in the session's own task
        try:
            return await questions.answer(self._turn, self.name, asked)
        finally:
            now = asyncio.get_running_loop().time()
            for clock, left in stopped:
                if clock in self._calls:
                    clock.reschedule(now + left)

    async def close(self) -> None:
        """Close the run's sessions and wait for up to _CLOSE_TIMEOUT."""
        if closing := {server.end(session) for server, session in self._sessions}:
            await asyncio.wait(closing, timeout=_CLOSE_TIMEOUT)


def to_store(server: str, definitions: list[ToolDefinition]) -> list[KnownTool]:
    """Return the definitions as the database has them, for the admin and for users without an account there."""
    return [
        KnownTool(
            tool.name,
            server,
            {"name": tool.name, "description": tool.description, "schema": tool.parameters_json_schema},
            definition_hash(tool.name, tool.description or "", tool.parameters_json_schema),
            (tool.metadata or {})["annotations"],
        )
        for tool in definitions
    ]


def _known(row: Any) -> ServerTool:
    """Return the tool as another run has seen it. It cannot be called: after connecting, the user's own takes over."""
    definition = ToolDefinition(
        name=row.definition["name"],
        description=row.definition["description"],
        parameters_json_schema=row.definition["schema"],
        metadata={"annotations": {"readOnlyHint": False, "destructiveHint": False, **row.hints}, "own_name": row.tool},
    )
    return ServerTool(row.tool, definition, {})
