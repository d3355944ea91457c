"""The picture of the architecture: what it shows, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any

import pytest

from handlers.demos.architecture import Architecture, summary
from handlers.demos.cursors import Cursors
from jpulse import NamespaceHandler
from jpulse.testing import Client, Refused, serving

NAMESPACES = [Architecture, Cursors]


async def picture(client: Client, processes: int = 1, clients: int | None = None) -> dict[str, Any]:
    """Wait for a picture with so many processes, and clients of the cursors."""
    while True:
        found: dict[str, Any] = (await client.receive("picture"))["picture"]
        if len(found["processes"]) == processes and clients in (None, found["namespaces"][0]["total"]):
            return found


def test_one_process() -> None:
    """A newcomer sees the process, its namespaces and parts at once, and soon what has changed."""

    async def scenario() -> None:
        async with serving(namespaces=NAMESPACES) as server, server.connect(Architecture.path) as viewer:
            assert await picture(viewer) == {
                "processes": [{"own": True, "connections": 1}],
                "namespaces": [{"path": Cursors.path, "status": "red", "total": 0, "clients": [0]}],
                "bridge": {"kind": "local", "isUp": True},
                "store": {"kind": "SQLite", "isUp": True},
            }
            async with server.connect(Cursors.path):
                seen = await picture(viewer, clients=1)
                assert seen["processes"] == [{"own": True, "connections": 2}]
                assert seen["namespaces"][0]["status"] == "green"
            await picture(viewer, clients=0)

    asyncio.run(scenario())


def test_two_processes(redis_url: str) -> None:
    """Each viewer sees all processes with their clients, in the same order, and which one is theirs."""

    async def scenario() -> None:
        options = {"namespaces": NAMESPACES, "redis_url": redis_url, "redis_prefix": "architecture"}
        async with (
            serving(**options) as one,
            serving(**options) as two,
            one.connect(Architecture.path) as ann,
            two.connect(Architecture.path) as bob,
            two.connect(Cursors.path),
        ):
            first, second = await asyncio.gather(*(picture(each, 2, 1) for each in (ann, bob)))
            assert [each["own"] for each in first["processes"]] == [
                not each["own"] for each in second["processes"]
            ]
            busy = next(number for number, each in enumerate(second["processes"]) if each["own"])
            for seen in (first, second):
                assert seen["namespaces"][0]["clients"][busy] == 1
                assert sum(seen["namespaces"][0]["clients"]) == 1
                assert seen["bridge"] == {"kind": "redis", "isUp": True}

    asyncio.run(scenario())


def test_nothing_secret() -> None:
    """Guests see neither hosts, ports, process ids and names nor hidden namespaces, and can send nothing."""

    class Hidden(NamespaceHandler):
        path = "/api/1/ws/hidden"
        hidden = True

    async def scenario() -> str:
        async with (
            serving(namespaces=[*NAMESPACES, Hidden]) as server,
            server.connect(Architecture.path) as viewer,
        ):
            ann = await server.sign_in("ann-of-nowhere")
            async with ann.connect(Cursors.path):
                seen = await picture(viewer, clients=1)
            await viewer.send({"type": "tell"})
            with pytest.raises(Refused, match="400: type: this address only tells"):
                await viewer.receive("none")
            return json.dumps(seen)

    text = asyncio.run(scenario())
    for secret in (socket.gethostname(), "127.0.0.1", str(os.getpid()), "ann", "hidden", "pid", "instance"):
        assert secret not in text, secret


def test_rest_without_viewers() -> None:
    """Without viewers nothing is gathered, and a newcomer's picture is that of now."""

    async def scenario() -> None:
        async with serving(namespaces=NAMESPACES) as server:
            for _ in range(2):
                async with server.connect(Architecture.path) as viewer:
                    assert (await picture(viewer))["processes"][0]["connections"] == 1
            handler = server.app.websockets.find(Architecture.path)
            assert handler is not None
            assert handler.client_count == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("bridge", "store", "text"),
    [
        ({"kind": "local", "isUp": True}, True, "No Redis is needed for one process. SQLite answers."),
        ({"kind": "redis", "isUp": False}, True, "Redis is not reached. SQLite answers."),
        ({"kind": "redis", "isUp": True}, False, "Redis is connected. SQLite does not answer."),
    ],
)
def test_summary(bridge: dict[str, Any], store: bool, text: str) -> None:
    """The sentence says what is wrong."""
    shown = {"processes": [{"connections": 1}], "bridge": bridge, "store": {"kind": "SQLite", "isUp": store}}
    assert summary(shown) == f"1 process serves 1 connection. {text}"
