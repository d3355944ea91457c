"""How busy this machine is."""

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")


class Meter:
    """Tells the share of all processors' time, in percent, that was used since it was last read."""

    def __init__(self) -> None:
        self._before = times()

    def read(self) -> float:
        """Read it; 0 to 100."""
        before, self._before = self._before, times()
        busy, passed = self._before[0] - before[0], self._before[1] - before[1]
        return round(min(100.0, 100 * busy / passed), 1) if passed > 0 else 0.0


def times() -> tuple[float, float]:
    """Processor time that was used, and that there was; where Linux does not tell, of this process alone."""
    try:
        numbers = [int(each) for each in STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except OSError:
        return time.process_time(), time.monotonic() * (os.cpu_count() or 1)
    # The fourth and fifth are idle time and waiting for disks.
    return float(sum(numbers) - numbers[3] - numbers[4]), float(sum(numbers))
