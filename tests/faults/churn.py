"""
`python -m tests.faults.churn [CONNECTIONS]`: connections come and go, and memory is looked at.

100,000 of them, 50 at a time, unless told otherwise. They end in every way that there is:
with a close frame, with FIN, with RST, inside a frame, while a handler is at work. Memory
is compared between the first fifth, when all that is kept for good has been made, and the
end. Exit status 1 if it has grown by 5 % or more.
"""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from ..conftest import Server
from ..raw_client import CLOSE, RawClient, client_frame
from ..support import memory_bytes, sockets

WS = "/api/1/ws/"
CONNECTIONS, AT_ONCE = 100_000, 50
WARM_UP = 0.2
MOST_GROWTH = 0.05
GONE_SECONDS = 20


def _with_a_close_frame(client: RawClient) -> None:
    client.send(client_frame(b"\x03\xe8", CLOSE))
    client.read_close()


def _with_fin(client: RawClient) -> None:
    client.send(client_frame(b'{"type":"bye","number":1}'))


def _with_rst(client: RawClient) -> None:
    client.reset()


def _inside_a_frame(client: RawClient) -> None:
    client.send(client_frame(b'{"type":"half","number":1}')[:-3])


def _inside_a_message(client: RawClient) -> None:
    client.send(client_frame(b'{"type":', fin=False))


def _while_a_handler_works(client: RawClient) -> None:
    client.send(client_frame(b'{"number":1,"seconds":0.01}') * 3)


#: How connections end, and where: each in its turn.
ENDINGS: tuple[tuple[str, Callable[[RawClient], None]], ...] = (
    ("echo", _with_a_close_frame),
    ("echo", _with_fin),
    ("echo", _with_rst),
    ("echo", _inside_a_frame),
    ("diary", _inside_a_message),
    ("slow", _while_a_handler_works),
)


@dataclass(frozen=True)
class Outcome:
    """What a run has found: bytes in RAM after the first fifth and at the end."""

    connections: int
    seconds: float
    before: int
    after: int

    @property
    def growth(self) -> float:
        """As a part of what there was."""
        return self.after / self.before - 1


def churn(server: Server, connections: int) -> Outcome:
    """Let connections come and go at a server with `tests.apps.behaviours`."""
    began, before, endings = time.monotonic(), 0, cycle(ENDINGS)
    for done in range(0, connections, AT_ONCE):
        if not before and done >= WARM_UP * connections:
            before = _settled_memory(server)
        _batch(server.port, endings)
    return Outcome(connections, time.monotonic() - began, before, _settled_memory(server))


def _batch(port: int, endings: Iterator[tuple[str, Callable[[RawClient], None]]]) -> None:
    chosen = [next(endings) for _ in range(AT_ONCE)]
    clients = [RawClient(port, WS + namespace) for namespace, _ in chosen]
    for client, (_, end) in zip(clients, chosen, strict=True):
        with client:
            end(client)


def _settled_memory(server: Server) -> int:
    """Memory when all who left are gone."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := sockets(server.port):
        assert time.monotonic() < deadline, f"{left} sockets are left"
        select.select([], [], [], 0.05)
    return memory_bytes(server.pid)


def main() -> int:
    """Run it."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS
    with tempfile.TemporaryDirectory(prefix="jpulse-churn-") as folder:
        flags = ("--app", "tests.apps.behaviours", "--data-dir", f"{folder}/data")
        server = Server(Path(folder) / "log", flags, {}, Path.cwd())
        try:
            outcome = churn(server, connections)
        finally:
            server.process.kill()
            server.process.wait()
    print(
        f"{outcome.connections} connections in {outcome.seconds:.0f} s:"
        f" {outcome.before / 1e6:.1f} MB after the first fifth, {outcome.after / 1e6:.1f} MB at the end"
        f" ({outcome.growth:+.1%})"
    )
    return 1 if outcome.growth >= MOST_GROWTH else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (subprocess.SubprocessError, OSError) as error:
        sys.exit(f"churn: {error}")
