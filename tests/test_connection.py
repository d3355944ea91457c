"""One connection at a time, over a real socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Server
from .raw_client import RawClient, client_frame


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve(app="tests.apps.behaviours")


def test_one_byte_at_a_time(server: Server) -> None:
    """A message whose every byte is a segment of its own arrives."""
    with RawClient(server.port, "/api/1/ws/echo") as client:
        client.read_data("connected")
        for byte in client_frame(b'{"type":"slow"}'):
            client.send(bytes((byte,)))
        assert client.read_data("echo")["message"] == {"type": "slow", "username": ""}


def test_thousand_messages_in_one_segment(server: Server) -> None:
    """A thousand messages that come in one segment are answered, each once and in order."""
    with RawClient(server.port, "/api/1/ws/unlimited") as client:
        client.read_data("connected")
        client.send(b"".join(client_frame(b'{"number":%d}' % number) for number in range(1000)))
        answers = [client.read_data("echo")["message"]["number"] for _ in range(1000)]
        assert answers == list(range(1000))
