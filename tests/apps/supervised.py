"""
Workers without a server: `python -m tests.apps.supervised FOLDER COUNT DRAIN_SECONDS START_SECONDS`.

What a worker does is in the file `behaviour` of the folder when it starts, so that a test
can have its successors do something else. What happens is told line by line on standard output.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from jpulse import prefork
from jpulse.prefork import HURRY, RETIRE, Lifeline, Supervisor


def tell(what: str) -> None:
    """Write one line in one step: others may write at the same moment."""
    os.write(1, f"{what}\n".encode())


def end(number: int, frame: FrameType | None) -> NoReturn:
    """End as a worker does that has drained."""
    tell(f"drained {os.getpid()}")
    os._exit(0)


def wait(lifeline: Lifeline) -> int:
    """Serve until the parent is gone."""
    select.select([lifeline.parent_gone], [], [])
    assert os.read(lifeline.parent_gone, 1) == b""
    tell(f"alone {os.getpid()}")
    return 0


def work_in(folder: Path, lifeline: Lifeline) -> int:
    """Do what the file says."""
    tell(f"began {lifeline.slot} {os.getpid()}")
    behaviour, _, argument = (folder / "behaviour").read_text(encoding="utf-8").partition(" ")
    if behaviour == "end":
        return int(argument)
    if behaviour == "raise":
        raise RuntimeError(argument)
    for number in (signal.SIGTERM, RETIRE, HURRY):
        signal.signal(number, signal.SIG_IGN if behaviour == "ignore" else end)
    if behaviour != "hang":
        lifeline.tell_ready()
    if behaviour == "serve" and argument:
        time.sleep(float(argument))
        return 3
    return wait(lifeline)


def main() -> int:
    """Run the supervisor, whose waits are a tenth of what they are."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    folder, count, drain_seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for name in ("SHORT_LIFE_SECONDS", "FIRST_WAIT_SECONDS", "LAST_WAIT_SECONDS", "GRACE_SECONDS"):
        setattr(prefork, name, getattr(prefork, name) / 10)
    return Supervisor(
        count,
        lambda lifeline: work_in(folder, lifeline),
        drain_seconds=drain_seconds,
        start_seconds=float(sys.argv[4]),
        on_ready=lambda: tell("all serve"),
        on_end=lambda: tell("all end"),
    ).run()


if __name__ == "__main__":
    sys.exit(main())
