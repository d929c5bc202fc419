"""A real HTTP server that stands for the provider of a model, and the answers that it gives."""

import asyncio
import io
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from agents.sdk import Message, RecordingSink
from chat.assistants import Policy
from tests.site import WAIT_TIMEOUT

KEY = "sk-this-key-must-never-be-seen"


Entered = TypeVar("Entered")
Reply = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """A request to the provider, which is answered part by part."""

    def __init__(self, request: dict[str, Any], headers: str, writer: asyncio.StreamWriter) -> None:
        self.request, self.headers, self.writer = request, headers, writer
        self.hung_up = asyncio.Event()

    @property
    def offered(self) -> set[str]:
        return {tool["function"]["name"] for tool in self.request.get("tools", [])}

    async def status(self, code: int, body: Any, **headers: str) -> None:
        payload = json.dumps(body).encode()
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [f"HTTP/1.1 {code} x", "content-type: application/json", f"content-length: {len(payload)}", *lines]
        self.writer.write("\r\n".join([*head, "connection: close", "", ""]).encode() + payload)
        await self.writer.drain()

    async def begin(self) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())

    async def send(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        await self.writer.drain()

    async def delta(self, finish: str | None = None, **delta: Any) -> None:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
        await self.send(json.dumps(chunk(choices=[choice])))

    async def end(self, finish: str = "stop", tokens: tuple[int, int] = (100, 10)) -> None:
        await self.delta(finish)
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        await self.send(json.dumps(chunk(choices=[], usage=usage)))
        await self.send("[DONE]")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()


def chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", **fields}


class Provider:
    """Answers each request with the next of its replies; what was asked stays in `asked`."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Exchange] = []
        self.problems: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = head.decode().lower()
                length = int(headers.partition("content-length:")[2].split("\r\n")[0])
                exchange = Exchange(json.loads(await reader.readexactly(length)), headers, writer)
                self.asked.append(exchange)
                reply = asyncio.create_task(self.replies.pop(0)(exchange))
                listening = asyncio.create_task(reader.read(1))
                await asyncio.wait({reply, listening}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    exchange.hung_up.set()
                    await asyncio.wait({reply}, timeout=WAIT_TIMEOUT)
                listening.cancel()
                await reply
                break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def says(*pieces: str, tokens: tuple[int, int] = (100, 10)) -> Reply:
    async def reply(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in pieces:
            await exchange.delta(content=piece)
        await exchange.end(tokens=tokens)

    return reply


def calls(*wanted: tuple[str, dict[str, Any] | str], text: str = "") -> Reply:
    async def reply(exchange: Exchange) -> None:
        await exchange.begin()
        if text:
            await exchange.delta(content=text)
        for index, (name, parameters) in enumerate(wanted):
            arguments = parameters if isinstance(parameters, str) else json.dumps(parameters)
            function = {"name": name, "arguments": arguments}
            await exchange.delta(
                tool_calls=[{"index": index, "id": f"c{index}", "type": "function", "function": function}]
            )
        await exchange.end("tool_calls")

    return reply


def refuses(code: int, body: Any = None, **headers: str) -> Reply:
    async def reply(exchange: Exchange) -> None:
        await exchange.status(code, body or {"error": {"message": "no", "type": "x", "code": "x"}}, **headers)

    return reply


async def hangs(exchange: Exchange) -> None:
    await exchange.hung_up.wait()


async def says_and_hangs(exchange: Exchange) -> None:
    await exchange.begin()
    await exchange.delta(content="Half of an ans")
    await exchange.hung_up.wait()


async def says_and_cuts(exchange: Exchange) -> None:
    await exchange.begin()
    await exchange.delta(content="Half of an ans")
    exchange.writer.transport.abort()


AGAIN = {"retry_after_ms": "1"}


def types(sink: RecordingSink) -> list[str]:
    return [event["type"] for event in sink]


def of(sink: RecordingSink, kind: str) -> list[dict[str, Any]]:
    return [event for event in sink if event["type"] == kind]


_MARKED = re.compile(
    r'<untrusted-content source="([a-z: ]+)" mark="(\w{16})">\n(.*)\n</untrusted-content mark="\2">', re.S
)


def told(exchange: Exchange) -> list[str]:
    """Return the results of tools that the model was sent, without the marks around untrusted content."""
    return [words for _, words in marks(exchange)]


def marks(exchange: Exchange) -> list[tuple[str, str]]:
    """Return (source of the untrusted content, words) of each result that the model was sent; "" for trusted ones."""
    results = [str(message["content"]) for message in exchange.request["messages"] if message["role"] == "tool"]
    return [_unmarked(words) for words in results]


def _unmarked(words: str) -> tuple[str, str]:
    told = json.loads(words)["error"] if words.startswith('{"error":"<') else words
    found = _MARKED.fullmatch(told)
    return (found[1], found[3]) if found else ("", words)


class _Free(dict[str, Policy]):
    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, Policy("never"))


FREE = _Free()  # policies under which no tool needs approval by itself


@dataclass(frozen=True)
class File:
    name: str
    content: bytes
    media_type: str = "text/csv"

    @property
    def size(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


SPENT = File(
    "june.csv",
    b"timestamp,model,input_tokens,output_tokens,user,feature,cost_usd\n"
    + b"".join(
        f"2026-06-{day:02d}T10:00:00Z,{model},1000,100,{user},{feature},{cost}\n".encode()
        for day in (1, 2, 3)
        for model, user, feature, cost in (("gpt-4o", "ann", "chat", 2), ("gpt-4o-mini", "ben", "search", 0.5))
    ),
)


COMPUTES = {"calculator", "model_price"}


def goes_on(*said: str) -> dict[str, Any]:
    """A thread of these messages, the user's and the assistant's in turn; the last one is answered."""
    roles = ("user", "assistant")
    history = [Message(roles[index % 2], text) for index, text in enumerate(said)]
    return {"history": history, "text": said[-1]}


@contextmanager
def elsewhere(context: AbstractAsyncContextManager[Entered]) -> Iterator[Entered]:
    """Enter the context in a loop in a thread of its own, for other processes."""
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()

    def there(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(WAIT_TIMEOUT)

    try:
        yield there(context.__aenter__())
        there(context.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        serving.join()
        loop.close()


@contextmanager
def provided() -> Iterator[tuple[Provider, str]]:
    """A provider for other processes, and its address."""
    provider = Provider()
    with elsewhere(provider.running()) as url:
        yield provider, url
