"""Frames on their way into sockets, past daphne's, in order and whole."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
from autobahn.websocket.protocol import TrafficStats
from daphne import ws_protocol
from twisted.internet.tcp import Connection

from chat.realtime import daphne_writer
from chat.realtime.daphne_writer import Protocol


class Wire(Connection):
    """Twisted's connection over a real socket; `wanted` is whether it asked to be told when it may write."""

    wanted = False

    def __init__(self, end):
        end.setblocking(False)
        super().__init__(end, None, reactor=SimpleNamespace(removeWriter=lambda wire: None))
        self.connected = 1

    def startWriting(self):  # noqa: N802 theirs
        self.wanted = True


@pytest.fixture
def sockets():
    """(protocol, the client's end) of three open sockets."""
    pairs = [socket.socketpair() for _ in range(3)]
    found = []
    for ours, theirs in pairs:
        theirs.setblocking(False)  # what has not come by now is missing
        protocol = Protocol()
        protocol.transport, protocol.state, protocol._perMessageCompress = Wire(ours), Protocol.STATE_OPEN, None
        protocol.client_addr, protocol.peer = None, "peer"
        protocol.send_queue, protocol.logOctets, protocol.trafficStats = [], False, TrafficStats()
        found.append((protocol, theirs))
    yield found
    for pair in pairs:
        for end in pair:
            end.close()


def in_a_loop(*steps):
    """Each step in a turn of the loop of its own."""

    async def go():
        for step in steps:
            step()
            await asyncio.sleep(0)

    asyncio.run(go())


def frame(payload):
    """Encode a text frame by RFC 6455."""
    size = len(payload)
    if size < 126:
        return bytes([0x81, size]) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def test_the_frames_of_a_turn_go_out_together(sockets):
    protocol, theirs = sockets[0]
    said = ["a", "b" * 125, "c" * 126, "ü" * 100, "d" * 65_536]

    def say():
        for text in said:
            protocol.serverSend(text)

    in_a_loop(say)
    assert theirs.recv(1_000_000) == b"".join(frame(text.encode()) for text in said)
    assert not protocol.transport.wanted


def test_what_the_kernel_does_not_take_waits_in_its_order(sockets):
    protocol, theirs = sockets[0]
    large, small = "x" * 3_000_000, [str(number) for number in range(50)]
    in_a_loop(
        lambda: protocol.serverSend(large),
        lambda: [protocol.serverSend(text) for text in small],
        lambda: protocol.sendData(b"control"),
    )
    assert protocol.transport.wanted
    got = bytearray()
    while not got.endswith(b"control"):
        got += theirs.recv(1_000_000)
        protocol.transport.doWrite()
    assert got == b"".join(frame(text.encode()) for text in [large, *small]) + b"control"


def test_nothing_overtakes_what_was_collected(sockets):
    protocol, theirs = sockets[0]

    def say():
        protocol.serverSend("first")
        protocol.sendData(b"close")
        protocol.transport.doWrite()

    in_a_loop(say)
    assert theirs.recv(100) == frame(b"first") + b"close"


def test_a_socket_that_cannot_be_written_to_silences_no_other(sockets):
    def broken(data):
        raise RuntimeError("no such wire")

    sockets[1][0].transport.writeSomeData = broken

    def say():
        for protocol, _ in sockets:
            protocol.serverSend("still here")

    in_a_loop(say, say)
    for number in (0, 2):
        assert sockets[number][1].recv(100) == 2 * frame(b"still here")


def test_install_unknown_version_leaves_daphne_as_it_is(monkeypatch, caplog):
    theirs = object()
    monkeypatch.setattr(ws_protocol.WebSocketFactory, "protocol", theirs)
    known = {"daphne": "4.2.3", "autobahn": "26.10.2", "Twisted": "26.10.0"}
    for package in known:
        daphne_writer.install(known | {package: "99.1"})
        assert ws_protocol.WebSocketFactory.protocol is theirs
        assert f"{package} 99.1 is not known" in caplog.text
    daphne_writer.install(known)
    assert ws_protocol.WebSocketFactory.protocol is Protocol
