"""Agents for tests, played by real workers."""

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.agent import AgentError, Turn
from agents.tools import once


async def slow(turn: Turn) -> None:
    """Speak forever, a word every 20 ms; ends by being stopped."""
    number = 0
    while True:
        await turn.say(f"{number} ")
        number += 1
        await asyncio.sleep(0.02)


async def gated(turn: Turn) -> None:
    """Say "before", wait until the file that the message names exists, say "after" and the attempt."""
    await turn.say("before ")
    while not await asyncio.to_thread(Path(turn.text).exists):  # noqa: ASYNC110 a file has no event
        await asyncio.sleep(0.02)
    await turn.say(f"after {turn.attempt}")


async def loud(turn: Turn) -> None:
    """As many numbers as the message says, as fast as it can."""
    for number in range(int(turn.text)):
        await turn.say(f"{number} ")


async def brooding(turn: Turn) -> None:
    """As many thoughts as the message says, none of which can be joined to another, as fast as it can."""
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
    """What no encoder likes: NUL and half of a surrogate pair."""
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
    """So many thoughts as the message says, none of which joins another: as many events."""
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


PACE = 0.04  # seconds a word


def double(number: int) -> int:
    return 2 * number


async def chaotic(turn: Turn) -> None:
    """Say so many words that depend on the message alone, a tool call before every fifth: "<name> <count>"."""
    name, count = turn.text.split()
    await turn.think(f"{count} words")
    for number in range(int(count)):
        if number % 5 == 0:
            await turn.say(f"{await turn.call(double, number=number)} ")
        await turn.say(f"{name}.{number} ")
        await asyncio.sleep(PACE)


def chaotic_answer(text: str) -> str:
    name, count = text.split()
    return "".join(f"{f'{2 * n} ' if n % 5 == 0 else ''}{name}.{n} " for n in range(int(count)))


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
