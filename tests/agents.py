"""Agents for tests, played by real workers."""

import asyncio
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agents.llm import titles
from agents.sdk import AgentError, Declined, Expired, Turn, needs_approval, once

titles.TITLE_TIMEOUT = 10.0  # a busy machine needs more than 2 s for a request of the model


async def slow(turn: Turn) -> None:
    """Speak forever, a word every 20 ms; ends by being stopped."""
    number = 0
    while True:
        await turn.say(f"{number} ")
        number += 1
        await asyncio.sleep(0.02)


@needs_approval
def note_approved(path: str, line: str) -> int:
    return note(path, line)


async def asking(turn: Turn) -> None:
    """`<path>`: note a line there, ask for another one, and note that once it is approved."""
    await turn.say("before ")
    path = await turn.step("path", lambda: turn.text)
    await turn.call(note, path=path, line="first")
    line = await turn.ask("Which line?")
    await turn.say("between ")
    count = await turn.call(note_approved, path=turn.text, line=line)
    await turn.say(f"after {count}")


async def exists(path: str) -> None:
    while not await asyncio.to_thread(Path(path).exists):  # noqa: ASYNC110 a file has no event
        await asyncio.sleep(0.02)


async def staged(turn: Turn) -> None:
    """`<gate>`: two sub-agents, the second of which calls a tool that waits until that file exists."""
    async with turn.subagent("first", task="begin") as sub:
        await sub.think("Beginning")
    async with turn.subagent("second", task="wait") as sub:
        await sub.call(exists, path=turn.text)
    await turn.say("done")


async def settling(turn: Turn) -> None:
    """`<gate>`: ask while a call goes on until that file exists; before that, the run cannot wait."""
    async with asyncio.TaskGroup() as group:
        word = group.create_task(turn.ask("Which word?"))
        group.create_task(turn.call(exists, path=turn.text))
    await turn.say(word.result())


@needs_approval
def note_and_die(path: str, line: str) -> str:
    if note(path, line) == 1:
        os._exit(9)
    return line


async def perilous(turn: Turn) -> None:
    """`<path>`: call a tool, once it is approved, that kills its worker at its first start."""
    await turn.say("before ")
    await turn.say(await turn.call(note_and_die, path=turn.text, line="noted"))


async def timed(turn: Turn) -> None:
    """Ask for so many seconds."""
    await turn.say(await turn.ask("Which word?", expires=float(turn.text)))


async def gated(turn: Turn) -> None:
    """Say "before", wait until the file that the message names exists, say "after" and the attempt."""
    await turn.say("before ")
    while not await asyncio.to_thread(Path(turn.text).exists):  # noqa: ASYNC110 a file has no event
        await asyncio.sleep(0.02)
    await turn.say(f"after {turn.attempt}")


async def musing(turn: Turn) -> None:
    """Think "hm" over and over until the file that the message names exists, then "so", and say "done"."""
    async with turn.thought() as thought:
        while not await asyncio.to_thread(Path(turn.text).exists):
            await thought.add("hm ")
            await asyncio.sleep(0.02)
        await thought.add("so")
    await turn.say("done")


async def recalling(turn: Turn) -> dict[str, Any]:
    """Wait until the file that the thread's first message names exists, answer, and give the history back as data."""
    while not await asyncio.to_thread(Path(turn.history[0].content).exists):  # noqa: ASYNC110 a file has no event
        await asyncio.sleep(0.02)
    await turn.say(f"answer to {Path(turn.text).name}")
    return {"history": [[message.role, message.content] for message in turn.history]}


async def loud(turn: Turn) -> None:
    """Say as many numbers as the message asks for, as fast as it can."""
    for number in range(int(turn.text)):
        await turn.say(f"{number} ")


async def brooding(turn: Turn) -> None:
    """Think as many times as the message asks for, as fast as it can; thoughts are not merged."""
    for number in range(int(turn.text)):
        await turn.think(f"Thought {number}")


async def lengthy(turn: Turn) -> None:
    """`<thoughts> <sections>`: that many thoughts, each with a tool call, then an answer of 2 KB a section."""
    thoughts, sections = map(int, turn.text.split())
    for start in range(0, thoughts, 40):
        async with asyncio.TaskGroup() as group:
            for number in range(start, start + 40):
                await turn.think(f"Thought {number}")
                group.create_task(turn.call(repeat, text=f"step {number}"))
    points = "".join(f"- point {item} with **weight** and a [link](https://example.com/{item})\n" for item in range(10))
    for number in range(sections):
        rows = "".join(f"| row {row} | {row * number} |\n" for row in range(10))
        await turn.say(f"## Section {number}\n\n{'Plain words that go on. ' * 30}\n\n{points}\n")
        await turn.say(f"| a | b |\n|---|---|\n{rows}\n```python\ndef section():\n    return {number}\n```\n\n")


async def failing(turn: Turn) -> None:
    """End with the error that the message names."""
    raise AgentError("The words of the agent.", code=turn.text)


async def raising(turn: Turn) -> None:
    """A bug."""
    raise ValueError("secret inside")


async def quoting(turn: Turn) -> None:
    """A bug that quotes the user."""
    raise ValueError(f"{turn.text} is not a number")


async def retrying(turn: Turn) -> None:
    """Fail once, retryably."""
    if turn.attempt == 1:
        raise AgentError("Later.", retryable=True)
    await turn.say(f"attempt {turn.attempt}")


async def sneaky(turn: Turn) -> None:
    """Text that encoders refuse: NUL and half of a surrogate pair."""
    await turn.think("a\x00b")
    await turn.say("c\ud800d")


async def family(turn: Turn) -> str:
    """Two sub-agents side by side, and history."""

    async def child(name: str) -> None:
        async with turn.subagent(name, task=f"be {name}") as sub:
            await sub.think(f"I am {name}")
            await sub.say(f"[{name}]")
            sub.summary = f"{name} was here"

    async with asyncio.TaskGroup() as group:
        group.create_task(child("left"))
        group.create_task(child("right"))
    return " | ".join(f"{message.role}: {message.content}" for message in turn.history)


def note(path: str, line: str) -> int:
    """Append a line; the number of lines. A side effect that can be counted."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
    return len(Path(path).read_text().splitlines())


@once
def note_once(path: str, line: str) -> int:
    note(path, line)
    os._exit(9)  # the worker dies while the tool runs


async def tooled(turn: Turn) -> None:
    """`<path> kill`: note a line, then the worker dies, once. `<path> once`: it dies inside a tool marked once."""
    path, how = turn.text.split()
    count = await turn.call(note, path=path, line="made")
    if turn.attempt == 1 and how == "kill":
        os._exit(9)
    if how == "once":
        await turn.call(note_once, path=path, line="begun")
    await turn.say(f"lines: {count}")


def big(size: int) -> str:
    return "x" * size


async def bulky(turn: Turn) -> dict[str, str] | None:
    """`tool`: a result too large for one event, then the worker dies, once. `answer`: a result too large for any."""
    if turn.text == "answer":
        return {"much": big(1024 * 1024)}
    await turn.think("First step", step=1, of=2)
    text = await turn.call(big, size=300_000)
    if turn.attempt == 1:
        os._exit(9)
    await turn.say(f"{len(text)}")
    return None


async def structured(turn: Turn) -> dict[str, Any]:
    """A result object beside what was said."""
    await turn.say("said")
    return {"answer": 42, "text": turn.text}


def repeat(text: str) -> str:
    return text


def refuse(text: str) -> str:
    raise AgentError(text)


async def mirror(turn: Turn) -> None:
    """The message as every text that an agent can show: thought, name, task, result, error, answer, failure."""
    await turn.think(turn.text)
    async with turn.subagent(turn.text, task=turn.text) as sub:
        await sub.call(repeat, text=turn.text)
        with suppress(AgentError):
            await sub.call(refuse, text=turn.text)
        await sub.say(turn.text)
        sub.summary = turn.text
    raise AgentError(turn.text)


PERIOD: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "month", "regions"],
    "properties": {
        "amount": {"type": "number", "minimum": 1, "title": "Monthly amount", "description": "In US dollars."},
        "month": {"type": "string", "format": "date", "title": "Month", "default": "2026-11-01"},
        "plan": {
            "type": "string",
            "title": "Plan",
            "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}],
        },
        "regions": {"type": "array", "items": {"enum": ["eu", "us"]}, "minItems": 1, "title": "Regions"},
        "contact": {"type": "string", "format": "email", "title": "Contact"},
        "count": {"type": "integer", "title": "Requests", "maximum": 9},
        "exact": {"type": "boolean", "title": "The figures are exact"},
    },
}


@needs_approval(message="Send “{subject}” to {to}?")
def send(to: str, subject: str, tags: list[str]) -> str:
    return f"{subject} went to {to}"


@needs_approval(message="Post this note?")
def post(text: str) -> str:
    return f"posted {len(text)} characters"


@needs_approval(message="Refund ${amount}?", decided_by="group:refunds")
def refund(amount: int) -> str:
    return f"refunded {amount}"


@needs_approval(message="Close the account?", decided_by="group:refunds", four_eyes=True)
def close_account(number: int) -> str:
    return f"closed {number}"


ISSUE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "labels": {"type": "array", "items": {"type": "string", "enum": ["bug", "question"]}},
        "state": {"type": "string", "enum": ["open", "closed"]},
        "milestone": {"type": "number"},
        "assignee": {"type": "integer"},
        "locked": {"type": "boolean"},
        "closed_by": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    },
}
# Each property has a keyword as no schema should have it; foreign tools have such.
BROKEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "nobody": {"type": "array", "items": {"enum": []}},
        "letters": {"type": "string", "enum": "abc"},
        "either": {"type": "string", "oneOf": {"const": "a"}},
        "nothing": {"type": "string", "oneOf": [None]},
        "made": {"type": "string", "format": "constructor", "title": {"en": "Made"}},
        "start": {"type": "array", "items": {"enum": ["a"]}, "default": {"b": 1}},
    },
}
MANY_DIGITS = 2**53 + 1
LETTER = "Dear Bob,\n\n" + "This is to confirm what we agreed on the phone. " * 8 + "\n\nYours, Ann"
CURRENCY: dict[str, Any] = {
    "type": "object",
    "properties": {"currency": {"type": "string", "enum": ["USD", "EUR"], "title": "Currency"}},
}


async def curious(turn: Turn) -> None:
    """Ask as the message says: "form", "approval", "link" and so on, or another text as the question."""
    await turn.say("Before. ")
    try:
        match turn.text.split(" "):
            case ["default", seconds]:
                answer = str(
                    await turn.ask("Which currency?", CURRENCY, default={"currency": "EUR"}, expires=int(seconds))
                )
            case ["letter"]:
                answer = await turn.call(post, text=LETTER)
            case ["letters"]:
                first = await turn.call(post, text="one")
                answer = f"{first}, {await turn.call(post, text='two')}"
            case ["refund"]:
                answer = await turn.call(refund, amount=20)
            case ["issue"]:
                proposed = {"title": "One", "labels": [], "state": "reopened", "milestone": "12", "closed_by": "bob"}
                answer = json.dumps((await turn.approve("Update it?", parameters=proposed, schema=ISSUE)).parameters)
            case ["broken"]:
                proposed = {"nobody": [], "letters": "a", "either": "b", "nothing": "c", "made": "d"}
                answer = json.dumps((await turn.approve("Use it?", parameters=proposed, schema=BROKEN)).parameters)
            case ["digits"]:
                number = {"type": "integer", "default": MANY_DIGITS}
                asked = await turn.ask("Which one?", {"type": "object", "properties": {"id": number, "of": number}})
                approved = await turn.approve("That one?", parameters=asked)
                answer = json.dumps(approved.parameters)
            case ["close"]:
                answer = await turn.call(close_account, number=7)
            case _:
                answer = await _asked(turn)
    except Declined as declined:
        answer = f"declined, {declined.reason}"
    await turn.say(f"Result: {answer}")


async def _asked(turn: Turn) -> str:
    match turn.text:
        case "form":
            return str(await turn.ask("Which period do you mean?", PERIOD))
        case "approval":
            return str(await turn.call(send, to="bob@example.org", subject="Plan\u202e", tags=["a"]))
        case "link":
            return str(await turn.ask("Sign in there, please.", url="https://example.org/sign-in?state=1"))
        case question:
            return str(await turn.ask(question, expires=3600))


async def refunding(turn: Turn) -> None:
    """Have a refund approved by somebody else of the group finance."""
    approved = await turn.approve(
        "Refund a customer?", parameters={"amount": 500}, decided_by="group:finance", four_eyes=True
    )
    by = "another" if approved.by != turn.user_id else "the same"
    await turn.say(f"refund of {approved.parameters['amount']}, decided by {by}")


TASKS: set[asyncio.Future[None]] = set()


class Odd(BaseException):
    """Nothing that anybody catches."""


def interrupt() -> None:
    raise KeyboardInterrupt


async def odd(turn: Turn) -> None:
    """End as the message says, as no agent should."""

    async def child() -> None:
        raise AgentError("The words of the child.", code="child")

    async def ticker() -> None:
        while True:
            await turn.think("tick")
            await asyncio.sleep(0)

    match turn.text:
        case "cancels itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(60)
        case "interrupts":
            raise KeyboardInterrupt
        case "interrupts in a tool":
            await turn.call(interrupt)
        case "odd":
            raise Odd
        case "odd code":
            raise AgentError("Words.", code="\ud800" + "x" * 100)
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        case "left behind":
            TASKS.add(asyncio.ensure_future(ticker()))
            await asyncio.sleep(0.05)
        case "too large":
            await turn.say("x" * 600_000)


async def stubborn(turn: Turn) -> None:
    """Never end, whoever cancels it."""
    while True:
        with suppress(asyncio.CancelledError):
            await turn.think("on and on")


def hang() -> None:
    threading.Event().wait()


async def hanging(turn: Turn) -> None:
    """Call a plain tool that never returns."""
    await turn.call(hang)


async def impatient(turn: Turn) -> None:
    """Give a tool up after a moment, and go on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await turn.call(asyncio.sleep, delay=60)
    await turn.say("went on")


async def pensive(turn: Turn) -> None:
    """Think as many times as the message says; thoughts are not merged, so each is an event."""
    for number in range(int(turn.text)):
        await turn.think(str(number))


async def ticking(turn: Turn) -> None:
    """Say the time so often, at so many a second (0: as fast as it can): "<count> <rate>"."""
    count, rate = map(int, turn.text.split())
    began = time.perf_counter()
    for number in range(count):
        await turn.say(f"{time.time():.6f} ")
        wait = began + (number + 1) / rate - time.perf_counter() if rate else 0
        await asyncio.sleep(max(0, wait))


async def deadly(turn: Turn) -> None:
    """Kill the process that plays it, as a fault in a library does."""
    await turn.say("about to die")
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)


WORD_SECONDS = 0.04  # seconds a word
QUESTION_SECONDS = 6.0  # for an answer: short enough to race it


def double(number: int) -> int:
    return 2 * number


def record_start(path: str, run: str, what: str) -> None:
    """Append one line to the file: an effect that outlives the process and can be counted."""
    with Path(path).open("a") as file:
        file.write(json.dumps([run, what]) + "\n")


def double_recorded(path: str, run: str, number: int) -> int:
    record_start(path, run, f"double {number}")
    return 2 * number


@needs_approval(message="Note {line}?", expires=QUESTION_SECONDS)
def note_recorded(path: str, run: str, line: str) -> str:
    record_start(path, run, f"note {line}")
    time.sleep(WORD_SECONDS)  # long enough to be killed in it
    return line


async def chaotic(turn: Turn) -> None:
    """Say so many words that depend on the message alone, a tool call before every fifth: "<name> <count>".

    With "<name> <count> <questions> <path>" they depend on a step and on answers, too, and the file records each start.
    """
    name, count, *more = turn.text.split()
    path, run = (more[1], turn.run_id) if more else ("", "")
    await turn.think(f"{count} words")
    if path:

        def throw() -> str:
            record_start(path, run, f"throw {(thrown := secrets.token_hex(3))}")
            return thrown

        await turn.say(f"{await turn.step('throw', throw)} ")

    async def ask(kind: str, number: int) -> str:
        try:
            if kind == "form":
                return str(await turn.ask(f"Word {number}?", expires=QUESTION_SECONDS, default="default"))
            return str(await turn.call(note_recorded, path=path, run=run, line=f"{name}.{number}"))
        except (Declined, Expired) as error:
            return error.code

    questions = chaotic_questions(turn.text)
    for number in range(int(count)):
        if number % 5 == 0:
            call = turn.call(double_recorded, path=path, run=run, number=number) if path else None
            await turn.say(f"{await (call or turn.call(double, number=number))} ")
        async with asyncio.TaskGroup() as group:
            words = [group.create_task(ask(kind, number)) for kind in questions.get(number, ())]
        for word in words:
            await turn.say(f"{word.result()} ")
        await turn.say(f"{name}.{number} ")
        await asyncio.sleep(WORD_SECONDS)


def chaotic_questions(text: str) -> dict[int, tuple[str, ...]]:
    """Return the questions of `chaotic` by the word before which it asks: one, two, or two at once."""
    name, count, *more = text.split()
    match int(more[0]) if more else 0, int(name) % 2:
        case 0, _:
            return {}
        case 1, odd:
            return {int(count) // 2: ("form",) if odd else ("approval",)}
        case _, 1:
            return {int(count) // 3: ("form",), 2 * int(count) // 3: ("approval",)}
    return {int(count) // 2: ("form", "approval")}


def chaotic_answer(text: str, thrown: str = "", words: Mapping[tuple[str, int], str] = MappingProxyType({})) -> str:
    """Return the text of `chaotic`, up to the first question that `words` has no outcome of."""
    name, count, *more = text.split()
    answer, questions = f"{thrown} " if more else "", chaotic_questions(text)
    for n in range(int(count)):
        answer += f"{2 * n} " if n % 5 == 0 else ""
        asked = [(kind, n) for kind in questions.get(n, ())]
        if not words.keys() >= set(asked):
            break
        answer += "".join(f"{words[question]} " for question in asked) + f"{name}.{n} "
    return answer


async def costly(turn: Turn) -> None:
    """Use up a token, then end as the message says; at the first attempt `retries` asks for another."""
    turn.usage["tokens"] = turn.usage.get("tokens", 0) + 1
    match turn.text:
        case "fails":
            raise AgentError("No.")
        case "retries" if turn.attempt == 1:
            raise AgentError("Later.", retryable=True)
        case "cannot say how much":
            turn.usage["tokens"] = {1, 2}
            raise AgentError("No.")
        case "says how much":
            turn.usage.update(model="made:up", input_tokens=1000, output_tokens=10, cost_usd=0.25)
        case "goes on":
            await turn.say("on and ")
            await asyncio.Event().wait()
