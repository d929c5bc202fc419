"""Agents that a worker of this process executes, and tools for them, for tests of runs that wait."""

import asyncio
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from agents.sdk import needs_approval
from agents.worker.worker import Worker
from chat.models import InputRequest, Run
from tests.factories import claim_one, frames
from tests.site import WAIT_TIMEOUT

DONE: list[str] = []  # what the tools were called with; the fixture `thread` empties it


def note(value: str) -> str:
    """Count how often it runs."""
    DONE.append(value)
    return value


@needs_approval(message="Note {value}?")
def noted(value: str) -> str:
    """Count how often it runs, once it is approved."""
    return note(value)


def execute(agent, then=None):
    """Claim the next run and execute it until it waits, ends or is taken; its row. `then` is awaited meanwhile.

    `agent` is None for an assistant.
    """
    run = claim_one()

    async def play():
        async with asyncio.timeout(WAIT_TIMEOUT):
            worker = Worker({run.agent: agent} if agent else {}, 1)
            writer = asyncio.create_task(worker.event_writer.run())
            worker.start(run)
            (task,) = worker.running
            if then is not None:
                await then(worker)
            await asyncio.wait([task])
            writer.cancel()

    asyncio.run(play())
    return Run.objects.get(id=run.run_id)


def text(thread):
    """Return the text that a client shows: the deltas since the last restart. At the end it is the final response."""
    shown = ""
    for event in frames(thread):
        if event["type"] == "run_restarted":
            shown = ""
        elif event["type"] == "agent_delta":
            shown += event["delta"]
        elif event["type"] == "agent_completed":
            assert event["final_response"] == shown
    return shown


def lose(run: Run) -> None:
    """Let the worker of a running run be lost."""
    assert Run.objects.filter(id=run.id, status=Run.RUNNING).update(lease_until=Now() - timedelta(seconds=1))


def killing(when: asyncio.Event) -> Any:
    """Return what takes the run from its worker then: nothing that it does afterwards is written."""

    async def kill(worker: Any) -> None:
        [run] = worker.running.values()
        await when.wait()
        worker.event_writer.revoke(run.run_id)

    return kill


def of(thread: Any, kind: str) -> list[dict[str, Any]]:
    return [event for event in frames(thread) if event["type"] == kind]


def open_requests() -> list[InputRequest]:
    return list(InputRequest.objects.filter(status="open").order_by("created_at"))
