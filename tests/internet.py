"""A local server that stands for every public address that an agent's tool connects to."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import anyio
from hypothesis import strategies as st

PUBLIC = "93.184.216.34"
CLOSED = (  # networks without a public address
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "168.63.129.16/32", "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    "2001:db8::/32", "fd00:ec2::254/128",
)  # fmt: skip


@st.composite
def closed_addresses(draw: Any, networks: Sequence[str] = CLOSED, forms: Sequence[str] = ()) -> str:
    """Return an address of one of these networks, often inside an IPv6 address; `forms` are further ones around {}."""
    network = ipaddress.ip_network(draw(st.sampled_from(networks)))
    address = network[draw(st.integers(0, network.num_addresses - 1))]
    if address.version == 6:
        return str(address)
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80))
    wrapping = ("{}", "{}", "::ffff:{}", "::{}", "64:ff9b::{}", "2001:470::5efe:{}", *forms)
    return draw(st.sampled_from([*(form.format(address) for form in wrapping), str(six_to_four)]))


class Internet:
    """`names`: what the name service answers; `pages`: host and path -> response. `reached`: every connection made."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.pages: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] = {}
        self.reached: list[str] = []
        self.asked: list[str] = []
        self.closed: dict[str, str] = {}  # names of public addresses where no port is open

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect to this internet instead of every host except loopback."""
        resolve, connect = socket.getaddrinfo, anyio.connect_tcp

        def named(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host not in self.names:
                return resolve(host, port, *args, **kwargs)
            return [
                (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0))
                for ip in self.names[host]
            ]

        async def routed(remote_host: str, remote_port: int, **kwargs: Any) -> Any:
            self.reached.append(str(remote_host))
            if remote_host in self.closed.values():
                raise ConnectionRefusedError
            if not ipaddress.ip_address(str(remote_host)).is_loopback:
                remote_host, remote_port = "127.0.0.1", port
            return await connect(remote_host, remote_port, **kwargs)

        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with patch("socket.getaddrinfo", named), patch("anyio.connect_tcp", routed):
                yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = head.lower().partition("host: ")[2].partition("\r\n")[0]
            self.asked.append(host + head.split(" ")[1])
            page = self.pages.get(self.asked[-1], b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n")
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
            else:
                await page(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def page(content: str | bytes, kind: str = "text/html") -> bytes:
    body = content.encode() if isinstance(content, str) else content
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
