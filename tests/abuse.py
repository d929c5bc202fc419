"""What one hostile user does to a running Netra, and what everybody else notices of it.

    python -m tests.abuse

prints how long a healthy client waits for its answers, and what the processes have in memory, before, during and after.
"""

import json
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from chat.protocol import MESSAGE_BURST, TERMINAL
from tests.site import Site, Socket, User, memory, running, wait_until

ROUNDS = 3  # at least
PAUSE = 0.3  # seconds between two messages of the healthy client, who has limits, too


def abuse(site: Site) -> None:
    """Garbage, readers that do not read and a flood of messages; returns once nothing of it is left."""
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


def _frame(fields: dict[str, str]) -> bytes:
    text = json.dumps(fields).encode()
    return b"\x81\xfe" + struct.pack("!H", len(text)) + bytes(4) + text


@contextmanager
def abused(site: Site) -> Iterator[None]:
    """Abuse goes on for as long as the block does, and for some rounds."""
    over = threading.Event()

    def go_on() -> None:
        rounds = 0
        while rounds < ROUNDS or not over.is_set():
            abuse(site)
            rounds += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
    socket = alice.connect()
    times = []
    for _ in range(count):
        times.append(asked(socket))
        time.sleep(PAUSE)
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
    with tempfile.TemporaryDirectory(prefix="netra-abuse-", ignore_cleanup_errors=True) as folder:
        with running(Path(folder)) as site:
            abuse(site)  # what a process needs once it has been busy
            measured(site, site.register("alice"), "before")
            with abused(site):
                measured(site, site.register("alice"), "during")
            measured(site, site.register("alice"), "after")


if __name__ == "__main__":
    main()
