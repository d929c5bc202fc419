"""Measure the native socket with and without 100 open streams of other dialects beside it: `python -m tools.streams`.

The streams are native SSE, AI SDK, AG-UI and Responses in equal parts, each following a run that never ends by itself,
of users who ask nothing else. The two states take turns in one run on one site, so that only their ratio is read.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests import site as sites
from tests.site import User
from tools.bench import BENCHMARKS, LOADS, SETTINGS, Netra, database, here, load, quantile

STREAMS, WATCHING, LOAD = 100, 10, "W1"  # WATCHING: users whose streams they are


def requests(number: int, run: dict[str, str]) -> tuple[str, str, dict[str, Any] | None]:
    """Return method, path and body of a stream that follows the run, in the dialect of this number."""
    thread = run["thread_id"]
    attach = {"threadId": thread, "runId": str(number), "forwardedProps": {"netra": {"attach": True}}}
    return [
        ("GET", f"/api/threads/{thread}/events", None),
        ("GET", f"/api/chat/{thread}/stream", None),
        ("POST", "/agui/ticking", attach),
        ("GET", f"/v1/responses/resp_{run['run_id'].replace('-', '')}?stream=true", None),
    ][number % 4]


@asynccontextmanager
async def streaming(users: list[User], runs: list[dict[str, str]]) -> AsyncIterator[None]:
    """Keep STREAMS streams open and read."""
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=users[0].site.url, timeout=None, limits=limits) as client,
        AsyncExitStack() as stack,
    ):
        tasks = []
        for number in range(STREAMS):
            user, run = users[number % len(users)], runs[number % len(runs)]
            method, path, body = requests(number, run)
            headers = {"Authorization": f"Bearer {user.access}", "Accept": "text/event-stream"}
            answer = await stack.enter_async_context(client.stream(method, path, json=body, headers=headers))
            assert answer.status_code == 200, (path, answer.status_code)
            tasks.append(asyncio.create_task(read(answer)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def read(answer: httpx.Response) -> None:
    """Read a stream to its end."""
    async for _ in answer.aiter_raw():
        pass


def started(user: User) -> dict[str, str]:
    """Return the ids of a new run of the user, which has said its first words and says no more."""
    socket = user.connect()
    run = socket.ask("goes on", "costly")
    socket.receive("agent_delta", run_id=run["run_id"])
    socket.close()
    return {"thread_id": run["thread_id"], "run_id": run["run_id"]}


async def measure(netra: Netra, rounds: int, say: Callable[[str], None]) -> None:
    """Measure the load without and with the streams, in turn, and print each round and the ratio."""
    runs, tokens, rate = LOADS[LOAD]
    watching = netra.users[runs:]
    followed = await asyncio.to_thread(lambda: [started(user) for user in watching])
    await load(netra, runs, 20, 0)  # connections, imports and caches
    say(f"| round | p50 ms alone | beside {STREAMS} streams | p99 ms alone | beside | CPU-s/10k alone | beside |")
    say("|---|---|---|---|---|---|---|")
    ratios, costs = [], []
    for number in range(rounds):
        found = {}
        for beside in (False, True) if number % 2 else (True, False):
            async with AsyncExitStack() as stack:
                if beside:
                    await stack.enter_async_context(streaming(watching, followed))
                found[beside] = await load(netra, runs, tokens, rate)
        p50 = [statistics.median(found[beside].delays) for beside in (False, True)]
        p99 = [quantile(found[beside].delays, 0.99) for beside in (False, True)]
        cpu = [1e4 * sum(found[beside].cpu.values()) / len(found[beside].delays) for beside in (False, True)]
        ratios.append(p50[1] / p50[0])
        costs.append(cpu[1] / cpu[0])
        cells = [f"{value:.1f}" for pair in (p50, p99) for value in pair] + [f"{value:.2f}" for value in cpu]
        say(f"| {number + 1} | {' | '.join(cells)} |")
    say("")
    say(f"p50 beside {STREAMS} streams to p50 alone, median of {rounds} rounds: {statistics.median(ratios):.2f}")
    say(f"(from {min(ratios):.2f} to {max(ratios):.2f}); CPU: {statistics.median(costs):.2f}.")


def main() -> None:
    """Measure, print the table and, with --keep, write it to docs/benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--keep", action="store_true", help="write the result to docs/benchmarks")
    given = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"# `python -m tools.streams`, {here()}\n")
    with tempfile.TemporaryDirectory() as folder, sites.running(Path(folder), **SETTINGS) as site:
        users = [site.register(f"streams{number}") for number in range(LOADS[LOAD][0] + WATCHING)]
        asyncio.run(measure(Netra(site, users), given.rounds, say))
    if given.keep:
        file = BENCHMARKS / f"{time.strftime('%Y-%m-%d')}-streams-{database().lower()}.md"
        file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
