"""Request and reply: each question gets its own answer, or an error, in its own time."""

from __future__ import annotations

import json
from typing import Any

from ..browser.conftest import ConsoleLog
from ..raw_client import RawClient, client_frame
from .conftest import Site, Visit, come_back, eventually

PATH = "/api/1/ws/request-reply"
#: Asks two questions at once and tells the answers in the order in which they came.
IN_WHICH_ORDER = """async () => {
    // The first question starts a thread.
    await requests.ask('factors', {number: 91}, {timeoutMs: 15000});
    const answers = [];
    const ask = async (...question) => answers.push(await requests.ask(...question, {timeoutMs: 15000}));
    await Promise.all([ask('report', {seconds: 1.5}), ask('factors', {number: 91})]);
    return answers;
}"""


def log(page: Any) -> list[list[str]]:
    """Questions and what became of them, newest first."""
    found = page.evaluate(
        "() => [...document.querySelectorAll('#log > li')].map((row) =>"
        " [row.querySelector('.question').textContent, row.querySelector('.outcome').textContent])"
    )
    assert isinstance(found, list)
    return found


def factorise(page: Any, number: str) -> None:
    page.get_by_label("A number to factorise").fill(number)
    page.keyboard.press("Enter")


def order(page: Any, seconds: str) -> None:
    page.get_by_label("Seconds that a report takes").fill(seconds)
    page.keyboard.press("Enter")


def test_answers_in_their_own_time(visit: Visit) -> None:
    """A quick answer overtakes a slow one that was asked for before it, and each goes to its own question."""
    ann = visit(0)
    assert ann.evaluate(IN_WHICH_ORDER) == [[7, 13], "The report for a guest, after 1.5 s"]


def test_questions_of_two_visitors(visit: Visit) -> None:
    """Each visitor gets the answers to the own questions only, and a question that takes too long fails."""
    ann, bob = visit(0), visit(1, viewport={"width": 400, "height": 800})
    order(ann, "10")
    factorise(ann, "91")
    eventually(lambda: log(ann)[0], ["Factors of 91", "7 × 13"])
    factorise(bob, "600851475143")
    eventually(lambda: log(bob), [["Factors of 600851475143", "71 × 839 × 1471 × 6857"]])
    late = ["Report that takes 10 s", "No answer within 3 s (TIMEOUT)"]
    eventually(lambda: log(ann), [["Factors of 91", "7 × 13"], late])


def test_wrong_questions(visit: Visit) -> None:
    """A question that makes no sense is answered with what is wrong with it."""
    ann = visit(0)
    for number in ("1", "1000000000001", "1.5", "many", ""):
        factorise(ann, number)
        wanted = [f"Factors of {number}", "number: a whole number from 2 to 1000000000000 is needed (400)"]
        eventually(lambda wanted=wanted: log(ann)[0], wanted)
    order(ann, "11")
    eventually(lambda: log(ann)[0][1], "seconds: a number from 0 to 10 is needed (400)")


def test_too_many_at_once(site: Site) -> None:
    """The ninth request of a connection is refused at once, and a free place is given again."""
    with RawClient(site.servers[0].port, PATH) as client:
        client.read_data("connected")
        asked = [{"type": "report", "requestId": str(number), "seconds": 0.5} for number in range(9)]
        # At once: on a busy machine the first may be answered before the ninth is sent.
        client.send(b"".join(client_frame(json.dumps(each).encode()) for each in asked))
        replies = [client.read_data("reply") for _ in range(9)]
        assert (replies[0]["requestId"], replies[0]["code"]) == ("8", 429)
        assert sorted(each["requestId"] for each in replies[1:]) == [str(number) for number in range(8)]
        client.send_json({"type": "nonsense", "requestId": "x"})
        assert client.read_data("reply")["code"] == 404
        client.send_json({"type": "report"})
        assert client.read_json()["code"] == 400


def test_restart(visit: Visit, site: Site, console: ConsoleLog) -> None:
    """A request whose server goes away fails at once and not by its timeout; afterwards one can ask again."""
    console.allow_failed_requests()
    ann = visit(0)
    # Without time no request of the page gets too old.
    ann.clock.install(time=0)
    ann.clock.pause_at(1000)
    order(ann, "10")
    eventually(lambda: log(ann)[0][1], "waiting…")
    site.restart()
    lost = "The connection was lost before the answer came (CONNECTION_LOST)"
    eventually(lambda: log(ann)[0][1], lost)
    ann.clock.resume()
    come_back(ann)
    factorise(ann, "91")
    eventually(lambda: log(ann)[0], ["Factors of 91", "7 × 13"])
    ann.evaluate("() => connection.disconnect()")
    factorise(ann, "91")
    eventually(lambda: log(ann)[0][1], "There is no connection right now (NOT_SENT)")
