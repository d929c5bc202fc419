"""Writes of several messages in one transaction: twenty commits cost as much as one."""

import asyncio
from collections import deque

from chat import runs
from chat.db.access import in_database
from chat.runs import StartedRun, StartRequest

MAX_BATCH_MESSAGES = 100  # in one transaction

_Pending = tuple[StartRequest, asyncio.Future[StartedRun]]


class StartBatcher:
    """Starts runs for the sockets of one process. Messages that arrive during a write share the next one."""

    def __init__(self) -> None:
        self._pending: deque[_Pending] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def start(self, request: StartRequest) -> StartedRun:
        """Call `runs.start` together with the other pending requests. Raises what it raises.

        Cancelling the caller does not cancel the write.
        """
        future: asyncio.Future[StartedRun] = asyncio.get_running_loop().create_future()
        self._pending.append((request, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await future

    async def _write(self) -> None:
        try:
            while self._pending:
                batch = self._take()
                try:
                    started = await in_database(runs.start_all, [request for request, _ in batch])
                except Exception as error:
                    for _, future in batch:
                        _resolve(future, error)
                else:
                    for (_, future), result in zip(batch, started, strict=True):
                        _resolve(future, result)
        finally:
            self._writing = None  # here, not in a callback: a request that comes between the two would wait forever

    def _take(self) -> list[_Pending]:
        """Take the first requests, up to one that depends on another of them: it must find what that one wrote."""
        batch: list[_Pending] = []
        taken: set[object] = set()
        while self._pending and len(batch) < MAX_BATCH_MESSAGES:
            request, _ = self._pending[0]
            message = request.message
            keys = {message.thread_id or request.fresh_thread, (request.user_id, message.client_msg_id)}
            keys -= {None, (request.user_id, None)}
            if keys & taken:
                break
            taken |= keys
            batch.append(self._pending.popleft())
        return batch


def _resolve(future: asyncio.Future[StartedRun], result: StartedRun | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
