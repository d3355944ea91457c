"""What is kept away from the garbage collector, and when it is given back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from jpulse.garbage import STEP, GarbageCare


@pytest.fixture
def care() -> Iterator[GarbageCare]:
    """A caretaker whose start is done; nothing stays frozen after the test."""
    care = GarbageCare()
    care.start()
    yield care
    gc.unfreeze()


@pytest.mark.usefixtures("care")
def test_start() -> None:
    """What the start has made is looked at no more."""
    assert gc.get_freeze_count() > 1000
    assert len(gc.get_objects()) < 1000


def test_growth(care: GarbageCare) -> None:
    """Connections are put aside when there are STEP more of them, and not before."""
    frozen = gc.get_freeze_count()
    kept = [[number] for number in range(1000)]
    care.tick(STEP - 1)
    assert gc.get_freeze_count() <= frozen + 10
    care.tick(STEP)
    assert gc.get_freeze_count() >= frozen + len(kept)
    frozen = gc.get_freeze_count()
    more = [[number] for number in range(1000)]
    care.tick(2 * STEP - 1)
    assert gc.get_freeze_count() <= frozen
    care.tick(2 * STEP)
    assert gc.get_freeze_count() >= frozen + len(more) - 100


def test_half_of_them_gone(care: GarbageCare) -> None:
    """When half of the connections are gone everything is looked at again: no cycle stays for ever."""
    care.tick(4 * STEP)
    care.tick(2 * STEP)
    assert gc.get_freeze_count() > 0
    care.tick(2 * STEP - 1)
    assert gc.get_freeze_count() == 0
    care.tick(3 * STEP - 1)
    assert gc.get_freeze_count() > 0


def test_cycles_of_the_past_are_not_kept(care: GarbageCare) -> None:
    """What was garbage before a freeze is collected and not frozen."""
    cycle: list[object] = []
    cycle.append(cycle)
    mark = Marked()
    cycle.append(mark)
    del mark, cycle
    care.tick(STEP)
    assert Marked.alive == 0


class Marked:
    """Counts how many of it there are."""

    alive = 0

    def __init__(self) -> None:
        Marked.alive += 1

    def __del__(self) -> None:
        Marked.alive -= 1
