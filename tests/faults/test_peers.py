"""
Slow and dead peers: each is ended by its rule and in its time, and who behaves never notices.

All of them meet one server at once, for about four seconds; each test looks at one of them.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ..conftest import Server, wait_until
from ..patience import Stopwatch
from ..raw_client import CLOSE, PING, PONG, RawClient, client_frame
from ..support import sockets, statistics
from .cable import Cable, CannotSetUp, Freezer

WS = "/api/1/ws/"
PING_INTERVAL, PONG_TIMEOUT, CLOSE_SECONDS, MESSAGE_SECONDS = 1.0, 0.5, 0.5, 2.0
SILENCE = PING_INTERVAL + PONG_TIMEOUT
FLAGS = (
    *("--ping-interval", str(PING_INTERVAL), "--pong-timeout", str(PONG_TIMEOUT)),
    *("--close-seconds", str(CLOSE_SECONDS), "--message-seconds", str(MESSAGE_SECONDS)),
    *("--max-outbox-bytes", "65536", "--address", "0.0.0.0"),
)
#: A small buffer, so that a client that does not read is soon noticed.
SMALL = 65536
EMPTY_PING = bytes((0x80 | PING, 0))


class Neighbour(threading.Thread):
    """Behaves well: it sends numbers and waits for each to come back, until it is told to stop."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._client = RawClient(port, WS + "unlimited")
        self._client.read_data("connected")
        self._stopped = threading.Event()
        self.latencies: list[float] = []
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        """Send, wait, measure."""
        try:
            while not self._stopped.wait(0.005):
                began = time.monotonic()
                self._client.send_json({"number": len(self.latencies)})
                answer = self._read_answer()
                assert answer["message"]["number"] == len(self.latencies)
                self.latencies.append(time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failure = error

    def _read_answer(self) -> dict[str, dict[str, int]]:
        # It must answer pings itself: they come between the messages.
        self._client.send(client_frame(b"", PONG))
        return self._client.read_data("echo")

    def stop(self) -> None:
        """Leave."""
        self._stopped.set()
        self.join(10)
        self._client.socket.close()


class Peer(threading.Thread):
    """Misbehaves in its own way until the server ends it; notes when, and with which close code."""

    def __init__(self, port: int, name: str, namespace: str, behave: Callable[[RawClient], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._client = RawClient(port, WS + namespace, receive_buffer=SMALL)
        self._client.read_data("connected")
        self._behave = behave
        self.began, self._watch = time.monotonic(), Stopwatch()
        #: Seconds until it was ended, also by a stopwatch, and the close code; 1006 for none.
        self.seconds = self.watched_seconds = 0.0
        self.code = 0
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        """Misbehave, then read what the server has to say."""
        try:
            self.code = self._code()
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failure = error
        finally:
            self.seconds, self.watched_seconds = time.monotonic() - self.began, self._watch.seconds
            self._client.socket.close()

    def _code(self) -> int:
        try:
            self._behave(self._client)
            return self._client.read_close()[0]
        except (EOFError, ConnectionError):
            return 1006


def reads_nothing(client: RawClient) -> None:
    """Leave all that comes in the socket until the server has given up."""
    assert _ended(client.socket, 60_000), "the server never ended it"


def reads_a_byte_at_a_time(client: RawClient) -> None:
    """Read a byte now and then, and say often enough that it lives."""
    while not _ended(client.socket):
        client._received += client.socket.recv(1)
        client.send(client_frame(b"", PONG))
        select.select([], [], [], 0.1)


def _ended(sock: socket.socket, milliseconds: int = 0) -> bool:
    """Whether the server has ended it, however much there is to be read before that."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(milliseconds))


def reads_but_is_silent(client: RawClient) -> None:
    """Read all, answer nothing: `read_close` does just that."""


def sends_a_byte_at_a_time(client: RawClient) -> None:
    """Send a message whose end is far, byte by byte, until the server has enough."""
    for byte in client_frame(b'{"type":"' + b"x" * 1000 + b'"}'):
        if select.select([client.socket], [], [], 0.1)[0] and _has_close(client):
            return
        client.send(bytes((byte,)))


def _has_close(client: RawClient) -> bool:
    """Take what has come; whether a close frame is there, behind empty pings."""
    client._received += client.socket.recv(65536)
    while client._received.startswith(EMPTY_PING):
        client._received = client._received[len(EMPTY_PING) :]
    return client._received[:1] == bytes((0x80 | CLOSE,))


def half_closes(client: RawClient) -> None:
    """Send FIN without a close frame, and go on reading."""
    client.socket.shutdown(socket.SHUT_WR)


class Ordeal:
    """A server with all of the peers at once, a well-behaved neighbour, and what came of it."""

    def __init__(self, server: Server) -> None:
        self.server, port = server, server.port
        self.neighbour = Neighbour(port)
        self.asker = RawClient(port, WS + "flood")
        self.peers = {
            name: Peer(port, name, namespace, behave)
            for name, namespace, behave in (
                ("reads nothing", "echo", reads_nothing),
                ("reads nothing of a flood", "flood", reads_nothing),
                ("reads a byte at a time", "flood", reads_a_byte_at_a_time),
                ("is silent", "echo", reads_but_is_silent),
                ("sends a byte at a time", "echo", sends_a_byte_at_a_time),
                ("half-closes", "echo", half_closes),
            )
        }

    def run(self) -> None:
        """Flood those who asked for it, and wait until all peers are ended."""
        watch = Stopwatch()
        while any(peer.is_alive() for peer in self.peers.values()):
            assert not watch.is_over(20), [name for name, each in self.peers.items() if each.is_alive()]
            if any(
                self.peers[name].is_alive() for name in ("reads nothing of a flood", "reads a byte at a time")
            ):
                self.asker.send_json({"count": 50, "size": 8192})
                for _ in range(50):
                    self.asker.read_data("flood")
                self.asker.send(client_frame(b"", PONG))
            else:
                self.asker.socket.close()
                select.select([], [], [], 0.05)
        wait_until(lambda: sockets(self.server.port) <= 1)
        self.neighbour.stop()


@pytest.fixture(scope="module")
def ordeal(serve_module: Callable[..., Server]) -> Ordeal:
    made = Ordeal(serve_module(*FLAGS, app="tests.apps.behaviours"))
    made.run()
    return made


def outcome(ordeal: Ordeal, name: str) -> tuple[int, float]:
    """The close code that a peer got, and after how many seconds it was ended."""
    peer = ordeal.peers[name]
    if peer.failure is not None:
        raise peer.failure
    return peer.code, peer.seconds


def test_reads_nothing(ordeal: Ordeal) -> None:
    """Who never reads answers no ping either: it is ended with 4408 after the interval and the timeout."""
    code, seconds = outcome(ordeal, "reads nothing")
    assert code == 4408
    assert seconds >= SILENCE


@pytest.mark.parametrize("name", ["reads nothing of a flood", "reads a byte at a time"])
def test_reads_too_little(name: str, ordeal: Ordeal) -> None:
    """Who reads less than it is sent is ended with 1013, and cut when it does not even read that."""
    code, seconds = outcome(ordeal, name)
    assert code == 1006
    assert seconds >= CLOSE_SECONDS
    assert statistics(ordeal.server.port)["closes"][WS + "flood"]["1013"] == 2


def test_is_silent(ordeal: Ordeal) -> None:
    """Who stops answering pings is ended with 4408 after the interval and the timeout, and reads why."""
    code, seconds = outcome(ordeal, "is silent")
    assert code == 4408
    assert seconds >= SILENCE


def test_sends_a_byte_at_a_time(ordeal: Ordeal) -> None:
    """Who sends a message byte by byte is ended with 4408 when its time is up, not before."""
    code, seconds = outcome(ordeal, "sends a byte at a time")
    assert code == 4408
    assert seconds >= MESSAGE_SECONDS


def test_half_closes(ordeal: Ordeal) -> None:
    """Who sends FIN without a close frame is ended at once."""
    code, _ = outcome(ordeal, "half-closes")
    assert code == 1006
    assert ordeal.peers["half-closes"].watched_seconds < SILENCE


def test_neighbour(ordeal: Ordeal) -> None:
    """Who behaves gets every answer, in order, while all the others are there and after they are gone."""
    if ordeal.neighbour.failure is not None:
        raise ordeal.neighbour.failure
    latencies = sorted(ordeal.neighbour.latencies)
    print(f"\n{len(latencies)} answers: median {latencies[len(latencies) // 2] * 1e3:.1f} ms,", end=" ")
    print(f"99 % {latencies[len(latencies) * 99 // 100] * 1e3:.1f}, worst {latencies[-1] * 1e3:.1f}")
    assert len(latencies) > 10


def test_nothing_is_left(ordeal: Ordeal) -> None:
    """Every place is free again."""
    wait_until(lambda: sockets(ordeal.server.port) == 0)


@pytest.fixture
def cable() -> Iterator[Freezer]:
    """A client that can be cut off: by its network, or where none can be made, which is told, by a stop."""
    made: Freezer
    try:
        made = Cable()
    except CannotSetUp as error:
        print(f"a client is stopped instead of its network: {error}", file=sys.__stderr__)
        made = Freezer()
    yield made
    made.close()


def test_vanishes(cable: Freezer, serve: Callable[..., Server]) -> None:
    """A client whose cable is pulled is ended with 4408 and its place is free when its time is up."""
    server = serve(*FLAGS, app="tests.apps.behaviours")
    cable.connect(server.port, WS + "slow")
    assert sockets(server.port) == 1
    select.select([], [], [], 2 * SILENCE)
    assert sockets(server.port) == 1, "it was ended although it answers pings"
    neighbour = Neighbour(server.port)
    began = time.monotonic()
    cable.pull()
    wait_until(lambda: sockets(server.port) == 1)
    # It may have answered a ping just before.
    assert time.monotonic() - began >= PONG_TIMEOUT + CLOSE_SECONDS
    neighbour.stop()
    assert neighbour.failure is None
    assert statistics(server.port)["closes"][WS + "slow"] == {"4408": 1}
    assert "slow: left" in server.log
