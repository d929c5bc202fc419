"""Addresses that an MCP server names: none leads into the network of this machine."""

import socket

import pytest
from hypothesis import given

from chat.mcp_client.config import NotPossible
from chat.mcp_client.guarded_http import Http, is_public
from tests.internet import CLOSED, closed_addresses

NETWORKS = (*CLOSED, "64:ff9b:1::/48")


@given(closed_addresses(NETWORKS, ["2001:470::200:5efe:{}"]))
def test_closed_address_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"]
)
def test_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.fixture
def reached(monkeypatch):
    """Record every address that is connected to; none answers."""
    found = []

    def connect(address, *given, **named):
        found.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    return found


@pytest.fixture
def names(monkeypatch):
    """Let the name service know these names, each with its addresses in the order of the answers."""

    def names(**known):
        def resolve(host, port, *given, **named):
            answers = known[host.replace(".", "_")]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    return names


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "https://", "ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "",
        "https://user@example.com/", "https://u:p@example.com/", "https://example.com:0/", "https://[::1", "//x"
    ],
)  # fmt: skip
def test_address_of_a_wrong_form_is_not_asked(url, reached):
    with pytest.raises(NotPossible):
        Http(frozenset()).ask("GET", url)
    assert reached == []


@pytest.mark.parametrize("answers", [["10.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["10.0.0.1", "93.184.216.34"], []])
def test_name_with_a_closed_address_is_not_asked(answers, names, reached):
    names(trap_example=[answers])
    with pytest.raises(NotPossible):
        Http(frozenset()).ask("GET", "https://trap.example/")
    assert reached == []


def test_connection_goes_to_the_address_that_was_checked(names, reached):
    """A name that is another address at the second look changes nothing."""
    names(rebinding_example=[["93.184.216.34"], ["127.0.0.1"]])
    with pytest.raises(NotPossible):
        Http(frozenset()).ask("GET", "https://rebinding.example/")
    assert reached == ["93.184.216.34"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "0.0.0.0"])
def test_this_machine_is_not_asked_by_any_spelling(host, reached):
    with pytest.raises(NotPossible):
        Http(frozenset()).ask("GET", f"https://{host}/")
    assert reached == []


def test_listed_host_is_asked_and_its_neighbour_is_not(reached):
    http = Http(frozenset(["127.0.0.1"]))
    with pytest.raises(NotPossible):
        http.ask("GET", "http://127.0.0.1:9/")
    assert reached == ["127.0.0.1"]
    with pytest.raises(NotPossible):
        http.ask("GET", "http://127.0.0.2:9/")
    assert reached == ["127.0.0.1"]
