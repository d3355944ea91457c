"""Work that is done again and again, by the monotonic clock."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

log = logging.getLogger("jpulse.timers")


def backoff_seconds(failures: int, first: float, last: float) -> float:
    """How long to wait after so many failures in a row: doubled from the first to the last."""
    return min(first * 2.0 ** min(failures, 10), last)


class Repeating:
    """
    Calls `work` every so many seconds; an async one is awaited before the next call is planned.

    Tornado's PeriodicCallback plans by the time of day: when an administrator or NTP sets
    that back by an hour, heartbeats and session checks would rest for an hour.
    """

    def __init__(self, work: Callable[[], Awaitable[None] | None], seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first call comes after the first interval."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """End; may be called again."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # What a pause of the process has missed is not made up for.
            due = max(due + self._seconds, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                pending = self._work()
                if pending is not None:
                    await pending
            except Exception as error:  # noqa: BLE001 - one failure must not end the others
                context = {"message": f"{self._work!r} failed", "exception": error}
                loop.call_exception_handler(context)


class LoopLag:
    """
    Measures how late the event loop is: how long what is due waits for what is at work.

    `seconds` is the worst of the last ten seconds.
    """

    EVERY_SECONDS = 0.25
    WINDOW_SECONDS = 10.0

    def __init__(self) -> None:
        #: When it was measured, and what.
        self._measured: deque[tuple[float, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        #: Called with each measurement.
        self.on_measured: Callable[[float], None] = lambda seconds: None

    def start(self) -> None:
        """Measure from now on."""
        self._plan(asyncio.get_running_loop())

    def stop(self) -> None:
        """End; may be called again."""
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + self.EVERY_SECONDS
        self._timer = loop.call_at(due, self._measure, loop, due)

    def _measure(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.add(loop.time(), loop.time() - due)
        self._plan(loop)

    def add(self, now: float, seconds: float) -> None:
        """Take a measurement at the monotonic time `now`."""
        self._measured.append((now, seconds))
        self.on_measured(seconds)
        while self._measured[0][0] <= now - self.WINDOW_SECONDS:
            self._measured.popleft()

    @property
    def seconds(self) -> float:
        """The longest delay of late."""
        return max((seconds for _, seconds in self._measured), default=0.0)


class Load:
    """
    Tells whether the event loop is late and stays late, so that who is connected is served badly.

    One long call, such as a garbage collection, makes one measurement late: overload is three of
    the last four. It is over when four in a row were not late. A limit of 0 is none.
    """

    LATEST, LATE = 4, 3

    def __init__(self, lag: LoopLag, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._late: deque[bool] = deque(maxlen=self.LATEST)
        self.is_too_high = False
        if max_seconds:
            lag.on_measured = self._on_measured

    def _on_measured(self, seconds: float) -> None:
        self._late.append(seconds > self._max_seconds)
        late = sum(self._late)
        if late >= self.LATE and not self.is_too_high:
            self.is_too_high = True
            log.warning("overloaded: the event loop is %.1f s late; nobody new is let in", seconds)
        elif not late and self.is_too_high:
            self.is_too_high = False
            log.warning("not overloaded any more; clients are let in again")
