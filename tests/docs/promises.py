"""What the text around the code promises, page by page, asked of the server that the page has started."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from ..conftest import ROOT, wait_until
from ..raw_client import RawClient
from ..visitor import Visitor
from .story import Story

Check = Callable[[Story, Any], None]

#: By page, and by the application that has just been started; "" is the page's end.
PROMISES: dict[tuple[str, str], Check] = {}


def promise(page: str, app: str = "") -> Callable[[Check], Check]:
    """Have a function called when the page has started an application, or after its last block."""

    def keep(check: Check) -> Check:
        PROMISES[page, app] = check
        return check

    return keep


@promise("docs/guides/namespaces.md", "votes")
def votes(story: Story, _context: Any) -> None:
    """The poll counts, refuses what is no choice, and forgets who has gone."""
    with RawClient(story.port, "/api/1/ws/votes") as ann:
        with RawClient(story.port, "/api/1/ws/votes") as bob:
            bob.send_json({"type": "vote", "choice": "tea"})
            while ann.read_data("tally")["votes"] != {"tea": 1}:
                pass
            bob.send_json({"type": "vote", "choice": "gin"})
            refused = bob.read_json()
            while refused["success"]:
                refused = bob.read_json()
            assert (refused["code"], "tea, coffee" in refused["error"]) == (422, True)
        assert ann.read_data("tally")["votes"] == {}


@promise("docs/guides/namespaces.md", "echo")
def echo(story: Story, _context: Any) -> None:
    """The chained namespace answers its sender."""
    with RawClient(story.port, "/api/1/ws/echo") as ann:
        ann.send_json({"type": "say", "text": "hello"})
        assert ann.read_data("say")["text"] == "hello"


@promise("docs/guides/namespaces.md", "slow")
def slow(story: Story, _context: Any) -> None:
    """A slow handler keeps its own client waiting, in order, and nobody else."""
    with (
        RawClient(story.port, "/api/1/ws/slow") as ann,
        RawClient(story.port, "/api/1/ws/slow") as bob,
    ):
        ann.send_json({"seconds": 0.2, "number": 1})
        ann.send_json({"seconds": 0, "number": 2})
        bob.send_json({"seconds": 0, "number": 3})
        assert bob.read_data("done")["number"] == 3
        assert [ann.read_data("done")["number"] for _ in range(2)] == [1, 2]


@promise("docs/guides/client.md")
def client(story: Story, context: Any) -> None:
    """The page shows ticks and its status, also after the server was away."""
    page = context.new_page()
    page.goto(f"{story.url}/watch/")
    expect(page.locator("#tick")).to_have_text(re.compile(r"\d+"))
    expect(page.locator("#status")).to_have_text("connected")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    story.stop()
    expect(page.locator("#status")).to_have_text(re.compile("^reconnecting"))


@promise("docs/guides/sign-in.md")
def sign_in(story: Story, context: Any) -> None:
    """Guests and users without the role stay outside, and notes reach their user alone."""
    guest, ann, admin = Visitor(story.port), Visitor(story.port), Visitor(story.port)
    ann.sign_in("ann", "another one")
    admin.sign_in("admin", "correct horse")
    for path, status in (("/api/1/ws/desk", 401), ("/api/1/ws/alarms", 401)):
        assert guest.get(path).status == status
    story.run("jpulse user roles ann --roles user")
    wait_until(lambda: ann.get("/api/1/ws/alarms").status == 403, what="ann's role to be gone")
    with ann.connect("/api/1/ws/desk") as to_ann, admin.connect("/api/1/ws/desk") as to_admin:
        to_admin.send_json({"type": "note", "to": "Ann", "text": "hello"})
        assert to_ann.read_data("note")["sender"] == "admin"
        story.run("jpulse user disable ann")
        assert to_ann.read_close()[0] == 4401
    assert ann.get("/desk").headers["location"] == "/auth/login?next=/desk"
    assert admin.get("/desk").status == 200
    page = context.new_page()
    page.goto(f"{story.url}/desk")
    page.get_by_label("Name").wait_for()


def wait_for_connection(page: Any) -> None:
    """Wait until the page's only connection is one."""
    page.wait_for_function("() => jPulse.ws.getConnections()[0].isConnected()")


#: Lets what an edit causes arrive late, as over a line of 300 ms; typing must take longer than that.
SLOW_LINE = """
const Real = WebSocket;
window.WebSocket = class extends Real {
    set onmessage(listener) {
        super.onmessage = listener && ((event) => setTimeout(() => listener(event), 300));
    }
};
"""


@promise("docs/guides/pattern-b.md")
def pattern_b(story: Story, context: Any) -> None:
    """Over a slow line the trap loses letters; the way out loses none, and both windows end up the same."""
    context.add_init_script(SLOW_LINE)
    trap = context.new_page()
    trap.goto(f"{story.url}/pad/trap.html")
    wait_for_connection(trap)
    text = "abcdefghijkl"
    trap.get_by_label("Shared text").press_sequentially(text, delay=80)
    trap.wait_for_timeout(700)
    assert trap.get_by_label("Shared text").input_value() != text
    trap.close()

    one, other = context.new_page(), context.new_page()
    for page in (one, other):
        page.goto(f"{story.url}/pad/")
        wait_for_connection(page)
    pad = one.get_by_label("Shared text")
    pad.fill("")
    pad.press_sequentially(text, delay=80)
    assert pad.input_value() == text
    expect(other.get_by_label("Shared text")).to_have_value(text)
    other.get_by_label("Shared text").fill("from the other side")
    expect(pad).to_have_value("from the other side")
    pad.fill("x" * 2001)
    one.get_by_text("at most 2000 characters").wait_for()
    assert pad.input_value() == "x" * 2001


@promise("docs/guides/processes.md")
def processes(story: Story, _context: Any) -> None:
    """What one says is heard by all, in whichever process they are."""
    clients = [RawClient(story.port, "/api/1/ws/room") for _ in range(8)]
    for each in clients:
        each.read_data("connected")
    clients[0].send_json({"type": "say", "text": "hello"})
    assert [each.read_data("said")["text"] for each in clients] == ["hello"] * 8
    wait_until(lambda: Visitor(story.port).get("/metrics").text.count("jpulse_uptime_seconds{") == 2)
    for each in clients:
        each.socket.close()


@promise("README.md", "chat")
def chat(story: Story, context: Any) -> None:
    """Two windows of the 15-line chat hear each other."""
    ann, bob = context.new_page(), context.new_page()
    for page in (ann, bob):
        page.goto(f"{story.url}/chat.html")
        wait_for_connection(page)
    ann.get_by_label("Message").fill("hello")
    ann.get_by_label("Message").press("Enter")
    expect(bob.get_by_role("listitem")).to_have_text("hello")
    expect(ann.get_by_label("Message")).to_have_value("")


@promise("docs/reference/wire.md", "chat")
def wire(story: Story, _context: Any) -> None:
    """The frames of the page are what a server sends, but for ids."""
    shown = {name: json.loads((story.folder / name).read_text(encoding="utf-8")) for name in FRAMES}
    with RawClient(story.port, "/api/1/ws/chat") as client:
        connected = client.read_json()
        shown["connected.json"]["data"]["clientId"] = connected["data"]["clientId"]
        assert connected == shown["connected.json"]
        for sent, answer in (("say.json", "said.json"), ("ping.json", "pong.json")):
            client.send_json(shown[sent])
            assert client.read_json() == shown[answer]
        client.send_json(["no", "object"])
        assert client.read_json() == shown["refused.json"]


FRAMES = (
    *("connected.json", "say.json", "said.json"),
    *("ping.json", "pong.json", "refused.json"),
)


#: What the page says a server says, and the command that makes it say so.
COMPLAINTS = {
    "port 8080 is in use on 127.0.0.1": "jpulse --data-dir other",
    "app: there is no module chat": "jpulse --port 0 --app chat",
    "app: the module chat has no function setup(app)": "touch chat.py; jpulse --port 0 --app chat",
    "there is no such setting": "JPULSE_PRT=1 jpulse user list",
}


@promise("docs/guides/troubleshooting.md")
def troubleshooting(story: Story, _context: Any) -> None:
    """A server that does not start says what the table has."""
    page = (ROOT / "docs/guides/troubleshooting.md").read_text(encoding="utf-8")
    for complaint, command in COMPLAINTS.items():
        assert f"`{complaint}`" in page
        done = subprocess.run(
            ["bash", "-c", command], cwd=story.folder, env=story.environ, capture_output=True, text=True
        )
        assert complaint.replace("8080", str(story.port)) in done.stderr, done.stderr
