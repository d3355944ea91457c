"""Servers as processes of their own, pinned to their cores, all ended by their pids."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from jpulse.errors import StartError
from jpulse.private_redis import find_program

from .machine import ROOT, Cores, Places, family, pinned
from .peers import JPULSE, Peer, Tools

START_SECONDS = 30
STOP_SECONDS = 5
ADMIN_PASSWORD = "only for benchmarks"


class CannotMeasure(Exception):
    """A server did not start, or a run failed; the message says why."""


class Server:
    """A process that was started, with its log in a file."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, ready: str) -> None:
        self.process = process
        self.port = port
        self._log = log
        self._ready = ready

    @property
    def pids(self) -> list[int]:
        """The process and those that it has started."""
        return family(self.process.pid)

    def wait_until_it_serves(self) -> None:
        """Wait until it takes connections; CannotMeasure with the end of its log if it does not."""
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise CannotMeasure(f"it did not start: {self.log[-500:].strip()}")
            time.sleep(0.02)

    def _serves(self) -> bool:
        return self._ready in self.log if self._ready else _answers(self.port)

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it, at once if it does not by itself."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def sign_in(self) -> str:
        """Sign in to jPulse as its first user; returns the Cookie header."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            body = json.dumps({"username": "admin", "password": ADMIN_PASSWORD})
            connection.request("POST", "/api/1/auth/login", body, {"Content-Type": "application/json"})
            cookie = connection.getresponse().headers["Set-Cookie"]
        finally:
            connection.close()
        if not cookie:
            raise CannotMeasure("signing in brought no cookie")
        return str(cookie).partition(";")[0]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """Starts servers in a folder of its own; leaving it ends them all and removes the folder."""

    def __init__(self, tools: Tools, places: Places) -> None:
        self._tools = tools
        self.places = places
        self._folder = Path(tempfile.mkdtemp(prefix="jpulse-bench-"))
        self._running: list[Server] = []
        self._shared: dict[str, Server] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self._running:
            server.process.terminate()
        for server in list(self._running):
            self._stop(server)
        shutil.rmtree(self._folder, ignore_errors=True)

    def shared(self, peer: Peer) -> Server:
        """A peer's server that is kept for the whole run."""
        server = self._shared.get(peer.name)
        if server is None or server.process.poll() is not None:
            server = self._shared[peer.name] = self._start_peer(peer, (), {}, self.places.server)
        return server

    @contextmanager
    def running(
        self,
        peer: Peer,
        *flags: str,
        environ: Mapping[str, str] | None = None,
        cores: Cores | None = None,
    ) -> Iterator[Server]:
        """A server of one measurement's own."""
        server = self._start_peer(peer, flags, environ or {}, cores or self.places.server)
        try:
            yield server
        finally:
            self._stop(server)

    @contextmanager
    def redis(self) -> Iterator[tuple[Server, str]]:
        """A Redis that keeps nothing on disk, and its address; CannotMeasure if there is none."""
        port, folder = free_port(), self._new_folder()
        options = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(folder))
        try:
            command = [str(find_program()), "--port", str(port), *options]
        except StartError as error:
            raise CannotMeasure(str(error)) from None
        server = self._start(command, port, folder, dict(os.environ), self.places.helper)
        try:
            yield server, f"redis://127.0.0.1:{port}"
        finally:
            self._stop(server)

    def _start_peer(
        self, peer: Peer, flags: Sequence[str], environ: Mapping[str, str], cores: Cores
    ) -> Server:
        port, folder = free_port(), self._new_folder()
        # Settings that the user's environment happens to have would change the figures.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JPULSE_")}
        own = {"JPULSE_ADMIN_PASSWORD": ADMIN_PASSWORD} if peer is JPULSE else {}
        paths = {"NODE_PATH": str(self._tools.node_modules)}
        command = [*peer.command(self._tools, port, folder), *flags]
        return self._start(command, port, folder, {**clean, **own, **paths, **environ}, cores, peer.ready)

    def _start(
        self,
        command: Sequence[str],
        port: int,
        folder: Path,
        environ: Mapping[str, str],
        cores: Cores,
        ready: str = "",
    ) -> Server:
        log = folder / "log"
        with log.open("wb") as output, pinned(cores):
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)
        server = Server(process, port, log, ready)
        self._running.append(server)
        server.wait_until_it_serves()
        return server

    def _stop(self, server: Server) -> None:
        server.stop()
        self._running.remove(server)

    def _new_folder(self) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder
