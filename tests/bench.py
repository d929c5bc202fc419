"""`make bench`: from sending a message to its first events at the client, beside a bare Redis → websockets relay.

Both run in turns on the same machine; on a shared one only their ratio says much. The relay is about the least that
Python can do: one subscription, no database, no authentication, nothing kept.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import site as sites

ROUNDS, SENDS = 5, 40


async def relay(port: int, redis_url: str) -> None:
    """Whatever a client sends goes to Redis and from there back to it."""
    import redis.asyncio
    from websockets.asyncio.server import serve

    client = redis.asyncio.from_url(redis_url)

    async def handle(socket) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("relay")
            await pubsub.get_message(timeout=5)

            async def back() -> None:
                async for message in pubsub.listen():
                    await socket.send(message["data"].decode())

            task = asyncio.create_task(back())
            async for frame in socket:
                await client.publish("relay", frame)
            task.cancel()

    async with serve(handle, "127.0.0.1", port, compression=None):
        await asyncio.Future()


@contextmanager
def relaying(site: sites.Site):
    from websockets.sync.client import connect

    port = sites.free_port()
    command = [sys.executable, __file__, "relay", str(port), site.environment["REDIS_URL"]]
    process = subprocess.Popen(command, cwd=sites.ROOT)
    try:

        def opened():
            try:
                return connect(f"ws://127.0.0.1:{port}", compression=None).__enter__()
            except OSError:
                return None

        socket = sites.wait_until(opened, "the relay to listen")
        yield socket
        socket.close()
    finally:
        process.kill()
        process.wait()


def timed(once: Callable[[], None]) -> float:
    began = time.perf_counter()
    once()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sites.running(Path(folder)) as site, relaying(site) as wire:
        socket = site.register("bench").connect()
        frame = json.dumps({"type": "user_message", "content": "one two three", "agent": "echo"})
        events: dict[str, list[float]] = {"agent_started": [], "agent_completed": []}

        def through_the_relay() -> None:
            wire.send(frame)
            wire.recv()

        def ask() -> None:
            began = time.perf_counter()
            socket.send(frame)
            for kind, times in events.items():
                socket.receive(kind)
                times.append((time.perf_counter() - began) * 1000)

        for _ in range(10):  # connections, imports and caches
            through_the_relay()
            ask()
        relayed: list[float] = []
        for times in events.values():
            times.clear()
        for _ in range(ROUNDS):
            relayed += [timed(through_the_relay) for _ in range(SENDS)]
            for _ in range(SENDS):
                ask()
    database = "PostgreSQL" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "SQLite"
    print(f"{ROUNDS * SENDS} messages, one at a time; {database}; milliseconds from sending")
    print(f"{'':32}{'median':>9}{'p95':>9}{'x relay':>9}")
    base = statistics.median(relayed)
    for name, times in {"bare relay": relayed, **events}.items():
        middle = statistics.median(times)
        print(f"{name:32}{middle:9.2f}{statistics.quantiles(times, n=20)[18]:9.2f}{middle / base:9.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["relay"]:
        asyncio.run(relay(int(sys.argv[2]), sys.argv[3]))
    else:
        main()
