"""Runs the load generator against servers, and reads what it tells."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .machine import Cores, pinned
from .peers import Address
from .stage import CannotMeasure, Server

#: Beyond the seconds of a run: connecting, settling and a stall have their own limits in load.c.
SPARE_SECONDS = 90


class Outcome(msgspec.Struct):
    """What one run of the load generator has found; lists have an item for each port or process."""

    clients: int
    #: Server's CPU time for a client's handshake and first frames.
    connect_cpu_us: float
    rss_kb_per_client: float
    seconds: float
    sent: int
    deliveries: int
    #: Connections that were lost.
    closes: int
    cpu_seconds: float
    cpu_seconds_of: list[float]
    p50_us: list[float]
    p99_us: list[float]
    max_us: list[float]
    #: A delivery's payload, as a mean.
    payload_bytes: float
    #: How much the server grew at its largest, over what it had when all were connected.
    rss_growth_kb: float
    #: Stalled clients that the server has let go of.
    given_up: int

    @property
    def cost_us(self) -> float:
        """The servers' CPU time for one delivery."""
        if not self.deliveries:
            raise CannotMeasure("nothing was delivered")
        return self.cpu_seconds / self.deliveries * 1e6

    @property
    def cpu_percent(self) -> float:
        """How much of a core the servers had."""
        return 100 * self.cpu_seconds / self.seconds


class Load:
    """The load generator, on its own core."""

    def __init__(self, program: Path, cores: Cores) -> None:
        self._program = program
        self._cores = cores

    def run(
        self,
        servers: Server | Sequence[Server],
        address: Address,
        mode: str,
        count: int,
        seconds: float,
        *,
        cores: Cores | None = None,
        pids: Sequence[int] = (),
        deflate: bool = False,
        **options: float | str,
    ) -> Outcome:
        """
        Run with `count` clients, spread over the servers in turn; options are those of load.c.

        `pids` are further processes whose CPU time counts. CannotMeasure if a connection
        was refused or lost, or if nothing came back.
        """
        servers = [servers] if isinstance(servers, Server) else list(servers)
        command = [str(self._program), "--mode", mode, "--count", str(count), "--seconds", str(seconds)]
        command += _address_flags(address)
        for server in servers:
            command += ["--port", str(server.port)]
        for pid in [*(pid for server in servers for pid in server.pids), *pids]:
            command += ["--pid", str(pid)]
        if deflate:
            command.append("--deflate")
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        with pinned(cores or self._cores):
            return _outcome(command, seconds)


def _address_flags(address: Address) -> list[str]:
    flags = ["--path", address.path]
    for name in ("before", "after", "hello"):
        value = getattr(address, name)
        if value:
            flags += [f"--{name}", value]
    return flags


def _outcome(command: Sequence[str], seconds: float) -> Outcome:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds + SPARE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CannotMeasure("the load generator did not end") from None
    if done.returncode:
        raise CannotMeasure(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Outcome)
