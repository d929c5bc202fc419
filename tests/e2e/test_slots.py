"""Fair shares of the slots of real workers."""

import asyncio
import time
from collections import Counter

import httpx
import pytest

from tests.site import wait_until


def begin(user, number, gate):
    socket = user.connect()
    for n in range(number):
        socket.send({"type": "user_message", "content": str(gate), "agent": "gated", "client_msg_id": f"{gate} {n}"})
    for _ in range(number):
        socket.receive("message_accepted")
    return socket


def running(user):
    return [run for run in user.http("GET", "/api/agents/status").json()["runs"] if run["status"] == "running"]


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_whose_slots_one_user_wants_serves_others(own_site, tmp_path, workers):
    """The first user's runs end only at the end of the test: nobody else may have to wait for them."""
    site = own_site(workers=workers, NETRA_WORKER_CONCURRENCY="8", NETRA_RATE_LIMITS="off")
    alice, gate = site.register("alice"), tmp_path / "gate"
    waiting = begin(alice, 60, gate)
    wait_until(lambda: len(running(alice)) == 4 * workers, "the first user's share to run")
    others = [site.register(name) for name in ("bob", "carol", "dave")]
    for other in others:
        socket = other.connect()
        assert socket.answer(socket.ask("hello")["run_id"])["type"] == "agent_completed"
    busy = begin(others[0], 20, gate)
    wait_until(lambda: len(running(others[0])) == 2 * workers, "half of what the first one left")
    for other in others[1:]:
        socket = other.connect()
        assert socket.answer(socket.ask("hello")["run_id"])["type"] == "agent_completed"
    assert len(running(alice)) == 4 * workers
    gate.touch()
    for socket, number in ((waiting, 60), (busy, 20)):
        ended = sum(frame["type"] == "agent_completed" for frame in socket.got)
        for _ in range(number - ended):
            socket.receive("agent_completed")


def test_execute_many_that_wait_leave_the_database_to_others(own_site, tmp_path):
    """Each waits in a request of its own, and PostgreSQL has a hundred connections for all processes together."""
    site, gate, number = own_site(NETRA_USER_SHARE="1", NETRA_WORKER_CONCURRENCY="200"), tmp_path / "gate", 120
    alice, bob = site.register("alice"), site.register("bob")

    async def executed():
        headers, limits = {"Authorization": f"Bearer {alice.access}"}, httpx.Limits(max_connections=number)
        body = {"content": str(gate), "agent": "gated"}
        async with httpx.AsyncClient(base_url=site.url, headers=headers, limits=limits, timeout=300) as client:
            asked = []
            for _ in range(number):
                asked.append(asyncio.ensure_future(client.post("/api/agents/execute", json=body)))
                await asyncio.to_thread(wait_until, lambda: len(running(alice)) == len(asked), "the next to run")
            assert await asyncio.to_thread(lambda: bob.http("GET", "/auth/me").status_code) == 200
            gate.touch()
            return Counter(answer.json().get("status") for answer in await asyncio.gather(*asked))

    assert asyncio.run(executed()) == {"completed": number}


@pytest.mark.parametrize("share", ["1", "0.01"])
def test_worker_with_one_slot_executes_every_run(own_site, share):
    site = own_site(NETRA_WORKER_CONCURRENCY="1", NETRA_USER_SHARE=share)
    for name in ("alice", "bob"):
        socket = site.register(name).connect()
        accepted = [socket.ask("hello") for _ in range(3)]
        assert {socket.answer(one["run_id"])["type"] for one in accepted} == {"agent_completed"}


@pytest.mark.alone
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_three_hundred_runs_of_half_a_minute_delay_nobody(own_site, workers):
    site = own_site(workers=workers)
    alice = site.register("alice")
    flood = alice.connect()
    for n in range(300):
        flood.send({"type": "user_message", "content": "30 1", "agent": "ticking", "client_msg_id": str(n)})
    wait_until(lambda: len(running(alice)) == 10 * workers, "the first user's share to run")
    for name in ("bob", "carol", "dave"):
        socket, began = site.register(name).connect(), time.perf_counter()
        accepted = socket.ask("hello")
        socket.receive("agent_started", run_id=accepted["run_id"])
        waited = time.perf_counter() - began
        print(f"{name}: started after {1000 * waited:.0f} ms beside {len(running(alice))} runs")
        assert waited < 2
        assert socket.answer(accepted["run_id"])["type"] == "agent_completed"
