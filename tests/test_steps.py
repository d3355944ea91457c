"""Steps: whatever can be awaited behaves as before, and each step that takes too long is told."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from jpulse.steps import Steps


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.told: list[float] = []
        monkeypatch.setattr("jpulse.steps.monotonic", lambda: self.now)

    def steps(self, pending: Awaitable[Any], seconds: float = 1.0) -> Steps:
        """Steps that tell what took a second."""
        return Steps(pending, seconds, self.told.append)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def wait_for(pending: Awaitable[Any]) -> Any:
    """Await it in a coroutine, as a connection does."""
    return await pending


async def answer() -> str:
    await asyncio.sleep(0)
    return "done"


@types.coroutine
def old_style() -> Generator[Any, Any, str]:
    yield
    return "done"


def future() -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    loop.call_soon(made.set_result, "done")
    return made


@pytest.mark.parametrize("make", [answer, old_style, future, lambda: asyncio.create_task(answer())])
def test_result(make: Callable[[], Awaitable[Any]], clock: Clock) -> None:
    """A coroutine, an old one, a future and a task are awaited as they would be without."""

    async def run() -> Any:
        return await wait_for(clock.steps(make()))

    assert asyncio.run(run()) == "done"
    assert clock.told == []


def test_exception(clock: Clock) -> None:
    """What is raised comes out as it is."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(wait_for(clock.steps(fail())))


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_step_that_takes_too_long(when: str, clock: Clock) -> None:
    """A step is told if it takes as long as the limit, wherever it stands; waiting is no step."""

    def work(name: str) -> None:
        clock.now += 2.5 if name == when else 0.99

    async def handler() -> None:
        work("before")
        await asyncio.sleep(0)
        work("between")
        await asyncio.sleep(0)
        work("after")

    async def run() -> None:
        def pass_time() -> None:
            clock.now += 1000

        asyncio.get_running_loop().call_soon(pass_time)
        await wait_for(clock.steps(handler()))

    asyncio.run(run())
    assert clock.told == [2.5]


@pytest.mark.parametrize(("seconds", "told"), [(0.99, []), (1.0, [1.0]), (1.01, [1.01])])
def test_limit(seconds: float, told: list[float], clock: Clock) -> None:
    """A step just below the limit is not told, one at the limit is."""

    async def handler() -> None:
        clock.now += seconds

    asyncio.run(wait_for(clock.steps(handler())))
    assert clock.told == pytest.approx(told)


def test_cancellation_reaches_the_handler(clock: Clock) -> None:
    """A cancelled handler hears of it where it waits, and what it then does is a step too."""
    heard = []

    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append("cancelled")
            clock.now += 3
            raise

    async def run() -> None:
        task = asyncio.create_task(wait_for(clock.steps(handler())))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert (heard, clock.told) == (["cancelled"], [3.0])


def test_cancellation_reaches_a_future(clock: Clock) -> None:
    """A future that a cancelled handler waits for is cancelled with it."""

    async def run() -> bool:
        made = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(wait_for(clock.steps(made)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return made.cancelled()

    assert asyncio.run(run())


def test_handler_is_closed_with_its_task(clock: Clock) -> None:
    """A handler that is thrown away while it waits is closed, so that its `finally` runs."""
    closed = []

    @types.coroutine
    def never() -> Generator[Any, Any, None]:
        yield

    async def handler() -> None:
        try:
            await never()
        finally:
            closed.append(True)

    work = wait_for(clock.steps(handler()))
    work.send(None)
    work.close()
    assert closed == [True]
