"""How long a test waits, on a machine that does other things as well."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: What must come is waited for so long: only who waits in vain notices.
LONG_SECONDS = 60.0
#: However crowded the machine is, a stopwatch goes at least so fast.
SLOWEST = 1 / 8
#: Where the kernel does not tell how long somebody waited for a CPU, one goes so fast.
UNTOLD = 1 / 4


class Stopwatch:
    """
    The time since it was made, without that in which we or our children only waited for a CPU.

    On an idle machine it is a clock. On a crowded one a promise in seconds cannot be kept by the
    clock, though nothing is wrong: what others take from us, or the host from this machine, is left
    out. Processes that wait at the same time count each, so it rather goes too slow than too fast.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before, self._stolen = dict(_waits(os.getpid())), _stolen_seconds()
        #: What each thread has waited, seen last: those that have ended are not told any more.
        self._waited = dict(self._before)

    @property
    def seconds(self) -> float:
        """What it shows."""
        elapsed = time.monotonic() - self._began
        if not self._before:
            return elapsed * UNTOLD
        self._waited.update(_waits(os.getpid()))
        waited = sum(each - self._before.get(thread, 0.0) for thread, each in self._waited.items())
        return max(elapsed - waited - (_stolen_seconds() - self._stolen), elapsed * SLOWEST)

    def is_over(self, seconds: float) -> bool:
        """Tell whether so much time has passed; as long as it cannot, it costs nothing to ask."""
        return time.monotonic() - self._began > seconds and self.seconds > seconds


def _waits(pid: int) -> Iterator[tuple[str, float]]:
    """
    How long each thread of a process and of its children has waited for a CPU, in seconds.

    Linux tells it in the second field of schedstat, in nanoseconds (Documentation/scheduler/sched-stats).
    """
    for thread in _threads(pid):
        with suppress(OSError, IndexError):
            fields = (thread / "schedstat").read_text(encoding="ascii").split()
            yield str(thread), int(fields[1]) / 1e9
        with suppress(OSError):
            for child in (thread / "children").read_text(encoding="ascii").split():
                yield from _waits(int(child))


def _threads(pid: int) -> list[Path]:
    with suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _stolen_seconds() -> float:
    """What the host of a virtual machine has kept from its CPUs; 0 where nobody tells."""
    with suppress(OSError, IndexError):
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        return int(first.split()[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0
