"""The namespace that best practices are tried on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from handlers.demos.practice import Practice
from jpulse.testing import Closed, Refused, Server, serving


def run(scenario: Callable[[Server], Awaitable[None]]) -> None:
    """Play a scenario on a server of its own."""

    async def main() -> None:
        async with serving(namespaces=[Practice]) as server:
            await scenario(server)

    asyncio.run(main())


def test_answers_its_sender_alone() -> None:
    """Moves are heard and texts confirmed with their number, and nobody else is told."""

    async def scenario(server: Server) -> None:
        async with server.connect(Practice.path) as ann, server.connect(Practice.path) as bob:
            await ann.send({"type": "move", "x": 1, "y": 99.5})
            heard = await ann.receive("heard")
            assert (heard["x"], heard["y"]) == (1, 99.5)
            await ann.send({"type": "note", "number": 7, "text": "hello"})
            taken = await ann.receive("taken")
            assert (taken["number"], taken["text"]) == (7, "hello")
            assert await bob.receive_all() == []

    run(scenario)


def test_limit() -> None:
    """Of many moves at once forty are heard, and most of the others are refused with 429."""

    async def scenario(server: Server) -> None:
        async with server.connect(Practice.path) as ann:
            for _ in range(200):
                await ann.send({"type": "move", "x": 1, "y": 1})
            for _ in range(40):
                await ann.receive("heard")
            with pytest.raises(Refused, match="429"):
                await ann.receive("none")

    run(scenario)


@pytest.mark.parametrize(("how", "code"), [("restart", 1012), ("for-good", 1000)])
def test_end(how: str, code: int) -> None:
    """Who asks for it is closed with the code of a restart, or for good."""

    async def scenario(server: Server) -> None:
        async with server.connect(Practice.path) as ann, server.connect(Practice.path) as bob:
            await ann.send({"type": "end", "how": how})
            with pytest.raises(Closed) as closed:
                await ann.receive()
            assert closed.value.code == code
            assert await bob.receive_all() == []

    run(scenario)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"type": "shout"}, "type"),
        ({"type": "move", "x": 101, "y": 0}, "x"),
        ({"type": "move", "x": 1}, "y"),
        ({"type": "note", "number": True, "text": "a"}, "number"),
        ({"type": "note", "number": 1, "text": ""}, "text"),
        ({"type": "note", "number": 1, "text": "a" * 201}, "text"),
        ({"type": "end"}, "how"),
        ({"type": "end", "how": ["restart"]}, "how"),
    ],
)
def test_wrong_message(message: dict[str, Any], field: str) -> None:
    """A wrong field is named."""

    async def scenario(server: Server) -> None:
        async with server.connect(Practice.path) as ann:
            await ann.send(message)
            with pytest.raises(Refused, match=f"^400: {field}: "):
                await ann.receive()

    run(scenario)
