"""What several test files ask of a running server from outside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .raw_client import RawClient


def statistics(port: int) -> dict[str, Any]:
    """The figures of a server with `tests.apps.behaviours`; the socket that asks is not counted."""
    with RawClient(port, "/api/1/ws/stats") as client:
        client.send_json({"type": "tell"})
        figures = client.read_data("stats")
    return {**figures, "sockets": figures["sockets"] - 1}


def sockets(port: int) -> int:
    """How many sockets take a place, in any state."""
    number = statistics(port)["sockets"]
    assert isinstance(number, int)
    return number


def namespace_figures(port: int, path: str) -> dict[str, Any]:
    """The public figures of one namespace."""
    figures = {each["path"]: each for each in statistics(port)["stats"]["namespaces"]}[path]
    assert isinstance(figures, dict)
    return figures


def memory_bytes(pid: int) -> int:
    """Memory that a process has in RAM (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS")


def ask(
    port: int,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    upgrade: bool = False,
) -> tuple[int, dict[str, str], bytes]:
    """Send one request on a connection of its own: status, headers and body."""
    plain = {} if upgrade else dict.fromkeys(("Upgrade", "Connection", *_WEBSOCKET_HEADERS), "")
    with RawClient(port, shake_hands=False) as client:
        request = client.handshake_request(path, {**plain, **(headers or {})})
        client.send(request.replace(b"GET ", method.encode() + b" ", 1))
        status, answered = client.read_head()
        empty = method == "HEAD" or status in (101, 304)
        return status, answered, b"" if empty else client.read_body(answered)


_WEBSOCKET_HEADERS = ("Sec-WebSocket-Key", "Sec-WebSocket-Version")


def refusal(answer: tuple[int, dict[str, str], bytes]) -> int:
    """The status of a refused request whose body must be the failure envelope."""
    status, headers, body = answer
    assert headers["content-type"] == "application/json; charset=UTF-8"
    envelope = json.loads(body)
    assert envelope["success"] is False
    assert envelope["code"] == status
    assert isinstance(envelope["error"], str)
    assert envelope["error"]
    return status


def make_certificate(path: Path, key: Path) -> None:
    """Write a self-signed certificate for localhost and its key."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    names = ("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    subprocess.run([*command, *names, "-keyout", key, "-out", path], check=True, capture_output=True)
