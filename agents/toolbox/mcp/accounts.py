"""The account of a run's user at an MCP server for which each user has a token."""

import asyncio
import logging

from pydantic_ai import ToolFailed

from agents.sdk import AgentError, Declined, Expired, Turn
from chat.db.access import from_database, in_database
from chat.mcp_client import requests, tokens
from chat.mcp_client.config import NotPossible, Server, connect_url

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2  # between two looks at a token that another process is exchanging
MAX_ASKED = 3  # times that a person says “Done” without having connected, before the call fails


class Account:
    """The user's account at one server. Tokens are read for each use: the user may end the connection at any time."""

    def __init__(self, turn: Turn, server: Server) -> None:
        self._turn, self.server = turn, server
        self._exchanging: asyncio.Task[str | None] | None = None

    async def token(self) -> str | None:
        """Return a token that is good for a call, exchanged if the old one ends; None without a connection.

        Raises ToolFailed if the authorization server does not answer.
        """
        held = await self._read()
        if held is None:
            return None
        if held.is_stale:
            return await self.renewed(held.access_token)
        if not held.is_noted:
            await in_database(tokens.note_use, held.connection_id)
        return held.access_token

    async def renewed(self, old: str) -> str | None:
        """Return a token in place of one that ends or is refused; None if the user must connect again.

        One process exchanges the refresh token, and the others wait for its result. Raises ToolFailed as `token`.
        """
        deadline = asyncio.get_running_loop().time() + tokens.LEASE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            held = await self._read()
            if held is None or held.access_token != old:
                return None if held is None else held.access_token
            if not held.can_refresh:
                await in_database(tokens.drop, held.connection_id)
                return None
            lease = await in_database(tokens.lease, held.connection_id, old)
            if lease is not None:
                # A run that is stopped meanwhile must not lose the new tokens: the old ones are void by then.
                self._exchanging = asyncio.create_task(self._exchange(lease))
                return await asyncio.shield(self._exchanging)
            await asyncio.sleep(POLL_SECONDS)
        raise self._no_answer()

    async def _exchange(self, lease: tokens.Lease) -> str | None:
        given = None
        try:
            given = await asyncio.to_thread(tokens.exchange, self.server, lease)
        except tokens.Refused:
            await in_database(tokens.drop, lease.connection_id)
            return None
        except NotPossible as error:
            log.warning("mcp %s: no new token: %s", self.server.name, error.reason)
            raise self._no_answer() from None
        finally:
            await in_database(tokens.end_lease, lease, given)
        return str(given["access_token"])

    def _no_answer(self) -> ToolFailed:
        return ToolFailed(f"The sign-in of “{self.server.name}” does not answer.")

    async def _read(self) -> tokens.Held | None:
        held: tokens.Held | None = await from_database(tokens.read, int(self._turn.user_id), self.server)
        return held

    async def lacks(self, scope: str, token: str) -> dict[str, str] | None:
        """Return what has to be done for a call that needs this scope; None if there is another token meanwhile.

        Raises ToolFailed if the administrator does not allow the scope.
        """
        if not self.server.allows(scope):
            raise ToolFailed(f"This needs “{scope}” at “{self.server.name}”, which the administrator does not allow.")
        held = await self._read()
        if held is not None and held.access_token != token:
            return None
        return {"account": self.server.name, "scope": scope, "connection": str(held.connection_id) if held else ""}

    async def connect(self, scope: str = "", replaced: str = "") -> str:
        """Ask the user to connect the account, and return its token. Raises ToolFailed without one.

        `scope`: what the connection `replaced` lacks. A token of that connection is not enough.
        """
        name, key = self.server.name, f"connect {self.server.name} {scope}".rstrip()
        message = f"Connect your account at “{name}”, so that its tools can be used for you."
        if scope:
            message = f"Connect your account at “{name}” again and allow “{scope}”, which a tool needs."
        for _ in range(MAX_ASKED):
            try:
                await self._turn.ask(message, url=connect_url(name, scope), key=key)
            except Declined:
                raise ToolFailed(f"The user did not connect an account at “{name}”.") from None
            except Expired:
                raise ToolFailed(f"Nobody connected an account at “{name}” in time.") from None
            except AgentError as error:  # too many requests are open
                raise ToolFailed(error.message) from None
            token = await self.token()
            held = await self._read() if token and replaced else None
            if token and (held is None or str(held.connection_id) != replaced):
                return token
        raise ToolFailed(f"The user has not connected an account at “{name}”{f' with “{scope}”' if scope else ''}.")

    async def was_declined(self, scope: str = "") -> bool:
        """Return whether the user has declined in this thread to connect it, or to allow it this scope."""
        url = connect_url(self.server.name, scope)
        declined: bool = await from_database(requests.was_declined, self._turn.thread_id, url)
        return declined
