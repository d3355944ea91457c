"""The admin pages over HTTP, and what keeps them up to date: who gets in, what they see and do."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from handlers import admin, admin_text

from ..conftest import ADMIN_PASSWORD, Server, wait_until
from ..raw_client import RawClient
from ..visitor import Visitor, manage

STATS = "/admin/websocket-stats.shtml"
API = "/api/1/websocket/stats"
WS = "/api/1/ws/admin-stats"
ECHO = "/api/1/ws/echo"
MEMBERS = "/api/1/ws/members"
UNLIMITED = "/api/1/ws/unlimited"
PAGES = [STATS, "/admin/websocket-stats", f"/admin/websocket-namespace?path={ECHO}"]
ACTIONS = {
    "/admin/send": {"path": ECHO, "message": '{"type": "notice"}'},
    "/admin/close": {"path": ECHO, "connection": "0-1", "code": "1012"},
    "/admin/sign-out": {"path": ECHO, "username": "nobody"},
    "/admin/drain": {"instance": "0" * 16},
}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    server = serve_module(app="tests.apps.admin_data")
    manage(server, "add", "ann")
    manage(server, "add", "ruth", "--roles", "root")
    return server


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


def signed_in(server: Server, name: str) -> Visitor:
    """Somebody who is signed in."""
    visitor = Visitor(server.port)
    visitor.sign_in(name, ADMIN_PASSWORD)
    return visitor


@pytest.fixture(scope="module")
def admins_jar(shared: Server) -> dict[str, str]:
    """Cookies of a session that tests share and do not end."""
    return signed_in(shared, "admin").jar


@pytest.fixture
def boss(server: Server, admins_jar: dict[str, str]) -> Visitor:
    """Somebody who is signed in as admin."""
    visitor = Visitor(server.port)
    visitor.jar = dict(admins_jar)
    return visitor


def connections_of(boss: Visitor, path: str, search: str = "") -> list[str]:
    """The ids of a namespace's connections, as the page offers to close them."""
    page = boss.get(f"/admin/websocket-namespace?{urlencode({'path': path, 'search': search})}").text
    return re.findall(r'data-connection="([^"]+)"', page)


def details(client: RawClient) -> dict[str, Any]:
    """The first thing that a viewer is told."""
    return dict(client.read_data("stats")["stats"])


# Who gets in


@pytest.mark.parametrize("path", PAGES)
def test_guests_sign_in_and_come_back(server: Server, path: str) -> None:
    """A guest is sent to sign in, and comes back to the page after it."""
    guest = Visitor(server.port)
    answer = guest.get(path)
    assert answer.status == 302
    assert answer.headers["location"] == f"/auth/login?next={quote(path, safe='')}"
    form = guest.get(answer.headers["location"]).text
    assert f'name="next" value="{path}"' in unescape(form)
    fields = {"username": "admin", "password": ADMIN_PASSWORD, "next": path}
    assert guest.submit("/auth/login", fields).headers["location"] == path
    assert guest.get(path).status == 200


def test_other_roles_are_refused(server: Server) -> None:
    """Who is signed in without the role gets 403: pages, actions, REST and the WebSocket."""
    ann = signed_in(server, "ann")
    for path in PAGES:
        answer = ann.get(path)
        assert (answer.status, "administrators" in answer.text) == (403, True)
        assert "another account" in answer.text
        assert "try again" not in answer.text
    for path, fields in ACTIONS.items():
        assert ann.submit(path, fields).status == 403
    assert (ann.get(API).status, bool(ann.get(API).error)) == (403, True)
    assert ann.get(WS).status == 403


def test_guests_are_refused(server: Server) -> None:
    """Without a session actions, REST and the WebSocket answer 401."""
    guest = Visitor(server.port)
    for path, fields in ACTIONS.items():
        assert guest.submit(path, fields).status == 401
    assert (guest.get(API).status, bool(guest.get(API).error)) == (401, True)
    assert guest.get(WS).status == 401


def test_root_has_every_role(server: Server) -> None:
    """The role root is enough."""
    root = signed_in(server, "ruth")
    assert [root.get(path).status for path in [*PAGES, API]] == [200] * 4
    root.connect(WS).socket.close()


def test_actions_take_a_post(boss: Visitor) -> None:
    """No link and no image does anything."""
    for path in ACTIONS:
        answer = boss.get(path)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_actions_from_elsewhere(boss: Visitor) -> None:
    """What comes from another site's page, or from nowhere without a token, is refused."""
    for path, fields in ACTIONS.items():
        assert boss.submit(path, fields, {"Origin": "https://evil.example"}).status == 403
        assert boss.submit(path, fields, {}).status == 403


def test_action_with_a_token(boss: Visitor) -> None:
    """A form of the page itself carries a token that is enough."""
    found = re.search(r'name="_xsrf" value="([^"]+)"', boss.get(STATS).text)
    assert found
    answer = boss.submit("/admin/send", {**ACTIONS["/admin/send"], "_xsrf": found[1]}, {})
    assert answer.status == 303


# What they see


def test_rest(boss: Visitor) -> None:
    """REST tells exactly what the contract lists."""
    with boss.connect(ECHO) as client:
        client.send_json({"type": "hello"})
        client.read_data("echo")
        data = boss.get(API).data
    assert set(data) == {"uptime", "totalMessages", "namespaces", "activityLog"}
    assert set(data["namespaces"][0]) == {
        *("path", "status", "clientCount", "activeUsers"),
        *("messagesPerHour", "totalMessages", "lastActivity"),
    }
    assert set(data["activityLog"][0]) == {
        *("timestamp", "namespace", "direction", "username", "type", "message")
    }


def test_page_without_script(boss: Visitor) -> None:
    """The page has its figures, namespaces, log and processes before any script has run."""
    with boss.connect(ECHO) as client:
        client.send_json({"type": "greeting", "text": "hello there"})
        client.read_data("echo")
        page = boss.get(STATS).text
    assert re.search(r'data-key="/api/1/ws/echo".*?data-status="green">Active', page, re.DOTALL)
    assert "hello there" in page
    assert re.search(r'data-figure="uptime">\d+ (s|min)', page)
    assert re.search(r"pid <span[^>]*>\d+</span>", page)
    assert WS not in page


def test_pages_have_nothing_inline(boss: Visitor) -> None:
    """Scripts and styles are files, so that the Content-Security-Policy needs no exception."""
    for path in PAGES:
        answer = boss.get(path)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text)


def test_texts_of_clients_are_texts(boss: Visitor) -> None:
    """Markup in a type, a text or an address is shown as it was written."""
    with boss.connect(ECHO) as client:
        client.send_json({"type": HOSTILE, "text": HOSTILE})
        client.read_data("echo")
        for path in (STATS, f"{PAGES[2]}&search={quote(HOSTILE)}&done={quote(HOSTILE)}"):
            page = boss.get(path).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            assert "&lt;img src=x" in page


@pytest.mark.parametrize("path", ["", "/api/1/ws/none", "/api/1/ws/echo/", HOSTILE, WS])
def test_page_of_no_namespace(boss: Visitor, path: str) -> None:
    """A namespace that does not exist, or is not to be seen, has no page."""
    assert boss.get(f"/admin/websocket-namespace?{urlencode({'path': path})}").status == 404


def test_connections(boss: Visitor) -> None:
    """A namespace's page has each connection with its user and address, and finds them by both."""
    with boss.connect(ECHO), RawClient(boss.port, ECHO):
        page = boss.get(PAGES[2]).text
        assert len(connections_of(boss, ECHO)) == 2
        assert page.count('"row"><bdi>admin</bdi>') == 1
        assert page.count('"row"><bdi>guest</bdi>') == 1
        assert "127.0.0.1" in page
        assert len(connections_of(boss, ECHO, "ADM")) == 1
        assert len(connections_of(boss, ECHO, " 127.0.0 ")) == 2
        assert connections_of(boss, ECHO, "nobody") == []


# What they do


def act(boss: Visitor, path: str, fields: dict[str, str], done: str) -> None:
    """Do something, which must work and lead back to a page that says so."""
    answer = boss.submit(path, fields)
    assert answer.status == 303, answer.text
    assert answer.headers["location"].endswith(f"done={done}")
    assert admin.DONE[done] in unescape(boss.get(answer.headers["location"]).text)


def test_send_to_all(server: Server, boss: Visitor) -> None:
    """A message reaches every client of the namespace, and the log says who sent it, but not what."""
    with RawClient(server.port, ECHO) as one, RawClient(server.port, ECHO) as two:
        fields = {"path": ECHO, "message": '{"type": "notice", "text": "Zoë\\nsecret words"}'}
        act(boss, "/admin/send", fields, "sent")
        assert one.read_data("notice")["text"] == two.read_data("notice")["text"] == "Zoë\nsecret words"
    server.wait_for_log(f"admin sent a message to all clients of {ECHO}")
    assert "secret words" not in server.log


def test_send_to_one(server: Server, boss: Visitor) -> None:
    """A message for one client reaches that one."""
    name = str(uuid.uuid4())
    with RawClient(server.port, f"{ECHO}?uuid={name}") as one, RawClient(server.port, ECHO) as other:
        act(boss, "/admin/send", {"path": ECHO, "client": name, "message": '{"type": "notice"}'}, "sent")
        one.read_data("notice")
        other.send_json({"type": "hello"})
        assert other.read_json()["data"]["type"] == "connected"
        assert other.read_json()["data"]["type"] == "echo"


@pytest.mark.parametrize("message", ["", " ", "hello", "[]", "1", "null", '{"a": NaN}', "{", "[" * 5000])
def test_messages_that_are_none(boss: Visitor, message: str) -> None:
    """What is no JSON object is refused, and told."""
    answer = boss.submit("/admin/send", {"path": ECHO, "message": message})
    assert (answer.status, "message" in answer.text) == (400, True)


def test_message_that_is_too_large(boss: Visitor) -> None:
    """A message has a limit."""
    message = json.dumps({"text": "x" * admin.MAX_MESSAGE_BYTES})
    assert boss.submit("/admin/send", {"path": ECHO, "message": message}).status == 400


def test_send_to_nobody(boss: Visitor) -> None:
    """A client or a namespace that is not there gets 404."""
    for fields in ({"path": ECHO, "client": str(uuid.uuid4())}, {"path": "/api/1/ws/none"}):
        assert boss.submit("/admin/send", {**fields, "message": "{}"}).status == 404


@pytest.mark.parametrize("code", [1000, 1012, 4401])
def test_close(server: Server, boss: Visitor, code: int) -> None:
    """One connection is closed with the code that was chosen, and the others stay."""
    with RawClient(server.port, ECHO) as one, boss.connect(ECHO) as other:
        [connection] = set(connections_of(boss, ECHO)) - set(connections_of(boss, ECHO, "admin"))
        fields = {"path": ECHO, "connection": connection, "code": str(code)}
        act(boss, "/admin/close", fields, "closed")
        assert one.read_close()[0] == code
        other.send_json({"type": "hello"})
        other.read_data("echo")
    server.wait_for_log(f"admin closed connection {connection} of {ECHO} with {code}")


@pytest.mark.parametrize(
    "wrong", [{"code": "1006"}, {"code": "x"}, {"code": ""}, {"code": "99999"}, {"connection": ""}]
)
def test_close_wrongly(boss: Visitor, wrong: dict[str, str]) -> None:
    """A code that is none of those that are offered, or no connection, gets 400 that names the field."""
    answer = boss.submit("/admin/close", {**ACTIONS["/admin/close"], **wrong})
    assert (answer.status, next(iter(wrong)) in answer.text) == (400, True)


@pytest.mark.parametrize("connection", ["0000000000000000-1", "x", "-1", "1", "../..", HOSTILE])
def test_close_what_is_not_there(boss: Visitor, connection: str) -> None:
    """A connection whose process is not there gets 404."""
    assert boss.submit("/admin/close", {"path": ECHO, "connection": connection, "code": "1012"}).status == 404


def test_sign_out(server: Server, boss: Visitor) -> None:
    """A user is signed out everywhere: sessions end, sockets are closed with 4401."""
    here, there = signed_in(server, "ann"), signed_in(server, "ann")
    with here.connect(MEMBERS) as one, there.connect(MEMBERS) as two:
        act(boss, "/admin/sign-out", {"path": MEMBERS, "username": "ann"}, "signed-out")
        assert (one.read_close()[0], two.read_close()[0]) == (4401, 4401)
    assert (here.user, there.user) == (None, None)
    server.wait_for_log("admin signed ann out everywhere")


def test_drain(serve: Callable[..., Server]) -> None:
    """A process that is drained closes its connections with 1012 and ends; another one is not found."""
    server = serve("--drain-seconds", "2", app="tests.apps.admin_data")
    server.expected_log = ("an administrator lets this process drain",)
    boss = signed_in(server, "admin")
    assert boss.submit("/admin/drain", ACTIONS["/admin/drain"]).status == 404
    found = re.search(r'data-instance="([0-9a-f]{16})"', boss.get(STATS).text)
    assert found
    with RawClient(server.port, ECHO) as client:
        answer = boss.submit("/admin/drain", {"instance": found[1]})
        assert (answer.status, answer.headers["location"]) == (303, f"{STATS}?done=drained")
        assert client.read_close()[0] == 1012
    assert server.wait() == 0
    server.wait_for_log(f"admin drained process {found[1]}")


def test_fields_that_are_missing(boss: Visitor) -> None:
    """A form without its fields gets 400 that names the first."""
    for path, fields in ACTIONS.items():
        answer = boss.submit(path, {})
        assert answer.status == 400
        assert any(name in answer.text for name in fields)


def test_log_line_of_an_action(server: Server, boss: Visitor) -> None:
    """What an administrator's form holds cannot begin a line of the log, nor be taken for a format."""
    with RawClient(server.port, ECHO) as client:
        [connection] = connections_of(boss, ECHO)
        fields = {"path": "%s\n2026-11-23 forged", "connection": connection, "code": "1012"}
        assert boss.submit("/admin/close", fields).status == 303
        assert client.read_close()[0] == 1012
    server.wait_for_log(r"admin closed connection \S+ of %s.*forged with 1012")
    assert not re.search(r"^2026-11-23 forged", server.log, re.MULTILINE)


# Live


def test_live(boss: Visitor) -> None:
    """A viewer is told everything first, then every second what has changed."""
    with boss.connect(WS) as viewer, boss.connect(ECHO) as client:
        first = details(viewer)
        known = {each["path"]: each for each in first["namespaces"]}
        assert WS not in known
        client.send_json({"type": "news", "text": "live"})
        client.read_data("echo")
        update = viewer.read_data("update")["stats"]
        while update["totalMessages"] < first["totalMessages"] + 2:
            update = viewer.read_data("update")["stats"]
        [echo] = [each for each in update["namespaces"] if each["path"] == ECHO]
        assert echo["totalMessages"] == known[ECHO]["totalMessages"] + 2
        assert "paths" not in update
        assert len(update["namespaces"]) < len(known)
        assert [entry["type"] for entry in update["activityLog"]] == ["echo", "news"]


def test_live_counts_nothing(boss: Visitor) -> None:
    """The page's own traffic is in no figure and in no log."""
    with boss.connect(WS) as one, boss.connect(WS) as two:
        first = details(one)
        two.send_json({"type": "hello"})
        for _ in range(3):
            last = two.read_data("update")["stats"]
    assert last["totalMessages"] == first["totalMessages"]
    assert last["activityLog"] == []
    assert [each["path"] for each in last["namespaces"] if each["path"] == WS] == []


def test_live_tells_only(boss: Visitor) -> None:
    """A viewer who says something is told that nobody listens."""
    with boss.connect(WS) as viewer:
        viewer.send_json({"type": "hello"})
        envelope = viewer.read_json()
        while envelope["success"]:
            envelope = viewer.read_json()
        assert envelope["code"] == 400


def test_one_timer_for_all_viewers(boss: Visitor) -> None:
    """However many look, all are told the same at the same time, and no more often."""
    viewers = [boss.connect(WS) for _ in range(5)]
    try:
        for viewer in viewers:
            details(viewer)
        rounds = [[viewer.read_data("update")["stats"]["uptime"] for viewer in viewers] for _ in range(3)]
        assert all(len(set(each)) == 1 for each in rounds)
        # The first or the last may have come late.
        assert rounds[-1][0] - rounds[0][0] > admin.UPDATE_SECONDS
    finally:
        for viewer in viewers:
            viewer.socket.close()


def test_viewers_who_come_and_go(boss: Visitor) -> None:
    """When the last viewer has gone the next one is told everything again."""
    for _ in range(3):
        with boss.connect(WS) as viewer:
            assert details(viewer)["namespaces"]
            viewer.read_data("update")


# Differences


def figures(path: str, total: int = 0, series: list[int] | None = None) -> dict[str, Any]:
    """What is told of one namespace, as far as differences look at it."""
    return {"path": path, "totalMessages": total, "series": series or []}


def whole(*namespaces: dict[str, Any], log: str = "", end: int = 100) -> dict[str, Any]:
    """What is told of everything, with entries of these letters in the log."""
    return {
        "namespaces": list(namespaces),
        "activityLog": [{"timestamp": "t", "type": letter} for letter in log],
        "seriesEnd": end,
        "uptime": 1.0,
    }


def types(update: dict[str, Any]) -> str:
    """The letters of the entries."""
    return "".join(entry["type"] for entry in update["activityLog"])


def test_difference() -> None:
    """An update has the namespaces that changed and the new entries, and every figure of the whole."""
    old = whole(figures("a"), figures("b", 1), log="cba")
    update = admin.difference(old, whole(figures("a"), figures("b", 2), log="edcb"))
    assert [each["path"] for each in update["namespaces"]] == ["b"]
    assert (types(update), update["activitySkipped"], update["uptime"]) == ("ed", 0, 1.0)
    assert "paths" not in update


def test_difference_of_entries_that_come_late() -> None:
    """What another process tells late is new wherever it stands, and equal entries count one by one."""
    assert types(admin.difference(whole(log="cba"), whole(log="cxba"))) == "x"
    assert types(admin.difference(whole(log="aa"), whole(log="aaaa"))) == "aa"
    assert types(admin.difference(whole(log="aa"), whole(log="a"))) == ""


def test_difference_of_a_flood() -> None:
    """Of very many new entries the newest are told, and how many are not."""
    update = admin.difference(whole(), whole(log="n" * (admin.MAX_NEWS + 7)))
    assert (len(update["activityLog"]), update["activitySkipped"]) == (admin.MAX_NEWS, 7)


def test_difference_of_paths() -> None:
    """When namespaces come or go, an update lists all that there are, and tells new ones in whole."""
    old = whole(figures("a"), figures("b"))
    update = admin.difference(old, whole(figures("a"), figures("c", 3)))
    assert update["paths"] == ["a", "c"]
    assert [each["path"] for each in update["namespaces"]] == ["c"]


def test_difference_of_series() -> None:
    """An update has as much of a series as has passed since the last one, and some that may have changed."""
    old, series = whole(figures("a", 1, [1] * 300)), list(range(300))
    for passed in (0, 1, 20, 1000):
        update = admin.difference(old, whole(figures("a", 2, series), end=100 + passed))
        [told] = update["namespaces"]
        assert told["series"] == series[-min(300, admin.REPEATED_SECONDS + passed) :]


# How figures are written


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (admin_text.number, 0, "0"),
        (admin_text.number, 12345, "12,345"),
        (admin_text.number, 1.25, "1.2"),
        (admin_text.number, 123.4, "123"),
        (admin_text.number, None, "–"),
        (admin_text.duration, 0.4, "0 s"),
        (admin_text.duration, 59, "59 s"),
        (admin_text.duration, 60, "1 min"),
        (admin_text.duration, 7265, "2 h 1 min"),
        (admin_text.duration, 3605, "1 h"),
        (admin_text.duration, 90061, "1 d 1 h"),
        (admin_text.ago, -5, "now"),
        (admin_text.ago, 0.9, "now"),
        (admin_text.ago, 1, "1 s ago"),
        (admin_text.ago, 59.9, "59 s ago"),
        (admin_text.ago, 60, "1 min ago"),
        (admin_text.ago, 86399, "23 h ago"),
        (admin_text.ago, 86400, "1 d ago"),
        (admin_text.size, 0, "0 bytes"),
        (admin_text.size, 1023, "1,023 bytes"),
        (admin_text.size, 1536, "1.5 KiB"),
        (admin_text.size, 150 * 1024 * 1024, "150 MiB"),
        (admin_text.size, 5000 * 1024**3, "5,000 GiB"),
        (admin_text.sent_text, {"bytesOut": 2048, "bytesSaved": 0}, "2.0 KiB"),
        (admin_text.sent_text, {"bytesOut": 2048, "bytesSaved": 6144}, "2.0 KiB, 75 % less by compression"),
        (admin_text.seconds, None, "–"),
        (admin_text.seconds, 0.00042, "0.4 ms"),
        (admin_text.seconds, 0.012, "12 ms"),
        (admin_text.seconds, 2.5, "2.5 s"),
    ],
)
def test_written_figures(write: Callable[[Any], str], value: Any, text: str) -> None:
    """Figures are written as people read them."""
    assert write(value) == text


# Several processes


def test_over_two_processes(serve: Callable[..., Server]) -> None:
    """Figures after a burst are the truth whichever process answers, and what is done reaches both."""
    server = serve("--processes", "2", app="tests.apps.admin_data")
    boss = signed_in(server, "admin")
    clients = [RawClient(server.port, UNLIMITED) for _ in range(12)]
    try:
        for client in clients:
            for _ in range(50):
                client.send_json({"type": "burst"})
        for client in clients:
            for _ in range(50):
                client.read_data("echo")

        def total() -> int:
            return {each["path"]: each for each in boss.get(API).data["namespaces"]}[UNLIMITED][
                "totalMessages"
            ]

        wait_until(lambda: all(total() == 12 * 50 * 2 for _ in range(8)), 10, "the truth in both processes")
        connections = connections_of(boss, UNLIMITED)
        assert len(connections) == 12
        instances = {connection.partition("-")[0] for connection in connections}
        assert len(instances) == 2
        act(boss, "/admin/send", {"path": UNLIMITED, "message": '{"type": "notice"}'}, "sent")
        for client in clients:
            client.read_data("notice")
        for connection in connections:
            fields = {"path": UNLIMITED, "connection": connection, "code": "4401"}
            act(boss, "/admin/close", fields, "closed")
        assert {client.read_close()[0] for client in clients} == {4401}
    finally:
        for client in clients:
            client.socket.close()
