"""The general tools, each by itself."""

import asyncio
import ipaddress
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import tools
from agents.agent import AgentError, Message, Turn
from agents.toolbox import web
from agents.toolbox.calculator import calculator
from agents.toolbox.prices import model_price
from agents.toolbox.threads import thread_search_for
from agents.toolbox.web import web_fetch_for
from chat import runs
from chat.models import Message as Stored
from chat.models import Thread, User

PATIENCE = 30.0

# Calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1200 - 0.3 * 1200) / 12", 70.0),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("7 // 2 + 7 % 2", 4),
        ("round(2.567, 2)", 2.57),
        ("round(2.5)", 2),
        ("sqrt(16) + max(1, 2, 3) - floor(1.5)", 6.0),
        ("log(e)", 1.0),
        ("cos(0)", None),
        ("1,000 * 2", None),
        ("1_000 * 2", 2000),
        ("1e3", 1000.0),
    ],
)
def test_arithmetic(expression: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(AgentError):
            calculator(expression)
    else:
        assert calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "9**9**9",
        "9**9**9**9",
        "2**99999999",
        "(2**1999)**2",
        "10.0**400",
        "exp(10**6)",
        "(-8)**0.5",
        "1/0",
        "0**-1",
        "round(5, -10**9)",
        "round(5, 10**9)",
        "sqrt(-1)",
        "log(0)",
        "(" * 300 + "1" + ")" * 300,
        "1" * 501,
        "max()",
        "min(1)",
        "True + 1",
        "1j",
        "'a' * 10**9",
        "[1] * 10**9",
        "__import__('os').system('id')",
        "(1).__class__",
        "abs.__self__",
        "pi.real",
        "max(*[1, 2])",
        "max(1, 2, key=abs)",
        "(lambda: 1)()",
        "x := 5",
        "1 if 1 else 2",
        "1 < 2",
        "f'{1}'",
        "1\x002",
        "\ud800",
        "import os",
        "1or 2",
        "1e999",
        "1e999 - 1e999",
    ],
)
def test_what_is_no_bounded_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(AgentError):
        calculator(expression)


numbers = st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12).map(lambda number: round(number, 6))
expressions = st.recursive(
    numbers.map(lambda number: f"({number!r})"),
    lambda inner: st.builds(
        lambda left, sign, right: f"({left}{sign}{right})", inner, st.sampled_from("+-*/%") | st.just("//"), inner
    ),
    max_leaves=8,
)


@given(expressions)
def test_it_computes_what_python_computes(expression: str) -> None:
    try:
        expected = eval(expression)
    except ZeroDivisionError:
        expected = None
    if len(expression) > 500 or expected is None or not math.isfinite(expected):
        with pytest.raises(AgentError):
            calculator(expression)
    else:
        assert calculator(expression) == expected


@given(st.text(max_size=600) | st.text("0123456789.+-*/%()e ,roundsqtlgx_'[]", max_size=600))
def test_any_text_gives_a_number_or_words(expression: str) -> None:
    with suppress(AgentError):
        value = calculator(expression)
        assert tools.jsonable(value, "result") == value


# Prices


def test_a_price_is_found_by_what_people_call_the_model() -> None:
    assert model_price("GPT 4o mini")["model"] == "gpt-4o-mini"
    assert Decimal(str(model_price("gpt-4o")["input"])) == Decimal("2.5")


def test_an_unknown_model_is_said_to_be_with_the_nearest() -> None:
    with pytest.raises(AgentError, match="gpt-4o") as caught:
        model_price("gpt-4oo")
    assert caught.value.code == "unknown_model"


# Threads


def said(user: User, content: str, title: str = "", seq: int = 1, **thread: Any) -> Thread:
    kept = Thread.objects.create(user=user, agent="echo", title=title, **thread)
    Stored.objects.create(thread=kept, role="user", content=content, seq=seq)
    return kept


def search(user: User, query: str, limit: int = 5, **given: Any) -> list[Any]:
    turn = Turn(text=query, user_id=str(user.pk), **given)
    return asyncio.run(turn.call(thread_search_for(turn), query=query, limit=limit))


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com", "x")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob@example.com", "x")


@pytest.mark.django_db(transaction=True)
def test_a_search_finds_messages_with_all_words_newest_first(alice: User) -> None:
    said(alice, "the price of gpt-4o went down", title="first")
    said(alice, "the price of bread")
    said(alice, "GPT-4o has a new PRICE", title="second", seq=2)
    assert [found.title for found in search(alice, "price gpt-4o")] == ["second", "first"]
    assert [found.title for found in search(alice, "price gpt-4o", limit=1)] == ["second"]
    assert search(alice, "walrus") == []


@pytest.mark.django_db(transaction=True)
def test_a_search_never_finds_what_is_anothers_or_deleted_or_here(alice: User, bob: User) -> None:
    said(bob, "walrus of bob")
    runs.delete(alice.pk, said(alice, "walrus deleted").pk)
    here = said(alice, "walrus here")
    there = said(alice, "walrus there", title="there")
    assert [found.thread_id for found in search(alice, "walrus", thread_id=str(here.pk))] == [str(there.pk)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", ["%", "_", "' OR 1=1 --", "\\"])
def test_a_search_takes_every_sign_as_it_is(alice: User, bob: User, query: str) -> None:
    said(alice, "nothing of the kind")
    said(bob, f"bob has {query}")
    assert search(alice, query) == []


@pytest.mark.django_db(transaction=True)
def test_a_find_is_cut_to_what_is_around_the_word(alice: User) -> None:
    said(alice, "a" * 5000 + " walrus " + "b" * 5000)
    [found] = search(alice, "walrus")
    assert "walrus" in found.excerpt
    assert len(found.excerpt) < 500


def test_an_empty_search_is_refused() -> None:
    with pytest.raises(AgentError):
        asyncio.run(thread_search_for(Turn(text="x", user_id="1"))("  ", 5))


# The web: name service and routes are this test's own; the HTTP between is real

PUBLIC = "93.184.216.34"


class Internet:
    """`names`: what the name service answers; `pages`: host and path -> response. `reached`: every connection made."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.pages: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] = {}
        self.reached: list[str] = []
        self.asked: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Whatever is connected to, except loopback, is this internet."""
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


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


def fetch(internet: Internet, url: str, text: str | None = None, **given: Any) -> Any:
    turn = Turn(text=f"Read {url}" if text is None else text, **given)

    async def work() -> Any:
        async with internet.running(), asyncio.timeout(PATIENCE):
            return await turn.call(web_fetch_for(turn), url=url)

    return asyncio.run(work())


@pytest.fixture
def internet() -> Internet:
    found = Internet()
    found.names = {"example.com": [PUBLIC], "other.example": ["93.184.216.35"]}
    found.pages = {"example.com/page": page("<title>T</title><p>Hello <b>there</b></p>")}
    return found


def test_a_page_is_read_as_text(internet: Internet) -> None:
    found = fetch(internet, "http://example.com/page")
    assert found["title"] == "T"
    assert "Hello **there**" in found["content"]
    assert internet.reached == [PUBLIC]


def test_a_redirect_is_followed_to_a_public_place(internet: Internet) -> None:
    internet.pages["example.com/old"] = redirect("http://other.example/new")
    internet.pages["other.example/new"] = page("moved", "text/plain")
    assert fetch(internet, "http://example.com/old")["content"] == "moved"
    assert internet.reached == [PUBLIC, "93.184.216.35"]


CLOSED = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "168.63.129.16/32", "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    "2001:db8::/32", "fd00:ec2::254/128",
]  # fmt: skip


@st.composite
def closed_addresses(draw: Any) -> str:
    network = ipaddress.ip_network(draw(st.sampled_from(CLOSED)))
    address = network[draw(st.integers(0, network.num_addresses - 1))]
    if address.version == 4:
        wrapped = {
            "mapped": f"::ffff:{address}",
            "compatible": f"::{address}",
            "6to4": str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80))),
            "NAT64": f"64:ff9b::{address}",
            "ISATAP": f"2001:470::5efe:{address}",
        }
        return draw(st.sampled_from([str(address), str(address), *wrapped.values()]))
    return str(address)


quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@quick
@given(closed_addresses())
def test_no_closed_address_is_ever_connected_to(address: str) -> None:
    internet = Internet()
    with pytest.raises(AgentError):
        fetch(internet, f"http://[{address}]:8080/" if ":" in address else f"http://{address}/")
    assert internet.reached == []


@quick
@given(closed_addresses(), st.integers(0, 2))
def test_no_name_leads_to_a_closed_address(address: str, place: int) -> None:
    internet = Internet()
    internet.names["trap.example"] = [PUBLIC, PUBLIC]
    internet.names["trap.example"].insert(place, address)
    with pytest.raises(AgentError):
        fetch(internet, "http://trap.example/")
    assert internet.reached == []


@quick
@given(closed_addresses(), st.booleans())
def test_no_redirect_leads_to_a_closed_address(address: str, by_name: bool) -> None:
    internet = Internet()
    internet.names = {"example.com": [PUBLIC], "trap.example": [address]}
    literal = f"[{address}]" if ":" in address else address
    internet.pages["example.com/"] = redirect(f"http://{'trap.example' if by_name else literal}/secret")
    with pytest.raises(AgentError):
        fetch(internet, "http://example.com/")
    assert internet.reached == [PUBLIC]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://localhost./",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://user@127.0.0.1/",
        "http://example.com@127.0.0.1/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "http://①②⑦.0.0.1/",
    ],
)
def test_disguises_of_loopback_are_seen_through(internet: Internet, url: str) -> None:
    with pytest.raises(AgentError):
        fetch(internet, url)
    assert internet.reached == []


def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked(internet: Internet) -> None:
    class Fickle(dict[str, list[str]]):
        def __getitem__(self, name: str) -> list[str]:
            self.count = getattr(self, "count", 0) + 1
            return [PUBLIC] if self.count == 1 else ["127.0.0.1"]

    internet.names = Fickle({"example.com": []})
    assert "Hello" in fetch(internet, "http://example.com/page")["content"]
    assert internet.reached == [PUBLIC]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.com/x", "gopher://example.com/", "example.com"])
def test_only_http_is_spoken(internet: Internet, url: str) -> None:
    with pytest.raises(AgentError):
        fetch(internet, url)
    assert internet.reached == []


def test_a_redirect_to_another_scheme_is_refused(internet: Internet) -> None:
    internet.pages["example.com/"] = redirect("file:///etc/passwd")
    with pytest.raises(AgentError):
        fetch(internet, "http://example.com/")


def test_redirects_in_a_circle_end(internet: Internet) -> None:
    internet.pages["example.com/"] = redirect("http://example.com/")
    with pytest.raises(AgentError):
        fetch(internet, "http://example.com/")


@pytest.mark.parametrize("kind", ["image/png", "application/pdf", "application/octet-stream"])
def test_only_text_is_read(internet: Internet, kind: str) -> None:
    internet.pages["example.com/"] = page(b"\x89PNG", kind)
    with pytest.raises(AgentError, match=kind):
        fetch(internet, "http://example.com/")


@pytest.mark.parametrize("length", [True, False])
def test_a_page_that_is_too_large_is_given_up(internet: Internet, length: bool) -> None:
    whole = page(b"x" * 3 * 1024 * 1024, "text/plain")
    internet.pages["example.com/"] = whole if length else whole.replace(b"content-length", b"x-length")
    with pytest.raises(AgentError, match="size"):
        fetch(internet, "http://example.com/")


def test_a_page_that_drips_is_given_up(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(web, "SECONDS", 1)
    internet.pages["example.com/"] = dripping
    with pytest.raises(AgentError, match="within"):
        fetch(internet, "http://example.com/")


def test_a_long_page_is_cut(internet: Internet) -> None:
    internet.pages["example.com/"] = page("word " * 100_000, "text/plain")
    assert len(fetch(internet, "http://example.com/")["content"]) < 51_000


@pytest.mark.parametrize(
    ("text", "url", "allowed"),
    [
        ("see http://example.com/page.", "http://example.com/page", True),
        ("see <http://example.com/page>", "http://example.com/page", True),
        ("see [this](http://example.com/page)", "http://example.com/page", True),
        ("(http://example.com/page)", "http://example.com/page", True),
        ("what is on example.com/page?", "http://example.com/page", True),
        ("http://example.com/page#part", "http://example.com/page", True),
        ("http://example.com/", "http://example.com/page", False),
        ("http://example.com/page", "http://example.com/page?q=secret", False),
        ("http://example.com/page/2", "http://example.com/page", False),
        ("read the docs", "http://example.com/page", False),
        ("http://other.example/?u=http://example.com/page", "http://other.example/", False),
    ],
)
def test_only_what_the_user_wrote_is_read(internet: Internet, text: str, url: str, allowed: bool) -> None:
    if allowed:
        assert "Hello" in fetch(internet, url, text)["content"]
    else:
        with pytest.raises(AgentError) as caught:
            fetch(internet, url, text)
        assert caught.value.code == "not_asked_for"
        assert internet.reached == []


def test_what_an_answer_said_opens_no_address(internet: Internet) -> None:
    history = [Message("user", "Hi"), Message("assistant", "See http://example.com/page"), Message("user", "Go on")]
    with pytest.raises(AgentError):
        fetch(internet, "http://example.com/page", "Go on", history=history)
    assert internet.reached == []
