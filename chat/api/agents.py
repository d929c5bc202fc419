"""REST: the registered agents, and running one of them."""

import json
import re
import time
from collections.abc import Collection
from contextlib import nullcontext
from threading import BoundedSemaphore, Lock
from typing import Any, cast

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from chat import protocol, runs
from chat.api import turns
from chat.api.base import View, identity_of, owner
from chat.api.messages import idempotent, speaker
from chat.api.parsers import body
from chat.api.schema import described
from chat.api.serializers import (
    ActiveRunsSerializer,
    AgentListSerializer,
    ExecuteBody,
    ExecutedSerializer,
    ExecutingSerializer,
)
from chat.assistants.listing import Listed
from chat.catalogue import unavailable
from chat.models import Event, Run
from chat.protocol import TERMINAL, ProtocolError

NO_WORKER = "No worker is running."


def agents(user_id: int, allowed: Collection[str]) -> list[dict[str, Any]]:
    """Return the agents that exist for the user, the default first, with the `reason` if one is unavailable.

    Those of `allowed` only, if that is not empty. Assistants have a `title` and `starters`, too.
    """
    offers = list(runs.live_workers().values_list("agents", flat=True))
    return [
        _assistant(listed, bool(offers)) if listed else _agent(name, offers)
        for name, listed in runs.agents_for(user_id, allowed).items()
    ]


def _agent(name: str, offers: list[dict[str, Any]]) -> dict[str, Any]:
    offered = sorted((of[name] for of in offers if name in of), key=lambda one: not one["available"])
    best = offered[0] if offered else {"available": False}
    agent = {"name": name, "description": best.get("description") or "", "available": best["available"]}
    if not agent["available"]:
        agent["reason"] = best.get("reason") or ("No worker executes this agent." if offers else NO_WORKER)
    return agent


def _assistant(listed: Listed, is_served: bool) -> dict[str, Any]:
    reason = unavailable(listed.model) if is_served else NO_WORKER
    return {
        "name": listed.name,
        "title": listed.title,
        "description": listed.description,
        "starters": list(listed.starters),
        "available": reason is None,
        **({"reason": reason} if reason else {}),
    }


class Agents(View):
    @described("agents", {200: AgentListSerializer})
    def get(self, request: Request) -> Response:
        return Response({"agents": agents(owner(request).pk, identity_of(request).agents)})


class AgentsStatus(View):
    @described("agents_status", {200: ActiveRunsSerializer})
    def get(self, request: Request) -> Response:
        """List the user's queued, running and waiting runs."""
        return Response({"runs": runs.active(owner(request).pk)})


RELEASE_SECONDS = 0.1  # between two queries, from which on a request gives its connection and its turn to others
MAX_QUERIES_PER_SECOND = 100  # of all waiting requests of a process
MIN_LAST_PAUSE_SECONDS = 0.5  # to which the pause between two queries grows at least
MAX_CONNECTIONS = 8  # of all waiting requests of a process at a time: PostgreSQL has a hundred for all processes


class _WaitingRequests:
    """Counts the requests of this process that wait for a run, for as long as they are in the context.

    `query` is held by a request that queries the database after it has given its turn to others.
    """

    def __init__(self) -> None:
        self._number, self._lock = 0, Lock()
        self.query = BoundedSemaphore(MAX_CONNECTIONS)

    def __enter__(self) -> None:
        with self._lock:
            self._number += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._number -= 1

    @property
    def max_pause(self) -> float:
        """Seconds between two queries of one request that keep all together below MAX_QUERIES_PER_SECOND."""
        return max(MIN_LAST_PAUSE_SECONDS, self._number / MAX_QUERIES_PER_SECOND)


class Execute(View):
    waiting = _WaitingRequests()

    @described(
        "execute",
        {
            200: ExecutedSerializer,
            202: ExecutingSerializer,
        },
        ExecuteBody,
        headers=("Idempotency-Key", "Prefer"),
    )
    def post(self, request: Request) -> Response:
        """Send a message and wait for the end of its run.

        202 with `Prefer: respond-async`, as soon as the run waits for a person, or if it takes too long.
        """
        given = idempotent(request, body(request))
        message = protocol.user_message_fields(given)
        if message.agent is None:
            raise ProtocolError("invalid_message", "agent is required", field="agent")
        identity = identity_of(request)
        done = runs.start(speaker(request), message, identity.agents, language=identity.language)
        wishes = re.split(r"[,;\s]+", request.headers.get("Prefer", "").lower())
        patience = 0.0 if "respond-async" in wishes else settings.NETRA_RUN_TIMEOUT
        end = self.end_of(done, patience)
        ids = {"run_id": str(done.run_id), "thread_id": str(done.thread_id)}
        if end is None:
            status = Run.objects.values_list("status", flat=True).get(pk=done.run_id)
            asked = {"inputs": runs.open_inputs([done.run_id]).get(done.run_id, [])} if status == Run.WAITING else {}
            return Response({**ids, "message_id": str(done.message_id), "status": status, **asked}, status=202)
        failure = {name: end[name] for name in ("error_code", "message") if name in end}
        answer = {name: end.get(name) for name in ("status", "final_response", "result")}
        return Response({**ids, **answer, **failure})

    def end_of(self, done: runs.StartedRun, patience: float) -> dict[str, Any] | None:
        """Wait up to `patience` seconds for the run's last event. Returns None if it did not come or was pruned."""
        log = Event.objects.filter(thread=done.thread_id, seq__gt=done.seq)
        ends = log.filter(run=done.run_id, type__in=TERMINAL).values_list("frame", flat=True)
        going = Run.objects.filter(pk=done.run_id, status__in=Run.PENDING)
        deadline, pause = time.monotonic() + patience, 0.02
        with self.waiting:
            while True:
                released = pause > RELEASE_SECONDS
                with self.waiting.query if released else nullcontext():
                    was_going = going.exists()  # before the event is looked for: both are written at once
                    frame = ends.first()
                    if released:
                        turns.end()
                if frame is not None:
                    return cast(dict[str, Any], json.loads(frame))
                if not was_going or time.monotonic() >= deadline:
                    return None
                time.sleep(pause)
                pause = min(2 * pause, self.waiting.max_pause)
