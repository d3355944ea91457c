"""Ephemeral tracking: everybody sees who reads which part of a page."""

from __future__ import annotations

from typing import Any

from ..browser.conftest import ConsoleLog
from .conftest import Site, Visit, come_back, eventually, texts


def readers(page: Any) -> dict[str, int]:
    """How many others a page shows beside each part that somebody reads."""
    items = page.locator(".rail li").all()
    counts = {item.locator("a").inner_text(): item.locator(".reader").count() for item in items}
    return {part: count for part, count in counts.items() if count}


def read(page: Any, part: str) -> None:
    """Go to a part of the page by the keyboard."""
    page.get_by_role("link", name=part, exact=True).press("Enter")


def test_everybody_sees_where_everybody_reads(visit: Visit) -> None:
    """A move is seen by the others, a newcomer is told where all are, and who leaves is gone."""
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    read(ann, "Leaving")
    eventually(lambda: readers(bob), {"Leaving": 1})
    read(bob, "What it costs")
    eventually(lambda: readers(ann), {"What it costs": 1})
    cora = visit(0)
    eventually(lambda: readers(cora), {"Leaving": 1, "What it costs": 1})
    eventually(lambda: texts(cora, "#count"), ["2 others on this page"])
    ann.close()
    eventually(lambda: readers(cora), {"What it costs": 1})
    eventually(lambda: texts(bob, "#count"), ["1 other on this page"])


def test_tabs_of_one_reader(visit: Visit) -> None:
    """Two tabs of one browser are one reader, who is there until both are closed."""
    bob, tab = visit(1), visit(0)
    second = visit(1, after=tab)
    read(second, "Moving")
    eventually(lambda: readers(bob), {"Moving": 1})
    second.close()
    read(tab, "Leaving")
    eventually(lambda: readers(bob), {"Leaving": 1})
    tab.close()
    eventually(lambda: texts(bob, "#count"), ["Nobody else is here: open a second window."])


def test_wrong_place(visit: Visit) -> None:
    """A position that is none is refused with what is wrong, and nobody is told of it."""
    ann, bob = visit(0), visit(1)
    ann.evaluate("() => tracking.send({type: 'look', place: 'x'.repeat(41)})")
    ann.locator(".jpulse-toast-error", has_text="place: a text of at most 40 characters is needed").wait_for()
    read(ann, "Moving")
    eventually(lambda: readers(bob), {"Moving": 1})


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """After a restart of the servers, which keep nothing, all see each other where they were."""
    console.allow_failed_requests()
    ann, bob = visit(0), visit(1)
    read(ann, "Leaving")
    eventually(lambda: readers(bob), {"Leaving": 1})
    site.restart()
    come_back(ann, bob)
    eventually(lambda: readers(bob), {"Leaving": 1})
    read(bob, "Moving")
    eventually(lambda: readers(ann), {"Moving": 1})
