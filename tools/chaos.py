"""Break a running Netra at random, then compare what its clients saw with the event log.

    make chaos RUNS=1000 SEED=7

Real processes: two daphnes, three workers, Redis, the database, clients that reconnect and resume as wire.md says.
A third of the runs wait for a person once or twice; their answers race each other, stops, expiries and the faults.
The number of faults follows the number of runs; what they are and when they strike follows the seed.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psycopg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from chat.protocol import EVENTS, TERMINAL
from tests import site as sites
from tests.agents import WORD_SECONDS
from tests.site import WAIT_TIMEOUT, Site, User, free_port
from tests.transcript import Transcript
from tools.chaos_inputs import Answers, check_answers, expected_answer, starts_of
from tools.chaos_inputs import check_run as check_inputs

WORKERS, WEB_PROCESSES, USERS = 3, 2, 4
MAX_WAITING_RUNS = 4  # runs that a user waits for at a time
LEASE_SECONDS = 3.0
FAULT_WEIGHTS = Counter(
    {
        "kill a worker": 50,
        "freeze a worker": 12,
        "stop a worker": 6,
        "kill a web process": 8,
        "stop a web process": 3,
        "kill Redis": 4,
        "freeze Redis": 3,
        "flush Redis": 6,
        "lock the database": 4,
        "cut the database": 4,
    }
)
FAULTS_PER_RUN = 0.2  # faults for each run
ANSWER_WAIT_SECONDS = 2.0  # seconds that every second fault waits for an answer, to strike right behind it
STOPPED_SHARE = 0.2  # of the runs, around their end
RUNS_PER_QUESTION = 3  # one run of so many asks
ANSWERED_SHARES = {"sender": 0.9, "watcher": 0.4}  # share of the requests that each of a user's two tabs answers


@dataclass
class Report:
    """The findings. If all is well, `wrong` is empty and lost, duplicated, executed, gaps and unfinished are 0."""

    database: str
    seed: int
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicated: int = 0
    executed: int = 0  # calls and steps that were executed twice, or without an acceptance of their own
    gaps: int = 0
    unfinished: int = 0
    live: int = 0  # frames of text that came before their events
    restarted: int = 0
    stopped: int = 0
    waited: int = 0
    answers: int = 0  # sent, with the doubled ones
    taken_over: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """True if no invariant was broken."""
        return not (self.lost or self.duplicated or self.executed or self.gaps or self.unfinished or self.wrong)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} × {name}" for name, count in sorted(self.faults.items()))
        late = f"{quantile(self.taken_over, 0.95):.1f} s" if self.taken_over else "none"
        return (
            f"{self.database}, seed {self.seed}: {self.runs} runs "
            f"({self.restarted} began again, {self.stopped} stopped, {self.waited} waited); {faults}; "
            f"{self.live} live deltas, {self.answers} answers; "
            f"{self.lost} lost, {self.duplicated} duplicated, {self.executed} executed twice, "
            f"{self.gaps} gaps, {self.unfinished} unfinished, "
            f"take-over p95 {late}"
        )


def quantile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies; 0 without values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


# ---- The processes and what happens to them ----------------------------------------------------------------


class Victim:
    """A site with several processes of each kind, each of which is replaced as soon as it dies."""

    def __init__(self, site: Site, rng: random.Random) -> None:
        self.site, self.rng = site, rng
        self.ports = [site.port, *(free_port() for _ in range(WEB_PROCESSES - 1))]
        self.webs: dict[int, subprocess.Popen[bytes]] = {}
        self.workers: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        """Start all processes and wait until they are ready."""
        self.site.start_redis()
        self.site.create_database()
        for port in self.ports:
            self.start_web(port)
        for _ in range(WORKERS):
            self.start_worker()
        self.wait_up()

    def start_web(self, port: int) -> None:
        """Start a web process at this port."""
        endpoint = f"tcp:{port}:interface=127.0.0.1:backlog=1024"
        command = ["-m", "daphne", "-v", "0", "-e", endpoint, "netra.asgi:application"]
        self.webs[port] = self.site.start(*command, log=f"web{port}")

    def start_worker(self) -> None:
        """Start a worker."""
        self.workers.append(self.site.start("manage.py", "runagents", log="worker"))

    def wait_up(self) -> None:
        """Wait until every web process is ready."""
        for port in self.ports:
            sites.wait_until(lambda port=port: is_ready(port), f"port {port}\n{self.site.log(f'web{port}')}")

    def strike(self, fault: str) -> None:
        """Cause the fault of this name."""
        getattr(self, "_" + fault.replace(" ", "_").lower())()

    def _worker(self) -> subprocess.Popen[bytes]:
        return self.workers.pop(self.rng.randrange(len(self.workers)))

    def _kill_a_worker(self) -> None:
        end(self._worker(), signal.SIGKILL)
        self.start_worker()

    def _freeze_a_worker(self) -> None:
        """Past its lease: another takes over, and what it then writes must not count."""
        worker = self._worker()
        worker.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS * self.rng.uniform(1.2, 2.0))
        worker.send_signal(signal.SIGCONT)
        self.workers.append(worker)

    def _stop_a_worker(self) -> None:
        end(self._worker(), signal.SIGTERM)
        self.start_worker()

    def _web(self, number: int) -> None:
        port = self.rng.choice(self.ports)
        end(self.webs[port], number)
        self.start_web(port)

    def _kill_a_web_process(self) -> None:
        self._web(signal.SIGKILL)

    def _stop_a_web_process(self) -> None:
        self._web(signal.SIGTERM)

    def _kill_redis(self) -> None:
        assert self.site.redis is not None
        end(self.site.redis, signal.SIGKILL)
        time.sleep(self.rng.uniform(0, 2))
        self.site.start_redis()

    def _freeze_redis(self) -> None:
        assert self.site.redis is not None
        self.site.redis.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(1, 4))
        self.site.redis.send_signal(signal.SIGCONT)

    def _flush_redis(self) -> None:
        self.site.flush_redis()

    def _lock_the_database(self) -> None:
        with self.site.locked("ACCESS EXCLUSIVE"):
            time.sleep(self.rng.uniform(0.5, 3))

    def _cut_the_database(self) -> None:
        """Every connection at once, wherever its transaction stands."""
        if self.is_postgres:
            with psycopg.connect(self.database, autocommit=True) as other:
                mine = "pid <> pg_backend_pid() AND datname = current_database()"
                other.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")

    @property
    def starts(self) -> Path:
        """The file in which tools and steps record their starts."""
        return self.site.folder / "starts"

    @property
    def database(self) -> str:
        """The URL of the site's database."""
        return self.site.environment["DATABASE_URL"]

    @property
    def is_postgres(self) -> bool:
        """True if the database is PostgreSQL."""
        return self.database.startswith("postgres")


def end(process: subprocess.Popen[bytes], number: int) -> None:
    """Send the signal to the process and wait for its end."""
    process.send_signal(number)
    process.wait()


def is_ready(port: int) -> bool:
    """Return whether the web process at this port says that the site is ready."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=WAIT_TIMEOUT).status_code == 200
    except httpx.TransportError:
        return False


# ---- A client ----------------------------------------------------------------------------------------------


class Client:
    """A tab: it shows the event with the next number, drops older ones, and resumes after a gap."""

    def __init__(self, user: User, ports: list[int], rng: random.Random, answered: float = 0) -> None:
        """Make a tab that answers this share of what the user's runs ask."""
        self.user, self.ports, self.rng = user, ports, rng
        self.answers = Answers(user, ports, rng, self._tell, answered)
        self.shown: dict[str, list[str]] = {}  # the frames of each thread, in order
        self.outbox: dict[str, dict[str, Any]] = {}  # what has not been accepted, by client_msg_id
        self.accepted: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, str] = {}  # run -> type of its last event
        self.stopped: set[str] = set()  # runs that it asked to be stopped, while they went on or just after their end
        self.texts: defaultdict[str, Transcript] = defaultdict(Transcript)  # of each run, as it is shown
        self.live = 0  # frames of text that came before their events
        self.wrong: list[str] = []
        self._asked: set[str] = set()  # threads whose gap is being filled
        self._socket: ClientConnection | None = None

    @property
    def waiting(self) -> int:
        """Number of its messages without an answer."""
        return len(self.outbox) + len(self.accepted) - len(self.ended.keys() & self._runs)

    @property
    def _runs(self) -> set[str]:
        return {accepted["run_id"] for accepted in self.accepted.values()}

    async def send(self, frame: dict[str, Any]) -> None:
        """Send the frame, again and again until it is accepted."""
        self.outbox[frame["client_msg_id"]] = frame
        await self._tell(frame)

    async def stop(self, key: str, delay: float) -> None:
        """Stop the run of this message some time after it was accepted: before its end, in it, or after."""
        await until(lambda: key in self.accepted, WAIT_TIMEOUT)
        await asyncio.sleep(delay)
        if key in self.accepted:
            self.stopped.add(self.accepted[key]["run_id"])
            await self._tell({"type": "stop_agent", "run_id": self.accepted[key]["run_id"]})

    async def _tell(self, frame: dict[str, Any]) -> None:
        try:
            if self._socket is not None:
                await self._socket.send(json.dumps(frame))
        except WebSocketException:
            pass  # said again on the next connection

    async def run(self) -> None:
        """Stay connected, to any of the web processes, until cancelled."""
        encoded = urlsafe_b64encode(self.user.access.encode()).decode().rstrip("=")
        protocols = [Subprotocol("jwt-auth"), Subprotocol(f"jwt.{encoded}")]
        while True:
            server = f"127.0.0.1:{self.rng.choice(self.ports)}"
            try:
                async with connect(f"ws://{server}/ws", subprotocols=protocols, max_size=None) as socket:
                    self._asked.clear()
                    async for text in socket:
                        frame = json.loads(text)
                        if frame["type"] == "connection_established":
                            self._socket = socket
                            for thread in {*self.shown, *await self._threads(server)}:
                                await self._resume(thread)
                            for waiting in list(self.outbox.values()):
                                await self._tell(waiting)
                        else:
                            await self._take(frame, str(text))
            except (OSError, WebSocketException, TimeoutError, httpx.HTTPError):
                pass
            finally:
                self._socket = None
            await asyncio.sleep(self.rng.uniform(0.05, 0.3))  # as a browser backs off

    async def _threads(self, server: str) -> list[str]:
        """Return its user's threads, with those that were created while it was disconnected."""
        headers = {"Authorization": f"Bearer {self.user.access}"}
        found: list[str] = []
        async with httpx.AsyncClient(headers=headers, timeout=WAIT_TIMEOUT) as http:
            while True:
                number = len(found) // 100 + 1
                answer = await http.get(f"http://{server}/api/threads?page_size=100&page={number}")
                answer.raise_for_status()
                page = answer.json()
                found += [thread["id"] for thread in page["threads"]]
                if not page["has_more"]:
                    return found

    async def _resume(self, thread: str) -> None:
        self._asked.add(thread)
        await self._tell({"type": "resume", "thread_id": thread, "after": len(self.shown.get(thread, []))})

    async def _take(self, frame: dict[str, Any], text: str) -> None:
        kind = frame["type"]
        if self.answers.take(frame):
            return
        if kind in EVENTS:
            await self._show(frame["thread_id"], frame["seq"], frame, text)
        elif kind == "live_delta":
            self._show_live(frame)
        elif kind == "message_accepted":
            self.outbox.pop(frame["client_msg_id"], None)
            before = self.accepted.setdefault(frame["client_msg_id"], frame)
            if before["run_id"] != frame["run_id"]:
                self.wrong.append(f"{frame['client_msg_id']} is two runs")
        elif kind == "resumed":
            self._asked.discard(frame["thread_id"])
            if frame["more"]:
                await self._resume(frame["thread_id"])
        elif kind == "error" and frame["error_code"] == "unavailable":
            waiting = self.outbox.get(frame.get("ref") or "")
            if waiting is not None:
                await self._tell(waiting)
            else:
                for thread in list(self.shown):
                    await self._resume(thread)
        elif kind in ("error", "resync"):
            self.wrong.append(text)

    def _show_live(self, frame: dict[str, Any]) -> None:
        text = self.texts[frame["run_id"]]
        self.live += 1
        if frame["attempt"] < text.attempt:
            self.wrong.append(f"run {frame['run_id']}: attempt {frame['attempt']} speaks after its worker lost the run")
        text.add(frame)

    async def _show(self, thread: str, seq: int, frame: dict[str, Any], text: str) -> None:
        shown = self.shown.setdefault(thread, [])
        if seq <= len(shown):
            if shown[seq - 1] != text:
                self.wrong.append(f"two events {seq} in {thread}")
        elif seq == len(shown) + 1:
            shown.append(text)
            if frame["run_id"]:
                self.texts[frame["run_id"]].add(frame)
            if frame["type"] in TERMINAL:
                self.ended[frame["run_id"]] = frame["type"]
        elif thread not in self._asked:
            await self._resume(thread)


# ---- The experiment ----------------------------------------------------------------------------------------


async def play(victim: Victim, runs: int, rng: random.Random, report: Report, say: Callable[[str], None]) -> None:
    """Send `runs` messages and stop some of their runs, while faults strike at random times."""
    users = [victim.site.register(f"chaos{number}") for number in range(USERS)]
    senders, watchers = (
        [Client(user, victim.ports, random.Random(rng.random()), share) for user in users]
        for share in ANSWERED_SHARES.values()
    )
    faults = list(deck(rng, round(runs * FAULTS_PER_RUN), victim.is_postgres))
    tasks = [asyncio.create_task(client.run()) for client in (*senders, *watchers)]
    stops: list[asyncio.Task[None]] = []
    sent = 0
    texts: dict[str, str] = {}  # by client_msg_id

    async def send(client: Client) -> None:
        nonlocal sent
        threads: list[str] = []
        while sent < runs:
            sent += 1
            number = sent
            if not threads or rng.random() < 0.5:
                threads.append(str(uuid.uuid4()))
            key = str(uuid.uuid4())
            words = rng.randint(5, 50)
            questions = f" {rng.randint(1, 2)} {victim.starts}" if number % RUNS_PER_QUESTION == 0 else ""
            texts[key] = f"{number} {words}{questions}"
            frame = {"type": "user_message", "content": texts[key], "agent": "chaotic"}
            await client.send({**frame, "client_msg_id": key, "thread_id": rng.choice(threads)})
            if rng.random() < STOPPED_SHARE:
                stops.append(asyncio.create_task(client.stop(key, words * rng.uniform(0.5, 3) * WORD_SECONDS)))
            await until(lambda: client.waiting < MAX_WAITING_RUNS)

    def ended() -> int:
        return sum(len(client.accepted) + len(client.outbox) - client.waiting for client in senders)

    def answers() -> int:
        return sum(client.answers.sent for client in (*senders, *watchers))

    async def strike() -> None:
        for number, fault in enumerate(faults):
            await until(lambda number=number: ended() >= number * (runs - MAX_WAITING_RUNS * USERS) / len(faults))
            say(f"{ended()} of {runs} runs, fault {number + 1} of {len(faults)}: {fault}")
            report.faults[fault] += 1
            if rng.random() < 0.5:
                before = answers()
                await until(lambda before=before: answers() > before, ANSWER_WAIT_SECONDS)
            await asyncio.to_thread(victim.strike, fault)

    try:
        async with asyncio.TaskGroup() as group:
            for client in senders:
                group.create_task(send(client))
            group.create_task(strike())
        victim.wait_up()
        await asyncio.gather(*stops)
        await until(lambda: not any(client.waiting for client in senders), WAIT_TIMEOUT)
        await until(lambda: all(a.shown == b.shown for a, b in zip(senders, watchers, strict=True)), WAIT_TIMEOUT)
        async with asyncio.timeout(WAIT_TIMEOUT):
            await asyncio.gather(*(client.answers.finish() for client in (*senders, *watchers)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # or their sockets stay open
    report.runs, report.answers = runs, answers()
    starts = starts_of(victim.starts)
    for sender, watcher in zip(senders, watchers, strict=True):
        check(sender, watcher, texts, report, starts)


async def until(condition: Callable[[], bool], patience: float = float("inf")) -> None:
    """Wait for the condition, for at most `patience` seconds."""
    end = time.monotonic() + patience
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 what is waited for is in other processes
        await asyncio.sleep(0.02)


def deck(rng: random.Random, count: int, postgres: bool) -> Iterator[str]:
    """`count` faults in the shares of the deck, at least one of each kind, in random order."""
    kinds = {name: share for name, share in FAULT_WEIGHTS.items() if postgres or name != "cut the database"}
    total = sum(kinds.values())
    drawn = [name for name, share in kinds.items() for _ in range(max(1, round(count * share / total)))]
    rng.shuffle(drawn)
    yield from drawn


def check(
    sender: Client,
    watcher: Client,
    texts: dict[str, str],
    report: Report,
    starts: Mapping[str, list[str]] = MappingProxyType({}),
) -> None:
    """Compare what this user's clients saw, and what REST says, with the invariants. `starts` are by run."""
    report.wrong += sender.wrong + watcher.wrong
    report.lost += len(sender.outbox)
    report.live += sender.live + watcher.live
    threads = {accepted["thread_id"] for accepted in sender.accepted.values()}
    logs = {thread: log_of(sender.user, thread) for thread in threads}
    for thread, log in logs.items():
        seqs = [event["seq"] for event in log]
        report.gaps += len(set(range(1, len(seqs) + 1)) - set(seqs))
        report.duplicated += len(seqs) - len(set(seqs))
        for client in (sender, watcher):
            seen = [json.loads(text) for text in client.shown.get(thread, [])]
            report.gaps += max(0, len(log) - len(seen))
            if seen != log[: len(seen)]:
                report.wrong.append(f"{thread}: a client saw another log than there is")
    for client in (sender, watcher):
        check_answers(client.answers, [event for log in logs.values() for event in log], report)
    for key, accepted in sender.accepted.items():
        events = [event for event in logs[accepted["thread_id"]] if event["run_id"] == accepted["run_id"]]
        check_text(accepted["run_id"], (sender, watcher), events, report)
        check_run(texts[key], accepted, accepted["run_id"] in sender.stopped, events, report)
        check_inputs(accepted["run_id"], events, starts.get(accepted["run_id"], []), report)
        status = sender.user.http("GET", f"/api/runs/{accepted['run_id']}").json()["status"]
        ends = [event["status"] for event in events if event["type"] in TERMINAL]
        if ends != [status]:
            report.wrong.append(f"run {accepted['run_id']} is {status}, its log says {ends}")


def check_text(run: str, clients: tuple[Client, ...], events: list[dict[str, Any]], report: Report) -> None:
    """Compare the text that each client shows at the end with that of the log."""
    logged = Transcript()
    for event in events:
        logged.add(event)
    for client in clients:
        shown = client.texts[run]
        report.wrong += [f"run {run}: {wrong}" for wrong in shown.wrong]
        if shown.text != logged.text:
            report.wrong.append(f"run {run}: a client shows {shown.text!r}, the log has {logged.text!r}")


def check_run(text: str, accepted: dict[str, Any], stopped: bool, events: list[dict[str, Any]], report: Report) -> None:
    """Compare the events of one run with the invariants."""
    run = accepted["run_id"]
    kinds = [event["type"] for event in events]
    ends = [kind for kind in kinds if kind in TERMINAL]
    report.unfinished += not ends
    report.duplicated += max(0, len(ends) - 1) + max(0, kinds.count("message_created") - 1)
    report.lost += "message_created" not in kinds
    if len(ends) != 1:
        return
    if kinds[-1] not in TERMINAL:
        report.wrong.append(f"run {run} went on after its end")
    begin = max((index for index, kind in enumerate(kinds) if kind == "run_restarted"), default=0)
    said = "".join(event["delta"] for event in events[begin:] if event["type"] == "agent_delta")
    if ends[0] == "agent_cancelled" and stopped:
        report.stopped += 1
        if not expected_answer(text, events).startswith(said):
            report.wrong.append(f"run {run} was stopped and had said {said!r}")
    elif ends[0] != "agent_completed":
        report.wrong.append(f"run {run} ended with {ends[0]}: {events[-1].get('message')}")
    elif not said == events[-1]["final_response"] == expected_answer(text, events):
        report.wrong.append(f"run {run} answered {events[-1]['final_response']!r}, said {said!r}")
    made = Counter(
        event["tool_call_id"]
        for event in events
        if event["type"] == "tool_completed" and event["success"] and not event.get("reused")
    )
    again = [call for call, count in made.items() if count > 1]
    report.duplicated += len(again)
    report.wrong += [f"run {run} made the call {call} again" for call in again]
    report.restarted += "run_restarted" in kinds
    for before, event in pairwise(events):
        if event["type"] == "run_restarted" and event["reason"] == "worker_lost":
            pause = datetime.fromisoformat(event["timestamp"]) - datetime.fromisoformat(before["timestamp"])
            report.taken_over.append(pause.total_seconds())


def log_of(user: User, thread: str) -> list[dict[str, Any]]:
    """Return all events of a thread, over REST."""
    events: list[dict[str, Any]] = []
    while True:
        page = user.http("GET", f"/api/threads/{thread}/events?after={len(events)}&limit=1000").json()
        events += page["events"]
        if not page["more"]:
            return events


def experiment(folder: Path, runs: int, seed: int, say: Callable[[str], None] = lambda line: None) -> Report:
    """Make one experiment on a site of its own, on PostgreSQL if DATABASE_URL names one."""
    settings = {
        "NETRA_LEASE_SECONDS": str(LEASE_SECONDS),
        "NETRA_MAX_ATTEMPTS": "50",
        "NETRA_WORKER_CONCURRENCY": "6",  # so that every worker has something to lose
        "NETRA_SHUTDOWN_SECONDS": "1",
        "NETRA_ACCESS_TOKEN_SECONDS": "86400",
        "NETRA_RATE_LIMITS": "off",
    }
    rng = random.Random(seed)
    with sites.empty(folder, **settings) as site:
        victim = Victim(site, rng)
        report = Report("PostgreSQL" if victim.is_postgres else "SQLite", seed)
        victim.begin()
        asyncio.run(play(victim, runs, rng, report, say))
        return report


def main() -> None:
    """Make one experiment and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    given = parser.parse_args()
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"\r\033[K{time.monotonic() - began:5.0f} s  {line}")
        sys.stderr.flush()

    with tempfile.TemporaryDirectory(prefix="netra-chaos-", ignore_cleanup_errors=True) as folder:
        report = experiment(Path(folder), given.runs, given.seed, say)
    sys.stderr.write("\r\033[K")
    print(report)
    for line in report.wrong[:20]:
        print("  ", line)
    sys.exit(0 if report.good else 1)


if __name__ == "__main__":
    main()
