"""Lua scripts at Redis for the limits, run by one thread on one connection.

All waiting scripts share a round trip. So a burst has no connection pool to exhaust, and a busy event loop or a
cancelled request cannot look like an outage of Redis.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

log = logging.getLogger("netra.limits")

PREFIX = "netra.limit."
REDIS_TIMEOUT_SECONDS = 0.5  # for a connection, and for a round trip
RESULT_TIMEOUT_SECONDS = 2.0  # for the caller: two attempts of a round trip, and some time in the queue
PROBE_INTERVAL_SECONDS = 1.0  # between two attempts to reach a Redis that is away
MAX_BATCH_SCRIPTS = 200  # of a round trip: Redis serves no other client meanwhile

PROBE = "return 1"


def new_client(url: str) -> redis.Redis:
    """Return a client that does not retry: the caller decides when to try again."""
    timeout = REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), retries=0)
    )


@dataclass(frozen=True, slots=True)
class _Call:
    script: str
    keys: Sequence[str] = ()
    arguments: Sequence[Any] = ()
    result: "Future[Any]" = field(default_factory=Future)


class RedisScripts:
    """Runs scripts at the Redis of `url`, from any thread.

    A result is None if limits are off, if Redis does not answer or if the script fails. The thread starts with the
    first call; a process that exits does not wait for it.
    """

    def __init__(self, url: str) -> None:
        self._client = new_client(url)
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._thread = threading.Thread(target=self._run_calls, name="limits", daemon=True)
        self._start_lock = threading.Lock()
        self._is_away = self._is_refusing = False
        self._next_probe = 0.0  # monotonic time; used while Redis is away

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Return the result of the script. Blocks for at most RESULT_TIMEOUT_SECONDS."""
        try:
            return self._submit(script, keys, arguments).result(RESULT_TIMEOUT_SECONDS)
        except TimeoutError:
            return None

    async def run_async(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Return the result of the script, like `run`."""
        try:
            async with asyncio.timeout(RESULT_TIMEOUT_SECONDS):
                return await asyncio.wrap_future(self._submit(script, keys, arguments))
        except TimeoutError:
            return None

    def _submit(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> "Future[Any]":
        call = _Call(script, keys, arguments)
        if not settings.NETRA_RATE_LIMITS:
            call.result.set_result(None)
        elif not self._is_away:
            self._put(call)
        else:
            call.result.set_result(None)
            if time.monotonic() >= self._next_probe:
                self._next_probe = time.monotonic() + PROBE_INTERVAL_SECONDS
                self._put(_Call(PROBE))
        return call.result

    def _put(self, call: _Call) -> None:
        self._calls.put(call)
        if self._thread.ident is None:
            with self._start_lock:
                if self._thread.ident is None:
                    self._thread.start()

    def _run_calls(self) -> None:
        while True:
            calls = self._take()
            try:
                results = self._results(calls)
            except Exception:  # every call must get a result
                log.exception("the limits cannot be checked")
                results = [None] * len(calls)
            for call, result in zip(calls, results, strict=True):
                call.result.set_result(result)

    def _take(self) -> list[_Call]:
        taken = [self._calls.get()]
        with contextlib.suppress(Empty):
            while len(taken) < MAX_BATCH_SCRIPTS:
                taken.append(self._calls.get_nowait())
        return [call for call in taken if call.result.set_running_or_notify_cancel()]

    def _results(self, calls: Sequence[_Call]) -> list[Any]:
        if not calls or (self._is_away and all(call.script != PROBE for call in calls)):
            return [None] * len(calls)
        for is_final in (False, True):  # one late answer or one closed connection is no outage
            try:
                results = self._round_trip(calls)
            except (redis.RedisError, OSError) as error:
                if is_final:
                    self._set_away(error)
            else:
                self._set_back(results)
                return [None if isinstance(result, redis.RedisError) else result for result in results]
        return [None] * len(calls)

    def _round_trip(self, calls: Sequence[_Call]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.eval(call.script, len(call.keys), *call.keys, *call.arguments)
            return pipeline.execute(raise_on_error=False)

    def _set_back(self, results: Sequence[Any]) -> None:
        """Note that Redis answers. A script's error (no memory left, a replica) does not concern the other scripts."""
        error = next((result for result in results if isinstance(result, redis.RedisError)), None)
        if error is not None and not self._is_refusing:
            log.warning("redis: %s; limits that it does not count hold in each process alone", error)
        if self._is_away:
            log.warning("redis is back: limits hold again")
        self._is_away, self._is_refusing = False, error is not None

    def _set_away(self, error: Exception) -> None:
        self._next_probe = time.monotonic() + PROBE_INTERVAL_SECONDS
        if not self._is_away:
            self._is_away = True
            log.warning("redis: %s; until it answers, limits hold in each process alone", type(error).__name__)
