"""Live data: the server measures and tells while somebody watches, and rests while nobody does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.live_data import meter

from ..browser.conftest import ConsoleLog
from .conftest import Site, Visit, come_back, eventually, texts

BEGINS, RESTS = "somebody watches: measuring", "nobody watches: resting"


def points(page: Any) -> int:
    """How many points a page has."""
    count = page.evaluate("() => points.length")
    assert isinstance(count, int)
    return count


def turns(site: Site, process: int) -> tuple[int, int]:
    """How often a process has begun to measure, and gone to rest."""
    log = site.servers[process].log
    return log.count(BEGINS), log.count(RESTS)


def test_measured_while_watched(visit: Visit, site: Site) -> None:
    """Each process measures from its first watcher to its last, and a newcomer sees what there was."""
    begun = turns(site, 0)[0]
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    eventually(lambda: (points(ann) > 1, points(bob) > 1), (True, True))
    cora = visit(0)
    eventually(lambda: points(cora) > 1, True)
    assert turns(site, 0) == (begun + 1, begun)
    # Drawn with the next frame.
    eventually(lambda: texts(ann, "#now")[0].endswith(" %"), True)
    eventually(lambda: "within the last second" in texts(bob, "#range")[0], True)
    ann.close()
    cora.get_by_role("button", name="Pause").click()
    eventually(lambda: turns(site, 0), (begun + 1, begun + 1))
    cora.get_by_role("button", name="Go on").click()
    eventually(lambda: turns(site, 0), (begun + 2, begun + 1))


def test_told_once_a_second(visit: Visit) -> None:
    """However often is measured, a watcher is told about once a second."""
    ann = visit(0)
    eventually(lambda: points(ann) >= 3, True)
    gaps = ann.evaluate("() => points.slice(1).map((point, place) => point.at - points[place].at)")
    # The first point of this visit may come after a rest.
    assert all(gap >= 0.9 for gap in gaps)


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """After a restart it goes on, the old points stay, and the time between is a gap and no line."""
    console.allow_failed_requests()
    ann = visit(1)
    eventually(lambda: points(ann) > 0, True)
    site.restart()
    before = points(ann)
    ann.evaluate("() => { for (const point of points) point.at -= 60; }")
    come_back(ann)
    eventually(lambda: points(ann) > before, True)
    assert ann.evaluate("() => columns()[2].includes(null)")


def test_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meter tells what share of the time since it was last read was used, never over a hundred."""
    told = iter([(10.0, 100.0), (15.0, 120.0), (15.0, 120.0), (30.0, 130.0)])
    monkeypatch.setattr(meter, "times", lambda: next(told))
    made = meter.Meter()
    assert [made.read(), made.read(), made.read()] == [25.0, 0.0, 100.0]


@pytest.mark.parametrize("stat", [Path("/proc/stat"), Path("/nowhere/stat")])
def test_times(stat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used time is part of all time, on Linux and elsewhere, and neither runs backwards."""
    monkeypatch.setattr(meter, "STAT", stat)
    (used, passed), (used_then, passed_then) = meter.times(), meter.times()
    assert 0 <= used <= passed
    assert (used_then, passed_then) >= (used, passed)
