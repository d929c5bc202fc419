"""Measure what other users notice of one hostile user of a running Netra.

    python -m tools.abuse

prints how long a healthy client waits for its answers, and what the processes have in memory, before, during and after.
"""

import asyncio
import json
import multiprocessing
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
from websockets.exceptions import ConnectionClosed

from chat.protocol import MAX_ACTIVE_RUNS, MESSAGE_BURST, TERMINAL
from tests.site import Site, Socket, User, memory, running, wait_until

MIN_ROUNDS = 3  # at least
MESSAGE_PAUSE_SECONDS = 0.3  # seconds between two messages of the healthy client, who has limits, too
ABUSE_NICENESS = 10  # what abuse costs its own process must not be taken for what it costs the site
_fork = multiprocessing.get_context("fork")


def abuse(site: Site) -> None:
    """Send garbage, read nothing and flood with messages; return when all of it has ended."""
    mallory = site.register("mallory")
    header = f"Authorization: Bearer {mallory.access}".encode()
    for _ in range(30):
        with suppress(ConnectionError):
            raw = site.raw("/ws", header)
            raw.socket.sendall(b"\x81\xfe" + struct.pack("!H", 60_000) + b"\xff" * 60_004)
            raw.socket.close()
    readers = [site.raw("/ws", header).socket for _ in range(5)]
    for reader in readers:
        reader.settimeout(1)  # what is full on both sides takes nothing more
        with suppress(OSError):
            reader.sendall(_frame({"type": "user_message", "content": "5000", "agent": "pensive"}))
            for _ in range(300):
                reader.sendall(_frame({"type": "ping", "id": "x" * 4000}))
    flood = mallory.connect()
    with suppress(ConnectionClosed):
        for _ in range(10 * MESSAGE_BURST):
            flood.send({"type": "user_message", "content": "one two", "agent": "echo"})
    wait_until(lambda: not mallory.http("GET", "/api/agents/status").json()["runs"], "the flood to end")
    flood.close()
    for reader in readers:
        reader.close()


def upload_at_once(site: Site, user: User) -> int:
    """Send 900 uploads of one user, 300 at a time. Returns the number of stored files."""
    file = {"file": ("a.csv", b"model,cost\na,1\n", "text/csv")}

    async def send() -> int:
        limits = httpx.Limits(max_connections=300)
        headers = {"Authorization": f"Bearer {user.access}"}
        async with httpx.AsyncClient(base_url=site.url, headers=headers, limits=limits, timeout=600) as client:
            answers = await asyncio.gather(*(client.post("/api/attachments", files=file) for _ in range(900)))
        return sum(answer.status_code == 201 for answer in answers)

    return asyncio.run(send())


@contextmanager
def flooded(site: Site) -> Iterator[None]:
    """Keep 300 runs of 30 s of one user queued or running inside the block."""
    user = site.register("patient")
    socket = user.connect()
    for number in range(MAX_ACTIVE_RUNS):
        socket.send({"type": "user_message", "content": "30 1", "agent": "ticking", "client_msg_id": str(number)})
    wait_until(lambda: len(user.http("GET", "/api/agents/status").json()["runs"]) == MAX_ACTIVE_RUNS, "the runs")
    yield
    socket.close()
    flood = user.connect()
    flood.send({"type": "stop_agent"})
    flood.receive("stop_accepted")
    flood.close()


@contextmanager
def beside(work: Callable[[], object], rounds: int = 1) -> Iterator[None]:
    """Do `work` in a process of lower priority, at least `rounds` times and until the block ends."""
    over = _fork.Event()

    def go_on() -> None:
        os.nice(ABUSE_NICENESS)
        done = 0
        while done < rounds or not over.is_set():
            work()
            done += 1

    process = _fork.Process(target=go_on)
    process.start()
    try:
        yield
    finally:
        over.set()
        process.join()


def uploaded(site: Site) -> None:
    """Print how many of 900 uploads were stored."""
    stored = upload_at_once(site, site.register("uploads"))
    print(f"of 900 uploads, 300 at a time, {stored} were stored", flush=True)


def read_at_once(site: Site) -> None:
    """Send 2,000 requests of one user, 300 at a time, and print the answers by status."""
    user = site.register("reader")

    async def send() -> None:
        limits = httpx.Limits(max_connections=300)
        headers = {"Authorization": f"Bearer {user.access}"}
        async with httpx.AsyncClient(base_url=site.url, headers=headers, limits=limits, timeout=600) as client:
            answers = await asyncio.gather(*(client.get("/api/threads") for _ in range(2000)))
        print("2,000 requests:", dict(Counter(answer.status_code for answer in answers)), flush=True)

    asyncio.run(send())


def _frame(fields: dict[str, str]) -> bytes:
    text = json.dumps(fields).encode()
    return b"\x81\xfe" + struct.pack("!H", len(text)) + bytes(4) + text


def posted(site: Site) -> None:
    """Post bodies that are refused, as a client without an account."""
    command = [sys.executable, "-m", "tests.bodies", str(site.port), "100"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def asked(socket: Socket) -> tuple[float, float]:
    """Ask for two words: seconds to agent_started and to the end, which is agent_completed."""
    began, started = time.perf_counter(), 0.0
    socket.send({"type": "user_message", "content": "one two", "agent": "echo"})
    while (kind := socket.next()["type"]) not in TERMINAL:
        if kind == "agent_started":
            started = time.perf_counter() - began
    assert kind == "agent_completed"
    return started, time.perf_counter() - began


def measured(site: Site, alice: User, when: str, count: int = 60) -> None:
    """Print how long `count` messages of a healthy client wait for their answers, and the memory of the processes."""
    socket = alice.connect()
    times = []
    for _ in range(count):
        times.append(asked(socket))
        time.sleep(MESSAGE_PAUSE_SECONDS)
    assert site.web is not None
    started, completed = (
        f"{1000 * statistics.median(column):.0f} (at most {1000 * max(column):.0f})"
        for column in zip(*times, strict=True)
    )
    web, worker = (f"{memory(process.pid) / 2**20:.0f}" for process in (site.web, *site.workers))
    print(
        f"{when}: started after {started}, completed after {completed} ms; web {web}, worker {worker} MiB", flush=True
    )
    socket.close()


def main() -> None:
    """Measure a healthy client before, during and after each kind of abuse."""
    with tempfile.TemporaryDirectory(prefix="netra-abuse-", ignore_cleanup_errors=True) as folder:
        with running(Path(folder), DJANGO_SETTINGS_MODULE="netra.settings") as site:
            abuse(site)  # what a process needs once it has been busy
            measured(site, site.register("alice"), "before")
            with beside(partial(abuse, site), MIN_ROUNDS):
                measured(site, site.register("alice"), "during")
            measured(site, site.register("alice"), "after")
            with beside(partial(posted, site)):
                measured(site, site.register("alice"), "while bodies are posted")
            with beside(partial(uploaded, site)):
                measured(site, site.register("alice"), "while 900 files are uploaded")
            with beside(partial(read_at_once, site)):
                measured(site, site.register("alice"), "while 2,000 lists are read")
            with flooded(site):
                measured(site, site.register("alice"), "beside 300 runs of 30 s")


if __name__ == "__main__":
    main()
