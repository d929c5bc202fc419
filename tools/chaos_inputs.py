"""Answers of the clients of `make chaos` to what runs ask, and the check of what became of them."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import httpx

from chat.protocol import TERMINAL
from tests.agents import chaotic_answer, chaotic_questions
from tests.site import User

ANSWER_TIMEOUT = 3.0  # seconds until an answer is sent again
RACE_SECONDS = 0.3  # before or after the expiry
Tell = Callable[[dict[str, Any]], Awaitable[None]]


class Findings(Protocol):
    """The part of a report that this module writes."""

    waited: int
    executed: int
    lost: int
    duplicated: int
    wrong: list[str]


class Answers:
    """Answers of one tab: by socket or REST, some doubled, some against another tab's or at the time of the expiry.

    `given` and `taken` are by request: what was answered, and the status that the server confirmed.
    """

    def __init__(self, user: User, ports: list[int], rng: random.Random, tell: Tell, share: float) -> None:
        self.given: dict[str, dict[str, Any]] = {}
        self.taken: dict[str, str] = {}
        self.refused: dict[str, str] = {}  # request -> the status that stood
        self.sent = 0
        self.wrong: list[str] = []
        self._user, self._ports, self._rng, self._tell, self._share = user, ports, rng, tell, share
        self._asked: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def take(self, frame: dict[str, Any]) -> bool:
        """Take a frame of the socket. Return False if it is no answer to an answer."""
        if frame["type"] == "input_requested" and frame["request_id"] not in self._asked:
            self._asked.add(frame["request_id"])
            if self._rng.random() < self._share:
                self._tasks.append(asyncio.create_task(self._answer(frame)))
        if frame["type"] == "answer_accepted":
            self.taken[frame["request_id"]] = frame["status"]
            return True
        if frame["type"] == "error" and frame["ref"] in self.given:
            self._refuse(frame["ref"], frame["error_code"], frame)
            return True
        return False

    async def finish(self) -> None:
        """Return when every answer is confirmed or refused."""
        await asyncio.gather(*self._tasks)

    async def _answer(self, request: dict[str, Any]) -> None:
        request_id = request["request_id"]
        await asyncio.sleep(self._delay(request))
        self.given[request_id] = given = self._choose(request)
        ways = [self._by_socket, self._by_rest]
        self._rng.shuffle(ways)
        is_doubled = self._rng.random() < 0.5
        while request_id not in self.taken and request_id not in self.refused:
            self.sent += 1
            await asyncio.gather(*(way(request_id, given) for way in ways[: 1 + is_doubled]))
            end = time.monotonic() + ANSWER_TIMEOUT
            while request_id not in {*self.taken, *self.refused} and time.monotonic() < end:  # noqa: ASYNC110 of another process
                await asyncio.sleep(0.02)
            ways.reverse()

    def _delay(self, request: dict[str, Any]) -> float:
        """Return seconds: most often before or soon after the run waits, sometimes around the expiry."""
        kind = self._rng.random()
        if kind < 0.25:
            return self._rng.uniform(0, 0.1)
        if kind < 0.85:
            return self._rng.uniform(0.1, 3)
        left = datetime.fromisoformat(request["expires_at"]).timestamp() - time.time()
        return max(0.0, left + self._rng.uniform(-RACE_SECONDS, RACE_SECONDS))

    def _choose(self, request: dict[str, Any]) -> dict[str, Any]:
        word = f"word{self._rng.randrange(1000)}"
        if self._rng.random() < 0.2:
            return {"action": "decline", "reason": word}
        if request["kind"] == "form":
            return {"action": "accept", "content": word}
        if self._rng.random() < 0.5:
            return {"action": "accept", "parameters": {**request["parameters"], "line": word}}
        return {"action": "accept"}

    async def _by_socket(self, request_id: str, given: dict[str, Any]) -> None:
        await self._tell({"type": "answer_input", "request_id": request_id, "id": request_id, **given})

    async def _by_rest(self, request_id: str, given: dict[str, Any]) -> None:
        address = f"http://127.0.0.1:{self._rng.choice(self._ports)}/api/inputs/{request_id}/answer"
        headers = {"Authorization": f"Bearer {self._user.access}"}
        try:
            async with httpx.AsyncClient(headers=headers, timeout=30) as http:
                answer = await http.post(address, json=given)
        except httpx.TransportError:
            return  # sent again
        if answer.status_code == 200:
            self.taken[request_id] = answer.json()["status"]
        else:
            self._refuse(request_id, answer.json()["error"], answer.json())

    def _refuse(self, request_id: str, code: str, error: dict[str, Any]) -> None:
        if code == "conflict":
            self.refused[request_id] = error["status"]
        elif code != "unavailable":
            self.wrong.append(f"answer to {request_id}: {error}")
            self.refused[request_id] = ""


def starts_of(path: Path) -> dict[str, list[str]]:
    """Return run -> what its tools and steps recorded at their starts, in order."""
    starts: defaultdict[str, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else []:
        run, what = json.loads(line)
        starts[run].append(what)
    return starts


def expected_answer(text: str, events: list[dict[str, Any]]) -> str:
    """Return what the run says with the answers in its log, up to the first question without one."""
    begin = max((index for index, event in enumerate(events) if event["type"] == "run_restarted"), default=0)
    said = "".join(event["delta"] for event in events[begin:] if event["type"] == "agent_delta")
    return chaotic_answer(text, said.partition(" ")[0], _outcomes(text, events))


def _outcomes(text: str, events: list[dict[str, Any]]) -> dict[tuple[str, int], str]:
    """Return the word that each question of the run ended in. The newest request counts: others were interrupted."""
    asked = {(kind, number): "" for number, kinds in chaotic_questions(text).items() for kind in kinds}
    resolved = _resolved(events)
    for event in events:
        if event["type"] == "input_requested":
            place = event["message"].strip("?").split()[-1] if event["kind"] == "form" else event["parameters"]["line"]
            asked[event["kind"], int(place.rpartition(".")[2])] = event["request_id"]
    return {
        question: _word(question[0], resolved[request_id])
        for question, request_id in asked.items()
        if request_id in resolved and resolved[request_id]["status"] != "cancelled"
    }


def _word(kind: str, event: dict[str, Any]) -> str:
    if event["status"] == "accepted":
        return str(event["content"]["value"] if kind == "form" else event["parameters"]["line"])
    if event["status"] == "expired":
        return "default" if kind == "form" else "input_expired"
    return "input_declined"


def _resolved(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {e["request_id"]: e for e in events if e["type"] == "input_resolved" and not e.get("reused")}


def check_run(run: str, events: list[dict[str, Any]], starts: list[str], report: Findings) -> None:
    """Compare what one run asked, waited for and started with its log."""
    fresh = [event for event in events if not event.get("reused")]
    for kind in ("input_requested", "input_resolved"):
        count = Counter(event["request_id"] for event in fresh if event["type"] == kind)
        report.duplicated += sum(count.values()) - len(count)
    resolved = _resolved(events)
    asked = {event["request_id"] for event in events if event["type"] == "input_requested"}
    report.wrong += [f"run {run}: request {id} is not resolved" for id in asked - resolved.keys()]
    report.waited += any(event["type"] == "run_waiting" for event in events)
    report.wrong += [f"run {run} is shown afresh" for event in events if event.get("reason") == "changed"]
    waits = False
    for event in events:
        if waits and event["type"] not in {"run_resumed", "input_resolved", *TERMINAL}:
            report.wrong.append(f"run {run}: {event['type']} while it waits")
        waits = event["type"] == "run_waiting" or (waits and event["type"] == "input_resolved")
    _check_starts(run, fresh, starts, report)


def _check_starts(run: str, fresh: list[dict[str, Any]], starts: list[str], report: Findings) -> None:
    """Compare the recorded starts with the calls in the log, and those with the acceptances before them."""
    calls: Counter[str] = Counter()
    allowed: Counter[str] = Counter()  # acceptances that no start has used
    done: set[str] = set()
    for event in fresh:
        if event["type"] == "input_resolved" and event["status"] == "accepted" and "parameters" in event:
            allowed[event["parameters"]["line"]] += 1
        elif event["type"] == "tool_executing":
            parameters = event["parameters"]
            calls[f"note {parameters['line']}" if "line" in parameters else f"double {parameters['number']}"] += 1
            report.executed += event["tool_call_id"] in done
            if "line" in parameters:
                allowed[parameters["line"]] -= 1
        elif event["type"] == "tool_completed" and event["success"]:
            done.add(event["tool_call_id"])
            if event["tool_name"] == "note_recorded" and f"note {event['result']}" not in starts:
                report.lost += 1
    report.executed += -sum(min(0, left) for left in allowed.values())
    made = Counter(start for start in starts if not start.startswith("throw"))
    report.executed += (made - calls).total()
    said = [event["delta"] for at, event in enumerate(fresh) if event["type"] == "agent_delta" and _begins(fresh, at)]
    thrown = {text.partition(" ")[0] for text in said if starts}
    if len(thrown) > 1 or not {f"throw {value}" for value in thrown} <= set(starts):
        report.executed += 1
        report.wrong.append(f"run {run} says the results {sorted(thrown)} of one step")


def _begins(events: list[dict[str, Any]], at: int) -> bool:
    """Return whether the event at this index is the first text of an attempt."""
    before = reversed(events[:at])
    return next((e["type"] for e in before if e["type"] in ("agent_delta", "run_restarted")), "") != "agent_delta"


def check_answers(answers: Answers, events: list[dict[str, Any]], report: Findings) -> None:
    """Compare what the server confirmed to one tab with the log of its user."""
    report.wrong += answers.wrong
    resolved = _resolved(events)
    for request_id, status in answers.taken.items():
        found, given = resolved.get(request_id), answers.given[request_id]
        stands = found is not None and found["status"] == status
        if found is not None and status == "accepted":
            parameters = given.get("parameters")
            stands = stands and (parameters is None or found["parameters"] == parameters)
            stands = stands and ("content" not in given or found["content"] == {"value": given["content"]})
        if not stands:
            report.lost += 1
            report.wrong.append(f"the answer {given} was confirmed as {status}; the log has {found}")
    for request_id, status in answers.refused.items():
        if status and resolved.get(request_id, {}).get("status") != status:
            report.wrong.append(f"an answer was refused, since {status} stood; the log has {resolved.get(request_id)}")
