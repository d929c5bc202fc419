"""A bound on the requests that Django works on at a time in this process, shared among clients.

Django gives each request a thread, which has a connection of its own to PostgreSQL. Without a bound the burst of one
client takes all connections, and the event loop waits for one thread after the other. A request waits for its turn when
its body is complete. The turn ends with the first byte of the answer.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from fractions import Fraction

from django.db import connection

from chat.accounts import authentication, tokens
from chat.api import client_ip
from chat.api.bodies import Application, Message, Receive, Scope, Send, path_of
from chat.runs.slots import SlotQueue, Slots

MAX_REQUESTS = 16  # at a time: each has a thread and, on PostgreSQL, a connection
CLIENT_SHARE = Fraction(1, 4)  # of what the other clients leave
ALIVE = "/health"  # needs neither a thread's work nor the database: it must answer while all others wait
_end_turn: ContextVar[Callable[[], object]] = ContextVar("end_turn", default=lambda: None)


def in_turn(application: Application) -> Application:
    """Return the HTTP application with its requests taking turns."""
    slots = SlotQueue[str](Slots(MAX_REQUESTS, CLIENT_SHARE))

    async def application_in_turn(scope: Scope, receive: Receive, send: Send) -> None:
        if path_of(scope) == ALIVE:
            await application(scope, receive, send)
            return
        client, loop = client_of(scope), asyncio.get_running_loop()
        async with AsyncExitStack() as turn:

            async def receive_and_wait() -> Message:
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body", False):
                    await turn.enter_async_context(slots.acquire(client))
                return message

            async def end_and_send(message: Message) -> None:
                await turn.aclose()
                await send(message)

            _end_turn.set(lambda: asyncio.run_coroutine_threadsafe(turn.aclose(), loop))
            await application(scope, receive_and_wait, end_and_send)

    return application_in_turn


def end() -> None:
    """End the turn of the request of this thread, and release its database connection.

    A view calls this when it only waits from now on, for a run or for its client.
    """
    if not connection.in_atomic_block:
        connection.close()
    _end_turn.get()()


def client_of(scope: Scope) -> str:
    """Return the client of a request: the user whose token it bears, else the address. The token is not looked up."""
    try:
        return f"user {tokens.bearer(scope['headers'])}"
    except authentication.Unauthorized:
        return f"address {client_ip.of_scope(scope)}"
