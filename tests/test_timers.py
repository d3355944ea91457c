"""How late the loop is; what is done again and again is tested by those who have it done."""

from __future__ import annotations

import asyncio
import time

import pytest

from jpulse.timers import Load, LoopLag


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


def load_after(*measured: float, limit: float = 0.5) -> Load:
    """What is thought of the load after these measurements, in seconds."""
    lag = LoopLag()
    load = Load(lag, limit)
    for number, seconds in enumerate(measured):
        lag.add(0.25 * number, seconds)
    return load


@pytest.mark.parametrize(
    ("measured", "too_high"),
    [
        ((), False),
        ((5.0,), False),
        ((5.0, 0.6), False),
        ((0.0, 9.0, 0.0, 9.0, 0.0, 9.0), False),
        ((0.5, 0.5, 0.5, 0.5), False),
        ((0.51, 0.51), False),
        ((0.51, 0.51, 0.51), True),
        ((0.6, 0.0, 0.6, 0.6), True),
    ],
)
def test_load_that_lasts(
    measured: tuple[float, ...], too_high: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One long call is no overload, nor are two; three late measurements of four are."""
    assert load_after(*measured).is_too_high == too_high
    assert len(caplog.records) == too_high


def test_end_of_an_overload(caplog: pytest.LogCaptureFixture) -> None:
    """An overload is over when four measurements in a row were in time; both ends are told once."""
    late = (1.0,) * 5
    assert load_after(*late, 0.0, 0.0, 0.0).is_too_high
    assert load_after(*late, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0).is_too_high
    caplog.clear()
    assert not load_after(*late, 0.0, 0.0, 0.0, 0.0).is_too_high
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "overloaded",
        "not overloaded any more; clients are let in again",
    ]


def test_no_limit_to_the_load() -> None:
    """With a limit of 0 no load is too high."""
    assert not load_after(9.0, 9.0, 9.0, 9.0, limit=0.0).is_too_high
