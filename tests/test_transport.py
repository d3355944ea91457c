"""The socket after the handshake, plain and under TLS: everything arrives, in order and at once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import statistics as figures
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import Server, wait_until
from .patience import Stopwatch
from .raw_client import CLOSE, PING, PONG, TEXT, RawClient, client_frame
from .support import make_certificate, memory_bytes

WS = "/api/1/ws/"
LARGE = 1024 * 1024
CLOSE_SECONDS = 9
GOODBYE = client_frame((1000).to_bytes(2, "big"), CLOSE)


@dataclass
class Certificate:
    """A self-signed certificate for localhost, its key, and a client's context that believes it."""

    path: Path
    key: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        message = "no TLS tests: the command openssl, which makes the certificate, is missing"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("tls")
    path, key = folder / "cert.pem", folder / "key.pem"
    make_certificate(path, key)
    return Certificate(path, key, ssl.create_default_context(cafile=str(path)))


@dataclass
class Service:
    """A server and how to connect to it."""

    server: Server
    tls: ssl.SSLContext | None

    def connect(self, name: str, **options: Any) -> RawClient:
        """Connect to a namespace and take its first frame."""
        client = self.raw(name, **options)
        client.read_data("connected")
        return client

    def raw(self, name: str, **options: Any) -> RawClient:
        """Connect, with the handshake unless the options say otherwise."""
        return RawClient(self.server.port, WS + name, tls=self.tls, **options)

    def statistics(self) -> dict[str, Any]:
        """The server's figures."""
        with self.connect("stats") as client:
            client.send_json({"type": "tell"})
            return client.read_data("stats")

    def sockets(self) -> int:
        """How many sockets take a place, without the one that asks."""
        return int(self.statistics()["sockets"]) - 1

    def clients(self, name: str) -> int:
        """How many clients a namespace has."""
        namespaces = self.statistics()["stats"]["namespaces"]
        return next(int(each["clientCount"]) for each in namespaces if each["path"] == WS + name)


FLAGS = (
    *("--max-message-bytes", str(2 * LARGE), "--max-outbox-bytes", str(8 * LARGE)),
    *("--close-seconds", str(CLOSE_SECONDS), "--pong-timeout", "0.1"),
)


@pytest.fixture(scope="module", params=["plain", "tls"])
def shared(request: pytest.FixtureRequest, serve_module: Callable[..., Server]) -> Service:
    if request.param == "plain":
        return Service(serve_module(*FLAGS, app="tests.apps.behaviours"), None)
    made: Certificate = request.getfixturevalue("certificate")
    tls = ("--tls-certificate", str(made.path), "--tls-key", str(made.key))
    return Service(serve_module(*FLAGS, *tls, app="tests.apps.behaviours"), made.context)


@pytest.fixture
def service(shared: Service) -> Iterator[Service]:
    with shared.server.lent():
        yield shared


def numbered(count: int, pad: int = 0) -> bytes:
    """Numbered messages in one piece."""
    text = b"x" * pad
    return b"".join(
        client_frame(b'{"number":%d,"pad":"%b"}' % (n, text), mask=bytes(4)) for n in range(count)
    )


def test_echo(service: Service) -> None:
    """A message is answered."""
    with service.connect("echo") as client:
        client.send_json({"text": "Grüße 🎉"})
        assert client.read_data("echo")["message"]["text"] == "Grüße 🎉"


def test_one_byte_at_a_time(service: Service) -> None:
    """A handshake and a message whose every byte is a segment of its own arrive."""
    with service.raw("echo", shake_hands=False) as client:
        for byte in client.handshake_request(WS + "echo") + client_frame(b'{"number":1}'):
            client.send(bytes((byte,)))
        assert client.read_head()[0] == 101
        assert client.read_data("echo")["message"]["number"] == 1


def test_thousand_messages_at_once(service: Service) -> None:
    """A thousand messages in one write are answered, each once and in order."""
    with service.connect("unlimited") as client:
        client.send(numbered(1000))
        numbers = [client.read_data("echo")["message"]["number"] for _ in range(1000)]
        assert numbers == list(range(1000))


def test_large_message(service: Service) -> None:
    """A message of a megabyte arrives whole, and so does its answer."""
    with service.connect("echo") as client:
        pad = "0123456789abcdef" * (LARGE // 16)
        client.send_json({"pad": pad})
        assert client.read_data("echo")["message"]["pad"] == pad


@pytest.mark.parametrize("count", [3, 400, 4000])
def test_frames_with_the_handshake(service: Service, count: int) -> None:
    """Frames written together with the handshake request, few or many, are handled in order."""
    with service.raw("unlimited", shake_hands=False) as client:
        client.send(client.handshake_request(WS + "unlimited") + numbered(count, pad=50))
        assert client.read_head()[0] == 101
        numbers = [client.read_data("echo")["message"]["number"] for _ in range(count)]
        assert numbers == list(range(count))


def test_frames_that_follow_the_handshake_at_once(service: Service) -> None:
    """Frames of one segment that Tornado has read with the handshake come before those that it has left."""
    with service.raw("unlimited", shake_hands=False) as client:
        # Two writes, which under TLS are two records, in one segment.
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        first, second = numbered(20)[:250], numbered(20)[250:]
        client.send(client.handshake_request(WS + "unlimited") + first)
        client.send(second)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        assert client.read_head()[0] == 101
        assert [client.read_data("echo")["message"]["number"] for _ in range(20)] == list(range(20))


def test_reading_goes_on_after_a_pause(service: Service) -> None:
    """What a busy handler left unread, in the kernel or decrypted, is handled later without more input."""
    with service.connect("gate") as client, service.connect("gate") as opener:
        for pad in (0, 10_000):
            client.send_json({"type": "wait", "number": -1})
            client.read_data("waiting")
            client.send(numbered(300, pad))
            opener.send_json({"type": "open"})
            numbers = [client.read_data("handled")["number"] for _ in range(301)]
            assert numbers == [-1, *range(300)]


def test_protocol_ping_behind_a_backlog(service: Service) -> None:
    """A ping is answered in its turn when much waits to be sent."""
    with service.connect("flood", receive_buffer=65536) as client:
        client.send_json({"count": 500, "size": 8000})
        client.send(client_frame(b"still here", PING))
        numbers = []
        while True:
            opcode, payload = client.read_frame()
            if opcode == PONG:
                break
            assert opcode == TEXT
            numbers.append(json.loads(payload)["data"]["number"])
        assert payload == b"still here"
        assert numbers == list(range(500))


def read_slowly(client: RawClient, count: int) -> list[int]:
    """Read numbered messages with pauses at first, in which the server's backlog builds up."""
    numbers = []
    for turn in range(count):
        if turn < 20:
            time.sleep(0.005)
        numbers.append(client.read_data("flood")["number"])
    return numbers


def test_backlog_is_complete_and_in_order(service: Service) -> None:
    """A client that reads slowly gets everything, in order, though the kernel's buffer is full at times."""
    with service.connect("flood", receive_buffer=65536) as client:
        for _ in range(2):
            client.send_json({"count": 800, "size": 8000})
            assert read_slowly(client, 800) == list(range(800))


def test_close_behind_a_backlog(service: Service) -> None:
    """The server's close frame comes after all that was sent before it."""
    with service.connect("flood", receive_buffer=65536) as client:
        client.send_json({"count": 800, "size": 8000, "close": 4000})
        assert read_slowly(client, 800) == list(range(800))
        assert client.read_close()[0] == 4000
        client.send(client_frame((4000).to_bytes(2, "big"), CLOSE))
        assert client.at_end()
    wait_until(lambda: service.sockets() == 0)


def test_answer_to_a_close_behind_a_backlog(service: Service) -> None:
    """Who closes while much waits to be sent to it gets all of it, then the answer, then the end of TCP."""
    with service.connect("flood", receive_buffer=65536) as client:
        client.send_json({"count": 800, "size": 8000})
        client.send(GOODBYE)
        assert read_slowly(client, 800) == list(range(800))
        assert client.read_close()[0] == 1000
        assert client.at_end()


@pytest.mark.parametrize("by", ["client", "server"])
def test_closing_handshake(service: Service, by: str) -> None:
    """Whoever begins, the closing handshake ends with the server's end of TCP and frees the place."""
    with service.connect("closer") as client:
        if by == "server":
            client.send_json({"code": 1000})
            client.read_data("closing")
            assert client.read_close()[0] == 1000
            client.send(GOODBYE)
        else:
            client.send(GOODBYE)
            assert client.read_close()[0] == 1000
        watch = Stopwatch()
        assert client.at_end()
        # It is the server that ends TCP (RFC 6455 section 7.1.1), and not because time was up.
        assert watch.seconds < CLOSE_SECONDS / 2
    wait_until(lambda: service.sockets() == 0, CLOSE_SECONDS / 2)


def test_client_that_vanishes_behind_a_backlog(service: Service) -> None:
    """A client that resets its connection while much waits for it is forgotten, and nobody is disturbed."""
    client = service.connect("flood", receive_buffer=4096)
    client.send_json({"count": 700, "size": 8000})
    client.read_data("flood")
    client.reset()
    wait_until(lambda: service.sockets() == 0)


def test_client_that_never_reads(service: Service) -> None:
    """A client that never reads is ended when its outbox is full, and the memory that it held is bounded."""
    with service.connect("flood", receive_buffer=4096), service.connect("flood") as asker:
        before = memory_bytes(service.server.pid)
        rounds = 0
        while service.clients("flood") == 2:
            asker.send_json({"count": 100, "size": 8000})
            assert [asker.read_data("flood")["number"] for _ in range(100)] == list(range(100))
            rounds += 1
            assert rounds < 100, "the client that never reads is still here"
        assert memory_bytes(service.server.pid) - before < 40 * LARGE


def test_both_directions_at_once(service: Service) -> None:
    """A client that sends large messages while their echoes come back gets all of them, in order."""
    with service.connect("unlimited") as client:
        client.exchange(numbered(150, pad=60_000))
        numbers = [client.read_data("echo")["message"]["number"] for _ in range(150)]
        assert numbers == list(range(150))


def test_second_of_two_small_messages_is_not_held_back(service: Service) -> None:
    """Of two small messages the second does not wait for the acknowledgement of the first (TCP_NODELAY)."""
    with service.connect("slow") as client:
        gaps = []
        for number in range(40):
            client.send_json({"number": number, "seconds": 0.001})
            client.read_data("begin")
            began = time.monotonic()
            client.read_data("end")
            gaps.append(time.monotonic() - began)
        # Held back it is 40 ms and more, once the kernel has left off acknowledging quickly.
        assert figures.median(gaps) < 0.03


def test_tls_only(certificate: Certificate, serve: Callable[..., Server]) -> None:
    """With a certificate the server logs an https address; a client that speaks no TLS disturbs nobody."""
    server = serve(
        "--tls-certificate",
        str(certificate.path),
        "--tls-key",
        str(certificate.key),
        app="tests.apps.behaviours",
    )
    server.expected_log = ("SSL|HTTP_REQUEST",)
    server.wait_for_log("serves https://127.0.0.1:")
    with RawClient(server.port, shake_hands=False) as plain:
        plain.send(plain.handshake_request(WS + "echo"))
        with RawClient(server.port, WS + "echo", tls=certificate.context) as client:
            client.send_json({"number": 1})
            assert client.read_data("echo")["message"]["number"] == 1
        with pytest.raises((EOFError, ConnectionResetError)):
            plain.read_head()


def test_certificate_and_key_in_one_file(
    certificate: Certificate, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """A PEM file that holds both the certificate and its key is enough."""
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.path.read_bytes() + certificate.key.read_bytes())
    server = serve("--tls-certificate", str(both), app="tests.apps.behaviours")
    with RawClient(server.port, WS + "echo", tls=certificate.context) as client:
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1
