"""Fixtures for every test: a real server as a process of its own, ended by its pid."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import bcrypt
import pytest
from hypothesis import HealthCheck, settings

from .patience import Stopwatch
from .servers import redis_server as redis_server
from .servers import redis_url as redis_url
from .servers import shared_redis as shared_redis

ROOT = Path(__file__).parent.parent
#: On two cores that run other tests too three Pythons have taken more than 20; who ends is noticed at once.
START_SECONDS = 60
#: What a server may log above the level info without failing its test.
NOTHING: tuple[str, ...] = ()
#: On a machine that runs other tests too any handler may be slow and the loop late, and clients of tests
#: answer no pings while something takes long: only where a test asks for it something comes of that.
PATIENCE = {
    "JPULSE_BLOCKING_SECONDS": "60",
    "JPULSE_MAX_LOOP_LAG_SECONDS": "0",
    "JPULSE_PING_INTERVAL": "600",
}

# Nor is it a failure when an example takes long, or to make one does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


class Server:
    """A running `run.py` on a free port of 127.0.0.1, with its log in a file."""

    def __init__(self, log_path: Path, flags: tuple[str, ...], environ: dict[str, str], cwd: Path) -> None:
        self._log_path = log_path
        self._flags = flags
        self._environ = environ
        self._cwd = cwd
        self.port = 0
        #: How much of the log was checked and is not checked again.
        self._checked = 0
        #: Regular expressions of warnings and errors that this test means to cause.
        self.expected_log: tuple[str, ...] = NOTHING
        self.start()

    def start(self) -> None:
        """Start the process and wait until it listens; a restart takes the same port."""
        begin = len(self.log)
        command = [sys.executable, str(ROOT / "run.py"), "--port", str(self.port), *self._flags]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
                env={**os.environ, **PATIENCE, **self._environ},
            )
        try:
            self.port = self._wait_for_port(begin)
        except AssertionError:
            # Who asked for it never gets it, and cannot end it.
            self.stop()
            raise

    def _wait_for_port(self, begin: int) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = re.search(r"serves https?://.*:(\d+)/", self.log[begin:])
            if found:
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log[begin:]}")

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def url(self) -> str:
        """The address of the home page, without the last slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that was logged so far."""
        return self._log_path.read_text(encoding="utf-8") if self._log_path.exists() else ""

    def wait_for_log(self, pattern: str, seconds: float = 10) -> None:
        """Wait until a line matches."""
        wait_until(lambda: re.search(pattern, self.log) is not None, seconds, f"{pattern!r} in the log")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal, wait for the end and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 20) -> int:
        """Wait for the end and return the exit status."""
        wait_until(lambda: self.process.poll() is not None, seconds, "the end of the server")
        return int(self.process.returncode)

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()

    def unexpected_log(self) -> list[str]:
        """Lines above info, and tracebacks, that the test did not mean to cause."""
        pattern = r"^.*(?: WARNING | ERROR | CRITICAL |Traceback).*$"
        lines = re.findall(pattern, self.log[self._checked :], re.MULTILINE)
        if any("Traceback" in expected for expected in self.expected_log):
            lines = [line for line in lines if not line.startswith("Traceback")]
        return [line for line in lines if not any(re.search(each, line) for each in self.expected_log)]

    @contextmanager
    def lent(self) -> Iterator[Server]:
        """Lend a shared server to one test, which answers for what is logged and leaves it alive."""
        try:
            yield self
            assert self.process.poll() is None, f"the server has ended:\n{self.log}"
            assert self.unexpected_log() == [], self.log[self._checked :]
        finally:
            self._checked, self.expected_log = len(self.log), NOTHING


def wait_until(condition: Callable[[], bool], seconds: float = 10, what: str = "the condition") -> None:
    """Wait until something is true; fail when it takes too long by a stopwatch."""
    watch = Stopwatch()
    while not condition():
        assert not watch.is_over(seconds), f"waited {seconds} s in vain for {what}"
        time.sleep(0.01)


#: The password of the user `admin` that every served store has.
ADMIN_PASSWORD = "correct horse"


@functools.cache
def _store_with_admin() -> Path:
    """A data directory with an admin, made once, with a hash that is cheap: people sign in all the time."""
    folder = Path(tempfile.mkdtemp(prefix="jpulse-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, str(ROOT / "run.py"), "user", "add", "admin", "--roles", "user,admin"]
    environ = {**os.environ, "JPULSE_PASSWORD": ADMIN_PASSWORD}
    subprocess.run([*command, "--data-dir", str(folder)], check=True, env=environ, stdout=subprocess.DEVNULL)
    cheap = bcrypt.hashpw(ADMIN_PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    with closing(sqlite3.connect(folder / "jpulse.db")) as connection, connection:
        connection.execute("UPDATE users SET password_hash = ?", (cheap,))
    return folder


def _serving(folder: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(
        *flags: str,
        app: str | None = None,
        environ: dict[str, str] | None = None,
        cwd: Path = ROOT,
        fresh: bool = False,
    ) -> Server:
        extra = ("--app", app) if app else ()
        log_path = folder / f"server-{len(servers)}.log"
        data_dir = folder / f"data-{len(servers)}"
        if not fresh:
            shutil.copytree(_store_with_admin(), data_dir)
        data = ("--data-dir", str(data_dir))
        servers.append(Server(log_path, (*data, *flags, *extra), environ or {}, cwd))
        return servers[-1]

    yield start
    # Looked at before the end: what is left of a server may complain that others are gone.
    complaints = [server.log for server in servers if server.unexpected_log()]
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(10)
    assert complaints == [], complaints[0]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """
    Start servers: `serve("--debug", app="tests.apps.behaviours")`; `fresh=True` leaves out the admin.

    Each is ended after the test, which fails if one logged what it should not have.
    """
    yield from _serving(tmp_path)


@pytest.fixture(scope="module")
def serve_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers that a module's tests share; each test takes one through `Server.lent`."""
    yield from _serving(tmp_path_factory.mktemp("servers"))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server with its defaults and the demos."""
    return serve()
