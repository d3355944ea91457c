"""Presence: who is online, who is away, who is typing."""

from __future__ import annotations

import sqlite3
from typing import Any

from ..browser.conftest import ConsoleLog
from ..raw_client import RawClient
from ..visitor import data_dir
from .conftest import Site, Visit, come_back, eventually, texts

PATH = "/api/1/ws/presence"


def people(page: Any) -> dict[str, str]:
    """Who a page shows as here, with their state; the page's own person is "you"."""
    rows = page.evaluate(
        "() => [...document.querySelectorAll('#people > li')].map((row) =>"
        " [row.children[1].textContent, row.dataset.state])"
    )
    return {"you" if name.endswith("(you)") else name: state for name, state in rows}


def call_oneself(page: Any, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")


def test_people(visit: Visit) -> None:
    """Everybody sees who comes, what they call themselves, who is away and who goes."""
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    call_oneself(ann, "Ann")
    call_oneself(bob, "Bob")
    eventually(lambda: people(ann), {"you": "online", "Bob (guest)": "online"})
    eventually(lambda: people(bob), {"you": "online", "Ann (guest)": "online"})
    bob.get_by_label("I am away").check()
    eventually(lambda: people(ann), {"you": "online", "Bob (guest)": "away"})
    cora = visit(0)
    eventually(lambda: people(cora), {"you": "online", "Ann (guest)": "online", "Bob (guest)": "away"})
    ann.close()
    eventually(lambda: people(cora), {"you": "online", "Bob (guest)": "away"})
    assert texts(cora, "#count") == ["2 here"]


def test_typing(visit: Visit) -> None:
    """Who types is shown as typing to the others, until the message comes or the sign fades."""
    ann, bob = visit(0), visit(1)
    call_oneself(ann, "Ann")
    ann.get_by_label("Message").press_sequentially("Hel")
    eventually(lambda: texts(bob, "#typing"), ["Ann (guest) is typing…"])
    assert texts(ann, "#typing") == [""]
    ann.get_by_label("Message").press_sequentially("lo\n")
    eventually(lambda: (texts(bob, "#said > li"), texts(bob, "#typing")), (["Ann (guest) Hello"], [""]))
    ann.get_by_label("Message").press_sequentially("x")
    eventually(lambda: texts(bob, "#typing"), ["Ann (guest) is typing…"])
    eventually(lambda: texts(bob, "#typing"), [""])


def test_tabs_of_one_person(visit: Visit) -> None:
    """Tabs at different processes, and devices of a user, are one person: here and online while one is."""
    bob, guest, laptop = visit(0), visit(0), visit(1, name="admin")
    call_oneself(bob, "Bob")
    call_oneself(guest, "Guest")
    tab, phone = visit(1, after=guest), visit(0, name="admin")
    both = {"you": "online", "Guest (guest)": "online", "admin": "online"}
    eventually(lambda: people(bob), both)
    tab.get_by_label("I am away").check()
    phone.get_by_label("I am away").check()
    eventually(lambda: people(phone)["you"], "online")
    laptop.close()
    eventually(lambda: people(bob), {**both, "admin": "away"})
    guest.close()
    eventually(lambda: people(bob), {**both, "admin": "away", "Guest (guest)": "away"})
    tab.close()
    phone.close()
    eventually(lambda: people(bob), {"you": "online"})


def test_killed_process(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """Who was at a process that died without a word is gone when its lease is over."""
    console.allow_failed_requests()
    ann, bob = visit(0), visit(1)
    eventually(lambda: len(people(ann)), 2)
    site.servers[1].process.kill()
    site.servers[1].process.wait(10)
    bob.close()
    with sqlite3.connect(data_dir(site.servers[0]) / "presence.db") as db:
        db.execute("UPDATE tab SET seen = seen - 15")
    eventually(lambda: people(ann), {"you": "online"})
    site.servers[1].start()


def test_trouble_with_the_disk(site: Site) -> None:
    """Who comes while it cannot be written down who is here is asked to come back later."""
    server = site.servers[0]
    server.expected_log += (r" WARNING examples\.presence: ", r" ERROR .*a handler failed", "Traceback")
    with sqlite3.connect(data_dir(server) / "presence.db") as db:
        db.execute("ALTER TABLE tab RENAME TO away")
        db.commit()
        with RawClient(server.port, PATH) as client:
            assert client.read_close()[0] == 1013
        db.execute("ALTER TABLE away RENAME TO tab")
    with RawClient(server.port, PATH) as client:
        assert len(client.read_data("everybody")["people"]) == 1


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """After a restart everybody is here again under their names, and nobody twice."""
    console.allow_failed_requests()
    ann, bob = visit(0), visit(1)
    call_oneself(ann, "Ann")
    call_oneself(bob, "Bob")
    bob.get_by_label("I am away").check()
    eventually(lambda: people(ann), {"you": "online", "Bob (guest)": "away"})
    site.restart()
    come_back(ann, bob)
    eventually(lambda: people(ann), {"you": "online", "Bob (guest)": "away"})
    eventually(lambda: people(bob), {"you": "away", "Ann (guest)": "online"})
