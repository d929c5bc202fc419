"""Measure Netra's loads on a site of its own, beside a bare relay in the same run: `make bench`.

The relay is about the least that Python can do: websockets and one Redis subscription a socket, nothing stored, nobody
authenticated. A token is the text of the time at which it was emitted, so a latency is two readings of one clock.
Nothing here asserts a time: on a shared machine only the lines of one table can be compared. KEEP=1 writes the tables
to docs/benchmarks.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import site as sites
from tests.site import Site, User, memory

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "docs" / "benchmarks"
LOADS = {  # runs at once, tokens each, tokens a second (0: as fast as it can)
    "T1": (1, 1, 0),
    "T20": (20, 1, 0),
    "W1": (20, 200, 50),
    "W2": (20, 1000, 0),
    "W3": (100, 200, 50),
    "W4": (200, 200, 50),
}
SOCKETS, TABS_OF_A_RUN, LONG_THREAD_EVENTS, OLD_THREADS = 200, 10, 10_000, 5
SOCKETS_AT_ONCE = 10  # sockets that are opened at once
# How the cost of an event grows: with the sockets that are open beside it, and with the events of its thread.
IDLE_SOCKETS, THREAD_EVENTS = (10, 100, 1000), (1_000, 10_000, 100_000)
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "netra.settings",  # not the tests' own
    "NETRA_RATE_LIMITS": "off",
    "NETRA_WORKER_CONCURRENCY": "200",
    "NETRA_ACCESS_TOKEN_SECONDS": "86400",
}


@dataclass
class Result:
    """The measurements of one load."""

    first: list[float] = field(default_factory=list)  # ms from sending to the run's first frame
    delays: list[float] = field(default_factory=list)  # ms from emitting a token to having it
    frames: int = 0
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)  # seconds, by kind of process

    def cells(self) -> list[str]:
        """Return the cells of its row: three times in ms, tokens a second, CPU seconds of 10,000 tokens."""
        per_token = 1e4 * sum(self.cpu.values()) / len(self.delays)
        return [
            f"{statistics.median(self.first):.1f}",
            f"{statistics.median(self.delays):.1f}",
            f"{quantile(self.delays, 0.99):.1f}",
            f"{len(self.delays) / self.seconds:,.0f}",
            f"{per_token:.2f}" if len(self.delays) >= 1000 else "",
        ]


def quantile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


# ---- Netra and the relay, to a client the same thing -------------------------------------------------------


class Netra:
    """A running Netra, with a user for each socket."""

    def __init__(self, site: Site, users: list[User]) -> None:
        self.site, self.users = site, users

    @asynccontextmanager
    async def socket(self, number: int) -> AsyncIterator[ClientConnection]:
        """Yield an open socket of the user of this number."""
        async with connected(self.users[number]) as socket:
            yield socket

    def ask(self, text: str, thread: str = "") -> str:
        """Return the frame that asks for this text, in a new thread unless one is given."""
        thread = thread or str(uuid.uuid4())
        return json.dumps({"type": "user_message", "content": text, "agent": "ticking", "thread_id": thread})

    @property
    def processes(self) -> dict[str, list[int]]:
        """Process ids by kind. PostgreSQL's are those of the site's connections; SQLite has no process of its own."""
        assert self.site.web is not None and self.site.redis is not None
        workers = [worker.pid for worker in self.site.workers]
        found = {"web": [self.site.web.pid], "worker": workers, "Redis": [self.site.redis.pid]}
        if (url := self.site.environment["DATABASE_URL"]).startswith("postgres"):
            with psycopg.connect(url, autocommit=True) as server:
                rows = server.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
                found["PostgreSQL"] = [pid for (pid,) in rows if pid != server.info.backend_pid]
        return found


@asynccontextmanager
async def connected(user: User) -> AsyncIterator[ClientConnection]:
    """Yield an open, authenticated socket of the user."""
    encoded = urlsafe_b64encode(user.access.encode()).decode().rstrip("=")
    url = user.site.url.replace("http", "ws", 1) + "/ws"
    protocols = [Subprotocol("jwt-auth"), Subprotocol(f"jwt.{encoded}")]
    async with connect(url, subprotocols=protocols, compression=None, max_size=None, max_queue=None) as socket:
        await socket.recv()
        yield socket


class Relay:
    """The bare relay, which has the interface of Netra."""

    def __init__(self, site: Site, port: int, process: subprocess.Popen[bytes]) -> None:
        self.site, self.port, self.process = site, port, process

    @asynccontextmanager
    async def socket(self, number: int) -> AsyncIterator[ClientConnection]:
        """Yield an open socket of the relay; it has no users."""
        async with connect(f"ws://127.0.0.1:{self.port}", compression=None, max_queue=None) as socket:
            await socket.recv()
            yield socket

    def ask(self, text: str, thread: str = "") -> str:
        """Return the frame that asks for this text; the relay has no threads."""
        return text

    @property
    def processes(self) -> dict[str, list[int]]:
        """Process ids by kind."""
        assert self.site.redis is not None
        return {"relay": [self.process.pid], "Redis": [self.site.redis.pid]}


async def relay(port: int, redis_url: str) -> None:
    """Run the relay: each frame starts a run, whose tokens go to Redis and from there to the socket."""
    import redis.asyncio
    from websockets.asyncio.server import ServerConnection, serve

    ears = redis.asyncio.from_url(redis_url, max_connections=1000)
    client = redis.asyncio.Redis(
        connection_pool=redis.asyncio.BlockingConnectionPool.from_url(redis_url, max_connections=8)
    )

    async def play(channel: str, text: str) -> None:
        count, rate = map(int, text.split())
        began = time.perf_counter()
        await client.publish(channel, json.dumps({"type": "agent_started"}))
        for number in range(count):
            await client.publish(channel, json.dumps({"type": "agent_delta", "delta": f"{time.time():.6f} "}))
            wait = began + (number + 1) / rate - time.perf_counter() if rate else 0
            await asyncio.sleep(max(0, wait))
        await client.publish(channel, json.dumps({"type": "agent_completed"}))

    async def handle(socket: ServerConnection) -> None:
        channel = uuid.uuid4().hex
        async with ears.pubsub() as pubsub, asyncio.TaskGroup() as group:
            await pubsub.subscribe(channel)

            async def back() -> None:
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        await socket.send(message["data"].decode())

            listening = group.create_task(back())
            await socket.send("ready")
            async for frame in socket:
                group.create_task(play(channel, str(frame)))
            listening.cancel()

    async with serve(handle, "127.0.0.1", port, compression=None):
        await asyncio.Future()


@contextmanager
def relaying(site: Site) -> Iterator[Relay]:
    """Yield a relay in a process of its own."""
    port = sites.free_port()
    process = subprocess.Popen([sys.executable, __file__, "relay", str(port), site.environment["REDIS_URL"]], cwd=ROOT)
    try:

        def listens() -> bool:
            import socket

            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        sites.wait_until(listens, "the relay to listen")
        yield Relay(site, port, process)
    finally:
        process.kill()
        process.wait()


# ---- Loads -------------------------------------------------------------------------------------------------


@dataclass
class Shown:
    """Length of a run's text that a client shows."""

    length: int = 0

    def add(self, frame: dict[str, Any]) -> str:
        """Return the text that this delta adds, see docs/clients.md; nothing if it was shown or follows a gap."""
        offset = frame.get("offset", self.length)  # the relay counts nothing
        new = frame["delta"][self.length - offset :] if offset <= self.length else ""
        self.length += len(new)
        return new


def cpu_seconds(processes: dict[str, list[int]]) -> dict[str, float]:
    """Return the CPU seconds that the processes of each kind have used so far."""
    found = dict.fromkeys(processes, 0.0)
    for kind, pids in processes.items():
        for pid in pids:
            with suppress(FileNotFoundError):  # a connection to the database that was closed
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                found[kind] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def since(before: dict[str, float], subject: "Netra | Relay") -> dict[str, float]:
    """Return the CPU seconds by kind that the processes have used since `before`."""
    return {kind: used - before[kind] for kind, used in cpu_seconds(subject.processes).items()}


async def load(subject: Netra | Relay, runs: int, tokens: int, rate: int, threads: Sequence[str] = ()) -> Result:
    """Start this many runs at once, each of another user and in another thread: one of `threads`, else a new one."""
    result, go = Result(), asyncio.Event()

    async def one(socket: ClientConnection, thread: str) -> None:
        await go.wait()
        began, seen, shown = time.time(), False, Shown()
        await socket.send(subject.ask(f"{tokens} {rate}", thread))
        while True:
            frame = json.loads(await socket.recv())
            now = time.time()
            result.frames += 1
            if frame["type"] in ("agent_failed", "error"):
                raise RuntimeError(frame)
            if frame["type"] == "agent_started" and not seen:
                seen = True
                result.first.append(1000 * (now - began))
            elif frame["type"] in ("agent_delta", "live_delta"):
                result.delays += [1000 * (now - float(token)) for token in shown.add(frame).split()]
            elif frame["type"] == "agent_completed":
                return

    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(subject.socket(number)) for number in range(runs)]
        before = cpu_seconds(subject.processes)
        async with asyncio.TaskGroup() as group:
            for number, socket in enumerate(sockets):
                group.create_task(one(socket, threads[number] if threads else ""))
            await asyncio.sleep(0.3)
            began = time.perf_counter()
            go.set()
        result.seconds = time.perf_counter() - began
        result.cpu = since(before, subject)
    assert len(result.delays) == runs * tokens, "a token was lost"
    return result


@dataclass
class Idle:
    """Sockets that say nothing, opened one after the other."""

    per_second: float
    kilobytes: float  # of the web process, each
    opening: dict[str, float]  # CPU seconds by kind of process, all of them
    staying: dict[str, float]  # the same for as long as they were watched, without what idle processes use
    processes: dict[str, float]  # what these used in as long


async def used(netra: Netra, watched: float) -> float:
    """CPU seconds of all processes in so many seconds."""
    before = cpu_seconds(netra.processes)
    await asyncio.sleep(watched)
    return sum(since(before, netra).values())


async def idle(netra: Netra, watched: float = 0) -> Idle:
    """Watch the site for this many seconds without a socket, then open SOCKETS and watch them for as long."""
    (web,) = netra.processes["web"]
    then = cpu_seconds(netra.processes)
    await asyncio.sleep(watched)
    alone, before, began_with = since(then, netra), memory(web), cpu_seconds(netra.processes)
    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        for number in range(SOCKETS):
            await stack.enter_async_context(netra.socket(number % len(netra.users)))
        seconds, opening = time.perf_counter() - began, since(began_with, netra)
        kilobytes, then = (memory(web) - before) / SOCKETS / 1024, cpu_seconds(netra.processes)
        await asyncio.sleep(watched)
        staying = {kind: max(0.0, used - alone[kind]) for kind, used in since(then, netra).items()}
        return Idle(SOCKETS / seconds, kilobytes, opening, staying, alone)


async def begun(netra: Netra, number: int) -> str:
    """Return a new thread of this user, with one run."""
    thread = str(uuid.uuid4())
    async with netra.socket(number) as socket:
        await socket.send(netra.ask("1 0", thread))
        while json.loads(await socket.recv())["type"] != "agent_completed":
            pass
    return thread


async def resume(netra: Netra, thread: str, after: int, events: int) -> tuple[float, float]:
    """Return the ms from `resume` to the first and to the last event after `after`, in a thread of the first user."""
    async with netra.socket(0) as socket:
        began, first = time.perf_counter(), 0.0
        while after < events:
            await socket.send(json.dumps({"type": "resume", "thread_id": thread, "after": after}))
            while True:
                frame = json.loads(await socket.recv())
                first = first or 1000 * (time.perf_counter() - began)
                if frame["type"] == "resumed":
                    after = frame["after"]
                    break
        return first, 1000 * (time.perf_counter() - began)


def lengthen(site: Site, threads: Sequence[str], events: int) -> None:
    """Write logs of so many events, as old threads have them."""
    site.shell(
        "import json\n"
        "from chat.models import Event, Thread\n"
        f"for thread in Thread.objects.filter(id__in={list(threads)}):\n"
        "    event = dict(type='agent_delta', thread_id=str(thread.id), run_id=None, attempt=1, agent_name='ticking',"
        " delta='word ', timestamp='2026-01-01T00:00:00.000Z')\n"
        "    Event.objects.bulk_create((Event(thread=thread, seq=n, attempt=1, type='agent_delta',"
        f" frame=json.dumps(dict(event, seq=n))) for n in range(thread.last_seq + 1, {events} + 1)), batch_size=500)\n"
        f"    Thread.objects.filter(id=thread.id).update(last_seq={events})\n"
    )


async def event(netra: Netra, rounds: int, threads: Sequence[str] = ()) -> tuple[float, float]:
    """CPU of an event under W1 in microseconds, and its p50 in ms; where threads are given, of one run in each."""
    at_once, tokens, rate = LOADS["W1"]
    found = [await load(netra, len(threads) or at_once, tokens, rate, threads) for _ in range(rounds)]
    cpu = statistics.median(1e6 * sum(one.cpu.values()) / len(one.delays) for one in found)
    return cpu, statistics.median(statistics.median(one.delays) for one in found)


async def beside(netra: Netra, rounds: int, say: Callable[[str], None]) -> None:
    """Measure silent sockets, and the cost of an event beside them."""
    runs = LOADS["W1"][0]
    (web,) = netra.processes["web"]
    alone = await used(netra, 10)
    before, costs = memory(web), []
    opened_a_second = f"opened a second, {SOCKETS_AT_ONCE} at once"
    say(f"| sockets open | {opened_a_second} | KB each | CPU ms a second of 1,000 | CPU µs an event, W1 | p50 ms |")
    say("|---|---|---|---|---|---|")
    async with AsyncExitStack() as stack:
        for opened, sockets in zip((0, *IDLE_SOCKETS), IDLE_SOCKETS, strict=False):
            began = time.perf_counter()
            for start in range(opened, sockets, SOCKETS_AT_ONCE):  # of users who ask nothing: no event is for them
                numbers = (
                    runs + number % (len(netra.users) - runs) for number in range(start, start + SOCKETS_AT_ONCE)
                )
                await asyncio.gather(*(stack.enter_async_context(netra.socket(number)) for number in numbers))
            cells = [f"{(sockets - opened) / (time.perf_counter() - began):.0f}"]
            cells.append(f"{(memory(web) - before) / sockets / 1024:.0f}")
            cells.append(f"{max(0, 1e6 * (await used(netra, 10) - alone) / sockets / 10):.0f}")
            cpu, p50 = await event(netra, rounds)
            say(f"| {sockets:,} | {' | '.join(cells)} | {cpu:.0f} | {p50:.1f} |")
            costs.append(cpu)
    say("")
    plot("sockets open", IDLE_SOCKETS, costs, say)


async def measure_growth(netra: Netra, rounds: int, say: Callable[[str], None]) -> None:
    """Measure the cost of an event, and of resuming, in threads with long event logs."""
    say(f"| events in each of {OLD_THREADS} threads | CPU µs an event | p50 ms | the last 100 resumed, ms |")
    say("|---|---|---|---|")
    costs = []
    for events in THREAD_EVENTS:
        threads = [await begun(netra, number) for number in range(OLD_THREADS)]
        lengthen(netra.site, threads, events)
        cpu, p50 = await event(netra, rounds, threads)
        resumed = [await resume(netra, threads[0], events - 100, events) for _ in range(rounds)]
        say(f"| {events:,} | {cpu:.0f} | {p50:.1f} | {statistics.median(last for _, last in resumed):.1f} |")
        costs.append(cpu)
    say("")
    plot("events in each thread", THREAD_EVENTS, costs, say)


def plot(of: str, values: Sequence[int], costs: Sequence[float], say: Callable[[str], None]) -> None:
    """Print a chart of the CPU of an event by the number of sockets or events."""
    say("```mermaid")
    say("xychart-beta")
    say(f'    x-axis "{of}" [{", ".join(f"{value:,}".replace(",", " ") for value in values)}]')
    say(f'    y-axis "CPU of an event, µs" 0 --> {1.5 * max(costs):.0f}')
    say(f"    line [{', '.join(f'{cost:.0f}' for cost in costs)}]")
    say("```")
    say("")


async def tabs(netra: Netra) -> Result:
    """Measure one run in TABS_OF_A_RUN tabs: the delay of the slowest tab for each token."""
    result = Result(first=[0.0])
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(netra.socket(0)) for _ in range(TABS_OF_A_RUN)]

        async def watch(socket: ClientConnection) -> None:
            shown = Shown()
            while (frame := json.loads(await socket.recv()))["type"] != "agent_completed":
                if frame["type"] in ("agent_delta", "live_delta"):
                    result.delays += [1000 * (time.time() - float(token)) for token in shown.add(frame).split()]

        before, began = cpu_seconds(netra.processes), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for socket in sockets:
                group.create_task(watch(socket))
            await sockets[0].send(netra.ask("200 50"))
        result.seconds, result.cpu = time.perf_counter() - began, since(before, netra)
    return result


# ---- The table ---------------------------------------------------------------------------------------------


async def measure(netra: Netra, relay: Relay, rounds: int, say: Callable[[str], None]) -> None:
    """Measure all loads `rounds` times and print their medians."""
    for subject in (netra, relay):
        await load(subject, 20, 20, 0)  # connections, imports and caches
    await beside(netra, rounds, say)  # first: later the sockets find memory that the loads have left
    say("| load | of | first frame ms | p50 ms | p99 ms | tokens/s | CPU-s/10k |")
    say("|---|---|---|---|---|---|---|")
    for name, (runs, tokens, rate) in LOADS.items():
        for subject in (relay, netra):
            cells = [(await load(subject, runs, tokens, rate)).cells() for _ in range(rounds)]
            middle = [middle_of(column) for column in zip(*cells, strict=True)]
            say(f"| {name} | {type(subject).__name__} | {' | '.join(middle)} |")
    cells = (await tabs(netra)).cells()
    say(f"| {TABS_OF_A_RUN} tabs | Netra | | {' | '.join(cells[1:])} |")
    say("")
    thread = await begun(netra, 0)
    lengthen(netra.site, [thread], LONG_THREAD_EVENTS)
    first, last = await resume(netra, thread, 0, LONG_THREAD_EVENTS)
    say(f"{LONG_THREAD_EVENTS:,} events resumed: the first after {first:.1f} ms, the last after {last:.0f} ms.")
    say("")
    await measure_growth(netra, rounds, say)


def middle_of(column: tuple[str, ...]) -> str:
    """Return the median of what was measured in the rounds, as it was written."""
    return sorted(column, key=lambda text: float(text.replace(",", "") or 0))[len(column) // 2]


def database() -> str:
    """Return the name of the database in use."""
    return "PostgreSQL" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "SQLite"


def here() -> str:
    """Return the time, the database and the commit of this measurement."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
    return f"{time.strftime('%Y-%m-%d %H:%M')}, {database()}, commit {commit.strip() or 'unknown'}"


def main() -> None:
    """Measure, print the tables and, with --keep, write them to docs/benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the result to docs/benchmarks")
    given = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"# `make bench`, {here()}\n")
    with tempfile.TemporaryDirectory() as folder, sites.running(Path(folder), **SETTINGS) as site:
        with relaying(site) as bare:
            netra = Netra(site, [site.register(f"bench{number}") for number in range(LOADS["W4"][0])])
            asyncio.run(measure(netra, bare, given.rounds, say))
    if given.keep:
        file = BENCHMARKS / f"{time.strftime('%Y-%m-%d')}-bench-{database().lower()}.md"
        file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["relay"]:
        asyncio.run(relay(int(sys.argv[2]), sys.argv[3]))
    else:
        main()
