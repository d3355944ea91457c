"""
What clients and a load balancer see of a drain.

    python -m tests.faults.drain --clients 5000 --processes 2

starts a server, lets that many clients connect, sends SIGTERM and prints when they were closed.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..conftest import Server
from ..patience import LONG_SECONDS
from ..support import memory_bytes
from .swarm import Swarm

APP = "tests.apps.slow_rest"
#: How often a load balancer asks; the fastest ask once a second.
PROBE_SECONDS = 0.05
REFUSED = 0


class LoadBalancer:
    """Asks for /readyz again and again in a thread, each time on a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)
        #: When it was answered, and the status: REFUSED when nobody listened.
        self.answers: list[tuple[float, int]] = []

    def __enter__(self) -> LoadBalancer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._over.wait(PROBE_SECONDS):
            status = self._ask()
            self.answers.append((time.monotonic(), status))

    def _ask(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LONG_SECONDS)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            return REFUSED
        finally:
            connection.close()

    def first(self, status: int) -> float:
        """When it was first told something."""
        return next(when for when, answer in self.answers if answer == status)

    def course(self) -> list[int]:
        """What it was told, repetitions left out: [200, 503, REFUSED]."""
        statuses = [status for _, status in self.answers]
        return [each for each, before in zip(statuses, [None, *statuses], strict=False) if each != before]


class Drain:
    """One drain of a server with a swarm of clients, of whom some talk."""

    def __init__(self, server: Server, swarm: Swarm) -> None:
        self._server = server
        self._swarm = swarm
        self.signalled_at = 0.0
        self.ended_at = 0.0
        self.status: int | None = None

    def run(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> LoadBalancer:
        """Send SIGTERM, call `meanwhile`, and live until the server has ended."""
        with LoadBalancer(self._server.port) as balancer:
            self._swarm.run_until(lambda: len(balancer.answers) > 2, 10, "readyz")
            self.signalled_at = time.monotonic()
            self._server.process.send_signal(signal.SIGTERM)
            meanwhile()
            self._swarm.run_until(self._has_ended, seconds, "the end of the server")
        self._swarm.run_until(lambda: all(m.socket is None for m in self._swarm.members), 5, "all closes")
        return balancer

    def _has_ended(self) -> bool:
        self.status = self._server.process.poll()
        self.ended_at = time.monotonic()
        return self.status is not None

    def close_seconds(self) -> list[float]:
        """When the clients were closed, in seconds after the signal."""
        return sorted(
            when - self.signalled_at for member in self._swarm.members for when in member.ended_at[:1]
        )

    def codes(self) -> Counter[int]:
        """How their first connections ended."""
        return Counter(member.closes[0] for member in self._swarm.members)

    def busiest(self, seconds: float) -> float:
        """The largest part of all closes within so many seconds."""
        times = self.close_seconds()
        return max(sum(begin <= each < begin + seconds for each in times) for begin in times) / len(times)


def histogram(times: list[float], width: float = 0.5) -> Iterator[str]:
    """Draw how many of something fell into each interval."""
    counts = Counter(int(each / width) for each in times)
    for number in range(max(counts, default=-1) + 1):
        count = counts[number]
        yield f"{number * width:6.1f} s {count:6d} {'#' * round(60 * count / max(counts.values()))}"


@contextmanager
def served(folder: Path, *flags: str) -> Iterator[Server]:
    """A server in a folder of its own, killed in the end if it still runs."""
    server = Server(folder / "log", ("--data-dir", str(folder / "data"), "--app", APP, *flags), {}, folder)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.wait()


def main() -> int:
    """Measure one drain and print it; returns 0 if it kept its promises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--processes", default="1")
    parser.add_argument("--drain-seconds", type=float, default=10)
    options = parser.parse_args()
    folder, swarm = Path(tempfile.mkdtemp(prefix="jpulse-drain-")), Swarm()
    flags = ("--processes", options.processes, "--drain-seconds", str(options.drain_seconds))
    try:
        with served(folder, *flags) as server:
            drain = _measure(server, swarm, options.clients, options.drain_seconds)
    finally:
        swarm.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if drain.status == 0 and set(drain.codes()) == {1012} else 1


def _measure(server: Server, swarm: Swarm, clients: int, drain_seconds: float) -> Drain:
    members = swarm.join_many(server.port, clients)
    memory = memory_bytes(server.pid)
    swarm.talk(members[:: max(1, clients // 5)][:5], 0.25)
    swarm.run_for(2)
    drain = Drain(server, swarm)
    balancer = drain.run(2 * drain_seconds + 10)
    seconds, signalled = drain.close_seconds(), drain.signalled_at
    print(f"clients {clients}, codes {dict(drain.codes())}, exit status {drain.status}")
    print(f"readyz said {balancer.course()}: 503 after {balancer.first(503) - signalled:.2f} s")
    print(f"refused after {balancer.first(REFUSED) - signalled:.2f} s")
    print(f"first close after {seconds[0]:.2f} s, last {seconds[-1]:.2f} s, busiest second", end=" ")
    print(f"{100 * drain.busiest(1):.0f} %, end after {drain.ended_at - signalled:.2f} s")
    print(f"memory of the first process {memory / 1e6:.0f} MB, deliveries {swarm.deliveries}")
    print(*histogram(seconds), sep="\n")
    return drain


if __name__ == "__main__":
    sys.exit(main())
