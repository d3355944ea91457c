"""
The servers that are measured, jPulse among them: what each needs, how it is started, where it answers.

Every peer does what jPulse's handlers do: it reads a message's JSON and writes an
envelope of the same size, to its sender or to all. None has limits, statistics or a log.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..machine import ROOT

HERE = Path(__file__).parent
#: Who opens that many is not to be refused.
MAX_CONNECTIONS = 20_000


@dataclass(frozen=True)
class Tools:
    """What starting a server takes besides Python."""

    #: The floor, compiled.
    floor: Path
    #: The folder that npm has installed its packages into.
    node_modules: Path


@dataclass(frozen=True)
class Address:
    """Where and how a server takes messages: what stands around a message's JSON, and what is said first."""

    path: str
    before: str = ""
    after: str = ""
    hello: str = ""


@dataclass(frozen=True)
class Peer:
    """A server to be measured."""

    name: str
    title: str
    echo: Address
    broadcast: Address
    command: Callable[[Tools, int, Path], list[str]]
    #: Its version, or None if it is not installed.
    version: Callable[[Tools], str | None]
    #: How to install it.
    install: str = "pip install '.[bench]'"
    #: What its log says when it serves; "" if it then takes connections, and not before.
    ready: str = ""


def _jpulse_command(tools: Tools, port: int, folder: Path) -> list[str]:
    return [
        *(sys.executable, str(ROOT / "run.py"), "--app", "tests.bench.app", "--port", str(port)),
        *("--data-dir", str(folder / "data"), "--max-connections", str(MAX_CONNECTIONS)),
        # It is ended when its clients have gone: nobody is to be sent away in good order.
        *("--drain-seconds", "0"),
        # On a crowded machine a full core would be taken for an overload, and clients be refused.
        *("--max-loop-lag-seconds", "0"),
    ]


def _python(module: str) -> Callable[[Tools, int, Path], list[str]]:
    return lambda tools, port, folder: [sys.executable, "-m", f"{__name__}.{module}", str(port)]


def _node(script: str) -> Callable[[Tools, int, Path], list[str]]:
    return lambda tools, port, folder: ["node", str(HERE / script), str(port)]


def _python_version(*packages: str) -> Callable[[Tools], str | None]:
    def version(tools: Tools) -> str | None:
        try:
            return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
        except importlib.metadata.PackageNotFoundError:
            return None

    return version


def _node_version(package: str) -> Callable[[Tools], str | None]:
    def version(tools: Tools) -> str | None:
        file = tools.node_modules / package / "package.json"
        if shutil.which("node") is None or not file.exists():
            return None
        return f"{package} {json.loads(file.read_text(encoding='utf-8'))['version']}"

    return version


def _jpulse_version(tools: Tools) -> str:
    from jpulse import __version__

    return f"jpulse {__version__}"


def _socket_io(event: str) -> Address:
    # Engine.IO's 4 is a message, Socket.IO's 0 joins and its 2 is an event.
    return Address("/socket.io/?EIO=4&transport=websocket", f'42["{event}",', "]", "40")


ECHO, BROADCAST = Address("/echo"), Address("/broadcast")
SOCKET_IO_ECHO, SOCKET_IO_BROADCAST = _socket_io("echo"), _socket_io("broadcast")
NPM = "python -m tests.bench --install"

JPULSE = Peer(
    "jpulse",
    "jPulse",
    Address("/api/1/ws/bench-echo"),
    Address("/api/1/ws/bench-broadcast"),
    _jpulse_command,
    _jpulse_version,
    ready="jPulse serves",
)
FLOOR = Peer(
    "c",
    "a loop of send() in C",
    ECHO,
    BROADCAST,
    lambda tools, port, folder: [str(tools.floor), str(port)],
    lambda tools: "",
)
PEERS = (
    JPULSE,
    FLOOR,
    Peer("node-ws", "ws (node)", ECHO, BROADCAST, _node("node_ws.js"), _node_version("ws"), NPM),
    Peer(
        *("socketify", "socketify", ECHO, BROADCAST),
        *(_python("socketify_server"), _python_version("socketify")),
    ),
    Peer(*("picows", "picows", ECHO, BROADCAST), *(_python("picows_server"), _python_version("picows"))),
    Peer(
        *("websockets", "websockets", ECHO, BROADCAST),
        *(_python("websockets_server"), _python_version("websockets")),
    ),
    Peer(
        *("tornado", "Tornado's write_message", ECHO, BROADCAST),
        *(_python("stock_tornado"), _python_version("tornado")),
    ),
    Peer(
        *("starlette", "Starlette on uvicorn", ECHO, BROADCAST),
        *(_python("starlette_server"), _python_version("starlette", "uvicorn")),
    ),
    Peer(
        *("socket.io", "Socket.IO (node)", SOCKET_IO_ECHO, SOCKET_IO_BROADCAST),
        *(_node("node_socketio.js"), _node_version("socket.io"), NPM),
    ),
    Peer(
        *("python-socketio", "python-socketio on uvicorn", SOCKET_IO_ECHO, SOCKET_IO_BROADCAST),
        *(_python("socketio_server"), _python_version("python-socketio", "uvicorn")),
    ),
)
