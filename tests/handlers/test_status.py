"""What load balancers ask: `/healthz` and `/readyz`, also when something is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jpulse.app import BRIDGE_PATIENCE_SECONDS, create_app
from jpulse.bridge.base import DOWN
from jpulse.bridge.local import LocalBridge
from jpulse.settings import Settings

from ..conftest import Server, wait_until
from ..raw_client import RawClient
from ..visitor import Visitor, data_dir

HEALTH, READY = "/healthz", "/readyz"
WELL = {"store": "ok", "bridge": "ok", "drain": "ok", "load": "ok"}


@pytest.fixture(scope="module")
def shared(serve_module: Callable[..., Server]) -> Server:
    return serve_module()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    with shared.lent():
        yield shared


def test_healthy(server: Server) -> None:
    """`/healthz` says that the process lives."""
    answer = Visitor(server.port).get(HEALTH)
    assert (answer.status, answer.data) == (200, {"status": "ok"})


def test_ready(server: Server) -> None:
    """`/readyz` says of each part that it is well."""
    answer = Visitor(server.port).get(READY)
    assert (answer.status, answer.data) == (200, WELL)


@pytest.mark.parametrize("path", [HEALTH, READY])
def test_answers_are_not_kept(server: Server, path: str) -> None:
    """Whoever asks is told how it is now: no cache may keep an answer."""
    assert "no-store" in Visitor(server.port).get(path).headers["cache-control"]


@pytest.mark.parametrize("path", [HEALTH, READY])
def test_other_methods(server: Server, path: str) -> None:
    """There is nothing to change: other methods are refused, in JSON as all is told here."""
    answer = Visitor(server.port).ask("POST", path, "{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.error == "Method not allowed"


@pytest.mark.parametrize("path", [HEALTH, READY])
def test_no_session_is_looked_up(serve: Callable[..., Server], path: str) -> None:
    """Whoever asks with a cookie has no session prolonged, as any other request would."""
    server = serve("--session-seconds", "2")
    visitor = Visitor(server.port)
    visitor.sign_in()

    def is_due() -> bool:
        assert visitor.get(path).cookies == []
        return visitor.get("/api/1/auth/status").cookies != []

    wait_until(is_due)


def test_store_in_trouble(serve: Callable[..., Server]) -> None:
    """With a broken store the process lives, is not ready, and says what is wrong, with a cookie too."""
    server = serve()
    server.expected_log = ("the store does not answer", "503")
    visitor = Visitor(server.port)
    visitor.sign_in()
    for file in data_dir(server).iterdir():
        size = max(file.stat().st_size, 65536)
        with file.open("r+b") as damaged:
            damaged.write(b"\xff" * size)
    for asking in (visitor, Visitor(server.port)):
        answer = asking.get(READY)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.error.startswith("Not ready: store: ")
        assert answer.envelope["data"] == {**WELL, "store": answer.error.removeprefix("Not ready: store: ")}
        assert asking.get(HEALTH).status == 200


def ask_on(client: RawClient, path: str) -> tuple[int, dict[str, Any]]:
    """Ask on a connection that stays open: status and envelope."""
    client.send(client.handshake_request(path, {"Upgrade": "", "Connection": ""}))
    status, headers = client.read_head()
    return status, json.loads(client.read_body(headers))


def test_draining(serve: Callable[..., Server]) -> None:
    """A server that drains lives, and is not ready any more."""
    server = serve("--drain-seconds", "5", app="tests.apps.behaviours")
    server.expected_log = ("did not finish in time",)
    path = "/api/1/ws/slow"
    with (
        RawClient(server.port, path) as busy,
        RawClient(server.port, shake_hands=False) as probe,
        RawClient(server.port, shake_hands=False) as other,
    ):
        busy.read_data("connected")
        busy.send_json({"number": 1, "seconds": 30})
        busy.read_data("begin")
        assert [ask_on(each, READY)[0] for each in (probe, other)] == [200, 200]
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        status, envelope = ask_on(probe, READY)
        assert (status, envelope["code"]) == (503, 503)
        assert envelope["error"] == "Not ready: drain: the server is stopping"
        assert envelope["data"] == {**WELL, "drain": "the server is stopping"}
        assert probe.at_end()
        assert ask_on(other, HEALTH) == (200, {"success": True, "data": {"status": "ok"}})
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


class LostBridge(LocalBridge):
    """A bridge that has been down for a while."""

    state = DOWN

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def down_seconds(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(BRIDGE_PATIENCE_SECONDS, "ok"), (BRIDGE_PATIENCE_SECONDS + 0.1, "Redis does not answer")],
)
def test_patience_with_the_bridge(tmp_path: Path, seconds: float, state: str) -> None:
    """A bridge that is lost for a moment does not take the process out of service; a longer loss does."""

    async def main() -> None:
        app = create_app(Settings(data_dir=tmp_path), bridge=LostBridge(seconds))
        await app.store.open()
        assert await app.health() == {**WELL, "bridge": state}
        app.auth.close()
        await app.store.close()

    asyncio.run(main())
