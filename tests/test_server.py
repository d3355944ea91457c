"""How a server starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT, Server, wait_until
from .patience import LONG_SECONDS, Stopwatch
from .raw_client import CLOSE, PING, PONG, RawClient, client_frame
from .support import ask, make_certificate

WS = "/api/1/ws/"
BEHAVIOURS = "tests.apps.behaviours"
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


def connect(server: Server, name: str) -> RawClient:
    """Connect to a namespace and take its first frame."""
    client = RawClient(server.port, WS + name)
    client.read_data("connected")
    return client


def answer_close(client: RawClient) -> int:
    """Read to the close frame, answer it, and return its code."""
    code, _ = client.read_close()
    client.send(client_frame(code.to_bytes(2, "big"), CLOSE))
    assert client.at_end()
    client.socket.close()
    return code


# The drain


@SIGNALS
def test_drain(serve: Callable[..., Server], number: signal.Signals) -> None:
    """On a signal the open connections are closed with 1012, no new one is let in, and the exit is 0."""
    server = serve(app=BEHAVIOURS)
    clients = [connect(server, name) for name in ("echo", "diary", "chained")]
    watch = Stopwatch()
    server.process.send_signal(number)
    assert [answer_close(client) for client in clients] == [1012, 1012, 1012]
    assert watch.seconds < 5
    assert server.wait(5) == 0
    with pytest.raises(ConnectionRefusedError):
        RawClient(server.port, WS + "echo")


@SIGNALS
def test_drain_of_nobody(serve: Callable[..., Server], number: signal.Signals) -> None:
    """A server without connections ends at once, with exit status 0."""
    server = serve()
    assert server.stop(number, seconds=2) == 0


def close_times(clients: list[RawClient]) -> list[float]:
    """When each of the clients got its close frame, seconds from now; each answers it at once."""
    began = time.monotonic()
    waiting = {client.socket: client for client in clients}
    times: list[float] = []
    while waiting:
        readable, _, _ = select.select(list(waiting), [], [], LONG_SECONDS)
        assert readable, f"{len(waiting)} clients were not closed"
        for each in readable:
            assert answer_close(waiting.pop(each)) == 1012
            times.append(time.monotonic() - began)
    return times


def test_drain_is_spread(serve: Callable[..., Server]) -> None:
    """Closes are spread over the drain time, so that not all clients come back at once."""
    server = serve("--drain-seconds", "2", app=BEHAVIOURS)
    clients = [connect(server, "echo") for _ in range(40)]
    watch = Stopwatch()
    server.process.send_signal(signal.SIGTERM)
    times = close_times(clients)
    assert watch.seconds < 2.5
    assert server.wait() == 0
    assert times[-1] - times[0] > 1.0
    busiest = max(sum(start <= each < start + 0.25 for each in times) for start in times)
    assert busiest <= 20


def test_refused_while_draining(serve: Callable[..., Server]) -> None:
    """While a server drains, new TCP connections are refused and waiting HTTP connections are told 503."""
    server = serve("--drain-seconds", "60", app=BEHAVIOURS)
    server.expected_log = ("did not finish in time",)
    with connect(server, "slow") as busy, RawClient(server.port, shake_hands=False) as waiting:
        busy.send_json({"number": 1, "seconds": 120})
        busy.read_data("begin")
        waiting.send(waiting.handshake_request("/static/favicon.svg", {"Upgrade": "", "Connection": ""}))
        status, headers = waiting.read_head()
        assert status == 200
        waiting.read_body(headers)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        waiting.send(waiting.handshake_request(WS + "echo"))
        status, headers = waiting.read_head()
        assert status == 503
        assert int(headers["retry-after"]) > 0
        with pytest.raises(ConnectionRefusedError):
            RawClient(server.port, shake_hands=False)
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_handler_at_work_finishes(serve: Callable[..., Server]) -> None:
    """A handler at work when the drain begins finishes, then comes its on_disconnect; the exit is 0."""
    server = serve("--drain-seconds", "20", app=BEHAVIOURS)
    client = connect(server, "slow")
    client.send_json({"number": 7, "seconds": 0.7})
    client.read_data("begin")
    server.process.send_signal(signal.SIGTERM)
    assert answer_close(client) == 1012
    assert server.wait() == 0
    assert re.search(r"slow: ended 7\n(.*\n)*.*slow: left ", server.log)


def test_handlers_of_those_who_stay_until_the_end(serve: Callable[..., Server]) -> None:
    """Clients that do not answer their close frame do not keep the server longer than the drain."""
    server = serve("--drain-seconds", "1", app=BEHAVIOURS)
    with connect(server, "slow"), connect(server, "slow"):
        assert server.stop(seconds=3) == 0
    assert server.log.count("slow: left") == 2


def test_handler_that_does_not_finish(serve: Callable[..., Server]) -> None:
    """A handler that does not finish is cancelled at the end of the drain, with a warning; the exit is 0."""
    server = serve("--drain-seconds", "0.5", app=BEHAVIOURS)
    server.expected_log = ("1 handlers? did not finish in time",)
    client = connect(server, "slow")
    client.send_json({"number": 7, "seconds": 60})
    client.read_data("begin")
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert answer_close(client) == 1012
    assert server.wait(3) == 0
    assert time.monotonic() - began > 0.4
    assert "did not finish in time" in server.log
    assert "slow: ended" not in server.log


def test_handler_that_cannot_be_cancelled(serve: Callable[..., Server]) -> None:
    """Not even a handler that swallows its cancellation keeps the server from ending, with exit status 0."""
    server = serve("--drain-seconds", "0.3", app=BEHAVIOURS)
    server.expected_log = ("did not finish in time", "cannot be cancelled")
    client = connect(server, "stubborn")
    client.send_json({"type": "work"})
    client.read_data("begin")
    server.process.send_signal(signal.SIGTERM)
    assert answer_close(client) == 1012
    assert server.wait() == 0


def test_disconnect_of_a_cancelled_handler(serve: Callable[..., Server]) -> None:
    """A connection whose handler was cancelled by the drain still has its on_disconnect."""
    server = serve("--drain-seconds", "0.3", app=BEHAVIOURS)
    server.expected_log = ("did not finish in time",)
    client = connect(server, "slow")
    client.send_json({"number": 7, "seconds": 60})
    client.read_data("begin")
    server.process.send_signal(signal.SIGTERM)
    assert answer_close(client) == 1012
    assert server.wait() == 0
    assert server.log.count("slow: left") == 1


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_second_signal_hurries(serve: Callable[..., Server], second: signal.Signals) -> None:
    """A second signal ends the drain at once: whoever is left is still told 1012, and the exit is 0."""
    server = serve("--drain-seconds", "30", app=BEHAVIOURS)
    server.expected_log = ("did not finish in time",)
    clients = [connect(server, "slow") for _ in range(30)]
    clients[0].send_json({"number": 1, "seconds": 60})
    clients[0].read_data("begin")
    server.process.send_signal(signal.SIGINT)
    server.wait_for_log("draining 30")
    server.process.send_signal(second)
    assert server.wait(2) == 0
    for client in clients:
        with client:
            assert client.read_close()[0] == 1012


def test_drain_without_time(serve: Callable[..., Server]) -> None:
    """With `drain_seconds` 0 everybody is told 1012 and the server ends at once."""
    server = serve("--drain-seconds", "0", app=BEHAVIOURS)
    clients = [connect(server, "echo") for _ in range(10)]
    assert server.stop(seconds=2) == 0
    for client in clients:
        with client:
            assert client.read_close()[0] == 1012


def test_restart_on_the_same_port(serve: Callable[..., Server]) -> None:
    """A server that ended can be started on the same port at once."""
    server = serve(app=BEHAVIOURS)
    port = server.port
    with connect(server, "echo"):
        server.process.kill()
        server.wait()
        server.start()
        assert server.port == port
        with connect(server, "echo") as client:
            client.send_json({"number": 1})
            assert client.read_data("echo")["message"]["number"] == 1


# A server that cannot start


def run(*flags: str, cwd: Path = ROOT, seconds: float = LONG_SECONDS) -> tuple[int, str]:
    """Run a server that ends by itself: its exit status and what it wrote."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *flags],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=seconds,
        cwd=cwd,
    )
    return done.returncode, done.stdout + done.stderr


def one_line(output: str) -> str:
    """The one line that a server which cannot start writes."""
    assert output.count("\n") == 1, output
    assert output.startswith("jpulse: ")
    assert "Traceback" not in output
    return output.strip()


def test_port_in_use(tmp_path: Path) -> None:
    """A port that is in use is one line that says so and names the setting, and exit status 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, output = run("--port", port, "--data-dir", str(tmp_path))
    assert status == 1
    line = one_line(output)
    assert f"port {port} is in use" in line
    assert "--port" in line


@pytest.mark.parametrize(
    "address",
    ["203.0.113.1", "999.1.1.1", "no such name", "1.2.3.4.5", "a..b", "x" * 64, "::1::", "2001:db8::1"],
    ids=lambda address: address[:20],
)
def test_bad_address(address: str, tmp_path: Path) -> None:
    """An address that cannot be listened on is one line that names it, and exit status 2."""
    status, output = run("--port", "0", "--address", address, "--data-dir", str(tmp_path))
    assert status == 2
    assert address in one_line(output)


@pytest.mark.parametrize(
    "module",
    [
        "no_such_module",
        "tests.apps.no_such",
        "tests.apps.empty",
        "tests.apps.behaviours.Echo",
        "tests/apps/behaviours.py",
        ".relative",
        "tests..apps",
        "tests.apps.",
        "json",
    ],
)
def test_app_that_is_no_app(module: str, tmp_path: Path) -> None:
    """An application module that is missing or has no setup(app) is one line naming it, and exit status 2."""
    status, output = run("--port", "0", "--app", module, "--data-dir", str(tmp_path))
    assert status == 2
    assert module in one_line(output)


def test_app_with_a_fault_of_its_own(tmp_path: Path) -> None:
    """An application module that fails while it is imported shows its own traceback."""
    (tmp_path / "faulty.py").write_text("import no_such_dependency\n", encoding="utf-8")
    status, output = run("--port", "0", "--app", "faulty", "--data-dir", str(tmp_path), cwd=tmp_path)
    assert status != 0
    assert "no_such_dependency" in output
    assert "Traceback" in output


@pytest.mark.parametrize(
    "flags", [("--port", "x"), ("--port", "65536"), ("--no-such-flag",), ("--drain-seconds", "-1")]
)
def test_wrong_values(flags: tuple[str, ...]) -> None:
    """A wrong value is one line that names the setting, and exit status 2."""
    status, output = run(*flags)
    assert status == 2
    assert flags[0] in one_line(output)


@pytest.mark.parametrize("fault", ["missing", "not PEM", "no key", "missing key", "wrong key", "a folder"])
def test_tls_that_cannot_be(fault: str, tmp_path: Path) -> None:
    """A certificate or key that cannot be used is one line that names the setting and the file."""
    paths = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "unused", "other")}
    make_certificate(paths["cert"], paths["key"])
    make_certificate(paths["unused"], paths["other"])
    certificate, key_path = paths["cert"], paths["key"]
    if fault in ("missing", "a folder"):
        certificate = tmp_path / "none.pem" if fault == "missing" else tmp_path
    if fault == "not PEM":
        certificate.write_text("hello", encoding="utf-8")
    if fault in ("missing key", "wrong key"):
        key_path = tmp_path / "none.pem" if fault == "missing key" else paths["other"]
    flags = ["--tls-certificate", str(certificate)]
    if fault != "no key":
        flags += ["--tls-key", str(key_path)]
    status, output = run("--port", "0", *flags, "--data-dir", str(tmp_path / "data"))
    assert status == 2
    line = one_line(output)
    assert "tls_certificate" in line or "tls_key" in line
    assert str(key_path if fault == "missing key" else certificate) in line


def test_key_without_a_certificate(tmp_path: Path) -> None:
    """A TLS key without a certificate is refused: nobody who sets it wants plain HTTP."""
    flags = ("--port", "0", "--tls-key", str(tmp_path / "key.pem"), "--data-dir", str(tmp_path))
    try:
        status, output = run(*flags, seconds=LONG_SECONDS / 4)
    except subprocess.TimeoutExpired:
        pytest.fail("the server serves plain HTTP")
    assert status in (1, 2)
    assert "tls_" in one_line(output)


# What is served, and what is logged


def test_app_beside_the_demos(serve: Callable[..., Server], tmp_path: Path) -> None:
    """An application module's setup is called once with the application, beside the routes that are there."""
    server = serve(app="tests.apps.broken")
    server.expected_log = ("told: hi",)
    with connect(server, "logging") as client:
        client.send_json({"type": "log", "text": "hi"})
        client.read_data("logged")
    with connect(server, "hello-emoji") as client:
        assert client.read_data("welcome")["userCount"] == 1
    assert json.loads(ask(server.port, "/api/1/broken?status=200")[2]) == {
        "success": True,
        "data": {"fine": True},
    }


def test_settings_from_the_environment(serve: Callable[..., Server]) -> None:
    """What a flag can set, the environment can set as well."""
    server = serve(environ={"JPULSE_APP": BEHAVIOURS, "JPULSE_MAX_CONNECTIONS": "1"})
    with connect(server, "echo"):
        assert ask(server.port, WS + "echo")[0] == 503


def test_json_log(serve: Callable[..., Server]) -> None:
    """With `--log-format json` every line is a JSON object, also tracebacks and what tornado logs."""
    server = serve("--log-format", "json", app="tests.apps.broken")
    server.expected_log = ("",)
    with connect(server, "logging") as client:
        for kind in ("log", "refused", "failed"):
            client.send_json({"type": kind, "text": "first\nsecond \ud83d\ude00"})
            client.read_json()
    assert ask(server.port, "/no-such-page")[0] == 404
    assert ask(server.port, "/broken")[0] == 500
    assert server.stop() == 0
    events = [json.loads(line) for line in server.log.splitlines()]
    assert all({"timestamp", "level", "logger", "event"} <= event.keys() for event in events)
    assert [event["event"] for event in events if event["logger"] == "tests.broken"] == [
        "told: first\nsecond 😀"
    ] * 3
    tracebacks = [event["exception"] for event in events if "exception" in event]
    assert any("RuntimeError: first\nsecond" in each for each in tracebacks)
    assert any("RuntimeError: secret of the page" in each for each in tracebacks)
    assert events[-1]["event"] == "stopped"


def forged_lines(log: str) -> list[str]:
    """Lines that begin with what a client wrote."""
    return [line for line in re.split(r"[\r\n]", log) if line.startswith("FORGED")]


@pytest.mark.parametrize("kind", ["log", "refused", "failed"])
def test_newlines_of_clients(serve: Callable[..., Server], kind: str) -> None:
    """A line break in a client's text begins no line of the log, not even in what a handler raises."""
    server = serve("--log-level", "debug", app="tests.apps.broken")
    server.expected_log = ("told: ", "a handler failed", "Traceback", "FORGED")
    with connect(server, "logging") as client:
        for newline in ("\n", "\r\n", "\r"):
            client.send_json({"type": kind, "text": f"x{newline}FORGED INFO jpulse: all is well"})
            client.read_json()
            client.send_json({"type": f"x{newline}FORGED", "text": f"{newline}FORGED"})
            client.read_json()
    assert server.stop() == 0
    assert server.log.count("FORGED") >= 6
    assert forged_lines(server.log) == []


def test_newlines_in_requests(serve: Callable[..., Server]) -> None:
    """Line breaks in paths, queries, headers and messages that are none begin no line of the log."""
    server = serve("--log-level", "debug", app=BEHAVIOURS)
    server.expected_log = ("tornado.general",)
    ask(server.port, "/x%0aFORGED%0d%0aFORGED")
    ask(server.port, WS + "x%0AFORGED", upgrade=True)
    ask(server.port, WS + "echo?uuid=%0AFORGED")
    ask(server.port, WS + "echo", {"Origin": "http://x%0aFORGED"})
    ask(server.port, WS + "echo", {"X-Forwarded-For": "%0aFORGED", "User-Agent": "a\tFORGED"})
    with connect(server, "echo") as client:
        client.send(client_frame(b'{"a":\n"x"FORGED\nFORGED'))
        assert client.read_json()["code"] == 400
    with RawClient(server.port, WS + "hello-emoji") as client:
        client.send_json({"type": "x\nFORGED"})
        while "error" not in client.read_json():
            pass
    with RawClient(server.port, shake_hands=False) as client:
        client.send(b"GET /a\rFORGED HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: bool(select.select([client.socket], [], [], 5)[0]))
    assert server.stop() == 0
    assert "FORGED" in server.log
    assert forged_lines(server.log) == []


def test_async_setup(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A module's setup(app) may be async; it has ended before the first client is served."""
    (tmp_path / "later.py").write_text(
        "import asyncio\n"
        "async def setup(app):\n"
        "    await asyncio.sleep(0.01)\n"
        "    app.websockets.create_namespace('/api/1/ws/later')\n",
        encoding="utf-8",
    )
    server = serve("--app", "later", cwd=tmp_path)
    with RawClient(server.port, WS + "later") as client:
        assert client.read_data("connected")["namespace"] == WS + "later"


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_clock_that_jumps(serve: Callable[..., Server], tmp_path: Path, seconds: int) -> None:
    """When the time of day jumps by hours, either way, clients live, and the silent are pinged and ended."""
    (tmp_path / "clock.py").write_text(
        "import time\n"
        "def setup(app):\n"
        "    real = time.time\n"
        "    ns = app.websockets.create_namespace('/api/1/ws/clock')\n"
        "    def jump(conn):\n"
        "        time.time = lambda: real() + conn.message['seconds']\n"
        "        conn.send({'type': 'jumped'})\n"
        "    ns.on_message(jump)\n",
        encoding="utf-8",
    )
    server = serve(
        "--app",
        "clock",
        "--ping-interval",
        "0.2",
        "--pong-timeout",
        "1",
        "--close-seconds",
        "1",
        cwd=tmp_path,
    )
    with RawClient(server.port, WS + "clock") as client:
        client.send_json({"seconds": seconds})
        assert client.read_data("jumped")
        for _ in range(3):
            while client.read_frame()[0] != PING:
                pass
            client.send(client_frame(b"", PONG))
        assert client.read_close()[0] == 4408


def test_request_in_flight(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A request that is being answered when the signal comes is answered, and the exit is 0."""
    (tmp_path / "slow.py").write_text(
        "import asyncio\n"
        "from jpulse import ApiHandler\n"
        "class Slow(ApiHandler):\n"
        "    async def get(self):\n"
        "        print('asked', flush=True)\n"
        "        await asyncio.sleep(0.7)\n"
        "        self.write_success('done')\n"
        "def setup(app):\n"
        "    app.add_handlers('.*', [('/api/1/slow', Slow)])\n",
        encoding="utf-8",
    )
    server = serve("--app", "slow", "--drain-seconds", "5", cwd=tmp_path)
    with RawClient(server.port, shake_hands=False) as client:
        client.send(b"GET /api/1/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for_log("asked")
        server.process.send_signal(signal.SIGTERM)
        status, headers = client.read_head()
        assert status == 200
        assert json.loads(client.read_body(headers)) == {"success": True, "data": "done"}
    assert server.wait() == 0


def test_requester_that_left(serve: Callable[..., Server], tmp_path: Path) -> None:
    """A drain does not wait for a request whose client has gone."""
    (tmp_path / "never.py").write_text(
        "import asyncio\n"
        "from jpulse import PageHandler\n"
        "class Never(PageHandler):\n"
        "    async def get(self):\n"
        "        print('asked', flush=True)\n"
        "        await asyncio.sleep(3600)\n"
        "def setup(app):\n"
        "    app.add_handlers('.*', [('/never', Never)])\n",
        encoding="utf-8",
    )
    server = serve("--app", "never", "--drain-seconds", "30", cwd=tmp_path)
    # What still runs at the end is cut, and the log says so.
    server.expected_log = ("500 GET /never",)
    with RawClient(server.port, shake_hands=False) as client:
        client.send(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for_log("asked")
    assert server.stop() == 0


def test_malformed_header_is_not_quoted(server: Server) -> None:
    """A header for which a request is refused does not come into the log: it may be a session."""
    with RawClient(server.port, shake_hands=False) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: jpulse_session=SECRET\0\r\n\r\n")
        assert client.read_head()[0] == 400
    server.wait_for_log("Malformed HTTP message from")
    assert "SECRET" not in server.log
