"""Messages that reach this process together are written in one transaction: twenty commits cost what one does."""

import asyncio
from collections import deque

from chat import runs
from chat.database import in_database
from chat.runs import Accepted, Asked

TOGETHER = 100  # messages in one transaction at most

_Waiting = tuple[Asked, asyncio.Future[Accepted]]
_waiting: deque[_Waiting] = deque()
_writing: set[asyncio.Task[None]] = set()


async def start(asked: Asked) -> Accepted:
    """`runs.start`, together with whatever else waits. Raises what it raises.

    Whoever stops waiting has sent the message all the same."""
    answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
    _waiting.append((asked, answer))
    if not _writing:
        _writing.add(asyncio.create_task(_write()))
    return await answer


async def _write() -> None:
    try:
        while _waiting:
            taken = _next()
            try:
                done = await in_database(runs.start_all, [asked for asked, _ in taken])
            except Exception as error:
                for _, answer in taken:
                    _settle(answer, error)
            else:
                for (_, answer), one in zip(taken, done, strict=True):
                    _settle(answer, one)
    finally:
        _writing.clear()  # not in a callback: who comes between the last look and that would wait for ever


def _next() -> list[_Waiting]:
    """The first that wait, up to one that has to do with another of them: it must find what that one wrote."""
    taken: list[_Waiting] = []
    met: set[object] = set()
    while _waiting and len(taken) < TOGETHER:
        asked, _ = _waiting[0]
        marks = {asked.message.thread_id or asked.fresh_thread, (asked.user_id, asked.message.client_msg_id)}
        marks -= {None, (asked.user_id, None)}
        if marks & met:
            break
        met |= marks
        taken.append(_waiting.popleft())
    return taken


def _settle(answer: asyncio.Future[Accepted], done: Accepted | Exception) -> None:
    if answer.done():
        return
    if isinstance(done, Exception):
        answer.set_exception(done)
    else:
        answer.set_result(done)
