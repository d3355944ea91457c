"""The browser client on its own, in a real Chromium, against a server that misbehaves on command."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import PATIENCE_SECONDS, ConsoleLog
from .scripted_server import Answer, ScriptedServer

CHAT = "/api/1/ws/chat"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
STORED = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-8888-4777-8666-555555555555"

#: Short waits, for tests that are not about the waits.
QUICK = {"reconnectBaseInterval": 20, "reconnectMaxInterval": 100}

BASE_MS = 5000
MAX_MS = 30000
ATTEMPTS = 10
PING_MS = 30000
PONG_TIMEOUT_MS = 5000

ALL_CONNECTED = "jPulse.ws.getConnections().every((handle) => handle.isConnected())"

#: Counts handshakes at the moment the page starts them, so that "none" needs no waiting; and frames.
COUNT_DIALS = """
window.dials = 0;
window.frameCount = 0;
window.socket = null;
window.WebSocket = class extends WebSocket {
    constructor(...args) {
        super(...args);
        window.dials += 1;
        window.socket = this;
        this.addEventListener('message', () => { window.frameCount += 1; });
    }
};
"""

CONNECT = """([path, options]) => {
    window.statuses = [];
    window.messages = [];
    window.h = jPulse.ws.connect(path, options)
        .onStatusChange((status, old, reason) => statuses.push([status, old, reason?.code ?? null]))
        .onMessage((message) => messages.push(message));
}"""


@pytest.fixture
def server(caplog: pytest.LogCaptureFixture) -> Iterator[ScriptedServer]:
    """In place of the real server that other tests get by this name."""
    with ScriptedServer() as running:
        yield running
    assert [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING] == []


def until(page: Any, expression: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until a JavaScript expression is true; by asking, because the page's clock may stand still."""
    end = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < end, f"never came true: {expression}; {page.evaluate(STATE)}"
        page.wait_for_timeout(10)
    return value


STATE = "() => window.h && JSON.stringify([h.getStatus(), h.lastError, statuses, dials])"


def open_page(page: Any, server: ScriptedServer, name: str = "one") -> None:
    page.add_init_script(COUNT_DIALS)
    page.goto(server.url(f"/page/{name}"))


def open_page_without_time(page: Any, server: ScriptedServer) -> None:
    """Open a page on which time passes by page.clock.run_for() and fast_forward() only."""
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    open_page(page, server)


def connect(page: Any, path: str = CHAT, until_status: str = "connected", **options: float) -> None:
    """Connect as window.h, and wait for a status."""
    page.evaluate(CONNECT, [path, options])
    until_is(page, until_status)


def until_is(page: Any, status: str) -> None:
    until(page, f"h.getStatus() === '{status}'")


def dials(page: Any) -> int:
    return page.evaluate("dials")


def fire(page: Any, event: str) -> None:
    """Dispatch an event that a page gets from the browser."""
    target = "window" if event in ("online", "pagehide", "pageshow") else "document"
    page.evaluate(f"{target}.dispatchEvent(new Event('{event}')) && undefined")


def pin_random(page: Any, value: float) -> None:
    page.evaluate(f"Math.random = () => {value}")


def until_retry_is_scheduled(page: Any) -> None:
    """Wait until the present dial has failed and the client waits for the next one."""
    until(page, "h.lastError && h.lastError !== window.seenError")
    page.evaluate("window.seenError = h.lastError")


def give_up(page: Any, server: ScriptedServer) -> None:
    """Let a connection be refused until it gives up."""
    server.refusal = Answer(503)
    connect(page, until_status="disconnected", maxReconnectAttempts=2, **QUICK)
    assert dials(page) == 3


# --- statuses and messages


def test_statuses_of_a_first_connection(page: Any, server: ScriptedServer) -> None:
    """Listeners added after connect() returned hear of `connected`, then of the server's first message."""
    open_page(page, server)
    page.evaluate(
        """(path) => {
        window.heard = [];
        window.h = jPulse.ws.connect(path);
        heard.push(h.getStatus());
        h.onStatusChange((status, old, reason) => heard.push([status, old, reason]))
            .onMessage((message) => heard.push(message.data.type));
    }""",
        CHAT,
    )
    until(page, "heard.length === 3")
    assert page.evaluate("heard") == ["connecting", ["connected", "connecting", None], "connected"]
    assert page.evaluate("[h.path, h.isConnected(), h.lastError, h.latency]") == [CHAT, True, None, None]


def test_client_id_comes_with_connected(page: Any, server: ScriptedServer) -> None:
    """handle.clientId is null until the status is `connected`, and then what the server told."""
    server.client_id = OTHER
    open_page(page, server)
    page.evaluate(
        """(path) => {
        window.h = jPulse.ws.connect(path);
        window.ids = [h.clientId];
        h.onStatusChange(() => ids.push(h.clientId));
    }""",
        CHAT,
    )
    until(page, "ids.length === 2")
    assert page.evaluate("ids") == [None, OTHER]
    assert page.evaluate("localStorage['jPulse.ws.clientUUID']") == server.handshakes[0]["uuid"] != OTHER


def test_silent_server_counts_as_connected(page: Any, server: ScriptedServer) -> None:
    """A server that sends no first frame is `connected` two seconds after the socket opened."""
    server.greets = False
    open_page_without_time(page, server)
    connect(page, until_status="connecting")
    until(page, "socket.readyState === WebSocket.OPEN")
    page.clock.run_for(1999)
    assert page.evaluate("[h.getStatus(), h.send({type: 'early'})]") == ["connecting", False]
    page.clock.run_for(1)
    assert page.evaluate("[h.getStatus(), h.clientId, h.send({type: 'hello'})]") == ["connected", None, True]


def test_errors_reach_listeners_and_pongs_do_not(page: Any, server: ScriptedServer) -> None:
    """Every envelope reaches every listener, errors too, except pongs."""
    open_page(page, server)
    connect(page, pingInterval=20)
    page.evaluate("window.more = []; h.onMessage((message) => more.push(message)) && undefined")
    until(page, "h.latency !== null")
    error = {"success": False, "error": "no", "code": 400, "username": ""}
    server.send_text(json.dumps(error))
    server.send({"type": "news"})
    until(page, "messages.length === 3 && more.length === 2")
    assert page.evaluate("messages")[1:] == [error, {"success": True, "data": {"type": "news"}}]
    assert page.evaluate("more") == page.evaluate("messages")[1:]


def test_frames_that_are_no_envelope_are_reported(
    page: Any,
    server: ScriptedServer,
    console: ConsoleLog,
) -> None:
    """A frame that is no envelope is ignored with a warning."""
    console.allow("no jPulse message")
    open_page(page, server)
    connect(page)
    for text in ("hello", "[1]", "null", '{"success": 1}', '{"success": true, "data": null}'):
        server.send_text(text)
    until(page, "messages.length === 2")
    assert page.evaluate("messages[1]") == {"success": True, "data": None}
    assert len(console.complaints) == 4


def test_throwing_listener_stops_nobody(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """A listener that throws is reported and the others are called all the same."""
    console.allow("of a status listener", "of a message listener")
    open_page(page, server)
    page.evaluate(
        """(path) => {
        window.heard = [];
        window.h = jPulse.ws.connect(path)
            .onStatusChange(() => { throw new Error('of a status listener'); })
            .onStatusChange((status) => heard.push(status))
            .onMessage(() => { throw new Error('of a message listener'); })
            .onMessage((message) => heard.push(message.data.type));
    }""",
        CHAT,
    )
    until(page, "heard.length === 2")
    server.send({"type": "news"})
    until(page, "heard.length === 3")
    assert page.evaluate("heard") == ["connected", "connected", "news"]
    assert any("of a status listener" in text for text in console.complaints)
    assert any("of a message listener" in text for text in console.complaints)


def test_all_listeners_see_one_history(page: Any, server: ScriptedServer) -> None:
    """What a listener causes is told after every listener heard of the present event."""
    open_page(page, server)
    page.evaluate(
        """(path) => {
        window.heard = [];
        window.h = jPulse.ws.connect(path)
            .onStatusChange((status) => { if (status === 'connected') h.disconnect(); })
            .onStatusChange((status) => heard.push(status))
            .onMessage((message) => heard.push(message.data.type));
    }""",
        CHAT,
    )
    until(page, "heard.length === 2")
    server.wait_for(lambda: server.close_codes == [1000])
    assert page.evaluate("heard") == ["connected", "disconnected"]


# --- sending


def test_send_tells_whether_it_sent(page: Any, server: ScriptedServer) -> None:
    """send() is false and sends nothing until connected, true while connected, false again afterwards."""
    open_page(page, server)
    page.evaluate(CONNECT, [CHAT, {}])
    page.evaluate("window.early = jPulse.ws.connect('/api/1/ws/other').send({n: 0})")
    until(page, ALL_CONNECTED)
    sent = page.evaluate(
        "[h.send({n: 1, text: 'ü'}), h.send('{\"as\": \"it is\"}'), h.disconnect().send({n: 2})]"
    )
    server.wait_for(lambda: len(server.received) == 2)
    assert (page.evaluate("early"), sent) == (False, [True, True, False])
    assert server.received == ['{"n":1,"text":"ü"}', '{"as": "it is"}']


@pytest.mark.parametrize(
    "value",
    [
        "undefined",
        "() => 1",
        "Symbol()",
        "{n: 1n}",
        "cycle",
        "{x: NaN}",
        "[Infinity]",
        "new Uint8Array(2)",
        "{data: new ArrayBuffer(2)}",
        "{all: new Map()}",
    ],
)
def test_send_refuses_what_json_cannot_carry(page: Any, server: ScriptedServer, value: str) -> None:
    """send() throws a TypeError for what JSON cannot carry, connected or not."""
    open_page(page, server)
    connect(page)
    errors = page.evaluate(f"""() => {{
        const cycle = {{}};
        cycle.self = cycle;
        const trial = () => {{ try {{ return h.send({value}); }} catch (error) {{ return error.name; }} }};
        return [trial(), h.disconnect() && trial()];
    }}""")
    assert errors == ["TypeError", "TypeError"]
    server.wait_for(lambda: server.close_codes == [1000])
    assert server.received == []


def test_send_refuses_to_pile_up(page: Any, server: ScriptedServer) -> None:
    """send() is false while more than 1 MiB waits to leave, and true again once it has left."""
    open_page(page, server)
    connect(page)
    accepted = page.evaluate("""() => {
        const kilobyte = 'x'.repeat(1024);
        let n = 0;
        while (n < 100000 && h.send(kilobyte)) { n += 1; }
        return n;
    }""")
    assert accepted == 1025
    until(page, "h.send({type: 'last'})")
    server.wait_for(lambda: '{"type":"last"}' in server.received)
    assert len(server.received) == accepted + 1


# --- handles


def test_disconnect_and_connect_again(page: Any, server: ScriptedServer) -> None:
    """disconnect() closes with 1000 and stays away until connect(), which keeps the listeners."""
    open_page(page, server)
    connect(page)
    page.evaluate("h.disconnect() && undefined")
    server.wait_for(lambda: server.close_codes == [1000])
    for event in ("online", "visibilitychange", "pageshow"):
        fire(page, event)
    assert dials(page) == 1
    assert page.evaluate("jPulse.ws.getConnections()") == []
    heard_during_connect = page.evaluate("""() => {
        const before = statuses.length;
        h.connect();
        return statuses.length - before;
    }""")
    assert heard_during_connect == 0
    until(page, "messages.length === 2")
    assert page.evaluate("statuses") == [
        ["connected", "connecting", None],
        ["disconnected", "connected", None],
        ["connecting", "disconnected", None],
        ["connected", "connecting", None],
    ]
    assert dials(page) == 2


def test_connect_while_connected_does_nothing(page: Any, server: ScriptedServer) -> None:
    """connect() on a handle that is connected keeps its connection."""
    open_page(page, server)
    connect(page)
    assert page.evaluate("h.connect() === h && h.isConnected()") is True
    assert dials(page) == 1


def test_get_connections(page: Any, server: ScriptedServer) -> None:
    """Two calls for one path make two connections; getConnections() lists those that live."""
    open_page(page, server)
    connect(page)
    page.evaluate("window.first = h && undefined; window.first = h")
    connect(page)
    assert page.evaluate("first !== h && jPulse.ws.getConnections()[0] === first") is True
    assert page.evaluate("jPulse.ws.getConnections().length") == 2
    page.evaluate("first.disconnect() && undefined")
    server.wait_for(lambda: server.close_codes == [1000])
    assert page.evaluate("jPulse.ws.getConnections().map((c) => [c.path, c.getStatus()])") == [
        [CHAT, "connected"]
    ]
    assert len(server.sockets) == 1


def test_methods_can_be_passed_around(page: Any, server: ScriptedServer) -> None:
    """A handle's methods work without their handle and through a proxy, as frameworks use them."""
    open_page(page, server)
    connect(page)
    assert page.evaluate("""() => {
        const { send, getStatus } = h;
        const proxy = new Proxy(h, {});
        return [send({n: 1}), getStatus(), proxy.send({n: 2}), proxy.clientId === h.clientId];
    }""") == [True, "connected", True, True]


@pytest.mark.parametrize(
    "call",
    [
        "connect()",
        "connect('api/1/ws/chat')",
        "connect('//elsewhere.example/ws')",
        "connect('https://elsewhere.example/')",
        f"connect('{CHAT}', {{pingInterval: '5'}})",
        f"connect('{CHAT}', {{reconnectBaseInterval: -1}})",
        f"connect('{CHAT}', {{maxReconnectAttempts: NaN}})",
    ],
)
def test_mistakes_are_type_errors(page: Any, server: ScriptedServer, call: str) -> None:
    """A path, option or listener that makes no sense is a TypeError at the caller."""
    open_page(page, server)
    assert (
        page.evaluate(f"(() => {{ try {{ jPulse.ws.{call}; }} catch (e) {{ return e.name; }} }})()")
        == "TypeError"
    )


def test_listeners_must_be_functions(page: Any, server: ScriptedServer) -> None:
    """A listener that is no function is a TypeError at the caller."""
    open_page(page, server)
    connect(page)
    for call in ("onMessage()", "onStatusChange('text')"):
        assert (
            page.evaluate(f"(() => {{ try {{ h.{call}; }} catch (e) {{ return e.name; }} }})()")
            == "TypeError"
        )


def test_query_of_the_path_is_kept(page: Any, server: ScriptedServer) -> None:
    """A path that has a query keeps it beside the uuid, in the handshake and in the plain GET."""
    open_page(page, server)
    connect(page, path=f"{CHAT}?room=a%26b&x=1")
    assert {**server.handshakes[0], "uuid": ""} == {"room": "a&b", "x": "1", "uuid": ""}
    assert UUID4.fullmatch(server.handshakes[0]["uuid"])


# --- who we are


def test_same_id_after_reconnect_and_reload(page: Any, server: ScriptedServer) -> None:
    """The id stays the same over a lost connection and over a reload."""
    open_page(page, server)
    connect(page, **QUICK)
    server.drop()
    until(page, "statuses.length === 3")
    page.reload()
    connect(page)
    ids = {handshake["uuid"] for handshake in server.handshakes}
    assert len(server.handshakes) == 3
    assert len(ids) == 1
    assert UUID4.fullmatch(ids.pop())


def test_two_tabs_share_the_id(context: Any, server: ScriptedServer) -> None:
    """Two tabs have one id, and closing one leaves the other's connection alone."""
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        open_page(tab, server)
        connect(tab)
    assert server.handshakes[0] == server.handshakes[1]
    tabs[0].close()
    server.wait_for(lambda: len(server.sockets) == 1)
    server.send({"type": "news"})
    until(tabs[1], "messages.length === 2")
    assert tabs[1].evaluate("statuses") == [["connected", "connecting", None]]


@pytest.mark.parametrize(
    ("stored", "kept"), [(STORED, True), ("", False), ("nonsense", False), (STORED[:-1], False)]
)
def test_damaged_id_is_replaced(page: Any, server: ScriptedServer, stored: str, kept: bool) -> None:
    """A stored UUID is used; anything else that is stored is replaced by a new one."""
    open_page(page, server)
    page.evaluate("(id) => localStorage.setItem('jPulse.ws.clientUUID', id)", stored)
    connect(page)
    sent = server.handshakes[0]["uuid"]
    assert UUID4.fullmatch(sent)
    assert (sent == stored) is kept
    assert page.evaluate("localStorage['jPulse.ws.clientUUID']") == sent == page.evaluate("h.clientId")


def test_without_local_storage(page: Any, server: ScriptedServer) -> None:
    """Where localStorage is blocked the id lives as long as the page."""
    page.add_init_script("""Object.defineProperty(window, 'localStorage', {
        get() { throw new DOMException('blocked', 'SecurityError'); } })""")
    open_page(page, server)
    connect(page, **QUICK)
    server.drop()
    until(page, "statuses.length === 3")
    assert UUID4.fullmatch(server.handshakes[0]["uuid"])
    assert server.handshakes[0] == server.handshakes[1]


def test_without_random_uuid(page: Any, server: ScriptedServer) -> None:
    """A page that is no secure context, so without crypto.randomUUID, makes a UUID v4 all the same."""
    page.add_init_script("delete Crypto.prototype.randomUUID")
    open_page(page, server)
    connect(page)
    assert UUID4.fullmatch(server.handshakes[0]["uuid"])


# --- reconnecting


@pytest.mark.parametrize(("random", "factor"), [(0, 0.75), (0.5, 1), (0.999999, 1.25)])
def test_waits_between_attempts(
    page: Any,
    server: ScriptedServer,
    console: ConsoleLog,
    random: float,
    factor: float,
) -> None:
    """Attempt n waits min(n × base, max) give or take 25 %, and ten attempts are made."""
    console.allow_failed_requests()
    server.refusal = Answer(503)
    open_page_without_time(page, server)
    pin_random(page, random)
    connect(page, until_status="reconnecting")
    for attempt in range(1, ATTEMPTS + 1):
        until_retry_is_scheduled(page)
        wait = int(min(attempt * BASE_MS, MAX_MS) * factor)
        page.clock.run_for(wait - 2)
        assert dials(page) == attempt
        page.clock.run_for(4)
        assert dials(page) == attempt + 1
    until_is(page, "disconnected")
    page.clock.run_for(10 * MAX_MS)
    assert dials(page) == ATTEMPTS + 1
    assert page.evaluate("statuses") == [
        ["reconnecting", "connecting", 503],
        ["disconnected", "reconnecting", 503],
    ]


def test_waits_are_random(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """Clients that are dropped together do not come back together."""
    open_page_without_time(page, server)
    page.evaluate("for (let i = 0; i < 20; i++) jPulse.ws.connect('/api/1/ws/chat')")
    until(page, ALL_CONNECTED)
    server.close(1012)
    until(page, "jPulse.ws.getConnections().every((handle) => handle.getStatus() === 'reconnecting')")
    page.clock.run_for(int(BASE_MS * 0.75) - 1)
    assert dials(page) == 20
    counts = []
    # The last step is a little longer: the longest wait ends with it, to the millisecond.
    for step in (500, 500, 500, 500, 502):
        page.clock.run_for(step)
        counts.append(dials(page) - 20)
    assert counts[-1] == 20
    until(page, ALL_CONNECTED)
    assert sum(a < b for a, b in zip([0, *counts], counts, strict=False)) >= 3


def test_reconnects_to_a_server_that_was_down(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """A server that cannot be reached is tried again until it is back, with the same handle."""
    console.allow_failed_requests()
    open_page(page, server)
    connect(page, **QUICK, maxReconnectAttempts=1000)
    server.go_down()
    until(page, "h.lastError?.code === 'NETWORK_ERROR'")
    assert page.evaluate("h.getStatus()") == "reconnecting"
    server.come_back()
    until_is(page, "connected")
    server.send({"type": "news"})
    until(page, "messages.at(-1).data.type === 'news'")
    assert page.evaluate("h.lastError") is None


@pytest.mark.parametrize("event", ["online", "visibilitychange", "pageshow"])
def test_tab_that_gave_up_comes_back(
    page: Any,
    server: ScriptedServer,
    console: ConsoleLog,
    event: str,
) -> None:
    """After giving up, the return of the network or of the tab starts a fresh count of attempts."""
    console.allow_failed_requests()
    open_page(page, server)
    give_up(page, server)
    fire(page, event)
    until(page, "dials === 6 && h.getStatus() === 'disconnected'")
    server.refusal = None
    fire(page, event)
    until_is(page, "connected")
    assert dials(page) == 7
    assert page.evaluate("statuses.map(([status]) => status)") == [
        "reconnecting",
        "disconnected",
        "reconnecting",
        "disconnected",
        "reconnecting",
        "connected",
    ]


def test_connect_after_giving_up(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """connect() on a handle that gave up starts a fresh count of attempts."""
    console.allow_failed_requests()
    open_page(page, server)
    give_up(page, server)
    server.refusal = None
    page.evaluate("h.connect() && undefined")
    until_is(page, "connected")


def test_hidden_tab_that_gave_up_rests(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """Becoming hidden is no reason to try again."""
    console.allow_failed_requests()
    open_page(page, server)
    give_up(page, server)
    page.evaluate("Object.defineProperty(document, 'visibilityState', { value: 'hidden' }) && undefined")
    fire(page, "visibilitychange")
    assert dials(page) == 3


def test_network_that_comes_back(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """A browser that was offline reconnects when it is online again, without waiting."""
    console.allow_failed_requests()
    open_page(page, server)
    connect(page, reconnectBaseInterval=600_000, reconnectMaxInterval=600_000)
    page.context.set_offline(True)
    server.drop()
    until_is(page, "reconnecting")
    page.context.set_offline(False)
    until_is(page, "connected")
    assert dials(page) == 2


def test_no_attempts(page: Any, server: ScriptedServer) -> None:
    """With maxReconnectAttempts 0 a lost connection stays lost."""
    open_page(page, server)
    connect(page, maxReconnectAttempts=0)
    server.drop()
    until_is(page, "disconnected")
    assert page.evaluate("statuses.at(-1)") == ["disconnected", "connected", 1006]


def test_flapping_server_is_given_up(page: Any, server: ScriptedServer) -> None:
    """A server that accepts and closes at once does not reset the count of attempts."""
    server.closes_at_once = 1013
    open_page(page, server)
    # On a busy machine the close may come so late that the connection was a good one.
    page.evaluate("performance.now = () => 0")
    connect(page, until_status="disconnected", maxReconnectAttempts=3, **QUICK)
    assert dials(page) == 4
    assert page.evaluate("h.lastError.code") == 1013


def test_good_connection_resets_the_count(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """After a connection that lasted reconnectBaseInterval the waits begin anew with the shortest."""
    open_page_without_time(page, server)
    pin_random(page, 0.5)
    connect(page)
    for lifetime, waited in ((0, BASE_MS), (0, 2 * BASE_MS), (BASE_MS, BASE_MS)):
        page.clock.run_for(lifetime)
        before = dials(page)
        server.close(1012)
        until_is(page, "reconnecting")
        page.clock.run_for(waited - 2)
        assert dials(page) == before
        page.clock.run_for(4)
        assert dials(page) == before + 1
        until_is(page, "connected")


# --- refusals


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_is_final(page: Any, server: ScriptedServer, console: ConsoleLog, status: int) -> None:
    """A handshake refused with 401, 403 or 404 is asked about once, and not tried again."""
    console.allow_failed_requests()
    server.refusal = Answer(status, json.dumps({"success": False, "error": "Sign in first", "code": status}))
    open_page(page, server)
    connect(page, path=f"{CHAT}?room=1", until_status="disconnected")
    for event in ("online", "visibilitychange", "pageshow"):
        fire(page, event)
    assert dials(page) == 1
    assert [(get.path, get.query) for get in server.plain_gets] == [(CHAT, "room=1")]
    assert page.evaluate("statuses") == [["disconnected", "connecting", status]]
    assert page.evaluate("h.lastError") == {"code": status, "message": "Sign in first"}
    assert page.evaluate("jPulse.ws.getConnections()") == []


@pytest.mark.parametrize("status", [200, 426, 429, 500, 503])
def test_other_failures_are_retried(
    page: Any,
    server: ScriptedServer,
    console: ConsoleLog,
    status: int,
) -> None:
    """A handshake that failed for any other reason is tried again."""
    console.allow_failed_requests()
    server.refusal = Answer(503)
    server.plain_answer = Answer(status)
    open_page(page, server)
    connect(page, until_status="reconnecting", **QUICK, maxReconnectAttempts=1000)
    server.refusal = None
    until_is(page, "connected")
    assert page.evaluate("statuses[0]") == ["reconnecting", "connecting", status]


@pytest.mark.parametrize(("told", "seconds"), [("7", 7), ("86400", 60), ("soon", 5), ("-3", 5), ("1", 5)])
def test_retry_after_is_a_minimum(
    page: Any,
    server: ScriptedServer,
    console: ConsoleLog,
    told: str,
    seconds: int,
) -> None:
    """Retry-After makes the wait longer, never shorter, up to 60 s; not even `online` comes before it."""
    console.allow_failed_requests()
    server.refusal = Answer(503, headers={"Retry-After": told})
    open_page_without_time(page, server)
    pin_random(page, 0)
    shortest = seconds * 1000 if seconds > BASE_MS / 1000 else int(BASE_MS * 0.75)
    connect(page, until_status="reconnecting")
    if seconds > BASE_MS / 1000:
        fire(page, "online")
    page.clock.run_for(shortest - 2)
    assert dials(page) == 1
    page.clock.run_for(4)
    assert dials(page) == 2


def test_retry_after_is_spread(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """Clients that were told the same Retry-After come back within 25 % more than it."""
    console.allow_failed_requests()
    server.refusal = Answer(429, headers={"Retry-After": "20"})
    open_page_without_time(page, server)
    pin_random(page, 0.999999)
    connect(page, until_status="reconnecting")
    page.clock.run_for(24_998)
    assert dials(page) == 1
    page.clock.run_for(4)
    assert dials(page) == 2


def test_disconnect_while_asking_why(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """An answer that comes after disconnect() changes nothing."""
    console.allow_failed_requests()
    server.refusal = Answer(503)
    server.plain_answer = Answer(hang=True)
    open_page(page, server)
    page.evaluate(CONNECT, [CHAT, QUICK])
    server.wait_for(lambda: len(server.plain_gets) == 1)
    page.evaluate("h.disconnect() && undefined")
    assert page.evaluate("statuses") == [["disconnected", "connecting", None]]
    assert dials(page) == 1


# --- close codes


@pytest.mark.parametrize("code", [1000, 4401, 4403])
def test_close_codes_that_stay_away(page: Any, server: ScriptedServer, code: int) -> None:
    """After 1000, 4401 and 4403 the client stays away, whatever the page's events."""
    open_page(page, server)
    connect(page, **QUICK)
    server.close(code, "Enough")
    until_is(page, "disconnected")
    for event in ("online", "visibilitychange", "pageshow"):
        fire(page, event)
    assert dials(page) == 1
    assert page.evaluate("statuses.at(-1)") == ["disconnected", "connected", code]
    assert page.evaluate("h.lastError.message") == "Enough"
    page.evaluate("h.connect() && undefined")
    until_is(page, "connected")


@pytest.mark.parametrize("code", [1001, 1009, 1011, 1012, 1013, 4408, 4429, 4999])
def test_close_codes_that_reconnect(page: Any, server: ScriptedServer, code: int) -> None:
    """After any other close code the client reconnects, and tells the code."""
    open_page(page, server)
    connect(page, **QUICK)
    server.close(code)
    until(page, "statuses.length === 3")
    assert page.evaluate("statuses.slice(1)") == [
        ["reconnecting", "connected", code],
        ["connected", "reconnecting", None],
    ]


def test_lost_connection_is_restored(page: Any, server: ScriptedServer) -> None:
    """A connection that ends without a close frame is restored, and messages reach the same listeners."""
    open_page(page, server)
    connect(page, **QUICK)
    server.drop()
    until(page, "statuses.length === 3")
    server.send({"type": "news"})
    until(page, "messages.length === 3")
    assert page.evaluate("statuses[1]") == ["reconnecting", "connected", 1006]
    assert server.plain_gets == []


# --- health


def test_pings_and_latency(page: Any, server: ScriptedServer) -> None:
    """A ping leaves every pingInterval, and its pong tells the latency."""
    open_page_without_time(page, server)
    connect(page)
    for pings in (1, 2, 3):
        page.clock.run_for(PING_MS - 2)
        assert server.pings == pings - 1
        page.clock.run_for(2)
        server.wait_for(lambda pings=pings: server.pings == pings)
        # The greeting, and a pong for each ping: no time may pass before this one is here.
        until(page, f"frameCount === {1 + pings}")
    page.clock.resume()
    assert 0 <= page.evaluate("h.latency") < 1000
    assert page.evaluate("[messages.length, dials]") == [1, 1]


def test_no_pings(page: Any, server: ScriptedServer) -> None:
    """With pingInterval 0 no pings are sent."""
    open_page_without_time(page, server)
    connect(page, pingInterval=0)
    page.clock.run_for(10 * PING_MS)
    page.evaluate("h.send({type: 'last'})")
    server.wait_for(lambda: len(server.received) == 1)
    assert server.pings == 0


def test_missing_pong(page: Any, server: ScriptedServer) -> None:
    """Without any frame for 5 s after a ping the connection is lost; attempt 1 waits as always."""
    server.answers_pings = False
    open_page_without_time(page, server)
    connect(page)
    page.clock.run_for(PING_MS)
    server.wait_for(lambda: server.pings == 1)
    page.clock.run_for(PONG_TIMEOUT_MS - 1)
    assert dials(page) == 1
    page.clock.run_for(2)
    assert page.evaluate("h.getStatus()") == "reconnecting"
    page.clock.run_for(0.75 * BASE_MS - 10)
    assert dials(page) == 1
    page.clock.run_for(0.5 * BASE_MS + 20)
    assert dials(page) == 2
    until_is(page, "connected")
    assert page.evaluate("statuses.slice(1)") == [
        ["reconnecting", "connected", "PONG_TIMEOUT"],
        ["connected", "reconnecting", None],
    ]
    server.wait_for(lambda: server.close_codes == [1000])
    assert server.plain_gets == []


def test_any_frame_is_a_sign_of_life(page: Any, server: ScriptedServer) -> None:
    """A frame that comes after the ping proves life as well as a pong."""
    server.answers_pings = False
    open_page_without_time(page, server)
    connect(page)
    page.clock.run_for(PING_MS)
    server.wait_for(lambda: server.pings == 1)
    server.send({"type": "news"})
    until(page, "messages.length === 2")
    page.clock.run_for(2 * PONG_TIMEOUT_MS)
    assert page.evaluate("[h.getStatus(), dials, h.latency]") == ["connected", 1, None]


def test_sleeping_page_asks_again(page: Any, server: ScriptedServer) -> None:
    """A page that slept past the pong's deadline pings once more before it calls the connection dead."""
    server.answers_pings = False
    open_page_without_time(page, server)
    connect(page)
    page.clock.run_for(PING_MS)
    server.wait_for(lambda: server.pings == 1)
    server.answers_pings = True
    page.clock.fast_forward(3_600_000)
    server.wait_for(lambda: server.pings == 2)
    until(page, "frameCount === 2")
    page.clock.run_for(2 * PONG_TIMEOUT_MS)
    assert page.evaluate("[h.getStatus(), dials]") == ["connected", 1]


def test_sleeping_page_finds_a_dead_connection(page: Any, server: ScriptedServer) -> None:
    """If the second ping stays unanswered too, the connection is dead."""
    server.answers_pings = False
    open_page_without_time(page, server)
    connect(page)
    page.clock.run_for(PING_MS)
    page.clock.fast_forward(3_600_000)
    server.wait_for(lambda: server.pings == 2)
    assert dials(page) == 1
    page.clock.run_for(PONG_TIMEOUT_MS + 1)
    assert page.evaluate("h.getStatus()") == "reconnecting"
    page.clock.run_for(1.25 * BASE_MS + 1)
    assert dials(page) == 2
    until_is(page, "connected")


def test_blocked_page_keeps_its_connection(page: Any, server: ScriptedServer) -> None:
    """A page too busy to read a pong that has arrived keeps its connection."""
    open_page(page, server)
    connect(page, pingInterval=50)
    page.evaluate("() => { const end = performance.now() + 7000; while (performance.now() < end); }")
    seen = server.pings
    server.wait_for(lambda: server.pings > seen + 1)
    assert page.evaluate("[statuses.length, dials]") == [1, 1]


@pytest.mark.parametrize("event", ["online", "visibilitychange"])
def test_returning_tab_checks_its_connection(page: Any, server: ScriptedServer, event: str) -> None:
    """A tab that comes back pings at once if it has heard nothing for a while."""
    open_page_without_time(page, server)
    connect(page)
    fire(page, event)
    page.clock.run_for(PONG_TIMEOUT_MS + 1)
    fire(page, event)
    server.wait_for(lambda: server.pings == 1)


@pytest.mark.parametrize("silence_ms", [PONG_TIMEOUT_MS + 1, PING_MS + 1])
def test_returning_tab_replaces_a_dead_connection(page: Any, server: ScriptedServer, silence_ms: int) -> None:
    """Who comes back to a tab whose connection has died gets a new one at once, without the wait."""
    server.answers_pings = False
    open_page_without_time(page, server)
    connect(page)
    page.clock.run_for(silence_ms)
    fire(page, "visibilitychange")
    server.wait_for(lambda: server.pings == 1)
    page.clock.run_for(PONG_TIMEOUT_MS + 1)
    assert dials(page) == 2
    until_is(page, "connected")


# --- the page's own life


#: As in browsers that have no freeze and resume events.
WITHOUT_LIFECYCLE_EVENTS = """
for (const name of ['freeze', 'resume']) {
    document.addEventListener(name, (event) => event.stopImmediatePropagation());
}
"""


@pytest.mark.parametrize("script", ["", WITHOUT_LIFECYCLE_EVENTS], ids=["chromium", "no-lifecycle-events"])
def test_back_forward_cache(page: Any, server: ScriptedServer, script: str) -> None:
    """A page closes its sockets to enter the back/forward cache, and reconnects when it is shown again."""
    page.add_init_script(script)
    open_page(page, server)
    connect(page)
    page.evaluate("""() => {
        window.rested = jPulse.ws.connect('/api/1/ws/other')
            .onStatusChange((status) => { if (status === 'connected') rested.disconnect(); });
        window.addEventListener('pagehide', () => { window.statusesAtLeaving = statuses.length; });
        window.addEventListener('pageshow', (event) => { window.persisted = event.persisted; });
    }""")
    until(page, "rested.getStatus() === 'disconnected'")
    page.goto(server.url("/page/two"))
    server.wait_for(lambda: 1000 in server.close_codes and not server.sockets)
    page.go_back(wait_until="commit")
    until(page, "window.persisted !== undefined")
    assert page.evaluate("persisted") is True
    until(page, "statuses.length === 3")
    assert page.evaluate("statusesAtLeaving") == 1
    assert page.evaluate("statuses.slice(1)") == [
        ["reconnecting", "connected", None],
        ["connected", "reconnecting", None],
    ]
    server.send({"type": "news"})
    until(page, "messages.length === 3")
    assert page.evaluate("rested.getStatus()") == "disconnected"
    assert len({handshake["uuid"] for handshake in server.handshakes}) == 1


def test_frozen_page(page: Any, server: ScriptedServer) -> None:
    """A page that the browser freezes closes its sockets, and reconnects when it is resumed."""
    open_page(page, server)
    connect(page)
    # Headless Chromium takes every page for visible, and a visible page is never frozen.
    fire(page, "freeze")
    server.wait_for(lambda: server.close_codes == [1000])
    fire(page, "resume")
    server.wait_for(lambda: len(server.sockets) == 1)
    until(page, "statuses.length === 3")


def test_leaving_closes_cleanly(page: Any, server: ScriptedServer) -> None:
    """A page that is left says goodbye with 1000."""
    open_page(page, server)
    connect(page)
    page.goto("about:blank")
    server.wait_for(lambda: server.close_codes == [1000])


def test_loading_the_script_twice(page: Any, server: ScriptedServer) -> None:
    """A second copy of the script leaves the first one in place."""
    open_page(page, server)
    connect(page)
    page.evaluate("window.before = jPulse.ws")
    page.add_script_tag(url=server.url("/jpulse.js"))
    assert page.evaluate("jPulse.ws === before && jPulse.ws.getConnections().length") == 1


def test_only_one_global(page: Any, server: ScriptedServer) -> None:
    """The script defines window.jPulse and nothing else."""
    page.route("**/jpulse.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(server.url("/page/one"))
    before = set(page.evaluate("Object.getOwnPropertyNames(window)"))
    page.unroute("**/jpulse.js")
    page.reload()
    assert set(page.evaluate("Object.getOwnPropertyNames(window)")) - before == {"jPulse"}


# --- REST


def rest(page: Any, call: str) -> Any:
    return page.evaluate(f"() => jPulse.api.{call}")


def test_api_resolves_to_the_envelope(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """A call resolves to the server's envelope, be it a success or an error."""
    console.allow_failed_requests()
    open_page(page, server)
    good = {"success": True, "data": [1, {"a": "ü"}]}
    bad = {"success": False, "error": "title is missing", "code": 400}
    server.answers["/rest/good"] = Answer(200, json.dumps(good))
    server.answers["/rest/bad"] = Answer(400, json.dumps(bad))
    assert rest(page, "get('/rest/good')") == good
    assert rest(page, "post('/rest/bad', {})") == bad


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_api_sends_json(page: Any, server: ScriptedServer, method: str) -> None:
    """A changing request carries its body as JSON, and the XSRF cookie as a header."""
    page.context.add_cookies(
        [
            {"name": "_xsrf", "value": "2|ab=|cd", "url": server.url("/")},
            {"name": "session", "value": "s", "url": server.url("/")},
        ]
    )
    open_page(page, server)
    rest(page, f"{method}('/rest/x', {{title: 'ü'}})")
    request = server.rest[0]
    assert (request.method, request.body) == (method.upper(), '{"title":"ü"}')
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["X-XSRFToken"] == "2|ab=|cd"
    assert "session=s" in request.headers["Cookie"]


def test_api_get(page: Any, server: ScriptedServer) -> None:
    """A GET has no body and no XSRF header; its parameters go into the query."""
    page.context.add_cookies([{"name": "_xsrf", "value": "token", "url": server.url("/")}])
    open_page(page, server)
    rest(page, "get('/rest/x?a=1', {b: 'c d', none: undefined, nil: null})")
    request = server.rest[0]
    assert (request.method, request.query, request.body) == ("GET", "a=1&b=c+d", "")
    assert "X-XSRFToken" not in request.headers


def test_api_without_a_body(page: Any, server: ScriptedServer) -> None:
    """A changing request without a body has none, and no content type."""
    open_page(page, server)
    rest(page, "put('/rest/x/toggle')")
    assert server.rest[0].body == ""
    assert "Content-Type" not in server.rest[0].headers
    assert "X-XSRFToken" not in server.rest[0].headers


def test_api_keeps_the_token_from_other_sites(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """The XSRF token is sent to the page's own origin only."""
    console.allow(".*")
    page.context.add_cookies([{"name": "_xsrf", "value": "token", "url": server.url("/")}])
    open_page(page, server)
    page.evaluate("""() => {
        window.fetch = async (url, init) => { window.asked = init.headers; throw new Error('stub'); };
    }""")
    assert rest(page, "post('https://elsewhere.example/', {})")["code"] == "NETWORK_ERROR"
    assert page.evaluate("asked") == {"Accept": "application/json", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<h1>hello</h1>"),
        (200, "[1]"),
        (200, '{"ok": true}'),
        (204, ""),
        (502, "<h1>Bad Gateway</h1>"),
    ],
)
def test_api_answer_that_is_no_envelope(
    page: Any,
    server: ScriptedServer,
    console: ConsoleLog,
    status: int,
    body: str,
) -> None:
    """An answer that is not our envelope is an HTTP_ERROR with its status."""
    console.allow_failed_requests()
    server.answers["/rest/x"] = Answer(status, body)
    open_page(page, server)
    answer = rest(page, "get('/rest/x')")
    assert (answer["success"], answer["code"], answer["status"]) == (False, "HTTP_ERROR", status)
    assert str(status) in answer["error"]


def test_api_without_a_network(page: Any, server: ScriptedServer, console: ConsoleLog) -> None:
    """A server that cannot be reached is a NETWORK_ERROR."""
    console.allow_failed_requests()
    open_page(page, server)
    server.go_down()
    answer = rest(page, "get('/rest/x')")
    assert (answer["success"], answer["code"]) == (False, "NETWORK_ERROR")


def test_api_timeout(page: Any, server: ScriptedServer) -> None:
    """No answer within 30 s, or what the caller sets, is a NETWORK_ERROR."""
    server.answers["/rest/slow"] = Answer(hang=True)
    open_page_without_time(page, server)
    page.evaluate("""() => {
        window.answers = [];
        jPulse.api.get('/rest/slow', {}, {timeout: 2000}).then((answer) => answers.push(answer));
        jPulse.api.post('/rest/slow', {}).then((answer) => answers.push(answer));
    }""")
    server.wait_for(lambda: len(server.rest) == 2)
    page.clock.run_for(2000)
    until(page, "answers.length === 1")
    page.clock.run_for(27_999)
    assert page.evaluate("answers.length") == 1
    page.clock.run_for(1)
    until(page, "answers.length === 2")
    assert page.evaluate("answers") == [
        {"success": False, "error": f"No answer within {seconds} s", "code": "NETWORK_ERROR"}
        for seconds in (2, 30)
    ]


@pytest.mark.parametrize(
    "call",
    ["post('/rest/x', {n: 1n})", "put('/rest/x', {n: NaN})", "get('http://[')", "get('/rest/x', 'text')"],
)
def test_api_never_throws(page: Any, server: ScriptedServer, call: str) -> None:
    """A mistake of the caller resolves to INVALID_REQUEST, too."""
    open_page(page, server)
    answer = rest(page, call)
    assert (answer["success"], answer["code"]) == (False, "INVALID_REQUEST")
    assert server.rest == []


# --- toasts


def show(page: Any, message: str, level: str = "info") -> None:
    page.evaluate(
        "([message, level]) => { window.close_ = jPulse.UI.toast.show(message, level); }", [message, level]
    )


def test_toast_is_text_only(page: Any, server: ScriptedServer) -> None:
    """A toast shows markup as text."""
    open_page(page, server)
    show(page, "<b id=bold>bold</b><img src=x onerror=alert(1)>")
    toast = page.locator(".jpulse-toast")
    assert (
        toast.locator(".jpulse-toast-text").text_content()
        == "<b id=bold>bold</b><img src=x onerror=alert(1)>"
    )
    assert page.locator("#bold, .jpulse-toast img").count() == 0


@pytest.mark.parametrize(
    ("level", "role", "live"),
    [
        ("info", "status", "polite"),
        ("success", "status", "polite"),
        ("warning", "status", "polite"),
        ("error", "alert", "assertive"),
        ("nonsense", "status", "polite"),
    ],
)
def test_toast_is_announced(page: Any, server: ScriptedServer, level: str, role: str, live: str) -> None:
    """A toast enters a live region that was there before: assertive for errors, polite for the rest."""
    open_page(page, server)
    region = page.locator(f".jpulse-toasts [role={role}]")
    assert region.get_attribute("aria-live") == live
    assert region.text_content() == ""
    show(page, "Saved", level)
    known = "info" if level == "nonsense" else level
    assert region.locator(f".jpulse-toast-{known}").count() == 1
    assert f"{known}: Saved" in region.text_content()


def test_toast_closes(page: Any, server: ScriptedServer) -> None:
    """A toast is closed by its button, by Escape when it has the focus, and by what show() returned."""
    open_page(page, server)
    toasts = page.locator(".jpulse-toast")
    show(page, "one", "error")
    page.get_by_role("button", name="Close").click()
    assert toasts.count() == 0
    show(page, "two", "error")
    page.keyboard.press("Escape")
    assert toasts.count() == 1
    page.get_by_role("button", name="Elsewhere").focus()
    page.get_by_role("button", name="Close").focus()
    page.keyboard.press("Escape")
    assert toasts.count() == 0
    assert page.evaluate("document.activeElement.textContent") == "Elsewhere"
    show(page, "three", "error")
    page.evaluate("close_(); close_()")
    assert toasts.count() == 0


def test_toast_hides_itself(page: Any, server: ScriptedServer) -> None:
    """A toast hides after six seconds, an error never, and another duration can be given."""
    open_page_without_time(page, server)
    texts = page.locator(".jpulse-toast-text")
    show(page, "short", "info")
    show(page, "stays", "error")
    page.evaluate("jPulse.UI.toast.warning('long', { duration: 20000 }) && undefined")
    page.clock.run_for(5999)
    assert texts.count() == 3
    page.clock.run_for(1)
    assert sorted(texts.all_text_contents()) == ["long", "stays"]
    page.clock.run_for(3_600_000)
    assert texts.all_text_contents() == ["stays"]


def test_toast_waits_for_its_reader(page: Any, server: ScriptedServer) -> None:
    """A toast does not hide while it is hovered or has the focus."""
    open_page_without_time(page, server)
    toast = page.locator(".jpulse-toast")
    show(page, "Read me")
    toast.locator(".jpulse-toast-text").hover()
    page.clock.run_for(60_000)
    assert toast.count() == 1
    page.get_by_role("button", name="Close").focus()
    page.mouse.move(0, 0)
    page.clock.run_for(60_000)
    assert toast.count() == 1
    page.get_by_role("button", name="Elsewhere").focus()
    page.clock.run_for(6000)
    assert toast.count() == 0


def test_at_most_five_toasts(page: Any, server: ScriptedServer) -> None:
    """A sixth toast closes the oldest that is no error."""
    open_page(page, server)
    for number, level in enumerate(["error", "info", "info", "error", "info", "info", "info"]):
        show(page, str(number), level)
    texts = page.locator(".jpulse-toast-text").all_text_contents()
    assert sorted(texts) == ["0", "3", "4", "5", "6"]


def test_toast_before_the_body(page: Any, server: ScriptedServer) -> None:
    """A script in the head may show a toast before there is a body."""
    page.route(
        "**/jpulse.js",
        lambda route: route.fulfill(
            body=route.fetch().text() + "\njPulse.UI.toast.success('Early');", content_type="text/javascript"
        ),
    )
    page.goto(server.url("/page/one"))
    page.locator(".jpulse-toast-text", has_text="Early").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_toast_is_readable(page: Any, server: ScriptedServer, scheme: str) -> None:
    """Text, and the sign of each level, contrast with the toast by 4.5 : 1, in light and in dark."""
    page.emulate_media(color_scheme=scheme)
    open_page(page, server)
    for level in ("info", "success", "warning", "error"):
        show(page, level, level)
        surface, text, sign = page.evaluate(
            """(level) => {
            const toast = document.querySelector(`.jpulse-toast-${level}`);
            const color = (element, name) => getComputedStyle(element)[name].match(/[\\d.]+/g).map(Number);
            return [color(toast, 'backgroundColor'), color(toast, 'color'),
                color(toast.querySelector('.jpulse-toast-sign'), 'color')];
        }""",
            level,
        )
        assert contrast(surface, text) >= 4.5
        assert contrast(surface, sign) >= 4.5


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: list[float]) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_toast_on_a_narrow_screen(page: Any, server: ScriptedServer) -> None:
    """On a screen 400 px wide a toast with a long word stays within the screen."""
    page.set_viewport_size({"width": 400, "height": 700})
    open_page(page, server)
    show(page, "w" * 300, "warning")
    box = page.locator(".jpulse-toast").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_errors_show_where_not_all_fit(page: Any, server: ScriptedServer) -> None:
    """In a window too low for all toasts the errors are in sight, and the others can be scrolled to."""
    page.set_viewport_size({"width": 400, "height": 260})
    open_page(page, server)
    for level in ("error", "info", "success", "warning", "info"):
        show(page, level, level)
    box = page.locator(".jpulse-toast-error").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 260
    first = page.locator(".jpulse-toast-info").first
    first.scroll_into_view_if_needed()
    assert first.bounding_box()["y"] >= 0


def test_toast_without_motion(page: Any, server: ScriptedServer) -> None:
    """Who asked for reduced motion gets toasts without animation."""
    animation = "getComputedStyle(document.querySelector('.jpulse-toast')).animationName"
    open_page(page, server)
    show(page, "moving")
    assert page.evaluate(animation) == "jpulse-toast-in"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(animation) == "none"


def test_toast_without_constructable_stylesheets(page: Any, server: ScriptedServer) -> None:
    """An older browser adds the styles to a sheet of the page, and shows toasts even without one."""
    page.add_init_script("delete CSSStyleSheet.prototype.replaceSync")
    open_page(page, server)
    show(page, "plain")
    assert page.locator(".jpulse-toast-text").text_content() == "plain"
