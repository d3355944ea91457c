"""Waiting on a machine that does other things as well."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from . import patience
from .conftest import wait_until
from .patience import SLOWEST, UNTOLD, Stopwatch


@pytest.fixture
def crowd() -> Iterator[Callable[[], None]]:
    """Let one CPU have three of our children that always have something to do."""
    busy: list[subprocess.Popen[bytes]] = []
    cpus = os.sched_getaffinity(0)

    def come() -> None:
        os.sched_setaffinity(0, {min(cpus)})
        busy.extend(subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3))

    yield come
    os.sched_setaffinity(0, cpus)
    for each in busy:
        each.kill()
        each.wait()


def test_time_without_a_cpu_does_not_count(crowd: Callable[[], None]) -> None:
    """While children wait for a CPU a stopwatch goes slowly, yet it goes."""
    crowd()
    watch, began = Stopwatch(), time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1)
    elapsed = time.monotonic() - began
    assert SLOWEST * elapsed <= watch.seconds < elapsed / 2
    assert not watch.is_over(1)


def test_time_on_ones_hands_counts() -> None:
    """Who sleeps waits for no CPU."""
    watch, began = Stopwatch(), time.monotonic()
    assert not watch.is_over(60)
    wait_until(lambda: watch.is_over(0.1))
    assert 0.1 < watch.seconds <= time.monotonic() - began


def test_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is told of waiting a stopwatch goes as on a machine that is rather busy."""
    monkeypatch.setattr(patience, "_waits", lambda pid: {})
    began = time.monotonic()
    watch = Stopwatch()
    wait_until(lambda: time.monotonic() - began > 0.1)
    assert 0 < watch.seconds <= UNTOLD * (time.monotonic() - began)


def test_wait_in_vain() -> None:
    """What does not come fails, and is named."""
    with pytest.raises(AssertionError, match=r"waited 0\.05 s in vain for Godot"):
        wait_until(lambda: False, 0.05, "Godot")
