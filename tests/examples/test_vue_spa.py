"""The single-page application: views, a router, REST and live votes, under the strict policy."""

from __future__ import annotations

import hashlib
from typing import Any

from ..browser.conftest import ConsoleLog
from ..conftest import ROOT
from ..visitor import Visitor
from .conftest import Site, Visit, come_back, eventually, texts

REST = "/api/1/polls"
VOTER = "a-script-that-votes"


def ask(page: Any, question: str, *choices: str) -> None:
    """Ask by the form, with the keyboard."""
    page.get_by_role("link", name="Ask something").first.press("Enter")
    page.get_by_label("Question").fill(question)
    for _ in choices[2:]:
        page.get_by_role("button", name="One more choice").press("Enter")
    for number, choice in enumerate(choices, 1):
        page.get_by_label(f"Choice {number}").fill(choice)
    page.keyboard.press("Enter")


def votes(page: Any) -> dict[str, str]:
    """The choices of the poll in sight, with how many chose them."""
    rows = texts(page, "#view li")
    found = [row.rpartition(" ")[0].rpartition(" ") for row in rows]
    return {text: number for text, _, number in found}


def test_votes_are_seen_as_they_come(visit: Visit) -> None:
    """A poll that one asks is in everybody's list, and each vote is seen by all who look at it."""
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    ask(ann, "Tea or coffee?", "Tea", "Coffee", "Neither")
    ann.get_by_role("heading", name="Tea or coffee?").wait_for()
    assert votes(ann) == {"Tea": "0", "Coffee": "0", "Neither": "0"}
    bob.get_by_role("link", name="Tea or coffee?").press("Enter")
    bob.get_by_role("radio", name="Coffee").check()
    eventually(lambda: votes(ann), {"Tea": "0", "Coffee": "1", "Neither": "0"})
    ann.get_by_role("radio", name="Coffee").check()
    eventually(lambda: votes(bob), {"Tea": "0", "Coffee": "2", "Neither": "0"})
    # Who votes again has changed their mind.
    ann.get_by_role("radio", name="Tea").check()
    eventually(lambda: votes(bob), {"Tea": "1", "Coffee": "1", "Neither": "0"})
    # The mark is kept when the answer has come, which the others hear of by another way.
    ann.wait_for_function("() => Object.values(JSON.parse(localStorage.getItem('polls.votes'))).includes(0)")
    ann.reload()
    eventually(lambda: votes(ann), {"Tea": "1", "Coffee": "1", "Neither": "0"})
    assert ann.get_by_role("radio", name="Tea").is_checked()


def test_views(visit: Visit) -> None:
    """Views have addresses of their own: links, back and forward, and wrong ones; the connection stays."""
    ann = visit(0)
    ask(ann, "Cats or dogs?", "Cats", "Dogs")
    ann.get_by_role("heading", name="Cats or dogs?").wait_for()
    ann.go_back()
    ann.get_by_role("heading", name="Ask something").wait_for()
    ann.go_back()
    ann.get_by_role("heading", name="All polls").wait_for()
    assert ann.get_by_role("link", name="All polls").get_attribute("aria-current") == "page"
    ann.wait_for_function("document.activeElement.textContent === 'All polls'")
    ann.evaluate("() => { location.hash = '#/poll/999999'; }")
    ann.get_by_text("There is no such poll (any more).").wait_for()
    ann.evaluate("() => { location.hash = '#/%E0%A4%A'; }")
    ann.get_by_role("heading", name="There is nothing here").wait_for()
    assert ann.evaluate("jPulse.ws.getConnections().length") == 1


def test_what_is_refused(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """A poll that is none stays in the form with what is wrong; a vote that is refused is taken back."""
    console.allow_failed_requests()
    ann = visit(0)
    ask(ann, "Only one?", "One")
    eventually(
        lambda: texts(ann, "[role=alert].form-error"), ["A question and at least two choices are needed."]
    )
    assert ann.get_by_label("Question").input_value() == "Only one?"
    ask(ann, "Yes or no?", "Yes", "No")
    ann.get_by_role("heading", name="Yes or no?").wait_for()
    ann.route("**/vote", lambda route: route.abort())
    ann.get_by_role("radio", name="Yes").click()
    ann.get_by_text("Your vote was not counted").wait_for()
    assert not ann.get_by_role("radio", name="Yes").is_checked()
    script = Visitor(site.servers[1].port)
    assert "choices" in script.post(REST, {"question": "Only one?", "choices": ["One"]}).error
    assert script.send("PUT", f"{REST}/999999/vote", {"choice": 0, "voter": VOTER}).status == 404
    assert script.send("PUT", f"{REST}/1/vote", {"choice": 5, "voter": VOTER}).status == 404
    assert script.send("PUT", f"{REST}/1/vote", {"choice": 2**70, "voter": VOTER}).status == 400


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """After a restart the polls are there, and what was voted while the page was away."""
    console.allow_failed_requests()
    ann, bob = visit(0), visit(1)
    ask(ann, "Sea or hills?", "Sea", "Hills")
    ann.get_by_role("heading", name="Sea or hills?").wait_for()
    poll = ann.evaluate("location.hash").rpartition("/")[2]
    bob.get_by_role("link", name="Sea or hills?").click()
    site.restart()
    script = Visitor(site.servers[1].port)
    assert script.send("PUT", f"{REST}/{poll}/vote", {"choice": 1, "voter": VOTER}).status == 200
    come_back(ann, bob)
    for page in (ann, bob):
        eventually(lambda page=page: votes(page), {"Sea": "0", "Hills": "1"})


def test_vue_is_the_one_that_it_says(site: Site) -> None:
    """The vendored Vue is the runtime build of the version that stands beside it, and is served."""
    folder = ROOT / "examples" / "vue_spa" / "vue"
    build = (folder / "vue.runtime.global.prod.js").read_bytes()
    assert b"* vue v3.5.45\n" in build[:200]
    assert "# Vue 3.5.45\n" in (folder / "README.md").read_text(encoding="utf-8")
    assert "MIT" in (folder / "LICENSE").read_text(encoding="utf-8")
    served = Visitor(site.servers[0].port).get("/vue-spa/vue/vue.runtime.global.prod.js")
    assert hashlib.sha256(served.body).digest() == hashlib.sha256(build).digest()
