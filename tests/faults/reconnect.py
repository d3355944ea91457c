"""
How the clients of a restarted server come back.

    python -m tests.faults.reconnect --clients 5000 --how restart

runs the real client script with that many handles in node, ends the server, starts it again, and
prints how many came back in each second, and what those were told who did not come in.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..conftest import ROOT, Server
from .drain import histogram, served
from .swarm import RELAY

CROWD = Path(__file__).with_name("crowd.js")
CLIENT = ROOT / "static" / "jpulse" / "jpulse.js"
#: Ten attempts of the client take five minutes; who is not back by then waits for something else.
BACK_SECONDS = 120
LOOK_SECONDS = 0.25


class Event(NamedTuple):
    """What happened to one client, and when, in seconds since 1970."""

    when: float
    what: str


class Crowd:
    """The browsers, in a process of their own."""

    def __init__(self, port: int, count: int, folder: Path, base_ms: int) -> None:
        self._told = folder / "crowd"
        self.count = count
        command = [find_node(), CROWD, CLIENT, str(port), RELAY, str(count), str(base_ms)]
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told)
        self.wait_until_in(0.0, count / 100 + 20)

    def events(self, since: float = 0.0) -> list[Event]:
        """What has happened since a moment; a line that is being written is left out."""
        lines = self._told.read_text(encoding="ascii").rpartition("\n")[0].splitlines()
        events = (Event(float(when), what) for when, _, what in (line.partition(" ") for line in lines))
        return [each for each in events if each.when >= since]

    def times(self, what: str, since: float) -> list[float]:
        """When something happened, in seconds after a moment."""
        return [each.when - since for each in self.events(since) if each.what == what]

    def wait_until_in(self, since: float, seconds: float) -> None:
        """Wait until as many have connected since a moment as there are; it looks rarely, to take no CPU."""
        deadline = time.monotonic() + seconds
        while len(self.times("connected", since)) < self.count:
            assert time.monotonic() < deadline, f"of {self.count} clients not all are in after {seconds:g} s"
            assert self.process.poll() is None, "the crowd has ended"
            time.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Let all leave."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


def find_node() -> str:
    """Find node: in PATH, or the one that playwright brings."""
    found = shutil.which("node")
    if found is None:
        from playwright._impl._driver import compute_driver_executable

        found = str(compute_driver_executable()[0])
    return found


@contextmanager
def crowd_of(server: Server, count: int, folder: Path, base_ms: int = 5000) -> Iterator[Crowd]:
    """Let browsers connect, who leave in the end."""
    crowd = Crowd(server.port, count, folder, base_ms)
    try:
        yield crowd
    finally:
        crowd.close()


def end(server: Server, how: str) -> float:
    """End or replace a server in one of the ways that there are; returns when it serves again."""
    if how == "rolling":
        os.kill(server.pid, signal.SIGHUP)
        return time.time()
    server.stop(signal.SIGKILL if how == "killed" else signal.SIGTERM, 60)
    server.start()
    return time.time()


def full_queues() -> int:
    """How often the kernel has dropped a connection because a port's queue was full, on the whole machine."""
    names, values = Path("/proc/net/netstat").read_text(encoding="ascii").splitlines()[:2]
    return int(dict(zip(names.split(), values.split(), strict=True))["ListenOverflows"])


def main() -> int:
    """Measure one return and print it; returns 0 if the server that serves again refused nobody."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--how", choices=("restart", "killed", "rolling"), default="restart")
    parser.add_argument("--processes", default="1")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="jpulse-reconnect-"))
    try:
        with (
            served(folder, "--processes", options.processes) as server,
            crowd_of(server, options.clients, folder) as crowd,
        ):
            return _measure(server, crowd, options.how)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(server: Server, crowd: Crowd, how: str) -> int:
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    began, dropped = time.time(), full_queues()
    serves = end(server, how)
    crowd.wait_until_in(began, BACK_SECONDS)
    back = sorted(crowd.times("connected", began))
    failed = Counter(each.what for each in crowd.events(began) if each.what.startswith("failed"))
    late = Counter(each.what for each in crowd.events(serves + 0.5) if each.what.startswith("failed"))
    busiest = max(Counter(int(each) for each in back).values())
    print(f"{how} with {crowd.count} clients: serves again after {serves - began:.1f} s")
    print(f"half are back after {back[len(back) // 2]:.1f} s, all after {back[-1]:.1f} s", end=", ")
    print(f"busiest second {busiest}")
    print(f"failed dials {dict(failed)}, of them after it served again {dict(late)}")
    print(f"dropped because the port's queue was full: {full_queues() - dropped}")
    lost = [each.when - began for each in crowd.events(began) if each.what.startswith("lost")]
    print("closed:", *histogram(lost, 1), sep="\n")
    print("back:", *histogram(back, 1), sep="\n")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
