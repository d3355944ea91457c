"""One connection at a time, over a real socket."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Server, wait_until
from .patience import LONG_SECONDS, Stopwatch
from .raw_client import BINARY, CLOSE, PING, PONG, TEXT, RawClient, client_frame
from .support import memory_bytes, namespace_figures, sockets, statistics

WS = "/api/1/ws/"
CLOSE_SECONDS = 0.5
INVALID = {"success": False, "error": "Invalid message format", "code": 400, "username": ""}
#: What the kernel may hold for one socket on both sides, at most, with some air.
KERNEL_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    # The pong timeout is short because overdue closes are looked for as often as it needs.
    flags = ("--close-seconds", str(CLOSE_SECONDS), "--pong-timeout", "0.1")
    return serve_module(*flags, app="tests.apps.behaviours")


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


def connect(server: Server, name: str, **options: Any) -> RawClient:
    """Connect to a namespace and take its first frame."""
    client = RawClient(server.port, WS + name, **options)
    client.read_data("connected")
    return client


def frames(*values: Any) -> bytes:
    """Text frames of JSON, joined."""
    return b"".join(client_frame(json.dumps(value).encode()) for value in values)


# Whole messages, in order


def test_one_byte_at_a_time(server: Server) -> None:
    """A message whose every byte is a segment of its own arrives."""
    with connect(server, "echo") as client:
        for byte in client_frame(b'{"type":"slow"}'):
            client.send(bytes((byte,)))
        assert client.read_data("echo")["message"] == {"type": "slow", "username": ""}


def test_thousand_messages_in_one_segment(server: Server) -> None:
    """A thousand messages that come in one segment are answered, each once and in order."""
    with connect(server, "unlimited") as client:
        client.send(frames(*({"number": number} for number in range(1000))))
        answers = [client.read_data("echo")["message"]["number"] for _ in range(1000)]
        assert answers == list(range(1000))


def test_two_messages_in_one_turn(server: Server) -> None:
    """Two messages that come in one segment get two answers, in order."""
    with connect(server, "echo") as client:
        client.send(frames({"number": 1}, {"number": 2}))
        assert client.read_data("echo")["message"]["number"] == 1
        assert client.read_data("echo")["message"]["number"] == 2


def test_fragmented_message_with_a_ping_inside(server: Server) -> None:
    """A message in fragments comes up whole, and a ping between them is answered before it."""
    with connect(server, "echo") as client:
        client.send(
            client_frame(b'{"type":"fr', fin=False)
            + client_frame(b"here?", PING)
            + client_frame(b'agments"}', 0)
        )
        assert client.read_frame() == (PONG, b"here?")
        assert client.read_data("echo")["message"]["type"] == "fragments"


def test_async_handler_is_awaited_before_the_next_message(server: Server) -> None:
    """An async handler is awaited before the next message begins, and `conn.message` stays its own."""
    with connect(server, "slow") as client:
        client.send(frames(*({"number": number, "seconds": 0.002} for number in range(30))))
        told = [client.read_json()["data"] for _ in range(60)]
        assert [(each["type"], each["number"]) for each in told] == [
            (kind, number) for number in range(30) for kind in ("begin", "end")
        ]


def test_different_connections_run_side_by_side(server: Server) -> None:
    """While one connection's handler is at work, another connection of the namespace is served."""
    with connect(server, "gate") as held, connect(server, "gate") as free:
        held.send_json({"type": "wait", "number": 1})
        held.read_data("waiting")
        free.send_json({"number": 2})
        assert free.read_data("handled")["number"] == 2
        free.send_json({"type": "open"})
        assert held.read_data("handled")["number"] == 1


def test_message_before_on_connect_has_ended(server: Server) -> None:
    """A message that comes while on_connect is at work waits for its end."""
    with connect(server, "diary") as client:
        client.send_json({"number": 1})
        assert [client.read_json()["data"]["type"] for _ in range(2)] == ["joined", "said"]


# A busy handler


def send_until_blocked(client: RawClient, most: int) -> tuple[int, bytes]:
    """Send numbered messages until the socket takes no more for a while; their count and the unsent rest."""
    client.socket.setblocking(False)
    sent, count, rest = 0, 0, b""
    while sent < most:
        if not rest:
            rest = frames({"number": count, "pad": "x" * 8192})
            count += 1
        _, writable, _ = select.select([], [client.socket], [], 0.3)
        if not writable:
            client.socket.settimeout(LONG_SECONDS)
            return count, rest
        taken = client.socket.send(rest)
        sent, rest = sent + taken, rest[taken:]
    raise AssertionError(f"the server took {sent} bytes while its handler was busy")


def test_busy_handler_stops_the_reading(server: Server) -> None:
    """Beyond a bounded amount a busy connection's socket is not read; later all is handled, in order."""
    with connect(server, "gate") as client, connect(server, "gate") as opener:
        client.send_json({"type": "wait", "number": -1})
        client.read_data("waiting")
        before = memory_bytes(server.pid)
        count, rest = send_until_blocked(client, most=KERNEL_BYTES)
        assert memory_bytes(server.pid) - before < 4 * 1024 * 1024
        opener.send_json({"type": "open"})
        client.exchange(rest)
        handled = [client.read_data("handled")["number"] for _ in range(-1, count)]
        assert handled == list(range(-1, count))


def test_other_connections_while_one_is_not_read(server: Server) -> None:
    """A connection that is not read because its handler is busy holds back nobody else."""
    with connect(server, "gate") as client, connect(server, "gate") as other:
        client.send_json({"type": "wait"})
        client.read_data("waiting")
        client.send(frames(*({"number": number} for number in range(500))))
        for number in range(20):
            other.send_json({"number": number})
            assert other.read_data("handled")["number"] == number
        other.send_json({"type": "open"})
        assert client.read_data("handled")["number"] is None
        assert [client.read_data("handled")["number"] for _ in range(500)] == list(range(500))


def test_close_of_a_connection_that_is_not_read(server: Server) -> None:
    """Who closes while more of its messages wait than are read has them handled in order, then ends."""
    with connect(server, "gate") as client, connect(server, "gate") as opener:
        client.send_json({"type": "wait"})
        client.read_data("waiting")
        client.send(frames(*({"number": number} for number in range(200))))
        client.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
        opener.send_json({"type": "open"})
        assert client.read_data("handled")["number"] is None
        # The close frame is read when there is room again, while the last of them still wait for their turn.
        numbers = []
        while True:
            opcode, payload = client.read_frame()
            if opcode == CLOSE:
                break
            numbers.append(json.loads(payload)["data"]["number"])
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 100
        assert client.at_end()


# Pings


def test_json_ping_while_a_handler_is_busy(server: Server) -> None:
    """A JSON ping is answered at once, also while a handler of the connection is at work."""
    with connect(server, "gate") as client, connect(server, "gate") as opener:
        client.send_json({"type": "wait"})
        client.read_data("waiting")
        client.send_json({"number": 1})
        client.send_json({"type": "ping"})
        assert client.read_json() == {"success": True, "data": {"type": "pong"}}
        opener.send_json({"type": "open"})
        client.read_data("handled")
        assert client.read_data("handled")["number"] == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"ping"}',
        ' { "type" : "ping", "sent": 17 } ',
        '{"type":"\\u0070ing"}',
        '{"type":"ping","pad":"' + "x" * 500 + '"}',
    ],
)
def test_ping_reaches_no_handler(server: Server, text: str) -> None:
    """A JSON ping in any spelling is answered with a bare pong and reaches no handler."""
    with connect(server, "echo") as client:
        client.send(client_frame(text.encode()))
        assert client.read_json() == {"success": True, "data": {"type": "pong"}}
        client.send_json({"number": 1})
        assert client.read_json()["data"]["message"]["number"] == 1


def test_pong_is_swallowed(server: Server) -> None:
    """A JSON pong reaches no handler and gets no answer."""
    with connect(server, "echo") as client:
        client.send(frames({"type": "pong"}, {"number": 1}))
        assert client.read_json()["data"]["message"]["number"] == 1


def test_ping_is_no_message_that_counts(server: Server) -> None:
    """Pings and pongs count as no messages; a received message counts one and what it makes sent one."""
    before = namespace_figures(server.port, WS + "echo")["totalMessages"]
    with connect(server, "echo") as client:
        client.send(frames({"type": "ping"}, {"type": "pong"}))
        client.send(client_frame(b"x", PING))
        assert client.read_frame()[0] == TEXT
        assert client.read_frame()[0] == PONG
        assert namespace_figures(server.port, WS + "echo")["totalMessages"] == before
        client.send_json({"number": 1})
        client.read_data("echo")
        assert namespace_figures(server.port, WS + "echo")["totalMessages"] == before + 2


def test_type_that_only_looks_like_ping(server: Server) -> None:
    """A message that mentions a ping without being one reaches the handler."""
    with connect(server, "echo") as client:
        for message in ({"type": "pings"}, {"kind": "ping"}, {"type": ["ping"]}, {"text": {"type": "ping"}}):
            client.send_json(message)
            assert client.read_data("echo")["message"] == {**message, "username": ""}


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125))])
def test_protocol_ping(server: Server, payload: bytes) -> None:
    """A protocol ping is answered with a pong of the same payload (RFC 6455 section 5.5.3)."""
    with connect(server, "echo") as client:
        client.send(client_frame(payload, PING))
        assert client.read_frame() == (PONG, payload)


def test_unasked_protocol_pong(server: Server) -> None:
    """A protocol pong that nobody asked for is ignored (RFC 6455 section 5.5.3)."""
    with connect(server, "echo") as client:
        client.send(client_frame(b"unasked", PONG) + frames({"number": 1}))
        assert client.read_data("echo")["message"]["number"] == 1


# The closing handshake


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 3000, 4999])
def test_client_closes(server: Server, code: int) -> None:
    """The client's close is answered with the same code, and the server ends TCP first."""
    with connect(server, "echo") as client:
        client.send(client_frame(code.to_bytes(2, "big") + "Tschüß".encode(), CLOSE))
        assert client.read_close()[0] == code
        assert client.at_end()


def test_client_closes_without_a_code(server: Server) -> None:
    """A close frame without a code is answered with one without a code (RFC 6455 section 5.5.1)."""
    with connect(server, "echo") as client:
        client.send(client_frame(b"", CLOSE))
        assert client.read_frame() == (CLOSE, b"")
        assert client.at_end()


def test_nothing_is_handled_after_the_close(server: Server) -> None:
    """What a client sends after its close frame is not handled (RFC 6455 section 5.5.1)."""
    with connect(server, "diary") as watcher, connect(server, "diary") as client:
        client.read_data("joined")
        goodbye = client_frame((1000).to_bytes(2, "big"), CLOSE)
        client.send(frames({"number": 1}) + goodbye + frames({"number": 2}))
        watcher.read_data("said")
        watcher.read_data("left")
        watcher.send_json({"number": 3})
        assert watcher.read_data("said")["message"]["number"] == 3


@pytest.mark.parametrize("code", [1000, 1013, 4401])
def test_server_closes(server: Server, code: int) -> None:
    """The server's close has its code and reason; after the client's answer the server ends TCP."""
    with connect(server, "closer") as client:
        client.send_json({"code": code, "reason": "enough"})
        client.read_data("closing")
        assert client.read_close() == (code, "enough")
        client.send(client_frame(code.to_bytes(2, "big"), CLOSE))
        assert client.at_end()


def test_both_close_at_once(server: Server) -> None:
    """When both sides close at once, each gets one close frame and TCP ends."""
    with connect(server, "closer") as client:
        client.send(frames({"code": 4401}) + client_frame((1000).to_bytes(2, "big"), CLOSE))
        client.read_data("closing")
        assert client.read_close()[0] == 4401
        assert client.at_end()


def test_messages_after_the_servers_close_are_not_handled(server: Server) -> None:
    """After the server's close nothing of that client reaches the handler, not even what came before."""
    with connect(server, "closer") as client:
        client.send(frames({"code": 1000}, {"code": 4000}, {"code": 4001}))
        assert [client.read_frame()[0] for _ in range(2)] == [TEXT, CLOSE]
        client.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
        assert client.at_end()


def test_close_with_an_illegal_code(server: Server) -> None:
    """A handler that closes with a code that may not be sent gets ValueError, and the connection stays."""
    server.expected_log = ("closer: a handler failed", "Traceback")
    with connect(server, "closer") as client:
        for code in (999, 1006, 5000, 70000):
            client.send_json({"code": code})
            client.read_data("closing")
            assert client.read_json()["code"] == 500
        client.send_json({"code": 1000, "reason": "é" * 100})
        client.read_data("closing")
        assert client.read_close() == (1000, "é" * 61)
    server.wait_for_log("ValueError: close code 70000")


def test_client_that_never_answers_the_close(server: Server) -> None:
    """A client that does not answer a close frame is cut after `close_seconds`, and its place is free."""
    with connect(server, "closer") as client:
        client.send_json({"code": 1000})
        client.read_close()
        began = time.monotonic()
        assert client.at_end()
        assert time.monotonic() - began > CLOSE_SECONDS / 2
        wait_until(lambda: sockets(server.port) == 0)


def test_client_that_never_ends_tcp(server: Server) -> None:
    """A client that closes and then keeps its TCP connection open loses its place after `close_seconds`."""
    with connect(server, "echo") as client:
        client.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
        client.read_close()
        assert client.at_end()
        wait_until(lambda: sockets(server.port) == 0)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_close_frame_with_a_bad_code(server: Server, code: int) -> None:
    """A close frame with a code that may not be sent is answered with 1002 (RFC 6455 section 7.4)."""
    with connect(server, "echo") as client:
        client.send(client_frame(code.to_bytes(2, "big"), CLOSE))
        assert client.read_close()[0] == 1002
        assert client.at_end()


def test_close_frame_of_one_byte(server: Server) -> None:
    """A close frame with half a code is answered with 1002 (RFC 6455 section 5.5.1)."""
    with connect(server, "echo") as client:
        client.send(client_frame(b"\x03", CLOSE))
        assert client.read_close()[0] == 1002


def test_close_reason_that_is_no_utf8(server: Server) -> None:
    """A close frame whose reason is not UTF-8 is answered with 1007."""
    with connect(server, "echo") as client:
        client.send(client_frame(b"\x03\xe8\xff\xff", CLOSE))
        assert client.read_close()[0] == 1007


# Broken frames


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02hi", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (client_frame(b"x", 0), 1002),
        (client_frame(b"x", PING, fin=False), 1002),
        (b"\x89\xfe\x00\x7e\0\0\0\0", 1002),
        (client_frame(b"\xc3\x28"), 1007),
        (client_frame(b"\xed\xa0\x80"), 1007),
        (client_frame(b'{"a":"\xff', fin=False), 1007),
    ],
    ids=[
        "unmasked",
        "reserved bit",
        "unknown opcode",
        "nothing to continue",
        "fragmented ping",
        "long ping",
        "not UTF-8",
        "surrogate in UTF-8",
        "not UTF-8 in a first fragment",
    ],
)
def test_broken_frames(server: Server, data: bytes, code: int) -> None:
    """What breaks RFC 6455 fails the connection with the code that the RFC names, and reaches no handler."""
    with connect(server, "echo") as client:
        client.send(data + frames({"number": 1}))
        opcode, payload = client.read_frame()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
        assert client.at_end()


def test_messages_before_a_broken_frame(server: Server) -> None:
    """Messages that came before a broken frame, in the same segment, are handled and answered."""
    with connect(server, "echo") as client:
        client.send(frames({"number": 1}, {"number": 2}) + b"\x81\x02hi")
        assert [client.read_data("echo")["message"]["number"] for _ in range(2)] == [1, 2]
        assert client.read_close()[0] == 1002


@pytest.mark.parametrize("length", [65537, 2**31, 2**62, 2**63 - 1])
def test_too_large_message(server: Server, length: int) -> None:
    """A message over the limit is refused with 1009 when its length is told, and that is counted."""
    before = statistics(server.port)["drops"][WS + "echo"]["size"]
    with connect(server, "echo") as client:
        client.send(b"\x81\xff" + length.to_bytes(8, "big"))
        assert client.read_close()[0] == 1009
        assert client.at_end()
    assert statistics(server.port)["drops"][WS + "echo"]["size"] == before + 1


def test_too_large_message_in_fragments(server: Server) -> None:
    """Fragments that are too large only together are refused with 1009."""
    with connect(server, "echo") as client:
        client.send(client_frame(b'"' + b"x" * 40000, fin=False))
        client.send(client_frame(b"x" * 40000, 0)[:8])
        assert client.read_close()[0] == 1009


@pytest.mark.parametrize("length", [65535, 65536])
def test_message_within_the_limit(server: Server, length: int) -> None:
    """A message of `max_message_bytes`, or one byte less, is handled."""
    with connect(server, "echo") as client:
        pad = "x" * (length - len('{"pad":""}'))
        client.send(client_frame(b'{"pad":"%b"}' % pad.encode()))
        assert client.read_data("echo")["message"]["pad"] == pad


# What is no message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":1} {"b":2}',
        b"{'a':1}",
        b'{"a":1,}',
        b"[1,2]",
        b'"text"',
        b"17",
        b"null",
        b"true",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":"\n"}',
        b"\xef\xbb\xbf{}",
        b'{"type":"ping"',
    ],
)
def test_invalid_message(server: Server, payload: bytes) -> None:
    """What is no JSON object is answered with code 400, and the connection stays."""
    with connect(server, "echo") as client:
        client.send(client_frame(payload))
        assert client.read_json() == INVALID
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1


@pytest.mark.parametrize(
    "payload", [b'{"type":"x"}', b'{"type":"ping"}', b'{"type":"pong"}', b"\xff\x00", b""]
)
def test_binary_message(server: Server, payload: bytes) -> None:
    """A binary message is no message, whatever is in it: a JSON ping in one gets no pong."""
    with connect(server, "echo") as client:
        client.send(client_frame(payload, BINARY))
        assert client.read_json() == INVALID
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1


def test_deep_nesting(serve: Callable[..., Server]) -> None:
    """A hundred thousand levels are refused as no message, and the connection stays."""
    server = serve("--max-message-bytes", "1048576", app="tests.apps.behaviours")
    with connect(server, "echo") as client:
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            text = '{"a":' + opening * 100_000 + "1" + closing * 100_000 + "}"
            client.send(client_frame(text.encode()))
            assert client.read_json() == INVALID
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1


@pytest.mark.parametrize("levels", [64, 65])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_at_the_limit(server: Server, levels: int, opening: str, closing: str) -> None:
    """A message of `max_json_depth` levels is handled, and echoed; one more is refused and counted."""
    dropped = statistics(server.port)["dropped"][WS + "echo"]
    inner = opening * (levels - 1) + "1" + closing * (levels - 1)
    with connect(server, "echo") as client:
        client.send(client_frame(f'{{"type":"deep","inner":{inner}}}'.encode()))
        if levels == 64:
            assert client.read_data("echo")["message"]["inner"] == json.loads(inner)
        else:
            assert client.read_json() == INVALID
    assert statistics(server.port)["dropped"][WS + "echo"] == dropped + (levels > 64)


def test_brackets_without_end(server: Server) -> None:
    """64 KiB of opening brackets get 400 as any other invalid message, each time."""
    with connect(server, "echo") as client:
        for _ in range(10):
            client.send(client_frame(b"[" * 65536))
            assert client.read_json() == INVALID
        client.send_json({"number": 1})
        assert client.read_data("echo")["message"]["number"] == 1


def test_invalid_messages_are_counted_as_no_messages(server: Server) -> None:
    """What is no message does not count as one."""
    before = namespace_figures(server.port, WS + "echo")["totalMessages"]
    with connect(server, "echo") as client:
        client.send(client_frame(b"hello"))
        assert client.read_json() == INVALID
    assert namespace_figures(server.port, WS + "echo")["totalMessages"] == before


@pytest.mark.parametrize("name", ["root", None, 1, {"x": 1}])
def test_forged_username(server: Server, name: Any) -> None:
    """The username in a message is what the server knows, whatever the client wrote."""
    with connect(server, "echo") as client:
        client.send_json({"type": "x", "username": name})
        data = client.read_data("echo")
        assert data["message"]["username"] == ""
        assert data["ctx"] == {"username": "", "ip": "127.0.0.1"}


# Handlers that raise


def failed(server: Server) -> None:
    """Expect failed handlers, with their tracebacks."""
    server.expected_log = ("failing(-later)?: a handler failed", "Traceback")


@pytest.mark.parametrize("how", ["sync", "async"])
def test_on_message_that_raises(server: Server, how: str) -> None:
    """What on_message raises is logged with its traceback; the client gets a generic 500 and stays."""
    failed(server)
    before = len(server.log)
    with connect(server, "failing") as client:
        client.send_json({"what": "error", "how": how})
        answer = client.read_json()
        assert (answer["success"], answer["code"]) == (False, 500)
        assert answer["error"] == "Internal error"
        client.send_json({"what": "nothing", "how": how})
        client.read_data("fine")
    wait_until(lambda: "RuntimeError: secret of on_message\n" in server.log[before:])
    wait_until(lambda: "RuntimeError: secret of on_disconnect\n" in server.log[before:])
    assert "Traceback (most recent call last)" in server.log[before:]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_client_error(server: Server, how: str) -> None:
    """A ClientError tells the client its own message and code, and is no error in the log."""
    failed(server)
    before = len(server.log)
    with connect(server, "failing") as client:
        client.send_json({"what": "client error", "how": how})
        assert client.read_json() == {"success": False, "error": "title: is empty", "code": 422}
        client.send_json({"what": "nothing"})
        client.read_data("fine")
        assert "Traceback" not in server.log[before:].split("secret of on_connect")[-1]
    wait_until(lambda: "RuntimeError: secret of on_disconnect\n" in server.log[before:])


@pytest.mark.parametrize("how", ["sync", "async"])
def test_broadcast_of_what_json_cannot_carry(server: Server, how: str) -> None:
    """A broadcast of what JSON cannot carry raises TypeError in the handler, and nobody is sent anything."""
    failed(server)
    before = len(server.log)
    with connect(server, "failing") as other, connect(server, "failing") as client:
        client.send_json({"what": "not json", "how": how})
        answer = client.read_json()
        assert (answer["code"], answer["error"]) == (500, "Internal error")
        other.send_json({"what": "nothing"})
        assert other.read_json()["data"]["type"] == "fine"
    wait_until(lambda: re.search(r"\n *TypeError: ", server.log[before:]) is not None)
    wait_until(lambda: server.log[before:].count("RuntimeError: secret of on_disconnect\n") == 2)


def test_on_connect_and_on_disconnect_that_raise(server: Server) -> None:
    """What on_connect and on_disconnect raise, at once or later, is logged; the client is told nothing."""
    failed(server)
    before = len(server.log)
    for name in ("failing", "failing-later"):
        with connect(server, name) as client:
            client.send_json({"what": "nothing"})
            assert client.read_json()["data"]["type"] == "fine"
    secrets = ("on_connect", "on_disconnect", "a late on_connect", "a plain on_disconnect")
    told = [f"RuntimeError: secret of {secret}\n" for secret in secrets]
    wait_until(lambda: all(each in server.log[before:] for each in told))
    assert server.log[before:].count("Traceback (most recent call last)") == len(secrets)


@pytest.mark.parametrize(
    "what", ["cancelled", "exit", "generator exit", "unprintable", "client error that is no text"]
)
def test_unusual_exceptions(serve: Callable[..., Server], what: str) -> None:
    """Whatever on_message raises, the client gets an answer, and its connection and the process stay."""
    server = serve(app="tests.apps.behaviours")
    server.expected_log = (" ERROR ", "Traceback")
    for how in ("sync", "async"):
        with connect(server, "failing") as client:
            client.send_json({"what": what, "how": how})
            answer = client.read_json()
            assert answer["success"] is False
            assert answer["code"] == (422 if what.startswith("client error") else 500)
            client.send_json({"what": "nothing", "how": "async"})
            client.read_data("fine")
    wait_until(lambda: server.log.count("RuntimeError: secret of on_disconnect\n") == 2)
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def debugging(serve_module: Callable[..., Server]) -> Server:
    return serve_module("--debug", app="tests.apps.behaviours")


@pytest.mark.parametrize("how", ["sync", "async"])
def test_debug_shows_the_exception(debugging: Server, how: str) -> None:
    """With `--debug` the client is told the exception."""
    with debugging.lent():
        failed(debugging)
        before = len(debugging.log)
        with connect(debugging, "failing") as client:
            client.send_json({"what": "error", "how": how})
            answer = client.read_json()
            assert answer["code"] == 500
            assert "RuntimeError" in answer["error"]
            assert "secret of on_message" in answer["error"]
        wait_until(lambda: "RuntimeError: secret of on_disconnect\n" in debugging.log[before:])


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("what", ["unprintable", "half a character"])
def test_debug_of_an_exception_that_cannot_be_shown(debugging: Server, how: str, what: str) -> None:
    """With `--debug` an exception whose text cannot be sent is answered too, and the connection stays."""
    with debugging.lent():
        debugging.expected_log = (" ERROR ", "Traceback")
        before = len(debugging.log)
        with connect(debugging, "failing") as client:
            client.send_json({"what": what, "how": how})
            assert client.read_json()["code"] == 500
            client.send_json({"what": "nothing", "how": "async"})
            client.read_data("fine")
        wait_until(lambda: "RuntimeError: secret of on_disconnect\n" in debugging.log[before:])


# The end of a connection


def read_diary(watcher: RawClient, until: str) -> list[tuple[str, Any]]:
    """What happened to others, as (type, number of the message), until a type comes."""
    told: list[tuple[str, Any]] = []
    while not told or told[-1][0] != until:
        data = watcher.read_json()["data"]
        told.append((data["type"], data.get("message", {}).get("number")))
    return told


def test_client_that_closes_mid_frame(server: Server) -> None:
    """A client that goes in the middle of a frame leaves once, and others notice nothing else."""
    with connect(server, "diary") as watcher:
        watcher.read_data("joined")
        for end in (RawClient.reset, RawClient.__exit__):
            client = connect(server, "diary")
            client.read_data("joined")
            client.send(client_frame(b'{"type":"never whole"}')[:-5])
            end(client)
        told = read_diary(watcher, "left")
        if [kind for kind, _ in told].count("joined") < 2 or len(told) < 4:
            told += read_diary(watcher, "left")
        watcher.send_json({"number": 7})
        told += read_diary(watcher, "said")
    assert sorted(told) == sorted([("joined", None), ("left", None)] * 2 + [("said", 7)])


def test_messages_before_a_close_are_handled_first(server: Server) -> None:
    """What a client sent before it closed is handled, in order, before its one on_disconnect."""
    with connect(server, "diary") as watcher:
        watcher.read_data("joined")
        client = connect(server, "diary")
        client.send(frames(*({"number": number} for number in range(10))))
        client.send(client_frame((1000).to_bytes(2, "big"), CLOSE))
        client.read_close()
        client.socket.close()
        said = [("said", number) for number in range(10)]
        assert read_diary(watcher, "left") == [("joined", None), *said, ("left", None)]
        watcher.send_json({"number": 77})
        assert read_diary(watcher, "said") == [("said", 77)]


def test_fin_without_a_close_frame(server: Server) -> None:
    """A client that ends TCP without a close frame is let go of, after what it had sent was handled."""
    with connect(server, "diary") as watcher:
        watcher.read_data("joined")
        with connect(server, "diary") as client:
            client.send(frames({"number": 5}))
            client.socket.shutdown(socket.SHUT_WR)
            assert read_diary(watcher, "left") == [("joined", None), ("said", 5), ("left", None)]


def test_who_left_gets_no_broadcast_and_is_not_counted(server: Server) -> None:
    """When on_disconnect is called the client is no longer counted."""
    with connect(server, "diary") as watcher:
        watcher.read_data("joined")
        client = connect(server, "diary")
        client.read_data("joined")
        client.reset()
        assert watcher.read_data("left")["count"] == 1
    wait_until(lambda: namespace_figures(server.port, WS + "diary")["clientCount"] == 0)


def test_chained_handlers(server: Server) -> None:
    """A namespace made by chaining calls its three handlers."""
    with RawClient(server.port, WS + "chained") as watcher:
        assert [watcher.read_json()["data"]["type"] for _ in range(2)] == ["connected", "hello"]
        client = connect(server, "chained")
        client.read_data("hello")
        client.send_json({"text": "hi"})
        assert client.read_data("said")["text"] == "hi"
        client.reset()
        assert [watcher.read_json()["data"]["type"] for _ in range(2)] == ["said", "bye"]


# Clients that do not read


def test_client_that_never_reads(server: Server) -> None:
    """Who never reads is ended once its outbox is full; others get all, in order, and memory is bounded."""
    lazy = connect(server, "flood", receive_buffer=256 * 1024)
    with connect(server, "flood") as asker, connect(server, "flood") as other:
        before, rounds = memory_bytes(server.pid), 0
        while namespace_figures(server.port, WS + "flood")["clientCount"] == 3:
            asker.send_json({"count": 64, "size": 4096})
            for client in (asker, other):
                assert [client.read_data("flood")["number"] for _ in range(64)] == list(range(64))
            rounds += 1
            assert rounds * 64 * 4096 < 2 * KERNEL_BYTES, "the client that never reads is still here"
        assert memory_bytes(server.pid) - before < 8 * 1024 * 1024
        wait_until(lambda: sockets(server.port) == 2)
        assert_cut_or_told(lazy)


def assert_cut_or_told(client: RawClient) -> None:
    """Read to the end: a close frame with 1013, or the cut of one that did not even take that."""
    try:
        assert client.read_close()[0] == 1013
    except (EOFError, ConnectionResetError):
        pass
    finally:
        client.socket.close()


def test_slow_client_is_told_why(serve: Callable[..., Server]) -> None:
    """A client that begins to read right after its outbox overflowed reads close code 1013."""
    server = serve("--close-seconds", "60", app="tests.apps.behaviours")
    # A buffer smaller than loopback's segments loses some of them, and TCP then pauses for seconds.
    with connect(server, "flood", receive_buffer=256 * 1024) as client:
        client.send_json({"count": 4000, "size": 4096})
        wait_until(lambda: namespace_figures(server.port, WS + "flood")["clientCount"] == 0)
        assert client.read_close()[0] == 1013


def test_many_clients_that_overflow_at_once(serve: Callable[..., Server]) -> None:
    """A broadcast that is too much for many clients ends them all, each with its on_disconnect."""
    server = serve("--close-seconds", "30", app="tests.apps.behaviours")
    lazy = [connect(server, "narrow", receive_buffer=2048) for _ in range(200)]
    with connect(server, "narrow") as asker:
        asker.send_json({"count": 800, "size": 4096})
        wait_until(lambda: namespace_figures(server.port, WS + "narrow")["clientCount"] <= 1, 20)
    wait_until(lambda: namespace_figures(server.port, WS + "narrow")["clientCount"] == 0, 20)
    for client in lazy:
        client.reset()
    wait_until(lambda: sockets(server.port) == 0)


# The rate


def test_messages_over_the_rate(server: Server) -> None:
    """A burst of twice the rate is handled; each message beyond gets 429 and is counted as dropped."""
    dropped = statistics(server.port)["dropped"][WS + "echo"]
    with connect(server, "echo") as client:
        began = time.monotonic()
        client.send(frames(*({"number": number} for number in range(110))))
        answers = [client.read_json() for _ in range(110)]
        seconds = time.monotonic() - began
        handled = [answer["data"]["message"]["number"] for answer in answers if answer["success"]]
        refused = [answer for answer in answers if not answer["success"]]
        # Time that passes earns some more.
        assert 100 <= len(handled) <= 101 + 50 * seconds
        assert refused
        assert handled == sorted(handled)
        assert {answer["code"] for answer in refused} == {429}
        assert statistics(server.port)["dropped"][WS + "echo"] == dropped + len(refused)


def test_rate_recovers(server: Server) -> None:
    """Who keeps quiet for a while after too many messages may send again."""
    with connect(server, "strict") as client:
        client.send(frames(*({"number": number} for number in range(12))))
        assert [client.read_json()["success"] for _ in range(12)].count(True) >= 10
        watch = Stopwatch()
        answers: list[bool] = []
        while True not in answers:
            assert not watch.is_over(5)
            select.select([], [], [], 0.05)
            client.send_json({"number": 99})
            answers.append(client.read_json()["success"])


def test_too_many_messages_again_and_again(server: Server) -> None:
    """Who sends far more than the rate again and again is closed with 4429."""
    with connect(server, "strict") as client:
        client.send(frames(*({"number": number} for number in range(400))))
        answers = []
        while True:
            opcode, payload = client.read_frame()
            if opcode == CLOSE:
                break
            answers.append(json.loads(payload))
        assert int.from_bytes(payload[:2], "big") == 4429
        assert [answer["success"] for answer in answers[:10]] == [True] * 10
        assert sum(answer.get("code") == 429 for answer in answers) > 20


def test_pings_are_not_limited_by_the_rate(server: Server) -> None:
    """Pings do not use up the rate."""
    with connect(server, "strict") as client:
        client.send(frames(*({"type": "ping"} for _ in range(50)), {"number": 1}))
        assert {client.read_json()["data"]["type"] for _ in range(50)} == {"pong"}
        assert client.read_data("echo")["message"]["number"] == 1


def test_namespace_without_a_rate(server: Server) -> None:
    """A namespace whose limit is 0 handles everything, however fast it comes."""
    with connect(server, "unlimited") as client:
        client.send(frames(*({"number": number} for number in range(3000))))
        assert [client.read_data("echo")["message"]["number"] for _ in range(3000)] == list(range(3000))


# Handlers that work too long, and handlers that block


@pytest.fixture(scope="module")
def shared_hasty(serve_module: Callable[..., Server]) -> Server:
    # A sweep, which looks for long handlers, comes twice in a pong timeout.
    flags = ("--handler-seconds", "0.3", "--pong-timeout", "0.1", "--blocking-seconds", "0.5")
    return serve_module(*flags, app="tests.apps.behaviours")


@pytest.fixture
def hasty(shared_hasty: Server) -> Iterator[Server]:
    with shared_hasty.lent():
        yield shared_hasty


CUT = r"ERROR +jpulse.connection: /api/1/ws/stuck: Stuck.on_\w+ is cancelled after \d+\.\d s at work"
OVERDUE = r"ERROR +jpulse.connection: /api/1/ws/stuck: a handler failed for client"
INTERNAL_ERROR = {"success": False, "error": "Internal error", "code": 500}


def overdue(server: Server) -> int:
    """How many handlers have worked too long."""
    number = statistics(server.port)["drops"][WS + "stuck"]["overdue"]
    assert isinstance(number, int)
    return number


def test_handler_that_never_returns(hasty: Server) -> None:
    """A handler that never returns is cancelled and logged with its name; its client goes on."""
    hasty.expected_log = (CUT, OVERDUE, "Traceback")
    before = overdue(hasty)
    with connect(hasty, "stuck") as client, connect(hasty, "stuck") as other:
        client.send(frames({"how": "wait"}, {"number": 2}))
        client.read_data("begin")
        other.send_json({"number": 1})
        assert other.read_data("handled")
        assert client.read_json() == INTERNAL_ERROR
        assert client.read_data("handled")
        assert overdue(hasty) == before + 1
    assert "worked longer than the setting handler_seconds allows" in hasty.log


def test_on_disconnect_after_a_handler_that_never_returns(hasty: Server) -> None:
    """Who leaves while its handler is stuck still gets its on_disconnect, and its place is free."""
    hasty.expected_log = (CUT, OVERDUE, "Traceback")
    client = connect(hasty, "stuck")
    client.send_json({"how": "wait"})
    client.read_data("begin")
    client.reset()
    begin = len(hasty.log)
    wait_until(lambda: "stuck: left" in hasty.log[begin:])
    assert sockets(hasty.port) == 0


def test_handler_that_swallows_its_cancellation(hasty: Server) -> None:
    """A handler that ends when it is cancelled, without an exception, has handled its message."""
    hasty.expected_log = (CUT,)
    with connect(hasty, "stuck") as client:
        client.send(frames({"how": "swallow"}, {"number": 2}))
        client.read_data("begin")
        assert client.read_data("handled")["refusals"] == 1
        assert client.read_data("handled")["refusals"] == 0


def test_handler_that_refuses_to_be_cancelled(serve: Callable[..., Server]) -> None:
    """A handler that goes on although it is cancelled is told again and again, and holds nobody else."""
    flags = ("--handler-seconds", "0.1", "--pong-timeout", "0.1", "--drain-seconds", "0.5")
    server = serve(*flags, app="tests.apps.behaviours")
    server.expected_log = (r"Stuck.on_message is cancelled",)
    with connect(server, "stuck") as client, connect(server, "stuck") as other:
        client.send_json({"how": "refuse"})
        client.read_data("begin")
        wait_until(lambda: server.log.count("Stuck.on_message is cancelled") >= 3)
        other.send_json({"number": 1})
        assert other.read_data("handled")
        assert overdue(server) == 1


def test_on_connect_that_never_returns(hasty: Server) -> None:
    """A stuck on_connect is cancelled too, and the messages that waited for it are handled."""
    hasty.expected_log = (CUT, OVERDUE, "Traceback")
    dead = "?uuid=deaddead-0000-4000-8000-000000000000"
    with connect(hasty, "stuck" + dead) as client:
        client.send_json({"number": 1})
        assert client.read_data("handled")
    assert "Stuck.on_connect is cancelled" in hasty.log


@pytest.mark.parametrize("how", ["plain", "async"])
def test_handler_that_blocks(hasty: Server, how: str) -> None:
    """A handler that keeps the whole process waiting is logged with its name and for how long."""
    begin = len(hasty.log)
    name = r"Blocking\.on_message" if how == "plain" else r"Blocking\._block_later|Blocking\.on_message"
    told = rf"WARNING jpulse.connection: {WS}blocking: ({name}) kept the whole process waiting for \d\.\d s"
    hasty.expected_log = (told,)
    with connect(hasty, "blocking") as client:
        client.send_json({"how": how, "seconds": 0.6})
        assert client.read_data("done")
    assert len(re.findall(told, hasty.log[begin:])) == 1


def test_handler_that_does_not_block(hasty: Server) -> None:
    """A handler that is short of the limit is not logged."""
    with connect(hasty, "blocking") as client:
        client.send_json({"how": "async", "seconds": 0.001})
        client.send_json({"how": "plain", "seconds": 0.001})
        for _ in range(2):
            assert client.read_data("done")


# Pings and fragments


def flood(client: RawClient, chunk: bytes) -> int:
    """Send the same bytes until the server closes; the code, if any is sent."""
    try:
        for _ in range(400):
            client.exchange(chunk)
    except (ConnectionError, EOFError):
        pass
    return client.read_close()[0]


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(client_frame(b'{"type":"ping"}') * 100, id="JSON pings"),
        pytest.param(client_frame(b'{"type":"pong"}') * 100, id="JSON pongs"),
        pytest.param(client_frame(b"?", PING) * 100, id="pings"),
        pytest.param(client_frame(b"!", PONG) * 100, id="pongs nobody asked for"),
        pytest.param(
            (client_frame(b"{", fin=False) + client_frame(b" ", 0, fin=False) * 48 + client_frame(b"}", 0))
            * 3,
            id="fragments",
        ),
    ],
)
def test_flood_of_what_is_no_message(server: Server, chunk: bytes) -> None:
    """Pings, pongs and fragments without end are ended with 4429, while others are served."""
    with connect(server, "echo") as client, connect(server, "echo") as other:
        before = statistics(server.port)["drops"][WS + "echo"]["frames"]
        assert flood(client, chunk) == 4429
        other.send_json({"number": 1})
        assert other.read_data("echo")["message"]["number"] == 1
        assert statistics(server.port)["drops"][WS + "echo"]["frames"] == before + 1
