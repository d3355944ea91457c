"""Clients of a server that ends come back by themselves: the real client script, many times, in node."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jpulse.server import BACKLOG, bind
from jpulse.settings import Settings

from ..conftest import Server
from .drain import APP
from .reconnect import Crowd, crowd_of, end

CLIENTS = 200
#: Instead of the five seconds that the script waits by default.
BASE_MS = 2000
#: What was dialled a moment before the server served, and failed, may be told so late.
SLACK_SECONDS = 1


@pytest.fixture
def crowd_at(tmp_path: Path) -> Iterator[Callable[[Server], Crowd]]:
    """Let browsers connect to a server, who leave after the test."""
    crowds = []

    def start(server: Server) -> Crowd:
        crowds.append(crowd_of(server, CLIENTS, tmp_path, BASE_MS))
        return crowds[-1].__enter__()

    yield start
    for each in crowds:
        each.__exit__(None, None, None)


def codes(crowd: Crowd, since: float) -> Counter[str]:
    """What became of connections and dials since a moment."""
    return Counter(each.what for each in crowd.events(since) if each.what != "connected")


def test_restart(serve: Callable[..., Server], crowd_at: Callable[[Server], Crowd]) -> None:
    """After a restart all come back, spread over seconds, and the server that serves again refuses nobody."""
    server = serve("--drain-seconds", "3", app=APP)
    crowd = crowd_at(server)
    began = time.time()
    serves = end(server, "restart")
    crowd.wait_until_in(began, 60)
    assert codes(crowd, began)["lost 1012"] == CLIENTS
    assert codes(crowd, serves + SLACK_SECONDS) == {}
    back = crowd.times("connected", began)
    busiest = max(sum(begin <= each < begin + 0.5 for each in back) for begin in back)
    assert busiest < 0.7 * CLIENTS


def test_workers_that_are_replaced(serve: Callable[..., Server], crowd_at: Callable[[Server], Crowd]) -> None:
    """When SIGHUP replaces the workers one by one, all come back and no dial fails."""
    server = serve("--processes", "2", "--drain-seconds", "2", app=APP)
    crowd = crowd_at(server)
    began = time.time()
    end(server, "rolling")
    crowd.wait_until_in(began, 60)
    told = codes(crowd, began)
    assert set(told) == {"lost 1012"}
    assert told["lost 1012"] >= CLIENTS


def test_server_that_is_killed(serve: Callable[..., Server], crowd_at: Callable[[Server], Crowd]) -> None:
    """After a crash, when all lost the connection at the same moment, they come back spread all the same."""
    server = serve(app=APP)
    crowd = crowd_at(server)
    began = time.time()
    serves = end(server, "killed")
    crowd.wait_until_in(began, 60)
    assert codes(crowd, serves + SLACK_SECONDS) == {}
    back = sorted(crowd.times("connected", serves))
    assert back[-1] - back[0] > 0.4 * BASE_MS / 1000


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells how long a port's queue is")
def test_queue_of_the_port() -> None:
    """The port's queue is as long as the kernel allows, up to what comes back in a second after a crash."""
    (listener,) = bind(Settings(port=0))
    with listener:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    # tcpi_sacked of a listening socket is the length of its queue (tcp_get_info in the kernel).
    (length,) = struct.unpack_from("=I", info, 28)
    assert length == min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii")))
