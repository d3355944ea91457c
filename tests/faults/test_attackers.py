"""Five hundred attackers at once: a process holds no more for them than the sum of its limits."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jpulse.transport import READ_BYTES

from ..conftest import Server, wait_until
from ..raw_client import PING, PONG, TEXT, RawClient, client_frame
from ..support import memory_bytes, sockets, statistics
from .churn import MOST_GROWTH, churn
from .test_peers import Neighbour

WS = "/api/1/ws/"
EACH = 125
MAX_MESSAGE_BYTES, MAX_OUTBOX_BYTES, MAX_INBOX_MESSAGES = 32768, 65536, 64
FLAGS = (
    *("--max-message-bytes", str(MAX_MESSAGE_BYTES), "--max-outbox-bytes", str(MAX_OUTBOX_BYTES)),
    *("--max-inbox-messages", str(MAX_INBOX_MESSAGES), "--max-connections", "600"),
)
#: What a connection holds beside what waits in it: see docs/performance.md.
IDLE_BYTES = 9000
#: An object of Python's around each message that waits.
OBJECT_BYTES = 128
#: A message that is still arriving is in a buffer that grows by an eighth at a time.
ARRIVING_BYTES = MAX_MESSAGE_BYTES * 9 // 8
#: Behind a busy handler: messages up to the limit of bytes, and the one that was over it.
INBOX_BYTES = 2 * MAX_MESSAGE_BYTES + MAX_INBOX_MESSAGES * OBJECT_BYTES
#: zlib's window, and what is around it, while a compressed message comes in.
INFLATER_BYTES = 52 * 1024
LIMIT_BYTES = IDLE_BYTES + READ_BYTES + ARRIVING_BYTES + INBOX_BYTES + MAX_OUTBOX_BYTES


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had in RAM since `reset_peak` (VmHWM)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def reset_peak(pid: int) -> None:
    """Let the peak begin again at what there is now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


@contextmanager
def attackers(port: int, count: int, namespace: str) -> Iterator[list[RawClient]]:
    """So many connections to a namespace, whose buffers are small, ended with RST."""
    with ExitStack() as stack:
        clients = [RawClient(port, WS + namespace, receive_buffer=4096) for _ in range(count)]
        for client in clients:
            # What waits is to wait in the server, not here.
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stack.enter_context(client)
        yield clients


def send_what_fits(clients: list[RawClient], data: bytes) -> int:
    """Send to each until it is not read any more; the bytes that were taken from all of them."""
    waiting = {client.socket.fileno(): (client, memoryview(data)) for client in clients}
    taken = 0
    for client in clients:
        client.socket.setblocking(False)
    while waiting:
        _, writable, _ = select.select([], list(waiting), [], 1.0)
        if not writable:
            break
        for number in writable:
            client, rest = waiting[number]
            sent = client.socket.send(rest)
            taken += sent
            waiting[number] = (client, rest[sent:])
            if sent == len(rest):
                del waiting[number]
    return taken


def half_a_frame(size: int) -> bytes:
    """A frame as large as it may be, without its last byte."""
    return client_frame(b"x" * size)[:-1]


def fragments(size: int) -> bytes:
    """A message as large as it may be in ten fragments, without the last."""
    piece = b"x" * (size // 10)
    return client_frame(piece, fin=False) + client_frame(piece, 0, fin=False) * 9


def flood(asker: RawClient, rounds: int) -> None:
    """Let the namespace broadcast, and read it as a good client does."""
    for _ in range(rounds):
        asker.send_json({"count": 16, "size": 8192})
        for _ in range(16):
            asker.read_data("flood")


def test_memory_for_attackers(serve: Callable[..., Server]) -> None:
    """What a process holds for 500 attackers stays below the sum of their limits, and others are served."""
    server = serve(*FLAGS, app="tests.apps.behaviours")
    neighbour = Neighbour(server.port)
    with (
        attackers(server.port, EACH, "echo") as slow,
        attackers(server.port, EACH, "echo") as fragmented,
        attackers(server.port, EACH, "gate") as queued,
        attackers(server.port, EACH, "flood") as lazy,
        RawClient(server.port, WS + "flood") as asker,
    ):
        asker.read_data("connected")
        before = memory_bytes(server.pid)
        reset_peak(server.pid)
        send_what_fits(slow, half_a_frame(MAX_MESSAGE_BYTES))
        send_what_fits(fragmented, fragments(MAX_MESSAGE_BYTES))
        wait = client_frame(b'{"type":"wait"}')
        taken = send_what_fits(queued, wait + client_frame(b'{"pad":"' + b"x" * 2000 + b'"}') * 600)
        assert taken < EACH * 600 * 2000, "all was taken although the handlers are busy"
        while statistics(server.port)["closes"][WS + "flood"].get("1013", 0) < len(lazy):
            flood(asker, 4)
        used, limit = peak_bytes(server.pid) - before, 4 * EACH * LIMIT_BYTES
        assert used < limit
        assert all(not has_ended(client) for client in (*slow, *fragmented, *queued))
    with RawClient(server.port, WS + "gate") as opener:
        # Who is gone while a handler of its own is at work is missed when that has ended.
        opener.send_json({"type": "open"})
        opener.read_data("handled")
    neighbour.stop()
    if neighbour.failure is not None:
        raise neighbour.failure
    wait_until(lambda: sockets(server.port) == 0, 20)
    print(f"\n{used / 1e6:.0f} MB of {limit / 1e6:.0f}, worst answer {max(neighbour.latencies) * 1e3:.0f} ms")


def half_a_compressed_message(size: int) -> bytes:
    """The first fragment of a message that inflates to so many bytes of text (RFC 7692)."""
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(os.urandom(size // 2).hex().encode()) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return client_frame(packed, TEXT | 0x40, fin=False)


def test_memory_for_attackers_who_compress(serve: Callable[..., Server]) -> None:
    """Half a compressed message takes no more than the limit of messages and one window of zlib's."""
    server = serve(*FLAGS, app="tests.apps.behaviours")
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    with ExitStack() as stack, RawClient(server.port, WS + "packed") as neighbour:
        clients = [RawClient(server.port, WS + "packed", headers=offer) for _ in range(EACH)]
        for client in clients:
            stack.enter_context(client)
        neighbour.read_data("connected")
        before = memory_bytes(server.pid)
        reset_peak(server.pid)
        message = half_a_compressed_message(MAX_MESSAGE_BYTES - 1000)
        for client in clients:
            client.send(message + client_frame(b"", PING))
        for client in clients:
            while client.read_frame()[0] != PONG:
                pass
        used = peak_bytes(server.pid) - before
        limit = READ_BYTES + EACH * (IDLE_BYTES + ARRIVING_BYTES + INFLATER_BYTES)
        # It is the windows that are seen here: without them it would be far less.
        assert EACH * MAX_MESSAGE_BYTES < used < limit
        print(f"\n{used / 1e6:.1f} MB of {limit / 1e6:.1f}")


def has_ended(client: RawClient) -> bool:
    """Whether the server has ended a connection."""
    poll = select.poll()
    poll.register(client.socket, select.POLLRDHUP)
    return bool(poll.poll(0))


def test_memory_after_churn(serve: Callable[..., Server]) -> None:
    """Connections that come and go, in every way, leave nothing behind: memory stays within 5 %."""
    server = serve(app="tests.apps.behaviours")
    outcome = churn(server, 5000)
    assert abs(outcome.growth) < MOST_GROWTH, outcome
