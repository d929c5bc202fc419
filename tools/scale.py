"""`make scale`: what a turn, a new socket and a silent one cost each kind of process, and how many users that makes.

On a site of its own, with the loads of tools/bench.py. It reads CPU seconds, which change less than times when others
use the machine, and divides: a process is one thread's worth of Python (or of Redis), so a core is its ceiling. KEEP=1
puts the result into docs/scale.md.
"""

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import site as sites
from tools import bench
from tools.bench import LOADS, SOCKETS, Idle, Netra, Result

PAGE = bench.ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- make scale writes from here -->", "<!-- to here -->"
TOKEN = "opens-the-figures-of-a-site"

# Who uses it. A turn is a message and its answer, 200 tokens at 50 a second (W3: a hundred at a time).
MESSAGE_PERIOD_SECONDS = 120  # seconds from one message of a user to the next
SOCKET_SECONDS = 1800  # seconds that a socket stays open
MAX_CORE_SHARE = 0.7  # of a core, so that there is room for peaks
USERS = (10_000, 1_000_000)
FEW_RUNS, MANY_RUNS = 1000, 10_000  # runs that other workers execute, while a worker looks for one


@dataclass
class Measured:
    """A load, and the counters beside it."""

    turns: int
    result: Result
    commits: float
    events: float
    messages: float
    stored: float  # bytes

    def cpu_ms(self, kind: str) -> float:
        """Return the CPU ms of this kind of process for one turn."""
        return 1000 * self.result.cpu[kind] / self.turns


class Counters:
    """The counters of the worker, Redis and the database so far."""

    def __init__(self, site: sites.Site) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        text = httpx.get(site.worker_figures, headers=headers, timeout=sites.WAIT_TIMEOUT).text
        found = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
        self.commits, self.events = found["netra_commit_seconds_count"], found["netra_commit_events_sum"]
        with Redis(unix_socket_path=str(site.redis_socket)) as redis:
            self.messages = redis.info("commandstats").get("cmdstat_publish", {}).get("calls", 0)
        url = site.environment["DATABASE_URL"]
        if url.startswith("postgres"):
            with psycopg.connect(url) as server:
                ((self.stored,),) = server.execute("SELECT pg_database_size(current_database())").fetchall()
        else:
            self.stored = sum(path.stat().st_size for path in site.folder.glob("site.sqlite3"))


async def measured(netra: Netra, runs: int, tokens: int, rate: int) -> Measured:
    """Measure one load."""
    before = Counters(netra.site)
    result = await bench.load(netra, runs, tokens, rate)
    after = Counters(netra.site)
    names = ("commits", "events", "messages", "stored")
    return Measured(runs, result, **{name: getattr(after, name) - getattr(before, name) for name in names})


def claim_ms(site: sites.Site, active: int) -> float:
    """Return the ms in which a worker finds no run beside this many running ones: the least of twenty."""
    site.shell(
        "import time, uuid\n"
        "from datetime import timedelta\n"
        "from django.db import connection\n"
        "from django.utils import timezone\n"
        "from chat import runs\n"
        "from chat.models import Message, Run, Thread, User\n"
        "user, lease = User.objects.create_user('many@example.com'), timezone.now() + timedelta(hours=1)\n"
        f"threads = Thread.objects.bulk_create(Thread(user=user, agent='echo') for _ in range({active}))\n"
        "messages = Message.objects.bulk_create("
        "Message(thread=thread, role='user', content='x', seq=1) for thread in threads)\n"
        "Run.objects.bulk_create(Run(user=user, thread=message.thread, message=message, request_hash='x', agent='echo',"
        " status='running', thread_seq=1, attempt=1, lease_until=lease) for message in messages)\n"
        "connection.cursor().execute('ANALYZE')\n"
        "took = []\n"
        "for _ in range(20):\n"
        "    began = time.perf_counter()\n"
        "    assert runs.claim(uuid.uuid4(), ['echo'], 20) == []\n"
        "    took.append(time.perf_counter() - began)\n"
        "Run.objects.filter(user=user).delete()\n"
        "Message.objects.filter(thread__user=user).delete()\n"
        "user.delete()\n"
        "print(1000 * min(took))\n"
    )
    return float(site.log("shell").split()[-1])


# ---- The tables ----------------------------------------------------------------------------------------------


async def measure(netra: Netra, rounds: int, watched: float, say: Callable[[str], None]) -> None:
    """Measure all loads `rounds` times, and silent sockets for `watched` seconds."""
    await bench.load(netra, 20, 20, 0)  # connections, imports and caches
    silent = await bench.idle(netra, watched)  # first: later the sockets find memory that the loads have left
    loads = {name: [await measured(netra, *LOADS[name]) for _ in range(rounds)] for name in ("W3", "W1", "W2")}
    kinds = list(netra.processes)
    connections = {kind: len(pids) for kind, pids in netra.processes.items()}.get("PostgreSQL")
    opening = {kind: 1000 * silent.opening[kind] / SOCKETS for kind in kinds}
    staying = {kind: 1000 * silent.staying[kind] / SOCKETS / watched for kind in kinds}
    turn = {kind: statistics.median(one.cpu_ms(kind) for one in loads["W3"]) for kind in kinds}

    say(f"| CPU ms | {' | '.join(kinds)} |")
    say(f"|---|{'---|' * len(kinds)}")
    for name, words in (("W3", "100 at once"), ("W1", "20 at once")):
        of = {kind: statistics.median(one.cpu_ms(kind) for one in loads[name]) for kind in kinds}
        say(f"| a turn, {words} | {' | '.join(f'{of[kind]:.1f}' for kind in kinds)} |")
    say(f"| a new socket | {' | '.join(f'{opening[kind]:.2f}' for kind in kinds)} |")
    say(f"| a second of 1,000 silent sockets | {' | '.join(f'{1000 * staying[kind]:.1f}' for kind in kinds)} |")
    alone = {kind: 1000 * silent.processes[kind] / watched for kind in kinds}
    say(f"| a second of an idle process | {' | '.join(f'{alone[kind]:.1f}' for kind in kinds)} |")
    say("")
    ceilings(loads, silent, opening, say)
    claims = {active: claim_ms(netra.site, active) for active in (FEW_RUNS, MANY_RUNS)}
    say(f"| | looking once for a run | {', '.join(f'{ms:.1f} ms beside {n:,}' for n, ms in claims.items())} |")
    if connections is not None:
        say(f"| | its connections, of a web process and a worker together | {connections} |")
    say("")
    cost = {
        kind: turn[kind] / MESSAGE_PERIOD_SECONDS + opening[kind] / SOCKET_SECONDS + staying[kind] for kind in kinds
    }
    arithmetic(cost, claims[MANY_RUNS], silent, loads, say)


def ceilings(
    loads: dict[str, list[Measured]], silent: Idle, opening: dict[str, float], say: Callable[[str], None]
) -> None:
    """Print how much one process of each kind does with a whole core."""

    def rate(name: str, kind: str, count: Callable[[Measured], float]) -> str:
        return f"{statistics.median(count(one) / max(one.result.cpu[kind], 0.01) for one in loads[name]):,.0f}"

    say("| with one core | does | a second, at most |")
    say("|---|---|---|")
    frames = "; ".join(rate(name, "web", lambda m: m.result.frames) for name in ("W3", "W1"))
    say(f"| web process | frames, W3; W1 | {frames} |")
    say(f"| | new sockets | {1000 / max(opening['web'], 0.01):,.0f} |")
    say(f"| | memory of a socket | {silent.kilobytes:.0f} KB |")
    tokens = "; ".join(rate(name, "worker", lambda m: len(m.result.delays)) for name in ("W2", "W3", "W1"))
    say(f"| worker | tokens, W2 (a flood); W3; W1 | {tokens} |")
    say(f"| | commits, W1 | {rate('W1', 'worker', lambda m: m.commits)} |")
    pace = LOADS["W3"][2]
    at_once = statistics.median(len(m.result.delays) / pace / max(m.result.cpu["worker"], 0.01) for m in loads["W3"])
    say(f"| | runs at once, each {pace} tokens a second | {at_once:,.0f} |")
    say(f"| Redis | published messages, W1 | {rate('W1', 'Redis', lambda m: m.messages)} |")
    if "PostgreSQL" in loads["W1"][0].result.cpu:
        say(f"| PostgreSQL, a core of it | commits, W1 | {rate('W1', 'PostgreSQL', lambda m: m.commits)} |")
        say(f"| | events, W3 | {rate('W3', 'PostgreSQL', lambda m: m.events)} |")


def arithmetic(
    cost: dict[str, float],
    look: float,
    silent: Idle,
    loads: dict[str, list[Measured]],
    say: Callable[[str], None],
) -> None:
    """`cost`: CPU ms a second, of one user. `look`: ms that looking once for a run takes."""
    carries = {kind: 1000 * MAX_CORE_SHARE / cost[kind] for kind in cost}
    say(f"| users at once | {' | '.join(f'{users:,}' for users in USERS)} | one core carries |")
    say(f"|---|{'---|' * len(USERS)}---|")
    length = LOADS["W3"][1] / LOADS["W3"][2]

    def row(words: str, count: Callable[[int], float], last: str = "") -> None:
        say(f"| {words} | {' | '.join(f'{count(users):,.0f}' for users in USERS)} | {last} |")

    row("turns a second", lambda users: users / MESSAGE_PERIOD_SECONDS)
    row("runs under way", lambda users: length * users / MESSAGE_PERIOD_SECONDS)
    row("new sockets a second", lambda users: users / SOCKET_SECONDS)
    for kind in sorted(cost, key=lambda one: carries[one]):
        row(f"{kind}: cores", lambda users, one=kind: math.ceil(users / carries[one]), f"{carries[kind]:,.0f} users")

    def looking(users: int) -> float:
        """Every message rings every worker; one that looks already is not rung twice."""
        workers, turns = math.ceil(users / carries["worker"]), users / MESSAGE_PERIOD_SECONDS
        return min(workers, turns * workers * look / 1000)

    row("database: cores of workers looking for runs", looking)
    row("memory of the sockets, GB", lambda users: users * silent.kilobytes / 1e6)
    for name, words in (("events", "events a second"), ("messages", "published messages a second")):
        each = statistics.median(getattr(one, name) / one.turns for one in loads["W3"])
        row(words, lambda users, each=each: each * users / MESSAGE_PERIOD_SECONDS)
    stored = sum(one.stored for one in loads["W3"]) / sum(one.turns for one in loads["W3"])
    row(
        f"stored in a day, GB ({stored / 1024:.0f} KB a turn)",
        lambda users: stored * 86_400 * users / MESSAGE_PERIOD_SECONDS / 1e9,
    )


def main() -> None:
    """Measure, print the tables and, with --keep, write them to docs/scale.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--watch", type=float, default=30, help="seconds that silent sockets are watched for")
    parser.add_argument("--note", default="", help="what to say of the machine")
    parser.add_argument("--keep", action="store_true", help="put the result into docs/scale.md")
    given = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"{bench.here()}{f'; {given.note}' if given.note else ''}.\n")
    port = sites.free_port()
    settings = {**bench.SETTINGS, "NETRA_METRICS_TOKEN": TOKEN}
    with tempfile.TemporaryDirectory() as folder, sites.running(Path(folder), workers=0, **settings) as site:
        site.worker("--metrics-port", str(port))
        site.worker_figures = f"http://127.0.0.1:{port}/metrics"
        netra = Netra(site, [site.register(f"scale{number}") for number in range(LOADS["W3"][0])])
        asyncio.run(measure(netra, given.rounds, given.watch, say))
    if given.keep:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text("\n".join([f"{before}{BEGIN}", "", *lines, "", END]) + rest.partition(END)[2])


if __name__ == "__main__":
    main()
