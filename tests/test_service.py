"""Telling systemd when a server serves."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jpulse.service import READY, tell_systemd

from .conftest import Server


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd hears at `tmp_path`/notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        yield heard


@pytest.mark.parametrize("flags", [(), ("--processes", "2")])
def test_ready(
    serve: Callable[..., Server], systemd: socket.socket, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """A server says once that it is ready, when all its processes serve."""
    server = serve(*flags, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert systemd.recv(1000) == b"READY=1"
    server.stop()
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(1000)


def test_abstract_socket() -> None:
    """An address that begins with @ is not in the file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("")
        name = heard.getsockname().decode().replace("\0", "@", 1)
        heard.settimeout(10)
        tell_systemd(READY, {"NOTIFY_SOCKET": name})
        assert heard.recv(1000) == b"READY=1"


def test_nobody_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without systemd nothing happens, and a socket that is gone is a warning, not an end."""
    with caplog.at_level(logging.WARNING):
        tell_systemd(READY, {})
        tell_systemd(READY, {"NOTIFY_SOCKET": "vsock:2:1234"})
        assert caplog.messages == []
        tell_systemd(READY, {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert "systemd cannot be told READY=1" in caplog.text
