"""Guaranteed delivery: what a page has taken arrives once and in order, whatever happens between."""

from __future__ import annotations

import signal
from itertools import count
from typing import Any

from ..browser.conftest import ConsoleLog
from ..conftest import Server
from ..raw_client import RawClient
from .conftest import Site, Visit, come_back, eventually, texts, wait_for_status

PATH = "/api/1/ws/delivery"
SENDER = "a-sender-of-this-test"
_runs = count(1)


def write(page: Any, *entries: str) -> None:
    for text in entries:
        page.get_by_label("New entry").fill(text)
        page.keyboard.press("Enter")


def shown(page: Any, mark: str) -> list[str]:
    """The entries of one test, which have its mark in them, as a page shows them."""
    found = page.evaluate(
        "() => [...document.querySelectorAll('#entries .grows')].map((each) => each.textContent)"
    )
    return [text for text in found if text.startswith(mark)]


def new_mark() -> str:
    return f"run {next(_runs)}: "


def numbered(mark: str, *numbers: int) -> list[str]:
    return [f"{mark}{number}" for number in numbers]


def test_everybody_reads_the_same(visit: Visit) -> None:
    """Entries of several pages at several processes are shown by all in one order, by a newcomer too."""
    mark = new_mark()
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    for number in range(3):
        write(ann, f"{mark}ann {number}")
        write(bob, f"{mark}bob {number}")
    eventually(lambda: len(shown(ann, mark)), 6)
    order = shown(ann, mark)
    assert [text for text in order if "ann" in text] == [f"{mark}ann {number}" for number in range(3)]
    cora = visit(1)
    for page in (bob, cora):
        eventually(lambda page=page: shown(page, mark), order)
    eventually(lambda: texts(ann, "#waiting-count"), [""])


def test_written_offline(visit: Visit) -> None:
    """What is written offline waits in the browser, even when the tab closes, and the next tab sends it."""
    mark = new_mark()
    ann, bob = visit(0), visit(1)
    ann.get_by_role("button", name="Go offline").click()
    wait_for_status(ann, "disconnected")
    write(ann, *numbered(mark, *range(1, 26)))
    assert texts(ann, "#waiting-count") == ["25 not delivered yet"]
    tab = ann.context.new_page()
    ann.close()
    tab.goto(ann.url)
    wait_for_status(tab, "connected")
    write(tab, f"{mark}26")
    eventually(lambda: texts(tab, "#waiting-count"), [""])
    eventually(lambda: sorted(shown(bob, mark)), sorted(numbered(mark, *range(1, 27))))
    # Of one tab in its order.
    assert [text for text in shown(bob, mark) if text != f"{mark}26"] == numbered(mark, *range(1, 26))


def test_killed_servers(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """Through a crash of all servers while entries are on their way, each arrives once and in order."""
    console.allow_failed_requests()
    mark = new_mark()
    ann, bob = visit(0), visit(1)
    write(ann, *numbered(mark, 1, 2, 3))
    for server in site.servers:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
    write(ann, *numbered(mark, 4, 5))
    for server in site.servers:
        Server.start(server)
    come_back(ann, bob)
    for page in (ann, bob):
        eventually(lambda page=page: shown(page, mark), numbered(mark, 1, 2, 3, 4, 5))
    eventually(lambda: texts(ann, "#waiting-count"), [""])


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """Who was away for a restart reads what was written meanwhile, and nothing twice."""
    console.allow_failed_requests()
    mark = new_mark()
    ann, bob = visit(0), visit(1)
    write(ann, *numbered(mark, 1))
    eventually(lambda: shown(bob, mark), numbered(mark, 1))
    bob.get_by_role("button", name="Go offline").click()
    write(ann, *numbered(mark, 2))
    eventually(lambda: shown(ann, mark), numbered(mark, 1, 2))
    site.restart()
    come_back(ann)
    write(ann, *numbered(mark, 3))
    bob.get_by_role("button", name="Connect").click()
    for page in (ann, bob):
        eventually(lambda page=page: shown(page, mark), numbered(mark, 1, 2, 3))


def test_missed_entry(visit: Visit) -> None:
    """A page that was not told of an entry finds out by the next one, and shows both in order."""
    mark = new_mark()
    ann, bob = visit(0), visit(1)
    write(ann, *numbered(mark, 1))
    eventually(lambda: shown(bob, mark), numbered(mark, 1))
    bob.evaluate(
        "() => { window.kept = receive.entries; receive.entries = () => { window.missed = true; }; }"
    )
    write(ann, *numbered(mark, 2))
    eventually(lambda: bob.evaluate("() => window.missed"), True)
    bob.evaluate("() => { receive.entries = window.kept; }")
    write(ann, *numbered(mark, 3))
    eventually(lambda: shown(bob, mark), numbered(mark, 1, 2, 3))


def test_what_cannot_be_kept(visit: Visit) -> None:
    """What the browser or the server could not keep is refused where it is written, and holds nothing up."""
    mark = new_mark()
    ann, bob = visit(0), visit(1)
    refused = ann.evaluate(
        """() => ['', 'x'.repeat(501)].map((text) => {
            try { outbox.add(text); } catch (error) { return error.name; }
        })"""
    )
    assert refused == ["RangeError", "RangeError"]
    ann.evaluate("(mark) => outbox.add(`${mark}half \\ud83d`)", mark)
    ann.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    write(ann, "lost?")
    assert ann.get_by_text("The browser cannot keep this: full").is_visible()
    assert ann.get_by_label("New entry").input_value() == "lost?"
    eventually(lambda: shown(bob, mark), [f"{mark}half \ufffd"])


def test_sent_again(site: Site) -> None:
    """What is sent again, at another process too, is acknowledged and not kept twice."""
    with RawClient(site.servers[0].port, PATH) as one, RawClient(site.servers[1].port, PATH) as other:
        one.send_json({"type": "deliver", "sender": SENDER, "first": 1, "texts": ["a", "b"]})
        assert one.read_data("ack")["last"] == 2
        other.send_json({"type": "deliver", "sender": SENDER, "first": 1, "texts": ["a", "b", "c"]})
        assert other.read_data("ack")["last"] == 3
        one.send_json({"type": "read", "after": None})
        page = one.read_data("page")
        assert [entry["text"] for entry in page["entries"]][-3:] == ["a", "b", "c"]
        assert page["entries"][-1]["seq"] == page["newest"]


def test_wrong_deliveries(site: Site) -> None:
    """What is no delivery is refused and not acknowledged."""
    fine = {"type": "deliver", "sender": SENDER, "first": 1, "texts": ["a"]}
    wrong = [
        {"sender": "short"},
        {"first": 0},
        {"texts": []},
        {"texts": [1]},
        {"texts": ["x" * 501]},
        {"texts": ["x"] * 21},
    ]
    with RawClient(site.servers[0].port, PATH) as client:
        client.read_data("connected")
        for each in wrong:
            client.send_json({**fine, **each})
            assert client.read_json()["code"] == 400
