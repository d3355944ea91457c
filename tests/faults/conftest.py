"""Fixtures of the fault tests: servers on one Redis, a swarm of clients, a look at what is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ..conftest import Server, wait_until
from ..servers import RedisServer
from ..servers import mongo_server as mongo_server
from ..servers import mongo_url as mongo_url
from ..servers import shared_mongo as shared_mongo
from ..visitor import data_dir
from .processes import command_line, processes_about
from .proxy import Proxy
from .swarm import Swarm

APP = "tests.apps.cluster_app"
#: What may be logged when a test disturbs the bridge.
BRIDGE_LOG = (
    r" WARNING (\[\d+\] )?jpulse\.(bridge|cluster): ",
    # Asked for when Redis is back, which may be lost again by then.
    r" WARNING (\[\d+\] )?demos\.notes: the notes cannot be read: ",
)
#: Processes that have lost what they lived for are gone by then.
END_SECONDS = 20

Cluster = Callable[..., list[Server]]


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """End what a test left behind, and fail it."""
    yield
    try:
        wait_until(lambda: not processes_about(tmp_path), END_SECONDS, "the end of all processes")
    except AssertionError:
        left = {pid: command_line(pid) for pid in processes_about(tmp_path)}
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"processes are left: {left}") from None


@pytest.fixture
def swarm() -> Iterator[Swarm]:
    """Clients, who leave after the test."""
    clients = Swarm()
    yield clients
    clients.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """A proxy before the test's own Redis."""
    made = Proxy(redis_server.port)
    yield made
    made.close()


@pytest.fixture
def cluster(serve: Callable[..., Server]) -> Cluster:
    """Start servers that share a store and a Redis: `cluster(2, url, "--redis-prefix", "x")`."""

    def start(count: int, url: str, *flags: str, app: str = APP) -> list[Server]:
        servers = [serve("--redis-url", url, *flags, app=app)]
        shared = ("--data-dir", str(data_dir(servers[0])))
        while len(servers) < count:
            servers.append(serve("--redis-url", url, *shared, *flags, app=app))
        return servers

    return start
