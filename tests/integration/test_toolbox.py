"""The general tools, each by itself."""

import asyncio
import math
import socket
import uuid
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.sdk import AgentError, Message, Turn, tools
from agents.toolbox import web
from agents.toolbox.calculator import calculator
from agents.toolbox.prices import model_price
from agents.toolbox.threads import thread_search_for
from agents.toolbox.web import web_fetch_for, written_addresses
from chat import runs
from chat.models import Thread, User
from tests.internet import PUBLIC, Internet, closed_addresses, page
from tests.site import WAIT_TIMEOUT

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
    runs.insert_messages([(uuid.uuid4(), kept.pk, None, None, "user", content, seq)])
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
def test_thread_search_folds_the_case_of_every_script(alice: User) -> None:
    said(alice, "ж" * 1000 + " ПРИВЕТ aus der Hauptstraße " + "ж" * 1000)
    [found] = search(alice, "привет HAUPTSTRASSE")
    assert "ПРИВЕТ" in found.excerpt


@pytest.mark.django_db(transaction=True)
def test_a_search_never_finds_what_is_anothers_deleted_temporary_or_here(alice: User, bob: User) -> None:
    said(bob, "walrus of bob")
    runs.delete(alice.pk, said(alice, "walrus deleted").pk)
    said(alice, "walrus of a moment", temporary=True)
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


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


def fetch(internet: Internet, url: str, text: str | None = None, **given: Any) -> Any:
    turn = Turn(text=f"Read {url}" if text is None else text, **given)

    async def work() -> Any:
        async with internet.running(), asyncio.timeout(WAIT_TIMEOUT):
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


few = settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(closed_addresses())
def test_no_closed_address_is_ever_connected_to(address: str) -> None:
    internet = Internet()
    with pytest.raises(AgentError):
        fetch(internet, f"http://[{address}]:8080/" if ":" in address else f"http://{address}/")
    assert internet.reached == []


@few
@given(closed_addresses(), st.integers(0, 2))
def test_no_name_leads_to_a_closed_address(address: str, place: int) -> None:
    internet = Internet()
    internet.names["trap.example"] = [PUBLIC, PUBLIC]
    internet.names["trap.example"].insert(place, address)
    with pytest.raises(AgentError):
        fetch(internet, "http://trap.example/")
    assert internet.reached == []


@few
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


REFUSED = [
    "http://127.0.0.1/",
    "http://10.1.2.3/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/",
    "http://224.0.0.1/",
    "http://[::1]/",
    "http://[fd00::1]/",
    "http://[fe80::1%25eth0]/",
    "http://jenkins.corp.example/",
    "http://mixed.corp.example/",
    "http://no-such-name.corp.example/",
    "http://down.corp.example/",
    "http://refuses.example:81/",
    "http://example.com:99999/",
    "http://example.com:x/",
    "http://[1/",
    "http://a..b/",
    f"http://{'a' * 64}.example/",
    "http://xn--ü.example/",
    "file:///etc/passwd",
    "ftp://example.com/x",
    "gopher://127.0.0.1:70/",
    "javascript:alert(1)",
]


@pytest.fixture
def corporate(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> Internet:
    """An internet with names of an inner network: two that lead there, one unknown, one without an answer."""
    internet.names |= {"jenkins.corp.example": ["10.9.8.7"], "mixed.corp.example": [PUBLIC, "10.9.8.7"]}
    internet.closed = {"refuses.example": "93.184.216.36"}
    internet.names |= {"refuses.example": ["93.184.216.36"]}
    resolve = socket.getaddrinfo

    def named(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "no-such-name.corp.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "down.corp.example":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr("socket.getaddrinfo", named)
    return internet


def refusal(internet: Internet, url: str) -> tuple[str, str]:
    with pytest.raises(AgentError) as caught:
        fetch(internet, url)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("url", REFUSED)
def test_web_fetch_refused_address_is_one_sentence(corporate: Internet, caplog: Any, url: str) -> None:
    assert refusal(corporate, url) == ("not_public", web.REFUSAL)
    assert "web_fetch refused: " in caplog.text  # with the reason


@pytest.mark.parametrize("url", REFUSED)
def test_web_fetch_redirect_to_refused_address_is_the_same_sentence(corporate: Internet, url: str) -> None:
    corporate.pages["example.com/"] = redirect(url)
    assert refusal(corporate, "http://example.com/") == ("not_public", web.REFUSAL)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", "The page answered with the error 404 Not Found."),
        (b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n", "The page answered with the error 503 Service Unavailable."),
        (b"HTTP/1.1 599 x\r\ncontent-length: 0\r\n\r\n", "The page answered with the error 599."),
        (
            b"HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\nhalf",
            "The connection broke, or the server does not speak HTTP.",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "The connection broke, or the server does not speak HTTP."),
        (b"", "The connection broke, or the server does not speak HTTP."),
        (page(b"x" * 3 * 1024 * 1024, "text/plain"), "The page is larger than the maximum size of 2 MB."),
        (page("x", "text/plain; charset=idna"), "The page cannot be read as text."),
        (page("<b>" * 5000), "The page cannot be read as text."),
    ],
)
def test_web_fetch_error_of_a_public_page_is_said_in_plain_words(internet: Internet, answer: bytes, words: str) -> None:
    internet.pages["example.com/"] = answer
    code, message = refusal(internet, "http://example.com/")
    assert (code, message) == ("agent_error", words)
    assert PUBLIC not in message


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

    monkeypatch.setattr(web, "FETCH_TIMEOUT", 1)
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
def test_only_what_the_user_wrote_is_covered(text: str, url: str, allowed: bool) -> None:
    assert written_addresses(Turn(text=text))("web_fetch", {"url": url}) is allowed


def test_what_an_answer_said_is_not_covered() -> None:
    history = [Message("user", "Hi"), Message("assistant", "See http://example.com/page"), Message("user", "Go on")]
    turn = Turn(text="Go on", history=history)
    assert not written_addresses(turn)("web_fetch", {"url": "http://example.com/page"})
