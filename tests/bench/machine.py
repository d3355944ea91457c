"""The machine: what it is, its cores, and what a process on it has used."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: Cores for a process, as os.sched_setaffinity takes them.
Cores = frozenset[int]


@dataclass(frozen=True)
class Places:
    """Who runs on which core. A machine with fewer than four has some of them share."""

    server: Cores
    #: A second server, bridged to the first.
    second: Cores
    #: Redis, which the load generator's core bears if there are few.
    helper: Cores
    load: Cores

    @property
    def pair(self) -> Cores:
        """Where a server with two processes runs."""
        return self.everywhere if self.second == self.server else self.server | self.second

    @property
    def pair_load(self) -> Cores:
        """Where the load for two processes runs: with them, if there is no core left."""
        return self.everywhere if self.second == self.server else self.load

    @property
    def everywhere(self) -> Cores:
        """All of them."""
        return self.server | self.second | self.helper | self.load


def places(cores: Cores | None = None) -> Places:
    """Divide the cores that this process may use."""
    available = sorted(os.sched_getaffinity(0) if cores is None else cores)
    single = [frozenset({core}) for core in available]
    if len(single) >= 4:
        return Places(server=single[0], second=single[1], helper=single[2], load=single[3])
    return Places(server=single[0], second=single[0], helper=single[-1], load=single[-1])


@contextmanager
def pinned(cores: Cores) -> Iterator[None]:
    """What is started within runs on these cores, with all that it starts itself."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Let this process and those that it starts have as many files as allowed; returns the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, from its own clock: to the nanosecond."""
    # clock_getcpuclockid(3), which Python does not have: ~pid, and CPUCLOCK_SCHED for the process.
    return time.clock_gettime((~pid << 3) | 2)


def family(pid: int) -> list[int]:
    """A process and all that come from it and live."""
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(each) for each in (task / "children").read_text(encoding="ascii").split()]
    return [pid, *(each for child in children for each in family(child))]


def command_line(pid: int) -> str:
    """How a process was started; "" when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    return ""


def describe() -> dict[str, str]:
    """What a reader must know of the machine to compare figures."""
    return {
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The version of this checkout, marked if there is more than that."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
