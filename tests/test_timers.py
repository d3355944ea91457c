"""How late the loop is; what is done again and again is tested by those who have it done."""

from __future__ import annotations

import asyncio
import time

from jpulse.timers import LoopLag


def test_worst_of_the_last_seconds() -> None:
    """The longest delay of the last ten seconds is told, and forgotten when they have passed."""
    lag = LoopLag()
    assert lag.seconds == 0.0
    for now, seconds in ((100.0, 0.001), (101.0, 0.5), (105.0, 0.002)):
        lag.add(now, seconds)
    assert lag.seconds == 0.5
    lag.add(110.9, 0.003)
    assert lag.seconds == 0.5
    lag.add(111.1, 0.003)
    assert lag.seconds == 0.003


def test_blocked_loop_shows() -> None:
    """A call that holds the loop up is measured; after the end nothing is."""

    async def run() -> float:
        lag = LoopLag()
        lag.start()
        time.sleep(LoopLag.EVERY_SECONDS + 0.2)  # noqa: ASYNC251 - to block is the point
        await asyncio.sleep(0.01)
        lag.stop()
        return lag.seconds

    assert asyncio.run(run()) >= 0.19
